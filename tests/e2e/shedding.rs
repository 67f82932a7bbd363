//! Overload by memory (F35): near its limit the process takes on nothing new, instead of being killed with all it has.

use std::net::TcpStream;

use socket2::SockRef;

use super::client::Client;
use super::gate::Gate;
use super::gateway::Gateway;
use super::h2_client::H2Client;
use super::h2_origin::H2Origin;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::wait::until_true;
use super::wire::Wire;

/// Bytes of a body that nobody reads: more than the sockets of loopback hold.
const LENGTH: usize = 6 << 20;
/// Bytes of it that a client reads at once: what counts as moving.
const PIECE: usize = 16 << 10;
/// Requests at work whose end may free what is in use, as far as the gateway can know.
const HELD: u32 = 64;
/// The notice of a limit that is in use with nothing at work.
const IN_VAIN: &str = "the memory limit leaves little above what is in use with next to nothing at work, so nothing is refused because of that";

const REQUESTS: &str = "gateway_rejected_requests_total{reason=\"overloaded_memory\"}";
const CONNECTIONS: &str = "net_connections_rejected_total{cap=\"memory_limit\"}";

fn plan(io: Io, origin: &Origin, limit: &str) -> Plan {
    Plan::to(io, &[origin.address()]).workers("1").runtime(&format!("memory_limit: {limit}"))
}

/// A limit that leaves room for some buffers beside what is in use now.
fn limits(gateway: &Gateway, plan: impl Fn(&str) -> Plan) {
    let limit = gateway.process.held_bytes() + (12 << 20);
    gateway.adopts(&plan(&format!("{limit}B")).yaml());
    #[allow(clippy::cast_precision_loss, reason = "far fewer bytes than a float holds")]
    gateway.waits_for("memory_limit_bytes", limit as f64);
}

/// An endpoint with a large body at `/big`, and little elsewhere.
fn has_much_to_say() -> Origin {
    let body = "x".repeat(LENGTH);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n{body}").into_bytes();
    Origin::answering(move |request| match request.start.contains("/big") {
        true => answer.clone(),
        false => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nin".to_vec(),
    })
}

/// Asks for a body and does not read it; `None` when it is refused.
fn begins_to_read(gateway: &Gateway) -> Option<Wire> {
    let mut wire = Wire::new(TcpStream::connect(gateway.address()).ok()?);
    wire.try_send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n").ok()?;
    SockRef::from(wire.stream()).set_recv_buffer_size(64 << 10).ok()?;
    let head = wire.try_reads_head()?;
    (head.status() == 200).then_some(wire)
}

/// Clients that read nothing of large bodies fill the memory: who comes then is refused, the health check and the admin endpoint
/// are not, nobody who reads is cut off, and when they leave all are served again, by the same process.
fn what_would_not_fit_is_refused_until_there_is_room(io: Io) {
    let origin = has_much_to_say();
    let gateway = plan(io, &origin, "off").start();
    let mut kept = gateway.client();
    kept.asks("/small");
    kept.expects(200);
    limits(&gateway, |limit| plan(io, &origin, limit));
    // One that reads on, however little.
    let mut steady = begins_to_read(&gateway).expect("there is room");
    let (mut left, mut readers) = (LENGTH, Vec::new());
    let mut crowds = || {
        assert!(left > PIECE, "{} bytes with {} readers", gateway.process.held_bytes(), readers.len());
        readers.extend(begins_to_read(&gateway));
        left -= PIECE;
        assert!(steady.reads(PIECE).iter().all(|byte| *byte == b'x'));
        left
    };
    // What rests is given up while memory is short, which may be a moment.
    while !kept.asks("/health").expects(200).announces_close() {
        crowds();
    }
    until_true("requests are refused, or connections", || {
        crowds();
        gateway.metric(REQUESTS) + gateway.metric(CONNECTIONS) > 0.0
    });
    let notice = gateway.notice("memory is short");
    assert_eq!(notice["level"], "ERROR", "{notice}");
    let rest = crowds();
    assert!(steady.reads(rest).iter().all(|byte| *byte == b'x'), "whoever reads is served to the end");
    drop(readers);
    gateway.waits_for("memory_shedding", 0.0);
    gateway.client().asks("/small").expects(200);
    gateway.notice("memory is no longer short");
    gateway.stop();
}

/// A gateway without a limit, in front of an endpoint that keeps some requests until the gate opens.
fn gated(io: Io) -> (Gate, Origin, Gateway) {
    let gate = Gate::new();
    let origin = gate.origin("in");
    let gateway = plan(io, &origin, "off").start();
    (gate, origin, gateway)
}

/// Has requests at work, and then a limit well below what is in use.
fn falls_short(gateway: &Gateway, plan: impl Fn(&str) -> Plan) -> Vec<Client> {
    let mut held: Vec<_> = (0..HELD).map(|_| gateway.client()).collect();
    for client in &mut held {
        client.asks("/held");
    }
    until_true("all are at work", || gateway.metric("http_requests_active") >= f64::from(HELD));
    gateway.adopts(&plan(&format!("{}B", gateway.process.held_bytes() * 4 / 5)).yaml());
    gateway.waits_for("memory_shedding", 2.0);
    held
}

/// Far above the limit connections are refused as well, in words where words are understood; a limit that is lifted refuses
/// nobody.
fn far_above_the_limit_connections_are_refused(io: Io) {
    let (gate, origin, gateway) = gated(io);
    let mut held = falls_short(&gateway, |limit| plan(io, &origin, limit));
    let answer = gateway.client().expects(503);
    assert!(answer.announces_close() && answer.text().contains("memory"), "{answer}");
    gateway.waits_for(CONNECTIONS, 1.0);
    gateway.adopts(&plan(io, &origin, "off").yaml());
    gateway.waits_for("memory_shedding", 0.0);
    Client::to(gateway.address()).asks("/in").expects(200);
    gate.opens();
    held.iter_mut().for_each(|client| drop(client.expects(200)));
    gateway.stop();
}

/// Where what is in flight alone is too much, clients that take nothing of it are let go, long before `write_timeout`: otherwise
/// the kernel would end all of it.
fn clients_that_take_nothing_are_let_go(io: Io) {
    let origin = has_much_to_say();
    let gateway = plan(io, &origin, "off").start();
    let readers: Vec<_> = (0..HELD).map(|_| begins_to_read(&gateway).expect("there is room")).collect();
    gateway.adopts(&plan(io, &origin, &format!("{}B", gateway.process.held_bytes())).yaml());
    let line = gateway.log_of("/big");
    assert_eq!((&line["status"], &line["reason"]), (&200.into(), &"client_write_timeout".into()), "{line}");
    gateway.waits_for("memory_shedding", 0.0);
    gateway.client().asks("/small").expects(200);
    drop(readers);
    gateway.stop();
}

/// A request of a connection that is open is told why.
fn a_request_on_an_open_connection_is_refused(io: Io) {
    let (gate, origin, gateway) = gated(io);
    let mut kept: Vec<_> = (0..2).map(|_| gateway.client()).collect();
    for client in &mut kept {
        client.asks("/in").expects(200);
    }
    let held = falls_short(&gateway, |limit| plan(io, &origin, limit));
    let answer = kept[0].asks("/in").expects(503);
    assert_eq!(answer.reason(), "overloaded_memory");
    assert!(answer.announces_close() && answer.field("retry-after").is_some(), "{answer}");
    kept[1].asks("/health").expects(200);
    assert_eq!(gateway.log_of("/in")["status"], 200);
    gateway.waits_for(REQUESTS, 1.0);
    gate.opens();
    drop(held);
    gateway.stop();
}

/// Clients of HTTP/2 are told to leave, with what they have at work; connections of HTTP/2 to endpoints that rest are closed.
fn clients_of_http2_are_told_to_leave(io: Io) {
    let gate = Gate::new();
    let (origin, other) = (gate.origin("in"), H2Origin::start("other"));
    let with = |limit: &str| {
        plan(io, &origin, limit)
            .speaks_h2()
            .cluster_of("other", &other.entry())
            .route("name: other, match: { path: /other }, cluster: other")
    };
    let gateway = with("off").start();
    let mut client = H2Client::to(gateway.address());
    client.gets("/other").expects(200);
    gateway.waits_for("http2_upstream_connections", 1.0);
    let mut resting = H2Client::to(gateway.address());
    resting.gets("/in").expects(200);
    let at_work = client.gets("/held");
    let held = falls_short(&gateway, with);
    assert_eq!(client.gets("/in").expects(503).reason(), "overloaded_memory");
    until_true("no more streams", || client.is_going_away());
    assert!(!resting.is_going_away(), "who asks for nothing is left alone");
    gateway.waits_for("http2_upstream_connections", 0.0);
    gate.opens();
    at_work.expects(200);
    assert_eq!(client.ends(), None, "in order");
    drop(held);
    gateway.stop();
}

/// What is in use with nothing at work is not freed by refusing: so it goes on for a moment only, and not at all where it was in
/// use before there was the limit.
fn what_refusing_does_not_free_refuses_nobody_for_long(io: Io) {
    let (gate, origin, gateway) = gated(io);
    let mut held = falls_short(&gateway, |limit| plan(io, &origin, limit));
    gate.opens();
    held.iter_mut().for_each(|client| drop(client.expects(200)));
    gateway.waits_for("memory_shedding", 0.0);
    assert_eq!(gateway.notice(IN_VAIN)["level"], "WARN");
    gateway.client().asks("/in").expects(200);
    gateway.stop();
    let gateway = plan(io, &origin, "1MiB").start();
    gateway.client().asks("/in").expects(200);
    gateway.notice(IN_VAIN);
    assert!(gateway.notices_of("memory is short").is_empty(), "from the start on");
    gateway.client().asks("/in").expects(200);
    gateway.stop();
}

on_both_drivers![
    what_would_not_fit_is_refused_until_there_is_room,
    far_above_the_limit_connections_are_refused,
    a_request_on_an_open_connection_is_refused,
    clients_that_take_nothing_are_let_go,
    clients_of_http2_are_told_to_leave,
    what_refusing_does_not_free_refuses_nobody_for_long,
];
