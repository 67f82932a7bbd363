use std::time::Duration;

use super::*;
use crate::rng::Rng;

const PERIOD_NS: u64 = 1_000_000_000;

fn key(number: u64) -> Key {
    Key::from_hash(number, number)
}

/// A store with a fixed window.
struct Store {
    limit: u32,
    window: u64,
    used: u32,
}

impl Store {
    fn grants(&mut self, want: u32, now_ns: u64) -> Granted {
        if now_ns / PERIOD_NS != self.window {
            (self.window, self.used) = (now_ns / PERIOD_NS, 0);
        }
        let granted = want.min(self.limit - self.used);
        self.used += granted;
        let reset = Duration::from_nanos(PERIOD_NS - now_ns % PERIOD_NS);
        let retry = if granted == 0 { reset } else { Duration::ZERO };
        Granted { granted, left: self.limit - self.used, reset, retry }
    }
}

#[test]
fn a_lease_is_asked_for_before_the_last_one_is_used_up() {
    let mut leases = Leases::default();
    let mut store = Store { limit: 1000, window: 0, used: 0 };
    assert_eq!(leases.take(key(1), 1000, 1), Taken::Wait(1));
    assert_eq!(leases.take(key(1), 1000, 1), Taken::Wait(0), "once is enough");
    leases.on_granted(key(1), &store.grants(1, 1), PERIOD_NS, 1);
    let mut waits = 0;
    for now_ns in 2..900 {
        match leases.take(key(1), 1000, now_ns) {
            Taken::Decided(decision, want) => {
                assert!(decision.allowed && decision.limit == 1000);
                if want > 0 {
                    leases.on_granted(key(1), &store.grants(want, now_ns), PERIOD_NS, now_ns);
                }
            }
            Taken::Wait(want) => {
                waits += 1;
                leases.on_granted(key(1), &store.grants(want, now_ns), PERIOD_NS, now_ns);
            }
        }
    }
    assert_eq!(waits, 0, "the store kept up");
    assert!(leases.held[&key(1)].size <= 10, "a hundredth of the limit");
}

/// However low the limit, a crowd waits for two answers: for the one that was asked for when there was one of them, and for
/// the one that is enough for all.
#[test]
fn whoever_waits_is_asked_for() {
    let mut leases = Leases::default();
    let mut store = Store { limit: 100, window: 0, used: 0 };
    assert_eq!(leases.take(key(1), 100, 1), Taken::Wait(1));
    leases.on_waits(key(1));
    for _ in 1..150 {
        assert_eq!(leases.take(key(1), 100, 1), Taken::Wait(0));
        leases.on_waits(key(1));
    }
    let (mut wanted, mut waiting, mut passed, mut refused) = (1, 150, 0, 0);
    for answer in 0..3 {
        leases.on_granted(key(1), &store.grants(std::mem::take(&mut wanted), 1), PERIOD_NS, 1);
        for _ in 0..std::mem::take(&mut waiting) {
            leases.on_waited(key(1));
            match leases.take(key(1), 100, 1) {
                Taken::Decided(decision, want) => {
                    wanted += want;
                    passed += u32::from(decision.allowed);
                    refused += u32::from(!decision.allowed);
                }
                Taken::Wait(want) => {
                    wanted += want;
                    waiting += 1;
                    leases.on_waits(key(1));
                }
            }
        }
        let (all, asked) = [(1, 149), (100, 50), (100, 0)][answer];
        assert_eq!((passed, wanted), (all, asked), "answer {answer}");
    }
    assert_eq!((waiting, refused), (0, 50));
    // Those who went without an answer are not counted any more.
    assert_eq!(leases.held[&key(1)].waiting, 0);
}

#[test]
fn a_refusal_of_the_store_holds_without_asking_until_its_time_is_over() {
    let mut leases = Leases::default();
    assert_eq!(leases.take(key(1), 5, 0), Taken::Wait(1));
    let nothing = Granted { granted: 0, left: 0, reset: Duration::from_nanos(500), retry: Duration::from_nanos(300) };
    leases.on_granted(key(1), &nothing, PERIOD_NS, 0);
    let refused = Decision { allowed: false, limit: 5, remaining: 0, reset_ns: 490, retry_after_ns: 290 };
    assert_eq!(leases.take(key(1), 5, 10), Taken::Decided(refused, 0));
    assert_eq!(leases.take(key(1), 5, 300), Taken::Wait(1));
    leases.on_failed(key(1));
    assert_eq!(leases.take(key(1), 5, 301), Taken::Wait(1), "who failed may ask again");
}

#[test]
fn tokens_that_are_not_used_in_their_window_are_lost_and_counted() {
    let mut leases = Leases::default();
    assert_eq!(leases.take(key(1), 1000, 0), Taken::Wait(1));
    let two = Granted { granted: 2, left: 0, reset: Duration::from_nanos(9), retry: Duration::ZERO };
    leases.on_granted(key(1), &two, 9, 0);
    assert!(matches!(leases.take(key(1), 1000, 8), Taken::Decided(..)));
    leases.on_failed(key(1));
    assert!(matches!(leases.take(key(1), 1000, 9), Taken::Wait(_)));
    assert_eq!((leases.take_lost(), leases.take_lost()), (1, 0));
}

/// Several workers with one store, answers that come late: never more than the limit passes in a window, and what is
/// lost is at most one lease each.
#[test]
fn whoever_asks_never_more_than_the_limit_passes() {
    for seed in 0..200 {
        let mut rng = Rng::from_seed(seed);
        let limit = 1 + u32::try_from(rng.below(400)).unwrap();
        let mut store = Store { limit, window: 0, used: 0 };
        let mut workers: Vec<Leases> = (0..4).map(|_| Leases::default()).collect();
        let mut on_way: Vec<(usize, u32, u64)> = Vec::new();
        let (mut now_ns, mut window, mut passed) = (0, 0, 0);
        for _ in 0..4000 {
            now_ns += rng.below(PERIOD_NS / 600);
            if now_ns / PERIOD_NS != window {
                assert!(passed <= limit, "seed {seed}: {passed} of {limit}");
                assert!(passed + 4 * (limit / 100).max(1) * 2 >= limit.min(100), "seed {seed}: {passed} of {limit}");
                (window, passed) = (now_ns / PERIOD_NS, 0);
            }
            on_way.retain(|(worker, want, due_ns)| {
                if *due_ns <= now_ns {
                    // The store counts when it is asked, and here that is when it answers.
                    workers[*worker].on_granted(key(1), &store.grants(*want, now_ns), PERIOD_NS, now_ns);
                }
                *due_ns > now_ns
            });
            let worker = usize::try_from(rng.below(4)).unwrap();
            let want = match workers[worker].take(key(1), limit, now_ns) {
                Taken::Decided(decision, want) => {
                    passed += u32::from(decision.allowed);
                    want
                }
                Taken::Wait(want) => want,
            };
            if want > 0 {
                on_way.push((worker, want, now_ns + rng.below(PERIOD_NS / 300)));
            }
        }
    }
}

#[test]
fn a_million_keys_do_not_grow_memory() {
    let mut leases = Leases::default();
    for number in 0..1_000_000 {
        let _ = leases.take(key(number), 5, number);
    }
    assert!(leases.held.len() <= RATE_LEASES);
}
