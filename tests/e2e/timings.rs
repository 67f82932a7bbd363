//! K2 and K1: what the stages of an exchange took, in the log, in figures, and for trusted peers.

use std::sync::Arc;

use super::client::Client;
use super::endpoint::Endpoint;
use super::layer::Layer;
use super::plan::{Io, Plan};
use super::site::Site;
use super::wait::{now_ms, until_true};
use super::wire::Wire;

fn waits_ms(ms: u64) {
    let began_ms = now_ms();
    until_true("some time", || now_ms() > began_ms + ms);
}

/// Each stage is told of where the time went: the head in pieces, the queue of a cluster at its cap, the endpoint's answer,
/// the body.
fn every_stage_says_what_it_took(io: Io) {
    let endpoint = Endpoint::listens();
    let plan = Plan::bare(io)
        .cluster_with("app", &[endpoint.address()], "max_connections: 1, queue: { max: 8, timeout: 10s }")
        .policies("slow_down: { rate_limit: { limit: 1000/1s } }")
        .route("name: all, cluster: app, policies: [slow_down]");
    let gateway = plan.start();
    let mut first = gateway.client();
    first.sends("GET /first HTTP/1.1\r\n");
    gateway.waits_for("net_connections_active", 1.0);
    gateway.waits_for("net_connections_idle", 0.0);
    waits_ms(30);
    first.sends("Host: a\r\n\r\n");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /first");
    let mut second = gateway.client();
    second.asks("/second");
    gateway.waits_for("upstream_requests_waiting", 1.0);
    // Longer than the endpoint may take over its own answer on a busy machine.
    waits_ms(500);
    upstream.replies("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
    first.expects_head(200);
    waits_ms(30);
    upstream.replies("ok");
    first.reads(2);
    upstream.expects("GET /second");
    upstream.replies_with("ok");
    second.expects(200);
    let line = gateway.log_of("/first");
    let ms = |line: &serde_json::Value, key: &str| line[key].as_f64().unwrap_or(-1.0);
    for key in ["head_ms", "first_byte_ms", "body_ms"] {
        assert!(ms(&line, key) >= 29.0, "{key}: {line}");
    }
    assert!(ms(&line, "admit_ms") >= 0.0 && ms(&line, "connect_ms") > 0.0 && ms(&line, "queue_ms") < 0.0, "{line}");
    let total: f64 =
        ["head_ms", "admit_ms", "connect_ms", "first_byte_ms", "body_ms"].map(|key| ms(&line, key)).iter().sum();
    assert!(total <= ms(&line, "duration_ms") + 0.01, "stages do not overlap: {line}");
    let line = gateway.log_of("/second");
    assert!(ms(&line, "queue_ms") >= 529.0 && ms(&line, "first_byte_ms") < ms(&line, "queue_ms"), "{line}");
    for (stage, count) in [
        ("accept", 2.0),
        ("tls", 0.0),
        ("head", 1.0),
        ("route", 1.0),
        ("admit", 2.0),
        ("limiter", 2.0),
        ("queue", 1.0),
        ("connect", 1.0),
        ("reuse", 0.0),
        ("first_byte", 2.0),
        ("body", 2.0),
    ] {
        gateway.waits_for(&format!("http_stage_duration_seconds_count{{stage=\"{stage}\"}}"), count);
    }
    let sum = gateway.metric("http_stage_duration_seconds_sum{stage=\"queue\"}");
    assert!((0.529..5.0).contains(&sum), "{sum} seconds in the queue");
    gateway.stop();
}

/// A connection has its way to its first byte; of route and reuse one request in 16 is timed; rate limits are timed apart from the
/// rest of the policies, wherever they are asked.
fn the_short_stages_are_timed_too(io: Io) {
    let origin = super::origin::Origin::saying("ok");
    let gateway = Plan::bare(io)
        .cluster("app", &[origin.address()])
        .policies("few: { rate_limit: { limit: 1000/1s } }, near: { access: { allow: [127.0.0.0/8] } }")
        .route("name: limited, match: { path: /limited }, cluster: app, policies: [near, few]")
        .route("name: near, match: { path: /near }, cluster: app, policies: [near]")
        .route("name: plain, match: { path: /* }, cluster: app")
        .start();
    let mut client = gateway.client();
    gateway.waits_for("net_connections_active", 1.0);
    waits_ms(30);
    for _ in 0..33 {
        client.asks("/plain").expects(200);
    }
    client.asks("/limited").expects(200);
    client.asks("/near").expects(200);
    let count = |stage: &str| format!("http_stage_duration_seconds_count{{stage=\"{stage}\"}}");
    for (stage, times) in [
        ("accept", 1.0),
        ("route", 3.0),
        ("admit", 2.0),
        ("limiter", 1.0),
        ("connect", 1.0),
        // The first had to connect.
        ("reuse", 2.0),
        ("first_byte", 35.0),
    ] {
        gateway.waits_for(&count(stage), times);
    }
    let sum = |stage: &str| gateway.metric(&format!("http_stage_duration_seconds_sum{{stage=\"{stage}\"}}"));
    assert!((0.029..5.0).contains(&sum("accept")), "{} s before the first byte", sum("accept"));
    for stage in ["route", "limiter", "reuse"] {
        assert!(sum(stage) > 0.0 && sum(stage) < 0.5, "{stage}: {} s", sum(stage));
    }
    assert!(sum("limiter") < sum("admit"), "it is part of it");
    gateway.stop();
}

/// Over TLS the way to the first byte ends with the handshake's, which has a stage of its own; the request behind it has none
/// of either again.
fn a_handshake_is_a_stage(io: Io) {
    let site = Site::new();
    let believer = Arc::new(site.believer());
    let (_authority, gateway) = site.start(Plan::bare(io).route("name: all, respond: { status: 200, body: in }"));
    let wire = Wire::to(gateway.address());
    gateway.waits_for("net_connections_active", 1.0);
    waits_ms(30);
    let mut client = Client::over(wire.secured(Layer::client(&believer, "a.example")).expect("a handshake"));
    for _ in 0..3 {
        client.asks("/").expects(200);
    }
    for stage in ["accept", "tls", "route"] {
        gateway.waits_for(&format!("http_stage_duration_seconds_count{{stage=\"{stage}\"}}"), 1.0);
    }
    let sum = |stage: &str| gateway.metric(&format!("http_stage_duration_seconds_sum{{stage=\"{stage}\"}}"));
    assert!((0.029..5.0).contains(&sum("accept")), "{} s before the first byte", sum("accept"));
    assert!(sum("tls") > 0.0 && sum("tls") < 5.0, "{} s for a handshake", sum("tls"));
    gateway.stop();
}

/// A trusted peer is told in `Server-Timing`, where it is on; nobody else ever is.
fn only_trusted_peers_are_told_in_server_timing(io: Io) {
    for (trusted, on, told) in
        [("127.0.0.0/8", "on", true), ("127.0.0.0/8", "off", false), ("192.0.2.0/24", "on", false)]
    {
        let endpoint = Endpoint::listens();
        let plan = Plan::to(io, &[endpoint.address()]).listener(&format!("trusted_proxies: ['{trusted}']"));
        let plan = plan.route("name: local, match: { path: /local }, respond: { status: 200 }");
        let gateway = plan.and(&format!("  server_timing: {on}")).start();
        let mut client = gateway.client();
        client.asks("/x");
        let mut upstream = endpoint.accepts();
        upstream.expects("GET /x");
        upstream.replies("HTTP/1.1 200 OK\r\nServer-Timing: db;dur=1\r\nContent-Length: 0\r\n\r\n");
        let answer = client.expects(200);
        let values = answer.all("server-timing");
        client.asks("/local");
        let local = client.expects(200);
        if told {
            assert_eq!((values.len(), values[0]), (2, "db;dur=1"));
            let names: Vec<&str> =
                values[1].split(", ").map(|metric| metric.split(";dur=").next().unwrap_or("")).collect();
            assert_eq!(names, ["head", "connect", "upstream"]);
            assert!(
                values[1]
                    .split(", ")
                    .all(|metric| metric.split(";dur=").nth(1).is_some_and(|ms| ms.parse::<f64>().is_ok()))
            );
            assert_eq!(local.field("server-timing"), Some("head;dur=0.000"));
        } else {
            assert_eq!((values, local.field("server-timing")), (vec!["db;dur=1"], None));
        }
        gateway.stop();
    }
}

/// K1: of more routes than there are series for, the rest share one, and how many they are is told.
fn routes_without_a_series_of_their_own_are_counted(io: Io) {
    let mut plan = Plan::bare(io);
    for number in 0..1_100 {
        plan = plan.route(&format!("name: r{number}, match: {{ path: /{number} }}, respond: {{ status: 200 }}"));
    }
    let gateway = plan.start();
    let mut client = gateway.client();
    for number in [0, 1_023, 1_024, 1_099] {
        client.asks(&format!("/{number}"));
        client.expects(200);
    }
    gateway.waits_for("http_routes_omitted", 76.0);
    gateway.waits_for("http_route_requests_total{route=\"r1023\",class=\"2xx\"}", 1.0);
    gateway.waits_for("http_route_requests_total{route=\"other\",class=\"2xx\"}", 2.0);
    gateway.stop();
}

on_both_drivers![
    every_stage_says_what_it_took,
    the_short_stages_are_timed_too,
    a_handshake_is_a_stage,
    only_trusted_peers_are_told_in_server_timing,
    routes_without_a_series_of_their_own_are_counted,
];
