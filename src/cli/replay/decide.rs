//! What a configuration does with a request of which a log tells.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use super::logged::{Logged, Preflight, Was};
use crate::cli::decision;
use crate::config::{Action, Config, Listener, Route};
use crate::routing::{PathPattern, RouteId, RouteSpec, Table};
use crate::snapshot::{access, route_spec};

/// Why a request goes no further, of what a configuration alone decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Method,
    NotFound,
    Misdirected,
    Certificate,
    Access,
    Body,
}

impl Refusal {
    pub(super) const ALL: [Self; 6] =
        [Self::Method, Self::NotFound, Self::Misdirected, Self::Certificate, Self::Access, Self::Body];

    /// As the log has it.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Method => "method_refused",
            Self::NotFound => "route_not_found",
            Self::Misdirected => "misdirected",
            Self::Certificate => "client_certificate_missing",
            Self::Access => "access_denied",
            Self::Body => "body_too_large",
        }
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// What its route says.
    Acts,
    Health,
    Refused(Refusal),
}

/// What becomes of a request, and on which route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    route: Option<RouteId>,
    verdict: Verdict,
}

/// Are two decisions the same?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Likeness {
    Same,
    Different,
    /// That hangs on what the log does not have.
    Unsure,
}

/// May a client of this address pass?
type Passes = Box<dyn Fn(IpAddr) -> bool>;

/// What a configuration decides.
pub(super) struct Decider {
    config: Config,
    specs: Vec<RouteSpec>,
    table: Table,
    /// By route.
    access: Vec<Vec<Passes>>,
    /// By route: may scripts of other origins share it?
    shares: Vec<bool>,
}

impl Decider {
    pub(super) fn new(config: Config) -> Self {
        let specs: Vec<_> = config.routes.iter().map(route_spec).collect();
        let policies = |route: &Route| route.policies.iter().map(|index| &config.policies[*index]).collect::<Vec<_>>();
        let passes = |route| {
            let access = policies(route).into_iter().filter_map(access);
            access.map(|access| -> Passes { Box::new(move |client| access.passes(client)) }).collect()
        };
        Self {
            access: config.routes.iter().map(passes).collect(),
            shares: config.routes.iter().map(|route| decision::shares(&config, route)).collect(),
            table: Table::compile(&specs),
            specs,
            config,
        }
    }

    /// What may become of a request: one thing, or several where that hangs on what is not logged. In the order of the
    /// gateway's own decision (`Exchange::decide`).
    pub(super) fn decide(&self, request: &Logged<'_>) -> Vec<Decision> {
        let (host, path) = (request.host.as_bytes(), request.path.as_bytes());
        let mut all = Vec::with_capacity(1);
        if decision::is_refused_by_method(request.method.as_bytes()) {
            return vec![Decision { route: None, verdict: Verdict::Refused(Refusal::Method) }];
        }
        let mut found = Vec::with_capacity(1);
        if request.method == "OPTIONS" {
            // Of a preflight the route that scripts may share, of whatever method it asks for.
            self.table.possible(host, path, &Preflight(request), &mut found);
            found.retain(|id| self.shares[id.0 as usize]);
        }
        let is_sure = self.table.possible(host, path, request, &mut found);
        // A route of exactly that path answers itself; whether it is that of the request may hang on what is not logged.
        let is_exact = |id: &RouteId| matches!(self.specs[id.0 as usize].path, PathPattern::Exact(_));
        let is_routed = is_sure && found.iter().all(is_exact);
        let method = request.method.as_bytes();
        let asks_for_health = |listener: &Listener| !is_routed && decision::asks_for_health(listener, method, path);
        if self.add_by_listener(&mut all, Verdict::Health, asks_for_health) && !found.iter().any(is_exact) {
            return all;
        }
        for (at, id) in found.iter().enumerate() {
            if !found[..at].contains(id) {
                self.add_on_route(&mut all, *id, request);
            }
        }
        let is_stranger = |listener: &Listener| listener.strict_host && !self.table.names_host(host);
        if !is_sure && !self.add_by_listener(&mut all, Verdict::Refused(Refusal::Misdirected), is_stranger) {
            all.push(Decision { route: None, verdict: Verdict::Refused(Refusal::NotFound) });
        }
        all
    }

    /// The log does not tell by which listener a request came; true when it makes no difference.
    fn add_by_listener(&self, all: &mut Vec<Decision>, verdict: Verdict, applies: impl Fn(&Listener) -> bool) -> bool {
        let count = self.config.listeners.iter().filter(|listener| applies(listener)).count();
        if count > 0 {
            all.push(Decision { route: None, verdict });
        }
        count == self.config.listeners.len()
    }

    fn add_on_route(&self, all: &mut Vec<Decision>, id: RouteId, request: &Logged<'_>) {
        let (route, at) = (&self.config.routes[id.0 as usize], id.0 as usize);
        let mut add = |verdict| all.push(Decision { route: Some(id), verdict });
        let had_refusal = |refusal| request.was() == Was::Refused(refusal);
        if route.require_client_cert && request.client_cert.is_empty() {
            add(Verdict::Refused(Refusal::Certificate));
            // Whoever was not asked for one may have had one.
            if had_refusal(Refusal::Certificate) {
                return;
            }
        }
        match request.client_ip {
            Some(client) if !self.access[at].iter().all(|passes| passes(client)) => {
                return add(Verdict::Refused(Refusal::Access));
            }
            None if !self.access[at].is_empty() => add(Verdict::Refused(Refusal::Access)),
            Some(_) | None => {}
        }
        let is_forwarded = matches!(route.action, Action::Forward { .. } | Action::Split { .. });
        if let Some(most) = route.body_limit.filter(|_| is_forwarded) {
            if request.bytes_in > most {
                return add(Verdict::Refused(Refusal::Body));
            }
            // How large it was to be is not logged.
            if had_refusal(Refusal::Body) {
                add(Verdict::Refused(Refusal::Body));
            }
        }
        add(Verdict::Acts);
    }

    /// Is one of these what the log says, whichever of them it is?
    pub(super) fn compare(&self, decisions: &[Decision], request: &Logged<'_>) -> Likeness {
        let was = request.was();
        let likeness = |decision: &Decision| self.like(*decision, was, request);
        decisions
            .iter()
            .map(likeness)
            .reduce(|all, one| if all == one { all } else { Likeness::Unsure })
            .unwrap_or(Likeness::Unsure)
    }

    fn like(&self, decision: Decision, was: Was<'_>, request: &Logged<'_>) -> Likeness {
        let route = self.route(decision);
        let is_same = |same| if same { Likeness::Same } else { Likeness::Different };
        if route.map_or("", |route| &route.name) != request.route {
            // Of 421 the log does not tell whether it was the host or the connection.
            return if was == Was::Refused(Refusal::Misdirected) { Likeness::Unsure } else { Likeness::Different };
        }
        let action = route.map(|route| &route.action);
        match (was, decision.verdict, action) {
            (Was::Undecided, ..) => Likeness::Unsure,
            (Was::Routed, ..) => Likeness::Same,
            (Was::Refused(was), Verdict::Refused(is), _) => is_same(was == is),
            (Was::Health, verdict, _) => is_same(verdict == Verdict::Health),
            (Was::Forwarded(was), Verdict::Acts, Some(Action::Forward { cluster })) => {
                is_same(self.config.clusters[*cluster].name == was)
            }
            (Was::Forwarded(was), Verdict::Acts, Some(Action::Split { to, .. })) => {
                is_same(to.iter().any(|(cluster, share)| *share > 0 && self.config.clusters[*cluster].name == was))
            }
            (
                Was::Local(was),
                Verdict::Acts,
                Some(Action::Redirect { status, .. } | Action::Respond { status, .. }),
            ) => is_same(was == *status),
            (Was::Refused(_) | Was::Forwarded(_) | Was::Local(_), ..) => Likeness::Different,
        }
    }

    /// Do two configurations do the same with a request?
    pub(super) fn compare_with(&self, ours: &[Decision], old: &Self, theirs: &[Decision]) -> Likeness {
        let is_same =
            |ours: Decision, theirs: Decision| ours.verdict == theirs.verdict && self.told(ours) == old.told(theirs);
        match (ours, theirs) {
            ([ours], [theirs]) => {
                if is_same(*ours, *theirs) {
                    Likeness::Same
                } else {
                    Likeness::Different
                }
            }
            // Of the same routes in the same order, by the same conditions, the same one is taken.
            _ if self.has_listeners_of(old)
                && ours.len() == theirs.len()
                && ours
                    .iter()
                    .zip(theirs)
                    .all(|(ours, theirs)| is_same(*ours, *theirs) && self.spec(*ours) == old.spec(*theirs)) =>
            {
                Likeness::Same
            }
            _ if ours.iter().any(|ours| theirs.iter().any(|theirs| is_same(*ours, *theirs))) => Likeness::Unsure,
            _ => Likeness::Different,
        }
    }

    /// Does each listener decide about requests that need no route as that of the same name does?
    fn has_listeners_of(&self, old: &Self) -> bool {
        let said = |listener: &Listener| {
            (listener.name.clone(), listener.health_path.as_ref().map(ToString::to_string), listener.strict_host)
        };
        let all = |config: &Config| config.listeners.iter().map(said).collect::<HashSet<_>>();
        all(&self.config) == all(&old.config)
    }

    fn route(&self, decision: Decision) -> Option<&Route> {
        decision.route.map(|id| &self.config.routes[id.0 as usize])
    }

    fn spec(&self, decision: Decision) -> Option<&RouteSpec> {
        decision.route.map(|id| &self.specs[id.0 as usize])
    }

    /// In words.
    pub(super) fn words(&self, decisions: &[Decision]) -> String {
        decisions.iter().map(|decision| self.told(*decision)).collect::<Vec<_>>().join(", or ")
    }

    fn told(&self, decision: Decision) -> String {
        let mut text = self.route(decision).map_or("no route".to_owned(), |route| format!("route `{}`", route.name));
        let written = match (decision.verdict, self.route(decision).map(|route| &route.action)) {
            (Verdict::Health, _) => return "health".to_owned(),
            (Verdict::Refused(refusal), _) => write!(text, ", {}", refusal.reason()),
            (Verdict::Acts, Some(Action::Forward { cluster })) => {
                write!(text, ", cluster `{}`", self.config.clusters[*cluster].name)
            }
            (Verdict::Acts, Some(Action::Split { to, .. })) => {
                let share =
                    |(cluster, share): &(usize, u32)| format!("`{}` {share}", self.config.clusters[*cluster].name);
                write!(text, ", split {}", to.iter().map(share).collect::<Vec<_>>().join(" "))
            }
            (Verdict::Acts, Some(Action::Redirect { to, status })) => write!(text, ", {status} to {to}"),
            (Verdict::Acts, Some(Action::Respond { status, .. })) => write!(text, ", answered {status}"),
            (Verdict::Acts, None) => Ok(()),
        };
        written.expect("writing to memory cannot fail");
        text
    }
}
