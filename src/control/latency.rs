//! Latencies as `/latency` shows them: of the last minute and since the start, by route and by cluster.
//!
//! The workers count for ever. What a minute holds is the difference to a mark, which is all that was counted by then; a few
//! marks are kept, so that the oldest is always about a minute old.

use std::collections::VecDeque;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::board::Seat;
use super::series::SHARED;
use crate::limits::{CLUSTER_SERIES, ROUTE_SERIES};
use crate::telemetry::{LATENCY_SERIES, Latencies, LatencySeries, Spread};

/// Nanoseconds between two marks.
const STEP_NS: u64 = 15_000_000_000;
/// Marks that are kept; the oldest is between three and four steps old.
const MARKS: usize = 4;
/// What was counted, and what had been counted a while ago. To read all series takes milliseconds where there are many, and is
/// done by a copy, which is cheap, on a thread of its own.
#[derive(Clone)]
pub(super) struct Ledger {
    marks: VecDeque<Arc<Mark>>,
    started_ns: u64,
    /// When the last mark was asked for.
    asked_ns: u64,
}

/// All that had been counted at one time, by series.
pub(super) struct Mark {
    at_ns: u64,
    spreads: Vec<Spread>,
}

/// Percentiles of some exchanges, in microseconds; at most 3.2 % too long, never too short.
#[derive(Debug, Clone, Copy, Default, Serialize, JsonSchema, PartialEq)]
pub(super) struct Percentiles {
    pub(super) count: u64,
    pub(super) p50_us: f64,
    pub(super) p90_us: f64,
    pub(super) p99_us: f64,
    #[serde(rename = "p99_9_us")]
    pub(super) p999_us: f64,
    #[serde(rename = "p99_99_us")]
    pub(super) p9999_us: f64,
    pub(super) max_us: f64,
}

/// The page `/latency`.
#[derive(Debug, Serialize, JsonSchema, PartialEq)]
pub(super) struct LatencyPage {
    /// Seconds that `minute` reaches back.
    window_seconds: f64,
    all: Shown,
    routes: Vec<Named>,
    clusters: Vec<Named>,
}

/// One series.
#[derive(Debug, Serialize, JsonSchema, PartialEq)]
struct Shown {
    minute: Percentiles,
    since_start: Percentiles,
}

#[derive(Debug, Serialize, JsonSchema, PartialEq)]
struct Named {
    name: String,
    #[serde(flatten)]
    shown: Shown,
}

impl Percentiles {
    /// Those of `spread`.
    pub(super) fn of(spread: &Spread) -> Self {
        let quantile = |share| micros(spread.quantile_ns(share));
        Self {
            count: spread.count(),
            p50_us: quantile(0.5),
            p90_us: quantile(0.9),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            p9999_us: quantile(0.9999),
            max_us: micros(spread.max_ns()),
        }
    }
}

impl Ledger {
    /// Nothing was counted before `now_ns`.
    pub(super) fn new(now_ns: u64) -> Self {
        Self { marks: VecDeque::new(), started_ns: now_ns, asked_ns: now_ns }
    }

    /// Whether a mark is due; then one is asked for, by [`Ledger::mark`] of a copy, and kept.
    pub(super) fn is_due(&mut self, now_ns: u64) -> bool {
        let is_due = now_ns.saturating_sub(self.asked_ns) >= STEP_NS;
        if is_due {
            self.asked_ns = now_ns;
        }
        is_due
    }

    /// All that was counted by now.
    pub(super) fn mark(&self, now_ns: u64, seats: &[Seat]) -> Mark {
        let spreads = (0..LATENCY_SERIES).map(|index| self.whole(seats, series(index))).collect();
        Mark { at_ns: now_ns, spreads }
    }

    /// Keeps a mark.
    pub(super) fn keep(&mut self, mark: Mark) {
        if self.marks.len() == MARKS {
            self.marks.pop_front();
        }
        self.marks.push_back(Arc::new(mark));
    }

    /// All that was counted of a series.
    fn whole(&self, seats: &[Seat], series: LatencySeries) -> Spread {
        let none = Spread::default();
        let before = self.marks.back().and_then(|mark| mark.spreads.get(series.index())).unwrap_or(&none);
        Spread::read(latencies(seats), series, before)
    }

    /// What was counted of a series in the last minute.
    pub(super) fn minute(&self, seats: &[Seat], series: LatencySeries) -> Spread {
        self.minute_of(&self.whole(seats, series), series)
    }

    fn minute_of(&self, whole: &Spread, series: LatencySeries) -> Spread {
        // Before there are enough marks the minute began with the process.
        match self.marks.front().filter(|_| self.marks.len() == MARKS) {
            Some(mark) => whole.since(&mark.spreads[series.index()]),
            None => whole.clone(),
        }
    }

    /// The page at `now_ns`, with the names of the series of routes and of clusters.
    pub(super) fn page(&self, now_ns: u64, seats: &[Seat], routes: &[String], clusters: &[String]) -> LatencyPage {
        let began_ns = match self.marks.front().filter(|_| self.marks.len() == MARKS) {
            Some(mark) => mark.at_ns,
            None => self.started_ns,
        };
        let named = |names: &[String], most: usize, series: fn(usize) -> LatencySeries| {
            let slots = (0..=most).filter(|slot| latencies(seats).any(|worker| worker.count(series(*slot)) > 0));
            let name = |slot: usize| names.get(slot).map_or(SHARED, String::as_str).to_owned();
            slots.map(|slot| Named { name: name(slot), shown: self.shown(seats, series(slot)) }).collect()
        };
        LatencyPage {
            window_seconds: micros(now_ns.saturating_sub(began_ns)) / 1e6,
            all: self.shown(seats, LatencySeries::All),
            routes: named(routes, ROUTE_SERIES, LatencySeries::Route),
            clusters: named(clusters, CLUSTER_SERIES, LatencySeries::Cluster),
        }
    }

    fn shown(&self, seats: &[Seat], series: LatencySeries) -> Shown {
        let whole = self.whole(seats, series);
        let minute = self.minute_of(&whole, series);
        Shown { minute: Percentiles::of(&minute), since_start: Percentiles::of(&whole) }
    }
}

/// The histograms of all workers.
pub(super) fn latencies(seats: &[Seat]) -> impl Iterator<Item = &Latencies> + Clone {
    seats.iter().map(|seat| seat.counters.latencies())
}

/// The series of a place.
const fn series(index: usize) -> LatencySeries {
    match index {
        0 => LatencySeries::All,
        index if index <= 1 + ROUTE_SERIES => LatencySeries::Route(index - 1),
        index => LatencySeries::Cluster(index - 2 - ROUTE_SERIES),
    }
}

#[allow(clippy::cast_precision_loss, reason = "a page rounds")]
fn micros(ns: u64) -> f64 {
    ns as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    /// A worker, and what is known of it.
    struct Scene {
        seats: Vec<Seat>,
        ledger: Ledger,
        now_ns: u64,
    }

    impl Scene {
        fn new() -> Self {
            Self { seats: vec![Seat::new(None)], ledger: Ledger::new(0), now_ns: 0 }
        }

        fn answers(&self, times: usize, route: usize, ns: u64) {
            for _ in 0..times {
                self.seats[0].counters.on_exchange(0, 200, Some(route), Some(0), ns);
            }
        }

        fn passes(&mut self, seconds: u64) {
            for _ in 0..seconds {
                self.now_ns += SECOND_NS;
                if self.ledger.is_due(self.now_ns) {
                    self.ledger.keep(self.ledger.clone().mark(self.now_ns, &self.seats));
                }
            }
        }

        fn page(&self) -> LatencyPage {
            let names = ["a", "b"].map(str::to_owned);
            self.ledger.page(self.now_ns, &self.seats, &names, &names)
        }
    }

    #[test]
    fn what_is_older_than_a_minute_is_history() {
        let mut scene = Scene::new();
        scene.answers(10, 0, 5_000_000);
        scene.passes(20);
        scene.answers(5, 0, 80_000);
        let all = scene.page().all;
        assert_eq!((all.minute.count, all.since_start.count), (15, 15));
        assert!((5_000.0..5_200.0).contains(&all.minute.max_us), "{all:?}");
        scene.passes(60);
        let page = scene.page();
        assert_eq!((page.all.minute.count, page.all.since_start.count), (0, 15), "{page:?}");
        assert!((45.0..=60.0).contains(&page.window_seconds), "{page:?}");
        scene.answers(1, 0, 80_000);
        let all = scene.page().all;
        assert_eq!((all.minute.count, all.since_start.count), (1, 16));
        assert!(all.minute.max_us < 84.0 && all.since_start.max_us > 5_000.0, "{all:?}");
    }

    #[test]
    fn a_minute_never_reaches_further_back_than_that_nor_less_than_three_quarters_of_it() {
        let mut scene = Scene::new();
        for _ in 0..200 {
            scene.passes(1);
            let seconds = scene.page().window_seconds;
            assert!(seconds <= 60.0 && seconds >= 45.0_f64.min(micros(scene.now_ns) / 1e6), "{seconds}");
        }
    }

    #[test]
    fn routes_and_clusters_with_traffic_are_shown_by_their_names() {
        let scene = Scene::new();
        scene.answers(2, 1, 1_000_000);
        scene.answers(1, ROUTE_SERIES, 1_000_000);
        let page = serde_json::to_value(scene.page()).unwrap();
        let shown = |kind: &str| -> Vec<(String, u64)> {
            let all = page[kind].as_array().unwrap().iter();
            all.map(|one| (one["name"].as_str().unwrap().to_owned(), one["minute"]["count"].as_u64().unwrap()))
                .collect()
        };
        assert_eq!(shown("routes"), [("b".to_owned(), 2), ("other".to_owned(), 1)]);
        assert_eq!(shown("clusters"), [("a".to_owned(), 3)]);
        for key in ["p50_us", "p90_us", "p99_us", "p99_9_us", "p99_99_us", "max_us"] {
            let us = page["all"]["since_start"][key].as_f64().unwrap();
            assert!((1_000.0..1_033.0).contains(&us), "{key}: {us}");
        }
    }

    #[test]
    fn every_place_has_its_series() {
        assert!((0..LATENCY_SERIES).all(|index| series(index).index() == index));
    }
}
