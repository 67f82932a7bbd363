//! What one worker holds of limits that a store keeps for several gateways.

use rustc_hash::FxHashMap;

use super::rule::Decision;
use super::store::Granted;
use super::word::Key;
use crate::limits::RATE_LEASES;

/// A lease that does not last so long is too small, in nanoseconds.
const SOON_NS: u64 = 100_000_000;

/// One worker's leases from a store, by key; at most [`RATE_LEASES`] of them.
///
/// Tokens are leased before they are used and are counted by the store from then on, so that no more passes than the limit
/// whoever asks. What is not used before its time is over is lost, for this period: at most one lease a worker and key. A
/// lease begins with one token, is twice the last one when that did not last a tenth of a second, and is never more than a
/// hundredth of the limit. Half of it left, the next one is asked for, so that nobody waits as long as the store keeps up.
#[derive(Debug, Default)]
pub struct Leases {
    held: FxHashMap<Key, Lease>,
    lost: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Lease {
    tokens: u32,
    good_until_ns: u64,
    /// Tokens that the next one is to have.
    size: u32,
    /// What the store had left beside the lease.
    left: u32,
    reset_at_ns: u64,
    /// Until then the store grants nothing.
    refused_until_ns: u64,
    is_asked_for: bool,
    was_asked_for: bool,
    asked_at_ns: u64,
}

/// What a request is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is decided; ask for so many further tokens meanwhile, if any.
    Decided(Decision, u32),
    /// Ask for so many tokens, or for none where somebody has, and wait for the answer.
    Wait(u32),
}

impl Leases {
    /// Takes a token of `key`, of which `limit` may pass in a period.
    pub fn take(&mut self, key: Key, limit: u32, now_ns: u64) -> Taken {
        if self.held.len() >= RATE_LEASES && !self.held.contains_key(&key) {
            self.make_room(now_ns);
        }
        let lease = self.held.entry(key).or_insert_with(|| Lease { size: 1, ..Lease::default() });
        if now_ns >= lease.good_until_ns {
            self.lost += u64::from(lease.tokens);
            lease.tokens = 0;
        }
        let most = (limit / 100).max(1);
        if lease.tokens > 0 {
            lease.tokens -= 1;
            let is_low = lease.tokens <= lease.size / 2 && now_ns >= lease.refused_until_ns;
            let want = if is_low { lease.ask(most, now_ns) } else { 0 };
            return Taken::Decided(lease.decision(limit, true, now_ns), want);
        }
        if now_ns < lease.refused_until_ns {
            return Taken::Decided(lease.decision(limit, false, now_ns), 0);
        }
        Taken::Wait(lease.ask(most, now_ns))
    }

    /// The store granted tokens of `key`, whose windows are so long.
    pub fn on_granted(&mut self, key: Key, granted: &Granted, period_ns: u64, now_ns: u64) {
        let Some(lease) = self.held.get_mut(&key) else {
            self.lost += u64::from(granted.granted);
            return;
        };
        lease.is_asked_for = false;
        let nanos = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        lease.left = granted.left;
        lease.reset_at_ns = now_ns.saturating_add(nanos(granted.reset));
        lease.refused_until_ns = now_ns.saturating_add(nanos(granted.retry));
        if granted.granted == 0 {
            return;
        }
        // Beyond the window in which they were counted they would count for nothing. How long the answer was on its way is
        // not known: as if it had been counted when it was asked for, it is never too late.
        let good_until_ns = lease.asked_at_ns.saturating_add(nanos(granted.reset));
        let is_over =
            now_ns >= lease.good_until_ns || good_until_ns > lease.good_until_ns.saturating_add(period_ns / 2);
        if is_over {
            self.lost += u64::from(std::mem::take(&mut lease.tokens));
        }
        lease.good_until_ns = if lease.tokens == 0 { good_until_ns } else { good_until_ns.min(lease.good_until_ns) };
        lease.tokens += granted.granted;
    }

    /// The store did not answer for `key`.
    pub fn on_failed(&mut self, key: Key) {
        if let Some(lease) = self.held.get_mut(&key) {
            lease.is_asked_for = false;
        }
    }

    /// Tokens that were leased and not used in their time, since the last look.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// Drops what is over, and when nothing is, all: leases are lost then, and no limit is exceeded.
    #[cold]
    fn make_room(&mut self, now_ns: u64) {
        self.held
            .retain(|_, lease| now_ns < lease.good_until_ns || now_ns < lease.refused_until_ns || lease.is_asked_for);
        if self.held.len() >= RATE_LEASES {
            self.lost += self.held.drain().map(|(_, lease)| u64::from(lease.tokens)).sum::<u64>();
        }
    }
}

impl Lease {
    /// Tokens to ask for: none when that has been done.
    fn ask(&mut self, most: u32, now_ns: u64) -> u32 {
        if std::mem::replace(&mut self.is_asked_for, true) {
            return 0;
        }
        if self.was_asked_for && now_ns.saturating_sub(self.asked_at_ns) < SOON_NS {
            self.size = self.size.saturating_mul(2);
        }
        self.was_asked_for = true;
        self.asked_at_ns = now_ns;
        self.size = self.size.min(most);
        self.size
    }

    const fn decision(&self, limit: u32, allowed: bool, now_ns: u64) -> Decision {
        Decision {
            allowed,
            limit,
            remaining: if allowed { self.left + self.tokens } else { 0 },
            reset_ns: self.reset_at_ns.saturating_sub(now_ns),
            retry_after_ns: if allowed { 0 } else { self.refused_until_ns.saturating_sub(now_ns) },
        }
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn a_refusal_of_the_store_holds_without_asking_until_its_time_is_over() {
        let mut leases = Leases::default();
        assert_eq!(leases.take(key(1), 5, 0), Taken::Wait(1));
        let nothing =
            Granted { granted: 0, left: 0, reset: Duration::from_nanos(500), retry: Duration::from_nanos(300) };
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
                    assert!(
                        passed + 4 * (limit / 100).max(1) * 2 >= limit.min(100),
                        "seed {seed}: {passed} of {limit}"
                    );
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
}
