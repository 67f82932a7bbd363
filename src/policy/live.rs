//! The live policy: what holds over all routes at this moment, and is changed without a new configuration.

use std::time::Duration;

use super::limit::{KeyFrom, Limiter, Rule, Shared};

/// The live policy document, compiled.
#[derive(Debug)]
pub struct LivePolicy {
    /// Does anything pass?
    pub enabled: bool,
    /// How many requests of all clients together pass.
    pub limiter: Limiter,
    /// Failures in a row that open a breaker.
    pub threshold: u32,
}

/// A number of requests and the time in which they may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Requests, at least one.
    pub limit: u32,
    /// The time.
    pub period: Duration,
}

impl Pace {
    /// Fewest requests a second: three a day, about.
    pub const LEAST: f64 = 0.000_04;
    /// Most requests a second.
    pub const MOST: f64 = 1e9;

    /// The pace of so many requests a second, exactly: in about a second, or in less where that would be more than `most`; `None` for
    /// a number below [`Pace::LEAST`], above [`Pace::MOST`], or none.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within bounds that were just checked")]
    pub fn per_second(rate: f64, most: u32) -> Option<Self> {
        if !(Self::LEAST..=Self::MOST).contains(&rate) {
            return None;
        }
        // Of a rate that is no whole number, what is whole comes in a little less than a second; below one, one in more.
        let limit = rate.floor().clamp(1.0, f64::from(most));
        Some(Self { limit: limit as u32, period: Duration::from_secs_f64(limit / rate) })
    }
}

impl LivePolicy {
    /// Compiles a document for `workers` workers; `shared` when gateways count together.
    #[must_use]
    pub fn new(enabled: bool, pace: Pace, threshold: u32, workers: usize, shared: Option<Shared>) -> Self {
        let rule = Rule::sliding_window(pace.limit, pace.period, workers);
        // No policy of the configuration can have this name.
        let limiter = Limiter::new("the live policy", rule, &[KeyFrom::Global]);
        let limiter = match shared {
            Some(shared) => limiter.kept_by(shared),
            None => limiter,
        };
        Self { enabled, limiter, threshold }
    }

    /// The threshold of a breaker whose cluster may have one of its own: then the lower one holds, and 0, for never, is the lowest.
    #[must_use]
    pub fn threshold_beside(&self, own: Option<u32>) -> u32 {
        own.map_or(self.threshold, |own| own.min(self.threshold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_exactly_whatever_number_it_is() {
        let of = |rate| Pace::per_second(rate, 1_000_000);
        let pace = |limit, ms| Some(Pace { limit, period: Duration::from_millis(ms) });
        assert_eq!((of(1000.0), of(1.0)), (pace(1000, 1000), pace(1, 1000)));
        assert_eq!((of(1e6), of(5e6), of(1e9)), (pace(1_000_000, 1000), pace(1_000_000, 200), pace(1_000_000, 1)));
        assert_eq!((of(2.5), of(0.5), of(1.25)), (pace(2, 800), pace(1, 2000), pace(1, 800)));
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY, 1.1e9, 0.000_01] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn of_two_thresholds_the_lower_one_holds_and_never_stays_never() {
        let pace = Pace { limit: 1, period: Duration::from_secs(1) };
        let live = LivePolicy::new(true, pace, 50, 1, None);
        assert_eq!([None, Some(5), Some(90), Some(0)].map(|own| live.threshold_beside(own)), [50, 5, 50, 0]);
    }
}
