//! The sliding window: what passed in this window, and of the one before it the share that still reaches into the span of
//! one period that ends now.
//!
//! | amount | bits | bits for a limit of at most 1023 |
//! |---|---|---|
//! | begin of this window, in ticks | 28 | 38 |
//! | what passed in the one before it, as a share of the limit | 10 | 10 |
//! | what passed in this one | 20 | 10 |
//!
//! A key's first window begins with its first request, so that its first `limit` requests pass at once and no more before
//! the period is over. A tick is a power of two of nanoseconds; begins are rounded up to one, so windows are longer by at
//! most a thousandth (a millionth where the limit is low) and never shorter.

use super::rule::Grant;
use super::word::AMOUNT_BITS;
use crate::limits::{RATE_LIMIT_MAX, RATE_PERIOD_MS_MAX, RATE_PERIOD_MS_MIN};

const SHARE_BITS: u32 = 10;
/// The share that is the whole limit.
const WHOLE: u64 = (1 << SHARE_BITS) - 1;
/// Binary digits that fractions of a period are computed with beyond those of its ticks, where the limit is high.
const FRACTION_DIGITS: u32 = 16;

/// How an amount is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    count_bits: u32,
    /// Binary digits of the ticks in a period, but one.
    period_digits: u32,
    /// The form of an amount whose ticks are a nanosecond.
    first_form: u8,
}

const LOW: Layout = Layout { count_bits: 10, period_digits: 20, first_form: 1 };
const HIGH: Layout = Layout { count_bits: 20, period_digits: 10, first_form: 28 - HIGH_LOG_MIN };
/// The logarithm of the shortest tick of a high limit.
const HIGH_LOG_MIN: u8 = 9;

const _: () = {
    let (log_min, log_max) = ((RATE_PERIOD_MS_MIN * 1_000_000).ilog2(), (RATE_PERIOD_MS_MAX * 1_000_000).ilog2());
    assert!(RATE_LIMIT_MAX < 1 << HIGH.count_bits);
    // Ticks are told in 64 bits of nanoseconds, forms in 6 bits, and those of one layout are not those of the other.
    assert!(
        LOW.tick_bits() + log_max - LOW.period_digits <= 64 && HIGH.tick_bits() + log_max - HIGH.period_digits <= 64
    );
    assert!(log_max - LOW.period_digits + (LOW.first_form as u32) < 28);
    assert!(log_max - HIGH.period_digits + (HIGH.first_form as u32) < 64);
    assert!(log_min - HIGH.period_digits == HIGH_LOG_MIN as u32);
};

impl Layout {
    const fn tick_bits(self) -> u32 {
        AMOUNT_BITS - SHARE_BITS - self.count_bits
    }

    const fn count(self, amount: u64) -> u64 {
        amount & ((1 << self.count_bits) - 1)
    }

    const fn share(self, amount: u64) -> u64 {
        amount >> self.count_bits & WHOLE
    }

    const fn begin(self, amount: u64) -> u64 {
        amount >> (self.count_bits + SHARE_BITS)
    }

    /// The layout of a form, and the logarithm of its tick in nanoseconds.
    const fn of(form: u8) -> (Self, u32) {
        let layout = if form < 28 { LOW } else { HIGH };
        (layout, form.saturating_sub(layout.first_form) as u32)
    }
}

/// A window's limit and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    limit: u32,
    period_ns: u64,
    layout: Layout,
    /// The logarithm of a tick in nanoseconds.
    tick_log: u32,
}

/// An entry's window as it is now.
struct View {
    begin: u64,
    before: u64,
    passed: u64,
    elapsed_ns: u64,
}

impl Window {
    /// `limit` in `period_ns`, both within the bounds of [`crate::limits`].
    pub(super) fn new(limit: u32, period_ns: u64) -> Self {
        let period_ns = period_ns.clamp(RATE_PERIOD_MS_MIN * 1_000_000, RATE_PERIOD_MS_MAX * 1_000_000);
        let limit = limit.clamp(1, RATE_LIMIT_MAX);
        let layout = if limit < 1 << LOW.count_bits { LOW } else { HIGH };
        Self { limit, period_ns, layout, tick_log: period_ns.ilog2().saturating_sub(layout.period_digits) }
    }

    pub(super) const fn form(&self) -> u8 {
        self.layout.first_form + (self.tick_log & 63) as u8
    }

    /// Up to `want` tokens.
    pub(super) fn charge(&self, amount: u64, want: u32, now_ns: u64) -> (Grant, u64) {
        let view = self.view(amount, now_ns);
        let limit = u64::from(self.limit);
        let rest_ns = self.period_ns - view.elapsed_ns;
        let left = limit.saturating_sub(self.reaching(view.before, rest_ns) + view.passed);
        let granted = u64::from(want).min(left);
        let passed = view.passed + granted;
        let retry_after_ns = if granted > 0 { 0 } else { self.retry_after_ns(&view, rest_ns) };
        let grant = Grant {
            granted: low(granted),
            remaining: low(left - granted),
            reset_ns: rest_ns,
            retry_after_ns,
            // What was taken in this window is used in it, or never.
            good_for_ns: rest_ns,
        };
        let share = self.share(view.before);
        (grant, ((view.begin << SHARE_BITS | share) << self.layout.count_bits) | passed)
    }

    /// See [`super::rule::counts_for_ns`]. Of the window's length it is only known how many ticks two do not reach.
    pub(super) fn counts_for_ns(form: u8, amount: u64, now_ns: u64) -> u64 {
        let (layout, tick_log) = Layout::of(form);
        let two_periods = 4u64 << layout.period_digits;
        let mask = (1 << layout.tick_bits()) - 1;
        let left = (layout.begin(amount) + two_periods).wrapping_sub(now_ns >> tick_log) & mask;
        // A begin that was rounded up, or told by a faster core, may be ahead of now.
        if layout.count(amount) | layout.share(amount) == 0 || left > 2 * two_periods { 0 } else { left << tick_log }
    }

    /// The window that `now_ns` is in.
    fn view(&self, amount: u64, now_ns: u64) -> View {
        let (begin, share) = (self.layout.begin(amount), self.layout.share(amount));
        let limit = u64::from(self.limit);
        let passed = self.layout.count(amount).min(limit);
        let is_new = passed | share == 0;
        let mask = (1 << self.layout.tick_bits()) - 1;
        match self.elapsed_ns(begin, now_ns) {
            Some(elapsed_ns) if elapsed_ns < self.period_ns && !is_new => {
                // Rounded up when it was stored, rounded down here: what it was.
                View { begin, before: share * limit / WHOLE, passed, elapsed_ns }
            }
            Some(elapsed_ns) if elapsed_ns < 2 * self.period_ns && !is_new => {
                let begin = (begin + self.period_ns.div_ceil(1 << self.tick_log)) & mask;
                View { begin, before: passed, passed: 0, elapsed_ns: self.elapsed_ns(begin, now_ns).unwrap_or(0) }
            }
            _ => {
                let begin = now_ns.div_ceil(1 << self.tick_log) & mask;
                View { begin, before: 0, passed: 0, elapsed_ns: 0 }
            }
        }
    }

    /// Time since `begin`, and 0 when it is ahead by less than a period; `None`: an age or more has passed.
    fn elapsed_ns(&self, begin: u64, now_ns: u64) -> Option<u64> {
        let mask = u64::MAX >> (64 - self.layout.tick_bits() - self.tick_log);
        let since = now_ns.wrapping_sub(begin << self.tick_log) & mask;
        let ahead = mask - since + 1;
        if since == 0 || ahead <= self.period_ns {
            return Some(0);
        }
        (since < 2 * self.period_ns).then_some(since)
    }

    /// What of `before` still reaches into the period that ends now, when `rest_ns` are left of this window; rounded down.
    fn reaching(&self, before: u64, rest_ns: u64) -> u64 {
        let coarse = self.coarse();
        let rest = rest_ns.div_ceil(1 << coarse);
        (before * rest / (self.period_ns >> coarse)).min(before)
    }

    /// Digits that are dropped of times, so that a product with a count fits.
    const fn coarse(&self) -> u32 {
        if self.limit < 1 << LOW.count_bits { 0 } else { self.tick_log.saturating_sub(FRACTION_DIGITS) }
    }

    /// A count as a share of the limit, rounded up.
    fn share(&self, count: u64) -> u64 {
        (count * WHOLE).div_ceil(u64::from(self.limit)).min(WHOLE)
    }

    /// Nanoseconds until less than the limit counts; for somebody who may not pass now.
    fn retry_after_ns(&self, view: &View, rest_ns: u64) -> u64 {
        let limit = u64::from(self.limit);
        let rounding_ns = 2 << self.coarse();
        let free = limit.saturating_sub(view.passed);
        if free > 0 && view.before > 0 {
            // `before` counts in full until this much of the window is left.
            let until_ns = u128::from(self.period_ns) * u128::from(free) / u128::from(view.before);
            return rest_ns.saturating_sub(u64::try_from(until_ns).unwrap_or(u64::MAX)) + rounding_ns;
        }
        // All of the limit passed in this window: the next one begins, rounded up, and a moment later one may pass.
        rest_ns + (2 << self.tick_log) + rounding_ns
    }
}

/// A number that is at most a limit.
fn low(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
