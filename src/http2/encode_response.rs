//! The fields of an endpoint's response as the head of HTTP/1.1.

use http::StatusCode;
use http::header::{self, HeaderMap};

use super::request::{checked, push_line};
use crate::http1::{FieldKind, HeadError, reason_phrase};

/// How the body behind a response's head is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerBody {
    /// There is none.
    None,
    /// So many bytes.
    Exact(u64),
    /// In chunks.
    Chunked,
}

/// Appends the head of HTTP/1.1 that says what `status` and `fields` of a final response say.
///
/// `is_head` tells whether the request was a HEAD, `is_over` whether the stream ended with these fields.
///
/// | part | written |
/// |---|---|
/// | status | with the phrase that it has in HTTP/1.1 (RFC 9113 section 8.3.2 has none) |
/// | Content-Length | as received, unless it is `0` and trailers may follow; `0` where nothing does; never with 204 (RFC 9110 section 8.6) |
/// | Transfer-Encoding | `chunked` for all other bodies |
/// | all others | as received |
///
/// # Errors
/// The response is malformed (RFC 9113 section 8.1.1) or has no form in HTTP/1.1; what was appended is of no use then.
pub fn encode_response_head(
    out: &mut Vec<u8>,
    status: StatusCode,
    fields: &HeaderMap,
    is_head: bool,
    is_over: bool,
) -> Result<AnswerBody, HeadError> {
    // RFC 9110 section 6.4.1: these have no content, whatever their fields say.
    let is_bare = is_head || matches!(status.as_u16(), 204 | 304);
    let length = if status == StatusCode::NO_CONTENT { None } else { content_length(fields)? };
    // Trailers may follow no content as well (RFC 9113 section 8.1), and only the chunked coding has a place for them.
    let length = length.filter(|length| *length > 0 || is_over || is_bare);
    push_head(out, status, fields)?;
    if let Some(length) = length {
        out.extend_from_slice(b"content-length: ");
        out.extend_from_slice(length.to_string().as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    let body = match length {
        _ if is_bare => AnswerBody::None,
        // RFC 9113 section 8.1.1: no content, whatever the length says, is malformed.
        Some(1..) if is_over => return Err(HeadError::InvalidContentLength),
        Some(length) => AnswerBody::Exact(length),
        None if is_over => {
            out.extend_from_slice(b"content-length: 0\r\n");
            AnswerBody::Exact(0)
        }
        None => {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
            AnswerBody::Chunked
        }
    };
    out.extend_from_slice(b"\r\n");
    Ok(body)
}

/// Appends the head of HTTP/1.1 that says that an endpoint has switched to `protocol`, which its 2xx to an extended CONNECT
/// does (RFC 8441 section 5). What answers the challenge is for whoever knows it.
///
/// # Errors
/// As [`encode_response_head`].
pub fn encode_switched_head(out: &mut Vec<u8>, protocol: &[u8], fields: &HeaderMap) -> Result<(), HeadError> {
    push_head(out, StatusCode::SWITCHING_PROTOCOLS, fields)?;
    out.extend_from_slice(b"connection: Upgrade\r\n");
    push_line(out, b"upgrade", protocol);
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Appends the head of an interim response.
///
/// # Errors
/// As [`encode_response_head`]; also a 101, which HTTP/2 does not have (RFC 9113 section 8.6).
pub fn encode_interim_head(out: &mut Vec<u8>, status: StatusCode, fields: &HeaderMap) -> Result<(), HeadError> {
    if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(HeadError::InvalidStatus);
    }
    push_head(out, status, fields)?;
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// The one length that all fields of this name give (RFC 9110 section 8.6).
fn content_length(fields: &HeaderMap) -> Result<Option<u64>, HeadError> {
    let mut found = None;
    for value in fields.get_all(header::CONTENT_LENGTH) {
        let is_digits = !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_digit);
        let length = value.to_str().ok().filter(|_| is_digits).and_then(|digits| digits.parse::<u64>().ok());
        let length = length.ok_or(HeadError::InvalidContentLength)?;
        if found.is_some_and(|found| found != length) {
            return Err(HeadError::InvalidContentLength);
        }
        found = Some(length);
    }
    Ok(found)
}

/// Status line and fields, but for those that frame the body.
fn push_head(out: &mut Vec<u8>, status: StatusCode, fields: &HeaderMap) -> Result<(), HeadError> {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    // RFC 9112 section 4: the space stays even if there is no reason phrase.
    out.push(b' ');
    out.extend_from_slice(reason_phrase(status.as_u16()).as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in fields {
        let name = name.as_str().as_bytes();
        #[expect(clippy::wildcard_enum_match_arm, reason = "all other fields are only copied")]
        match FieldKind::classify(name) {
            FieldKind::ContentLength => continue,
            // RFC 9113 section 8.2.2: fields of a connection make a message malformed.
            FieldKind::Connection
            | FieldKind::KeepAlive
            | FieldKind::ProxyConnection
            | FieldKind::TransferEncoding
            | FieldKind::Upgrade => return Err(HeadError::InvalidFieldName),
            _ => {}
        }
        push_line(out, name, checked(value.as_bytes())?);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
