//! The end: I3 and F41.

use super::endpoint::{Accepted, Endpoint};
use super::gateway::json;
use super::h2_client::H2Client;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::wait::{now_ms, until_true};
use super::wire::End;

/// F41: requests in flight are finished, told that their connection ends, and nothing is cut; exit code 0.
fn requests_in_flight_are_finished(io: Io) {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT] {
        let endpoint = Endpoint::listens();
        let mut gateway = Plan::to(io, &[endpoint.address()]).keepalive("idle_per_endpoint: 0").start();
        let mut idle = gateway.client();
        idle.asks("/health");
        idle.expects(200);
        let mut dialogues: Vec<_> = (0..10)
            .map(|number| {
                let mut client = gateway.client();
                client.sends(format!("POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo"));
                let mut upstream = endpoint.accepts();
                upstream.expects_head("POST /");
                (client, upstream)
            })
            .collect();
        let (mut half, mut sending) = (gateway.client(), gateway.client());
        sending.asks("/streaming");
        let mut streaming = endpoint.accepts();
        streaming.expects("GET /streaming");
        streaming.replies("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        sending.expects_head(200);
        half.sends("GET /half HTTP/1.1\r\nHo");
        gateway.signal(signal);
        gateway.notice("shutting down gracefully");
        idle.sees_end();
        until_true("nobody listens", || std::net::TcpStream::connect(gateway.address()).is_err());
        assert_eq!(gateway.asks_admin("GET", "/ready").status(), 503, "draining");
        for (number, (client, upstream)) in dialogues.iter_mut().enumerate() {
            client.sends("dy");
            assert_eq!(upstream.reads(4), b"body");
            upstream.replies_with(&number.to_string());
            let answer = client.expects(200);
            assert_eq!(answer.text(), number.to_string());
            assert!(answer.announces_close(), "RFC 9112 section 9.6: {answer}");
            client.sees_end();
        }
        half.sends("st: a\r\n\r\n");
        let mut upstream = endpoint.accepts();
        upstream.expects("GET /half");
        upstream.replies_with("half");
        assert_eq!(half.expects(200).text(), "half");
        assert!(gateway.process.ended().is_none(), "one is still in flight");
        streaming.replies("4\r\ndone\r\n0\r\n\r\n");
        assert_eq!(sending.reads_chunk().as_deref(), Some(&b"done"[..]));
        assert_eq!(gateway.process.exit_code(), Some(0), "{}", gateway.notices.all().join("\n"));
        gateway.notice("gateway stopped");
        assert_eq!(gateway.whole_log().len(), 13, "the last lines are flushed");
    }
}

/// F41 under load: whoever was accepted is answered whole; then the door is closed.
fn nobody_who_was_accepted_is_cut_off(io: Io) {
    let origin = Origin::echo();
    let mut gateway = Plan::to(io, &[origin.address()]).workers("2").start();
    let address = gateway.address();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            super::wait::thread("load", move || {
                let (mut answered, mut cut) = (0, 0);
                let mut stream = std::net::TcpStream::connect(address);
                while let Ok(open) = stream {
                    let mut wire = super::wire::Wire::new(open);
                    if wire.try_send("GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").is_ok() {
                        // A connection that the kernel had not handed over yet may be reset, but not half served.
                        let bytes = wire.try_reads_to_end();
                        let text = String::from_utf8_lossy(&bytes).into_owned();
                        answered += u64::from(text.ends_with("GET /x HTTP/1.1"));
                        cut += u64::from(!text.is_empty() && !text.ends_with("GET /x HTTP/1.1"));
                    }
                    stream = std::net::TcpStream::connect(address);
                }
                (answered, cut)
            })
        })
        .collect();
    until_true("a load", || gateway.metric_sum("http_requests_total") > 100.0);
    gateway.signal(libc::SIGTERM);
    let (mut answered, mut cut) = (0, 0);
    for client in clients {
        let one = client.join().expect("no panic");
        (answered, cut) = (answered + one.0, cut + one.1);
    }
    assert_eq!(cut, 0, "of {answered}");
    assert!(answered > 100);
    assert_eq!(gateway.process.exit_code(), Some(0));
}

/// I3: what is left after the grace is closed, and the exit code is still 0.
fn the_grace_ends(io: Io) {
    let endpoint = Endpoint::listens();
    let mut gateway = Plan::to(io, &[endpoint.address()]).runtime("shutdown_grace: 300ms").start();
    let mut client = gateway.client();
    client.asks("/forever");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /forever");
    let began_ms = now_ms();
    gateway.signal(libc::SIGTERM);
    client.sees_break();
    assert!((250..4_000).contains(&(now_ms() - began_ms)));
    assert_eq!(gateway.process.exit_code(), Some(0));
    upstream.reads_to_end();
}

/// K2: what is cut when the grace is over has its line in the log: a WebSocket, downloads over both protocols, and a request
/// that nobody has answered yet.
fn what_the_end_cuts_has_a_line_in_the_log(io: Io) {
    let endpoint = Endpoint::listens();
    let mut gateway = Plan::to(io, &[endpoint.address()]).speaks_h2().runtime("shutdown_grace: 200ms").start();
    let mut tunnel = gateway.client();
    tunnel.sends(
        "GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    );
    let mut far_end = endpoint.accepts();
    far_end.expects("GET /tunnel");
    far_end.replies(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello",
    );
    tunnel.expects_interim(101);
    assert_eq!(tunnel.reads(5), b"hello");
    let begins = |accepted: &mut Accepted, start: &str| {
        accepted.expects(start);
        accepted.replies("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nsome");
    };
    let mut download = gateway.client();
    download.asks("/download");
    let mut source = endpoint.accepts();
    begins(&mut source, "GET /download");
    download.expects_head(200);
    assert_eq!(download.reads(4), b"some");
    let mut client = H2Client::to(gateway.address());
    let mut stream = client.gets("/stream");
    let mut stream_source = endpoint.accepts();
    begins(&mut stream_source, "GET /stream");
    stream.expects_head(200);
    assert_eq!(stream.reads().expect("a beginning"), "some");
    let unanswered = client.gets("/unanswered");
    let mut silent = endpoint.accepts();
    silent.expects("GET /unanswered");
    gateway.signal(libc::SIGTERM);
    assert_eq!(gateway.process.exit_code(), Some(0), "{}", gateway.notices.all().join("\n"));
    let line = |path, status: u16, sent: u64| {
        let line = gateway.log_of(path);
        assert_eq!((&line["status"], &line["bytes_out"]), (&status.into(), &sent.into()), "{line}");
        let why = ["reason", "fault", "stage"].map(|key| line[key].as_str().unwrap_or_default());
        assert_eq!(why, ["shutting_down", "gateway", "respond"], "{line}");
    };
    line("/tunnel", 101, 5);
    line("/download", 200, 4);
    line("/stream", 200, 4);
    line("/unanswered", 503, 0);
    assert_eq!(gateway.log_lines().len(), 4, "each once");
    assert_eq!(tunnel.sees_break(), End::Reset, "nothing else shows that a tunnel did not end in order");
    download.sees_break();
    assert!(stream.try_reads().is_err());
    drop(unanswered);
}

/// H5: whoever orders something of a gateway that ends is told so, and does not wait for the end.
fn orders_are_refused_at_once(io: Io) {
    let endpoint = Endpoint::listens();
    let mut gateway = Plan::to(io, &[endpoint.address()]).and("policy: {}").start();
    let mut client = gateway.client();
    client.asks("/in-flight");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /in-flight");
    gateway.signal(libc::SIGTERM);
    gateway.notice("shutting down gracefully");
    for (path, body) in [("/policy", "{}"), ("/reload", "")] {
        let answer = gateway.posts(path, body);
        assert_eq!((answer.status(), &json(answer.text())["error"]), (503, &"shutting down".into()), "{path}");
    }
    upstream.replies_with("done");
    assert_eq!(client.expects(200).text(), "done");
    assert_eq!(gateway.process.exit_code(), Some(0));
}

/// I3: a second signal ends it at once, which is no success.
fn a_second_signal_ends_it_at_once(io: Io) {
    let endpoint = Endpoint::listens();
    let mut gateway = Plan::to(io, &[endpoint.address()]).runtime("shutdown_grace: 1h").start();
    let mut client = gateway.client();
    client.asks("/forever");
    let mut upstream = endpoint.accepts();
    upstream.expects("GET /forever");
    gateway.signal(libc::SIGTERM);
    gateway.notice("shutting down gracefully");
    gateway.signal(libc::SIGINT);
    assert_eq!(gateway.process.exit_code(), Some(1));
    client.sees_break();
}

on_both_drivers![
    requests_in_flight_are_finished,
    nobody_who_was_accepted_is_cut_off,
    the_grace_ends,
    what_the_end_cuts_has_a_line_in_the_log,
    orders_are_refused_at_once,
    a_second_signal_ends_it_at_once,
];
