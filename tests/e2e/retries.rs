//! Requirement F2, row by row: what is tried again, where, how often and how long, and what never is.

use std::net::SocketAddr;

use super::client::Client;
use super::endpoint::{Accepted, Endpoint};
use super::gateway::Gateway;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::wait::{now_ms, until_true};

/// Conditions of a retry that begin once a connection is there.
const CONDITIONS: [&str; 5] = ["reset", "timeout", "502", "503", "504"];

/// Endpoints of which `first` is asked first and `second` is the only other one.
pub(super) fn in_order(first: SocketAddr, second: SocketAddr) -> String {
    format!("{{ url: 'http://{first}' }}, {{ url: 'http://{second}', priority: 1 }}")
}

/// A cluster of these endpoints.
pub(super) fn first_then_second(plan: Plan, first: SocketAddr, second: SocketAddr) -> Plan {
    plan.cluster_of("app", &in_order(first, second))
}

/// Two endpoints, the first of which is asked first, and a route for everything with these retries.
pub(super) fn two(io: Io, retry: &str, timeouts: &str) -> (Endpoint, Endpoint, Gateway) {
    let (first, second) = (Endpoint::listens(), Endpoint::listens());
    let plan = first_then_second(Plan::bare(io), first.address(), second.address());
    let plan = plan.route(&format!("name: all, cluster: app, retry: {{ {retry} }}, timeouts: {{ {timeouts} }}"));
    (first, second, plan.start())
}

/// The same for each of these paths, by a cluster of its own: an endpoint that rests for what happened on one path is fit on
/// the others.
fn two_by(io: Io, paths: &[String], retry: &str) -> (Endpoint, Endpoint, Gateway) {
    let (first, second) = (Endpoint::listens(), Endpoint::listens());
    let gateway = by_paths(Plan::bare(io), paths, first.address(), second.address(), retry).start();
    (first, second, gateway)
}

fn by_paths(mut plan: Plan, paths: &[String], first: SocketAddr, second: SocketAddr, retry: &str) -> Plan {
    for (number, path) in paths.iter().enumerate() {
        plan = plan
            .cluster_of(&format!("c{number}"), &in_order(first, second))
            .route(&format!("name: r{number}, match: {{ path: '{path}' }}, cluster: c{number}, retry: {{ {retry} }}"));
    }
    plan
}

/// A connection that has carried an exchange.
fn warmed(endpoint: &Endpoint, client: &mut Client) -> Accepted {
    client.asks("/warm");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /warm");
    upstream.replies_with("");
    client.expects(200);
    upstream
}

/// An endpoint that fails the way the last part of a path names, and closes every connection behind it.
fn failing() -> Origin {
    Origin::serving(|mut wire| {
        let request = wire.reads_head();
        let path = request.start.split(' ').nth(1).expect("a path").to_owned();
        match path.rsplit('/').next().expect("a part") {
            "reset" => wire.resets(),
            "eof" => wire.closes(),
            "timeout" => drop(wire.try_reads_to_end()),
            status => {
                let head = format!("HTTP/1.1 {status} Failed\r\nConnection: close\r\nContent-Length: 5\r\n\r\nfirst");
                drop(wire.try_send(head));
            }
        }
    })
}

/// F2: each condition is tried again where it was asked for and nowhere else, at another endpoint; what is not tried again
/// reaches the client as it is.
fn a_condition_is_tried_again_only_where_it_was_asked_for(io: Io) {
    const FAULTS: [&str; 6] = ["reset", "eof", "timeout", "502", "503", "504"];
    let (first, second) = (failing(), Origin::saying("second"));
    let mut plan = Plan::bare(io);
    for asked in CONDITIONS {
        for fault in FAULTS {
            let name = format!("{asked}-{fault}");
            // Where it is tried again, the other endpoint has as long for its answer.
            let patience = match fault {
                "timeout" if asked == fault => "1s",
                "timeout" => "250ms",
                _ => "20s",
            };
            plan = plan.cluster_of(&name, &in_order(first.address(), second.address())).route(&format!(
                "name: {name}, match: {{ path: /{asked}/{fault} }}, cluster: {name}, \
                 timeouts: {{ response_header: {patience} }}, retry: {{ on: [{asked}], backoff: 1ms, budget: 100% }}"
            ));
        }
    }
    let gateway = plan.start();
    for asked in CONDITIONS {
        for fault in FAULTS {
            let is_retried = asked == fault || (asked, fault) == ("reset", "eof");
            let mut client = gateway.client();
            client.asks(&format!("/{asked}/{fault}"));
            let own = fault.parse().unwrap_or(if fault == "timeout" { 504 } else { 502 });
            let answer = client.expects(if is_retried { 200 } else { own });
            let content = match fault {
                _ if is_retried => "second",
                "502" | "503" | "504" => "first",
                "reset" => "upstream reset the connection",
                "eof" => "upstream closed the connection",
                _ => "upstream timed out",
            };
            assert_eq!(answer.text().trim_end(), content, "{fault} where {asked} is tried again");
        }
    }
    assert_eq!((first.connections(), second.requests()), (30, 6));
    for (reason, count) in [("reset", 2.0), ("timeout", 1.0), ("status", 3.0)] {
        gateway.waits_for(&format!("upstream_retries_total{{reason=\"{reason}\"}}"), count);
    }
    gateway.stop();
}

/// F2: the log has the number of attempts and the endpoint of the last one.
fn the_log_has_the_attempts_and_the_last_endpoint(io: Io) {
    let (first, second, gateway) = two(io, "on: [503], attempts: 4, backoff: 1ms", "");
    let mut client = gateway.client();
    client.asks("/x");
    // Another endpoint while there is one that was not tried, then those that were, the first in order.
    for endpoint in [&first, &second, &first] {
        let mut upstream = endpoint.accepts();
        upstream.expects("GET /x");
        upstream.replies("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
        upstream.sees_end();
    }
    let mut upstream = first.accepts();
    upstream.expects("GET /x");
    upstream.replies("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nlast");
    assert_eq!(client.expects(503).text(), "last", "attempts: 4 are four in all, and the last answer is relayed");
    assert!(first.is_alone() && second.is_alone());
    let line = gateway.log_of("/x");
    assert_eq!((&line["attempts"], &line["endpoint"]), (&4.into(), &first.address().to_string().into()), "{line}");
    assert_eq!(line["status"], 503);
    gateway.stop();
}

/// F2 and RFC 9110 section 9.2.2: idempotent methods only, unless the route says `methods: any`.
fn only_idempotent_methods_are_tried_again_unless_told_otherwise(io: Io) {
    let methods = [
        ("GET", true),
        ("HEAD", true),
        ("OPTIONS", true),
        ("PUT", true),
        ("DELETE", true),
        ("POST", false),
        ("PATCH", false),
        ("PURGE", false),
    ];
    let (first, second) = (failing(), Origin::saying("second"));
    for (asks_any, retry) in [(false, "methods: idempotent"), (true, "methods: any")] {
        let path = |method: &str, fault: &str| format!("/{method}/{fault}");
        let paths: Vec<_> =
            methods.iter().flat_map(|(method, _)| ["reset", "503"].map(|fault| path(method, fault))).collect();
        let retry = format!("on: [reset, 503], backoff: 1ms, budget: 100%, {retry}");
        let gateway = by_paths(Plan::bare(io), &paths, first.address(), second.address(), &retry).start();
        for (method, is_idempotent) in methods {
            for (fault, status) in [("reset", 502), ("503", 503)] {
                let (before, reached) = (first.connections(), second.requests());
                let mut client = gateway.client();
                let path = path(method, fault);
                client.sends(format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
                let is_retried = is_idempotent || asks_any;
                client.expects_head(if is_retried { 200 } else { status });
                let body = client.reads_to_end().0;
                assert_eq!(body.is_empty(), method == "HEAD", "{method} {path}");
                let asked = (first.connections() - before, second.requests() - reached);
                assert_eq!(asked, (1, u64::from(is_retried)), "{method} {path}");
            }
        }
        gateway.stop();
    }
}

/// F2: once something went to the client, an interim response included, nothing is tried again; a 1.0 client gets none
/// (RFC 9110 section 15.2), so for it the retry is still open.
fn nothing_is_tried_again_once_a_byte_went_to_the_client(io: Io) {
    let paths = ["reset", "503"].map(|fault| ["1.1", "1.0"].map(|version| format!("/{fault}/{version}"))).concat();
    let (first, second, gateway) = two_by(io, &paths, "on: [reset, 503], backoff: 1ms");
    for fault in ["reset", "503"] {
        for version in ["1.1", "1.0"] {
            let mut client = gateway.client();
            client.sends(format!("GET /{fault}/{version} HTTP/{version}\r\nHost: a\r\n\r\n"));
            let mut upstream = first.accepts();
            upstream.expects(&format!("GET /{fault}/{version}"));
            upstream.replies("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
            if version == "1.1" {
                assert_eq!(client.expects_interim(103).field("link"), Some("</a.css>"));
            }
            if fault == "503" {
                upstream.replies("HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            } else {
                upstream.resets();
            }
            if version == "1.1" {
                client.expects(if fault == "503" { 503 } else { 502 });
            } else {
                let mut upstream = second.accepts();
                upstream.expects(&format!("GET /{fault}/{version}"));
                upstream.replies("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
                assert_eq!(client.expects(200).text(), "ok");
            }
            assert!(first.is_alone() && second.is_alone());
        }
    }
    gateway.waits_for("upstream_retries_denied_total{reason=\"answered\"}", 2.0);
    gateway.stop();
}

/// F2: a body that came with the head, or fits one buffer behind it, is sent again byte by byte; trailers too.
fn a_small_body_is_sent_again_as_it_was(io: Io) {
    let paths: Vec<_> = (0..32).map(|number| format!("/{number}")).collect();
    let (first, second, gateway) = two_by(io, &paths, "on: [reset, 503], backoff: 1ms, budget: 100%");
    let mut paths = paths.iter();
    let text: String = (0..16_000).map(|number| char::from(b'a' + u8::try_from(number % 23).expect("small"))).collect();
    let with_head = |length: usize| (format!("Content-Length: {length}"), text[..length].to_owned(), String::new());
    let behind = |length: usize| (format!("Content-Length: {length}"), String::new(), text[..length].to_owned());
    let chunks = "5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-Sum: 11\r\n\r\n".to_owned();
    let chunked = |now: &str, later: &str| {
        ("Transfer-Encoding: chunked\r\nTE: trailers".to_owned(), now.to_owned(), later.to_owned())
    };
    let split: (String, String, String) =
        ("Content-Length: 9000".to_owned(), text[..4000].to_owned(), text[4000..9000].to_owned());
    let bodies = [
        with_head(1),
        with_head(12_000),
        behind(1),
        behind(16_000),
        split,
        chunked(&chunks, ""),
        chunked("", &chunks),
        chunked(&chunks[..12], &chunks[12..]),
    ];
    for fault in ["reset", "503"] {
        for (framing, now, later) in &bodies {
            let path = paths.next().expect("enough of them");
            let mut client = gateway.client();
            client.sends(format!("PUT {path} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{now}"));
            let mut upstream = first.accepts();
            let mut seen = upstream.expects_head("PUT /");
            client.sends(later);
            upstream.reads_body(&mut seen);
            if fault == "503" {
                upstream.replies("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
            } else {
                upstream.resets();
            }
            let mut upstream = second.accepts();
            let again = upstream.expects("PUT /");
            assert_eq!((&again.body, &again.trailers), (&seen.body, &seen.trailers), "{framing}");
            assert_eq!(again.lines_without(&["host"]), seen.lines_without(&["host"]), "{framing}");
            upstream.replies("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
            client.expects(200);
            // Whatever was kept is not taken for another request.
            client.asks(paths.next().expect("enough of them"));
            let mut upstream = first.accepts();
            upstream.expects("GET /");
            upstream.replies("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            client.expects(200);
        }
    }
    gateway.stop();
}

/// F2: a body larger than what is kept of it is not sent again, nor one that is still on its way.
fn a_body_that_was_not_kept_whole_is_not_sent_again(io: Io) {
    let paths = ["reset", "503"].map(|fault| [40_000, 1_000].map(|length| format!("/{fault}/{length}"))).concat();
    let (first, second, gateway) = two_by(io, &paths, "on: [reset, 503], backoff: 1ms, budget: 100%");
    let large = "x".repeat(40_000);
    for fault in ["reset", "503"] {
        for (length, part) in [(large.len(), &large[..]), (1_000, &large[..500])] {
            let mut client = gateway.client();
            client
                .sends(format!("PUT /{fault}/{length} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{part}"));
            let mut upstream = first.accepts();
            upstream.expects_head("PUT /");
            assert_eq!(upstream.reads(part.len()), part.as_bytes());
            if fault == "503" {
                upstream.replies("HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbusy");
                assert_eq!(client.expects(503).text(), "busy");
            } else {
                upstream.resets();
                assert_eq!(client.expects(502).reason(), "upstream_reset");
            }
            assert!(first.is_alone() && second.is_alone());
        }
    }
    assert_eq!(gateway.metric_sum("upstream_retries_total"), 0.0);
    gateway.waits_for("upstream_retries_denied_total{reason=\"body\"}", 4.0);
    gateway.stop();
}

/// F1 and F2: where no connection comes about nothing was sent, so a POST of 10 MB goes on at another endpoint, even where
/// nothing else is tried again; it is no retry and costs no budget.
fn a_connect_that_failed_goes_on_whatever_the_request(io: Io) {
    let origin = Origin::answering(|request| {
        let length = request.body.len().to_string();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{length}", length.len()).into_bytes()
    });
    let body = vec![b'x'; 10_000_000];
    for retry in ["attempts: 2", "attempts: 1"] {
        let gateway = first_then_second(Plan::bare(io), Endpoint::closed(), origin.address())
            .route(&format!("name: all, cluster: app, retry: {{ {retry}, budget: 0% }}"))
            .start();
        let before = origin.requests();
        let mut client = gateway.client();
        client.sends(format!("POST /large HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len())).sends(&body);
        assert_eq!(client.expects(200).text(), "10000000");
        assert_eq!(origin.requests() - before, 1);
        let line = gateway.log_of("/large");
        assert_eq!((&line["attempts"], &line["endpoint"]), (&2.into(), &origin.address().to_string().into()));
        assert_eq!(line["bytes_in"], 10_000_000, "counted once");
        gateway.waits_for("upstream_errors_total{reason=\"connect_refused\"}", 1.0);
        assert_eq!(gateway.metric("upstream_retries_total{reason=\"connect\"}"), 1.0);
        assert_eq!(gateway.metric_sum("upstream_retries_total"), 1.0, "an attempt beyond the first");
        gateway.stop();
    }
}

/// Every attempt beyond the first is in `upstream_retries_total`, whatever it was made for, and nothing else: no attempt follows
/// where all endpoints were tried.
fn attempts_beyond_the_first_are_counted_by_why(io: Io) {
    let (failing, origin, gone) = (failing(), Origin::saying("ok"), Endpoint::closed());
    let paths = ["/x/503".to_owned(), "/x/reset".to_owned()];
    let retry = "on: [503, reset, connect], attempts: 3, budget: 100%, backoff: 1ms";
    let plan = by_paths(Plan::bare(io), &paths, failing.address(), origin.address(), retry).cluster("gone", &[gone]);
    let gateway = first_then_second(plan, gone, origin.address())
        .route(&format!("name: gone, match: {{ path: /gone }}, cluster: gone, retry: {{ {retry} }}"))
        .route(&format!("name: rest, match: {{ path: /rest }}, cluster: app, retry: {{ {retry} }}"))
        .start();
    let mut client = gateway.client();
    for path in paths.iter().map(String::as_str).chain(["/gone", "/rest"]) {
        client.asks(path).expects_any();
        gateway.log_of(path);
    }
    let lines = gateway.log_lines();
    let beyond: u64 = lines.iter().map(|line| line["attempts"].as_u64().expect("a number") - 1).sum();
    assert_eq!(gateway.metric_sum("upstream_retries_total"), beyond as f64, "{lines:?}");
    assert!(beyond == 3 && gateway.metric("upstream_retries_total{reason=\"connect\"}") == 1.0, "{lines:?}");
    gateway.stop();
}

/// F2: where `connect` is not among the conditions, a connect that failed is the end.
fn a_connect_that_failed_is_the_end_where_it_was_not_asked_for(io: Io) {
    let origin = Origin::saying("second");
    let gateway = first_then_second(Plan::bare(io), Endpoint::closed(), origin.address())
        .route("name: all, cluster: app, retry: { on: [503] }")
        .start();
    let mut client = gateway.client();
    client.asks("/x");
    assert_eq!(client.expects(502).reason(), "connect_refused");
    assert_eq!(origin.requests(), 0);
    gateway.stop();
}

/// F2: `attempts: 1` is no retry, whatever the condition.
fn one_attempt_is_no_retry(io: Io) {
    let (first, second) = (failing(), Origin::saying("second"));
    let faults = [("reset", 502), ("eof", 502), ("timeout", 504), ("503", 503)];
    let paths = faults.map(|(fault, _)| format!("/{fault}"));
    let retry = "attempts: 1, on: [connect, reset, timeout, 503], budget: 100%";
    let plan = Plan::bare(io).timeouts("response_header: 1s");
    let gateway = by_paths(plan, &paths, first.address(), second.address(), retry).start();
    for (fault, status) in faults {
        let mut client = gateway.client();
        client.asks(&format!("/{fault}"));
        client.expects(status);
        assert_eq!(gateway.log_of(&format!("/{fault}"))["attempts"], 1);
    }
    assert_eq!((first.connections(), second.requests()), (4, 0));
    gateway.waits_for("upstream_retries_denied_total{reason=\"attempts\"}", 4.0);
    gateway.stop();
}

/// F2: in an outage of every endpoint the retries stay within the budget, which the endpoints themselves count.
fn an_outage_is_not_amplified_beyond_the_budget(io: Io) {
    const CLIENTS: u64 = 8;
    const EACH: u64 = 100;
    let answer = || b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".to_vec();
    let origins = [Origin::answering(move |_| answer()), Origin::answering(move |_| answer())];
    let addresses: Vec<_> = origins.iter().map(Origin::address).collect();
    let gateway = Plan::bare(io)
        .cluster("app", &addresses)
        .route("name: all, cluster: app, retry: { on: [503], attempts: 5, backoff: 1ms, budget: 10% }")
        .start();
    let began_ms = now_ms();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let mut client = gateway.client();
            scope.spawn(move || {
                for _ in 0..EACH {
                    client.asks("/x");
                    client.expects(503);
                }
            });
        }
    });
    let elapsed_ms = now_ms() - began_ms;
    let asked: u64 = origins.iter().map(Origin::requests).sum();
    let retries = asked - CLIENTS * EACH;
    // A tenth of the requests, ten at the start, and one for each 100 ms.
    let most = CLIENTS * EACH / 10 + 10 + elapsed_ms / 100 + 1;
    assert!((80..=most).contains(&retries), "{retries} retries of {} requests, {most} allowed", CLIENTS * EACH);
    let made = gateway.metric("upstream_retries_total{reason=\"status\"}");
    let denied = gateway.metric("upstream_retries_denied_total{reason=\"budget\"}");
    assert!((made - f64::from(u32::try_from(retries).expect("few"))).abs() < 1e-9, "{made} counted");
    assert!(denied > 300.0, "those that were refused are counted: {denied}");
    gateway.stop();
}

/// F2: the `Retry-After` of a 503 lets its endpoint rest while others are fit, and only that long.
fn retry_after_lets_an_endpoint_rest_while_others_are_fit(io: Io) {
    let busy = Origin::answering(|request| {
        let after = request.field("x-after").unwrap_or("0").to_owned();
        format!("HTTP/1.1 503 Busy\r\nRetry-After: {after}\r\nContent-Length: 4\r\n\r\nbusy").into_bytes()
    });
    let other = Origin::saying("other");
    let route = "name: all, cluster: app, retry: { attempts: 1 }";
    let asked_after = |client: &mut Client, after: &str| {
        client.sends(format!("GET /x HTTP/1.1\r\nHost: a\r\nX-After: {after}\r\n\r\n"));
        let mut answer = client.reads_head();
        client.reads_body(&mut answer);
        answer.text().to_owned()
    };
    let gateway = first_then_second(Plan::bare(io), busy.address(), other.address()).route(route).start();
    let mut client = gateway.client();
    // None was asked for, or none that is understood.
    for after in ["0", "soon", "-1", "1.5", "0"] {
        assert_eq!(asked_after(&mut client, after), "busy", "{after}");
    }
    let began_ms = now_ms();
    assert_eq!(asked_after(&mut client, "1"), "busy");
    for _ in 0..3 {
        assert_eq!(asked_after(&mut client, "0"), "other");
    }
    until_true("the end of its rest", || asked_after(&mut client, "0") == "busy");
    assert!((900..2_000).contains(&(now_ms() - began_ms)), "{} ms", now_ms() - began_ms);
    gateway.stop();
    // A rest is a wish: where nobody else is fit, it is asked all the same.
    let gateway = first_then_second(Plan::bare(io), busy.address(), Endpoint::closed()).route(route).start();
    let mut client = gateway.client();
    for _ in 0..3 {
        assert_eq!(asked_after(&mut client, "600"), "busy");
    }
    gateway.stop();
}

/// F15: what killed one busy connection may be about to kill the others, so the endpoint is spared for a moment; the end of
/// one that had rested is nothing unusual (B11) and is not held against it.
fn an_endpoint_whose_busy_connection_died_is_spared_for_a_moment(io: Io) {
    let (first, second, gateway) = two(io, "attempts: 1", "");
    let post = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    let mut client = gateway.client();
    // The second one comes while the endpoint is spared, however busy the machine is.
    client.sends(post.repeat(2));
    let mut upstream = first.accepts();
    upstream.expects("POST /x");
    upstream.closes();
    client.expects(502);
    let mut upstream = second.accepts();
    upstream.expects("POST /x");
    upstream.replies("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    client.expects(200);
    // Its rest is over by the worker's clock too.
    let fit_ms = now_ms() + 3 * ringgate::limits::DEATH_REST_MS;
    until_true("the end of its rest", || now_ms() > fit_ms);
    let mut upstream = warmed(&first, &mut client);
    let rested_ms = now_ms() + ringgate::limits::STALE_MS + 100;
    until_true("a rest", || now_ms() > rested_ms);
    client.sends(post);
    upstream.expects("POST /x");
    upstream.closes();
    client.expects(502);
    client.sends(post);
    let mut upstream = first.accepts();
    upstream.expects("POST /x");
    upstream.replies_with("ok");
    client.expects(200);
    assert!(second.is_alone());
    gateway.stop();
}

/// F2 and F6: endpoints that refuse a connection take no other's chance away: the one whose pooled connection died, or that
/// answered with a status, is asked again when all others refuse.
fn an_endpoint_is_asked_again_when_the_others_refuse(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = first_then_second(Plan::bare(io), endpoint.address(), Endpoint::closed())
        .route("name: all, cluster: app, retry: { on: [connect, 503], backoff: 1ms }")
        .start();
    let mut client = gateway.client();
    let mut upstream = warmed(&endpoint, &mut client);
    gateway.waits_for("upstream_connections_idle", 1.0);
    for path in ["/stale", "/status"] {
        client.asks(path);
        upstream.expects(&format!("GET {path}"));
        if path == "/stale" {
            upstream.closes();
        } else {
            upstream.replies("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
        }
        upstream = endpoint.accepts();
        upstream.expects(&format!("GET {path}"));
        upstream.replies_with("ok");
        assert_eq!(client.expects(200).text(), "ok");
        let line = gateway.log_of(path);
        assert_eq!(line["endpoint"], endpoint.address().to_string(), "{line}");
    }
    gateway.stop();
}

/// F8: half a head is a byte of a response: whether a close or a reset ends it, on a fresh connection or a reused one, it is a
/// 502 and the request is not sent again.
fn half_a_head_is_a_502_and_the_request_is_not_sent_again(io: Io) {
    let (first, second, gateway) = two(io, "on: [reset], backoff: 1ms, budget: 100%", "");
    for resets in [false, true] {
        for reused in [false, true] {
            let mut client = gateway.client();
            let mut upstream = if reused {
                warmed(&first, &mut client)
            } else {
                client.asks("/half");
                first.accepts()
            };
            if reused {
                gateway.waits_for("upstream_connections_idle", 1.0);
                client.asks("/half");
            }
            upstream.expects("GET /half");
            upstream.replies("HTTP/1.1 200 OK\r\nContent-Le");
            if resets {
                upstream.resets();
            } else {
                upstream.closes();
            }
            let answer = client.expects(502);
            assert_eq!(answer.reason(), "upstream_head_cut", "resets: {resets}, reused: {reused}");
            assert!(!answer.announces_close(), "the client is kept");
            assert!(first.is_alone() && second.is_alone());
        }
    }
    gateway.waits_for("upstream_errors_total{reason=\"upstream_head_cut\"}", 4.0);
    assert_eq!(gateway.log_of("/half")["reason"], "upstream_head_cut");
    assert_eq!(gateway.metric_sum("upstream_retries_total"), 0.0);
    gateway.waits_for("upstream_connections_idle", 0.0);
    gateway.stop();
}

/// The times in the log are those of the last attempt: what an endpoint took that failed is not held against the next.
fn the_time_to_the_first_byte_is_that_of_the_last_attempt(io: Io) {
    let (first, second, gateway) = two(io, "on: [503], backoff: 1ms", "");
    let mut client = gateway.client();
    client.asks("/x");
    let mut upstream = first.accepts();
    upstream.expects("GET /x");
    std::thread::park_timeout(std::time::Duration::from_millis(1_500));
    upstream.replies("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    let mut upstream = second.accepts();
    upstream.expects("GET /x");
    upstream.replies_with("ok");
    client.expects(200);
    let line = gateway.log_of("/x");
    assert!(line["first_byte_ms"].as_f64() < Some(1_000.0), "{line}");
    assert!(line["duration_ms"].as_f64() > Some(1_000.0), "{line}");
    gateway.stop();
}

/// What a client takes over its head, or a request spends in the queue, is no latency of the endpoint.
fn the_time_to_the_first_byte_begins_with_the_attempt(io: Io) {
    let endpoint = Endpoint::listens();
    let entries = "max_connections: 1, queue: { max: 9, timeout: 20s }";
    let plan = Plan::bare(io).cluster_with("app", &[endpoint.address()], entries).route("name: all, cluster: app");
    let gateway = plan.start();
    let (mut first, mut slow, mut waiting) = (gateway.client(), gateway.client(), gateway.client());
    first.asks("/first");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /first");
    waiting.asks("/waiting");
    until_true("one waits", || gateway.cluster("app")["waiting"] == 1);
    slow.sends("GET /slow HTTP/1.1\r\nHost: a\r\n");
    std::thread::park_timeout(std::time::Duration::from_millis(1_500));
    upstream.replies_with("first");
    first.expects(200);
    upstream.expects("GET /waiting");
    upstream.replies_with("waiting");
    waiting.expects(200);
    slow.sends("\r\n");
    upstream.expects("GET /slow");
    upstream.replies_with("slow");
    slow.expects(200);
    for path in ["/waiting", "/slow"] {
        let line = gateway.log_of(path);
        assert_eq!(line["reused"], true, "{line}");
        assert!(line["first_byte_ms"].as_f64() < Some(1_000.0), "{line}");
        assert!(line["duration_ms"].as_f64() > Some(1_000.0), "{line}");
    }
    gateway.stop();
}

/// F2 and RFC 9110 section 10.1.1: an expectation goes along to the endpoint that is asked at last; once a 100 went to the
/// client nothing is tried again, and a final answer instead of it is relayed.
fn an_expectation_survives_a_connect_that_failed(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = first_then_second(Plan::bare(io), Endpoint::closed(), endpoint.address())
        .route("name: all, cluster: app, retry: { on: [connect, reset, 503], backoff: 1ms, methods: any }")
        .start();
    for ending in ["200 OK", "503 Busy", "reset"] {
        let mut client = gateway.client();
        client.sends("POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
        let mut upstream = endpoint.accepts();
        let mut request = upstream.expects_head("POST /x");
        assert_eq!(request.field("expect"), Some("100-continue"));
        upstream.replies("HTTP/1.1 100 Continue\r\n\r\n");
        client.expects_interim(100);
        client.sends("hello");
        upstream.reads_body(&mut request);
        assert_eq!(request.text(), "hello");
        if ending == "reset" {
            upstream.resets();
            assert_eq!(client.expects(502).reason(), "upstream_reset");
        } else {
            upstream.replies(format!("HTTP/1.1 {ending}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"));
            client.expects(ending[..3].parse().expect("a status"));
        }
        assert!(endpoint.is_alone(), "{ending}");
    }
    let mut client = gateway.client();
    client.sends("POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let mut upstream = endpoint.accepts();
    upstream.expects_head("POST /x");
    upstream.replies("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy");
    let answer = client.expects(503);
    assert_eq!((answer.text(), answer.announces_close()), ("busy", true));
    client.closes();
    gateway.stop();
}

on_both_drivers![
    a_condition_is_tried_again_only_where_it_was_asked_for,
    the_log_has_the_attempts_and_the_last_endpoint,
    only_idempotent_methods_are_tried_again_unless_told_otherwise,
    nothing_is_tried_again_once_a_byte_went_to_the_client,
    a_small_body_is_sent_again_as_it_was,
    a_body_that_was_not_kept_whole_is_not_sent_again,
    a_connect_that_failed_goes_on_whatever_the_request,
    attempts_beyond_the_first_are_counted_by_why,
    a_connect_that_failed_is_the_end_where_it_was_not_asked_for,
    one_attempt_is_no_retry,
    an_outage_is_not_amplified_beyond_the_budget,
    retry_after_lets_an_endpoint_rest_while_others_are_fit,
    an_endpoint_whose_busy_connection_died_is_spared_for_a_moment,
    an_endpoint_is_asked_again_when_the_others_refuse,
    half_a_head_is_a_502_and_the_request_is_not_sent_again,
    the_time_to_the_first_byte_is_that_of_the_last_attempt,
    the_time_to_the_first_byte_begins_with_the_attempt,
    an_expectation_survives_a_connect_that_failed,
];
