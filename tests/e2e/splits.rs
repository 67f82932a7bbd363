//! C3: a route's requests split between clusters by weight.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::client::Client;
use super::endpoint::Endpoint;
use super::gateway::Gateway;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::wait::thread;

/// A stable cluster `app` and a canary beside it, with this split between them.
fn split(io: Io, app: SocketAddr, canary: SocketAddr, split: [u32; 2], entries: &str) -> Plan {
    Plan::bare(io).cluster("app", &[app]).cluster("canary", &[canary]).route(&format!(
        "name: all, split: [{{ cluster: app, weight: {} }}, {{ cluster: canary, weight: {} }}]{entries}",
        split[0], split[1]
    ))
}

/// Sends `count` requests over some connections at once; all must be answered.
fn floods(gateway: &Gateway, clients: u64, count: u64) {
    let address = gateway.address();
    let players: Vec<_> = (0..clients)
        .map(|_| {
            thread("client", move || {
                let mut client = Client::to(address);
                for _ in 0..count / clients {
                    client.asks("/");
                    client.expects(200);
                }
            })
        })
        .collect();
    for player in players {
        player.join().expect("every request was answered");
    }
}

/// Of 10,000 requests 9,500 go to the one cluster and 500 to the other, on one worker, whatever connections they come by.
fn a_worker_splits_exactly(io: Io) {
    let (app, canary) = (Origin::saying("app"), Origin::saying("canary"));
    let gateway = split(io, app.address(), canary.address(), [95, 5], "").start();
    floods(&gateway, 4, 10_000);
    assert_eq!((app.requests(), canary.requests()), (9_500, 500));
    gateway.stop();
}

/// Each worker splits its own requests exactly: together they are at most one request for each worker off.
fn workers_are_together_at_most_one_request_each_off(io: Io) {
    let (app, canary) = (Origin::saying("app"), Origin::saying("canary"));
    let gateway = split(io, app.address(), canary.address(), [95, 5], "").workers("4").start();
    floods(&gateway, 8, 2_008);
    let (seen, due) = (canary.requests() as f64, 2_008.0 * 0.05);
    assert!((seen - due).abs() <= 4.0, "{seen} of {due}");
    assert_eq!(app.requests() + canary.requests(), 2_008);
    gateway.stop();
}

fn asks_as(gateway: &Gateway, user: u32) -> String {
    let mut client = gateway.client();
    client.sends(format!("GET / HTTP/1.1\r\nHost: a.example\r\nCookie: sid=user{user}\r\n\r\n"));
    client.expects(200).text().to_owned()
}

/// With a key the same client stays where it is, on every worker, and a canary that grows keeps those it has.
fn a_key_stays_at_its_cluster_and_a_growing_canary_keeps_its_own(io: Io) {
    let (app, canary) = (Origin::saying("app"), Origin::saying("canary"));
    let plan =
        |weights| split(io, app.address(), canary.address(), weights, ", split_key: { cookie: sid }").workers("2");
    let gateway = plan([90, 10]).start();
    let of_canary = || -> BTreeSet<u32> { (0..200).filter(|user| asks_as(&gateway, *user) == "canary").collect() };
    let before = of_canary();
    assert!((8..=35).contains(&before.len()), "about 20 of 200: {}", before.len());
    assert_eq!(of_canary(), before, "by other connections, on other workers");
    gateway.adopts(&plan([70, 30]).yaml());
    let after = of_canary();
    assert!(after.is_superset(&before) && after.len() > before.len() + 15, "{} and then {}", before.len(), after.len());
    gateway.adopts(&plan([1, 0]).yaml());
    assert_eq!(of_canary(), BTreeSet::new());
    gateway.stop();
}

/// What goes to a cluster that is down fails there: the other one does not hide it.
fn a_cluster_that_is_down_fails_its_share(io: Io) {
    let app = Origin::saying("app");
    let gateway = split(io, app.address(), Endpoint::closed(), [3, 1], "").start();
    let mut client = gateway.client();
    let mut failed = 0;
    for _ in 0..40 {
        client.asks("/");
        let answer = client.expects_any();
        match answer.status() {
            200 => assert_eq!(answer.text(), "app"),
            502 => {
                assert_eq!(answer.reason(), "connect_refused");
                failed += 1;
            }
            other => panic!("{other}: {answer}"),
        }
    }
    assert_eq!((failed, app.requests()), (10, 30));
    assert_eq!(gateway.metric("upstream_errors_total{reason=\"connect_refused\"}"), 10.0);
    gateway.stop();
}

/// New weights count from the reload on.
fn new_weights_are_exact_from_the_reload_on(io: Io) {
    let (app, canary) = (Origin::saying("app"), Origin::saying("canary"));
    let plan = |weights| split(io, app.address(), canary.address(), weights, "");
    let gateway = plan([1, 0]).start();
    let mut seen = (0, 0);
    for (weights, due) in [([1, 0], (100, 0)), ([9, 1], (90, 10)), ([1, 1], (50, 50)), ([0, 7], (0, 100))] {
        gateway.adopts(&plan(weights).yaml());
        floods(&gateway, 2, 100);
        let now = (app.requests(), canary.requests());
        assert_eq!((now.0 - seen.0, now.1 - seen.1), due, "{weights:?}");
        seen = now;
    }
    gateway.stop();
}

on_both_drivers![
    a_worker_splits_exactly,
    workers_are_together_at_most_one_request_each_off,
    a_key_stays_at_its_cluster_and_a_growing_canary_keeps_its_own,
    a_cluster_that_is_down_fails_its_share,
    new_weights_are_exact_from_the_reload_on,
];
