//! A7, B9: the cap on a cluster's connections is exact over all workers, whatever clients and endpoints do.

use std::net::SocketAddr;
use std::time::Duration;

use super::census::Census;
use super::client::Client;
use super::endpoint::Endpoint;
use super::gate::Gate;
use super::gateway::Gateway;
use super::plan::{Io, Plan};
use super::wait::{now_ms, thread, until_true};
use super::wire::Wire;

/// Abusive clients at once.
const CLIENTS: usize = 500;
/// Threads that play them.
const PLAYERS: usize = 20;
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn rests(ms: u64) {
    std::thread::park_timeout(Duration::from_millis(ms));
}

/// An origin whose behaviour the path asks for; `/held` waits at the gate.
fn census(gate: &Gate) -> Census {
    let gate = gate.clone();
    Census::serving(move |wire| while serves(wire, &gate) {})
}

/// Serves one request; is there to be another on this connection?
fn serves(wire: &mut Wire, gate: &Gate) -> bool {
    if !wire.has_bytes() {
        return false;
    }
    let Some(path) = reads_path(wire) else { return false };
    match path.as_str() {
        "/held" => gate.passes(),
        "/slow" => rests(20),
        "/stall" => rests(400),
        "/stream" => {
            let mut sent = wire.try_send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_ok();
            for _ in 0..20 {
                sent = sent && wire.try_send("4\r\nmore\r\n").is_ok();
                rests(2);
            }
            return sent && wire.try_send("0\r\n\r\n").is_ok();
        }
        "/die" => {
            // What is unread makes the close a reset.
            let _sent = wire.try_send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart");
            return false;
        }
        "/deaf" => {
            rests(60);
            return false;
        }
        "/close" => {
            let _sent = wire.try_send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
            return false;
        }
        _ => {}
    }
    wire.try_send(OK).is_ok()
}

/// The path of a request; its body is read to the end unless the path says otherwise.
fn reads_path(wire: &mut Wire) -> Option<String> {
    let head = wire.try_reads_head()?;
    let path = head.start.split(' ').nth(1).expect("a target").to_owned();
    if path == "/deaf" {
        return Some(path);
    }
    let length = head.field("content-length").map_or(0, |length| length.parse().expect("a length"));
    wire.try_drops(length).then_some(path)
}

/// What a client of this number does first, and whether it waits for an answer.
fn acts(number: usize, client: &mut Client) -> bool {
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let post = |path: &str, length: usize, body: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    let (bytes, waits) = match number % 14 {
        0 => (get("/ok"), true),
        1 | 2 => (get("/slow"), false),
        3 => ("GET /ok HTTP/1.1\r\nHo".to_owned(), false),
        4 => (post("/up", 100_000, "too little"), false),
        5 => (post("/up", 8, ""), true),
        6 => (get("/slow"), true),
        7 => (get("/stream"), false),
        8 => (get("/die"), true),
        9 => (get("/close"), true),
        10 => (post("/deaf", 4_000_000, &"x".repeat(300_000)), false),
        11 => (get("/stall"), true),
        12 => (get("/ok").repeat(3), true),
        _ => (get("/stream"), true),
    };
    // The gateway may have refused it by now.
    let _sent = client.try_send(bytes);
    waits
}

/// One player's clients: all connect, all act, then each ends in its own way.
fn plays(address: SocketAddr, numbers: std::ops::Range<usize>) {
    let mut clients: Vec<_> = numbers.map(|number| (number, Client::to(address))).collect();
    let waits: Vec<bool> = clients.iter_mut().map(|(number, client)| acts(*number, client)).collect();
    for ((number, mut client), waits) in clients.into_iter().zip(waits) {
        match number % 14 {
            1 | 4 | 10 => client.resets(),
            5 => {
                for byte in "dripping".chars() {
                    let _sent = client.try_send(byte.to_string());
                    rests(1);
                }
                closes_when_answered(client);
            }
            6 => {
                let _ended = client.stream().shutdown(std::net::Shutdown::Write);
                client.try_reads_to_end();
            }
            7 => {
                let _read = client.try_read();
                client.resets();
            }
            _ if waits => closes_when_answered(client),
            _ => client.closes(),
        }
    }
}

/// Ends its direction once an answer has begun, and reads what comes.
fn closes_when_answered(mut client: Client) {
    let _answered = client.try_read();
    let _ended = client.stream().shutdown(std::net::Shutdown::Write);
    client.try_reads_to_end();
}

fn capped(io: Io, census: &Census, entries: &str) -> Plan {
    let endpoints = [census.address(), Endpoint::closed()];
    Plan::bare(io)
        .workers("4")
        .timeouts("response_header: 200ms, request: 2s, body_idle: 300ms")
        .cluster_with("app", &endpoints, entries)
        .route("name: all, cluster: app, body_limit: 0")
        .route("name: held, match: { path: /held }, cluster: app, timeouts: { response_header: 20s, request: 20s }")
}

/// Plays all clients, with reloads in between.
fn storms(gateway: &Gateway, plan: &Plan) {
    let address = gateway.address();
    let each = CLIENTS / PLAYERS;
    let players: Vec<_> =
        (0..PLAYERS).map(|at| thread("player", move || plays(address, at * each..(at + 1) * each))).collect();
    for round in 0..3 {
        let also = format!("name: round{round}, match: {{ path: /{round} }}, cluster: app");
        gateway.adopts(&plan.clone().route(&also).yaml());
    }
    for player in players {
        player.join().expect("a player");
    }
}

/// Nothing is left of what happened, and the whole cap can be used.
fn is_whole(gateway: &mut Gateway, gate: &Gate, cap: usize) {
    gateway.settles();
    gateway.waits_for("upstream_connection_saturation_ratio{cluster=\"app\"}", 0.0);
    until_true("connections rest or are closed", || {
        let shown = gateway.cluster("app");
        let idle = gateway.metric("upstream_connections_idle");
        assert!(shown["connections"].as_u64() <= Some(cap as u64), "{shown}");
        shown["connections"].as_f64() == Some(idle) && shown["in_flight"] == 0 && shown["waiting"] == 0
    });
    let before = gate.arrived();
    let mut held: Vec<Client> = (0..cap).map(|_| gateway.client()).collect();
    for (client, number) in held.iter_mut().zip(1..) {
        client.asks("/held");
        gate.sees(before + number);
    }
    assert_eq!(gateway.metric("upstream_connection_saturation_ratio{cluster=\"app\"}"), 1.0);
    assert_eq!(gateway.cluster("app")["connections"], cap);
    let mut late = gateway.client();
    late.asks("/late");
    let refused = late.expects(503);
    assert!(["upstream_saturated", "upstream_queue_timeout"].contains(&refused.reason()), "{refused}");
    gate.lets(cap as u64);
    for client in &mut held {
        assert_eq!(client.expects(200).text(), "ok");
    }
    gateway.waits_for("upstream_connection_saturation_ratio{cluster=\"app\"}", 0.0);
}

fn survives_a_storm(io: Io, cap: usize, entries: &str) {
    let gate = Gate::new();
    let census = census(&gate);
    let plan = capped(io, &census, &format!("max_connections: {cap}{entries}"));
    let mut gateway = plan.start();
    storms(&gateway, &plan);
    is_whole(&mut gateway, &gate, cap);
    assert!(census.peak() <= cap as u64, "{} at once, of {} in all", census.peak(), census.accepted());
    gateway.stop();
}

fn five_hundred_abusive_clients_never_exceed_the_cap(io: Io) {
    survives_a_storm(io, 12, "");
}

fn nor_do_they_when_there_is_a_queue(io: Io) {
    survives_a_storm(io, 12, ", queue: { max: 100, timeout: 50ms }");
}

/// A cap below the number of workers is legal.
fn nor_with_fewer_connections_than_workers(io: Io) {
    survives_a_storm(io, 2, ", queue: { max: 100, timeout: 50ms }");
}

fn refused_at_once(client: &mut Client, path: &str) {
    let began_ms = now_ms();
    client.asks(path);
    assert_eq!(client.expects(503).reason(), "upstream_saturated");
    assert!(now_ms() - began_ms < 5_000, "{} ms", now_ms() - began_ms);
}

/// `count` requests that wait at the gate, each on a connection of its own.
fn holds(gateway: &Gateway, gate: &Gate, count: u64) -> Vec<Client> {
    let before = gate.arrived();
    (1..=count)
        .map(|number| {
            let mut client = gateway.client();
            client.asks("/held");
            gate.sees(before + number);
            client
        })
        .collect()
}

fn answers(clients: Vec<Client>) {
    clients.into_iter().for_each(|mut client| drop(client.expects(200)));
}

fn saturation(gateway: &Gateway) -> f64 {
    gateway.metric("upstream_connection_saturation_ratio{cluster=\"app\"}")
}

/// B9: over the cap without a queue: 503 at once, and the client's connection goes on.
fn without_a_queue_a_request_over_the_cap_is_refused_at_once(io: Io) {
    let gate = Gate::new();
    let census = census(&gate);
    let gateway = Plan::to(io, &[]).workers("2").cluster_with("app", &[census.address()], "max_connections: 3");
    let gateway = gateway.route("name: all, cluster: app").start();
    let held = holds(&gateway, &gate, 3);
    assert_eq!(saturation(&gateway), 1.0);
    let mut late = gateway.client();
    for number in 0..5 {
        refused_at_once(&mut late, &format!("/late{number}"));
    }
    let line = gateway.log_of("/late4");
    assert_eq!((&line["status"], &line["reason"]), (&503.into(), &"upstream_saturated".into()));
    assert_eq!(gateway.metric("gateway_rejected_requests_total{reason=\"upstream_saturated\"}"), 5.0);
    gate.opens();
    answers(held);
    late.asks("/now");
    late.expects(200);
    assert_eq!((saturation(&gateway), census.accepted()), (0.0, 3));
    gateway.stop();
}

/// As many clients as the cap allows, each with one request at a time on one new connection after the other, to whichever
/// worker: idle connections are where they are not needed, and still nobody is refused.
fn nobody_is_refused(io: Io, cap: usize) {
    let census = census(&Gate::new());
    let gateway =
        Plan::to(io, &[]).workers("4").cluster_with("app", &[census.address()], &format!("max_connections: {cap}"));
    let gateway = gateway.route("name: all, cluster: app").start();
    let address = gateway.address();
    let clients: Vec<_> = (0..cap)
        .map(|_| {
            thread("client", move || {
                for _ in 0..60 {
                    let mut client = Client::to(address);
                    for _ in 0..2 {
                        client.asks("/ok");
                        client.expects(200);
                    }
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("every request was served");
    }
    assert!(census.peak() <= cap as u64, "{}", census.peak());
    gateway.stop();
}

fn as_many_requests_as_the_cap_allows_are_all_served(io: Io) {
    nobody_is_refused(io, 5);
}

/// With fewer connections than workers they move from worker to worker.
fn so_are_they_with_fewer_connections_than_workers(io: Io) {
    nobody_is_refused(io, 1);
    nobody_is_refused(io, 3);
}

/// A cap that is lowered below what is open: idle connections go at once, the others with their requests, and none beyond the
/// cap begins.
fn a_lowered_cap_is_reached_as_requests_end(io: Io) {
    let gate = Gate::new();
    let census = census(&gate);
    let plan = |entries: &str| {
        Plan::bare(io).workers("2").cluster_with("app", &[census.address()], entries).route("name: all, cluster: app")
    };
    for before in ["", "max_connections: 10, "] {
        let gateway = plan(&format!("{before}balance: round_robin")).start();
        let (idle, busy) = (holds(&gateway, &gate, 6), holds(&gateway, &gate, 4));
        gate.lets(6);
        answers(idle);
        until_true("idle ones", || gateway.cluster("app")["connections_active"] == 4);
        assert_eq!(gateway.cluster("app")["connections"], 10);
        gateway.adopts(&plan("max_connections: 2").yaml());
        until_true("the idle ones are closed", || gateway.cluster("app")["connections"] == 4);
        assert_eq!(saturation(&gateway), 2.0, "twice what it is meant to carry");
        refused_at_once(&mut gateway.client(), "/late");
        let mut queued = plan("max_connections: 2, queue: { max: 9, timeout: 20s }");
        gateway.adopts(&queued.yaml());
        let mut waits = gateway.client();
        waits.asks("/held");
        until_true("it waits", || gateway.cluster("app")["waiting"] == 1);
        gate.lets(2);
        until_true("two are closed", || gateway.cluster("app")["connections"] == 2);
        assert_eq!(gateway.cluster("app")["waiting"], 1, "two of two are in use");
        gate.lets(2);
        answers(busy);
        until_true("its turn", || gateway.cluster("app")["waiting"] == 0);
        gate.lets(1);
        waits.expects(200);
        // And back: whoever waits has a connection at once.
        let held = holds(&gateway, &gate, 2);
        waits.asks("/held");
        until_true("it waits", || gateway.cluster("app")["waiting"] == 1);
        queued = plan("max_connections: 3, queue: { max: 9, timeout: 20s }");
        gateway.adopts(&queued.yaml());
        until_true("its turn", || gateway.cluster("app")["waiting"] == 0);
        gate.lets(3);
        answers(held);
        waits.expects(200);
        gateway.stop();
    }
}

/// Requests that outlive their cluster still hold its connections when it is back.
fn a_cluster_that_is_removed_and_comes_back_has_its_cap_at_once(io: Io) {
    let gate = Gate::new();
    let census = census(&gate);
    let with = Plan::bare(io).workers("2").cluster_with("app", &[census.address()], "max_connections: 3");
    let with = with.route("name: all, cluster: app");
    let gateway = with.start();
    let held = holds(&gateway, &gate, 2);
    gateway.adopts(&Plan::bare(io).workers("2").yaml());
    let mut lost = gateway.client();
    lost.asks("/gone");
    lost.expects(404);
    gateway.adopts(&with.yaml());
    let one_more = holds(&gateway, &gate, 1);
    assert_eq!((saturation(&gateway), gateway.cluster("app")["connections"].as_u64()), (1.0, Some(3)));
    refused_at_once(&mut gateway.client(), "/late");
    gate.opens();
    answers(held);
    answers(one_more);
    assert_eq!(census.peak(), 3);
    gateway.stop();
}

/// Requests in flight to endpoints that a reload replaced count toward the cap, and are shown.
fn connections_to_removed_endpoints_count_until_they_end(io: Io) {
    let gate = Gate::new();
    let (old, new) = (census(&gate), census(&gate));
    let plan = |endpoint: &Census| {
        let plan = Plan::bare(io).workers("2").cluster_with("app", &[endpoint.address()], "max_connections: 3");
        plan.route("name: all, cluster: app")
    };
    let gateway = plan(&old).start();
    let held = holds(&gateway, &gate, 2);
    gateway.adopts(&plan(&new).yaml());
    let shown = gateway.cluster("app");
    assert_eq!((&shown["in_flight"], &shown["connections_active"]), (&0.into(), &2.into()), "{shown}");
    assert!((saturation(&gateway) - 2.0 / 3.0).abs() < 1e-9);
    let one_more = holds(&gateway, &gate, 1);
    refused_at_once(&mut gateway.client(), "/late");
    gate.opens();
    answers(held);
    answers(one_more);
    until_true("only the new one's", || gateway.cluster("app")["connections"] == 1);
    assert_eq!((saturation(&gateway), new.accepted()), (0.0, 1));
    gateway.stop();
}

on_both_drivers![
    without_a_queue_a_request_over_the_cap_is_refused_at_once,
    as_many_requests_as_the_cap_allows_are_all_served,
    so_are_they_with_fewer_connections_than_workers,
    a_lowered_cap_is_reached_as_requests_end,
    a_cluster_that_is_removed_and_comes_back_has_its_cap_at_once,
    connections_to_removed_endpoints_count_until_they_end,
    five_hundred_abusive_clients_never_exceed_the_cap,
    nor_do_they_when_there_is_a_queue,
    nor_with_fewer_connections_than_workers,
];
