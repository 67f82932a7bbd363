use super::super::tests::{LIMITS, response};
use super::*;

/// RFC 9112 section 6.3: how the end of a response is found.
#[test]
fn the_body_of_a_response_follows_method_status_and_fields() {
    let get = Method::Get;
    for (method, status, fields, body) in [
        (get, 200, "", BodyLength::UntilClose),
        (get, 200, "Content-Length: 5\r\n", BodyLength::Exact(5)),
        (get, 200, "Content-Length: 0\r\n", BodyLength::Exact(0)),
        (get, 200, "Content-Length: 5\r\nContent-Length: 5\r\n", BodyLength::Exact(5)),
        (get, 200, "Transfer-Encoding: chunked\r\n", BodyLength::Chunked),
        (Method::Head, 200, "Content-Length: 5\r\n", BodyLength::None),
        (Method::Head, 200, "Transfer-Encoding: chunked\r\n", BodyLength::None),
        (Method::Head, 500, "", BodyLength::None),
        (get, 100, "", BodyLength::None),
        (get, 101, "Content-Length: 5\r\n", BodyLength::None),
        (get, 103, "Transfer-Encoding: chunked\r\n", BodyLength::None),
        (get, 204, "Content-Length: 5\r\n", BodyLength::None),
        (get, 304, "Content-Length: 5\r\n", BodyLength::None),
        (get, 205, "Content-Length: 0\r\n", BodyLength::Exact(0)),
        (Method::Connect, 200, "Content-Length: 5\r\n", BodyLength::None),
        (Method::Connect, 407, "Content-Length: 5\r\n", BodyLength::Exact(5)),
        (Method::Other, 200, "", BodyLength::UntilClose),
    ] {
        let text = format!("HTTP/1.1 {status} x\r\n{fields}\r\n");
        assert_eq!(response(method, &text).unwrap().body(), body, "{method:?} {text}");
    }
    let head = response(Method::Head, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").unwrap();
    assert_eq!(head.content_length(), Some(5));
}

/// RFC 9112 sections 2.2, 4, 5.1, 5.2, 6.1 and 6.3.
#[test]
fn malformed_responses_are_refused_each_with_its_reason() {
    for (text, error) in [
        ("HTTP/1.1 200 OK\nA: b\r\n\r\n", HeadError::BareLf),
        ("HTTP/1.1 200\nA: b\r\n\r\n", HeadError::BareLf),
        ("HTTP/1.1 200 OK\r\nA: b\n\r\n", HeadError::BareLf),
        ("HTTP/1.1 200 OK\r\nA: b\r\n\n", HeadError::BareLf),
        ("HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", HeadError::BareCr),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", HeadError::InvalidStatusLine),
        ("HTTP/1.1  200 OK\r\n\r\n", HeadError::InvalidStatusLine),
        ("HTTP/1.1 20 OK\r\n\r\n", HeadError::InvalidStatusLine),
        ("HTTP/1.1 2000 OK\r\n\r\n", HeadError::InvalidStatusLine),
        ("HTTP/1.1 200 O\0K\r\n\r\n", HeadError::InvalidStatusLine),
        ("HTTP/2.0 200 OK\r\n\r\n", HeadError::UnsupportedVersion),
        ("HTTP/1.1 099 x\r\n\r\n", HeadError::InvalidStatus),
        ("HTTP/1.1 600 x\r\n\r\n", HeadError::InvalidStatus),
        ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", HeadError::ObsoleteFold),
        ("HTTP/1.1 200 OK\r\nA : b\r\n\r\n", HeadError::WhitespaceBeforeColon),
        ("HTTP/1.1 200 OK\r\n A: b\r\n\r\n", HeadError::WhitespaceBeforeFields),
        ("HTTP/1.1 200 OK\r\nA\r\n\r\n", HeadError::MissingColon),
        ("HTTP/1.1 200 OK\r\nA: \u{1}\r\n\r\n", HeadError::InvalidFieldValue),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", HeadError::RepeatedContentLength),
        ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", HeadError::InvalidContentLength),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            HeadError::ContentLengthWithTransferEncoding,
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", HeadError::UnknownTransferCoding),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", HeadError::InvalidTransferEncoding),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", HeadError::TransferEncodingOnHttp10),
    ] {
        assert_eq!(response(Method::Get, text).err(), Some(error), "{text:?}");
    }
}

/// RFC 9112 section 4: the reason phrase may be empty or missing, and may hold any octet but controls.
#[test]
fn the_reason_phrase_is_kept_as_received() {
    for (line, reason) in [
        ("200 OK", "OK"),
        ("200 ", ""),
        ("200", ""),
        ("404 Not  Found\t", "Not  Found\t"),
        ("500 gr\u{fc}n", "gr\u{fc}n"),
    ] {
        let text = format!("HTTP/1.1 {line}\r\n\r\n");
        let head = response(Method::Get, &text).unwrap();
        assert_eq!(head.reason(text.as_bytes()), reason.as_bytes(), "{line}");
        assert_eq!(head.status(), line[..3].parse::<u16>().unwrap());
        assert_eq!(head.len(), text.len());
    }
}

/// RFC 9112 section 9.3: persistence, and none after a body that ends with the connection.
#[test]
fn a_response_persists_by_version_options_and_framing() {
    for (text, keep_alive) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n", false),
        ("HTTP/1.1 204 No\r\n\r\n", true),
    ] {
        assert_eq!(response(Method::Get, text).unwrap().keep_alive(), keep_alive, "{text}");
    }
}

#[test]
fn the_keep_alive_timeout_is_read() {
    for (value, seconds) in [
        ("timeout=5", Some(5)),
        ("max=1, Timeout=65", Some(65)),
        ("timeout=x", None),
        ("timeout", None),
        ("max=3", None),
    ] {
        let text = format!("HTTP/1.1 200 OK\r\nKeep-Alive: {value}\r\n\r\n");
        assert_eq!(response(Method::Get, &text).unwrap().keep_alive_timeout(), seconds, "{value}");
    }
}

/// RFC 9110 section 15.2: 1xx is followed by a final response, 101 ends HTTP on the connection.
#[test]
fn interim_responses_are_told_from_final_ones() {
    for (status, is_interim) in
        [(100, true), (101, false), (102, true), (103, true), (199, true), (200, false), (599, false)]
    {
        let head = response(Method::Get, &format!("HTTP/1.1 {status} x\r\n\r\n")).unwrap();
        assert_eq!(head.is_interim(), is_interim, "{status}");
    }
}

#[test]
fn fields_options_and_date_are_found() {
    let text = "HTTP/1.0 200 OK\r\ndate: d\r\nConnection: x-a\r\nX-A: 1\r\nSet-Cookie: s\r\n\r\n";
    let head = response(Method::Get, text).unwrap();
    assert!(head.has_date() && head.version() == Version::Http10);
    assert_eq!(head.find(text.as_bytes(), FieldKind::Date), Some(&b"d"[..]));
    assert_eq!(head.field(text.as_bytes(), "set-cookie"), Some(&b"s"[..]));
    assert!(head.fields()[2].hop && !head.fields()[3].hop);
    assert_eq!(head.connection_options(text.as_bytes()).collect::<Vec<_>>(), [b"x-a"]);
}

#[test]
fn a_response_head_beyond_its_bounds_is_refused() {
    let text = format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(100));
    let outcome =
        |bytes, count| ResponseHead::new().parse(text.as_bytes(), &HeadLimits { bytes, count, ..LIMITS }, Method::Get);
    assert_eq!(outcome(1000, 1), Ok(Progress::Partial));
    assert_eq!(outcome(100, 1), Err(HeadError::HeadTooLarge));
    let fields = "HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\n\r\n";
    let limits = HeadLimits { count: 1, ..LIMITS };
    assert_eq!(ResponseHead::new().parse(fields.as_bytes(), &limits, Method::Get), Err(HeadError::TooManyFields));
}
