//! Nanoseconds of one decision of a rate limit, and what a flood of keys does to memory.
//!
//! A low limit asks the shared ledger every time; of a high one a worker leases tokens. `cargo bench --bench limit`.
#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]
#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "a benchmark reads the clock and prints")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use ringgate::limits::RATE_LEDGER_SETS;
use ringgate::policy::limit::{KeySeed, Ledger, Rule, Shard};

const SEED: KeySeed = KeySeed::new(*b"0123456789abcdef");
const WORKERS: usize = 2;
const DECISIONS: u64 = 2_000_000;
/// Between two decisions: those of a busy worker.
const GAP_NS: u64 = 1_000;

/// One decision as the exchange makes it, the hash of the client's address included.
fn decide(ledger: &Ledger, shard: &mut Shard, rule: &Rule, client: u64, now_ns: u64) -> bool {
    let key = SEED.key(1, 2, &client.to_be_bytes());
    shard.decide(ledger, key, rule, now_ns).allowed
}

/// From 64 bits to a number below `end`, without a division.
fn scale(bits: u64, end: u64) -> u64 {
    ((u128::from(bits) * u128::from(end)) >> 64) as u64
}

/// Nanoseconds of a decision, of clients that come in turn, in a ledger that knows nobody else.
fn measure(rule: &Rule, clients: u64) -> f64 {
    let (ledger, mut shard) = (Ledger::new(RATE_LEDGER_SETS), Shard::default());
    let start = Instant::now();
    for number in 0..DECISIONS {
        let client = scale(number.wrapping_mul(0x9e37_79b9_7f4a_7c15), clients);
        black_box(decide(&ledger, &mut shard, rule, client, 1 + number * GAP_NS));
    }
    start.elapsed().as_secs_f64() * 1e9 / DECISIONS as f64
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or_default()
}

fn main() {
    let second = Duration::from_secs(1);
    let rules = [
        ("sliding_window 100/1m", Rule::sliding_window(100, 60 * second, WORKERS)),
        ("token_bucket 100/1m", Rule::token_bucket(100, 60 * second, 100, WORKERS)),
        ("sliding_window 1000000/1s", Rule::sliding_window(1_000_000, second, WORKERS)),
        ("token_bucket 1000000/1s", Rule::token_bucket(1_000_000, second, 1_000_000, WORKERS)),
    ];
    for (name, rule) in &rules {
        for clients in [1, 1_000, 100_000] {
            println!("{name:<26} {clients:>7} clients {:>6.0} ns/decision", measure(rule, clients));
        }
    }
    let ledger = Ledger::new(RATE_LEDGER_SETS);
    let before = resident_kib();
    let mut shard = Shard::default();
    let start = Instant::now();
    for client in 0..1_000_000u64 {
        black_box(decide(&ledger, &mut shard, &rules[0].1, 1 << 40 | client, 60 * 1_000_000_000 + client));
    }
    let each = start.elapsed().as_secs_f64() * 1e3;
    println!("a million new keys: {each:.0} ns each, resident {before} KiB before, {} KiB after", resident_kib());
}
