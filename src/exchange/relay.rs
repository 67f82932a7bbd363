//! A body on its way in, whatever its framing.

use crate::http1::{BodyLength, ChunkError, ChunkedDecoder};
use crate::limits;
use crate::net::{Buffer, BufferPool};

/// What is left of a body.
enum Left {
    Exact(u64),
    Chunked,
    UntilClose,
}

/// Takes a body apart, one filled buffer after the other.
pub(super) struct Inbound<'d> {
    left: Left,
    decoder: &'d mut ChunkedDecoder,
    /// Did the last read fill its buffer, so that a larger one pays?
    full: bool,
}

/// What [`Inbound::take`] found besides content.
pub(super) struct Portion {
    /// Is the body complete?
    pub(super) done: bool,
    /// What came behind the body.
    pub(super) extra: Option<Buffer>,
}

impl<'d> Inbound<'d> {
    /// A body of which `taken` bytes are known already.
    pub(super) fn new(length: BodyLength, taken: usize, decoder: &'d mut ChunkedDecoder) -> Self {
        let left = match length {
            BodyLength::None => Left::Exact(0),
            BodyLength::Exact(length) => Left::Exact(length - taken as u64),
            BodyLength::Chunked => {
                decoder.reset();
                Left::Chunked
            }
            BodyLength::UntilClose => Left::UntilClose,
        };
        Self { left, decoder, full: false }
    }

    /// Reduces the filled bytes to content of this body and sets aside what follows it.
    pub(super) fn take(&mut self, buffer: &mut Buffer, pool: &BufferPool) -> Result<Portion, ChunkError> {
        self.full = buffer.spare() == 0;
        let filled = buffer.len();
        let (content, consumed, done) = match &mut self.left {
            Left::Exact(left) => {
                let content = usize::try_from(*left).unwrap_or(usize::MAX).min(filled);
                *left -= content as u64;
                (content, content, *left == 0)
            }
            Left::Chunked => {
                let decoded = self.decoder.decode(buffer.filled_mut())?;
                (decoded.content, decoded.consumed, decoded.done)
            }
            Left::UntilClose => (filled, filled, false),
        };
        let extra = (consumed < filled).then(|| {
            let mut extra = pool.lend();
            extra.extend(&buffer.filled()[consumed..]);
            extra
        });
        buffer.truncate(content);
        Ok(Portion { done, extra })
    }

    /// Does an end of stream complete this body (RFC 9112 section 6.3)?
    pub(super) fn ends_with_stream(&self) -> bool {
        matches!(self.left, Left::UntilClose)
    }

    /// The trailer section of a chunked body, sanitised.
    pub(super) fn trailers(&self) -> &[u8] {
        if matches!(self.left, Left::Chunked) { self.decoder.trailers() } else { &[] }
    }

    /// Changes an empty buffer for a larger one when enough is to come, and that for a small one when memory is short.
    pub(super) fn grow(&self, buffer: Buffer, pool: &BufferPool) -> Buffer {
        let worth_it = match self.left {
            Left::Exact(left) => left > limits::BUFFER_BYTES as u64,
            Left::Chunked | Left::UntilClose => self.full,
        };
        let mut other = if buffer.is_large() {
            if !pool.is_short() {
                return buffer;
            }
            pool.lend()
        } else {
            let large = if worth_it { pool.try_lend_large() } else { None };
            let Some(large) = large else { return buffer };
            large
        };
        other.rewind(limits::CHUNK_HEADROOM, limits::CHUNK_TAILROOM);
        other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(length: BodyLength, bytes: &[u8]) -> (Vec<u8>, bool, Option<Vec<u8>>) {
        let pool = BufferPool::new();
        let mut decoder = ChunkedDecoder::new();
        let mut inbound = Inbound::new(length, 0, &mut decoder);
        let mut buffer = pool.lend();
        buffer.extend(bytes);
        let portion = inbound.take(&mut buffer, &pool).expect("well-formed");
        (buffer.filled().to_vec(), portion.done, portion.extra.map(|extra| extra.filled().to_vec()))
    }

    #[test]
    fn content_is_parted_from_what_follows_it() {
        assert_eq!(take(BodyLength::Exact(5), b"helloGET /"), (b"hello".to_vec(), true, Some(b"GET /".to_vec())));
        assert_eq!(take(BodyLength::Exact(9), b"hello"), (b"hello".to_vec(), false, None));
        assert_eq!(take(BodyLength::None, b"x"), (Vec::new(), true, Some(b"x".to_vec())));
        assert_eq!(
            take(BodyLength::Chunked, b"5\r\nhello\r\n0\r\n\r\nx"),
            (b"hello".to_vec(), true, Some(b"x".to_vec()))
        );
        assert_eq!(take(BodyLength::UntilClose, b"hello"), (b"hello".to_vec(), false, None));
    }

    #[test]
    fn a_long_body_gets_a_large_buffer_and_a_short_one_does_not() {
        let pool = BufferPool::new();
        let mut decoder = ChunkedDecoder::new();
        let long = Inbound::new(BodyLength::Exact(1 << 20), 0, &mut decoder).grow(pool.lend(), &pool);
        assert!(long.is_large());
        let short = Inbound::new(BodyLength::Exact(1000), 0, &mut decoder).grow(pool.lend(), &pool);
        assert!(!short.is_large());
        pool.set_short(true);
        for before in [long, pool.lend()] {
            let small = Inbound::new(BodyLength::Exact(1 << 20), 0, &mut decoder).grow(before, &pool);
            assert!(!small.is_large(), "while memory is short");
        }
    }
}
