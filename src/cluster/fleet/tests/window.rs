use super::super::window::{Counts, Era, Window};

const ERA_MS: u64 = 8_000;

fn era(number: u16) -> Era {
    Era::new(ERA_MS, number)
}

fn counts(window: &Window, now_ms: u64) -> (u64, u64) {
    let Counts { ok, bad } = window.counts(era(1), now_ms);
    (ok, bad)
}

#[test]
fn results_count_for_seven_eighths_of_the_window_at_least_and_never_for_longer_than_it() {
    for at_ms in [0, 1, 999, 1_000, 123_456, 7_999_999] {
        let window = Window::default();
        window.on_result(era(1), at_ms, true);
        window.on_result(era(1), at_ms, false);
        for age_ms in [0, 1, 500, 3_000, 7_000] {
            assert_eq!(counts(&window, at_ms + age_ms), (1, 1), "at {at_ms}, {age_ms} old");
        }
        for age_ms in [8_000, 8_001, 15_000, 16_500, 1_000_000] {
            assert_eq!(counts(&window, at_ms + age_ms), (0, 0), "at {at_ms}, {age_ms} old");
        }
    }
}

#[test]
fn a_bucket_that_comes_round_again_starts_from_nothing() {
    let window = Window::default();
    (0..20).for_each(|_| window.on_result(era(1), 500, false));
    window.on_result(era(1), 8_500, true);
    assert_eq!(counts(&window, 8_500), (1, 0));
}

#[test]
fn another_era_or_width_forgets_what_was_counted() {
    let window = Window::default();
    window.on_result(era(1), 500, false);
    assert_eq!(window.counts(era(2), 500), Counts::default());
    window.on_result(era(2), 500, true);
    assert_eq!(window.counts(era(2), 500), Counts { ok: 1, bad: 0 });
    assert_eq!(counts(&window, 500), (0, 0));
    assert_eq!(window.counts(Era::new(16_000, 2), 500), Counts::default());
}

#[test]
fn a_reader_whose_clock_is_a_slice_behind_misses_nothing() {
    let window = Window::default();
    window.on_result(era(1), 4_000, true);
    window.on_result(era(1), 5_000, false);
    assert_eq!(counts(&window, 4_999), (1, 1));
    assert_eq!(counts(&window, 3_999), (1, 0), "two slices ahead is no skew");
}

#[test]
fn full_buckets_are_halved_and_keep_their_ratio() {
    let window = Window::default();
    for at in 1..=1_000_000 {
        window.on_result(era(1), 100, at % 4 != 0);
        if at >= 65_536 && at % 1_000 == 0 {
            let (ok, bad) = counts(&window, 100);
            assert!(ok + bad >= 65_536, "enough to reach any minimum");
            assert!((2.9..3.1).contains(&(ok as f64 / bad as f64)), "{ok} to {bad}");
        }
    }
}

#[test]
fn the_narrowest_and_the_widest_window_count() {
    for window_ms in [0, 1, 7, 8, u64::MAX] {
        let window = Window::default();
        let era = Era::new(window_ms, 0);
        window.on_result(era, 1 << 37, false);
        assert_eq!(window.counts(era, 1 << 37), Counts { ok: 0, bad: 1 }, "{window_ms}");
    }
}

#[test]
fn the_share_is_judged_from_the_minimum_on_and_at_the_rate_itself() {
    let is_over = |ok, bad, rate, least| Counts { ok, bad }.is_over(rate, least);
    assert!(is_over(10, 10, 0.5, 20));
    assert!(!is_over(11, 10, 0.5, 20), "below the rate");
    assert!(!is_over(9, 10, 0.5, 20), "too few");
    assert!(is_over(0, 1, 1.0, 0));
    assert!(is_over(1_000, 1, 0.0, 1), "a rate of nothing: the first failure");
    assert!(!is_over(1_000, 0, 0.0, 1), "but a failure it must be");
}

#[test]
fn any_history_counts_what_a_list_of_all_results_counts() {
    for seed in 0..100 {
        let mut random = super::Seeded::new(seed);
        let window = Window::default();
        let window_ms = random.one_of(&[8, 100, 8_000, 30_000]);
        let slice_ms = window_ms / 8;
        let (mut now_ms, mut number) = (random.below(1 << 37), 0);
        let mut all: Vec<(u64, bool)> = Vec::new();
        for step in 0..500 {
            match random.below(30) {
                0 => now_ms += random.below(window_ms * 3),
                1..=9 => now_ms += random.below(slice_ms + 1),
                10 if random.below(4) == 0 => {
                    number += 1;
                    all.clear();
                }
                dice => {
                    window.on_result(Era::new(window_ms, number), now_ms, dice % 3 == 0);
                    all.push((now_ms / slice_ms, dice % 3 == 0));
                }
            }
            let lasting = all.iter().filter(|(slice, _)| slice + 8 > now_ms / slice_ms);
            let expected = lasting.fold(Counts::default(), |sum, (_, is_ok)| {
                sum.plus(if *is_ok { Counts { ok: 1, bad: 0 } } else { Counts { ok: 0, bad: 1 } })
            });
            assert_eq!(window.counts(Era::new(window_ms, number), now_ms), expected, "seed {seed} step {step}");
        }
    }
}
