//! Who may ask the admin server what.

use std::net::IpAddr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, Method};

use crate::config::{Admin, Token};

/// Pages that tell a load balancer whether the gateway lives, and nobody anything else; and the dashboard, which holds nothing
/// of the gateway and asks for a token.
const OPEN: [&str; 4] = ["/health", "/healthz", "/ready", "/"];

/// What a caller must show.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    is_local: bool,
    /// SHA-256 of the tokens, so that a comparison tells nothing of their lengths either.
    token: Option<[u8; 32]>,
    read_token: Option<[u8; 32]>,
}

/// Why a caller may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It comes from elsewhere than it should.
    Stranger,
    /// It shows no token, or none that is known.
    Unknown,
    /// Its token is for looking only.
    ReadOnly,
}

impl Guard {
    /// The guard of an endpoint that listens on `address`.
    pub(super) fn new(admin: &Admin, address: IpAddr) -> Self {
        let hash = |token: &Option<Token>| token.as_ref().map(|token| hash(token.secret().as_bytes()));
        Self { is_local: address.is_loopback(), token: hash(&admin.token), read_token: hash(&admin.read_token) }
    }

    /// May this request be answered?
    pub(super) fn admits(&self, method: &Method, path: &str, headers: &HeaderMap) -> Result<(), Refusal> {
        if !self.is_addressed(headers) {
            return Err(Refusal::Stranger);
        }
        let looks = *method == Method::GET || *method == Method::HEAD;
        if self.token.is_none() && self.read_token.is_none() || looks && OPEN.contains(&path) {
            return Ok(());
        }
        let shown = headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes())).map(hash);
        let is = |known: &Option<[u8; 32]>| match (known, &shown) {
            (Some(known), Some(shown)) => verify_slices_are_equal(known, shown).is_ok(),
            (Some(_) | None, _) => false,
        };
        if is(&self.token) || looks && is(&self.read_token) {
            Ok(())
        } else if is(&self.read_token) {
            Err(Refusal::ReadOnly)
        } else {
            Err(Refusal::Unknown)
        }
    }

    /// A page in a browser can reach loopback, and whatever a browser has a certificate for; what gives it away is a `Host`
    /// or an `Origin` of its own (DNS rebinding, cross-site requests).
    fn is_addressed(&self, headers: &HeaderMap) -> bool {
        let field = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let (host, origin) = (field(HOST), field(ORIGIN));
        let origin = origin.map(|origin| origin.split_once("://").map_or("", |(_, host)| host));
        if self.is_local {
            host.is_none_or(is_loopback) && origin.is_none_or(is_loopback)
        } else {
            origin.is_none_or(|origin| host.is_some_and(|host| origin.eq_ignore_ascii_case(host)))
        }
    }
}

fn hash(token: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, token).as_ref());
    hash
}

/// The token of a field (RFC 6750 section 2.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| rest.trim_ascii())
}

/// Is the host of `authority` (with or without a port) this machine's own name or address?
fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(host, _)| host),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn guard(is_local: bool, token: Option<&str>, read_token: Option<&str>) -> Guard {
        let hash = |token: Option<&str>| token.map(|token| hash(token.as_bytes()));
        Guard { is_local, token: hash(token), read_token: hash(read_token) }
    }

    fn asked(guard: &Guard, method: Method, path: &str, fields: &[(HeaderName, &str)]) -> Result<(), Refusal> {
        let fields = fields.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
        guard.admits(&method, path, &fields.collect())
    }

    #[test]
    fn a_token_opens_what_it_is_for() {
        let both = guard(false, Some("write-token"), Some("read-token"));
        for (shown, get, post) in [
            (None, Err(Refusal::Unknown), Err(Refusal::Unknown)),
            (Some("Bearer wrong-token"), Err(Refusal::Unknown), Err(Refusal::Unknown)),
            (Some("Basic write-token"), Err(Refusal::Unknown), Err(Refusal::Unknown)),
            (Some("Bearer "), Err(Refusal::Unknown), Err(Refusal::Unknown)),
            (Some("write-token"), Err(Refusal::Unknown), Err(Refusal::Unknown)),
            (Some("Bearer read-token"), Ok(()), Err(Refusal::ReadOnly)),
            (Some("Bearer write-token"), Ok(()), Ok(())),
            (Some("bearer  write-token"), Ok(()), Ok(())),
        ] {
            let fields: Vec<_> = shown.map(|shown| (AUTHORIZATION, shown)).into_iter().collect();
            assert_eq!(asked(&both, Method::GET, "/metrics", &fields), get, "{shown:?}");
            assert_eq!(asked(&both, Method::POST, "/policy", &fields), post, "{shown:?}");
            assert_eq!(asked(&both, Method::GET, "/ready", &fields), Ok(()));
            assert_eq!(asked(&both, Method::POST, "/health", &fields), post, "{shown:?}");
        }
        let reader = guard(false, None, Some("read-token"));
        let shown = [(AUTHORIZATION, "Bearer read-token")];
        assert_eq!(asked(&reader, Method::POST, "/reload", &shown), Err(Refusal::ReadOnly));
        assert_eq!(asked(&guard(true, None, None), Method::POST, "/reload", &[]), Ok(()));
    }

    #[test]
    fn a_page_of_elsewhere_is_a_stranger() {
        let (local, far) = (guard(true, None, None), guard(false, Some("write-token"), None));
        for (host, origin, is_local, is_far) in [
            ("127.0.0.1:9090", None, true, true),
            ("localhost", None, true, true),
            ("[::1]:9090", Some("http://[::1]:9090"), true, true),
            ("ops.example:9090", None, false, true),
            ("ops.example:9090", Some("https://OPS.example:9090"), false, true),
            ("ops.example:9090", Some("https://evil.example"), false, false),
            ("127.0.0.1:9090", Some("https://evil.example"), false, false),
            ("127.0.0.1:9090", Some("null"), false, false),
        ] {
            let mut fields = vec![(HOST, host), (AUTHORIZATION, "Bearer write-token")];
            fields.extend(origin.map(|origin| (ORIGIN, origin)));
            let verdict = |is_in: bool| if is_in { Ok(()) } else { Err(Refusal::Stranger) };
            assert_eq!(asked(&local, Method::GET, "/health", &fields), verdict(is_local), "{host} {origin:?}");
            assert_eq!(asked(&far, Method::GET, "/status", &fields), verdict(is_far), "{host} {origin:?}");
        }
    }

    #[test]
    fn only_loopback_is_loopback() {
        for host in ["localhost", "LOCALHOST:9090", "127.0.0.1", "127.8.8.8:1", "[::1]", "[::1]:9090"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "example.com", "localhost.evil.example", "10.0.0.1", "[::2]", "127.0.0.1.evil.example"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
