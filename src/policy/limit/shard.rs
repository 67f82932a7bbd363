//! What one worker may pass without asking the ledger.

use super::ledger::Ledger;
use super::rule::{Decision, Rule};
use super::word::Key;
use crate::limits::{RATE_LEASE_SHARE, RATE_SHARD_SLOTS};

/// One worker's leases.
///
/// A lease of one token is exact, and all that a rule without `spare` ever gives. Tokens of a larger one that are not used in
/// its time are lost, so its size is earned: of every [`RATE_LEASE_SHARE`] tokens that a worker used of a key it may lose
/// one, and never more than the rule's `spare` at once. Whatever the pattern of requests, then, what is lost is at most one
/// in [`RATE_LEASE_SHARE`] of what passed, and one in as many of the limit by all workers together.
///
/// Keys whose hashes meet in a slot push each other out, which loses a lease and what was earned.
#[derive(Debug, Default)]
pub struct Shard {
    /// Empty until a rule has `spare`.
    slots: Box<[Slot]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    key: Option<Key>,
    /// Tokens left of the lease.
    tokens: u32,
    /// Tokens that may be lost.
    spare: u32,
    /// Tokens used that have not earned anything yet.
    used: u32,
    limit: u32,
    /// What the ledger had left beside the lease.
    remaining: u32,
    good_until_ns: u64,
    reset_at_ns: u64,
}

impl Shard {
    /// May a request of `key` pass?
    pub fn decide(&mut self, ledger: &Ledger, key: Key, rule: &Rule, now_ns: u64) -> Decision {
        if rule.spare() == 0 {
            return rule.decide(&ledger.charge(key, rule, 1, now_ns));
        }
        if self.slots.is_empty() {
            self.slots = vec![Slot::default(); RATE_SHARD_SLOTS].into();
        }
        let slot = self.slot(key);
        if slot.key != Some(key) || slot.limit != rule.limit() {
            *slot = Slot { key: Some(key), limit: rule.limit(), ..Slot::default() };
        }
        if slot.tokens == 0 || now_ns >= slot.good_until_ns {
            slot.lose();
            let grant = ledger.charge(key, rule, 1 + slot.spare.min(rule.spare()), now_ns);
            if grant.granted == 0 {
                return rule.decide(&grant);
            }
            slot.tokens = grant.granted;
            slot.remaining = grant.remaining;
            slot.good_until_ns = now_ns + grant.good_for_ns;
            slot.reset_at_ns = now_ns + grant.reset_ns;
        }
        slot.on_used(rule.spare());
        Decision {
            allowed: true,
            limit: slot.limit,
            remaining: slot.remaining + slot.tokens,
            reset_ns: slot.reset_at_ns.saturating_sub(now_ns),
            retry_after_ns: 0,
        }
    }

    /// Slots are told apart by other bits of the hash than the ledger's sets.
    fn slot(&mut self, key: Key) -> &mut Slot {
        let last = self.slots.len() - 1;
        &mut self.slots[(key.place >> 40) as usize & last]
    }
}

impl Slot {
    fn on_used(&mut self, spare_max: u32) {
        self.tokens -= 1;
        self.used += 1;
        if self.used == RATE_LEASE_SHARE {
            self.used = 0;
            self.spare = (self.spare + 1).min(spare_max);
        }
    }

    fn lose(&mut self) {
        self.spare = self.spare.saturating_sub(self.tokens);
        self.tokens = 0;
    }
}

#[cfg(test)]
mod tests;
