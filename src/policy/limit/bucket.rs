//! The token bucket, as the generic cell rate algorithm (ITU-T I.371): its whole state is the time at which it is full.

use super::rule::Grant;
use super::word::AMOUNT_MASK;
use crate::limits::{RATE_FILL_NS_MAX, RATE_LEASE_SHARE};

/// A bucket's rate and size, in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    /// Nanoseconds in which a token comes.
    interval_ns: u64,
    /// Nanoseconds in which an empty bucket is full.
    fill_ns: u64,
    /// Nanoseconds for which leased tokens may be used.
    lease_ns: u64,
}

impl Bucket {
    /// `burst` tokens, filled at `limit` in `period_ns`.
    ///
    /// Where tokens are leased, they may be used a little after they were taken, while the bucket fills up again. So that
    /// no burst is larger than `burst` even so, the bucket is smaller by what comes in that time.
    pub(super) fn new(limit: u32, period_ns: u64, burst: u32, is_leased: bool) -> Self {
        let interval_ns = period_ns.div_ceil(u64::from(limit.max(1))).max(1);
        let late = if is_leased { burst / RATE_LEASE_SHARE } else { 0 };
        let of = |tokens: u32| interval_ns.saturating_mul(u64::from(tokens)).min(RATE_FILL_NS_MAX);
        Self { interval_ns, fill_ns: of(burst - late).max(interval_ns), lease_ns: of(late) }
    }

    /// Up to `want` tokens of a bucket that is full at `amount`.
    pub(super) fn charge(&self, amount: u64, want: u32, now_ns: u64) -> (Grant, u64) {
        // A reload may have made it smaller; emptier than empty it never is.
        let missing_ns = missing_ns(amount, now_ns).min(self.fill_ns);
        let left = u32::try_from((self.fill_ns - missing_ns) / self.interval_ns).unwrap_or(u32::MAX);
        let granted = want.min(left);
        let then_ns = missing_ns + self.interval_ns * u64::from(granted);
        let retry_after_ns = if granted > 0 { 0 } else { missing_ns + self.interval_ns - self.fill_ns };
        let grant =
            Grant { granted, remaining: left - granted, reset_ns: then_ns, retry_after_ns, good_for_ns: self.lease_ns };
        (grant, (now_ns.wrapping_add(then_ns) & AMOUNT_MASK).max(1))
    }

    /// See [`super::rule::counts_for_ns`].
    pub(super) fn counts_for_ns(amount: u64, now_ns: u64) -> u64 {
        missing_ns(amount, now_ns)
    }
}

/// Nanoseconds until a bucket is full.
///
/// Times are kept in 58 bits, which come round after nine years: what is ahead by more than any bucket takes to fill is
/// long past. 0 is the amount of a new entry.
fn missing_ns(full_at: u64, now_ns: u64) -> u64 {
    let ahead = full_at.wrapping_sub(now_ns) & AMOUNT_MASK;
    if full_at == 0 || ahead > 2 * RATE_FILL_NS_MAX { 0 } else { ahead }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// A bucket and what it holds.
    struct Held(Bucket, u64);

    impl Held {
        fn new(limit: u32, period_ns: u64, burst: u32) -> Self {
            Self(Bucket::new(limit, period_ns, burst, false), 0)
        }

        fn one(&mut self, now_ns: u64) -> Grant {
            let (grant, amount) = self.0.charge(self.1, 1, now_ns);
            self.1 = amount;
            grant
        }

        fn count(&mut self, asked: u32, now_ns: u64) -> u32 {
            (0..asked).map(|_| self.one(now_ns).granted).sum()
        }
    }

    #[test]
    fn a_full_bucket_gives_its_burst_and_then_one_token_an_interval() {
        let mut bucket = Held::new(60, 60 * SECOND, 10);
        assert_eq!(bucket.count(20, 5 * SECOND), 10);
        assert_eq!(bucket.count(20, 6 * SECOND - 1), 0);
        assert_eq!(bucket.count(20, 6 * SECOND), 1);
        assert_eq!(bucket.count(20, 11 * SECOND), 5);
        assert_eq!(bucket.count(20, 1_000 * SECOND), 10, "more than the burst is never saved up");
    }

    #[test]
    fn every_grant_says_what_is_left_and_when_it_is_full_again() {
        let mut bucket = Held::new(60, 60 * SECOND, 3);
        let full_in = |grant: Grant| (grant.granted, grant.remaining, grant.reset_ns, grant.retry_after_ns);
        assert_eq!(full_in(bucket.one(SECOND)), (1, 2, SECOND, 0));
        assert_eq!(full_in(bucket.one(SECOND)), (1, 1, 2 * SECOND, 0));
        assert_eq!(full_in(bucket.one(SECOND)), (1, 0, 3 * SECOND, 0));
        assert_eq!(full_in(bucket.one(SECOND + SECOND / 4)), (0, 0, 3 * SECOND - SECOND / 4, SECOND - SECOND / 4));
    }

    #[test]
    fn who_waits_as_long_as_told_may_pass_and_not_a_nanosecond_earlier() {
        for (limit, period_ns, burst) in [(1, SECOND, 1), (3, SECOND, 2), (7, 60 * SECOND, 7), (1_000_000, SECOND, 5)] {
            let mut bucket = Held::new(limit, period_ns, burst);
            let now_ns = 12_345_678_901;
            bucket.count(burst, now_ns);
            let wait_ns = bucket.one(now_ns).retry_after_ns;
            assert_eq!(bucket.one(now_ns + wait_ns - 1).granted, 0, "{limit}");
            assert_eq!(bucket.one(now_ns + wait_ns).granted, 1, "{limit}");
        }
    }

    #[test]
    fn a_bucket_made_smaller_is_at_worst_empty() {
        let slow = Bucket::new(1, 3_600 * SECOND, 1, false);
        let (_, amount) = slow.charge(0, 1, SECOND);
        let fast = Bucket::new(100, SECOND, 100, false);
        let (grant, _) = fast.charge(amount, 1, SECOND);
        assert_eq!((grant.granted, grant.retry_after_ns), (0, SECOND / 100));
    }

    #[test]
    fn the_time_comes_round_after_nine_years_without_a_trace() {
        let mut bucket = Held::new(10, SECOND, 10);
        // Not to the nanosecond: an amount of 0 is one of 1.
        let end = AMOUNT_MASK + 10;
        assert_eq!(bucket.count(20, end - SECOND / 2), 10);
        assert_eq!(bucket.count(20, end + SECOND / 2), 10);
        assert_eq!(bucket.count(20, end + SECOND / 2 + SECOND / 10), 1);
    }
}
