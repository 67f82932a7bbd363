//! Policies as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::addresses::Network;
use super::super::leaf::Leaf;
use super::super::patterns::{FieldName, Method, OrAny, OriginPattern};
use super::super::rates::{
    LimitAlgorithmName, LimitKeyName, LimitScopeName, OnStoreErrorName, Rate, StoreModeName, StoreUrl,
};
use super::super::units::{Count, Span, Switch, Wait};
use super::auth::{ApiKeyFile, BasicAuthFile, ExternalAuthFile, JwtFile};
use super::compound::ScalarOr;

/// What a request must pass before it goes to an endpoint; at least one part.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(in crate::config) struct PolicyFile {
    /// Which client addresses may pass.
    pub(in crate::config) access: Option<AccessFile>,
    /// How many requests may pass.
    pub(in crate::config) rate_limit: Option<RateLimitFile>,
    /// What scripts of other origins may do; their preflights are answered by the gateway.
    pub(in crate::config) cors: Option<CorsFile>,
    /// Which bearer tokens (JWT) pass.
    pub(in crate::config) jwt: Option<JwtFile>,
    /// Which API keys pass.
    pub(in crate::config) api_key: Option<ApiKeyFile>,
    /// Which users with their passwords pass.
    pub(in crate::config) basic_auth: Option<BasicAuthFile>,
    /// Which service is asked.
    pub(in crate::config) external_auth: Option<ExternalAuthFile>,
}

/// Which client addresses may pass: of all networks that hold one the most specific decides; one in none of them passes
/// unless `allow` is given.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `allow` and `deny`")]
pub(in crate::config) struct AccessFile {
    /// Networks, or single addresses, that pass.
    #[schemars(length(min = 1))]
    pub(in crate::config) allow: Option<Vec<Leaf<Network>>>,
    /// Networks, or single addresses, that do not: 403.
    #[schemars(length(min = 1))]
    pub(in crate::config) deny: Option<Vec<Leaf<Network>>>,
}

/// How many requests of a key may pass in a period: 429 beyond that. `{}` is 100 in a minute for each client address.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(in crate::config) struct RateLimitFile {
    /// What requests are counted by, `client_ip`: the first of a list that a request has, and its `client_ip` if none.
    pub(in crate::config) key: Option<LimitKeysFile>,
    /// Requests and the period in which they may come, 100/1m.
    pub(in crate::config) limit: Option<Leaf<Rate>>,
    /// `sliding_window`, the default, or `token_bucket`.
    pub(in crate::config) algorithm: Option<Leaf<LimitAlgorithmName>>,
    /// With `token_bucket`: requests that may come at once, as many as the limit.
    pub(in crate::config) burst: Option<Leaf<Count>>,
    /// Who keeps it together: the workers of this `process`, or all gateways that share a `store`: `cluster`.
    pub(in crate::config) scope: Option<Leaf<LimitScopeName>>,
    /// With `scope: cluster`: where it is kept.
    pub(in crate::config) store: Option<StoreFile>,
}

/// Where a limit is kept that several gateways share.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `redis`")]
pub(in crate::config) struct StoreFile {
    /// A server of Redis: `redis://[[user]:password@]host[:port][/database]` or `unix:///path`.
    #[schemars(required)]
    pub(in crate::config) redis: Option<Leaf<StoreUrl>>,
    /// `leased`, ahead of use and without waiting, or `exact`: asked for each request.
    pub(in crate::config) mode: Option<Leaf<StoreModeName>>,
    /// Without an answer: `allow` the request, `deny` it, or count it in this process alone, `local`.
    pub(in crate::config) on_store_error: Option<Leaf<OnStoreErrorName>>,
    /// Longest wait for an answer, 50ms.
    pub(in crate::config) store_timeout: Option<Leaf<Wait>>,
}

/// A key, or several of which the first present one counts.
pub(in crate::config) type LimitKeysFile = ScalarOr<LimitKeyName, Vec<Leaf<LimitKeyName>>>;

/// What scripts of other origins may do (CORS).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `origins`")]
pub(in crate::config) struct CorsFile {
    /// `https://app.example.com`, `https://*.example.com` (every host below it) or `*`.
    #[schemars(required, length(min = 1))]
    pub(in crate::config) origins: Option<Vec<Leaf<OriginPattern>>>,
    /// Methods that may be used, [GET, HEAD, POST]; `*` for every one.
    #[schemars(length(min = 1))]
    pub(in crate::config) methods: Option<Vec<Leaf<OrAny<Method>>>>,
    /// Fields that a request may have besides the harmless ones, none; `*` for every one.
    pub(in crate::config) headers: Option<Vec<Leaf<OrAny<FieldName>>>>,
    /// Fields of a response that scripts may read besides the harmless ones, none.
    pub(in crate::config) expose: Option<Vec<Leaf<FieldName>>>,
    /// Whether cookies and other credentials may be sent along, false.
    pub(in crate::config) credentials: Option<Leaf<Switch>>,
    /// How long a browser may remember the answer to a preflight, 5s; browsers have a ceiling of their own.
    pub(in crate::config) max_age: Option<Leaf<Span>>,
}
