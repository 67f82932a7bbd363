//! Clients that fail: F23 to F28 of the fault table.

use std::time::Duration;

use h2::Reason;

use super::endpoint::Endpoint;
use super::h2_client::H2Client;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::wait::{now_ms, until_true};

/// What does not move for so long waits for a window.
const STUCK: Duration = Duration::from_millis(200);

/// F23: a body below the minimum rate is a 408, and the request upstream is aborted.
fn a_body_that_drips_is_answered_with_408(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).limits("body_min_rate: { rate: 1KiB, grace: 200ms }").start();
    for framing in ["Content-Length: 1000", "Transfer-Encoding: chunked"] {
        let mut client = gateway.client();
        client.sends(format!("POST /drip HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n3\r\nabc\r\n"));
        let mut upstream = endpoint.accepts();
        upstream.expects_head("POST /drip");
        let answer = client.expects(408);
        assert_eq!(answer.reason(), "client_body_timeout");
        assert!(answer.announces_close());
        let (rest, _) = upstream.reads_to_end();
        assert!(!rest.ends_with(b"0\r\n\r\n"));
        client.half_closes().reads_to_end();
    }
    gateway.stop();
}

/// F24, scaled down: clients that read nothing hold little memory, pause the endpoint, and are cut off in time.
fn slow_readers_cost_little_and_are_cut_off(io: Io) {
    let origin = Origin::serving(|mut wire| {
        while wire.has_bytes() {
            wire.reads_head();
            wire.sends("HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n");
            let part = vec![b'x'; 1 << 20];
            for _ in 0..100 {
                if wire.try_send(&part).is_err() {
                    return;
                }
            }
        }
    });
    let gateway = Plan::to(io, &[origin.address()]).limits("write_timeout: 1s").start();
    let before = gateway.process.resident_bytes();
    let mut clients: Vec<_> = (0..30).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.holds_little();
        client.asks("/large");
    }
    let mut most = 0;
    until_true("every slow reader is cut off", || {
        most = most.max(gateway.process.resident_bytes().saturating_sub(before));
        gateway.metric("http_requests_active") < 1.0
            && gateway.metric("http_requests_total{method=\"GET\",code=\"200\"}") > 29.0
    });
    assert!(most < 32 << 20, "{most} bytes more for 30 slow readers of 100 MB each");
    for client in &mut clients {
        let (part, _) = client.reads_to_end();
        assert!(part.len() < 100 << 20, "not all of it came");
    }
    assert_eq!(gateway.log_of("/large")["reason"], "client_write_timeout");
    gateway.stop();
}

/// F26 and B12: a client that leaves, by a close or a reset, ends the work upstream within a second.
fn a_client_that_leaves_ends_the_work_upstream(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).start();
    for resets in [false, true] {
        for sends_body in [false, true] {
            let path = format!("/left-{resets}-{sends_body}");
            let mut client = gateway.client();
            let (method, framing) = if sends_body { ("POST", "Content-Length: 10\r\n") } else { ("GET", "") };
            client.sends(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{framing}\r\n"));
            let mut upstream = endpoint.accepts();
            upstream.expects_head(&format!("{method} {path}"));
            let began_ms = now_ms();
            if resets {
                client.resets();
            } else {
                client.closes();
            }
            upstream.reads_to_end();
            assert!(now_ms() - began_ms < 2_000, "{path}: {} ms", now_ms() - began_ms);
            let line = gateway.log_of(&path);
            assert_eq!((&line["status"], &line["reason"]), (&499.into(), &"client_abort".into()), "{line}");
        }
    }
    gateway.waits_for("client_aborts_total", 4.0);
    gateway.waits_for("upstream_connections_idle", 0.0);
    gateway.stop();
}

/// F26: a client that leaves in the middle of its response ends the work upstream too.
fn a_client_that_leaves_its_response_ends_the_work_upstream(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).start();
    let mut client = gateway.client();
    client.asks("/left");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /left");
    upstream.replies("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.expects_head(200);
    client.resets();
    // It notices at the next write.
    while upstream.try_send("1\r\nx\r\n").is_ok() {}
    gateway.waits_for("client_aborts_total", 1.0);
    gateway.stop();
}

/// F26: a client that takes its upload back while the endpoint takes nothing is noticed, and the endpoint not blamed.
fn a_client_that_leaves_an_upload_that_waits_is_no_fault_of_its_endpoint(io: Io) {
    let endpoint = Endpoint::listens();
    let breaker = format!("endpoints: [{{ url: 'http://{}' }}], breaker: {{ consecutive: 1 }}", endpoint.address());
    let gateway = Plan::bare(io)
        .speaks_h2()
        .cluster_as("app", &breaker)
        .route("name: all, cluster: app, body_limit: 1GiB")
        .start();
    let part = vec![b'x'; 1 << 20];
    let mut streams = H2Client::to(gateway.address());
    for is_h2 in [false, true] {
        let path = format!("/waits-{is_h2}");
        let leave: Box<dyn FnOnce()> = if is_h2 {
            let mut upload = streams.begins("POST", &path, &[("content-length", "1000000000")]);
            while upload.sends_for(&part, STUCK) == part.len() {}
            Box::new(move || upload.resets(Reason::CANCEL))
        } else {
            let mut client = gateway.client();
            client.sends(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n"));
            client.stream().set_write_timeout(Some(STUCK)).expect("a positive time");
            while client.try_send(&part).is_ok() {}
            Box::new(move || client.resets())
        };
        let mut upstream = endpoint.accepts();
        upstream.expects_head(&format!("POST {path}"));
        let began_ms = now_ms();
        leave();
        let line = gateway.log_of(&path);
        assert!(now_ms() - began_ms < 1_000, "{path}: {} ms", now_ms() - began_ms);
        assert_eq!((&line["status"], &line["reason"]), (&499.into(), &"client_abort".into()), "{line}");
        upstream.reads_to_end();
    }
    assert_eq!(gateway.metric_sum("upstream_errors_total"), 0.0, "the endpoint is not to blame");
    let mut client = gateway.client();
    client.asks("/after");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /after");
    upstream.replies_with("no breaker is open");
    client.expects(200);
    gateway.stop();
}

/// F27: a client that ends its direction behind a whole request still gets its response.
fn a_client_that_half_closes_gets_its_response(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).start();
    for (version, waits) in [("1.1", false), ("1.0", false), ("1.1", true), ("1.0", true)] {
        let mut client = gateway.client();
        client.sends(format!("GET /half HTTP/{version}\r\nHost: a\r\n\r\n")).half_closes();
        let mut upstream = endpoint.accepts();
        upstream.expects("GET /half");
        if waits {
            // Long enough for the gateway to look at its client more than once.
            assert!(upstream.is_silent_for(Duration::from_millis(700)), "the request is not given up");
        }
        upstream.replies("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nhere");
        let answer = client.expects(200);
        assert_eq!(answer.text(), "here");
        if version == "1.0" {
            assert_eq!(answer.interims.len(), 0, "RFC 9110 section 15.2: none to a 1.0 client");
        }
        client.sees_end();
    }
    gateway.stop();
}

/// F27 with item 52: and when the endpoint fails it, the failure is told, whatever was sent to see if it is there.
fn a_client_that_half_closed_is_told_of_a_failure(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).timeouts("response_header: 600ms").start();
    let mut client = gateway.client();
    client.sends("GET /half HTTP/1.1\r\nHost: a\r\n\r\n").half_closes();
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /half");
    let answer = client.expects(504);
    assert_eq!(answer.reason(), "upstream_timeout");
    assert_eq!(gateway.log_of("/half")["status"], 504);
    gateway.stop();
}

/// Item 29, RFC 9112 section 8: a request whose body ends early is incomplete and is not completed upstream.
fn a_body_that_ends_early_is_never_completed(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).start();
    for (framing, part) in [("Content-Length: 10", "12345"), ("Transfer-Encoding: chunked", "5\r\n12345\r\n")] {
        let mut client = gateway.client();
        client.sends(format!("POST /part HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{part}"));
        let mut upstream = endpoint.accepts();
        upstream.expects_head("POST /part");
        client.half_closes();
        let (seen, _) = upstream.reads_to_end();
        assert!(String::from_utf8_lossy(&seen).contains("12345") && !seen.ends_with(b"0\r\n\r\n"));
        client.reads_to_end();
    }
    gateway.stop();
}

/// F28: of either protocol, with a request or without, whole or refused: a connection that was accepted was used, or counts as
/// unused.
fn connections_that_leave_early_are_counted(io: Io) {
    let origin = Origin::echo();
    let gateway = Plan::to(io, &[origin.address()]).speaks_h2().limits("header_timeout: 800ms").start();
    for _ in 0..3 {
        gateway.client().asks("/served").expects(200);
        H2Client::to(gateway.address()).gets("/served").expects(200);
    }
    let mut refused = gateway.client();
    refused.sends("GET / HTTP/1.1\r\nHost : a\r\n\r\n");
    refused.expects(400);
    let mut late = gateway.client();
    late.sends("GET / HT");
    late.expects(408);
    assert_eq!(gateway.metric("net_connections_unused_total"), 0.0);
    // Nothing at all, a part of a head, of a preface, and a whole preface.
    for bytes in [&b""[..], b"GET / HT", b"PRI * ", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"] {
        let mut leaving = gateway.client();
        leaving.sends(bytes);
        leaving.closes();
    }
    // One that says nothing is closed.
    gateway.client().sees_end();
    gateway.waits_for("net_connections_unused_total", 5.0);
    gateway.waits_for("net_connections_active", 0.0);
    let (accepted, requests) =
        (gateway.metric("net_connections_accepted_total"), gateway.metric_sum("http_requests_total"));
    assert_eq!((accepted, requests), (13.0, 8.0));
    gateway.stop();
}

/// F28, small: connections that are reset at once leave nothing behind, and no line for each of them in the log.
fn a_storm_of_resets_leaves_nothing_behind(io: Io) {
    let origin = Origin::echo();
    let gateway = Plan::to(io, &[origin.address()]).start();
    let mut client = gateway.client();
    client.asks("/before");
    client.expects(200);
    let before = gateway.process.descriptors();
    for number in 0..2_000 {
        let mut storm = gateway.client();
        if number % 2 == 0 {
            drop(storm.try_send("GET /x HTTP/1.1\r\nHo"));
        }
        storm.resets();
    }
    until_true("all of them are gone", || {
        gateway.metric("net_connections_active") < 2.0 && gateway.process.descriptors() <= before
    });
    client.asks("/after");
    client.expects(200);
    assert!(gateway.metric("net_connections_accepted_total") > 1_000.0);
    // One of them was served; some may still be on their way in.
    until_true("each of the others left early", || {
        let unused = gateway.metric("net_connections_unused_total");
        gateway.metric("net_connections_accepted_total") == 1.0 + unused
    });
    assert!(gateway.notices.all().len() < 20, "{}", gateway.notices.all().join("\n"));
    gateway.stop();
}

on_both_drivers![
    connections_that_leave_early_are_counted,
    a_body_that_drips_is_answered_with_408,
    slow_readers_cost_little_and_are_cut_off,
    a_client_that_leaves_ends_the_work_upstream,
    a_client_that_leaves_its_response_ends_the_work_upstream,
    a_client_that_leaves_an_upload_that_waits_is_no_fault_of_its_endpoint,
    a_client_that_half_closes_gets_its_response,
    a_client_that_half_closed_is_told_of_a_failure,
    a_body_that_ends_early_is_never_completed,
    a_storm_of_resets_leaves_nothing_behind,
];
