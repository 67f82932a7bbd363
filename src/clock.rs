//! The only reader of the operating system's clocks, and the two ways a time is written.
//!
//! Owns: monotonic nanoseconds since the process started, wall-clock milliseconds, and the formatting of both
//! wall-clock shapes (IMF-fixdate of RFC 9110 section 5.6.7, RFC 3339 with milliseconds).
//! Never: time zones other than UTC, parsing of dates, sleeping.
//! Invariants: `now_ns` never goes back and is never 0, so a stored 0 may mean "not yet"; formatting is pure.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Bytes of an IMF-fixdate, `Sun, 06 Nov 1994 08:49:37 GMT`.
pub const IMF_FIXDATE_BYTES: usize = 29;
/// Bytes of an RFC 3339 time with milliseconds, `1994-11-06T08:49:37.123Z`.
pub const RFC3339_BYTES: usize = 24;

/// The last second that both formats can write, `9999-12-31T23:59:59Z`; later times are written as this one.
const LAST_UNIX_SECOND: u64 = 253_402_300_799;
const SECONDS_OF_DAY: u64 = 86_400;
const WEEKDAYS: [&[u8; 3]; 7] = [b"Sun", b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat"];
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

static START: OnceLock<Instant> = OnceLock::new();

/// Monotonic nanoseconds since the process first asked, never 0 and never going back.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
pub fn now_ns() -> u64 {
    let elapsed = Instant::now().saturating_duration_since(*START.get_or_init(Instant::now));
    elapsed.as_secs() * 1_000_000_000 + u64::from(elapsed.subsec_nanos()) + 1
}

/// Wall-clock milliseconds since 1970-01-01T00:00:00Z; 0 when the clock is set before that.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() * 1_000 + u64::from(since.subsec_millis())
}

/// Writes `unix_secs` (seconds since 1970, UTC) as an IMF-fixdate (RFC 9110 section 5.6.7).
pub fn imf_fixdate(unix_secs: u64, out: &mut [u8; IMF_FIXDATE_BYTES]) {
    let civil = Civil::from_unix(unix_secs);
    out.copy_from_slice(b"---, 00 --- 0000 00:00:00 GMT");
    out[0..3].copy_from_slice(WEEKDAYS[usize::from(civil.weekday)]);
    two_digits(&mut out[5..7], civil.day);
    out[8..11].copy_from_slice(MONTHS[usize::from(civil.month - 1)]);
    four_digits(&mut out[12..16], civil.year);
    civil.write_time(&mut out[17..25]);
}

/// Writes `unix_ms` (milliseconds since 1970, UTC) as RFC 3339 with milliseconds.
#[must_use]
pub fn rfc3339(unix_ms: u64) -> [u8; RFC3339_BYTES] {
    let civil = Civil::from_unix(unix_ms / 1_000);
    let mut out = *b"0000-00-00T00:00:00.000Z";
    four_digits(&mut out[0..4], civil.year);
    two_digits(&mut out[5..7], civil.month);
    two_digits(&mut out[8..10], civil.day);
    civil.write_time(&mut out[11..19]);
    let millis = (unix_ms % 1_000) as u16;
    out[20] = b'0' + (millis / 100) as u8;
    two_digits(&mut out[21..23], (millis % 100) as u8);
    out
}

/// The same as a text.
#[must_use]
pub fn rfc3339_text(unix_ms: u64) -> String {
    rfc3339(unix_ms).map(char::from).iter().collect()
}

/// A UTC date and time of day by the Gregorian calendar; months and days count from 1, weekdays from Sunday = 0.
struct Civil {
    year: u16,
    month: u8,
    day: u8,
    weekday: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

impl Civil {
    /// Converts by counting 400-year eras that begin on 1 March, so a leap day is the last day of its year.
    fn from_unix(unix_secs: u64) -> Self {
        let secs = unix_secs.min(LAST_UNIX_SECOND);
        let days = secs / SECONDS_OF_DAY;
        let of_day = secs % SECONDS_OF_DAY;
        // 719,468 days lie between 0000-03-01 and 1970-01-01.
        let shifted = days + 719_468;
        let era = shifted / 146_097;
        let day_of_era = shifted % 146_097;
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        Self {
            year: (year % 10_000) as u16,
            month: (month % 13) as u8,
            day: (day % 32) as u8,
            // 1970-01-01 was a Thursday.
            weekday: ((days + 4) % 7) as u8,
            hour: (of_day / 3_600 % 24) as u8,
            minute: (of_day / 60 % 60) as u8,
            second: (of_day % 60) as u8,
        }
    }

    /// Writes `hh:mm:ss` into the eight bytes given.
    fn write_time(&self, out: &mut [u8]) {
        two_digits(&mut out[0..2], self.hour);
        two_digits(&mut out[3..5], self.minute);
        two_digits(&mut out[6..8], self.second);
    }
}

fn two_digits(out: &mut [u8], value: u8) {
    out[0] = b'0' + value / 10;
    out[1] = b'0' + value % 10;
}

fn four_digits(out: &mut [u8], value: u16) {
    two_digits(&mut out[0..2], (value / 100 % 100) as u8);
    two_digits(&mut out[2..4], (value % 100) as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imf(secs: u64) -> String {
        let mut out = [0; IMF_FIXDATE_BYTES];
        imf_fixdate(secs, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    fn rfc(ms: u64) -> String {
        rfc3339_text(ms)
    }

    #[test]
    fn the_example_of_rfc_9110_is_written_as_printed_there() {
        assert_eq!(imf(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn dates_around_leap_days_and_year_ends_are_right() {
        assert_eq!(imf(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(imf(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(imf(951_868_799), "Tue, 29 Feb 2000 23:59:59 GMT");
        assert_eq!(imf(951_868_800), "Wed, 01 Mar 2000 00:00:00 GMT");
        assert_eq!(imf(1_735_689_599), "Tue, 31 Dec 2024 23:59:59 GMT");
        assert_eq!(imf(1_735_689_600), "Wed, 01 Jan 2025 00:00:00 GMT");
        assert_eq!(imf(4_107_542_400), "Mon, 01 Mar 2100 00:00:00 GMT");
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_day_before() {
        let mut last = Civil::from_unix(0);
        for day in 1..146_097u64 {
            let civil = Civil::from_unix(day * SECONDS_OF_DAY);
            assert_eq!(civil.weekday, (last.weekday + 1) % 7);
            let leap = last.year.is_multiple_of(4) && (!last.year.is_multiple_of(100) || last.year.is_multiple_of(400));
            let length = match last.month {
                2 => 28 + u8::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            let expected = if last.day < length {
                (last.year, last.month, last.day + 1)
            } else if last.month < 12 {
                (last.year, last.month + 1, 1)
            } else {
                (last.year + 1, 1, 1)
            };
            assert_eq!((civil.year, civil.month, civil.day), expected);
            last = civil;
        }
    }

    #[test]
    fn milliseconds_are_written_with_leading_zeros() {
        assert_eq!(rfc(784_111_777_007), "1994-11-06T08:49:37.007Z");
        assert_eq!(rfc(784_111_777_999), "1994-11-06T08:49:37.999Z");
    }

    #[test]
    fn a_time_beyond_the_year_9999_is_written_as_the_last_second() {
        assert_eq!(imf(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert!(rfc(u64::MAX).starts_with("9999-12-31T23:59:59."));
    }

    #[test]
    fn the_monotonic_clock_is_never_zero_and_never_goes_back() {
        let mut last = now_ns();
        assert!(last > 0);
        for _ in 0..1_000 {
            let now = now_ns();
            assert!(now >= last);
            last = now;
        }
    }

    #[test]
    fn the_wall_clock_is_in_this_century() {
        assert!((1_700_000_000_000..4_102_444_800_000).contains(&unix_ms()));
    }
}
