//! Nanoseconds of one decision of a rate limit, and what a flood of keys does to memory.
//!
//! A low limit asks the shared ledger every time; of a high one a worker leases tokens. `cargo bench --bench limit`; it fails
//! when a decision takes longer, or memory grows by more, than the bounds below say.
#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]
#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "a benchmark reads the clock and prints")]

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ringgate::limits::RATE_LEDGER_SETS;
use ringgate::policy::limit::{KeySeed, Ledger, Rule, Shard};

const SEED: KeySeed = KeySeed::new(*b"0123456789abcdef");
const WORKERS: usize = 2;
const DECISIONS: u64 = 2_000_000;
/// Between two decisions: those of a busy worker.
const GAP_NS: u64 = 1_000;

/// Most nanoseconds of a decision, at the best of `ROUNDS`: what disturbs one is not the limiter.
const DECISION_NS: f64 = 100.0;
const ROUNDS: usize = 3;
/// Most that a million keys may add to the resident memory: no entry of theirs, but pages of the program that were not there.
const GROWTH_KIB: u64 = 512;

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

/// A million keys that nobody has seen before; the nanoseconds of each.
fn flood(ledger: &Ledger, shard: &mut Shard, rule: &Rule, seed: u64) -> f64 {
    let (start, mut bits) = (Instant::now(), seed);
    for number in 0..1_000_000u64 {
        bits = bits.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        black_box(decide(ledger, shard, rule, bits, 60 * 1_000_000_000 + number));
    }
    start.elapsed().as_secs_f64() * 1e3
}

fn main() -> ExitCode {
    let second = Duration::from_secs(1);
    let rules = [
        ("sliding_window 100/1m", Rule::sliding_window(100, 60 * second, WORKERS)),
        ("token_bucket 100/1m", Rule::token_bucket(100, 60 * second, 100, WORKERS)),
        ("sliding_window 1000000/1s", Rule::sliding_window(1_000_000, second, WORKERS)),
        ("token_bucket 1000000/1s", Rule::token_bucket(1_000_000, second, 1_000_000, WORKERS)),
    ];
    let mut slowest: f64 = 0.0;
    for (name, rule) in &rules {
        for clients in [1, 1_000, 100_000] {
            let each = (0..ROUNDS).map(|_| measure(rule, clients)).fold(f64::INFINITY, f64::min);
            println!("{name:<26} {clients:>7} clients {each:>6.0} ns/decision");
            slowest = slowest.max(each);
        }
    }
    let (ledger, mut shard) = (Ledger::new(RATE_LEDGER_SETS), Shard::default());
    // The first million touches each page of the ledger, which has its full size from the start.
    flood(&ledger, &mut shard, &rules[0].1, 1);
    let before = resident_kib();
    let each = flood(&ledger, &mut shard, &rules[0].1, 2);
    let after = resident_kib();
    println!("a million new keys: {each:.0} ns each, resident {before} KiB before, {after} KiB after");
    let (is_fast, is_flat) = (slowest <= DECISION_NS, before > 0 && after <= before + GROWTH_KIB);
    println!("slowest decision {slowest:.0} ns of {DECISION_NS:.0}: {}", if is_fast { "good" } else { "TOO SLOW" });
    println!("memory: {}", if is_flat { "flat" } else { "GROWS" });
    if is_fast && is_flat { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
