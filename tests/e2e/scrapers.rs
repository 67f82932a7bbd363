//! Readers of the admin server that behave badly, and clients that would have it tell of everything: traffic goes on, what is
//! lost is counted, and memory stays as it is.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

use super::client::Client;
use super::gateway::Gateway;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::wait::{now_ms, until_true};
use super::wire::Wire;

/// Connections of the admin server at once.
const SEATS: usize = 64;
/// Those who come when there is none left, each time.
const MORE: usize = 25;
/// What memory may grow by without a reason.
const SLACK: u64 = 6 << 20;

/// A gateway whose page is long: a thousand routes, all with traffic, and two hundred endpoints.
fn long_paged(io: Io, origin: &Origin) -> Gateway {
    let mut plan = Plan::bare(io);
    for cluster in 0..20 {
        let endpoints: Vec<SocketAddr> =
            (0..10).map(|number| SocketAddr::from(([127, 0, cluster, number + 1], origin.address().port()))).collect();
        plan = plan.cluster(&format!("c{cluster}"), &endpoints);
    }
    for number in 0..1_000 {
        plan = plan.route(&format!("name: r{number}, match: {{ path: /r{number} }}, respond: {{ status: 200 }}"));
    }
    let gateway = plan.cluster("app", &[origin.address()]).route("name: app, cluster: app").log("off").start();
    let mut client = gateway.client();
    for first in (0..1_000).step_by(100) {
        let requests = (first..first + 100).map(|number| format!("GET /r{number} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client.sends(requests.collect::<String>());
        for _ in 0..100 {
            client.expects(200);
        }
    }
    gateway
}

/// Ten at once have the whole page each, and every request its answer meanwhile.
fn ten_scrapers_at_once_get_the_whole_page(io: Io) {
    let origin = Origin::saying("ok");
    let gateway = long_paged(io, &origin);
    gateway.metrics();
    let resident = gateway.process.resident_bytes();
    let admin = gateway.admin();
    std::thread::scope(|scope| {
        let scrapers: Vec<_> = (0..10)
            .map(|_| {
                scope.spawn(move || {
                    for _ in 0..3 {
                        let mut client = Client::to(admin);
                        client.sends(format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\n\r\n"));
                        let page = client.expects(200);
                        assert!(page.text().contains("\nhttp_route_requests_total{route=\"r999\",class=\"2xx\"} 1\n"));
                    }
                })
            })
            .collect();
        let mut client = gateway.client();
        let mut asked = 0;
        while asked < 20 || !scrapers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            let began_ms = now_ms();
            assert_eq!(client.asks("/x").expects(200).text(), "ok");
            assert!(now_ms() - began_ms < 1_000, "{} ms for a request", now_ms() - began_ms);
            asked += 1;
            assert!(asked < 1_000_000);
        }
    });
    let grown = gateway.process.resident_bytes().saturating_sub(resident);
    assert!(grown < 2 * SLACK, "{grown} bytes more");
    assert_eq!(gateway.metric_sum("admin_connections_ended_total"), 0.0);
    gateway.stop();
}

/// One who asks for page after page and reads none, with next to no room for them.
fn deaf(admin: SocketAddr) -> Wire {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(1).expect("the least that there is");
    socket.connect(&admin.into()).expect("a connection to loopback");
    let mut wire = Wire::new(socket.into());
    drop(wire.try_send(format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\n\r\n").repeat(3)));
    wire
}

/// Those who never read lose their seats to those who come, which is counted and told; whoever reads has the page, traffic goes
/// on, and no more memory is held by more than twice as many of them as there are seats.
fn scrapers_that_never_read_lose_their_seats(io: Io) {
    let origin = Origin::saying("ok");
    let gateway = Plan::to(io, &[origin.address()]).log("off").start();
    let mut client = gateway.client();
    let mut all: Vec<Wire> = (0..SEATS + MORE).map(|_| deaf(gateway.admin())).collect();
    let ended = |least: usize| {
        until_true("seats are lost", || {
            gateway.metric("admin_connections_ended_total{reason=\"too_many\"}") >= least as f64
        });
    };
    ended(MORE);
    let resident = gateway.process.resident_bytes();
    for _ in 0..3 {
        all.extend((0..MORE).map(|_| deaf(gateway.admin())));
        let began_ms = now_ms();
        gateway.metrics();
        assert!(now_ms() - began_ms < 5_000, "a scrape took {} ms", now_ms() - began_ms);
        for _ in 0..20 {
            assert_eq!(client.asks("/x").expects(200).text(), "ok");
        }
    }
    ended(4 * MORE);
    let grown = gateway.process.resident_bytes().saturating_sub(resident);
    assert!(grown < SLACK, "{grown} bytes more");
    gateway.notice("too many connections to the admin endpoint, the ones that took nothing for longest end");
    // Their sockets are closed, not only forgotten.
    let bound = SEATS + 60;
    until_true("descriptors come back", || gateway.process.descriptors() < bound);
    drop(all);
    gateway.stop();
}

/// Sends requests in the name of these clients, each two, all with hosts, paths and agents of their own.
fn floods(client: &mut Client, clients: std::ops::Range<u32>) {
    for first in clients.clone().step_by(200) {
        let them = first..clients.end.min(first + 200);
        let requests = them.clone().map(|number| {
            let [_, b, c, d] = number.to_be_bytes();
            let request = format!(
                "GET /p{number}?q={number} HTTP/1.1\r\nHost: h{number}.example\r\nUser-Agent: agent/{number}\r\n\
                 X-Forwarded-For: 10.{b}.{c}.{d}\r\n\r\n"
            );
            request.repeat(2)
        });
        client.sends(requests.collect::<String>());
        for _ in them {
            client.expects(200);
            client.expects(429);
        }
    }
}

/// The series of the page, without their values.
fn series(gateway: &Gateway) -> BTreeSet<String> {
    let page = gateway.metrics();
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.rsplit_once(' ').expect("a value").0.to_owned()).collect()
}

/// Three thousand clients, hosts, paths and agents have no more series than half of them, and take no more memory; what has no
/// series of its own is counted with the others.
fn no_flood_of_names_makes_more_series_or_takes_more_memory(io: Io) {
    let limit = "rate_limit: { limit: 1/1h }";
    let gateway = Plan::bare(io)
        .listener("trusted_proxies: ['127.0.0.0/8']")
        .policies(&format!("each: {{ {limit} }}"))
        .route("name: all, match: { path: /* }, respond: { status: 200, body: in }, policies: [each]")
        .log("off")
        .and("  metrics: { top_clients: 20 }")
        .start();
    let mut client = gateway.client();
    floods(&mut client, 0..1_500);
    let before = series(&gateway);
    let resident = gateway.process.resident_bytes();
    floods(&mut client, 1_500..3_000);
    let after = series(&gateway);
    let grown = gateway.process.resident_bytes().saturating_sub(resident);
    assert!(grown < SLACK, "{grown} bytes more");
    assert_eq!(after.len(), before.len(), "{:?}", after.difference(&before));
    let own = after.iter().filter(|sample| sample.starts_with("rate_limiter_rejected_total{")).count();
    assert_eq!(own, 21, "the top and `other`");
    for word in ["h2999", "p2999", "agent"] {
        assert!(!after.iter().any(|sample| sample.contains(word)), "{word}");
    }
    gateway.waits_for("http_requests_active", 0.0);
    assert_eq!(gateway.metric_sum("rate_limiter_rejected_total"), 3_000.0);
    assert_eq!(gateway.metric("metrics_label_values_max{label=\"client\"}"), 20.0);
    assert!(gateway.metric("metrics_label_values_max{label=\"route\"}") >= 1_000.0);
    gateway.stop();
}

on_both_drivers![
    ten_scrapers_at_once_get_the_whole_page,
    scrapers_that_never_read_lose_their_seats,
    no_flood_of_names_makes_more_series_or_takes_more_memory,
];
