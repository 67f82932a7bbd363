//! A stream of HTTP/2 as a stream that speaks HTTP/1.1.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::rc::Rc;
use std::task::{Context as Poller, Poll};

use h2::Reason;
use h2::server::SendResponse;

use super::chunk::Chunk;
use super::inbound::Inbound;
use super::outbound::{Kind, Outbound};
use super::polled::{self, Polled, Task};
use super::wire::Wire;
use crate::net::{Alarm, Buffer, Pending, Stream};

/// The server's side of one stream behind its request's head: a read gives the body as HTTP/1.1 frames it, a write takes
/// a response of HTTP/1.1.
///
/// Dropped before its response is whole, it resets the stream. All operations belong to one task.
pub struct ServerStream {
    wire: Rc<Wire>,
    inbound: RefCell<Inbound>,
    outbound: RefCell<Outbound>,
    task: Task,
    reason: Cell<Reason>,
}

impl ServerStream {
    pub(super) fn new(wire: Rc<Wire>, inbound: Inbound, response: SendResponse<Chunk>, kind: Kind) -> Self {
        Self {
            wire,
            inbound: RefCell::new(inbound),
            outbound: RefCell::new(Outbound::new(response, kind)),
            task: Task::default(),
            reason: Cell::new(Reason::INTERNAL_ERROR),
        }
    }

    /// Is the connection below secured?
    pub(in crate::net) fn is_secure(&self) -> bool {
        self.wire.is_secure
    }

    /// Appends the lines of trailers that came behind a body with a length, once the last byte of it was read.
    pub(in crate::net) fn append_trailers(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(self.inbound.borrow().trailers());
    }

    /// Trailers that are to follow a body with a length, line by line; before the last byte of it is written.
    pub(in crate::net) fn put_trailers(&self, lines: &[u8]) {
        self.outbound.borrow().put_trailers(lines);
    }

    /// Ready when the client has given the stream up, or a tunnel has something to read; what may still come of a request
    /// is awaited by whoever reads.
    pub(in crate::net) fn poll_readable(&self, poller: &mut Poller<'_>) -> Poll<()> {
        self.task.note(poller);
        let mut outbound = self.outbound.borrow_mut();
        if outbound.is_tunnel() {
            return self.inbound.borrow_mut().poll_ready(poller);
        }
        outbound.poll_gone(poller)
    }

    /// Appends what has come of the request's body to its head, so that both go on at once; what is wrong with it is told by
    /// the next read.
    pub fn read_behind(&self, head: &mut Buffer) {
        drop(polled::try_read(self, head));
    }

    /// Tells the client that nothing was done with its request, which it may send elsewhere (RFC 9113 section 8.7).
    pub fn refuse(&self) {
        self.reason.set(Reason::REFUSED_STREAM);
    }
}

impl Drop for ServerStream {
    fn drop(&mut self) {
        // RFC 9113 section 8.1: what was cut short must not look complete.
        self.outbound.borrow_mut().give_up(self.reason.get());
    }
}

impl Polled for ServerStream {
    fn task(&self) -> &Task {
        &self.task
    }

    fn poll_read(&self, poller: &mut Poller<'_>, into: &mut Buffer) -> Poll<io::Result<usize>> {
        self.inbound.borrow_mut().poll_read(poller, into)
    }

    fn poll_write(&self, poller: &mut Poller<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.outbound.borrow_mut().poll_write(poller, &self.wire, bytes)
    }
}

impl Stream for ServerStream {
    fn read(&self, into: Buffer) -> impl Future<Output = (io::Result<usize>, Buffer)> {
        polled::read(self, into)
    }

    fn read_until(&self, into: Buffer, alarm: &Alarm) -> impl Future<Output = (io::Result<usize>, Buffer)> {
        polled::read_until(self, into, alarm)
    }

    fn write(&self, from: Buffer) -> impl Future<Output = (io::Result<usize>, Buffer)> {
        polled::write(self, from)
    }

    fn readable(&self) -> impl Future<Output = io::Result<()>> {
        poll_fn(|poller| self.poll_readable(poller).map(Ok))
    }

    fn try_read(&self, into: &mut Buffer) -> io::Result<usize> {
        polled::try_read(self, into)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        polled::try_write(self, bytes)
    }

    /// Nothing, or that the stream is no more. That a client has said all it had to say is no sign of its leaving.
    fn pending(&self) -> Pending {
        match self.task.look(|poller| self.outbound.borrow_mut().poll_gone(poller)) {
            Poll::Ready(()) => Pending::Broken,
            Poll::Pending => Pending::Nothing,
        }
    }

    fn taken(&self) -> Option<u64> {
        self.outbound.borrow().taken(&self.wire)
    }

    /// The end of a response goes with the last of it; that of a tunnel is told here.
    fn shutdown_write(&self) {
        self.outbound.borrow_mut().end_tunnel(&self.wire);
    }

    /// So it is anyway, unless its response is whole.
    fn reset_on_close(&self) {}

    /// Dropped, it leaves nothing that waits.
    fn hang_up_on_drop(&self) {}

    fn keep_alive(&self, _seconds: u32) {}
}
