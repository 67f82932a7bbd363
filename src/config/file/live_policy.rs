//! Where the live policy document is, as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::leaf::Leaf;
use super::super::rates::StoreUrl;
use super::super::units::Text;

/// The live policy document: whether requests pass at all, how many a second, and when breakers open.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `file`, `redis` or both")]
pub(in crate::config) struct LivePolicyFile {
    /// A file in JSON, `.gateway-policy.json` unless the document is in Redis; its directory is watched, and `POST /policy`
    /// writes it.
    pub(in crate::config) file: Option<Leaf<Text>>,
    /// A key of Redis that several gateways share.
    pub(in crate::config) redis: Option<PolicyKeyFile>,
}

/// A key of Redis.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `url`")]
pub(in crate::config) struct PolicyKeyFile {
    /// A server of Redis: `redis://[[user]:password@]host[:port][/database]` or `unix:///path`.
    #[schemars(required)]
    pub(in crate::config) url: Option<Leaf<StoreUrl>>,
    /// The key, and the channel on which its changes are told: `gateway:policy`.
    pub(in crate::config) key: Option<Leaf<Text>>,
}
