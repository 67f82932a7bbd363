use super::*;
use crate::http1::{
    BodyLength, FieldEdits, Forwarded, HeadLimits, Progress, RequestHead, RequestOut, Version, encode_request,
};

const LIMITS: HeadLimits = HeadLimits { bytes: 65_536, count: 128, line: 16_384 };

fn decoded(text: &str) -> RequestStart {
    decode_request_head(text.as_bytes(), false).unwrap_or_else(|why| panic!("{why:?}: {text}"))
}

/// What the encoder of the request path makes of a request that was received.
fn forwarded(text: &str) -> Vec<u8> {
    let mut head = RequestHead::new();
    assert_eq!(head.parse(text.as_bytes(), &LIMITS), Ok(Progress::Complete), "{text}");
    assert_eq!(head.version(), Version::Http11);
    let how = RequestOut {
        path: head.path(text.as_bytes()),
        query: head.query(text.as_bytes()),
        host: head.authority(),
        forwarded: Forwarded { peer_ip: b"192.0.2.1", proto: "https", client: None },
        request_id: b"id",
        trace: None,
        via: b"ringgate-1",
        by_h2: false,
        edits: &FieldEdits::default(),
        added: &[],
        body: head.body(),
        timeout_ms: None,
        close: false,
        upgrade: b"",
        grpc_timeout_ms: None,
        certificate: None,
    };
    let mut out = Vec::new();
    encode_request(&mut out, text.as_bytes(), &head, &how);
    out
}

/// RFC 9113 sections 8.2, 8.2.2 and 8.3.1.
#[test]
fn a_head_becomes_fields_without_what_belongs_to_a_connection() {
    let text = "POST /a%20b?c=d HTTP/1.1\r\nHost: a.example:81\r\nX-A: 1\r\nx-a: 2\r\nEmpty: \r\nContent-Length: 3\r\n\
                TE: trailers\r\nConnection: TE\r\nUpgrade: websocket\r\n\r\nabc";
    let start = decoded(text);
    let (request, fields) = (&start.request, start.request.headers());
    assert_eq!(request.uri(), "http://a.example:81/a%20b?c=d");
    assert_eq!((request.method(), &text[start.used..]), (&Method::POST, "abc"));
    assert_eq!(fields.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!((&fields["te"], &fields["empty"], &fields["content-length"]).0, "trailers");
    assert_eq!(fields.len(), 5, "{fields:?}");
    assert_eq!(start.body, Unframer::exact(3));
}

/// RFC 9113 section 8.2.2: Transfer-Encoding does not exist in HTTP/2.
#[test]
fn chunks_are_framing_and_no_field() {
    let start = decoded("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert!(start.request.headers().is_empty());
    assert_eq!(start.body, Unframer::chunked());
}

#[test]
fn a_request_without_a_body_ends_with_its_head() {
    assert!(decoded("GET / HTTP/1.1\r\nHost: a\r\n\r\n").body.is_over());
    let empty = decoded("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert!(empty.body.is_over() && empty.request.headers()["content-length"] == "0");
}

/// RFC 9113 section 8.3.1: `:scheme` says how the endpoint is spoken to, and the asterisk stays one.
#[test]
fn the_target_names_scheme_authority_and_path() {
    let start = decode_request_head(b"OPTIONS * HTTP/1.1\r\nHost: [::1]:8443\r\n\r\n", true).expect("a head");
    let uri = start.request.uri();
    assert_eq!(uri.scheme_str(), Some("https"));
    assert_eq!(uri.authority().map(Authority::as_str), Some("[::1]:8443"));
    assert_eq!(uri.path_and_query().map(PathAndQuery::as_str), Some("*"));
}

/// RFC 3986 section 2: what no target may hold goes on in the form that it has there.
#[test]
fn a_target_that_is_no_uri_is_escaped() {
    let start = decoded("GET /a?b=<\"`>&c=%20 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(start.request.uri().path_and_query().map(PathAndQuery::as_str), Some("/a?b=%3C%22%60%3E&c=%20"));
}

#[test]
fn what_has_no_form_in_http2_is_refused() {
    for (text, why) in [
        ("GET / HTTP/1.1\r\n\r\n", HeadError::MissingHost),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", HeadError::InvalidHost),
        ("GET / HTTP/1.1\r\nHost: a", HeadError::InvalidRequestLine),
        ("GET HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::InvalidRequestLine),
        ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", HeadError::InvalidFieldName),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", HeadError::InvalidContentLength),
    ] {
        let refused = decode_request_head(text.as_bytes(), false).map(|start| start.used);
        assert_eq!(refused, Err(why), "{text}");
    }
}

#[test]
fn whatever_our_encoder_writes_is_translated() {
    for (text, body) in [
        (
            "GET /x?y HTTP/1.1\r\nHost: a.example\r\nConnection: x-hop, TE\r\nTE: trailers\r\nX-Hop: 1\r\n\r\n",
            BodyLength::None,
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n", BodyLength::Chunked),
        ("PROPFIND /d/ HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n", BodyLength::Exact(7)),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n\r\n", BodyLength::None),
    ] {
        let bytes = forwarded(text);
        let start = decode_request_head(&bytes, true).unwrap_or_else(|why| panic!("{why:?}: {text}"));
        assert_eq!(start.used, bytes.len());
        assert_eq!(start.body.is_over(), body == BodyLength::None);
        let fields = start.request.headers();
        for name in ["host", "connection", "transfer-encoding", "x-hop", "keep-alive", "upgrade"] {
            assert!(!fields.contains_key(name), "{name}: {text}");
        }
        assert_eq!(fields.get("te").is_some(), text.contains("TE: trailers"));
        assert_eq!((&fields["x-forwarded-proto"], &fields["x-request-id"]).0, "https");
    }
}

/// RFC 8441 sections 4 and 5.
#[test]
fn an_offer_to_switch_may_become_an_extended_connect() {
    let text = "GET /chat HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n\
                Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mut start = decoded(text);
    assert_eq!((start.request.method(), start.upgrade.as_deref()), (&Method::GET, Some(&b"websocket"[..])));
    assert_eq!(start.request.headers().len(), 2, "an endpoint that knows no such CONNECT gets a plain GET");
    start.connect();
    assert_eq!((start.request.method(), start.request.uri().path()), (&Method::CONNECT, "/chat"));
    assert_eq!(start.request.headers().len(), 1);
    let mere = decoded("GET / HTTP/1.1\r\nHost: a\r\nConnection: TE\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(mere.upgrade, None);
}
