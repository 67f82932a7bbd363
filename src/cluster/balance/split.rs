//! Shares of a route's requests for several clusters.

/// Deals out requests by weight, smoothly, exact over every cycle of as many requests as the weights sum up to.
#[derive(Debug)]
pub struct Split {
    weights: Vec<u32>,
    balances: Vec<i64>,
}

impl Split {
    /// A split by `weights`, not all 0, that begins `start` requests into its cycle.
    #[must_use]
    pub fn new(weights: &[u32], start: u32) -> Self {
        let mut split = Self { weights: weights.to_vec(), balances: vec![0; weights.len()] };
        let cycle: u32 = weights.iter().sum();
        for _ in 0..start.checked_rem(cycle).unwrap_or(0) {
            split.step();
        }
        split
    }

    /// The place of the next request, or the one that requests with this key always have.
    pub fn pick(&mut self, key: Option<u32>) -> usize {
        match key {
            None => self.step(),
            Some(key) => self.place_of(key),
        }
    }

    fn step(&mut self) -> usize {
        let mut best = 0;
        for (at, weight) in self.weights.iter().enumerate() {
            self.balances[at] += i64::from(*weight);
            if self.balances[at] > self.balances[best] || self.weights[best] == 0 {
                best = at;
            }
        }
        self.balances[best] -= self.weights.iter().map(|weight| i64::from(*weight)).sum::<i64>();
        best
    }

    fn place_of(&self, key: u32) -> usize {
        let sum: u64 = self.weights.iter().map(|weight| u64::from(*weight)).sum();
        // The key is a hash: its place in the whole range is its place among the weights.
        let mut left = (u64::from(key) * sum) >> 32;
        for (at, weight) in self.weights.iter().enumerate() {
            match left.checked_sub(u64::from(*weight)) {
                None => return at,
                Some(rest) => left = rest,
            }
        }
        self.weights.len() - 1
    }
}
