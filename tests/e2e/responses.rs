//! What an endpoint may answer: RFC 9112 sections 4 to 9 as a gateway meets them inward, and F8, F18 to F21.

use super::endpoint::Endpoint;
use super::message::Message;
use super::origin::Origin;
use super::plan::{Io, Plan};

/// F8, F19 and items 13, 14, 22, 29: rubbish from an endpoint is a 502, the endpoint's connection is closed, and the
/// client's connection stays in a known state: it carries the next request (RFC 9112 section 6.3).
fn rubbish_from_an_endpoint_is_a_502_and_is_never_pooled(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).start();
    let mut client = gateway.client();
    for (rule, bytes, reason) in [
        ("not HTTP", "SSH-2.0-OpenSSH_9.2\r\n\r\n", "bad_response"),
        ("an empty line first", "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "bad_response"),
        ("no status", "HTTP/1.1 OK\r\n\r\n", "bad_response"),
        ("a status of two digits", "HTTP/1.1 20 OK\r\n\r\n", "bad_response"),
        ("a status beyond 599", "HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n", "bad_response"),
        ("version 2.0", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", "bad_response"),
        ("lone LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", "bad_response"),
        (
            "both framings",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "bad_response",
        ),
        ("lengths that differ", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "bad_response"),
        ("a list of lengths that differ", "HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nab", "bad_response"),
        ("a length that is none", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "bad_response"),
        ("a length beyond 64 bits", "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n", "bad_response"),
        ("an unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "bad_response"),
        ("a coding in 1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "bad_response"),
        ("NUL", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n", "bad_response"),
        ("bare CR", "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n", "bad_response"),
        ("obs-fold", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n", "bad_response"),
        ("space before the colon", "HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 0\r\n\r\n", "bad_response"),
        ("no colon", "HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 0\r\n\r\n", "bad_response"),
        ("F8: half a head", "HTTP/1.1 200 OK\r\nContent-Le", "upstream_head_cut"),
        (
            "F20: protocols switched unasked",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
            "unasked_switch",
        ),
        ("a bad chunk size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "bad_response_body"),
    ] {
        client.asks("/rubbish");
        let mut upstream = endpoint.accepts();
        upstream.expects("GET /rubbish");
        upstream.replies(bytes);
        upstream.half_closes();
        let answer = client.expects(502);
        assert_eq!(answer.reason(), reason, "{rule}: {answer}");
        assert!(!answer.announces_close(), "{rule}: {answer}");
        upstream.sees_break();
    }
    gateway.waits_for("upstream_connections_idle", 0.0);
    gateway.stop();
}

/// F21: a head larger than any honest one (64 KiB field, 5000 fields).
fn a_head_bomb_from_an_endpoint_is_a_502(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).start();
    let mut client = gateway.client();
    let large = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(80 << 10));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: a\r\n".repeat(5_000));
    for bomb in [large, many] {
        client.asks("/bomb");
        let mut upstream = endpoint.accepts();
        upstream.expects("GET /bomb");
        drop(upstream.try_send(bomb));
        assert_eq!(client.expects(502).reason(), "upstream_header_too_large");
        upstream.reads_to_end();
    }
    gateway.stop();
}

/// F20: 1xx responses are relayed up to a bound; a flood of them ends in a 502, for a 100 must be followed by a final
/// status (RFC 9110 section 10.1.1).
fn a_flood_of_interim_responses_ends_in_a_502(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).start();
    let mut client = gateway.client();
    client.asks("/flood");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /flood");
    drop(upstream.try_send("HTTP/1.1 100 Continue\r\n\r\n".repeat(2_000)));
    let answer = client.expects(502);
    assert!((1..=16).contains(&answer.interims.len()), "{} interim responses", answer.interims.len());
    assert_eq!(answer.reason(), "interim_flood");
    upstream.reads_to_end();
    gateway.stop();
}

/// Item 52, RFC 9110 section 10.1.1: whatever happens after a 100, a final status follows.
fn an_endpoint_that_dies_after_an_interim_response_is_a_502(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).start();
    let mut client = gateway.client();
    client.asks("/hint");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /hint");
    upstream.replies("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    client.expects_interim(103);
    upstream.closes();
    client.expects(502);
    assert_eq!(gateway.log_of("/hint")["status"], 502);
    gateway.stop();
}

/// Item 51, RFC 9110 section 15.2: interim responses pass, without fields of the connection, and never to a 1.0 client.
fn interim_responses_pass_to_clients_that_know_them(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).start();
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\nConnection: x-hop\r\nX-Hop: 1\r\nContent-Length: 3\r\n\r\n";
    let mut client = gateway.client();
    client.asks("/hints");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /hints");
    upstream.replies(hints);
    let interim = client.expects_interim(103);
    assert_eq!(interim.lines_without(&[]), ["link: </style.css>; rel=preload"]);
    upstream.replies(hints).replies_with("done");
    let last = client.expects(200);
    assert_eq!((last.interims.len(), last.text()), (1, "done"));

    let mut old = gateway.client();
    old.sends("GET /hints HTTP/1.0\r\n\r\n");
    upstream.expects("GET /hints");
    upstream.replies(hints).replies_with("done");
    let last = old.expects(200);
    assert_eq!((last.interims.len(), last.text()), (0, "done"));
    gateway.stop();
}

/// Items 27 and 28: HEAD, 204 and 304 have no body whatever their fields say (RFC 9112 section 6.3), their lengths pass
/// where they may (RFC 9110 section 8.6), and the connections stay usable.
fn bodiless_responses_end_with_their_head(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).start();
    let mut client = gateway.client();
    let mut ask = |method: &str, reply: &str, status: u16, upstream: &mut super::endpoint::Accepted| -> Message {
        client.sends(format!("{method} /x HTTP/1.1\r\nHost: a\r\n\r\n"));
        upstream.expects(&format!("{method} /x"));
        upstream.replies(reply);
        client.expects_head(status)
    };
    let mut first = gateway.client();
    first.asks("/first");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /first");
    upstream.replies_with("");
    first.expects(200);

    let head = ask("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", 200, &mut upstream);
    assert_eq!(head.field("content-length"), Some("1000"), "relayed unchanged");
    let head = ask("HEAD", "HTTP/1.1 200 OK\r\n\r\n", 200, &mut upstream);
    assert_eq!(head.field("content-length"), None, "never made up");
    let head = ask("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, &mut upstream);
    assert_eq!(head.field("content-length"), None);
    let not_modified =
        ask("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: \"a\"\r\n\r\n", 304, &mut upstream);
    assert_eq!((not_modified.field("content-length"), not_modified.field("etag")), (Some("7"), Some("\"a\"")));
    let none = ask("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n", 204, &mut upstream);
    assert_eq!((none.field("content-length"), none.field("transfer-encoding")), (None, None), "9110 section 8.6");
    let none = ask("GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", 204, &mut upstream);
    assert_eq!(none.field("transfer-encoding"), None, "9112 section 6.1");
    assert!(endpoint.is_alone(), "one connection carried all of it");
    gateway.stop();
}

/// F18, item 31: bytes that no request asked for are not a response (RFC 9112 section 9.2).
fn bytes_behind_a_response_are_never_the_next_answer(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).start();
    let mut client = gateway.client();
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    // Together with the response.
    client.asks("/one");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /one");
    upstream.replies(format!("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none{poison}"));
    assert_eq!(client.expects(200).text(), "one");
    upstream.sees_break();
    // Later, while the connection rests in the pool.
    client.asks("/two");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /two");
    upstream.replies_with("two");
    assert_eq!(client.expects(200).text(), "two");
    gateway.waits_for("upstream_connections_idle", 1.0);
    upstream.replies(poison);
    upstream.sees_break();
    client.asks("/three");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /three");
    upstream.replies_with("three");
    assert_eq!(client.expects(200).text(), "three");
    // Behind the last chunk, and behind a response to HEAD.
    client.asks("/four");
    upstream.expects("GET /four");
    upstream.replies(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n0\r\n\r\n{poison}"));
    assert_eq!(client.expects(200).text(), "four");
    upstream.sees_break();
    client.sends("HEAD /five HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut upstream = endpoint.accepts();
    upstream.expects("HEAD /five");
    upstream.replies("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
    client.expects_head(200);
    upstream.sees_break();
    client.asks("/six");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /six");
    upstream.replies_with("six");
    assert_eq!(client.expects(200).text(), "six");
    gateway.stop();
}

/// Items 6, 41, 43 and 49: own version, hop-by-hop fields off, unknown fields and their order kept, Date added.
fn fields_of_a_response_pass_but_those_of_the_connection(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).start();
    let mut client = gateway.client();
    client.asks("/fields");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /fields");
    upstream.replies(
        "HTTP/1.1 200 Fine Indeed\r\nSet-Cookie: a=1\r\nServer: origin\r\nConnection: x-hop, Keep-Alive\r\nX-Hop: 1\r\n\
         Keep-Alive: timeout=60\r\nProxy-Authenticate: Basic\r\nUpgrade: websocket\r\nProxy-Connection: keep-alive\r\n\
         set-cookie:   b=2  \r\nX-Unknown: caf\u{e9}\r\nTrailer: X-T\r\nAllow: GET\r\nContent-Length: 2\r\n\r\nok",
    );
    let answer = client.expects(200);
    assert_eq!(answer.start, "HTTP/1.1 200 Fine Indeed");
    let lines = answer.lines_without(&["date", "x-request-id"]);
    assert_eq!(
        lines,
        [
            "set-cookie: a=1",
            "server: origin",
            "set-cookie: b=2",
            "x-unknown: caf\u{c3}\u{a9}",
            "allow: GET",
            "content-length: 2"
        ]
    );
    let date = answer.field("date").expect("9110 section 6.6.1: a Date is added");
    assert!(date.len() == 29 && date.ends_with(" GMT"), "{date}");
    client.asks("/dated");
    upstream.expects("GET /dated");
    upstream.replies("HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.expects(200).field("date"), Some("Sun, 06 Nov 1994 08:49:37 GMT"), "theirs stays");
    gateway.stop();
}

/// Items 30 and 22: a body that ends with the connection reaches the client whole, framed; equal lengths count as one.
fn a_body_that_ends_with_its_connection_is_relayed_whole(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).start();
    let mut client = gateway.client();
    client.asks("/until-close");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /until-close");
    upstream.replies("HTTP/1.0 200 OK\r\n\r\nall of it");
    upstream.closes();
    let answer = client.expects(200);
    assert_eq!((answer.text(), answer.chunked), ("all of it", true));
    client.asks("/equal-lengths");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /equal-lengths");
    upstream.replies("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\nContent-Length: 2\r\n\r\nok");
    let answer = client.expects(200);
    assert_eq!((answer.text(), answer.field("content-length")), ("ok", Some("2")));
    gateway.stop();
}

/// Item 39: an endpoint that wants no further request is not sent one (RFC 9112 section 9.6).
fn an_endpoint_that_says_close_is_believed(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).start();
    let mut client = gateway.client();
    for reply in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok",
    ] {
        client.asks("/last");
        let mut upstream = endpoint.accepts();
        upstream.expects("GET /last");
        upstream.replies(reply);
        assert!(!client.expects(200).announces_close(), "it is not the client's connection that ends");
        upstream.sees_end();
    }
    client.asks("/kept");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /kept");
    upstream.replies("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok");
    client.expects(200);
    client.asks("/again");
    upstream.expects("GET /again");
    upstream.replies_with("again");
    client.expects(200);
    gateway.stop();
}

/// B10: in steady use nearly every request goes on a pooled connection.
fn upstream_connections_are_reused(io: Io) {
    let origin = Origin::echo();
    let gateway = Plan::to(io, &[origin.address()]).start();
    let mut client = gateway.client();
    for _ in 0..100 {
        client.asks("/again");
        client.expects(200);
    }
    assert_eq!(origin.connections(), 1);
    assert!(gateway.metric("upstream_connection_reuse_ratio") >= 0.99);
    gateway.stop();
}

on_both_drivers![
    rubbish_from_an_endpoint_is_a_502_and_is_never_pooled,
    a_head_bomb_from_an_endpoint_is_a_502,
    a_flood_of_interim_responses_ends_in_a_502,
    an_endpoint_that_dies_after_an_interim_response_is_a_502,
    interim_responses_pass_to_clients_that_know_them,
    bodiless_responses_end_with_their_head,
    bytes_behind_a_response_are_never_the_next_answer,
    fields_of_a_response_pass_but_those_of_the_connection,
    a_body_that_ends_with_its_connection_is_relayed_whole,
    an_endpoint_that_says_close_is_believed,
    upstream_connections_are_reused,
];
