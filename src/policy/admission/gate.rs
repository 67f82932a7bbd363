//! The gate of one cluster that all workers share: the count of requests in flight, and its limit.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use super::histogram::{BUCKETS, Histogram, Totals};
use super::{AdmissionPolicy, Gradient, Priority, Stage, Window};

/// Requests in flight to one cluster, their limit, and what they take; it outlives reloads.
///
/// Entering and leaving write one shared word, so that the limit is exact over all workers; latencies are written by each
/// worker to its own lines. Whoever sees a window end turns it, and nobody waits for that.
#[derive(Debug)]
pub struct Admission {
    in_flight: CachePadded<AtomicU32>,
    /// Of normal priority; seldom written, as all that follows.
    limit: CachePadded<AtomicU32>,
    ends_ms: AtomicU64,
    /// Is somebody turning the window? Who is alone writes what follows.
    turning: AtomicBool,
    began_ms: AtomicU64,
    gradient: Words,
    seen: Box<[AtomicU32]>,
    seen_sum_us: AtomicU64,
    seen_shed: AtomicU64,
    /// Requests that were shed; written when there is too much to do anyway.
    shed: CachePadded<AtomicU64>,
    histograms: Box<[CachePadded<Histogram>]>,
}

/// A [`Gradient`] in words that need no lock.
#[derive(Debug)]
struct Words {
    stage: AtomicU8,
    limit: AtomicU64,
    baseline_us: AtomicU64,
    median_us: AtomicU64,
    measure_at_ms: AtomicU64,
}

impl Words {
    fn new(gradient: &Gradient) -> Self {
        Self {
            stage: AtomicU8::new(gradient.stage as u8),
            limit: AtomicU64::new(gradient.limit.to_bits()),
            baseline_us: AtomicU64::new(gradient.baseline_us.to_bits()),
            median_us: AtomicU64::new(gradient.median_us.to_bits()),
            measure_at_ms: AtomicU64::new(gradient.measure_at_ms),
        }
    }

    fn get(&self) -> Gradient {
        let stage = self.stage.load(Ordering::Relaxed);
        let stages = [Stage::Settling, Stage::Measuring, Stage::Starting, Stage::Following];
        Gradient {
            stage: stages.into_iter().find(|one| *one as u8 == stage).unwrap_or(Stage::Following),
            limit: f64::from_bits(self.limit.load(Ordering::Relaxed)),
            baseline_us: f64::from_bits(self.baseline_us.load(Ordering::Relaxed)),
            median_us: f64::from_bits(self.median_us.load(Ordering::Relaxed)),
            measure_at_ms: self.measure_at_ms.load(Ordering::Relaxed),
        }
    }

    fn set(&self, gradient: &Gradient) {
        self.stage.store(gradient.stage as u8, Ordering::Relaxed);
        self.limit.store(gradient.limit.to_bits(), Ordering::Relaxed);
        self.baseline_us.store(gradient.baseline_us.to_bits(), Ordering::Relaxed);
        self.median_us.store(gradient.median_us.to_bits(), Ordering::Relaxed);
        self.measure_at_ms.store(gradient.measure_at_ms, Ordering::Relaxed);
    }
}

/// A request that was let in: it has a place among those in flight unless that is lent; given back when dropped.
#[derive(Debug)]
pub struct Permit<'a> {
    gate: &'a Admission,
    is_lent: bool,
}

impl Permit<'_> {
    /// Lets others have the place until [`Permit::try_take_back`].
    pub fn lend(&mut self) {
        if !self.is_lent {
            self.is_lent = true;
            self.gate.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Has a place again, unless it is lent and twice the limit are in flight: any number may have lent theirs, and all of
    /// them may come back at once. More than the limit, because to shed now wastes all that the client has sent.
    pub fn try_take_back(&mut self) -> bool {
        let most = self.gate.limit().saturating_mul(2);
        if self.is_lent && self.gate.try_add(most) {
            self.is_lent = false;
        }
        !self.is_lent
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.lend();
    }
}

impl Admission {
    /// A gate for `workers` workers behind which nothing is in flight.
    #[must_use]
    pub fn new(workers: usize, policy: &AdmissionPolicy) -> Self {
        let gradient = Gradient::new(policy);
        Self {
            in_flight: CachePadded::new(AtomicU32::new(0)),
            limit: CachePadded::new(AtomicU32::new(gradient.in_flight_max(policy))),
            ends_ms: AtomicU64::new(0),
            turning: AtomicBool::new(false),
            began_ms: AtomicU64::new(0),
            gradient: Words::new(&gradient),
            seen: (0..BUCKETS).map(|_| AtomicU32::new(0)).collect(),
            seen_sum_us: AtomicU64::new(0),
            seen_shed: AtomicU64::new(0),
            shed: CachePadded::new(AtomicU64::new(0)),
            histograms: (0..workers).map(|_| CachePadded::new(Histogram::new())).collect(),
        }
    }

    /// A place for one more request, unless the limit for its priority is reached.
    #[must_use]
    pub fn try_enter(&self, priority: Priority) -> Option<Permit<'_>> {
        self.try_add(priority.share_of(self.limit())).then(|| Permit { gate: self, is_lent: false })
    }

    /// One more in flight, unless so many are; else one more that was shed.
    fn try_add(&self, most: u32) -> bool {
        let add = |count: u32| (count < most).then(|| count + 1);
        let is_added = self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok();
        if !is_added {
            self.shed.fetch_add(1, Ordering::Relaxed);
        }
        is_added
    }

    /// A request was answered, on `worker`, after so many microseconds.
    pub fn on_answered(&self, worker: usize, us: u64, now_ms: u64, policy: &AdmissionPolicy) {
        self.histograms[worker].add(us);
        if now_ms >= self.ends_ms.load(Ordering::Relaxed) {
            self.turn(now_ms, policy);
        }
    }

    /// Ends the window, unless it has seen too little to say anything, or another worker is about to.
    #[cold]
    fn turn(&self, now_ms: u64, policy: &AdmissionPolicy) {
        if self.turning.swap(true, Ordering::Acquire) {
            return;
        }
        // Another one may have done it between the look at the clock and the claim.
        if now_ms >= self.ends_ms.load(Ordering::Relaxed) {
            let totals = Totals::of(self.histograms.iter().map(|one| &**one));
            let length_ms = now_ms.saturating_sub(self.began_ms.load(Ordering::Relaxed));
            let shed = self.shed() - self.seen_shed.load(Ordering::Relaxed);
            let window = window(&self.since(&totals), length_ms, shed);
            let mut gradient = self.gradient.get();
            if self.ends_ms.load(Ordering::Relaxed) == 0 {
                // The first answer opens the first window.
                self.open(&totals, now_ms, &gradient);
            } else if window.is_telling() {
                gradient.on_window(&window, now_ms, policy);
                self.gradient.set(&gradient);
                self.limit.store(gradient.in_flight_max(policy), Ordering::Relaxed);
                self.open(&totals, now_ms, &gradient);
            }
        }
        self.turning.store(false, Ordering::Release);
    }

    fn open(&self, totals: &Totals, now_ms: u64, gradient: &Gradient) {
        for (seen, total) in self.seen.iter().zip(totals.buckets) {
            seen.store(total, Ordering::Relaxed);
        }
        self.seen_sum_us.store(totals.sum_us, Ordering::Relaxed);
        self.seen_shed.store(self.shed(), Ordering::Relaxed);
        self.began_ms.store(now_ms, Ordering::Relaxed);
        self.ends_ms.store(now_ms + gradient.window_ms().max(1), Ordering::Relaxed);
    }

    /// What came in addition to what was seen when the window began.
    fn since(&self, totals: &Totals) -> Totals {
        let mut since = totals.clone();
        for (total, seen) in since.buckets.iter_mut().zip(&self.seen) {
            *total = total.wrapping_sub(seen.load(Ordering::Relaxed));
        }
        since.sum_us = since.sum_us.wrapping_sub(self.seen_sum_us.load(Ordering::Relaxed));
        since
    }

    /// Requests that were shed.
    #[must_use]
    pub fn shed(&self) -> u64 {
        self.shed.load(Ordering::Relaxed)
    }

    /// Requests in flight.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Most requests in flight of normal priority.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    /// What an answer takes when nothing waits, in microseconds; 0 before that is known.
    #[must_use]
    pub fn baseline_us(&self) -> f64 {
        self.gradient.get().baseline_us
    }
}

fn window(seen: &Totals, length_ms: u64, shed: u64) -> Window {
    let count = seen.count();
    let mean_us = super::count(seen.sum_us) / super::count(count.max(1));
    Window { length_ms, count, median_us: seen.median_us(), mean_us, shed }
}
