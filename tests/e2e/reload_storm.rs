//! I2 and F40: many reloads beside traffic and beside connections that have nothing to do with them.

use std::fmt::Write as _;

use super::client::Client;
use super::gateway::Gateway;
use super::heirs::Load;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::wait::{now_ms, until_true};
use super::wire::Wire;

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
/// Milliseconds between two reloads when there are 20 in a second.
const PERIOD_MS: u64 = 50;

/// An endpoint that switches when it is asked to and gives every byte back, and otherwise answers with `hello`.
fn switching() -> Origin {
    Origin::serving(|mut wire| {
        while let Some(request) = wire.try_reads_head() {
            if request.field("upgrade").is_none() {
                if wire.try_send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").is_err() {
                    return;
                }
                continue;
            }
            if wire.try_send(SWITCH).is_err() {
                return;
            }
            while echoes(&mut wire) {}
            return;
        }
    })
}

/// Gives back what comes next; false at the end.
fn echoes(wire: &mut Wire) -> bool {
    let Ok(count @ 1..) = wire.try_read() else { return false };
    let bytes = wire.reads(count);
    wire.try_send(bytes).is_ok()
}

/// A plan with one route that differs by `number`, and others that stay.
fn variant(plan: &Plan, number: usize) -> String {
    let route = format!("name: v{number}, match: {{ path: /v{number} }}, respond: {{ status: 200, body: v{number} }}");
    plan.clone().route(&route).yaml()
}

fn reloads(gateway: &Gateway, yaml: &str) {
    gateway.writes(yaml);
    let answer = gateway.asks_admin("POST", "/reload");
    assert_eq!(answer.status(), 200, "{answer}");
}

/// Open connections of clients that rest, and tunnels, are the same after reloads that are about something else.
fn connections_and_tunnels_outlive_unrelated_reloads(io: Io) {
    let origin = switching();
    let plan = Plan::to(io, &[origin.address()]).workers("2").log("off").and("reload: { watch: false }");
    let gateway = plan.start();
    let mut kept: Vec<Client> = (0..400).map(|_| gateway.client()).collect();
    for client in &mut kept {
        assert_eq!(client.asks("/x").expects(200).text(), "hello");
    }
    let mut tunnels: Vec<Client> = (0..60).map(|_| gateway.client()).collect();
    for tunnel in &mut tunnels {
        tunnel.sends(ASK);
        tunnel.expects_interim(101);
    }
    let accepted = gateway.metric("net_connections_accepted_total");
    for (number, tunnel) in tunnels.iter_mut().enumerate() {
        reloads(&gateway, &variant(&plan, number));
        tunnel.sends("ping");
        assert_eq!(tunnel.reads(4), b"ping");
    }
    for client in &mut kept {
        let answer = client.asks("/x").expects(200);
        assert!(answer.text() == "hello" && !answer.announces_close(), "{answer}");
    }
    for tunnel in &mut tunnels {
        tunnel.sends("pong");
        assert_eq!(tunnel.reads(4), b"pong");
    }
    assert_eq!((gateway.metric("tunnels_active"), gateway.metric("tunnels_total")), (60.0, 60.0));
    assert_eq!(gateway.metric("net_connections_accepted_total"), accepted, "nobody had to come again");
    assert_eq!(gateway.epoch(), 61);
    drop((kept, tunnels));
    gateway.waits_for("tunnels_active", 0.0);
    gateway.stop();
}

/// F40: twenty reloads in a second, for three seconds, under load: no request fails, and what is left behind is freed.
fn twenty_reloads_in_a_second_cost_no_request(io: Io) {
    let origin = Origin::echo();
    let mut plan = Plan::to(io, &[origin.address()]).workers("2").log("off").and("reload: { watch: false }");
    for number in 0..300 {
        plan = plan.route(&format!("name: r{number}, match: {{ path: /r{number}/* }}, cluster: app"));
    }
    let gateway = plan.start();
    let (single, keeping) = (Load::plain(2, gateway.address()), Load::keeping(2, gateway.address()));
    let storm = |times: usize| {
        let began_ms = now_ms();
        for number in 0..times {
            let due_ms = began_ms + PERIOD_MS * number as u64;
            until_true("the next one is due", || now_ms() >= due_ms);
            reloads(&gateway, &variant(&plan, number));
        }
        gateway.process.resident_bytes()
    };
    // What one reload takes, and what an allocator keeps, is known after a second of it.
    let before = storm(20);
    let after = storm(60);
    single.goes_on(1);
    single.ends_whole();
    keeping.ends_whole();
    assert!(after < before + (16 << 20), "{before} bytes before and {after} after 60 more reloads");
    assert_eq!(gateway.epoch(), 81);
    assert_eq!(gateway.metric("config_reloads_total{result=\"ok\"}"), 80.0);
    assert_eq!(gateway.metric_sum("gateway_rejected_requests_total"), 0.0);
    gateway.stop();
}

/// I1: ten thousand routes come and go under load, and no request fails. How long that takes is measured by hand, with a build
/// that is made for it; here it has to be well under eight seconds.
fn ten_thousand_routes_come_and_go_under_load(io: Io) {
    let origin = Origin::echo();
    let plan = Plan::to(io, &[origin.address()]).workers("2").log("off").and("reload: { watch: on }");
    let small = plan.yaml();
    let mut routes = String::new();
    for number in 0..10_000 {
        let host = number % 100;
        let _ = writeln!(
            routes,
            "  - {{ name: r{number}, match: {{ host: h{host}.example, path: /p{number}/* }}, cluster: app }}"
        );
    }
    let large = small.replace("routes:\n", &format!("routes:\n{routes}"));
    let gateway = Gateway::start(&small);
    let (single, keeping) = (Load::plain(1, gateway.address()), Load::keeping(1, gateway.address()));
    for _ in 0..2 {
        for yaml in [&large, &small] {
            single.goes_on(20);
            let began_ms = now_ms();
            gateway.adopts(yaml);
            assert!(now_ms() - began_ms < 8_000, "{} ms", now_ms() - began_ms);
            single.goes_on(20);
        }
    }
    single.ends_whole();
    keeping.ends_whole();
    assert_eq!(gateway.metric_sum("gateway_rejected_requests_total"), 0.0);
    let published = gateway.notices_of("configuration published");
    assert!(published.iter().all(|notice| notice["adopted"] == true), "{published:?}");
    gateway.stop();
}

on_both_drivers![
    connections_and_tunnels_outlive_unrelated_reloads,
    twenty_reloads_in_a_second_cost_no_request,
    ten_thousand_routes_come_and_go_under_load,
];
