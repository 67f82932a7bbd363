//! Endpoints by name: B8 and F43, against a DNS server of the test's own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::dns::DnsServer;
use super::endpoint::Endpoint;
use super::folder::Folder;
use super::plan::{Io, Plan};
use super::process::binary;
use super::wait::{now_ms, until, until_true};

/// Two addresses of this machine, where an endpoint each listens on the same port.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

fn here_and_there() -> (Endpoint, Endpoint) {
    until("a port that is free at both addresses", || {
        let here = Endpoint::listens();
        let there = Endpoint::listens_at(SocketAddr::new(THERE, here.address().port()))?;
        Some((here, there))
    })
}

/// All requests to `app.test`, which is asked for every 50 ms.
fn plan(io: Io, server: &DnsServer, port: u16) -> Plan {
    plan_of(io, server, port, "1s")
}

/// The same with this patience for an answer of the name server.
fn plan_of(io: Io, server: &DnsServer, port: u16, patience: &str) -> Plan {
    let at = server.address();
    Plan::bare(io)
        .cluster_of("app", &format!("{{ url: 'http://app.test:{port}' }}"))
        .route("name: everything, cluster: app")
        .and(&format!("dns: {{ servers: ['{at}'], timeout: {patience}, ttl_min: 50ms, ttl_max: 50ms }}"))
}

/// B8: new requests go to the new address without a reload, what rests at the old one is closed, what is under way there
/// ends there.
fn a_changed_address_is_followed_and_the_old_one_drains(io: Io) {
    let (here, there) = here_and_there();
    let server = DnsServer::start();
    server.set("app.test", 0, &[HERE]);
    let gateway = plan(io, &server, here.address().port()).start();
    let mut resting = gateway.client();
    resting.asks("/rests");
    let mut rests = here.accepts();
    rests.expects("GET /rests");
    let mut busy = gateway.client();
    busy.asks("/busy");
    let mut under_way = here.accepts();
    under_way.expects("GET /busy");
    rests.replies_with("first");
    resting.expects(200);

    server.set("app.test", 0, &[THERE]);
    let told = gateway.notice("changed addresses published");
    assert_eq!(told["hosts"], "app.test");
    rests.sees_end();
    let mut client = gateway.client();
    client.asks("/new");
    let mut moved = there.accepts();
    moved.expects("GET /new");
    moved.replies_with("second");
    assert_eq!(client.expects(200).text(), "second");
    under_way.replies_with("last");
    assert_eq!(busy.expects(200).text(), "last");
    under_way.sees_end();
    assert!(here.is_alone());
    gateway.stop();
}

/// B8: each address is an endpoint of its own.
fn several_addresses_are_several_endpoints(io: Io) {
    let (here, there) = here_and_there();
    let server = DnsServer::start();
    server.set("app.test", 0, &[HERE, THERE]);
    let gateway = plan(io, &server, here.address().port()).start();
    let mut clients = [gateway.client(), gateway.client()];
    for client in &mut clients {
        client.asks("/x");
    }
    for endpoint in [&here, &there] {
        let mut accepted = endpoint.accepts();
        accepted.expects("GET /x");
        accepted.replies_with("x");
    }
    for client in &mut clients {
        client.expects(200);
    }
    gateway.stop();
}

/// F43: whatever DNS does, the last good address goes on serving; it is told once.
fn a_failing_name_server_takes_no_endpoint_away(io: Io) {
    let here = Endpoint::listens();
    let server = DnsServer::start();
    server.set("app.test", 0, &[HERE]);
    // Short enough for a server that keeps silent.
    let gateway = plan_of(io, &server, here.address().port(), "500ms").start();
    let mut client = gateway.client();
    client.asks("/first");
    let mut accepted = here.accepts();
    accepted.expects("GET /first");
    accepted.replies_with("x");
    client.expects(200);
    let failures: [&dyn Fn(); 4] = [
        &|| server.set_nxdomain("app.test"),
        &|| server.set_code("app.test", 2),
        &|| server.set_silent("app.test"),
        &|| server.set_rubbish("app.test"),
    ];
    let failed = || gateway.status()["dns"]["lookups_failed"].as_u64().expect("a number");
    for fail in failures {
        fail();
        // The first one may have begun before.
        let before = failed();
        until_true("lookups fail", || failed() >= before + 2);
        let began_ms = now_ms();
        client.asks("/again");
        accepted.expects("GET /again");
        accepted.replies_with("x");
        client.expects(200);
        assert!(now_ms() - began_ms < 1_000, "no worker waits for a name server");
    }
    assert!(gateway.metric("dns_lookups_total{result=\"failed\"}") >= 8.0);
    gateway.notice("name not resolved, its last addresses stay");
    assert_eq!(gateway.notices_of("name not resolved, its last addresses stay").len(), 1);
    server.set("app.test", 0, &[HERE]);
    gateway.notice("name resolved again");
    assert_eq!(gateway.epoch(), 1, "nothing has changed all the while");
    gateway.stop();
}

/// A name that does not resolve is an error at the start and at a reload, with the cluster and the name.
fn an_unknown_name_is_refused(io: Io) {
    let here = Endpoint::listens();
    let server = DnsServer::start();
    let plan = plan(io, &server, here.address().port());
    let folder = Folder::new();
    let path = folder.write("gateway.yaml", plan.yaml());
    let output = binary().args(["run", "-c"]).arg(path).output().expect("a child");
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{report}");
    assert!(report.contains("cluster `app`: cannot resolve `app.test`: no such name"), "{report}");

    server.set("app.test", 0, &[HERE]);
    let quiet = plan.and("reload: { watch: false }");
    let gateway = quiet.start();
    gateway.writes(&quiet.cluster_of("more", "{ url: 'http://gone.test' }").yaml());
    let answer = gateway.asks_admin("POST", "/reload");
    assert_eq!(answer.status(), 400);
    assert!(answer.text().contains("cluster `more`: cannot resolve `gone.test`: no such name"), "{answer}");
    assert_eq!(gateway.epoch(), 1);
    gateway.stop();
}

on_both_drivers!(
    a_changed_address_is_followed_and_the_old_one_drains,
    several_addresses_are_several_endpoints,
    a_failing_name_server_takes_no_endpoint_away,
    an_unknown_name_is_refused,
);
