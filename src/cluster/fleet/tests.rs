//! Tests of this folder, beside rather than within its files: a model checker takes those as they are.

use super::*;

mod breaker;
mod breaker_model;
mod cell;
mod fitness;
mod passive;
mod passive_model;
mod slot;
mod threads;
mod window;

const A: EndpointId = EndpointId(3);
const B: EndpointId = EndpointId(70);

const BREAKER: BreakerPolicy = BreakerPolicy {
    window_ms: 10_000,
    error_rate: 0.5,
    min_requests: 20,
    consecutive: 5,
    open_ms: 15_000,
    probes: 1,
    close_after: 3,
};

const PASSIVE: PassivePolicy =
    PassivePolicy { window_ms: 30_000, error_rate: 0.5, min_requests: 4, eject_ms: 10_000, max_ejected: 0.5 };

fn now(ms: u64) -> Now {
    Now { ms, ns: ms * 1_000_000 }
}

fn enter(fleet: &Fleet, id: EndpointId, ms: u64, policy: &BreakerPolicy) -> Pass {
    fleet.slot(id).try_enter(ms, Some(policy)).expect("the breaker lets an attempt pass")
}

/// One attempt on a breaker alone: its worker, when it ends and how.
fn attempt(fleet: &Fleet, worker: usize, ms: u64, is_ok: bool, policy: &BreakerPolicy) -> Option<Transition> {
    let pass = enter(fleet, A, ms, policy);
    if is_ok {
        fleet.on_success(worker, A, pass, now(ms), Some(policy), None)
    } else {
        fleet.on_failure(worker, A, pass, now(ms), Some(policy), None, &[], &AtomicBool::new(false)).opened
    }
}

/// Xorshift, so that a failure is replayed by its seed.
struct Seeded(u64);

impl Seeded {
    fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % bound
    }

    fn size(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap()
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.size(choices.len())]
    }
}

#[test]
fn cells_and_slots_of_all_identities_are_distinct_and_stay_where_they_are() {
    let fleet = Fleet::new(2);
    let last = EndpointId(u32::try_from(ENDPOINTS_MAX - 1).unwrap());
    let slot = std::ptr::from_ref(fleet.slot(A));
    fleet.cell(1, A).begin();
    fleet.slot(last).set_drained(true, 1);
    assert!(!fleet.slot(A).is_drained() && fleet.slot(last).is_drained());
    assert_eq!((fleet.cell(0, A).in_flight(), fleet.cell(1, A).in_flight(), fleet.cell(1, B).in_flight()), (0, 1, 0));
    assert_eq!(std::ptr::from_ref(fleet.slot(A)), slot);
    assert_eq!(fleet.workers(), 2);
}

#[test]
fn exchanges_elsewhere_are_those_of_all_other_workers() {
    let fleet = Fleet::new(3);
    assert_eq!(fleet.in_flight_elsewhere(0, A), 0, "nobody has a cell");
    for (worker, times) in [(0, 1), (1, 4), (2, 2)] {
        (0..times).for_each(|_| fleet.cell(worker, A).begin());
    }
    fleet.cell(1, A).end();
    fleet.cell(1, B).begin();
    assert_eq!([0, 1, 2].map(|worker| fleet.in_flight_elsewhere(worker, A)), [5, 3, 4]);
}

/// Every atomic word of one worker's cell, or of a slot.
fn words(of: &impl std::fmt::Debug) -> String {
    format!("{of:?}")
}

#[test]
fn a_success_on_a_closed_breaker_writes_to_its_own_cell_alone() {
    let fleet = Fleet::new(2);
    fleet.on_assigned(A, Probe::Healthy, 1, true);
    attempt(&fleet, 1, 100, false, &BREAKER);
    let seen = || [words(fleet.slot(A)), words(fleet.cell(1, A)), words(fleet.slot(EndpointId(4)))];
    let (before, own) = (seen(), words(fleet.cell(0, A)));
    for ms in 200..300 {
        let pass = enter(&fleet, A, ms, &BREAKER);
        fleet.cell(0, A).begin();
        assert_eq!(fleet.on_success(0, A, pass, now(ms), Some(&BREAKER), Some(&PASSIVE)), None);
        fleet.cell(0, A).end();
    }
    assert_eq!(seen(), before);
    assert_ne!(words(fleet.cell(0, A)), own);
}

#[test]
fn an_attempt_without_policies_writes_nothing_at_all() {
    let fleet = Fleet::new(2);
    fleet.on_assigned(A, Probe::Unprobed, 1, false);
    let seen = || [words(fleet.slot(A)), words(fleet.cell(0, A)), words(fleet.cell(1, A))];
    let before = seen();
    let pass = fleet.slot(A).try_enter(5, None).unwrap();
    assert_eq!(fleet.on_success(0, A, pass, now(5), None, None), None);
    let outcome = fleet.on_failure(0, A, pass, now(5), None, None, &[A], &AtomicBool::new(false));
    assert_eq!(outcome, Outcome::default());
    assert_eq!(seen(), before);
}
