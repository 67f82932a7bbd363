//! A7, B9: the cap on a cluster's connections is exact over all workers, whatever clients and endpoints do.

use std::net::SocketAddr;
use std::time::Duration;

use super::census::Census;
use super::client::Client;
use super::endpoint::Endpoint;
use super::gate::Gate;
use super::gateway::Gateway;
use super::plan::{Io, Plan};
use super::wait::{thread, until_true};
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
    assert_eq!(census.peak(), cap as u64, "the most at once, of {} connections", census.accepted());
    is_whole(&mut gateway, &gate, cap);
    assert!(census.peak() <= cap as u64, "{}", census.peak());
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

on_both_drivers![
    five_hundred_abusive_clients_never_exceed_the_cap,
    nor_do_they_when_there_is_a_queue,
    nor_with_fewer_connections_than_workers,
];
