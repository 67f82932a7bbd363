//! Whole writes and the pieces of relaying that both directions share.

use std::io;
use std::pin::pin;

use crate::http1::{ChunkError, ChunkedDecoder, FieldEdits, encode_chunk_line, encode_trailers};
use crate::net::{Alarm, Buffer, Channel, Expired, Stall, Stream};

/// Why a write did not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteError {
    /// The peer took nothing for too long; the buffer went with the operation.
    Expired,
    /// The connection broke, in this way.
    Broken(io::ErrorKind),
}

/// Writes all that is filled and consumes it; the peer may take nothing for `patience_ms`, which may change meanwhile.
pub(super) async fn write_all<S: Stream>(
    stream: &S,
    mut from: Buffer,
    alarm: &Alarm,
    patience_ms: impl Fn() -> u64,
) -> Result<Buffer, WriteError> {
    while !from.is_empty() {
        let (mut writing, mut stall) = (pin!(stream.write(from)), Stall::new(alarm.now_ms()));
        let (written, back) = loop {
            alarm.set(stall.due_ms(patience_ms()));
            match alarm.race(writing.as_mut()).await {
                Ok(completed) => break completed,
                Err(Expired) if stall.is_over(alarm.now_ms(), patience_ms(), || stream.taken()) => {
                    return Err(WriteError::Expired);
                }
                Err(Expired) => {}
            }
        };
        from = back;
        match written {
            Ok(0) => return Err(WriteError::Broken(io::ErrorKind::WriteZero)),
            Ok(count) => from.consume(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(WriteError::Broken(error.kind())),
        }
    }
    Ok(from)
}

/// What one read brought.
pub(super) enum Received {
    /// At least one byte, behind what was filled.
    Bytes(Buffer),
    /// The peer's end of stream.
    End(Buffer),
    /// The connection broke, in this way.
    Broken(io::ErrorKind),
    /// Nothing came in time; the buffer went with the operation.
    Expired,
}

/// Reads once; the wait may take `patience_ms`.
pub(super) async fn read_once<S: Stream>(stream: &S, mut into: Buffer, alarm: &Alarm, patience_ms: u64) -> Received {
    loop {
        match alarm.within(patience_ms, pin!(stream.read(into))).await {
            Err(Expired) => return Received::Expired,
            Ok((Err(error), back)) if error.kind() == io::ErrorKind::Interrupted => into = back,
            Ok(completed) => return received(completed),
        }
    }
}

/// Reads once; the wait may take as long as `left_ms` says when it begins, and again whenever that is over: true asks anew.
pub(super) async fn read_while<S: Stream>(
    stream: &S,
    mut into: Buffer,
    alarm: &Alarm,
    left_ms: impl Fn(bool) -> u64,
) -> Received {
    let mut patience_ms = left_ms(false);
    loop {
        // What is under way is never begun anew: that would lose its bytes.
        let mut reading = pin!(stream.read(into));
        let completed = loop {
            match alarm.within(patience_ms, reading.as_mut()).await {
                Ok(completed) => break completed,
                Err(Expired) => patience_ms = left_ms(true),
            }
            if patience_ms == 0 {
                return Received::Expired;
            }
        };
        match completed {
            (Err(error), back) if error.kind() == io::ErrorKind::Interrupted => into = back,
            completed => return received(completed),
        }
    }
}

pub(super) fn received((read, buffer): (io::Result<usize>, Buffer)) -> Received {
    match read {
        Ok(0) => Received::End(buffer),
        Ok(_) => Received::Bytes(buffer),
        Err(error) => Received::Broken(error.kind()),
    }
}

/// Makes the filled bytes one chunk, and ends the body behind it when `last`.
///
/// The buffer has [`crate::limits::CHUNK_HEADROOM`] bytes before its content, and
/// [`crate::limits::CHUNK_TAILROOM`] behind it unless there are trailers (RFC 9112 section 7.1).
pub(super) fn frame_chunk<'a>(
    buffer: &mut Buffer,
    last: bool,
    trailers: &[u8],
    options: impl Iterator<Item = &'a [u8]> + Clone,
    edits: &FieldEdits,
) {
    // A chunk of size zero would end the body (RFC 9112 section 7.1).
    if !buffer.is_empty() {
        let mut line = [0; 18];
        let start = encode_chunk_line(buffer.len(), &mut line);
        let fits = buffer.try_prepend(&line[start..]);
        assert!(fits, "a buffer of chunks is rewound with headroom");
        buffer.extend(b"\r\n");
    }
    if last {
        buffer.extend(b"0\r\n");
        if !trailers.is_empty() {
            encode_trailers(buffer.sink(), trailers, options, edits);
        }
        buffer.extend(b"\r\n");
    }
}

/// The trailers that `from` has behind a body with a length, line by line and as those of chunked bodies are passed on: what may
/// not be in one is left out (RFC 9110 section 6.5.1), and what `edits` remove. Nothing, and no allocation, without any.
///
/// # Errors
/// They are too large.
pub(super) fn trailers_aside<S: Stream>(from: &Channel<S>, edits: &FieldEdits) -> Result<Option<Vec<u8>>, ChunkError> {
    let mut coded = Vec::new();
    from.append_trailers(&mut coded);
    if coded.is_empty() {
        return Ok(None);
    }
    coded.splice(..0, *b"0\r\n");
    coded.extend_from_slice(b"\r\n");
    let mut decoder = ChunkedDecoder::new();
    decoder.decode(&mut coded)?;
    let mut lines = Vec::new();
    encode_trailers(&mut lines, decoder.trailers(), std::iter::empty(), edits);
    Ok(Some(lines))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;
    use crate::net::BufferPool;

    fn framed(content: &[u8], last: bool) -> Vec<u8> {
        let mut buffer = BufferPool::new().lend();
        buffer.rewind(limits::CHUNK_HEADROOM, limits::CHUNK_TAILROOM);
        buffer.extend(content);
        frame_chunk(&mut buffer, last, b"", std::iter::empty(), &FieldEdits::default());
        buffer.filled().to_vec()
    }

    #[test]
    fn content_becomes_one_chunk() {
        assert_eq!(framed(b"hello", false), b"5\r\nhello\r\n");
        assert_eq!(framed(b"hello", true), b"5\r\nhello\r\n0\r\n\r\n");
    }

    #[test]
    fn no_content_is_no_chunk() {
        assert_eq!(framed(b"", false), b"");
        assert_eq!(framed(b"", true), b"0\r\n\r\n");
    }

    #[test]
    fn a_full_buffer_is_framed_in_place() {
        let mut buffer = BufferPool::new().lend();
        buffer.rewind(limits::CHUNK_HEADROOM, limits::CHUNK_TAILROOM);
        buffer.extend(&vec![b'x'; buffer.spare()]);
        frame_chunk(&mut buffer, true, b"", std::iter::empty(), &FieldEdits::default());
        assert_eq!(buffer.sink().capacity(), limits::BUFFER_BYTES);
    }
}
