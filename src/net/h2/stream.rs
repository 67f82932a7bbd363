//! A stream of HTTP/2 as a stream that speaks HTTP/1.1.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Poller, Poll, Waker};

use h2::Reason;
use h2::server::SendResponse;

use super::chunk::Chunk;
use super::inbound::Inbound;
use super::outbound::{Kind, Outbound};
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
    /// The task's, as far as it is known.
    waker: RefCell<Waker>,
    reason: Cell<Reason>,
}

impl ServerStream {
    pub(super) fn new(wire: Rc<Wire>, inbound: Inbound, response: SendResponse<Chunk>, kind: Kind) -> Self {
        Self {
            wire,
            inbound: RefCell::new(inbound),
            outbound: RefCell::new(Outbound::new(response, kind)),
            waker: RefCell::new(Waker::noop().clone()),
            reason: Cell::new(Reason::INTERNAL_ERROR),
        }
    }

    /// Is the connection below secured?
    pub(in crate::net) fn is_secure(&self) -> bool {
        self.wire.is_secure
    }

    /// Ready when the client has given the stream up, or a tunnel has something to read; what may still come of a request
    /// is awaited by whoever reads.
    pub(in crate::net) fn poll_readable(&self, poller: &mut Poller<'_>) -> Poll<()> {
        self.note(poller);
        let mut outbound = self.outbound.borrow_mut();
        if outbound.is_tunnel() {
            return self.inbound.borrow_mut().poll_ready(poller);
        }
        outbound.poll_gone(poller)
    }

    /// Tells the client that nothing was done with its request, which it may send elsewhere (RFC 9113 section 8.7).
    pub fn refuse(&self) {
        self.reason.set(Reason::REFUSED_STREAM);
    }

    /// Remembers whom to wake: looks without a waker must not take the place of one that waits.
    fn note(&self, poller: &Poller<'_>) {
        if !self.waker.borrow().will_wake(poller.waker()) {
            self.waker.replace(poller.waker().clone());
        }
    }
}

impl Drop for ServerStream {
    fn drop(&mut self) {
        // RFC 9113 section 8.1: what was cut short must not look complete.
        self.outbound.borrow_mut().give_up(self.reason.get());
    }
}

/// A read or a write with the buffer that it owns.
struct Operation<'a> {
    stream: &'a ServerStream,
    buffer: Option<Buffer>,
    is_read: bool,
}

impl Future for Operation<'_> {
    type Output = (io::Result<usize>, Buffer);

    fn poll(mut self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<Self::Output> {
        let stream = self.stream;
        stream.note(poller);
        let is_read = self.is_read;
        let buffer = self.buffer.as_mut().expect("polled until it completes");
        let polled = if is_read {
            stream.inbound.borrow_mut().poll_read(poller, buffer)
        } else {
            stream.outbound.borrow_mut().poll_write(poller, &stream.wire, buffer.filled())
        };
        polled.map(|completed| (completed, self.buffer.take().expect("polled until it completes")))
    }
}

impl Stream for ServerStream {
    fn read(&self, into: Buffer) -> impl Future<Output = (io::Result<usize>, Buffer)> {
        Operation { stream: self, buffer: Some(into), is_read: true }
    }

    async fn read_until(&self, into: Buffer, alarm: &Alarm) -> (io::Result<usize>, Buffer) {
        let mut operation = Operation { stream: self, buffer: Some(into), is_read: true };
        match alarm.race(Pin::new(&mut operation)).await {
            Ok(completed) => completed,
            // Whatever has come is still there.
            Err(_) => {
                let into = operation.buffer.take().expect("it has not completed");
                (Err(io::ErrorKind::Interrupted.into()), into)
            }
        }
    }

    fn write(&self, from: Buffer) -> impl Future<Output = (io::Result<usize>, Buffer)> {
        Operation { stream: self, buffer: Some(from), is_read: false }
    }

    fn readable(&self) -> impl Future<Output = io::Result<()>> {
        poll_fn(|poller| self.poll_readable(poller).map(Ok))
    }

    fn try_read(&self, into: &mut Buffer) -> io::Result<usize> {
        let waker = self.waker.borrow().clone();
        match self.inbound.borrow_mut().poll_read(&mut Poller::from_waker(&waker), into) {
            Poll::Ready(read) => read,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn try_peek(&self, _into: &mut Buffer) -> io::Result<usize> {
        // Nobody looks ahead in a stream: its request stands before it.
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let waker = self.waker.borrow().clone();
        match self.outbound.borrow_mut().poll_write(&mut Poller::from_waker(&waker), &self.wire, bytes) {
            Poll::Ready(written) => written,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Nothing, or that the stream is no more. That a client has said all it had to say is no sign of its leaving.
    fn pending(&self) -> Pending {
        let waker = self.waker.borrow().clone();
        match self.outbound.borrow_mut().poll_gone(&mut Poller::from_waker(&waker)) {
            Poll::Ready(()) => Pending::Broken,
            Poll::Pending => Pending::Nothing,
        }
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
