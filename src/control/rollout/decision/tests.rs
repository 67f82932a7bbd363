use std::time::Duration;

use super::*;
use crate::rng::Rng;

const HOLD_MS: u64 = 60_000;

fn rollout() -> Rollout {
    let rules = config::Rollout {
        share: 0.05,
        hold: Duration::from_millis(HOLD_MS),
        min_requests: 500,
        max_error_increase: 0.01,
        max_refusal_increase: 0.1,
        max_p99_increase: 0.5,
    };
    Rollout::new(rules, 1_000)
}

/// So many requests of 2 ms, of which so many failed and were refused.
fn side(requests: u64, failed: u64, refused: u64) -> SideCounts {
    let mut side = SideCounts::default().with_durations(2_000, requests);
    (side.upstream_failed, side.refused) = (failed, refused);
    side
}

fn early(current: &SideCounts, candidate: &SideCounts) -> Decision {
    rollout().decide(current, candidate, 1_000 + HOLD_MS - 1)
}

fn late(current: &SideCounts, candidate: &SideCounts) -> Decision {
    rollout().decide(current, candidate, 1_000 + HOLD_MS)
}

fn is_back(decision: Decision) -> bool {
    matches!(decision, Decision::RollBack(_))
}

#[test]
fn a_candidate_that_does_as_well_is_promoted_at_the_end_of_the_hold_and_not_before() {
    let (current, candidate) = (side(9_500, 20, 100), side(500, 1, 5));
    assert_eq!(early(&current, &candidate), Decision::Continue);
    assert_eq!(late(&current, &candidate), Decision::Promote(500));
    assert_eq!([0, HOLD_MS, u64::MAX].map(|after| rollout().left_ms(after)), [61_000, 1_000, 0]);
}

#[test]
fn a_candidate_that_fails_always_is_rolled_back_after_twenty_requests() {
    let current = side(400, 0, 0);
    assert_eq!(early(&current, &side(19, 19, 0)), Decision::Continue);
    assert!(is_back(early(&current, &side(20, 20, 0))));
    assert!(is_back(early(&current, &side(20, 11, 0))));
    assert_eq!(early(&current, &side(20, 10, 0)), Decision::Continue);
    assert_eq!(early(&side(400, 390, 0), &side(20, 20, 0)), Decision::Continue, "both fail: it is not the candidate");
}

#[test]
fn a_small_share_of_failures_counts_once_there_are_enough_requests() {
    let current = side(9_500, 0, 0);
    assert_eq!(early(&current, &side(499, 25, 0)), Decision::Continue);
    assert!(is_back(early(&current, &side(500, 25, 0))));
    assert_eq!(early(&current, &side(500, 5, 0)), Decision::Continue, "one in a hundred is allowed");
}

#[test]
fn refusals_have_a_bound_of_their_own() {
    let current = side(9_500, 0, 95);
    assert_eq!(early(&current, &side(500, 0, 50)), Decision::Continue);
    assert!(matches!(early(&current, &side(500, 0, 100)), Decision::RollBack(Fault::Refusals(_))));
}

#[test]
fn with_few_requests_failures_are_judged_at_the_end_and_without_one_it_is_promoted() {
    let current = side(9_500, 0, 0);
    assert_eq!(late(&current, &side(0, 0, 0)), Decision::Promote(0));
    assert_eq!(late(&side(0, 0, 0), &side(0, 0, 0)), Decision::Promote(0));
    assert_eq!(late(&current, &side(3, 0, 0)), Decision::Promote(3));
    assert!(is_back(late(&current, &side(3, 3, 0))));
    assert!(is_back(late(&side(0, 0, 0), &side(3, 3, 0))), "nothing to compare with, and still nothing works");
    assert!(!is_back(late(&side(0, 0, 0), &side(3, 1, 0))), "it may be chance");
}

#[test]
fn the_99th_percentile_counts_with_enough_requests_on_both_sides() {
    let current = SideCounts::default().with_durations(2_000, 9_900).with_durations(20_000, 100);
    let slow = |requests: u64| SideCounts::default().with_durations(2_000, requests - requests / 10);
    let candidate = |requests: u64, us: u64| slow(requests).with_durations(us, requests / 10);
    assert!(matches!(early(&current, &candidate(500, 200_000)), Decision::RollBack(Fault::Latency { .. })));
    assert_eq!(late(&current, &candidate(490, 200_000)), Decision::Promote(490), "too few of its own");
    assert_eq!(late(&side(499, 0, 0), &candidate(500, 200_000)), Decision::Promote(500), "too few to compare with");
    assert_eq!(early(&side(9_500, 0, 0), &candidate(500, 2_900)), Decision::Continue, "less than a millisecond");
    assert!(is_back(early(&side(9_500, 0, 0), &candidate(500, 4_500))));
}

#[test]
fn what_speaks_against_it_is_told_with_its_numbers() {
    let Decision::RollBack(fault) = early(&side(9_500, 19, 0), &side(500, 250, 0)) else { panic!("half of them fail") };
    assert_eq!(fault.to_string(), "250 of 500 requests (50.0 %), against 19 of 9500 (0.2 %), failed");
    let Decision::RollBack(fault) = early(&side(9_500, 0, 0), &SideCounts::default().with_durations(40_000, 500))
    else {
        panic!("it is slow")
    };
    let told = fault.to_string();
    assert!(told.contains("percentile is 4") && told.contains("500 of 500 requests took longer"), "{told}");
}

/// Two sides that do the same, looked at all the time.
fn alike(rng: &mut Rng, failing: u64) -> Decision {
    let (mut current, mut candidate) = (SideCounts::default(), SideCounts::default());
    let rollout = rollout();
    for turn in 0..20_000 {
        let is_candidate = rng.below(20) == 0;
        let side = if is_candidate { &mut candidate } else { &mut current };
        let us = 500 + rng.below(1_500) + if rng.below(50) == 0 { rng.below(40_000) } else { 0 };
        *side = std::mem::take(side).with_durations(us, 1);
        side.upstream_failed += u64::from(rng.below(1_000) < failing);
        if turn % 50 == 0 {
            let decision = rollout.decide(&current, &candidate, 1_000 + turn * 3);
            if decision != Decision::Continue {
                return decision;
            }
        }
    }
    rollout.decide(&current, &candidate, u64::MAX)
}

#[test]
fn chance_hardly_ever_rolls_back_what_does_the_same() {
    let mut rng = Rng::from_seed(11);
    for failing in [0, 1, 10, 50, 300] {
        let back = (0..40).filter(|_| is_back(alike(&mut rng, failing))).count();
        assert!(back <= 1, "{back} of 40 with {failing} in a thousand failing");
    }
}

/// Whatever the counts: more failures never help, more time never takes a roll back back, and it is over at the end.
#[test]
fn a_decision_is_monotone_in_failures_and_final_at_the_end() {
    let mut rng = Rng::from_seed(12);
    for _ in 0..20_000 {
        let (own, other) = (rng.below(2_000), rng.below(20_000));
        let current = side(other, rng.below(other / 4 + 1), rng.below(other / 4 + 1));
        let (failed, refused) = (rng.below(own + 1), rng.below(own + 1));
        let candidate = side(own, failed, refused);
        let (before, after) = (early(&current, &candidate), late(&current, &candidate));
        assert_ne!(after, Decision::Continue);
        assert!(!matches!(before, Decision::Promote(_)));
        assert!(!is_back(before) || is_back(after), "{current:?} {candidate:?}");
        if is_back(after) && failed < own {
            let worse = side(own, failed + 1, refused);
            assert!(is_back(late(&current, &worse)), "{failed} of {own}");
        }
    }
}
