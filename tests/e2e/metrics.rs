//! Figures: K1 and I5.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use h2::Reason;

use super::client::Client;
use super::endpoint::Endpoint;
use super::gateway::json;
use super::h2_client::H2Client;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::trial::stages;
use super::wait::{now_ms, thread, until_true};
use super::wire::Wire;

/// No series is there twice: what is named like the series of those that have none of their own counts in it, and an endpoint
/// that a trial speaks to in another way has its samples once.
fn no_series_is_there_twice(io: Io) {
    let origin = Origin::saying("ok");
    let plan = |scheme: &str| {
        Plan::bare(io)
            .cluster_of("other", &format!("{{ url: '{scheme}://{}' }}", origin.address()))
            .route("name: other, match: { path: /other }, cluster: other")
            .and("reload: { watch: false, stage: { share: 50%, for: 1h } }")
    };
    let gateway = plan("http").start();
    let mut client = gateway.client();
    client.asks("/other").expects(200);
    client.asks("/nowhere").expects(404);
    gateway.waits_for("http_route_requests_total{route=\"other\",class=\"2xx\"}", 1.0);
    gateway.waits_for("http_route_requests_total{route=\"other\",class=\"4xx\"}", 1.0);
    client.asks("/nowhere").expects(404);
    client.asks("/other").expects(200);
    gateway.waits_for("http_route_requests_total{route=\"other\",class=\"2xx\"}", 2.0);
    let pages = json(gateway.asks_admin("GET", "/latency").text());
    for kind in ["routes", "clusters"] {
        let named = pages[kind].as_array().expect("a list").iter().filter(|one| one["name"] == "other").count();
        assert_eq!(named, 1, "{kind}: {pages}");
    }
    stages(&gateway, &plan("h2c").yaml());
    let endpoint = origin.address();
    gateway.waits_for(&format!("upstream_endpoint_healthy{{cluster=\"other\",endpoint=\"{endpoint}\"}}"), 1.0);
    let shown = gateway.cluster("other");
    assert_eq!(shown["endpoints"].as_array().map(Vec::len), Some(2), "{shown}");
    gateway.stop();
}

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
        "http_responses_cut_total",
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

/// What the clients of the chaos know: answers that they got, by status, and requests that they gave up before, by the status
/// that those would have been answered with.
#[derive(Default)]
struct Tally {
    got: BTreeMap<u16, u64>,
    left: BTreeMap<u16, u64>,
}

impl Tally {
    fn gets(&mut self, status: u16) {
        *self.got.entry(status).or_default() += 1;
    }

    fn leaves(&mut self, status: u16) {
        *self.left.entry(status).or_default() += 1;
    }

    fn and(mut self, other: Self) -> Self {
        other.got.into_iter().for_each(|(status, count)| *self.got.entry(status).or_default() += count);
        other.left.into_iter().for_each(|(status, count)| *self.left.entry(status).or_default() += count);
        self
    }
}

/// What a client of the chaos does over HTTP/2.
fn misbehaves_over_http2(to: SocketAddr, turn: usize, tally: &mut Tally) {
    let mut client = H2Client::to(to);
    match turn % 5 {
        0 => {
            let streams = ["/ok", "/refused", "/nowhere"].map(|path| client.gets(path));
            for (stream, status) in streams.into_iter().zip([200, 502, 404]) {
                stream.expects(status);
                tally.gets(status);
            }
        }
        1 => {
            let mut cut = client.begins("POST", "/ok", &[]);
            cut.sends("some", false);
            cut.resets(Reason::CANCEL);
            tally.leaves(200);
            client.gets("/ok").expects(200);
            tally.gets(200);
        }
        2 => {
            client.gets("/cut").expects_reset();
            tally.gets(200);
        }
        3 => {
            client.gets("/nowhere").resets(Reason::CANCEL);
            tally.leaves(404);
        }
        // The connection ends with streams on it, one of which nobody may have looked at yet.
        _ => {
            drop((client.gets("/ok").expects(200), client.gets("/ok"), client.begins("POST", "/ok", &[])));
            tally.gets(200);
            tally.leaves(200);
            tally.leaves(200);
        }
    }
}

/// What a client of the chaos does.
fn misbehaves(to: SocketAddr, turn: usize, tally: &mut Tally) {
    if turn % 3 == 2 {
        return misbehaves_over_http2(to, turn / 3, tally);
    }
    let mut client = Client::to(to);
    let mut expects = |client: &mut Client, status| {
        client.expects(status);
        tally.gets(status);
    };
    match turn % 10 {
        0 => expects(client.asks("/ok"), 200),
        1 => expects(client.asks("/refused"), 502),
        2 => expects(client.asks("/nowhere"), 404),
        // Two of a row are answered, and the last one never comes whole.
        3 => {
            client.sends("GET /ok HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2) + "GET /ok HT");
            expects(&mut client, 200);
            expects(&mut client, 200);
            client.closes();
        }
        4 => {
            client.sends("GET / HTTP/1.1\r\nHost : a\r\n\r\n");
            expects(&mut client, 400);
        }
        5 => {
            client.asks("/ok");
            client.resets();
            tally.leaves(200);
        }
        6 => {
            client.sends("POST /ok HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nsome");
            client.resets();
            tally.leaves(200);
        }
        // Before an answer of the gateway's own.
        7 => {
            client.asks("/nowhere");
            client.resets();
            tally.leaves(404);
        }
        8 => {
            client.sends("GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n".repeat(20));
            expects(&mut client, 404);
            client.resets();
            (0..19).for_each(|_| tally.leaves(404));
        }
        _ => {
            client.asks("/cut");
            client.expects_head(200);
            client.reads_to_end();
            tally.gets(200);
        }
    }
}

/// I5, after chaos over both protocols: what is counted is what clients got, and of what they gave up at most what that would have
/// been answered with, or an abort; it is counted once wherever requests are counted, and for the reason that the log has.
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
    let address = gateway.address();
    let clients = [0, 1, 2, 3].map(|first| {
        thread("client", move || {
            let mut tally = Tally::default();
            (0..60).for_each(|turn| misbehaves(address, first + turn, &mut tally));
            tally
        })
    });
    let tally = clients.into_iter().map(|client| client.join().expect("no panic")).fold(Tally::default(), Tally::and);
    // A connection that was reset may still wait to be accepted.
    until_true("every connection accepted", || gateway.metric_sum("net_connections_accepted_total") == 240.0);
    gateway.waits_for("net_connections_active", 0.0);
    gateway.waits_for("http_requests_active", 0.0);
    let counted = |status: u16| {
        let page = gateway.metrics();
        let samples = page.lines().filter(|line| line.contains(&format!(",code=\"{status}\"}} ")));
        samples.map(|line| line.rsplit(' ').next().expect("a value").parse::<f64>().expect("a number")).sum::<f64>()
    };
    let requests = gateway.metric_sum("http_requests_total");
    let statuses = [200, 400, 404, 499, 502];
    assert_eq!(statuses.map(counted).iter().sum::<f64>(), requests, "and no other status");
    let of = |counts: &BTreeMap<u16, u64>, status| counts.get(&status).copied().unwrap_or_default() as f64;
    for status in [200, 400, 404, 502] {
        let (got, left) = (of(&tally.got, status), of(&tally.left, status));
        assert!((got..=got + left).contains(&counted(status)), "{status}: {got}, {left} given up, {}", counted(status));
    }
    let (got, left) = (tally.got.values().sum::<u64>() as f64, tally.left.values().sum::<u64>() as f64);
    assert!(got >= 200.0 && (got..=got + left).contains(&requests), "{got}, {left} given up, {requests} counted");
    assert_eq!(gateway.metric("http_request_duration_seconds_count"), requests);
    assert_eq!(gateway.metric_sum("http_route_requests_total"), requests);
    assert_eq!(gateway.metric_sum("http_requests_by_protocol_total"), requests);
    assert_eq!(gateway.metric("http_requests_by_protocol_total{protocol=\"unknown\"}"), counted(400), "unread ones");
    until_true("a line for each", || gateway.log_lines().len() as f64 >= requests);
    let lines = gateway.log_lines();
    assert_eq!((lines.len() as f64, gateway.metric("access_log_dropped_total")), (requests, 0.0));
    for status in statuses {
        let logged = lines.iter().filter(|line| line["status"] == status).count();
        assert_eq!(counted(status), logged as f64, "{status}");
    }
    let told = |reason: &str| lines.iter().filter(|line| line["reason"] == reason).count() as f64;
    assert_eq!(gateway.metric("client_aborts_total"), told("client_abort"));
    assert!((counted(499)..=left).contains(&told("client_abort")), "none who stayed was taken for gone");
    // What the gateway refused it counted as that, whether or not anybody heard, and nothing else.
    for (reason, status) in [("bad_request", 400), ("route_not_found", 404), ("connect_refused", 502)] {
        let rejected = gateway.metric(&format!("gateway_rejected_requests_total{{reason=\"{reason}\"}}"));
        assert_eq!((rejected, told(reason)), (counted(status), counted(status)), "{reason}");
    }
    let refused = counted(400) + counted(404) + counted(502);
    assert_eq!(gateway.metric_sum("gateway_rejected_requests_total"), refused);
    // And of whatever else failed an answer had begun.
    let cut = |reason: &str| gateway.metric(&format!("http_responses_cut_total{{reason=\"{reason}\"}}"));
    assert_eq!(cut("client_abort"), told("client_abort") - counted(499));
    assert!(cut("upstream_truncated") + cut("upstream_body_timeout") > 0.0);
    let failed = lines.iter().filter(|line| line["reason"].is_string()).count() as f64;
    assert_eq!(gateway.metric_sum("http_responses_cut_total") + refused + counted(499), failed);
    gateway.stop();
}

/// K1: the tasks of a worker are its connections, the streams on them, its listener and its tick, and what has ended is none.
fn tasks_are_those_that_live(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).speaks_h2().workers("2").start();
    let tasks = |count: f64| {
        until_true(&format!("{count} tasks"), || gateway.metric_sum("worker_tasks") == count);
    };
    tasks(4.0);
    assert_eq!(gateway.metric("worker_tasks{worker=\"0\"}"), 2.0, "a listener and a tick");
    let clients: Vec<_> = (0..3).map(|_| gateway.client()).collect();
    tasks(7.0);
    let mut client = H2Client::to(gateway.address());
    let streams = ["/one", "/two"].map(|path| client.gets(path));
    let ends: Vec<_> = (0..2).map(|_| endpoint.accepts()).collect();
    tasks(10.0);
    drop(streams);
    tasks(8.0);
    drop((client, clients, ends));
    tasks(4.0);
    gateway.stop();
}

/// K1: a worker that does not get to run for a while says how long it was.
fn a_stalled_worker_is_told_of(io: Io) {
    let gateway = Plan::bare(io).workers("2").start();
    let before = gateway.metric("worker_stalls_total");
    gateway.signal(libc::SIGSTOP);
    let began_ms = now_ms();
    until_true("a while without running", || now_ms() > began_ms + 300);
    gateway.signal(libc::SIGCONT);
    until_true("it is told", || gateway.metric("worker_stalls_total") > before);
    let longest = ["0", "1"]
        .map(|worker| gateway.metric(&format!("worker_stall_seconds_max{{worker=\"{worker}\"}}")))
        .into_iter()
        .fold(0.0, f64::max);
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
    no_series_is_there_twice,
    every_figure_is_on_the_page,
    requests_are_the_sum_of_answers_and_aborts,
    counters_add_up_after_chaos,
    tasks_are_those_that_live,
    a_stalled_worker_is_told_of,
    an_idle_gateway_uses_next_to_no_cpu,
];
