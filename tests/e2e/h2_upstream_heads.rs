//! Heads of responses that no endpoint of HTTP/2 should send: interim ones that end their stream, and how large one may be;
//! http.md 83, RFC 9113 sections 8.1 and 10.5.1.

use super::client::Client;
use super::endpoint::Endpoint;
use super::gateway::Gateway;
use super::h2_peer::{H2Peer, head};
use super::h2_wire::{CALM, CONTINUATION, END_HEADERS, END_STREAM, Fate, HEADERS, block, frame_of};
use super::plan::{Io, Plan};

/// Bytes of a frame that everybody may send.
const FRAME: usize = 16_384;
/// What a field costs beside its name and its value (RFC 9113 section 6.5.2).
const FIELD: usize = 32;

/// A gateway before an endpoint whose frames are a test's.
fn before(io: Io) -> (Endpoint, Gateway) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::bare(io)
        .cluster_of("app", &format!("{{ url: 'h2c://{}' }}", endpoint.address()))
        .route("name: everything, cluster: app")
        .start();
    (endpoint, gateway)
}

/// A request that may not be sent again.
fn posts(client: &mut Client) {
    client.sends("POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
}

/// A field section in as many frames as it needs.
fn sections(stream: u32, block: &[u8]) -> Vec<u8> {
    let count = block.chunks(FRAME).count();
    let frames = block.chunks(FRAME).enumerate().map(|(at, piece)| {
        let kind = if at == 0 { HEADERS } else { CONTINUATION };
        frame_of(kind, if at + 1 == count { END_HEADERS } else { 0 }, stream, piece)
    });
    frames.collect::<Vec<_>>().concat()
}

/// Fields of so many bytes in all, as RFC 9113 section 6.5.2 counts them, each written out.
fn written_out(bytes: usize) -> Vec<u8> {
    let value = "x".repeat(bytes / 8 - FIELD - "x-large".len());
    let fields: Vec<_> = std::iter::once((":status", "200")).chain([("x-large", &value[..]); 8]).collect();
    block(&fields)
}

/// The same in a few bytes: a field of 4000 is remembered and named again and again (RFC 7541 sections 6.1 and 6.2.1).
fn by_reference(bytes: usize) -> Vec<u8> {
    let (name, value) = ("x-large", "x".repeat(4_000));
    let mut fields = block(&[(":status", "200"), (name, &value)]);
    let literal = block(&[(name, &value)]);
    let at = fields.len() - literal.len();
    fields[at] = 0x40;
    fields.extend(std::iter::repeat_n(0x80 | 62, bytes / (FIELD + name.len() + value.len())));
    fields
}

/// http.md 83: an interim response that ends its stream is no response, and the end of that stream alone.
fn an_interim_response_that_ends_its_stream_is_malformed(io: Io) {
    let (endpoint, gateway) = before(io);
    let (mut other, mut peer) = (gateway.client(), None);
    for (status, is_upload) in [("100", false), ("103", false), ("100", true), ("103", true)] {
        other.asks("/other");
        let peer = peer.get_or_insert_with(|| H2Peer::accepts(&endpoint));
        let waits = peer.expects_request();
        let mut client = gateway.client();
        match is_upload {
            true => drop(client.sends("POST /bad HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")),
            false => posts(&mut client),
        }
        let bad = peer.expects_request();
        peer.sends(head(bad, END_STREAM, &[(":status", status), ("link", "</a>")]));
        let answer = client.expects(502);
        assert_eq!(answer.reason(), "bad_response", "{status}: {answer}");
        peer.replies_with(waits, status);
        assert_eq!(other.expects(200).text(), status);
    }
    assert!(endpoint.is_alone(), "the connection goes on");
    gateway.waits_for("http2_upstream_streams_active", 0.0);
    gateway.stop();
}

/// Up to 64 KiB a head is one; up to 256 KiB it is told to be too large; up to a MiB `h2` finds that it is none. All of it
/// ends that stream alone.
fn a_head_that_is_too_large_ends_its_stream_alone(io: Io) {
    let (endpoint, gateway) = before(io);
    let mut peer = None;
    for (what, fields, reason) in [
        ("60 KiB", written_out(60 << 10), ""),
        ("66 KiB", written_out(66 << 10), "upstream_header_too_large"),
        ("250 KiB", written_out(250 << 10), "upstream_header_too_large"),
        ("250 KiB by reference", by_reference(250 << 10), "upstream_header_too_large"),
        ("260 KiB", written_out(260 << 10), "bad_response"),
        ("330 KiB", written_out(330 << 10), "bad_response"),
        ("260 KiB by reference", by_reference(260 << 10), "bad_response"),
        ("1000 KiB by reference", by_reference(1000 << 10), "bad_response"),
    ] {
        let (mut client, mut other) = (gateway.client(), gateway.client());
        other.asks("/other");
        let peer = peer.get_or_insert_with(|| H2Peer::accepts(&endpoint));
        let waits = peer.expects_request();
        posts(&mut client);
        let bad = peer.expects_request();
        peer.sends(sections(bad, &fields));
        if reason.is_empty() {
            peer.sends(frame_of(super::h2_wire::DATA, END_STREAM, bad, b"large"));
            assert_eq!(client.expects(200).text(), "large");
        } else {
            let answer = client.expects(502);
            assert_eq!(answer.reason(), reason, "{what}: {answer}");
        }
        peer.replies_with(waits, what);
        assert_eq!(other.expects(200).text(), what);
    }
    assert!(endpoint.is_alone(), "the connection goes on");
    gateway.waits_for("http2_upstream_streams_active", 0.0);
    gateway.stop();
}

/// One far beyond that, or of more frames than it needs, is the end of the connection, and of all that is open on it; the
/// next request begins another.
fn a_head_without_end_ends_the_connection(io: Io) {
    let (endpoint, gateway) = before(io);
    for (what, fields, reason) in [
        ("1100 KiB by reference", by_reference(1100 << 10), "upstream_header_too_large"),
        ("600 KiB", written_out(600 << 10), "bad_response"),
    ] {
        let (mut client, mut other) = (gateway.client(), gateway.client());
        posts(&mut other);
        let mut peer = H2Peer::accepts(&endpoint);
        peer.expects_request();
        posts(&mut client);
        let bad = peer.expects_request();
        drop(peer.try_sends(sections(bad, &fields)));
        for client in [&mut client, &mut other] {
            let answer = client.expects(502);
            assert_eq!(answer.reason(), reason, "{what}: {answer}");
        }
        let fate = peer.fate_of(0);
        assert!(matches!(fate, Fate::GoAway(CALM) | Fate::Silence), "{what}: {fate:?}");
        gateway.waits_for("http2_upstream_connections", 0.0);
    }
    let mut client = gateway.client();
    client.asks("/next");
    let mut peer = H2Peer::accepts(&endpoint);
    let next = peer.expects_request();
    peer.replies_with(next, "next");
    assert_eq!(client.expects(200).text(), "next");
    gateway.stop();
}

on_both_drivers!(
    an_interim_response_that_ends_its_stream_is_malformed,
    a_head_that_is_too_large_ends_its_stream_alone,
    a_head_without_end_ends_the_connection,
);
