//! C3: copies of a route's requests go to another cluster, and neither it nor they are ever felt by who asked.

use std::net::SocketAddr;

use super::client::Client;
use super::endpoint::Endpoint;
use super::gate::Gate;
use super::gateway::Gateway;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::wait::{now_ms, until_true};
use super::wire::Wire;

/// Copies that a worker has under way at most.
const MIRRORS: u64 = 64;

/// All requests go to `app`, and this share of them to `shadow` as well.
fn mirrored(io: Io, app: SocketAddr, shadow: SocketAddr, share: &str) -> Plan {
    mirrored_as(io, app, shadow, share, "")
}

fn mirrored_as(io: Io, app: SocketAddr, shadow: SocketAddr, share: &str, entries: &str) -> Plan {
    Plan::bare(io)
        .cluster("app", &[app])
        .cluster_as("shadow", &format!("endpoints: [{{ url: 'http://{shadow}' }}]{entries}"))
        .route(&format!("name: all, cluster: app, mirror: {{ cluster: shadow, share: {share} }}"))
}

fn copies(gateway: &Gateway, result: &str) -> f64 {
    gateway.metric(&format!("mirror_requests_total{{result=\"{result}\"}}"))
}

/// Copies sent, those of them that failed, and those left out.
fn all_copies(gateway: &Gateway) -> [f64; 3] {
    ["sent", "failed", "skipped"].map(|result| copies(gateway, result))
}

fn waits_for_copies(gateway: &Gateway, result: &str, count: f64) {
    gateway.waits_for(&format!("mirror_requests_total{{result=\"{result}\"}}"), count);
}

/// A copy is the request as its endpoint got it, the body included, and its answer goes nowhere.
fn a_copy_is_the_request_word_for_word(io: Io) {
    let (app, shadow) = (Endpoint::listens(), Endpoint::listens());
    let gateway = mirrored(io, app.address(), shadow.address(), "100%").start();
    let mut client = gateway.client();
    let mut pairs = None;
    for (request, start) in [
        ("GET /a?b=c HTTP/1.1\r\nHost: a.example\r\nX-Tag: 1\r\nX-Tag: 2\r\n\r\n", "GET /a?b=c"),
        ("POST /b HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello", "POST /b"),
        (
            "PUT /c HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            "PUT /c",
        ),
        ("DELETE /d HTTP/1.1\r\nHost: b.example\r\n\r\n", "DELETE /d"),
    ] {
        client.sends(request);
        let (upstream, mirror) = pairs.get_or_insert_with(|| (app.accepts(), None));
        let original = upstream.expects(start);
        assert!(mirror.is_some() || shadow.is_alone(), "not before the answer");
        upstream.replies_with("the answer");
        assert_eq!(client.expects(200).text(), "the answer");
        let mirror = mirror.get_or_insert_with(|| shadow.accepts());
        let copy = mirror.expects(start);
        assert_eq!((&copy.start, &copy.fields, &copy.body), (&original.start, &original.fields, &original.body));
        mirror.replies("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops");
        assert!(client.is_silent());
    }
    waits_for_copies(&gateway, "sent", 4.0);
    assert_eq!((copies(&gateway, "failed"), copies(&gateway, "skipped")), (0.0, 0.0));
    assert_eq!(gateway.metric_sum("http_requests_total"), 4.0, "copies are no requests of clients");
    gateway.stop();
}

/// Bodies are copied up to a bound; what is longer is not copied, and counted.
fn a_body_too_long_to_keep_is_not_copied(io: Io) {
    let (app, shadow) = (Origin::mirror(), Origin::mirror());
    let gateway = mirrored(io, app.address(), shadow.address(), "100%").start();
    let mut client = gateway.client();
    for length in [1_000, 12_000, 200_000] {
        let body = "x".repeat(length);
        // The head comes first, so that the body is an upload of its own.
        client
            .sends(format!("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"));
        client.sends(&body);
        assert_eq!(client.expects(200).body.len(), length);
    }
    waits_for_copies(&gateway, "sent", 2.0);
    waits_for_copies(&gateway, "skipped", 1.0);
    until_true("both copies", || shadow.requests() == 2);
    gateway.stop();
}

/// A copy of a handshake would open a connection that nobody uses, and its good answer could not be read: it is left out.
fn a_request_for_another_protocol_is_not_copied(io: Io) {
    let (app, shadow) = (Endpoint::listens(), Endpoint::listens());
    let gateway = mirrored_as(io, app.address(), shadow.address(), "100%", ", breaker: { consecutive: 1 }").start();
    let mut client = gateway.client();
    client.sends("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    let mut upstream = app.accepts();
    upstream.expects("GET /chat");
    upstream.replies("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    client.expects_head(101);
    client.closes();
    upstream.closes();
    waits_for_copies(&gateway, "skipped", 1.0);
    // What its route does not let pass is a request like any other.
    let mut client = gateway.client();
    client.sends("GET /plain HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n");
    let mut upstream = app.accepts();
    upstream.expects("GET /plain");
    upstream.replies_with("no other protocol");
    client.expects(200);
    let mut mirror = shadow.accepts();
    mirror.expects("GET /plain");
    mirror.replies_with("nor here");
    drop((upstream, mirror, client));
    gateway.waits_for("net_connections_active", 0.0);
    assert_eq!(all_copies(&gateway), [1.0, 0.0, 1.0]);
    gateway.stop();
}

/// Of 1,000 requests a mirror of 10 % gets 100, and one of 0.5 % gets 5.
fn the_share_is_exact(io: Io) {
    for (share, due) in [("10%", 100_u32), ("0.5%", 5), ("33.3%", 333)] {
        let (app, shadow) = (Origin::saying("app"), Origin::saying("shadow"));
        let gateway = mirrored(io, app.address(), shadow.address(), share).start();
        let mut client = gateway.client();
        for _ in 0..1_000 {
            client.asks("/");
            client.expects(200);
        }
        waits_for_copies(&gateway, "sent", f64::from(due));
        until_true("every copy", || shadow.requests() == u64::from(due));
        gateway.stop();
    }
}

/// What a mirror may do to a copy.
fn troubled(what: &'static str) -> Origin {
    Origin::serving(move |mut wire: Wire| {
        while let Some(_request) = wire.try_reads_head() {
            let answered = match what {
                "garbage" => wire.try_send("SSH-2.0-OpenSSH_9.2p1\r\n\r\n"),
                "two lengths" => wire.try_send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy"),
                "half" => wire.try_send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"),
                "stalls" => {
                    wire.try_drops(1);
                    return;
                }
                "closes" => return,
                "endless" => {
                    let mut sent = wire.try_send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                    for _ in 0..2_000 {
                        sent = sent.and_then(|()| wire.try_send("4\r\nmore\r\n"));
                    }
                    sent
                }
                "interim" => wire.try_send("HTTP/1.1 100 Continue\r\n\r\n".repeat(500)),
                "switch" => {
                    wire.try_send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
                }
                other => panic!("{other}"),
            };
            if answered.is_err() {
                return;
            }
        }
    })
}

/// Thirty requests of one connection, which must be as quick as if there were no mirror.
fn is_not_felt(gateway: &Gateway, client: &mut Client, what: &str) {
    let began_ms = now_ms();
    for number in 0..30 {
        client.asks(&format!("/{number}"));
        assert_eq!(client.expects(200).text(), "app", "{what}");
    }
    let took_ms = now_ms() - began_ms;
    // Each of the mirror's time-outs is 300 ms or more, which would be 9 s in all.
    assert!(took_ms < 6_000, "{what}: {took_ms} ms for 30 requests");
    assert!(client.is_silent(), "{what}");
    assert_eq!(gateway.metric("upstream_errors_total{reason=\"connect_refused\"}"), 0.0, "{what}");
}

/// A mirror that is dead, silent or talks nonsense is not felt: no failure, no delay, no lost connection of a client.
fn a_mirror_in_trouble_is_not_felt(io: Io) {
    let app = Origin::saying("app");
    let (deaf, _held) = Endpoint::deaf();
    let troubles = ["garbage", "two lengths", "half", "stalls", "closes", "endless", "interim", "switch"];
    let origins: Vec<_> = troubles.into_iter().map(|what| (what, troubled(what))).collect();
    let mut shadows: Vec<_> = origins.iter().map(|(what, origin)| (*what, origin.address())).collect();
    shadows.extend([("dead", Endpoint::closed()), ("deaf", deaf.address())]);
    let plan = |shadow| {
        mirrored(io, app.address(), shadow, "100%")
            .timeouts("connect: 300ms, response_header: 1500ms, body_idle: 300ms")
    };
    let gateway = plan(Endpoint::closed()).start();
    let mut client = gateway.client();
    for (what, shadow) in shadows {
        gateway.adopts(&plan(shadow).yaml());
        let before = all_copies(&gateway);
        is_not_felt(&gateway, &mut client, what);
        until_true(&format!("{what}: every copy is done, and failed"), || {
            let seen = all_copies(&gateway);
            let [sent, failed, skipped] = [0, 1, 2].map(|at| seen[at] - before[at]);
            sent >= 1.0 && sent + skipped == 30.0 && failed == sent
        });
        assert_eq!(gateway.cluster("shadow")["in_flight"], 0, "{what}");
    }
    assert_eq!(gateway.metric("net_connections_accepted_total"), 1.0);
    gateway.stop();
}

/// A mirror that answers without end, as fast as it can, starves nobody: of each answer only the beginning is read.
fn a_flooding_mirror_is_not_felt(io: Io) {
    let app = Origin::saying("app");
    let shadow = Origin::serving(|mut wire| {
        let flood = "x".repeat(1 << 20);
        if wire.try_reads_head().is_some()
            && wire.try_send("HTTP/1.1 200 OK\r\nContent-Length: 9999999999999\r\n\r\n").is_ok()
        {
            while wire.try_send(&flood).is_ok() {}
        }
    });
    let gateway = mirrored(io, app.address(), shadow.address(), "100%").start();
    let mut client = gateway.client();
    client.asks("/");
    client.expects(200);
    is_not_felt(&gateway, &mut client, "flood");
    waits_for_copies(&gateway, "sent", 31.0);
    until_true("all are given up", || gateway.cluster("shadow")["connections"] == 0);
    assert_eq!(copies(&gateway, "failed"), 0.0);
    gateway.stop();
}

/// A kept connection may have been closed before the copy came, which is no failure of the endpoint; a new one was opened for it.
fn a_mirror_that_closes_what_it_kept_is_not_charged(io: Io) {
    let (app, shadow) = (Origin::saying("app"), Endpoint::listens());
    let breaker = ", breaker: { consecutive: 1, open_for: 1h }";
    let gateway = mirrored_as(io, app.address(), shadow.address(), "100%", breaker).start();
    let mut client = gateway.client();
    let mut ask = |path: &str| {
        client.asks(path);
        client.expects(200);
    };
    let breaker = || gateway.shows("shadow", shadow.address())["breaker"].clone();
    ask("/kept");
    let mut mirror = shadow.accepts();
    mirror.expects("GET /kept");
    mirror.replies_with("kept");
    until_true("it is kept", || gateway.cluster("shadow")["in_flight"] == 0);
    ask("/lost");
    mirror.expects("GET /lost");
    mirror.closes();
    waits_for_copies(&gateway, "failed", 1.0);
    assert_eq!(breaker(), "closed");
    ask("/new");
    let mut mirror = shadow.accepts();
    mirror.expects("GET /new");
    mirror.closes();
    waits_for_copies(&gateway, "failed", 2.0);
    assert_eq!(breaker(), "open");
    gateway.stop();
}

/// Nor does one that never stops dripping keep a copy's place for ever.
fn a_dripping_mirror_is_given_up(io: Io) {
    let app = Origin::saying("app");
    let shadow = Origin::serving(|mut wire| {
        if wire.try_reads_head().is_some() && wire.try_send("HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n").is_ok()
        {
            while wire.try_send("x").is_ok() {
                std::thread::park_timeout(std::time::Duration::from_millis(20));
            }
        }
    });
    let gateway = mirrored(io, app.address(), shadow.address(), "100%").timeouts("request: 500ms").start();
    let mut client = gateway.client();
    client.asks("/");
    client.expects(200);
    waits_for_copies(&gateway, "failed", 1.0);
    assert_eq!(gateway.cluster("shadow")["connections"], 0);
    gateway.stop();
}

/// A mirror that answers nothing has so many copies at most; more are left out, and counted.
fn copies_under_way_are_bounded(io: Io) {
    let gate = Gate::new();
    let (app, shadow) = (Origin::saying("app"), gate.origin("shadow"));
    let gateway = mirrored(io, app.address(), shadow.address(), "100%").start();
    let mut client = gateway.client();
    for number in 0..100 {
        client.asks(&format!("/held{number}"));
        client.expects(200);
    }
    waits_for_copies(&gateway, "skipped", 36.0);
    assert_eq!(copies(&gateway, "sent"), 64.0);
    gate.sees(MIRRORS);
    assert_eq!(gateway.cluster("shadow")["in_flight"], MIRRORS);
    gate.opens();
    until_true("all are answered", || gateway.cluster("shadow")["in_flight"] == 0);
    client.asks("/held-again");
    client.expects(200);
    gate.sees(MIRRORS + 1);
    assert_eq!((copies(&gateway, "failed"), shadow.requests()), (0.0, 65));
    gateway.stop();
}

/// The mirror's cap holds for copies, which wait for nobody: they are left out.
fn copies_keep_to_the_mirrors_cap(io: Io) {
    let gate = Gate::new();
    let (app, shadow) = (Origin::saying("app"), gate.origin("shadow"));
    let plan = mirrored_as(
        io,
        app.address(),
        shadow.address(),
        "100%",
        ", max_connections: 2, queue: { max: 100, timeout: 20s }",
    );
    let gateway = plan.start();
    let mut client = gateway.client();
    for _ in 0..10 {
        client.asks("/held");
        client.expects(200);
    }
    waits_for_copies(&gateway, "failed", 8.0);
    let shown = gateway.cluster("shadow");
    assert_eq!((&shown["connections"], &shown["waiting"]), (&2.into(), &0.into()), "{shown}");
    assert_eq!(gateway.metric("upstream_connection_saturation_ratio{cluster=\"shadow\"}"), 1.0);
    gate.opens();
    gateway.waits_for("upstream_connection_saturation_ratio{cluster=\"shadow\"}", 0.0);
    gateway.stop();
}

/// A cluster may be its own mirror; the copies take no connection that a request waits for.
fn copies_do_not_overtake_requests_that_wait(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::bare(io)
        .cluster_with("app", &[endpoint.address()], "max_connections: 1, queue: { max: 9, timeout: 20s }")
        .route("name: all, cluster: app, mirror: { cluster: app, share: 100% }")
        .start();
    let (mut one, mut two) = (gateway.client(), gateway.client());
    one.asks("/one");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /one");
    two.asks("/two");
    until_true("it waits", || gateway.cluster("app")["waiting"] == 1);
    upstream.replies_with("1");
    one.expects(200);
    upstream.expects("GET /two");
    upstream.replies_with("2");
    two.expects(200);
    until_true("the copies are done", || {
        if !upstream.is_silent() {
            upstream.expects("GET /");
            upstream.replies_with("to a copy");
        }
        copies(&gateway, "sent") == 2.0 && gateway.cluster("app")["in_flight"] == 0
    });
    gateway.stop();
}

/// A request that failed, and one whose client left, are not copied: nobody knows what of them was ever sent.
fn requests_that_failed_are_not_copied(io: Io) {
    let shadow = Origin::saying("shadow");
    let gateway = mirrored(io, Endpoint::closed(), shadow.address(), "100%").start();
    let mut client = gateway.client();
    for _ in 0..3 {
        client.asks("/");
        assert_eq!(client.expects(502).reason(), "connect_refused");
    }
    waits_for_copies(&gateway, "skipped", 3.0);
    assert_eq!(shadow.requests(), 0);
    gateway.stop();
}

/// Copies under way keep nobody from ending.
fn a_drain_does_not_wait_for_copies(io: Io) {
    let gate = Gate::new();
    let (app, shadow) = (Origin::saying("app"), gate.origin("shadow"));
    let mut gateway = mirrored(io, app.address(), shadow.address(), "100%").start();
    let mut client = gateway.client();
    client.asks("/held");
    client.expects(200);
    gate.sees(1);
    client.closes();
    let began_ms = now_ms();
    gateway.signal(libc::SIGTERM);
    assert_eq!(gateway.process.exit_code(), Some(0));
    assert!(now_ms() - began_ms < 4_000, "{} ms", now_ms() - began_ms);
    gate.opens();
}

on_both_drivers![
    a_copy_is_the_request_word_for_word,
    a_body_too_long_to_keep_is_not_copied,
    a_request_for_another_protocol_is_not_copied,
    the_share_is_exact,
    a_mirror_in_trouble_is_not_felt,
    a_flooding_mirror_is_not_felt,
    a_mirror_that_closes_what_it_kept_is_not_charged,
    a_dripping_mirror_is_given_up,
    copies_under_way_are_bounded,
    copies_keep_to_the_mirrors_cap,
    copies_do_not_overtake_requests_that_wait,
    requests_that_failed_are_not_copied,
    a_drain_does_not_wait_for_copies,
];
