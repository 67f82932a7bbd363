//! Kinds of values that routes are made of: hosts, paths, methods, fields, redirect targets.

use std::marker::PhantomData;
use std::net::Ipv6Addr;

use super::addresses::{is_host_name, port_number};
use super::leaf::{Kind, Refusal};
use super::model::{HostMatch, PathMatch};
use super::units::Text;
use crate::http1::normalise_path;
use crate::policy::Origin;

/// A host: exact, `*.example.com`, or `*`.
pub(super) struct HostPattern;

impl Kind for HostPattern {
    type Out = HostMatch;
    const EXPECTED: &'static str = "a host such as `api.example.com`, `*.example.com` or `*`";

    fn text(text: &str) -> Result<HostMatch, Refusal> {
        let text = text.to_ascii_lowercase();
        if text == "*" {
            return Ok(HostMatch::Any);
        }
        if let Some(ip) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return match ip.parse::<Ipv6Addr>() {
                // The form of RFC 5952, so that different spellings of one address are one host.
                Ok(ip) => Ok(HostMatch::Exact(format!("[{ip}]"))),
                Err(_) => Err(Refusal::expected::<Self>()),
            };
        }
        if let Some((host, port)) = text.rsplit_once(':') {
            let refusal = Refusal::new("a host is matched without its port");
            let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) && !host.contains(':');
            return Err(if is_port {
                refusal.hint(format!("did you mean `{host}`?"))
            } else {
                Refusal::expected::<Self>()
            });
        }
        let name = text.strip_suffix('.').unwrap_or(&text);
        match name.strip_prefix('*') {
            Some(suffix) if suffix.strip_prefix('.').is_some_and(is_host_name) => {
                Ok(HostMatch::Wildcard(suffix.to_owned()))
            }
            None if is_host_name(name) => Ok(HostMatch::Exact(name.to_owned())),
            _ => Err(Refusal::expected::<Self>()),
        }
    }
}

/// Whether this can be the path of a request: `/` and then visible ASCII (RFC 3986 section 3.3).
fn check_path(path: &str) -> Result<(), Refusal> {
    if !path.starts_with('/') {
        return Err(Refusal::new("expected a path that starts with `/`").hint(format!("did you mean `/{path}`?")));
    }
    if path.contains(['?', '#']) {
        return Err(
            Refusal::new("a path has no query or fragment").hint("match parameters with `query: { name: value }`")
        );
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Refusal::new("a path holds visible ASCII only").hint("percent-encode everything else"));
    }
    let rest = path.split('%').skip(1);
    let mut escapes = rest.map(|rest| rest.as_bytes().iter().take(2).filter(|byte| byte.is_ascii_hexdigit()).count());
    if escapes.any(|digits| digits < 2) {
        return Err(Refusal::new("`%` is not followed by two hexadecimal digits"));
    }
    let plain = path.to_ascii_lowercase().replace("%2e", ".");
    if plain.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(Refusal::new("`.` and `..` segments are resolved before routing and never match"));
    }
    Ok(())
}

/// A path in the form that those of requests are compared in, so that what is written matches what it means.
fn normal_path(path: &str) -> Result<String, Refusal> {
    check_path(path)?;
    let mut normal = Vec::new();
    match normalise_path(path.as_bytes(), &mut normal) {
        Ok(false) => Ok(path.to_owned()),
        Ok(true) => Ok(String::from_utf8(normal).expect("of ASCII comes ASCII")),
        Err(why) => Err(Refusal::new("requests for such a path are refused").hint(why.explain())),
    }
}

/// The path of a route: exact, or a prefix that ends with `/*`.
pub(super) struct PathPattern;

impl Kind for PathPattern {
    type Out = PathMatch;
    const EXPECTED: &'static str = "a path such as `/robots.txt` or `/orders/*`";
    const PATTERN: Option<&'static str> = Some("/.*");

    fn text(text: &str) -> Result<PathMatch, Refusal> {
        let prefix = text.strip_suffix('*').filter(|prefix| prefix.ends_with('/'));
        let normal = normal_path(prefix.unwrap_or(text))?;
        if prefix.unwrap_or(text).contains('*') {
            let refusal = Refusal::new("`*` is only understood as the whole last segment");
            let trimmed = text.trim_end_matches(['*', '/']);
            return Err(if trimmed.contains('*') {
                refusal
            } else {
                refusal.hint(format!("did you mean `{trimmed}/*`?"))
            });
        }
        Ok(if prefix.is_some() { PathMatch::Prefix(normal) } else { PathMatch::Exact(normal) })
    }
}

/// The path of a health check, exact, or `off`.
pub(super) struct HealthPath;

impl Kind for HealthPath {
    type Out = String;
    const EXPECTED: &'static str = "a path such as `/health`, or `off`";

    fn text(text: &str) -> Result<String, Refusal> {
        if text.contains('*') {
            return Err(Refusal::new("the health path is one path, without `*`"));
        }
        normal_path(text)
    }
}

/// What replaces a matched prefix: a path, kept without its last slash.
pub(super) struct PrefixRewrite;

impl Kind for PrefixRewrite {
    type Out = String;
    const EXPECTED: &'static str = "a path such as `/v2/orders` or `/`";
    const PATTERN: Option<&'static str> = Some("/.*");

    fn text(text: &str) -> Result<String, Refusal> {
        check_path(text)?;
        if text.contains('*') {
            return Err(
                Refusal::new("a rewritten prefix has no `*`").hint("what followed the matched prefix is kept as it is")
            );
        }
        Ok(text.strip_suffix('/').unwrap_or(text).to_owned())
    }
}

/// Methods that RFC 9110 section 9.3 and RFC 5789 define.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"];

/// A request method: a token, and case-sensitive (RFC 9110 section 9.1).
pub(super) struct Method;

impl Kind for Method {
    type Out = String;
    const EXPECTED: &'static str = "a method such as `GET`";

    fn text(text: &str) -> Result<String, Refusal> {
        if !is_token(text) {
            return Err(Refusal::expected::<Self>());
        }
        let upper = text.to_ascii_uppercase();
        if upper != text && METHODS.contains(&upper.as_str()) {
            return Err(Refusal::new("methods are case-sensitive").hint(format!("did you mean `{upper}`?")));
        }
        // The gateway answers both itself; neither is ever routed.
        if text == "CONNECT" || text == "TRACE" {
            return Err(Refusal::new("`CONNECT` and `TRACE` are never routed"));
        }
        Ok(text.to_owned())
    }
}

/// A protocol to switch to (RFC 9110 section 7.8), in lower case.
pub(super) struct UpgradeName;

impl Kind for UpgradeName {
    type Out = String;
    const EXPECTED: &'static str = "the name of a protocol such as `websocket`";

    fn text(text: &str) -> Result<String, Refusal> {
        let lower = text.to_ascii_lowercase();
        // A version may follow the name behind a slash.
        if !lower.split('/').all(is_token) || lower.split('/').count() > 2 {
            return Err(Refusal::expected::<Self>());
        }
        // Behind such a switch requests would pass that nobody looks at.
        if lower == "h2c" || lower == "h2" || lower.starts_with("http/") || lower.starts_with("tls") {
            let refusal = Refusal::new("behind a switch to this protocol requests would pass unseen");
            return Err(refusal.hint("only protocols other than HTTP and TLS are switched to"));
        }
        Ok(lower)
    }
}

/// Whether this is a token (RFC 9110 section 5.6.2).
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// The name of a field, in lower case.
pub(super) struct FieldName;

impl Kind for FieldName {
    type Out = String;
    const EXPECTED: &'static str = "a field name such as `x-edge`";

    fn text(text: &str) -> Result<String, Refusal> {
        if is_token(text) { Ok(text.to_ascii_lowercase()) } else { Err(Refusal::expected::<Self>()) }
    }
}

/// `K`, or `*` for every one, which is `None`.
pub(super) struct OrAny<K>(PhantomData<K>);

impl<K: Kind<Out = String>> Kind for OrAny<K> {
    type Out = Option<String>;
    const EXPECTED: &'static str = K::EXPECTED;

    fn text(text: &str) -> Result<Option<String>, Refusal> {
        if text == "*" { Ok(None) } else { K::text(text).map(Some) }
    }
}

/// An origin (RFC 6454): `https://app.example.com`, `https://*.example.com`, or `*`.
pub(super) struct OriginPattern;

impl Kind for OriginPattern {
    type Out = Origin;
    const EXPECTED: &'static str = "an origin such as `https://app.example.com`, `https://*.example.com` or `*`";
    const PATTERN: Option<&'static str> = Some("\\*|https?://.*");

    fn text(text: &str) -> Result<Origin, Refusal> {
        if text == "*" {
            return Ok(Origin::Any);
        }
        let lower = text.to_ascii_lowercase();
        if lower == "null" {
            return Err(Refusal::new("the origin `null` is that of any sandboxed page")
                .hint("every site can send it: name the origins that you mean"));
        }
        let (scheme, default_port) = match lower.split_once("://") {
            Some(("https", _)) => ("https://", 443),
            Some(("http", _)) => ("http://", 80),
            Some(_) | None => return Err(Refusal::expected::<Self>()),
        };
        let authority = &lower[scheme.len()..];
        if let Some((origin, _)) = authority.split_once('/') {
            return Err(Refusal::new("an origin has no path").hint(format!("did you mean `{scheme}{origin}`?")));
        }
        // The last colon of an address of IPv6 in brackets is none of a port.
        let (host, port) = match authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
            Some((host, port)) => (host, Some(port_number(port).ok_or_else(Refusal::expected::<Self>)?)),
            None => (authority, None),
        };
        let port = port.filter(|port| *port != default_port).map(|port| format!(":{port}")).unwrap_or_default();
        match HostPattern::text(host)? {
            HostMatch::Exact(host) => Ok(Origin::Exact(format!("{scheme}{host}{port}"))),
            HostMatch::Wildcard(suffix) => {
                Ok(Origin::Below { scheme: scheme.to_owned(), suffix: format!("{suffix}{port}") })
            }
            HostMatch::Any => Err(Refusal::expected::<Self>()),
        }
    }
}

/// The name of a cookie: a token, and case-sensitive (RFC 6265 section 4.1.1).
pub(super) struct CookieName;

impl Kind for CookieName {
    type Out = String;
    const EXPECTED: &'static str = "the name of a cookie such as `sid`";

    fn text(text: &str) -> Result<String, Refusal> {
        if is_token(text) { Ok(text.to_owned()) } else { Err(Refusal::expected::<Self>()) }
    }
}

/// The target of a probe: a path, a query included.
pub(super) struct ProbePath;

impl Kind for ProbePath {
    type Out = String;
    const EXPECTED: &'static str = "a path such as `/healthz`";
    const PATTERN: Option<&'static str> = Some("/.*");

    fn text(text: &str) -> Result<String, Refusal> {
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            return Err(Refusal::expected::<Self>());
        }
        if !text.starts_with('/') {
            return Err(Refusal::expected::<Self>().hint(format!("did you mean `/{text}`?")));
        }
        Ok(text.to_owned())
    }
}

/// The service that a gRPC probe asks for; empty for the whole server.
pub(super) struct ServiceName;

impl Kind for ServiceName {
    type Out = String;
    const EXPECTED: &'static str = "a service such as `orders.v1.Orders`, of at most 127 characters";

    fn text(text: &str) -> Result<String, Refusal> {
        let is_legal = text.len() <= 127 && text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_legal { Ok(text.to_owned()) } else { Err(Refusal::expected::<Self>()) }
    }
}

/// A status, or the first and the last of several: `200`, `200-399`.
pub(super) struct StatusRange;

impl Kind for StatusRange {
    type Out = (u16, u16);
    const EXPECTED: &'static str = "a status such as 200, a range such as `200-399`, or a list of them";
    const PATTERN: Option<&'static str> = Some("[2-5][0-9][0-9]-[2-5][0-9][0-9]");
    const TYPES: &'static [&'static str] = &["integer", "string"];
    const PLAIN: bool = true;

    fn text(text: &str) -> Result<(u16, u16), Refusal> {
        let status = |digits: &str| match digits.parse::<u64>() {
            Ok(number) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Ok(number),
            _ => Err(Refusal::expected::<Self>()),
        };
        if let [class @ b'2'..=b'5', b'x', b'x'] = text.as_bytes() {
            let class = char::from(*class);
            return Err(Refusal::expected::<Self>().hint(format!("did you mean `{class}00-{class}99`?")));
        }
        let Some((first, last)) = text.split_once('-') else { return Self::number(status(text)?) };
        let ((first, _), (last, _)) = (Self::number(status(first)?)?, Self::number(status(last)?)?);
        if first > last {
            return Err(Refusal::new("the range ends before it begins").hint(format!("did you mean `{last}-{first}`?")));
        }
        Ok((first, last))
    }

    fn number(number: u64) -> Result<(u16, u16), Refusal> {
        match u16::try_from(number) {
            Ok(status @ 200..=599) => Ok((status, status)),
            _ => Err(Refusal::new("expected final statuses, 200 to 599")),
        }
    }
}

/// The name of a field that tells endpoints their deadline: of our own making, so that it clashes with no field that
/// has a meaning.
pub(super) struct DeadlineField;

impl Kind for DeadlineField {
    type Out = String;
    const EXPECTED: &'static str = "a field name such as `x-request-timeout-ms`";

    fn text(text: &str) -> Result<String, Refusal> {
        let name = FieldName::text(text).map_err(|_| Refusal::expected::<Self>())?;
        let is_ours = ["x-forwarded", "x-real-ip", "x-request-id"].iter().any(|own| name.starts_with(own));
        if name.starts_with("x-") && !is_ours {
            return Ok(name);
        }
        Err(Refusal::expected::<Self>()
            .hint("it starts with `x-` and is none that the gateway writes anyway".to_owned()))
    }
}

/// What a challenge names (RFC 9110 section 11.5): visible ASCII and spaces, without what would need a backslash.
pub(super) struct Realm;

impl Kind for Realm {
    type Out = String;
    const EXPECTED: &'static str = "text";

    fn text(text: &str) -> Result<String, Refusal> {
        let fits = |byte: u8| (byte == b' ' || byte.is_ascii_graphic()) && byte != b'"' && byte != b'\\';
        if text.bytes().all(fits) {
            return Ok(text.to_owned());
        }
        Err(Refusal::new("a realm holds visible ASCII and spaces, no quotes and no backslashes"))
    }
}

/// The value of a field (RFC 9110 section 5.5): visible ASCII, spaces and tabs inside.
pub(super) struct FieldValue;

impl Kind for FieldValue {
    type Out = String;
    const EXPECTED: &'static str = "text";

    fn text(text: &str) -> Result<String, Refusal> {
        if !text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ' || byte == b'\t') {
            return Err(Refusal::new("a field value holds visible ASCII, spaces and tabs only"));
        }
        if text.trim_ascii().len() != text.len() {
            return Err(
                Refusal::new("a field value neither starts nor ends with a space").hint("it would be lost on the way")
            );
        }
        Ok(text.to_owned())
    }

    fn number(number: u64) -> Result<String, Refusal> {
        Text::number(number)
    }

    fn switch(on: bool) -> Result<String, Refusal> {
        Text::switch(on)
    }
}

/// The target of a redirect: a URL or a path, with `{path}` and `{query}` where the request's stand.
pub(super) struct RedirectTarget;

impl Kind for RedirectTarget {
    type Out = String;
    const EXPECTED: &'static str = "a target such as `https://docs.example.com{path}` or `/new`";

    fn text(text: &str) -> Result<String, Refusal> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Refusal::expected::<Self>());
        }
        if text.replace("{path}", "").replace("{query}", "").contains(['{', '}']) {
            return Err(Refusal::new("only `{path}` and `{query}` are replaced in a redirect target"));
        }
        if let Some((scheme, rest)) = text.split_once("://").filter(|(scheme, _)| !scheme.contains(['/', '{', '?'])) {
            let authority = &rest[..rest.find(['/', '{', '?', '#']).unwrap_or(rest.len())];
            let host = match authority.rsplit_once(':') {
                Some((host, port)) if port_number(port).is_some() => host,
                _ => authority,
            };
            let host_is_fixed = HostPattern::text(host).is_ok_and(|host| matches!(host, HostMatch::Exact(_)));
            return match scheme {
                "http" | "https" if host_is_fixed => Ok(text.to_owned()),
                "http" | "https" => Err(Refusal::new("the host of a redirect target must be written out")),
                _ => Err(Refusal::expected::<Self>()),
            };
        }
        // `//host` leads to another host, and the client chooses `{path}`: `/{path}` would be an open redirect.
        if !text.starts_with('/') || text.starts_with("//") || text.starts_with("/{") || text.starts_with("/\\") {
            return Err(Refusal::expected::<Self>().hint("a path starts with `/` and a fixed character"));
        }
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_exact_or_a_wildcard_below_a_domain() {
        assert_eq!(HostPattern::text("API.example.com."), Ok(HostMatch::Exact("api.example.com".to_owned())));
        assert_eq!(HostPattern::text("*.Example.com"), Ok(HostMatch::Wildcard(".example.com".to_owned())));
        assert_eq!(HostPattern::text("*"), Ok(HostMatch::Any));
        assert_eq!(HostPattern::text("[0:0::1]"), Ok(HostMatch::Exact("[::1]".to_owned())));
        for bad in [
            "",
            "*.",
            "*example.com",
            "a.*.com",
            "a b",
            "host:80",
            "http://host",
            "[::1]:80",
            "a..b",
            ".",
            "*.*",
            "::1",
        ] {
            assert!(HostPattern::text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_star_stands_only_for_the_rest_of_a_path() {
        assert_eq!(PathPattern::text("/orders/*"), Ok(PathMatch::Prefix("/orders/".to_owned())));
        assert_eq!(PathPattern::text("/*"), Ok(PathMatch::Prefix("/".to_owned())));
        assert_eq!(PathPattern::text("/orders/"), Ok(PathMatch::Exact("/orders/".to_owned())));
        assert_eq!(PathPattern::text("/a%20b"), Ok(PathMatch::Exact("/a%20b".to_owned())));
        for bad in [
            "", "*", "orders", "/a*", "/a/**", "/*/b", "/a?b", "/a#b", "/a b", "/ä", "/a/../b", "/./*", "/a%2", "/a%zz",
        ] {
            assert!(PathPattern::text(bad).is_err(), "{bad}");
        }
        let hint = PathPattern::text("/orders*").err().and_then(|refusal| refusal.hint);
        assert_eq!(hint.as_deref(), Some("did you mean `/orders/*`?"));
    }

    /// RFC 3986 section 6.2.2: requests are compared in this form.
    #[test]
    fn a_path_is_taken_in_its_normal_form() {
        assert_eq!(PathPattern::text("/%7Eops/%61/*"), Ok(PathMatch::Prefix("/~ops/a/".to_owned())));
        assert_eq!(PathPattern::text("/a%2fb/caf%c3%a9"), Ok(PathMatch::Exact("/a%2Fb/caf%C3%A9".to_owned())));
        assert_eq!(HealthPath::text("/%68ealth"), Ok("/health".to_owned()));
        for never in ["/a/%2e%2E/b", "/%2e/*", "/a\\b", "/a/..%2fb", "/..;/b", "/%00"] {
            assert!(PathPattern::text(never).is_err() && HealthPath::text(never).is_err(), "{never}");
        }
        let why = PathPattern::text("/%00").err().and_then(|refusal| refusal.hint);
        assert_eq!(why.as_deref(), Some("The path holds an encoded zero byte."));
    }

    #[test]
    fn a_rewritten_prefix_loses_its_last_slash() {
        assert_eq!(PrefixRewrite::text("/v2/orders/"), Ok("/v2/orders".to_owned()));
        assert_eq!(PrefixRewrite::text("/"), Ok(String::new()));
        assert!(PrefixRewrite::text("/v2/*").is_err());
        assert!(PrefixRewrite::text("v2").is_err());
    }

    #[test]
    fn methods_are_case_sensitive_tokens() {
        assert_eq!(Method::text("GET"), Ok("GET".to_owned()));
        assert_eq!(Method::text("PURGE"), Ok("PURGE".to_owned()));
        for bad in ["get", "Post", "", "G T", "CONNECT", "TRACE"] {
            assert!(Method::text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn expected_statuses_are_single_or_a_range_in_order() {
        assert_eq!(StatusRange::number(204), Ok((204, 204)));
        assert_eq!(StatusRange::text("200-399"), Ok((200, 399)));
        assert_eq!(StatusRange::text("200"), Ok((200, 200)));
        for bad in ["", "-", "200-", "-200", "399-200", "100", "199-300", "200-600", "2xx", "+200", "200-+300", "ok"] {
            assert!(StatusRange::text(bad).is_err(), "{bad}");
        }
        let hint = |text| StatusRange::text(text).err().and_then(|refusal| refusal.hint);
        assert_eq!(hint("2xx").as_deref(), Some("did you mean `200-299`?"));
        assert_eq!(hint("399-200").as_deref(), Some("did you mean `200-399`?"));
    }

    #[test]
    fn probes_ask_for_a_path_and_its_query() {
        assert_eq!(ProbePath::text("/healthz?full=1"), Ok("/healthz?full=1".to_owned()));
        for bad in ["", "healthz", "/a b", "/a#b", "/ä", "/a\r\nb"] {
            assert!(ProbePath::text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn cookies_keep_their_case() {
        assert_eq!(CookieName::text("SID"), Ok("SID".to_owned()));
        assert!(CookieName::text("").is_err() && CookieName::text("a b").is_err() && CookieName::text("a=b").is_err());
    }

    #[test]
    fn field_values_cannot_smuggle_a_line() {
        assert!(FieldValue::text("a b\tc").is_ok());
        assert!(FieldValue::text("").is_ok());
        for bad in ["a\r\nb", "a\nb", "a\0b", " a", "a ", "é", "a\u{7f}"] {
            assert!(FieldValue::text(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_client_cannot_choose_the_host_of_a_redirect() {
        for good in [
            "https://docs.example.com{path}",
            "https://a.example/x{path}{query}",
            "http://[::1]:80/",
            "/new{path}",
            "/",
        ] {
            assert!(RedirectTarget::text(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "{path}",
            "/{path}",
            "//{path}",
            "//evil",
            "/\\evil",
            "https://{path}",
            "https://",
            "ftp://a/",
            "/a{host}",
            "/a b",
            "https://a{query}b}",
            "{path}://x",
            "https://a:b/",
            "https://a:/",
            "https://u@a/",
        ] {
            assert!(RedirectTarget::text(bad).is_err(), "{bad}");
        }
    }
}
