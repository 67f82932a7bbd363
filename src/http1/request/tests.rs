use super::super::tests::{LIMITS, request};
use super::*;

/// The error of a request whose lines are `lines`, CR LF added to each and an empty line behind.
fn refused(lines: &str) -> Option<HeadError> {
    request(&format!("{}\r\n\r\n", lines.replace('|', "\r\n"))).err()
}

/// Checks a table of requests and the reasons they are refused for.
fn check_refused(table: &[(&str, HeadError)]) {
    for (lines, error) in table {
        assert_eq!(refused(lines), Some(*error), "{lines:?}");
    }
}

/// RFC 9112 section 3: an over-long method is answered with 501.
#[test]
fn an_overlong_method_is_not_implemented() {
    let line = |length: usize| format!("{} / HTTP/1.1|Host: a", "M".repeat(length));
    assert_eq!(refused(&line(METHOD_BYTES)), None);
    assert_eq!(refused(&line(METHOD_BYTES + 1)), Some(HeadError::MethodTooLong));
}

/// RFC 9112 sections 2.2, 2.3 and 3.
#[test]
fn malformed_lines_are_refused_each_with_its_reason() {
    check_refused(&[
        // RFC 9112 section 2.2: bare CR and bare LF.
        ("GET / HTTP/1.1|Host: a|A: b\rc", HeadError::BareCr),
        ("GET / HTTP/1.1|Host: a\r|A: b", HeadError::BareCr),
        ("GET / HTTP/1.1\nHost: a", HeadError::BareLf),
        ("GET / HTTP/1.1|Host: a\nA: b", HeadError::BareLf),
        ("GET / HTTP/1.1|A: \nHost: a", HeadError::BareLf),
        ("GET / HTTP/1.1|Host: a\n", HeadError::BareLf),
        ("GET / HTTP/1.1|Host: a\n\n", HeadError::BareLf),
        ("\nGET / HTTP/1.1|Host: a", HeadError::BareLf),
        ("\rGET / HTTP/1.1|Host: a", HeadError::BareCr),
        ("|||||GET / HTTP/1.1|Host: a", HeadError::TooManyEmptyLines),
        // RFC 9112 section 2.2: white space before the first field.
        ("GET / HTTP/1.1| Host: a", HeadError::WhitespaceBeforeFields),
        // RFC 9112 section 2.3, RFC 9110 section 6.2: versions.
        ("GET / HTTP/2.0|Host: a", HeadError::UnsupportedVersion),
        ("GET / HTTP/1.2|Host: a", HeadError::UnsupportedVersion),
        ("GET / HTTP/0.9|Host: a", HeadError::UnsupportedVersion),
        ("PRI * HTTP/2.0", HeadError::UnsupportedVersion),
        ("GET / http/1.1|Host: a", HeadError::InvalidRequestLine),
        ("GET / HTTP/1.1x|Host: a", HeadError::InvalidRequestLine),
        ("GET / HTTP/1.1 |Host: a", HeadError::InvalidRequestLine),
        // RFC 9112 section 3: method and request line.
        ("GET  / HTTP/1.1|Host: a", HeadError::InvalidRequestLine),
        ("GET /  HTTP/1.1|Host: a", HeadError::InvalidRequestLine),
        ("GET / a HTTP/1.1|Host: a", HeadError::InvalidRequestLine),
        ("GET /|Host: a", HeadError::InvalidRequestLine),
        ("GET|Host: a", HeadError::InvalidMethod),
        (" GET / HTTP/1.1|Host: a", HeadError::InvalidMethod),
        ("G(T / HTTP/1.1|Host: a", HeadError::InvalidMethod),
        ("GET\t/ HTTP/1.1|Host: a", HeadError::InvalidMethod),
        ("\u{16}\u{3}\u{1}|", HeadError::InvalidMethod),
    ]);
}

/// RFC 9112 section 3.2, RFC 9110 section 9.3.6.
#[test]
fn malformed_targets_and_hosts_are_refused_each_with_its_reason() {
    check_refused(&[
        // RFC 9112 section 3.2: the forms of a target.
        ("GET a HTTP/1.1|Host: a", HeadError::InvalidTarget),
        ("GET * HTTP/1.1|Host: a", HeadError::InvalidTarget),
        ("OPTIONS ** HTTP/1.1|Host: a", HeadError::InvalidTarget),
        ("GET /a#b HTTP/1.1|Host: a", HeadError::InvalidTarget),
        ("GET /?a#b HTTP/1.1|Host: a", HeadError::InvalidTarget),
        ("GET /\u{1} HTTP/1.1|Host: a", HeadError::InvalidTarget),
        ("GET /\u{e9} HTTP/1.1|Host: a", HeadError::InvalidTarget),
        ("GET ftp://a/ HTTP/1.1|Host: a", HeadError::InvalidTarget),
        ("GET http:/a HTTP/1.1|Host: a", HeadError::InvalidTarget),
        ("GET http:///a HTTP/1.1|Host: a", HeadError::InvalidHost),
        ("GET http://u@a/ HTTP/1.1|Host: a", HeadError::InvalidHost),
        ("GET http://a#b HTTP/1.1|Host: a", HeadError::InvalidTarget),
        ("GET /%00 HTTP/1.1|Host: a", HeadError::NulInPath),
        ("GET /%x HTTP/1.1|Host: a", HeadError::InvalidPathEscape),
        ("GET /..;/a HTTP/1.1|Host: a", HeadError::AmbiguousDotSegment),
        // RFC 9110 section 9.3.6: CONNECT with an empty or invalid port.
        ("CONNECT a HTTP/1.1|Host: a", HeadError::InvalidTarget),
        ("CONNECT a: HTTP/1.1|Host: a", HeadError::InvalidTarget),
        ("CONNECT a:x HTTP/1.1|Host: a", HeadError::InvalidTarget),
        ("CONNECT a:70000 HTTP/1.1|Host: a", HeadError::InvalidHost),
        ("CONNECT /a:80 HTTP/1.1|Host: a", HeadError::InvalidHost),
        // RFC 9112 section 3.2: Host.
        ("GET / HTTP/1.1|A: b", HeadError::MissingHost),
        ("GET http://a/ HTTP/1.1|A: b", HeadError::MissingHost),
        ("GET / HTTP/1.1|Host: a|Host: b", HeadError::RepeatedHost),
        ("GET / HTTP/1.1|Host: a|host: a", HeadError::RepeatedHost),
        ("GET / HTTP/1.0|Host: a|host: a", HeadError::RepeatedHost),
        ("GET / HTTP/1.1|Host: a, a", HeadError::InvalidHost),
        ("GET / HTTP/1.1|Host: u@a", HeadError::InvalidHost),
        ("GET / HTTP/1.1|Host: a/b", HeadError::InvalidHost),
        ("GET / HTTP/1.1|Host:", HeadError::InvalidHost),
        ("GET / HTTP/1.0|Host:", HeadError::InvalidHost),
        ("GET http://a/ HTTP/1.1|Host: b/c", HeadError::InvalidHost),
    ]);
}

/// RFC 9112 sections 5 and 6, RFC 9110 sections 5.1, 5.5 and 10.1.1.
#[test]
fn malformed_fields_are_refused_each_with_its_reason() {
    check_refused(&[
        // RFC 9112 section 5: field lines.
        ("GET / HTTP/1.1|Host: a|A : b", HeadError::WhitespaceBeforeColon),
        ("GET / HTTP/1.1|Host: a|A\t: b", HeadError::WhitespaceBeforeColon),
        ("GET / HTTP/1.1|Host: a| b", HeadError::ObsoleteFold),
        ("GET / HTTP/1.1|Host: a|A: b|\tc", HeadError::ObsoleteFold),
        ("GET / HTTP/1.1|Host: a|A", HeadError::MissingColon),
        ("GET / HTTP/1.1|Host: a|A b", HeadError::MissingColon),
        ("GET / HTTP/1.1|Host: a|: b", HeadError::InvalidFieldName),
        ("GET / HTTP/1.1|Host: a|A(: b", HeadError::InvalidFieldName),
        ("GET / HTTP/1.1|Host: a|A\0: b", HeadError::InvalidFieldName),
        ("GET / HTTP/1.1|Host: a|\u{e9}: b", HeadError::InvalidFieldName),
        ("GET / HTTP/1.1|Host: a|A: b\0", HeadError::InvalidFieldValue),
        ("GET / HTTP/1.1|Host: a|A: \u{7f}", HeadError::InvalidFieldValue),
        ("GET / HTTP/1.1|Host: a|A: b\u{b}c", HeadError::InvalidFieldValue),
        // RFC 9112 section 6.
        (
            "POST / HTTP/1.1|Host: a|Content-Length: 5|Transfer-Encoding: chunked",
            HeadError::ContentLengthWithTransferEncoding,
        ),
        (
            "POST / HTTP/1.1|Host: a|transfer-encoding: chunked|content-length: 5",
            HeadError::ContentLengthWithTransferEncoding,
        ),
        ("POST / HTTP/1.1|Host: a|Transfer-Encoding: gzip", HeadError::UnknownTransferCoding),
        (
            "POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked|Transfer-Encoding: chunked",
            HeadError::InvalidTransferEncoding,
        ),
        ("POST / HTTP/1.1|Host: a|Transfer-Encoding: \u{b}chunked", HeadError::InvalidFieldValue),
        ("POST / HTTP/1.1|Host: a|Transfer-Encoding : chunked", HeadError::WhitespaceBeforeColon),
        ("POST / HTTP/1.0|Host: a|Transfer-Encoding: chunked", HeadError::TransferEncodingOnHttp10),
        ("POST / HTTP/1.1|Host: a|Content-Length: 5|Content-Length: 5", HeadError::RepeatedContentLength),
        ("POST / HTTP/1.1|Host: a|Content-Length: +5", HeadError::InvalidContentLength),
        // RFC 9110 section 10.1.1: an unknown expectation.
        ("POST / HTTP/1.1|Host: a|Expect: 200-ok", HeadError::UnknownExpectation),
        ("POST / HTTP/1.1|Host: a|Expect: 100-continue, x", HeadError::UnknownExpectation),
    ]);
}

/// RFC 9112 section 2.2: at least one empty line before the request line is ignored.
#[test]
fn a_few_empty_lines_before_the_request_line_are_ignored() {
    let text = "\r\n\r\n\r\n\r\nGET /p HTTP/1.1\r\nHost: a\r\n\r\nrest";
    let head = request(text).unwrap();
    assert_eq!(head.len(), text.len() - 4);
    assert_eq!((head.path(text.as_bytes()), head.method_name(text.as_bytes())), (&b"/p"[..], &b"GET"[..]));
}

/// RFC 9112 section 2.2: a message is parsed as octets, so bytes above 127 may stand in a value.
#[test]
fn a_value_may_hold_any_octet_but_controls() {
    let bytes = b"GET / HTTP/1.1\r\nHost: a\r\nA: \xff\x80 \tb\r\n\r\n";
    let mut head = RequestHead::new();
    assert_eq!(head.parse(bytes, &LIMITS), Ok(Progress::Complete));
    assert_eq!(head.field(bytes, "a"), Some(&b"\xff\x80 \tb"[..]));
}

/// RFC 9112 section 3.2: path, query, host and authority of every form of a target.
#[test]
fn every_form_of_a_target_gives_path_query_and_host() {
    for (line, path, query, authority, host) in [
        ("GET / HTTP/1.1|Host: a", "/", None, "a", "a"),
        ("GET /a/../B%7e?x=%zz?y HTTP/1.1|Host: A.b.:8080", "/B~", Some("x=%zz?y"), "a.b:8080", "a.b"),
        ("GET /? HTTP/1.1|Host: a", "/", Some(""), "a", "a"),
        ("GET //x//y HTTP/1.1|Host: a", "//x//y", None, "a", "a"),
        // RFC 9112 section 3.2.2: absolute-form is accepted and wins over Host.
        ("GET http://B:81/c?d HTTP/1.1|Host: a", "/c", Some("d"), "b:81", "b"),
        ("GET HTTPS://[::1] HTTP/1.1|Host: a", "/", None, "[::1]", "[::1]"),
        ("GET http://b?d HTTP/1.1|Host: a", "/", Some("d"), "b", "b"),
        ("GET http://b/ HTTP/1.0", "/", None, "b", "b"),
        // RFC 9112 section 3.2.4: asterisk-form, and absolute-form that stands for it.
        ("OPTIONS * HTTP/1.1|Host: a", "*", None, "a", "a"),
        ("OPTIONS http://b:8001 HTTP/1.1|Host: a", "*", None, "b:8001", "b"),
        ("OPTIONS http://b/ HTTP/1.1|Host: a", "/", None, "b", "b"),
        ("OPTIONS http://b?q HTTP/1.1|Host: a", "/", Some("q"), "b", "b"),
        // RFC 9112 section 3.2.3.
        ("CONNECT b:443 HTTP/1.1|Host: a", "", None, "b:443", "b"),
        ("GET / HTTP/1.0", "/", None, "", ""),
    ] {
        let text = format!("{}\r\n\r\n", line.replace('|', "\r\n"));
        let bytes = text.as_bytes();
        let head = request(&text).unwrap();
        assert_eq!(head.path(bytes), path.as_bytes(), "{line}");
        assert_eq!(head.query(bytes), query.map(str::as_bytes), "{line}");
        assert_eq!((head.authority(), head.host()), (authority.as_bytes(), host.as_bytes()), "{line}");
    }
    assert_eq!(request("GET HTTPS://a HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().scheme(), Some("https"));
    assert_eq!(request("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().scheme(), None);
}

#[test]
fn a_path_in_normal_form_is_not_copied() {
    let text = "GET /a/b.c?d HTTP/1.1\r\nHost: a\r\n\r\n";
    let head = request(text).unwrap();
    assert_eq!(head.path(text.as_bytes()).as_ptr(), text[4..].as_ptr());
}

/// RFC 9112 section 9.3: persistence by version and connection options.
#[test]
fn persistence_follows_version_and_options() {
    for (version, options, keep_alive) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: x, CLOSE\r\n", false),
        ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
        ("1.0", "Proxy-Connection: keep-alive\r\n", false),
    ] {
        let text = format!("GET / HTTP/{version}\r\nHost: a\r\n{options}\r\n");
        assert_eq!(request(&text).unwrap().keep_alive(), keep_alive, "{text}");
    }
}

/// RFC 9112 section 6.3: a request without framing has no body.
#[test]
fn the_body_of_a_request_is_what_its_fields_say() {
    for (fields, body) in [
        ("", BodyLength::None),
        ("Content-Length: 0\r\n", BodyLength::Exact(0)),
        ("Content-Length: 7\r\n", BodyLength::Exact(7)),
        ("Transfer-Encoding: chunked\r\n", BodyLength::Chunked),
    ] {
        assert_eq!(request(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).unwrap().body(), body);
    }
}

/// RFC 9110 section 10.1.1: the expectation of HTTP/1.0 is ignored, whatever it is.
#[test]
fn an_expectation_counts_for_http11_only() {
    let expects = |version, value| {
        request(&format!("PUT / HTTP/{version}\r\nHost: a\r\nExpect: {value}\r\n\r\n")).unwrap().expects_continue()
    };
    assert!(expects("1.1", "100-Continue"));
    assert!(!expects("1.0", "100-continue"));
    assert!(!expects("1.0", "something"));
}

/// RFC 9110 sections 10.1.4 and 7.6.2: TE and Max-Forwards.
#[test]
fn te_and_max_forwards_are_read_where_they_mean_something() {
    assert!(request("GET / HTTP/1.1\r\nHost: a\r\nTE: gzip, Trailers\r\n\r\n").unwrap().accepts_trailers());
    assert!(!request("GET / HTTP/1.1\r\nHost: a\r\nTE: gzip\r\n\r\n").unwrap().accepts_trailers());
    let hops = |method, value| {
        request(&format!("{method} / HTTP/1.1\r\nHost: a\r\nMax-Forwards: {value}\r\n\r\n")).unwrap().max_forwards()
    };
    assert_eq!(hops("OPTIONS", "0"), Some(0));
    assert_eq!(hops("TRACE", "10"), Some(10));
    assert_eq!(hops("TRACE", "99999999999"), Some(u32::MAX));
    assert_eq!(hops("OPTIONS", "-1"), None);
    assert_eq!(hops("GET", "3"), None);
}

/// RFC 9110 section 7.6.1: Connection names the fields that end here; it may not name what others rely on.
#[test]
fn connection_options_end_fields_unless_they_are_end_to_end() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nX-Hop: 1\r\nAuthorization: s\r\nX-Forwarded-For: 1\r\nCache-Control: x\r\nx-hop: 2\r\n\
                Connection: X-HOP, host, authorization, x-forwarded-for, cache-control, content-length\r\nContent-Length: 0\r\n\
                Keep-Alive: 1\r\nProxy-Connection: a\r\nTE: a\r\nUpgrade: h2c\r\nHTTP2-Settings: a\r\nX_Real_IP: 6\r\n\r\n";
    let head = request(text).unwrap();
    let hops: Vec<_> =
        head.fields().iter().filter(|field| field.hop).map(|field| field.name.of(text.as_bytes())).collect();
    let expected: [&[u8]; 9] = [
        b"X-Hop",
        b"x-hop",
        b"Connection",
        b"Keep-Alive",
        b"Proxy-Connection",
        b"TE",
        b"Upgrade",
        b"HTTP2-Settings",
        b"X_Real_IP",
    ];
    assert_eq!(hops, expected);
    assert_eq!(head.connection_options(text.as_bytes()).count(), 6);
    assert_eq!(head.find(text.as_bytes(), FieldKind::XRealIp), None);
}

#[test]
fn connection_options_are_bounded() {
    let options = |count: usize| {
        request(&format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {}\r\n\r\n", "x,".repeat(count))).map(|_| ())
    };
    assert_eq!(options(super::super::CONNECTION_OPTIONS), Ok(()));
    assert_eq!(options(super::super::CONNECTION_OPTIONS + 1), Err(HeadError::TooManyConnectionOptions));
}

/// RFC 9112 section 3 and RFC 6585 section 5: 414 and 431, as soon as it is certain.
#[test]
fn a_head_beyond_its_bounds_is_refused_however_it_arrives() {
    let limits = HeadLimits { bytes: 200, count: 2, line: 40 };
    let outcome = |text: &str| RequestHead::new().parse(text.as_bytes(), &limits);
    let line = |length: usize| format!("GET /{} HTTP/1.1", "a".repeat(length - 14));
    assert_eq!(outcome(&format!("{}\r\nHost: a\r\n\r\n", line(40))), Ok(Progress::Complete));
    assert_eq!(outcome(&format!("{}\r\nHost: a\r\n\r\n", line(41))), Err(HeadError::RequestLineTooLong));
    assert_eq!(outcome(&line(41)), Ok(Progress::Partial));
    assert_eq!(outcome(&format!("GET /{}", "a".repeat(40))), Err(HeadError::RequestLineTooLong));
    assert_eq!(outcome("GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n"), Ok(Progress::Complete));
    assert_eq!(outcome("GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nC: d\r\n\r\n"), Err(HeadError::TooManyFields));
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}", "b".repeat(200));
    assert_eq!(outcome(&long[..199]), Ok(Progress::Partial));
    assert_eq!(outcome(&long[..200]), Err(HeadError::HeadTooLarge));
    assert_eq!(outcome(&long), Err(HeadError::HeadTooLarge));
}

#[test]
fn a_head_with_more_fields_than_slots_is_accepted_where_allowed() {
    let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(SLOTS + 70));
    let outcome = |count| {
        let mut head = RequestHead::new();
        head.parse(text.as_bytes(), &HeadLimits { count, ..LIMITS }).map(|_| head.fields().len())
    };
    assert_eq!(outcome(SLOTS + 71), Ok(SLOTS + 71));
    assert_eq!(outcome(SLOTS + 70), Err(HeadError::TooManyFields));
    assert_eq!(outcome(SLOTS), Err(HeadError::TooManyFields));
}

#[test]
fn garbage_is_refused_at_its_first_byte() {
    for bytes in [&b"\x16"[..], b"\0", b" ", b"\n", b"\ra", b"(", b"\x80"] {
        assert!(RequestHead::new().parse(bytes, &LIMITS).is_err(), "{bytes:?}");
    }
    for bytes in [&b""[..], b"\r", b"\r\n", b"G", b"GET /"] {
        assert_eq!(RequestHead::new().parse(bytes, &LIMITS), Ok(Progress::Partial), "{bytes:?}");
    }
}

/// RFC 9110 sections 7.6 and 7.6.3: a request that carries our own name in Via has been here.
#[test]
fn our_own_name_in_via_is_found() {
    let text =
        "GET / HTTP/1.1\r\nHost: a\r\nVia: 1.0 fred, 1.1  Ring (x)\r\nVia: HTTP/1.1\tedge\r\nX: 1.1 other\r\n\r\n";
    let head = request(text).unwrap();
    for name in ["fred", "ring", "EDGE"] {
        assert!(via_names(&head, text.as_bytes(), name.as_bytes()), "{name}");
    }
    for name in ["rin", "1.1", "other", "(x)"] {
        assert!(!via_names(&head, text.as_bytes(), name.as_bytes()), "{name}");
    }
}

#[test]
fn fields_are_found_by_name_and_kind() {
    let text = "GET / HTTP/1.1\r\nHOST: a\r\nX-A:1\r\nx-a: 2\r\nUser-Agent: u\r\n\r\n";
    let head = request(text).unwrap();
    assert_eq!(head.field(text.as_bytes(), "x-a"), Some(&b"1"[..]));
    assert_eq!(head.field(text.as_bytes(), "x-b"), None);
    assert_eq!(head.find(text.as_bytes(), FieldKind::UserAgent), Some(&b"u"[..]));
    assert_eq!(head.find(text.as_bytes(), FieldKind::Cookie), None);
}
