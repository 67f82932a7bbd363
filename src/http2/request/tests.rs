use http::{HeaderMap, HeaderValue, Request};

use super::*;
use crate::http1::{BodyLength, HeadLimits, Progress, RequestHead};

const LIMITS: HeadLimits = HeadLimits { bytes: 64 * 1024, count: 128, line: 16 * 1024 };

fn parts(method: &str, uri: &str, fields: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

/// The head as text, on a connection that is not secured.
fn head(request: &Parts, has_body: bool) -> Result<String, HeadError> {
    let mut out = Vec::new();
    encode_request_head(&mut out, request, has_body, false)?;
    Ok(String::from_utf8(out).unwrap())
}

fn refused(method: &str, uri: &str, fields: &[(&str, &str)], has_body: bool) -> HeadError {
    head(&parts(method, uri, fields), has_body).unwrap_err()
}

/// What our own strict parser reads in a head.
fn parsed(text: &str) -> RequestHead {
    let mut head = RequestHead::new();
    assert_eq!(head.parse(text.as_bytes(), &LIMITS), Ok(Progress::Complete), "{text}");
    assert_eq!(head.len(), text.len());
    head
}

/// RFC 9113 section 8.3.1: the pseudo-header fields become the request line and Host.
#[test]
fn a_request_becomes_one_of_http_1() {
    let request = parts("GET", "http://a.example:8080/x?y=1", &[("accept", "*/*"), ("user-agent", "c")]);
    let text = head(&request, false).unwrap();
    assert_eq!(text, "GET /x?y=1 HTTP/1.1\r\nhost: a.example:8080\r\naccept: */*\r\nuser-agent: c\r\n\r\n");
    let read = parsed(&text);
    assert_eq!((read.body(), read.authority()), (BodyLength::None, &b"a.example:8080"[..]));
    assert!(read.keep_alive());
}

/// RFC 9112 section 6.1 and RFC 9110 section 8.6: one way to frame a body, and none where there is none.
#[test]
fn the_end_of_the_stream_decides_the_framing() {
    for (method, length, has_body, body) in [
        ("GET", None, false, BodyLength::None),
        ("POST", None, false, BodyLength::Exact(0)),
        ("PUT", None, false, BodyLength::Exact(0)),
        ("PATCH", None, false, BodyLength::Exact(0)),
        ("DELETE", None, false, BodyLength::None),
        ("POST", Some("0"), false, BodyLength::Exact(0)),
        ("POST", Some("7"), true, BodyLength::Exact(7)),
        ("POST", Some("0"), true, BodyLength::Chunked),
        ("POST", None, true, BodyLength::Chunked),
        ("GET", None, true, BodyLength::Chunked),
    ] {
        let fields: Vec<_> = length.map(|length| ("content-length", length)).into_iter().collect();
        let text = head(&parts(method, "http://a/", &fields), has_body).unwrap();
        assert_eq!(parsed(&text).body(), body, "{text}");
    }
}

/// RFC 9113 section 8.1.1: a length without the content it speaks of is malformed.
#[test]
fn a_length_without_content_is_refused() {
    for length in ["1", "00", "", "x"] {
        assert_eq!(
            refused("POST", "http://a/", &[("content-length", length)], false),
            HeadError::InvalidContentLength,
            "{length}"
        );
    }
}

/// RFC 9113 section 8.2.3.
#[test]
fn crumbs_of_a_cookie_become_one_field() {
    let fields = [("cookie", "a=1"), ("x-b", "2"), ("cookie", "c=3"), ("cookie", "d=4")];
    let text = head(&parts("GET", "http://a/", &fields), false).unwrap();
    assert_eq!(text.matches("cookie").count(), 1);
    assert!(text.contains("cookie: a=1; c=3; d=4\r\n") && text.contains("x-b: 2\r\n"), "{text}");
}

/// RFC 9113 section 8.3.1: an authority decides, and a Host that says the same is not repeated.
#[test]
fn there_is_exactly_one_host() {
    for (uri, host, value) in [
        ("http://a.example/", None, "a.example"),
        ("http://a.example/", Some("A.Example"), "a.example"),
        ("/", Some("b.example"), "b.example"),
    ] {
        let fields: Vec<_> = host.map(|host| ("host", host)).into_iter().collect();
        let text = head(&parts("GET", uri, &fields), false).unwrap();
        assert_eq!(text.matches("host: ").count(), 1, "{text}");
        assert_eq!(parsed(&text).host(), value.as_bytes());
    }
    assert_eq!(refused("GET", "http://a.example/", &[("host", "b.example")], false), HeadError::InvalidHost);
    assert_eq!(refused("GET", "http://a/", &[("host", "a"), ("host", "a")], false), HeadError::RepeatedHost);
    assert_eq!(refused("GET", "/", &[], false), HeadError::MissingHost);
    assert_eq!(refused("GET", "/", &[("host", "a ")], false), HeadError::InvalidFieldValue);
}

/// RFC 9113 section 8.2.2.
#[test]
fn fields_of_a_connection_are_refused() {
    for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
        assert_eq!(refused("GET", "http://a/", &[(name, "x")], true), HeadError::InvalidFieldName, "{name}");
    }
    for value in ["gzip", "trailers, gzip", "Trailers"] {
        assert_eq!(refused("GET", "http://a/", &[("te", value)], false), HeadError::InvalidFieldValue, "{value}");
    }
    let text = head(&parts("GET", "http://a/", &[("te", "trailers")]), false).unwrap();
    assert!(parsed(&text).accepts_trailers());
}

/// RFC 9113 section 8.2.1.
#[test]
fn a_value_with_white_space_at_an_end_is_refused() {
    for value in [" a", "a ", "\ta", "a\t"] {
        assert_eq!(refused("GET", "http://a/", &[("x-a", value)], false), HeadError::InvalidFieldValue, "{value:?}");
        assert_eq!(refused("GET", "http://a/", &[("cookie", value)], false), HeadError::InvalidFieldValue);
    }
    let mut request = parts("GET", "http://a/", &[]);
    let mut fields = HeaderMap::new();
    fields.insert("x-a", HeaderValue::from_bytes(b"a\tb\xff").unwrap());
    request.headers = fields;
    let mut out = Vec::new();
    encode_request_head(&mut out, &request, false, false).unwrap();
    assert!(out.ends_with(b"x-a: a\tb\xff\r\n\r\n"));
}

/// RFC 9113 section 8.3.1: a path begins with a slash, or is the asterisk of OPTIONS.
#[test]
fn a_path_that_would_read_as_another_form_of_target_is_refused() {
    let asterisk = head(&parts("OPTIONS", "*", &[("host", "a")]), false).unwrap();
    assert!(asterisk.starts_with("OPTIONS * HTTP/1.1\r\n"));
    assert_eq!(parsed(&asterisk).path(asterisk.as_bytes()), b"*");
    assert_eq!(refused("GET", "*", &[("host", "a")], false), HeadError::InvalidTarget);
    for path in ["http://evil.example/", "//", "?q", "x", "x:80"] {
        // What the type of targets refuses by itself never comes here.
        let Ok(path_and_query) = PathAndQuery::from_maybe_shared(bytes::Bytes::from(path)) else { continue };
        let mut request = parts("GET", "http://a.example/", &[("host", "a.example")]);
        let mut uri = http::uri::Parts::default();
        uri.path_and_query = Some(path_and_query);
        request.uri = http::Uri::from_parts(uri).unwrap();
        match head(&request, false) {
            Err(why) => assert_eq!(why, HeadError::InvalidTarget, "{path}"),
            Ok(text) => assert!(path.starts_with('/') && parsed(&text).host() == b"a.example", "{text}"),
        }
    }
}

/// RFC 9110 section 7.4: `https` on a plain connection stays visible to whoever decides; other schemes have no meaning.
#[test]
fn a_scheme_is_told_where_it_does_not_fit_the_connection() {
    let request = parts("GET", "https://a.example/x", &[]);
    let plain = head(&request, false).unwrap();
    assert_eq!(parsed(&plain).scheme(), Some("https"));
    assert_eq!(parsed(&plain).host(), b"a.example");
    let mut secure = Vec::new();
    encode_request_head(&mut secure, &request, false, true).unwrap();
    assert!(secure.starts_with(b"GET /x HTTP/1.1\r\n"));
    let asterisk = head(&parts("OPTIONS", "https://a.example/*", &[]), false).unwrap();
    assert!(asterisk.starts_with("OPTIONS https://a.example/* HTTP/1.1\r\n"), "{asterisk}");
    assert_eq!(refused("GET", "ftp://a/", &[], false), HeadError::InvalidTarget);
}

/// RFC 9113 section 8.5: CONNECT has an authority and nothing else.
#[test]
fn connect_keeps_its_authority() {
    let text = head(&parts("CONNECT", "a.example:443", &[]), true).unwrap();
    assert!(text.starts_with("CONNECT a.example:443 HTTP/1.1\r\nhost: a.example:443\r\n"), "{text}");
    assert_eq!(parsed(&text).method(), crate::http1::Method::Connect);
}

/// RFC 9113 section 10.3: what is no visible character has no place in a request line.
#[test]
fn a_path_of_other_bytes_is_refused() {
    let mut request = parts("GET", "/", &[("host", "a")]);
    request.uri = http::Uri::from_maybe_shared(bytes::Bytes::from("/\u{e9}")).unwrap();
    assert_eq!(head(&request, false), Err(HeadError::InvalidTarget));
}

/// What an extended CONNECT to this becomes.
fn switch(protocol: &str, fields: &[(&str, &str)]) -> Result<String, HeadError> {
    let mut out = Vec::new();
    encode_switch_head(&mut out, &parts("CONNECT", "http://a.example/chat?x=1", fields), protocol, b"KEY", false)?;
    Ok(String::from_utf8(out).unwrap())
}

/// RFC 8441 section 5: a WebSocket of HTTP/2 is asked for as one of HTTP/1.1.
#[test]
fn an_extended_connect_becomes_an_offer_to_switch() {
    let text = switch("websocket", &[("sec-websocket-version", "13"), ("origin", "http://b.example")]).unwrap();
    assert_eq!(
        text,
        "GET /chat?x=1 HTTP/1.1\r\nhost: a.example\r\nsec-websocket-version: 13\r\norigin: http://b.example\r\n\
         connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: KEY\r\n\r\n"
    );
    assert_eq!(parsed(&text).body(), BodyLength::None);
    let other = switch("connect-udp", &[]).unwrap();
    assert!(other.contains("\r\nupgrade: connect-udp\r\n") && !other.contains("key"), "{other}");
}

#[test]
fn an_extended_connect_to_no_protocol_or_with_a_challenge_is_refused() {
    for protocol in ["", "a b", "a, b", "a\r\nx: y"] {
        assert_eq!(switch(protocol, &[]), Err(HeadError::InvalidFieldName), "{protocol:?}");
    }
    assert_eq!(switch("websocket", &[("sec-websocket-key", "k")]), Err(HeadError::InvalidFieldName));
    assert_eq!(switch("websocket", &[("content-length", "5")]), Err(HeadError::InvalidContentLength));
    assert_eq!(switch("websocket", &[("upgrade", "x")]), Err(HeadError::InvalidFieldName));
}
