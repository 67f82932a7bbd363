//! Nanoseconds to know a bearer again whose token was verified before. `cargo bench --bench token`.
#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]
#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "a benchmark reads the clock and prints")]

use std::hint::black_box;
use std::rc::Rc;
use std::time::Instant;

use ringgate::limits::AUTH_CACHE_ENTRIES;
use ringgate::policy::auth::{Cache, Identity, Stamp};

const LOOKS: usize = 2_000_000;
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

fn main() {
    for bytes in [200, 800] {
        for bearers in [1, 100, AUTH_CACHE_ENTRIES / 4] {
            let (each, known) = measure(bearers, bytes);
            println!("{bytes} bytes, {bearers:>5} bearers {each:>6.0} ns/look, {known} % known");
        }
    }
}
