//! Health checks as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::addresses::{HostField, ServerName};
use super::super::bounds::{MIN_REQUESTS_MAX, PORT_MAX};
use super::super::choices::ProbeKindName;
use super::super::leaf::Leaf;
use super::super::patterns::{ProbePath, ServiceName, StatusRange};
use super::super::units::{Count, Percent, Switch, Text, Wait};
use super::compound::ScalarOr;

/// How sick endpoints are found.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `active` and `passive`")]
pub(in crate::config) struct HealthFile {
    /// By probes of the gateway's own.
    pub(in crate::config) active: Option<ActiveHealthFile>,
    /// By what becomes of the requests they get.
    pub(in crate::config) passive: Option<PassiveHealthFile>,
}

/// Probes that the gateway sends to every endpoint.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `kind`")]
pub(in crate::config) struct ActiveHealthFile {
    /// `tcp`, `http`, `https` or `grpc`.
    #[schemars(required)]
    pub(in crate::config) kind: Option<Leaf<ProbeKindName>>,
    /// With `http` and `https`: the path, `/`.
    pub(in crate::config) path: Option<Leaf<ProbePath>>,
    /// With `http` and `https`: the `Host`, the endpoint's own.
    pub(in crate::config) host: Option<Leaf<HostField>>,
    /// With `grpc`: the service of `grpc.health.v1`, empty for the whole server.
    pub(in crate::config) service: Option<Leaf<ServiceName>>,
    /// The port, the endpoint's own.
    #[schemars(range(min = 1, max = PORT_MAX))]
    pub(in crate::config) port: Option<Leaf<Count>>,
    /// Time from one probe to the next, 5s, give or take some jitter.
    pub(in crate::config) interval: Option<Leaf<Wait>>,
    /// Time for the answer, 2s or the interval when that is shorter.
    pub(in crate::config) timeout: Option<Leaf<Wait>>,
    /// With `http` and `https`: statuses of a healthy endpoint, 200.
    pub(in crate::config) expect: Option<ExpectFile>,
    /// Passed probes in a row that make an endpoint healthy again, 2.
    #[schemars(range(min = 1))]
    pub(in crate::config) healthy_after: Option<Leaf<Count>>,
    /// Failed probes in a row that make it unhealthy, 3.
    #[schemars(range(min = 1))]
    pub(in crate::config) unhealthy_after: Option<Leaf<Count>>,
    /// Whether a new endpoint gets no request before it passed, false.
    pub(in crate::config) require_probe: Option<Leaf<Switch>>,
    /// With `https`: a file of the certificates that may sign the endpoint's, in PEM; the system's when left out.
    pub(in crate::config) ca: Option<Leaf<Text>>,
    /// With `https`: the name that the endpoint's certificate must have, the host of its URL.
    pub(in crate::config) server_name: Option<Leaf<ServerName>>,
    /// With `https`: whether any certificate will do, false.
    pub(in crate::config) insecure_skip_verify: Option<Leaf<Switch>>,
}

/// One status, a range of them, or a list of both.
pub(in crate::config) type ExpectFile = ScalarOr<StatusRange, Vec<Leaf<StatusRange>>>;

/// What becomes of the requests of an endpoint, over a sliding window.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping, `{}` for the defaults")]
pub(in crate::config) struct PassiveHealthFile {
    /// Time over which failures are counted, 30s.
    pub(in crate::config) window: Option<Leaf<Wait>>,
    /// Share of failures that ejects an endpoint, 50%.
    pub(in crate::config) error_rate: Option<Leaf<Percent>>,
    /// Requests in the window before the share means anything, 20.
    #[schemars(range(min = 1, max = MIN_REQUESTS_MAX))]
    pub(in crate::config) min_requests: Option<Leaf<Count>>,
    /// Time of the first ejection, 10s; further ones last longer.
    pub(in crate::config) eject_for: Option<Leaf<Wait>>,
    /// Share of the cluster's endpoints that may be ejected at once, 50%.
    pub(in crate::config) max_ejected: Option<Leaf<Percent>>,
}
