//! The trailer section of a chunked body (RFC 9112 section 7.1.2).

use super::edits::FieldEdits;
use super::encode::push_line;
use super::error::ChunkError;
use super::fields::{FieldKind, is_end_to_end, is_token, is_value};
use crate::limits::TRAILER_BYTES;

/// Collects the trailer lines that may be relayed.
#[derive(Debug, Default)]
pub(super) struct Trailers {
    /// The line that has not ended yet.
    line: Vec<u8>,
    kept: Vec<u8>,
    /// Bytes of the section so far, dropped lines included.
    bytes: usize,
}

impl Trailers {
    /// Forgets the section, keeps the storage.
    pub(super) fn clear(&mut self) {
        self.line.clear();
        self.kept.clear();
        self.bytes = 0;
    }

    /// The lines kept, each with its CR LF.
    pub(super) fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// Takes bytes up to the end of a line: how many, and whether it was the empty line that ends the section.
    pub(super) fn try_add(&mut self, bytes: &[u8]) -> Result<(usize, bool), ChunkError> {
        let end = memchr::memchr(b'\n', bytes);
        let used = end.map_or(bytes.len(), |at| at + 1);
        self.bytes += used;
        if self.bytes > TRAILER_BYTES {
            return Err(ChunkError::TrailersTooLarge);
        }
        // A whole line, such as the empty one that is all there usually is, needs no copy.
        if end.is_some() && self.line.is_empty() {
            return Ok((used, Self::try_line(&bytes[..used], &mut self.kept)?));
        }
        self.line.extend_from_slice(&bytes[..used]);
        if end.is_none() {
            return Ok((used, false));
        }
        let ended = Self::try_line(&self.line, &mut self.kept);
        self.line.clear();
        Ok((used, ended?))
    }

    /// Checks one whole line and keeps it if it may be relayed; whether it is the empty one.
    fn try_line(line: &[u8], kept: &mut Vec<u8>) -> Result<bool, ChunkError> {
        let Some(line) = line.strip_suffix(b"\r\n") else { return Err(ChunkError::InvalidTrailer) };
        if line.is_empty() {
            return Ok(true);
        }
        let colon = memchr::memchr(b':', line).ok_or(ChunkError::InvalidTrailer)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if !is_token(name) || !is_value(&line[colon + 1..]) {
            return Err(ChunkError::InvalidTrailer);
        }
        // RFC 9110 section 6.5.1: no field that frames, routes, modifies, authenticates or describes the content.
        if FieldKind::classify(name) == FieldKind::Other && !is_end_to_end(name) {
            push_line(kept, name, value);
        }
        Ok(false)
    }
}

/// Appends those lines of `trailers` (as `ChunkedDecoder::trailers` gives them) that none of the connection options
/// of the message's head names (RFC 9110 section 7.6.1 ends these at this hop), and that no edit removes.
pub fn encode_trailers<'a>(
    out: &mut Vec<u8>,
    trailers: &[u8],
    options: impl Iterator<Item = &'a [u8]> + Clone,
    edits: &FieldEdits,
) {
    for line in trailers.split_inclusive(|&byte| byte == b'\n') {
        let name = line.split(|&byte| byte == b':').next().unwrap_or(line);
        let ends_here = options.clone().any(|option| option.eq_ignore_ascii_case(name));
        // What may not come as a field must not come behind the body either.
        if !ends_here && !edits.drops(FieldKind::Other, name) {
            out.extend_from_slice(line);
        }
    }
}
