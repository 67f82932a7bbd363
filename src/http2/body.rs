//! The framing of a response's body, taken off.

use core::ops::Range;

/// Takes the framing of HTTP/1.1 off the body of a response that our own encoder wrote: every line of the chunked coding
/// stands whole in one buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unframer(Left);

/// What is to come.
///
/// | state | next bytes | then |
/// |---|---|---|
/// | Exact(n) | n bytes of content | Over |
/// | Size | a chunk-size line | Chunk, or Over behind the last chunk and the trailers |
/// | Chunk(n) | n bytes of content and a line end | Size |
/// | Over | nothing | |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Exact(u64),
    Size,
    Chunk(u64),
    Over,
}

/// What stands at the front of a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Bytes that are done with once this piece is.
    pub used: usize,
    /// Where its content stands.
    pub content: Range<usize>,
    /// Does the body end with it?
    pub ends: bool,
    /// Where the lines of its trailers stand; empty when there are none.
    pub trailers: Range<usize>,
}

impl Unframer {
    /// No body.
    #[must_use]
    pub const fn none() -> Self {
        Self(Left::Over)
    }

    /// So many bytes.
    #[must_use]
    pub const fn exact(length: u64) -> Self {
        Self(if length == 0 { Left::Over } else { Left::Exact(length) })
    }

    /// In chunks.
    #[must_use]
    pub const fn chunked() -> Self {
        Self(Left::Size)
    }

    /// Has the body ended?
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self.0, Left::Over)
    }

    /// Finds what stands at the front of `bytes`, with at most `most` bytes of content; the state behind it is in the
    /// unframer that comes with it, to be kept once the piece has gone.
    ///
    /// `None` for what our encoder does not write.
    #[must_use]
    pub fn front(self, bytes: &[u8], most: usize) -> Option<(Piece, Self)> {
        match self.0 {
            Left::Over => None,
            Left::Exact(left) => {
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len()).min(most);
                let left = left - length as u64;
                let piece = Piece { used: length, content: 0..length, ends: left == 0, trailers: 0..0 };
                Some((piece, Self::exact(left)))
            }
            Left::Size => {
                let (size, start) = chunk_size(bytes)?;
                if size == 0 { last_chunk(bytes, start, start..start) } else { chunk(bytes, start, size, most) }
            }
            Left::Chunk(left) => chunk(bytes, 0, left, most),
        }
    }
}

/// Content of a chunk, of which `left` bytes are to come from `start` on.
fn chunk(bytes: &[u8], start: usize, left: u64, most: usize) -> Option<(Piece, Unframer)> {
    let behind = bytes.len() - start;
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(behind).min(most);
    let content = start..start + length;
    if (length as u64) < left {
        let piece = Piece { used: content.end, content, ends: false, trailers: 0..0 };
        return Some((piece, Unframer(Left::Chunk(left - length as u64))));
    }
    let used = content.end + 2;
    if bytes.get(content.end..used)? != b"\r\n" {
        return None;
    }
    // The last chunk goes with the content before it, so that the end needs no frame of its own.
    match chunk_size(&bytes[used..]) {
        Some((0, behind)) => last_chunk(bytes, used + behind, content),
        Some(_) | None => Some((Piece { used, content, ends: false, trailers: 0..0 }, Unframer(Left::Size))),
    }
}

/// The end of a body whose last chunk's line ends at `start`.
fn last_chunk(bytes: &[u8], start: usize, content: Range<usize>) -> Option<(Piece, Unframer)> {
    let trailers = lines_end(&bytes[start..])?;
    let piece = Piece { used: start + trailers + 2, content, ends: true, trailers: start..start + trailers };
    Some((piece, Unframer(Left::Over)))
}

/// Where lines end, behind which an empty one stands.
fn lines_end(bytes: &[u8]) -> Option<usize> {
    let mut start = 0;
    loop {
        let end = start + memchr::memchr(b'\n', &bytes[start..])?;
        if &bytes[start..end] == b"\r" {
            return Some(start);
        }
        start = end + 1;
    }
}

/// The size at the front of `bytes`, and where its line ends.
fn chunk_size(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut size = 0_u64;
    for (at, &byte) in bytes.iter().take(DIGITS + 1).enumerate() {
        if byte == b'\r' {
            return (at > 0 && bytes.get(at + 1) == Some(&b'\n')).then_some((size, at + 2));
        }
        size = size << 4 | u64::from(char::from(byte).to_digit(16)?);
    }
    None
}

/// Digits that a size has at most.
const DIGITS: usize = 16;

#[cfg(test)]
mod tests;
