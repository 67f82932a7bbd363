//! Lines of a head that an exchange wrote, as fields of HTTP/2.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::http1::{FieldKind, HeadError};

// In many messages, and unknown to `http`, which would copy them each time.
static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Where the lines of the head at the front of `bytes` end, and how many there are; `None` without the empty line behind
/// them.
pub(super) fn extent(bytes: &[u8]) -> Option<(usize, usize)> {
    let (mut start, mut lines) = (0, 0);
    loop {
        let end = start + memchr::memchr(b'\n', &bytes[start..])?;
        if &bytes[start..end] == b"\r" {
            return Some((start, lines));
        }
        lines += 1;
        start = end + 1;
    }
}

/// Appends a field; its name becomes lower case (RFC 9113 section 8.2).
pub(super) fn append(fields: &mut HeaderMap, kind: FieldKind, name: &[u8], value: Bytes) -> Result<(), HeadError> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other names are looked up")]
    let name = match kind {
        FieldKind::XRequestId => X_REQUEST_ID.clone(),
        FieldKind::XForwardedFor => X_FORWARDED_FOR.clone(),
        FieldKind::XForwardedProto => X_FORWARDED_PROTO.clone(),
        FieldKind::XForwardedHost => X_FORWARDED_HOST.clone(),
        FieldKind::GrpcTimeout => GRPC_TIMEOUT.clone(),
        FieldKind::Traceparent => TRACEPARENT.clone(),
        FieldKind::Via => header::VIA,
        FieldKind::Te => header::TE,
        FieldKind::UserAgent => header::USER_AGENT,
        FieldKind::Date => header::DATE,
        FieldKind::ContentLength => header::CONTENT_LENGTH,
        FieldKind::ContentType => header::CONTENT_TYPE,
        _ => HeaderName::from_bytes(name).map_err(|_| HeadError::InvalidFieldName)?,
    };
    let mut value = HeaderValue::from_maybe_shared(value).map_err(|_| HeadError::InvalidFieldValue)?;
    value.set_sensitive(is_fleeting(kind));
    fields.append(name, value);
    Ok(())
}

/// Is its value another one in the next message? Then it has no place in the table of fields that both sides know
/// (RFC 7541 section 2.3.2), but for its name that the first message of a connection leaves there: it would take the place of
/// others, and `h2` compares a value with all that the table has of its name.
const fn is_fleeting(kind: FieldKind) -> bool {
    matches!(kind, FieldKind::XRequestId | FieldKind::Traceparent | FieldKind::Date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_at_its_empty_line() {
        assert_eq!(extent(b"HTTP/1.1 200 OK\r\na: 1\r\n\r\nb: 2\r\n\r\n"), Some((23, 2)));
        for none in [&b""[..], b"HTTP/1.1 200 OK\r\na: 1\r\n", b"\r"] {
            assert_eq!(extent(none), None);
        }
    }

    #[test]
    fn names_that_are_kept_are_those_that_came() {
        for name in [
            "X-Request-ID",
            "X-Forwarded-For",
            "X-Forwarded-Proto",
            "X-Forwarded-Host",
            "grpc-timeout",
            "Traceparent",
            "Via",
            "TE",
            "User-Agent",
            "Date",
            "Content-Length",
            "Content-Type",
        ] {
            let mut fields = HeaderMap::new();
            let kind = FieldKind::classify(name.as_bytes());
            append(&mut fields, kind, name.as_bytes(), Bytes::from_static(b"1")).expect("a field");
            assert_eq!(fields.keys().map(HeaderName::as_str).collect::<Vec<_>>(), [name.to_ascii_lowercase()]);
        }
    }

    /// RFC 7541 section 6.2.3: `h2` never indexes what is marked as sensitive.
    #[test]
    fn what_differs_in_every_message_stays_out_of_the_table() {
        let mut fields = HeaderMap::new();
        for name in ["X-Request-ID", "traceparent", "Date", "Content-Type", "X-Any"] {
            let kind = FieldKind::classify(name.as_bytes());
            append(&mut fields, kind, name.as_bytes(), Bytes::from_static(b"1")).expect("a field");
        }
        let marked: Vec<_> = fields.iter().filter(|(_, value)| value.is_sensitive()).map(|(name, _)| name).collect();
        assert_eq!(marked, ["x-request-id", "traceparent", "date"]);
        assert_eq!(fields.keys_len(), 5);
    }

    #[test]
    fn what_is_no_field_is_told_apart() {
        let mut fields = HeaderMap::new();
        let mut appended = |name: &[u8], value: &'static [u8]| {
            append(&mut fields, FieldKind::classify(name), name, Bytes::from_static(value))
        };
        assert_eq!(appended(b"a b", b"1"), Err(HeadError::InvalidFieldName));
        assert_eq!(appended(b"x-request-id", b"\n"), Err(HeadError::InvalidFieldValue));
    }
}
