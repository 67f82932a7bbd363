//! What each second brought: the difference between two readings of the workers' counters.

use std::collections::VecDeque;

use serde::Serialize;

use crate::control::board::Seat;
use crate::control::latency::{Percentiles, latencies};
use crate::limits::{CLUSTER_SERIES, ROUTE_SERIES};
use crate::telemetry::{LatencySeries, Spread};

/// Seconds that are kept for those who come to look.
pub(super) const HISTORY: usize = 180;
/// Buckets of a histogram in one row of the heatmap: a quarter of a doubling.
pub(super) const BUCKETS_PER_ROW: u16 = 8;
/// The class of the statuses of servers' errors.
const SERVER_ERRORS: usize = 5;

/// One second.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub(super) struct Beat {
    /// Its number since the start, from 1.
    pub(super) beat: u64,
    /// Its end, in milliseconds since 1970.
    pub(super) unix_ms: u64,
    requests_per_second: f64,
    errors_per_second: f64,
    rejected_per_second: f64,
    latency: Percentiles,
    /// Exchanges by row of the heatmap: those rows that have any.
    heat: Vec<(u16, u64)>,
}

/// What the gateway refused for one reason.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub(super) struct Rejection {
    pub(super) reason: &'static str,
    total: u64,
    per_second: f64,
}

/// What has been counted by some time.
#[derive(Default, Clone)]
struct Totals {
    at_ns: u64,
    all: Spread,
    errors: u64,
    workers: Vec<u64>,
    clusters: Vec<u64>,
    rejected: Vec<u64>,
}

/// Two readings, and what came before.
pub(super) struct Meter {
    last: Totals,
    now: Totals,
    beats: u64,
    history: VecDeque<Beat>,
}

impl Totals {
    fn read(at_ns: u64, seats: &[Seat], reasons: usize, before: &Spread) -> Self {
        let counters = || seats.iter().map(|seat| &seat.counters);
        let errors = |slot| counters().map(|one| one.route_requests(slot, SERVER_ERRORS)).sum::<u64>();
        let cluster = |slot| latencies(seats).map(|one| one.count(LatencySeries::Cluster(slot))).sum();
        Self {
            at_ns,
            all: Spread::read(latencies(seats), LatencySeries::All, before),
            errors: (0..=ROUTE_SERIES).map(errors).sum(),
            workers: latencies(seats).map(|one| one.count(LatencySeries::All)).collect(),
            clusters: (0..=CLUSTER_SERIES).map(cluster).collect(),
            rejected: (0..reasons).map(|index| counters().map(|one| one.rejected[index].value()).sum()).collect(),
        }
    }
}

impl Meter {
    /// A meter of workers that have counted nothing before `now_ns`.
    pub(super) fn new(now_ns: u64, seats: &[Seat], reasons: usize) -> Self {
        let now = Totals::read(now_ns, seats, reasons, &Spread::default());
        Self { last: now.clone(), now, beats: 0, history: VecDeque::with_capacity(HISTORY) }
    }

    /// A second is over.
    pub(super) fn on_second(&mut self, now_ns: u64, unix_ms: u64, seats: &[Seat]) {
        let next = Totals::read(now_ns, seats, self.now.rejected.len(), &self.now.all);
        self.last = std::mem::replace(&mut self.now, next);
        self.beats += 1;
        let (last, now) = (&self.last, &self.now);
        let brought = now.all.since(&last.all);
        let beat = Beat {
            beat: self.beats,
            unix_ms,
            requests_per_second: self.rate(brought.count()),
            errors_per_second: self.rate(now.errors - last.errors),
            rejected_per_second: self.rate(now.rejected.iter().sum::<u64>() - last.rejected.iter().sum::<u64>()),
            latency: Percentiles::of(&brought),
            heat: brought.rows(BUCKETS_PER_ROW),
        };
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(beat);
    }

    /// The last second; `None` before the first one is over.
    pub(super) fn beat(&self) -> Option<&Beat> {
        self.history.back()
    }

    /// The seconds that are kept, the oldest first.
    pub(super) const fn history(&self) -> &VecDeque<Beat> {
        &self.history
    }

    /// Requests a second of a worker in the last second.
    pub(super) fn of_worker(&self, index: usize) -> f64 {
        self.rate(self.now.workers[index] - self.last.workers[index])
    }

    /// Requests a second of a cluster, by its series.
    pub(super) fn of_cluster(&self, slot: usize) -> f64 {
        let slot = slot.min(CLUSTER_SERIES);
        self.rate(self.now.clusters[slot] - self.last.clusters[slot])
    }

    /// Every reason that occurred, most of the last second first.
    pub(super) fn rejections(&self, reasons: &[&'static str]) -> Vec<Rejection> {
        let each = reasons.iter().zip(&self.now.rejected).zip(&self.last.rejected).filter(|((_, now), _)| **now > 0);
        let mut all: Vec<Rejection> = each
            .map(|((reason, now), last)| Rejection { reason, total: *now, per_second: self.rate(now - last) })
            .collect();
        all.sort_by(|a, b| b.per_second.total_cmp(&a.per_second).then(b.total.cmp(&a.total)));
        all
    }

    #[allow(clippy::cast_precision_loss, reason = "a page rounds")]
    fn rate(&self, count: u64) -> f64 {
        let ns = self.now.at_ns.saturating_sub(self.last.at_ns);
        if ns == 0 { 0.0 } else { (count as f64 * 1e9 / ns as f64 * 10.0).round() / 10.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    #[test]
    fn a_second_brings_what_was_counted_in_it_and_nothing_of_before() {
        let seats = [Seat::new(None), Seat::new(None)];
        let (one, two) = (&seats[0].counters, &seats[1].counters);
        one.on_exchange(0, 200, Some(0), Some(0), 1_000_000);
        let mut meter = Meter::new(SECOND_NS, &seats, 2);
        assert_eq!(meter.beat(), None);
        for _ in 0..3 {
            one.on_exchange(0, 200, Some(0), Some(0), 1_000_000);
        }
        two.on_exchange(0, 503, None, Some(1), 64_000);
        two.rejected[1].add(1);
        meter.on_second(3 * SECOND_NS, 7, &seats);
        let beat = meter.beat().unwrap();
        assert_eq!((beat.beat, beat.unix_ms, beat.latency.count), (1, 7, 4));
        assert_eq!([beat.requests_per_second, beat.errors_per_second, beat.rejected_per_second], [2.0, 0.5, 0.5]);
        assert_eq!(beat.heat.iter().map(|(_, count)| count).sum::<u64>(), 4);
        assert_eq!([meter.of_worker(0), meter.of_worker(1)], [1.5, 0.5]);
        assert_eq!([meter.of_cluster(0), meter.of_cluster(1), meter.of_cluster(usize::MAX)], [1.5, 0.5, 0.0]);
        let rejection = Rejection { reason: "full", total: 1, per_second: 0.5 };
        assert_eq!(meter.rejections(&["none", "full"]), [rejection]);
        meter.on_second(4 * SECOND_NS, 8, &seats);
        let beat = meter.beat().unwrap();
        assert_eq!((beat.beat, beat.requests_per_second, beat.heat.len()), (2, 0.0, 0));
        assert_eq!(meter.rejections(&["none", "full"])[0].per_second, 0.0);
    }

    #[test]
    fn so_many_seconds_are_kept_and_no_more() {
        let seats = [Seat::new(None)];
        let mut meter = Meter::new(0, &seats, 0);
        for second in 1..=HISTORY as u64 + 5 {
            meter.on_second(second * SECOND_NS, second, &seats);
        }
        assert_eq!((meter.history().len(), meter.history()[0].beat), (HISTORY, 6));
    }
}
