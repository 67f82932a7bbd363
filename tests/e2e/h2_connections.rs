//! HTTP/2: what becomes of connections and of their streams beside one another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use h2::Reason;
use serde_json::Value;

use super::endpoint::Endpoint;
use super::h2_client::{H2Client, windows};
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::wait::{now_ms, thread, until, until_true};
use super::wire::Wire;

/// Bytes of a large body.
const LARGE: usize = 24 << 20;
/// What the kernel and the gateway hold of it at most, while nobody takes it.
const HELD: usize = 16 << 20;
const PART: usize = 64 << 10;

/// The content of a large body from `at` on.
fn part(at: usize) -> Vec<u8> {
    (at..(at + PART).min(LARGE)).map(|at| (at / 997).to_le_bytes()[0]).collect()
}

/// B4: flow control end to end: a client that takes nothing stops its origin, and nobody else.
fn a_slow_client_pauses_its_origin_and_no_other_stream(io: Io) {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let origin = Origin::serving(move |mut wire| {
        while let Some(head) = wire.try_reads_head() {
            if head.start.starts_with("GET /small") {
                wire.sends("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsmall");
                continue;
            }
            wire.sends(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"));
            for at in (0..LARGE).step_by(PART) {
                wire.sends(part(at));
                counted.fetch_add(PART, Ordering::Relaxed);
            }
        }
    });
    let gateway = Plan::to(io, &[origin.address()]).speaks_h2().start();
    let before = gateway.process.resident_bytes();
    let mut client = H2Client::with(gateway.address(), &windows(1 << 20, 1 << 16));
    let mut large = client.gets("/large");
    large.expects_head(200);
    for _ in 0..50 {
        assert_eq!(client.gets("/small").expects(200).text(), "small");
    }
    assert!(sent.load(Ordering::Relaxed) < HELD, "the origin goes on sending");
    let grown = gateway.process.resident_bytes().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes more");
    let mut at = 0;
    while let Some(more) = large.reads() {
        for (offset, byte) in more.iter().enumerate().step_by(503) {
            assert_eq!(*byte, ((at + offset) / 997).to_le_bytes()[0], "at {}", at + offset);
        }
        at += more.len();
    }
    assert_eq!(at, LARGE);
    gateway.stop();
}

/// The same upwards: an endpoint that takes nothing stops its client, and nobody else.
fn a_slow_endpoint_pauses_its_client_and_no_other_stream(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).speaks_h2().defaults("body_limit: 0").start();
    let mut client = H2Client::to(gateway.address());
    let mut stream = client.begins("POST", "/large", &[]);
    let mut slow = endpoint.accepts();
    slow.expects_head("POST /large ");
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let sending = thread("upload", move || {
        for at in (0..LARGE).step_by(PART) {
            stream.sends(part(at), at + PART >= LARGE);
            counted.fetch_add(PART, Ordering::Relaxed);
        }
        stream
    });
    let mut quick = None;
    for _ in 0..20 {
        let small = client.gets("/small");
        let quick = quick.get_or_insert_with(|| endpoint.accepts());
        quick.expects("GET /small ");
        quick.replies_with("small");
        assert_eq!(small.expects(200).text(), "small");
    }
    assert!(sent.load(Ordering::Relaxed) < HELD, "the client goes on sending");
    let mut total: usize = 0;
    while let Some(chunk) = slow.reads_chunk() {
        assert!(chunk.first() == Some(&(total / 997).to_le_bytes()[0]), "at {total}");
        total += chunk.len();
    }
    assert_eq!(total, LARGE);
    slow.reads(2);
    slow.replies_with("taken");
    assert_eq!(sending.join().expect("it was sent").expects(200).text(), "taken");
    gateway.stop();
}

/// A connection rests while it has no stream, as one of HTTP/1 does between two requests.
fn a_connection_without_a_stream_is_idle(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).speaks_h2().start();
    let mut client = H2Client::to(gateway.address());
    let (first, second) = (client.gets("/first"), client.gets("/second"));
    let mut upstreams = [endpoint.accepts(), endpoint.accepts()];
    for upstream in &mut upstreams {
        upstream.expects("GET /");
    }
    gateway.waits_for("net_connections_idle", 0.0);
    upstreams[0].replies_with("done");
    upstreams[1].replies_with("done");
    for stream in [first, second] {
        assert_eq!(stream.expects(200).text(), "done");
    }
    gateway.waits_for("net_connections_idle", 1.0);
    drop(client);
    gateway.waits_for("net_connections_active", 0.0);
    assert_eq!(gateway.metric("net_connections_idle"), 0.0);
    gateway.stop();
}

/// F41: streams in flight are finished after the first GOAWAY, and the process ends with the last of them.
fn streams_in_flight_are_finished_on_shutdown(io: Io) {
    let endpoint = Endpoint::listens();
    let mut gateway = Plan::to(io, &[endpoint.address()]).speaks_h2().keepalive("idle_per_endpoint: 0").start();
    let (mut client, mut idle) = (H2Client::to(gateway.address()), H2Client::to(gateway.address()));
    idle.gets("/health").expects(200);
    let waiting = client.gets("/waiting");
    let mut first = endpoint.accepts();
    first.expects("GET /waiting ");
    let mut reading = client.gets("/reading");
    let mut second = endpoint.accepts();
    second.expects("GET /reading ");
    second.replies("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
    reading.expects_head(200);
    assert_eq!(reading.reads().as_deref(), Some(&b"half"[..]));
    gateway.signal(libc::SIGTERM);
    gateway.notice("shutting down gracefully");
    until_true("no more streams", || client.is_going_away());
    assert_eq!(idle.ends(), None, "an orderly end");
    first.replies_with("waited");
    assert_eq!(waiting.expects(200).text(), "waited");
    assert!(gateway.process.ended().is_none(), "one is still in flight");
    second.replies("half");
    assert_eq!(reading.reads().as_deref(), Some(&b"half"[..]));
    assert_eq!(reading.reads(), None);
    assert_eq!(client.ends(), None, "an orderly end");
    assert_eq!(gateway.process.exit_code(), Some(0), "{}", gateway.notices.all().join("\n"));
    assert_eq!(gateway.whole_log().len(), 3);
}

/// F40: reloads under load cost no stream.
fn reloads_cost_no_stream(io: Io) {
    let origin = Origin::echo();
    let plan = Plan::to(io, &[origin.address()]).speaks_h2();
    let gateway = plan.start();
    let ended = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let (address, ended) = (gateway.address(), Arc::clone(&ended));
            thread("client", move || {
                let mut client = H2Client::to(address);
                let mut answered = 0;
                while !ended.load(Ordering::Relaxed) {
                    let streams: Vec<_> = (0..10).map(|number| client.gets(&format!("/{number}"))).collect();
                    for (number, stream) in streams.into_iter().enumerate() {
                        assert_eq!(stream.expects(200).text(), format!("GET /{number} HTTP/1.1"));
                        answered += 1;
                    }
                }
                answered
            })
        })
        .collect();
    for number in 0..10 {
        gateway.adopts(
            &plan.clone().route(&format!("name: r{number}, match: {{ path: /r{number} }}, cluster: app")).yaml(),
        );
    }
    ended.store(true, Ordering::Relaxed);
    let answered: u64 = clients.into_iter().map(|client| client.join().expect("every stream was answered")).sum();
    gateway.waits_for("http_requests_by_protocol_total{protocol=\"HTTP/2\"}", answered as f64);
    assert_eq!(gateway.metric("http2_resets_total{by=\"gateway\"}"), 0.0);
    gateway.stop();
}

/// A listener that a reload removed takes no more streams; what it had begun is finished.
fn a_removed_listener_refuses_streams(io: Io) {
    let endpoint = Endpoint::listens();
    let plan = Plan::to(io, &[endpoint.address()]).speaks_h2();
    let gateway = plan.start();
    let mut client = H2Client::to(gateway.address());
    let begun = client.gets("/begun");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /begun ");
    gateway.adopts(&plan.yaml().replace("  web:", "  other:"));
    assert_eq!(
        client.gets("/late").expects_reset(),
        Reason::REFUSED_STREAM,
        "RFC 9113 section 8.7: it may be sent again"
    );
    upstream.replies_with("done");
    assert_eq!(begun.expects(200).text(), "done");
    // Counted and logged like a request of HTTP/1, which is answered.
    gateway.waits_for("gateway_rejected_requests_total{reason=\"listener_removed\"}", 1.0);
    let refused = |line: &Value| (line["reason"] == "listener_removed").then(|| line.clone());
    let line = until("a line of it", || gateway.log_lines().iter().find_map(refused));
    assert_eq!((&line["status"], &line["bytes_out"]), (&503.into(), &0.into()), "{line}");
    gateway.stop();
}

/// A connection that rests ends in order; one that has carried nothing yet sooner.
fn connections_that_rest_are_closed_in_order(io: Io) {
    let origin = Origin::echo();
    let gateway = Plan::to(io, &[origin.address()]).speaks_h2().limits("idle_timeout: 2s, header_timeout: 1s").start();
    let began_ms = now_ms();
    // Only a part of the preface: a request that never came.
    let mut part = Wire::to(gateway.address());
    part.sends("PRI * HTT");
    let mut client = H2Client::to(gateway.address());
    client.gets("/a").expects(200);
    let silent = H2Client::to(gateway.address());
    assert_eq!(silent.ends(), None);
    let silent_ms = now_ms() - began_ms;
    assert_eq!(client.ends(), None);
    let idle_ms = now_ms() - began_ms;
    assert!((900..2000).contains(&silent_ms) && (1900..4000).contains(&idle_ms), "{silent_ms} ms, {idle_ms} ms");
    assert_eq!(part.reads_head().status(), 408);
    gateway.waits_for("http2_goaways_total{code=\"no_error\"}", 4.0);
    gateway.stop();
}

/// Answers of the gateway itself, by every way to one.
fn answers_of_the_gateway_itself_are_told(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::bare(io)
        .speaks_h2()
        .cluster("app", &[endpoint.address()])
        .cluster("down", &[Endpoint::closed()])
        .route("name: up, match: { path: /up }, cluster: app, body_limit: 10B")
        .route("name: down, match: { path: /down }, cluster: down")
        .route("name: moved, match: { path: /old/* }, redirect: { to: '/new{path}', status: 308 }")
        .route("name: fixed, match: { path: /fixed }, respond: { status: 200, body: 'fixed' }")
        .limits("header_bytes: 12KiB")
        .start();
    let mut client = H2Client::to(gateway.address());
    assert_eq!(client.gets("/health").expects(200).text(), "{\"status\":\"ok\"}");
    assert_eq!(client.gets("/fixed").expects(200).text(), "fixed");
    assert_eq!(client.gets("/old/x").expects(308).field("location"), "/new/old/x");
    assert_eq!(client.gets("/nowhere").expects(404).reason(), "route_not_found");
    assert_eq!(client.gets("/down").expects(502).reason(), "connect_refused");
    assert_eq!(client.asks("TRACE", "/fixed", &[]).expects(405).reason(), "method_refused");
    assert_eq!(client.asks("GET", "/up", &[("host", "b.example")]).expects(400).reason(), "bad_request");
    assert_eq!(client.asks("GET", "/up", &[("expect", "tea")]).expects(417).reason(), "bad_request");
    assert_eq!(client.gets("/a/%zz").expects(400).reason(), "bad_request");
    let mut sending = client.begins("POST", "/up", &[("content-length", "11")]);
    assert_eq!(sending.expects_head(413).reason(), "body_too_large", "F30: before the body");
    let mut sending = client.begins("POST", "/up", &[]);
    sending.sends("12345678901", false);
    assert_eq!(sending.expects(413).reason(), "body_too_large", "F31");
    let mut upstream = endpoint.accepts();
    upstream.expects_head("POST /up ");
    let (rest, _) = upstream.reads_to_end();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "F31: the request upstream is not completed");
    // http.md 76: too large to be looked at, and too many.
    let long = "x".repeat(8000);
    assert_eq!(client.asks("GET", "/up", &[("x-a", &long), ("x-b", &long)]).expects(431).fields.len(), 0);
    let many = [("x-many", "1"); 150];
    assert_eq!(client.asks("GET", "/up", &many).expects(431).reason(), "bad_request");
    gateway.waits_for("http2_streams_active", 0.0);
    let refused = gateway.metric("http_requests_total{method=\"OTHER\",code=\"431\"}");
    assert_eq!(refused, 2.0, "both are counted");
    until_true("both are logged", || gateway.log_lines().iter().filter(|line| line["status"] == 431).count() == 2);
    assert_eq!(client.gets("/fixed").expects(200).text(), "fixed", "the connection goes on");
    gateway.stop();
}

on_both_drivers![
    a_connection_without_a_stream_is_idle,
    a_slow_client_pauses_its_origin_and_no_other_stream,
    a_slow_endpoint_pauses_its_client_and_no_other_stream,
    streams_in_flight_are_finished_on_shutdown,
    reloads_cost_no_stream,
    a_removed_listener_refuses_streams,
    connections_that_rest_are_closed_in_order,
    answers_of_the_gateway_itself_are_told,
];
