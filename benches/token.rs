//! Nanoseconds to know a bearer again whose token was verified before. `cargo bench --bench token`; it fails when a look takes
//! longer than the bound below, or a bearer is not known.
#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]
#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "a benchmark reads the clock and prints")]

use std::hint::black_box;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

use ringgate::limits::AUTH_CACHE_ENTRIES;
use ringgate::policy::auth::{Cache, Identity, Stamp};

const LOOKS: usize = 2_000_000;
/// Most nanoseconds of a look, at the best of `ROUNDS`: what disturbs one is not the cache.
const LOOK_NS: f64 = 150.0;
const ROUNDS: usize = 3;
/// Fewest of a hundred looks that know their bearer: those whose digests meet in a set push one another out.
const KNOWN_PERCENT: usize = 98;
const NOW_S: u64 = 1_700_000_000;

/// A token of the size that issuers give out, whose last bytes are as good as random.
fn token(number: usize, bytes: usize) -> Vec<u8> {
    let mut bits = number as u64 + 1;
    let mut next = || {
        bits = bits.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[(bits >> 58) as usize]
    };
    (0..bytes).map(|_| next()).collect()
}

/// Nanoseconds of a look, as the exchange takes it: the scheme taken off, the token found.
fn measure(bearers: usize, bytes: usize) -> (f64, usize) {
    let (mut cache, stamp) = (Cache::default(), Stamp::of(&[7; 16]));
    let fields: Vec<Vec<u8>> = (0..bearers).map(|number| [b"Bearer ", &token(number, bytes)[..]].concat()).collect();
    for field in &fields {
        let identity = Rc::new(Identity::named("alice", b"x-user: alice\r\n".to_vec()));
        cache.on_verified(stamp, &field[7..], NOW_S + 3_600, identity, NOW_S);
    }
    let (start, mut found) = (Instant::now(), 0);
    for number in 0..LOOKS {
        let field = &fields[number.wrapping_mul(7_919) % bearers];
        let token = ringgate::policy::auth::bearer(black_box(field)).unwrap_or_default();
        found += usize::from(black_box(cache.find(stamp, token, NOW_S)).is_some());
    }
    (start.elapsed().as_secs_f64() * 1e9 / LOOKS as f64, found * 100 / LOOKS)
}

fn main() -> ExitCode {
    let (mut slowest, mut least): (f64, usize) = (0.0, 100);
    for bytes in [200, 800] {
        for bearers in [1, 100, AUTH_CACHE_ENTRIES / 4] {
            let rounds: Vec<_> = (0..ROUNDS).map(|_| measure(bearers, bytes)).collect();
            let each = rounds.iter().map(|(each, _)| *each).fold(f64::INFINITY, f64::min);
            let known = rounds.iter().map(|(_, known)| *known).min().unwrap_or_default();
            println!("{bytes} bytes, {bearers:>5} bearers {each:>6.0} ns/look, {known} % known");
            (slowest, least) = (slowest.max(each), least.min(known));
        }
    }
    let (is_fast, is_known) = (slowest <= LOOK_NS, least >= KNOWN_PERCENT);
    println!("slowest look {slowest:.0} ns of {LOOK_NS:.0}: {}", if is_fast { "good" } else { "TOO SLOW" });
    println!("bearers: {}", if is_known { "known" } else { "NOT KNOWN" });
    if is_fast && is_known { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
