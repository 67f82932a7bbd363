//! Tiers of endpoints, one after the other: B13.

use super::child_origin::ChildOrigin;
use super::gateway::Gateway;
use super::patient::Patient;
use super::plan::{Io, Plan};
use super::wait::{until, until_true};

fn said_by(gateway: &Gateway, path: &str) -> String {
    let mut client = gateway.client();
    client.asks(path);
    client.expects(200).text().to_owned()
}

/// B13: a dead tier costs no request, the next one takes over at once; it is taken up again when it is back.
fn the_next_tier_takes_over_from_a_dead_one_at_once_and_gives_back(io: Io) {
    let mut first = ChildOrigin::start("first");
    let second = ChildOrigin::start("second");
    let (best, next) = (first.address(), second.address());
    let gateway = Plan::bare(io)
        .cluster_as(
            "app",
            &format!(
                "endpoints: [{{ url: 'http://{next}', priority: 7 }}, {{ url: 'http://{best}' }}], \
                 health: {{ active: {{ kind: tcp, interval: 50ms, healthy_after: 2, unhealthy_after: 2 }} }}"
            ),
        )
        .route("name: everything, cluster: app")
        .start();
    for _ in 0..4 {
        assert_eq!(said_by(&gateway, "/before"), "first");
    }
    assert!(second.requests().is_empty(), "the second tier is not needed");
    first.is_killed();
    for _ in 0..20 {
        assert_eq!(said_by(&gateway, "/gone"), "second");
    }
    let before = first.requests().len();
    let again = ChildOrigin::start_with("again", &["--port", &best.port().to_string()]);
    assert_eq!((before, again.address()), (4, best));
    until_true("the first tier is taken up again", || said_by(&gateway, "/back") == "again");
    for _ in 0..4 {
        assert_eq!(said_by(&gateway, "/after"), "again");
    }
    gateway.stop();
}

/// A cluster whose second tier is taken when the first is slower than 50 ms, by HTTP probes.
fn by_latency(first: &Patient, second: &Patient) -> Gateway {
    let (best, next) = (first.address(), second.address());
    let active = "health: { active: { kind: http, interval: 200ms, timeout: 200ms, unhealthy_after: 100000 } }";
    Plan::bare(Io::Uring)
        .cluster_as(
            "app",
            &format!(
                "endpoints: [{{ url: 'http://{best}' }}, {{ url: 'http://{next}', priority: 1 }}], \
                 max_latency: 50ms, {active}"
            ),
        )
        .route("name: everything, cluster: app")
        .start()
}

/// Some requests are served by this one while these priorities are left for their latency. On a busy machine another one
/// may be slow for a moment.
fn while_left(gateway: &Gateway, priorities: &[u8], name: &str) {
    let left = || gateway.cluster("app")["slow_tiers"].clone();
    let expected = serde_json::json!(priorities);
    let mut served = 0;
    until_true(&format!("{priorities:?} are left"), || {
        let is_before = left() == expected;
        let said = said_by(gateway, "/x");
        if is_before && left() == expected {
            assert_eq!(said, name, "{priorities:?}");
            served += 1;
        }
        served == 5
    });
}

/// B13: a slow tier is left while another is in budget, and taken up again once it is well within it.
#[test]
fn a_tier_that_answers_slowly_is_left_until_it_is_quick_again() {
    let (first, second) = (Patient::start("first"), Patient::start("second"));
    let gateway = by_latency(&first, &second);
    gateway.waits_to_show("app", second.address(), &[("probe", "healthy")]);
    while_left(&gateway, &[], "first");
    first.lags(150);
    while_left(&gateway, &[0], "second");
    // On a busy machine the other one may have been slow before.
    let left = until("a notice of the first tier", || {
        gateway.notices_of("tier left, it is slow").into_iter().find(|left| left["priority"] == 0)
    });
    assert_eq!(left["cluster"], "app", "{left}");
    assert_eq!(gateway.shows("app", first.address())["fit"], true, "slow is not unfit");
    // As slow as the other: whom else should be asked?
    second.lags(150);
    while_left(&gateway, &[0, 1], "first");
    second.lags(0);
    first.lags(0);
    gateway.notice("tier taken up again");
    while_left(&gateway, &[], "first");
    gateway.stop();
}

/// B13: a probe that was given up was no fast one.
#[test]
fn a_tier_whose_probes_get_no_answer_is_slow() {
    let (first, second) = (Patient::start("first"), Patient::start("second"));
    let gateway = by_latency(&first, &second);
    gateway.waits_to_show("app", second.address(), &[("probe", "healthy")]);
    while_left(&gateway, &[], "first");
    first.lags(500);
    while_left(&gateway, &[0], "second");
    gateway.stop();
}

on_both_drivers![the_next_tier_takes_over_from_a_dead_one_at_once_and_gives_back];
