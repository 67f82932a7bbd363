//! The body of a message as HTTP/1.1 frames it.

use std::io;
use std::task::{Context as Poller, Poll, ready};

use bytes::{Buf, Bytes};
use h2::RecvStream;

use crate::http1::encode_chunk_line;
use crate::http2::{AnswerBody, encode_trailers};
use crate::net::Buffer;

/// The peer's direction of a stream.
pub(super) struct Inbound {
    body: RecvStream,
    /// Content that has come and was not asked for.
    held: Bytes,
    state: State,
    /// The lines of trailers behind a body with a length, for which HTTP/1.1 has no place; in a box, as there are hardly any.
    trailers: Option<Box<[u8]>>,
    /// Is it the body of a response? Its sender may close the connection behind it, which does not make it incomplete.
    is_response: bool,
}

/// What is to be read.
///
/// | state | content | at the end of the stream |
/// |---|---|---|
/// | Exact(n) | as it is; the last of n bytes only once the stream has ended | the trailers, kept aside, Over |
/// | Chunked | in chunks | the last chunk, the trailers, Over |
/// | Tunnel | as it is | Over |
/// | Malformed | | an error, whenever it is looked for |
/// | Over | | |
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Exact(u64),
    Chunked,
    Tunnel,
    Malformed,
    Over,
}

/// A chunk-size line and the end of its chunk, at most.
const CHUNK_FRAME: usize = 20;
/// Least room worth a chunk.
const LEAST_ROOM: usize = 64;

impl Inbound {
    /// The body of a request with this Content-Length, if it had one.
    pub(super) fn new(body: RecvStream, length: Option<u64>) -> Self {
        let state = match length {
            _ if body.is_end_stream() => State::Over,
            Some(length) => State::Exact(length),
            None => State::Chunked,
        };
        Self { body, held: Bytes::new(), state, trailers: None, is_response: false }
    }

    /// The body of a response.
    pub(super) fn of_response(body: RecvStream, framed: AnswerBody) -> Self {
        let state = match framed {
            AnswerBody::None => State::Over,
            AnswerBody::Exact(length) => State::Exact(length),
            AnswerBody::Chunked => State::Chunked,
        };
        Self { body, held: Bytes::new(), state, trailers: None, is_response: true }
    }

    /// Is this the end of the body all the same? Whoever closes its connection behind a response has sent it whole if all that
    /// it promised is there; that the stream had ended is no more to be seen then. It is behind a reset, with which a server
    /// may refuse the rest of a request (RFC 9113 section 8.1): one that is an error here cut the body short.
    fn is_end(&self, error: &h2::Error) -> bool {
        let has_all = matches!(self.state, State::Exact(left) if self.held.len() as u64 == left);
        self.is_response && error.is_io() && has_all
    }

    /// What comes on a stream that becomes a tunnel (RFC 8441).
    pub(super) fn tunnel(body: RecvStream) -> Self {
        Self { body, held: Bytes::new(), state: State::Tunnel, trailers: None, is_response: false }
    }

    /// The lines of trailers behind a body with a length, once the last byte of it was given; empty without any.
    pub(super) fn trailers(&self) -> &[u8] {
        self.trailers.as_deref().unwrap_or_default()
    }

    /// Ready when a read would be.
    pub(super) fn poll_ready(&mut self, poller: &mut Poller<'_>) -> Poll<()> {
        self.poll_held(poller).map(drop)
    }

    /// Reads what is there behind the filled part of `into`; zero is the end of the body. An error stays one, and adds nothing.
    pub(super) fn poll_read(&mut self, poller: &mut Poller<'_>, into: &mut Buffer) -> Poll<io::Result<usize>> {
        let before = into.len();
        let polled = self.poll_some(poller, into);
        if matches!(polled, Poll::Ready(Err(_))) {
            into.truncate(before);
            self.state = State::Malformed;
        }
        polled
    }

    fn poll_some(&mut self, poller: &mut Poller<'_>, into: &mut Buffer) -> Poll<io::Result<usize>> {
        into.reserve(LEAST_ROOM);
        let before = into.len();
        loop {
            let is_whole = match self.poll_held(poller) {
                Poll::Ready(Ok(is_whole)) => is_whole,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if into.len() > before => return Poll::Ready(Ok(into.len() - before)),
                Poll::Pending => return Poll::Pending,
            };
            if !self.held.is_empty() {
                self.give(into);
            }
            if is_whole && self.held.is_empty() {
                ready!(self.poll_end(poller, into))?;
            }
            if self.state == State::Over || into.spare() < LEAST_ROOM || !self.held.is_empty() {
                return Poll::Ready(Ok(into.len() - before));
            }
        }
    }

    /// Waits until there is content that may be given, or the end; ready with true at the end, behind what is held.
    fn poll_held(&mut self, poller: &mut Poller<'_>) -> Poll<io::Result<bool>> {
        loop {
            match self.state {
                State::Over => return Poll::Ready(Ok(false)),
                State::Malformed => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                State::Exact(_) | State::Chunked | State::Tunnel => {}
            }
            if self.body.is_end_stream() {
                return Poll::Ready(Ok(true));
            }
            // RFC 9113 section 8.1.1: a body that turns out longer than its length is malformed, and whoever has the last byte
            // of it believes that it is whole.
            let is_last = matches!(self.state, State::Exact(left) if self.held.len() as u64 >= left);
            if !self.held.is_empty() && !is_last {
                return Poll::Ready(Ok(false));
            }
            match ready!(self.body.poll_data(poller)) {
                Some(Ok(content)) if self.held.is_empty() => self.held = content,
                // More than was promised, unless it is nothing.
                Some(Ok(content)) if content.is_empty() => {}
                Some(Err(error)) if self.is_end(&error) => return Poll::Ready(Ok(true)),
                Some(Ok(_) | Err(_)) => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                None if matches!(self.state, State::Exact(_)) => return self.poll_aside(poller),
                None => return Poll::Ready(Ok(true)),
            }
        }
    }

    /// Keeps the trailers behind a body with a length aside: before its last byte is given, so that they are there with it.
    fn poll_aside(&mut self, poller: &mut Poller<'_>) -> Poll<io::Result<bool>> {
        match ready!(self.body.poll_trailers(poller)) {
            Ok(None) => {}
            Ok(Some(trailers)) => {
                let mut lines = Vec::new();
                encode_trailers(&mut lines, &trailers)
                    .map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
                self.trailers = Some(lines.into());
            }
            Err(_) => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
        Poll::Ready(Ok(true))
    }

    /// Moves content that is held into `into`, as far as there is room.
    fn give(&mut self, into: &mut Buffer) {
        let count = match &mut self.state {
            State::Exact(left) => {
                let count = self.held.len().min(into.spare());
                into.extend(&self.held[..count]);
                *left = left.saturating_sub(count as u64);
                count
            }
            State::Chunked => {
                let count = self.held.len().min(into.spare() - CHUNK_FRAME);
                let mut line = [0; 18];
                let start = encode_chunk_line(count, &mut line);
                into.extend(&line[start..]);
                into.extend(&self.held[..count]);
                into.extend(b"\r\n");
                count
            }
            State::Tunnel => {
                let count = self.held.len().min(into.spare());
                into.extend(&self.held[..count]);
                count
            }
            State::Malformed | State::Over => 0,
        };
        self.held.advance(count);
        // It fails only once the stream is closed, when nobody asks for room.
        drop(self.body.flow_control().release_capacity(count));
    }

    /// Ends the body: RFC 9112 section 7.1.
    fn poll_end(&mut self, poller: &mut Poller<'_>, into: &mut Buffer) -> Poll<io::Result<()>> {
        match self.state {
            State::Exact(0) | State::Tunnel | State::Malformed | State::Over => {}
            // `h2` ends no such stream in order.
            State::Exact(_) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            State::Chunked => {
                let trailers = match ready!(self.body.poll_trailers(poller)) {
                    Ok(trailers) => trailers.unwrap_or_default(),
                    Err(_) => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                };
                let lines: usize =
                    trailers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len()).sum();
                into.reserve(lines + "0\r\n\r\n".len());
                let before = into.len();
                into.extend(b"0\r\n");
                if let Err(why) = encode_trailers(into.sink(), &trailers) {
                    // Nothing of it may be taken for an end, now or once what stands before it was taken.
                    into.truncate(before);
                    self.state = State::Malformed;
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, why)));
                }
                into.extend(b"\r\n");
            }
        }
        self.state = State::Over;
        Poll::Ready(Ok(()))
    }
}
