//! K3: the trace that a request belongs to, as endpoints and the log are told of it.

use super::endpoint::Endpoint;
use super::h2_client::H2Client;
use super::h2_endpoint::H2Endpoint;
use super::message::Message;
use super::plan::{Io, Plan};

/// The trace of the examples of the specification.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// The span of a client that records it, as it says so.
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn traced(plan: Plan, entries: &str) -> Plan {
    plan.and(&format!("  tracing: {{ {entries} }}"))
}

/// Trace, span and flags of a request's one `traceparent`.
fn parts(request: &Message) -> [String; 3] {
    let values = request.all("traceparent");
    assert_eq!(values.len(), 1, "{request}");
    let parts: Vec<&str> = values[0].split('-').collect();
    assert_eq!((parts.len(), parts[0]), (4, "00"), "{}", values[0]);
    for (part, length) in parts.iter().zip([2, 32, 16, 2]) {
        assert!(part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{part}");
    }
    [parts[1].to_owned(), parts[2].to_owned(), parts[3].to_owned()]
}

/// W3C Trace Context: a trace that comes with a request goes on under a span of ours, one that is invalid is replaced, and
/// one is made where there is none; whoever makes it decides whether it is recorded.
fn a_trace_goes_on_or_is_made(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = traced(Plan::to(io, &[endpoint.address()]), "sample: 100%").start();
    let mut client = gateway.client();
    let mut upstream = None;
    let mut asks = |path: &str, fields: &str| {
        client.sends(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        let upstream = upstream.get_or_insert_with(|| endpoint.accepts());
        let request = upstream.expects(&format!("GET {path}"));
        upstream.replies_with("ok");
        client.expects(200);
        request
    };
    let request = asks("/on", &format!("Traceparent: {PARENT}\r\nTracestate: a=1\r\nTraceState: b=2\r\n"));
    let [trace, span, flags] = parts(&request);
    assert_eq!((&*trace, &*flags), (TRACE, "01"));
    assert!(span != "00f067aa0ba902b7" && span != "0000000000000000", "{span}");
    assert_eq!(request.all("tracestate"), ["a=1", "b=2"]);
    assert_eq!(gateway.log_of("/on")["trace_id"], TRACE);

    let unsampled = asks("/off", &format!("traceparent: {}\r\n", PARENT.replace("-01", "-00")));
    assert_eq!(parts(&unsampled)[2], "00", "whoever began the trace has decided");

    let mut seen = vec![TRACE.to_owned()];
    for (number, fields) in [
        String::new(),
        "traceparent: rubbish\r\ntracestate: a=1\r\n".to_owned(),
        format!("traceparent: {}\r\ntracestate: a=1\r\n", PARENT.to_uppercase()),
        format!("traceparent: {PARENT}\r\ntraceparent: {PARENT}\r\ntracestate: a=1\r\n"),
        format!("traceparent: {}\r\n", PARENT.replace(TRACE, &"0".repeat(32))),
    ]
    .iter()
    .enumerate()
    {
        let request = asks(&format!("/new/{number}"), fields);
        let [trace, _, flags] = parts(&request);
        assert_eq!((&*flags, request.field("tracestate")), ("01", None), "{request}");
        assert!(!seen.contains(&trace), "{trace}");
        assert_eq!(gateway.log_of(&format!("/new/{number}"))["trace_id"], *trace);
        seen.push(trace);
    }
    gateway.stop();
}

/// Where requests are not traced, what they say of their trace is none of the gateway's business, but for its log.
fn without_tracing_a_trace_goes_on_as_it_came(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).start();
    let mut client = gateway.client();
    client.sends(format!("GET /a HTTP/1.1\r\nHost: a\r\nTraceparent: {PARENT}\r\nTracestate: a=1\r\n\r\n"));
    let mut upstream = endpoint.accepts();
    let request = upstream.expects("GET /a");
    upstream.replies_with("ok");
    client.expects(200);
    assert_eq!((request.field("traceparent"), request.field("tracestate")), (Some(PARENT), Some("a=1")));
    assert_eq!(gateway.log_of("/a")["trace_id"], TRACE);
    client.asks("/b");
    assert_eq!(upstream.expects("GET /b").field("traceparent"), None);
    upstream.replies_with("ok");
    client.expects(200);
    assert_eq!(gateway.log_of("/b")["trace_id"], serde_json::Value::Null);
    gateway.stop();
}

/// Over HTTP/2 on both sides the same; each attempt has a span of its own.
fn each_attempt_has_a_span_of_its_own_over_http2(io: Io) {
    let endpoint = H2Endpoint::listens();
    let plan = Plan::bare(io).speaks_h2().cluster_of("app", &endpoint.entry());
    let plan = plan.route("name: all, cluster: app, retry: { attempts: 2, on: [503], budget: 100%, backoff: 1ms }");
    let gateway = traced(plan, "sample: 0%").start();
    let mut client = H2Client::to(gateway.address());
    let waiting = client.asks("GET", "/x", &[("traceparent", PARENT), ("tracestate", "a=1")]);
    let accepted = endpoint.accepts();
    let first = accepted.expects("GET /x");
    let told = first.field("traceparent").to_owned();
    first.replies(503, &[], "no");
    let second = accepted.expects("GET /x");
    let again = second.field("traceparent").to_owned();
    assert_eq!(second.field("tracestate"), "a=1");
    second.replies_with("ok");
    assert_eq!(waiting.expects(200).text(), "ok");
    for value in [&told, &again] {
        assert!(value.starts_with(&format!("00-{TRACE}-")) && value.ends_with("-01") && value != PARENT, "{value}");
    }
    assert_ne!(told, again);
    let plain = client.gets("/y");
    let asked = accepted.expects("GET /y");
    let value = asked.field("traceparent").to_owned();
    assert!(value.len() == 55 && value.ends_with("-00"), "{value}: nothing of the share is recorded");
    asked.replies_with("ok");
    plain.expects(200);
    gateway.stop();
}

on_both_drivers![
    a_trace_goes_on_or_is_made,
    without_tracing_a_trace_goes_on_as_it_came,
    each_attempt_has_a_span_of_its_own_over_http2,
];
