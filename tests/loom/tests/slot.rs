//! Breakers and ejections, decided by whichever worker comes first.

use loom::sync::atomic::AtomicBool;
use ringgate_loom::{BreakerPolicy, BreakerState, EndpointId, Fleet, Now, Pass, PassivePolicy, Probe, Transition};

use crate::meet;

const IDS: [EndpointId; 2] = [EndpointId(0), EndpointId(1)];
const ID: EndpointId = IDS[0];

/// Two failures in a row open it for 100 ms; of two probes, of which one may be out, the first closes it.
const POLICY: BreakerPolicy = BreakerPolicy {
    window_ms: 10_000,
    error_rate: 1.0,
    min_requests: 1_000,
    consecutive: 2,
    open_ms: 100,
    probes: 1,
    close_after: 1,
};
const TWO_PROBES: BreakerPolicy = BreakerPolicy { probes: 2, ..POLICY };

/// One failure ejects, at most half of the endpoints.
const PASSIVE: PassivePolicy =
    PassivePolicy { window_ms: 10_000, error_rate: 0.5, min_requests: 1, eject_ms: 1_000, max_ejected: 0.5 };

/// Two endpoints of one cluster, and attempts at the first that have begun.
struct Cluster {
    fleet: Fleet,
    ejecting: AtomicBool,
    passes: Vec<Pass>,
}

impl Cluster {
    /// Allocated beforehand, as the control thread does.
    fn new() -> Self {
        let fleet = Fleet::new(2);
        for id in IDS {
            fleet.on_assigned(id, Probe::Unprobed, 0, false);
        }
        Self { fleet, ejecting: AtomicBool::new(false), passes: Vec::new() }
    }

    /// With the breaker opened at 1 ms.
    fn opened(policy: &BreakerPolicy) -> Self {
        let cluster = Self::new();
        let passes = [0, 1].map(|_| cluster.try_enter(1, policy).unwrap());
        assert_eq!(cluster.fail(0, passes[0], 1, policy), None);
        assert!(cluster.fail(0, passes[1], 1, policy).is_some());
        cluster
    }

    /// With `n` attempts begun at `now_ms`.
    fn attempted(mut self, n: usize, now_ms: u64, policy: &BreakerPolicy) -> Self {
        self.passes = (0..n).map(|_| self.try_enter(now_ms, policy).unwrap()).collect();
        self
    }

    fn try_enter(&self, now_ms: u64, policy: &BreakerPolicy) -> Option<Pass> {
        self.fleet.slot(ID).try_enter(now_ms, Some(policy))
    }

    fn succeed(&self, worker: usize, pass: Pass, now_ms: u64, policy: &BreakerPolicy) -> Option<Transition> {
        self.fleet.on_success(worker, ID, pass, at(now_ms), Some(policy), None)
    }

    fn fail(&self, worker: usize, pass: Pass, now_ms: u64, policy: &BreakerPolicy) -> Option<Transition> {
        self.fleet.on_failure(worker, ID, pass, at(now_ms), Some(policy), None, &IDS, &self.ejecting).opened
    }

    /// The endpoint of the worker's number fails; whether it is ejected for it.
    fn eject(&self, worker: usize) -> bool {
        let pass = self.fleet.slot(IDS[worker]).try_enter(1, None).unwrap();
        self.fleet.on_failure(worker, IDS[worker], pass, at(1), None, Some(&PASSIVE), &IDS, &self.ejecting).ejected
    }
}

fn at(ms: u64) -> Now {
    Now { ms, ns: ms * 1_000_000 }
}

fn enter_late(cluster: &Cluster) -> Option<Pass> {
    cluster.try_enter(200, &POLICY)
}

#[test]
fn one_of_two_who_race_for_the_only_probe_has_it() {
    meet(
        6,
        || Cluster::opened(&POLICY),
        [enter_late, enter_late],
        |cluster, passes| {
            let slot = cluster.fleet.slot(ID);
            assert!(passes[0].is_some() != passes[1].is_some(), "{passes:?}");
            assert_eq!((slot.breaker(200), slot.probes_out()), (BreakerState::HalfOpen, 1));
            for pass in passes.into_iter().flatten() {
                assert!(pass.is_probe());
                slot.on_abandoned(pass);
            }
            assert!(slot.probes_out() == 0 && enter_late(cluster).is_some(), "the token came back");
        },
    );
}

#[test]
fn a_token_that_comes_back_lets_one_more_in_and_no_second() {
    fn abandon_and_enter(cluster: &Cluster) -> Option<Pass> {
        cluster.fleet.slot(ID).on_abandoned(cluster.passes[0]);
        enter_late(cluster)
    }
    let setup = || Cluster::opened(&POLICY).attempted(1, 200, &POLICY);
    meet(6, setup, [abandon_and_enter, enter_late], |cluster, passes| {
        assert!(passes[0].is_some() != passes[1].is_some(), "{passes:?}");
        assert_eq!(cluster.fleet.slot(ID).probes_out(), 1);
    });
}

#[test]
fn of_a_failed_and_a_successful_probe_the_first_decides() {
    fn succeed(cluster: &Cluster) -> Option<Transition> {
        cluster.succeed(0, cluster.passes[0], 201, &TWO_PROBES)
    }
    fn fail(cluster: &Cluster) -> Option<Transition> {
        cluster.fail(1, cluster.passes[1], 201, &TWO_PROBES)
    }
    let setup = || Cluster::opened(&TWO_PROBES).attempted(2, 200, &TWO_PROBES);
    meet(6, setup, [succeed, fail], |cluster, [closed, opened]| {
        assert!(closed.is_some() != opened.is_some(), "one trial has one end: {closed:?} {opened:?}");
        let slot = cluster.fleet.slot(ID);
        let expected = if closed.is_some() { BreakerState::Closed } else { BreakerState::Open };
        assert_eq!((slot.breaker(201), slot.probes_out()), (expected, 0));
    });
}

#[test]
fn two_failures_at_once_open_the_breaker_once() {
    let parties: [fn(&Cluster) -> Option<Transition>; 2] = [
        |cluster| cluster.fail(0, cluster.passes[0], 1, &POLICY),
        |cluster| cluster.fail(1, cluster.passes[1], 1, &POLICY),
    ];
    meet(
        6,
        || Cluster::new().attempted(2, 1, &POLICY),
        parties,
        |cluster, opened| {
            assert!(opened[0].is_some() != opened[1].is_some(), "{opened:?}");
            assert_eq!(cluster.fleet.slot(ID).breaker(1), BreakerState::Open);
        },
    );
}

#[test]
fn a_failure_after_the_breaker_closed_begins_a_new_run() {
    fn close(cluster: &Cluster) -> Option<Transition> {
        cluster.succeed(0, cluster.passes[0], 250, &POLICY)
    }
    fn fail(cluster: &Cluster) -> Option<Transition> {
        let pass = cluster.try_enter(300, &POLICY)?;
        assert!(!pass.is_probe(), "the only probe is out until the breaker closes");
        cluster.fail(1, pass, 300, &POLICY)
    }
    let setup = || Cluster::opened(&POLICY).attempted(1, 200, &POLICY);
    meet(6, setup, [close, fail], |_, [closed, opened]| {
        assert_eq!(closed.map(|change| change.to), Some(BreakerState::Closed));
        assert_eq!(opened, None, "one failure is not two in a row");
    });
}

#[test]
fn no_more_than_the_share_are_ejected_by_two_at_once() {
    meet(6, Cluster::new, [|cluster| cluster.eject(0), |cluster| cluster.eject(1)], |cluster, ejected| {
        assert!(ejected[0] != ejected[1], "{ejected:?}");
        assert_eq!(IDS.map(|id| cluster.fleet.slot(id).is_ejected(2)), ejected);
    });
}
