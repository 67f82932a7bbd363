//! gRPC, what of it needs no endpoint that speaks it: failures as a status, deadlines, pauses between messages.

use super::endpoint::Endpoint;
use super::gateway::Gateway;
use super::h2_client::{H2Client, H2Stream, Reply};
use super::plan::{Io, Plan};
use super::wait::{now_ms, until_true};

/// The fields of a call.
const CALL: &[(&str, &str)] = &[("content-type", "application/grpc"), ("te", "trailers")];

/// The same with a time.
fn timed(timeout: &str) -> Vec<(&'static str, &str)> {
    let mut fields = CALL.to_vec();
    fields.push(("grpc-timeout", timeout));
    fields
}

/// A response of fields alone, with this status and for this reason.
fn is_told(reply: &Reply, status: &str, reason: &str) {
    assert_eq!((reply.field("grpc-status"), reply.reason()), (status, reason), "{reply:?}");
    assert_eq!(reply.field("content-type"), "application/grpc");
    assert!(!reply.field("grpc-message").is_empty() && reply.body.is_empty() && reply.trailers.is_empty(), "{reply:?}");
}

/// The same, and nothing follows the fields, not even an empty frame.
fn fails(mut stream: H2Stream, status: &str, reason: &str) {
    let reply = stream.expects_head(200);
    assert!(stream.ends_here(), "the fields end the stream: {reply:?}");
    is_told(&reply, status, reason);
}

/// Every way in which the gateway itself ends a call before an answer, as a status of gRPC with HTTP 200.
fn failures_are_told_as_a_status_of_grpc(io: Io) {
    let (held, silent) = (Endpoint::listens(), Endpoint::listens());
    let closed = Endpoint::closed();
    let probed = "none_healthy: fail_closed, health: { active: { kind: tcp, require_probe: true } }";
    let gateway = Plan::bare(io)
        .speaks_h2()
        .cluster("closed", &[closed])
        .cluster_with("unprobed", &[closed], probed)
        .cluster_with("broken", &[closed], "breaker: { consecutive: 1 }")
        .cluster_with("held", &[held.address()], "max_connections: 1")
        .cluster("silent", &[silent.address()])
        .route("name: closed, match: { path: /closed/* }, cluster: closed")
        .route("name: unprobed, match: { path: /unprobed/* }, cluster: unprobed")
        .route("name: broken, match: { path: /broken/* }, cluster: broken")
        .route("name: held, match: { path: /held/* }, cluster: held")
        .route("name: silent, match: { path: /silent/* }, cluster: silent, timeouts: { response_header: 200ms }, body_limit: 10B")
        .route("name: guarded, match: { path: /guarded/* }, cluster: silent, require_client_cert: true")
        .start();
    let mut client = H2Client::to(gateway.address());
    let mut call = |path: &str| client.asks("POST", path, CALL);
    fails(call("/nowhere/Method"), "12", "route_not_found");
    fails(call("/closed/Method"), "14", "connect_refused");
    fails(call("/unprobed/Method"), "14", "no_healthy_endpoint");
    fails(call("/broken/Method"), "14", "connect_refused");
    fails(call("/broken/Method"), "14", "breaker_open");
    fails(call("/guarded/Method"), "7", "client_certificate_missing");
    fails(call("/silent/Method"), "4", "upstream_timeout");
    let first = call("/held/1");
    let mut upstream = held.accepts();
    upstream.expects("POST /held/1");
    fails(call("/held/2"), "8", "upstream_saturated");
    upstream.replies_with("");
    first.expects(200);
    let mut large = client.begins("POST", "/silent/Method", CALL);
    large.sends([0; 20], false);
    is_told(&large.expects(200), "8", "body_too_large");
    let line = gateway.log_of("/nowhere/Method");
    assert_eq!((&line["status"], &line["grpc_status"]), (&200.into(), &12.into()), "{line}");
    assert_eq!(line["reason"], "route_not_found");
    gateway.stop();
}

/// What only looks like a call gets the status of HTTP: other media types, gRPC-Web among them, and other methods.
fn what_is_no_call_is_told_by_the_status_of_http(io: Io) {
    let gateway = Plan::to(io, &[Endpoint::closed()]).speaks_h2().start();
    let mut client = H2Client::to(gateway.address());
    for (method, content_type) in [
        ("POST", "application/grpc-web"),
        ("POST", "application/grpc-web+proto"),
        ("POST", "application/json"),
        ("GET", "application/grpc"),
    ] {
        let reply = client.asks(method, "/x", &[("content-type", content_type)]).expects(502);
        assert_eq!((reply.field("grpc-status"), reply.reason()), ("", "connect_refused"), "{method} {content_type}");
    }
    for content_type in ["application/grpc", "application/grpc+proto", "application/grpc;a=b"] {
        is_told(&client.asks("POST", "/x", &[("content-type", content_type)]).expects(200), "14", "connect_refused");
    }
    let mut plain = gateway.client();
    plain.sends("POST /x HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n");
    let answer = plain.expects(200);
    assert_eq!(answer.field("grpc-status"), Some("14"), "{answer}");
    gateway.stop();
}

/// Milliseconds that the endpoint is told.
fn told_ms(value: &str) -> u64 {
    value.strip_suffix('m').and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no milliseconds: {value}"))
}

/// A call ends with its own time when that is the shorter one, and with the route's otherwise; the endpoint is told what
/// is left of its own. What cannot be read bounds nothing and goes on as it is.
fn the_time_of_a_call_shortens_that_of_its_route(io: Io) {
    let endpoint = Endpoint::listens();
    let plan = Plan::to(io, &[endpoint.address()]).speaks_h2().defaults("retry: { attempts: 1 }");
    let long = plan.clone().timeouts("request: 20s, response_header: 20s").start();
    let mut client = H2Client::to(long.address());
    let began_ms = now_ms();
    let stream = client.asks("POST", "/short", &timed("1S"));
    let mut upstream = endpoint.accepts();
    let told = told_ms(upstream.expects("POST /short").field("grpc-timeout").expect("a time"));
    assert!((1..=1_000).contains(&told), "{told}");
    fails(stream, "4", "request_timeout");
    assert!((900..5_000).contains(&(now_ms() - began_ms)), "within a tick or two");
    // Over at once, before a connection comes about or after.
    let reply = client.asks("POST", "/over", &timed("0n")).expects(200);
    assert_eq!(reply.field("grpc-status"), "4", "{reply:?}");
    long.stop();
    let short = plan.timeouts("request: 1s").start();
    let mut client = H2Client::to(short.address());
    let stream = client.asks("POST", "/long", &timed("1H"));
    let mut upstream = endpoint.accepts();
    let mut request = upstream.try_reads_head();
    // The call that was over may have got as far as here, or its connection alone.
    while request.as_ref().is_none_or(|request| request.start.contains("/over")) {
        upstream = endpoint.accepts();
        request = upstream.try_reads_head();
    }
    let told = told_ms(request.expect("that of the loop's end").field("grpc-timeout").expect("a time"));
    assert!((3_590_000..=3_600_000).contains(&told), "not that of the route: {told}");
    fails(stream, "4", "request_timeout");
    for rubbish in ["soon", "123456789m", "-1S", "1s"] {
        let stream = client.asks("POST", "/rubbish", &timed(rubbish));
        let mut upstream = endpoint.accepts();
        assert_eq!(upstream.expects("POST /rubbish").field("grpc-timeout"), Some(rubbish));
        upstream.replies_with("");
        stream.expects(200);
        upstream.closes();
    }
    // A field like any other where there is no call.
    let stream = client.asks("POST", "/other", &[("grpc-timeout", "1m")]);
    let mut upstream = endpoint.accepts();
    assert_eq!(upstream.expects("POST /other").field("grpc-timeout"), Some("1m"));
    upstream.replies_with("");
    stream.expects(200);
    short.stop();
}

/// A call whose time is over while its client still sends ends all the same.
fn the_time_of_a_call_ends_an_upload_too(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).speaks_h2().start();
    let mut client = H2Client::to(gateway.address());
    let mut stream = client.begins("POST", "/up", &timed("300m"));
    stream.sends("hello", false);
    let mut upstream = endpoint.accepts();
    upstream.expects_head("POST /up");
    let reply = stream.expects(200);
    assert_eq!(reply.field("grpc-status"), "4", "{reply:?}");
    upstream.try_reads_to_end();
    gateway.waits_for("upstream_connections_active", 0.0);
    gateway.stop();
}

/// Trailers with their status go through, and into the log.
fn the_status_of_an_endpoint_is_relayed_and_logged(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).speaks_h2().start();
    let mut client = H2Client::to(gateway.address());
    let stream = client.asks("POST", "/trailers", CALL);
    let mut upstream = endpoint.accepts();
    let request = upstream.expects("POST /trailers");
    assert_eq!((request.field("te"), request.field("connection")), (Some("trailers"), Some("TE")));
    upstream.replies("HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n\0\0\0\0\0\r\n0\r\nGrpc-Status: 5\r\nGrpc-Message: a%20b\r\nx-bin: AAA\r\n\r\n");
    let reply = stream.expects(200);
    assert_eq!(reply.body, [0; 5]);
    for (name, value) in [("grpc-status", "5"), ("grpc-message", "a%20b"), ("x-bin", "AAA")] {
        assert_eq!(reply.trailers.get(name).and_then(|value| value.to_str().ok()), Some(value));
    }
    assert_eq!(gateway.log_of("/trailers")["grpc_status"], 5);
    let stream = client.asks("POST", "/alone", CALL);
    upstream.expects("POST /alone");
    upstream
        .replies("HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\ngrpc-status: 16\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(stream.expects(200).field("grpc-status"), "16");
    assert_eq!(gateway.log_of("/alone")["grpc_status"], 16);
    gateway.stop();
}

/// Waits for so many milliseconds.
fn passes(ms: u64) {
    let until_ms = now_ms() + ms;
    until_true("time to pass", || now_ms() >= until_ms);
}

/// Messages far apart, either way, are no reason to end a call: neither the rate of bodies nor the time between their
/// parts is for calls. For other requests they are.
fn messages_may_be_far_apart(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()])
        .speaks_h2()
        .limits("body_min_rate: { rate: 1MiB, grace: 100ms }, idle_timeout: 1s")
        .timeouts("body_idle: 200ms, request: 1s, response_header: 1s")
        .start();
    let mut client = H2Client::to(gateway.address());
    let mut stream = client.begins("POST", "/call", CALL);
    let mut upstream = endpoint.accepts();
    upstream.expects_head("POST /call");
    upstream.replies("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    stream.expects_head(200);
    passes(1_200);
    stream.sends("ping", false);
    assert_eq!(upstream.reads_chunk().as_deref(), Some(&b"ping"[..]));
    passes(1_200);
    upstream.replies("4\r\npong\r\n");
    assert_eq!(stream.reads().as_deref(), Some(&b"pong"[..]));
    stream.sends("", true);
    assert_eq!(upstream.reads_chunk(), None, "the client has said all");
    upstream.replies("0\r\ngrpc-status: 0\r\n\r\n");
    assert_eq!(stream.reads(), None);
    assert_eq!(gateway.log_of("/call")["grpc_status"], 0);
    let mut other = client.begins("POST", "/other", &[]);
    other.sends("ping", false);
    other.expects(408);
    gateway.stop();
}

fn is_empty(gateway: &Gateway) -> bool {
    gateway.metric("http2_streams_active") < 0.5
}

/// A client that gives a call up frees what is upstream of it.
fn a_call_that_is_given_up_is_given_up_upstream(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).speaks_h2().start();
    let mut client = H2Client::to(gateway.address());
    let stream = client.asks("POST", "/gone", CALL);
    let mut upstream = endpoint.accepts();
    upstream.expects("POST /gone");
    stream.resets(h2::Reason::CANCEL);
    upstream.try_reads_to_end();
    until_true("no stream", || is_empty(&gateway));
    let line = gateway.log_of("/gone");
    assert_eq!((&line["status"], &line["reason"]), (&499.into(), &"client_abort".into()), "{line}");
    gateway.stop();
}

on_both_drivers![
    failures_are_told_as_a_status_of_grpc,
    what_is_no_call_is_told_by_the_status_of_http,
    the_time_of_a_call_shortens_that_of_its_route,
    the_time_of_a_call_ends_an_upload_too,
    the_status_of_an_endpoint_is_relayed_and_logged,
    messages_may_be_far_apart,
    a_call_that_is_given_up_is_given_up_upstream,
];
