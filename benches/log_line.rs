//! Nanoseconds of one line of the access log: into the ring, out of it again, as JSON. `cargo bench --bench log_line`.
#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]
#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "a benchmark reads the clock and prints")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use ringgate::telemetry::{Lines, Record, ring};

const ROUNDS: u64 = 2_000;
/// Records of a round: what waits at fifty thousand requests a second when the writer looks after ten milliseconds.
const RECORDS: u64 = 500;
const BATCH_BYTES: usize = 1024 * 1024;

/// What a forwarded request of a browser leaves behind.
fn record(number: u64) -> Record<'static> {
    Record {
        unix_ms: 1_700_000_000_000 + number / 50,
        protocol: Some(1),
        method: b"GET",
        path: b"/shop/items/1234567",
        query: false,
        host: b"shop.example.com",
        status: 200,
        duration_ns: 251_234 + number,
        client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 17)),
        request_id: b"0123456789abcdef0123456789abcdef",
        trace_id: b"4bf92f3577b34da6a3ce929d0e0e4736",
        route: b"items",
        cluster: b"shop",
        endpoint: Some(SocketAddr::from(([10, 0, 0, 7], 3_000))),
        upstream_protocol: Some(1),
        attempts: 1,
        grpc_status: None,
        bytes_in: 0,
        bytes_out: 10_240,
        reason: None,
        fault: "",
        stage: "",
        detail: "",
        user_agent: b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
        sni: b"shop.example.com",
        client_cert: b"",
        identity: b"",
        head_ns: 2_345,
        admit_ns: 0,
        queue_ns: 0,
        connect_ns: 0,
        first_byte_ns: 187_654,
        body_ns: 12_345,
        reused: true,
        epoch: 3,
    }
}

fn main() {
    let rounds = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(ROUNDS);
    let (mut ring, mut drain) = ring();
    let mut lines = Lines::new(BATCH_BYTES);
    let (mut pushed_ns, mut rendered_ns, mut bytes) = (0, 0, 0);
    for round in 0..rounds {
        let start = Instant::now();
        for number in 0..RECORDS {
            assert!(ring.try_push(&record(round * RECORDS + number)));
        }
        pushed_ns += start.elapsed().as_nanos();
        let start = Instant::now();
        while let Some(record) = drain.try_pop() {
            lines.add(&record);
        }
        rendered_ns += start.elapsed().as_nanos();
        bytes += lines.as_bytes().len();
        lines.clear();
    }
    let each = (rounds * RECORDS) as f64;
    println!(
        "{:.0} ns into the ring, {:.0} ns out of it and as JSON, {:.0} bytes a line",
        pushed_ns as f64 / each,
        rendered_ns as f64 / each,
        bytes as f64 / each
    );
}
