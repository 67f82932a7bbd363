//! Where the live policy document is.

use super::super::model::{LivePolicy, PolicyKey};
use super::super::place::At;
use super::{Check, Written};

/// Its file unless it is said, beside the configuration.
const FILE: &str = ".gateway-policy.json";
/// Its key unless it is said.
const KEY: &str = "gateway:policy";

pub(super) fn check(check: &mut Check<'_>, main: &Written) -> Option<LivePolicy> {
    let written = main.document.policy.as_ref()?;
    let root = At::root(main.file);
    let at = root.key("policy");
    let redis = written.redis.as_ref().map(|redis| {
        let at = at.key("redis");
        let url = check.required(&at, "url", redis.url.as_ref()).unwrap_or_default();
        check.warn_of_password(at, "url", redis.url.as_ref());
        let key = check.value(at.key("key"), redis.key.as_ref()).unwrap_or_else(|| KEY.to_owned());
        if key.is_empty() {
            check.error(at.key("key"), "expected the name of a key");
        }
        PolicyKey { url, key }
    });
    let file = match check.value(at.key("file"), written.file.as_ref()) {
        Some(file) if file.is_empty() || file.ends_with('/') => {
            check.error(at.key("file"), "expected the path of a file");
            None
        }
        Some(file) => Some(check.path(&file)),
        None => redis.is_none().then(|| check.path(FILE)),
    };
    Some(LivePolicy { file, redis })
}
