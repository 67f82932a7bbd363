//! Lines of a head that an exchange wrote, as fields of HTTP/2.

use core::ops::Range;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::body::Unframer;
use crate::http1::{FieldKind, HeadError};

// In many messages, and unknown to `http`, which would copy them each time.
static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
static GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
static GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
static GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Where the lines of the head at the front of some bytes stand.
pub(super) struct Extent {
    end: usize,
    lines: usize,
    /// Where the first lines end, so that this is looked for once.
    ends: [u32; LINES_KEPT],
}

/// Lines for which there is room from the beginning.
pub(super) const LINES_KEPT: usize = 64;

impl Extent {
    /// `None` without the empty line behind them.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let (mut start, mut lines, mut ends) = (0, 0, [0; LINES_KEPT]);
        loop {
            let end = start + memchr::memchr(b'\n', &bytes[start..])?;
            if &bytes[start..end] == b"\r" {
                return Some(Self { end: start, lines, ends });
            }
            if let Some(place) = ends.get_mut(lines) {
                *place = u32::try_from(end).ok()?;
            }
            lines += 1;
            start = end + 1;
        }
    }

    /// Bytes of the lines.
    pub(super) const fn end(&self) -> usize {
        self.end
    }

    /// Bytes of the lines and of the empty one.
    pub(super) const fn used(&self) -> usize {
        self.end + b"\r\n".len()
    }

    /// How many there are.
    pub(super) const fn lines(&self) -> usize {
        self.lines
    }

    /// Where the lines stand in `bytes`; `None` in place of one that does not end as lines do.
    pub(super) fn places(&self, bytes: &[u8]) -> impl Iterator<Item = Option<Range<usize>>> {
        let mut start = 0;
        (0..self.lines).map(move |number| {
            let end = match self.ends.get(number) {
                Some(&end) => end as usize,
                None => start + memchr::memchr(b'\n', &bytes[start..self.end])?,
            };
            let line = (end > start && bytes[end - 1] == b'\r').then(|| start..end - 1);
            start = end + 1;
            line
        })
    }

    /// The lines themselves.
    pub(super) fn lines_of<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = Option<&'a [u8]>> {
        self.places(bytes).map(|place| place.map(|place| &bytes[place]))
    }
}

/// The head at the front of some bytes, in a copy that all of its values share.
pub(super) struct Head {
    pub(super) bytes: Bytes,
    pub(super) extent: Extent,
}

/// A field as it stands in a head.
pub(super) struct Line<'a> {
    pub(super) kind: FieldKind,
    pub(super) name: &'a [u8],
    pub(super) value: Bytes,
}

impl Head {
    pub(super) fn copy(bytes: &[u8], extent: Extent) -> Self {
        Self { bytes: Bytes::copy_from_slice(&bytes[..extent.end]), extent }
    }

    /// A map with room for its fields, but for so many of its lines that become none.
    pub(super) fn map_but(&self, lines: usize) -> HeaderMap {
        HeaderMap::with_capacity(self.extent.lines.saturating_sub(lines).min(LINES_KEPT))
    }

    /// The fields behind its first line; `None` in place of what is none.
    pub(super) fn fields(&self) -> impl Iterator<Item = Option<Line<'_>>> {
        self.extent.places(&self.bytes).skip(1).map(|line| {
            let line = line?;
            let (name, value) = parts(&self.bytes[line.clone()])?;
            let value = self.bytes.slice(line.start + value..line.end);
            Some(Line { kind: FieldKind::classify(name), name, value })
        })
    }
}

/// The name of a line, and where its value begins: our encoder writes one space behind the colon, and what an operator wrote
/// may be nothing.
pub(super) fn parts(line: &[u8]) -> Option<(&[u8], usize)> {
    let colon = memchr::memchr(b':', line)?;
    Some((&line[..colon], (colon + 2).min(line.len())))
}

/// Appends a field; its name becomes lower case (RFC 9113 section 8.2).
pub(super) fn append(fields: &mut HeaderMap, kind: FieldKind, name: &[u8], value: Bytes) -> Result<(), HeadError> {
    fields.append(header_name(kind, name)?, header_value(kind, value)?);
    Ok(())
}

/// A field's value.
pub(super) fn header_value(kind: FieldKind, value: Bytes) -> Result<HeaderValue, HeadError> {
    let mut value = HeaderValue::from_maybe_shared(value).map_err(|_| HeadError::InvalidFieldValue)?;
    value.set_sensitive(is_fleeting(kind));
    Ok(value)
}

/// A field's name, without a copy if it is one of those that are in many messages.
pub(super) fn header_name(kind: FieldKind, name: &[u8]) -> Result<HeaderName, HeadError> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other names are looked up")]
    let known = match kind {
        // An underscore counts as a hyphen there, but stays one.
        FieldKind::XRequestId
        | FieldKind::XForwardedFor
        | FieldKind::XForwardedProto
        | FieldKind::XForwardedHost
        | FieldKind::XRealIp
            if name.iter().fold(false, |has, &byte| has | (byte == b'_')) =>
        {
            return HeaderName::from_bytes(name).map_err(|_| HeadError::InvalidFieldName);
        }
        FieldKind::XRequestId => &X_REQUEST_ID,
        FieldKind::XForwardedFor => &X_FORWARDED_FOR,
        FieldKind::XForwardedProto => &X_FORWARDED_PROTO,
        FieldKind::XForwardedHost => &X_FORWARDED_HOST,
        FieldKind::XRealIp => &X_REAL_IP,
        FieldKind::GrpcTimeout => &GRPC_TIMEOUT,
        FieldKind::Traceparent => &TRACEPARENT,
        FieldKind::Via => &header::VIA,
        FieldKind::Te => &header::TE,
        FieldKind::UserAgent => &header::USER_AGENT,
        FieldKind::Date => &header::DATE,
        FieldKind::ContentLength => &header::CONTENT_LENGTH,
        FieldKind::ContentType => &header::CONTENT_TYPE,
        _ => match name {
            b"grpc-status" => &GRPC_STATUS,
            b"grpc-message" => &GRPC_MESSAGE,
            b"grpc-encoding" => &GRPC_ENCODING,
            b"grpc-accept-encoding" => &GRPC_ACCEPT_ENCODING,
            _ => return HeaderName::from_bytes(name).map_err(|_| HeadError::InvalidFieldName),
        },
    };
    Ok(known.clone())
}

/// The framing by a Content-Length.
pub(super) fn exact(value: &[u8]) -> Result<Unframer, HeadError> {
    let length = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
    length.map(Unframer::exact).ok_or(HeadError::InvalidContentLength)
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
        let extent = Extent::of(b"HTTP/1.1 200 OK\r\na: 1\r\n\r\nb: 2\r\n\r\n").expect("a head");
        assert_eq!((extent.end(), extent.lines()), (23, 2));
        for none in [&b""[..], b"HTTP/1.1 200 OK\r\na: 1\r\n", b"\r"] {
            assert!(Extent::of(none).is_none());
        }
    }

    #[test]
    fn names_that_are_kept_are_those_that_came() {
        for name in [
            "X-Request-ID",
            "X-Forwarded-For",
            "X-Forwarded-Proto",
            "X-Forwarded-Host",
            "X-Real-IP",
            "grpc-timeout",
            "grpc-encoding",
            "grpc-accept-encoding",
            "grpc-status",
            "grpc-message",
            "x_real_ip",
            "x_request-id",
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
