//! Who may be picked and why not: G3, D2, F17, and what readiness and metrics make of it.

use std::net::SocketAddr;

use super::client::Client;
use super::endpoint::Endpoint;
use super::gateway::Gateway;
use super::patient::Patient;
use super::plan::{Io, Plan};
use super::wait::until_true;

/// A TCP probe that has its verdict after one failure.
const PROBED: &str = "health: { active: { kind: tcp, interval: 100ms, healthy_after: 1, unhealthy_after: 1 } }";

fn status(client: &mut Client, path: &str) -> u16 {
    client.asks(path).expects_any().status()
}

fn is_healthy(gateway: &Gateway, cluster: &str, address: SocketAddr) -> f64 {
    gateway.metric(&format!("upstream_endpoint_healthy{{cluster=\"{cluster}\",endpoint=\"{address}\"}}"))
}

/// G3 and K1: each row of the truth table, as `/clusters` and the metrics show it.
fn every_row_of_the_truth_table_is_shown(io: Io) {
    let (drained, bad, closed) = (Patient::start("drained"), Patient::start("bad"), Endpoint::closed());
    bad.tells_clients(500);
    let passive = "health: { passive: { min_requests: 1, max_ejected: 100%, eject_for: 60s } }";
    let breaker = |open_for: &str| format!("breaker: {{ consecutive: 1, open_for: {open_for} }}");
    let required = "health: { active: { kind: tcp, interval: 100ms, unhealthy_after: 100000, require_probe: true } }";
    let (first, second) = (drained.address(), bad.address());
    let plan = Plan::bare(io)
        .cluster_as(
            "drained",
            &format!("endpoints: [{{ url: 'http://{first}', weight: 0 }}, {{ url: 'http://{second}' }}]"),
        )
        .cluster_with("unprobed", &[closed], required)
        .cluster_with("probe", &[closed], PROBED)
        .cluster_with("ejected", &[second], passive)
        .cluster_with("shut", &[second], &breaker("60s"))
        .cluster_with("trial", &[second], &breaker("1ms"));
    let clusters = ["drained", "unprobed", "probe", "ejected", "shut", "trial"];
    let plan = clusters
        .iter()
        .fold(plan, |plan, name| plan.route(&format!("name: {name}, match: {{ path: /{name} }}, cluster: {name}")));
    let gateway = plan.start();
    let mut client = gateway.client();
    for name in clusters {
        status(&mut client, &format!("/{name}"));
    }
    for (cluster, address, unfit, is_fit) in [
        ("drained", first, "unfit: drained", 0.0),
        ("drained", second, "", 1.0),
        ("unprobed", closed, "unfit: unprobed", 0.0),
        ("probe", closed, "unfit: probe", 0.0),
        ("ejected", second, "unfit: ejected", 0.0),
        ("shut", second, "unfit: breaker", 0.0),
        ("trial", second, "", 1.0),
    ] {
        let shown = gateway.waits_to_show(cluster, address, &[("unfit", unfit)]);
        assert_eq!(shown["fit"], is_fit > 0.0, "{shown}");
        assert_eq!(is_healthy(&gateway, cluster, address), is_fit, "{shown}");
    }
    gateway.waits_to_show("trial", second, &[("breaker", "half_open")]);
    gateway.stop();
}

/// One address in two clusters is two endpoints: what the one does and finds changes nothing for the other.
fn one_address_in_two_clusters_is_two_endpoints(io: Io) {
    let bad = Patient::start("bad");
    bad.tells_clients(500).tells_probes(503);
    let probe = "active: { kind: http, interval: 100ms, unhealthy_after: 1 }";
    let strict =
        format!("breaker: {{ consecutive: 1, open_for: 60s }}, health: {{ {probe} }}, none_healthy: fail_closed");
    let gateway = Plan::bare(io)
        .cluster_with("strict", &[bad.address()], &strict)
        .cluster_with("lax", &[bad.address()], "max_connections: 5, breaker: { consecutive: 3, open_for: 60s }")
        .route("name: strict, match: { path: /strict }, cluster: strict")
        .route("name: lax, match: { path: /lax }, cluster: lax")
        .start();
    gateway.waits_to_show("strict", bad.address(), &[("unfit", "unfit: probe")]);
    let mut client = gateway.client();
    assert_eq!(client.asks("/strict").expects(503).reason(), "no_healthy_endpoint");
    for _ in 0..3 {
        assert_eq!(client.asks("/lax").expects(500).reason(), "");
    }
    assert_eq!(client.asks("/lax").expects(503).reason(), "breaker_open");
    let strict = gateway.shows("strict", bad.address());
    assert_eq!((&strict["breaker"], &strict["probe"]), (&"closed".into(), &"unhealthy".into()));
    let lax = gateway.shows("lax", bad.address());
    assert_eq!((&lax["breaker"], &lax["probe"]), (&"open".into(), &"unprobed".into()));
    gateway.stop();
}

/// D2 and F17: with no endpoint fit `fail_closed` refuses at once with a reason and a time, and keeps the client.
fn fail_closed_refuses_at_once(io: Io) {
    let sick = [Patient::start("0"), Patient::start("1")];
    let addresses = sick.each_ref().map(Patient::address);
    for patient in &sick {
        patient.tells_probes(500);
    }
    let probe = "health: { active: { kind: http, interval: 100ms, unhealthy_after: 1 } }, none_healthy: fail_closed";
    let gateway = Plan::bare(io).cluster_with("app", &addresses, probe).route("name: everything, cluster: app").start();
    for address in addresses {
        gateway.waits_to_show("app", address, &[("probe", "unhealthy")]);
    }
    let before = sick.each_ref().map(Patient::served);
    let mut client = gateway.client();
    let fastest_us = (0..50)
        .map(|_| {
            let began = ringgate::clock::now_ns();
            let answer = client.asks("/none").expects(503);
            let took_us = (ringgate::clock::now_ns() - began) / 1_000;
            assert_eq!((answer.reason(), answer.field("retry-after")), ("no_healthy_endpoint", Some("1")));
            assert!(!answer.announces_close());
            took_us
        })
        .min();
    assert!(fastest_us < Some(1_000), "{fastest_us:?} us");
    let line = gateway.log_of("/none");
    assert_eq!((&line["reason"], &line["attempts"]), (&"no_healthy_endpoint".into(), &0.into()), "{line}");
    assert_eq!(gateway.metric("gateway_rejected_requests_total{reason=\"no_healthy_endpoint\"}"), 50.0);
    assert_eq!(sick.each_ref().map(Patient::served), before);
    sick[0].tells_probes(200);
    until_true("one is well", || status(&mut client, "/x") == 200);
    gateway.stop();
}

/// D2: `fail_open` uses what probes took out, and never what is drained or behind an open breaker.
fn fail_open_spares_what_is_drained_or_open(io: Io) {
    let names = ["drained", "open", "sick"];
    let patients = names.map(Patient::start);
    let [drained, open, sick] = patients.each_ref().map(Patient::address);
    for patient in &patients {
        patient.tells_probes(500);
    }
    let active = "health: { active: { kind: http, interval: 100ms, unhealthy_after: 1 } }";
    let gateway = Plan::bare(io)
        .cluster_as(
            "app",
            &format!(
                "endpoints: [{{ url: 'http://{drained}', weight: 0 }}, {{ url: 'http://{open}' }}, {{ url: 'http://{sick}' }}], \
                 {active}, breaker: {{ consecutive: 1, open_for: 60s }}, none_healthy: fail_open"
            ),
        )
        .route("name: everything, cluster: app")
        .start();
    for address in [open, sick] {
        gateway.waits_to_show("app", address, &[("probe", "unhealthy")]);
    }
    let mut client = gateway.client();
    patients[1].tells_clients(500);
    until_true("its breaker opens", || {
        client.asks("/x").expects_any();
        gateway.shows("app", open)["breaker"] == "open"
    });
    for _ in 0..6 {
        assert_eq!(client.asks("/x").expects(200).text(), "sick");
    }
    patients[2].tells_clients(500);
    client.asks("/x").expects(500);
    assert_eq!(client.asks("/x").expects(503).reason(), "breaker_open");
    assert_eq!(patients[0].served(), 0);
    gateway.stop();
}

/// K4: the reason is the breaker only where nothing else keeps the endpoints away.
fn the_reason_is_the_breaker_only_where_it_alone_is_to_blame(io: Io) {
    let patient = Patient::start("it");
    let rules = "health: { active: { kind: http, interval: 100ms, unhealthy_after: 3, healthy_after: 1 } }, \
                 breaker: { consecutive: 1, open_for: 60s }, none_healthy: fail_closed";
    let gateway =
        Plan::bare(io).cluster_with("app", &[patient.address()], rules).route("name: everything, cluster: app").start();
    patient.tells_clients(500);
    let mut client = gateway.client();
    client.asks("/x").expects(500);
    assert_eq!(client.asks("/x").expects(503).reason(), "breaker_open");
    patient.tells_probes(500);
    gateway.waits_to_show("app", patient.address(), &[("unfit", "unfit: probe")]);
    assert_eq!(client.asks("/x").expects(503).reason(), "no_healthy_endpoint");
    patient.tells_probes(200);
    gateway.waits_to_show("app", patient.address(), &[("unfit", "unfit: breaker")]);
    assert_eq!(client.asks("/x").expects(503).reason(), "breaker_open");
    gateway.stop();
}

/// G4: not ready while a required cluster has no fit endpoint; others do not matter.
fn ready_needs_a_fit_endpoint_of_each_required_cluster(io: Io) {
    let (needed, other) = (Patient::start("needed"), Patient::start("other"));
    let active = "health: { active: { kind: http, interval: 100ms, unhealthy_after: 3, healthy_after: 1, require_probe: true } }";
    needed.tells_probes(500);
    let gateway = Plan::bare(io)
        .cluster_with("needed", &[needed.address()], &format!("required: true, {active}"))
        .cluster_with("other", &[other.address()], active)
        .route("name: needed, match: { path: /needed }, cluster: needed")
        .route("name: other, cluster: other")
        .start();
    let ready = || gateway.asks_admin("GET", "/ready").status();
    gateway.waits_to_show("needed", needed.address(), &[("probe_detail", "status 500")]);
    assert_eq!(ready(), 503, "it has not passed");
    assert_eq!(gateway.status()["ready"], false);
    assert_eq!(gateway.asks_admin("GET", "/health").status(), 200, "the process lives all the same");
    needed.tells_probes(200);
    until_true("ready", || ready() == 200);
    other.tells_probes(500);
    gateway.waits_to_show("other", other.address(), &[("probe", "unhealthy")]);
    assert_eq!(ready(), 200);
    needed.tells_probes(500);
    until_true("not ready", || ready() == 503);
    gateway.stop();
}

/// K1: what is in flight as a share of the cap.
fn saturation_is_what_is_in_flight_of_the_cap(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::bare(io)
        .cluster_with("app", &[endpoint.address()], "max_connections: 4")
        .route("name: everything, cluster: app")
        .start();
    let ratio = || gateway.metric("upstream_connection_saturation_ratio{cluster=\"app\"}");
    assert_eq!(ratio(), 0.0);
    let mut held = Vec::new();
    for share in [0.25, 0.5, 0.75, 1.0] {
        let mut client = gateway.client();
        client.asks("/held");
        let mut upstream = endpoint.accepts();
        upstream.expects("GET /held");
        held.push((client, upstream));
        assert_eq!(ratio(), share);
        until_true("the page says the same", || gateway.cluster("app")["saturation"] == share);
    }
    let mut client = gateway.client();
    assert_eq!(client.asks("/more").expects(503).reason(), "upstream_saturated");
    for (client, upstream) in &mut held {
        upstream.replies_with("done");
        client.expects(200);
    }
    until_true("nothing in flight", || ratio() == 0.0);
    gateway.stop();
}

on_both_drivers![
    every_row_of_the_truth_table_is_shown,
    one_address_in_two_clusters_is_two_endpoints,
    fail_closed_refuses_at_once,
    fail_open_spares_what_is_drained_or_open,
    the_reason_is_the_breaker_only_where_it_alone_is_to_blame,
    ready_needs_a_fit_endpoint_of_each_required_cluster,
    saturation_is_what_is_in_flight_of_the_cap,
];
