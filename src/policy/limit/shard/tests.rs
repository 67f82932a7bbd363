//! Never over, and under by at most 2.5 %, whatever the order in which workers come.

use std::time::Duration;

use super::*;
use crate::rng::Rng;

const SECOND: u64 = 1_000_000_000;
const WORKERS: usize = 4;

struct Process {
    ledger: Ledger,
    shards: Vec<Shard>,
}

impl Process {
    fn new() -> Self {
        Self { ledger: Ledger::new(16), shards: (0..WORKERS).map(|_| Shard::default()).collect() }
    }

    fn one(&mut self, worker: usize, rule: &Rule, now_ns: u64) -> Decision {
        self.shards[worker].decide(&self.ledger, Key::from_hash(7, 7), rule, now_ns)
    }
}

/// When a request comes, and to which worker.
#[derive(Clone, Copy, Debug)]
struct Request {
    at_ns: u64,
    worker: usize,
}

/// Requests in bursts and pauses of every length, on average `load` times as many as `limit` in a second.
fn schedule(seed: u64, limit: u32, load: u64) -> Vec<Request> {
    let mut random = Rng::from_seed(seed);
    let mut requests = Vec::new();
    let mut at_ns = SECOND;
    while at_ns < 6 * SECOND {
        // A burst at one pace on some of the workers, up to half a second.
        let pace_ns = 2 * SECOND / u64::from(limit) / load;
        let workers = 1 + random.below(WORKERS as u64);
        let end_ns = at_ns + random.below(SECOND / 2);
        while at_ns < end_ns {
            requests.push(Request { at_ns, worker: usize::try_from(random.below(workers)).unwrap() });
            at_ns += random.below(pace_ns);
        }
        at_ns += random.below(SECOND / 4);
    }
    requests
}

fn passed(rule: &Rule, requests: &[Request]) -> Vec<u64> {
    let mut process = Process::new();
    requests.iter().filter(|it| process.one(it.worker, rule, it.at_ns).allowed).map(|it| it.at_ns).collect()
}

/// The most tokens that a bucket without bottom would have lacked at once.
fn deepest(times: &[u64], interval_ns: f64) -> f64 {
    let (mut level, mut last, mut deepest) = (0.0f64, times[0], 0.0f64);
    for &at_ns in times {
        level = (level - (at_ns - last) as f64 / interval_ns).max(0.0) + 1.0;
        deepest = deepest.max(level);
        last = at_ns;
    }
    deepest
}

#[test]
fn a_low_limit_is_exact_whichever_worker_is_asked() {
    for rule in [
        Rule::sliding_window(100, Duration::from_secs(60), WORKERS),
        Rule::token_bucket(100, Duration::from_secs(60), 100, WORKERS),
    ] {
        let mut process = Process::new();
        let allowed: Vec<u32> = (0..400)
            .map(|number| process.one(number % WORKERS, &rule, SECOND))
            .filter(|decision| decision.allowed)
            .map(|decision| decision.remaining)
            .collect();
        assert_eq!(allowed, (0..100).rev().collect::<Vec<u32>>(), "and each knows what is left");
    }
}

#[test]
fn a_high_rate_leases_more_and_more_of_what_it_uses() {
    let rule = Rule::sliding_window(100_000, Duration::from_secs(10), WORKERS);
    let mut process = Process::new();
    for _ in 0..90_000 {
        assert!(process.one(0, &rule, SECOND).allowed);
    }
    let slot = process.shards[0].slots.iter().find(|slot| slot.key.is_some()).unwrap();
    assert_eq!(slot.spare, rule.spare());
    assert_eq!(rule.spare(), 100_000 / 128 / 4);
}

#[test]
fn a_window_is_never_over_and_under_by_at_most_a_fortieth() {
    for limit in [1_000, 5_000] {
        for (seed, load) in (0..8).flat_map(|seed| [(seed, 1), (seed, 3)]) {
            let requests = schedule(seed, limit, load);
            let leased = passed(&Rule::sliding_window(limit, Duration::from_secs(1), WORKERS), &requests);
            // Nobody leases where there are so many workers.
            let exact = passed(&Rule::sliding_window(limit, Duration::from_secs(1), 1_000_000), &requests);
            let first = leased.iter().take_while(|at_ns| **at_ns < leased[0] + SECOND).count();
            assert!(first <= limit as usize, "{first} of {limit}, seed {seed}");
            let (got, fair) = (leased.len() as f64, exact.len() as f64);
            assert!(got <= fair + 1.0, "{got} instead of {fair}, seed {seed}");
            assert!(got >= fair * 0.975, "{got} instead of {fair} of {limit}, seed {seed}, load {load}");
        }
    }
}

#[test]
fn a_bucket_is_never_over_and_under_by_at_most_a_fortieth() {
    for limit in [1_000, 5_000] {
        for (seed, load) in (0..8).flat_map(|seed| [(seed, 1), (seed, 3)]) {
            let requests = schedule(seed, limit, load);
            let leased = passed(&Rule::token_bucket(limit, Duration::from_secs(1), limit, WORKERS), &requests);
            let exact = passed(&Rule::token_bucket(limit, Duration::from_secs(1), limit, 1_000_000), &requests);
            let depth = deepest(&leased, 1e9 / f64::from(limit));
            assert!(depth <= f64::from(limit) + 0.01, "{depth} of {limit}, seed {seed}");
            let (got, fair) = (leased.len() as f64, exact.len() as f64);
            assert!(got >= fair * 0.975, "{got} instead of {fair} of {limit}, seed {seed}, load {load}");
        }
    }
}

#[test]
fn a_lease_is_worth_nothing_when_its_window_is_over() {
    let rule = Rule::sliding_window(100_000, Duration::from_secs(1), WORKERS);
    let mut process = Process::new();
    for _ in 0..50_000 {
        process.one(0, &rule, SECOND);
    }
    for _ in 0..200_000 {
        process.one(1, &rule, SECOND + SECOND / 2);
    }
    let full_ns = 2 * SECOND + SECOND / 1_000;
    assert!(process.shards[0].slots.iter().any(|slot| slot.tokens > 0), "it has a lease to lose");
    let passed = (0..200_000).filter(|_| process.one(0, &rule, full_ns).allowed).count();
    assert!(passed < 200, "{passed} at the boundary");
}

#[test]
fn keys_that_meet_in_a_slot_keep_their_limits() {
    let rule = Rule::sliding_window(10_000, Duration::from_secs(1), WORKERS);
    let (ledger, mut shard) = (Ledger::new(16), Shard::default());
    for print in 1..=2u64 {
        let asked = (0..30_000).filter(|number| {
            let other = Key::from_hash(7, 100 + number % 3);
            shard.decide(&ledger, other, &rule, SECOND);
            shard.decide(&ledger, Key::from_hash(7, print), &rule, SECOND).allowed
        });
        assert_eq!(asked.count(), 10_000);
    }
}
