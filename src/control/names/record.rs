//! What is known of one name: its last good addresses, how it goes, and when it is asked for again; pure.

use std::net::IpAddr;

use super::answer::{Answer, Family};

/// Part of a wait that randomness may add or take off: one tenth.
const JITTER_PARTS: u64 = 10;

/// Between which waits a name is asked for again, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    floor_ms: u64,
    ceiling_ms: u64,
}

impl Bounds {
    /// At least `floor_ms`, and at most `ceiling_ms` unless that is less than the floor.
    pub(super) const fn new(floor_ms: u64, ceiling_ms: u64) -> Self {
        Self { floor_ms, ceiling_ms: if ceiling_ms < floor_ms { floor_ms } else { ceiling_ms } }
    }

    /// The bounds of a name that is to be asked for as these ask and as `other` do.
    pub(super) fn with(self, other: Self) -> Self {
        Self::new(self.floor_ms.min(other.floor_ms), self.ceiling_ms.min(other.ceiling_ms))
    }

    /// The longest wait.
    pub(super) const fn ceiling_ms(self) -> u64 {
        self.ceiling_ms
    }

    /// `wait_ms` brought between the bounds, give or take a tenth within them by `random`.
    fn spread_ms(self, wait_ms: u64, random: u64) -> u64 {
        let wait_ms = wait_ms.clamp(self.floor_ms, self.ceiling_ms);
        let low = (wait_ms - wait_ms / JITTER_PARTS).max(self.floor_ms);
        let high = (wait_ms + wait_ms / JITTER_PARTS).min(self.ceiling_ms);
        low + random % (high - low + 1)
    }

    /// The wait after `failures` in a row: the floor, then twice as long each time up to the ceiling.
    fn backoff_ms(self, failures: u32) -> u64 {
        let factor = 1u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX);
        self.floor_ms.saturating_mul(factor).min(self.ceiling_ms)
    }
}

/// How an answer changed the state of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shift {
    /// As before.
    Same,
    /// It resolved and does not any more.
    Lost,
    /// It resolves again.
    Regained,
}

/// What an answer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    /// How the state changed.
    pub(super) shift: Shift,
    /// Milliseconds until the name is to be asked for again.
    pub(super) wait_ms: u64,
}

/// One name.
///
/// | answer | addresses | asked again after | counts as |
/// |---|---|---|---|
/// | both families sure, some address | those | the TTL | ok |
/// | addresses of one family, the other not known | those and the last of the other | the TTL or the back-off, what is sooner | ok |
/// | no address, or nothing known | the last good ones | the back-off | failed |
#[derive(Debug, Clone)]
pub(super) struct Record {
    bounds: Bounds,
    /// Sorted, none twice; empty until the first good answer.
    addresses: Vec<IpAddr>,
    /// What whoever uses the addresses was last told.
    told: Vec<IpAddr>,
    /// Answers in a row with something that is not known.
    failures: u32,
    is_failing: bool,
    trouble: Option<String>,
}

impl Record {
    /// A name that was never asked for.
    pub(super) const fn new(bounds: Bounds) -> Self {
        Self { bounds, addresses: Vec::new(), told: Vec::new(), failures: 0, is_failing: false, trouble: None }
    }

    /// Told of an answer, with a random number for the next wait.
    pub(super) fn on_answer(&mut self, answer: &Answer, random: u64) -> Turn {
        let was_failing = self.is_failing;
        let doubt = answer.doubt();
        self.is_failing = answer.ttl_s().is_none();
        self.failures = if self.is_failing || doubt.is_some() { self.failures.saturating_add(1) } else { 0 };
        self.trouble = if self.is_failing { Some(answer.why_nothing()) } else { doubt.map(str::to_owned) };
        let wait_ms = match answer.ttl_s() {
            None => self.bounds.backoff_ms(self.failures),
            Some(ttl_s) => {
                self.addresses = self.merged(answer);
                let ttl_ms = u64::from(ttl_s) * 1_000;
                if self.failures == 0 { ttl_ms } else { ttl_ms.min(self.bounds.backoff_ms(self.failures)) }
            }
        };
        let shift = match (was_failing, self.is_failing) {
            (false, true) => Shift::Lost,
            (true, false) => Shift::Regained,
            (true, true) | (false, false) => Shift::Same,
        };
        Turn { shift, wait_ms: self.bounds.spread_ms(wait_ms, random) }
    }

    /// What was found, and of a family that is not known what was known before.
    fn merged(&self, answer: &Answer) -> Vec<IpAddr> {
        let mut merged = Vec::new();
        for (family, is_v4) in [(&answer.v4, true), (&answer.v6, false)] {
            match family {
                Family::Found(found) => merged.extend(&found.addresses),
                Family::Unknown(_) => merged.extend(self.addresses.iter().filter(|one| one.is_ipv4() == is_v4)),
                Family::Nothing(_) => {}
            }
        }
        merged.sort_unstable();
        merged.dedup();
        merged
    }

    /// Told that other bounds hold from the next answer on.
    pub(super) const fn on_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// Told that the addresses are used as they are now.
    pub(super) fn on_told(&mut self) {
        self.told.clone_from(&self.addresses);
    }

    /// Are the addresses others than whoever uses them was told?
    pub(super) fn is_changed(&self) -> bool {
        self.addresses != self.told
    }

    /// The last good addresses, sorted; empty until the first good answer.
    pub(super) fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Did the last answer bring no address?
    pub(super) const fn is_failing(&self) -> bool {
        self.is_failing
    }

    /// What was wrong with the last answer.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }
}

#[cfg(test)]
mod tests;
