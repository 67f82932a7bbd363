use super::super::method::Method;
use super::super::tests::response;
use super::*;

/// How a response is relayed when nothing is said about it.
const fn plain(edits: &FieldEdits) -> ResponseOut<'_> {
    ResponseOut {
        version: Version::Http11,
        request_id: b"id-1",
        date: b"Sun, 06 Nov 1994 08:49:37 GMT",
        edits,
        added: &[],
        body: ResponseBody::AsReceived,
        close: false,
        keep_alive_10: false,
        trailers: false,
    }
}

fn shown(out: &[u8]) -> String {
    String::from_utf8_lossy(out).strip_suffix("\r\n\r\n").unwrap().replace("\r\n", "|")
}

/// What is sent to the client for the response `text` to a request of `method`.
fn sent(method: Method, text: &str, change: impl Fn(&mut ResponseOut<'_>)) -> String {
    let text = format!("{}\r\n\r\n", text.replace('|', "\r\n"));
    let head = response(method, &text).unwrap();
    let edits = FieldEdits::default();
    let mut how = plain(&edits);
    change(&mut how);
    let mut out = Vec::new();
    encode_response(&mut out, text.as_bytes(), &head, &how);
    shown(&out)
}

/// RFC 9112 section 2.3, RFC 9110 sections 5.3, 6.6.1 and 7.6.1.
#[test]
fn a_response_goes_on_with_our_version_a_date_and_no_hop_by_hop_fields() {
    assert_eq!(
        sent(
            Method::Get,
            "HTTP/1.0 200 Fine|Server: s|Connection: x-hop, set-cookie|X-Hop: 1|Keep-Alive: 5|Set-Cookie: a|Set-Cookie:b|X-Request-Id: theirs|\
             Transfer-Encodin: c|Proxy-Authenticate: d|Upgrade: e|Trailer: f|Allow: GET",
            |how| how.body = ResponseBody::Chunked
        ),
        "HTTP/1.1 200 Fine|Server: s|Set-Cookie: a|Set-Cookie: b|Transfer-Encodin: c|Allow: GET|Date: Sun, 06 Nov 1994 08:49:37 GMT|\
         X-Request-ID: id-1|Transfer-Encoding: chunked"
    );
    assert_eq!(
        sent(Method::Get, "HTTP/1.1 200|Date: theirs", |how| how.request_id = b""),
        "HTTP/1.1 200 |Date: theirs"
    );
}

/// RFC 9112 sections 6.1 and 6.2, RFC 9110 section 8.6.
#[test]
fn the_framing_of_a_response_follows_the_rules_of_its_status() {
    let framing = |method, status: &str, fields: &str, body| {
        let line = sent(method, &format!("HTTP/1.1 {status} x|Date: d{fields}"), |how| {
            how.request_id = b"";
            how.body = body;
        });
        line.split("|Date: d").nth(1).unwrap().to_owned()
    };
    let length = "|Content-Length: 5";
    // HEAD and 304 relay the length, and none is made up.
    assert_eq!(framing(Method::Head, "200", length, ResponseBody::AsReceived), length);
    assert_eq!(framing(Method::Head, "200", "", ResponseBody::AsReceived), "");
    assert_eq!(framing(Method::Head, "200", "|Transfer-Encoding: chunked", ResponseBody::AsReceived), "");
    assert_eq!(framing(Method::Get, "304", length, ResponseBody::AsReceived), length);
    // 204 has neither.
    for body in [ResponseBody::AsReceived, ResponseBody::Exact(0), ResponseBody::Chunked] {
        assert_eq!(framing(Method::Get, "204", length, body), "");
    }
    assert_eq!(framing(Method::Get, "200", "|Content-Length: 5|Content-Length: 5", ResponseBody::Exact(5)), length);
    assert_eq!(framing(Method::Get, "200", length, ResponseBody::Chunked), "|Transfer-Encoding: chunked");
    assert_eq!(framing(Method::Get, "200", length, ResponseBody::UntilClose), "");
}

/// RFC 9112 sections 9.3 and 9.6.
#[test]
fn the_connection_field_is_our_own() {
    let connection = |version, close, keep_alive_10| {
        sent(Method::Get, "HTTP/1.1 200 OK|Connection: close|Date: d", |how| {
            (how.version, how.close, how.keep_alive_10, how.request_id) = (version, close, keep_alive_10, b"");
        })
    };
    assert_eq!(connection(Version::Http11, false, false), "HTTP/1.1 200 OK|Date: d");
    assert_eq!(connection(Version::Http11, true, false), "HTTP/1.1 200 OK|Date: d|Connection: close");
    assert_eq!(connection(Version::Http10, false, true), "HTTP/1.1 200 OK|Date: d|Connection: keep-alive");
    assert_eq!(connection(Version::Http10, true, true), "HTTP/1.1 200 OK|Date: d|Connection: close");
}

/// RFC 9112 section 7.1.2: Trailer announces what will come, so it goes on only if trailers do.
#[test]
fn trailer_goes_on_with_the_trailers() {
    let line = |trailers| {
        sent(Method::Get, "HTTP/1.1 200 OK|Trailer: x|Date: d", |how| (how.trailers, how.request_id) = (trailers, b""))
    };
    assert_eq!(
        (line(true).as_str(), line(false).as_str()),
        ("HTTP/1.1 200 OK|Trailer: x|Date: d", "HTTP/1.1 200 OK|Date: d")
    );
}

#[test]
fn edits_of_a_response_act_last() {
    let text = "HTTP/1.1 200 OK\r\nServer: s\r\nDate: d\r\nX-A: 1\r\n\r\n";
    let head = response(Method::Get, text).unwrap();
    let set = [("X-A".to_owned(), "2".to_owned())];
    let edits = FieldEdits::new(&set, &[], &["server".to_owned(), "X-Request-Id".to_owned()]).unwrap();
    let mut out = Vec::new();
    encode_response(&mut out, text.as_bytes(), &head, &plain(&edits));
    assert_eq!(shown(&out), "HTTP/1.1 200 OK|Date: d|X-A: 2");
}

/// RFC 9110 sections 15.2 and 8.6: an interim response is relayed without framing.
#[test]
fn an_interim_response_has_no_framing_and_no_hop_by_hop_fields() {
    let text = "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nConnection: close\r\nContent-Length: 5\r\nKeep-Alive: x\r\n\r\n";
    let head = response(Method::Get, text).unwrap();
    let mut out = Vec::new();
    encode_interim(&mut out, text.as_bytes(), &head);
    assert_eq!(shown(&out), "HTTP/1.1 103 Early Hints|Link: </a>; rel=preload");
}

/// A local reply with nothing special about it.
const fn local(edits: &FieldEdits) -> LocalReply<'_> {
    LocalReply {
        status: 404,
        body: b"none",
        content_type: "text/plain",
        request_id: Some(b"id-1"),
        date: b"d",
        close: false,
        head_only: false,
        version: Version::Http11,
        keep_alive_10: false,
        extra: &[],
        edits,
        added: &[],
    }
}

#[test]
fn a_local_reply_is_a_whole_response() {
    let edits = FieldEdits::default();
    let written = |reply: LocalReply<'_>| {
        let mut out = Vec::new();
        encode_local(&mut out, &reply);
        String::from_utf8(out).unwrap().replace("\r\n", "|")
    };
    let head = "HTTP/1.1 404 Not Found|Date: d|Content-Type: text/plain|Content-Length: 4|X-Request-ID: id-1||";
    assert_eq!(written(local(&edits)), format!("{head}none"));
    assert_eq!(written(LocalReply { head_only: true, ..local(&edits) }), head);
    assert_eq!(
        written(LocalReply { status: 204, close: true, request_id: None, ..local(&edits) }),
        "HTTP/1.1 204 No Content|Date: d|Connection: close||"
    );
    assert_eq!(
        written(LocalReply { status: 304, request_id: None, ..local(&edits) }),
        "HTTP/1.1 304 Not Modified|Date: d||"
    );
    assert_eq!(
        written(LocalReply { status: 299, body: b"", request_id: None, ..local(&edits) }),
        "HTTP/1.1 299 |Date: d|Content-Length: 0||"
    );
    let old = LocalReply {
        status: 200,
        body: b"",
        request_id: None,
        version: Version::Http10,
        keep_alive_10: true,
        ..local(&edits)
    };
    assert_eq!(written(old), "HTTP/1.1 200 OK|Date: d|Content-Length: 0|Connection: keep-alive||");
}

/// RFC 9110 sections 2.2 and 5.5: what a client sent cannot break a response that quotes it.
#[test]
fn a_local_reply_holds_no_control_characters_of_others() {
    let edits = FieldEdits::new(&[("X-B".to_owned(), "ours".to_owned())], &[], &[]).unwrap();
    let extra: [(&str, &[u8]); 2] = [("Location", b"/a\r\nSet-Cookie: x\0\x7f"), ("X-B", b"theirs")];
    let mut out = Vec::new();
    encode_local(
        &mut out,
        &LocalReply { status: 301, body: b"", extra: &extra, request_id: Some(b"a\r\nb"), ..local(&edits) },
    );
    assert_eq!(
        shown(&out),
        "HTTP/1.1 301 Moved Permanently|Date: d|Content-Length: 0|X-Request-ID: ab|Location: /aSet-Cookie: x|X-B: ours"
    );
}

#[test]
fn registered_codes_have_phrases_and_others_none() {
    for (status, phrase) in [
        (100, "Continue"),
        (200, "OK"),
        (413, "Content Too Large"),
        (431, "Request Header Fields Too Large"),
        (505, "HTTP Version Not Supported"),
        (199, ""),
        (299, ""),
        (499, ""),
        (599, ""),
    ] {
        assert_eq!(reason_phrase(status), phrase, "{status}");
    }
}
