//! Weighted choice among the clusters of a split route.

use super::ring::mix;
use super::weighted::Turns;

/// Keeps the part of a split that a key falls into apart from its place on the rings of the clusters behind it.
const SALT: u32 = 0x9e37_79b9;

/// Weighted choice among the splits of a route (canary), one per worker and route.
///
/// Without keys it takes smooth turns, exact over every cycle of the weights. A key always falls into the same split
/// while the weights stay; of two splits, one whose weight grows keeps the keys it has.
#[derive(Debug)]
pub struct Split {
    weights: Box<[u32]>,
    turns: Turns,
}

impl Split {
    /// A choice among `weights`, at least one above 0; turns begin `start` picks into the cycle, any number.
    pub fn new(weights: &[u32], start: u32) -> Self {
        let mut turns = Turns::new(start);
        turns.on_count(weights.len());
        Self { weights: weights.into(), turns }
    }

    /// The split of one request, never one of weight 0 unless all are (then 0).
    ///
    /// `key` is the [`Ring::hash`](super::Ring::hash) of what the split sticks to, `None` takes turns.
    pub fn pick(&mut self, key: Option<u32>) -> usize {
        let weights = &self.weights;
        match key {
            Some(key) => Self::place(weights, key),
            None => self.turns.try_pick(|at| u64::from(weights[at])),
        }
        .unwrap_or(0)
    }

    fn place(weights: &[u32], key: u32) -> Option<usize> {
        let total: u64 = weights.iter().copied().map(u64::from).sum();
        let place = (u128::from(mix(key ^ SALT)) * u128::from(total)) >> 32;
        let mut end = 0;
        weights.iter().position(|weight| {
            end += u128::from(*weight);
            place < end
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Ring;
    use super::*;

    const KEYS: u32 = 20_000;

    fn key(number: u32) -> u32 {
        Ring::hash(&number.to_le_bytes())
    }

    fn counts(weights: &[u32], picks: impl Iterator<Item = usize>) -> Vec<u32> {
        let mut counts = vec![0; weights.len()];
        picks.for_each(|at| counts[at] += 1);
        counts
    }

    #[test]
    fn a_cycle_is_exact_and_the_smaller_part_is_spread_over_it() {
        let mut split = Split::new(&[95, 5], 3);
        let picks: Vec<_> = (0..100).map(|_| split.pick(None)).collect();
        assert_eq!(counts(&[95, 5], picks.iter().copied()), [95, 5]);
        assert!(picks.chunks(20).all(|twenty| twenty.iter().sum::<usize>() == 1));
    }

    #[test]
    fn workers_begin_at_different_places() {
        let firsts: Vec<_> = (0..8).map(|start| Split::new(&[3, 1], start).pick(None)).collect();
        assert_eq!(firsts.iter().sum::<usize>(), 2, "{firsts:?}");
    }

    #[test]
    fn weight_zero_is_never_picked() {
        let weights = [0, 3, 0, 2, 0];
        let mut split = Split::new(&weights, 1);
        assert_eq!(counts(&weights, (0..500).map(|_| split.pick(None))), [0, 300, 0, 200, 0]);
        let by_key = counts(&weights, (0..KEYS).map(|number| split.pick(Some(key(number)))));
        assert_eq!([by_key[0], by_key[2], by_key[4]], [0; 3]);
        assert_eq!(Split::new(&[0, 0], 5).pick(None), 0);
        assert_eq!(Split::new(&[0, 0], 5).pick(Some(9)), 0);
    }

    #[test]
    fn a_key_sticks_on_every_worker_and_keys_follow_weights() {
        let weights = [90, 9, 1];
        let (mut one, mut other) = (Split::new(&weights, 0), Split::new(&weights, 7));
        for number in 0..KEYS {
            let first = one.pick(Some(key(number)));
            other.pick(None);
            assert_eq!((one.pick(Some(key(number))), other.pick(Some(key(number)))), (first, first));
        }
        let counts = counts(&weights, (0..KEYS).map(|number| one.pick(Some(key(number)))));
        for (count, weight) in counts.iter().zip(weights) {
            assert!(count.abs_diff(KEYS * weight / 100) < KEYS / 200, "{counts:?}");
        }
    }

    #[test]
    fn a_canary_that_grows_keeps_its_keys() {
        let (mut small, mut large) = (Split::new(&[95, 5], 0), Split::new(&[90, 10], 0));
        for number in 0..KEYS {
            assert!(small.pick(Some(key(number))) <= large.pick(Some(key(number))));
        }
    }

    #[test]
    fn the_keys_of_a_small_split_reach_every_endpoint_of_a_ring_behind_it() {
        let names: Vec<_> = (0..8).map(|number| format!("10.0.0.{number}:80")).collect();
        let ring = Ring::new(names.iter().map(|name| (name.as_bytes(), 1)));
        let mut split = Split::new(&[95, 5], 0);
        let mut counts = [0; 8];
        for key in (0..KEYS).map(key).filter(|key| split.pick(Some(*key)) == 1) {
            counts[ring.walk(key).next().unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (60..250).contains(count)), "{counts:?}");
    }

    #[test]
    fn the_largest_weights_do_not_overflow() {
        let mut split = Split::new(&[u32::MAX; 3], 0);
        assert_eq!([split.pick(None), split.pick(None), split.pick(None)], [0, 1, 2]);
        assert!((0..1_000).map(|number| split.pick(Some(key(number)))).all(|at| at < 3));
    }
}
