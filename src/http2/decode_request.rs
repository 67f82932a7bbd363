//! The head of a request that an exchange wrote, as fields of HTTP/2.

use bytes::Bytes;
use http::header;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Uri};

use super::body::Unframer;
use super::field::{self, Extent, Head, Line};
use crate::http1::{FieldKind, HeadError};

/// A request as it begins on a stream.
#[derive(Clone, Debug)]
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
    let extent = Extent::of(bytes).ok_or(HeadError::InvalidRequestLine)?;
    decode(&Head::copy(bytes, extent), is_secure)
}

/// The same of a copy.
pub(super) fn decode(head: &Head, is_secure: bool) -> Result<RequestStart, HeadError> {
    let line = head.extent.places(&head.bytes).next().flatten().ok_or(HeadError::InvalidRequestLine)?;
    // Request line and Host are no fields there.
    let mut fields = head.map_but(2);
    let mut body = Unframer::none();
    let (mut authority, mut upgrade, mut is_offered) = (None, None, false);
    for line in head.fields() {
        let Line { kind, name, value } = line.ok_or(HeadError::InvalidFieldName)?;
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
            FieldKind::ContentLength => body = field::exact(&value)?,
            _ => {}
        }
        if kind == FieldKind::Te || !kind.is_hop() {
            field::append(&mut fields, kind, name, value)?;
        }
    }
    let authority = authority.ok_or(HeadError::MissingHost)?;
    let mut request = Request::new(());
    put_line(&mut request, &head.bytes.slice(line), authority, is_secure)?;
    *request.headers_mut() = fields;
    Ok(RequestStart { request, used: head.extent.used(), body, upgrade: upgrade.filter(|_| is_offered) })
}

/// Takes method and target from `GET /x HTTP/1.1`.
pub(super) fn put_line(
    request: &mut Request<()>,
    line: &Bytes,
    authority: Authority,
    is_secure: bool,
) -> Result<(), HeadError> {
    let first = memchr::memchr(b' ', line).ok_or(HeadError::InvalidRequestLine)?;
    let last = memchr::memrchr(b' ', line).filter(|last| *last > first).ok_or(HeadError::InvalidRequestLine)?;
    *request.method_mut() = Method::from_bytes(&line[..first]).map_err(|_| HeadError::InvalidMethod)?;
    *request.uri_mut() = uri(line.slice(first + 1..last), authority, is_secure)?;
    Ok(())
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
