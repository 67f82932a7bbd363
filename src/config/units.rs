//! Kinds of plain values: durations, sizes, percentages, counts, switches, text.

use std::time::Duration;

use super::leaf::{Kind, Refusal};

/// The longest duration that a configuration may give.
const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// The largest increase in percent: a hundred times as much.
const INCREASE_MAX: f64 = 10_000.0;

/// Splits digits from what follows them; no digits, too many, or a sign make `None`.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    Some((digits.parse().ok()?, unit))
}

/// A duration with a unit: `250ms`, `5s`, `10m`, `1h`.
pub(super) struct Span;

impl Kind for Span {
    type Out = Duration;
    const EXPECTED: &'static str = "a duration such as `250ms`, `5s`, `10m` or `1h`";
    const PATTERN: Option<&'static str> = Some("[0-9]+(ms|s|m|h)");

    fn text(text: &str) -> Result<Duration, Refusal> {
        let Some((number, unit)) = number_and_unit(text) else {
            return Err(Refusal::expected::<Self>());
        };
        let ms = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "" => return Self::number(number),
            _ => return Err(Refusal::expected::<Self>().hint("one whole number and one unit: ms, s, m or h")),
        };
        match number.checked_mul(ms).map(Duration::from_millis) {
            Some(duration) if duration <= DURATION_MAX => Ok(duration),
            _ => Err(Refusal::new("expected a duration of at most a year")),
        }
    }

    fn number(number: u64) -> Result<Duration, Refusal> {
        Err(Refusal::expected::<Self>().hint(format!("a bare number has no unit: did you mean `{number}s`?")))
    }
}

/// A duration longer than zero.
pub(super) struct Wait;

impl Kind for Wait {
    type Out = Duration;
    const EXPECTED: &'static str = Span::EXPECTED;
    const PATTERN: Option<&'static str> = Span::PATTERN;

    fn text(text: &str) -> Result<Duration, Refusal> {
        match Span::text(text)? {
            Duration::ZERO => Err(Refusal::new("expected a duration longer than zero")),
            duration => Ok(duration),
        }
    }

    fn number(number: u64) -> Result<Duration, Refusal> {
        Span::number(number)
    }
}

/// A duration of at least a second, in which the kernel counts the silence of a peer.
pub(super) struct Silence;

impl Kind for Silence {
    type Out = Duration;
    const EXPECTED: &'static str = "a duration of at least `1s`, or `off`";
    const PATTERN: Option<&'static str> = Span::PATTERN;

    fn text(text: &str) -> Result<Duration, Refusal> {
        match Span::text(text) {
            Ok(duration) if duration < Duration::from_secs(1) => Err(Refusal::expected::<Self>()),
            // `TCP_KEEPIDLE` is refused by the kernel above 32767 seconds.
            Ok(duration) if duration > Duration::from_secs(32_767) => {
                Err(Refusal::new("expected a duration of at most `9h`, or `off`"))
            }
            Ok(duration) => Ok(duration),
            Err(refusal) => Err(Refusal { hint: refusal.hint, ..Refusal::expected::<Self>() }),
        }
    }

    fn number(number: u64) -> Result<Duration, Refusal> {
        Span::number(number)
    }
}

/// A duration longer than zero, where `off` waits for ever.
pub(super) struct Patience;

impl Kind for Patience {
    type Out = Duration;
    const EXPECTED: &'static str = "a duration such as `250ms`, `5s`, `10m` or `1h`, or `off`";
    const PATTERN: Option<&'static str> = Span::PATTERN;

    fn text(text: &str) -> Result<Duration, Refusal> {
        Wait::text(text)
    }

    fn number(number: u64) -> Result<Duration, Refusal> {
        Span::number(number)
    }
}

/// A size in bytes with a unit: `500B`, `64KiB`, `10MB`; 0 needs none.
pub(super) struct Size;

const SIZES: [(&str, u64); 7] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("KB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

impl Kind for Size {
    type Out = u64;
    const EXPECTED: &'static str = "a size such as `500B`, `64KiB`, `10MiB`, `1GiB` or 0";
    const PATTERN: Option<&'static str> = Some("0|[0-9]+([KMG]i?)?B");
    const TYPES: &'static [&'static str] = &["string", "integer"];

    fn text(text: &str) -> Result<u64, Refusal> {
        let Some((number, unit)) = number_and_unit(text) else {
            return Err(Refusal::expected::<Self>());
        };
        if unit.is_empty() {
            return Self::number(number);
        }
        let Some((_, bytes)) = SIZES.iter().find(|(name, _)| *name == unit) else {
            let refusal = Refusal::expected::<Self>();
            let alike =
                |name: &str| name.eq_ignore_ascii_case(unit) || name.replace("iB", "").eq_ignore_ascii_case(unit);
            return Err(match SIZES.iter().find(|(name, _)| alike(name)) {
                Some((name, _)) => refusal.hint(format!("did you mean `{number}{name}`?")),
                None => refusal,
            });
        };
        number.checked_mul(*bytes).ok_or_else(|| Refusal::new("expected a smaller size"))
    }

    fn number(number: u64) -> Result<u64, Refusal> {
        if number == 0 {
            return Ok(0);
        }
        let likely = match number {
            n if n % (1 << 20) == 0 => format!("{}MiB", n >> 20),
            n if n % (1 << 10) == 0 => format!("{}KiB", n >> 10),
            n => format!("{n}B"),
        };
        Err(Refusal::expected::<Self>().hint(format!("a bare number has no unit: did you mean `{likely}`?")))
    }
}

/// A share of 0 to 1, written as `5%`.
pub(super) struct Percent;

impl Kind for Percent {
    type Out = f64;
    const EXPECTED: &'static str = "a percentage from `0%` to `100%`";
    const PATTERN: Option<&'static str> = Some("[0-9]+(\\.[0-9]+)?%");

    fn text(text: &str) -> Result<f64, Refusal> {
        let refusal = Refusal::expected::<Self>();
        match percentage(text) {
            Some(percent) if percent <= 100.0 => Ok(percent / 100.0),
            _ if text.parse::<f64>().is_ok() => Err(refusal.hint(format!("did you mean `{text}%`?"))),
            _ => Err(refusal),
        }
    }

    fn number(number: u64) -> Result<f64, Refusal> {
        Err(Refusal::expected::<Self>().hint(format!("a bare number has no unit: did you mean `{number}%`?")))
    }
}

/// By how much something may grow: `50%`, `300%`.
pub(super) struct Increase;

impl Kind for Increase {
    type Out = f64;
    const EXPECTED: &'static str = "a percentage such as `50%` or `300%`";
    const PATTERN: Option<&'static str> = Percent::PATTERN;

    fn text(text: &str) -> Result<f64, Refusal> {
        percentage(text).filter(|percent| *percent <= INCREASE_MAX).map(|percent| percent / 100.0).ok_or_else(|| {
            let refusal = Refusal::expected::<Self>();
            if text.parse::<f64>().is_ok() { refusal.hint(format!("did you mean `{text}%`?")) } else { refusal }
        })
    }

    fn number(number: u64) -> Result<f64, Refusal> {
        Err(Refusal::expected::<Self>().hint(format!("a bare number has no unit: did you mean `{number}%`?")))
    }
}

/// What stands before the `%`; `parse` alone would also take a sign, an exponent and `inf`.
fn percentage(text: &str) -> Option<f64> {
    let number = text.strip_suffix('%')?;
    let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    number.parse().ok().filter(|_| plain)
}

/// A whole number.
pub(super) struct Count;

impl Kind for Count {
    type Out = usize;
    const EXPECTED: &'static str = "a whole number";
    const PATTERN: Option<&'static str> = Some("");
    const TYPES: &'static [&'static str] = &["integer", "string"];
    const PLAIN: bool = true;

    fn text(text: &str) -> Result<usize, Refusal> {
        match number_and_unit(text) {
            Some((number, "")) => Self::number(number),
            _ => Err(Refusal::expected::<Self>()),
        }
    }

    fn number(number: u64) -> Result<usize, Refusal> {
        usize::try_from(number).map_err(|_| Refusal::expected::<Self>())
    }
}

/// `on` or `off`, `true` or `false`.
pub(super) struct Switch;

impl Kind for Switch {
    type Out = bool;
    const EXPECTED: &'static str = "`on` or `off`";
    const PATTERN: Option<&'static str> = Some("on|off");
    const TYPES: &'static [&'static str] = &["boolean", "string"];

    fn text(text: &str) -> Result<bool, Refusal> {
        match text {
            "on" | "true" => Ok(true),
            "off" | "false" => Ok(false),
            _ => Err(Refusal::expected::<Self>()),
        }
    }

    fn switch(on: bool) -> Result<bool, Refusal> {
        Ok(on)
    }
}

/// `off`, or a value of kind `K`; what `K` expects has to mention `off`.
pub(super) struct OrOff<K>(std::marker::PhantomData<K>);

impl<K: Kind> Kind for OrOff<K> {
    type Out = Option<K::Out>;
    const EXPECTED: &'static str = K::EXPECTED;
    // Other readers of YAML take `off` for `false`.
    const TYPES: &'static [&'static str] = &["string", "boolean"];

    fn text(text: &str) -> Result<Self::Out, Refusal> {
        if text == "off" { Ok(None) } else { K::text(text).map(Some) }
    }

    fn number(number: u64) -> Result<Self::Out, Refusal> {
        K::number(number).map(Some)
    }

    fn switch(on: bool) -> Result<Self::Out, Refusal> {
        if on { K::switch(on).map(Some) } else { Ok(None) }
    }
}

/// Text as it is.
pub(super) struct Text;

impl Kind for Text {
    type Out = String;
    const EXPECTED: &'static str = "text";

    fn text(text: &str) -> Result<String, Refusal> {
        Ok(text.to_owned())
    }

    fn number(number: u64) -> Result<String, Refusal> {
        Err(Refusal::expected::<Self>().hint(format!("YAML reads this as a number: write \"{number}\"")))
    }

    fn switch(on: bool) -> Result<String, Refusal> {
        Err(Refusal::expected::<Self>().hint(format!("YAML reads this as a truth value: write \"{on}\"")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_a_whole_number() {
        assert_eq!(Span::text("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(Span::text("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(Span::text("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(Span::text("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(Span::text("0s"), Ok(Duration::ZERO));
        for bad in
            ["", "s", "-1s", "1.5s", "5 s", "5sec", "1m30s", "18446744073709551616s", "18446744073709551615h", "+5s"]
        {
            assert!(Span::text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bare_number_is_answered_with_the_likely_unit() {
        let hint = |refusal: Result<_, Refusal>| refusal.err().and_then(|refusal| refusal.hint).unwrap_or_default();
        assert!(hint(Span::number(5).map(drop)).contains("`5s`"));
        assert!(hint(Wait::text("7").map(drop)).contains("`7s`"));
        assert!(hint(Size::number(65536).map(drop)).contains("`64KiB`"));
        assert!(hint(Size::text("10m").map(drop)).contains("`10MiB`"));
        assert!(hint(Size::text("64kib").map(drop)).contains("`64KiB`"));
        assert!(hint(Percent::number(5).map(drop)).contains("`5%`"));
        assert!(hint(Percent::text("0.5").map(drop)).contains("`0.5%`"));
    }

    #[test]
    fn sizes_are_binary_or_decimal_as_their_unit_says() {
        assert_eq!(Size::text("500B"), Ok(500));
        assert_eq!(Size::text("64KiB"), Ok(65_536));
        assert_eq!(Size::text("10MB"), Ok(10_000_000));
        assert_eq!(Size::text("1GiB"), Ok(1 << 30));
        assert_eq!(Size::number(0), Ok(0));
        assert_eq!(Size::text("0"), Ok(0));
        for bad in ["", "B", "1TiB", "-1B", "1.5KiB", "18446744073709551615GiB"] {
            assert!(Size::text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn percentages_are_shares_of_one() {
        assert_eq!(Percent::text("0%"), Ok(0.0));
        assert_eq!(Percent::text("5%"), Ok(0.05));
        assert_eq!(Percent::text("100%"), Ok(1.0));
        for bad in ["%", "101%", "-5%", "1e1%", "inf%", "nan%", "5", "5 %", "."] {
            assert!(Percent::text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_increase_may_be_more_than_all_of_it() {
        assert_eq!([Increase::text("0%"), Increase::text("50%"), Increase::text("300%")], [Ok(0.0), Ok(0.5), Ok(3.0)]);
        for bad in ["%", "10001%", "-5%", "1.5x", "inf%", "50"] {
            assert!(Increase::text(bad).is_err(), "{bad}");
        }
        assert_eq!(
            Increase::number(50).unwrap_err().hint.unwrap_or_default(),
            "a bare number has no unit: did you mean `50%`?"
        );
    }

    #[test]
    fn kernel_silence_is_a_second_to_nine_hours_or_off() {
        assert_eq!(OrOff::<Silence>::text("off"), Ok(None));
        assert_eq!(OrOff::<Silence>::switch(false), Ok(None));
        assert_eq!(OrOff::<Silence>::text("30s"), Ok(Some(Duration::from_secs(30))));
        assert!(OrOff::<Silence>::text("10ms").is_err());
        assert!(OrOff::<Silence>::text("10h").is_err());
        assert!(OrOff::<Silence>::switch(true).is_err());
    }
}
