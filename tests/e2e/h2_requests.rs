//! HTTP/2 in front of endpoints of HTTP/1: http.md, "HTTP/2 front" and "H2 <-> H1 translation".

use h2::Reason;

use super::endpoint::Endpoint;
use super::h2_client::H2Client;
use super::h2_wire::{DATA, H2Wire, get, settings, window};
use super::origin::Origin;
use super::plan::{Io, Plan};

/// http.md 71, 79, 81: a request in the form of HTTP/1.1, a response without what belongs to a connection.
fn a_request_is_translated_and_so_is_its_answer(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).speaks_h2().start();
    let mut client = H2Client::to(gateway.address());
    let stream = client.asks(
        "GET",
        "/x?y=1",
        &[("accept", "*/*"), ("x-forwarded-for", "6.6.6.6"), ("cookie", "a=1"), ("cookie", "b=2")],
    );
    let mut upstream = endpoint.accepts();
    let request = upstream.expects("GET /x?y=1 ");
    assert_eq!(request.fields[0], ("Host".to_owned(), "a.example".to_owned()), "{request}");
    assert_eq!(request.field("cookie"), Some("a=1; b=2"), "RFC 9113 section 8.2.3");
    assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.field("x-forwarded-proto"), Some("http"));
    assert!(request.field("via").is_some_and(|via| via.starts_with("2.0 ringgate-")), "RFC 9110 section 7.6.3");
    assert!(request.all("connection").is_empty() && request.all("te").is_empty());
    upstream.replies("HTTP/1.1 200 Fine\r\nX-Upper: A\r\nKeep-Alive: timeout=5\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 5\r\n\r\nhello");
    let reply = stream.expects(200);
    assert_eq!((reply.text(), reply.field("x-upper"), reply.field("content-length")), ("hello", "A", "5"));
    assert_eq!(reply.fields.get_all("set-cookie").iter().collect::<Vec<_>>(), ["a", "b"]);
    assert!(
        !["connection", "keep-alive", "x-hop", "transfer-encoding"].iter().any(|name| reply.fields.contains_key(*name))
    );
    assert!(!reply.field("date").is_empty() && !reply.field("x-request-id").is_empty());
    let line = gateway.log_of("/x");
    assert_eq!((&line["protocol"], &line["status"], &line["method"]), (&"HTTP/2".into(), &200.into(), &"GET".into()));
    gateway.waits_for("http_requests_by_protocol_total{protocol=\"HTTP/2\"}", 1.0);
    gateway.waits_for("http2_streams_active", 0.0);
    gateway.waits_for("http2_connections_active", 1.0);
    gateway.waits_for("net_connections_active", 1.0);
    drop(client);
    gateway.waits_for("http2_connections_active", 0.0);
    gateway.stop();
}

/// http.md 80: one framing of a body, whichever it is.
fn bodies_go_up_with_the_framing_that_they_have(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).speaks_h2().start();
    let mut client = H2Client::to(gateway.address());
    let mut upstream = None;
    for (method, length, content) in [
        ("POST", Some("5"), Some("hello")),
        ("POST", None, Some("hello")),
        ("PUT", None, Some("")),
        ("POST", Some("0"), Some("")),
        ("POST", None, None),
        ("DELETE", None, None),
    ] {
        let fields: Vec<_> = length.map(|length| ("content-length", length)).into_iter().collect();
        let stream = match content {
            Some(content) => {
                let mut stream = client.begins(method, "/up", &fields);
                stream.sends(content, true);
                stream
            }
            None => client.asks(method, "/up", &fields),
        };
        let upstream = upstream.get_or_insert_with(|| endpoint.accepts());
        let request = upstream.expects(&format!("{method} /up "));
        let is_sized = content.is_some() && length == Some("5");
        assert_eq!(request.chunked, content.is_some() && !is_sized, "{request}");
        assert_eq!(request.text(), content.unwrap_or_default());
        // RFC 9110 section 8.6.
        assert_eq!(request.field("content-length").is_some(), is_sized || method == "POST" && content.is_none());
        upstream.replies_with("ok");
        assert_eq!(stream.expects(200).text(), "ok");
    }
    gateway.stop();
}

/// http.md 53, 82: trailers only as trailers, both ways.
fn trailers_pass_in_both_directions(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).speaks_h2().start();
    let mut client = H2Client::to(gateway.address());
    let mut stream = client.begins("POST", "/call", &[("te", "trailers"), ("trailer", "x-sum")]);
    stream.sends("hello", false).sends_trailers(&[("x-sum", "7"), ("content-length", "9")]);
    let mut upstream = endpoint.accepts();
    let request = upstream.expects("POST /call ");
    assert_eq!((request.text(), request.field("te")), ("hello", Some("trailers")));
    assert_eq!(request.trailers, [("x-sum".to_owned(), "7".to_owned())], "RFC 9110 section 6.5.1");
    upstream.replies(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nworld\r\n0\r\nGrpc-Status: 0\r\nX-More: a\r\n\r\n",
    );
    let reply = stream.expects(200);
    assert_eq!(
        (reply.text(), &reply.trailers["grpc-status"], &reply.trailers["x-more"]),
        ("world", &"0".parse().unwrap(), &"a".parse().unwrap())
    );
    let stream = client.asks("GET", "/plain", &[]);
    upstream.expects("GET /plain ");
    upstream.replies("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nworld\r\n0\r\nX-More: a\r\n\r\n");
    let reply = stream.expects(200);
    assert!(reply.trailers.is_empty() && reply.text() == "world", "nobody asked for them");
    gateway.stop();
}

/// RFC 9113 section 10.5.1: trailers above the bound are refused, and are no end of the request at its endpoint.
fn trailers_above_the_bound_are_refused(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).speaks_h2().start();
    let mut client = H2Client::to(gateway.address());
    let mut stream = client.begins("POST", "/call", &[]);
    stream.sends("hello", false);
    let mut upstream = endpoint.accepts();
    upstream.expects_head("POST /call ");
    let long = "x".repeat(9 * 1024);
    stream.sends_trailers(&[("x-sum", &long)]);
    let reply = stream.expects(431);
    assert_eq!(reply.field("x-gateway-reason"), "bad_request_body");
    let (rest, _) = upstream.reads_to_end();
    assert!(!rest.ends_with(b"0\r\n\r\n") && !rest.windows(5).any(|part| part == b"x-sum"), "it is cut short");
    // The connection goes on.
    client.gets("/health").expects(200);
    gateway.stop();
}

/// http.md 27, 28: what has no content has none, whatever its fields say.
fn responses_without_content_end_with_their_fields(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).speaks_h2().start();
    let mut client = H2Client::to(gateway.address());
    let mut upstream = None;
    for (method, answer, status, length) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", 200, "1234"),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, ""),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\nETag: \"a\"\r\n\r\n", 304, "1234"),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "0"),
        ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200, ""),
    ] {
        let stream = client.asks(method, "/none", &[]);
        let upstream = upstream.get_or_insert_with(|| endpoint.accepts());
        upstream.expects(&format!("{method} /none "));
        upstream.replies(answer);
        let reply = stream.expects(status);
        assert_eq!((reply.text(), reply.field("content-length")), ("", length), "{answer}");
    }
    gateway.stop();
}

/// http.md 51, 83: interim responses pass, and a 100 lets a waiting client go on.
fn interim_responses_come_before_the_final_one(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).speaks_h2().start();
    let mut client = H2Client::to(gateway.address());
    let stream = client.gets("/hints");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /hints ");
    upstream.replies("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n");
    upstream.replies_with("final");
    let reply = stream.expects(200);
    assert_eq!((reply.text(), &reply.interims[..]), ("final", &[103, 103][..]));
    let mut stream = client.begins("POST", "/expects", &[("expect", "100-continue"), ("content-length", "4")]);
    let request = upstream.expects_head("POST /expects ");
    assert_eq!(request.field("expect"), Some("100-continue"));
    upstream.replies("HTTP/1.1 100 Continue\r\n\r\n");
    stream.sends("body", true);
    assert_eq!(upstream.reads(4), b"body");
    upstream.replies_with("taken");
    let reply = stream.expects(200);
    assert_eq!((reply.text(), &reply.interims[..]), ("taken", &[100][..]));
    // RFC 9113 section 8.6: a switch never crosses.
    let stream = client.gets("/switch");
    upstream.expects("GET /switch ");
    upstream.replies("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
    assert_eq!(stream.expects(502).reason(), "unasked_switch");
    gateway.stop();
}

/// http.md 82, F9, F10: a response that was cut short is reset and never ends in order.
fn a_response_cut_short_is_reset(io: Io) {
    let endpoint = Endpoint::listens();
    let mut gateway = Plan::to(io, &[endpoint.address()]).speaks_h2().start();
    let mut client = H2Client::to(gateway.address());
    for (answer, rest) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhello", "world"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "5\r\nworld\r\n"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "zz"),
    ] {
        let mut stream = client.gets("/cut");
        let mut upstream = endpoint.accepts();
        upstream.expects("GET /cut ");
        upstream.replies(answer);
        stream.expects_head(200);
        assert_eq!(stream.reads().as_deref(), Some(&b"hello"[..]));
        upstream.replies(rest);
        upstream.closes();
        assert_eq!(stream.expects_reset(), Reason::INTERNAL_ERROR, "{answer}{rest}");
    }
    // A response that ends with its connection is whole then.
    let stream = client.gets("/close");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /close ");
    upstream.replies("HTTP/1.1 200 OK\r\n\r\nto the end");
    upstream.closes();
    assert_eq!(stream.expects(200).text(), "to the end");
    gateway.settles();
    gateway.stop();
}

/// http.md 84, F26: a stream that its client gave up is cancelled upstream within a second, and no other one.
fn a_stream_that_was_given_up_is_cancelled_upstream(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).speaks_h2().start();
    let mut client = H2Client::to(gateway.address());
    let kept = client.gets("/kept");
    let mut keeping = endpoint.accepts();
    keeping.expects("GET /kept ");
    let waiting = client.gets("/waiting");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /waiting ");
    let began_ms = super::wait::now_ms();
    waiting.resets(Reason::CANCEL);
    upstream.sees_break();
    assert!(super::wait::now_ms() - began_ms < 1000, "F26: within a second");
    assert_eq!(gateway.log_of("/waiting")["status"], 499);
    let mut sending = client.begins("POST", "/sending", &[("content-length", "100")]);
    sending.sends("some", false);
    let mut upstream = endpoint.accepts();
    upstream.expects_head("POST /sending ");
    assert_eq!(upstream.reads(4), b"some");
    sending.resets(Reason::CANCEL);
    upstream.sees_break();
    let mut reading = client.gets("/reading");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /reading ");
    upstream.replies("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome");
    reading.expects_head(200);
    assert_eq!(reading.reads().as_deref(), Some(&b"some"[..]));
    let began_ms = super::wait::now_ms();
    reading.resets(Reason::CANCEL);
    upstream.sees_break();
    assert!(super::wait::now_ms() - began_ms < 1000, "F26: within a second");
    keeping.replies_with("kept");
    assert_eq!(kept.expects(200).text(), "kept");
    gateway.waits_for("client_aborts_total", 3.0);
    gateway.waits_for("http2_resets_total{by=\"client\"}", 3.0);
    gateway.stop();
}

/// http.md 68: a body that is not as long as it was said to be is malformed, and completes nothing upstream.
fn a_body_of_another_length_than_announced_completes_no_request(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).speaks_h2().start();
    let mut client = H2Client::to(gateway.address());
    for (length, pieces) in [("10", &["hello", ""][..]), ("5", &["hello", "x"]), ("5", &["helloworld"]), ("0", &["x"])]
    {
        let mut stream = client.begins("POST", "/length", &[("content-length", length)]);
        for (number, piece) in pieces.iter().enumerate() {
            // What is sent behind the violation meets a stream that is gone.
            if stream.try_sends(piece.as_bytes(), number + 1 == pieces.len()).is_err() {
                break;
            }
        }
        assert_eq!(stream.expects_reset(), Reason::PROTOCOL_ERROR, "{length} {pieces:?}");
        let mut upstream = endpoint.accepts();
        let request = upstream.try_reads_head();
        let rest = upstream.try_reads_to_end();
        if let Some(request) = request {
            let is_complete = match request.field("content-length") {
                Some(length) => rest.len() as u64 >= length.parse().unwrap(),
                None => rest.ends_with(b"0\r\n\r\n"),
            };
            assert!(!is_complete, "{length} {pieces:?}: {request} {rest:?}");
        }
    }
    gateway.stop();
}

/// http.md 62: as many streams at once as are allowed, all of them served, and none waits for another.
fn a_hundred_streams_are_served_at_once(io: Io) {
    let origin = Origin::echo();
    let gateway = Plan::to(io, &[origin.address()]).speaks_h2().start();
    let mut client = H2Client::to(gateway.address());
    for _ in 0..3 {
        let streams: Vec<_> = (0..100).map(|number| client.gets(&format!("/{number}"))).collect();
        for (number, stream) in streams.into_iter().enumerate().rev() {
            assert_eq!(stream.expects(200).text(), format!("GET /{number} HTTP/1.1"));
        }
    }
    assert_eq!(origin.requests(), 300);
    gateway.waits_for("http2_streams_total", 300.0);
    gateway.waits_for("http2_resets_total{by=\"gateway\"}", 0.0);
    gateway.stop();
}

/// One port for both: who begins with the preface speaks HTTP/2, everybody else does not.
fn one_listener_serves_both_protocols(io: Io) {
    let origin = Origin::echo();
    let gateway = Plan::to(io, &[origin.address()]).speaks_h2().start();
    let mut two = H2Client::to(gateway.address());
    let mut one = gateway.client();
    for number in 0..3 {
        assert_eq!(two.gets(&format!("/two/{number}")).expects(200).text(), format!("GET /two/{number} HTTP/1.1"));
        one.asks(&format!("/one/{number}"));
        assert_eq!(one.expects(200).text(), format!("GET /one/{number} HTTP/1.1"));
    }
    // Once a connection has carried a request, the preface is a request that does not exist.
    one.sends("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    one.expects(505);
    // In pieces, down to single bytes.
    let mut slow = super::wire::Wire::to(gateway.address());
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0" {
        slow.sends([*byte]);
    }
    assert_eq!(slow.reads(4)[3], 4, "settings");
    drop((two, slow));
    gateway.stop();
}

/// `net/http` of Go: it makes room on stream and connection each time that 4 KiB were read.
fn a_large_download_is_taken_in_small_reads(io: Io) {
    const LENGTH: usize = 8 << 20;
    const READ: u32 = 4 << 10;
    let origin = Origin::serving(|mut wire| {
        wire.reads_head();
        wire.sends(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n")).sends(vec![b'x'; LENGTH]);
    });
    let gateway = Plan::to(io, &[origin.address()]).speaks_h2().start();
    let mut client = H2Wire::to(gateway.address());
    client.sends([settings(&[(4, 4 << 20)]), window(0, 1 << 30), get(1, "/large")].concat());
    let (mut taken, mut told) = (0, 0);
    while taken < LENGTH {
        taken += client.expects(DATA).payload.len();
        let reads = (taken - told) / READ as usize;
        client.sends([window(1, READ), window(0, READ)].concat().repeat(reads));
        told += reads * READ as usize;
    }
    client.pings();
    assert_eq!((taken, gateway.metric_sum("http2_abuses_total")), (LENGTH, 0.0));
    gateway.stop();
}

on_both_drivers![
    a_request_is_translated_and_so_is_its_answer,
    bodies_go_up_with_the_framing_that_they_have,
    trailers_pass_in_both_directions,
    trailers_above_the_bound_are_refused,
    responses_without_content_end_with_their_fields,
    interim_responses_come_before_the_final_one,
    a_response_cut_short_is_reset,
    a_stream_that_was_given_up_is_cancelled_upstream,
    a_body_of_another_length_than_announced_completes_no_request,
    a_hundred_streams_are_served_at_once,
    one_listener_serves_both_protocols,
    a_large_download_is_taken_in_small_reads,
];
