//! What a window lets pass, and what it says.

use super::*;

const SECOND: u64 = 1_000_000_000;
/// Windows are longer by at most this share of them.
const LONGER: u64 = 1 << HIGH.period_digits;

struct Held(Window, u64);

impl Held {
    fn new(limit: u32, period_ns: u64) -> Self {
        Self(Window::new(limit, period_ns), 0)
    }

    fn one(&mut self, now_ns: u64) -> Grant {
        let (grant, amount) = self.0.charge(self.1, 1, now_ns);
        if grant.granted > 0 {
            self.1 = amount;
        }
        grant
    }

    fn count(&mut self, asked: u32, now_ns: u64) -> u32 {
        (0..asked).map(|_| self.one(now_ns).granted).sum()
    }
}

#[test]
fn the_limit_passes_at_once_and_nothing_more_in_a_whole_period_whenever_it_begins() {
    for period_ns in [1_000_000, 1_001_000_000, 60 * SECOND, 24 * 3_600 * SECOND] {
        for begin_ns in [1, 59 * SECOND + 999_999_999, 12_345_678_901_234_567] {
            let mut window = Held::new(100, period_ns);
            assert_eq!(window.count(150, begin_ns), 100);
            for part in 1..100 {
                assert_eq!(window.count(2, begin_ns + part * period_ns / 100), 0, "{period_ns} {part}");
            }
            assert_eq!(window.one(begin_ns + period_ns).granted, 0);
        }
    }
}

#[test]
fn a_boundary_allows_no_second_burst_but_what_the_first_one_gives_back() {
    let mut window = Held::new(100, 10 * SECOND);
    assert_eq!(window.one(SECOND).granted, 1, "the window begins");
    assert_eq!(window.count(200, 11 * SECOND - 1), 99);
    let late_ns = 11 * SECOND + 10 * SECOND / LONGER;
    assert!(window.count(200, late_ns) <= 1, "all of the last window reaches into this one");
    assert_eq!(window.count(200, 16 * SECOND) + 1, 50, "half of it does");
}

#[test]
fn every_grant_says_what_is_left_and_when_the_window_ends() {
    let mut window = Held::new(2, 10 * SECOND);
    let first = window.one(SECOND);
    assert_eq!((first.granted, first.remaining, first.reset_ns), (1, 1, 10 * SECOND));
    let second = window.one(3 * SECOND);
    assert_eq!((second.granted, second.remaining), (1, 0));
    assert!(second.reset_ns.abs_diff(8 * SECOND) <= 10 * SECOND / LONGER);
    let third = window.one(3 * SECOND);
    assert_eq!((third.granted, third.remaining), (0, 0));
    assert!(third.retry_after_ns.abs_diff(8 * SECOND) <= 20 * SECOND / LONGER);
}

#[test]
fn who_waits_as_long_as_told_may_pass() {
    for limit in [1, 2, 5, 100, 1_023, 1_024, 65_537, 1_000_000] {
        for period_ns in [1_000_000, SECOND, 60 * SECOND, 24 * 3_600 * SECOND] {
            let mut window = Held::new(limit, period_ns);
            let mut now_ns = 777_777_777_777;
            for _ in 0..20 {
                // What is left, taken at once.
                let (grant, amount) = window.0.charge(window.1, limit, now_ns);
                assert!(grant.granted > 0 && grant.remaining == 0, "{limit} in {period_ns}");
                window.1 = amount;
                let refused = window.one(now_ns);
                assert!(refused.granted == 0 && refused.retry_after_ns > 0);
                let slack_ns = 3 + if limit < 1_024 { period_ns >> 18 } else { period_ns >> 8 };
                assert!(refused.retry_after_ns <= period_ns + slack_ns, "{limit} {}", refused.retry_after_ns);
                now_ns += refused.retry_after_ns;
            }
        }
    }
}

#[test]
fn a_client_that_asks_all_the_time_gets_the_limit_in_every_period() {
    for limit in [10, 100, 10_000] {
        let mut window = Held::new(limit, SECOND);
        let step_ns = SECOND / u64::from(limit) / 3;
        let passed: u32 = (0..u64::from(limit) * 3 * 50).map(|step| window.one(SECOND + step * step_ns).granted).sum();
        assert!(passed <= limit * 50 + 1, "{passed} in 50 periods of {limit}");
        assert!(passed >= limit * 50 * 96 / 100, "{passed} in 50 periods of {limit}");
    }
}

#[test]
fn two_quiet_periods_make_a_client_new() {
    let mut window = Held::new(10, SECOND);
    assert_eq!(window.count(20, SECOND), 10);
    assert_eq!(window.count(20, 3 * SECOND + SECOND / LONGER * 2), 10);
}

#[test]
fn an_amount_counts_for_others_as_long_as_it_does_for_its_owner() {
    for period_ns in [1_000_000, SECOND, 59 * SECOND, 24 * 3_600 * SECOND] {
        let window = Window::new(10, period_ns);
        let now_ns = 1_234_567_890_123;
        let (_, amount) = window.charge(0, 10, now_ns);
        for part in 0..20 {
            assert!(Window::counts_for_ns(window.form(), amount, now_ns + part * period_ns / 10) > 0, "{part}");
        }
        assert_eq!(Window::counts_for_ns(window.form(), amount, now_ns + 5 * period_ns), 0);
        assert_eq!(Window::counts_for_ns(window.form(), 0, now_ns), 0);
    }
}

#[test]
fn a_core_whose_clock_is_behind_counts_in_the_same_window() {
    let mut window = Held::new(10, SECOND);
    assert_eq!(window.count(5, 5 * SECOND), 5);
    assert_eq!(window.count(20, 5 * SECOND - 1_000_000), 5);
    assert_eq!(window.count(20, 5 * SECOND), 0);
}

#[test]
fn a_limit_made_smaller_counts_what_has_passed() {
    let mut window = Held::new(1_000, SECOND);
    assert_eq!(window.count(500, SECOND), 500);
    window.0 = Window::new(100, SECOND);
    assert_eq!(window.count(10, SECOND), 0);
    window.0 = Window::new(900, SECOND);
    assert_eq!(window.count(5_000, SECOND), 400);
}
