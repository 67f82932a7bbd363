//! Clusters as written: endpoints, caps, what chooses and what protects them.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::MapAccess;
use serde::de::value::MapAccessDeserializer;

use super::super::addresses::EndpointUrl;
use super::super::bounds::{
    ADMITTED_MAX, CLOSE_AFTER_MAX, CONSECUTIVE_MAX, ENDPOINT_WEIGHT_MAX, MIN_REQUESTS_MAX, PRIORITY_MAX, PROBES_MAX,
};
use super::super::choices::{BalanceName, HashKeyName, NoneHealthyName, ProxyVersionName, UpstreamProtocolName};
use super::super::leaf::Leaf;
use super::super::patterns::{CookieName, FieldName};
use super::super::units::{Count, OrOff, Patience, Percent, Silence, Switch, Wait};
use super::HealthFile;
use super::compound::{Compound, ScalarOr};
use super::tls::ClusterTlsFile;

/// A set of endpoints.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(in crate::config) struct ClusterFile {
    /// How an endpoint is chosen: `round_robin`.
    pub(in crate::config) balance: Option<Leaf<BalanceName>>,
    /// What `consistent_hash` hashes.
    pub(in crate::config) hash_key: Option<HashKeyFile>,
    /// The addresses requests are sent to, at least one.
    #[schemars(required, length(min = 1))]
    pub(in crate::config) endpoints: Option<Vec<EndpointFile>>,
    /// What is spoken to the endpoints, `http1` unless given; to those with `h2c://` it is `h2` all the same.
    pub(in crate::config) protocol: Option<Leaf<UpstreamProtocolName>>,
    /// How connections to its `https` endpoints are secured; verified by the system's authorities unless given.
    pub(in crate::config) tls: Option<ClusterTlsFile>,
    /// Whether connections begin by naming the client they are for, and in which version of the PROXY protocol: off.
    pub(in crate::config) proxy_protocol: Option<Leaf<ProxyVersionName>>,
    /// How idle connections to the endpoints are kept.
    pub(in crate::config) keepalive: Option<KeepaliveFile>,
    /// Most connections to the whole cluster, of HTTP/2 most requests, over all workers; 0, unless given, is no cap.
    pub(in crate::config) max_connections: Option<Leaf<Count>>,
    /// Requests that may wait for one of `max_connections`; none unless given.
    pub(in crate::config) queue: Option<QueueFile>,
    /// A limit on requests in flight that follows their latency: what is above it is answered with 503; none unless given.
    pub(in crate::config) admission: Option<AdmissionFile>,
    /// Time over which an endpoint that comes back gets its full share again; at once unless given.
    pub(in crate::config) slow_start: Option<Leaf<Wait>>,
    /// When no endpoint is fit: `fail_open` uses them all the same, `fail_closed` answers with 503.
    pub(in crate::config) none_healthy: Option<Leaf<NoneHealthyName>>,
    /// Whether `/ready` needs a fit endpoint in this cluster, false.
    pub(in crate::config) required: Option<Leaf<Switch>>,
    /// A tier of endpoints slower than this is left while another one is not; no bound unless given.
    pub(in crate::config) max_latency: Option<Leaf<Wait>>,
    /// How sick endpoints are found; they are not unless given.
    pub(in crate::config) health: Option<HealthFile>,
    /// When an endpoint that fails is left alone; never unless given.
    pub(in crate::config) breaker: Option<BreakerFile>,
}

/// One address of a cluster.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `url`")]
pub(in crate::config) struct EndpointFile {
    /// `http://host:port`, `https://host:port`, or `h2c://host:port` for HTTP/2 without TLS.
    #[schemars(required)]
    pub(in crate::config) url: Option<Leaf<EndpointUrl>>,
    /// Its share of the requests beside the others', 1; 0 drains it.
    #[schemars(range(max = ENDPOINT_WEIGHT_MAX))]
    pub(in crate::config) weight: Option<Leaf<Count>>,
    /// Its tier, 0; a higher one is used only when the lower ones have no fit endpoint.
    #[schemars(range(max = PRIORITY_MAX))]
    pub(in crate::config) priority: Option<Leaf<Count>>,
    /// The latest its name is asked for again, instead of `dns.ttl_max`.
    pub(in crate::config) dns_ttl_max: Option<Leaf<Wait>>,
}

/// `client_ip`, `path`, a field or a cookie.
pub(in crate::config) type HashKeyFile = ScalarOr<HashKeyName, HashKeyFields>;

/// The part of a request that is hashed, by its name.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `header` or `cookie`")]
pub(in crate::config) struct HashKeyFields {
    /// The value of this field.
    pub(in crate::config) header: Option<Leaf<FieldName>>,
    /// The value of this cookie.
    pub(in crate::config) cookie: Option<Leaf<CookieName>>,
}

impl Compound for HashKeyFields {
    fn from_mapping<'de, A: MapAccess<'de>>(mapping: A) -> Option<Result<Self, A::Error>> {
        Some(Self::deserialize(MapAccessDeserializer::new(mapping)))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Self>()
    }
}

/// Requests that wait for a connection.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `max` and `timeout`")]
pub(in crate::config) struct QueueFile {
    /// Most of them at once; further ones are answered with 503.
    #[schemars(required, range(min = 1))]
    pub(in crate::config) max: Option<Leaf<Count>>,
    /// The longest one waits before it is answered with 503.
    #[schemars(required)]
    pub(in crate::config) timeout: Option<Leaf<Wait>>,
}

/// A limit on requests in flight that follows their latency.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping, `{}` for the defaults")]
pub(in crate::config) struct AdmissionFile {
    /// Least requests in flight, 1.
    #[schemars(range(min = 1, max = ADMITTED_MAX))]
    pub(in crate::config) min: Option<Leaf<Count>>,
    /// Most requests in flight, 1000.
    #[schemars(range(min = 1, max = ADMITTED_MAX))]
    pub(in crate::config) max: Option<Leaf<Count>>,
    /// How often what an answer takes without others is measured anew, 30s.
    pub(in crate::config) measure_every: Option<Leaf<Wait>>,
}

/// When an endpoint that fails is left alone: by the share of failures in a window, or by failures in a row.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping, `{}` for the defaults")]
pub(in crate::config) struct BreakerFile {
    /// Time over which failures are counted, 10s.
    pub(in crate::config) window: Option<Leaf<Wait>>,
    /// Share of failures that opens it, 50%.
    pub(in crate::config) error_rate: Option<Leaf<Percent>>,
    /// Attempts in the window before the share means anything, 20.
    #[schemars(range(min = 1, max = MIN_REQUESTS_MAX))]
    pub(in crate::config) min_requests: Option<Leaf<Count>>,
    /// Failures in a row that open it whatever the share is, 50 or what the live policy says; 0 for never.
    #[schemars(range(max = CONSECUTIVE_MAX))]
    pub(in crate::config) consecutive: Option<Leaf<Count>>,
    /// Time it stays open before it tries again, 15s.
    pub(in crate::config) open_for: Option<Leaf<Wait>>,
    /// Requests let through at once to try, 1; at most 31.
    #[schemars(range(min = 1, max = PROBES_MAX))]
    pub(in crate::config) probes: Option<Leaf<Count>>,
    /// Successes of those that close it, 3.
    #[schemars(range(min = 1, max = CLOSE_AFTER_MAX))]
    pub(in crate::config) close_after: Option<Leaf<Count>>,
}

/// How idle upstream connections are kept.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(in crate::config) struct KeepaliveFile {
    /// Idle connections kept for one endpoint, 1000.
    pub(in crate::config) idle_per_endpoint: Option<Leaf<Count>>,
    /// Idle connections kept for the whole cluster, 10000.
    pub(in crate::config) idle_total: Option<Leaf<Count>>,
    /// Time a connection may rest before it is closed, 90s.
    pub(in crate::config) idle_timeout: Option<Leaf<Wait>>,
    /// Time of silence before the kernel probes the peer, 30s, or `off`.
    pub(in crate::config) tcp: Option<Leaf<OrOff<Silence>>>,
    /// Time of silence, with requests open, before an endpoint of HTTP/2 is asked for a sign of life, 10s, or `off`.
    pub(in crate::config) ping_after: Option<Leaf<OrOff<Patience>>>,
    /// Time that it has for one, 5s.
    pub(in crate::config) ping_timeout: Option<Leaf<Wait>>,
}
