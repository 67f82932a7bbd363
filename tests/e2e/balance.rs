//! D1, D3: which endpoint of a cluster gets a request, by each strategy.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use super::client::Client;
use super::gate::Gate;
use super::gateway::Gateway;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::wait::{PATIENCE, now_ms, until_true};

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// Origins that answer with their names, `a`, `b` and so on.
pub(crate) fn named(count: usize) -> Vec<Origin> {
    NAMES[..count].iter().map(|name| Origin::saying(name)).collect()
}

fn addresses(origins: &[Origin]) -> Vec<SocketAddr> {
    origins.iter().map(Origin::address).collect()
}

/// Endpoints of these weights as a cluster's entries.
pub(crate) fn weighted(origins: &[Origin], weights: &[u32]) -> String {
    let each = origins.iter().zip(weights);
    let endpoints: Vec<String> =
        each.map(|(origin, weight)| format!("{{ url: 'http://{}', weight: {weight} }}", origin.address())).collect();
    format!("endpoints: [{}]", endpoints.join(", "))
}

pub(crate) fn balanced(io: Io, origins: &[Origin], entries: &str) -> Plan {
    Plan::bare(io).cluster_with("app", &addresses(origins), entries).route("name: all, cluster: app")
}

/// The name of the endpoint that answers.
fn asks(client: &mut Client, target: &str) -> String {
    client.asks(target);
    client.expects(200).text().to_owned()
}

pub(crate) fn asks_with(client: &mut Client, field: &str) -> String {
    client.sends(format!("GET / HTTP/1.1\r\nHost: a.example\r\n{field}\r\n\r\n"));
    client.expects(200).text().to_owned()
}

/// The names that answer `count` requests of one connection, in order.
pub(crate) fn sequence(client: &mut Client, count: usize) -> String {
    (0..count).map(|_| asks(client, "/")).collect()
}

pub(crate) fn counts(sequence: &str) -> BTreeMap<char, usize> {
    let mut counts = BTreeMap::new();
    sequence.chars().for_each(|name| *counts.entry(name).or_default() += 1);
    counts
}

/// Is `sequence` a part of `cycle` repeated, begun anywhere?
fn follows(sequence: &str, cycle: &str) -> bool {
    cycle.repeat(2 + sequence.len() / cycle.len()).contains(sequence)
}

fn round_robin_takes_endpoints_in_the_order_written(io: Io) {
    let origins = named(3);
    let gateway = balanced(io, &origins, "balance: round_robin").start();
    let seen = sequence(&mut gateway.client(), 12);
    assert!(follows(&seen, "abc"), "{seen}");
    gateway.stop();
}

/// The sequence of nginx's commit "Upstream: smooth weighted round-robin balancing."
fn weighted_round_robin_gives_the_sequence_that_nginx_publishes(io: Io) {
    let origins = named(3);
    let entries = format!("balance: weighted_round_robin, {}", weighted(&origins, &[5, 1, 1]));
    let gateway = Plan::bare(io).cluster_as("app", &entries).route("name: all, cluster: app").start();
    let seen = sequence(&mut gateway.client(), 21);
    assert!(follows(&seen, "aabacaa"), "{seen}");
    gateway.stop();
}

/// Sends `count` requests that stay in flight, one after the other, each once the one before has arrived.
fn holds(gateway: &Gateway, gate: &Gate, count: u64) -> Vec<Client> {
    let before = gate.arrived();
    (1..=count)
        .map(|number| {
            let mut client = gateway.client();
            client.asks("/held");
            gate.sees(before + number);
            // What workers know of one another is at most a millisecond old.
            let began_ms = now_ms();
            until_true("two milliseconds", || now_ms() - began_ms > 2);
            client
        })
        .collect()
}

fn answers(clients: Vec<Client>) -> String {
    clients.into_iter().map(|mut client| client.expects(200).text().to_owned()).collect()
}

fn least_connections_avoids_a_busy_endpoint(io: Io) {
    let gate = Gate::new();
    let origins = [gate.origin("a"), gate.origin("b")];
    let gateway = balanced(io, &origins, "balance: least_connections").start();
    let held = holds(&gateway, &gate, 1);
    let seen = sequence(&mut gateway.client(), 10);
    gate.opens();
    let busy = answers(held);
    assert!(!seen.contains(&busy), "{busy} is busy: {seen}");
    let after = counts(&sequence(&mut gateway.client(), 10));
    assert_eq!(after, BTreeMap::from([('a', 5), ('b', 5)]), "and none is once it has answered");
    gateway.stop();
}

fn least_connections_goes_by_weight(io: Io) {
    let gate = Gate::new();
    let origins = [gate.origin("a"), gate.origin("b"), gate.origin("c")];
    let entries = format!("balance: least_connections, {}", weighted(&origins, &[1, 2, 3]));
    let gateway = Plan::bare(io).cluster_as("app", &entries).route("name: all, cluster: app").start();
    let held = holds(&gateway, &gate, 12);
    gate.opens();
    assert_eq!(counts(&answers(held)), BTreeMap::from([('a', 2), ('b', 4), ('c', 6)]));
    gateway.stop();
}

/// The sum over workers counts. Each of the four gets four or five requests for six endpoints, which is even only for who
/// knows what the others have in flight.
fn long_requests_are_spread_evenly_over_all_workers(io: Io) {
    let gate = Gate::new();
    let origins: Vec<_> = NAMES.iter().map(|name| gate.origin(name)).collect();
    for balance in ["least_connections", "least_saturated"] {
        let entries = format!("balance: {balance}, max_connections: 600");
        let gateway = balanced(io, &origins, &entries).workers("4").start();
        let held = holds(&gateway, &gate, 18);
        let shown = gateway.cluster("app");
        let endpoints = shown["endpoints"].as_array().expect("a list");
        assert!(endpoints.iter().all(|one| one["in_flight"] == 3), "{balance}: {shown}");
        let status = gateway.status();
        let workers = status["workers"].as_array().expect("a list");
        assert!(workers.iter().all(|one| one["requests_active"].as_u64() > Some(0)), "{status}");
        gate.lets(18);
        assert_eq!(counts(&answers(held)).into_values().collect::<Vec<_>>(), [3; 6], "{balance}");
        gateway.stop();
    }
}

fn least_saturated_fills_endpoints_by_their_part_of_the_cap(io: Io) {
    let gate = Gate::new();
    let origins = [gate.origin("a"), gate.origin("b"), gate.origin("c")];
    let entries = format!("balance: least_saturated, max_connections: 40, {}", weighted(&origins, &[1, 3, 4]));
    let gateway = Plan::bare(io).cluster_as("app", &entries).route("name: all, cluster: app").start();
    let held = holds(&gateway, &gate, 16);
    assert_eq!(gateway.metric("upstream_connection_saturation_ratio{cluster=\"app\"}"), 0.4);
    gate.opens();
    assert_eq!(counts(&answers(held)), BTreeMap::from([('a', 2), ('b', 6), ('c', 8)]));
    gateway.waits_for("upstream_connection_saturation_ratio{cluster=\"app\"}", 0.0);
    gateway.stop();
}

fn p2c_spares_a_slow_endpoint(io: Io) {
    let slow = Origin::answering(|_| {
        // Much longer than a busy machine may delay the others.
        std::thread::park_timeout(std::time::Duration::from_secs(1));
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nc".to_vec()
    });
    let origins = [Origin::saying("a"), Origin::saying("b"), slow];
    let gateway = balanced(io, &origins, "balance: p2c").start();
    let seen = counts(&sequence(&mut gateway.client(), 150));
    let of = |name| seen.get(&name).copied().unwrap_or(0);
    assert!((1..=10).contains(&of('c')), "it is asked, but seldom: {seen:?}");
    // One that was slow just once is left alone for a while.
    assert!(of('a') > 5 && of('b') > 5, "{seen:?}");
    gateway.stop();
}

/// A connection from this address of loopback.
fn client_at(address: [u8; 4], gateway: &Gateway) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((address, 0)).into()).expect("an address of loopback");
    socket.connect_timeout(&gateway.address().into(), PATIENCE).expect("a connection to loopback");
    Client::of(TcpStream::from(socket))
}

/// A key has one endpoint, on whichever worker and connection, and keys are spread over all.
fn is_sticky(gateway: &Gateway, keys: u8, ask: impl Fn(&Gateway, u8) -> String) {
    let first: Vec<String> = (0..keys).map(|key| ask(gateway, key)).collect();
    for round in 0..3 {
        for (key, endpoint) in (0..keys).zip(&first) {
            assert_eq!(&ask(gateway, key), endpoint, "key {key} in round {round}");
        }
    }
    let counts = counts(&first.concat());
    assert_eq!(counts.len(), 4, "every endpoint has keys: {counts:?}");
}

fn hashed(io: Io, origins: &[Origin], key: &str) -> Gateway {
    balanced(io, origins, &format!("balance: consistent_hash, hash_key: {key}")).workers("2").start()
}

fn a_header_keeps_its_endpoint(io: Io) {
    let origins = named(4);
    let gateway = hashed(io, &origins, "{ header: x-user }");
    is_sticky(&gateway, 40, |gateway, key| asks_with(&mut gateway.client(), &format!("X-User: u{key}")));
    let without = counts(&sequence(&mut gateway.client(), 12));
    assert_eq!(without.into_values().collect::<Vec<_>>(), [3; 4], "without the header it is their turn");
    gateway.stop();
}

fn a_cookie_keeps_its_endpoint(io: Io) {
    let origins = named(4);
    let gateway = hashed(io, &origins, "{ cookie: sid }");
    is_sticky(&gateway, 40, |gateway, key| {
        asks_with(&mut gateway.client(), &format!("Cookie: theme=dark; sid=s{key}; lang=en"))
    });
    gateway.stop();
}

fn a_client_keeps_its_endpoint_whatever_its_port(io: Io) {
    let origins = named(4);
    let gateway = hashed(io, &origins, "client_ip");
    is_sticky(&gateway, 40, |gateway, key| asks(&mut client_at([127, 9, 8, key + 1], gateway), "/"));
    gateway.stop();
}

fn a_path_keeps_its_endpoint_whatever_its_query(io: Io) {
    let origins = named(4);
    let gateway = hashed(io, &origins, "path");
    is_sticky(&gateway, 40, |gateway, key| {
        asks(
            &mut gateway.client(),
            &format!("/items/{key}?at={}", gateway.client().stream().local_addr().expect("a port").port()),
        )
    });
    gateway.stop();
}

/// Removing one of five endpoints moves its own keys and no other, and when it is back each key is where it was.
fn a_removed_endpoint_moves_only_its_own_keys(io: Io) {
    let origins = named(5);
    let entries = "balance: consistent_hash, hash_key: { header: x-user }";
    let gateway = balanced(io, &origins, entries).start();
    let mut client = gateway.client();
    let mut all =
        || -> Vec<String> { (0..300).map(|key| asks_with(&mut client, &format!("X-User: u{key}"))).collect() };
    let before = all();
    gateway.adopts(&balanced(io, &origins[..4], entries).yaml());
    let without = all();
    let moved = before.iter().zip(&without).filter(|(before, after)| before != after).count();
    assert!(before.iter().zip(&without).all(|(before, after)| before == after || before == "e"));
    assert_eq!(moved, before.iter().filter(|name| *name == "e").count());
    assert!((30..=90).contains(&moved), "about a fifth of 300: {moved}");
    assert!(
        (["a", "b", "c", "d"]).iter().all(|name| without.iter().filter(|one| one == name).count() > 35),
        "{without:?}"
    );
    gateway.adopts(&balanced(io, &origins, entries).yaml());
    assert_eq!(all(), before);
    gateway.stop();
}

on_both_drivers![
    round_robin_takes_endpoints_in_the_order_written,
    weighted_round_robin_gives_the_sequence_that_nginx_publishes,
    least_connections_avoids_a_busy_endpoint,
    least_connections_goes_by_weight,
    long_requests_are_spread_evenly_over_all_workers,
    least_saturated_fills_endpoints_by_their_part_of_the_cap,
    p2c_spares_a_slow_endpoint,
    a_header_keeps_its_endpoint,
    a_cookie_keeps_its_endpoint,
    a_client_keeps_its_endpoint_whatever_its_port,
    a_path_keeps_its_endpoint_whatever_its_query,
    a_removed_endpoint_moves_only_its_own_keys,
];
