//! Item 54, RFC 9110 section 7.8 and F44: connections that are switched to another protocol.

use std::sync::Arc;

use super::client::Client;
use super::endpoint::{Accepted, Endpoint};
use super::gateway::Gateway;
use super::plan::{Io, Plan};
use super::site::Site;
use super::wait::{until, until_true};
use super::wire::End;

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A gateway before one endpoint.
fn one(io: Io, plan: impl FnOnce(Plan) -> Plan) -> (Endpoint, Gateway) {
    let endpoint = Endpoint::listens();
    let gateway = plan(Plan::to(io, &[endpoint.address()])).start();
    (endpoint, gateway)
}

/// A client and an endpoint with a tunnel between them.
fn switched(gateway: &Gateway, endpoint: &Endpoint) -> (Client, Accepted) {
    let mut client = gateway.client();
    client.sends(ASK);
    let mut accepted = endpoint.accepts();
    accepted.expects("GET /chat");
    accepted.replies(SWITCH);
    client.expects_interim(101);
    (client, accepted)
}

/// Item 54: what the client asks for is asked for anew, and only the endpoint's 101 switches.
fn a_switch_is_relayed_and_bytes_pass_both_ways(io: Io) {
    let (endpoint, gateway) = one(io, |plan| plan);
    let mut client = gateway.client();
    client.sends(ASK);
    let mut accepted = endpoint.accepts();
    let seen = accepted.expects("GET /chat");
    assert_eq!((seen.field("upgrade"), seen.field("connection")), (Some("websocket"), Some("Upgrade")));
    assert_eq!(seen.field("sec-websocket-version"), Some("13"));
    accepted.replies(SWITCH);
    let switch = client.expects_interim(101);
    assert_eq!((switch.field("upgrade"), switch.field("connection")), (Some("websocket"), Some("Upgrade")));
    assert_eq!(switch.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!((switch.field("content-length"), switch.field("transfer-encoding")), (None, None));
    for round in 0..3 {
        client.sends(format!("up {round}"));
        assert_eq!(accepted.reads(4), format!("up {round}").into_bytes());
        accepted.sends(format!("down {round}"));
        assert_eq!(client.reads(6), format!("down {round}").into_bytes());
    }
    assert_eq!((gateway.metric("tunnels_active"), gateway.metric("tunnels_total")), (1.0, 1.0));
    client.half_closes();
    accepted.sees_end();
    accepted.sends("after the end");
    accepted.closes();
    assert_eq!(client.reads_to_end(), (b"after the end".to_vec(), End::Closed));
    let line = gateway.log_of("/chat");
    assert_eq!((&line["status"], &line["reason"]), (&101.into(), &serde_json::Value::Null), "{line}");
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&12.into(), &31.into()), "{line}");
    gateway.waits_for("tunnels_active", 0.0);
    gateway.stop();
}

/// RFC 9110 section 7.8: an endpoint that ends its direction first is still told what the client says.
fn an_endpoint_may_end_its_direction_first(io: Io) {
    let (endpoint, gateway) = one(io, |plan| plan);
    let (mut client, mut accepted) = switched(&gateway, &endpoint);
    accepted.sends("last words");
    accepted.half_closes();
    assert_eq!(client.reads_to_end(), (b"last words".to_vec(), End::Closed));
    client.sends("still here");
    assert_eq!(accepted.reads(10), b"still here");
    client.sends("and done").half_closes();
    assert_eq!(accepted.reads_to_end().0, b"and done");
    gateway.waits_for("tunnels_active", 0.0);
    gateway.stop();
}

/// RFC 9110 section 7.8: with an expectation, 100 goes before 101.
fn an_expectation_is_met_before_the_switch(io: Io) {
    let (endpoint, gateway) = one(io, |plan| plan);
    let mut client = gateway.client();
    client.sends(ASK.replace("Upgrade: websocket", "Expect: 100-continue\r\nUpgrade: websocket"));
    let mut accepted = endpoint.accepts();
    accepted.expects("GET /chat");
    accepted.replies(format!("HTTP/1.1 100 Continue\r\n\r\n{SWITCH}hello"));
    client.expects_interim(100);
    client.expects_interim(101);
    assert_eq!(client.reads(5), b"hello");
    client.sends("hi");
    assert_eq!(accepted.reads(2), b"hi");
    drop((client, accepted));
    gateway.waits_for("tunnels_active", 0.0);
    gateway.stop();
}

/// F44: what a client sends before the answer waits for it, and what comes with the 101 is not lost.
fn early_bytes_of_either_side_are_delivered_behind_the_switch(io: Io) {
    let (endpoint, gateway) = one(io, |plan| plan);
    let mut client = gateway.client();
    client.sends(format!("{ASK}early"));
    let mut accepted = endpoint.accepts();
    accepted.expects("GET /chat");
    assert!(accepted.is_silent(), "nothing follows the request before the switch");
    accepted.replies(format!("{SWITCH}hello"));
    client.expects_interim(101);
    assert_eq!(client.reads(5), b"hello");
    assert_eq!(accepted.reads(5), b"early");
    drop((client, accepted));
    gateway.stop();
}

/// F44, RUSTSEC-2026-0033: without a switch, what the client sent early is its next request.
fn without_a_switch_early_bytes_are_the_next_request(io: Io) {
    let (endpoint, gateway) = one(io, |plan| plan);
    let mut client = gateway.client();
    client.sends(format!("{ASK}GET /next HTTP/1.1\r\nHost: a.example\r\n\r\n"));
    let mut accepted = endpoint.accepts();
    accepted.expects("GET /chat");
    accepted.replies("HTTP/1.1 403 Forbidden\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nno");
    let refused = client.expects(403);
    assert_eq!((refused.text(), refused.field("upgrade")), ("no", None));
    accepted.expects("GET /next");
    accepted.replies_with("next");
    assert_eq!(client.expects(200).text(), "next");
    gateway.stop();
}

/// Item 54: 101 only for a protocol the client asked for, and only if the operator lets it pass.
fn an_unasked_switch_is_a_502(io: Io) {
    for (ask, switch) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", SWITCH.to_owned()),
        (ASK, SWITCH.replace("Upgrade: websocket", "Upgrade: other")),
        (ASK, SWITCH.replace("Upgrade: websocket", "Upgrade: websocket, other")),
        (ASK, SWITCH.replace("Connection: Upgrade\r\n", "")),
        ("GET / HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", SWITCH.to_owned()),
    ] {
        let (endpoint, gateway) = one(io, |plan| plan);
        let mut client = gateway.client();
        client.sends(ask);
        let mut accepted = endpoint.accepts();
        accepted.expects("GET /");
        accepted.replies(switch);
        assert_eq!(client.expects(502).reason(), "unasked_switch", "{ask}");
        gateway.stop();
    }
}

/// Items 54 and 85: nothing is asked for that a route does not let pass, h2c never, and the request is served as it is.
fn other_protocols_are_not_asked_for(io: Io) {
    let body = "POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\nx";
    let cases = [
        ("upgrades: [websocket, Chat/1]", ASK.replace("Upgrade: websocket", "Upgrade: h2c"), None),
        ("upgrades: [websocket, Chat/1]", ASK.replace("Upgrade: websocket", "Upgrade: h2c, chat/1"), Some("chat/1")),
        ("upgrades: [websocket]", ASK.replace("Upgrade: websocket", "Upgrade: chat/1"), None),
        ("upgrades: []", ASK.to_owned(), None),
        ("upgrades: [websocket]", body.to_owned(), None),
    ];
    for (upgrades, ask, asked) in cases {
        let (endpoint, gateway) = one(io, |plan| plan.defaults(upgrades));
        let mut client = gateway.client();
        client.sends(&ask);
        let mut accepted = endpoint.accepts();
        let seen = accepted.expects("");
        assert_eq!(seen.field("upgrade").map(str::to_ascii_lowercase).as_deref(), asked, "{ask}");
        assert_eq!(seen.field("connection"), asked.map(|_| "Upgrade"), "{ask}");
        accepted.replies_with("as it is");
        assert_eq!(client.expects(200).text(), "as it is");
        gateway.stop();
    }
}

/// F44: an endpoint that dies takes its side down; what it had said is delivered, and one that breaks its connection leaves no
/// client to think that this was the end: it is told by a reset, by one of TLS without the word for an end, and so is the log.
fn an_endpoint_that_dies_ends_the_tunnel(io: Io) {
    let (endpoint, gateway) = one(io, |plan| plan);
    let (mut client, mut accepted) = switched(&gateway, &endpoint);
    accepted.sends("last words");
    accepted.closes();
    assert_eq!(client.reads(10), b"last words");
    client.sees_end();
    client.closes();
    let (mut client, accepted) = switched(&gateway, &endpoint);
    accepted.resets();
    assert_eq!(client.sees_break(), End::Reset);
    gateway.waits_for("tunnels_active", 0.0);
    let line = until("its line", || gateway.log_lines().into_iter().find(|line| line["reason"] == "tunnel_broken"));
    assert_eq!((&line["status"], &line["fault"], &line["stage"]), (&101.into(), &"upstream".into(), &"tunnel".into()));
    for family in ["http_responses_cut_total", "upstream_errors_total"] {
        assert_eq!(gateway.metric(&format!("{family}{{reason=\"tunnel_broken\"}}")), 1.0);
        assert_eq!(gateway.metric_sum(family), 1.0, "the other tunnel ended well");
    }
    gateway.stop();
    let (site, endpoint) = (Site::new(), Endpoint::listens());
    let config = Arc::new(site.believer());
    let (_, gateway) = site.start(Plan::to(io, &[endpoint.address()]));
    let mut client = Client::secured(gateway.address(), &config, "a.example");
    client.sends(ASK);
    let mut accepted = endpoint.accepts();
    accepted.expects("GET /chat");
    accepted.replies(SWITCH);
    client.expects_interim(101);
    accepted.resets();
    assert_eq!(client.sees_break(), End::Reset);
    gateway.stop();
}

/// F44: what came by TLS is delivered although nobody said that nothing more comes (RFC 8446 section 6.1).
fn a_cut_of_tls_delivers_what_came_before_it(io: Io) {
    let (site, endpoint) = (Site::new(), Endpoint::listens());
    let config = Arc::new(site.believer());
    let (_, gateway) = site.start(Plan::to(io, &[endpoint.address()]));
    let mut client = Client::secured(gateway.address(), &config, "a.example");
    client.sends(ASK);
    let mut accepted = endpoint.accepts();
    accepted.expects("GET /chat");
    accepted.replies(SWITCH);
    client.expects_interim(101);
    let words = "last words".repeat(10_000);
    client.sends(&words).half_closes_raw();
    assert!(accepted.reads(words.len()) == words.as_bytes(), "all of them");
    accepted.sees_break();
    drop((client, accepted));
    gateway.waits_for("tunnels_active", 0.0);
    gateway.stop();
}

/// A client that dies takes the endpoint's side down at once.
fn a_client_that_dies_ends_the_tunnel(io: Io) {
    let (endpoint, gateway) = one(io, |plan| plan);
    let (client, mut accepted) = switched(&gateway, &endpoint);
    client.resets();
    assert_eq!(accepted.sees_break(), End::Reset);
    gateway.waits_for("tunnels_active", 0.0);
    let line = gateway.log_of("/chat");
    assert_eq!((&line["status"], &line["reason"]), (&101.into(), &"client_abort".into()), "{line}");
    assert_eq!(gateway.metric("http_responses_cut_total{reason=\"client_abort\"}"), 1.0);
    gateway.stop();
}

/// F44: a tunnel in which nothing moves is closed in time, and one in which something does is not.
fn a_tunnel_that_rests_too_long_is_closed(io: Io) {
    let (endpoint, gateway) = one(io, |plan| plan.timeouts("tunnel_idle: 2s"));
    let (mut client, mut accepted) = switched(&gateway, &endpoint);
    let began = ringgate::clock::now_ns();
    until_true("more than twice the bound in small steps", || {
        client.sends("x");
        accepted.reads(1);
        ringgate::clock::now_ns() - began > 5_000_000_000
    });
    client.sees_end();
    accepted.sees_end();
    assert_eq!(gateway.log_of("/chat")["reason"], "tunnel_idle");
    drop((client, accepted));
    gateway.stop();
}

/// I2: a reload leaves tunnels alone, those of a route that is gone among them.
fn tunnels_survive_reloads(io: Io) {
    let endpoint = Endpoint::listens();
    let plan = Plan::to(io, &[endpoint.address()]);
    let gateway = plan.start();
    let (mut client, mut accepted) = switched(&gateway, &endpoint);
    gateway.adopts(&Plan::bare(io).yaml());
    gateway.adopts(&plan.yaml());
    client.sends("still");
    assert_eq!(accepted.reads(5), b"still");
    accepted.sends("here");
    assert_eq!(client.reads(4), b"here");
    drop((client, accepted));
    gateway.stop();
}

/// I3: a drain lets tunnels go on until its time is over.
fn a_drain_waits_for_tunnels_and_then_closes_them(io: Io) {
    let (endpoint, mut gateway) = one(io, |plan| plan.runtime("shutdown_grace: 2s"));
    let (mut client, mut accepted) = switched(&gateway, &endpoint);
    gateway.signal(libc::SIGTERM);
    gateway.notice("shutting down gracefully");
    client.sends("still");
    assert_eq!(accepted.reads(5), b"still");
    client.sees_break();
    accepted.sees_break();
    assert!(gateway.process.exit_code().is_some());
}

/// Backpressure: a side that does not read stops the other, and nothing is lost when it does.
fn a_slow_reader_stops_the_sender_and_loses_nothing(io: Io) {
    const BYTES: usize = 20_000_000;
    let (endpoint, gateway) = one(io, |plan| plan);
    let (mut client, mut accepted) = switched(&gateway, &endpoint);
    let sender = super::wait::thread("sender", move || {
        accepted.sends(vec![b'x'; BYTES]);
        accepted
    });
    let before = gateway.process.resident_bytes();
    until_true("the kernel's buffers are full", || gateway.metric("worker_buffers") >= 1.0);
    assert!(gateway.process.resident_bytes() < before + (8 << 20), "a tunnel buffers next to nothing");
    assert_eq!(client.reads(BYTES).len(), BYTES);
    sender.join().expect("everything was sent").closes();
    client.sees_end();
    client.closes();
    gateway.stop();
}

on_both_drivers![
    an_endpoint_may_end_its_direction_first,
    an_expectation_is_met_before_the_switch,
    a_switch_is_relayed_and_bytes_pass_both_ways,
    early_bytes_of_either_side_are_delivered_behind_the_switch,
    without_a_switch_early_bytes_are_the_next_request,
    an_unasked_switch_is_a_502,
    other_protocols_are_not_asked_for,
    an_endpoint_that_dies_ends_the_tunnel,
    a_cut_of_tls_delivers_what_came_before_it,
    a_client_that_dies_ends_the_tunnel,
    a_tunnel_that_rests_too_long_is_closed,
    tunnels_survive_reloads,
    a_drain_waits_for_tunnels_and_then_closes_them,
    a_slow_reader_stops_the_sender_and_loses_nothing,
];
