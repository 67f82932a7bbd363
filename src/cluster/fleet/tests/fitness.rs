use super::super::fitness::{ANY, BREAKERS, PROBES, ROWS};
use super::*;

type Combination = (bool, Probe, bool, BreakerView);

fn combinations() -> Vec<Combination> {
    let mut all = Vec::new();
    for drained in ANY {
        for probe in PROBES {
            for ejected in ANY {
                all.extend(BREAKERS.map(|breaker| (drained, probe, ejected, breaker)));
            }
        }
    }
    all
}

/// Asserts the outcome of every combination that is `such`.
fn assert_row(outcome: Fitness, combinations_of_row: usize, such: impl Fn(&Combination) -> bool) {
    let row: Vec<_> = combinations().into_iter().filter(such).collect();
    assert_eq!(row.len(), combinations_of_row);
    for (drained, probe, ejected, breaker) in row {
        let found = fitness(drained, probe, ejected, breaker);
        assert_eq!(found, outcome, "{drained} {probe:?} {ejected} {breaker:?}");
    }
}

fn passes(probe: Probe) -> bool {
    matches!(probe, Probe::Unprobed | Probe::Healthy)
}

#[test]
fn drained_is_unfit_whatever_else_is_known() {
    assert_row(Fitness::Unfit(Unfit::Drained), 24, |row| row.0);
}

#[test]
fn pending_is_unfit_until_the_first_probe_passed() {
    assert_row(Fitness::Unfit(Unfit::Unprobed), 6, |row| !row.0 && row.1 == Probe::Pending);
}

#[test]
fn unhealthy_is_unfit_however_well_traffic_goes() {
    assert_row(Fitness::Unfit(Unfit::Probe), 6, |row| !row.0 && row.1 == Probe::Unhealthy);
}

#[test]
fn ejected_is_unfit_although_the_probe_passes() {
    assert_row(Fitness::Unfit(Unfit::Ejected), 6, |row| !row.0 && passes(row.1) && row.2);
}

#[test]
fn a_shut_breaker_makes_unfit() {
    assert_row(Fitness::Unfit(Unfit::Breaker), 2, |row| {
        !row.0 && passes(row.1) && !row.2 && row.3 == BreakerView::Shut
    });
}

#[test]
fn a_breaker_on_trial_makes_a_trial() {
    assert_row(Fitness::Trial, 2, |row| !row.0 && passes(row.1) && !row.2 && row.3 == BreakerView::Trial);
}

#[test]
fn what_nothing_speaks_against_is_fit() {
    assert_row(Fitness::Fit, 2, |row| !row.0 && passes(row.1) && !row.2 && row.3 == BreakerView::Closed);
}

#[test]
fn the_rows_of_the_table_are_every_combination_once() {
    for combination in combinations() {
        let (drained, probe, ejected, breaker) = combination;
        let rows: Vec<_> = ROWS
            .iter()
            .filter(|row| row.drained.contains(&drained) && row.probes.contains(&probe))
            .filter(|row| row.ejected.contains(&ejected) && row.breakers.contains(&breaker))
            .collect();
        assert_eq!(rows.len(), 1, "{combination:?}");
        assert_eq!(rows[0].outcome(), fitness(drained, probe, ejected, breaker), "{combination:?}");
    }
}

#[test]
fn the_last_resort_disregards_probes_and_ejections_but_neither_drain_nor_breaker() {
    let last = |drained| BREAKERS.map(|breaker| fitness_at_last(drained, breaker));
    assert_eq!(last(true), [Fitness::Unfit(Unfit::Drained); 3]);
    assert_eq!(last(false), [Fitness::Fit, Fitness::Trial, Fitness::Unfit(Unfit::Breaker)]);
}

#[test]
fn the_truth_table_in_the_documents_is_this_one() {
    let document = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/ARCHITECTURE.md"));
    let table = document.split_once("<!-- fitness -->\n").and_then(|(_, rest)| rest.split_once("<!-- /fitness -->"));
    let table = table.map_or("", |(table, _)| table);
    assert_eq!(table, truth_table(), "ARCHITECTURE.md must hold this table:\n{}", truth_table());
}

#[test]
fn an_endpoint_shows_each_row_as_its_state_changes() {
    let fleet = Fleet::new(1);
    let slot = fleet.slot(A);
    let fitness = |ms| slot.fitness(ms).name();
    slot.on_assigned(Probe::Pending, 1, true);
    assert_eq!(fitness(1), "unfit: unprobed");
    slot.set_probe(Probe::Unhealthy, 2);
    assert_eq!(fitness(2), "unfit: probe");
    slot.set_probe(Probe::Healthy, 3);
    assert_eq!(fitness(3), "fit");
    for _ in 0..BREAKER.consecutive {
        attempt(&fleet, 0, 10, false, &BREAKER);
    }
    assert_eq!((fitness(15_009), fitness(15_010)), ("unfit: breaker", "trial"));
    let pass = enter(&fleet, A, 15_010, &BREAKER);
    assert_eq!(fitness(15_010), "unfit: breaker", "its only probe is out");
    slot.on_abandoned(pass);
    assert_eq!(fitness(15_010), "trial");
    slot.on_policies(false, true);
    assert_eq!(fitness(15_010), "fit");
    for _ in 0..PASSIVE.min_requests {
        let pass = slot.try_enter(20_000, None).unwrap();
        fleet.on_failure(0, A, pass, now(20_000), None, Some(&PASSIVE), &[A, B], &AtomicBool::new(false));
    }
    assert_eq!((fitness(29_999), fitness(30_000)), ("unfit: ejected", "fit"));
    assert_eq!(slot.fitness_at_last(29_999), Fitness::Fit);
    slot.set_drained(true, 20_001);
    assert_eq!((fitness(20_001), fitness(30_000)), ("unfit: drained", "unfit: drained"));
    assert_eq!(slot.fitness_at_last(30_000), Fitness::Unfit(Unfit::Drained));
}
