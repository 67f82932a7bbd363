//! Uploads that an endpoint of HTTP/2 refuses unread (RFC 9113 sections 6.8 and 8.7): sent again whole, or not at all.

use super::client::Client;
use super::endpoint::Endpoint;
use super::gateway::Gateway;
use super::h2_client::{H2Client, H2Stream};
use super::h2_peer::{H2Peer, goaway};
use super::h2_wire::{DATA, HEADERS, REFUSED_STREAM, reset};
use super::plan::{Io, Plan};

/// What is kept of a body that comes behind its head.
const KEPT: usize = 16 * 1024;
const DENIED: &str = "upstream_retries_denied_total{reason=\"body\"}";

/// How a stream is refused.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    /// By a reset of its own.
    Reset,
    /// By word that it is above the last one.
    GoAway,
}

/// An upload.
enum Upload {
    Http1(Client),
    Http2(H2Stream),
}

/// A gateway before an endpoint whose frames are a test's.
struct Scene {
    endpoint: Endpoint,
    gateway: Gateway,
    front: H2Client,
}

impl Scene {
    fn set(io: Io) -> Self {
        let endpoint = Endpoint::listens();
        let gateway = Plan::bare(io)
            .speaks_h2()
            .cluster_of("app", &format!("{{ url: 'h2c://{}' }}", endpoint.address()))
            .route("name: everything, cluster: app")
            .start();
        let front = H2Client::to(gateway.address());
        Self { endpoint, gateway, front }
    }

    /// Begins uploads of this length by either protocol; each needs an endpoint that takes it.
    fn begins(&mut self, by_h2: bool, length: usize) -> Upload {
        if by_h2 {
            return Upload::Http2(self.front.begins("POST", "/upload", &[("content-length", &length.to_string())]));
        }
        let mut client = self.gateway.client();
        client.sends(format!("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
        Upload::Http1(client)
    }

    /// The upload's stream is refused; whoever gets the next one.
    fn refuses(&self, refusal: Refusal, peer: H2Peer, stream: u32) -> H2Peer {
        self.try_refuses(refusal, peer, stream).unwrap_or_else(|_old| H2Peer::accepts(&self.endpoint))
    }

    /// The same, where nobody may come: the old connection is the error.
    fn try_refuses(&self, refusal: Refusal, mut peer: H2Peer, stream: u32) -> Result<H2Peer, H2Peer> {
        match refusal {
            Refusal::Reset => {
                peer.sends(reset(stream, REFUSED_STREAM));
                Ok(peer)
            }
            Refusal::GoAway => {
                peer.sends(goaway(stream - 2, 0));
                Err(peer)
            }
        }
    }
}

impl Upload {
    fn sends(&mut self, content: &[u8], ends: bool) {
        match self {
            Self::Http1(client) => drop(client.sends(content)),
            Self::Http2(stream) => drop(stream.sends(content, ends)),
        }
    }

    /// The status, the reason and the content of the answer.
    fn expects_any(self) -> (u16, String, String) {
        match self {
            Self::Http1(mut client) => {
                let answer = client.expects_any();
                (answer.status(), answer.reason().to_owned(), answer.text().to_owned())
            }
            Self::Http2(stream) => {
                let answer = stream.expects_any();
                (answer.status, answer.reason().to_owned(), answer.text().to_owned())
            }
        }
    }
}

/// A request before it, so that a GOAWAY has a stream below that of the upload.
fn warm(scene: &mut Scene) -> H2Peer {
    let stream = scene.front.gets("/warm");
    let mut peer = H2Peer::accepts(&scene.endpoint);
    let id = peer.expects_request();
    peer.replies_with(id, "warm");
    stream.expects(200);
    peer
}

/// Takes so much content of a stream.
fn takes(peer: &mut H2Peer, stream: u32, count: usize) -> Vec<u8> {
    let mut content = Vec::new();
    while content.len() < count {
        let mut frame = peer.expects(DATA);
        assert_eq!(frame.stream, stream);
        content.append(&mut frame.payload);
    }
    content
}

/// Every byte tells where it belongs, so that a hole would be seen.
fn body(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251).to_le_bytes()[0]).collect()
}

const WAYS: [(bool, Refusal); 4] =
    [(false, Refusal::Reset), (false, Refusal::GoAway), (true, Refusal::Reset), (true, Refusal::GoAway)];

/// Up to what is kept, an upload that was sent whole goes out again, whole and whatever its method.
fn an_upload_that_was_kept_is_repeated_whole(io: Io) {
    let mut scene = Scene::set(io);
    for (by_h2, refusal) in WAYS {
        for length in [1, KEPT] {
            let mut peer = warm(&mut scene);
            let body = body(length);
            let mut upload = scene.begins(by_h2, length);
            let first = peer.expects_request();
            upload.sends(&body, true);
            assert!(takes(&mut peer, first, length) == body);
            let mut peer = scene.refuses(refusal, peer, first);
            let again = peer.expects_request();
            assert!(takes(&mut peer, again, length) == body, "{length} bytes, {refusal:?}: a hole");
            peer.replies_with(again, "stored");
            assert_eq!(upload.expects_any(), (200, String::new(), "stored".to_owned()), "{length} bytes, {refusal:?}");
            peer.closes();
            scene.gateway.waits_for("http2_upstream_connections", 0.0);
        }
    }
    assert_eq!(scene.gateway.metric(DENIED), 0.0);
    scene.gateway.waits_for("upstream_retries_total{reason=\"refused\"}", 8.0);
    drop(scene.front);
    scene.gateway.stop();
}

/// One byte more than is kept, or a part that has not come yet, and the client is told instead: nothing is repeated with a
/// hole, and nothing is sent twice.
fn an_upload_that_was_not_kept_is_not_repeated(io: Io) {
    let mut scene = Scene::set(io);
    let mut refused = 0.0;
    for (by_h2, refusal) in WAYS {
        // What is announced, and what of it has come.
        for (length, sent) in [(KEPT + 1, KEPT + 1), (40_000, 40_000), (900_000, KEPT + 1), (900_000, 40_000), (10, 5)]
        {
            let mut peer = warm(&mut scene);
            let body = body(sent);
            let mut upload = scene.begins(by_h2, length);
            let stream = peer.expects_request();
            upload.sends(&body, sent == length);
            // The last byte of a body waits for the end of its stream.
            assert!(takes(&mut peer, stream, sent) == body);
            let (Ok(mut peer) | Err(mut peer)) = scene.try_refuses(refusal, peer, stream);
            let (status, reason, _) = upload.expects_any();
            assert_eq!((status, &reason[..]), (502, "upstream_stream_refused"), "{sent} of {length}, {refusal:?}");
            assert!(peer.reads_now().iter().all(|frame| frame.kind != HEADERS), "{sent} of {length}, {refusal:?}");
            assert!(scene.endpoint.is_alone(), "{sent} of {length}, {refusal:?}");
            peer.closes();
            scene.gateway.waits_for("http2_upstream_connections", 0.0);
            refused += 1.0;
        }
    }
    assert_eq!(scene.gateway.metric(DENIED), refused);
    assert_eq!(scene.gateway.metric("upstream_retries_total{reason=\"refused\"}"), 0.0);
    drop(scene.front);
    scene.gateway.stop();
}

on_both_drivers!(an_upload_that_was_kept_is_repeated_whole, an_upload_that_was_not_kept_is_not_repeated);
