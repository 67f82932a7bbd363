//! When probes happen: spread, so that endpoints that appeared together are not asked together for ever.

use std::time::Duration;

/// A pause is shorter or longer than the interval by at most one part in so many.
const JITTER_PART: u32 = 10;

/// The wait before the first probe: somewhere in the interval, by 64 random bits.
pub(super) fn first(interval: Duration, random: u64) -> Duration {
    part(interval, random)
}

/// The wait between two probes: the interval, at most a tenth shorter or longer, by 64 random bits.
pub(super) fn pause(interval: Duration, random: u64) -> Duration {
    let jitter = interval / JITTER_PART;
    (interval - jitter).saturating_add(part(jitter.saturating_mul(2), random))
}

/// `random` of 2^64 parts of `span`.
fn part(span: Duration, random: u64) -> Duration {
    let span_ns = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    let ns = (u128::from(span_ns) * u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn pauses_stay_within_a_tenth_of_the_interval_and_use_all_of_it() {
        let interval = Duration::from_secs(5);
        assert_eq!(pause(interval, 0), Duration::from_millis(4_500));
        assert!(Duration::from_millis(5_500) - pause(interval, u64::MAX) <= Duration::from_nanos(1));
        let mut rng = Rng::from_seed(5);
        let pauses: Vec<_> = (0..1_000).map(|_| pause(interval, rng.u64())).collect();
        assert!(pauses.iter().all(|pause| (4_500..=5_500).contains(&pause.as_millis())));
        for tenth in 0..10 {
            let from = 4_500 + tenth * 100;
            assert!(pauses.iter().any(|pause| (from..from + 100).contains(&pause.as_millis())), "{from} ms");
        }
    }

    #[test]
    fn first_waits_spread_over_the_interval() {
        let interval = Duration::from_secs(5);
        assert_eq!(first(interval, 0), Duration::ZERO);
        assert!(first(interval, u64::MAX) < interval);
        assert_eq!(first(interval, 1 << 63), interval / 2);
    }

    #[test]
    fn an_interval_without_end_is_no_trouble() {
        assert!(pause(Duration::MAX, u64::MAX) >= Duration::MAX / 2);
        assert!(first(Duration::MAX, u64::MAX) <= Duration::from_nanos(u64::MAX));
        assert_eq!(pause(Duration::ZERO, u64::MAX), Duration::ZERO);
    }
}
