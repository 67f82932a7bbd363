//! Ejections of a cluster against a plain model, over random histories of several workers.

use super::*;

const WORKERS: usize = 2;

#[derive(Clone, Copy, Debug)]
enum Op {
    Success { worker: usize, at: usize },
    Failure { worker: usize, at: usize },
    Wait { ms: u64 },
}

#[derive(Clone, Debug, Default)]
struct Endpoint {
    /// Slice of time and outcome of what counted since the last ejection.
    results: Vec<(u64, bool)>,
    until_ms: u64,
    recent: u64,
}

struct Model {
    policy: PassivePolicy,
    /// The share that may be ejected in hundredths, so that the model needs no floating point.
    percent: usize,
    endpoints: Vec<Endpoint>,
}

impl Model {
    fn slice(&self, now_ms: u64) -> u64 {
        now_ms / (self.policy.window_ms / 8)
    }

    fn ejected(&self, now_ms: u64) -> usize {
        self.endpoints.iter().filter(|endpoint| now_ms < endpoint.until_ms).count()
    }

    /// Whether that ejects it.
    fn on_result(&mut self, at: usize, now_ms: u64, is_ok: bool) -> bool {
        let (slice, ejected) = (self.slice(now_ms), self.ejected(now_ms));
        let (policy, allowed) = (self.policy, self.percent * self.endpoints.len() / 100);
        let endpoint = &mut self.endpoints[at];
        if now_ms < endpoint.until_ms {
            return false;
        }
        endpoint.results.push((slice, is_ok));
        let lasting = || endpoint.results.iter().filter(|result| result.0 + 8 > slice);
        let (total, bad) = (lasting().count(), lasting().filter(|result| !result.1).count());
        let is_over = total >= policy.min_requests as usize && bad as f64 >= policy.error_rate * total as f64;
        if is_ok || !is_over || ejected >= allowed {
            return false;
        }
        let quiet = (now_ms - endpoint.until_ms) / (policy.eject_ms * 10);
        endpoint.recent = (endpoint.recent.saturating_sub(quiet) + 1).min(10);
        endpoint.until_ms = now_ms + policy.eject_ms * endpoint.recent;
        endpoint.results.clear();
        true
    }
}

#[test]
fn any_history_ejects_whom_the_model_ejects_and_never_more_than_the_share() {
    let (mut ejections, mut at_the_bound) = (0, 0);
    for seed in 0..300 {
        let mut random = Seeded::new(seed);
        let count = 1 + random.size(8);
        let percent = random.one_of(&[0, 29, 50, 75, 100]);
        let policy = PassivePolicy {
            window_ms: random.one_of(&[80, 800, 30_000]),
            error_rate: random.one_of(&[0.2, 0.5, 1.0]),
            min_requests: random.one_of(&[1, 3, 10]),
            eject_ms: random.one_of(&[10, 500, 10_000]),
            max_ejected: percent as f64 / 100.0,
        };
        let mut model = Model { policy, percent, endpoints: vec![Endpoint::default(); count] };
        let peers: Vec<_> = (0..count).map(|at| EndpointId(u32::try_from(at * 33).unwrap())).collect();
        let (fleet, flag) = (Fleet::new(WORKERS), AtomicBool::new(false));
        let mut now_ms = random.below(1_000_000);
        for step in 0..500 {
            let (worker, at) = (random.size(WORKERS), random.size(count));
            let op = match random.below(12) {
                0 => Op::Wait { ms: random.one_of(&[1, 9, 300, 4_000, 60_000]) },
                1..=5 => Op::Success { worker, at },
                _ => Op::Failure { worker, at },
            };
            let (mut ejected, mut expected) = (false, false);
            match op {
                Op::Wait { ms } => now_ms += ms,
                Op::Success { worker, at } => {
                    let pass = fleet.slot(peers[at]).try_enter(now_ms, None).unwrap();
                    fleet.on_success(worker, peers[at], pass, now(now_ms), None, Some(&policy));
                    expected = model.on_result(at, now_ms, true);
                }
                Op::Failure { worker, at } => {
                    let (id, n) = (peers[at], now(now_ms));
                    let pass = fleet.slot(id).try_enter(now_ms, None).unwrap();
                    ejected = fleet.on_failure(worker, id, pass, n, None, Some(&policy), &peers, &flag).ejected;
                    expected = model.on_result(at, now_ms, false);
                }
            }
            assert_eq!(ejected, expected, "seed {seed} step {step} {op:?} {policy:?}");
            for (id, endpoint) in peers.iter().zip(&model.endpoints) {
                assert_eq!(fleet.slot(*id).ejected_until_ms(), endpoint.until_ms, "seed {seed} step {step} {op:?}");
            }
            let out = peers.iter().filter(|id| fleet.slot(**id).is_ejected(now_ms)).count();
            assert!(out <= percent * count / 100, "seed {seed} step {step} {op:?}");
            ejections += usize::from(ejected);
            at_the_bound += usize::from(out > 0 && out == percent * count / 100);
        }
    }
    assert!(ejections > 1_000 && at_the_bound > 1_000, "too tame: {ejections} {at_the_bound}");
}
