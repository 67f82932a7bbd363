//! DNS in depth, through the binary: B8 and F43 against a DNS server of the test's own.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use super::client::Client;
use super::dns::DnsServer;
use super::endpoint::Endpoint;
use super::gateway::{Gateway, json};
use super::origin::Origin;
use super::patient::Patient;
use super::plan::{Io, Plan};
use super::trial::{answers, ends, rollout, stages};
use super::wait::{Ends, now_ms, until, until_true};
use super::wire::Wire;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// All requests to `app.test`, with these entries of `dns`.
fn plan(io: Io, server: &DnsServer, port: u16, dns: &str) -> Plan {
    Plan::bare(io)
        .cluster_of("app", &format!("{{ url: 'http://app.test:{port}' }}"))
        .route("name: everything, cluster: app")
        .and(&format!("dns: {{ servers: ['{}'], {dns} }}", server.address()))
}

/// The addresses of the endpoints, as an operator sees them.
fn endpoints(gateway: &Gateway) -> BTreeSet<String> {
    let page = json(gateway.asks_admin("GET", "/clusters").text());
    let endpoints = page["clusters"][0]["endpoints"].as_array().expect("a list").clone();
    endpoints.iter().map(|endpoint| endpoint["address"].as_str().expect("an address").to_owned()).collect()
}

/// What the next request is answered with.
fn said(client: &mut Client) -> String {
    client.asks("/x");
    client.expects(200).text().to_owned()
}

/// Two origins on one port of two addresses, each answering with its name.
fn on_one_port(addresses: [IpAddr; 2]) -> (Origin, Origin, u16) {
    until("a port that is free at both addresses", || {
        let first = Origin::saying_at(SocketAddr::new(addresses[0], 0), "first")?;
        let port = first.address().port();
        let second = Origin::saying_at(SocketAddr::new(addresses[1], port), "second")?;
        Some((first, second, port))
    })
}

/// F43: a resolver that hangs holds up no worker: requests flow as before, on old connections and on new ones, and so does
/// the admin server.
fn a_resolver_that_hangs_holds_up_nobody(io: Io) {
    let origin = Origin::saying("here");
    let server = DnsServer::start();
    server.set("app.test", 0, &[HERE]);
    let gateway = plan(io, &server, origin.address().port(), "timeout: 60s, ttl_min: 50ms, ttl_max: 50ms").start();
    let mut client = gateway.client();
    said(&mut client);
    server.set_silent("app.test");
    let before = server.queries("app.test");
    until_true("a question without an answer", || server.queries("app.test") > before);
    let mut slowest_ms = 0;
    for number in 0..400 {
        let began_ms = now_ms();
        if number % 10 == 0 {
            said(&mut gateway.client());
        } else {
            said(&mut client);
        }
        slowest_ms = slowest_ms.max(now_ms() - began_ms);
    }
    // A worker that waited for it would have waited for a minute.
    assert!(slowest_ms < 2_000, "{slowest_ms} ms");
    let status = gateway.status();
    assert_eq!(status["dns"]["lookups_failed"], 0, "it hangs all the while: {status}");
    gateway.stop();
}

/// F43, A4: a reload that waits for the address of a new name holds up neither traffic, nor the admin server, nor changes of
/// addresses that are known, nor the end of the process.
fn a_reload_that_waits_for_a_name_holds_up_nobody(io: Io) {
    let (_first, _second, port) = on_one_port([HERE, THERE]);
    let server = DnsServer::start();
    server.set("app.test", 0, &[HERE]);
    server.set_silent("new.test");
    let plan = plan(io, &server, port, "timeout: 60s, ttl_min: 50ms, ttl_max: 50ms");
    let gateway = plan.start();
    let mut client = gateway.client();
    assert_eq!(said(&mut client), "first");
    gateway.writes(&plan.cluster_of("more", "{ url: 'http://new.test' }").yaml());
    until_true("the new name is asked for", || server.queries("new.test") > 0);
    assert_eq!(said(&mut client), "first");
    assert_eq!(gateway.epoch(), 1);
    server.set("app.test", 0, &[THERE]);
    until_true("the change is followed", || said(&mut client) == "second");
    let began_ms = now_ms();
    gateway.stop();
    assert!(now_ms() - began_ms < 5_000, "{} ms", now_ms() - began_ms);
}

/// A configuration with a name for which nobody answers.
fn waiting(plan: Plan) -> String {
    plan.cluster_of("more", "{ url: 'http://new.test' }").yaml()
}

/// Asks for something that is not answered while this waits: nothing waits longer than for all new names together.
fn orders(gateway: &Gateway, method: &str, page: &str, body: &str) -> Wire {
    let mut wire = Wire::to(gateway.admin());
    let (host, length) = (gateway.admin(), body.len());
    wire.sends(format!("{method} {page} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{body}"));
    wire
}

/// F43, H1, I5: a reload that waits for the address of a new name holds up neither the switch of the live policy, posted or in
/// its file, nor the end of a trial that fails.
fn a_reload_that_waits_for_a_name_holds_up_no_kill_switch(io: Io) {
    let (old, new, server) = (Patient::start("old"), Patient::start("new"), DnsServer::start());
    server.set_silent("new.test");
    let of = |patient: &Patient| {
        let rest = format!(
            "dns: {{ servers: ['{}'], timeout: 60s }}\npolicy: {{ file: policy.json }}\n\
             reload: {{ watch: false, stage: {{ share: 50%, for: 1h }} }}",
            server.address()
        );
        Plan::to(io, &[patient.address()]).workers("2").log("off").and(&rest)
    };
    let gateway = of(&old).start();
    let number = stages(&gateway, &of(&new).yaml());
    gateway.writes(&waiting(of(&new)));
    let reload = orders(&gateway, "POST", "/reload", "");
    until_true("the new name is asked for", || server.queries("new.test") > 0);
    let began_ms = now_ms();
    assert_eq!(gateway.posts("/policy", "{\"enabled\": false}").status(), 200);
    assert_eq!(gateway.client().asks("/x").expects(429).reason(), "policy_enforced");
    gateway.folder.write("policy.json", "{\"enabled\": true}");
    until_true("the file is taken up", || gateway.client().asks("/x").expects_any().status() == 200);
    assert_eq!(rollout(&gateway)["running"]["number"], number);
    new.tells_clients(500);
    until_true("the trial is over", || {
        answers(&gateway, 8);
        rollout(&gateway)["phase"] == "idle"
    });
    assert_eq!(ends(&gateway, number)["outcome"], "rolled_back");
    assert!(answers(&gateway, 20).iter().all(|answer| *answer == (200, "old".to_owned())));
    assert!(now_ms() - began_ms < 20_000, "{} ms", now_ms() - began_ms);
    assert!(reload.is_silent(), "the reload waits");
    gateway.stop();
}

/// F43, I5: a `PUT` that waits so does not hold up what operators order either: a weight, and the end of a trial.
fn a_put_that_waits_for_a_name_holds_up_no_order(io: Io) {
    let (old, new, server) = (Origin::saying("old"), Origin::saying("new"), DnsServer::start());
    server.set_silent("new.test");
    let of = |origin: &Origin| {
        let rest = format!(
            "dns: {{ servers: ['{}'], timeout: 60s }}\nreload: {{ watch: false, stage: {{ share: 50%, for: 1h }} }}",
            server.address()
        );
        Plan::to(io, &[origin.address()]).workers("2").log("off").and(&rest)
    };
    let gateway = of(&old).start();
    let number = stages(&gateway, &of(&new).yaml());
    let put = orders(&gateway, "PUT", "/config", &waiting(of(&new)));
    until_true("the new name is asked for", || server.queries("new.test") > 0);
    let began_ms = now_ms();
    let drain = format!("/clusters/app/{}/drain", old.address());
    assert_eq!(gateway.asks_admin("POST", &drain).status(), 200);
    let answer = gateway.asks_admin("POST", "/rollout/abort");
    assert_eq!(answer.status(), 200, "{answer}");
    assert_eq!(ends(&gateway, number)["outcome"], "rolled_back");
    assert!(now_ms() - began_ms < 20_000, "{} ms", now_ms() - began_ms);
    assert!(put.is_silent(), "it waits");
    gateway.stop();
}

/// B8: a TTL of 0 does not make a storm of questions, and one of an hour does not hide a change.
fn the_ttl_is_kept_between_floor_and_ceiling(io: Io) {
    let (_first, _second, port) = on_one_port([HERE, THERE]);
    let server = DnsServer::start();
    server.set("app.test", 0, &[HERE]);
    let gateway = plan(io, &server, port, "timeout: 5s, ttl_min: 200ms, ttl_max: 400ms").start();
    let (began_ms, before) = (now_ms(), server.queries("app.test"));
    // Both families each time.
    until_true("five more questions", || server.queries("app.test") >= before + 10);
    let took_ms = now_ms() - began_ms;
    assert!(took_ms >= 4 * 180, "five questions within {took_ms} ms");
    server.set("app.test", 3_600, &[HERE]);
    let before = server.queries("app.test");
    until_true("an answer that holds for an hour", || server.queries("app.test") >= before + 4);
    let mut client = gateway.client();
    assert_eq!(said(&mut client), "first");
    let began_ms = now_ms();
    server.set("app.test", 3_600, &[THERE]);
    until_true("the change is followed", || said(&mut client) == "second");
    assert!(now_ms() - began_ms < 2_500, "{} ms", now_ms() - began_ms);
    gateway.stop();
}

/// B8: addresses of both families are endpoints; one that is added takes traffic, one that is removed gets none.
fn addresses_of_both_families_come_and_go(io: Io) {
    let (first, second, port) = on_one_port([HERE, V6]);
    let server = DnsServer::start();
    server.set("app.test", 0, &[V6]);
    let gateway = plan(io, &server, port, "timeout: 5s, ttl_min: 50ms, ttl_max: 50ms").start();
    assert_eq!(endpoints(&gateway), BTreeSet::from([format!("[::1]:{port}")]));
    let mut client = gateway.client();
    assert_eq!(said(&mut client), "second");
    assert_eq!(gateway.log_of("/x")["endpoint"], format!("[::1]:{port}"));
    server.set("app.test", 0, &[HERE, V6]);
    until_true("both of them serve", || {
        [said(&mut client), said(&mut client)].contains(&"first".to_owned()) && endpoints(&gateway).len() == 2
    });
    assert_eq!(BTreeSet::from([said(&mut client), said(&mut client)]).len(), 2, "in turn");
    server.set("app.test", 0, &[HERE]);
    until_true("one of them is gone", || endpoints(&gateway).len() == 1);
    // The change is published, and adopted with the next request.
    let reached = second.requests();
    assert!((0..20).all(|_| said(&mut client) == "first"));
    assert_eq!(second.requests(), reached);
    assert!(first.requests() > 20);
    gateway.stop();
}

/// B8: aliases lead to addresses, whether or not the server follows them; a change behind one is followed.
fn aliases_are_followed(io: Io) {
    let (_first, _second, port) = on_one_port([HERE, THERE]);
    let server = DnsServer::start();
    server.set("one.test", 0, &[HERE]);
    server.set("two.test", 0, &[THERE]);
    server.set_alias("app.test", 0, "one.test");
    let gateway = plan(io, &server, port, "timeout: 5s, ttl_min: 50ms, ttl_max: 50ms").start();
    let mut client = gateway.client();
    assert_eq!(said(&mut client), "first");
    server.set_bare_alias("app.test", 0, "two.test");
    until_true("the other name is followed", || said(&mut client) == "second");
    server.set("two.test", 0, &[HERE]);
    until_true("its change is followed", || said(&mut client) == "first");
    // An alias that leads nowhere is a failure like any other.
    server.set_alias("app.test", 0, "gone.test");
    gateway.notice("name not resolved, its last addresses stay");
    assert_eq!(said(&mut client), "first");
    gateway.stop();
}

/// B8: an answer too long for UDP is asked for again over TCP, and every address of it is an endpoint.
fn a_truncated_answer_is_asked_for_over_tcp(io: Io) {
    let addresses: Vec<_> = (1..=200).map(|number| IpAddr::V4(Ipv4Addr::new(127, 0, 1, number))).collect();
    let server = DnsServer::start();
    server.set("app.test", 0, &addresses);
    let endpoint = Endpoint::listens_at(SocketAddr::new(addresses[77], 0)).expect("an address of this machine");
    let gateway = plan(io, &server, endpoint.address().port(), "timeout: 5s, ttl_min: 1h, ttl_max: 1h").start();
    assert!(server.tcp_queries("app.test") > 0);
    assert_eq!(endpoints(&gateway).len(), addresses.len());
    gateway.stop();
}

/// B8, I2: addresses that come and go under load cost no request, whatever its method.
fn changing_addresses_cost_no_request(io: Io) {
    let (_first, _second, port) = on_one_port([HERE, THERE]);
    let server = DnsServer::start();
    server.set("app.test", 0, &[HERE]);
    let gateway = plan(io, &server, port, "timeout: 5s, ttl_min: 20ms, ttl_max: 20ms").workers("2").start();
    let ended = AtomicBool::new(false);
    let requests: u64 = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..6)
            .map(|number| {
                let (mut client, ended) = (gateway.client(), &ended);
                scope.spawn(move || {
                    let mut requests = 0;
                    while !ended.load(Ordering::Relaxed) {
                        let method = if number % 2 == 0 { "GET" } else { "POST" };
                        client.sends(format!("{method} /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"));
                        client.expects(200);
                        requests += 1;
                    }
                    requests
                })
            })
            .collect();
        let end = Ends(&ended);
        for turn in 0..4 {
            for addresses in [&[HERE, THERE][..], &[THERE], &[HERE]] {
                let epoch = gateway.epoch();
                server.set("app.test", 0, addresses);
                until_true(&format!("turn {turn}: {addresses:?}"), || {
                    gateway.epoch() > epoch && endpoints(&gateway).len() == addresses.len()
                });
            }
        }
        drop(end);
        clients.into_iter().map(|client| client.join().expect("no request failed")).sum()
    });
    assert!(requests > 100, "{requests}");
    assert_eq!(gateway.metric_sum("gateway_rejected_requests_total"), 0.0);
    gateway.stop();
}

on_both_drivers![
    a_resolver_that_hangs_holds_up_nobody,
    a_reload_that_waits_for_a_name_holds_up_nobody,
    a_reload_that_waits_for_a_name_holds_up_no_kill_switch,
    a_put_that_waits_for_a_name_holds_up_no_order,
    the_ttl_is_kept_between_floor_and_ceiling,
    addresses_of_both_families_come_and_go,
    aliases_are_followed,
    a_truncated_answer_is_asked_for_over_tcp,
    changing_addresses_cost_no_request,
];
