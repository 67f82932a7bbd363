//! What must hold whoever races: the bounds of probes and of ejections.

use super::super::super::atomics::{AtomicU32, Ordering};
use super::*;

const THREADS: usize = 4;

/// Runs `work` on every worker of a fleet at once.
fn race(work: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        for worker in 0..THREADS {
            let work = &work;
            std::thread::Builder::new().spawn_scoped(scope, move || work(worker)).expect("a test may have threads");
        }
    });
}

#[test]
fn racing_workers_never_hold_more_probes_than_allowed_and_leave_none_behind() {
    let rules = BreakerPolicy { consecutive: 1, open_ms: 0, probes: 2, close_after: 3, ..BREAKER };
    let (fleet, flag) = (Fleet::new(THREADS), AtomicBool::new(false));
    let (out, probes, closed) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    race(|worker| {
        let mut random = Seeded::new(worker as u64);
        for ms in 0..20_000 {
            let Some(pass) = fleet.slot(A).try_enter(ms, Some(&rules)) else { continue };
            if pass.is_probe() {
                probes.fetch_add(1, Ordering::Relaxed);
                assert!(out.fetch_add(1, Ordering::SeqCst) < rules.probes);
                out.fetch_sub(1, Ordering::SeqCst);
            }
            let transition = match random.below(6) {
                0 => fleet.on_failure(worker, A, pass, now(ms), Some(&rules), None, &[], &flag).opened,
                1 => {
                    fleet.slot(A).on_abandoned(pass);
                    None
                }
                _ => fleet.on_success(worker, A, pass, now(ms), Some(&rules), None),
            };
            closed.fetch_add(u32::from(transition.is_some_and(|to| to.to == BreakerState::Closed)), Ordering::Relaxed);
        }
    });
    assert_eq!(fleet.slot(A).probes_out(), 0);
    assert!(probes.load(Ordering::Relaxed) > 100 && closed.load(Ordering::Relaxed) > 10, "a race worth its name");
    assert!(fleet.slot(A).try_enter(20_000, Some(&rules)).is_some());
}

#[test]
fn of_all_who_trip_a_breaker_one_is_told() {
    let rules = BreakerPolicy { consecutive: 8, ..BREAKER };
    let (fleet, flag) = (Fleet::new(THREADS), AtomicBool::new(false));
    let opened = AtomicU32::new(0);
    race(|worker| {
        for ms in 0..1_000 {
            let Some(pass) = fleet.slot(A).try_enter(ms, Some(&rules)) else { return };
            let outcome = fleet.on_failure(worker, A, pass, now(1_000), Some(&rules), None, &[], &flag);
            opened.fetch_add(u32::from(outcome.opened.is_some()), Ordering::Relaxed);
        }
    });
    assert_eq!(opened.load(Ordering::Relaxed), 1);
}

#[test]
fn racing_workers_eject_no_more_than_the_share() {
    let (fleet, flag) = (Fleet::new(THREADS), AtomicBool::new(false));
    let peers: Vec<_> = (0..11).map(EndpointId).collect();
    let told = AtomicU32::new(0);
    race(|worker| {
        let mut random = Seeded::new(worker as u64);
        for _ in 0..5_000 {
            let id = random.one_of(&peers);
            let pass = Pass::plain(0);
            let outcome = fleet.on_failure(worker, id, pass, now(5), None, Some(&PASSIVE), &peers, &flag);
            told.fetch_add(u32::from(outcome.ejected), Ordering::Relaxed);
            assert!(peers.iter().filter(|id| fleet.slot(**id).is_ejected(5)).count() <= 5);
        }
    });
    assert_eq!(told.load(Ordering::Relaxed), 5, "half of eleven, each told once");
}
