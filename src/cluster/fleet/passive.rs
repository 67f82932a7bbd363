//! Ejection of endpoints whose answers fail too often: how long, how many at once, and the word that says so.

use super::super::atomics::{AtomicBool, Ordering};

/// When an endpoint is ejected, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PassivePolicy {
    /// Milliseconds over which failures are counted.
    pub window_ms: u64,
    /// Share of failures, 0 to 1, at or above which it is ejected.
    pub error_rate: f64,
    /// Results in the window below which the share says nothing; at most 65,536 is ever reached for certain.
    pub min_requests: u32,
    /// Milliseconds of the first ejection; the second takes twice, the tenth and later ones ten times as long.
    pub eject_ms: u64,
    /// Share of a cluster's endpoints, 0 to 1, that may be ejected at once, rounded down.
    pub max_ejected: f64,
}

impl PassivePolicy {
    /// Whether one more of `endpoints` may be ejected beside the `ejected` that are.
    pub(super) fn allows(&self, ejected: usize, endpoints: usize) -> bool {
        // 29 % of 100 is 28.999... in binary; no cluster is large enough for the addend to let one too many pass.
        (ejected + 1) as f64 <= self.max_ejected * endpoints as f64 + 1e-6
    }
}

/// An endpoint's ejection in one word.
///
/// | bits | what |
/// |---|---|
/// | 0 to 3 | recent ejections, 0 to 10: the factor of the last one's time |
/// | 4 to 19 | number: one more with every ejection, so that what was counted before is forgotten |
/// | 20 to 63 | end in milliseconds (557 years), 0: never ejected |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EjectionWord(pub(super) u64);

const RECENT_MASK: u64 = 0xf;
const RECENT_MAX: u64 = 10;
const NUMBER_AT: u32 = 4;
const UNTIL_AT: u32 = 20;
const UNTIL_MAX: u64 = (1 << (64 - UNTIL_AT)) - 1;

impl EjectionWord {
    fn new(until_ms: u64, number: u16, recent: u64) -> Self {
        debug_assert!(recent <= RECENT_MAX, "a field outgrew its bits");
        Self(recent | u64::from(number) << NUMBER_AT | until_ms.min(UNTIL_MAX) << UNTIL_AT)
    }

    /// When the ejection ends or ended; 0 without one.
    pub(super) const fn until_ms(self) -> u64 {
        self.0 >> UNTIL_AT
    }

    pub(super) const fn is_ejected(self, now_ms: u64) -> bool {
        now_ms < self.until_ms()
    }

    #[expect(clippy::cast_possible_truncation, reason = "the field has the width of the type")]
    pub(super) const fn number(self) -> u16 {
        (self.0 >> NUMBER_AT) as u16
    }

    pub(super) const fn recent(self) -> u64 {
        self.0 & RECENT_MASK
    }

    /// Ejected again; every ten times `eject_ms` of quiet since the last end take one off the factor.
    pub(super) fn on_ejected(self, now_ms: u64, policy: &PassivePolicy) -> Self {
        let quiet_ms = now_ms.saturating_sub(self.until_ms());
        let forgotten = quiet_ms / policy.eject_ms.saturating_mul(RECENT_MAX).max(1);
        let recent = (self.recent().saturating_sub(forgotten) + 1).min(RECENT_MAX);
        let until_ms = now_ms.saturating_add(policy.eject_ms.saturating_mul(recent));
        Self::new(until_ms, self.number().wrapping_add(1), recent)
    }

    /// As if it had never been ejected; what was counted before is forgotten.
    pub(super) fn on_forgotten(self) -> Self {
        Self::new(0, self.number().wrapping_add(1), 0)
    }
}

/// The only one who may eject endpoints of a cluster, until dropped.
///
/// Two who counted at the same time could together eject one too many.
pub(super) struct Ejector<'a>(&'a AtomicBool);

impl<'a> Ejector<'a> {
    /// Nothing while another is at it: it is not waited for, the next failure asks again.
    pub(super) fn try_new(ejecting: &'a AtomicBool) -> Option<Self> {
        // Acquire: what the one before ejected is seen; pairs with the release below.
        ejecting.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).ok()?;
        Some(Self(ejecting))
    }
}

impl Drop for Ejector<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
