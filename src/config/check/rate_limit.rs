//! Policies of rate limits.

use std::time::Duration;

use super::super::file::{LimitKeysFile, RateLimitFile, ScalarOr};
use super::super::model::{LimitStore, RateLimit};
use super::super::place::At;
use super::Check;
use crate::limits::{RATE_FILL_NS_MAX, RATE_LIMIT_MAX, STORE_TIMEOUT_MS_MAX};
use crate::policy::limit::{Algorithm, KeyFrom, OnStoreError};

/// What is allowed unless a limit is given.
const LIMIT: (u32, Duration) = (100, Duration::from_secs(60));

/// Longest wait for a store unless given.
const STORE_TIMEOUT: Duration = Duration::from_millis(50);

pub(super) fn check(check: &mut Check<'_>, at: At<'_>, file: &RateLimitFile) -> RateLimit {
    let (limit, period) = check.value(at.key("limit"), file.limit.as_ref()).unwrap_or(LIMIT);
    let is_bucket = check.value(at.key("algorithm"), file.algorithm.as_ref()).unwrap_or(false);
    let burst = check.number(at.key("burst"), file.burst.as_ref(), 1..=RATE_LIMIT_MAX);
    if !is_bucket && file.burst.is_some() {
        let note = "write `algorithm: token_bucket`, or leave `burst` out: a window lets its whole limit pass at once";
        check.error_with(at.key("burst"), "`burst` is only of use with `token_bucket`", note);
    }
    let burst = burst.unwrap_or(limit);
    if is_bucket && period.as_nanos() * u128::from(burst) / u128::from(limit) > u128::from(RATE_FILL_NS_MAX) {
        let note = "the bucket would take more than a week to fill";
        check.error_with(at.key("burst"), "expected a smaller `burst`, or a higher `limit`", note);
    }
    let scope = check.value(at.key("scope"), file.scope.as_ref());
    let store = check_store(check, at, file, scope, is_bucket);
    RateLimit {
        keys: check_keys(check, at.key("key"), file.key.as_ref()),
        limit,
        period,
        algorithm: if is_bucket { Algorithm::TokenBucket { burst } } else { Algorithm::SlidingWindow },
        store,
    }
}

fn check_store(
    check: &mut Check<'_>,
    at: At<'_>,
    file: &RateLimitFile,
    scope: Option<bool>,
    is_bucket: bool,
) -> Option<LimitStore> {
    let at_store = at.key("store");
    match (&file.store, scope) {
        (None, Some(true)) => check.missing(&at, "missing the `store` that gateways share with `scope: cluster`,"),
        // A scope that was refused may have meant it.
        (Some(_), None) if file.scope.is_some() => {}
        (Some(_), None) => {
            let note = "write `scope: cluster` to share the limit with other gateways, or leave `store` out";
            check.error_with(at_store, "`store` is only of use with `scope: cluster`", note);
        }
        (Some(_), Some(false)) => {
            let note =
                "write `scope: cluster` to share the limit with other gateways; until then this process counts alone";
            check.warn(at, "store", "`store` is of no use with `scope: process`", note);
        }
        (Some(_) | None, _) => {}
    }
    let file = file.store.as_ref()?;
    let url = check.required(&at_store, "redis", file.redis.as_ref());
    check.warn_of_password(at_store, "redis", file.redis.as_ref());
    let mode = check.value(at_store.key("mode"), file.mode.as_ref());
    let is_shared = scope != Some(false);
    if is_shared && is_bucket && mode.unwrap_or(true) {
        let note =
            "tokens that are leased would come on top of the burst: write `mode: exact`, or leave `algorithm` out";
        check.error_with(at_store.key("mode"), "`leased` with `token_bucket`", note);
    }
    let timeout = check.value(at_store.key("store_timeout"), file.store_timeout.as_ref()).unwrap_or(STORE_TIMEOUT);
    if timeout > Duration::from_millis(STORE_TIMEOUT_MS_MAX) {
        let note = "no request should wait that long to be counted";
        check.error_with(at_store.key("store_timeout"), "expected at most `10s`", note);
    }
    let on_error = check.value(at_store.key("on_store_error"), file.on_store_error.as_ref());
    let store = LimitStore {
        url: url?,
        is_leased: mode.unwrap_or(true),
        on_error: on_error.unwrap_or(OnStoreError::Allow),
        timeout,
    };
    is_shared.then_some(store)
}

fn check_keys(check: &mut Check<'_>, at: At<'_>, file: Option<&LimitKeysFile>) -> Vec<KeyFrom> {
    let list = match file {
        None => return vec![KeyFrom::ClientIp],
        Some(ScalarOr::Scalar(leaf)) => return check.value(at, Some(leaf)).into_iter().collect(),
        Some(ScalarOr::Compound(list)) => list,
    };
    if list.is_empty() {
        check.error(at, "expected at least one key");
    }
    let mut keys: Vec<KeyFrom> = Vec::new();
    for (index, leaf) in list.iter().enumerate() {
        let at = at.index(index);
        let Some(key) = check.value(at, Some(leaf)) else { continue };
        if let Some(always @ (KeyFrom::ClientIp | KeyFrom::Global)) = keys.last() {
            let name = if *always == KeyFrom::Global { "global" } else { "client_ip" };
            check.error(at, format!("every request has `{name}`, so no key behind it counts"));
        } else if keys.contains(&key) {
            check.error(at, "this key is named twice");
        }
        keys.push(key);
    }
    keys
}
