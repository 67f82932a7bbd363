//! Trailers: lines of HTTP/1.1 and fields of HTTP/2.

use http::header::{HeaderMap, HeaderValue};

use super::field::header_name;
use super::request::{checked, push_line};
use crate::http1::{FieldKind, HeadError};

/// Appends a trailer section as lines; what may not be in one, the decoder of the chunked coding leaves out.
///
/// # Errors
/// A value that no field may have (RFC 9113 section 8.2.1).
pub fn encode_trailers(out: &mut Vec<u8>, trailers: &HeaderMap) -> Result<(), HeadError> {
    for (name, value) in trailers {
        push_line(out, name.as_str().as_bytes(), checked(value.as_bytes())?);
    }
    Ok(())
}

/// The fields of a trailer section that our own encoder wrote as lines; `None` for what is none.
#[must_use]
pub fn decode_trailers(lines: &[u8]) -> Option<HeaderMap> {
    let mut trailers = HeaderMap::new();
    for line in lines.split_inclusive(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r\n")?;
        let colon = memchr::memchr(b':', line)?;
        let name = &line[..colon];
        let name = header_name(FieldKind::classify(name), name).ok()?;
        let value = match line[colon + 1..].trim_ascii() {
            b"0" => HeaderValue::from_static("0"),
            other => HeaderValue::from_bytes(other).ok()?,
        };
        trailers.append(name, value);
    }
    Some(trailers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9113 section 8.1: trailers are a field section of their own.
    #[test]
    fn trailers_come_back_as_they_went() {
        let lines = b"grpc-status: 0\r\ngrpc-message: ok\r\nx-a: 1\r\nx-a: 2\r\nx-empty: \r\n";
        let trailers = decode_trailers(lines).expect("lines");
        assert_eq!(trailers.get_all("x-a").iter().count(), 2);
        assert_eq!(trailers["x-empty"], "");
        let mut out = Vec::new();
        encode_trailers(&mut out, &trailers).expect("values of fields");
        assert_eq!(out, lines);
    }

    #[test]
    fn names_become_lower_case_and_rubbish_is_none() {
        assert!(decode_trailers(b"X-Sum: 7\r\n").expect("a line").contains_key("x-sum"));
        assert!(decode_trailers(b"no colon\r\n").is_none());
        assert!(decode_trailers(b"a: no end").is_none());
        assert!(decode_trailers(b"").expect("no line").is_empty());
    }

    /// RFC 9113 section 8.2.1: no white space at the ends of a value.
    #[test]
    fn a_value_with_white_space_at_its_end_is_refused() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-a", HeaderValue::from_static("1 "));
        assert_eq!(encode_trailers(&mut Vec::new(), &trailers), Err(HeadError::InvalidFieldValue));
    }
}
