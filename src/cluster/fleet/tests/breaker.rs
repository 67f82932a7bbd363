use super::super::breaker::{BreakerWord, Run, Stage};
use super::*;

const NOW_MS: u64 = 1_000;

const RULES: BreakerPolicy = BreakerPolicy { probes: 2, close_after: 2, ..BREAKER };

/// A breaker in every state it can be in, reached by its own transitions; `passes` are those that are out.
fn states() -> Vec<(&'static str, BreakerWord, Vec<Pass>)> {
    let closed = BreakerWord(0);
    let (_, early) = closed.try_enter(NOW_MS, &RULES);
    let early = early.unwrap();
    let tripped = |at_ms| closed.on_tripped(early, at_ms, &RULES);
    let open = tripped(NOW_MS);
    let over = tripped(0);
    let later = RULES.open_ms;
    let (trial, first) = over.try_enter(later, &RULES);
    let (full, second) = trial.try_enter(later, &RULES);
    let (first, second) = (first.unwrap(), second.unwrap());
    let nearly = full.on_probe_succeeded(first, &RULES);
    vec![
        ("closed", closed, vec![]),
        ("open", open, vec![]),
        ("open, time over", over, vec![]),
        ("half-open, 1 of 2 out", trial, vec![first]),
        ("half-open, 2 of 2 out", full, vec![first, second]),
        ("half-open, 1 succeeded", nearly, vec![second]),
    ]
}

fn shown(word: BreakerWord) -> String {
    let out = word.out();
    match word.stage() {
        Stage::Closed => format!("closed, {out} out"),
        Stage::Open { until_ms } => format!("open until {until_ms}, {out} out"),
        Stage::HalfOpen { successes } => format!("half-open, {out} out, {successes} ok"),
    }
}

/// Every state by every event, with the state that follows and whether the term is a new one.
fn transition_table() -> String {
    let now_ms = RULES.open_ms;
    let mut table = String::new();
    for (name, word, passes) in states() {
        let current = passes.last().copied().unwrap_or(Pass::plain(word.term()));
        let late_attempt = Pass::plain(word.term().wrapping_sub(1));
        let late_probe = Pass { is_probe: true, ..late_attempt };
        let plain = Pass::plain(word.term());
        let (entered, pass) = word.try_enter(now_ms, &RULES);
        let enter = match pass {
            Some(Pass { is_probe: true, .. }) => "enters as a probe",
            Some(_) => "enters",
            None => "is refused",
        };
        let mut events = vec![(enter, entered), ("too many fail", word.on_tripped(plain, now_ms, &RULES))];
        if current.is_probe {
            events.push(("probe succeeds", word.on_probe_succeeded(current, &RULES)));
            events.push(("probe fails", word.on_probe_failed(current, now_ms, &RULES)));
            events.push(("probe abandoned", word.on_abandoned(current)));
        }
        events.push(("too many failed late", word.on_tripped(late_attempt, now_ms, &RULES)));
        if word.out() > 0 {
            events.push(("late probe succeeds", word.on_probe_succeeded(late_probe, &RULES)));
            events.push(("late probe fails", word.on_probe_failed(late_probe, now_ms, &RULES)));
        }
        events.push(("policy removed", word.on_removed()));
        events.push(("assigned anew", word.on_assigned()));
        for (event, next) in events {
            let term = if next.term() == word.term() { "" } else { ", new term" };
            table.push_str(&format!("{name} | {event} | {}{term}\n", shown(next)));
        }
    }
    table
}

#[test]
fn every_state_answers_every_event_as_the_table_says() {
    let expected = "\
closed | enters | closed, 0 out
closed | too many fail | open until 30000, 0 out, new term
closed | too many failed late | closed, 0 out
closed | policy removed | closed, 0 out
closed | assigned anew | closed, 0 out, new term
open | is refused | open until 16000, 0 out
open | too many fail | open until 16000, 0 out
open | too many failed late | open until 16000, 0 out
open | policy removed | closed, 0 out, new term
open | assigned anew | closed, 0 out, new term
open, time over | enters as a probe | half-open, 1 out, 0 ok, new term
open, time over | too many fail | open until 15000, 0 out
open, time over | too many failed late | open until 15000, 0 out
open, time over | policy removed | closed, 0 out, new term
open, time over | assigned anew | closed, 0 out, new term
half-open, 1 of 2 out | enters as a probe | half-open, 2 out, 0 ok
half-open, 1 of 2 out | too many fail | half-open, 1 out, 0 ok
half-open, 1 of 2 out | probe succeeds | half-open, 0 out, 1 ok
half-open, 1 of 2 out | probe fails | open until 30000, 0 out, new term
half-open, 1 of 2 out | probe abandoned | half-open, 0 out, 0 ok
half-open, 1 of 2 out | too many failed late | half-open, 1 out, 0 ok
half-open, 1 of 2 out | late probe succeeds | half-open, 0 out, 0 ok
half-open, 1 of 2 out | late probe fails | half-open, 0 out, 0 ok
half-open, 1 of 2 out | policy removed | closed, 1 out, new term
half-open, 1 of 2 out | assigned anew | closed, 1 out, new term
half-open, 2 of 2 out | is refused | half-open, 2 out, 0 ok
half-open, 2 of 2 out | too many fail | half-open, 2 out, 0 ok
half-open, 2 of 2 out | probe succeeds | half-open, 1 out, 1 ok
half-open, 2 of 2 out | probe fails | open until 30000, 1 out, new term
half-open, 2 of 2 out | probe abandoned | half-open, 1 out, 0 ok
half-open, 2 of 2 out | too many failed late | half-open, 2 out, 0 ok
half-open, 2 of 2 out | late probe succeeds | half-open, 1 out, 0 ok
half-open, 2 of 2 out | late probe fails | half-open, 1 out, 0 ok
half-open, 2 of 2 out | policy removed | closed, 2 out, new term
half-open, 2 of 2 out | assigned anew | closed, 2 out, new term
half-open, 1 succeeded | enters as a probe | half-open, 2 out, 1 ok
half-open, 1 succeeded | too many fail | half-open, 1 out, 1 ok
half-open, 1 succeeded | probe succeeds | closed, 0 out, new term
half-open, 1 succeeded | probe fails | open until 30000, 0 out, new term
half-open, 1 succeeded | probe abandoned | half-open, 0 out, 1 ok
half-open, 1 succeeded | too many failed late | half-open, 1 out, 1 ok
half-open, 1 succeeded | late probe succeeds | half-open, 0 out, 1 ok
half-open, 1 succeeded | late probe fails | half-open, 0 out, 1 ok
half-open, 1 succeeded | policy removed | closed, 1 out, new term
half-open, 1 succeeded | assigned anew | closed, 1 out, new term
";
    assert_eq!(transition_table(), expected);
}

#[test]
fn five_failures_in_a_row_on_any_workers_open_the_breaker_and_a_success_between_starts_anew() {
    let fleet = Fleet::new(3);
    let outcomes = [false, false, false, false, true, false, false, false, false];
    for (at, is_ok) in outcomes.into_iter().enumerate() {
        assert_eq!(attempt(&fleet, at % 3, 100 + at as u64, is_ok, &BREAKER), None);
    }
    let opened = Transition { from: BreakerState::Closed, to: BreakerState::Open };
    assert_eq!(attempt(&fleet, 1, 200, false, &BREAKER), Some(opened));
    assert_eq!(fleet.slot(A).open_until_ms(), 15_200);
    assert_eq!(fleet.slot(A).try_enter(15_199, Some(&BREAKER)), None);
}

#[test]
fn the_share_of_failures_opens_once_there_are_enough_results_over_all_workers() {
    let rules = BreakerPolicy { consecutive: 0, ..BREAKER };
    let fleet = Fleet::new(2);
    for at in 0..19 {
        assert_eq!(attempt(&fleet, at % 2, 100, at % 2 == 0, &rules), None, "result {at}");
    }
    assert!(attempt(&fleet, 0, 100, false, &rules).is_some(), "10 of 20");
}

#[test]
fn a_share_below_the_rate_leaves_it_closed_and_failures_older_than_the_window_are_forgotten() {
    let rules = BreakerPolicy { consecutive: 0, ..BREAKER };
    let fleet = Fleet::new(1);
    for at in 0..100 {
        assert_eq!(attempt(&fleet, 0, 100, at % 5 < 3, &rules), None);
    }
    let fleet = Fleet::new(1);
    for ms in [100, 100 + rules.window_ms] {
        for _ in 0..19 {
            assert_eq!(attempt(&fleet, 0, ms, false, &rules), None);
        }
    }
}

#[test]
fn a_breaker_that_closed_has_forgotten_why_it_opened() {
    let rules = BreakerPolicy { open_ms: 10, close_after: 1, min_requests: 5, ..BREAKER };
    let fleet = Fleet::new(2);
    for _ in 0..5 {
        attempt(&fleet, 0, 100, false, &rules);
    }
    let closed = Transition { from: BreakerState::HalfOpen, to: BreakerState::Closed };
    assert_eq!(attempt(&fleet, 1, 110, true, &rules), Some(closed));
    for ms in 111..115 {
        assert_eq!(attempt(&fleet, 0, ms, false, &rules), None, "neither the share nor the run of before counts");
    }
    assert!(attempt(&fleet, 0, 115, false, &rules).is_some());
}

#[test]
fn late_results_of_an_earlier_term_are_ignored() {
    let rules = BreakerPolicy { consecutive: 1, open_ms: 10, close_after: 1, ..BREAKER };
    let fleet = Fleet::new(1);
    let late: Vec<_> = (0..3).map(|_| enter(&fleet, A, 100, &rules)).collect();
    attempt(&fleet, 0, 100, false, &rules);
    let probe = enter(&fleet, A, 110, &rules);
    let flag = AtomicBool::new(false);
    assert_eq!(fleet.on_success(0, A, late[0], now(111), Some(&rules), None), None, "a success ends no trial");
    assert_eq!(fleet.on_failure(0, A, late[1], now(111), Some(&rules), None, &[], &flag), Outcome::default());
    assert_eq!((fleet.slot(A).breaker(111), fleet.slot(A).probes_out()), (BreakerState::HalfOpen, 1));
    assert!(fleet.on_success(0, A, probe, now(112), Some(&rules), None).is_some());
    assert_eq!(fleet.on_failure(0, A, late[2], now(113), Some(&rules), None, &[], &flag), Outcome::default());
    assert_eq!(fleet.slot(A).breaker(113), BreakerState::Closed);
}

#[test]
fn a_probe_that_outlives_its_trial_takes_up_its_place_and_gives_it_back() {
    let rules = BreakerPolicy { consecutive: 1, open_ms: 10, probes: 2, ..BREAKER };
    let fleet = Fleet::new(1);
    attempt(&fleet, 0, 100, false, &rules);
    let (slow, quick) = (enter(&fleet, A, 110, &rules), enter(&fleet, A, 110, &rules));
    let flag = AtomicBool::new(false);
    assert!(fleet.on_failure(0, A, quick, now(111), Some(&rules), None, &[], &flag).opened.is_some());
    let next = enter(&fleet, A, 121, &rules);
    assert_eq!(fleet.slot(A).try_enter(121, Some(&rules)), None, "two are out, one of them of the trial before");
    assert_eq!(fleet.on_failure(0, A, slow, now(122), Some(&rules), None, &[], &flag), Outcome::default());
    let last = enter(&fleet, A, 122, &rules);
    assert!(last.is_probe() && next.is_probe());
    let begun = [slow, quick, next, last].map(Pass::begins_trial);
    assert_eq!(begun, [true, false, true, false], "the first of each trial");
}

#[test]
fn an_abandoned_probe_leaves_room_for_the_next() {
    let rules = BreakerPolicy { consecutive: 1, ..BREAKER };
    let fleet = Fleet::new(1);
    attempt(&fleet, 0, 100, false, &rules);
    for ms in 15_100..15_200 {
        let probe = enter(&fleet, A, ms, &rules);
        assert_eq!(fleet.slot(A).try_enter(ms, Some(&rules)), None);
        fleet.slot(A).on_abandoned(probe);
    }
    assert_eq!(fleet.slot(A).breaker(15_200), BreakerState::HalfOpen);
}

#[test]
fn three_successes_close_and_one_failure_opens_for_the_whole_time() {
    let rules = BreakerPolicy { consecutive: 1, ..BREAKER };
    let fleet = Fleet::new(1);
    attempt(&fleet, 0, 0, false, &rules);
    assert_eq!([15_000, 15_001].map(|ms| attempt(&fleet, 0, ms, true, &rules)), [None; 2]);
    let opened = Transition { from: BreakerState::HalfOpen, to: BreakerState::Open };
    assert_eq!(attempt(&fleet, 0, 15_002, false, &rules), Some(opened));
    assert_eq!(fleet.slot(A).open_until_ms(), 30_002);
    assert_eq!([30_002, 30_003].map(|ms| attempt(&fleet, 0, ms, true, &rules)), [None; 2]);
    assert!(attempt(&fleet, 0, 30_004, true, &rules).is_some());
}

#[test]
fn a_removed_policy_closes_and_one_that_comes_back_starts_from_nothing() {
    let rules = BreakerPolicy { consecutive: 3, ..BREAKER };
    for by_publication in [true, false] {
        let fleet = Fleet::new(1);
        for _ in 0..3 {
            attempt(&fleet, 0, 100, false, &rules);
        }
        assert_eq!(fleet.slot(A).breaker(101), BreakerState::Open);
        if by_publication {
            fleet.slot(A).on_policies(false, false);
        } else {
            assert!(!fleet.slot(A).try_enter(101, None).unwrap().is_probe());
        }
        assert_eq!(fleet.slot(A).breaker(101), BreakerState::Closed);
        for _ in 0..2 {
            assert_eq!(attempt(&fleet, 0, 102, false, &rules), None);
        }
        assert!(attempt(&fleet, 0, 102, false, &rules).is_some());
    }
}

#[test]
fn impossible_numbers_of_a_policy_are_taken_as_the_nearest_possible() {
    let fleet = Fleet::new(1);
    let rules = BreakerPolicy { consecutive: 1, open_ms: 1 << 38, probes: 1_000, close_after: 0, ..BREAKER };
    attempt(&fleet, 0, 100, false, &rules);
    assert_eq!(fleet.slot(A).open_until_ms(), (1 << 38) - 1);
    let passes: Vec<_> = (0..31).map(|_| enter(&fleet, A, 1 << 38, &rules)).collect();
    assert_eq!(fleet.slot(A).try_enter(1 << 38, Some(&rules)), None);
    assert!(fleet.on_success(0, A, passes[0], now(1 << 39), Some(&rules), None).is_some());
    let none = BreakerPolicy { open_ms: 0, probes: 0, ..rules };
    assert!(attempt(&fleet, 0, 1, false, &none).is_some());
    assert_eq!(fleet.slot(A).try_enter(1, Some(&none)), None, "thirty are still out");
    passes[1..].iter().for_each(|pass| fleet.slot(A).on_abandoned(*pass));
    assert!(enter(&fleet, A, 1, &none).is_probe());
}

#[test]
fn terms_begin_again_after_the_last() {
    let mut word = BreakerWord(0);
    for _ in 0..0x3fff {
        word = word.on_assigned();
    }
    assert_eq!((word.term(), word.on_assigned()), (0x3fff, BreakerWord(0)));
}

#[test]
fn a_run_counts_failures_since_the_last_success_and_no_further_than_it_can() {
    let mut run = Run(0);
    for us in 1..=70_000_u64 {
        run = run.on_failure(us * 1_000, 0);
        assert_eq!(run.count(), us.min(65_535));
    }
    assert!(run.is_over(&BreakerPolicy { consecutive: u32::MAX, ..BREAKER }));
    assert!(!run.is_over(&BreakerPolicy { consecutive: 0, ..BREAKER }));
    let last_ns = 70_000_000;
    assert_eq!(run.on_failure(last_ns + 5_000, last_ns).count(), 1, "a success in the same microsecond is believed");
    assert_eq!(run.on_failure(last_ns + 5_000, last_ns - 1_000).count(), 65_535);
    let slow = Run(0).on_failure(9_000, 0).on_failure(8_000, 0);
    assert_eq!((slow.count(), slow.on_failure(10_000, 8_500).count()), (2, 3), "a slower clock turns nothing back");
}
