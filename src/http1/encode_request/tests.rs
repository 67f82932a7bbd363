use super::super::tests::request;
use super::*;
use crate::http1::TraceParent;

/// How a request is forwarded when nothing is said about it.
fn plain<'a>(head: &'a RequestHead, bytes: &'a [u8], edits: &'a FieldEdits) -> RequestOut<'a> {
    RequestOut {
        path: head.path(bytes),
        query: head.query(bytes),
        host: head.authority(),
        forwarded: Forwarded { peer_ip: b"192.0.2.7", proto: "http", client: None },
        request_id: b"id-1",
        trace: None,
        via: b"ringgate",
        by_h2: false,
        edits,
        added: &[],
        body: head.body(),
        timeout_ms: None,
        close: false,
        upgrade: b"",
        grpc_timeout_ms: None,
        certificate: None,
    }
}

/// What is sent upstream for `text`, changed by `change`, with spaces around lines for `|`.
fn sent(text: &str, change: impl Fn(&mut RequestOut<'_>)) -> String {
    let text = format!("{}\r\n\r\n", text.replace('|', "\r\n"));
    let head = request(&text).unwrap();
    let edits = FieldEdits::default();
    let mut how = plain(&head, text.as_bytes(), &edits);
    change(&mut how);
    let mut out = b"before".to_vec();
    encode_request(&mut out, text.as_bytes(), &head, &how);
    let out = String::from_utf8(out).unwrap();
    out.strip_prefix("before").unwrap().strip_suffix("\r\n\r\n").unwrap().replace("\r\n", "|")
}

const OURS: &str = "X-Forwarded-For: 192.0.2.7|X-Forwarded-Proto: http|X-Forwarded-Host: a|X-Real-IP: 192.0.2.7|Via: 1.1 ringgate|X-Request-ID: id-1";

/// RFC 9112 sections 2.3 and 3.2, RFC 9110 sections 5.3 and 7.6.3.
#[test]
fn a_request_goes_on_with_our_version_one_host_and_its_fields_in_order() {
    assert_eq!(
        sent("GET http://A:80/x/../y?q=1 HTTP/1.1|Accept: */*|Host: b|X-A: 1|B:2|X-A:   3  |C:   4", |_| {}),
        format!(
            "GET /y?q=1 HTTP/1.1|Host: a:80|Accept: */*|X-A: 1|B: 2|X-A: 3|C: 4|{}",
            OURS.replace("Host: a", "Host: a:80")
        )
    );
    assert_eq!(
        sent("GET / HTTP/1.0", |_| {}),
        "GET / HTTP/1.1|Host: |X-Forwarded-For: 192.0.2.7|X-Forwarded-Proto: http|X-Real-IP: 192.0.2.7|Via: 1.0 ringgate|X-Request-ID: id-1"
    );
    assert_eq!(
        sent("BREW /pot HTTP/1.1|Host: a|Via: 1.1 fred", |how| how.request_id = b""),
        format!("BREW /pot HTTP/1.1|Host: a|Via: 1.1 fred|{}", OURS.strip_suffix("|X-Request-ID: id-1").unwrap())
    );
}

/// RFC 9110 section 7.6.1: what belongs to this hop is not forwarded; RFC 9110 section 7.8: neither is an upgrade to h2c.
#[test]
fn hop_by_hop_fields_end_here() {
    let text = "GET / HTTP/1.1|Host: a|Connection: x-hop, close, x-forwarded-for, x-request-id, host, upgrade, http2-settings|X-Hop: 1|Keep-Alive: 5|\
                Proxy-Connection: b|TE: gzip|Trailer: c|Upgrade: h2c|HTTP2-Settings: d|Proxy-Authorization: e|Kept: f";
    assert_eq!(sent(text, |_| {}), format!("GET / HTTP/1.1|Host: a|Kept: f|{OURS}"));
}

/// RFC 9112 section 6.2: never Content-Length with Transfer-Encoding; what is sent follows `body` alone.
#[test]
fn exactly_one_framing_is_written() {
    let text = "POST / HTTP/1.1|Host: a|Content-Length: 007|Trailer: t";
    assert_eq!(sent(text, |_| {}), format!("POST / HTTP/1.1|Host: a|{OURS}|Content-Length: 7"));
    assert_eq!(sent(text, |how| how.body = BodyLength::None), format!("POST / HTTP/1.1|Host: a|{OURS}"));
    assert_eq!(
        sent(text, |how| how.body = BodyLength::Chunked),
        format!("POST / HTTP/1.1|Host: a|Trailer: t|{OURS}|Transfer-Encoding: chunked")
    );
    assert_eq!(
        sent("PUT / HTTP/1.1|Host: a|Content-Length: 0", |_| {}),
        format!("PUT / HTTP/1.1|Host: a|{OURS}|Content-Length: 0")
    );
}

/// RFC 9110 sections 10.1.1 and 10.1.4: Expect goes on, TE only as our own with its connection option.
#[test]
fn expect_te_and_close_are_written_anew() {
    assert_eq!(
        sent("PUT / HTTP/1.1|Host: a|Expect: 100-Continue|TE: trailers, gzip|Content-Length: 1", |_| {}),
        format!("PUT / HTTP/1.1|Host: a|{OURS}|Expect: 100-continue|Content-Length: 1|TE: trailers|Connection: TE")
    );
    assert_eq!(
        sent("GET / HTTP/1.1|Host: a|TE: trailers", |how| how.close = true),
        format!("GET / HTTP/1.1|Host: a|{OURS}|TE: trailers|Connection: close, TE")
    );
    assert_eq!(
        sent("GET / HTTP/1.0|Host: a|Expect: x", |how| how.close = true),
        format!("GET / HTTP/1.1|Host: a|{}|Connection: close", OURS.replace("1.1 r", "1.0 r"))
    );
}

/// RFC 9110 section 7.6.2: Max-Forwards is one less for OPTIONS and TRACE, and otherwise as received.
#[test]
fn max_forwards_counts_down() {
    assert_eq!(
        sent("OPTIONS * HTTP/1.1|Host: a|Max-Forwards: 3|Max-Forwards: 9", |_| {}),
        format!("OPTIONS * HTTP/1.1|Host: a|{OURS}|Max-Forwards: 2")
    );
    assert_eq!(
        sent("GET / HTTP/1.1|Host: a|Max-Forwards: 3", |_| {}),
        format!("GET / HTTP/1.1|Host: a|Max-Forwards: 3|{OURS}")
    );
    assert_eq!(sent("OPTIONS * HTTP/1.1|Host: a", |_| {}), format!("OPTIONS * HTTP/1.1|Host: a|{OURS}"));
}

const CLAIMS: &str = "GET / HTTP/1.1|Host: a|X-Forwarded-For: 1.1.1.1|Forwarded: for=1.1.1.1|X-Forwarded-Proto: https|x-forwarded-for: 2.2.2.2, 3.3.3.3|\
                      X-Forwarded-Host: evil|X-Forwarded-Port: 1|X-Real-IP: 1.1.1.1|X-Request-Id: evil|X_Forwarded_For: 4.4.4.4|x_real_ip: 4.4.4.4";

#[test]
fn a_peer_that_is_not_trusted_cannot_say_who_its_client_is() {
    assert_eq!(sent(CLAIMS, |_| {}), format!("GET / HTTP/1.1|Host: a|{OURS}"));
}

fn trusts(how: &mut RequestOut<'_>) {
    how.forwarded.client = Some([198, 51, 100, 7].into());
}

#[test]
fn a_trusted_peer_is_believed_and_appended_to() {
    assert_eq!(
        sent(CLAIMS, trusts),
        "GET / HTTP/1.1|Host: a|Forwarded: for=1.1.1.1|X-Forwarded-Proto: https|X-Forwarded-Host: evil|X-Forwarded-Port: 1|X-Real-IP: 1.1.1.1|\
         X-Forwarded-For: 1.1.1.1, 2.2.2.2, 3.3.3.3, 192.0.2.7|Via: 1.1 ringgate|X-Request-ID: id-1"
    );
    assert_eq!(
        sent("GET / HTTP/1.1|Host: a|X_Real_IP: 4.4.4.4", trusts),
        format!("GET / HTTP/1.1|Host: a|{}", OURS.replace("X-Real-IP: 192.0.2.7", "X-Real-IP: 198.51.100.7")),
        "whoever it asks for, and not itself"
    );
    for ip in ["0.0.0.0", "10.20.30.255", "255.255.255.255", "::", "2001:db8::1"] {
        let head = sent("GET / HTTP/1.1|Host: a", |how| how.forwarded.client = ip.parse().ok());
        assert!(head.contains(&format!("|X-Real-IP: {ip}|")), "{head}");
    }
}

#[test]
fn the_deadline_replaces_what_the_client_said_of_it() {
    assert_eq!(
        sent("GET / HTTP/1.1|Host: a|x-timeout-MS: 999999|X-B: 1", |how| how.timeout_ms =
            Some((b"X-Timeout-Ms", 1500))),
        format!("GET / HTTP/1.1|Host: a|X-B: 1|{OURS}|X-Timeout-Ms: 1500")
    );
    assert_eq!(
        sent("GET / HTTP/1.1|Host: a|x_timeout-MS: 999999|X-B: 1", |how| how.timeout_ms =
            Some((b"X-Timeout_Ms", 1500))),
        format!("GET / HTTP/1.1|Host: a|X-B: 1|{OURS}|X-Timeout_Ms: 1500"),
        "an endpoint may not tell them apart"
    );
}

#[test]
fn edits_act_last_on_received_and_on_own_fields() {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let remove = ["Cookie", "X-Real-IP", "X-Gone"].map(str::to_owned);
    let edits = FieldEdits::new(&[pair("X-Forwarded-Proto", "https")], &[pair("X-New", "n")], &remove).unwrap();
    let text = "GET / HTTP/1.1\r\nHost: a\r\nCookie: c\r\nx-gone: 1\r\nX-Kept: 2\r\n\r\n";
    let head = request(text).unwrap();
    let mut out = Vec::new();
    encode_request(&mut out, text.as_bytes(), &head, &plain(&head, text.as_bytes(), &edits));
    assert_eq!(
        String::from_utf8(out).unwrap().replace("\r\n", "|"),
        "GET / HTTP/1.1|Host: a|X-Kept: 2|X-Forwarded-For: 192.0.2.7|X-Forwarded-Host: a|Via: 1.1 ringgate|X-Request-ID: id-1|\
         X-Forwarded-Proto: https|X-New: n||"
    );
}

#[test]
fn a_request_id_is_short_and_plain() {
    use super::super::is_valid_request_id;
    let long = "a".repeat(129);
    for id in ["a", "0190b7c2-6f1e-7cc3-98c4-dc0c0c07398f", "Root=1-67891233-abc/x+y:z@h~_.", &long[..128]] {
        assert!(is_valid_request_id(id.as_bytes()), "{id}");
    }
    for id in ["", "a b", "a,b", "a\"", "a<b", "a\r", "\u{e9}", "{a}", &long] {
        assert!(!is_valid_request_id(id.as_bytes()), "{id}");
    }
}

#[test]
fn what_is_left_of_a_call_stands_in_place_of_what_the_client_gave_it() {
    let text = "POST / HTTP/1.1|Host: a|grpc-timeout: 5S|GRPC-Timeout: 9S|Content-Length: 0";
    let kept = sent(text, |_| {});
    assert!(kept.contains("|grpc-timeout: 5S|GRPC-Timeout: 9S|"), "{kept}");
    let cut = sent(text, |how| how.grpc_timeout_ms = Some(1_234));
    assert!(cut.contains("|grpc-timeout: 1234m|") && cut.to_lowercase().matches("grpc-timeout").count() == 1, "{cut}");
}

/// W3C Trace Context sections 3.2 and 3.3: one `traceparent`, ours; and `tracestate` only with the trace it came with.
#[test]
fn a_trace_goes_on_with_our_span_and_a_new_one_without_the_state_of_another() {
    let parent = TraceParent { trace_id: [0xab; 16], span_id: [1; 8], sampled: true };
    let ours = "traceparent: 00-abababababababababababababababab-0101010101010101-01";
    let received = "GET / HTTP/1.1|Host: a|Traceparent: rubbish|TraceState: a=1|traceparent: again";
    let told = |is_continued| sent(received, |how| how.trace = Some(TraceOut { parent, is_continued }));
    assert_eq!(told(true), format!("GET / HTTP/1.1|Host: a|TraceState: a=1|{OURS}|{ours}"));
    assert_eq!(told(false), format!("GET / HTTP/1.1|Host: a|{OURS}|{ours}"));
    assert_eq!(
        sent(received, |_| {}),
        format!("GET / HTTP/1.1|Host: a|Traceparent: rubbish|TraceState: a=1|traceparent: again|{OURS}")
    );
}
