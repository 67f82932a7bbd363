//! F2 where a cluster has one address, or no other one is left: what failed there is asked again where its route says so, and nowhere else.

use std::net::SocketAddr;

use super::endpoint::Endpoint;
use super::gateway::Gateway;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::retries::first_then_second;
use super::wait::now_ms;

const RETRIED: &str = "upstream_retries_total";
const DENIED: &str = "upstream_retries_denied_total";

/// A gateway before one address, with these retries.
fn before(io: Io, endpoint: SocketAddr, retry: &str) -> Gateway {
    Plan::bare(io)
        .cluster("app", &[endpoint])
        .route(&format!("name: all, cluster: app, retry: {{ backoff: 1ms, budget: 100%, {retry} }}"))
        .start()
}

fn count(gateway: &Gateway, family: &str, reason: &str) -> f64 {
    gateway.metric(&format!("{family}{{reason=\"{reason}\"}}"))
}

/// An endpoint that resets every connection once it has the request.
fn resetting() -> Origin {
    Origin::serving(|mut wire| {
        wire.reads_head();
        wire.resets();
    })
}

/// A reset is followed by as many further connections as `attempts` leaves, and what denies one more is counted.
fn an_endpoint_that_resets_is_asked_again_within_its_attempts(io: Io) {
    let origin = resetting();
    let gateway = before(io, origin.address(), "on: [reset], attempts: 3, same_endpoint: on");
    let mut client = gateway.client();
    client.asks("/get");
    assert_eq!(client.expects(502).reason(), "upstream_reset");
    assert_eq!((origin.connections(), gateway.log_of("/get")["attempts"].as_u64()), (3, Some(3)));
    assert_eq!((count(&gateway, RETRIED, "reset"), gateway.metric_sum(RETRIED)), (2.0, 2.0));
    assert_eq!((count(&gateway, DENIED, "attempts"), gateway.metric_sum(DENIED)), (1.0, 1.0));
    assert_eq!(count(&gateway, "upstream_errors_total", "upstream_reset"), 3.0);
    // RFC 9110 section 9.2.2.
    client.sends("POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    client.expects(502);
    assert_eq!((origin.connections(), count(&gateway, DENIED, "non_idempotent")), (4, 1.0));
    gateway.stop();
}

/// An address behind which another one takes the next connection: the client gets its answer.
fn what_stands_behind_the_same_address_answers(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = before(io, endpoint.address(), "same_endpoint: on");
    let mut client = gateway.client();
    client.asks("/x");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /x");
    upstream.closes();
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /x");
    upstream.replies_with("other");
    assert_eq!(client.expects(200).text(), "other");
    gateway.stop();
}

/// A connect that was refused is tried again too, whatever the method, as nothing was sent.
fn an_endpoint_that_refuses_is_asked_again_whatever_the_request(io: Io) {
    let gateway = before(io, Endpoint::closed(), "attempts: 4, same_endpoint: on");
    let mut client = gateway.client();
    client.sends("POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.expects(502).reason(), "connect_refused");
    assert_eq!(gateway.log_of("/post")["attempts"].as_u64(), Some(4));
    assert_eq!((count(&gateway, RETRIED, "connect"), gateway.metric_sum(RETRIED)), (3.0, 3.0));
    assert_eq!((count(&gateway, DENIED, "attempts"), gateway.metric_sum(DENIED)), (1.0, 1.0));
    gateway.stop();
}

/// Neither is amplified beyond the budget.
fn the_budget_bounds_how_often_the_same_is_asked(io: Io) {
    let gateway = Plan::bare(io)
        .cluster("app", &[Endpoint::closed()])
        .route("name: all, cluster: app, retry: { backoff: 1ms, budget: 0%, attempts: 9, same_endpoint: on }")
        .workers("1")
        .start();
    let began_ms = now_ms();
    let mut client = gateway.client();
    for _ in 0..20 {
        client.asks("/x").expects(502);
    }
    let (retried, denied) = (gateway.metric_sum(RETRIED), count(&gateway, DENIED, "budget"));
    // Ten at the start, and one for each 100 ms.
    let most = 11.0 + (now_ms() - began_ms) as f64 / 100.0;
    assert!((10.0..=most).contains(&retried) && denied > 0.0, "{retried} of 160, {most} allowed, {denied} denied");
    gateway.stop();
}

/// An outage of the one address is not amplified: its breaker ends the attempts.
fn an_open_breaker_ends_the_attempts(io: Io) {
    let gateway = Plan::bare(io)
        .cluster_with("app", &[Endpoint::closed()], "breaker: { consecutive: 2, open_for: 1h }")
        .route("name: all, cluster: app, retry: { backoff: 1ms, attempts: 9, same_endpoint: on }")
        .start();
    let mut client = gateway.client();
    client.asks("/x");
    assert_eq!(client.expects(502).reason(), "connect_refused");
    assert_eq!(gateway.log_of("/x")["attempts"].as_u64(), Some(2));
    assert_eq!(client.asks("/y").expects(503).reason(), "breaker_open");
    gateway.stop();
}

/// Another endpoint is taken where there is one.
fn another_endpoint_comes_first(io: Io) {
    let (origin, other) = (resetting(), Origin::saying("other"));
    let gateway = Plan::bare(io)
        .cluster("app", &[origin.address(), other.address()])
        .route("name: all, cluster: app, retry: { backoff: 1ms, budget: 100%, attempts: 5, same_endpoint: on }")
        .start();
    let mut client = gateway.client();
    for _ in 0..8 {
        assert_eq!(client.asks("/x").expects(200).text(), "other");
    }
    assert_eq!(count(&gateway, RETRIED, "reset"), origin.connections() as f64);
    gateway.stop();
}

/// Without it the failure is the end, at once, and counted.
fn without_it_the_failure_is_the_end(io: Io) {
    let origin = resetting();
    for (endpoint, reason) in [(origin.address(), "upstream_reset"), (Endpoint::closed(), "connect_refused")] {
        let gateway = before(io, endpoint, "attempts: 5");
        let mut client = gateway.client();
        client.asks("/x");
        assert_eq!(client.expects(502).reason(), reason);
        assert_eq!(gateway.log_of("/x")["attempts"].as_u64(), Some(1));
        assert_eq!((gateway.metric_sum(RETRIED), count(&gateway, DENIED, "no_other_endpoint")), (0.0, 1.0));
        assert_eq!(gateway.metric_sum(DENIED), 1.0);
        gateway.stop();
    }
    assert_eq!(origin.connections(), 1);
}

/// So it is where every one of several endpoints failed so: no pause is waited out, and no budget spent, for nobody.
fn without_it_the_last_of_several_that_failed_is_the_end(io: Io) {
    let origin = resetting();
    let gateway = first_then_second(Plan::bare(io), Endpoint::closed(), origin.address())
        .route("name: all, cluster: app, retry: { backoff: 9s, budget: 100%, attempts: 5 }")
        .start();
    let (mut client, began_ms) = (gateway.client(), now_ms());
    client.asks("/x");
    assert_eq!(client.expects(502).reason(), "upstream_reset");
    // The shortest pause is half the backoff.
    assert!(now_ms() - began_ms < 4_000, "{} ms", now_ms() - began_ms);
    assert_eq!((origin.connections(), gateway.log_of("/x")["attempts"].as_u64()), (1, Some(2)));
    assert_eq!((count(&gateway, RETRIED, "connect"), gateway.metric_sum(RETRIED)), (1.0, 1.0));
    assert_eq!((count(&gateway, DENIED, "no_other_endpoint"), gateway.metric_sum(DENIED)), (1.0, 1.0));
    gateway.stop();
}

on_both_drivers![
    an_endpoint_that_resets_is_asked_again_within_its_attempts,
    what_stands_behind_the_same_address_answers,
    an_endpoint_that_refuses_is_asked_again_whatever_the_request,
    the_budget_bounds_how_often_the_same_is_asked,
    an_open_breaker_ends_the_attempts,
    another_endpoint_comes_first,
    without_it_the_failure_is_the_end,
    without_it_the_last_of_several_that_failed_is_the_end,
];
