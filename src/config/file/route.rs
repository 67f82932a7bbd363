//! Routes as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::bounds::{ATTEMPTS_MAX, SPLIT_WEIGHT_MAX};
use super::super::choices::{HostHeaderName, PriorityName, RetryCause, RetryMethods};
use super::super::leaf::Leaf;
use super::super::patterns::{
    DeadlineField, FieldName, FieldValue, HostPattern, Method, PathPattern, PrefixRewrite, RedirectTarget, UpgradeName,
};
use super::super::units::{Count, Percent, Size, Span, Switch, Text, Wait};
use super::HashKeyFile;
use super::compound::Named;

/// Which requests, and what becomes of them: exactly one of `cluster`, `split`, `redirect` and `respond`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
// There may be tens of thousands: what is large and mostly not given has a box.
pub(in crate::config) struct RouteFile {
    /// Its name in logs and metrics, unique among routes.
    #[schemars(required)]
    pub(in crate::config) name: Option<Leaf<Text>>,
    /// Which requests; everything that is not given matches all.
    #[serde(rename = "match")]
    pub(in crate::config) matching: Option<MatchFile>,
    /// Forwards to this cluster.
    pub(in crate::config) cluster: Option<Leaf<Text>>,
    /// Forwards to several clusters, to each its share.
    #[schemars(length(min = 1))]
    pub(in crate::config) split: Option<Vec<SplitFile>>,
    /// Keeps what has the same value of this at one cluster of the split.
    pub(in crate::config) split_key: Option<Box<HashKeyFile>>,
    /// Answers with a redirect.
    pub(in crate::config) redirect: Option<Box<RedirectFile>>,
    /// Answers with a fixed response.
    pub(in crate::config) respond: Option<Box<RespondFile>>,
    /// What requests must pass, by the names of `policies`; an empty list for nothing.
    pub(in crate::config) policies: Option<Vec<Leaf<Text>>>,
    /// Who is shed last where `admission` of the cluster sheds: `low`, `normal` or `high`.
    pub(in crate::config) priority: Option<Leaf<PriorityName>>,
    /// Whether clients must have shown a certificate (`client_ca` of the listener), false; without one: 403.
    pub(in crate::config) require_client_cert: Option<Leaf<Switch>>,
    /// Which `Host` the upstream sees: `preserve` (the client's) or `upstream` (the endpoint's).
    pub(in crate::config) host_header: Option<Leaf<HostHeaderName>>,
    /// Tells the upstream in this field how many milliseconds its answer may take.
    pub(in crate::config) deadline_header: Option<Leaf<DeadlineField>>,
    /// How long the steps of a forwarded request may take.
    pub(in crate::config) timeouts: Option<Box<TimeoutsFile>>,
    /// Bytes of a request body; 0 is no limit.
    pub(in crate::config) body_limit: Option<Leaf<Size>>,
    /// When a failed attempt is tried again.
    pub(in crate::config) retry: Option<Box<RetryFile>>,
    /// Protocols that a client may have its connection switched to, `websocket` alone; an empty list for none.
    pub(in crate::config) upgrades: Option<Vec<Leaf<UpgradeName>>>,
    /// Sends a copy of some requests to a further cluster, whose answers nobody waits for.
    pub(in crate::config) mirror: Option<Box<MirrorFile>>,
    /// Changes the path on the way to the upstream.
    pub(in crate::config) rewrite: Option<RewriteFile>,
    /// Edits of fields.
    pub(in crate::config) headers: Option<Box<HeadersFile>>,
}

/// How long the steps of a forwarded request may take.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(in crate::config) struct TimeoutsFile {
    /// To open a connection to an endpoint, 5s.
    pub(in crate::config) connect: Option<Leaf<Wait>>,
    /// From the end of the request to the end of the response head, 10s.
    pub(in crate::config) response_header: Option<Leaf<Wait>>,
    /// From the request's head to the end of the response head, attempts included, 30s.
    pub(in crate::config) request: Option<Leaf<Wait>>,
    /// In which an upstream must send something while its response body is read, 30s.
    pub(in crate::config) body_idle: Option<Leaf<Wait>>,
    /// In which either side must send something once the protocol was switched, 1h.
    pub(in crate::config) tunnel_idle: Option<Leaf<Wait>>,
}

/// One cluster of a split.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `cluster` and `weight`")]
pub(in crate::config) struct SplitFile {
    /// Its name.
    #[schemars(required)]
    pub(in crate::config) cluster: Option<Leaf<Text>>,
    /// Its share of the requests beside the others'; 0 for none.
    #[schemars(required, range(max = SPLIT_WEIGHT_MAX))]
    pub(in crate::config) weight: Option<Leaf<Count>>,
}

/// When a failed attempt is tried again. Never once a byte of the response went to the client.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(in crate::config) struct RetryFile {
    /// Tries in all, the first one included, 2; 1 switches retries off.
    #[schemars(range(min = 1, max = ATTEMPTS_MAX))]
    pub(in crate::config) attempts: Option<Leaf<Count>>,
    /// What is tried again: `connect`, `reset`, `timeout`, or a status from 500 to 599; [connect, reset].
    pub(in crate::config) on: Option<Vec<Leaf<RetryCause>>>,
    /// Retries as a share of the requests, 10%.
    pub(in crate::config) budget: Option<Leaf<Percent>>,
    /// Time before the first retry, doubled for each further one and varied at random, 100ms.
    pub(in crate::config) backoff: Option<Leaf<Span>>,
    /// `idempotent` (RFC 9110 section 9.2.2) or `any`.
    pub(in crate::config) methods: Option<Leaf<RetryMethods>>,
    /// Whether an endpoint that reset or refused the connection is asked again where there is no other, off.
    pub(in crate::config) same_endpoint: Option<Leaf<Switch>>,
}

/// A copy of some requests for a further cluster.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `cluster` and `share`")]
pub(in crate::config) struct MirrorFile {
    /// Its name.
    #[schemars(required)]
    pub(in crate::config) cluster: Option<Leaf<Text>>,
    /// The share of the requests that is copied.
    #[schemars(required)]
    pub(in crate::config) share: Option<Leaf<Percent>>,
}

/// Which requests a route takes; all parts must match.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(in crate::config) struct MatchFile {
    /// `api.example.com`, `*.example.com` (every host below it) or `*`.
    pub(in crate::config) host: Option<Leaf<HostPattern>>,
    /// `/robots.txt` (only this) or `/orders/*` (`/orders` and everything below it).
    pub(in crate::config) path: Option<Leaf<PathPattern>>,
    /// Any of these methods.
    #[schemars(length(min = 1))]
    pub(in crate::config) methods: Option<Vec<Leaf<Method>>>,
    /// Fields that must be present with exactly this value.
    pub(in crate::config) headers: Option<Named<Leaf<FieldValue>>>,
    /// Query parameters that must be present with exactly this value.
    pub(in crate::config) query: Option<Named<Leaf<Text>>>,
}

/// A redirect.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `to` and `status`")]
pub(in crate::config) struct RedirectFile {
    /// A URL or a path; `{path}` and `{query}` (with its `?`) stand for the request's.
    #[schemars(required)]
    pub(in crate::config) to: Option<Leaf<RedirectTarget>>,
    /// 301, 302, 303, 307 or 308.
    #[schemars(required)]
    pub(in crate::config) status: Option<Leaf<Count>>,
}

/// A fixed response.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `status` and `body`")]
pub(in crate::config) struct RespondFile {
    /// 200 to 599.
    #[schemars(required)]
    pub(in crate::config) status: Option<Leaf<Count>>,
    /// Its content, empty unless given.
    pub(in crate::config) body: Option<Leaf<Text>>,
    /// Its media type, `text/plain; charset=utf-8`.
    pub(in crate::config) content_type: Option<Leaf<FieldValue>>,
}

/// Changes of the path on the way to the upstream.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `prefix`")]
pub(in crate::config) struct RewriteFile {
    /// What stands in place of the matched prefix; what followed the prefix is kept.
    #[schemars(required)]
    pub(in crate::config) prefix: Option<Leaf<PrefixRewrite>>,
}

/// Edits of fields in both directions.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `request` and `response`")]
pub(in crate::config) struct HeadersFile {
    /// On the way to the upstream.
    pub(in crate::config) request: Option<EditsFile>,
    /// On the way to the client.
    pub(in crate::config) response: Option<EditsFile>,
}

/// Edits of fields, applied in the order remove, set, add.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `set`, `add` and `remove`")]
pub(in crate::config) struct EditsFile {
    /// Replaces every line of the field.
    pub(in crate::config) set: Option<Named<Leaf<FieldValue>>>,
    /// Adds a line.
    pub(in crate::config) add: Option<Named<Leaf<FieldValue>>>,
    /// Removes every line of the field.
    pub(in crate::config) remove: Option<Vec<Leaf<FieldName>>>,
}
