//! The chunked coding (RFC 9112 section 7.1), decoded in place.

use super::error::ChunkError;
use super::trailers::Trailers;
use crate::limits::{CHUNK_EXTENSION_BYTES, CHUNK_LINE_BYTES};

/// What one call of `ChunkedDecoder::decode` found.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Decoded {
    /// Bytes of content, now at the front.
    pub content: usize,
    /// Bytes of input used; all of them unless `done`.
    pub consumed: usize,
    /// Whether the body has ended.
    pub done: bool,
}

/// Where in the coding the next byte stands.
///
/// | state | byte | next |
/// |---|---|---|
/// | Size, no digit yet | hex digit | Size |
/// | Size | hex digit | Size; more than 16 digits are refused |
/// | Size | `;` | Extension |
/// | Size | space, tab | Blank |
/// | Size, Extension | CR | LineFeed |
/// | Blank | space, tab | Blank |
/// | Blank | `;` | Extension |
/// | Extension | no control character | Extension |
/// | LineFeed | LF | Content, or Trailers after the last chunk |
/// | Content | the chunk's bytes | ContentCr after the last of them |
/// | ContentCr, ContentLf | CR, LF | ContentLf, Size |
/// | Trailers | field lines, then an empty line | Done |
/// | any | anything else | refused |
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
enum State {
    #[default]
    Size,
    Blank,
    Extension,
    LineFeed,
    Content,
    ContentCr,
    ContentLf,
    Trailers,
    Done,
}

/// Decodes one chunked body, in pieces of any size.
#[derive(Debug, Default)]
pub struct ChunkedDecoder {
    state: State,
    /// Size of the chunk while its line is read, then what is left of it.
    remaining: u64,
    digits: u32,
    line_bytes: usize,
    extension_bytes: usize,
    trailers: Trailers,
}

impl ChunkedDecoder {
    /// A decoder at the start of a body; it allocates only when a trailer arrives or the section of them in pieces.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts over for a further body, keeps the storage.
    pub fn reset(&mut self) {
        self.trailers.clear();
        *self = Self { trailers: core::mem::take(&mut self.trailers), ..Self::default() };
    }

    /// Decodes `bytes` in place: `bytes[..content]` is content, `bytes[consumed..]` is what follows the message,
    /// untouched. Unless `done`, everything was used. After an error the body is lost.
    ///
    /// Errors: what RFC 9112 section 7.1 does not allow, and bounds on lines, extensions and trailers.
    pub fn decode(&mut self, bytes: &mut [u8]) -> Result<Decoded, ChunkError> {
        let (mut from, mut to) = (0, 0);
        while from < bytes.len() && self.state != State::Done {
            if self.state == State::Content {
                let rest = bytes.len() - from;
                let length = usize::try_from(self.remaining).map_or(rest, |remaining| remaining.min(rest));
                if from != to {
                    bytes.copy_within(from..from + length, to);
                }
                from += length;
                to += length;
                self.remaining -= length as u64;
                if self.remaining == 0 {
                    self.state = State::ContentCr;
                }
            } else if self.state == State::Trailers {
                let (used, ended) = self.trailers.try_add(&bytes[from..])?;
                from += used;
                if ended {
                    self.state = State::Done;
                }
            } else {
                self.try_step(bytes[from])?;
                from += 1;
            }
        }
        Ok(Decoded { content: to, consumed: from, done: self.state == State::Done })
    }

    /// The trailer lines, each with its CR LF: validated, without framing, routing, authentication and hop-by-hop
    /// fields (RFC 9110 section 6.5.1).
    #[must_use]
    pub fn trailers(&self) -> &[u8] {
        self.trailers.kept()
    }

    /// Takes one byte of a chunk line or of the end of a chunk.
    #[inline]
    fn try_step(&mut self, byte: u8) -> Result<(), ChunkError> {
        match self.state {
            State::Size => self.try_size(byte),
            State::Blank | State::Extension => self.try_extension(byte),
            State::LineFeed if byte == b'\n' => {
                self.line_bytes = 0;
                self.digits = 0;
                // RFC 9112 section 7.1: a chunk of size zero is the last one.
                self.state = if self.remaining == 0 { State::Trailers } else { State::Content };
                Ok(())
            }
            State::LineFeed => Err(ChunkError::InvalidLineEnd),
            State::ContentCr if byte == b'\r' => {
                self.state = State::ContentLf;
                Ok(())
            }
            State::ContentLf if byte == b'\n' => {
                self.state = State::Size;
                Ok(())
            }
            State::ContentCr | State::ContentLf => Err(ChunkError::MissingEnd),
            State::Content | State::Trailers | State::Done => Ok(()),
        }
    }

    /// Takes one byte of a chunk size or the one behind it.
    #[inline]
    fn try_size(&mut self, byte: u8) -> Result<(), ChunkError> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ => return self.try_end_size(byte),
        };
        // RFC 9112 section 7.1: no overflow. Sixteen digits are all that 64 bits hold.
        if self.digits == 16 {
            return Err(ChunkError::SizeOverflow);
        }
        self.digits += 1;
        self.line_bytes += 1;
        self.remaining = self.remaining << 4 | u64::from(digit);
        Ok(())
    }

    /// Takes the byte behind a chunk size.
    fn try_end_size(&mut self, byte: u8) -> Result<(), ChunkError> {
        if self.digits == 0 {
            return Err(ChunkError::InvalidSize);
        }
        self.state = match byte {
            b'\r' => State::LineFeed,
            b'\n' => return Err(ChunkError::InvalidLineEnd),
            b';' => State::Extension,
            // RFC 9112 section 7.1.1: white space may stand before the semicolon of an extension.
            b' ' | b'\t' => State::Blank,
            _ => return Err(ChunkError::InvalidSize),
        };
        Ok(())
    }

    /// Takes one byte of the extensions: RFC 9112 section 7.1.1 has unknown ones ignored and their length bounded.
    fn try_extension(&mut self, byte: u8) -> Result<(), ChunkError> {
        self.line_bytes += 1;
        self.extension_bytes += 1;
        if self.line_bytes > CHUNK_LINE_BYTES {
            return Err(ChunkError::LineTooLong);
        }
        if self.extension_bytes > CHUNK_EXTENSION_BYTES {
            return Err(ChunkError::ExtensionsTooLarge);
        }
        match (self.state, byte) {
            (State::Extension, b'\r') => self.state = State::LineFeed,
            (_, b'\r' | b'\n') => return Err(ChunkError::InvalidLineEnd),
            (_, b' ' | b'\t') => {}
            (State::Extension, 0x21..=0x7e | 0x80..) => {}
            (State::Blank, b';') => self.state = State::Extension,
            _ => return Err(ChunkError::InvalidExtension),
        }
        Ok(())
    }
}

/// Writes the line of a chunk of `size` bytes right-aligned: `out[start..]` is the line, `start` is returned.
///
/// A size of 0 would be the last chunk and is the caller's to avoid.
pub fn encode_chunk_line(size: usize, out: &mut [u8; 18]) -> usize {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out[16] = b'\r';
    out[17] = b'\n';
    let mut start = 16;
    let mut rest = size;
    loop {
        start -= 1;
        out[start] = DIGITS[rest & 15];
        rest >>= 4;
        if rest == 0 {
            return start;
        }
    }
}

#[cfg(test)]
mod tests;
