//! The checked form of policies.

use std::fmt;
use std::time::Duration;

use ipnet::IpNet;

use super::auth::{ApiKey, BasicAuth, ExternalAuth, Jwt};
use crate::policy::CorsSpec;
use crate::policy::limit::{Algorithm, KeyFrom, OnStoreError};

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
    pub cors: Option<CorsSpec>,
    /// Which bearer tokens pass.
    pub jwt: Option<Jwt>,
    /// Which API keys pass.
    pub api_key: Option<ApiKey>,
    /// Which users with their passwords pass.
    pub basic_auth: Option<BasicAuth>,
    /// Which service is asked.
    pub external_auth: Option<ExternalAuth>,
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
    pub keys: Vec<KeyFrom>,
    /// Requests in a period, at least one.
    pub limit: u32,
    /// The period.
    pub period: Duration,
    /// How they are counted.
    pub algorithm: Algorithm,
    /// Where it is kept together with other gateways, if it is.
    pub store: Option<LimitStore>,
}

/// Where a limit is kept that several gateways share.
#[derive(Clone, PartialEq, Eq)]
pub struct LimitStore {
    /// The server of Redis; there may be a password in it.
    pub url: String,
    /// Whether tokens are leased ahead of use; never with [`Algorithm::TokenBucket`].
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
