//! The breaker of one endpoint against a plain model, over random histories of several workers.

use super::*;

const WORKERS: usize = 3;

/// `at`: the place among the passes that are out of the one that ends so; it may be of an earlier term by then.
#[derive(Clone, Copy, Debug)]
enum Op {
    Enter { worker: usize },
    Success { at: usize },
    Failure { at: usize },
    Abandon { at: usize },
    Wait { ms: u64 },
    Policy { probes: u32, close_after: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Closed,
    Open { until_ms: u64 },
    HalfOpen { successes: u32 },
}

#[derive(Clone, Copy, Debug)]
struct Held {
    worker: usize,
    pass: Pass,
    term: u64,
}

/// How often what matters happened, so that the histories are known to be worth something.
#[derive(Debug, Default)]
struct Tally {
    opened: u32,
    reopened: u32,
    closed: u32,
    late: u32,
    late_probes: u32,
    refused_full: u32,
}

/// A breaker that remembers every result and looks at all of them each time.
struct Model {
    policy: BreakerPolicy,
    state: State,
    term: u64,
    /// Slice of time, term and outcome of what counted.
    results: Vec<(u64, u64, bool)>,
    run: u32,
    /// Probes allowed by the policy when the breaker was last asked or opened.
    limit: usize,
    held: Vec<Held>,
    tally: Tally,
}

impl Model {
    fn new(policy: BreakerPolicy) -> Self {
        let (state, results, held) = (State::Closed, Vec::new(), Vec::new());
        Self { policy, state, term: 0, results, run: 0, limit: 0, held, tally: Tally::default() }
    }

    fn probes_out(&self) -> usize {
        self.held.iter().filter(|held| held.pass.is_probe()).count()
    }

    fn is_over(&self, now_ms: u64) -> bool {
        match self.state {
            State::Closed => false,
            State::Open { until_ms } => now_ms >= until_ms,
            State::HalfOpen { .. } => true,
        }
    }

    /// Whether an attempt may begin, and whether it is a probe.
    fn enter(&mut self, now_ms: u64) -> Option<bool> {
        if self.state == State::Closed {
            return Some(false);
        }
        self.limit = self.policy.probes as usize;
        if !self.is_over(now_ms) {
            return None;
        }
        if self.probes_out() >= self.limit {
            self.tally.refused_full += 1;
            return None;
        }
        if matches!(self.state, State::Open { .. }) {
            (self.state, self.term) = (State::HalfOpen { successes: 0 }, self.term + 1);
        }
        Some(true)
    }

    fn slice(&self, now_ms: u64) -> u64 {
        now_ms / (self.policy.window_ms / 8)
    }

    fn open(&mut self, now_ms: u64) {
        self.state = State::Open { until_ms: now_ms + self.policy.open_ms };
        self.term += 1;
        self.limit = self.policy.probes as usize;
    }

    /// Whether the state changed.
    fn end(&mut self, held: Held, now_ms: u64, is_ok: bool) -> bool {
        if held.term != self.term {
            self.tally.late += 1;
            self.tally.late_probes += u32::from(held.pass.is_probe());
            return false;
        }
        match (self.state, is_ok) {
            (State::Closed, true) => {
                self.results.push((self.slice(now_ms), self.term, true));
                self.run = 0;
                false
            }
            (State::Closed, false) => {
                self.results.push((self.slice(now_ms), self.term, false));
                self.run += 1;
                let is_over =
                    self.is_share_over(now_ms) || self.policy.consecutive > 0 && self.run >= self.policy.consecutive;
                if is_over {
                    self.open(now_ms);
                    self.tally.opened += 1;
                }
                is_over
            }
            (State::HalfOpen { successes }, true) if successes + 1 >= self.policy.close_after => {
                (self.state, self.term, self.run) = (State::Closed, self.term + 1, 0);
                self.tally.closed += 1;
                true
            }
            (State::HalfOpen { successes }, true) => {
                self.state = State::HalfOpen { successes: successes + 1 };
                false
            }
            (State::HalfOpen { .. }, false) => {
                self.open(now_ms);
                self.tally.reopened += 1;
                true
            }
            (State::Open { .. }, _) => unreachable!("no pass is of an open term"),
        }
    }

    fn is_share_over(&self, now_ms: u64) -> bool {
        let slice = self.slice(now_ms);
        let counted = |result: &&(u64, u64, bool)| result.1 == self.term && result.0 + 8 > slice;
        let total = self.results.iter().filter(counted).count();
        let bad = self.results.iter().filter(counted).filter(|result| !result.2).count();
        total >= self.policy.min_requests as usize && bad as f64 >= self.policy.error_rate * total as f64
    }

    fn fitness(&self, now_ms: u64) -> Fitness {
        match self.state {
            State::Closed => Fitness::Fit,
            State::Open { .. } | State::HalfOpen { .. } if self.is_over(now_ms) && self.probes_out() < self.limit => {
                Fitness::Trial
            }
            State::Open { .. } | State::HalfOpen { .. } => Fitness::Unfit(Unfit::Breaker),
        }
    }

    fn breaker(&self, now_ms: u64) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { until_ms } if now_ms < until_ms => BreakerState::Open,
            State::Open { .. } | State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }
}

impl Seeded {
    fn policy(&mut self) -> BreakerPolicy {
        BreakerPolicy {
            window_ms: self.one_of(&[80, 800, 8_000]),
            error_rate: self.one_of(&[0.1, 0.5, 1.0]),
            min_requests: self.one_of(&[1, 4, 12]),
            consecutive: self.one_of(&[0, 2, 6]),
            open_ms: self.one_of(&[0, 50, 1_500]),
            probes: self.one_of(&[1, 2, 4]),
            close_after: self.one_of(&[0, 1, 3]),
        }
    }

    /// `held` passes are out; `is_bad`: the endpoint fails more often than not.
    fn op(&mut self, held: usize, is_bad: bool) -> Op {
        let dice = self.below(20);
        match dice {
            6..=16 if held > 0 => {
                let at = self.size(held);
                match (dice, is_bad) {
                    (6, _) => Op::Abandon { at },
                    (7..=13, false) | (14..=16, true) => Op::Success { at },
                    _ => Op::Failure { at },
                }
            }
            17 | 18 => Op::Wait { ms: self.one_of(&[1, 10, 60, 400, 2_000, 10_000]) },
            19 => Op::Policy { probes: self.one_of(&[1, 2, 4]), close_after: self.one_of(&[1, 3]) },
            _ => Op::Enter { worker: self.size(WORKERS) },
        }
    }
}

struct History {
    fleet: Fleet,
    model: Model,
    now: Now,
}

impl History {
    fn enter(&mut self, worker: usize) -> Option<Pass> {
        let expected = self.model.enter(self.now.ms);
        let pass = self.fleet.slot(A).try_enter(self.now.ms, Some(&self.model.policy));
        assert_eq!(pass.map(Pass::is_probe), expected);
        self.model.held.extend(pass.map(|pass| Held { worker, pass, term: self.model.term }));
        pass
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Enter { worker } => drop(self.enter(worker)),
            Op::Success { at } | Op::Failure { at } => {
                let is_ok = matches!(op, Op::Success { .. });
                let held = self.model.held.swap_remove(at);
                let (Held { worker, pass, .. }, policy) = (held, Some(&self.model.policy));
                let transition = if is_ok {
                    self.fleet.on_success(worker, A, pass, self.now, policy, None)
                } else {
                    let flag = AtomicBool::new(false);
                    self.fleet.on_failure(worker, A, pass, self.now, policy, None, &[], &flag).opened
                };
                assert_eq!(transition.is_some(), self.model.end(held, self.now.ms, is_ok));
            }
            Op::Abandon { at } => self.fleet.slot(A).on_abandoned(self.model.held.swap_remove(at).pass),
            Op::Wait { ms } => self.wait(ms),
            Op::Policy { probes, close_after } => {
                self.model.policy.probes = probes;
                self.model.policy.close_after = close_after;
            }
        }
        // No two results in one microsecond: the order of those is not known, see `Run`.
        self.now.ns += 1_000;
        self.now.ms = self.now.ns / 1_000_000;
        self.check();
    }

    fn wait(&mut self, ms: u64) {
        self.now = Now { ms: self.now.ms + ms, ns: self.now.ns + ms * 1_000_000 };
    }

    fn check(&self) {
        let slot = self.fleet.slot(A);
        assert_eq!(slot.breaker(self.now.ms), self.model.breaker(self.now.ms));
        assert_eq!(slot.probes_out(), self.model.probes_out() as u64);
        assert!(self.model.probes_out() <= 4, "no policy allowed more");
        assert_eq!(slot.fitness(self.now.ms), self.model.fitness(self.now.ms));
    }

    /// Whatever happened: once the open time is over, attempts pass until all probes are out, and again when they end.
    fn check_not_wedged(&mut self) {
        self.wait(self.model.policy.open_ms);
        for _ in 0..8 {
            let is_full = self.model.probes_out() >= self.model.policy.probes as usize;
            let is_closed = self.model.state == State::Closed;
            assert_eq!(self.enter(0).is_some(), is_closed || !is_full, "open time is over");
        }
        while !self.model.held.is_empty() {
            self.apply(Op::Abandon { at: 0 });
        }
        assert!(self.enter(1).is_some(), "nothing is out");
    }
}

#[test]
fn any_history_goes_as_the_model_says_and_wedges_nothing() {
    let mut sum = Tally::default();
    for seed in 0..400 {
        let mut random = Seeded::new(seed);
        let start_ms = random.below(1_000_000);
        let model = Model::new(random.policy());
        let mut history = History { fleet: Fleet::new(WORKERS), model, now: now(start_ms) };
        let mut is_bad = false;
        for step in 0..400 {
            if step % 40 == 0 {
                is_bad = random.below(2) == 0;
            }
            let op = random.op(history.model.held.len(), is_bad);
            let (policy, before) = (history.model.policy, history.model.state);
            let went = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| history.apply(op)));
            assert!(went.is_ok(), "seed {seed} step {step} {op:?} from {before:?} with {policy:?}");
        }
        let went = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| history.check_not_wedged()));
        assert!(went.is_ok(), "seed {seed} at its end, {:?}", history.model.state);
        let Tally { opened, reopened, closed, late, late_probes, refused_full } = history.model.tally;
        sum.opened += opened;
        sum.reopened += reopened;
        sum.closed += closed;
        sum.late += late;
        sum.late_probes += late_probes;
        sum.refused_full += refused_full;
    }
    let seen = [sum.opened, sum.reopened, sum.closed, sum.late, sum.late_probes, sum.refused_full];
    assert!(seen.iter().all(|times| *times > 200), "the histories are too tame: {sum:?}");
}
