//! The checked form of policies.

use std::fmt;
use std::time::Duration;

use ipnet::IpNet;

use super::auth::{ApiKey, Jwt};

/// What a request must pass before it goes to an endpoint; at least one part is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Its name, unique among policies.
    pub name: String,
    /// Which client addresses may pass.
    pub access: Option<Access>,
    /// How many requests may pass.
    pub rate_limit: Option<RateLimit>,
    /// What scripts of other origins may do.
    pub cors: Option<Cors>,
    /// Which bearer tokens pass.
    pub jwt: Option<Jwt>,
    /// Which API keys pass.
    pub api_key: Option<ApiKey>,
}

/// Which client addresses may pass; of all networks that hold one the most specific decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Networks that pass; empty when all but the denied do. None of them is denied as well.
    pub allow: Vec<IpNet>,
    /// Networks that do not; not empty when `allow` is.
    pub deny: Vec<IpNet>,
}

/// How many requests of a key may pass in a period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// What requests are counted by, at least one; the first that a request has.
    pub keys: Vec<LimitKey>,
    /// Requests in a period, at least one.
    pub limit: u32,
    /// The period.
    pub period: Duration,
    /// How they are counted.
    pub algorithm: LimitAlgorithm,
    /// Where it is kept together with other gateways, if it is.
    pub store: Option<LimitStore>,
}

/// Where a limit is kept that several gateways share.
#[derive(Clone, PartialEq, Eq)]
pub struct LimitStore {
    /// The server of Redis; there may be a password in it.
    pub url: String,
    /// Whether tokens are leased ahead of use; never with [`LimitAlgorithm::TokenBucket`].
    pub is_leased: bool,
    /// What becomes of a request without an answer.
    pub on_error: OnStoreError,
    /// Longest wait for an answer, never zero.
    pub timeout: Duration,
}

impl fmt::Debug for LimitStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, is_leased, on_error, timeout } = self;
        f.debug_struct("LimitStore")
            .field("is_leased", is_leased)
            .field("on_error", on_error)
            .field("timeout", timeout)
            .finish_non_exhaustive()
    }
}

/// What becomes of a request when the store does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStoreError {
    /// It passes and is not counted.
    Allow,
    /// It does not pass.
    Deny,
    /// It is counted by this process alone.
    Local,
}

/// How requests are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitAlgorithm {
    /// In this window, and of the one before it the share that reaches into the last period.
    SlidingWindow,
    /// By tokens, of which so many are kept.
    TokenBucket {
        /// Requests that may come at once, at least one.
        burst: u32,
    },
}

/// What requests are counted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LimitKey {
    /// The client's address.
    ClientIp,
    /// Nothing: all of them together.
    Global,
    /// The value of this field, whose name is in lower case.
    Header(String),
    /// This claim of the token by which a policy of the route knows the client.
    Claim(String),
    /// Whose API key it was.
    ApiKey,
}

/// What scripts of other origins may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// Who may share, at least one.
    pub origins: Vec<Origin>,
    /// Methods that may be used; empty for every one.
    pub methods: Vec<String>,
    /// Fields that a request may have, in lower case; `None` for every one.
    pub headers: Option<Vec<String>>,
    /// Fields of a response that scripts may read, in lower case.
    pub expose: Vec<String>,
    /// Whether credentials may be sent along; never with [`Origin::Any`].
    pub credentials: bool,
    /// How long a browser may remember the answer to a preflight.
    pub max_age: Duration,
}

/// An origin (RFC 6454), as browsers send it: in lower case, without a default port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Every one.
    Any,
    /// This one.
    Exact(String),
    /// Every host below a domain: `https://` and `.example.com:8443` for `https://*.example.com:8443`.
    Below {
        /// `http://` or `https://`.
        scheme: String,
        /// The domain with its first dot and a port, if that is not the default one.
        suffix: String,
    },
}
