//! The configuration as written: the shape of the YAML, and the JSON Schema that editors use.
//!
//! Every part may be missing here; `check` knows which ones must not. Doc comments become the descriptions of the schema.

mod auth;
mod cluster;
mod compound;
mod health;
mod listener;
mod live_policy;
mod policy;
mod process;
mod rollout;
mod route;
mod tls;

use schemars::JsonSchema;
use serde::Deserialize;

pub(super) use self::auth::{ApiKeyFile, AuthCacheFile, BasicAuthFile, ExternalAuthFile, JwtFile, TextsFile};
pub(super) use self::cluster::{
    AdmissionFile, BreakerFile, ClusterFile, EndpointFile, HashKeyFields, HashKeyFile, KeepaliveFile, QueueFile,
};
pub(super) use self::compound::{Named, ScalarOr};
pub(super) use self::health::{ActiveHealthFile, HealthFile, PassiveHealthFile};
pub(super) use self::listener::{LimitsFile, ListenerFile};
use self::live_policy::LivePolicyFile;
pub(super) use self::policy::{AccessFile, CorsFile, LimitKeysFile, PolicyFile, RateLimitFile};
pub(super) use self::process::{AdminFile, AdminTlsFile, DnsFile, SampleFile, TracingFile, WorkersFile};
use self::process::{ObservabilityFile, ReloadFile, RuntimeFile};
pub(super) use self::route::{
    EditsFile, MatchFile, MirrorFile, RedirectFile, RespondFile, RetryFile, RouteFile, SplitFile, TimeoutsFile,
};
pub(super) use self::tls::{CertificateFile, ClusterTlsFile, ListenerTlsFile};
use super::leaf::Leaf;
use super::patterns::UpgradeName;
use super::units::{Count, Size, Text};

/// A Ringgate configuration.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
#[schemars(title = "Ringgate configuration")]
pub(in crate::config) struct Document {
    /// The version of the format, 1.
    #[schemars(required)]
    pub(in crate::config) version: Option<Leaf<Count>>,
    /// Globs of further files, relative to this one, read in sorted order; they may hold clusters, listeners, policies and routes.
    pub(in crate::config) include: Option<Vec<Leaf<Text>>>,
    /// The process itself.
    pub(in crate::config) runtime: Option<RuntimeFile>,
    /// The admin endpoint.
    pub(in crate::config) admin: Option<AdminFile>,
    /// How names of endpoints become addresses.
    pub(in crate::config) dns: Option<DnsFile>,
    /// Listening addresses by name.
    pub(in crate::config) listeners: Option<Named<ListenerFile>>,
    /// Values for routes and clusters that give none themselves.
    pub(in crate::config) defaults: Option<DefaultsFile>,
    /// Sets of endpoints by name.
    pub(in crate::config) clusters: Option<Named<ClusterFile>>,
    /// What requests must pass before they go to an endpoint, by name.
    pub(in crate::config) policies: Option<Named<PolicyFile>>,
    /// Which requests go where; precedence is by specificity, then by order.
    pub(in crate::config) routes: Option<Vec<RouteFile>>,
    /// The live policy document, which is in force over all routes.
    pub(in crate::config) policy: Option<LivePolicyFile>,
    /// What the gateway tells about its work.
    pub(in crate::config) observability: Option<ObservabilityFile>,
    /// How changes of the configuration are taken up.
    pub(in crate::config) reload: Option<ReloadFile>,
}

/// Values for routes and clusters that give none themselves.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(in crate::config) struct DefaultsFile {
    /// For routes.
    pub(in crate::config) route: Option<RouteDefaultsFile>,
    /// For clusters.
    pub(in crate::config) cluster: Option<ClusterDefaultsFile>,
}

/// Values for routes that give none themselves.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(in crate::config) struct RouteDefaultsFile {
    /// How long the steps of a forwarded request may take.
    pub(in crate::config) timeouts: Option<TimeoutsFile>,
    /// Bytes of a request body, 10MiB; 0 is no limit.
    pub(in crate::config) body_limit: Option<Leaf<Size>>,
    /// Protocols that a client may have its connection switched to, `websocket` alone; an empty list for none.
    pub(in crate::config) upgrades: Option<Vec<Leaf<UpgradeName>>>,
    /// When a failed attempt is tried again.
    pub(in crate::config) retry: Option<RetryFile>,
    /// Policies of routes that name none, by their names.
    pub(in crate::config) policies: Option<Vec<Leaf<Text>>>,
}

/// Values for clusters that give none themselves.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(in crate::config) struct ClusterDefaultsFile {
    /// How idle connections to endpoints are kept.
    pub(in crate::config) keepalive: Option<KeepaliveFile>,
}

/// The JSON Schema of the format (draft 2020-12), generated from the types that read it.
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(Document).to_value()
}
