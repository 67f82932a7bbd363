//! What guards and shares out requests, before endpoints of HTTP/2: F1, F2, G2, C3 and B2 act as over HTTP/1.

use h2::Reason;

use super::client::Client;
use super::gateway::Gateway;
use super::h2_endpoint::H2Endpoint;
use super::h2_origin::H2Origin;
use super::plan::{Io, Plan};
use super::wait::until_true;

/// In place of a status: the stream is reset.
const RESET: u16 = 0;

/// All requests to these endpoints in turn, by a cluster with these entries.
fn before(io: Io, origins: &[&H2Origin], entries: &str) -> Plan {
    let endpoints: Vec<String> = origins.iter().map(|origin| origin.entry()).collect();
    Plan::bare(io).cluster_as("app", &format!("{entries}, endpoints: [{}]", endpoints.join(", ")))
}

fn everything(plan: Plan) -> Gateway {
    plan.route("name: everything, cluster: app").start()
}

fn status(client: &mut Client) -> u16 {
    client.asks("/x").expects_any().status()
}

/// F1: failures in a row open the breaker, whether they are statuses or resets of streams; one trial closes it again.
fn a_breaker_counts_streams(io: Io) {
    let origin = H2Origin::start("it");
    let breaker = "breaker: { min_requests: 1000, consecutive: 3, open_for: 3s, close_after: 1 }";
    let gateway = everything(before(io, &[&origin], breaker));
    let mut client = gateway.client();
    for (told, seen) in [(500, 500), (RESET, 502), (200, 200), (500, 500), (RESET, 502), (503, 503)] {
        origin.tells(told);
        assert_eq!(status(&mut client), seen);
    }
    let refused = client.asks("/refused").expects(503);
    let again_s: u64 = refused.field("retry-after").expect("a time").parse().expect("seconds");
    assert!(refused.reason() == "breaker_open" && (1..=3).contains(&again_s), "{refused}");
    assert_eq!(origin.served(), 6);
    let sample = format!("circuit_breaker_state{{cluster=\"app\",endpoint=\"{}\"}}", origin.address());
    gateway.waits_for(&sample, 1.0);
    origin.tells(200);
    until_true("its trial", || status(&mut client) == 200);
    gateway.waits_for(&sample, 0.0);
    gateway.waits_for("http2_upstream_connections", 1.0);
    gateway.stop();
}

/// G2: whoever fails too often is ejected, and its connection gets no more requests.
fn an_endpoint_that_fails_too_often_is_ejected(io: Io) {
    for told in [500, RESET] {
        let (bad, good) = (H2Origin::start("bad"), H2Origin::start("good"));
        let passive = "health: { passive: { window: 60s, error_rate: 50%, min_requests: 4, eject_for: 60s } }";
        let gateway = everything(before(io, &[&bad, &good], passive));
        bad.tells(told);
        let mut client = gateway.client();
        until_true("it is ejected", || {
            status(&mut client);
            gateway.metric("upstream_ejections_total") >= 1.0
        });
        let before = bad.served();
        assert!((4..8).contains(&before), "{before}");
        for _ in 0..10 {
            assert_eq!(client.asks("/x").expects(200).text(), "good");
        }
        assert_eq!(bad.served(), before);
        gateway.stop();
    }
}

/// F2: a status or a reset that the route names is tried again at another endpoint; a POST is not.
fn a_retry_goes_to_another_endpoint(io: Io) {
    for (told, reason) in [(503, "status"), (RESET, "reset")] {
        let (bad, good) = (H2Origin::start("bad"), H2Origin::start("good"));
        let gateway = before(io, &[&bad, &good], "balance: round_robin")
            .route("name: everything, cluster: app, retry: { attempts: 2, on: [reset, 503], backoff: 1ms }")
            .start();
        bad.tells(told);
        let mut client = gateway.client();
        for _ in 0..6 {
            assert_eq!(client.asks("/x").expects(200).text(), "good");
        }
        // A retry takes a turn as well.
        let tried = bad.served();
        assert!((3..=6).contains(&tried) && good.served() == 6, "{tried}");
        gateway.waits_for(&format!("upstream_retries_total{{reason=\"{reason}\"}}"), tried as f64);
        until_true("a POST that meets the endpoint that fails", || {
            let served = good.served();
            client.sends("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok");
            let seen = client.expects_any().status();
            assert!(seen == 200 || seen == told.max(502) && good.served() == served, "{seen}");
            seen != 200
        });
        assert_eq!(bad.served(), tried + 1);
        gateway.stop();
    }
}

/// C3: a copy is the request word for word, also between endpoints of HTTP/2, and nobody waits for its answer.
fn a_mirror_gets_a_copy(io: Io) {
    let (app, shadow) = (H2Endpoint::listens(), H2Endpoint::listens());
    let gateway = Plan::bare(io)
        .cluster_of("app", &app.entry())
        .cluster_of("shadow", &shadow.entry())
        .route("name: all, cluster: app, mirror: { cluster: shadow, share: 100% }")
        .start();
    let mut client = gateway.client();
    let (mut there, mut mirror) = (None, None);
    for (start, framed) in [
        ("POST /sized", "Content-Length: 5\r\n\r\nhello"),
        ("PUT /chunked", "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
    ] {
        client.sends(format!("{start}?b=c HTTP/1.1\r\nHost: a.example\r\nX-Tag: 1\r\n{framed}"));
        let mut asked = there.get_or_insert_with(|| app.accepts()).expects(&format!("{start}?b=c"));
        assert_eq!(asked.reads_all(), b"hello");
        let fields = asked.request().headers().clone();
        asked.replies_with("the answer");
        assert_eq!(client.expects(200).text(), "the answer");
        let mut copy = mirror.get_or_insert_with(|| shadow.accepts()).expects(&format!("{start}?b=c"));
        assert_eq!((copy.reads_all(), copy.request().headers()), (b"hello".to_vec(), &fields));
        copy.resets(Reason::INTERNAL_ERROR);
    }
    gateway.waits_for("mirror_requests_total{result=\"sent\"}", 2.0);
    gateway.waits_for("mirror_requests_total{result=\"failed\"}", 2.0);
    assert_eq!(gateway.metric_sum("upstream_errors_total"), 0.0);
    gateway.waits_for("http2_upstream_streams_active", 0.0);
    gateway.stop();
}

/// C3: shares of a split are exact, whatever its clusters speak.
fn a_split_is_exact(io: Io) {
    let (most, few) = (H2Origin::start("most"), H2Origin::start("few"));
    let gateway = Plan::bare(io)
        .cluster_of("most", &most.entry())
        .cluster_of("few", &few.entry())
        .route("name: all, split: [{ cluster: most, weight: 75 }, { cluster: few, weight: 25 }]")
        .start();
    let mut client = gateway.client();
    for _ in 0..40 {
        assert_eq!(status(&mut client), 200);
    }
    assert_eq!((most.served(), few.served()), (30, 10));
    gateway.stop();
}

/// B2, B12: a deadline ends its stream and no other, and the endpoint is told of it before and after.
fn a_deadline_ends_its_stream_alone(io: Io) {
    let endpoint = H2Endpoint::listens();
    let gateway = Plan::bare(io)
        .cluster_of("app", &endpoint.entry())
        .route(
            "name: whole, match: { path: /whole }, cluster: app, timeouts: { request: 700ms }, deadline_header: x-left",
        )
        .route("name: head, match: { path: /head }, cluster: app, timeouts: { response_header: 700ms }")
        .route("name: body, match: { path: /body }, cluster: app, timeouts: { body_idle: 1s }")
        .route("name: rest, cluster: app")
        .start();
    let (mut client, mut other) = (gateway.client(), gateway.client());
    other.asks("/rest");
    let accepted = endpoint.accepts();
    let waits = accepted.expects("GET /rest");
    for (path, reason) in [("/whole", "request_timeout"), ("/head", "upstream_timeout")] {
        client.asks(path);
        let asked = accepted.expects(&format!("GET {path}"));
        let left: u64 = asked.field("x-left").parse().unwrap_or_default();
        assert_eq!((1..=700).contains(&left), path == "/whole", "{left}");
        assert_eq!(client.expects(504).reason(), reason);
        assert_eq!(asked.waits_for_reset(), Reason::CANCEL);
    }
    client.asks("/body");
    let mut asked = accepted.expects("GET /body");
    asked.begins(200, &[], false);
    asked.sends("some", false);
    client.expects_head(200);
    let (rest, _) = client.reads_to_end();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "{rest:?}");
    assert_eq!(asked.waits_for_reset(), Reason::CANCEL);
    assert_eq!(gateway.log_of("/body")["reason"], "upstream_body_timeout");
    waits.replies_with("kept");
    assert_eq!(other.expects(200).text(), "kept");
    assert!(endpoint.is_alone());
    gateway.stop();
}

on_both_drivers!(
    a_breaker_counts_streams,
    an_endpoint_that_fails_too_often_is_ejected,
    a_retry_goes_to_another_endpoint,
    a_mirror_gets_a_copy,
    a_split_is_exact,
    a_deadline_ends_its_stream_alone,
);
