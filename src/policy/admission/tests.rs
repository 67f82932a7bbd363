//! The limit against models of endpoints with so many hands and a queue before them.

use std::collections::VecDeque;

use super::*;
use crate::rng::Rng;

const POLICY: AdmissionPolicy = AdmissionPolicy { min: 1, max: 1000, measure_every_ms: 30_000 };

/// An endpoint that works on `hands` requests at once and lets the others wait.
struct Endpoint {
    hands: usize,
    /// What a request takes, in microseconds.
    service_us: fn(&mut Rng) -> u64,
}

/// What came of requests that arrive without regard to answers.
struct Outcome {
    /// Microseconds that each admitted request took, in the second half of the time.
    latencies: Vec<u64>,
    shed: u64,
    limit: u32,
}

impl Outcome {
    fn p99(&mut self) -> u64 {
        self.latencies.sort_unstable();
        self.latencies[self.latencies.len() * 99 / 100]
    }
}

/// Requests come at random, one in `gap_us` on average, for `seconds`.
fn run(endpoint: &Endpoint, gap_us: u64, seconds: u64, seed: u64, gated: bool) -> Outcome {
    let mut rng = Rng::from_seed(seed);
    let admission = Admission::new(2, &POLICY);
    let mut outcome = Outcome { latencies: Vec::new(), shed: 0, limit: 0 };
    let mut at_work: Vec<(u64, u64, Option<Permit<'_>>)> = Vec::new();
    let mut waiting: VecDeque<(u64, Option<Permit<'_>>)> = VecDeque::new();
    let (mut arrives_us, end_us) = (0, seconds * 1_000_000);
    while arrives_us < end_us {
        let first = at_work.iter().enumerate().min_by_key(|(_, (done, ..))| *done).map(|(at, (done, ..))| (at, *done));
        let now_us = match first {
            Some((at, done)) if done <= arrives_us => {
                let (done, came, permit) = at_work.swap_remove(at);
                if gated {
                    admission.on_answered(at % 2, done - came, done / 1000, &POLICY);
                }
                drop(permit);
                if came > end_us / 2 {
                    outcome.latencies.push(done - came);
                }
                done
            }
            _ => {
                let now_us = arrives_us;
                arrives_us += exponential(gap_us, &mut rng);
                match admission.try_enter(Priority::Normal).filter(|_| gated) {
                    None if gated => outcome.shed += u64::from(now_us > end_us / 2),
                    permit => waiting.push_back((now_us, permit)),
                }
                now_us
            }
        };
        while at_work.len() < endpoint.hands
            && let Some((came, permit)) = waiting.pop_front()
        {
            at_work.push((now_us + (endpoint.service_us)(&mut rng), came, permit));
        }
    }
    outcome.limit = admission.limit();
    outcome
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small times")]
fn exponential(mean_us: u64, rng: &mut Rng) -> u64 {
    let uniform = (rng.below(1 << 32) + 1) as f64 / (1_u64 << 32) as f64;
    (-uniform.ln() * mean_us as f64) as u64 + 1
}

fn steady_ms(ms: u64, rng: &mut Rng) -> u64 {
    ms * 900 + rng.below(ms * 200)
}

/// At three times what an endpoint can do, what is admitted takes at its 99th percentile no more than twice what it takes
/// when the endpoint has nothing to do, and the endpoint stays busy.
#[test]
fn what_is_admitted_under_threefold_load_is_hardly_slower() {
    // The last one is long enough for the baseline to be measured under load several times.
    for (hands, seconds, seed) in [(4, 12, 0), (4, 12, 1), (16, 12, 2), (16, 12, 3), (48, 8, 4), (8, 100, 5)] {
        let endpoint = Endpoint { hands, service_us: |rng| steady_ms(10, rng) };
        let capacity_gap_us = 10_000 / hands as u64;
        let unloaded = run(&endpoint, capacity_gap_us * 10, 8, seed, false).p99();
        let mut loaded = run(&endpoint, capacity_gap_us / 3, seconds, seed, true);
        let (p99, served) = (loaded.p99(), loaded.latencies.len());
        assert!(p99 <= unloaded * 2, "{hands} hands, seed {seed}: {p99} us against {unloaded} us");
        let possible = seconds * 500_000 / capacity_gap_us;
        assert!(served as u64 * 100 >= possible * 85, "{hands} hands, seed {seed}: {served} of {possible}");
        assert!(loaded.shed > possible, "{hands} hands, seed {seed}: shed {}", loaded.shed);
    }
}

/// Where the load is what the endpoint can bear, hardly anything is shed once the limit is found.
#[test]
fn nothing_is_shed_at_half_load_once_the_limit_is_found() {
    for seed in 0..5 {
        let endpoint = Endpoint { hands: 32, service_us: |rng| exponential(5_000, rng) };
        let outcome = run(&endpoint, 2 * 5_000 / 32, 30, seed, true);
        let all = outcome.latencies.len() as u64;
        assert!(outcome.shed * 1000 <= all, "seed {seed}: shed {} of {all}, limit {}", outcome.shed, outcome.limit);
    }
}

/// A limit with a baseline of a millisecond.
fn following(measure_at_ms: u64) -> Gradient {
    let stage = Stage::Following;
    Gradient { stage, limit: 100.0, baseline_us: 1000.0, median_us: 1000.0, measure_at_ms }
}

fn window(median_us: f64, in_flight: f64) -> Window {
    // Little's law, the other way round.
    let per_window = in_flight * 100_000.0 / median_us;
    Window { length_ms: 100, count: u64::from(whole(per_window)), median_us, mean_us: median_us, shed: 0 }
}

#[test]
fn the_first_window_is_the_baseline_and_then_the_limit_doubles_until_latency_rises() {
    let mut gradient = Gradient::new(&POLICY);
    assert_eq!((gradient.in_flight_max(&POLICY), gradient.window_ms()), (8, 10));
    gradient.on_window(&window(1000.0, 8.0), 0, &POLICY);
    assert_eq!((gradient.stage, gradient.baseline_us), (Stage::Starting, 1000.0));
    for limit in [16, 32, 64] {
        gradient.on_window(&window(1050.0, f64::from(limit) / 2.0), 0, &POLICY);
        assert_eq!((gradient.stage, gradient.in_flight_max(&POLICY)), (Stage::Starting, limit));
    }
    gradient.on_window(&window(2200.0, 64.0), 0, &POLICY);
    assert_eq!((gradient.stage, gradient.in_flight_max(&POLICY)), (Stage::Following, 34), "64 x 1.2 / 2.2");
}

#[test]
fn a_limit_that_is_not_used_does_not_grow_but_may_fall() {
    let mut gradient = Gradient { stage: Stage::Following, limit: 100.0, ..following(u64::MAX) };
    gradient.on_window(&window(1000.0, 40.0), 0, &POLICY);
    assert_eq!(gradient.in_flight_max(&POLICY), 100);
    gradient.on_window(&window(1000.0, 60.0), 0, &POLICY);
    assert_eq!(gradient.in_flight_max(&POLICY), 105);
    gradient.on_window(&window(10_000.0, 1.0), 0, &POLICY);
    assert_eq!(gradient.in_flight_max(&POLICY), 57, "by half at most, and the root of it");
    let strict = AdmissionPolicy { min: 50, max: 60, ..POLICY };
    gradient.on_window(&window(10_000.0, 1.0), 0, &strict);
    assert_eq!(gradient.in_flight_max(&strict), 50);
}

/// An endpoint that has become slower for good gets a new baseline, measured with few requests in flight.
#[test]
fn an_old_baseline_is_measured_anew_with_a_third_of_the_limit() {
    let mut gradient = Gradient { limit: 30.0, ..following(5000) };
    let shed = |median_us, in_flight| Window { shed: 1, ..window(median_us, in_flight) };
    gradient.on_window(&shed(1000.0, 20.0), 4999, &POLICY);
    assert_eq!(gradient.stage, Stage::Following);
    gradient.on_window(&shed(2000.0, 20.0), 5000, &POLICY);
    let limit = gradient.limit;
    assert_eq!((gradient.stage, gradient.in_flight_max(&POLICY)), (Stage::Settling, whole(limit / 3.0)));
    gradient.on_window(&shed(9000.0, 4.0), 5100, &POLICY);
    assert_eq!((gradient.stage, gradient.baseline_us, gradient.limit), (Stage::Measuring, 1000.0, limit));
    gradient.on_window(&shed(1900.0, 4.0), 5200, &POLICY);
    assert_eq!((gradient.stage, gradient.baseline_us, gradient.measure_at_ms), (Stage::Following, 1900.0, 35_200));
    assert_eq!(gradient.in_flight_max(&POLICY), whole(limit));
}

/// Nobody is shed in order to measure what is seen anyway.
#[test]
fn an_old_baseline_that_holds_is_renewed_while_nothing_is_shed() {
    let mut gradient = following(5000);
    gradient.on_window(&window(900.0, 20.0), 5000, &POLICY);
    assert_eq!((gradient.stage, gradient.measure_at_ms), (Stage::Following, 35_000));
    assert!((gradient.baseline_us - 970.0).abs() < 1e-6, "{gradient:?}");
    let mut slower = following(5000);
    slower.on_window(&window(9000.0, 20.0), 5000, &POLICY);
    assert_eq!((slower.stage, slower.baseline_us, slower.measure_at_ms), (Stage::Following, 1000.0, 5000));
    assert!(slower.limit < 60.0, "{slower:?}");
}

#[test]
fn priorities_share_a_limit_and_none_is_shut_out_of_an_empty_gate() {
    for (limit, low, high) in [(1, 1, 2), (4, 3, 5), (8, 6, 10), (10, 7, 13)] {
        assert_eq!(Priority::Low.share_of(limit), low);
        assert_eq!((Priority::Normal.share_of(limit), Priority::High.share_of(limit)), (limit, high));
    }
}

#[test]
fn a_permit_is_given_back_when_dropped_and_the_limit_is_exact() {
    let admission = Admission::new(1, &POLICY);
    let permits: Vec<_> = (0..8).filter_map(|_| admission.try_enter(Priority::Normal)).collect();
    assert_eq!((permits.len(), admission.in_flight()), (8, 8));
    assert!(admission.try_enter(Priority::Normal).is_none() && admission.try_enter(Priority::Low).is_none());
    let high: Vec<_> = (0..9).filter_map(|_| admission.try_enter(Priority::High)).collect();
    assert_eq!(high.len(), 2);
    drop((permits, high));
    assert_eq!(admission.in_flight(), 0);
    assert!(admission.try_enter(Priority::Low).is_some());
}

/// A request as the gate sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    InFlight,
    Lent,
}

/// Whatever requests do in whatever order: those that lend their places make room for any number of others, and no more
/// than twice the limit are ever in flight, however many come back at once.
#[test]
fn lent_places_are_free_and_no_more_than_twice_the_limit_come_to_be_in_flight() {
    const LIMIT: usize = 5;
    let policy = AdmissionPolicy { min: 5, max: 5, ..POLICY };
    let (mut most_in_flight, mut most_lent) = (0, 0);
    for seed in 0..20 {
        let mut rng = Rng::from_seed(seed);
        let admission = Admission::new(1, &policy);
        let mut inside: Vec<(Permit<'_>, Seen)> = Vec::new();
        let mut shed = 0;
        for _ in 0..2000 {
            let in_flight = inside.iter().filter(|(_, seen)| *seen == Seen::InFlight).count();
            let at = usize::try_from(rng.below(inside.len().max(1) as u64)).unwrap();
            match (rng.below(16), inside.get_mut(at)) {
                (0..5, _) | (_, None) => {
                    let permit = admission.try_enter(Priority::Normal);
                    assert_eq!(permit.is_some(), in_flight < LIMIT, "seed {seed}");
                    shed += u64::from(permit.is_none());
                    inside.extend(permit.map(|permit| (permit, Seen::InFlight)));
                }
                (5..10, Some((permit, seen))) => {
                    permit.lend();
                    *seen = Seen::Lent;
                }
                (10..15, Some((permit, seen))) => {
                    let may = *seen == Seen::InFlight || in_flight < 2 * LIMIT;
                    assert_eq!(permit.try_take_back(), may, "seed {seed}");
                    shed += u64::from(!may);
                    *seen = if may { Seen::InFlight } else { Seen::Lent };
                }
                (_, Some(_)) => drop(inside.swap_remove(at)),
            }
            let in_flight = inside.iter().filter(|(_, seen)| *seen == Seen::InFlight).count();
            assert_eq!((admission.in_flight() as usize, admission.shed()), (in_flight, shed), "seed {seed}");
            (most_in_flight, most_lent) = (most_in_flight.max(in_flight), most_lent.max(inside.len() - in_flight));
        }
        drop(inside);
        assert_eq!(admission.in_flight(), 0);
    }
    assert_eq!(most_in_flight, 2 * LIMIT);
    assert!(most_lent > 2 * LIMIT, "{most_lent}");
}

/// Workers that enter at the same time are never more than the limit together, nor twice that with those that come back.
#[test]
fn the_limit_holds_between_workers_that_enter_at_once() {
    use std::sync::atomic::{AtomicU32, Ordering};
    let admission = Admission::new(4, &POLICY);
    let barrier = std::sync::Barrier::new(4);
    let inside = AtomicU32::new(0);
    let is_in_flight = |most: u32| {
        let before = inside.fetch_add(1, Ordering::SeqCst);
        assert!(before < most, "{before} were inside");
        inside.fetch_sub(1, Ordering::SeqCst);
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                barrier.wait();
                for _ in 0..2000 {
                    if let Some(permit) = admission.try_enter(Priority::Normal) {
                        is_in_flight(8);
                        drop(permit);
                    }
                }
                barrier.wait();
                let mut lent: Vec<_> = (0..8).filter_map(|_| admission.try_enter(Priority::Normal)).collect();
                lent.iter_mut().for_each(Permit::lend);
                for _ in 0..250 {
                    for permit in lent.iter_mut().filter_map(|permit| permit.try_take_back().then_some(permit)) {
                        is_in_flight(16);
                        permit.lend();
                    }
                }
            });
        }
    });
    assert_eq!(admission.in_flight(), 0);
}
