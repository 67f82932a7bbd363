//! Kinds of values of a rate limit.

use std::time::Duration;

use super::addresses::port_number;
use super::leaf::{Kind, Refusal};
use super::patterns::FieldName;
use super::units::Span;
use super::words;
use crate::limits::{RATE_LIMIT_MAX, RATE_PERIOD_MS_MAX};
use crate::policy::limit::{KeyFrom, OnStoreError};

/// Requests and the period in which they may come: `100/1m`.
pub(super) struct Rate;

impl Kind for Rate {
    type Out = (u32, Duration);
    const EXPECTED: &'static str = "a number of requests and a period, such as `100/1m` or `20/1s`";
    const PATTERN: Option<&'static str> = Some("[0-9]+/[0-9]+(ms|s|m|h)");

    fn text(text: &str) -> Result<(u32, Duration), Refusal> {
        let expected = Refusal::expected::<Self>;
        let (count, span) = text.split_once('/').ok_or_else(expected)?;
        if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(expected());
        }
        if matches!(span, "ms" | "s" | "m" | "h") {
            return Err(expected().hint(format!("did you mean `{count}/1{span}`?")));
        }
        let period = Span::text(span).map_err(|_| expected())?;
        let limit = count.parse().ok().filter(|limit| *limit <= RATE_LIMIT_MAX);
        match limit {
            Some(0) => Err(Refusal::new("expected at least 1 request")
                .hint("nothing would ever pass: deny it by `access`, or answer by `respond`")),
            None => Err(Refusal::new(format!("expected at most {RATE_LIMIT_MAX} requests"))
                .hint("write the same rate with a shorter period")),
            Some(_) if period.is_zero() || period > Duration::from_millis(RATE_PERIOD_MS_MAX) => {
                Err(Refusal::new("expected a period from `1ms` to `24h`"))
            }
            Some(limit) => Ok((limit, period)),
        }
    }

    fn number(number: u64) -> Result<(u32, Duration), Refusal> {
        Err(Refusal::expected::<Self>().hint(format!("in which time? did you mean `{number}/1s`?")))
    }
}

/// Who keeps a limit together: all gateways of a store?
pub(super) struct LimitScopeName;

impl Kind for LimitScopeName {
    type Out = bool;
    const EXPECTED: &'static str = "`process` or `cluster`";
    const PATTERN: Option<&'static str> = Some("process|cluster");

    fn text(text: &str) -> Result<bool, Refusal> {
        match text {
            "process" => Ok(false),
            "cluster" => Ok(true),
            _ => Err(near(Refusal::expected::<Self>(), text, &["process", "cluster"])),
        }
    }
}

/// How a store is asked: ahead of use?
pub(super) struct StoreModeName;

impl Kind for StoreModeName {
    type Out = bool;
    const EXPECTED: &'static str = "`leased` or `exact`";
    const PATTERN: Option<&'static str> = Some("leased|exact");

    fn text(text: &str) -> Result<bool, Refusal> {
        match text {
            "leased" => Ok(true),
            "exact" => Ok(false),
            _ => Err(near(Refusal::expected::<Self>(), text, &["leased", "exact"])),
        }
    }
}

/// What becomes of a request when the store does not answer.
pub(super) struct OnStoreErrorName;

impl Kind for OnStoreErrorName {
    type Out = OnStoreError;
    const EXPECTED: &'static str = "`allow`, `deny` or `local`";
    const PATTERN: Option<&'static str> = Some("allow|deny|local");

    fn text(text: &str) -> Result<OnStoreError, Refusal> {
        match text {
            "allow" => Ok(OnStoreError::Allow),
            "deny" => Ok(OnStoreError::Deny),
            "local" => Ok(OnStoreError::Local),
            _ => Err(near(Refusal::expected::<Self>(), text, &["allow", "deny", "local"])),
        }
    }
}

/// What becomes of a request when a service of authentication does not answer: does it pass?
pub(super) struct OnAuthErrorName;

impl Kind for OnAuthErrorName {
    type Out = bool;
    const EXPECTED: &'static str = "`deny` or `allow`";
    const PATTERN: Option<&'static str> = Some("deny|allow");

    fn text(text: &str) -> Result<bool, Refusal> {
        match text {
            "deny" => Ok(false),
            "allow" => Ok(true),
            _ => Err(near(Refusal::expected::<Self>(), text, &["deny", "allow"])),
        }
    }
}

/// The URL of a server of Redis; messages never show it, because a password may be in it.
pub(super) struct StoreUrl;

impl Kind for StoreUrl {
    type Out = String;
    const EXPECTED: &'static str = "a server such as `redis://127.0.0.1:6379` or `unix:///run/redis.sock`";
    const PATTERN: Option<&'static str> = Some("(redis|unix)://.+");

    fn text(text: &str) -> Result<String, Refusal> {
        let expected = Refusal::expected::<Self>;
        if let Some(path) = text.strip_prefix("unix://") {
            return if path.starts_with('/') { Ok(text.to_owned()) } else { Err(expected()) };
        }
        if text.starts_with("rediss://") {
            return Err(expected().hint("TLS to Redis is not spoken: keep it on a private network, or behind a tunnel"));
        }
        let rest = text.strip_prefix("redis://").ok_or_else(expected)?;
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let address = authority.rsplit_once('@').map_or(authority, |(_, address)| address);
        // The colons of an address of IPv6 are in brackets.
        let (host, port) = match address.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
            Some((host, port)) => (host, port_number(port).is_some_and(|port| port > 0)),
            None => (address, true),
        };
        let is_database = database.bytes().all(|byte| byte.is_ascii_digit());
        if host.is_empty() || !port || !is_database || text.contains(char::is_whitespace) {
            return Err(expected());
        }
        Ok(text.to_owned())
    }
}

/// How requests are counted: is it by tokens?
pub(super) struct LimitAlgorithmName;

impl Kind for LimitAlgorithmName {
    type Out = bool;
    const EXPECTED: &'static str = "`sliding_window` or `token_bucket`";
    const PATTERN: Option<&'static str> = Some("sliding_window|token_bucket");

    fn text(text: &str) -> Result<bool, Refusal> {
        match text {
            "sliding_window" => Ok(false),
            "token_bucket" => Ok(true),
            _ => Err(near(Refusal::expected::<Self>(), text, &["sliding_window", "token_bucket"])),
        }
    }
}

/// What requests are counted by.
pub(super) struct LimitKeyName;

impl Kind for LimitKeyName {
    type Out = KeyFrom;
    const EXPECTED: &'static str = "`client_ip`, `header.NAME`, `jwt.CLAIM`, `api_key`, `basic_auth` or `global`";
    const PATTERN: Option<&'static str> = Some("client_ip|global|api_key|basic_auth|(header|jwt)\\..+");

    fn text(text: &str) -> Result<KeyFrom, Refusal> {
        match (text, text.split_once('.')) {
            ("client_ip", _) => Ok(KeyFrom::ClientIp),
            ("global", _) => Ok(KeyFrom::Global),
            ("api_key", _) => Ok(KeyFrom::ApiKey),
            ("basic_auth", _) => Ok(KeyFrom::User),
            (_, Some(("jwt", claim))) if !claim.is_empty() => Ok(KeyFrom::Claim(claim.to_owned())),
            (_, Some(("header", name))) => {
                FieldName::text(name).map(KeyFrom::Header).map_err(|_| Refusal::expected::<Self>())
            }
            ("header", _) => Err(Refusal::expected::<Self>().hint("name the field: `header.x-tenant`")),
            ("jwt", _) => Err(Refusal::expected::<Self>().hint("name the claim: `jwt.sub`")),
            _ => Err(near(Refusal::expected::<Self>(), text, &["client_ip", "global", "api_key", "basic_auth"])),
        }
    }
}

fn near(refusal: Refusal, text: &str, right: &[&str]) -> Refusal {
    match words::nearest(text, right.iter().copied()) {
        Some(near) => refusal.hint(format!("did you mean `{near}`?")),
        None => refusal,
    }
}
