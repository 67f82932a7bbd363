use super::*;
use crate::http1::{
    FieldEdits, HeadLimits, LocalReply, Method, Progress, ResponseBody, ResponseHead, ResponseOut, Version,
    encode_interim, encode_local, encode_response,
};

fn decoded(text: &str) -> ResponseStart {
    decode_response_head(text.as_bytes(), false).unwrap_or_else(|| panic!("{text}"))
}

/// RFC 9113 sections 8.2, 8.2.2 and 8.3.2.
#[test]
fn a_head_becomes_fields_without_what_belongs_to_a_connection() {
    let text = "HTTP/1.1 404 Whatever\r\nDate: d\r\nX-A: 1\r\nx-a: 2\r\nConnection: close\r\nKeep-Alive: timeout=5\r\n\
                Content-Length: 3\r\nEmpty: \r\n\r\nabc";
    let start = decoded(text);
    let fields = start.response.headers();
    assert_eq!(start.response.status(), 404);
    assert_eq!(&text[start.used..], "abc");
    assert_eq!(fields.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(
        (&fields["date"], &fields["empty"], &fields["content-length"]),
        (&"d".parse().unwrap(), &"".parse().unwrap(), &"3".parse().unwrap())
    );
    assert_eq!(fields.len(), 5);
    assert_eq!(start.body, Unframer::exact(3));
}

/// RFC 9113 section 8.2.2: Transfer-Encoding does not exist in HTTP/2.
#[test]
fn chunks_are_framing_and_no_field() {
    let start = decoded("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert!(start.response.headers().is_empty());
    assert_eq!(start.body, Unframer::chunked());
}

/// RFC 9110 section 6.4.1: responses to HEAD, 1xx, 204 and 304 have no content; a length of theirs is relayed.
#[test]
fn some_responses_end_with_their_head() {
    let text = "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n";
    let start = decode_response_head(text.as_bytes(), true).unwrap();
    assert!(start.body.is_over() && start.response.headers()["content-length"] == "1234");
    for status in [103, 204, 304] {
        let start = decoded(&format!("HTTP/1.1 {status} X\r\nLink: a\r\n\r\n"));
        assert!(start.body.is_over() && start.response.headers().len() == 1, "{status}");
    }
    assert!(decoded("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").body.is_over());
}

/// RFC 9113 section 8.6: there is no 101.
#[test]
fn a_switch_of_protocols_and_rubbish_are_none() {
    for text in [
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno end",
        "HTTP/1.1 999",
        "",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    ] {
        assert!(decode_response_head(text.as_bytes(), false).is_none(), "{text}");
    }
}

/// Everything that our encoders write is understood, to its end.
#[test]
fn all_that_the_encoders_write_is_understood() {
    let limits = HeadLimits { bytes: 16 * 1024, count: 64, line: 8 * 1024 };
    let received = b"HTTP/1.0 200 All is fine\r\nServer: s\r\nX-Tab:\ta\tb\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\
                     Connection: x-hop\r\nX-Hop: 1\r\nContent-Length: 7\r\n\r\n";
    let mut head = ResponseHead::new();
    assert_eq!(head.parse(received, &limits, Method::Get), Ok(Progress::Complete));
    let edits = FieldEdits::new(&[("X-Edge".to_owned(), "1".to_owned())], &[], &["server".to_owned()]).unwrap();
    for (body, framing) in [
        (ResponseBody::Exact(7), Unframer::exact(7)),
        (ResponseBody::Chunked, Unframer::chunked()),
        (ResponseBody::AsReceived, Unframer::exact(7)),
    ] {
        let mut out = Vec::new();
        let how = ResponseOut {
            version: Version::Http11,
            request_id: b"id",
            date: b"d",
            edits: &edits,
            added: &[],
            body,
            close: true,
            keep_alive_10: false,
            trailers: true,
        };
        encode_response(&mut out, received, &head, &how);
        let start = decode_response_head(&out, false).unwrap();
        let fields = start.response.headers();
        assert_eq!((start.used, start.body, start.response.status().as_u16()), (out.len(), framing, 200));
        assert_eq!(fields.get_all("set-cookie").iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(
            (&fields["x-edge"], &fields["x-tab"], &fields["x-request-id"]),
            (&"1".parse().unwrap(), &"a\tb".parse().unwrap(), &"id".parse().unwrap())
        );
        assert!(!["server", "x-hop", "connection", "transfer-encoding"].iter().any(|name| fields.contains_key(*name)));
        let mut interim = Vec::new();
        encode_interim(&mut interim, received, &head);
        assert_eq!(decode_response_head(&interim, false).unwrap().used, interim.len());
    }
    let reply = LocalReply {
        status: 503,
        body: b"later",
        content_type: "text/plain",
        request_id: Some(b"id"),
        date: b"d",
        close: true,
        head_only: false,
        version: Version::Http11,
        keep_alive_10: false,
        extra: &[("Retry-After", b"1")],
        edits: &FieldEdits::default(),
        added: &[],
    };
    let mut out = Vec::new();
    encode_local(&mut out, &reply);
    let start = decode_response_head(&out, false).unwrap();
    assert_eq!((&out[start.used..], start.body), (&b"later"[..], Unframer::exact(5)));
    assert!(start.response.headers().contains_key("retry-after"));
}

/// RFC 8441 section 5: a 101 is a 200 without what the switch of HTTP/1.1 says about itself.
#[test]
fn a_switch_becomes_the_answer_to_an_extended_connect() {
    let text = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\n";
    let (start, is_switch) = decode_switch_head(text.as_bytes()).expect("a switch");
    assert!(is_switch && start.used == text.len());
    assert_eq!(start.response.status(), 200);
    assert_eq!(start.response.headers().len(), 1);
    assert_eq!(start.response.headers()["sec-websocket-protocol"], "chat");
}

/// RFC 9110 section 9.3.6: to whoever asked for a tunnel any 2xx is one.
#[test]
fn no_other_success_answers_an_extended_connect() {
    for status in ["200 OK", "204 No Content", "206 Partial Content"] {
        let text = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        assert!(decode_switch_head(text.as_bytes()).is_none(), "{status}");
    }
    let (start, is_switch) = decode_switch_head(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\n").expect("a refusal");
    assert!(!is_switch && start.response.status() == 403 && start.body == Unframer::exact(2));
}
