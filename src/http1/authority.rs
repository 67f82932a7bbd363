//! Host and port in one normal form, the same for routing, logging and forwarding.

use super::HOST_BYTES;
use super::encode::push_number;
use super::error::HeadError;
use super::framing::parse_digits;
use core::net::Ipv6Addr;

/// Bytes of a registered name that we accept: unreserved ones (RFC 3986 section 2.3).
///
/// Percent escapes and sub-delimiters are in the grammar but in no host name, and read differently everywhere.
static HOST_BYTE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128_u8 {
        table[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        byte += 1;
    }
    table
};

/// Appends the normal form of `uri-host [ ":" port ]` to the empty `out`; the length of the host in it.
///
/// Lower case, no trailing dot, an IPv6 literal in its brackets, the port without leading zeros; an empty port
/// counts as none (RFC 3986 section 6.2.3).
#[inline]
pub(super) fn normalise(value: &[u8], out: &mut Vec<u8>) -> Result<usize, HeadError> {
    let (host, port) = split(value)?;
    if host.len() > HOST_BYTES {
        return Err(HeadError::InvalidHost);
    }
    out.extend_from_slice(host);
    out.make_ascii_lowercase();
    if let Some(port) = port {
        out.push(b':');
        push_number(out, port);
    }
    Ok(host.len())
}

/// Host without trailing dot, port.
#[inline]
fn split(value: &[u8]) -> Result<(&[u8], Option<u64>), HeadError> {
    if value.first() == Some(&b'[') {
        let end = memchr::memchr(b']', value).ok_or(HeadError::InvalidHost)?;
        let literal = core::str::from_utf8(&value[1..end]).map_err(|_| HeadError::InvalidHost)?;
        literal.parse::<Ipv6Addr>().map_err(|_| HeadError::InvalidHost)?;
        return Ok((&value[..=end], parse_port(&value[end + 1..])?));
    }
    let mut end = 0;
    let mut after_dot = true;
    while let Some(&byte) = value.get(end).filter(|&&byte| HOST_BYTE[byte as usize]) {
        let is_dot = byte == b'.';
        // RFC 9110 section 4.2.1: an empty host is invalid. No label is empty but the one behind a trailing dot.
        if is_dot && after_dot {
            return Err(HeadError::InvalidHost);
        }
        after_dot = is_dot;
        end += 1;
    }
    if end == 0 {
        return Err(HeadError::InvalidHost);
    }
    let port = if end == value.len() { None } else { parse_port(&value[end..])? };
    let host = if after_dot { &value[..end - 1] } else { &value[..end] };
    Ok((host, port))
}

/// What stands behind the host: nothing, or a colon and a port from 1 to 65535.
#[inline]
fn parse_port(rest: &[u8]) -> Result<Option<u64>, HeadError> {
    match rest {
        [] | [b':'] => Ok(None),
        [b':', digits @ ..] if digits.len() <= 5 => match parse_digits(digits) {
            Some(port @ 1..=65535) => Ok(Some(port)),
            _ => Err(HeadError::InvalidHost),
        },
        _ => Err(HeadError::InvalidHost),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(value: &str) -> Option<(String, String)> {
        let mut out = Vec::new();
        let length = normalise(value.as_bytes(), &mut out).ok()?;
        Some((String::from_utf8(out[..length].to_vec()).unwrap(), String::from_utf8(out).unwrap()))
    }

    #[test]
    fn the_normal_form_has_one_spelling() {
        for (value, host, authority) in [
            ("Example.COM", "example.com", "example.com"),
            ("example.com.", "example.com", "example.com"),
            ("example.com.:8080", "example.com", "example.com:8080"),
            ("example.com:", "example.com", "example.com"),
            ("example.com:0080", "example.com", "example.com:80"),
            ("192.0.2.1:65535", "192.0.2.1", "192.0.2.1:65535"),
            ("[2001:DB8::1]:443", "[2001:db8::1]", "[2001:db8::1]:443"),
            ("[::ffff:192.0.2.1]", "[::ffff:192.0.2.1]", "[::ffff:192.0.2.1]"),
            ("under_score", "under_score", "under_score"),
        ] {
            assert_eq!(normal(value), Some((host.into(), authority.into())), "{value}");
        }
    }

    /// RFC 9112 section 3.2: an invalid Host value is answered with 400.
    #[test]
    fn what_is_no_host_is_refused() {
        let long = "a".repeat(HOST_BYTES + 1);
        for value in [
            "",
            ".",
            "..",
            ".a",
            "a..b",
            "a..",
            ":80",
            "a:0",
            "a:65536",
            "a:123456",
            "a:8o",
            "a:+1",
            "a:80:80",
            "a b",
            "a,b",
            "user@a",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "%61",
            "a;b",
            "[::1",
            "[]",
            "[::1]x",
            "[fe80::1%25eth0]",
            "[v1.a]",
            "[1.2.3.4]",
            "::1",
            "a\0",
            "\u{e9}",
            long.as_str(),
        ] {
            assert_eq!(normal(value), None, "{value:?}");
        }
    }
}
