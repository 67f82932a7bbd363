//! How fast changes of the live policy come to every core.

/// Upper bounds of the buckets in microseconds; what takes longer is in one more.
const BOUNDS_US: [u64; 11] = [100, 250, 500, 1_000, 2_000, 3_000, 5_000, 10_000, 25_000, 100_000, 1_000_000];

/// Changes of the live policy since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PolicySyncs {
    /// Changes that were not taken.
    pub refused: u64,
    buckets: [u64; BOUNDS_US.len() + 1],
    sum_us: u64,
}

impl PolicySyncs {
    /// Every core has adopted a change, `took_ns` after it was seen.
    pub fn on_synced(&mut self, took_ns: u64) {
        let us = took_ns.div_ceil(1_000);
        let bucket = BOUNDS_US.iter().position(|bound| us <= *bound).unwrap_or(BOUNDS_US.len());
        self.buckets[bucket] += 1;
        self.sum_us += us;
    }

    /// Changes adopted by every core.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their times together, in milliseconds.
    pub(super) fn sum_ms(&self) -> f64 {
        millis(self.sum_us)
    }

    /// Buckets by their upper bounds in milliseconds.
    pub(super) fn buckets_ms(&self) -> Vec<(f64, u64)> {
        let bounds = BOUNDS_US.iter().map(|us| millis(*us)).chain([f64::INFINITY]);
        bounds.zip(self.buckets).collect()
    }
}

#[allow(clippy::cast_precision_loss, reason = "a metric is rounded")]
fn millis(us: u64) -> f64 {
    us as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_in_the_bucket_of_its_time() {
        let mut syncs = PolicySyncs::default();
        for ns in [1, 100_000, 100_001, 4_999_999, 5_000_001, 9_000_000_000] {
            syncs.on_synced(ns);
        }
        let counts: Vec<_> = syncs.buckets_ms().into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counts, [(0.1, 2), (0.25, 1), (5.0, 1), (10.0, 1), (f64::INFINITY, 1)]);
        assert_eq!((syncs.count(), syncs.sum_ms()), (6, 9_010.203));
    }
}
