//! D3: shares that change while requests are under way: slow start, weights by reload, a weight of 0.

use std::collections::BTreeSet;

use super::balance::{asks_with, balanced, counts, named, sequence, weighted};
use super::client::Client;
use super::endpoint::Endpoint;
use super::gate::Gate;
use super::gateway::Gateway;
use super::origin::Origin;
use super::patient::Patient;
use super::plan::{Io, Plan};
use super::wait::{now_ms, until_true};

/// How long an endpoint takes to its full share.
const RAMP_MS: u64 = 1_200;

fn plan_of(io: Io, entries: &str) -> Plan {
    Plan::bare(io).cluster_as("app", entries).route("name: all, cluster: app")
}

/// Thousandths of its share that an endpoint has so long after its return.
fn ramp(age_ms: u64) -> u64 {
    (100 + 900 * age_ms / RAMP_MS).min(1_000)
}

/// Has endpoint `b`, which returned between two times, what its ramp allows of the turns that `a` has, until both are even?
fn grows_to_an_even_share(client: &mut Client, not_before_ms: u64, not_after_ms: u64) {
    let mut looks = 0;
    loop {
        let (began_ms, seen) = (now_ms(), counts(&sequence(client, 50)));
        let of = |name| seen.get(&name).copied().unwrap_or(0) as u64;
        let (least, most) = (ramp(began_ms - not_after_ms), ramp(now_ms() - not_before_ms));
        // A worker's clock is a tick old at most, and two turns may have been saved or be owed.
        let least = least.saturating_sub(20);
        assert!(of('b') * 1_000 <= of('a') * most + 2_000, "{seen:?} at {most} thousandths at most");
        assert!(of('b') * 1_000 + 2_000 >= of('a') * least, "{seen:?} at {least} thousandths at least");
        looks += 1;
        if began_ms - not_after_ms > RAMP_MS {
            break;
        }
    }
    assert!(looks > 2, "it was looked at on its way: {looks}");
}

fn a_new_endpoint_grows_into_its_share(io: Io) {
    let origins = named(2);
    let entries = format!("balance: round_robin, slow_start: {RAMP_MS}ms");
    let gateway = balanced(io, &origins[..1], &entries).start();
    let mut client = gateway.client();
    assert_eq!(sequence(&mut client, 5), "aaaaa");
    let before_ms = now_ms();
    gateway.adopts(&balanced(io, &origins, &entries).yaml());
    grows_to_an_even_share(&mut client, before_ms, now_ms());
    gateway.stop();
}

fn an_endpoint_that_was_drained_grows_into_its_share_again(io: Io) {
    let origins = named(2);
    let of = |weights: &[u32]| {
        plan_of(io, &format!("balance: weighted_round_robin, slow_start: {RAMP_MS}ms, {}", weighted(&origins, weights)))
    };
    let gateway = of(&[1, 1]).start();
    let mut client = gateway.client();
    assert_eq!(
        counts(&sequence(&mut client, 20)).into_values().collect::<Vec<_>>(),
        [10, 10],
        "none ramps at the start"
    );
    gateway.adopts(&of(&[1, 0]).yaml());
    assert_eq!(sequence(&mut client, 5), "aaaaa");
    let before_ms = now_ms();
    gateway.adopts(&of(&[1, 1]).yaml());
    grows_to_an_even_share(&mut client, before_ms, now_ms());
    gateway.stop();
}

/// One that was ejected for its failures is no exception.
fn an_endpoint_that_was_ejected_grows_into_its_share_again(io: Io) {
    const EJECTED_MS: u64 = 300;
    let patients = [Patient::start("a"), Patient::start("b")];
    let passive = format!("window: 1s, error_rate: 100%, min_requests: 1, eject_for: {EJECTED_MS}ms, max_ejected: 50%");
    let gateway = Plan::bare(io)
        .cluster_with(
            "app",
            &patients.each_ref().map(Patient::address),
            &format!("balance: round_robin, slow_start: {RAMP_MS}ms, health: {{ passive: {{ {passive} }} }}"),
        )
        .route("name: all, cluster: app")
        .start();
    let mut client = gateway.client();
    patients[1].tells_clients(500);
    let before_ms = now_ms() + EJECTED_MS;
    until_true("it is ejected", || {
        client.asks("/x").expects_any();
        gateway.metric("upstream_ejections_total") == 1.0
    });
    let after_ms = now_ms() + EJECTED_MS;
    patients[1].tells_clients(200);
    until_true("it returns", || now_ms() > after_ms);
    grows_to_an_even_share(&mut client, before_ms, after_ms);
    gateway.stop();
}

/// With hashed keys it gets more and more of those that are its own, and no other key moves.
fn a_new_endpoint_gets_its_keys_little_by_little(io: Io) {
    // One look is of 200 requests.
    const KEYS_RAMP_MS: u64 = 5_000;
    let origins = named(4);
    let entries = format!("balance: consistent_hash, hash_key: {{ header: x-user }}, slow_start: {KEYS_RAMP_MS}ms");
    let gateway = balanced(io, &origins[..3], &entries).start();
    let mut client = gateway.client();
    let mut all =
        || -> Vec<String> { (0..200).map(|key| asks_with(&mut client, &format!("X-User: u{key}"))).collect() };
    let of_new = |seen: &[String]| -> BTreeSet<usize> { (0..200).filter(|key| seen[*key] == "d").collect() };
    let before = all();
    gateway.adopts(&balanced(io, &origins, &entries).yaml());
    let began_ms = now_ms();
    let mut looks = vec![BTreeSet::new()];
    while now_ms() - began_ms <= KEYS_RAMP_MS + 100 {
        let seen = all();
        assert!(before.iter().zip(&seen).all(|(before, now)| before == now || now == "d"), "only its own keys move");
        looks.push(of_new(&seen));
    }
    let last = all();
    looks.push(of_new(&last));
    assert!(looks.windows(2).all(|pair| pair[1].is_superset(&pair[0])), "what it has it keeps");
    let (first, whole) = (looks[1].len(), looks.last().expect("looks").len());
    assert!(whole > 25 && first * 2 < whole, "{first} of {whole} at first");
    assert!(looks.iter().any(|look| look.len() * 3 > whole && look.len() * 3 < whole * 2), "and some in between");
    gateway.stop();
}

/// Without slow start an endpoint has its whole share at once.
fn without_slow_start_a_new_endpoint_is_even_at_once(io: Io) {
    let origins = named(2);
    let gateway = balanced(io, &origins[..1], "balance: round_robin").start();
    let mut client = gateway.client();
    sequence(&mut client, 3);
    gateway.adopts(&balanced(io, &origins, "balance: round_robin").yaml());
    assert_eq!(counts(&sequence(&mut client, 20)).into_values().collect::<Vec<_>>(), [10, 10]);
    gateway.stop();
}

/// New weights take effect with the next request; no connection of a client or to an endpoint is touched, nor what is in flight.
fn weights_change_without_dropping_a_connection(io: Io) {
    let gate = Gate::new();
    let origins = [gate.origin("a"), gate.origin("b")];
    let of = |weights: &[u32]| plan_of(io, &format!("balance: weighted_round_robin, {}", weighted(&origins, weights)));
    let gateway = of(&[1, 1]).start();
    let (mut client, mut held) = (gateway.client(), gateway.client());
    held.asks("/held");
    gate.sees(1);
    assert_eq!(counts(&sequence(&mut client, 20)).into_values().collect::<Vec<_>>(), [10, 10]);
    let connections = || origins.iter().map(Origin::connections).sum::<u64>();
    let before = connections();
    gateway.adopts(&of(&[3, 1]).yaml());
    assert_eq!(counts(&sequence(&mut client, 40)).into_values().collect::<Vec<_>>(), [30, 10]);
    gate.opens();
    held.expects(200);
    assert_eq!(connections(), before, "every connection was reused");
    assert_eq!(gateway.metric("net_connections_accepted_total"), 2.0);
    gateway.stop();
}

/// What is in flight at a drained endpoint ends there; it gets nothing new, even when every other one is gone.
fn a_weight_of_zero_drains(io: Io) {
    let gate = Gate::new();
    let origins = [gate.origin("a"), Origin::saying("b")];
    let of = |weights: &[u32]| plan_of(io, &format!("balance: round_robin, {}", weighted(&origins, weights)));
    let gateway = of(&[1, 0]).start();
    let mut held = gateway.client();
    held.asks("/held");
    gate.sees(1);
    gateway.adopts(&of(&[0, 1]).yaml());
    let mut client = gateway.client();
    assert_eq!(sequence(&mut client, 10), "b".repeat(10));
    assert!(is_drained(&gateway, 0) && !is_drained(&gateway, 1));
    gate.opens();
    assert_eq!(held.expects(200).text(), "a", "it ended where it was");
    let closed = Endpoint::closed();
    let entries = format!(
        "none_healthy: fail_open, endpoints: [{{ url: 'http://{}', weight: 0 }}, {{ url: 'http://{closed}' }}]",
        origins[0].address()
    );
    gateway.adopts(&plan_of(io, &entries).yaml());
    for _ in 0..3 {
        client.asks("/");
        assert_eq!(client.expects(502).reason(), "connect_refused", "a drained endpoint is no last resort");
    }
    gateway.stop();
}

fn is_drained(gateway: &Gateway, at: usize) -> bool {
    let shown = gateway.cluster("app");
    let endpoint = &shown["endpoints"][at];
    assert_eq!(endpoint["fit"], endpoint["unfit"] != "unfit: drained", "{shown}");
    endpoint["unfit"] == "unfit: drained"
}

on_both_drivers![
    a_new_endpoint_grows_into_its_share,
    an_endpoint_that_was_drained_grows_into_its_share_again,
    an_endpoint_that_was_ejected_grows_into_its_share_again,
    a_new_endpoint_gets_its_keys_little_by_little,
    without_slow_start_a_new_endpoint_is_even_at_once,
    weights_change_without_dropping_a_connection,
    a_weight_of_zero_drains,
];
