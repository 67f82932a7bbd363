use super::*;
use crate::control::names::answer::{Found, Nothing};
use crate::rng::Rng;

const BOUNDS: Bounds = Bounds::new(1_000, 30_000);
/// The random number that takes nothing off a wait in the middle: half of the two tenths.
const fn middle(wait_ms: u64) -> u64 {
    wait_ms / JITTER_PARTS
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn good(texts: &[&str], ttl_s: u32) -> Answer {
    Answer::found(ips(texts), ttl_s)
}

fn silence() -> Answer {
    Answer::unknown("no answer".to_owned())
}

fn no_name() -> Answer {
    Answer { v4: Family::Nothing(Nothing::NoName), v6: Family::Nothing(Nothing::NoName) }
}

fn resolved(texts: &[&str]) -> Record {
    let mut record = Record::new(BOUNDS);
    record.on_answer(&good(texts, 5), 0);
    record.on_told();
    record
}

#[test]
fn a_ttl_is_brought_between_floor_and_ceiling() {
    let mut record = Record::new(BOUNDS);
    for (ttl_s, low_ms, high_ms) in
        [(0, 1_000, 1_100), (1, 1_000, 1_100), (10, 9_000, 11_000), (30, 27_000, 30_000), (u32::MAX, 27_000, 30_000)]
    {
        let waits: Vec<u64> =
            (0..4_000).map(|random| record.on_answer(&good(&["10.0.0.1"], ttl_s), random).wait_ms).collect();
        assert_eq!((waits.iter().min(), waits.iter().max()), (Some(&low_ms), Some(&high_ms)), "{ttl_s}");
    }
}

#[test]
fn a_ceiling_below_the_floor_is_the_floor() {
    let mut record = Record::new(Bounds::new(2_000, 500));
    for random in [0, 7, u64::MAX] {
        assert_eq!(record.on_answer(&good(&["10.0.0.1"], 9), random).wait_ms, 2_000);
        assert_eq!(record.on_answer(&silence(), random).wait_ms, 2_000);
    }
}

#[test]
fn a_name_of_two_clusters_is_asked_for_as_the_more_eager_wants() {
    let both = Bounds::new(1_000, 30_000).with(Bounds::new(1_000, 5_000));
    assert_eq!(both, Bounds::new(1_000, 5_000));
}

#[test]
fn failures_wait_from_the_floor_twice_as_long_each_time_up_to_the_ceiling() {
    let mut record = resolved(&["10.0.0.1"]);
    let waits: Vec<u64> = (1_000..)
        .zip([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000])
        .map(|(_, wait_ms)| record.on_answer(&silence(), middle(wait_ms)).wait_ms)
        .collect();
    assert_eq!(waits[..5], [1_100, 2_000, 4_000, 8_000, 16_000], "the floor cannot be undercut");
    assert_eq!(waits[5..], [30_000; 2]);
    for _ in 0..200 {
        assert!(record.on_answer(&silence(), 0).wait_ms >= 27_000, "no overflow brings it back");
    }
    record.on_answer(&good(&["10.0.0.1"], 5), 0);
    assert_eq!(record.on_answer(&silence(), 0).wait_ms, 1_000, "a good answer starts it anew");
}

#[test]
fn whatever_fails_keeps_the_last_good_addresses() {
    let mut record = resolved(&["10.0.0.2", "10.0.0.1"]);
    let nothing = Answer::found([], 9);
    for (answer, why) in [(silence(), "no answer"), (no_name(), "no such name"), (nothing, "the name has no address")] {
        record.on_answer(&answer, 0);
        assert_eq!(record.addresses(), ips(&["10.0.0.1", "10.0.0.2"]));
        assert_eq!((record.is_failing(), record.is_changed(), record.trouble()), (true, false, Some(why)));
    }
}

#[test]
fn the_state_shifts_once_however_often_it_fails() {
    let mut record = resolved(&["10.0.0.1"]);
    let shifts: Vec<Shift> =
        [silence(), no_name(), silence(), good(&["10.0.0.1"], 1), good(&["10.0.0.1"], 1), silence()]
            .iter()
            .map(|answer| record.on_answer(answer, 0).shift)
            .collect();
    assert_eq!(shifts, [Shift::Lost, Shift::Same, Shift::Same, Shift::Regained, Shift::Same, Shift::Lost]);
}

#[test]
fn the_order_and_the_number_of_equal_records_change_nothing() {
    let mut record = resolved(&["10.0.0.1", "10.0.0.2", "::1"]);
    record.on_answer(&good(&["::1", "10.0.0.2", "10.0.0.1", "10.0.0.2"], 5), 0);
    assert!(!record.is_changed());
    record.on_answer(&good(&["10.0.0.2", "10.0.0.3", "::1"], 5), 0);
    assert!(record.is_changed());
    assert_eq!(record.addresses(), ips(&["10.0.0.2", "10.0.0.3", "::1"]));
}

#[test]
fn addresses_that_come_back_before_anybody_was_told_are_no_change() {
    let mut record = resolved(&["10.0.0.1"]);
    record.on_answer(&good(&["10.0.0.2"], 5), 0);
    record.on_answer(&good(&["10.0.0.1"], 5), 0);
    assert!(!record.is_changed());
}

#[test]
fn a_family_that_is_not_known_keeps_its_last_addresses() {
    let mut record = resolved(&["10.0.0.1", "::1"]);
    let Answer { v4, .. } = good(&["10.0.0.2"], 20);
    let turn = record.on_answer(&Answer { v4: v4.clone(), v6: Family::Unknown("slow".to_owned()) }, 0);
    assert_eq!(record.addresses(), ips(&["10.0.0.2", "::1"]));
    assert_eq!((record.is_failing(), record.trouble()), (false, Some("slow")));
    assert_eq!(turn, Turn { shift: Shift::Same, wait_ms: 1_000 }, "asked again soon");
    let sure = Answer { v4, v6: Family::Nothing(Nothing::NoAddress) };
    assert_eq!(record.on_answer(&sure, 0).wait_ms, 18_000);
    assert_eq!(record.addresses(), ips(&["10.0.0.2"]), "a sure answer takes them away");
}

#[test]
fn a_name_of_one_family_is_whole() {
    for only in ["10.0.0.1", "2001:db8::1"] {
        let record = resolved(&[only]);
        assert_eq!((record.addresses(), record.is_failing(), record.trouble()), (&ips(&[only])[..], false, None));
    }
}

/// Against a model that holds each family for itself: 2,000 random answers.
#[test]
fn any_sequence_of_answers_leaves_what_the_last_good_ones_said() {
    let mut rng = Rng::from_seed(11);
    let mut record = Record::new(BOUNDS);
    let mut model: [Vec<IpAddr>; 2] = [Vec::new(), Vec::new()];
    for _ in 0..2_000 {
        let mut family = |prefix: &str| match rng.below(4) {
            0 => Family::Nothing(Nothing::NoAddress),
            1 => Family::Unknown("x".to_owned()),
            _ => {
                let addresses =
                    ips(&[&format!("{prefix}{}", rng.below(9) + 1), &format!("{prefix}{}", rng.below(9) + 1)]);
                Family::Found(Found { addresses, ttl_s: 3 })
            }
        };
        let answer = Answer { v4: family("10.0.0."), v6: family("2001:db8::") };
        if answer.families().iter().any(|family| matches!(family, Family::Found(_))) {
            for (kept, family) in model.iter_mut().zip(answer.families()) {
                match family {
                    Family::Found(found) => kept.clone_from(&found.addresses),
                    Family::Nothing(_) => kept.clear(),
                    Family::Unknown(_) => {}
                }
            }
        }
        let turn = record.on_answer(&answer, rng.u64());
        assert!((1_000..=30_000).contains(&turn.wait_ms));
        let mut expected = model.concat();
        expected.sort_unstable();
        expected.dedup();
        assert_eq!(record.addresses(), expected);
    }
}
