//! Endpoints of HTTP/2 that say something wrong, or say it early: http.md 39, 59, 60, 67 to 71, 82 and 83; F14.

use std::net::TcpStream;

use h2::Reason;

use super::client::Client;
use super::endpoint::Endpoint;
use super::gateway::Gateway;
use super::h2_client::H2Client;
use super::h2_endpoint::H2Endpoint;
use super::h2_peer::{H2Peer, goaway, head};
use super::h2_wire::{
    CANCEL, DATA, END_HEADERS, END_STREAM, Fate, HEADERS, PING, RESET, block, frame_of, reset, window,
};
use super::plan::{Io, Plan};
use super::wait::until_true;

/// A gateway before an endpoint whose frames are a test's.
fn before(io: Io) -> (Endpoint, Gateway) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::bare(io)
        .speaks_h2()
        .cluster_of("app", &format!("{{ url: 'h2c://{}' }}", endpoint.address()))
        .route("name: everything, cluster: app")
        .start();
    (endpoint, gateway)
}

fn posts(client: &mut Client, path: &str) {
    client.sends(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"));
}

/// What is wrong, the frames that say so on a stream, and the reason that is given.
type Case<'a> = (&'a str, Box<Frames>, &'a str);
type Frames = dyn Fn(u32) -> Vec<u8>;

fn fields(what: &'static str, flags: u8, fields: &'static [(&'static str, &'static str)]) -> Case<'static> {
    (what, Box::new(move |stream| head(stream, flags, fields)), "bad_response")
}

/// http.md 67 to 71, 83: a malformed response is the end of its stream and of no other.
fn a_malformed_response_ends_its_stream_alone(io: Io) {
    let (endpoint, gateway) = before(io);
    let large = |bytes: usize| {
        let value = "x".repeat(bytes / 8);
        move |stream| {
            let many: Vec<_> = std::iter::once((":status", "200")).chain([("x-large", &value[..]); 8]).collect();
            sections(stream, &block(&many))
        }
    };
    let mut cases = vec![
        fields("8.2.2: connection", END_STREAM, &[(":status", "200"), ("connection", "close")]),
        fields("8.2.2: transfer-encoding", 0, &[(":status", "200"), ("transfer-encoding", "chunked")]),
        fields("8.2.2: upgrade", END_STREAM, &[(":status", "200"), ("upgrade", "h2c")]),
        fields("8.3.2: no status", END_STREAM, &[("x-a", "1")]),
        fields("8.3.2: two of them", END_STREAM, &[(":status", "200"), (":status", "200")]),
        fields("8.3: status behind a field", END_STREAM, &[("x-a", "1"), (":status", "200")]),
        fields("8.1.1: a length without content", END_STREAM, &[(":status", "200"), ("content-length", "5")]),
        fields("8.1.1: no length", END_STREAM, &[(":status", "200"), ("content-length", "x")]),
        fields("8.1.1: two lengths", 0, &[(":status", "200"), ("content-length", "5"), ("content-length", "6")]),
        fields("8.6: a switch of protocols", 0, &[(":status", "101")]),
    ];
    cases.push(("10.5.1: too many fields", Box::new(large(100_000)), "upstream_header_too_large"));
    let (mut client, mut other) = (gateway.client(), gateway.client());
    let mut peer = None;
    for (what, frames, reason) in &cases {
        other.asks("/other");
        let peer = peer.get_or_insert_with(|| H2Peer::accepts(&endpoint));
        let waits = peer.expects_request();
        posts(&mut client, "/bad");
        let bad = peer.expects_request();
        peer.sends(frames(bad));
        let answer = client.expects_any();
        assert_eq!((answer.status(), answer.reason()), (502, *reason), "{what}: {answer}");
        peer.replies_with(waits, what);
        assert_eq!(other.expects(200).text(), *what);
    }
    assert!(endpoint.is_alone());
    gateway.waits_for("http2_upstream_streams_active", 0.0);
    gateway.stop();
}

/// A field section in as many frames as it needs.
fn sections(stream: u32, block: &[u8]) -> Vec<u8> {
    const CONTINUATION: u8 = 9;
    let count = block.chunks(16_384).count();
    let frames = block.chunks(16_384).enumerate().map(|(at, piece)| {
        let kind = if at == 0 { HEADERS } else { CONTINUATION };
        frame_of(kind, if at + 1 == count { END_HEADERS } else { 0 }, stream, piece)
    });
    frames.collect::<Vec<_>>().concat()
}

/// http.md 59, 60: what says something about the connection ends it, in order, and the next request begins another.
fn a_breach_of_the_protocol_ends_the_connection(io: Io) {
    let (endpoint, gateway) = before(io);
    let raw = |block: &'static [u8]| move |stream| frame_of(HEADERS, END_HEADERS | END_STREAM, stream, block);
    let cases: [(&str, Box<Frames>); 7] = [
        ("4.3: an index that nobody has", Box::new(raw(&[0xff, 0x20]))),
        ("4.3: text that ends too early", Box::new(raw(&[0x88, 0, 9, b'x']))),
        ("8.2: an upper-case name", Box::new(|stream| head(stream, END_STREAM, &[(":status", "200"), ("X-A", "1")]))),
        ("8.3.2: no number", Box::new(|stream| head(stream, END_STREAM, &[(":status", "abc")]))),
        ("8.1: content before fields", Box::new(|stream| frame_of(DATA, END_STREAM, stream, b"x"))),
        ("5.1: fields of an idle stream", Box::new(|stream| head(stream + 200, END_STREAM, &[(":status", "200")]))),
        ("4.2: a frame larger than allowed", Box::new(|stream| frame_of(DATA, 0, stream, &[0; 16_385]))),
    ];
    for (what, frames) in cases {
        let (mut client, mut other) = (gateway.client(), gateway.client());
        posts(&mut client, "/bad");
        let mut peer = H2Peer::accepts(&endpoint);
        let bad = peer.expects_request();
        posts(&mut other, "/other");
        peer.expects_request();
        peer.sends(frames(bad));
        for client in [&mut client, &mut other] {
            let answer = client.expects_any();
            assert_eq!((answer.status(), answer.reason()), (502, "bad_response"), "{what}: {answer}");
        }
        let Fate::GoAway(code) = peer.fate_of(0) else { panic!("{what}: no goodbye") };
        assert_ne!(code, 0, "{what}");
        gateway.waits_for("http2_upstream_connections", 0.0);
    }
    gateway.stop();
}

/// http.md 68, 82: content of another length than was promised is never passed on as whole.
fn content_of_another_length_is_cut_short(io: Io) {
    let (endpoint, gateway) = before(io);
    let mut client = gateway.client();
    client.asks("/warm");
    let mut peer = H2Peer::accepts(&endpoint);
    let warm = peer.expects_request();
    peer.replies_with(warm, "warm");
    client.expects(200);
    for content in [&b"1234"[..], b"123456"] {
        let (mut client, mut front) = (gateway.client(), H2Client::to(gateway.address()));
        posts(&mut client, "/cut");
        let first = peer.expects_request();
        peer.sends(head(first, 0, &[(":status", "200"), ("content-length", "5")]));
        client.expects_head(200);
        peer.sends(frame_of(DATA, END_STREAM, first, content));
        let (rest, _) = client.reads_to_end();
        assert!(rest.len() < 5, "{rest:?}");
        let stream = front.gets("/cut");
        let second = peer.expects_request();
        peer.sends(head(second, 0, &[(":status", "200"), ("content-length", "5")]));
        peer.sends(frame_of(DATA, END_STREAM, second, content));
        assert_eq!(stream.expects_reset(), Reason::INTERNAL_ERROR);
    }
    gateway.waits_for("upstream_errors_total{reason=\"upstream_truncated\"}", 4.0);
    assert!(endpoint.is_alone(), "the connection goes on");
    gateway.stop();
}

/// RFC 9113 section 8.2.1: trailers with a value that no field may have are no end of a body, whatever stood before them.
fn malformed_trailers_are_no_end_of_a_body(io: Io) {
    let (endpoint, gateway) = before(io);
    let (mut client, mut front) = (gateway.client(), H2Client::to(gateway.address()));
    client.sends("GET /bad HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    let mut peer = H2Peer::accepts(&endpoint);
    let ends = |stream| {
        let trailers = head(stream, END_STREAM, &[("x-good", "1"), ("x-bad", " 1")]);
        [head(stream, 0, &[(":status", "200")]), frame_of(DATA, 0, stream, b"ping"), trailers]
    };
    let first = peer.expects_request();
    for frames in ends(first) {
        peer.sends(frames);
    }
    let (answer, _) = client.reads_to_end();
    assert!(!String::from_utf8_lossy(&answer).contains("\r\n0\r\n"), "{}", answer.escape_ascii());
    let stream = front.gets("/bad");
    let second = peer.expects_request();
    for frames in ends(second) {
        peer.sends(frames);
    }
    assert_eq!(stream.expects_reset(), Reason::INTERNAL_ERROR);
    gateway.waits_for("upstream_errors_total{reason=\"upstream_truncated\"}", 2.0);
    gateway.stop();
}

/// RFC 9113 section 8.1: what ends a body is END_STREAM, and a reset without an error ends none that began without it.
fn a_reset_without_an_error_is_no_end_of_a_body(io: Io) {
    let (endpoint, gateway) = before(io);
    let mut peer = None;
    for length in [&[][..], &[("content-length", "4")]] {
        let fields = [&[(":status", "200")], length].concat();
        let mut client = gateway.client();
        client.asks("/part");
        let peer = peer.get_or_insert_with(|| H2Peer::accepts(&endpoint));
        let first = peer.expects_request();
        peer.sends(head(first, 0, &fields)).sends(frame_of(DATA, 0, first, b"part"));
        client.expects_head(200);
        peer.sends(reset(first, 0));
        let (rest, _) = client.reads_to_end();
        let rest = String::from_utf8_lossy(&rest);
        assert!(!rest.contains("\r\n0\r\n") && rest != "part", "{rest}");
        let mut front = H2Client::to(gateway.address());
        let mut stream = front.gets("/part");
        let second = peer.expects_request();
        peer.sends(head(second, 0, &fields)).sends(frame_of(DATA, 0, second, b"part"));
        stream.expects_head(200);
        peer.sends(reset(second, 0));
        assert_eq!(stream.expects_reset(), Reason::INTERNAL_ERROR);
    }
    gateway.waits_for("upstream_errors_total{reason=\"upstream_truncated\"}", 4.0);
    gateway.stop();
}

/// How an endpoint goes on behind its early answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    /// It leaves the stream open.
    Nothing,
    /// RFC 9113 section 8.1: it wants no more.
    Reset,
    /// It says goodbye and closes with unread data: the kernel sends a reset.
    Gone,
}

/// F14, http.md 39: an early answer reaches clients of either protocol, and the rest of the upload is not waited for.
fn an_early_answer_reaches_the_client(io: Io) {
    let (endpoint, gateway) = before(io);
    let denied = "denied ".repeat(7_000);
    let mut peer = None;
    for behind in [Behind::Nothing, Behind::Reset, Behind::Gone, Behind::Gone, Behind::Gone, Behind::Nothing] {
        for by_h2 in [false, true] {
            let (mut client, mut front) = (gateway.client(), H2Client::to(gateway.address()));
            let mut stream = None;
            if by_h2 {
                let stream = stream.insert(front.begins("POST", "/upload", &[("content-length", "900000")]));
                stream.sends(vec![b'x'; 60_000], false);
            } else {
                client.sends("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n");
                client.sends(vec![b'x'; 100_000]);
            }
            let mut there = peer.take().unwrap_or_else(|| H2Peer::accepts(&endpoint));
            let upload = there.expects_request();
            // Whose connection ends at once is heard out, as long as it has said how much it has to say.
            let length = denied.len().to_string();
            let fields = [(":status", "401"), ("content-length", &length)];
            there.sends(head(upload, 0, if behind == Behind::Gone { &fields } else { &fields[..1] }));
            for (at, piece) in denied.as_bytes().chunks(16_384).enumerate() {
                let flags = if (at + 1) * 16_384 >= denied.len() { END_STREAM } else { 0 };
                there.sends(frame_of(DATA, flags, upload, piece));
            }
            match behind {
                Behind::Nothing => peer = Some(there),
                Behind::Reset => {
                    there.sends(reset(upload, 0));
                    peer = Some(there);
                }
                Behind::Gone => {
                    there.sends(goaway(upload, 0));
                    there.closes();
                }
            }
            match stream {
                Some(stream) => assert_eq!(stream.expects(401).text(), denied, "{behind:?}"),
                None => {
                    drop(client.try_send(vec![b'x'; 800_000]));
                    let answer = client.expects(401);
                    assert!(answer.text() == denied && answer.announces_close(), "{behind:?}: {answer}");
                    client.half_closes().reads_to_end();
                }
            }
            gateway.waits_for("http2_upstream_streams_active", 0.0);
        }
    }
    gateway.stop();
}

/// RFC 9113 section 6.9: small content need not wait for room to be on its way, but is not sent without. Where the endpoint
/// answers instead of making room, nothing of the stream stays behind: here it takes one at once.
fn content_that_gets_no_room_leaves_nothing_behind(io: Io) {
    let (endpoint, gateway) = before(io);
    let asks = || {
        let mut client = gateway.client();
        client.sends("POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        client
    };
    let mut client = asks();
    let mut peer = H2Peer::accepts_with(&endpoint, &[(MAX_STREAMS, 1), (INITIAL_WINDOW, 0)]);
    for _ in 0..3 {
        let unread = peer.expects_request();
        peer.sends(head(unread, END_STREAM, &[(":status", "200")]));
        assert_eq!(client.expects(200).text(), "");
        let cancelled = peer.expects(RESET);
        assert_eq!((cancelled.stream, cancelled.number(0)), (unread, CANCEL));
        client = asks();
    }
    let small = peer.expects_request();
    assert_eq!(peer.pings().reads_now(), []);
    peer.sends(window(small, 5));
    let content = peer.expects(DATA);
    assert_eq!((&content.payload[..], content.ends()), (&b"hello"[..], true));
    peer.replies_with(small, "stored");
    assert_eq!(client.expects(200).text(), "stored");
    gateway.stop();
}

/// Settings (RFC 9113 section 6.5.2).
const MAX_STREAMS: u16 = 3;
const INITIAL_WINDOW: u16 = 4;

/// Bytes that the kernel has not got across, as it shows them.
fn unsent(stream: &TcpStream) -> u64 {
    let ports = [stream.local_addr(), stream.peer_addr()].map(|address| address.expect("a connection").port());
    let table = std::fs::read_to_string("/proc/net/tcp").expect("a table of connections");
    let own = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|columns| {
        let port =
            |at: usize| columns.get(at).and_then(|address| u16::from_str_radix(address.rsplit(':').next()?, 16).ok());
        [port(1), port(2)] == ports.map(Some)
    });
    let queues = own.expect("the connection is there")[4];
    u64::from_str_radix(queues.split(':').next().expect("two queues"), 16).expect("a number")
}

/// The same of many uploads on one connection, more than is read at once: what was said before the end is heard out.
fn early_answers_are_heard_out(io: Io) {
    const UPLOADS: usize = 20;
    let (endpoint, gateway) = before(io);
    let denied = "denied ".repeat(8_000);
    let length = denied.len().to_string();
    for _ in 0..3 {
        let mut clients: Vec<Client> = (0..UPLOADS).map(|_| gateway.client()).collect();
        for client in &mut clients {
            client
                .sends("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n")
                .sends(vec![b'x'; 50_000]);
        }
        let mut peer = H2Peer::accepts(&endpoint);
        let mut answers = Vec::new();
        for _ in 0..UPLOADS {
            let upload = peer.expects_request();
            answers.extend(head(upload, 0, &[(":status", "401"), ("content-length", &length)]));
            for (at, piece) in denied.as_bytes().chunks(16_384).enumerate() {
                let flags = if (at + 1) * 16_384 >= denied.len() { END_STREAM } else { 0 };
                answers.extend(frame_of(DATA, flags, upload, piece));
            }
        }
        peer.sends(answers);
        // What has not gone when it closes would go nowhere.
        until_true("all of it has gone", || unsent(peer.wire().stream()) == 0);
        peer.closes();
        for client in &mut clients {
            let answer = client.expects(401);
            assert!(answer.text() == denied && answer.announces_close(), "{answer}");
        }
        clients.into_iter().for_each(Client::resets);
        gateway.waits_for("http2_upstream_connections", 0.0);
    }
    gateway.stop();
}

/// An early answer that is no refusal does not end the upload: both go on beside one another.
fn both_directions_stream_at_once(io: Io) {
    let endpoint = H2Endpoint::listens();
    let gateway = Plan::bare(io).cluster_of("app", &endpoint.entry()).route("name: everything, cluster: app").start();
    let mut client = gateway.client();
    client.sends("POST /both HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let accepted = endpoint.accepts();
    let mut asked = accepted.expects("POST /both");
    asked.begins(200, &[], false);
    client.expects_head(200);
    for _ in 0..20 {
        client.sends("4\r\nping\r\n");
        assert_eq!(asked.reads().as_deref(), Some(&b"ping"[..]));
        asked.sends("pong", false);
        assert_eq!(client.reads_chunk().as_deref(), Some(&b"pong"[..]));
    }
    client.sends("0\r\n\r\n");
    assert_eq!(asked.reads_all(), b"");
    asked.sends("", true);
    assert_eq!(client.reads_chunk(), None);
    gateway.stop();
}

/// RFC 9113 section 10.5: an endpoint that only keeps the gateway busy loses its connection, and a metric says what it did.
fn an_endpoint_that_floods_is_counted_by_what_it_did(io: Io) {
    let (endpoint, gateway) = before(io);
    let mut client = gateway.client();
    posts(&mut client, "/flood");
    let mut peer = H2Peer::accepts(&endpoint);
    peer.expects_request();
    // It may be cut off before the last of them.
    let _sent = peer.try_sends(frame_of(PING, 0, 0, &[0; 8]).repeat(2_000));
    let answer = client.expects_any();
    assert_eq!((answer.status(), answer.reason()), (502, "bad_response"), "{answer}");
    gateway.waits_for("http2_upstream_abuses_total{kind=\"ping\"}", 1.0);
    assert_eq!(gateway.metric_sum("http2_upstream_abuses_total"), 1.0);
    gateway.stop();
}

on_both_drivers!(
    a_malformed_response_ends_its_stream_alone,
    a_breach_of_the_protocol_ends_the_connection,
    content_of_another_length_is_cut_short,
    malformed_trailers_are_no_end_of_a_body,
    a_reset_without_an_error_is_no_end_of_a_body,
    an_early_answer_reaches_the_client,
    content_that_gets_no_room_leaves_nothing_behind,
    early_answers_are_heard_out,
    both_directions_stream_at_once,
    an_endpoint_that_floods_is_counted_by_what_it_did,
);
