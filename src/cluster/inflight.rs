//! What the other workers have in flight, as one worker last looked.

/// Nanoseconds after which the others are looked at again: 1 ms.
const AGE_NS: u64 = 1_000_000;

/// Exchanges of the other workers in flight to each endpoint of a cluster, at most 1 ms old.
///
/// Reading them costs a cache line of every other worker and endpoint, which no request should pay; a worker's own are
/// always exact and added by who asks.
#[derive(Clone, Debug)]
pub struct InFlightView {
    /// `None` before the first look.
    looked_ns: Option<u64>,
    elsewhere: Vec<u32>,
}

impl Default for InFlightView {
    fn default() -> Self {
        Self::new()
    }
}

impl InFlightView {
    /// A view that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { looked_ns: None, elsewhere: Vec::new() }
    }

    /// Looks again at all `count` endpoints when the last look was 1 ms ago or at another number of them.
    ///
    /// `now_ns` is of one clock that never goes back. Allocates only when `count` grows. A view belongs to one list of
    /// endpoints: with another of the same length it would be of the old one for up to 1 ms.
    pub fn refresh(&mut self, now_ns: u64, count: usize, elsewhere: impl FnMut(usize) -> u32) {
        let is_recent = self.looked_ns.is_some_and(|looked_ns| now_ns.saturating_sub(looked_ns) < AGE_NS);
        if is_recent && self.elsewhere.len() == count {
            return;
        }
        self.elsewhere.clear();
        self.elsewhere.extend((0..count).map(elsewhere));
        self.looked_ns = Some(now_ns);
    }

    /// Exchanges in flight to endpoint `at` on the other workers, 0 for one that was not looked at.
    #[must_use]
    pub fn elsewhere(&self, at: usize) -> u32 {
        self.elsewhere.get(at).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn the_first_look_is_taken_at_once_even_at_the_beginning_of_time() {
        let mut view = InFlightView::new();
        assert_eq!(view.elsewhere(0), 0);
        view.refresh(0, 2, |at| [7, 9][at]);
        assert_eq!([0, 1, 2].map(|at| view.elsewhere(at)), [7, 9, 0]);
    }

    #[test]
    fn the_next_look_is_taken_after_one_millisecond() {
        let mut view = InFlightView::new();
        view.refresh(5_000_000, 1, |_| 1);
        view.refresh(5_999_999, 1, |_| 2);
        assert_eq!(view.elsewhere(0), 1);
        view.refresh(6_000_000, 1, |_| 3);
        assert_eq!(view.elsewhere(0), 3);
        view.refresh(6_500_000, 1, |_| 4);
        assert_eq!(view.elsewhere(0), 3, "the age counts from the last look");
    }

    #[test]
    fn another_number_of_endpoints_is_looked_at_at_once() {
        let mut view = InFlightView::new();
        view.refresh(0, 3, |_| 1);
        view.refresh(1, 1, |_| 2);
        assert_eq!([0, 1, 2].map(|at| view.elsewhere(at)), [2, 0, 0]);
        view.refresh(2, 2, |_| 3);
        assert_eq!([0, 1, 2].map(|at| view.elsewhere(at)), [3, 3, 0]);
    }

    #[test]
    fn what_is_seen_is_never_older_than_one_millisecond_nor_read_more_often() {
        for seed in 0..32 {
            let mut rng = Rng::from_seed(seed);
            let mut view = InFlightView::new();
            let (mut now_ns, mut looked_ns) = (rng.below(1 << 40), None::<u64>);
            for _ in 0..500 {
                now_ns += rng.below(700_000);
                let mut looked = false;
                view.refresh(now_ns, 2, |_| {
                    looked = true;
                    u32::try_from(now_ns % 1_000_000_007).unwrap()
                });
                assert_eq!(looked, looked_ns.is_none_or(|at_ns| now_ns - at_ns >= 1_000_000), "seed {seed}");
                if looked {
                    looked_ns = Some(now_ns);
                }
                let seen_ns = looked_ns.unwrap();
                assert!(now_ns - seen_ns < 1_000_000);
                assert_eq!(u64::from(view.elsewhere(1)), seen_ns % 1_000_000_007);
            }
        }
    }
}
