//! Connections of HTTP/2 to endpoints as they begin, with several requests that wait for one of them.

use super::endpoint::Endpoint;
use super::h2_client::H2Client;
use super::h2_peer::{H2Peer, goaway};
use super::h2_wire::{DATA, H2Wire, PREFACE, settings};
use super::plan::{Io, Plan};

/// A gateway before an endpoint whose frames are a test's.
fn before(io: Io, endpoint: &Endpoint) -> Plan {
    Plan::bare(io).speaks_h2().cluster_of("app", &format!("{{ url: 'h2c://{}' }}", endpoint.address()))
}

/// A request that has little time begins a connection; another one that has more waits for it, and gets it.
fn a_call_that_is_over_takes_no_connection_from_others(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = before(io, &endpoint).route("name: everything, cluster: app").start();
    let mut front = H2Client::to(gateway.address());
    let fields = [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "2S")];
    let short = front.asks("POST", "/short", &fields);
    let long = front.gets("/long");
    let accepted = endpoint.accepts();
    // Deadline exceeded, in a response of fields alone.
    let reply = short.expects(200);
    assert_eq!((reply.field("grpc-status"), reply.reason()), ("4", "request_timeout"), "{reply:?}");
    let mut peer = H2Peer::over(accepted, &[]);
    let asked = peer.expects_request();
    peer.replies_with(asked, "in time");
    assert_eq!(long.expects(200).text(), "in time");
    assert!(endpoint.is_alone(), "one connection is enough");
    assert_eq!(gateway.metric("upstream_errors_total{reason=\"connect_timeout\"}"), 0.0);
    gateway.stop();
}

/// A route that has little patience begins a connection; those of another one that wait for it go on when it gives up.
fn a_route_of_little_patience_takes_none_from_another(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = before(io, &endpoint)
        .route("name: short, match: { path: /short }, cluster: app, timeouts: { connect: 150ms }")
        .route("name: long, match: { path: /long }, cluster: app")
        .start();
    let mut front = H2Client::to(gateway.address());
    let (short, long) = (front.gets("/short"), front.gets("/long"));
    let _mute = endpoint.accepts();
    assert_eq!(short.expects(504).reason(), "connect_timeout");
    let mut peer = H2Peer::accepts(&endpoint);
    let asked = peer.expects_request();
    peer.replies_with(asked, "in time");
    assert_eq!(long.expects(200).text(), "in time");
    gateway.stop();
}

/// RFC 9113 section 6.8: an endpoint that says goodbye with its first words took nothing, and an upload that waits for it goes
/// elsewhere whole.
fn an_upload_that_could_not_begin_goes_elsewhere(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = before(io, &endpoint).route("name: everything, cluster: app").start();
    for by_h2 in [false, true] {
        let (mut client, mut front) = (gateway.client(), H2Client::to(gateway.address()));
        let mut stream = by_h2.then(|| front.begins("POST", "/upload", &[]));
        match &mut stream {
            Some(stream) => drop(stream.sends("hello", false)),
            None => drop(
                client.sends("POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
            ),
        }
        let mut wire = endpoint.accepts().into_wire();
        assert_eq!(wire.reads(PREFACE.len()), PREFACE, "RFC 9113 section 3.4");
        let mut old = H2Wire::over_begun(wire);
        old.sends([settings(&[]), goaway(0, 0)].concat());
        let mut new = H2Peer::accepts(&endpoint);
        let asked = new.expects_request();
        assert_eq!(new.expects(DATA).payload, b"hello");
        match &mut stream {
            Some(stream) => drop(stream.sends("", true)),
            None => drop(client.sends("0\r\n\r\n")),
        }
        new.replies_with(asked, "stored");
        match stream {
            Some(stream) => assert_eq!(stream.expects(200).text(), "stored"),
            None => assert_eq!(client.expects(200).text(), "stored"),
        }
        new.closes();
        gateway.waits_for("http2_upstream_connections", 0.0);
    }
    gateway.stop();
}

on_both_drivers!(
    a_call_that_is_over_takes_no_connection_from_others,
    a_route_of_little_patience_takes_none_from_another,
    an_upload_that_could_not_begin_goes_elsewhere,
);
