//! The life of a client's connection: RFC 9112 section 9, and the timeouts of a listener.

use super::endpoint::Endpoint;
use super::gateway::Gateway;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::wait::{now_ms, until_true};

/// Item 34, RFC 9112 section 9.3.2: pipelined requests are answered in their order, one after the other upstream.
fn pipelined_requests_are_answered_in_order(io: Io) {
    let origin = Origin::echo();
    let gateway = Plan::to(io, &[origin.address()])
        .route("name: local, match: { path: /local }, respond: { status: 200, body: local }")
        .start();
    let mut client = gateway.client();
    let mut all = String::new();
    for number in 0..50 {
        all.push_str(&format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"));
        all.push_str(&format!("POST /sized/{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"));
        all.push_str(&format!(
            "POST /chunked/{number} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
        ));
        all.push_str("GET /local HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    client.sends(all);
    for number in 0..50 {
        assert_eq!(client.expects(200).text(), format!("GET /{number} HTTP/1.1"));
        assert_eq!(client.expects(200).text(), format!("POST /sized/{number} HTTP/1.1"));
        assert_eq!(client.expects(200).text(), format!("POST /chunked/{number} HTTP/1.1"));
        assert_eq!(client.expects(200).text(), "local");
    }
    assert!(client.is_silent());
    gateway.stop();
}

/// Item 35, RFC 9112 section 9.6: `close` is honoured and announced; what comes behind it is not a request.
fn a_client_that_says_close_gets_one_answer(io: Io) {
    let origin = Origin::echo();
    let gateway = Plan::to(io, &[origin.address()]).start();
    let mut client = gateway.client();
    client.sends(
        "GET /last HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Close\r\n\r\nGET /never HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    let answer = client.expects(200);
    assert!(answer.announces_close(), "{answer}");
    client.reads_to_end();
    gateway.waits_for("upstream_connections_idle", 1.0);
    assert_eq!(origin.requests(), 1);
    gateway.stop();
}

/// Item 36, RFC 9112 section 9.3: a 1.0 client keeps its connection if it asks for that, and is told so.
fn a_client_of_1_0_keeps_its_connection_only_when_it_asks(io: Io) {
    let origin = Origin::echo();
    let gateway = Plan::to(io, &[origin.address()]).start();
    let mut client = gateway.client();
    for path in ["/a", "/b"] {
        client.sends(format!("GET {path} HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
        let answer = client.expects(200);
        assert_eq!(
            (answer.text(), answer.field("connection")),
            (format!("GET {path} HTTP/1.1").as_str(), Some("keep-alive"))
        );
    }
    client.sends("GET /c HTTP/1.0\r\n\r\n");
    assert!(client.expects(200).announces_close());
    client.sees_end();
    gateway.stop();
}

/// Item 26, RFC 9112 section 6.1: a 1.0 client knows no chunks, so its body ends with the connection.
fn chunks_become_a_plain_body_for_a_client_of_1_0(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).start();
    let mut client = gateway.client();
    client.sends("GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let mut upstream = endpoint.accepts();
    assert_eq!(
        upstream.expects("GET /x").field("host"),
        Some(endpoint.address().to_string().as_str()),
        "9112 section 3.2"
    );
    upstream.replies("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\nX-T: 1\r\n\r\n");
    let answer = client.expects_head(200);
    assert!(answer.announces_close() && answer.field("transfer-encoding").is_none(), "{answer}");
    assert_eq!(client.reads_to_end().0, b"hello");
    gateway.stop();
}

/// Item 37, RFC 9112 section 9.6: an answer survives although the client goes on sending, for the close is a lingering one.
fn an_answer_survives_what_is_sent_behind_it(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()])
        .route("name: local, match: { path: /local }, respond: { status: 200, body: local }")
        .start();
    for _ in 0..20 {
        let mut client = gateway.client();
        client.sends("BAD\r\n\r\n");
        drop(client.try_send(vec![b'x'; 256 << 10]));
        assert!(client.expects(400).announces_close());
        let mut client = gateway.client();
        client.sends("POST /local HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n");
        drop(client.try_send(vec![b'x'; 500_000]));
        let answer = client.expects(200);
        assert_eq!(answer.text(), "local");
    }
    gateway.stop();
}

/// Item 33, RFC 9112 section 9.3: a body that was not read is never taken for the next request.
fn an_unread_body_is_never_the_next_request(io: Io) {
    let gateway =
        Plan::bare(io).route("name: local, match: { path: /local }, respond: { status: 200, body: local }").start();
    let smuggled = "GET /local HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut client = gateway.client();
    // The whole body is there: it is passed over.
    client.sends(format!("POST /local HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{smuggled}", smuggled.len()));
    client.expects(200);
    client.asks("/nowhere");
    client.expects(404);
    // Not all of it is there, or its end is not known: the connection ends.
    for head in [
        format!("POST /local HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", smuggled.len() + 1),
        "POST /local HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
    ] {
        let mut client = gateway.client();
        client.sends(format!("{head}{smuggled}"));
        let answer = client.expects(200);
        assert!(answer.announces_close(), "{answer}");
        client.half_closes();
        assert_eq!(client.reads_to_end().0, b"");
    }
    gateway.stop();
}

/// F22: the time of a head counts from its first byte, and a byte now and then buys none.
fn a_head_that_drips_is_answered_with_408(io: Io) {
    let gateway = Plan::bare(io).limits("header_timeout: 300ms").start();
    let mut client = gateway.client();
    let began_ms = now_ms();
    client.sends("GET / HTTP/1.1\r\nHost: a\r\nX: ");
    client.stream().set_read_timeout(Some(std::time::Duration::from_millis(20))).expect("a positive time");
    // Drips until there is something to read.
    while client.is_silent() {
        drop(client.try_send("x"));
        drop(client.stream().peek(&mut [0]));
    }
    client.stream().set_read_timeout(Some(super::wait::PATIENCE)).expect("a positive time");
    let answer = client.expects(408);
    let took_ms = now_ms() - began_ms;
    assert!((250..3_000).contains(&took_ms), "{took_ms} ms");
    assert_eq!(answer.reason(), "client_header_timeout");
    assert!(answer.announces_close());
    gateway.waits_for("gateway_rejected_requests_total{reason=\"client_header_timeout\"}", 1.0);
    gateway.stop();
}

/// F22, scaled down: many slow heads at once, and a new client is served as ever.
fn slow_clients_do_not_hold_up_others(io: Io) {
    let origin = Origin::echo();
    let gateway = Plan::to(io, &[origin.address()]).limits("header_timeout: 1s").start();
    let begins = |_| {
        let mut client = gateway.client();
        client.sends("GET / HTTP/1.1\r\nHost: a\r\nX: ");
        client
    };
    let slow: Vec<_> = (0..200).map(begins).collect();
    let mut client = gateway.client();
    for _ in 0..20 {
        client.asks("/fast");
        client.expects(200);
    }
    for mut client in slow {
        client.expects(408);
    }
    gateway.stop();
}

/// B2: a connection may rest between requests for the idle time; one that never asked for anything has less.
fn resting_connections_are_closed_in_time(io: Io) {
    let origin = Origin::echo();
    let gateway = Plan::to(io, &[origin.address()]).limits("idle_timeout: 1500ms, header_timeout: 1s").start();
    let (mut mute, mut client, began_ms) = (gateway.client(), gateway.client(), now_ms());
    client.asks("/a");
    client.expects(200);
    mute.sees_end();
    client.sees_end();
    assert!((1_300..4_500).contains(&(now_ms() - began_ms)));
    gateway.waits_for("net_connections_active", 0.0);
    gateway.stop();
}

/// A parked connection (no buffer, no task state) wakes up with its first byte.
fn a_resting_connection_serves_its_next_request(io: Io) {
    let origin = Origin::echo();
    let gateway = Plan::to(io, &[origin.address()]).workers("1").start();
    let mut clients: Vec<_> = (0..400).map(|_| gateway.client()).collect();
    for path in ["/a", "/b"] {
        for client in &mut clients {
            client.asks(path);
            assert_eq!(client.expects(200).text(), format!("GET {path} HTTP/1.1"));
        }
        // Most of them are parked by then: the rest keep a buffer each, and no more than the bound do.
        until_true("parked connections gave their buffers back", || gateway.metric_sum("worker_buffers") <= 257.0);
        gateway.waits_for("net_connections_idle", 400.0);
    }
    gateway.stop();
}

/// Connects so often while the gateway is stopped, so that it finds all of these at once, and waits until they were turned away.
fn bursts(gateway: &Gateway, many: u32) {
    let rejected = "net_connections_rejected_total{cap=\"max_connections\"}";
    let before = gateway.metric(rejected);
    gateway.signal(libc::SIGSTOP);
    for _ in 0..many {
        drop(gateway.client());
    }
    gateway.signal(libc::SIGCONT);
    gateway.waits_for(rejected, before + f64::from(many));
}

/// Those beyond the cap cost no memory, however many come at once.
fn a_burst_beyond_the_cap_takes_no_memory(io: Io) {
    let room = std::fs::read_to_string("/proc/sys/net/core/somaxconn").expect("a setting of Linux");
    let many = room.trim().parse::<u32>().expect("a number").min(4_000) / 2;
    let plan = Plan::bare(io).workers("1").route("name: all, respond: { status: 200, body: hello }");
    let gateway = plan.runtime("max_connections: 1").start();
    let mut held = gateway.client();
    held.asks("/in");
    held.expects(200);
    bursts(&gateway, many.min(50));
    let before = gateway.process.resident_bytes();
    bursts(&gateway, many);
    let grown = gateway.process.resident_bytes().saturating_sub(before);
    assert!(grown < 3 << 20, "{grown} bytes more for {many} connections");
    held.asks("/in");
    held.expects(200);
    gateway.stop();
}

/// The cap of connections: one more is told so and closed, and counted; a place that is given up is given on.
fn connections_beyond_the_cap_are_turned_away(io: Io) {
    let origin = Origin::echo();
    let gateway = Plan::to(io, &[origin.address()]).runtime("max_connections: 2").start();
    let (mut one, mut two) = (gateway.client(), gateway.client());
    for client in [&mut one, &mut two] {
        client.asks("/in");
        client.expects(200);
    }
    let mut three = gateway.client();
    let answer = three.expects(503);
    assert!(answer.announces_close(), "{answer}");
    gateway.waits_for("net_connections_rejected_total{cap=\"max_connections\"}", 1.0);
    one.closes();
    gateway.waits_for("net_connections_active", 1.0);
    let mut four = gateway.client();
    four.asks("/in");
    four.expects(200);
    assert!((gateway.metric("max_connections") - 2.0).abs() < 1e-9);
    gateway.stop();
}

on_both_drivers![
    pipelined_requests_are_answered_in_order,
    a_client_that_says_close_gets_one_answer,
    a_client_of_1_0_keeps_its_connection_only_when_it_asks,
    chunks_become_a_plain_body_for_a_client_of_1_0,
    an_answer_survives_what_is_sent_behind_it,
    an_unread_body_is_never_the_next_request,
    a_head_that_drips_is_answered_with_408,
    slow_clients_do_not_hold_up_others,
    resting_connections_are_closed_in_time,
    a_resting_connection_serves_its_next_request,
    a_burst_beyond_the_cap_takes_no_memory,
    connections_beyond_the_cap_are_turned_away,
];
