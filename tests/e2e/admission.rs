//! Adaptive admission: what a cluster cannot bear without getting slow is shed at once, low priorities first.

use serde_json::json;

use super::client::Client;
use super::endpoint::{Accepted, Endpoint};
use super::gateway::Gateway;
use super::h2_client::H2Client;
use super::message::Message;
use super::plan::{Io, Plan};
use super::wait::until_true;

/// The head of an answer to a call.
const BEGIN: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\nTrailer: grpc-status\r\n\r\n";

/// Routes of all priorities to one cluster with a limit.
fn gated(io: Io, endpoint: &Endpoint, admission: &str) -> Plan {
    let plan = Plan::bare(io).workers("2").cluster_with("app", &[endpoint.address()], admission);
    ["low", "normal", "high"].into_iter().fold(plan, |plan, priority| {
        plan.route(&format!("name: {priority}, match: {{ path: /{priority}/* }}, cluster: app, priority: {priority}"))
    })
}

/// A request that its endpoint has and does not answer.
fn held(gateway: &Gateway, endpoint: &Endpoint, path: &str) -> (Client, Accepted) {
    let mut client = gateway.client();
    client.asks(path);
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /");
    (client, upstream)
}

/// A request whose endpoint waits for half of its body.
type Upload = (Client, Accepted, Message);

fn upload(gateway: &Gateway, endpoint: &Endpoint) -> Upload {
    let mut client = gateway.client();
    client.sends("PUT /normal/1 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\n1");
    let mut upstream = endpoint.accepts();
    let request = upstream.expects_head("PUT /normal/1");
    (client, upstream, request)
}

fn send_the_rest(uploads: &mut [Upload]) {
    for (client, upstream, request) in uploads {
        client.sends("2");
        upstream.reads_body(request);
    }
}

fn answer(uploads: &mut [Upload]) {
    for (client, upstream, _) in uploads {
        upstream.replies_with("ok");
        client.expects(200);
    }
}

/// Before anything is known eight requests are let in, over all workers together; six of low priority, ten of high. What
/// is above is answered at once, with a reason and with when to come back, and whoever ends makes room.
fn what_is_above_the_limit_is_shed_by_priority(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = gated(io, &endpoint, "admission: {}").start();
    let mut inside: Vec<_> = (0..6).map(|_| held(&gateway, &endpoint, "/low/1")).collect();
    let refused = |path: &str| {
        let mut client = gateway.client();
        client.asks(path);
        let answer = client.expects(503);
        assert_eq!((answer.reason(), answer.text()), ("overloaded", "upstream overloaded"), "{path}");
        assert_eq!(answer.field("retry-after"), Some("1"));
        assert!(!answer.announces_close());
    };
    refused("/low/2");
    inside.extend((0..2).map(|_| held(&gateway, &endpoint, "/normal/1")));
    refused("/normal/2");
    refused("/low/2");
    inside.extend((0..2).map(|_| held(&gateway, &endpoint, "/high/1")));
    refused("/high/2");
    assert_eq!(
        gateway.cluster("app")["admission"],
        json!({ "limit": 8, "in_flight": 10, "baseline_us": 0.0, "shed": 4 })
    );
    assert_eq!(gateway.metric("upstream_admission_limit{cluster=\"app\"}"), 8.0);
    assert_eq!(gateway.metric("upstream_admission_shed_total{cluster=\"app\"}"), 4.0);
    gateway.waits_for("gateway_rejected_requests_total{reason=\"overloaded\"}", 4.0);
    assert_eq!(gateway.log_of("/high/2")["stage"], "admit");

    // A client that leaves makes room as one that is answered does.
    let (left, _upstream) = inside.remove(0);
    left.closes();
    for (client, upstream) in &mut inside {
        upstream.replies("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        client.expects(200);
    }
    until_true("all have left", || gateway.cluster("app")["admission"]["in_flight"] == 0);
    let (mut client, mut upstream) = held(&gateway, &endpoint, "/low/3");
    upstream.replies_with("ok");
    client.expects(200);
    gateway.stop();
}

/// What a client takes slowly, or a connection that was switched, is no load of the endpoint.
fn an_answer_that_has_begun_makes_room(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = gated(io, &endpoint, "admission: {}").start();
    let mut begun = Vec::new();
    for number in 0..8 {
        let mut client = gateway.client();
        let begin = if number < 4 {
            client.asks("/normal/1");
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"
        } else {
            client.sends(
                "GET /normal/1 HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            );
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi"
        };
        let mut upstream = endpoint.accepts();
        upstream.expects("GET /normal/1");
        upstream.replies(begin);
        client.expects_head(if number < 4 { 200 } else { 101 });
        begun.push((client, upstream));
    }
    assert_eq!(gateway.cluster("app")["admission"]["in_flight"], 0);
    let (mut ninth, mut upstream) = held(&gateway, &endpoint, "/normal/9");
    assert_eq!(gateway.cluster("app")["admission"]["in_flight"], 1);
    upstream.replies_with("ok");
    ninth.expects(200);
    for (mut client, mut upstream) in begun.drain(..4) {
        upstream.replies("0\r\n\r\n");
        assert_eq!(client.reads(12), b"2\r\nhi\r\n0\r\n\r\n");
    }
    drop(begun);
    assert_eq!(gateway.cluster("app")["admission"]["in_flight"], 0);
    gateway.stop();
}

/// A client that is slow to send its body is no load either; once all of it is there, its request has a place again.
fn an_upload_under_way_makes_room(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = gated(io, &endpoint, "admission: {}").start();
    let in_flight = || gateway.cluster("app")["admission"]["in_flight"].clone();
    let mut uploads: Vec<_> = (0..8).map(|_| upload(&gateway, &endpoint)).collect();
    until_true("all uploads are waited for", || in_flight() == 0);
    let (mut ninth, mut upstream) = held(&gateway, &endpoint, "/normal/9");
    assert_eq!(in_flight(), 1);
    send_the_rest(&mut uploads);
    until_true("all uploads are there", || in_flight() == 9);
    gateway.client().asks("/normal/10").expects(503);
    upstream.replies_with("ok");
    ninth.expects(200);
    answer(&mut uploads);
    assert_eq!(in_flight(), 0);
    gateway.stop();
}

/// However many uploads wait for their clients, everything else passes; of those that are there at once the endpoint gets twice
/// the limit, and of the others never the end.
fn uploads_under_way_shut_nobody_out_and_are_not_there_all_at_once(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = gated(io, &endpoint, "admission: { min: 2, max: 2 }").start();
    let is_in_flight = |count: u32| gateway.cluster("app")["admission"]["in_flight"] == count;
    let mut uploads: Vec<Upload> = Vec::new();
    for _ in 0..7 {
        uploads.push(upload(&gateway, &endpoint));
        until_true("the upload is waited for", || is_in_flight(0));
    }
    let (mut client, mut upstream) = held(&gateway, &endpoint, "/normal/2");
    upstream.replies_with("ok");
    client.expects(200);
    let mut too_many = uploads.split_off(4);
    send_the_rest(&mut uploads);
    until_true("as many as may are there", || is_in_flight(4));
    for (client, upstream, _) in &mut too_many {
        client.sends("2GET /normal/3 HTTP/1.1\r\nHost: a.example\r\n\r\n");
        let answer = client.expects(503);
        assert_eq!((answer.reason(), answer.announces_close()), ("overloaded", false));
        assert_eq!(client.expects(503).reason(), "overloaded", "twice the limit are in flight");
        assert_eq!(upstream.try_reads_to_end(), b"1");
    }
    assert_eq!(gateway.cluster("app")["admission"]["shed"], 6);
    answer(&mut uploads);
    assert!(is_in_flight(0));
    gateway.stop();
}

/// A client that waits for a 100 (RFC 9110 section 10.1.1) is waited for as one that is slow is.
fn requests_that_wait_for_a_100_make_room(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = gated(io, &endpoint, "admission: { min: 2, max: 2 }").start();
    let in_flight = || gateway.cluster("app")["admission"]["in_flight"].clone();
    let mut waiting: Vec<_> = (0..4)
        .map(|_| {
            let mut client = gateway.client();
            client.sends(
                "PUT /normal/1 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n",
            );
            let mut upstream = endpoint.accepts();
            let request = upstream.expects_head("PUT /normal/1");
            until_true("the client is waited for", || in_flight() == 0);
            (client, upstream, request)
        })
        .collect();
    let (mut client, mut upstream) = held(&gateway, &endpoint, "/normal/2");
    upstream.replies_with("ok");
    client.expects(200);
    for (client, upstream, _) in &mut waiting {
        upstream.replies("HTTP/1.1 100 Continue\r\n\r\n");
        client.expects_interim(100);
        client.sends("1");
    }
    send_the_rest(&mut waiting);
    until_true("all of them are there", || in_flight() == 4);
    answer(&mut waiting);
    assert_eq!(in_flight(), 0);
    gateway.stop();
}

/// Calls of gRPC may last for hours: neither one whose client goes on talking nor one that is being answered is in flight.
fn calls_that_go_on_talking_leave_others_untouched(io: Io) {
    const CALL: [(&str, &str); 2] = [("content-type", "application/grpc"), ("te", "trailers")];
    const MESSAGE: &[u8] = b"\0\0\0\0\x011";
    let endpoint = Endpoint::listens();
    let gateway = gated(io, &endpoint, "admission: { min: 2, max: 2 }").speaks_h2().start();
    let mut client = H2Client::to(gateway.address());
    let mut talking = Vec::new();
    for number in 0..9 {
        let mut call = client.begins("POST", "/normal/Talk", &CALL);
        call.sends(MESSAGE, false);
        let mut upstream = endpoint.accepts();
        upstream.expects_head("POST /normal/Talk");
        assert_eq!(upstream.reads_chunk().expect("a message"), MESSAGE);
        if number % 2 == 0 {
            upstream.replies(BEGIN);
            call.expects_head(200);
        }
        until_true("the client is waited for", || gateway.cluster("app")["admission"]["in_flight"] == 0);
        talking.push((call, upstream));
    }
    let mut answering = None;
    for _ in 0..3 {
        let mut call = client.begins("POST", "/normal/Unary", &CALL);
        call.sends(MESSAGE, true);
        let upstream = answering.get_or_insert_with(|| endpoint.accepts());
        upstream.expects("POST /normal/Unary");
        assert_eq!(gateway.cluster("app")["admission"]["in_flight"], 1);
        upstream.replies(BEGIN).replies("0\r\ngrpc-status: 0\r\n\r\n");
        assert_eq!(call.expects(200).trailers["grpc-status"], "0");
    }
    assert_eq!(gateway.cluster("app")["admission"]["shed"], 0);
    for (mut call, mut upstream) in talking {
        call.sends("", true);
        assert_eq!(upstream.reads_chunk(), None);
    }
    gateway.stop();
}

/// A limit that was found survives a reload; one that is taken away lets everything in.
fn a_reload_keeps_the_limit_and_its_count(io: Io) {
    let endpoint = Endpoint::listens();
    let plan = gated(io, &endpoint, "admission: { min: 2, max: 2 }");
    let gateway = plan.start();
    let inside: Vec<_> = (0..2).map(|_| held(&gateway, &endpoint, "/normal/1")).collect();
    let mut client = gateway.client();
    client.asks("/normal/2").expects(503);
    gateway.adopts(&plan.route("name: more, match: { path: /more }, cluster: app").yaml());
    client.asks("/more").expects(503);
    assert_eq!(gateway.cluster("app")["admission"]["in_flight"], 2);
    gateway.adopts(&gated(io, &endpoint, "max_connections: 50").yaml());
    let (mut third, mut upstream) = held(&gateway, &endpoint, "/normal/3");
    upstream.replies_with("ok");
    third.expects(200);
    drop(inside);
    gateway.stop();
}

on_both_drivers![
    what_is_above_the_limit_is_shed_by_priority,
    an_answer_that_has_begun_makes_room,
    an_upload_under_way_makes_room,
    uploads_under_way_shut_nobody_out_and_are_not_there_all_at_once,
    requests_that_wait_for_a_100_make_room,
    calls_that_go_on_talking_leave_others_untouched,
    a_reload_keeps_the_limit_and_its_count,
];
