//! Which priority tiers are too slow to be routed to.

/// Looks in a row at which a slow tier must be well within its budget before it is used again.
const GOOD_LOOKS: u8 = 3;
/// Tiers that a mask has room for.
const TIERS_MAX: usize = 64;

/// One tier as last judged.
#[derive(Clone, Copy, Debug, Default)]
struct Tier {
    is_slow: bool,
    /// In a row, while slow.
    good_looks: u8,
}

/// Judges the tiers of a cluster by their latency, with hysteresis.
///
/// | tier | latency at a look | then |
/// |---|---|---|
/// | in use | above the most | slow |
/// | in use | any other, or unknown | in use |
/// | slow | below 80 % of the most, the third look in a row | in use |
/// | slow | below 80 % of the most, the first or second | slow |
/// | slow | 80 % of the most or more | slow, and the row begins anew |
/// | slow | unknown | slow, and the row goes on |
///
/// It does not know whether another tier will do: with every tier slow, the mask holds them all and whoever routes
/// ignores it. A slow tier has no traffic to be measured by, so its latency must come from probes.
#[derive(Clone, Debug)]
pub struct TierGate {
    latency_us_max: u64,
    tiers: Box<[Tier]>,
}

impl TierGate {
    /// All of at most 64 `tiers` in use; `latency_us_max` is the most latency that one in use may show.
    #[must_use]
    pub fn new(tiers: usize, latency_us_max: u64) -> Self {
        assert!(tiers <= TIERS_MAX, "a priority is below 64");
        Self { latency_us_max, tiers: vec![Tier::default(); tiers].into_boxed_slice() }
    }

    /// Told the latencies of one look in microseconds by tier, `None` where unknown; returns the slow as bits by tier.
    pub fn on_latencies(&mut self, latencies_us: &[Option<u64>]) -> u64 {
        for (tier, latency_us) in self.tiers.iter_mut().zip(latencies_us) {
            if let Some(latency_us) = latency_us {
                tier.on_latency(*latency_us, self.latency_us_max);
            }
        }
        let slow = self.tiers.iter().enumerate().filter(|(_, tier)| tier.is_slow);
        slow.fold(0, |mask, (at, _)| mask | 1 << at)
    }
}

impl Tier {
    fn on_latency(&mut self, latency_us: u64, latency_us_max: u64) {
        // Five times the one below four times the other, without rounding.
        let is_good = u128::from(latency_us) * 5 < u128::from(latency_us_max) * 4;
        *self = match (self.is_slow, is_good) {
            (false, _) => Self { is_slow: latency_us > latency_us_max, good_looks: 0 },
            (true, true) if self.good_looks + 1 == GOOD_LOOKS => Self::default(),
            (true, true) => Self { is_slow: true, good_looks: self.good_looks + 1 },
            (true, false) => Self { is_slow: true, good_looks: 0 },
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// The masks that one tier with a most of 50 ms shows at latencies in milliseconds, 0 for unknown.
    fn looks(gate: &mut TierGate, latencies_ms: &[u64]) -> Vec<u64> {
        let known = |ms: &u64| (*ms > 0).then_some(ms * 1_000);
        latencies_ms.iter().map(|ms| gate.on_latencies(&[known(ms)])).collect()
    }

    #[test]
    fn a_tier_is_left_at_the_first_look_above_the_most() {
        let mut gate = TierGate::new(1, 50_000);
        assert_eq!(looks(&mut gate, &[1, 50, 51]), [0, 0, 1]);
    }

    #[test]
    fn a_slow_tier_is_back_after_three_good_looks_in_a_row() {
        let mut gate = TierGate::new(1, 50_000);
        assert_eq!(looks(&mut gate, &[51, 39, 39, 39, 45]), [1, 1, 1, 0, 0]);
        assert_eq!(looks(&mut gate, &[99, 39, 39, 40, 39, 39, 39]), [1, 1, 1, 1, 1, 1, 0], "80 % is not below it");
    }

    #[test]
    fn latencies_about_the_most_do_not_make_a_tier_flap() {
        let mut gate = TierGate::new(1, 50_000);
        let about = [51, 45, 49, 52, 41, 50, 40, 44].repeat(20);
        assert!(looks(&mut gate, &about).iter().all(|mask| *mask == 1));
    }

    #[test]
    fn an_unknown_latency_changes_nothing() {
        let mut gate = TierGate::new(1, 50_000);
        assert_eq!(looks(&mut gate, &[0, 51, 39, 0, 39, 0, 0, 39]), [0, 1, 1, 1, 1, 1, 1, 0]);
        assert_eq!(gate.on_latencies(&[]), 0);
    }

    #[test]
    fn each_tier_is_judged_for_itself_and_all_may_be_slow() {
        let mut gate = TierGate::new(64, 1_000);
        let mut latencies = [Some(10); 64];
        (latencies[0], latencies[2], latencies[63]) = (Some(1_001), None, Some(u64::MAX));
        assert_eq!(gate.on_latencies(&latencies), 1 | 1 << 63);
        assert_eq!(gate.on_latencies(&[Some(2_000); 64]), u64::MAX);
        let more = TierGate::new(2, 1_000).on_latencies(&[Some(2_000); 9]);
        assert_eq!(more, 0b11, "there are no more tiers than it was made for");
    }

    #[test]
    fn the_largest_budget_does_not_overflow() {
        let mut gate = TierGate::new(1, u64::MAX);
        assert_eq!(gate.on_latencies(&[Some(u64::MAX)]), 0);
    }

    #[test]
    fn the_gate_agrees_with_the_history_of_looks() {
        for seed in 0..64 {
            let mut rng = Rng::from_seed(seed);
            let mut gate = TierGate::new(1, 100);
            let (mut known, mut was_slow) = (Vec::new(), false);
            for _ in 0..1_000 {
                let latency_us = [60, 79, 80, 100, 101, 500][usize::try_from(rng.below(6)).unwrap()];
                let shown = rng.below(4) > 0;
                known.extend(shown.then_some(latency_us));
                let mask = gate.on_latencies(&[shown.then_some(latency_us)]);
                // Slow since the last look above the most, until three good ones stand together after it.
                let above = known.iter().rposition(|us| *us > 100);
                let is_slow = above.is_some_and(|at| !known[at..].windows(3).any(|row| row.iter().all(|us| *us < 80)));
                assert_eq!(mask, u64::from(is_slow), "seed {seed}");
                was_slow |= is_slow;
            }
            assert!(was_slow);
        }
    }
}
