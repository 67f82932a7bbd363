//! Policies of services that are asked.

use std::time::Duration;

use super::super::file::{AuthCacheFile, ExternalAuthFile};
use super::super::leaf::Leaf;
use super::super::model::ExternalAuth;
use super::super::patterns::FieldName;
use super::super::place::At;
use super::auth::{check_field, is_same_field};
use super::{Check, Names};
use crate::limits::{AUTH_CACHE_S_MAX, AUTH_TIMEOUT_MS_MAX};
use crate::policy::auth::{CacheRules, ExternalRules};

/// Longest wait for an answer unless given.
const TIMEOUT: Duration = Duration::from_millis(500);
/// What a service is told in any case.
const TOLD: [&str; 7] = [
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-method",
    "x-forwarded-proto",
    "x-forwarded-uri",
    "x-request-id",
];

pub(super) fn check(check: &mut Check<'_>, at: At<'_>, file: &ExternalAuthFile, clusters: &Names) -> ExternalAuth {
    if file.cluster.is_none() {
        check.missing(&at, "missing `cluster`");
    }
    let cluster = file.cluster.as_ref().and_then(|leaf| clusters.find(check, at.key("cluster"), "cluster", leaf));
    let timeout = check.value(at.key("timeout"), file.timeout.as_ref()).unwrap_or(TIMEOUT);
    if timeout > Duration::from_millis(AUTH_TIMEOUT_MS_MAX) {
        check.error_with(at.key("timeout"), "expected at most `10s`", "every request of the route may wait that long");
    }
    let forward = match &file.forward_headers {
        Some(list) => check_fields(check, at.key("forward_headers"), list, &TOLD),
        None => vec!["authorization".into()],
    };
    let at_response = at.key("response_headers");
    let response =
        file.response_headers.as_ref().map(|list| check_fields(check, at_response, list, &[])).unwrap_or_default();
    let cache = file.cache.as_ref().map(|cache| check_cache(check, at.key("cache"), cache, &forward));
    let path = check.value(at.key("path"), file.path.as_ref());
    ExternalAuth {
        rules: ExternalRules {
            path: path.map_or_else(|| "/".into(), String::into_boxed_str),
            timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
            forward,
            response,
            cache,
            allows_without: check.value(at.key("on_error"), file.on_error.as_ref()).unwrap_or(false),
        },
        cluster: cluster.unwrap_or(0),
    }
}

/// Fields that are not the gateway's own, each named once, and none of those that are `told` in any case.
fn check_fields(check: &mut Check<'_>, at: At<'_>, list: &[Leaf<FieldName>], told: &[&str]) -> Vec<Box<str>> {
    let mut fields: Vec<Box<str>> = Vec::new();
    for (index, leaf) in list.iter().enumerate() {
        let at = at.index(index);
        let Some(field) = check_field(check, at, Some(leaf)) else { continue };
        if fields.iter().any(|other| is_same_field(other, &field)) {
            check.error(at, "this field is named twice");
        }
        if told.contains(&&*field) {
            check.error(at, "the service is told of this field in any case");
        }
        fields.push(field.into());
    }
    fields
}

fn check_cache(check: &mut Check<'_>, at: At<'_>, file: &AuthCacheFile, forward: &[Box<str>]) -> CacheRules {
    let time = check.required(&at, "for", file.time.as_ref()).unwrap_or(Duration::from_secs(1));
    if time < Duration::from_secs(1) || time > Duration::from_secs(AUTH_CACHE_S_MAX) {
        check.error(at.key("for"), "expected `1s` to `1h`");
    }
    let at_key = at.key("key");
    let key = file.key.as_ref().map(|list| check_fields(check, at_key, list, &[]));
    for (index, field) in key.iter().flatten().enumerate() {
        if !forward.contains(field) {
            let note = "add it to `forward_headers`: what the service is not told cannot matter to its answer";
            check.error_with(at_key.index(index), "the service is not told of this field", note);
        }
    }
    if let Some(other) = key.as_ref().and_then(|key| forward.iter().find(|field| !key.contains(field))) {
        let message = format!("requests that differ in `{other}` alone share an answer");
        check.warn(
            at,
            "key",
            &message,
            "the service is told of that field; leave `key` out to tell such requests apart",
        );
    }
    let key = key.unwrap_or_else(|| forward.to_vec());
    if key.is_empty() {
        check.error(at_key, "expected at least one field");
    }
    CacheRules { for_s: time.as_secs().max(1), key }
}
