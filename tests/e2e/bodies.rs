//! Bodies on their way: framing both ways, trailers, limits, early answers.

use super::endpoint::Endpoint;
use super::origin::Origin;
use super::plan::{Io, Plan};

/// B4: bodies of all sizes arrive byte for byte, sized and in chunks of all sizes.
fn bodies_arrive_byte_for_byte(io: Io) {
    let origin = Origin::mirror();
    let gateway = Plan::to(io, &[origin.address()]).limits("body_min_rate: { rate: 1KiB, grace: 3s }").start();
    let mut client = gateway.client();
    for size in [0, 1, 100, 16_383, 16_384, 16_385, 262_144, 1_000_003] {
        let body: Vec<u8> = (0..size).map(|at: usize| u8::try_from(at % 251).expect("below 256")).collect();
        client.sends(format!("POST /sized HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n")).sends(&body);
        assert!(client.expects(200).body == body, "{size} bytes, sized");
        client.sends("POST /chunked HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        for chunk in body.chunks(size.div_ceil(7).max(1)) {
            client.sends(format!("{:X};ext=\"1\"\r\n", chunk.len())).sends(chunk).sends("\r\n");
        }
        client.sends("0\r\n\r\n");
        assert!(client.expects(200).body == body, "{size} bytes, in chunks");
    }
    gateway.stop();
}

/// Items 33 and 34: a body that came with its head goes on whole, wherever the buffers end, and the request behind it
/// is a request of its own.
fn a_body_that_came_with_its_head_goes_on_whole(io: Io) {
    let origin = Origin::mirror();
    let gateway = Plan::to(io, &[origin.address()]).limits("body_min_rate: { rate: 1KiB, grace: 3s }").start();
    for size in (15_000..16_800).step_by(60) {
        let mut client = gateway.client();
        let body: Vec<u8> = (0..size).map(|at: usize| u8::try_from(at % 251).expect("below 256")).collect();
        let mut all = format!("POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n").into_bytes();
        all.extend_from_slice(&body);
        all.extend_from_slice(b"POST /second HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nsecond");
        client.sends(all);
        assert!(client.expects(200).body == body, "{size} bytes");
        assert_eq!(client.expects(200).text(), "second", "behind {size} bytes");
    }
    gateway.stop();
}

/// Items 24 and 25: what is forwarded of chunks is content, never their extensions; it is chunked once.
fn chunk_extensions_end_here(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).start();
    let mut client = gateway.client();
    client.sends("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n05;a=b\r\nhello\r\n00000\r\n\r\n");
    let mut upstream = endpoint.accepts();
    upstream.expects_head("POST /x");
    // Strict reading: a chunk line with an extension would fail here.
    let mut body = Vec::new();
    while let Some(mut chunk) = upstream.reads_chunk() {
        body.append(&mut chunk);
    }
    assert_eq!((body.as_slice(), upstream.reads(2).as_slice()), (&b"hello"[..], &b"\r\n"[..]));
    upstream.replies("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\n\r\n");
    let answer = client.expects(200);
    assert_eq!((answer.text(), answer.chunked), ("ok", true));
    gateway.stop();
}

/// Item 32: trailers stay trailers, both ways; none that frames, routes or authenticates (RFC 9110 section 6.5.1).
fn trailers_pass_apart_from_those_that_frame_or_route(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).start();
    let mut client = gateway.client();
    let body = "2\r\nok\r\n0\r\nX-Checksum: 1\r\nContent-Length: 99\r\nHost: evil\r\nTransfer-Encoding: chunked\r\n\
                Authorization: x\r\nSet-Cookie: x\r\nConnection: close\r\nX-Forwarded-For: 6.6.6.6\r\nX-Hop: 1\r\nX-Sum: 2\r\n\r\n";
    client.sends(format!(
        "POST /x HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE, X-Hop\r\nTransfer-Encoding: chunked\r\nTrailer: X-Checksum\r\n\r\n{body}"
    ));
    let kept = [("X-Checksum".to_owned(), "1".to_owned()), ("X-Sum".to_owned(), "2".to_owned())];
    let mut upstream = endpoint.accepts();
    let seen = upstream.expects("POST /x");
    assert_eq!((seen.text(), seen.field("trailer")), ("ok", Some("X-Checksum")));
    assert_eq!(seen.trailers, kept);
    upstream.replies(format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: X-Hop\r\nTrailer: X-Sum\r\n\r\n{body}"
    ));
    let answer = client.expects(200);
    assert_eq!((answer.text(), answer.field("trailer")), ("ok", Some("X-Sum")));
    assert_eq!(answer.trailers, kept);
    // To a client that did not ask for them they are dropped (RFC 9110 section 6.5.1).
    client.asks("/y");
    upstream.expects("GET /y");
    upstream.replies(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n{body}"));
    let answer = client.expects(200);
    assert_eq!((answer.text(), answer.trailers.len(), answer.field("trailer")), ("ok", 0, None));
    gateway.stop();
}

/// F30: a body that is too large by its own account is refused before anything of it is read or sent.
fn a_body_over_the_limit_is_refused_before_it_is_read(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).defaults("body_limit: 1KiB").start();
    let mut client = gateway.client();
    client.sends("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n");
    drop(client.try_send(vec![b'x'; 200_000]));
    let answer = client.expects(413);
    assert_eq!(answer.reason(), "body_too_large");
    assert!(answer.announces_close());
    client.half_closes().sees_end();
    assert!(endpoint.is_alone(), "no contact with the endpoint");
    let mut client = gateway.client();
    client.sends("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1024\r\n\r\n").sends(vec![b'x'; 1024]);
    endpoint.accepts().expects("POST /x");
    gateway.stop();
}

/// F31: in chunks, the limit is met on the way: 413, and the request upstream is aborted, not completed.
fn chunks_over_the_limit_abort_the_request(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).defaults("body_limit: 1KiB").start();
    let mut client = gateway.client();
    client
        .sends("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n")
        .sends(vec![b'x'; 1024])
        .sends("\r\n");
    let mut upstream = endpoint.accepts();
    upstream.expects_head("POST /x");
    assert_eq!(upstream.reads_chunk().map(|chunk| chunk.len()), Some(1024));
    client.sends("1\r\nx\r\n0\r\n\r\n");
    let answer = client.expects(413);
    assert_eq!(answer.reason(), "body_too_large");
    assert!(answer.announces_close());
    let (rest, _) = upstream.reads_to_end();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "{:?}", String::from_utf8_lossy(&rest));
    client.half_closes().reads_to_end();
    gateway.stop();
}

/// F14, item 39: an answer that comes early reaches the client although the upload meets a reset (RFC 9112 section 9.5).
fn an_early_answer_survives_the_reset_of_the_upload(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).start();
    for framing in ["Content-Length: 900000", "Transfer-Encoding: chunked"] {
        for _ in 0..5 {
            let mut client = gateway.client();
            client.sends(format!("POST /upload HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"));
            if framing.starts_with('T') {
                client.sends("DBBA0\r\n");
            }
            client.sends(vec![b'x'; 100_000]);
            let mut upstream = endpoint.accepts();
            upstream.expects_head("POST /upload");
            upstream.replies("HTTP/1.1 401 Unauthorized\r\nContent-Length: 6\r\nConnection: close\r\n\r\ndenied");
            // It closes with unread data: the kernel sends a reset.
            upstream.closes();
            drop(client.try_send(vec![b'x'; 800_000]));
            let answer = client.expects(401);
            assert_eq!(answer.text(), "denied");
            assert!(answer.announces_close(), "{answer}");
            client.half_closes().reads_to_end();
        }
    }
    gateway.waits_for("upstream_connections_idle", 0.0);
    gateway.stop();
}

/// Item 39: an early answer on a connection that stays open ends the upload as well; it is not pooled.
fn an_early_refusal_ends_the_upload(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).start();
    let mut client = gateway.client();
    client.sends("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n").sends(vec![b'x'; 1000]);
    let mut upstream = endpoint.accepts();
    upstream.expects_head("POST /upload");
    upstream.replies("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n");
    assert!(client.expects(413).announces_close());
    upstream.reads_to_end();
    client.half_closes().reads_to_end();
    gateway.waits_for("upstream_connections_idle", 0.0);
    gateway.stop();
}

/// An early answer that is no refusal does not end the upload: both go on beside one another.
fn both_directions_stream_at_once(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = Plan::to(io, &[endpoint.address()]).start();
    let mut client = gateway.client();
    client.sends("POST /both HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut upstream = endpoint.accepts();
    upstream.expects_head("POST /both");
    upstream.replies("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.expects_head(200);
    for _ in 0..20 {
        client.sends("4\r\nping\r\n");
        assert_eq!(upstream.reads_chunk().as_deref(), Some(&b"ping"[..]));
        upstream.replies("4\r\npong\r\n");
        assert_eq!(client.reads_chunk().as_deref(), Some(&b"pong"[..]));
    }
    client.sends("0\r\n\r\n");
    assert_eq!(upstream.reads_chunk(), None);
    upstream.replies("0\r\n\r\n");
    assert_eq!(client.reads_chunk(), None);
    gateway.stop();
}

on_both_drivers![
    bodies_arrive_byte_for_byte,
    a_body_that_came_with_its_head_goes_on_whole,
    chunk_extensions_end_here,
    trailers_pass_apart_from_those_that_frame_or_route,
    a_body_over_the_limit_is_refused_before_it_is_read,
    chunks_over_the_limit_abort_the_request,
    an_early_answer_survives_the_reset_of_the_upload,
    an_early_refusal_ends_the_upload,
    both_directions_stream_at_once,
];
