//! The head of a request that an exchange wrote, as fields of HTTP/2.

use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Uri};

use super::body::Unframer;
use super::field;
use crate::http1::{FieldKind, HeadError};

/// A request as it begins on a stream.
#[derive(Debug)]
pub struct RequestStart {
    /// Method, target and fields.
    pub request: Request<()>,
    /// Bytes of the head.
    pub used: usize,
    /// How the body behind it is framed.
    pub body: Unframer,
    /// The protocol that it offers to switch to.
    pub upgrade: Option<Bytes>,
}

impl RequestStart {
    /// Makes an extended CONNECT of an offer to switch, whose protocol goes beside the request (RFC 8441 section 4): there is
    /// no challenge then (section 5).
    pub fn connect(&mut self) {
        *self.request.method_mut() = Method::CONNECT;
        self.request.headers_mut().remove(header::SEC_WEBSOCKET_KEY);
    }
}

/// Takes the head at the front of `bytes` apart, which our own encoder wrote there as a whole; `is_secure` tells whether the
/// connection to the endpoint is.
///
/// Host becomes `:authority`, names lower case; the framing and what belongs to a connection are left out, but for TE, which
/// our encoder only writes as `trailers` (RFC 9113 sections 8.2, 8.2.2 and 8.3.1).
///
/// # Errors
/// A method, a target or a host that HTTP/2 has no room for, or a head that our encoder does not write.
pub fn decode_request_head(bytes: &[u8], is_secure: bool) -> Result<RequestStart, HeadError> {
    let (end, lines) = field::extent(bytes).ok_or(HeadError::InvalidRequestLine)?;
    // All values share one copy of the head.
    let head = Bytes::copy_from_slice(&bytes[..end]);
    let line_end = memchr::memchr(b'\r', &head).ok_or(HeadError::InvalidRequestLine)?;
    let (method, target) = request_line(&head.slice(..line_end))?;
    // Request line and Host are no fields there.
    let mut fields = HeaderMap::with_capacity(lines.saturating_sub(2).min(FIELDS_MOST));
    let mut body = Unframer::none();
    let (mut authority, mut upgrade, mut is_offered) = (None, None, false);
    let mut start = line_end + 2;
    while start < head.len() {
        let line_end = start + memchr::memchr(b'\r', &head[start..]).ok_or(HeadError::InvalidFieldValue)?;
        let colon = start + memchr::memchr(b':', &head[start..line_end]).ok_or(HeadError::InvalidFieldName)?;
        let name = &head[start..colon];
        // Our encoder writes one space behind the colon, and what an operator wrote may be nothing.
        let value = head.slice((colon + 2).min(line_end)..line_end);
        start = line_end + 2;
        let kind = FieldKind::classify(name);
        #[expect(clippy::wildcard_enum_match_arm, reason = "all other fields are only copied")]
        match kind {
            FieldKind::Host => {
                authority = Some(Authority::from_maybe_shared(value).map_err(|_| HeadError::InvalidHost)?);
                continue;
            }
            FieldKind::Upgrade => upgrade = Some(value.clone()),
            // So our encoder offers a switch, and says nothing else.
            FieldKind::Connection => is_offered = value.eq_ignore_ascii_case(b"upgrade"),
            FieldKind::TransferEncoding => body = Unframer::chunked(),
            FieldKind::ContentLength => body = Unframer::exact(length(&value)?),
            _ => {}
        }
        if kind == FieldKind::Te || !kind.is_hop() {
            field::append(&mut fields, kind, name, value)?;
        }
    }
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri(target, authority.ok_or(HeadError::MissingHost)?, is_secure)?;
    *request.headers_mut() = fields;
    Ok(RequestStart { request, used: end + 2, body, upgrade: upgrade.filter(|_| is_offered) })
}

/// Fields for which there is room from the beginning.
const FIELDS_MOST: usize = 64;

/// Method and target of `GET /x HTTP/1.1`.
fn request_line(line: &Bytes) -> Result<(Method, Bytes), HeadError> {
    let first = memchr::memchr(b' ', line).ok_or(HeadError::InvalidRequestLine)?;
    let last = memchr::memrchr(b' ', line).filter(|last| *last > first).ok_or(HeadError::InvalidRequestLine)?;
    let method = Method::from_bytes(&line[..first]).map_err(|_| HeadError::InvalidMethod)?;
    Ok((method, line.slice(first + 1..last)))
}

fn length(value: &[u8]) -> Result<u64, HeadError> {
    let digits = std::str::from_utf8(value).map_err(|_| HeadError::InvalidContentLength)?;
    digits.parse().map_err(|_| HeadError::InvalidContentLength)
}

fn uri(target: Bytes, authority: Authority, is_secure: bool) -> Result<Uri, HeadError> {
    let path = match PathAndQuery::from_maybe_shared(target.clone()) {
        Ok(path) => path,
        Err(_) => PathAndQuery::from_maybe_shared(escaped(&target)).map_err(|_| HeadError::InvalidTarget)?,
    };
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(if is_secure { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(authority);
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).map_err(|_| HeadError::InvalidTarget)
}

/// The target with what RFC 3986 section 2 has no place for in the form that it has one for.
#[cold]
fn escaped(target: &[u8]) -> Bytes {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(target.len() * 2);
    for &byte in target {
        if matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}') || !byte.is_ascii_graphic() {
            out.extend_from_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        } else {
            out.push(byte);
        }
    }
    out.into()
}

#[cfg(test)]
mod tests;
