//! The end: I3 and F41.

use super::endpoint::Endpoint;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::wait::{now_ms, until_true};

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
        assert_eq!(gateway.log_lines().len(), 13, "the last lines are flushed");
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
    a_second_signal_ends_it_at_once,
];
