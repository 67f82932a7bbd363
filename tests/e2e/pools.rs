//! Connections to endpoints between two requests: requirements B1 and B11.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::client::Client;
use super::endpoint::{Accepted, Endpoint};
use super::gate::Gate;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::wait::{now_ms, until_true};

/// Asks once and answers with these fields; the milliseconds of the clock at which the connection began to rest, at most.
fn rests(client: &mut Client, upstream: &mut Accepted, fields: &str) -> u64 {
    upstream.expects("GET /x");
    let began_ms = now_ms();
    upstream.replies(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n"));
    client.expects(200);
    began_ms
}

/// B11: a connection rests no longer than its endpoint says, a second less to be sure; it is reused until then.
fn a_connection_rests_no_longer_than_its_endpoint_says(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).start();
    let mut client = gateway.client();
    let mut times_ms = Vec::new();
    for fields in ["Keep-Alive: timeout=2\r\n", "keep-alive: max=9, timeout=2\r\n"] {
        client.asks("/x");
        let mut upstream = endpoint.accepts();
        rests(&mut client, &mut upstream, fields);
        client.asks("/x");
        let began_ms = rests(&mut client, &mut upstream, fields);
        upstream.sees_end();
        times_ms.push(now_ms() - began_ms);
    }
    // Later where the machine is busy with something else.
    times_ms.sort_unstable();
    assert!((900..1_990).contains(&times_ms[0]) && times_ms[1] < 5_000, "{times_ms:?} ms");
    assert_eq!(gateway.metric_sum("upstream_stale_connections_total"), 0.0, "the gateway was first");
    gateway.stop();
}

/// B1: nor longer than the configuration allows.
fn a_connection_rests_no_longer_than_configured(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).keepalive("idle_timeout: 300ms").start();
    let mut client = gateway.client();
    for fields in ["", "Keep-Alive: timeout=60\r\n"] {
        client.asks("/x");
        let mut upstream = endpoint.accepts();
        let began_ms = rests(&mut client, &mut upstream, fields);
        upstream.sees_end();
        let took_ms = now_ms() - began_ms;
        assert!((270..2_500).contains(&took_ms), "{took_ms} ms after {fields:?}");
    }
    gateway.stop();
}

/// B1: `idle_total` counts the connections of its cluster and no others: a cluster that may keep few takes nobody else's.
fn a_cluster_that_keeps_few_leaves_those_of_others_alone(io: Io) {
    const MANY: u64 = 8;
    let gate = Gate::new();
    let (few, many) = (gate.origin("few"), gate.origin("many"));
    let plan = Plan::bare(io)
        .cluster_with("few", &[few.address()], "keepalive: { idle_total: 1 }")
        .cluster("many", &[many.address()])
        .route("name: few, cluster: few")
        .route("name: many, match: { path: /held }, cluster: many");
    let gateway = plan.start();
    let mut clients: Vec<Client> = (0..MANY).map(|_| gateway.client()).collect();
    for round in 1..=2 {
        for client in &mut clients {
            client.asks("/held");
        }
        gate.sees(round * MANY);
        gate.lets(MANY);
        for client in &mut clients {
            assert_eq!(client.expects(200).text(), "many");
        }
        for client in &mut clients {
            client.asks("/few");
            assert_eq!(client.expects(200).text(), "few");
        }
    }
    assert_eq!((few.connections(), many.connections()), (1, MANY), "all were reused");
    for client in &mut clients {
        client.asks("/held/few");
    }
    gate.sees(3 * MANY);
    gate.lets(MANY);
    for client in &mut clients {
        client.expects(200);
    }
    assert_eq!(few.connections(), MANY);
    gateway.waits_for("upstream_connections_idle", (MANY + 1) as f64);
    gateway.stop();
}

/// A7 and B1: caps on idle connections are those of all workers together, small ones and those that do not divide evenly too.
fn caps_on_idle_connections_are_those_of_all_workers_together(io: Io) {
    const MANY: u64 = 8;
    for (keepalive, most) in [("idle_per_endpoint: 1", 1), ("idle_per_endpoint: 3", 3), ("idle_total: 5", 5)] {
        let gate = Gate::new();
        let origin = gate.origin("it");
        let gateway = Plan::to(io, &[origin.address()]).keepalive(keepalive).workers("2").start();
        let mut clients: Vec<Client> = (0..MANY).map(|_| gateway.client()).collect();
        until_true("connections at both workers", || {
            let status = gateway.status();
            let workers = status["workers"].as_array().expect("a list").clone();
            workers.iter().all(|worker| worker["connections_active"].as_u64() > Some(2))
        });
        for round in 1..=2 {
            for client in &mut clients {
                client.asks("/held");
            }
            gate.sees(round * MANY);
            gate.lets(MANY);
            for client in &mut clients {
                client.expects(200);
            }
            gateway.waits_for("upstream_connections_idle", most as f64);
            gateway.waits_for("upstream_connections_active", 0.0);
        }
        // Of the first round's, those that were kept are used again.
        assert_eq!(origin.connections(), 2 * MANY - most, "{keepalive}");
        gateway.stop();
    }
}

/// B11: an endpoint that closes after each response without a word loses nobody's GET, however often the next request meets
/// the close; and nothing is ever sent to it twice that may not be.
fn an_endpoint_that_closes_unannounced_loses_no_request(io: Io) {
    let posts = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&posts);
    let origin = Origin::serving(move |mut wire| {
        if wire.has_bytes() {
            let mut request = wire.reads_head();
            wire.reads_body(&mut request);
            seen.fetch_add(u64::from(request.start.starts_with("POST")), Ordering::Relaxed);
            drop(wire.try_send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
        }
    });
    let gateway = Plan::to(io, &[origin.address()]).start();
    let lost: u64 = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let mut client = gateway.client();
                scope.spawn(move || {
                    let mut lost = 0;
                    for _ in 0..100 {
                        client.asks("/get");
                        assert_eq!(client.expects(200).text(), "ok");
                        client.sends("POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
                        lost += u64::from(client.expects_any().status() != 200);
                    }
                    lost
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().expect("no GET is lost")).sum()
    });
    assert_eq!(posts.load(Ordering::Relaxed), 400 - lost, "each POST that was read was answered, and read once");
    let stale = gateway.metric_sum("upstream_stale_connections_total");
    let retried = gateway.metric("upstream_retries_total{reason=\"reused\"}");
    assert!(stale > 0.0, "{stale} noticed before their use, {retried} requests sent again");
    gateway.stop();
}

on_both_drivers![
    a_connection_rests_no_longer_than_its_endpoint_says,
    a_connection_rests_no_longer_than_configured,
    a_cluster_that_keeps_few_leaves_those_of_others_alone,
    caps_on_idle_connections_are_those_of_all_workers_together,
    an_endpoint_that_closes_unannounced_loses_no_request,
];
