//! URLs that the control side asks: where an issuer publishes its keys, where a collector takes spans.

use super::addresses::origin_of;
use super::leaf::{Kind, Refusal};
use super::model::{self, Scheme};

/// `https://host:port/path?query`.
pub(super) struct KeysUrl;

/// `http://host:port/path` of a collector.
pub(super) struct CollectorUrl;

impl Kind for CollectorUrl {
    type Out = model::KeysUrl;
    const EXPECTED: &'static str = "a URL such as `http://127.0.0.1:4318`";
    const PATTERN: Option<&'static str> = KeysUrl::PATTERN;

    fn text(text: &str) -> Result<model::KeysUrl, Refusal> {
        if text.contains(['@', '?', '#']) {
            return Err(Refusal::new("the URL of a collector is a scheme, a host, a port and a path, nothing else"));
        }
        KeysUrl::text(text).map_err(|refusal| match refusal.hint {
            None if refusal.message.starts_with("expected") => Refusal::expected::<Self>(),
            Some(_) | None => refusal,
        })
    }
}

impl Kind for KeysUrl {
    type Out = model::KeysUrl;
    const EXPECTED: &'static str = "a URL such as `https://id.example.com/.well-known/jwks.json`";
    const PATTERN: Option<&'static str> = Some("https?://.+");

    fn text(text: &str) -> Result<model::KeysUrl, Refusal> {
        let (scheme, rest) = match text.split_once("://") {
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(_) | None => return Err(Refusal::expected::<Self>()),
        };
        let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        if authority.contains('@') {
            return Err(Refusal::new("a URL of keys carries no user name or password"));
        }
        if path.contains('#') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Refusal::new("the path of the URL has a fragment, white space or characters beyond ASCII"));
        }
        let origin = origin_of(authority, scheme)?;
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(model::KeysUrl { is_secure: scheme == Scheme::Https, host: origin.host, port: origin.port, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_has_a_path_at_most() {
        let url = CollectorUrl::text("http://otel.internal:4318/tenant").unwrap();
        assert_eq!((&*url.host, url.port, &*url.path, url.is_secure), ("otel.internal", 4318, "/tenant", false));
        for text in ["http://a/?key=1", "http://u:p@a/", "http://a/#b", "otel:4318", "grpc://a/"] {
            assert!(CollectorUrl::text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_url_is_taken_apart_and_shown_without_its_query() {
        for (text, port, path, shown) in [
            ("https://Id.example.com/jwks.json", 443, "/jwks.json", "https://id.example.com/jwks.json"),
            ("http://127.0.0.1:8080", 8080, "/", "http://127.0.0.1:8080/"),
            ("https://[::1]:8443/a?key=secret", 8443, "/a?key=secret", "https://[::1]:8443/a"),
            ("https://a?b", 443, "/?b", "https://a/"),
        ] {
            let url = KeysUrl::text(text).unwrap();
            assert_eq!((url.port, &*url.path, &*url.to_string()), (port, path, shown));
        }
        for text in [
            "",
            "id.example.com",
            "ftp://a/",
            "https://",
            "https:///a",
            "https://u:p@a/",
            "https://a/#b",
            "https://a/ b",
            "https://a:0/",
            "https://a:x/",
        ] {
            assert!(KeysUrl::text(text).is_err(), "{text}");
        }
    }
}
