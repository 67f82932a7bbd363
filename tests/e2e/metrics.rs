//! Figures: K1 and I5.

use super::endpoint::Endpoint;
use super::plan::{Io, Plan};
use super::wait::{now_ms, until_true};

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
    a_stalled_worker_is_told_of,
    an_idle_gateway_uses_next_to_no_cpu,
];
