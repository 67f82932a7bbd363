//! A7: long-lived connections are spread over the workers, however the kernel spread them.
//!
//! Which worker the kernel gives a connection to follows from the client's address and port. A gateway that does not
//! balance shows which lead to its first worker; once it balances, connections from exactly these put it to the test.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};

use socket2::{Domain, Socket, Type};

use super::client::Client;
use super::endpoint::Endpoint;
use super::gateway::Gateway;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::wait::{PATIENCE, thread, until_true};

/// Where a client connects from: an address of loopback that no other test uses, so that a port is still free when it
/// is wanted again.
#[derive(Clone, Copy, Debug)]
struct Source(SocketAddr);

impl Source {
    /// A new address, and any port of it.
    fn new() -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let [_, _, high, low] = std::process::id().to_be_bytes();
        Self(SocketAddr::from(([127, high.max(1), low, NEXT.fetch_add(1, Ordering::Relaxed)], 0)))
    }

    fn connects(self, gateway: &Gateway) -> Client {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_reuse_address(true).expect("an open socket");
        socket.bind(&self.0.into()).expect("a port of loopback that is free");
        socket.connect_timeout(&gateway.address().into(), PATIENCE).expect("a connection to loopback");
        Client::of(TcpStream::from(socket))
    }
}

fn asks_health(client: &mut Client) {
    client.asks("/health");
    client.expects(200);
}

/// Client connections open on each worker.
fn connections(gateway: &Gateway) -> Vec<u64> {
    let status = gateway.status();
    let workers = status["workers"].as_array().expect("a list");
    workers.iter().map(|worker| worker["connections_active"].as_u64().expect("a number")).collect()
}

/// Eight sources whose connections the kernel gives to the first worker of a gateway that does not balance.
fn sources_of_the_first_worker(gateway: &Gateway) -> Vec<Source> {
    let (any, mut sources, mut held) = (Source::new(), Vec::new(), Vec::new());
    // Every one stays open until all are found, so that no port comes up twice.
    while sources.len() < 8 {
        let before = connections(gateway)[0];
        let mut client = any.connects(gateway);
        asks_health(&mut client);
        if connections(gateway)[0] > before {
            sources.push(Source(client.stream().local_addr().expect("a bound socket")));
        }
        held.push(client);
        assert!(held.len() < 1000, "the kernel gives nothing to the first worker");
    }
    assert_eq!(gateway.metric("net_connections_handed_over_total"), 0.0, "it does not balance");
    // A reset leaves no trace of the port behind.
    held.into_iter().for_each(Client::resets);
    gateway.waits_for("net_connections_active", 0.0);
    sources
}

/// A gateway that balances from now on, and eight sources that all lead to its first worker.
fn balancing(plan: &Plan) -> (Gateway, Vec<Source>) {
    let gateway = plan.clone().runtime("accept_balance: off").start();
    let sources = sources_of_the_first_worker(&gateway);
    gateway.adopts(&plan.yaml());
    (gateway, sources)
}

/// Eight connections from these sources, each having made a request; none of them may leave a worker more than one above
/// its share.
fn eight_are_even(gateway: &Gateway, sources: &[Source], workers: u64) -> Vec<Client> {
    let before = gateway.metric("net_connections_handed_over_total");
    let mut clients: Vec<Client> = sources.iter().map(|source| source.connects(gateway)).collect();
    clients.iter_mut().for_each(asks_health);
    let held = connections(gateway);
    assert_eq!((held.len() as u64, held.iter().sum::<u64>()), (workers, 8), "{held:?}");
    assert!(held.iter().all(|one| one * workers <= 8 + workers), "{held:?}");
    // The first worker keeps what is within its bound, and hands the others over.
    let handed = gateway.metric("net_connections_handed_over_total") - before;
    assert!(handed >= 3.0, "{handed} handed over, {held:?}");
    clients
}

fn spread_over(io: Io, workers: u64) {
    let origin = Origin::echo();
    let (gateway, sources) = balancing(&Plan::to(io, &[origin.address()]).workers(&workers.to_string()));
    let mut clients = eight_are_even(&gateway, &sources, workers);
    for round in 0..5 {
        for client in &mut clients {
            client.asks(&format!("/{round}"));
            assert_eq!(client.expects(200).text(), format!("GET /{round} HTTP/1.1"));
        }
    }
    clients.into_iter().for_each(Client::resets);
    gateway.waits_for("net_connections_active", 0.0);
    eight_are_even(&gateway, &sources, workers).into_iter().for_each(Client::resets);
    gateway.stop();
}

/// A7: eight long-lived connections that one of two workers accepted, and every one still answers.
fn eight_connections_are_spread_over_two_workers(io: Io) {
    spread_over(io, 2);
}

/// The same on four workers.
fn eight_connections_are_spread_over_four_workers(io: Io) {
    spread_over(io, 4);
}

/// Who asks for it keeps every connection where the kernel put it, and may change that without a restart.
fn it_can_be_switched_off_while_it_runs(io: Io) {
    let plan = Plan::bare(io).workers("2");
    let (gateway, sources) = balancing(&plan);
    eight_are_even(&gateway, &sources, 2).into_iter().for_each(Client::resets);
    gateway.waits_for("net_connections_active", 0.0);
    let handed = gateway.metric("net_connections_handed_over_total");
    gateway.adopts(&plan.runtime("accept_balance: off").yaml());
    let mut clients: Vec<Client> = sources.iter().map(|source| source.connects(&gateway)).collect();
    clients.iter_mut().for_each(asks_health);
    assert_eq!(connections(&gateway), [8, 0]);
    assert_eq!(gateway.metric("net_connections_handed_over_total"), handed);
    assert!(gateway.notices_of("changed settings that take effect at the next start").is_empty());
    gateway.stop();
}

/// I2: what was handed over outlives a reload with everything it was told, and hand-overs go on after it.
fn connections_handed_over_survive_a_reload(io: Io) {
    let endpoint = Endpoint::listens();
    let plan = Plan::to(io, &[endpoint.address()]).workers("2").keepalive("idle_per_endpoint: 0");
    let (gateway, sources) = balancing(&plan);
    let mut clients = eight_are_even(&gateway, &sources, 2);
    let mut upstreams: Vec<_> = clients
        .iter_mut()
        .map(|client| {
            client.asks("/in-flight");
            let mut upstream = endpoint.accepts();
            upstream.expects("GET /in-flight");
            upstream
        })
        .collect();
    gateway.adopts(&plan.route("name: more, match: { path: /more }, respond: { status: 200, body: more }").yaml());
    for (client, upstream) in clients.iter_mut().zip(&mut upstreams) {
        upstream.replies_with("done");
        assert_eq!(client.expects(200).text(), "done");
        client.asks("/more");
        assert_eq!(client.expects(200).text(), "more");
    }
    clients.into_iter().for_each(Client::resets);
    gateway.waits_for("net_connections_active", 0.0);
    eight_are_even(&gateway, &sources, 2);
    gateway.stop();
}

/// I3: a drain finishes what was handed over like everything else, on whichever worker.
fn connections_handed_over_are_finished_by_a_drain(io: Io) {
    let endpoint = Endpoint::listens();
    let plan = Plan::to(io, &[endpoint.address()]).workers("2").keepalive("idle_per_endpoint: 0");
    let (mut gateway, sources) = balancing(&plan);
    let mut clients = eight_are_even(&gateway, &sources, 2);
    let (busy, idle) = clients.split_at_mut(6);
    let mut upstreams: Vec<_> = busy
        .iter_mut()
        .map(|client| {
            client.asks("/in-flight");
            let mut upstream = endpoint.accepts();
            upstream.expects("GET /in-flight");
            upstream
        })
        .collect();
    gateway.signal(libc::SIGTERM);
    for client in idle {
        client.sees_end();
    }
    assert!(gateway.process.ended().is_none(), "six are in flight");
    for (client, upstream) in busy.iter_mut().zip(&mut upstreams) {
        upstream.replies_with("done");
        let answer = client.expects(200);
        assert_eq!(answer.text(), "done");
        assert!(answer.announces_close(), "{answer}");
        client.sees_end();
    }
    assert_eq!(gateway.process.exit_code(), Some(0), "{}", gateway.notices.all().join("\n"));
}

/// A place is given back however a connection ends, even one that ends on its way from worker to worker.
fn a_storm_of_short_connections_leaves_no_load_behind(io: Io) {
    let (gateway, sources) = balancing(&Plan::bare(io).workers("2"));
    let before = gateway.metric("net_connections_accepted_total");
    for round in 0..4 {
        let storm: Vec<Client> = (0..200).map(|_| gateway.client()).collect();
        if round % 2 == 0 {
            storm.into_iter().for_each(Client::resets);
        } else {
            drop(storm);
        }
    }
    gateway.waits_for("net_connections_accepted_total", before + 800.0);
    gateway.waits_for("net_connections_active", 0.0);
    assert!(gateway.metric("net_connections_handed_over_total") > 0.0);
    eight_are_even(&gateway, &sources, 2);
    gateway.stop();
}

/// F28: connections that come and go on every worker at once, and requests on them, all answered.
fn under_load_every_connection_is_answered(io: Io) {
    let gateway = Plan::bare(io)
        .workers("4")
        .route("name: local, match: { path: /local }, respond: { status: 200, body: local }")
        .start();
    let address = gateway.address();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            thread("load", move || {
                for _ in 0..100 {
                    let mut client = Client::to(address);
                    for _ in 0..3 {
                        client.asks("/local");
                        assert_eq!(client.expects(200).text(), "local");
                    }
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("every request was answered");
    }
    assert!(gateway.metric("net_connections_handed_over_total") > 0.0);
    gateway.waits_for("net_connections_active", 0.0);
    assert_eq!(gateway.metric_sum("http_requests_total"), 2400.0);
    until_true("each worker has its listener and its tick", || gateway.metric_sum("worker_tasks") == 8.0);
    gateway.stop();
}

on_both_drivers![
    eight_connections_are_spread_over_two_workers,
    eight_connections_are_spread_over_four_workers,
    it_can_be_switched_off_while_it_runs,
    connections_handed_over_survive_a_reload,
    connections_handed_over_are_finished_by_a_drain,
    a_storm_of_short_connections_leaves_no_load_behind,
    under_load_every_connection_is_answered,
];
