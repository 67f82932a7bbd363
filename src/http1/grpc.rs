//! What of gRPC a gateway has to read and write (gRPC over HTTP2,
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use super::encode::push_number;

/// Media type of calls and their answers.
pub const GRPC: &str = "application/grpc";
/// Most digits of a time-out.
const DIGITS: usize = 8;

/// Is this the media type of a call? gRPC-Web is another protocol.
#[must_use]
pub fn is_grpc(content_type: &[u8]) -> bool {
    content_type.split_at_checked(GRPC.len()).is_some_and(|(start, rest)| {
        start.eq_ignore_ascii_case(GRPC.as_bytes())
            && matches!(rest.trim_ascii_start().first(), None | Some(b'+' | b';'))
    })
}

/// Milliseconds of a `grpc-timeout`, rounded up; `None` when it is none.
#[must_use]
pub fn parse_grpc_timeout(value: &[u8]) -> Option<u64> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = digits.iter().fold(0, |count: u64, digit| count * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(count * 3_600_000),
        b'M' => Some(count * 60_000),
        b'S' => Some(count * 1_000),
        b'm' => Some(count),
        b'u' => Some(count.div_ceil(1_000)),
        b'n' => Some(count.div_ceil(1_000_000)),
        _ => None,
    }
}

/// Appends `ms` milliseconds as the value of a `grpc-timeout`: never more than that, and as exact as eight digits are.
pub(super) fn push_grpc_timeout(out: &mut Vec<u8>, ms: u64) {
    const MOST: u64 = 99_999_999;
    let units = [(b'm', 1), (b'S', 1_000), (b'M', 60_000)];
    let fitting = units.into_iter().find(|(_, size)| ms / size <= MOST);
    let (unit, size) = fitting.unwrap_or((b'H', 3_600_000));
    push_number(out, (ms / size).min(MOST));
    out.push(unit);
}

/// `text` as the value of a `grpc-message`: what is not printable ASCII, and the percent sign, in hexadecimal.
#[must_use]
pub fn grpc_message(text: &str) -> Vec<u8> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    out
}

/// The status of a call as a `grpc-status` says it; `None` when it is none.
#[must_use]
pub fn parse_grpc_status(value: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_by_their_media_type_and_grpc_web_is_none() {
        for is in ["application/grpc", "application/grpc+proto", "Application/GRPC", "application/grpc; a=b"] {
            assert!(is_grpc(is.as_bytes()), "{is}");
        }
        for is_not in [
            "",
            "application/grp",
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/grpcs",
            "text/html",
        ] {
            assert!(!is_grpc(is_not.as_bytes()), "{is_not}");
        }
    }

    #[test]
    fn every_unit_of_a_timeout_is_read_and_rubbish_is_none() {
        for (text, ms) in [
            ("1H", 3_600_000),
            ("2M", 120_000),
            ("3S", 3_000),
            ("4m", 4),
            ("0m", 0),
            ("00000005m", 5),
            ("1u", 1),
            ("1000u", 1),
            ("1001u", 2),
            ("1n", 1),
            ("99999999n", 100),
            ("99999999H", 359_999_996_400_000),
        ] {
            assert_eq!(parse_grpc_timeout(text.as_bytes()), Some(ms), "{text}");
        }
        for text in ["", "S", "1", "1s", "1h", "-1S", "+1S", "1.5S", " 1S", "1S ", "123456789m", "1Sm", "\u{663}S"] {
            assert_eq!(parse_grpc_timeout(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_left_is_written_in_eight_digits_and_never_grows() {
        for (ms, text) in [
            (0, "0m"),
            (1_500, "1500m"),
            (99_999_999, "99999999m"),
            (100_000_000, "100000S"),
            (100_000_999, "100000S"),
            (100_000_000_000, "1666666M"),
            (359_999_996_400_000, "99999999H"),
            (u64::MAX, "99999999H"),
        ] {
            let mut out = Vec::new();
            push_grpc_timeout(&mut out, ms);
            assert_eq!(String::from_utf8_lossy(&out), text);
            assert!(parse_grpc_timeout(&out).is_some_and(|read| read <= ms), "{text}");
        }
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(grpc_message("upstream saturated"), b"upstream saturated");
        assert_eq!(grpc_message("100%\r\n\u{fc}\0~\u{7f}"), b"100%25%0D%0A%C3%BC%00~%7F");
    }

    #[test]
    fn a_status_is_a_small_number() {
        assert_eq!(["0", "14", "255"].map(|text| parse_grpc_status(text.as_bytes())), [Some(0), Some(14), Some(255)]);
        for text in ["", "-1", "+1", "256", "1 ", "OK"] {
            assert_eq!(parse_grpc_status(text.as_bytes()), None, "{text:?}");
        }
    }
}
