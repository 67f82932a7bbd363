//! Adaptive admission: what a cluster cannot bear without getting slow is shed at once, low priorities first.

use serde_json::json;

use super::client::Client;
use super::endpoint::{Accepted, Endpoint};
use super::gateway::Gateway;
use super::message::Message;
use super::plan::{Io, Plan};
use super::wait::until_true;

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

/// Their bodies may all be there at once: twice the limit is let in, and then uploads keep their places.
fn uploads_under_way_are_no_more_than_twice_the_limit(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = gated(io, &endpoint, "admission: { min: 2, max: 2 }").start();
    let is_in_flight = |count: u32| gateway.cluster("app")["admission"]["in_flight"] == count;
    let mut uploads = Vec::new();
    for in_flight in [0, 0, 1, 2] {
        uploads.push(upload(&gateway, &endpoint));
        until_true("the upload is waited for", || is_in_flight(in_flight));
    }
    gateway.client().asks("/normal/2").expects(503);
    send_the_rest(&mut uploads);
    until_true("all uploads are there", || is_in_flight(4));
    answer(&mut uploads);
    assert!(is_in_flight(0));
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
    uploads_under_way_are_no_more_than_twice_the_limit,
    a_reload_keeps_the_limit_and_its_count,
];
