//! A response in HTTP/1.1 on its way to a stream.

use std::io;
use std::rc::Rc;
use std::task::{Context as Poller, Poll, ready};

use h2::server::SendResponse;
use h2::{Reason, SendStream};

use super::chunk::{Chunk, Queue};
use super::wire::Wire;
use crate::http2::{Piece, Unframer, decode_response_head, decode_trailers};
use crate::limits;

/// Our direction of a stream.
pub(super) struct Outbound {
    state: State,
    queue: Rc<Queue>,
    /// Was the request a HEAD?
    is_head: bool,
}

/// How far the response is.
enum State {
    /// Its head is awaited, perhaps behind interim ones.
    Head(SendResponse<Chunk>),
    Body(SendStream<Chunk>, Unframer),
    Over,
}

/// Most content of one write, so that whoever writes sees that it moves.
const MOST: usize = limits::BUFFER_BYTES;

impl Outbound {
    pub(super) fn new(response: SendResponse<Chunk>, is_head: bool) -> Self {
        Self { state: State::Head(response), queue: Rc::default(), is_head }
    }

    /// Sends what stands at the front of `bytes`: a head, or some of a body; how much of it.
    pub(super) fn poll_write(&mut self, poller: &mut Poller<'_>, wire: &Wire, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.state {
            State::Head(_) => Poll::Ready(self.send_head(wire, bytes)),
            State::Body(..) => self.poll_body(poller, wire, bytes),
            // Nothing may follow a response that is whole.
            State::Over => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn send_head(&mut self, wire: &Wire, bytes: &[u8]) -> io::Result<usize> {
        let State::Head(respond) = &mut self.state else { return Ok(0) };
        let start = decode_response_head(bytes, self.is_head).ok_or(io::ErrorKind::InvalidData)?;
        if start.response.status().is_informational() {
            respond.send_informational(start.response).map_err(gone)?;
        } else {
            let is_over = start.body.is_over();
            let stream = respond.send_response(start.response, is_over).map_err(gone)?;
            self.state = if is_over { State::Over } else { State::Body(stream, start.body) };
        }
        wire.on_fields();
        Ok(start.used)
    }

    fn poll_body(&mut self, poller: &mut Poller<'_>, wire: &Wire, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let State::Body(stream, unframer) = &mut self.state else { return Poll::Ready(Ok(0)) };
        let malformed = || io::Error::from(io::ErrorKind::InvalidData);
        let (mut piece, mut next) = unframer.front(bytes, MOST).ok_or_else(malformed)?;
        let wanted = piece.content.len();
        if wanted > 0 {
            ready!(self.queue.poll_room(poller.waker()));
            let granted = ready!(poll_capacity(stream, poller, wanted))?;
            if granted < wanted {
                (piece, next) = unframer.front(bytes, granted).ok_or_else(malformed)?;
            }
        }
        *unframer = next;
        let used = piece.used;
        send_piece(stream, &piece, bytes, wire, &self.queue)?;
        if piece.ends {
            self.state = State::Over;
        }
        Poll::Ready(Ok(used))
    }

    /// Ready when the client gave the stream up, or the connection is gone, while a response is due.
    pub(super) fn poll_gone(&mut self, poller: &mut Poller<'_>) -> Poll<()> {
        match &mut self.state {
            State::Head(respond) => respond.poll_reset(poller).map(drop),
            State::Body(stream, _) => stream.poll_reset(poller).map(drop),
            State::Over => Poll::Pending,
        }
    }

    /// Resets the stream, unless its response is whole.
    pub(super) fn give_up(&mut self, reason: Reason) {
        match &mut self.state {
            State::Head(respond) => respond.send_reset(reason),
            State::Body(stream, _) => stream.send_reset(reason),
            State::Over => {}
        }
        self.state = State::Over;
    }
}

/// Waits until some of `wanted` bytes may be sent; how many.
fn poll_capacity(stream: &mut SendStream<Chunk>, poller: &mut Poller<'_>, wanted: usize) -> Poll<io::Result<usize>> {
    stream.reserve_capacity(wanted);
    loop {
        let granted = stream.capacity();
        if granted > 0 {
            return Poll::Ready(Ok(granted.min(wanted)));
        }
        match ready!(stream.poll_capacity(poller)) {
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

fn send_piece(
    stream: &mut SendStream<Chunk>,
    piece: &Piece,
    bytes: &[u8],
    wire: &Wire,
    queue: &Rc<Queue>,
) -> io::Result<()> {
    let content = &bytes[piece.content.clone()];
    let has_trailers = !piece.trailers.is_empty();
    if !content.is_empty() || (piece.ends && !has_trailers) {
        let chunk = Chunk::new(content, &wire.pool, queue);
        stream.send_data(chunk, piece.ends && !has_trailers).map_err(gone)?;
    }
    if has_trailers {
        let trailers = decode_trailers(&bytes[piece.trailers.clone()]).ok_or(io::ErrorKind::InvalidData)?;
        stream.send_trailers(trailers).map_err(gone)?;
        wire.on_fields();
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "it stands where errors are mapped")]
fn gone(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, error.to_string())
}
