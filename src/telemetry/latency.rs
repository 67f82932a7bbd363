//! How long exchanges take, by route and by cluster: log-linear histograms of one writer each, and what is read of them.
//!
//! A duration falls into one of 896 buckets, each at most a 32nd of its lower bound wide (HdrHistogram's layout), from 1 us
//! to 73 minutes. The cells are 32 bits wide and wrap; whoever reads them now and then has the whole numbers.

use std::sync::atomic::{AtomicU32, Ordering};

use super::counters::Counter;
use crate::limits::{CLUSTER_SERIES, ROUTE_SERIES};

/// Buckets of a histogram.
pub const LATENCY_BUCKETS: usize = 27 * SUB_BUCKETS + SUB_BUCKETS;
/// Series of a worker: all exchanges, every route and those that share one, every cluster and those that share one.
pub const LATENCY_SERIES: usize = 1 + (ROUTE_SERIES + 1) + (CLUSTER_SERIES + 1);

/// Buckets in which a duration doubles.
const SUB_BUCKETS: usize = 32;
const SUB_BITS: u32 = SUB_BUCKETS.ilog2();
/// Durations are counted in units of 1024 ns, so that a shift finds the bucket.
const UNIT_BITS: u32 = 10;

/// The bucket of a duration.
#[inline]
fn bucket_of(ns: u64) -> usize {
    let units = ns >> UNIT_BITS;
    if units < SUB_BUCKETS as u64 {
        return usize::try_from(units).unwrap_or_default();
    }
    let shift = units.ilog2() - SUB_BITS;
    let bucket = shift as usize * SUB_BUCKETS + usize::try_from(units >> shift).unwrap_or(usize::MAX);
    bucket.min(LATENCY_BUCKETS - 1)
}

/// The shortest duration of a bucket, in nanoseconds; of [`LATENCY_BUCKETS`] the end of the last one.
#[must_use]
pub const fn latency_bound_ns(bucket: usize) -> u64 {
    let units = if bucket < 2 * SUB_BUCKETS {
        bucket as u64
    } else {
        ((SUB_BUCKETS + bucket % SUB_BUCKETS) as u64) << (bucket / SUB_BUCKETS - 1)
    };
    units << UNIT_BITS
}

/// Whose durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatencySeries {
    /// Everybody's.
    All,
    /// A route's, by its series; from `ROUTE_SERIES` on those of several.
    Route(usize),
    /// A cluster's, by its series; from `CLUSTER_SERIES` on those of several.
    Cluster(usize),
}

impl LatencySeries {
    /// Its place among [`LATENCY_SERIES`].
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::All => 0,
            Self::Route(slot) if slot < ROUTE_SERIES => 1 + slot,
            Self::Route(_) => 1 + ROUTE_SERIES,
            Self::Cluster(slot) if slot < CLUSTER_SERIES => 2 + ROUTE_SERIES + slot,
            Self::Cluster(_) => 2 + ROUTE_SERIES + CLUSTER_SERIES,
        }
    }
}

/// The histograms of one worker.
///
/// Memory is the kernel's until a page of it is written to: a series without traffic costs none.
#[derive(Debug)]
pub struct Latencies {
    cells: Box<[AtomicU32]>,
    counts: Box<[Counter]>,
}

impl Default for Latencies {
    fn default() -> Self {
        let zeros = Box::into_raw(vec![0_u32; LATENCY_SERIES * LATENCY_BUCKETS].into_boxed_slice());
        // SAFETY: the box was given up a line above, and `AtomicU32` has the size, the alignment and the values of `u32`.
        let cells = unsafe { Box::from_raw(zeros as *mut [AtomicU32]) };
        Self { cells, counts: (0..LATENCY_SERIES).map(|_| Counter::new()).collect() }
    }
}

impl Latencies {
    /// Counts an exchange with the series of its route and of its cluster, if it came to any.
    #[inline]
    pub fn observe(&self, route: Option<usize>, cluster: Option<usize>, ns: u64) {
        let bucket = bucket_of(ns);
        self.add(LatencySeries::All, bucket);
        self.add(LatencySeries::Route(route.unwrap_or(ROUTE_SERIES)), bucket);
        if let Some(cluster) = cluster {
            self.add(LatencySeries::Cluster(cluster), bucket);
        }
    }

    #[inline]
    fn add(&self, series: LatencySeries, bucket: usize) {
        let series = series.index();
        // There is one writer: a load and a store, and no locked instruction.
        let cell = &self.cells[series * LATENCY_BUCKETS + bucket];
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        self.counts[series].add(1);
    }

    /// Exchanges of a series.
    #[must_use]
    pub fn count(&self, series: LatencySeries) -> u64 {
        self.counts[series.index()].value()
    }
}

/// How durations are spread over the buckets: those that have any, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spread(Vec<(u16, u64)>);

impl Spread {
    /// What the workers have counted of a series by now; `before` is what was read of it last, within four billion exchanges.
    #[must_use]
    pub fn read<'a>(
        workers: impl Iterator<Item = &'a Latencies> + Clone,
        series: LatencySeries,
        before: &Self,
    ) -> Self {
        if workers.clone().all(|worker| worker.count(series) == 0) {
            return Self::default();
        }
        let mut now = [0_u32; LATENCY_BUCKETS];
        let first = series.index() * LATENCY_BUCKETS;
        for worker in workers {
            for (sum, cell) in now.iter_mut().zip(&worker.cells[first..]) {
                *sum = sum.wrapping_add(cell.load(Ordering::Relaxed));
            }
        }
        let mut known = before.0.iter().copied().peekable();
        let whole = (0_u16..).zip(now).map(|(bucket, low)| {
            let last = known.next_if(|(at, _)| *at == bucket).map_or(0, |(_, count)| count);
            // The low half of `last` is what the cells showed then.
            (bucket, last + u64::from(low.wrapping_sub(low_half(last))))
        });
        Self(whole.filter(|(_, count)| *count > 0).collect())
    }

    /// What came since `earlier`, a reading of the same series.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut known = earlier.0.iter().copied().peekable();
        let rest = self.0.iter().map(|(bucket, count)| {
            while known.next_if(|(at, _)| at < bucket).is_some() {}
            (*bucket, count - known.next_if(|(at, _)| at == bucket).map_or(0, |(_, count)| count))
        });
        Self(rest.filter(|(_, count)| *count > 0).collect())
    }

    /// Exchanges in all.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// The duration that this share of the exchanges did not exceed, at most a 32nd above the exact one; 0 without any.
    #[must_use]
    #[allow(clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "a rank above 2^53 may round")]
    #[allow(clippy::cast_possible_truncation, reason = "it is a share of a count")]
    pub fn quantile_ns(&self, share: f64) -> u64 {
        let rank = ((self.count() as f64 * share).ceil() as u64).max(1);
        let mut passed = 0;
        let at = self.0.iter().find(|(_, count)| {
            passed += count;
            passed >= rank
        });
        at.or(self.0.last()).map_or(0, |(bucket, _)| end_ns(*bucket))
    }

    /// The longest duration, at most a 32nd above the exact one; 0 without any.
    #[must_use]
    pub fn max_ns(&self) -> u64 {
        self.0.last().map_or(0, |(bucket, _)| end_ns(*bucket))
    }

    /// The same in coarser steps: how many exchanges in each `per_row` buckets, by their number.
    #[must_use]
    pub fn rows(&self, per_row: u16) -> Vec<(u16, u64)> {
        let mut rows: Vec<(u16, u64)> = Vec::new();
        for (bucket, count) in &self.0 {
            match rows.last_mut() {
                Some((row, sum)) if *row == bucket / per_row => *sum += count,
                _ => rows.push((bucket / per_row, *count)),
            }
        }
        rows
    }
}

const fn end_ns(bucket: u16) -> u64 {
    latency_bound_ns(bucket as usize + 1)
}

#[allow(clippy::cast_possible_truncation, reason = "that is what it is for")]
const fn low_half(whole: u64) -> u32 {
    whole as u32
}

#[cfg(test)]
mod tests;
