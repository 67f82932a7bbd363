//! Which exchanges are logged: a share per class, decided on the worker before anything is copied.

use std::time::Duration;

/// What an exchange is to the sampler; the first that fits: error, slow, ok.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Answered in time.
    Ok,
    /// Answered no sooner than the bound.
    Slow,
    /// Status of 500 or more, a local reply to a failure, a call of gRPC that failed, or cut short.
    Error,
}

/// A share of all there is, taken at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share(u64);

impl Share {
    /// A share between 0.0 (none) and 1.0 (all).
    #[must_use]
    pub fn new(share: f64) -> Self {
        Self(threshold(share))
    }

    /// Is this one of them? Draws 64 random bits only when the share is neither none nor all.
    #[inline]
    pub fn takes(self, random: impl FnOnce() -> u64) -> bool {
        match self.0 {
            u64::MAX => true,
            0 => false,
            share => random() < share,
        }
    }
}

/// The shares of the three classes; pure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampler {
    ok: Share,
    slow: Share,
    errors: Share,
    slow_over_ns: u64,
}

impl Sampler {
    /// Shares between 0.0 (none) and 1.0 (all); an exchange whose answer took `slow_over` or longer is slow.
    #[must_use]
    pub fn new(ok: f64, slow_over: Duration, slow: f64, errors: f64) -> Self {
        Self {
            ok: Share::new(ok),
            slow: Share::new(slow),
            errors: Share::new(errors),
            slow_over_ns: u64::try_from(slow_over.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    /// The class of an exchange; `failed` says that it got a local reply to a failure, failed as a call of gRPC or did not
    /// reach its end, `answered_ns` what its answer took: all of it, or of a tunnel what opened it.
    #[must_use]
    pub fn class(&self, status: u16, failed: bool, answered_ns: u64) -> Class {
        if failed || status >= 500 {
            Class::Error
        } else if self.is_slow(answered_ns) {
            Class::Slow
        } else {
            Class::Ok
        }
    }

    /// Did it take as long as what is slow, whatever else became of it?
    #[must_use]
    pub const fn is_slow(&self, answered_ns: u64) -> bool {
        answered_ns >= self.slow_over_ns
    }

    /// Whether to log an exchange of `class`; draws 64 random bits only when the share is neither none nor all.
    #[inline]
    pub fn keep(&self, class: Class, random: impl FnOnce() -> u64) -> bool {
        let share = match class {
            Class::Ok => self.ok,
            Class::Slow => self.slow,
            Class::Error => self.errors,
        };
        share.takes(random)
    }
}

/// The share as a bound on 64 random bits, `u64::MAX` for all.
fn threshold(share: f64) -> u64 {
    if share >= 1.0 {
        return u64::MAX;
    }
    // 2^53 steps are all a double between 0 and 1 can tell apart.
    let steps = share.max(0.0) * 9_007_199_254_740_992.0;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 2^53 by the lines above")]
    let steps = steps as u64;
    steps << 11
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_and_none_never_draw() {
        let sampler = Sampler::new(0.0, Duration::from_millis(500), 1.0, 1.0);
        let never = || unreachable!("no randomness for a certain answer");
        assert!(!sampler.keep(Class::Ok, never));
        assert!(sampler.keep(Class::Slow, never));
        assert!(sampler.keep(Class::Error, never));
    }

    #[test]
    fn a_share_keeps_that_share_of_random_numbers() {
        let sampler = Sampler::new(0.25, Duration::ZERO, 0.0, 0.0);
        assert!(sampler.keep(Class::Ok, || (1 << 62) - 1));
        assert!(!sampler.keep(Class::Ok, || 1 << 62));
    }

    #[test]
    fn an_error_is_an_error_even_when_slow() {
        let sampler = Sampler::new(1.0, Duration::from_millis(500), 1.0, 1.0);
        assert_eq!(sampler.class(200, false, 499_999_999), Class::Ok);
        assert_eq!(sampler.class(404, false, 500_000_000), Class::Slow);
        assert_eq!(sampler.class(503, false, u64::MAX), Class::Error);
        assert_eq!(sampler.class(200, true, 0), Class::Error);
        assert!(sampler.is_slow(500_000_000) && !sampler.is_slow(499_999_999));
    }

    #[test]
    fn shares_outside_the_range_are_none_and_all() {
        assert_eq!(threshold(-1.0), 0);
        assert_eq!(threshold(2.0), u64::MAX);
        assert_eq!(threshold(f64::NAN), 0);
    }
}
