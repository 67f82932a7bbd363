//! Checked policies to their compiled forms, which all routes that name one share.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::compile::ms;
use crate::config;
use crate::policy::auth::{Bearers, Challenge, External, Holders, KeySet, Users, Verifier, Wanted};
use crate::policy::limit::{Algorithm, Limiter, Rule, Shared};
use crate::policy::{Access, Cors, Policies};

/// Keys that issuers publish, by the names of the policies, and whom to tell when one is not there.
pub type Issued = FxHashMap<String, (KeySet, Arc<Wanted>)>;

/// One policy, compiled.
pub(super) struct Compiled {
    access: Option<Arc<Access>>,
    limit: Option<Arc<Limiter>>,
    cors: Option<Arc<Cors>>,
    bearers: Option<Arc<Bearers>>,
    holders: Option<Arc<Holders>>,
    users: Option<Arc<Users>>,
    external: Option<Arc<External>>,
}

pub(super) fn compile(policy: &config::Policy, workers: usize, issued: &Issued) -> Compiled {
    Compiled {
        access: access(policy).map(Arc::new),
        limit: policy.rate_limit.as_ref().map(|limit| Arc::new(limiter(&policy.name, limit, workers))),
        cors: policy.cors.as_ref().map(|cors| Arc::new(Cors::new(cors))),
        bearers: policy.jwt.as_ref().map(|jwt| Arc::new(bearers(jwt, issued.get(&policy.name)))),
        holders: policy.api_key.as_ref().map(|api_key| Arc::new(holders(api_key))),
        users: policy.basic_auth.as_ref().map(|basic| Arc::new(users(basic))),
        external: (policy.external_auth.as_ref())
            .map(|asked| Arc::new(External::new(asked.rules.clone(), asked.cluster, &policy.name))),
    }
}

/// Which client addresses a policy lets pass, if it says so.
#[must_use]
pub fn access(policy: &config::Policy) -> Option<Access> {
    policy.access.as_ref().map(|access| Access::new(&access.allow, &access.deny))
}

/// What the requests of a route must pass; `None` when it is nothing.
pub(super) fn of_route(route: &config::Route, compiled: &[Compiled]) -> Option<Box<Policies>> {
    if route.policies.is_empty() {
        return None;
    }
    let mut policies = Policies::default();
    for named in route.policies.iter().map(|index| &compiled[*index]) {
        policies.access.extend(named.access.clone());
        policies.limits.extend(named.limit.clone());
        policies.cors = policies.cors.or_else(|| named.cors.clone());
        policies.bearers = policies.bearers.or_else(|| named.bearers.clone());
        policies.holders = policies.holders.or_else(|| named.holders.clone());
        policies.users = policies.users.or_else(|| named.users.clone());
        policies.external = policies.external.or_else(|| named.external.clone());
    }
    Some(Box::new(policies))
}

fn limiter(name: &str, limit: &config::RateLimit, workers: usize) -> Limiter {
    let rule = match limit.algorithm {
        Algorithm::SlidingWindow => Rule::sliding_window(limit.limit, limit.period, workers),
        Algorithm::TokenBucket { burst } => Rule::token_bucket(limit.limit, limit.period, burst, workers),
    };
    let limiter = Limiter::new(name, rule, &limit.keys);
    match &limit.store {
        Some(store) => limiter.kept_by(shared(name, limit, store)),
        None => limiter,
    }
}

fn shared(name: &str, limit: &config::RateLimit, store: &config::LimitStore) -> Shared {
    Shared {
        store: Arc::from(store.url.as_str()),
        is_leased: store.is_leased,
        on_error: store.on_error,
        timeout_ms: ms(store.timeout),
        algorithm: limit.algorithm,
        limit: limit.limit,
        period: limit.period,
        prefix: format!("ringgate:limit:{name}:").into_bytes(),
    }
}

fn bearers(jwt: &config::Jwt, issued: Option<&(KeySet, Arc<Wanted>)>) -> Bearers {
    let keys = match &jwt.keys {
        config::JwtKeys::Local(keys) => keys.clone(),
        config::JwtKeys::Remote(_) => issued.map_or_else(KeySet::default, |(keys, _)| keys.clone()),
    };
    Bearers {
        verifier: Verifier::new(jwt.rules.clone(), keys),
        challenge: Challenge::new("Bearer", &jwt.realm),
        wanted: issued.map(|(_, wanted)| Arc::clone(wanted)),
        forwards_credentials: jwt.forward_credentials,
    }
}

fn holders(api_key: &config::ApiKey) -> Holders {
    let config::ApiKey { header, book, forward_identity, forward_credentials, realm } = api_key;
    Holders::new(header, book.clone(), forward_identity.as_deref(), realm, *forward_credentials)
}

fn users(basic: &config::BasicAuth) -> Users {
    let config::BasicAuth { book, forward_user, forward_credentials, realm } = basic;
    Users::new(book.clone(), forward_user.as_deref(), realm, *forward_credentials)
}
