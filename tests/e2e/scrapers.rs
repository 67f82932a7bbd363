//! Readers of the admin server that behave badly, and clients that would have it tell of everything: traffic goes on, what is
//! lost is counted, and memory stays as it is.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::process::Stdio;
use std::thread::JoinHandle;

use memchr::memmem::Finder;
use socket2::{Domain, Socket, Type};

use super::client::Client;
use super::gateway::Gateway;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::wait::{PATIENCE, now_ms, thread, until_true};
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

/// One who asks for page after page, so many, and reads none, with next to no room for them.
fn deaf(admin: SocketAddr, pages: usize) -> Wire {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(1).expect("the least that there is");
    socket.connect(&admin.into()).expect("a connection to loopback");
    let mut wire = Wire::new(socket.into());
    drop(wire.try_send(format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\n\r\n").repeat(pages)));
    wire
}

/// Those who never read lose their seats to those who come, which is counted and told; whoever reads has the page, traffic goes
/// on, and no more memory is held by more than twice as many of them as there are seats.
fn scrapers_that_never_read_lose_their_seats(io: Io) {
    let origin = Origin::saying("ok");
    let gateway = Plan::to(io, &[origin.address()]).log("off").start();
    let mut client = gateway.client();
    let mut all: Vec<Wire> = (0..SEATS + MORE).map(|_| deaf(gateway.admin(), 3)).collect();
    let ended = |least: usize| {
        until_true("seats are lost", || {
            gateway.metric("admin_connections_ended_total{reason=\"too_many\"}") >= least as f64
        });
    };
    ended(MORE);
    let resident = gateway.process.resident_bytes();
    for _ in 0..3 {
        all.extend((0..MORE).map(|_| deaf(gateway.admin(), 3)));
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
    gateway.notice("too many connections to the admin endpoint, the ones that sent and took nothing for longest end");
    // Their sockets are closed, not only forgotten.
    let bound = SEATS + 60;
    until_true("descriptors come back", || gateway.process.descriptors() < bound);
    drop(all);
    gateway.stop();
}

/// Whoever takes nothing for ten seconds is ended without anybody else in need of its seat, and that is counted; whoever asked for
/// nothing is not hurried.
#[test]
fn a_scraper_that_takes_nothing_is_ended_in_time() {
    // So many pages that no buffer of the kernel takes them all.
    let origin = Origin::saying("ok");
    let gateway = long_paged(Io::Uring, &origin);
    let resting = Wire::to(gateway.admin());
    // Whoever came later is served by now, so this one has its descriptor.
    gateway.metrics();
    let descriptors = gateway.process.descriptors();
    let began_ms = now_ms();
    let mut wire = deaf(gateway.admin(), 200);
    until_true("it is given up", || gateway.metric("admin_connections_ended_total{reason=\"took_nothing\"}") > 0.0);
    let took_ms = now_ms() - began_ms;
    assert!((9_500..15_000).contains(&took_ms), "after {took_ms} ms");
    until_true("its socket is closed", || gateway.process.descriptors() <= descriptors);
    let got = wire.try_reads_to_end();
    assert!(got.starts_with(b"HTTP/1.1 200 OK\r\n"), "{} bytes", got.len());
    assert!(resting.is_silent());
    assert_eq!(gateway.metric_sum("admin_connections_ended_total"), 1.0);
    gateway.stop();
}

/// Sends requests in the name of these clients, each two, all with hosts, paths and agents of their own.
fn floods(client: &mut Client, clients: Range<u32>) {
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

/// Requests that a client of the great flood sends before it reads their answers.
const ROW: u32 = 500;

/// One request of each of these clients, every other one to the route that refuses; how many were answered with 200 and with 429.
fn floods_without_looking(to: SocketAddr, clients: Range<u32>) -> [usize; 2] {
    const MARK: usize = b"HTTP/1.1 200 ".len();
    let marks = [Finder::new(b"HTTP/1.1 200 "), Finder::new(b"HTTP/1.1 429 ")];
    let mut stream = TcpStream::connect(to).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a positive time");
    let (mut counts, mut sent, mut requests) = ([0; 2], 0, String::new());
    let (mut bytes, mut kept) = (vec![0; 256 << 10], 0);
    for first in clients.clone().step_by(ROW as usize) {
        requests.clear();
        for number in first..clients.end.min(first + ROW) {
            let ([_, b, c, d], path) = (number.to_be_bytes(), ["in", "out"][number as usize % 2]);
            let client = format_args!("X-Forwarded-For: 10.{b}.{c}.{d}\r\nX-Key: key-{number}");
            write!(requests, "GET /{path} HTTP/1.1\r\nHost: a\r\n{client}\r\n\r\n").expect("room");
            sent += 1;
        }
        stream.write_all(requests.as_bytes()).expect("it reads");
        while counts[0] + counts[1] < sent {
            let end = kept + stream.read(&mut bytes[kept..]).expect("an answer to everything");
            assert!(end > kept, "the end after {counts:?} of {sent}");
            for (count, mark) in counts.iter_mut().zip(&marks) {
                *count += mark.find_iter(&bytes[..end]).count();
            }
            // What may be the beginning of a mark.
            kept = end.min(MARK - 1);
            bytes.copy_within(end - kept..end, 0);
        }
    }
    counts
}

/// Clients of the great flood. A build without optimisation takes a minute for a million, which `scripts/soak` sends as well.
const CLIENTS: u32 = if cfg!(debug_assertions) { 200_000 } else { 1_000_000 };

/// Counts the lines of what comes through a pipe until it ends.
fn counts_lines(mut log: impl std::io::Read + Send + 'static) -> JoinHandle<usize> {
    thread("log", move || {
        let (mut bytes, mut lines) = (vec![0; 256 << 10], 0);
        while let Ok(count @ 1..) = log.read(&mut bytes) {
            lines += memchr::memchr_iter(b'\n', &bytes[..count]).count();
        }
        lines
    })
}

/// A flood of clients, each with an address and a key of its own, which limits count and half of which are refused: all are answered
/// as they should be, each has a line or is counted as lost, and memory and series are those of the first hundred thousand.
#[test]
fn a_flood_of_clients_costs_no_memory_and_no_series() {
    const FIRST: u32 = 100_000;
    let (log, writer) = std::io::pipe().expect("a pipe");
    let limit = |key: &str, most: u32| format!("rate_limit: {{ key: {key}, limit: {most}/1h }}");
    // What is spent is kept in the table before what is not: no flood frees who is refused.
    let (client, key, all) = (limit("client_ip", 2), limit("header.x-key", 2), limit("global", 1));
    let route = "respond: { status: 200, body: in }";
    let plan = Plan::bare(Io::Uring)
        .workers("2")
        .listener("trusted_proxies: ['127.0.0.0/8']")
        .policies(&format!("client: {{ {client} }}, key: {{ {key} }}, all: {{ {all} }}"))
        .route(&format!("name: in, match: {{ path: /in }}, {route}, policies: [client, key]"))
        .route(&format!("name: out, match: {{ path: /out }}, {route}, policies: [client, key, all]"))
        .and("  metrics: { top_clients: 20 }");
    let gateway = Gateway::start_writing_to(Stdio::from(writer), &plan.yaml());
    let lines = counts_lines(log);
    gateway.client().asks("/out").expects(200);
    let address = gateway.address();
    let floods = |clients: Range<u32>| {
        let share = (clients.end - clients.start) / 4;
        let starts = [0, 1, 2, 3].map(|part| clients.start + part * share);
        let them = starts.map(|start| thread("flood", move || floods_without_looking(address, start..start + share)));
        let counts = them.map(|one| one.join().expect("every request was answered"));
        assert_eq!(counts, [[share as usize / 2; 2]; 4]);
        gateway.waits_for("http_requests_active", 0.0);
    };
    floods(0..FIRST);
    let (before, resident) = (series(&gateway), gateway.process.resident_bytes());
    floods(FIRST..CLIENTS);
    let after = series(&gateway);
    let grown = gateway.process.resident_bytes().saturating_sub(resident);
    assert!(grown < SLACK, "{grown} bytes more");
    assert_eq!(after.len(), before.len(), "{:?}", after.difference(&before));
    assert_eq!(after.iter().filter(|sample| sample.starts_with("rate_limiter_rejected_total{")).count(), 21);
    let (requests, refused) = (f64::from(CLIENTS + 1), f64::from(CLIENTS / 2));
    assert_eq!(gateway.metric_sum("http_requests_total"), requests);
    assert_eq!(gateway.metric_sum("rate_limiter_rejected_total"), refused);
    assert_eq!(gateway.metric("gateway_rejected_requests_total{reason=\"rate_limited\"}"), refused);
    assert!(gateway.metric("rate_limiter_evictions_total") > 100_000.0, "the table was not full");
    let dropped = gateway.metric("access_log_dropped_total");
    gateway.stop();
    // The last one is that of the check that it still answers.
    assert_eq!(lines.join().expect("lines") as f64 + dropped, requests + 1.0);
}

on_both_drivers![
    ten_scrapers_at_once_get_the_whole_page,
    scrapers_that_never_read_lose_their_seats,
    no_flood_of_names_makes_more_series_or_takes_more_memory,
];
