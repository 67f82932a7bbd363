//! F16: an endpoint whose process is stopped. The kernel goes on accepting for it; nothing is answered.

use serde_json::Value;

use super::child_origin::ChildOrigin;
use super::gateway::Gateway;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::wait::until_true;

const OPENED: &str = "circuit_breaker_transitions_total{to=\"open\"}";

/// Two endpoints in turn behind a breaker that a second failure in a row opens.
fn gateway(io: Io, frozen: &ChildOrigin, other: &Origin) -> Gateway {
    let (first, second) = (frozen.address(), other.address());
    let cluster = format!(
        "endpoints: [{{ url: 'http://{first}' }}, {{ url: 'http://{second}' }}], \
         breaker: {{ consecutive: 2, open_for: 3s, close_after: 2 }}"
    );
    Plan::bare(io)
        .cluster_as("app", &cluster)
        .route("name: everything, cluster: app")
        .timeouts("response_header: 1s, connect: 1s")
        .start()
}

/// F16: 504s until the breaker opens, then everything goes elsewhere; a probe after SIGCONT brings the traffic back.
fn a_stopped_endpoint_is_left_and_taken_up_when_it_goes_on(io: Io) {
    let (frozen, other) = (ChildOrigin::start("frozen"), Origin::saying("other"));
    let gateway = gateway(io, &frozen, &other);
    let state = format!("circuit_breaker_state{{cluster=\"app\",endpoint=\"{}\"}}", frozen.address());
    let mut client = gateway.client();
    let mut status = |path: &str| {
        client.asks(path);
        let answer = client.expects_any();
        let said = if answer.status() == 200 { answer.text().to_owned() } else { answer.reason().to_owned() };
        (answer.status(), said)
    };
    let named = |name: &str| (200, name.to_owned());
    let both = [status("/warm"), status("/warm")];
    assert!(both.contains(&named("frozen")) && both.contains(&named("other")), "{both:?}");

    frozen.freezes();
    let timed_out = (504, "upstream_timeout".to_owned());
    let answers: Vec<_> = (0..4).map(|_| status("/late")).collect();
    assert_eq!(answers.iter().filter(|answer| **answer == timed_out).count(), 2, "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| **answer == named("other")).count(), 2, "{answers:?}");
    assert_eq!(gateway.metric(OPENED), 1.0, "two failures in a row open it");
    for _ in 0..4 {
        assert_eq!(status("/elsewhere"), named("other"));
    }

    // A probe that finds it still stopped costs one request and opens the breaker again.
    until_true("a probe", || {
        let answer = status("/probe");
        assert!(answer == timed_out || answer == named("other"), "{answer:?}");
        answer == timed_out
    });
    assert_eq!(gateway.metric(OPENED), 2.0, "a failed probe opens it again");
    assert_eq!(status("/elsewhere"), named("other"));

    frozen.thaws();
    until_true("two probes close it", || status("/back").0 == 200 && gateway.metric(&state) == 0.0);
    let both = [status("/again"), status("/again")];
    assert!(both.contains(&named("frozen")) && both.contains(&named("other")), "{both:?}");
    let is_late = |line: &Value| line["status"] == 504 && line["reason"] == "upstream_timeout";
    until_true("a line for each", || gateway.log_lines().into_iter().filter(is_late).count() == 3);
    gateway.stop();
}

/// F16, with its queue of connections full: the kernel no longer answers for it, the connect times out, and the breaker
/// opens all the same.
fn a_stopped_endpoint_with_a_full_queue_does_not_even_connect(io: Io) {
    let frozen = ChildOrigin::start_with("frozen", &["--backlog", "1"]);
    let gateway = Plan::bare(io)
        .cluster_with("app", &[frozen.address()], "breaker: { consecutive: 6, open_for: 60s }")
        .route("name: everything, cluster: app")
        .timeouts("response_header: 150ms, connect: 150ms")
        .start();
    frozen.freezes();
    let mut client = gateway.client();
    let reasons: Vec<String> = (0..6).map(|_| client.asks("/x").expects(504).reason().to_owned()).collect();
    assert!(reasons.iter().all(|reason| reason == "upstream_timeout" || reason == "connect_timeout"), "{reasons:?}");
    assert_eq!(reasons[5], "connect_timeout", "{reasons:?}");
    assert_eq!(client.asks("/open").expects(503).reason(), "breaker_open");
    assert_eq!(gateway.log_of("/open")["reason"], "breaker_open");
    gateway.stop();
}

on_both_drivers![
    a_stopped_endpoint_is_left_and_taken_up_when_it_goes_on,
    a_stopped_endpoint_with_a_full_queue_does_not_even_connect,
];
