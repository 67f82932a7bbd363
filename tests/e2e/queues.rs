//! B9: at the cap requests wait for a connection, first come first served over all workers, for a while.

use super::census::Census;
use super::client::Client;
use super::endpoint::{Accepted, Endpoint};
use super::gateway::Gateway;
use super::plan::{Io, Plan};
use super::wait::{now_ms, thread, until_true};

fn queued(io: Io, endpoint: &Endpoint, entries: &str) -> Plan {
    let entries = format!("max_connections: 1, {entries}");
    Plan::bare(io).workers("4").cluster_with("app", &[endpoint.address()], &entries).route("name: all, cluster: app")
}

fn waits_for(gateway: &Gateway, count: u64) {
    until_true(&format!("{count} wait"), || gateway.cluster("app")["waiting"] == count);
}

/// A request that has the only connection.
fn occupies(gateway: &Gateway, endpoint: &Endpoint) -> (Client, Accepted) {
    let mut first = gateway.client();
    first.asks("/first");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /first");
    (first, upstream)
}

/// A request to `/number` that waits as the last of so many.
fn joins(gateway: &Gateway, number: u64, waiting: u64) -> Client {
    let mut client = gateway.client();
    client.asks(&format!("/{number}"));
    waits_for(gateway, waiting);
    client
}

/// The next request that the endpoint sees, on the connection it has or the next one; the one it has is closed when its
/// turn goes to another worker.
fn next(endpoint: &Endpoint, upstream: &mut Accepted) -> u64 {
    if !upstream.has_bytes() {
        *upstream = endpoint.accepts();
    }
    let request = upstream.expects("GET /");
    request.start["GET /".len()..].split(' ').next().expect("a path").parse().expect("a number")
}

/// Twelve requests on connections of four workers are served in the order they came.
fn first_come_first_served_over_all_workers(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = queued(io, &endpoint, "queue: { max: 20, timeout: 20s }").start();
    let (mut first, mut upstream) = occupies(&gateway, &endpoint);
    let mut clients: Vec<Client> = (1..=12).map(|number| joins(&gateway, number, number)).collect();
    assert_eq!(gateway.metric("upstream_requests_waiting"), 12.0);
    let status = gateway.status();
    let workers = status["workers"].as_array().expect("a list");
    assert!(workers.iter().all(|one| one["requests_active"].as_u64() > Some(0)), "all workers have some: {status}");
    upstream.replies_with("first");
    first.expects(200);
    for (client, number) in clients.iter_mut().zip(1..) {
        assert_eq!(next(&endpoint, &mut upstream), number);
        upstream.replies_with("turn");
        client.expects(200);
    }
    assert_eq!(gateway.metric("upstream_requests_waiting"), 0.0);
    gateway.stop();
}

/// The same when every connection is closed by the endpoint, so that the credits go round instead of the connections.
fn credits_go_round_in_order_as_well(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = queued(io, &endpoint, "queue: { max: 20, timeout: 20s }").start();
    let (mut first, upstream) = occupies(&gateway, &endpoint);
    let mut clients: Vec<Client> = (1..=8).map(|number| joins(&gateway, number, number)).collect();
    upstream.resets();
    first.expects(502);
    for (client, number) in clients.iter_mut().zip(1..) {
        let mut upstream = endpoint.accepts();
        upstream.expects(&format!("GET /{number}"));
        upstream.replies("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nturn");
        client.expects(200);
    }
    gateway.stop();
}

/// A full queue refuses at once, and a place that is free again is somebody's.
fn a_full_queue_refuses_at_once(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = queued(io, &endpoint, "queue: { max: 2, timeout: 20s }").start();
    let (mut first, mut upstream) = occupies(&gateway, &endpoint);
    let mut clients = [joins(&gateway, 1, 1), joins(&gateway, 2, 2)];
    for _ in 0..4 {
        let (mut late, began_ms) = (gateway.client(), now_ms());
        late.asks("/3");
        assert_eq!(late.expects(503).reason(), "upstream_saturated");
        assert!(now_ms() - began_ms < 5_000, "{} ms", now_ms() - began_ms);
    }
    upstream.replies_with("first");
    first.expects(200);
    assert_eq!(next(&endpoint, &mut upstream), 1);
    let mut third = joins(&gateway, 3, 2);
    for (client, number) in clients.iter_mut().chain([&mut third]).zip(1..) {
        if number > 1 {
            assert_eq!(next(&endpoint, &mut upstream), number);
        }
        upstream.replies_with("turn");
        client.expects(200);
    }
    gateway.stop();
}

/// Who waited too long is told so in time, and its client's connection goes on.
fn a_wait_ends_in_time(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = queued(io, &endpoint, "queue: { max: 9, timeout: 1s }").start();
    let (mut first, mut upstream) = occupies(&gateway, &endpoint);
    let (mut late, began_ms) = (gateway.client(), now_ms());
    late.asks("/late");
    let refused = late.expects(503);
    let took_ms = now_ms() - began_ms;
    assert_eq!(refused.reason(), "upstream_queue_timeout");
    assert!((900..3_000).contains(&took_ms), "{took_ms} ms");
    assert_eq!(gateway.log_of("/late")["reason"], "upstream_queue_timeout");
    assert_eq!(gateway.metric("gateway_rejected_requests_total{reason=\"upstream_queue_timeout\"}"), 1.0);
    waits_for(&gateway, 0);
    upstream.replies_with("first");
    first.expects(200);
    late.asks("/7");
    assert_eq!(next(&endpoint, &mut upstream), 7);
    upstream.replies_with("now");
    assert_eq!(late.expects(200).text(), "now");
    gateway.stop();
}

/// The deadline of the request ends a wait as well.
fn a_wait_ends_with_the_requests_deadline(io: Io) {
    let endpoint = Endpoint::listens();
    let plan = queued(io, &endpoint, "queue: { max: 9, timeout: 20s }")
        .route("name: late, match: { path: /late }, cluster: app, timeouts: { request: 400ms }");
    let gateway = plan.start();
    let (mut first, mut upstream) = occupies(&gateway, &endpoint);
    let (mut late, began_ms) = (gateway.client(), now_ms());
    late.asks("/late");
    assert_eq!(late.expects(503).reason(), "upstream_queue_timeout");
    assert!((300..1_500).contains(&(now_ms() - began_ms)), "{} ms", now_ms() - began_ms);
    upstream.replies_with("first");
    first.expects(200);
    gateway.stop();
}

/// Clients that leave, in whatever way, make room for others, and those behind them move up.
fn a_client_that_leaves_frees_its_place(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = queued(io, &endpoint, "queue: { max: 3, timeout: 20s }").start();
    let (mut first, mut upstream) = occupies(&gateway, &endpoint);
    let (resets, mut stays, closes) = (joins(&gateway, 1, 1), joins(&gateway, 2, 2), joins(&gateway, 3, 3));
    resets.resets();
    waits_for(&gateway, 2);
    closes.closes();
    waits_for(&gateway, 1);
    let mut half = joins(&gateway, 4, 2);
    half.half_closes();
    let mut last = joins(&gateway, 5, 3);
    gateway.waits_for("client_aborts_total", 2.0);
    upstream.replies_with("first");
    first.expects(200);
    for (client, number) in [(&mut stays, 2), (&mut half, 4), (&mut last, 5)] {
        assert_eq!(next(&endpoint, &mut upstream), number, "who stays is served, half closed or not");
        upstream.replies_with("turn");
        client.expects(200);
    }
    gateway.stop();
}

/// I3: who waits when the drain begins is served before it ends.
fn a_drain_serves_those_who_wait(io: Io) {
    let endpoint = Endpoint::listens();
    let mut gateway = queued(io, &endpoint, "queue: { max: 9, timeout: 20s }").start();
    let (mut first, mut upstream) = occupies(&gateway, &endpoint);
    let mut clients: Vec<Client> = (1..=5).map(|number| joins(&gateway, number, number)).collect();
    gateway.signal(libc::SIGTERM);
    gateway.notice("shutting down gracefully");
    upstream.replies_with("first");
    first.expects(200);
    for (client, number) in clients.iter_mut().zip(1..) {
        assert_eq!(next(&endpoint, &mut upstream), number);
        upstream.replies_with("turn");
        client.expects(200);
        client.sees_end();
    }
    drop(upstream);
    assert_eq!(gateway.process.exit_code(), Some(0), "{}", gateway.notices.all().join("\n"));
}

/// Those who wait for a cluster that a reload changes or removes wait on, and are served.
fn a_reload_leaves_those_who_wait_in_their_places(io: Io) {
    let endpoint = Endpoint::listens();
    let plan = queued(io, &endpoint, "queue: { max: 9, timeout: 20s }");
    let gateway = plan.start();
    let (mut first, mut upstream) = occupies(&gateway, &endpoint);
    let mut clients = vec![joins(&gateway, 1, 1), joins(&gateway, 2, 2)];
    gateway.adopts(&queued(io, &endpoint, "balance: p2c, queue: { max: 3, timeout: 15s }").yaml());
    clients.push(joins(&gateway, 3, 3));
    let mut late = gateway.client();
    late.asks("/4");
    assert_eq!(late.expects(503).reason(), "upstream_saturated", "three is the most now");
    gateway.adopts(&Plan::bare(io).workers("4").yaml());
    gateway.adopts(&plan.yaml());
    clients.push(joins(&gateway, 4, 4));
    upstream.replies_with("first");
    first.expects(200);
    for (client, number) in clients.iter_mut().zip(1..) {
        assert_eq!(next(&endpoint, &mut upstream), number);
        upstream.replies_with("turn");
        client.expects(200);
    }
    gateway.stop();
}

/// With one connection for four workers, many clients at once all come to their turns.
fn nobody_starves(io: Io) {
    let census = Census::serving(|wire| {
        while let Some(request) = wire.try_reads_head() {
            let path = request.start.split(' ').nth(1).expect("a target");
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len());
            if wire.try_send(answer).is_err() {
                return;
            }
        }
    });
    let plan = Plan::bare(io).workers("4").cluster_with(
        "app",
        &[census.address()],
        "max_connections: 1, queue: { max: 100, timeout: 10s }",
    );
    let gateway = plan.route("name: all, cluster: app").start();
    let address = gateway.address();
    let clients: Vec<_> = (0..16)
        .map(|client| {
            thread("client", move || {
                let mut wire = Client::to(address);
                for number in 0..25 {
                    let path = format!("/{client}/{number}");
                    wire.asks(&path);
                    assert_eq!(wire.expects(200).text(), path);
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("every request was served");
    }
    assert_eq!(census.peak(), 1);
    gateway.stop();
}

on_both_drivers![
    first_come_first_served_over_all_workers,
    credits_go_round_in_order_as_well,
    a_full_queue_refuses_at_once,
    a_wait_ends_in_time,
    a_wait_ends_with_the_requests_deadline,
    a_client_that_leaves_frees_its_place,
    a_drain_serves_those_who_wait,
    a_reload_leaves_those_who_wait_in_their_places,
    nobody_starves,
];
