use super::*;

const SECOND_NS: u64 = 1_000_000_000;

#[test]
fn exchanges_in_flight_are_those_begun_and_not_ended() {
    let cell = Cell::default();
    (0..5).for_each(|_| cell.begin());
    (0..3).for_each(|_| cell.end());
    assert_eq!(cell.in_flight(), 2);
}

#[test]
fn a_latency_that_peaks_is_felt_at_once_and_fades_with_time() {
    let cell = Cell::default();
    assert_eq!((cell.latency_ns(), cell.latency_at(5 * SECOND_NS)), (0, 0));
    cell.on_latency(20_000_000, SECOND_NS);
    assert_eq!(cell.latency_ns(), 20_000_000);
    cell.on_latency(100_000_000, SECOND_NS);
    assert_eq!(cell.latency_ns(), 100_000_000);
    cell.on_latency(20_000_000, SECOND_NS);
    assert_eq!(cell.latency_ns(), 100_000_000, "no time has passed");
    cell.on_latency(20_000_000, 11 * SECOND_NS);
    assert_eq!(cell.latency_ns(), 49_430_355, "20 + 80/e after the time constant");
}

#[test]
fn an_endpoint_that_stalled_once_is_compared_anew_some_time_later() {
    let cell = Cell::default();
    cell.on_latency(5 * SECOND_NS, SECOND_NS);
    assert_eq!(cell.latency_at(SECOND_NS), 5 * SECOND_NS);
    assert_eq!(cell.latency_at(0), 5 * SECOND_NS, "an older clock changes nothing");
    assert!(cell.latency_at(120 * SECOND_NS) < 50_000);
    assert_eq!(cell.latency_ns(), 5 * SECOND_NS);
}

#[test]
fn the_short_way_for_young_ages_agrees_with_the_long_one() {
    let latency_at = |age_ns| {
        let cell = Cell::default();
        cell.on_latency(SECOND_NS, SECOND_NS);
        cell.latency_at(SECOND_NS + age_ns)
    };
    for (age_ns, exact_ns) in [(1_000_000, 999_900_004), (9_999_999, 999_000_499), (10_000_000, 999_000_499)] {
        assert!(latency_at(age_ns).abs_diff(exact_ns) < 1_000, "{age_ns}: {}", latency_at(age_ns));
    }
}

#[test]
fn latencies_of_any_size_average_without_overflow() {
    let cell = Cell::default();
    cell.on_latency(0, SECOND_NS);
    assert_eq!(cell.latency_ns(), 1, "known, and nothing");
    cell.on_latency(u64::MAX, SECOND_NS);
    cell.on_latency(1, 2 * SECOND_NS);
    assert!((u64::MAX / 2..u64::MAX).contains(&cell.latency_ns()));
    cell.on_latency(7, u64::MAX);
    assert_eq!(cell.latency_ns(), 7);
}

#[test]
fn times_to_connect_average_with_an_eighth_for_the_newest() {
    let cell = Cell::default();
    assert_eq!(cell.connect_us(), 0);
    cell.on_connect(800);
    assert_eq!(cell.connect_us(), 800);
    cell.on_connect(1_600);
    assert_eq!(cell.connect_us(), 900);
    (0..200).for_each(|_| cell.on_connect(80));
    assert!((80..=90).contains(&cell.connect_us()), "{}", cell.connect_us());
    (0..200).for_each(|_| cell.on_connect(u32::MAX));
    (0..200).for_each(|_| cell.on_connect(0));
    assert!((1..8).contains(&cell.connect_us()), "known, and next to nothing");
}

#[test]
fn a_reassigned_cell_knows_nothing_of_the_endpoint_before() {
    let cell = Cell::default();
    cell.on_latency(5, 5);
    cell.on_connect(5);
    cell.begin();
    cell.on_assigned();
    assert_eq!((cell.latency_ns(), cell.connect_us()), (0, 0));
    assert_eq!(cell.in_flight(), 1, "what is under way still ends");
}
