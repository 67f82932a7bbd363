//! Latencies of one worker, in buckets that others may read while it writes.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Buckets of one doubling of latency.
const STEPS: u32 = 16;
/// Doublings: from 16 microseconds to a minute and more.
const OCTAVES: u32 = 23;
/// The power of two at which buckets begin to be wider than a microsecond.
const FIRST: u32 = 4;
/// Buckets in all.
pub(super) const BUCKETS: usize = (STEPS * (OCTAVES + 1)) as usize;

/// Counts that only ever grow, and wrap; one worker writes.
#[derive(Debug)]
pub(super) struct Histogram {
    buckets: [AtomicU32; BUCKETS],
    sum_us: AtomicU64,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self { buckets: [const { AtomicU32::new(0) }; BUCKETS], sum_us: AtomicU64::new(0) }
    }

    /// An answer took so many microseconds. The worker that writes is alone, so that a load and a store will do.
    pub(super) fn add(&self, us: u64) {
        let bucket = &self.buckets[index(us)];
        bucket.store(bucket.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        self.sum_us.store(self.sum_us.load(Ordering::Relaxed).wrapping_add(us), Ordering::Relaxed);
    }
}

/// What several histograms hold together.
#[derive(Debug, Clone)]
pub(super) struct Totals {
    pub(super) buckets: [u32; BUCKETS],
    pub(super) sum_us: u64,
}

impl Totals {
    pub(super) fn of<'a>(histograms: impl Iterator<Item = &'a Histogram>) -> Self {
        let mut totals = Self { buckets: [0; BUCKETS], sum_us: 0 };
        for one in histograms {
            for (total, bucket) in totals.buckets.iter_mut().zip(&one.buckets) {
                *total = total.wrapping_add(bucket.load(Ordering::Relaxed));
            }
            totals.sum_us = totals.sum_us.wrapping_add(one.sum_us.load(Ordering::Relaxed));
        }
        totals
    }

    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().copied().map(u64::from).sum()
    }

    /// The time within which half of them were, in microseconds; 0 for none.
    pub(super) fn median_us(&self) -> f64 {
        let half = self.count().div_ceil(2);
        let mut before = 0;
        for (at, held) in self.buckets.iter().copied().enumerate().filter(|(_, held)| *held > 0) {
            if before + u64::from(held) >= half {
                // Spread evenly over the bucket.
                let (least, width) = bounds(at);
                let within = u32::try_from(half - before).map_or(0.0, f64::from) / f64::from(held);
                return least + width * within;
            }
            before += u64::from(held);
        }
        0.0
    }
}

/// The bucket of a latency: its leading bits.
fn index(us: u64) -> usize {
    let us = us.min((1 << (FIRST + OCTAVES)) - 1);
    let octave = us.checked_ilog2().unwrap_or(0).saturating_sub(FIRST - 1);
    let step = if octave == 0 { us } else { (us >> (octave - 1)) - u64::from(STEPS) };
    (octave * STEPS) as usize + usize::try_from(step).unwrap_or(0)
}

/// The least latency of a bucket and the width of it, in microseconds.
fn bounds(index: usize) -> (f64, f64) {
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    let (octave, step) = (index / STEPS, index % STEPS);
    if octave == 0 {
        return (f64::from(step), 1.0);
    }
    let width = f64::from(1_u32 << (octave - 1));
    (f64::from(STEPS + step) * width, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_within_the_bounds_of_its_bucket() {
        for us in (0..5000).chain([65_535, 65_536, 1_000_000, 60_000_000, 134_217_727]) {
            let (least, width) = bounds(index(us));
            let exact = f64::from(u32::try_from(us).unwrap());
            assert!(least <= exact && exact < least + width, "{us}: {least} {width}");
            assert!(width <= 1.0 || width <= exact / 15.0, "{us}: {width}");
        }
        assert_eq!(index(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn the_median_is_near_the_middle_one() {
        let (one, other) = (Histogram::new(), Histogram::new());
        for us in 0..=1000 {
            (if us % 2 == 0 { &one } else { &other }).add(us * 10);
        }
        let totals = Totals::of([&one, &other].into_iter());
        assert_eq!((totals.count(), totals.sum_us), (1001, 5_005_000));
        assert!((totals.median_us() - 5000.0).abs() < 50.0, "{}", totals.median_us());
        assert!(Totals::of([].into_iter()).median_us() == 0.0);
    }
}
