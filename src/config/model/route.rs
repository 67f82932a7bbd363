//! The checked form of routes.

use std::time::Duration;

use super::HashKey;

/// One rule: which requests, and what becomes of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Its name, unique among routes.
    pub name: String,
    /// Which hosts it matches.
    pub host: HostMatch,
    /// Which paths it matches.
    pub path: PathMatch,
    /// Methods it matches, case-sensitive (RFC 9110 section 9.1); empty matches all.
    pub methods: Vec<String>,
    /// Fields that must be present with exactly this value; names are in lower case.
    pub headers: Vec<(String, String)>,
    /// Query parameters that must be present with exactly this value.
    pub query: Vec<(String, String)>,
    /// What becomes of a request.
    pub action: Action,
    /// What its requests must pass: indices into [`Config::policies`](super::Config::policies), none twice, and one
    /// policy of cross-origin sharing at most.
    pub policies: Vec<usize>,
    /// Who is shed last.
    pub priority: Priority,
    /// Whether it is only for clients that have shown a certificate.
    pub require_client_cert: bool,
    /// Which `Host` the upstream sees.
    pub host_header: HostHeader,
    /// The field that tells the upstream how many milliseconds its answer may take; in lower case.
    pub deadline_header: Option<String>,
    /// How long the steps of a forwarded request may take.
    pub timeouts: Timeouts,
    /// When a failed attempt is tried again.
    pub retry: Retry,
    /// Protocols that a client may have its connection switched to, in lower case; never one of HTTP itself.
    pub upgrades: Vec<String>,
    /// Where a copy of some requests goes.
    pub mirror: Option<Mirror>,
    /// Bytes of a request body, `None` without a limit.
    pub body_limit: Option<u64>,
    /// Replaces the prefix of a [`PathMatch::Prefix`] route: starts with `/` or is empty, never ends with `/`. With the
    /// prefix `/orders/`, the new path is this text and what follows `/orders` in the old one, or `/` if that is empty.
    pub rewrite_prefix: Option<String>,
    /// Edits of the request's fields on the way to the upstream.
    pub request_headers: HeaderEdits,
    /// Edits of the response's fields on the way to the client.
    pub response_headers: HeaderEdits,
}

/// Who is shed last, where [`Admission`](super::Admission) sheds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// When a quarter of the limit is free no longer.
    Low,
    /// At the limit.
    Normal,
    /// A quarter above the limit.
    High,
}

/// Which hosts a route matches; always in lower case, without a port and without a final dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostMatch {
    /// Every host.
    Any,
    /// This host; an IPv6 address is in brackets, as in a `Host` field.
    Exact(String),
    /// Every host below a domain: the suffix with its first dot, `.example.com` for `*.example.com`.
    Wildcard(String),
}

/// Which paths a route matches; a path starts with `/` and carries no query.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathMatch {
    /// This path and no other.
    Exact(String),
    /// Ends with `/`: `/orders/` (written `/orders/*`) matches `/orders` and everything that starts with `/orders/`;
    /// `/` (written `/*`) matches every path.
    Prefix(String),
}

/// What becomes of a request that a route matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It is forwarded to a cluster.
    Forward {
        /// Index into [`Config::clusters`](super::Config::clusters).
        cluster: usize,
    },
    /// It is forwarded to one of several clusters.
    Split {
        /// Index into [`Config::clusters`](super::Config::clusters), none twice, and its share beside the others', 0 to
        /// 10000; at least one, not all 0.
        to: Vec<(usize, u32)>,
        /// What has the same value of this goes to the same cluster; `None` takes them in turn.
        sticky: Option<HashKey>,
    },
    /// It is answered with a redirect.
    Redirect {
        /// The value of `Location`; `{path}` stands for the request's path and `{query}` for its query with the
        /// `?`, or nothing. No other brace occurs.
        to: String,
        /// 301, 302, 303, 307 or 308.
        status: u16,
    },
    /// It is answered with a fixed response.
    Respond {
        /// 200 to 599.
        status: u16,
        /// The content; empty for 204, 205 and 304.
        body: String,
        /// The value of `Content-Type`.
        content_type: String,
    },
}

/// Which `Host` the upstream sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostHeader {
    /// The one the client sent.
    Preserve,
    /// The endpoint's own, see [`Endpoint::authority`](super::Endpoint::authority).
    Upstream,
}

/// How long the steps of a forwarded request may take; none is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To open a connection to an endpoint.
    pub connect: Duration,
    /// From the last byte of the request to the end of the response head.
    pub response_header: Duration,
    /// From the request's head to the end of the response head, attempts included; bodies are guarded by
    /// `body_idle` and [`BodyMinRate`](super::BodyMinRate) instead.
    pub request: Duration,
    /// In which an upstream must send something while its response body is read.
    pub body_idle: Duration,
    /// In which either side must send something once the protocol was switched.
    pub tunnel_idle: Duration,
}

/// When a failed attempt is tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// Tries in all, the first one included, 1 to 10; 1 is no retry.
    pub attempts: u32,
    /// What is tried again; something, unless `attempts` is 1.
    pub on: RetryOn,
    /// Retries as a share of the requests, 0.0 to 1.0.
    pub budget: f64,
    /// Time before the first retry, at most 10 s; doubled for each further one.
    pub backoff: Duration,
    /// Whether methods that are not idempotent (RFC 9110 section 9.2.2) are tried again too.
    pub any_method: bool,
    /// Whether an endpoint that could not be reached, or died, is asked again where there is no other.
    pub same_endpoint: bool,
}

/// What makes an attempt one that is tried again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetryOn {
    /// No connection came about.
    pub connect: bool,
    /// The connection ended before a byte of the response.
    pub reset: bool,
    /// The response did not begin in time.
    pub timeout: bool,
    /// Responses with one of these statuses, 500 to 599, sorted, none twice.
    pub statuses: Vec<u16>,
}

impl RetryOn {
    /// Whether nothing is tried again.
    pub fn is_empty(&self) -> bool {
        !self.connect && !self.reset && !self.timeout && self.statuses.is_empty()
    }
}

/// Where a copy of some requests goes; nobody waits for the answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mirror {
    /// Index into [`Config::clusters`](super::Config::clusters).
    pub cluster: usize,
    /// Share of the requests that is copied, above 0.0 and up to 1.0.
    pub share: f64,
}

/// Edits of a message's fields, applied in the order remove, set, add; names are in lower case, valid tokens, never
/// hop-by-hop or framing fields; values are valid field values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Fields that replace every line of their name.
    pub set: Vec<(String, String)>,
    /// Lines that are added.
    pub add: Vec<(String, String)>,
    /// Names whose lines are removed.
    pub remove: Vec<String>,
}
