//! A line of the access log, and what it says of how its request was decided.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::Deserialize;

use super::decide::Refusal;
use crate::limits;
use crate::routing::{Known, Trace};

/// What is of interest of a line.
#[derive(Debug, Deserialize)]
pub(super) struct Logged<'a> {
    pub(super) status: u16,
    #[serde(borrow, default)]
    pub(super) method: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) host: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) path: Cow<'a, str>,
    /// Was there one? What it said is not logged.
    #[serde(default)]
    pub(super) query: bool,
    #[serde(default)]
    pub(super) client_ip: Option<IpAddr>,
    #[serde(borrow, default)]
    pub(super) route: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) cluster: Cow<'a, str>,
    #[serde(default)]
    pub(super) bytes_in: u64,
    #[serde(borrow, default)]
    pub(super) reason: Cow<'a, str>,
    #[serde(borrow, default)]
    user_agent: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) client_cert: Cow<'a, str>,
}

/// What became of a request, as far as its configuration decided it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Was<'a> {
    Forwarded(&'a str),
    /// Answered by its route, with this status.
    Local(u16),
    Health,
    Refused(Refusal),
    /// Its route is known, and something else than the configuration decided what followed: a limit, a credential, load.
    Routed,
    /// It came to no decision, so there is nothing to compare: it could not be read, or was a loop.
    Undecided,
}

impl Logged<'_> {
    /// What the line tells of the decision.
    pub(super) fn was(&self) -> Was<'_> {
        let refusal = Refusal::ALL.into_iter().find(|refusal| refusal.reason() == self.reason);
        match (refusal, &*self.reason, &*self.cluster) {
            // A tunnel that its route does not let pass: the log does not tell that one was asked for.
            (Some(Refusal::Method), ..) if !self.route.is_empty() => Was::Routed,
            (Some(refusal), ..) => Was::Refused(refusal),
            (None, "loop_detected", _) => Was::Undecided,
            (None, reason, "") if !reason.is_empty() => {
                if self.route.is_empty() {
                    Was::Undecided
                } else {
                    Was::Routed
                }
            }
            (None, "", "") if self.route.is_empty() => Was::Health,
            // A preflight, or one that may go no further (Max-Forwards).
            (None, "", "") if self.method == "OPTIONS" => Was::Routed,
            (None, "", "") => Was::Local(self.status),
            (None, _, cluster) => Was::Forwarded(cluster),
        }
    }

    /// In words.
    pub(super) fn words(&self) -> String {
        let route = if self.route.is_empty() { "no route".to_owned() } else { format!("route `{}`", self.route) };
        match self.was() {
            Was::Health => "health".to_owned(),
            Was::Forwarded(cluster) => format!("{route}, cluster `{cluster}`"),
            Was::Local(status) => format!("{route}, answered {status}"),
            Was::Refused(refusal) => format!("{route}, {}", refusal.reason()),
            Was::Routed | Was::Undecided if self.reason.is_empty() => route,
            Was::Routed | Was::Undecided => format!("{route}, {}", self.reason),
        }
    }

    /// Was something of what decides too long for the log?
    pub(super) fn is_cut(&self) -> bool {
        [&self.method, &self.host, &self.path].into_iter().any(|text| text.len() >= limits::LOG_FIELD_BYTES)
    }
}

impl Trace for Logged<'_> {
    fn method(&self) -> Known<'_> {
        Known::Is(self.method.as_bytes())
    }

    fn header(&self, name: &str) -> Known<'_> {
        match (name, &*self.user_agent) {
            ("user-agent", "") => Known::Absent,
            ("user-agent", agent) if agent.len() < limits::LOG_FIELD_BYTES => Known::Is(agent.as_bytes()),
            _ => Known::Unknown,
        }
    }

    fn lacks_query(&self) -> bool {
        !self.query
    }
}

/// The same request as a preflight would ask about it: for another method, which is not logged.
pub(super) struct Preflight<'a>(pub(super) &'a Logged<'a>);

impl Trace for Preflight<'_> {
    fn method(&self) -> Known<'_> {
        Known::Unknown
    }

    fn header(&self, name: &str) -> Known<'_> {
        self.0.header(name)
    }

    fn lacks_query(&self) -> bool {
        self.0.lacks_query()
    }
}
