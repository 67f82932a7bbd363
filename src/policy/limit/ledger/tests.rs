//! One entry a key, whatever meets in a set.

use std::collections::HashMap;
use std::time::Duration;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn key(place: u64, print: u64) -> Key {
    Key::from_hash(place, print)
}

fn window(limit: u32) -> Rule {
    Rule::sliding_window(limit, Duration::from_secs(10), 4)
}

fn count(ledger: &Ledger, key: Key, rule: &Rule, asked: u32, now_ns: u64) -> u32 {
    (0..asked).map(|_| ledger.charge(key, rule, 1, now_ns).granted).sum()
}

#[test]
fn every_key_has_its_own_limit() {
    let ledger = Ledger::new(4);
    for print in 1..=20 {
        assert_eq!(count(&ledger, key(print, print), &window(5), 9, SECOND), 5);
    }
    assert_eq!(ledger.stolen(), 0);
}

#[test]
fn a_window_and_a_bucket_of_one_key_are_two_entries() {
    let ledger = Ledger::new(1);
    let bucket = Rule::token_bucket(3, Duration::from_secs(10), 3, 4);
    assert_eq!(count(&ledger, key(0, 1), &window(5), 9, SECOND), 5);
    assert_eq!(count(&ledger, key(0, 1), &bucket, 9, SECOND), 3);
}

#[test]
fn a_bucket_that_a_slower_rule_left_empty_fills_up_by_the_rule_of_now() {
    let ledger = Ledger::new(1);
    let slow = Rule::token_bucket(1, Duration::from_secs(3_600), 1, 4);
    let fast = Rule::token_bucket(100, Duration::from_secs(1), 100, 4);
    assert_eq!(ledger.charge(key(0, 1), &slow, 1, SECOND).granted, 1);
    let refused = ledger.charge(key(0, 1), &fast, 1, SECOND);
    assert_eq!((refused.granted, refused.retry_after_ns), (0, SECOND / 100));
    assert_eq!(ledger.charge(key(0, 1), &fast, 1, SECOND + refused.retry_after_ns).granted, 1);
    assert_eq!(count(&ledger, key(0, 1), &fast, 200, 3 * SECOND), 100, "full after a second");
}

#[test]
fn an_entry_whose_time_is_over_is_a_free_one() {
    let ledger = Ledger::new(1);
    for round in 0..1_000 {
        let now_ns = (1 + round * 100) * SECOND;
        for print in 1..=7 {
            assert_eq!(count(&ledger, key(0, round * 7 + print), &window(5), 6, now_ns), 5);
        }
    }
    assert_eq!(ledger.stolen(), 0);
}

#[test]
fn in_a_full_set_the_entry_that_ends_first_makes_room() {
    let ledger = Ledger::new(1);
    for print in 1..=7 {
        ledger.charge(key(0, print), &window(5), 1, print * SECOND);
    }
    ledger.charge(key(0, 8), &window(5), 1, 8 * SECOND);
    assert_eq!(ledger.stolen(), 1);
    for print in 2..=8 {
        assert_eq!(count(&ledger, key(0, print), &window(5), 9, 8 * SECOND), 4, "{print} was not forgotten");
    }
    assert_eq!(ledger.stolen(), 1);
}

#[test]
fn keys_that_count_for_a_moment_keep_their_entries_while_there_is_room() {
    let ledger = Ledger::new(1);
    // A bucket that is full again a microsecond later.
    let rule = Rule::token_bucket(1_000_000, Duration::from_secs(1), 1, 1);
    let mut entered = Vec::new();
    for second in 1..4 {
        for print in 1..=7 {
            assert_eq!(ledger.charge(key(0, print), &rule, 1, second * SECOND + print * SECOND / 10).granted, 1);
        }
        entered.push(ledger.sets[0].latest.load(Ordering::Relaxed));
    }
    assert!(entered[0] == entered[1] && entered[1] == entered[2], "{entered:x?}");
}

#[test]
fn a_set_is_two_cache_lines_and_its_first_ways_are_in_one() {
    assert_eq!((size_of::<Set>(), align_of::<Set>()), (128, 128));
    assert_eq!(std::mem::offset_of!(Set, ways) + 3 * size_of::<Way>(), 64);
}

#[test]
fn a_flood_of_new_keys_does_not_free_a_client_that_has_used_up_its_limit() {
    for rule in [window(5), Rule::token_bucket(5, Duration::from_secs(10), 5, 4)] {
        let ledger = Ledger::new(1);
        let client = key(0, 1);
        assert_eq!(count(&ledger, client, &rule, 9, SECOND), 5);
        for print in 2..10_000 {
            ledger.charge(key(0, print), &rule, 1, SECOND + print);
            assert_eq!(ledger.charge(client, &rule, 1, SECOND + print).granted, 0);
        }
        assert!(ledger.stolen() > 9_000);
    }
}

/// What is done to a ledger that never needs to steal, and to an oracle.
#[derive(Debug)]
enum Op {
    Charge { key: usize, want: u32 },
    Pass(u64),
}

#[test]
fn a_ledger_is_a_map_from_key_to_amount_as_long_as_there_is_room() {
    let rules = [window(50), Rule::token_bucket(50, Duration::from_secs(10), 20, 4), window(3)];
    for seed in 0..200 {
        let mut random = Seeded(seed);
        let ledger = Ledger::new(1);
        let mut oracle: HashMap<usize, u64> = HashMap::new();
        let mut now_ns = SECOND;
        for _ in 0..400 {
            let op = match random.below(4) {
                0 => Op::Pass(random.below(4_000_000_000)),
                _ => Op::Charge { key: random.size(7), want: 1 + u32::try_from(random.below(3)).unwrap() },
            };
            match op {
                Op::Pass(ns) => now_ns += ns,
                Op::Charge { key: at, want } => {
                    let rule = &rules[at % 3];
                    let amount = oracle.entry(at).or_default();
                    let (expected, next) = rule.charge(*amount, want, now_ns);
                    if expected.granted > 0 {
                        *amount = next;
                    }
                    assert_eq!(ledger.charge(key(0, 1 + at as u64), rule, want, now_ns), expected, "seed {seed}");
                }
            }
        }
        assert_eq!(ledger.stolen(), 0);
    }
}

#[test]
fn threads_that_race_for_few_sets_let_exactly_the_limit_pass() {
    const THREADS: u64 = 4;
    const KEYS: usize = 14;
    let of = |at: usize| key(at as u64 % 2, 1 + at as u64);
    for round in 0..200 {
        let ledger = Ledger::new(2);
        let passed: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (ledger, passed) = (&ledger, &passed);
                let work = move || {
                    let mut random = Seeded(round * THREADS + thread);
                    for _ in 0..600 {
                        let at = random.size(KEYS);
                        let grant = ledger.charge(of(at), &window(20), 1, SECOND + random.below(1_000));
                        passed[at].fetch_add(u64::from(grant.granted), Ordering::Relaxed);
                    }
                };
                std::thread::Builder::new().spawn_scoped(scope, work).expect("a test may have threads");
            }
        });
        assert_eq!(ledger.stolen(), 0);
        for (at, passed) in passed.iter().enumerate() {
            let total = passed.load(Ordering::Relaxed) + u64::from(count(&ledger, of(at), &window(20), 30, SECOND));
            assert_eq!(total, 20, "key {at} of round {round}");
        }
    }
}

/// A small generator for tests (SplitMix64).
struct Seeded(u64);

impl Seeded {
    fn size(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).unwrap()
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}
