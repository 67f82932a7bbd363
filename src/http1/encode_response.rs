//! Writing the responses that go to the client: relayed ones and our own.

use super::edits::FieldEdits;
use super::encode::{push_all, push_fields, push_length, push_line, push_number};
use super::fields::{FieldKind, KindSet};
use super::method::Version;
use super::response::ResponseHead;
use super::status::reason_phrase;

/// How the body of a relayed response is framed.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ResponseBody {
    /// There is none; a Content-Length that was received is relayed where it is allowed (HEAD, 304).
    AsReceived,
    /// So many bytes.
    Exact(u64),
    /// In chunks; never to a client of HTTP/1.0.
    Chunked,
    /// Up to the end of the connection, which must then close.
    UntilClose,
}

/// How a relayed response is written.
#[derive(Copy, Clone, Debug)]
pub struct ResponseOut<'a> {
    /// Version of the client.
    pub version: Version,
    /// Value of X-Request-ID; empty for none.
    pub request_id: &'a [u8],
    /// The time as an IMF-fixdate, used when the upstream sent none.
    pub date: &'a [u8],
    /// Edits of the route.
    pub edits: &'a FieldEdits,
    /// Lines that policies add, each with its CR LF; edits do not touch them.
    pub added: &'a [&'a [u8]],
    /// Framing of the body.
    pub body: ResponseBody,
    /// Whether the connection closes after this response.
    pub close: bool,
    /// Whether a client of HTTP/1.0 keeps its connection.
    pub keep_alive_10: bool,
    /// Whether trailers will be relayed.
    pub trailers: bool,
}

/// A response that the gateway makes itself.
#[derive(Copy, Clone, Debug)]
pub struct LocalReply<'a> {
    /// Status code.
    pub status: u16,
    /// Body, not sent where there can be none.
    pub body: &'a [u8],
    /// Media type of the body.
    pub content_type: &'a str,
    /// Value of X-Request-ID.
    pub request_id: Option<&'a [u8]>,
    /// The time as an IMF-fixdate.
    pub date: &'a [u8],
    /// Whether the connection closes after this response.
    pub close: bool,
    /// Whether the request was HEAD: all fields, no body.
    pub head_only: bool,
    /// Version of the client.
    pub version: Version,
    /// Whether a client of HTTP/1.0 keeps its connection.
    pub keep_alive_10: bool,
    /// Further fields; control characters are dropped from their values.
    pub extra: &'a [(&'static str, &'a [u8])],
    /// Edits of the route.
    pub edits: &'a FieldEdits,
    /// Lines that policies add, each with its CR LF; edits do not touch them.
    pub added: &'a [&'a [u8]],
}

/// Fields that are written by ourselves or not at all.
const OWN: KindSet = KindSet::of(&[FieldKind::ContentLength, FieldKind::TransferEncoding, FieldKind::XRequestId]);

/// Appends the head of a relayed response.
///
/// The status line has our own version (RFC 9112 section 2.3) and the reason phrase as received. Hop-by-hop fields
/// and those that Connection names are dropped (RFC 9110 section 7.6.1), Date is added if there was none
/// (section 6.6.1), X-Request-ID replaced. At most one of Content-Length and Transfer-Encoding is written, none of
/// them on 1xx and 204 (section 8.6, RFC 9112 section 6.1). Edits act last.
pub fn encode_response(out: &mut Vec<u8>, bytes: &[u8], head: &ResponseHead, how: &ResponseOut<'_>) {
    debug_assert!(how.version == Version::Http11 || how.body != ResponseBody::Chunked, "HTTP/1.0 knows no chunks");
    out.reserve(head.len() + 256);
    push_status_line(out, head.status(), head.reason(bytes));
    let dropped = if how.trailers { OWN } else { OWN.with(FieldKind::Trailer) };
    push_fields(out, bytes, head.fields(), |field| {
        !field.hop
            && !dropped.contains(field.kind)
            && (how.edits.is_empty() || !how.edits.drops(field.kind, field.name.of(bytes)))
    });
    if !head.has_date() {
        push_line(out, b"Date", how.date);
    }
    if !how.request_id.is_empty() && !how.edits.drops(FieldKind::XRequestId, b"x-request-id") {
        push_line(out, b"X-Request-ID", how.request_id);
    }
    if !has_no_framing(head.status()) {
        push_framing(out, how.body, head.content_length());
    }
    push_connection(out, how.version, how.close, how.keep_alive_10);
    push_all(out, how.added);
    out.extend_from_slice(how.edits.lines());
    out.extend_from_slice(b"\r\n");
}

/// Appends the head of an interim response: no hop-by-hop fields, no framing (RFC 9110 sections 15.2 and 8.6).
pub fn encode_interim(out: &mut Vec<u8>, bytes: &[u8], head: &ResponseHead) {
    const DROPPED: KindSet = OWN.with(FieldKind::Trailer);
    push_status_line(out, head.status(), head.reason(bytes));
    push_fields(out, bytes, head.fields(), |field| !field.hop && !DROPPED.contains(field.kind));
    out.extend_from_slice(b"\r\n");
}

/// Appends the head of a switch to `protocol` (RFC 9110 section 15.2.2): an interim response with the fields of this hop.
pub fn encode_switch(out: &mut Vec<u8>, bytes: &[u8], head: &ResponseHead, protocol: &[u8], how: &ResponseOut<'_>) {
    push_status_line(out, head.status(), head.reason(bytes));
    push_fields(out, bytes, head.fields(), |field| {
        !field.hop && !OWN.contains(field.kind) && !how.edits.drops(field.kind, field.name.of(bytes))
    });
    if !how.request_id.is_empty() && !how.edits.drops(FieldKind::XRequestId, b"x-request-id") {
        push_line(out, b"X-Request-ID", how.request_id);
    }
    out.extend_from_slice(b"Connection: Upgrade\r\n");
    push_line(out, b"Upgrade", protocol);
    push_all(out, how.added);
    out.extend_from_slice(how.edits.lines());
    out.extend_from_slice(b"\r\n");
}

/// Appends a response of our own, head and body.
pub fn encode_local(out: &mut Vec<u8>, reply: &LocalReply<'_>) {
    out.reserve(reply.body.len() + 512);
    push_status_line(out, reply.status, reason_phrase(reply.status).as_bytes());
    push_line(out, b"Date", reply.date);
    let has_body = !has_no_framing(reply.status) && reply.status != 304;
    if has_body {
        if !reply.body.is_empty() && !reply.edits.drops(FieldKind::ContentType, b"content-type") {
            push_clean_line(out, "Content-Type", reply.content_type.as_bytes());
        }
        push_length(out, reply.body.len() as u64);
    }
    if let Some(id) = reply.request_id.filter(|_| !reply.edits.drops(FieldKind::XRequestId, b"x-request-id")) {
        push_clean_line(out, "X-Request-ID", id);
    }
    for (name, value) in reply.extra {
        if !reply.edits.drops(FieldKind::classify(name.as_bytes()), name.as_bytes()) {
            push_clean_line(out, name, value);
        }
    }
    push_connection(out, reply.version, reply.close, reply.keep_alive_10);
    push_all(out, reply.added);
    out.extend_from_slice(reply.edits.lines());
    out.extend_from_slice(b"\r\n");
    if has_body && !reply.head_only {
        out.extend_from_slice(reply.body);
    }
}

/// RFC 9110 section 8.6 and RFC 9112 section 6.1: neither Content-Length nor Transfer-Encoding on 1xx and 204.
const fn has_no_framing(status: u16) -> bool {
    matches!(status, 100..=199 | 204)
}

/// The status line with our own version.
#[inline]
fn push_status_line(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    out.extend_from_slice(b"HTTP/1.1 ");
    push_number(out, u64::from(status));
    // RFC 9112 section 4: the space stays even if there is no reason phrase.
    out.push(b' ');
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
}

/// The framing of a relayed body.
#[inline]
fn push_framing(out: &mut Vec<u8>, body: ResponseBody, received: Option<u64>) {
    match (body, received) {
        // RFC 9110 section 8.6: on HEAD and 304 the length is relayed unchanged, none is made up.
        (ResponseBody::AsReceived, Some(length)) | (ResponseBody::Exact(length), _) => push_length(out, length),
        (ResponseBody::Chunked, _) => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        (ResponseBody::AsReceived, None) | (ResponseBody::UntilClose, _) => {}
    }
}

/// The Connection field, where one is needed (RFC 9112 sections 9.3 and 9.6).
#[inline]
fn push_connection(out: &mut Vec<u8>, version: Version, close: bool, keep_alive_10: bool) {
    if close {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if version == Version::Http10 && keep_alive_10 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
}

/// Appends a line whose value may hold anything: what no value may hold is left out (RFC 9110 section 5.5).
fn push_clean_line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend(value.iter().copied().filter(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f)));
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
