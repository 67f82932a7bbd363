//! In proportion to weights, spread as evenly as they allow: the smooth algorithm that nginx uses.
//!
//! Each pick adds every endpoint's weight to its balance, takes the largest balance, and subtracts the sum of the weights
//! from it. With weights 5, 1, 1 that gives a a b a c a a instead of a a a a a b c.

use super::Candidates;

/// Balances by place.
#[derive(Debug)]
pub(super) struct Weighted {
    balances: Vec<i64>,
    /// Picks made before the first one that counts, so that workers are out of step.
    start: u32,
}

impl Weighted {
    pub(super) const fn new(start: u32) -> Self {
        Self { balances: Vec::new(), start }
    }

    /// The endpoint with the largest balance among those with a share.
    pub(super) fn try_pick(&mut self, candidates: &impl Candidates) -> Option<usize> {
        self.balances.resize(candidates.count(), 0);
        for _ in 0..std::mem::take(&mut self.start).min(u32::try_from(candidates.count()).unwrap_or(u32::MAX)) {
            self.step(candidates);
        }
        self.step(candidates)
    }

    fn step(&mut self, candidates: &impl Candidates) -> Option<usize> {
        let (mut sum, mut best) = (0, None::<usize>);
        for at in 0..self.balances.len() {
            let share = i64::from(candidates.share(at));
            if share == 0 {
                // One that is away earns nothing, or it would come back to a flood.
                self.balances[at] = 0;
                continue;
            }
            sum += share;
            self.balances[at] += share;
            if best.is_none_or(|best| self.balances[at] > self.balances[best]) {
                best = Some(at);
            }
        }
        self.balances[best?] -= sum;
        best
    }
}
