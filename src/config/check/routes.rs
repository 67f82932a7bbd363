//! Routes: what they match, and exactly one action.

use rustc_hash::FxHashMap;

use super::super::file::{MatchFile, RedirectFile, RespondFile, RouteFile};
use super::super::model::{Action, HostHeader, HostMatch, PathMatch, Policy, Priority, Route};
use super::super::place::{At, Place};
use super::super::problems::{Pending, Subject};
use super::edits::{self, Direction};
use super::process::{Defaults, check_timeouts};
use super::{Check, Names, Written, as_written, is_legal_name, policies, refuse_again, retry, split};

/// Keys that mean nothing unless a route forwards.
const FORWARD_KEYS: &str = "it is only of use in a route with `cluster` or `split`";

/// What routes may name.
pub(super) struct Known<'a> {
    pub(super) clusters: &'a Names,
    pub(super) policies: &'a [Policy],
    pub(super) policy_names: &'a Names,
    /// Policies of routes that name none.
    pub(super) default_policies: &'a [usize],
}

pub(super) fn check(check: &mut Check<'_>, files: &[Written], known: &Known<'_>, defaults: &Defaults) -> Vec<Route> {
    let mut routes = Vec::new();
    // The file and the index of each: there may be tens of thousands, and only a message needs their places.
    let mut names: FxHashMap<String, (usize, usize)> = FxHashMap::default();
    names.reserve(files.iter().filter_map(|written| written.document.routes.as_ref()).map(Vec::len).sum());
    for written in files {
        check.base.clone_from(&written.base);
        let root = At::root(written.file);
        let at = root.key("routes");
        for (index, file) in written.document.routes.iter().flatten().enumerate() {
            let at = at.index(index);
            let name = check.required(&at, "name", file.name.as_ref());
            if let (Some(name), Some(leaf)) = (&name, &file.name) {
                let problem =
                    |message: String| Pending::error(at.key("name").place(), message).subject(Subject::Nothing);
                match names.get(name) {
                    _ if !is_legal_name(check, "route", name, problem) => {}
                    Some(first) => refuse_again(check, "route", &as_written(leaf), place_of_name(*first), problem),
                    None => drop(names.insert(name.clone(), (written.file, index))),
                }
            }
            routes.push(check_one(check, at, name.unwrap_or_default(), file, known, defaults));
        }
    }
    routes
}

/// The place of a route's name.
fn place_of_name((file, index): (usize, usize)) -> Place {
    At::root(file).key("routes").index(index).key("name").place()
}

fn check_one(
    check: &mut Check<'_>,
    at: At<'_>,
    name: String,
    file: &RouteFile,
    known: &Known<'_>,
    defaults: &Defaults,
) -> Route {
    let matching = check_match(check, at.key("match"), file.matching.as_ref());
    let action = check_action(check, at, file, known.clusters);
    if file.cluster.is_none() && file.split.is_none() {
        refuse_forward_keys(check, at, file);
    }
    split::refuse_key_alone(check, at, file);
    let policies = policies::check_named(
        check,
        at.key("policies"),
        file.policies.as_ref(),
        known.policies,
        known.policy_names,
        known.default_policies,
    );
    let named: Vec<&Policy> = policies.iter().map(|policy| &known.policies[*policy]).collect();
    policies::refuse_owned_edits(check, at, file, &named);
    let at_headers = at.key("headers");
    let headers = file.headers.as_ref();
    let request = headers.and_then(|headers| headers.request.as_ref());
    let response = headers.and_then(|headers| headers.response.as_ref());
    Route {
        name,
        rewrite_prefix: check_rewrite(check, at, file, &matching.path),
        host: matching.host,
        path: matching.path,
        methods: matching.methods,
        headers: matching.headers,
        query: matching.query,
        action,
        policies,
        priority: check.value(at.key("priority"), file.priority.as_ref()).unwrap_or(Priority::Normal),
        require_client_cert: check
            .value(at.key("require_client_cert"), file.require_client_cert.as_ref())
            .unwrap_or(false),
        host_header: check.value(at.key("host_header"), file.host_header.as_ref()).unwrap_or(HostHeader::Preserve),
        deadline_header: check.value(at.key("deadline_header"), file.deadline_header.as_ref()),
        timeouts: check_timeouts(check, at.key("timeouts"), file.timeouts.as_deref(), defaults.timeouts),
        retry: retry::check(check, at.key("retry"), file.retry.as_deref(), &defaults.retry),
        mirror: split::check_mirror(check, at.key("mirror"), file.mirror.as_deref(), known.clusters),
        body_limit: match check.value(at.key("body_limit"), file.body_limit.as_ref()) {
            Some(bytes) => (bytes > 0).then_some(bytes),
            None => defaults.body_limit,
        },
        upgrades: match &file.upgrades {
            Some(names) => check.values(at.key("upgrades"), Some(names)),
            None => defaults.upgrades.clone(),
        },
        request_headers: edits::check(check, at_headers.key("request"), request, Direction::Request),
        response_headers: edits::check(check, at_headers.key("response"), response, Direction::Response),
    }
}

/// A gateway without routes is legal, but hardly meant.
pub(super) fn warn_of_none(check: &mut Check<'_>, files: &[Written], routes: &[Route]) {
    if routes.is_empty() {
        let place = At::root(files[0].file).place();
        let warning = Pending::warning(place, "no route is defined, so every request is answered with 404");
        check.problems.push(warning.subject(Subject::Nothing));
    }
}

struct Matching {
    host: HostMatch,
    path: PathMatch,
    methods: Vec<String>,
    headers: Vec<(String, String)>,
    query: Vec<(String, String)>,
}

fn check_match(check: &mut Check<'_>, at: At<'_>, file: Option<&MatchFile>) -> Matching {
    let everything = MatchFile::default();
    let file = file.unwrap_or(&everything);
    let at_methods = at.key("methods");
    if file.methods.as_ref().is_some_and(Vec::is_empty) {
        check.missing(&at_methods, "expected at least one method");
    }
    let mut methods = check.values(at_methods, file.methods.as_ref());
    methods.sort_unstable();
    methods.dedup();
    let at_query = at.key("query");
    let parameters = file.query.iter().flat_map(|named| &named.0);
    let query = parameters
        .filter_map(|(name, leaf)| Some((name.clone(), check.value(at_query.key(name), Some(leaf))?)))
        .collect();
    Matching {
        host: check.value(at.key("host"), file.host.as_ref()).unwrap_or(HostMatch::Any),
        path: check.value(at.key("path"), file.path.as_ref()).unwrap_or_else(|| PathMatch::Prefix("/".to_owned())),
        methods,
        headers: edits::check_fields(check, at.key("headers"), file.headers.as_ref()),
        query,
    }
}

fn check_action(check: &mut Check<'_>, at: At<'_>, file: &RouteFile, clusters: &Names) -> Action {
    let given = [
        ("cluster", file.cluster.is_some()),
        ("split", file.split.is_some()),
        ("redirect", file.redirect.is_some()),
        ("respond", file.respond.is_some()),
    ];
    let mut given = given.into_iter().filter(|(_, is_given)| *is_given).map(|(key, _)| key);
    match given.next() {
        Some(first) => {
            for further in given {
                let message = format!("a route has one action, and this one has `{first}` and `{further}`");
                check
                    .problems
                    .push(Pending::error(at.key(further).place(), message).at_key().subject(Subject::Nothing));
            }
        }
        None => check.missing(&at, "missing an action, one of `cluster`, `split`, `redirect` and `respond`,"),
    }
    let mut action = Action::Forward { cluster: 0 };
    if let Some(respond) = &file.respond {
        action = check_respond(check, at.key("respond"), respond);
    }
    if let Some(redirect) = &file.redirect {
        action = check_redirect(check, at.key("redirect"), redirect);
    }
    if let Some(entries) = &file.split {
        action = split::check(check, at, file, entries, clusters);
    }
    if let Some(leaf) = &file.cluster {
        let cluster = clusters.find(check, at.key("cluster"), "cluster", leaf);
        action = Action::Forward { cluster: cluster.unwrap_or(0) };
    }
    action
}

fn check_redirect(check: &mut Check<'_>, at: At<'_>, file: &RedirectFile) -> Action {
    let to = check.required(&at, "to", file.to.as_ref()).unwrap_or_default();
    let status = match check.required(&at, "status", file.status.as_ref()) {
        Some(status @ (301 | 302 | 303 | 307 | 308)) => u16::try_from(status).unwrap_or(308),
        Some(_) => {
            check.error(at.key("status"), "expected the status of a redirect: 301, 302, 303, 307 or 308");
            308
        }
        None => 308,
    };
    Action::Redirect { to, status }
}

fn check_respond(check: &mut Check<'_>, at: At<'_>, file: &RespondFile) -> Action {
    let status = match check.required(&at, "status", file.status.as_ref()) {
        Some(status @ 200..=599) => u16::try_from(status).unwrap_or(200),
        Some(_) => {
            check.error(at.key("status"), "expected a final status, 200 to 599");
            200
        }
        None => 200,
    };
    let body = check.value(at.key("body"), file.body.as_ref()).unwrap_or_default();
    // RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5: these carry no content.
    if matches!(status, 204 | 205 | 304) && !body.is_empty() {
        check.error(at.key("body"), format!("a response with status {status} has no body"));
    }
    let content_type = check.value(at.key("content_type"), file.content_type.as_ref());
    let content_type = content_type.unwrap_or_else(|| "text/plain; charset=utf-8".to_owned());
    Action::Respond { status, body, content_type }
}

fn check_rewrite(check: &mut Check<'_>, at: At<'_>, file: &RouteFile, path: &PathMatch) -> Option<String> {
    let rewrite = file.rewrite.as_ref()?;
    let at = at.key("rewrite");
    let prefix = check.required(&at, "prefix", rewrite.prefix.as_ref());
    if let (PathMatch::Exact(_), Some(_)) = (path, &prefix) {
        let note = "only a path that ends with `/*` has a prefix to replace".to_owned();
        let problem = Pending::error(at.key("prefix").place(), "nothing to rewrite: the route matches one exact path");
        check.problems.push(problem.subject(Subject::Nothing).note(Some(note)));
    }
    prefix
}

/// Refuses what only a forwarded request can use; silent when the action itself is in doubt.
fn refuse_forward_keys(check: &mut Check<'_>, at: At<'_>, file: &RouteFile) {
    let action = match (&file.redirect, &file.respond) {
        (Some(_), None) => "redirects",
        (None, Some(_)) => "responds itself",
        _ => return,
    };
    let at_headers = at.key("headers");
    let useless = [
        (file.host_header.is_some(), at.key("host_header"), "host_header"),
        (file.deadline_header.is_some(), at.key("deadline_header"), "deadline_header"),
        (file.timeouts.is_some(), at.key("timeouts"), "timeouts"),
        (file.retry.is_some(), at.key("retry"), "retry"),
        (file.mirror.is_some(), at.key("mirror"), "mirror"),
        (file.priority.is_some(), at.key("priority"), "priority"),
        (file.upgrades.is_some(), at.key("upgrades"), "upgrades"),
        (file.rewrite.is_some(), at.key("rewrite"), "rewrite"),
        (
            file.headers.as_ref().is_some_and(|headers| headers.request.is_some()),
            at_headers.key("request"),
            "headers.request",
        ),
    ];
    for (_, at, key) in useless.into_iter().filter(|(is_given, _, _)| *is_given) {
        let problem = Pending::error(at.place(), format!("`{key}` means nothing in a route that {action}"));
        check.problems.push(problem.at_key().subject(Subject::Nothing).note(Some(FORWARD_KEYS.to_owned())));
    }
}
