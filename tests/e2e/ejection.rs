//! Endpoints ejected for what becomes of their requests: G2.

use std::net::SocketAddr;

use super::client::Client;
use super::gateway::Gateway;
use super::patient::Patient;
use super::plan::{Io, Plan};
use super::wait::{now_ms, until, until_true};

const EJECTIONS: &str = "upstream_ejections_total";

/// One cluster `app` of these endpoints in turn, with this passive check.
fn plan(io: Io, endpoints: &[SocketAddr], passive: &str, more: &str) -> Plan {
    Plan::bare(io)
        .cluster_with("app", endpoints, &format!("health: {{ passive: {{ {passive} }} }}{more}"))
        .route("name: everything, cluster: app")
}

/// The status of one more request.
fn status(client: &mut Client) -> u16 {
    client.asks("/x").expects_any().status()
}

/// Asks until `patient` has served `count` requests more.
fn serves(client: &mut Client, patient: &Patient, count: u64) {
    let before = patient.served();
    until_true("its turn", || {
        status(client);
        patient.served() >= before + count
    });
}

/// G2: ejected at the share of failures, not before the least number of requests; it returns by itself, and each further
/// time it stays away longer.
fn an_endpoint_that_fails_too_often_is_ejected_for_longer_each_time(io: Io) {
    let (bad, good) = (Patient::start("bad"), Patient::start("good"));
    let passive = "window: 60s, error_rate: 50%, min_requests: 4, eject_for: 200ms";
    let gateway = plan(io, &[bad.address(), good.address()], passive, "").start();
    let mut client = gateway.client();
    bad.tells_clients(500);
    let mut failed = 0;
    for times in 1..=3_u64 {
        serves(&mut client, &bad, 3 - failed);
        assert_eq!(gateway.metric(EJECTIONS), (times - 1) as f64, "three are too few to judge by");
        let ejected_ms = now_ms();
        serves(&mut client, &bad, 1);
        assert_eq!(gateway.metric(EJECTIONS), times as f64);
        let served = bad.served();
        until_true("it is back", || {
            let told = status(&mut client);
            let is_away = gateway.shows("app", bad.address())["ejected"] == true;
            assert!(!is_away || (told, bad.served()) == (200, served), "everything goes to the other one");
            !is_away
        });
        // It may have been back for the last request.
        failed = bad.served() - served;
        // A worker's clock is a tick behind at most.
        assert!(now_ms() - ejected_ms + 20 >= 200 * times, "{times}: {} ms", now_ms() - ejected_ms);
    }
    bad.tells_clients(200);
    serves(&mut client, &bad, 8);
    assert_eq!(gateway.metric(EJECTIONS), 3.0, "what it did before counts no more");
    gateway.stop();
}

/// G2: fewer failures than the share eject nobody.
fn an_endpoint_below_the_share_of_failures_stays(io: Io) {
    let (half, good) = (Patient::start("half"), Patient::start("good"));
    let passive = "window: 60s, error_rate: 60%, min_requests: 4, eject_for: 60s";
    let gateway = plan(io, &[half.address(), good.address()], passive, "").start();
    let mut client = gateway.client();
    for _ in 0..5 {
        half.tells_clients(200);
        serves(&mut client, &half, 1);
        half.tells_clients(503);
        serves(&mut client, &half, 1);
    }
    assert_eq!(gateway.metric(EJECTIONS), 0.0);
    half.tells_clients(500);
    // 5 of 10, then 6 of 11 and 7 of 12; 8 of 13 are more than 60 %.
    serves(&mut client, &half, 2);
    assert_eq!(gateway.metric(EJECTIONS), 0.0);
    serves(&mut client, &half, 1);
    assert_eq!(gateway.metric(EJECTIONS), 1.0);
    gateway.stop();
}

/// G2: whatever fails, no more than the share of a cluster is ejected at once, by all workers together.
fn no_more_than_the_share_of_a_cluster_is_ejected(io: Io) {
    let patients: Vec<Patient> = (0..5).map(|number| Patient::start(&number.to_string())).collect();
    let addresses: Vec<SocketAddr> = patients.iter().map(Patient::address).collect();
    for patient in &patients {
        patient.tells_clients(500);
    }
    let passive = "window: 60s, error_rate: 50%, min_requests: 2, eject_for: 60s, max_ejected: 50%";
    let gateway = plan(io, &addresses, passive, "").workers("2").start();
    let mut clients: Vec<Client> = (0..8).map(|_| gateway.client()).collect();
    let ejected =
        |gateway: &Gateway| addresses.iter().filter(|at| gateway.shows("app", **at)["ejected"] == true).count();
    until_true("two of five", || {
        for client in &mut clients {
            assert_eq!(status(client), 500);
        }
        ejected(&gateway) == 2
    });
    for _ in 0..25 {
        for client in &mut clients {
            assert_eq!(status(client), 500);
        }
    }
    assert_eq!((ejected(&gateway), gateway.metric(EJECTIONS)), (2, 2.0));
    gateway.stop();
}

/// G2: connections that fail count as much as statuses; without the check by a reload, ejected endpoints are back.
fn refused_connections_count_and_a_reload_without_the_check_forgets(io: Io) {
    let good = Patient::start("good");
    let refusing = super::endpoint::Endpoint::closed();
    let passive = "window: 60s, error_rate: 50%, min_requests: 1, eject_for: 60s";
    let gateway = plan(io, &[refusing, good.address()], passive, "").start();
    let mut client = gateway.client();
    until("an ejection", || {
        assert_eq!(status(&mut client), 200, "another endpoint is tried");
        (gateway.metric(EJECTIONS) > 0.0).then_some(())
    });
    assert_eq!(gateway.shows("app", refusing)["unfit"], "unfit: ejected");
    let told = gateway.notice("endpoint ejected");
    assert_eq!((&told["cluster"], &told["endpoint"]), (&"app".into(), &refusing.to_string().into()), "{told}");
    gateway.adopts(&plan(io, &[refusing, good.address()], passive, ", slow_start: 1s").yaml());
    assert_eq!(gateway.shows("app", refusing)["unfit"], "unfit: ejected", "it survives a reload");
    gateway.adopts(&Plan::to(io, &[refusing, good.address()]).yaml());
    assert_eq!(gateway.shows("app", refusing)["fit"], true);
    gateway.notice("endpoint no longer ejected");
    assert_eq!(gateway.notices_of("endpoint ejected").len(), 1);
    gateway.stop();
}

/// D2: with all of them ejected, `fail_open` uses them all the same, and `fail_closed` does not.
fn with_all_ejected_fail_open_goes_on_and_fail_closed_refuses(io: Io) {
    let passive = "window: 60s, error_rate: 50%, min_requests: 1, eject_for: 60s, max_ejected: 100%";
    for (policy, expected) in [("fail_open", 500), ("fail_closed", 503)] {
        let bad = Patient::start("bad");
        bad.tells_clients(500);
        let gateway = plan(io, &[bad.address()], passive, &format!(", none_healthy: {policy}")).start();
        let mut client = gateway.client();
        assert_eq!(status(&mut client), 500);
        assert_eq!(gateway.shows("app", bad.address())["unfit"], "unfit: ejected");
        let answer = client.asks("/then").expects_any();
        assert_eq!(answer.status(), expected, "{policy}: {answer}");
        assert_eq!(answer.reason(), if expected == 503 { "no_healthy_endpoint" } else { "" });
        gateway.stop();
    }
}

on_both_drivers![
    an_endpoint_that_fails_too_often_is_ejected_for_longer_each_time,
    an_endpoint_below_the_share_of_failures_stays,
    no_more_than_the_share_of_a_cluster_is_ejected,
    refused_connections_count_and_a_reload_without_the_check_forgets,
    with_all_ejected_fail_open_goes_on_and_fail_closed_refuses,
];
