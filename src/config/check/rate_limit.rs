//! Policies of rate limits.

use std::time::Duration;

use super::super::file::{LimitKeysFile, RateLimitFile, ScalarOr};
use super::super::model::{LimitAlgorithm, LimitKey, RateLimit};
use super::super::place::At;
use super::Check;
use crate::limits::{RATE_FILL_NS_MAX, RATE_LIMIT_MAX};

/// What is allowed unless a limit is given.
const LIMIT: (u32, Duration) = (100, Duration::from_secs(60));

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
    RateLimit {
        keys: check_keys(check, at.key("key"), file.key.as_ref()),
        limit,
        period,
        algorithm: if is_bucket { LimitAlgorithm::TokenBucket { burst } } else { LimitAlgorithm::SlidingWindow },
    }
}

fn check_keys(check: &mut Check<'_>, at: At<'_>, file: Option<&LimitKeysFile>) -> Vec<LimitKey> {
    let list = match file {
        None => return vec![LimitKey::ClientIp],
        Some(ScalarOr::Scalar(leaf)) => return check.value(at, Some(leaf)).into_iter().collect(),
        Some(ScalarOr::Compound(list)) => list,
    };
    if list.is_empty() {
        check.error(at, "expected at least one key");
    }
    let mut keys: Vec<LimitKey> = Vec::new();
    for (index, leaf) in list.iter().enumerate() {
        let at = at.index(index);
        let Some(key) = check.value(at, Some(leaf)) else { continue };
        if let Some(always @ (LimitKey::ClientIp | LimitKey::Global)) = keys.last() {
            let name = if *always == LimitKey::Global { "global" } else { "client_ip" };
            check.error(at, format!("every request has `{name}`, so no key behind it counts"));
        } else if keys.contains(&key) {
            check.error(at, "this key is named twice");
        }
        keys.push(key);
    }
    keys
}
