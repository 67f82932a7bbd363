//! The deadline of a request, and clients that leave: requirements B12 and F2, wherever the exchange happens to be.

use super::client::Client;
use super::endpoint::Endpoint;
use super::gateway::Gateway;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::retries::{first_then_second, in_order, two};
use super::wait::{now_ms, until_true};

/// Ends a client, by a close or a reset.
fn ends(client: Client, resets: bool) {
    if resets {
        client.resets();
    } else {
        client.closes();
    }
}

/// Waits for the log line of a request whose client left now; it comes within a second and a half.
fn is_over_at_once(gateway: &Gateway, path: &str, attempts: u64) {
    let began_ms = now_ms();
    let line = gateway.log_of(path);
    assert!(now_ms() - began_ms < 1_500, "{path}: {} ms", now_ms() - began_ms);
    let seen = (&line["status"], &line["reason"], &line["attempts"]);
    assert_eq!(seen, (&499.into(), &"client_abort".into(), &attempts.into()), "{line}");
}

/// F2: a client that leaves during the pause, by a close or a reset, ends the exchange there: nobody is asked any more.
fn a_client_that_leaves_during_the_pause_ends_the_exchange(io: Io) {
    let (first, second, gateway) = two(io, "on: [503], attempts: 3, backoff: 8s", "");
    for resets in [false, true] {
        let mut client = gateway.client();
        let path = format!("/left-{resets}");
        client.asks(&path);
        let mut upstream = first.accepts();
        upstream.expects(&format!("GET {path}"));
        upstream.replies("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
        // Its response was given up: the pause has begun.
        upstream.sees_end();
        ends(client, resets);
        is_over_at_once(&gateway, &path, 1);
    }
    assert!(first.is_alone() && second.is_alone());
    gateway.waits_for("client_aborts_total", 2.0);
    gateway.stop();
}

/// F2 with F27: a client that only ended its direction waits through the pause and gets the answer of the retry.
fn a_client_that_half_closed_waits_through_the_pause(io: Io) {
    let (first, second, gateway) = two(io, "on: [503], backoff: 200ms", "");
    let mut client = gateway.client();
    client.asks("/half").half_closes();
    let mut upstream = first.accepts();
    upstream.expects("GET /half");
    upstream.replies("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    let mut upstream = second.accepts();
    upstream.expects("GET /half");
    upstream.replies("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.expects(200).text(), "ok");
    gateway.stop();
}

/// B12: a client that leaves while a connection is being opened ends that, and nobody else is asked.
fn a_client_that_leaves_during_a_connect_ends_the_exchange(io: Io) {
    let ((deaf, held), second) = (Endpoint::deaf(), Endpoint::listens());
    let gateway = first_then_second(Plan::bare(io), deaf.address(), second.address())
        .route("name: all, cluster: app, timeouts: { connect: 9s }")
        .start();
    // The first connect of a worker opens what it keeps.
    let mut client = gateway.client();
    client.asks("/before");
    ends(client, false);
    is_over_at_once(&gateway, "/before", 1);
    let before = gateway.process.descriptors();
    for resets in [false, true] {
        for body in ["", "Content-Length: 5\r\n"] {
            let path = format!("/left-{resets}-{}", body.len());
            let mut client = gateway.client();
            client.sends(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{body}\r\n"));
            gateway.waits_for("http_requests_active", 1.0);
            ends(client, resets);
            is_over_at_once(&gateway, &path, 1);
        }
    }
    assert!(second.is_alone());
    until_true("no descriptor is lost", || gateway.process.descriptors() <= before);
    assert_eq!(gateway.metric_sum("upstream_errors_total"), 0.0, "the endpoint is not to blame");
    drop(held);
    gateway.stop();
}

/// B12: a client that leaves while it waits for a connection gives its place up.
fn a_client_that_leaves_the_queue_ends_the_exchange(io: Io) {
    let endpoint = Endpoint::listens();
    let entries = format!(
        "endpoints: [{{ url: 'http://{}' }}], max_connections: 1, queue: {{ max: 8, timeout: 9s }}",
        endpoint.address()
    );
    let gateway = Plan::bare(io).cluster_as("app", &entries).route("name: all, cluster: app").start();
    let mut first = gateway.client();
    first.asks("/first");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /first");
    for resets in [false, true] {
        let path = format!("/left-{resets}");
        let mut client = gateway.client();
        client.asks(&path);
        gateway.waits_for("upstream_requests_waiting", 1.0);
        ends(client, resets);
        is_over_at_once(&gateway, &path, 0);
        gateway.waits_for("upstream_requests_waiting", 0.0);
    }
    upstream.replies_with("first");
    first.expects(200);
    assert!(upstream.is_silent() && endpoint.is_alone(), "nobody asks for those who left");
    gateway.stop();
}

/// B12, F26: a client that resets its connection in the middle of a response ends the work upstream, although the endpoint is
/// silent and nothing can be written that would tell.
fn a_client_that_resets_in_a_silent_response_ends_the_work_upstream(io: Io) {
    let (first, _, gateway) = two(io, "attempts: 1", "body_idle: 20s");
    for body in ["", "hello"] {
        let path = format!("/left-{}", body.len());
        let mut client = gateway.client();
        client.sends(format!("PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()));
        let mut upstream = first.accepts();
        let mut request = upstream.expects_head(&format!("PUT {path}"));
        client.sends(body);
        upstream.reads_body(&mut request);
        upstream.replies("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.expects_head(200);
        ends(client, true);
        let began_ms = now_ms();
        upstream.reads_to_end();
        assert!(now_ms() - began_ms < 1_500, "{} ms", now_ms() - began_ms);
        assert_eq!(gateway.log_of(&path)["reason"], "client_abort");
    }
    gateway.waits_for("client_aborts_total", 2.0);
    gateway.stop();
}

/// F27: a client that half-closed in the middle of a response gets the rest of it.
fn a_client_that_half_closed_gets_the_rest_of_a_slow_response(io: Io) {
    let (first, _, gateway) = two(io, "attempts: 1", "body_idle: 20s");
    let mut client = gateway.client();
    client.asks("/half");
    let mut upstream = first.accepts();
    upstream.expects("GET /half");
    upstream.replies("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhe");
    client.expects_head(200);
    assert_eq!(client.reads(2), b"he");
    client.half_closes();
    // Long enough for the gateway to look at its client more than once.
    std::thread::park_timeout(std::time::Duration::from_millis(600));
    upstream.replies("re");
    assert_eq!(client.reads(2), b"re");
    gateway.stop();
}

/// F2: no pause that would end past the deadline is begun; what there is is relayed at once.
fn a_pause_never_goes_past_the_deadline(io: Io) {
    let (first, second, gateway) = two(io, "on: [503, timeout], attempts: 3, backoff: 10s", "request: 4s");
    let mut client = gateway.client();
    let began_ms = now_ms();
    client.asks("/x");
    let mut upstream = first.accepts();
    upstream.expects("GET /x");
    upstream.replies("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy");
    assert_eq!(client.expects(503).text(), "busy");
    assert!(now_ms() - began_ms < 3_500, "{} ms", now_ms() - began_ms);
    assert!(second.is_alone());
    gateway.waits_for("upstream_retries_denied_total{reason=\"deadline\"}", 1.0);
    gateway.stop();
}

/// F2 and B2: the deadline is that of all attempts, connects and pauses together: it is the same for the last one.
fn the_deadline_is_that_of_all_attempts_together(io: Io) {
    let slow = Origin::serving(|mut wire| {
        while wire.has_bytes() {
            let request = wire.reads_head();
            if request.start.starts_with("GET /late ") {
                std::thread::park_timeout(std::time::Duration::from_millis(1_500));
                drop(wire.try_send("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"));
            }
        }
    });
    let (mute, (deaf, held)) = (Endpoint::listens(), Endpoint::deaf());
    let retry = "retry: { on: [connect, timeout, 503], attempts: 9, backoff: 1ms, budget: 100% }";
    let plan = first_then_second(Plan::bare(io), slow.address(), mute.address());
    let unreachable =
        format!("{{ url: 'http://{}' }}, {{ url: 'http://{}', priority: 1 }}", deaf.address(), mute.address());
    let gateway = plan
        .cluster_of("unreachable", &unreachable)
        .route(&format!(
            "name: late, match: {{ path: /late }}, cluster: app, timeouts: {{ request: 3s, response_header: 20s }}, \
             {retry}"
        ))
        .route(&format!(
            "name: mute, match: {{ path: /mute }}, cluster: app, \
             timeouts: {{ request: 3s, response_header: 1200ms }}, {retry}"
        ))
        .route(&format!(
            "name: deaf, match: {{ path: /deaf }}, cluster: unreachable, \
             timeouts: {{ request: 3s, connect: 1500ms }}, {retry}"
        ))
        .start();
    let (mut clients, began_ms) = ([(); 3].map(|()| gateway.client()), now_ms());
    let paths = ["/late", "/mute", "/deaf"];
    for (client, path) in clients.iter_mut().zip(paths) {
        client.asks(path);
    }
    for (client, path) in clients.iter_mut().zip(paths) {
        let answer = client.expects(504);
        // An attempt may also end right before the deadline, and no other one fits in.
        assert!(path == "/mute" || answer.reason() == "request_timeout", "{path}: {answer}");
        let took_ms = now_ms() - began_ms;
        // A deadline of the last attempt's own would be over 1.5 s later.
        assert!((2_900..4_400).contains(&took_ms), "{path}: {took_ms} ms");
        assert!(gateway.log_of(path)["attempts"].as_u64() > Some(1), "{path}");
    }
    drop(held);
    gateway.stop();
}

/// F1: an endpoint that is asked when another one has used up most of the request's time is not charged for what is too short
/// for it; one that had all of it is.
fn an_endpoint_is_judged_by_the_time_that_it_was_given(io: Io) {
    let (first, second) = (Endpoint::listens(), Endpoint::listens());
    let endpoints = in_order(first.address(), second.address());
    let gateway = Plan::bare(io)
        .cluster_as("app", &format!("breaker: {{ consecutive: 1, open_for: 1h }}, endpoints: [{endpoints}]"))
        .route(
            "name: both, match: { path: /both }, cluster: app, timeouts: { request: 4s, response_header: 3s }, \
             retry: { on: [timeout], backoff: 1ms, budget: 100% }",
        )
        .route("name: one, match: { path: /one }, cluster: app, timeouts: { request: 1s, response_header: 9s }")
        .start();
    let state = |endpoint: &Endpoint| gateway.shows("app", endpoint.address())["breaker"].clone();
    let mut client = gateway.client();
    client.asks("/both");
    let mut mute = first.accepts();
    mute.expects("GET /both");
    let mut late = second.accepts();
    late.expects("GET /both");
    assert_eq!(client.expects(504).reason(), "request_timeout");
    assert_eq!((state(&first), state(&second)), ("open".into(), "closed".into()), "the second had a third of its time");
    client.asks("/one");
    let mut mute = second.accepts();
    mute.expects("GET /one");
    assert_eq!(client.expects(504).reason(), "request_timeout");
    assert_eq!(state(&second), "open", "it had all of it");
    gateway.stop();
}

/// F1: a queue, or a pause, that took a small part of a request's time excuses nobody.
fn an_endpoint_that_is_mute_behind_its_queue_is_judged(io: Io) {
    let endpoint = Endpoint::listens();
    let rules = "max_connections: 1, queue: { max: 9, timeout: 9s }, breaker: { consecutive: 2, open_for: 1h }";
    let gateway = Plan::bare(io)
        .cluster_with("app", &[endpoint.address()], rules)
        .route("name: first, match: { path: /first }, cluster: app, timeouts: { request: 1s }")
        .route("name: second, match: { path: /second }, cluster: app, timeouts: { request: 3s }")
        .start();
    let (mut first, mut second) = (gateway.client(), gateway.client());
    first.asks("/first");
    let mut mute = endpoint.accepts();
    mute.expects("GET /first");
    second.asks("/second");
    assert_eq!(first.expects(504).reason(), "request_timeout");
    let mut mute = endpoint.accepts();
    mute.expects("GET /second");
    assert_eq!(second.expects(504).reason(), "request_timeout");
    let line = gateway.log_of("/second");
    assert!(line["queue_ms"].as_f64() > Some(0.0), "{line}");
    // It had two seconds of the three, or little less.
    assert_eq!(gateway.shows("app", endpoint.address())["breaker"], "open");
    gateway.stop();
}

/// F2 and B2: a body takes as long as it takes; the deadline of the answer begins anew when it has been sent.
fn a_slow_body_does_not_eat_up_the_deadline(io: Io) {
    let (first, _, gateway) = two(io, "attempts: 1", "request: 400ms, response_header: 20s");
    let mut client = gateway.client();
    client.sends("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n");
    let mut upstream = first.accepts();
    upstream.expects_head("POST /slow");
    let mut began_ms = 0;
    for _ in 0..10 {
        began_ms = now_ms();
        client.sends("x");
        upstream.reads(1);
        std::thread::park_timeout(std::time::Duration::from_millis(60));
    }
    assert_eq!(client.expects(504).reason(), "request_timeout");
    let took_ms = now_ms() - began_ms;
    assert!((350..5_000).contains(&took_ms), "{took_ms} ms after the end of the body");
    gateway.stop();
}

/// B2: the deadline of the request ends a connect too; an endpoint that took none in all of its time is charged.
fn the_deadline_ends_a_connect(io: Io) {
    let (deaf, held) = Endpoint::deaf();
    let gateway = Plan::bare(io)
        .cluster_with("app", &[deaf.address()], "breaker: { consecutive: 1, open_for: 1h }")
        .route("name: all, cluster: app, timeouts: { request: 300ms, connect: 9s }")
        .start();
    let mut client = gateway.client();
    let began_ms = now_ms();
    client.asks("/x");
    assert_eq!(client.expects(504).reason(), "request_timeout");
    let took_ms = now_ms() - began_ms;
    assert!((270..5_000).contains(&took_ms), "{took_ms} ms");
    assert_eq!(gateway.shows("app", deaf.address())["breaker"], "open");
    client.asks("/x");
    assert_eq!(client.expects(503).reason(), "breaker_open");
    drop(held);
    gateway.stop();
}

/// F1: an endpoint is not charged for a connect for which a queue left little time.
fn a_connect_that_a_queue_left_little_time_says_nothing(io: Io) {
    const REQUEST_MS: u64 = 6_000;
    let endpoint = Endpoint::listens();
    let rules = "max_connections: 1, queue: { max: 9, timeout: 9s }, breaker: { consecutive: 1, open_for: 1h }";
    let gateway = Plan::bare(io)
        .cluster_with("app", &[endpoint.address()], rules)
        .route("name: first, match: { path: /first }, cluster: app")
        .route(&format!(
            "name: second, match: {{ path: /second }}, cluster: app, \
             timeouts: {{ request: {REQUEST_MS}ms, connect: 20s }}"
        ))
        .start();
    let (mut first, mut second) = (gateway.client(), gateway.client());
    first.asks("/first");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /first");
    let began_ms = now_ms();
    second.asks("/second");
    gateway.waits_for("upstream_requests_waiting", 1.0);
    let _held = endpoint.goes_deaf();
    until_true("three quarters are over", || now_ms() > began_ms + REQUEST_MS * 3 / 4);
    upstream.replies("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    first.expects(200);
    assert_eq!(second.expects(504).reason(), "request_timeout");
    assert_eq!(gateway.shows("app", endpoint.address())["breaker"], "closed");
    gateway.stop();
}

on_both_drivers![
    a_client_that_leaves_during_the_pause_ends_the_exchange,
    a_client_that_half_closed_waits_through_the_pause,
    a_client_that_leaves_during_a_connect_ends_the_exchange,
    a_client_that_leaves_the_queue_ends_the_exchange,
    a_client_that_resets_in_a_silent_response_ends_the_work_upstream,
    a_client_that_half_closed_gets_the_rest_of_a_slow_response,
    a_pause_never_goes_past_the_deadline,
    the_deadline_is_that_of_all_attempts_together,
    an_endpoint_is_judged_by_the_time_that_it_was_given,
    an_endpoint_that_is_mute_behind_its_queue_is_judged,
    a_slow_body_does_not_eat_up_the_deadline,
    the_deadline_ends_a_connect,
    a_connect_that_a_queue_left_little_time_says_nothing,
];
