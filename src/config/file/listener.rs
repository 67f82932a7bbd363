//! Listeners as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::addresses::{Listen, Network};
use super::super::choices::{ProtocolName, ProxyProtocolName};
use super::super::leaf::Leaf;
use super::super::patterns::HealthPath;
use super::super::units::{Count, OrOff, Size, Span, Switch, Wait};
use super::tls::ListenerTlsFile;

/// One listening address.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(in crate::config) struct ListenerFile {
    /// Where to listen; `:8080` is port 8080 of every address.
    #[schemars(required)]
    pub(in crate::config) address: Option<Leaf<Listen>>,
    /// The path of the gateway's own health check, `/health`, or `off`.
    pub(in crate::config) health_path: Option<Leaf<OrOff<HealthPath>>>,
    /// How its connections are secured; they are plain unless given.
    pub(in crate::config) tls: Option<ListenerTlsFile>,
    /// The protocols it speaks, the favourite one first: `[h2, http/1.1]` with `tls`, `[http/1.1]` without.
    #[schemars(length(min = 1))]
    pub(in crate::config) protocols: Option<Vec<Leaf<ProtocolName>>>,
    /// Bounds on what a client may send and how long it may take.
    pub(in crate::config) limits: Option<LimitsFile>,
    /// Networks whose `X-Forwarded-*` fields are believed.
    pub(in crate::config) trusted_proxies: Option<Vec<Leaf<Network>>>,
    /// Whether `trusted_proxies` begin with a header of the PROXY protocol, version 1 or 2: `off`, `optional` or `required`.
    pub(in crate::config) proxy_protocol: Option<Leaf<ProxyProtocolName>>,
    /// Whether a host that no route names is answered with 421, false.
    pub(in crate::config) strict_host: Option<Leaf<Switch>>,
}

/// Bounds on what a client may send and how long it may take.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(in crate::config) struct LimitsFile {
    /// Bytes of one request head, 64KiB.
    pub(in crate::config) header_bytes: Option<Leaf<Size>>,
    /// Field lines of one request head, 128.
    pub(in crate::config) header_count: Option<Leaf<Count>>,
    /// Time for a request head to arrive once its first byte did, 10s.
    pub(in crate::config) header_timeout: Option<Leaf<Wait>>,
    /// With `tls`: time from the accepted connection to the end of its handshake, 10s.
    pub(in crate::config) handshake_timeout: Option<Leaf<Wait>>,
    /// Time a connection may rest between two requests, 75s.
    pub(in crate::config) idle_timeout: Option<Leaf<Wait>>,
    /// The slowest a request body may arrive.
    pub(in crate::config) body_min_rate: Option<BodyMinRateFile>,
    /// Time a client may read nothing of a response that waits for it, 30s.
    pub(in crate::config) write_timeout: Option<Leaf<Wait>>,
    /// Most connections at once, exact over all workers; 0, the default, is no cap.
    pub(in crate::config) connections: Option<Leaf<Count>>,
    /// Most connections at once of one client address, of one /64 with IPv6; 0, the default, is no cap.
    pub(in crate::config) connections_per_client: Option<Leaf<Count>>,
    /// Streams open at once on one connection of HTTP/2, 100.
    pub(in crate::config) h2_streams: Option<Leaf<Count>>,
}

/// The slowest a request body may arrive.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `rate` and `grace`")]
pub(in crate::config) struct BodyMinRateFile {
    /// Bytes per second on average, 1KiB; 0 demands nothing.
    pub(in crate::config) rate: Option<Leaf<Size>>,
    /// Time from the start of the body in which nothing is demanded, 10s.
    pub(in crate::config) grace: Option<Leaf<Span>>,
}
