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
/// hundredth of the limit, or as many as wait for one: those use it at once, and no crowd of them has to wait for more than the
/// answer on its way and one more. Half of it left, the next one is asked for, so that nobody waits as long as the store keeps up.
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
    /// Requests that wait for one.
    waiting: u32,
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
            // Those who wait have been woken for the tokens that there are.
            let waiting = lease.waiting.saturating_sub(lease.tokens);
            let is_low = (lease.tokens <= lease.size / 2 || waiting > 0) && now_ns >= lease.refused_until_ns;
            let want = if is_low { lease.ask(most, waiting, now_ns) } else { 0 };
            return Taken::Decided(lease.decision(limit, true, now_ns), want);
        }
        if now_ns < lease.refused_until_ns {
            return Taken::Decided(lease.decision(limit, false, now_ns), 0);
        }
        Taken::Wait(lease.ask(most, lease.waiting.saturating_add(1), now_ns))
    }

    /// One more request waits for tokens of `key`.
    pub fn on_waits(&mut self, key: Key) {
        if let Some(lease) = self.held.get_mut(&key) {
            lease.waiting += 1;
        }
    }

    /// It does no longer.
    pub fn on_waited(&mut self, key: Key) {
        if let Some(lease) = self.held.get_mut(&key) {
            // Those who waited before all leases were dropped were not counted in this one.
            lease.waiting = lease.waiting.saturating_sub(1);
        }
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
    /// Tokens to ask for, where so many wait: none when that has been done.
    fn ask(&mut self, most: u32, waiting: u32, now_ns: u64) -> u32 {
        if std::mem::replace(&mut self.is_asked_for, true) {
            return 0;
        }
        if self.was_asked_for && now_ns.saturating_sub(self.asked_at_ns) < SOON_NS {
            self.size = self.size.saturating_mul(2);
        }
        self.was_asked_for = true;
        self.asked_at_ns = now_ns;
        self.size = self.size.min(most);
        self.size.max(waiting)
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
mod tests;
