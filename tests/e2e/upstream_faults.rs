//! Endpoints that fail: F1 to F13 of the fault table. Every test ends with `stop`, which checks I1 to I3.

use std::time::Duration;

use super::endpoint::{Accepted, Endpoint};
use super::gateway::Gateway;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::wait::{now_ms, until_true};

/// A gateway in front of one endpoint.
fn one(io: Io, timeouts: &str) -> (Endpoint, Gateway) {
    let endpoint = Endpoint::listens();
    let mut plan = Plan::to(io, &[endpoint.address()]);
    if !timeouts.is_empty() {
        plan = plan.timeouts(timeouts);
    }
    let gateway = plan.start();
    (endpoint, gateway)
}

/// Makes one pooled connection.
fn pooled(gateway: &Gateway, endpoint: &Endpoint) -> Accepted {
    let mut client = gateway.client();
    client.asks("/warm");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /warm");
    upstream.replies_with("");
    client.expects(200);
    gateway.waits_for("upstream_connections_idle", 1.0);
    upstream
}

/// F1: a refused connection is a 502 at once, the client is kept; another endpoint is tried first, for any method.
fn a_closed_port_is_a_502_at_once_and_others_are_tried_first(io: Io) {
    let gateway = Plan::to(io, &[Endpoint::closed()]).start();
    let mut client = gateway.client();
    let mut fastest_ms = u64::MAX;
    for _ in 0..5 {
        let began_ms = now_ms();
        client.asks("/x");
        let answer = client.expects(502);
        assert_eq!(answer.reason(), "connect_refused");
        assert!(!answer.announces_close(), "the client is kept");
        fastest_ms = fastest_ms.min(now_ms() - began_ms);
    }
    assert!(fastest_ms < 50, "at once, not in {fastest_ms} ms");
    assert_eq!(gateway.log_of("/x")["reason"], "connect_refused");
    gateway.waits_for("upstream_errors_total{reason=\"connect_refused\"}", 5.0);
    gateway.waits_for("gateway_rejected_requests_total{reason=\"connect_refused\"}", 5.0);
    gateway.stop();

    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[Endpoint::closed(), endpoint.address(), Endpoint::closed()]).start();
    let mut client = gateway.client();
    client.sends("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    let mut upstream = endpoint.accepts();
    assert_eq!(upstream.expects("POST /x").text(), "hello");
    upstream.replies_with("ok");
    client.expects(200);
    for _ in 0..5 {
        client.sends("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
        assert_eq!(upstream.expects("POST /x").text(), "hello");
        upstream.replies_with("ok");
        client.expects(200);
    }
    // Those that refused are penalised: once both were met, nobody is sent to them for a while.
    until_true("both of them were met", || {
        client.asks("/y");
        upstream.expects("GET /y");
        upstream.replies_with("ok");
        client.expects(200);
        gateway.metric("upstream_errors_total{reason=\"connect_refused\"}") >= 2.0
    });
    client.asks("/z");
    upstream.expects("GET /z");
    upstream.replies_with("ok");
    client.expects(200);
    assert_eq!(gateway.log_of("/z")["attempts"], 1);
    gateway.stop();
}

/// F2: an endpoint that answers no connection attempt is a 504 at the connect timeout.
fn an_endpoint_that_never_accepts_is_a_504_in_time(io: Io) {
    let (endpoint, held) = Endpoint::deaf();
    let gateway = Plan::to(io, &[endpoint.address()]).timeouts("connect: 200ms").start();
    let mut client = gateway.client();
    client.asks("/first");
    client.expects(504);
    let before = gateway.process.descriptors();
    for _ in 0..2 {
        let began_ms = now_ms();
        client.asks("/x");
        let answer = client.expects(504);
        assert_eq!(answer.reason(), "connect_timeout");
        let took_ms = now_ms() - began_ms;
        assert!((180..1_500).contains(&took_ms), "{took_ms} ms");
    }
    until_true("no descriptor is lost", || gateway.process.descriptors() <= before);
    gateway.waits_for("upstream_errors_total{reason=\"connect_timeout\"}", 3.0);
    assert_eq!(gateway.log_of("/x")["reason"], "connect_timeout");
    drop(held);
    gateway.stop();
}

/// F2: and the request goes on to another host, whatever its method; no descriptor is lost on the way.
fn a_connect_that_times_out_goes_on_at_another_endpoint(io: Io) {
    let ((deaf, held), other) = (Endpoint::deaf(), Origin::saying("other"));
    let endpoints =
        format!("{{ url: 'http://{}' }}, {{ url: 'http://{}', priority: 1 }}", deaf.address(), other.address());
    let gateway = Plan::bare(io)
        .cluster_of("app", &endpoints)
        .timeouts("connect: 200ms")
        .route("name: everything, cluster: app")
        .start();
    let mut client = gateway.client();
    let began_ms = now_ms();
    client.sends("POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.expects(200).text(), "other");
    let took_ms = now_ms() - began_ms;
    assert!((180..1_500).contains(&took_ms), "{took_ms} ms");
    let before = gateway.process.descriptors();
    let line = gateway.log_of("/first");
    assert_eq!((&line["attempts"], &line["endpoint"]), (&2.into(), &other.address().to_string().into()), "{line}");
    // Spared for a second after each attempt, and tried again.
    until_true("it was tried once more", || {
        client.asks("/x");
        assert_eq!(client.expects(200).text(), "other");
        gateway.metric("upstream_errors_total{reason=\"connect_timeout\"}") >= 2.0
    });
    until_true("no descriptor is lost", || gateway.process.descriptors() <= before);
    assert_eq!(gateway.metric_sum("gateway_rejected_requests_total"), 0.0);
    drop(held);
    gateway.stop();
}

/// F3 and F4: a fresh connection that ends before any byte of response is a 502, and the endpoint saw the request once.
fn a_fresh_connection_that_dies_is_a_502_and_the_request_went_out_once(io: Io) {
    let (endpoint, gateway) = one(io, "");
    let mut client = gateway.client();
    for method in ["GET", "POST"] {
        for resets in [false, true] {
            client.sends(format!("{method} /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"));
            let mut upstream = endpoint.accepts();
            upstream.expects(&format!("{method} /x"));
            if resets {
                upstream.resets();
            } else {
                upstream.closes();
            }
            let answer = client.expects(502);
            assert_eq!(answer.reason(), if resets { "upstream_reset" } else { "upstream_eof" });
            assert!(!answer.announces_close(), "the client is kept");
            assert!(endpoint.is_alone(), "it was not sent again");
        }
    }
    gateway.waits_for("upstream_errors_total{reason=\"upstream_eof\"}", 2.0);
    gateway.waits_for("upstream_errors_total{reason=\"upstream_reset\"}", 2.0);
    gateway.waits_for("upstream_connections_idle", 0.0);
    until_true("a log line for each", || gateway.log_lines().len() == 4);
    assert!(gateway.log_lines().iter().all(|line| line["status"] == 502 && line["attempts"] == 1));
    gateway.stop();
}

/// F3 and F4: with a second endpoint a GET is tried there once, and a POST nowhere (RFC 9110 section 9.2.2).
fn a_get_whose_fresh_connection_died_is_tried_once_at_another_endpoint(io: Io) {
    for resets in [false, true] {
        let dying = Origin::serving(move |mut wire| {
            wire.reads_head();
            if resets {
                wire.resets();
            } else {
                wire.closes();
            }
        });
        let origin = Origin::echo();
        let gateway = Plan::to(io, &[dying.address(), origin.address()]).workers("1").start();
        let mut client = gateway.client();
        let retries = || gateway.metric("upstream_retries_total{reason=\"reset\"}");
        // It rests for a moment after each failure.
        until_true("a GET that meets the endpoint that dies", || {
            client.asks("/get");
            client.expects(200);
            retries() >= 1.0
        });
        let before = retries();
        until_true("a POST that meets the endpoint that dies", || {
            let mut poster = gateway.client();
            poster.sends("POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
            poster.expects_any().status() == 502
        });
        assert!((retries() - before).abs() < 1e-9, "it is sent to one endpoint only");
        assert_eq!(gateway.metric("upstream_retries_denied_total{reason=\"non_idempotent\"}"), 1.0);
        gateway.stop();
    }
}

/// F5 and B11: a pooled connection that the endpoint closed is noticed before it is used again.
fn a_stale_connection_is_noticed_before_it_is_used(io: Io) {
    let (endpoint, gateway) = one(io, "");
    for method in ["GET", "POST"] {
        let upstream = pooled(&gateway, &endpoint);
        upstream.closes();
        let mut client = gateway.client();
        client.sends(format!("{method} /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"));
        let mut upstream = endpoint.accepts();
        upstream.expects(&format!("{method} /x"));
        upstream.replies("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        client.expects(200);
    }
    gateway.waits_for("upstream_stale_connections_total{reason=\"closed\"}", 2.0);
    assert_eq!(gateway.metric_sum("upstream_errors_total"), 0.0);
    assert_eq!(gateway.metric_sum("upstream_retries_total"), 0.0);
    gateway.waits_for("upstream_connections_idle", 0.0);
    gateway.stop();
}

/// F6: a pooled connection that dies after the request was read: an idempotent one is sent once more, on a fresh
/// connection, and never a third time (RFC 9110 section 9.2.2).
fn an_idempotent_request_is_retried_once(io: Io) {
    let (endpoint, gateway) = one(io, "");
    let mut upstream = pooled(&gateway, &endpoint);
    let mut client = gateway.client();
    client.asks("/once-more");
    upstream.expects("GET /once-more");
    upstream.closes();
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /once-more");
    upstream.replies_with("ok");
    client.expects(200);
    assert_eq!(gateway.metric("upstream_retries_total{reason=\"reused\"}"), 1.0);
    assert_eq!(gateway.log_of("/once-more")["attempts"], 2);
    // And when the second one dies as well: 502.
    client.sends("PUT /twice HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    upstream.expects("PUT /twice");
    upstream.resets();
    let mut upstream = endpoint.accepts();
    assert_eq!(upstream.expects("PUT /twice").text(), "hi");
    upstream.closes();
    client.expects(502);
    assert!(endpoint.is_alone(), "not a third time");
    assert_eq!(gateway.metric("upstream_retries_total{reason=\"reused\"}"), 2.0);
    gateway.stop();
}

/// F7: a request that is not idempotent is never sent twice (RFC 9110 section 9.2.2).
fn a_post_is_never_retried(io: Io) {
    let (endpoint, gateway) = one(io, "");
    let mut upstream = pooled(&gateway, &endpoint);
    let mut client = gateway.client();
    client.sends("POST /pay HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    upstream.expects("POST /pay");
    upstream.closes();
    assert_eq!(client.expects(502).reason(), "upstream_eof");
    assert!(endpoint.is_alone());
    assert_eq!(gateway.metric("upstream_retries_denied_total{reason=\"non_idempotent\"}"), 1.0);
    let line = gateway.log_of("/pay");
    assert_eq!((&line["attempts"], &line["reason"]), (&1.into(), &"upstream_eof".into()), "{line}");
    // Nor is a request of which bytes are gone that nobody kept.
    let mut upstream = pooled(&gateway, &endpoint);
    client.sends("PUT /stream HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n");
    upstream.expects_head("PUT /stream");
    assert_eq!(upstream.reads_chunk().as_deref(), Some(&b"hi"[..]));
    upstream.closes();
    client.expects(502);
    assert!(endpoint.is_alone());
    assert_eq!(gateway.metric("upstream_retries_denied_total{reason=\"body\"}"), 1.0);
    assert_eq!(gateway.metric_sum("upstream_retries_total"), 0.0);
    gateway.stop();
}

/// F9, F10, item 29: a response that ends early is never made complete (RFC 9112 section 8), whatever its framing.
fn a_truncated_response_is_cut_short_for_the_client_too(io: Io) {
    let (endpoint, gateway) = one(io, "");
    for (head, tail, resets) in [
        ("Content-Length: 1000\r\n", "", false),
        ("Content-Length: 1000\r\n", "", true),
        ("Transfer-Encoding: chunked\r\n", "", false),
        ("Transfer-Encoding: chunked\r\n", "", true),
        ("Transfer-Encoding: chunked\r\n", "0\r\n", false),
        ("Transfer-Encoding: chunked\r\n", "0\r\nX-T: 1\r\n", false),
        ("Transfer-Encoding: chunked\r\n", "zz\r\n", false),
    ] {
        let mut client = gateway.client();
        client.asks("/cut");
        let mut upstream = endpoint.accepts();
        upstream.expects("GET /cut");
        upstream.replies(format!("HTTP/1.1 200 OK\r\n{head}\r\n"));
        client.expects_head(200);
        if head.starts_with('C') {
            upstream.replies("0123456789");
            assert_eq!(client.reads(10), b"0123456789");
        } else {
            upstream.replies("a\r\n0123456789\r\n");
            assert_eq!(client.reads_chunk().as_deref(), Some(&b"0123456789"[..]));
        }
        upstream.replies(tail);
        if resets {
            upstream.resets();
        } else {
            upstream.closes();
        }
        let (rest, _) = client.reads_to_end();
        assert_eq!(String::from_utf8_lossy(&rest), "", "no end that was none: {head}{tail}");
    }
    // To a 1.0 client only a reset tells that it is not the end (RFC 9112 section 8).
    let mut old = gateway.client();
    old.sends("GET /cut HTTP/1.0\r\n\r\n");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /cut");
    upstream.replies("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n");
    old.expects_head(200);
    assert_eq!(old.reads(10), b"0123456789");
    upstream.closes();
    assert_eq!(old.sees_break(), super::wire::End::Reset);
    let truncated = "upstream_errors_total{reason=\"upstream_truncated\"}";
    gateway.waits_for(truncated, 7.0);
    assert_eq!(gateway.log_of("/cut")["reason"], "upstream_truncated");
    gateway.stop();
}

/// F11: an endpoint that says nothing is a 504 at the configured time; its late answer is nobody's.
fn a_silent_endpoint_is_a_504_and_its_late_answer_is_nobodys(io: Io) {
    let (endpoint, gateway) = one(io, "response_header: 2s");
    let mut client = gateway.client();
    let mut times_ms = Vec::new();
    for part in ["", "HTTP/1.1 200 OK\r\n", ""] {
        let began_ms = now_ms();
        client.asks("/slow");
        let mut upstream = endpoint.accepts();
        upstream.expects("GET /slow");
        upstream.replies(part);
        let answer = client.expects(504);
        times_ms.push(now_ms() - began_ms);
        assert_eq!(answer.reason(), "upstream_timeout");
        upstream.reads_to_end();
        drop(upstream.try_send("Content-Length: 4\r\n\r\nlate"));
    }
    // A tenth more or less, where the machine is not busy with something else.
    times_ms.sort_unstable();
    assert!((1_800..=2_200).contains(&times_ms[0]) && times_ms[2] < 10_000, "{times_ms:?} ms");
    assert_eq!(gateway.log_of("/slow")["reason"], "upstream_timeout");
    gateway.waits_for("upstream_errors_total{reason=\"upstream_timeout\"}", 3.0);
    gateway.waits_for("upstream_connections_idle", 0.0);
    client.asks("/next");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /next");
    upstream.replies_with("next");
    assert_eq!(client.expects(200).text(), "next");
    gateway.stop();
}

/// B2: the time of the whole request is bounded too, attempts included.
fn a_request_has_a_time_of_its_own(io: Io) {
    let (endpoint, gateway) = one(io, "request: 300ms, response_header: 20s");
    let mut client = gateway.client();
    client.asks("/slow");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /slow");
    assert_eq!(client.expects(504).reason(), "request_timeout");
    upstream.reads_to_end();
    gateway.stop();
}

/// F12: an endpoint that stalls in its body is cut off; the client's message stays incomplete.
fn a_body_that_stalls_is_cut_off(io: Io) {
    let (endpoint, gateway) = one(io, "body_idle: 200ms");
    let mut client = gateway.client();
    client.asks("/stall");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /stall");
    let began_ms = now_ms();
    upstream.replies("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789");
    client.expects_head(200);
    assert_eq!(client.reads(10), b"0123456789");
    client.sees_break();
    let took_ms = now_ms() - began_ms;
    assert!((150..5_000).contains(&took_ms), "{took_ms} ms");
    upstream.reads_to_end();
    assert_eq!(gateway.log_of("/stall")["reason"], "upstream_body_timeout");
    gateway.waits_for("upstream_errors_total{reason=\"upstream_body_timeout\"}", 1.0);
    gateway.waits_for("upstream_connections_idle", 0.0);
    gateway.stop();
}

/// F13: an endpoint that trickles is relayed, byte by byte, for as long as each pause is short enough.
fn a_body_that_trickles_is_relayed(io: Io) {
    let (endpoint, gateway) = one(io, "body_idle: 5s, request: 1s, response_header: 1s");
    let mut client = gateway.client();
    client.asks("/trickle");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /trickle");
    upstream.replies("HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n");
    client.expects_head(200);
    let began_ms = now_ms();
    for number in 0..40_u8 {
        upstream.replies([number]);
        assert_eq!(client.reads(1), [number]);
        upstream.stream().set_read_timeout(Some(Duration::from_millis(30))).expect("a positive time");
        drop(upstream.stream().peek(&mut [0]));
    }
    assert!(now_ms() - began_ms > 1_000, "the time of the request is over, and its body is guarded otherwise");
    upstream.stream().set_read_timeout(Some(super::wait::PATIENCE)).expect("a positive time");
    gateway.stop();
}

/// D1: the endpoints of a cluster take turns.
fn endpoints_take_turns(io: Io) {
    let endpoints: Vec<_> = (0..3).map(|number| Origin::saying(&number.to_string())).collect();
    let addresses: Vec<_> = endpoints.iter().map(Origin::address).collect();
    let gateway = Plan::to(io, &addresses).start();
    let mut client = gateway.client();
    let mut order = String::new();
    for _ in 0..9 {
        client.asks("/x");
        order.push_str(client.expects(200).text());
    }
    assert!("012012012012".contains(&order), "{order}");
    gateway.stop();
}

on_both_drivers![
    a_closed_port_is_a_502_at_once_and_others_are_tried_first,
    an_endpoint_that_never_accepts_is_a_504_in_time,
    a_connect_that_times_out_goes_on_at_another_endpoint,
    a_fresh_connection_that_dies_is_a_502_and_the_request_went_out_once,
    a_get_whose_fresh_connection_died_is_tried_once_at_another_endpoint,
    a_stale_connection_is_noticed_before_it_is_used,
    an_idempotent_request_is_retried_once,
    a_post_is_never_retried,
    a_truncated_response_is_cut_short_for_the_client_too,
    a_silent_endpoint_is_a_504_and_its_late_answer_is_nobodys,
    a_request_has_a_time_of_its_own,
    a_body_that_stalls_is_cut_off,
    a_body_that_trickles_is_relayed,
    endpoints_take_turns,
];
