//! Active health checks: G1. Probes belong to the control thread, so one driver shows what they do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use socket2::{Domain, Socket, Type};

use super::dns::DnsServer;
use super::endpoint::Endpoint;
use super::gateway::Gateway;
use super::origin::Origin;
use super::patient::Patient;
use super::plan::{Io, Plan};
use super::wait::{now_ms, until_true};
use super::wire::Wire;

/// An HTTP probe every 250 ms, which is its time-out too.
const HTTP: &str = "kind: http, path: /healthz, interval: 250ms, healthy_after: 2, unhealthy_after: 3";

/// One cluster `app` of these endpoints, probed so.
fn plan(io: Io, endpoints: &[SocketAddr], active: &str) -> Plan {
    Plan::bare(io)
        .cluster_with("app", endpoints, &format!("health: {{ active: {{ {active} }} }}"))
        .route("name: everything, cluster: app")
}

/// Who answers `count` requests on a connection each.
fn served_by(gateway: &Gateway, count: usize) -> Vec<String> {
    let ask = |_| {
        let mut client = gateway.client();
        client.asks("/x");
        client.expects(200).text().to_owned()
    };
    (0..count).map(ask).collect()
}

fn are_all(names: &[String], name: &str) -> bool {
    names.iter().all(|one| one == name)
}

/// G1 and K1: an endpoint that fails its probes gets nothing, is shown with its reason, and comes back.
fn an_unhealthy_endpoint_takes_no_traffic_and_comes_back(io: Io) {
    let (sick, well) = (Patient::start("sick"), Patient::start("well"));
    // The time-out leaves room for an endpoint that is late: what is told is its status.
    let active = "kind: http, path: /healthz, interval: 600ms, healthy_after: 2, unhealthy_after: 2";
    let gateway = plan(io, &[sick.address(), well.address()], active).start();
    let healthy = format!("upstream_endpoint_healthy{{cluster=\"app\",endpoint=\"{}\"}}", sick.address());
    gateway.waits_to_show(
        "app",
        sick.address(),
        &[("probe", "healthy"), ("probe_detail", "status 200"), ("unfit", "")],
    );
    assert_eq!(gateway.metric(&healthy), 1.0);
    let both = served_by(&gateway, 4);
    assert!(both.contains(&"sick".to_owned()) && both.contains(&"well".to_owned()), "{both:?}");

    sick.tells_probes(503);
    let told = gateway.notice("endpoint unhealthy");
    assert_eq!((&told["cluster"], &told["detail"]), (&"app".into(), &"status 503".into()), "{told}");
    assert_eq!(told["endpoint"], sick.address().to_string());
    let shown = gateway.shows("app", sick.address());
    assert_eq!((&shown["fit"], &shown["unfit"]), (&false.into(), &"unfit: probe".into()), "{shown}");
    assert_eq!(gateway.metric(&healthy), 0.0);
    assert!(are_all(&served_by(&gateway, 10), "well"));
    assert!(gateway.metric("health_probes_total{result=\"failed\"}") >= 2.0);

    sick.tells_probes(200);
    gateway.waits_to_show("app", sick.address(), &[("probe", "healthy")]);
    let both = served_by(&gateway, 4);
    assert!(both.contains(&"sick".to_owned()) && both.contains(&"well".to_owned()), "{both:?}");
    gateway.stop();
}

/// G1: results that take turns change nothing, whichever verdict they find.
#[test]
fn an_endpoint_that_wavers_does_not_flap() {
    let patient = Patient::start("it");
    let gateway =
        plan(Io::Uring, &[patient.address()], &HTTP.replace("unhealthy_after: 3", "unhealthy_after: 4")).start();
    gateway.waits_to_show("app", patient.address(), &[("probe", "healthy")]);
    patient.wavers(true);
    let wavered = |count: u64| {
        let before = patient.probes();
        until_true("probes of both kinds", || patient.probes() >= before + count);
    };
    wavered(16);
    assert!(gateway.notices_of("endpoint unhealthy").is_empty(), "never four failures in a row");
    patient.tells_probes(503);
    gateway.waits_to_show("app", patient.address(), &[("probe", "unhealthy")]);
    patient.tells_probes(200);
    wavered(16);
    assert_eq!(gateway.notices_of("endpoint healthy").len(), 1, "never two successes in a row since");
    patient.wavers(false);
    gateway.waits_to_show("app", patient.address(), &[("probe", "healthy")]);
    gateway.stop();
}

/// G1: path, host, port and the statuses expected are those of the configuration.
#[test]
fn a_probe_asks_what_it_is_told_and_expects_what_it_is_told() {
    let status = Arc::new(AtomicU16::new(204));
    let told = Arc::clone(&status);
    let probed = Origin::answering(move |request| {
        let expected = [("host", "orders.internal"), ("user-agent", "ringgate-probe"), ("connection", "close")];
        let is_right = request.start == "GET /deep?x=1 HTTP/1.1"
            && expected.iter().all(|(name, value)| request.field(name) == Some(*value));
        let status = if is_right { told.load(Ordering::Relaxed) } else { 599 };
        format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").into_bytes()
    });
    let served = Endpoint::closed();
    let active = format!(
        "kind: http, path: '/deep?x=1', host: orders.internal, port: {}, interval: 50ms, expect: [204, 300-399]",
        probed.address().port()
    );
    let gateway = plan(Io::Uring, &[served], &active).start();
    for (answered, probe) in [
        (204, "healthy"),
        (200, "unhealthy"),
        (300, "healthy"),
        (299, "unhealthy"),
        (399, "healthy"),
        (400, "unhealthy"),
    ] {
        status.store(answered, Ordering::Relaxed);
        let detail = format!("status {answered}");
        gateway.waits_to_show("app", served, &[("probe", probe), ("probe_detail", &detail)]);
    }
    gateway.stop();
}

/// G1: a TCP probe is a connection: refused by a closed port, without an answer from a full queue.
#[test]
fn a_tcp_probe_finds_a_port_that_opens_and_one_that_is_deaf() {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("loopback");
    let port = socket.local_addr().expect("a bound socket").as_socket().expect("an address");
    let (deaf, _held) = Endpoint::deaf();
    let active = "kind: tcp, interval: 50ms, timeout: 40ms, healthy_after: 2, unhealthy_after: 2";
    let gateway = plan(Io::Uring, &[port, deaf.address()], active).start();
    let sick = |address, detail| {
        gateway.waits_to_show("app", address, &[("probe", "unhealthy"), ("probe_detail", detail)]);
    };
    sick(port, "connection refused");
    sick(deaf.address(), "timed out after 40ms while connecting");
    socket.listen(16).expect("a bound socket");
    gateway.waits_to_show("app", port, &[("probe", "healthy"), ("probe_detail", "connected")]);
    gateway.stop();
}

/// G1: with `require_probe` a new endpoint gets nothing before it passed, whatever the others do; and one that comes back
/// is as new.
fn a_new_endpoint_that_must_pass_gets_nothing_before(io: Io) {
    let (old, new) = (Patient::start("old"), Patient::start("new"));
    // Failed probes alone never make it unhealthy here: it goes on waiting for its first one.
    let active = "kind: http, interval: 50ms, unhealthy_after: 100000, require_probe: true";
    let one = plan(io, &[old.address()], active).and("reload: { watch: false }");
    let both = plan(io, &[old.address(), new.address()], active).and("reload: { watch: false }");
    let gateway = one.start();
    gateway.waits_to_show("app", old.address(), &[("probe", "healthy")]);
    let reload = |plan: &Plan| {
        gateway.writes(&plan.yaml());
        assert_eq!(gateway.asks_admin("POST", "/reload").status(), 200);
    };
    for _ in 0..2 {
        new.tells_probes(503);
        reload(&both);
        assert_eq!(gateway.shows("app", old.address())["probe"], "healthy", "what stays keeps its verdict");
        for _ in 0..3 {
            let before = new.probes();
            until_true("a probe", || new.probes() > before);
            gateway.waits_to_show("app", new.address(), &[("probe", "pending"), ("unfit", "unfit: unprobed")]);
            assert!(are_all(&served_by(&gateway, 4), "old"));
        }
        gateway.waits_to_show("app", new.address(), &[("probe_detail", "status 503")]);
        new.tells_probes(200);
        gateway.waits_to_show("app", new.address(), &[("probe", "healthy")]);
        assert!(served_by(&gateway, 4).contains(&"new".to_owned()));
        reload(&one);
        assert!(are_all(&served_by(&gateway, 4), "old"));
    }
    gateway.stop();
}

/// G1: a reload keeps what probes found of an endpoint that stays; without a check nothing speaks against it.
#[test]
fn verdicts_survive_a_reload_and_end_with_the_check() {
    let (sick, well) = (Patient::start("sick"), Patient::start("well"));
    sick.tells_probes(503);
    let plan = plan(Io::Uring, &[sick.address(), well.address()], HTTP);
    let gateway = plan.start();
    gateway.waits_to_show("app", sick.address(), &[("probe", "unhealthy")]);
    gateway.waits_to_show("app", well.address(), &[("probe", "healthy")]);
    let extra = "name: more, match: { path: /more }, respond: { status: 200, body: ok }";
    for _ in 0..3 {
        gateway.adopts(&plan.clone().route(extra).yaml());
        assert!(are_all(&served_by(&gateway, 6), "well"));
        gateway.adopts(&plan.yaml());
        assert!(are_all(&served_by(&gateway, 6), "well"));
    }
    assert_eq!(gateway.notices_of("endpoint unhealthy").len(), 1, "nothing was found out anew");
    assert_eq!(gateway.notices_of("endpoint healthy").len(), 1);
    let without = Plan::to(Io::Uring, &[sick.address(), well.address()]);
    gateway.adopts(&without.yaml());
    let shown = gateway.shows("app", sick.address());
    assert_eq!(
        (&shown["probe"], &shown["probe_detail"], &shown["fit"]),
        (&"unprobed".into(), &"".into(), &true.into())
    );
    assert!(served_by(&gateway, 4).contains(&"sick".to_owned()));
    gateway.stop();
}

/// G1 and I3: probes of an endpoint end with it, and all of them when the gateway begins to stop.
#[test]
fn probes_end_with_their_endpoint_and_with_the_gateway() {
    let (stays, leaves) = (Patient::start("stays"), Patient::start("leaves"));
    let gateway = plan(Io::Uring, &[stays.address(), leaves.address()], HTTP).start();
    let probed = |count: u64| {
        let before = stays.probes();
        until_true("probes of the one that stays", || stays.probes() >= before + count);
    };
    until_true("probes of both", || stays.probes() > 2 && leaves.probes() > 2);
    gateway.adopts(&plan(Io::Uring, &[stays.address()], HTTP).yaml());
    // One may have been on its way to the endpoint's own thread.
    probed(2);
    let before = leaves.probes();
    probed(6);
    assert_eq!(leaves.probes(), before);

    let held = Endpoint::listens();
    let draining = plan(Io::Uring, &[stays.address()], HTTP).cluster("held", &[held.address()]);
    gateway.adopts(&draining.route("name: held, match: { path: /held }, cluster: held").yaml());
    let mut client = gateway.client();
    client.asks("/held");
    let mut upstream = held.accepts();
    upstream.expects("GET /held");
    gateway.signal(libc::SIGTERM);
    gateway.notice("shutting down gracefully");
    // One that was under way may be counted late.
    let mut last = (stays.probes(), now_ms());
    until_true("nobody asks for some intervals while the last requests end", || {
        let probes = stays.probes();
        if probes != last.0 {
            last = (probes, now_ms());
        }
        now_ms() - last.1 > 700
    });
    upstream.replies_with("done");
    assert_eq!(client.expects(200).text(), "done");
    client.closes();
    let mut gateway = gateway;
    assert_eq!(gateway.process.exit_code(), Some(0));
}

/// G1 and B8: an address that a name gets later is a new endpoint, and must pass as well.
#[test]
fn a_new_address_of_a_name_must_pass_first() {
    let (here, names) = (Origin::saying("here"), DnsServer::start());
    let there = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let at = SocketAddr::from(([127, 0, 0, 2], here.address().port()));
    there.bind(&at.into()).expect("a port that nobody has at this address");
    names.set("app.test", 0, &[here.address().ip()]);
    let active = "kind: tcp, interval: 50ms, unhealthy_after: 100000, require_probe: true";
    let gateway = Plan::bare(Io::Uring)
        .cluster_as(
            "app",
            &format!("endpoints: [{{ url: 'http://app.test:{}' }}], health: {{ active: {{ {active} }} }}", at.port()),
        )
        .route("name: everything, cluster: app")
        .and(&format!("dns: {{ servers: ['{}'], ttl_min: 50ms, ttl_max: 50ms }}", names.address()))
        .start();
    gateway.waits_to_show("app", here.address(), &[("probe", "healthy")]);
    names.set("app.test", 0, &[here.address().ip(), at.ip()]);
    gateway.notice("changed addresses published");
    gateway.waits_to_show("app", at, &[("probe_detail", "connection refused"), ("unfit", "unfit: unprobed")]);
    assert_eq!(gateway.shows("app", here.address())["probe"], "healthy", "the other one stays what it was");
    assert!(are_all(&served_by(&gateway, 6), "here"));
    there.listen(16).expect("a bound socket");
    gateway.waits_to_show("app", at, &[("probe", "healthy"), ("unfit", "")]);
    gateway.stop();
}

/// G1: a reload that waits for a name server does not keep verdicts waiting.
#[test]
fn an_endpoint_is_left_while_a_reload_waits_for_a_name() {
    let (sick, well, names) = (Patient::start("sick"), Patient::start("well"), DnsServer::start());
    names.set_silent("slow.test");
    let dns = format!("dns: {{ servers: ['{}'], timeout: 15s }}\nreload: {{ watch: false }}", names.address());
    let plan = plan(Io::Uring, &[sick.address(), well.address()], HTTP).and(&dns);
    let gateway = plan.start();
    gateway.waits_to_show("app", sick.address(), &[("probe", "healthy")]);
    gateway.writes(&plan.cluster_of("slow", "{ url: 'http://slow.test' }").yaml());
    let mut reload = Wire::to(gateway.admin());
    reload.sends(format!("POST /reload HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.admin()));
    until_true("the name is asked for", || names.queries("slow.test") > 0);
    sick.tells_probes(503);
    gateway.notice("endpoint unhealthy");
    assert!(are_all(&served_by(&gateway, 6), "well"));
    assert!(reload.is_silent(), "the reload still waits");
    gateway.stop();
}

on_both_drivers![
    an_unhealthy_endpoint_takes_no_traffic_and_comes_back,
    a_new_endpoint_that_must_pass_gets_nothing_before,
];
