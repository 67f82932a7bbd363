//! The body of a message in HTTP/1.1 on its way to a stream.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::task::{Context as Poller, Poll, ready};

use h2::{Reason, SendStream};
use http::HeaderMap;

use super::chunk::{Chunk, Queue};
use super::wire::Wire;
use crate::http2::{Piece, Unframer, decode_trailers};
use crate::limits;

/// What is to come of a body, and where it goes.
pub(super) struct Content {
    stream: SendStream<Chunk>,
    unframer: Unframer,
    /// None as long as nothing waits in it: most bodies are one chunk.
    queue: Option<Rc<Queue>>,
    /// Is the stream about to be opened, and nothing of the body sent?
    is_opening: bool,
}

/// Most content of one write, so that whoever writes sees that it moves.
const MOST: usize = limits::BUFFER_BYTES;

/// Most content that goes before there is room for it: what every window has room for, but those of peers that want to see a
/// head first.
const AHEAD: usize = limits::BUFFER_BYTES / 4;

/// Trailers that are to follow a body with a length, for which HTTP/1.1 has no place.
pub(super) type Aside = Cell<Option<Box<HeaderMap>>>;

/// Puts trailers aside, of which these are the lines.
pub(super) fn put_aside(aside: &Aside, lines: &[u8]) {
    aside.set(decode_trailers(lines).filter(|trailers| !trailers.is_empty()).map(Box::new));
}

/// How far one write came.
pub(super) struct Progress {
    /// Bytes that are done with.
    pub(super) used: usize,
    /// Did the body end with them?
    pub(super) ends: bool,
}

impl Content {
    pub(super) fn new(stream: SendStream<Chunk>, unframer: Unframer) -> Self {
        Self { stream, unframer, queue: None, is_opening: false }
    }

    /// On a stream that is about to be opened, which has no room until it is. A small piece of content does not wait for that,
    /// so that it goes with the head; `h2` keeps it while the window has no room.
    pub(super) fn of_opening(stream: SendStream<Chunk>, unframer: Unframer) -> Self {
        Self { stream, unframer, queue: None, is_opening: true }
    }

    /// Sends some of the body that stands at the front of `bytes`, and with the last of it the trailers that were put `aside`.
    pub(super) fn poll_write(
        &mut self,
        poller: &mut Poller<'_>,
        wire: &Wire,
        bytes: &[u8],
        aside: &Aside,
    ) -> Poll<io::Result<Progress>> {
        let malformed = || io::Error::from(io::ErrorKind::InvalidData);
        let (mut piece, mut next) = self.unframer.front(bytes, MOST).ok_or_else(malformed)?;
        let wanted = piece.content.len();
        let is_ahead = std::mem::take(&mut self.is_opening) && wanted <= AHEAD;
        if wanted > 0 && !is_ahead {
            ready!(self.poll_room(poller));
            let granted = ready!(poll_capacity(&mut self.stream, poller, wanted))?;
            if granted < wanted {
                (piece, next) = self.unframer.front(bytes, granted).ok_or_else(malformed)?;
            }
        }
        self.unframer = next;
        let is_queued = !piece.ends || is_ahead;
        let queue = if is_queued { Some(&*self.queue.get_or_insert_default()) } else { self.queue.as_ref() };
        let trailers = if piece.ends { trailers_of(&piece, bytes, aside)? } else { None };
        send_piece(&mut self.stream, &piece, bytes, wire, queue, trailers)?;
        Poll::Ready(Ok(Progress { used: piece.used, ends: piece.ends }))
    }

    /// Sends bytes of a tunnel as they are; how many.
    pub(super) fn poll_pass(&mut self, poller: &mut Poller<'_>, wire: &Wire, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_room(poller));
        let count = ready!(poll_capacity(&mut self.stream, poller, bytes.len().min(MOST)))?;
        let chunk = Chunk::new(&bytes[..count], &wire.pool, Some(self.queue.get_or_insert_default()));
        Poll::Ready(self.stream.send_data(chunk, false).map(|()| count).map_err(gone))
    }

    /// Ends a tunnel.
    pub(super) fn end(&mut self, wire: &Wire) {
        // It fails only where nobody hears it any more.
        drop(self.stream.send_data(Chunk::new(b"", &wire.pool, None), true));
    }

    /// Ready when there is room for a chunk.
    fn poll_room(&self, poller: &Poller<'_>) -> Poll<()> {
        self.queue.as_ref().map_or(Poll::Ready(()), |queue| queue.poll_room(poller.waker()))
    }

    /// What the peer has taken, while something waits for its turn on the connection: flow control let that pass. Where nothing
    /// does, it is the peer that makes no room.
    pub(super) fn taken(&self, wire: &Wire) -> Option<u64> {
        self.queue.as_ref().filter(|queue| !queue.is_empty()).and_then(|_| wire.taken())
    }

    /// Resets the stream if what went ahead still waits, for which nobody may ever make room: the endpoint has answered without
    /// it.
    pub(super) fn drop_rest(&mut self) {
        if self.queue.as_ref().is_some_and(|queue| !queue.is_empty()) {
            self.give_up(Reason::CANCEL);
        }
    }

    /// Ready when the peer gave the stream up, or the connection is gone.
    pub(super) fn poll_gone(&mut self, poller: &mut Poller<'_>) -> Poll<()> {
        self.stream.poll_reset(poller).map(drop)
    }

    /// Resets the stream.
    pub(super) fn give_up(&mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }
}

/// What went of a body behind its head, which has gone however that fared.
pub(super) fn or_none(behind: Poll<usize>) -> usize {
    if let Poll::Ready(used) = behind { used } else { 0 }
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

/// The trailers behind the last piece of a body.
fn trailers_of(piece: &Piece, bytes: &[u8], aside: &Aside) -> io::Result<Option<HeaderMap>> {
    match piece.trailers.is_empty() {
        true => Ok(aside.take().map(|trailers| *trailers)),
        false => {
            decode_trailers(&bytes[piece.trailers.clone()]).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
        }
    }
}

fn send_piece(
    stream: &mut SendStream<Chunk>,
    piece: &Piece,
    bytes: &[u8],
    wire: &Wire,
    queue: Option<&Rc<Queue>>,
    trailers: Option<HeaderMap>,
) -> io::Result<()> {
    let content = &bytes[piece.content.clone()];
    let is_last = piece.ends && trailers.is_none();
    if !content.is_empty() || is_last {
        stream.send_data(Chunk::new(content, &wire.pool, queue), is_last).map_err(gone)?;
    }
    if let Some(trailers) = trailers {
        stream.send_trailers(trailers).map_err(gone)?;
        wire.on_fields();
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "it stands where errors are mapped")]
pub(super) fn gone(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, error.to_string())
}
