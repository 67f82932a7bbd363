//! HTTP/1: bytes to messages and messages to bytes (RFC 9110, RFC 9112).
//!
//! Owns the grammar: heads, framing, the chunked coding, which fields end at this hop, what a forwarded message
//! says. Built on `httparse`, which it makes stricter: every line ends with CR LF, there is one way to frame a
//! message, and whatever two parsers could read in two ways is refused.
//!
//! Never: a socket, a clock, waiting, an allocation once storage is warm.
//!
//! Invariants: a head holds offsets, so the buffer may move but not change; host and path have one normal form,
//! which is what routes match and what is forwarded; nothing received decides the framing of what is sent.

mod authority;
mod certificate;
mod chunked;
mod connection;
mod edits;
mod encode;
mod encode_request;
mod encode_response;
mod error;
mod fields;
mod framing;
mod grpc;
mod method;
mod path;
mod request;
mod response;
mod scan;
mod span;
mod status;
mod target;
mod traceparent;
mod trailers;
mod upgrade;

#[cfg(test)]
mod tests;

pub use certificate::{CertificateTemplate, ClientCertificate, UnknownVariable};
pub use chunked::{ChunkedDecoder, Decoded, encode_chunk_line};
pub use edits::{FieldEditError, FieldEdits};
pub use encode::{id_text, is_valid_request_id};
pub use encode_request::{Forwarded, RequestOut, encode_request};
pub use encode_response::{
    LocalReply, ResponseBody, ResponseOut, encode_interim, encode_local, encode_response, encode_switch,
};
pub use error::{ChunkError, HeadError};
pub use fields::{Field, FieldKind, is_value as is_field_value};
pub use framing::BodyLength;
pub use grpc::{GRPC, grpc_message, is_grpc, parse_grpc_status, parse_grpc_timeout};
pub use method::{Method, Version};
pub use path::normalise as normalise_path;
pub use request::{RequestHead, via_names};
pub use response::ResponseHead;
pub use span::Span;
pub use status::reason_phrase;
pub use traceparent::{TraceOut, TraceParent};
pub use trailers::encode_trailers;
pub use upgrade::{is_switched_to, offered_protocols};

use crate::limits::{HEADER_BYTES_MAX, HEADER_COUNT_MAX};

/// Bytes of a method's name; longer ones are answered with 501.
pub const METHOD_BYTES: usize = 32;
/// Connection options other than `close` and `keep-alive` in one head.
pub const CONNECTION_OPTIONS: usize = 32;
/// Bytes of a host name (RFC 1035 section 2.3.4).
pub const HOST_BYTES: usize = 255;
/// Bytes of a request id.
pub const REQUEST_ID_BYTES: usize = 128;

/// Bounds of one message head.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct HeadLimits {
    /// Bytes of the whole head; never more than `HEADER_BYTES_MAX`.
    pub bytes: usize,
    /// Field lines; never more than `HEADER_COUNT_MAX`.
    pub count: usize,
    /// Bytes of a request line without its line end.
    pub line: usize,
}

/// Whether a head has arrived.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    /// All of it.
    Complete,
    /// More bytes are needed.
    Partial,
}

impl HeadLimits {
    /// The part of `bytes` that a head may fill.
    #[inline]
    fn window<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[..bytes.len().min(self.bytes).min(HEADER_BYTES_MAX)]
    }

    /// `Partial` while more bytes may come (RFC 6585 section 5 has 431 for a head that is too large).
    #[inline]
    fn partial(&self, bytes: &[u8]) -> Result<Progress, HeadError> {
        if bytes.len() >= self.bytes.min(HEADER_BYTES_MAX) {
            Err(HeadError::HeadTooLarge)
        } else {
            Ok(Progress::Partial)
        }
    }

    /// Field lines that are parsed at most.
    #[inline]
    fn slots(&self) -> usize {
        self.count.min(HEADER_COUNT_MAX)
    }
}
