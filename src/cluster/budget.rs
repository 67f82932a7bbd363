//! How many retries are affordable, and how long to wait before one.

/// Millionths of a token.
const TOKEN: u64 = 1_000_000;
/// Tokens at most, so that a calm day does not pay for a storm.
const TOKENS_MAX: u64 = 1_000 * TOKEN;
/// Tokens that time alone restores, over all workers: a route with few requests can retry as well.
const TOKENS_FLOOR: u64 = 10 * TOKEN;
/// Millionths that one millisecond restores, over all workers: a token each 100 ms.
const REFILL_PER_MS: u64 = TOKEN / 100;
/// The longest wait before a retry in milliseconds.
const BACKOFF_MS_MAX: u64 = 10_000;

/// Retries that one worker can afford: a share of its requests, and a trickle where there are few.
///
/// Over any span the retries of all workers are at most `share` x requests + 1 for each 100 ms + what had been saved (10
/// at the start, or one for each worker if there are more; never more than 1000 by a worker), so they cannot amplify an
/// outage, however many workers there are.
#[derive(Clone, Debug)]
pub struct RetryBudget {
    saved: u64,
    refilled_ms: u64,
    /// What time restores at most.
    floor: u64,
    /// And how fast.
    per_ms: u64,
}

impl RetryBudget {
    /// The part of a budget of ten retries that one of `workers` has.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        let workers = workers.max(1) as u64;
        // Less than one would never be enough.
        let floor = (TOKENS_FLOOR / workers).max(TOKEN);
        Self { saved: floor, refilled_ms: 0, floor, per_ms: REFILL_PER_MS / workers }
    }

    /// Told that a request arrived, of which `share` (0 to 1, counted in millionths) is put by for retries.
    pub fn on_request(&mut self, share: f64) {
        self.saved = (self.saved + millionths(share)).min(TOKENS_MAX);
    }

    /// Pays for one retry, if there is enough; `now_ms` is of one clock that never goes back.
    pub fn try_take(&mut self, now_ms: u64) -> bool {
        let elapsed_ms = now_ms.saturating_sub(self.refilled_ms);
        self.refilled_ms = now_ms.max(self.refilled_ms);
        let restored = self.saved.saturating_add(elapsed_ms.saturating_mul(self.per_ms)).min(self.floor);
        self.saved = self.saved.max(restored);
        match self.saved.checked_sub(TOKEN) {
            Some(left) => {
                self.saved = left;
                true
            }
            None => false,
        }
    }
}

/// A share in millionths; what is no number is none.
#[expect(clippy::cast_possible_truncation, reason = "0 to a million and no fraction after the line before")]
fn millionths(share: f64) -> u64 {
    let rounded = (share.clamp(0.0, 1.0) * 1_000_000.0).round();
    rounded as u64
}

/// Milliseconds before retry number `attempt`, 0 being the first: `base_ms` x 2^`attempt`, of which a random half to
/// whole, at most 10 s.
///
/// The cap comes before the draw, so that those who reached it stay apart. `random` is 64 random bits.
#[must_use]
pub fn backoff_ms(base_ms: u64, attempt: u32, random: u64) -> u64 {
    let factor = 1_u64.checked_shl(attempt).unwrap_or(u64::MAX);
    let span_ms = base_ms.saturating_mul(factor).min(BACKOFF_MS_MAX);
    let sure_ms = span_ms / 2;
    let drawn = u128::from(span_ms - sure_ms + 1) * u128::from(random);
    sure_ms + u64::try_from(drawn >> u64::BITS).expect("half of a product of two u64 is a u64")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Retries granted when `n` are asked for at once.
    fn granted(budget: &mut RetryBudget, now_ms: u64, n: usize) -> usize {
        (0..n).filter(|_| budget.try_take(now_ms)).count()
    }

    #[test]
    fn ten_retries_are_free_at_the_start_whenever_that_is() {
        for now_ms in [0, 5, 1 << 40] {
            assert_eq!(granted(&mut RetryBudget::new(1), now_ms, 50), 10, "at {now_ms} ms");
        }
    }

    #[test]
    fn a_tenth_of_the_requests_may_be_retried() {
        let mut budget = RetryBudget::new(1);
        assert_eq!(granted(&mut budget, 7, 50), 10);
        (0..990).for_each(|_| budget.on_request(0.1));
        assert_eq!(granted(&mut budget, 7, 500), 99);
        (0..9).for_each(|_| budget.on_request(0.1));
        assert!(!budget.try_take(7));
        budget.on_request(0.1);
        assert!(budget.try_take(7));
    }

    #[test]
    fn no_more_than_a_thousand_are_saved() {
        let mut budget = RetryBudget::new(1);
        (0..100_000).for_each(|_| budget.on_request(1.0));
        assert_eq!(granted(&mut budget, 0, 5_000), 1_000);
    }

    #[test]
    fn an_empty_budget_earns_one_retry_each_hundred_milliseconds_up_to_ten() {
        let mut budget = RetryBudget::new(1);
        assert_eq!(granted(&mut budget, 1_000, 50), 10);
        assert!(!budget.try_take(1_099));
        assert!(budget.try_take(1_100));
        assert_eq!(granted(&mut budget, 1_350, 50), 2, "half a token stays");
        assert_eq!(granted(&mut budget, 1_400, 50), 1);
        assert_eq!(granted(&mut budget, 3_600_000, 50), 10);
    }

    /// What one worker is free to do is divided among several, so that ten cores retry no more than one.
    #[test]
    fn what_time_restores_is_divided_among_the_workers() {
        for (workers, at_start) in [(1, 10), (2, 10), (4, 8), (10, 10), (32, 32)] {
            let mut budgets = vec![RetryBudget::new(workers); workers];
            let all =
                |budgets: &mut Vec<RetryBudget>, ms| budgets.iter_mut().map(|one| granted(one, ms, 50)).sum::<usize>();
            assert_eq!(all(&mut budgets, 0), at_start, "{workers}");
            let later: usize = (1..=10_000).map(|ms| all(&mut budgets, ms)).sum();
            assert!((90..=100).contains(&later), "{workers}: {later}");
        }
    }

    #[test]
    fn time_adds_nothing_above_ten() {
        let mut budget = RetryBudget::new(1);
        (0..100).for_each(|_| budget.on_request(0.5));
        assert_eq!(granted(&mut budget, 3_600_000, 500), 60);
    }

    #[test]
    fn a_clock_that_stands_still_or_is_late_earns_nothing() {
        let mut budget = RetryBudget::new(1);
        assert_eq!(granted(&mut budget, 1_000, 50), 10);
        assert!(!budget.try_take(500));
        assert!(!budget.try_take(1_000));
        assert!(budget.try_take(u64::MAX));
    }

    #[test]
    fn a_share_outside_its_range_counts_as_its_nearest_end_and_no_number_as_none() {
        for (share, kept) in
            [(-1.0, 0), (f64::NAN, 0), (0.0, 0), (2.0, TOKEN), (f64::INFINITY, TOKEN), (0.000_000_4, 0)]
        {
            assert_eq!(millionths(share), kept, "{share}");
        }
    }

    #[test]
    fn retries_never_exceed_the_share_the_trickle_and_the_start() {
        for seed in 0..64 {
            let mut rng = Rng::from_seed(seed);
            let mut budget = RetryBudget::new(1);
            let share = [0.0, 0.01, 0.1, 0.2, 1.0][usize::try_from(rng.below(5)).unwrap()];
            let (mut now_ms, mut requests, mut retries) = (0, 0_u32, 0_u32);
            for _ in 0..3_000 {
                match rng.below(10) {
                    0 => now_ms += rng.below(200),
                    1..=4 => {
                        budget.on_request(share);
                        requests += 1;
                    }
                    _ => retries += u32::from(budget.try_take(now_ms)),
                }
                let allowed = f64::from(requests) * share + f64::from(u32::try_from(now_ms).unwrap()) / 100.0 + 10.0;
                assert!(f64::from(retries) <= allowed + 1e-6, "seed {seed}: {retries} of {allowed}");
            }
            assert!(retries >= 10, "seed {seed}: a budget is there to be used");
        }
    }

    #[test]
    fn the_wait_doubles_with_each_retry_and_is_half_to_whole_of_it() {
        for (attempt, whole_ms) in [(0, 100), (1, 200), (2, 400), (3, 800)] {
            assert_eq!(backoff_ms(100, attempt, 0), whole_ms / 2);
            assert_eq!(backoff_ms(100, attempt, u64::MAX), whole_ms);
            let middle = backoff_ms(100, attempt, 1 << 63);
            assert!(middle.abs_diff(whole_ms * 3 / 4) <= 1, "{middle}");
        }
    }

    #[test]
    fn the_wait_is_never_above_ten_seconds_and_still_spread_there() {
        for attempt in [7, 20, 63, 64, u32::MAX] {
            assert_eq!(backoff_ms(100, attempt, u64::MAX), 10_000);
            assert_eq!(backoff_ms(100, attempt, 0), 5_000);
        }
        assert_eq!(backoff_ms(u64::MAX, 1, u64::MAX), 10_000);
    }

    #[test]
    fn no_base_is_no_wait_and_one_millisecond_is_at_most_one() {
        assert_eq!(backoff_ms(0, 9, u64::MAX), 0);
        assert!(backoff_ms(1, 0, u64::MAX) == 1 && backoff_ms(1, 0, 0) == 0);
    }

    #[test]
    fn waits_are_spread_evenly() {
        let mut rng = Rng::from_seed(3);
        let mut counts = [0_u32; 5];
        for _ in 0..5_000 {
            let wait_ms = backoff_ms(100, 0, rng.u64());
            assert!((50..=100).contains(&wait_ms));
            counts[usize::try_from((wait_ms - 50) / 11).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (700..1_300).contains(count)), "{counts:?}");
    }
}
