//! Results in a sliding window: eight buckets of one word each, written by one worker, read by anyone.

use super::super::atomics::{AtomicU64, Ordering};

const BUCKETS: usize = 8;
/// Bits of each of a bucket's two counts; what is left of the word is the number of its time slice.
const COUNT_BITS: u32 = 17;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
const SLICE_MASK: u64 = (1 << (64 - 2 * COUNT_BITS)) - 1;

/// What the counts of a window are about; those of another era are forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Era {
    /// Milliseconds of one time slice.
    slice_ms: u32,
    number: u16,
}

impl Era {
    /// The era of `number`, with windows of `window_ms`.
    ///
    /// The width is part of it: slices of different widths cannot be compared.
    pub(super) fn new(window_ms: u64, number: u16) -> Self {
        Self { slice_ms: u32::try_from(window_ms / BUCKETS as u64).unwrap_or(u32::MAX).max(1), number }
    }

    /// Never 0, which is a window that has counted nothing.
    fn word(self) -> u64 {
        u64::from(self.number) << 32 | u64::from(self.slice_ms)
    }

    fn slice(self, now_ms: u64) -> u64 {
        (now_ms / u64::from(self.slice_ms)) & SLICE_MASK
    }
}

/// Results counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) ok: u64,
    pub(super) bad: u64,
}

impl Counts {
    /// Whether there are enough results to judge by, and the share of failures is at or above `error_rate`.
    pub(super) fn is_over(self, error_rate: f64, min_requests: u32) -> bool {
        let total = self.ok + self.bad;
        self.bad > 0 && total >= u64::from(min_requests) && self.bad as f64 >= error_rate * total as f64
    }

    /// These and those.
    pub(super) const fn plus(self, other: Self) -> Self {
        Self { ok: self.ok + other.ok, bad: self.bad + other.bad }
    }
}

/// One worker's results of the last eight time slices, the one that lasts included.
///
/// What is older than the window is never counted, what is younger than seven eighths of it always is.
#[derive(Debug, Default)]
pub(super) struct Window {
    era: AtomicU64,
    /// By number of the slice, modulo: slice, successes, failures. One without counts is empty, whatever its slice.
    buckets: [AtomicU64; BUCKETS],
}

impl Window {
    /// Told of a result; only the worker that owns the window may.
    pub(super) fn on_result(&self, era: Era, now_ms: u64, is_ok: bool) {
        if self.era.load(Ordering::Relaxed) != era.word() {
            for bucket in &self.buckets {
                bucket.store(0, Ordering::Relaxed);
            }
            // Release: whoever sees the new era sees the buckets empty, or with counts of that era.
            self.era.store(era.word(), Ordering::Release);
        }
        let slice = era.slice(now_ms);
        let bucket = &self.buckets[usize::try_from(slice % BUCKETS as u64).expect("a remainder of eight is small")];
        let (seen, mut counts) = unpacked(bucket.load(Ordering::Relaxed));
        if seen != slice {
            counts = Counts::default();
        }
        // Halved together at the brim, so that their ratio stays.
        if counts.ok.max(counts.bad) == COUNT_MAX {
            counts = Counts { ok: counts.ok / 2, bad: counts.bad / 2 };
        }
        *(if is_ok { &mut counts.ok } else { &mut counts.bad }) += 1;
        bucket.store(slice << (2 * COUNT_BITS) | counts.ok << COUNT_BITS | counts.bad, Ordering::Relaxed);
    }

    /// The results of `era` in the window that ends at `now_ms`.
    pub(super) fn counts(&self, era: Era, now_ms: u64) -> Counts {
        // Acquire: pairs with the release above. A reader that the next era overtakes may count some of that;
        // the era it asked for is over then, and the compare-and-swap that would act on its conclusion fails.
        if self.era.load(Ordering::Acquire) != era.word() {
            return Counts::default();
        }
        let slice = era.slice(now_ms);
        let mut sum = Counts::default();
        for bucket in &self.buckets {
            let (seen, counts) = unpacked(bucket.load(Ordering::Relaxed));
            // The writer's clock may be a slice ahead of the reader's.
            if slice.wrapping_add(1).wrapping_sub(seen) & SLICE_MASK <= BUCKETS as u64 {
                sum = sum.plus(counts);
            }
        }
        sum
    }
}

fn unpacked(word: u64) -> (u64, Counts) {
    (word >> (2 * COUNT_BITS), Counts { ok: word >> COUNT_BITS & COUNT_MAX, bad: word & COUNT_MAX })
}
