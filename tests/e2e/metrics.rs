//! Figures: K1 and I5.

use std::net::SocketAddr;

use h2::Reason;

use super::client::Client;
use super::endpoint::Endpoint;
use super::h2_client::H2Client;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::wait::{now_ms, until_true};
use super::wire::Wire;

/// K1: every figure is on the page, typed, in both text formats.
fn every_figure_is_on_the_page(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).start();
    let mut client = gateway.client();
    client.asks("/x");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /x");
    upstream.closes();
    client.expects(502);
    gateway.waits_for("http_requests_active", 0.0);
    let page = gateway.metrics();
    for family in [
        "http_requests_total",
        "http_request_duration_seconds",
        "http_requests_active",
        "http_route_requests_total",
        "upstream_errors_total",
        "net_connections_active",
        "net_connections_idle",
        "net_connections_accepted_total",
        "gateway_rejected_requests_total",
        "memory_usage_bytes",
        "max_connections",
        "upstream_connection_reuse_ratio",
        "worker_tasks",
        "worker_stall_seconds_max",
        "config_epoch",
    ] {
        assert!(page.contains(&format!("# TYPE {family} ")), "{family} is missing:\n{page}");
    }
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let value = line.rsplit(' ').next().expect("a value");
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    for sample in [
        "http_requests_total{method=\"GET\",code=\"502\"} 1",
        "http_route_requests_total{route=\"everything\",class=\"5xx\"} 1",
        "upstream_errors_total{reason=\"upstream_eof\"} 1",
        "gateway_rejected_requests_total{reason=\"upstream_eof\"} 1",
        "http_request_duration_seconds_count 1",
        "http_request_duration_seconds_bucket{le=\"+Inf\"} 1",
    ] {
        assert!(page.lines().any(|line| line == sample), "{sample} is missing:\n{page}");
    }
    let mut wire = Wire::to(gateway.admin());
    let host = gateway.admin();
    wire.sends(format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nAccept: application/openmetrics-text\r\n\r\n"));
    let mut open = wire.reads_head();
    wire.reads_body(&mut open);
    let families = |page: &str| page.lines().filter(|line| line.starts_with("# TYPE ")).count();
    assert!(open.field("content-type").is_some_and(|kind| kind.starts_with("application/openmetrics-text")), "{open}");
    assert!(open.text().ends_with("\n# EOF\n"));
    assert!(families(open.text()) > 80 && families(open.text()) == families(&page), "{open}");
    gateway.stop();
}

/// I5: requests are the sum of responses by status and of those whose client left.
fn requests_are_the_sum_of_answers_and_aborts(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()])
        .route("name: local, match: { path: /local }, respond: { status: 200, body: ok }")
        .start();
    let mut client = gateway.client();
    for _ in 0..7 {
        client.asks("/local");
        client.expects(200);
    }
    for _ in 0..3 {
        let mut leaving = gateway.client();
        leaving.asks("/left");
        let mut upstream = endpoint.accepts();
        upstream.expects("GET /left");
        leaving.resets();
        upstream.reads_to_end();
    }
    gateway.waits_for("client_aborts_total", 3.0);
    gateway.waits_for("http_requests_active", 0.0);
    assert_eq!(gateway.metric_sum("http_requests_total"), 10.0);
    assert_eq!(gateway.metric("http_requests_total{method=\"GET\",code=\"200\"}"), 7.0);
    assert_eq!(gateway.metric("http_requests_total{method=\"GET\",code=\"499\"}"), 3.0);
    assert_eq!(gateway.metric("http_request_duration_seconds_count"), 10.0);
    assert_eq!(gateway.metric_sum("http_route_requests_total"), 10.0);
    until_true("a line for each", || gateway.log_lines().len() == 10);
    gateway.stop();
}

/// What a client of the chaos does over HTTP/2.
fn misbehaves_over_http2(to: SocketAddr, turn: usize) {
    let mut client = H2Client::to(to);
    match turn % 4 {
        0 => {
            let streams = ["/ok", "/refused", "/nowhere"].map(|path| client.gets(path));
            for (stream, status) in streams.into_iter().zip([200, 502, 404]) {
                stream.expects(status);
            }
        }
        1 => {
            let mut cut = client.begins("POST", "/ok", &[]);
            cut.sends("some", false);
            cut.resets(Reason::CANCEL);
            client.gets("/ok").expects(200);
        }
        2 => {
            client.gets("/cut").expects_reset();
        }
        // The connection ends with streams on it, one of which nobody may have looked at yet.
        _ => drop((client.gets("/ok").expects(200), client.gets("/ok"), client.begins("POST", "/ok", &[]))),
    }
}

/// What a client of the chaos does, and what its requests are counted as.
fn misbehaves(to: SocketAddr, turn: usize) {
    if turn % 3 == 2 {
        return misbehaves_over_http2(to, turn / 3);
    }
    let mut client = Client::to(to);
    match turn % 8 {
        0 => drop(client.asks("/ok").expects(200)),
        1 => drop(client.asks("/refused").expects(502)),
        2 => drop(client.asks("/nowhere").expects(404)),
        // Two of a row are answered, and the last one never comes whole.
        3 => {
            client.sends("GET /ok HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2) + "GET /ok HT");
            client.expects(200);
            client.expects(200);
            client.closes();
        }
        4 => drop(client.sends("GET / HTTP/1.1\r\nHost : a\r\n\r\n").reads_to_end()),
        5 => {
            client.asks("/ok");
            client.resets();
        }
        6 => {
            client.sends("POST /ok HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nsome");
            client.resets();
        }
        _ => {
            client.asks("/cut");
            client.reads_to_end();
        }
    }
}

/// I5, after chaos over both protocols: whatever clients and endpoints do, a request is counted once wherever requests are
/// counted, and those whose clients left are those that were aborted.
fn counters_add_up_after_chaos(io: Io) {
    let origin = Origin::answering(|request| {
        let is_cut = request.start.contains(" /cut ");
        let length = if is_cut { 100 } else { 2 };
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\nok").into_bytes()
    });
    let gateway = Plan::bare(io)
        .workers("2")
        .speaks_h2()
        .cluster("app", &[origin.address()])
        .cluster("gone", &[Endpoint::closed()])
        .route("name: ok, match: { path: /ok }, cluster: app")
        .route("name: cut, match: { path: /cut }, cluster: app")
        .route("name: refused, match: { path: /refused }, cluster: gone")
        .timeouts("body_idle: 300ms")
        .start();
    std::thread::scope(|scope| {
        for first in 0..4 {
            let address = gateway.address();
            scope.spawn(move || (0..60).for_each(|turn| misbehaves(address, first + turn)));
        }
    });
    // A connection that was reset may still wait to be accepted.
    until_true("every connection accepted", || gateway.metric_sum("net_connections_accepted_total") == 240.0);
    gateway.waits_for("net_connections_active", 0.0);
    gateway.waits_for("http_requests_active", 0.0);
    let requests = gateway.metric_sum("http_requests_total");
    assert!(requests >= 200.0, "{requests} requests");
    assert_eq!(gateway.metric("http_request_duration_seconds_count"), requests);
    assert_eq!(gateway.metric_sum("http_route_requests_total"), requests);
    until_true("a line for each", || gateway.log_lines().len() as f64 >= requests);
    let lines = gateway.log_lines();
    assert_eq!((lines.len() as f64, gateway.metric("access_log_dropped_total")), (requests, 0.0));
    let page = gateway.metrics();
    for status in [200, 400, 404, 499, 502] {
        let logged = lines.iter().filter(|line| line["status"] == status).count();
        let samples = page.lines().filter(|line| line.contains(&format!(",code=\"{status}\"}} ")));
        let counted: f64 = samples.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum();
        assert_eq!(counted, logged as f64, "{status}");
    }
    let aborted = lines.iter().filter(|line| line["reason"] == "client_abort").count();
    assert_eq!(gateway.metric("client_aborts_total"), aborted as f64);
    gateway.stop();
}

/// K1: a worker that does not get to run for a while says how long it was.
fn a_stalled_worker_is_told_of(io: Io) {
    let gateway = Plan::bare(io).start();
    let before = gateway.metric("worker_stalls_total");
    gateway.signal(libc::SIGSTOP);
    let began_ms = now_ms();
    until_true("a while without running", || now_ms() > began_ms + 300);
    gateway.signal(libc::SIGCONT);
    until_true("it is told", || gateway.metric("worker_stalls_total") > before);
    let longest = gateway.metric("worker_stall_seconds_max");
    assert!((0.25..15.0).contains(&longest), "{longest} s");
    gateway.stop();
}

/// I7: a gateway with resting connections and nothing to do uses next to no CPU.
fn an_idle_gateway_uses_next_to_no_cpu(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).workers("2").start();
    let clients: Vec<_> = (0..100).map(|_| gateway.client()).collect();
    gateway.waits_for("net_connections_idle", 100.0);
    let (ticks, began_ms) = (gateway.process.cpu_ticks(), now_ms());
    until_true("a second of rest", || now_ms() - began_ms > 1_000);
    let used = gateway.process.cpu_ticks() - ticks;
    assert!(used <= 15, "{used} hundredths of a second in one second of rest");
    drop(clients);
    gateway.stop();
}

on_both_drivers![
    every_figure_is_on_the_page,
    requests_are_the_sum_of_answers_and_aborts,
    counters_add_up_after_chaos,
    a_stalled_worker_is_told_of,
    an_idle_gateway_uses_next_to_no_cpu,
];
