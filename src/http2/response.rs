//! The head of a response that an exchange wrote, as fields of HTTP/2.

use http::header;
use http::{Response, StatusCode};

use super::body::Unframer;
use super::field::{self, Extent, Head, Line};
use crate::http1::FieldKind;

/// A response as it begins on a stream.
#[derive(Debug)]
pub struct ResponseStart {
    /// Status and fields; an interim one if its status is 1xx.
    pub response: Response<()>,
    /// Bytes of the head.
    pub used: usize,
    /// How the body behind it is framed.
    pub body: Unframer,
}

/// Bytes of `HTTP/1.1 200`.
const STATUS_END: usize = 12;

/// Takes the head at the front of `bytes` apart, which our own encoder wrote there as a whole; `is_head` tells whether
/// the request was a HEAD.
///
/// Names become lower case; the reason phrase, the framing and what belongs to a connection are left out (RFC 9113
/// sections 8.2, 8.2.2 and 8.3.2).
///
/// `None` for what is no such head, and for a 101, which HTTP/2 does not have (section 8.6).
#[must_use]
pub fn decode_response_head(bytes: &[u8], is_head: bool) -> Option<ResponseStart> {
    decode(bytes, is_head).filter(|start| start.response.status() != StatusCode::SWITCHING_PROTOCOLS)
}

/// The same for the response to an extended CONNECT (RFC 8441 section 5): a switch of protocols is a 200 without content
/// behind which the stream is a tunnel, and nothing else may look like one.
#[must_use]
pub fn decode_switch_head(bytes: &[u8]) -> Option<(ResponseStart, bool)> {
    let mut start = decode(bytes, false)?;
    let is_switch = start.response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if is_switch {
        *start.response.status_mut() = StatusCode::OK;
        start.response.headers_mut().remove(header::SEC_WEBSOCKET_ACCEPT);
    } else if start.response.status().is_success() {
        return None;
    }
    Some((start, is_switch))
}

fn decode(bytes: &[u8], is_head: bool) -> Option<ResponseStart> {
    let status = StatusCode::from_bytes(bytes.get(STATUS_END - 3..STATUS_END)?).ok()?;
    let head = Head::copy(bytes, Extent::of(bytes)?);
    let mut fields = head.map_but(1);
    let mut framing = Unframer::none();
    for line in head.fields() {
        let Line { kind, name, value } = line?;
        if kind == FieldKind::TransferEncoding {
            framing = Unframer::chunked();
        }
        if kind == FieldKind::ContentLength {
            framing = field::exact(&value).ok()?;
        }
        if !kind.is_hop() {
            field::append(&mut fields, kind, name, value).ok()?;
        }
    }
    // RFC 9110 section 6.4.1: these have no content, whatever their fields say.
    if is_head || status.is_informational() || matches!(status.as_u16(), 204 | 304) {
        framing = Unframer::none();
    }
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    Some(ResponseStart { response, used: head.extent.used(), body: framing })
}

#[cfg(test)]
mod tests;
