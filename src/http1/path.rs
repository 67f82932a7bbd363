//! Paths in one normal form, so that routes match what the upstream will see.

use super::error::HeadError;

const REFUSED: u8 = 1;
const BACKSLASH: u8 = 2;
const PERCENT: u8 = 4;
const DOT: u8 = 8;

/// What a byte of a target asks for.
static CLASS: [u8; 256] = {
    let mut table = [REFUSED; 256];
    let mut byte = 0x21;
    while byte < 0x7f_u8 {
        table[byte as usize] = match byte {
            b'#' => REFUSED,
            b'\\' => BACKSLASH,
            b'%' => PERCENT,
            b'.' => DOT,
            _ => 0,
        };
        byte += 1;
    }
    table
};

/// The classes of all bytes together.
#[inline]
fn classes(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |all, &byte| all | CLASS[byte as usize])
}

/// Refuses a query with control characters, bytes that are not ASCII or a fragment; all else passes as it is.
#[inline]
pub(super) fn check_query(query: &[u8]) -> Result<(), HeadError> {
    if classes(query) & REFUSED != 0 { Err(HeadError::InvalidTarget) } else { Ok(()) }
}

/// Writes the normal form of `path`, which starts with `/`, to `out` if it differs; whether it does.
///
/// Escapes of unreserved bytes are decoded once, the digits of others put in upper case (RFC 3986 section 6.2.2),
/// dot segments removed (section 5.2.4). An encoded slash stays encoded and empty segments stay.
/// Errors: `InvalidTarget` (also for a raw backslash), `InvalidPathEscape`, `NulInPath`, and
/// `AmbiguousDotSegment` for what an upstream that decodes more or cuts parameters off would take for a dot segment.
#[inline]
pub fn normalise(path: &[u8], out: &mut Vec<u8>) -> Result<bool, HeadError> {
    let classes = classes(path);
    if classes == 0 {
        return Ok(false);
    }
    if classes & (REFUSED | BACKSLASH) != 0 {
        return Err(HeadError::InvalidTarget);
    }
    if classes & PERCENT == 0 && memchr::memmem::find(path, b"/.").is_none() {
        return Ok(false);
    }
    rewrite(path, out)?;
    Ok(out != path)
}

/// Writes the normal form of `path` to `out`.
fn rewrite(path: &[u8], out: &mut Vec<u8>) -> Result<(), HeadError> {
    out.clear();
    let mut segments = path[1..].split(|&byte| byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        out.push(b'/');
        let start = out.len();
        decode(segment, out)?;
        match out[start..] {
            [b'.'] => out.truncate(start - 1),
            [b'.', b'.'] => {
                out.truncate(start - 1);
                out.truncate(memchr::memrchr(b'/', out).unwrap_or(0));
            }
            ref segment if hides_dot_segment(segment) => return Err(HeadError::AmbiguousDotSegment),
            _ => continue,
        }
        // A dot segment at the end names a directory.
        if segments.peek().is_none() {
            out.push(b'/');
        }
    }
    Ok(())
}

/// Appends `segment` to `out`, decoding what needs no escape.
fn decode(segment: &[u8], out: &mut Vec<u8>) -> Result<(), HeadError> {
    let mut rest = segment;
    while let Some(at) = memchr::memchr(b'%', rest) {
        out.extend_from_slice(&rest[..at]);
        let [high, low] = match rest[at + 1..] {
            [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => [high, low],
            _ => return Err(HeadError::InvalidPathEscape),
        };
        match digit(high) << 4 | digit(low) {
            0 => return Err(HeadError::NulInPath),
            byte if is_unreserved(byte) => out.push(byte),
            _ => out.extend_from_slice(&[b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]),
        }
        rest = &rest[at + 3..];
    }
    out.extend_from_slice(rest);
    Ok(())
}

/// The value of a hexadecimal digit.
const fn digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        _ => (byte | 0x20) - b'a' + 10,
    }
}

/// Bytes that mean the same with and without escape (RFC 3986 section 2.3).
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Whether a part of `segment` between encoded separators, its parameters cut off, is a dot segment.
fn hides_dot_segment(segment: &[u8]) -> bool {
    let mut rest = segment;
    loop {
        let end =
            memchr::memchr_iter(b'%', rest).find(|&at| matches!(rest[at..], [_, b'2', b'F', ..] | [_, b'5', b'C', ..]));
        let part = &rest[..end.unwrap_or(rest.len())];
        let name = part.split(|&byte| byte == b';').next().unwrap_or(part);
        if matches!(name, b"." | b"..") {
            return true;
        }
        match end {
            Some(end) => rest = &rest[end + 3..],
            None => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(path: &str) -> Result<String, HeadError> {
        let mut out = b"stale".to_vec();
        let changed = normalise(path.as_bytes(), &mut out)?;
        Ok(if changed { String::from_utf8(out).unwrap() } else { path.to_owned() })
    }

    /// RFC 3986 sections 5.2.4 and 6.2.2.
    #[test]
    fn equivalent_paths_have_one_normal_form() {
        for (path, expected) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/index.html", "/index.html"),
            ("/.well-known/x", "/.well-known/x"),
            ("/...", "/..."),
            ("/a//b", "/a//b"),
            ("/a/./b", "/a/b"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/../b", "/b"),
            ("/a/b/../../c", "/c"),
            ("/..", "/"),
            ("/../../etc/passwd", "/etc/passwd"),
            ("/a//..", "/a/"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/%7Euser/%61", "/~user/a"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%20b", "/a%20b"),
            ("/%252e%252e/a", "/%252e%252e/a"),
            ("/a;v=1/b", "/a;v=1/b"),
            ("/a|{b}", "/a|{b}"),
        ] {
            assert_eq!(normal(path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn normalising_twice_changes_nothing_further() {
        for path in ["/a/%2e%2e/b%2fc", "/%7e/./x", "/a//../b", "/%2E%2e%2e/", "/..a/.b../"] {
            let once = normal(path).unwrap();
            assert_eq!(normal(&once).as_ref(), Ok(&once), "{path}");
        }
    }

    #[test]
    fn paths_that_upstreams_read_differently_are_refused() {
        for (path, error) in [
            ("/a\\b", HeadError::InvalidTarget),
            ("/a#b", HeadError::InvalidTarget),
            ("/\u{e9}", HeadError::InvalidTarget),
            ("/%", HeadError::InvalidPathEscape),
            ("/%4", HeadError::InvalidPathEscape),
            ("/%4/", HeadError::InvalidPathEscape),
            ("/%zz", HeadError::InvalidPathEscape),
            ("/%00", HeadError::NulInPath),
            ("/a/..%2fb", HeadError::AmbiguousDotSegment),
            ("/a%5c..%5Cb", HeadError::AmbiguousDotSegment),
            ("/a/%2e%2e%2fb", HeadError::AmbiguousDotSegment),
            ("/a/..;/b", HeadError::AmbiguousDotSegment),
            ("/a/.;x=1/b", HeadError::AmbiguousDotSegment),
        ] {
            assert_eq!(normal(path), Err(error), "{path}");
        }
    }

    #[test]
    fn a_query_may_hold_what_browsers_leave_raw() {
        for query in ["", "a=100%", "a=b\\c", "x={\"y\":[1|2]}", "../.."] {
            assert_eq!(check_query(query.as_bytes()), Ok(()), "{query}");
        }
        for query in ["a#b", "a\x7f", "\u{e9}"] {
            assert_eq!(check_query(query.as_bytes()), Err(HeadError::InvalidTarget), "{query}");
        }
    }
}
