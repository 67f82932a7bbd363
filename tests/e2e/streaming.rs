//! B4: a body far larger than memory should ever grow by.

use std::io::{Read as _, Write as _};

use super::client::Client;
use super::gateway::Gateway;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::wire::Wire;

/// Bytes of a large body.
const LARGE: usize = if cfg!(debug_assertions) { 200 << 20 } else { 500 << 20 };
/// Bytes by which memory may grow meanwhile.
const GROWTH: u64 = 32 << 20;
/// Bytes sent or read at once.
const PART: usize = 1 << 20;

/// Reads `left` bytes and drops them; watches the gateway's memory meanwhile.
fn drains(wire: &Wire, mut left: usize, mut watch: impl FnMut()) {
    let mut part = vec![0; PART];
    let mut stream = wire.stream();
    while left > 0 {
        let count = stream.read(&mut part).expect("the body goes on");
        assert!(count > 0, "{left} bytes are missing");
        left = left.checked_sub(count).expect("no byte too many");
        watch();
    }
}

/// Sends a large body, in one piece or in chunks of a part each.
fn sends_large(wire: &mut Wire, chunked: bool) {
    let part = vec![b'x'; PART];
    for _ in 0..LARGE / PART {
        if chunked {
            wire.sends(format!("{PART:x}\r\n"));
        }
        wire.sends(&part);
        if chunked {
            wire.sends("\r\n");
        }
    }
    if chunked {
        wire.sends("0\r\n\r\n");
    }
}

/// The largest amount by which memory grew while `run` did its work.
fn growth(gateway: &Gateway, mut run: impl FnMut(&mut dyn FnMut())) -> u64 {
    let before = gateway.process.resident_bytes();
    let mut most = 0;
    run(&mut || most = most.max(gateway.process.resident_bytes().saturating_sub(before)));
    most
}

/// Downloads, sized and in chunks.
fn a_large_download_does_not_grow_memory(io: Io) {
    let origin = Origin::serving(|mut wire| {
        while wire.has_bytes() {
            let chunked = wire.reads_head().start.contains("chunked");
            let framing =
                if chunked { "Transfer-Encoding: chunked".to_owned() } else { format!("Content-Length: {LARGE}") };
            wire.sends(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n"));
            sends_large(&mut wire, chunked);
        }
    });
    let gateway = Plan::to(io, &[origin.address()]).start();
    let most = growth(&gateway, |watch| {
        let mut client = gateway.client();
        client.asks("/sized");
        client.expects_head(200);
        let early = client.takes_unread();
        drains(&client, LARGE - early, &mut *watch);
        client.asks("/chunked");
        client.expects_head(200);
        let mut total = 0;
        while let Some(chunk) = client.reads_chunk() {
            total += chunk.len();
            watch();
        }
        assert_eq!((total, client.reads(2).as_slice()), (LARGE, &b"\r\n"[..]));
    });
    assert!(most < GROWTH, "{most} bytes more for bodies of {LARGE}");
    gateway.stop();
}

/// Uploads, sized and in chunks.
fn a_large_upload_does_not_grow_memory(io: Io) {
    let origin = Origin::serving(|mut wire| {
        while wire.has_bytes() {
            let head = wire.reads_head();
            let total = if head.field("content-length").is_some() {
                let early = wire.takes_unread();
                drains(&wire, LARGE - early, || {});
                LARGE
            } else {
                let mut total = 0;
                while let Some(chunk) = wire.reads_chunk() {
                    total += chunk.len();
                }
                assert_eq!(wire.reads(2), b"\r\n");
                total
            };
            let text = total.to_string();
            wire.sends(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()));
        }
    });
    let gateway = Plan::to(io, &[origin.address()]).defaults("body_limit: 0").start();
    let most = growth(&gateway, |watch| {
        let mut client = gateway.client();
        for (framing, chunked) in
            [(format!("Content-Length: {LARGE}"), false), ("Transfer-Encoding: chunked".to_owned(), true)]
        {
            client.sends(format!("POST /large HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"));
            sends_watched(&client, chunked, watch);
            assert_eq!(client.expects(200).text(), LARGE.to_string());
        }
    });
    assert!(most < GROWTH, "{most} bytes more for bodies of {LARGE}");
    gateway.stop();
}

fn sends_watched(client: &Client, chunked: bool, watch: &mut dyn FnMut()) {
    let part = vec![b'x'; PART];
    let mut stream = client.stream();
    for _ in 0..LARGE / PART {
        if chunked {
            write!(stream, "{PART:x}\r\n").expect("the gateway reads");
        }
        stream.write_all(&part).expect("the gateway reads");
        if chunked {
            stream.write_all(b"\r\n").expect("the gateway reads");
        }
        watch();
    }
    if chunked {
        stream.write_all(b"0\r\n\r\n").expect("the gateway reads");
    }
}

on_both_drivers![a_large_download_does_not_grow_memory, a_large_upload_does_not_grow_memory];
