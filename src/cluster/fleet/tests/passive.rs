use super::super::passive::{EjectionWord, Ejector};
use super::*;

const PEERS: [EndpointId; 4] = [A, B, EndpointId(5), EndpointId(900)];

fn fail(fleet: &Fleet, id: EndpointId, ms: u64, policy: &PassivePolicy) -> bool {
    let pass = fleet.slot(id).try_enter(ms, None).unwrap();
    fleet.on_failure(0, id, pass, now(ms), None, Some(policy), &PEERS, &AtomicBool::new(false)).ejected
}

#[test]
fn too_large_a_share_of_failures_ejects_for_the_time_set() {
    let fleet = Fleet::new(2);
    for worker in [0, 1, 0] {
        let pass = fleet.slot(A).try_enter(5, None).unwrap();
        assert_eq!(fleet.on_success(worker, A, pass, now(5), None, Some(&PASSIVE)), None);
    }
    assert_eq!([6, 7].map(|ms| fail(&fleet, A, ms, &PASSIVE)), [false; 2], "2 of 5");
    assert!(fail(&fleet, A, 8, &PASSIVE), "3 of 6");
    let slot = fleet.slot(A);
    assert_eq!((slot.is_ejected(10_007), slot.is_ejected(10_008), slot.ejections()), (true, false, 1));
}

#[test]
fn what_comes_in_during_an_ejection_does_not_count_after_it() {
    let fleet = Fleet::new(1);
    assert_eq!([1, 2, 3, 4].map(|ms| fail(&fleet, A, ms, &PASSIVE)), [false, false, false, true]);
    (5..100).for_each(|ms| assert!(!fail(&fleet, A, ms, &PASSIVE), "ejected already"));
    let after = [10_004, 10_005, 10_006, 10_007].map(|ms| fail(&fleet, A, ms, &PASSIVE));
    assert_eq!(after, [false, false, false, true], "a clean record, within the window of the first four");
    assert_eq!(fleet.slot(A).ejected_until_ms(), 10_007 + 20_000, "the second takes twice as long");
}

#[test]
fn ejections_grow_to_ten_times_the_first_and_shrink_with_quiet() {
    let mut word = EjectionWord(0);
    let mut now_ms = 1_000;
    for factor in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10] {
        word = word.on_ejected(now_ms, &PASSIVE);
        assert_eq!(word.until_ms() - now_ms, factor * PASSIVE.eject_ms);
        now_ms = word.until_ms() + 1;
    }
    let end_ms = word.until_ms();
    let factor = |quiet_ms: u64| word.on_ejected(end_ms + quiet_ms, &PASSIVE).recent();
    assert_eq!([0, 99_999, 100_000, 300_000, 900_000, 1_000_000, u64::MAX >> 20].map(factor), [10, 10, 10, 8, 2, 1, 1]);
}

#[test]
fn the_share_that_may_be_ejected_is_rounded_down() {
    let allowed = |share, endpoints| {
        let policy = PassivePolicy { max_ejected: share, ..PASSIVE };
        (0..endpoints).find(|ejected| !policy.allows(*ejected, endpoints)).unwrap_or(endpoints)
    };
    assert_eq!([1, 2, 3, 4, 5, 100].map(|endpoints| allowed(0.5, endpoints)), [0, 1, 1, 2, 2, 50]);
    assert_eq!([1, 9, 10, 100].map(|endpoints| allowed(0.1, endpoints)), [0, 0, 1, 10]);
    assert_eq!((allowed(0.0, 7), allowed(1.0, 7), allowed(0.0, 0)), (0, 7, 0));
    for percent in 0..=100_usize {
        for endpoints in [1, 3, 7, 10, 100, 1_000, ENDPOINTS_MAX] {
            assert_eq!(
                allowed(percent as f64 / 100.0, endpoints),
                percent * endpoints / 100,
                "{percent}% of {endpoints}"
            );
        }
    }
}

#[test]
fn no_more_than_the_share_is_ejected_until_an_ejection_ends() {
    let fleet = Fleet::new(1);
    for (at, id) in PEERS.into_iter().enumerate() {
        let ejected = (0..10).any(|_| fail(&fleet, id, 100, &PASSIVE));
        assert_eq!(ejected, at < 2, "{id:?}");
    }
    assert!(!fail(&fleet, PEERS[2], 10_099, &PASSIVE));
    assert!(fail(&fleet, PEERS[2], 10_100, &PASSIVE), "the first two are back");
}

#[test]
fn one_at_a_time_ejects_and_who_comes_second_does_not_wait() {
    let flag = AtomicBool::new(false);
    let first = Ejector::try_new(&flag);
    assert!(first.is_some() && Ejector::try_new(&flag).is_none());
    let fleet = Fleet::new(1);
    for _ in 0..10 {
        let pass = fleet.slot(A).try_enter(1, None).unwrap();
        assert!(!fleet.on_failure(0, A, pass, now(1), None, Some(&PASSIVE), &PEERS, &flag).ejected);
    }
    drop(first);
    let pass = fleet.slot(A).try_enter(1, None).unwrap();
    assert!(fleet.on_failure(0, A, pass, now(1), None, Some(&PASSIVE), &PEERS, &flag).ejected);
    assert!(Ejector::try_new(&flag).is_some(), "it is free again");
}

#[test]
fn an_ejection_word_that_changed_since_it_was_judged_is_left_alone() {
    let slot = Slot::default();
    let seen = slot.ejection_word();
    assert!(slot.try_eject(seen, 100, &PASSIVE));
    assert!(!slot.try_eject(seen, 100, &PASSIVE));
    assert_eq!((slot.ejections(), slot.ejected_until_ms()), (1, 10_100));
}
