//! Peers that read slowly, but steadily: what ends an exchange is that nothing is read at all.

use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;

use super::client::Client;
use super::endpoint::Endpoint;
use super::gateway::Gateway;
use super::h2_wire::{DATA, GOAWAY, H2Wire, RESET, get, settings, window};
use super::layer::Layer;
use super::origin::Origin;
use super::pki::Authority;
use super::plan::{Io, Plan};
use super::site::{Site, VERSIONS, server_of};
use super::wait::thread;
use super::wire::Wire;

/// Bytes that are read at once.
const PIECE: usize = 128 << 10;
/// Bytes of a body: more than the sockets of loopback hold.
const LENGTH: usize = 48 * PIECE;

/// Makes the kernel hold little of what is not read.
fn holds_some(wire: &Wire) {
    SockRef::from(wire.stream()).set_recv_buffer_size(64 << 10).expect("an open socket");
}

/// Lets the peer wait for a fifth of the time in which something must be read.
fn pauses() {
    std::thread::park_timeout(Duration::from_millis(200));
}

fn reads_slowly(wire: &mut Wire) {
    for _ in 0..LENGTH / PIECE {
        assert!(wire.reads(PIECE).iter().all(|byte| *byte == b'x'));
        pauses();
    }
}

/// A gateway in front of an endpoint that has much to say.
fn plan(io: Io) -> (Origin, Plan) {
    let origin = Origin::answering(move |_| {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n{}", "x".repeat(LENGTH)).into_bytes()
    });
    let plan = Plan::to(io, &[origin.address()]).limits("write_timeout: 1s");
    (origin, plan)
}

fn was_served(gateway: Gateway) {
    let line = gateway.log_of("/slow");
    assert_eq!((&line["status"], &line["reason"]), (&200.into(), &serde_json::Value::Null), "{line}");
    gateway.stop();
}

/// A socket says that there is room again when a third of it is free, which may be a MiB.
fn a_client_is_served(io: Io) {
    let (_origin, plan) = plan(io);
    let gateway = plan.start();
    let mut client = gateway.client();
    holds_some(&client);
    client.asks("/slow").expects_head(200);
    reads_slowly(&mut client);
    was_served(gateway);
}

/// One write of TLS is all that was read of a body, up to 256 KiB.
fn a_client_of_tls_is_served(io: Io) {
    let (_origin, plan) = plan(io);
    let site = Site::new();
    let config = Arc::new(site.believer());
    let (_, gateway) = site.start(plan);
    let mut client = Client::secured(gateway.address(), &config, "a.example");
    holds_some(&client);
    client.asks("/slow").expects_head(200);
    reads_slowly(&mut client);
    was_served(gateway);
}

/// And one of HTTP/2 what all streams have to say, behind which each of them waits for its turn.
fn a_client_of_h2_is_served(io: Io) {
    let (_origin, plan) = plan(io);
    let gateway = plan.speaks_h2().start();
    reads_frames_slowly(Wire::to(gateway.address()));
    was_served(gateway);
}

fn a_client_of_h2_over_tls_is_served(io: Io) {
    let (_origin, plan) = plan(io);
    let site = Site::new();
    let mut config = site.believer();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (_, gateway) = site.start(plan.speaks_h2());
    let layer = Layer::client(&Arc::new(config), "a.example");
    reads_frames_slowly(Wire::to(gateway.address()).secured(layer).expect("a handshake"));
    was_served(gateway);
}

fn reads_frames_slowly(wire: Wire) {
    holds_some(&wire);
    let mut client = H2Wire::bare(wire);
    client.sends(settings(&[(1, 0), (4, 1 << 30)])).settles();
    client.sends([window(0, 1 << 30), get(1, "/slow")].concat());
    let (mut length, mut paused) = (0, 0);
    while length < LENGTH {
        let frame = client.reads().expect("a frame");
        assert!(![RESET, GOAWAY].contains(&frame.kind), "{length} bytes, and {frame:?}");
        length += if frame.kind == DATA { frame.payload.len() } else { 0 };
        if length >= paused + PIECE {
            paused = length;
            pauses();
        }
    }
}

/// The same of an endpoint, which is not blamed.
fn an_endpoint_of_tls_is_sent_all(io: Io) {
    let inside = Authority::new("inside");
    let config = Arc::new(server_of(&inside.certifies(&["b.example"]), &VERSIONS, None));
    let endpoint = Endpoint::listens();
    let url = format!("https://{}", endpoint.address());
    let plan = Plan::bare(io)
        .timeouts("body_idle: 1s")
        .cluster_as(
            "app",
            &format!("endpoints: [{{ url: '{url}' }}], tls: {{ ca: inside.crt, server_name: b.example }}"),
        )
        .route("name: everything, cluster: app");
    let (_, gateway) = Site::new().with_file("inside.crt", inside.pem()).start_on(&plan);
    let mut client = gateway.client();
    let sending = thread("client", move || {
        client.sends(format!("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n"));
        client.sends("x".repeat(LENGTH));
        client.expects(200);
    });
    let mut upstream = endpoint.accepts_secured(&config);
    upstream.expects_head("POST /slow");
    let mut wire = upstream.into_wire();
    holds_some(&wire);
    reads_slowly(&mut wire);
    wire.sends("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    sending.join().expect("it was answered");
    was_served(gateway);
}

on_both_drivers![
    a_client_is_served,
    a_client_of_tls_is_served,
    a_client_of_h2_is_served,
    a_client_of_h2_over_tls_is_served,
    an_endpoint_of_tls_is_sent_all,
];
