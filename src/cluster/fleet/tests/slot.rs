use super::*;

#[test]
fn a_rest_is_only_ever_made_longer() {
    let slot = Slot::default();
    assert!(!slot.is_resting(0));
    slot.rest_until(1_000);
    slot.rest_until(500);
    assert!(slot.is_resting(999) && !slot.is_resting(1_000));
    slot.rest_until(2_000);
    assert!(slot.is_resting(1_999));
    assert_eq!(slot.fitness(1_500), Fitness::Fit, "resting is a wish, not unfitness");
}

#[test]
fn the_ramp_grows_evenly_from_a_tenth() {
    let slot = Slot::default();
    slot.on_assigned(Probe::Unprobed, 5_000, true);
    let ramp = |ms| slot.ramp(ms, 30_000);
    assert_eq!(
        [4_000, 5_000, 8_000, 20_000, 34_999, 35_000, 99_000].map(ramp),
        [100, 100, 190, 550, 999, 1_000, 1_000]
    );
    assert_eq!(slot.ramp(5_000, 0), 1_000, "no slow start");
    assert_eq!(slot.ramp(u64::MAX - 5, u64::MAX), 999, "no overflow");
}

#[test]
fn what_never_was_away_has_its_full_share() {
    let slot = Slot::default();
    slot.on_assigned(Probe::Unprobed, 5_000, false);
    slot.set_drained(false, 6_000);
    slot.set_probe(Probe::Healthy, 6_000);
    slot.set_probe(Probe::Healthy, 6_000);
    assert_eq!(slot.ramp(6_000, 30_000), 1_000);
}

#[test]
fn whatever_brings_an_endpoint_back_starts_its_ramp() {
    let ramps = |comes_back: &dyn Fn(&Fleet)| {
        let fleet = Fleet::new(1);
        fleet.on_assigned(A, Probe::Healthy, 1, false);
        comes_back(&fleet);
        fleet.slot(A).ramp(20_000, 1_000)
    };
    let probes = |from, to| {
        ramps(&move |fleet: &Fleet| {
            fleet.slot(A).set_probe(from, 10);
            fleet.slot(A).set_probe(to, 19_500);
        })
    };
    assert_eq!(probes(Probe::Unhealthy, Probe::Healthy), 550);
    assert_eq!(probes(Probe::Pending, Probe::Healthy), 550);
    assert_eq!(probes(Probe::Unhealthy, Probe::Unprobed), 550, "the check was removed");
    assert_eq!(probes(Probe::Healthy, Probe::Unhealthy), 1_000);
    let drained = ramps(&|fleet| {
        fleet.slot(A).set_drained(true, 10);
        fleet.slot(A).set_drained(false, 19_500);
        fleet.slot(A).set_drained(false, 19_900);
    });
    assert_eq!(drained, 550);
    let closed = ramps(&|fleet| {
        let rules = BreakerPolicy { consecutive: 1, close_after: 1, open_ms: 10, ..BREAKER };
        attempt(fleet, 0, 10, false, &rules);
        attempt(fleet, 0, 19_500, true, &rules);
    });
    assert_eq!(closed, 550);
    let ejected = ramps(&|fleet| {
        for _ in 0..PASSIVE.min_requests {
            let pass = fleet.slot(A).try_enter(9_500, None).unwrap();
            fleet.on_failure(0, A, pass, now(9_500), None, Some(&PASSIVE), &[A, B], &AtomicBool::new(false));
        }
        assert_eq!((fleet.slot(A).ejected_until_ms(), fleet.slot(A).ramp(10_000, 1_000)), (19_500, 1_000));
    });
    assert_eq!(ejected, 550);
}

/// A failure of `A` for both policies, whatever the breaker says.
fn fail(fleet: &Fleet, worker: usize, ms: u64, rules: &BreakerPolicy) -> Outcome {
    let pass = fleet.slot(A).try_enter(ms, Some(rules)).unwrap_or(Pass::plain(0));
    fleet.on_failure(worker, A, pass, now(ms), Some(rules), Some(&PASSIVE), &[A, B], &AtomicBool::new(false))
}

#[test]
fn an_identity_that_changes_hands_starts_from_nothing() {
    let fleet = Fleet::new(2);
    let rules = BreakerPolicy { consecutive: 3, ..BREAKER };
    let slot = fleet.slot(A);
    fleet.on_assigned(A, Probe::Healthy, 1, true);
    slot.set_drained(true, 1);
    slot.rest_until(1_000_000);
    slot.set_latency_us(500);
    let outcomes = [0, 1, 1, 0].map(|worker| fail(&fleet, worker, 100, &rules));
    assert!(outcomes[2].opened.is_some() && outcomes[3].ejected);
    assert_eq!((slot.breaker(101), slot.is_ejected(101), slot.ejections()), (BreakerState::Open, true, 1));

    fleet.on_assigned(A, Probe::Unprobed, 200, false);
    assert_eq!((slot.fitness(200), slot.probe(), slot.is_drained()), (Fitness::Fit, Probe::Unprobed, false));
    assert_eq!((slot.ejections(), slot.ejected_until_ms(), slot.latency_us()), (0, 0, 0));
    assert_eq!((slot.is_resting(200), slot.ramp(200, 1_000), slot.open_until_ms()), (false, 1_000, 0));
}

#[test]
fn failures_of_the_endpoint_that_had_an_identity_before_do_not_count() {
    // One at a time: the run, the breaker's window and the window of ejections would each be one failure short.
    let by_run = BreakerPolicy { consecutive: 4, ..BREAKER };
    let by_share = BreakerPolicy { consecutive: 0, min_requests: 4, ..BREAKER };
    for rules in [by_run, by_share] {
        let fleet = Fleet::new(2);
        for tenant_ms in [100, 200, 300] {
            fleet.on_assigned(A, Probe::Unprobed, tenant_ms, false);
            for worker in [0, 1, 1] {
                assert_eq!(fail(&fleet, worker, tenant_ms, &rules), Outcome::default());
            }
        }
        let last = fail(&fleet, 0, 300, &rules);
        assert!(last.opened.is_some() && last.ejected);
    }
}

#[test]
fn standing_keeps_its_parts_apart() {
    let slot = Slot::default();
    for probe in [Probe::Unprobed, Probe::Pending, Probe::Healthy, Probe::Unhealthy] {
        for drained in [true, false] {
            slot.set_probe(probe, 1);
            slot.set_drained(drained, 1);
            assert_eq!((slot.probe(), slot.is_drained()), (probe, drained));
            slot.on_policies(drained, !drained);
            slot.set_probe(probe, 2);
            assert_eq!((slot.probe(), slot.is_drained()), (probe, drained));
        }
    }
}

#[test]
fn what_attempts_under_an_older_configuration_decide_keeps_nobody_away() {
    let fleet = Fleet::new(1);
    let slot = fleet.slot(A);
    slot.on_policies(false, false);
    // Exchanges that began before the policies were removed still go by them.
    let rules = BreakerPolicy { consecutive: 1, ..BREAKER };
    let outcomes = [0; 4].map(|worker| fail(&fleet, worker, 100, &rules));
    assert!(outcomes[0].opened.is_some() && outcomes[3].ejected);
    assert_eq!((slot.fitness(101), slot.fitness_at_last(101)), (Fitness::Fit, Fitness::Fit));
    assert_eq!((slot.breaker(101), slot.is_ejected(101)), (BreakerState::Closed, false));
    slot.on_policies(true, true);
    assert_eq!(slot.fitness(102), Fitness::Fit, "policies that come begin afresh");
}

#[test]
fn policies_that_stay_keep_what_they_decided() {
    let fleet = Fleet::new(1);
    let rules = BreakerPolicy { consecutive: 1, ..BREAKER };
    attempt(&fleet, 0, 100, false, &rules);
    for _ in 0..4 {
        let pass = Pass::plain(0);
        fleet.on_failure(0, A, pass, now(100), None, Some(&PASSIVE), &[A, B], &AtomicBool::new(false));
    }
    let slot = fleet.slot(A);
    slot.on_policies(true, true);
    assert!(slot.is_ejected(101) && slot.breaker(101) == BreakerState::Open);
    slot.on_policies(true, false);
    assert!(!slot.is_ejected(101) && slot.breaker(101) == BreakerState::Open);
    slot.on_policies(false, false);
    assert_eq!(slot.breaker(101), BreakerState::Closed);
}
