//! In turn by weight: smooth weighted round robin, as nginx does it.

/// Looks at weights that the first pick may spend on beginning somewhere else than another worker.
const LEAD_LOOKS: usize = 16 * 1024;
/// Largest weight; with fewer than 2^18 choices no sum overflows.
const WEIGHT_MAX: u64 = 1 << 44;

/// Smooth weighted turns: over a cycle each as often as its weight, its turns spread over the cycle.
///
/// At every pick each gains its weight, the richest is picked and pays what all gained. Source: nginx,
/// `ngx_http_upstream_get_peer`.
#[derive(Debug)]
pub(super) struct Turns {
    /// What each is owed, in weight times picks.
    owed: Vec<i64>,
    /// Most that anyone is owed, or owes, from one pick to the next.
    bound: i64,
    start: u32,
    is_fresh: bool,
}

impl Turns {
    /// Turns that begin `start` picks into the cycle, as far as [`LEAD_LOOKS`] allow; none to choose among yet.
    pub(super) const fn new(start: u32) -> Self {
        Self { owed: Vec::new(), bound: 0, start, is_fresh: true }
    }

    /// Told how many there are to choose among; another number than before begins afresh.
    pub(super) fn on_count(&mut self, count: usize) {
        if self.owed.len() != count {
            self.owed.clear();
            self.owed.resize(count, 0);
            self.is_fresh = true;
        }
    }

    /// The one whose turn it is, `None` when no weight is above 0; one of weight 0 is left as it is.
    pub(super) fn try_pick(&mut self, weight: impl Fn(usize) -> u64) -> Option<usize> {
        if self.is_fresh {
            for _ in 0..self.lead(&weight)? {
                self.step(&weight);
            }
            self.is_fresh = false;
        }
        self.step(&weight)
    }

    fn step(&mut self, weight: impl Fn(usize) -> u64) -> Option<usize> {
        let (mut total, mut richest) = (0, None);
        for (at, owed) in self.owed.iter_mut().enumerate() {
            let gain = weight(at).min(WEIGHT_MAX).cast_signed();
            if gain == 0 {
                continue;
            }
            // With constant weights nobody comes near the bound. Where weights fell, it forgives what only the old
            // ones could have paid back soon: a thousandth of a weight would otherwise wait a thousand cycles.
            *owed = (*owed).clamp(-self.bound, self.bound) + gain;
            total += gain;
            if richest.is_none_or(|(_, most)| *owed > most) {
                richest = Some((at, *owed));
            }
        }
        let (picked, _) = richest?;
        self.owed[picked] -= total;
        // It falls slowly, so that one pick without the heaviest (already tried) forgives nothing.
        self.bound = (2 * total).max(self.bound - self.bound / 16);
        Some(picked)
    }

    /// Picks to skip, `None` when no weight is above 0.
    fn lead(&self, weight: impl Fn(usize) -> u64) -> Option<u64> {
        let (mut total, mut divisor) = (0, 0);
        for weight in (0..self.owed.len()).map(|at| weight(at).min(WEIGHT_MAX)) {
            total += weight;
            divisor = gcd(divisor, weight);
        }
        let cycle = total.checked_div(divisor)?;
        let affordable = (LEAD_LOOKS / self.owed.len()).max(1) as u64;
        Some(u64::from(self.start) % cycle.min(affordable))
    }
}

/// The greatest common divisor; that of 0 and `b` is `b`.
const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while a != 0 {
        (a, b) = (b % a, a);
    }
    b
}

#[cfg(test)]
mod tests {
    use super::super::tests::Dice;
    use super::*;

    fn picks(turns: &mut Turns, weights: &[u64], rounds: usize) -> Vec<usize> {
        turns.on_count(weights.len());
        (0..rounds).map(|_| turns.try_pick(|at| weights[at]).unwrap()).collect()
    }

    #[test]
    fn the_sequence_is_the_one_nginx_publishes() {
        // The message of nginx's commit "Upstream: smooth weighted round-robin balancing." steps through { 5, 1, 1 }.
        let (a, b, c) = (0, 1, 2);
        let cycle = [a, a, b, a, c, a, a];
        let published = [[-2, 1, 1], [-4, 2, 2], [1, -4, 3], [-1, -3, 4], [4, -2, -2], [2, -1, -1], [0, 0, 0]];
        let mut turns = Turns::new(0);
        for (picked, owed) in cycle.into_iter().zip(published) {
            assert_eq!((picks(&mut turns, &[5, 1, 1], 1), turns.owed.as_slice()), (vec![picked], owed.as_slice()));
        }
        for unit in [1, 1000] {
            let picks = picks(&mut Turns::new(0), &[5 * unit, unit, unit], 21);
            assert_eq!(picks, cycle.repeat(3));
        }
    }

    #[test]
    fn every_place_of_the_cycle_is_some_workers_start() {
        let cycle = picks(&mut Turns::new(0), &[5000, 1000, 1000], 14);
        for start in 0..7 {
            let from_start = picks(&mut Turns::new(7_000 + start), &[5000, 1000, 1000], 7);
            assert_eq!(from_start, cycle[start as usize..start as usize + 7]);
        }
    }

    #[test]
    fn a_cycle_is_exact_from_any_start_and_no_turn_comes_far_from_its_time() {
        let mut dice = Dice::new(1);
        for _ in 0..200 {
            let weights: Vec<u64> = (0..=dice.below(9)).map(|_| 1 + dice.below(40) as u64).collect();
            let total: u64 = weights.iter().sum();
            let mut turns = Turns::new(u32::try_from(dice.below(1_000_000)).unwrap());
            turns.on_count(weights.len());
            let mut counts = vec![0; weights.len()];
            for _ in 0..3 * total {
                counts[turns.try_pick(|at| weights[at]).unwrap()] += 1;
                let total = total.cast_signed();
                assert!(turns.owed.iter().all(|owed| owed.abs() < total), "{weights:?}: owed {:?}", turns.owed);
                assert_eq!(turns.owed.iter().sum::<i64>(), 0, "what one gains another pays");
            }
            assert_eq!(counts, weights.iter().map(|weight| 3 * weight).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_weight_that_falls_is_not_paid_for_by_a_thousand_turns_of_nobody_else() {
        for (before, after) in [([1_000_000, 1_000_000, 1000], [1000, 1000, 1000]), ([1000, 1, 1], [1, 1, 1])] {
            let mut turns = Turns::new(0);
            picks(&mut turns, &before, 1_001);
            picks(&mut turns, &after, 150);
            let picks = picks(&mut turns, &after, 30);
            for at in 0..3 {
                assert_eq!(picks.iter().filter(|pick| **pick == at).count(), 10, "{after:?}: {at}");
            }
        }
    }

    #[test]
    fn one_pick_without_the_heaviest_forgives_nothing() {
        let mut turns = Turns::new(0);
        while picks(&mut turns, &[50, 1, 1], 1) != [1] {}
        let owed = turns.owed[1];
        assert!(owed < -2 * 2, "more than the total of the others forgives");
        assert_eq!(picks(&mut turns, &[0, 1, 1], 1), [2]);
        assert_eq!(picks(&mut turns, &[50, 1, 1], 3), [0, 0, 0]);
        assert_eq!(turns.owed[1], owed + 4);
    }

    #[test]
    fn many_endpoints_begin_apart_within_a_bounded_lead() {
        let weights = vec![1000; 16 * 1024];
        assert_eq!(picks(&mut Turns::new(77), &weights, 2), [0, 1], "too many to step through");
        assert_eq!(picks(&mut Turns::new(77), &weights[..128], 2), [77, 78]);
    }

    #[test]
    fn the_largest_weights_do_not_overflow() {
        let weights = vec![u64::MAX; 16 * 1024];
        assert_eq!(picks(&mut Turns::new(3), &weights, 3), [0, 1, 2]);
    }

    #[test]
    fn picks_after_the_first_keep_their_storage() {
        let mut turns = Turns::new(4);
        picks(&mut turns, &[3, 2, 1], 1);
        let storage = (turns.owed.as_ptr(), turns.owed.capacity());
        picks(&mut turns, &[0, 7, 1_000_000], 1_000);
        assert_eq!((turns.owed.as_ptr(), turns.owed.capacity()), storage);
    }
}
