//! The one seam of the request path: what an exchange asks of the world.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use super::{Alarm, Buffer};

/// The world of one worker: time, connections and tasks.
///
/// Implemented on monoio by [`super::Reactor`] and on a seeded executor with virtual time by the
/// simulation in the tests.
pub trait Env: Clone + 'static {
    /// A connected byte stream.
    type Stream: Stream;

    /// Monotonic nanoseconds since the process started.
    fn now_ns(&self) -> u64;

    /// Opens a connection; the caller bounds it in time and may drop the future at any point.
    fn connect(&self, address: SocketAddr) -> impl Future<Output = io::Result<Self::Stream>>;

    /// Completes after `ms` milliseconds.
    fn sleep_ms(&self, ms: u64) -> impl Future<Output = ()>;

    /// Runs a task on this worker.
    fn spawn(&self, task: impl Future<Output = ()> + 'static);
}

/// What waits to be read on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// Nothing yet.
    Nothing,
    /// Bytes.
    Bytes,
    /// The end of the peer's direction; the peer may still read.
    End,
    /// An error: the connection is gone both ways.
    Broken,
}

/// A connected byte stream whose two directions may be used at once.
///
/// Every operation owns its buffer until it completes. Dropping a read or a write in flight loses
/// what it moved: only a connection that is about to be closed may do so.
pub trait Stream: 'static {
    /// Reads once, behind the filled part of `into`; zero is the peer's end of stream.
    fn read(&self, into: Buffer) -> impl Future<Output = (io::Result<usize>, Buffer)>;

    /// Reads once like [`Stream::read`], but gives up without losing a byte when `alarm` fires:
    /// the error is then of kind [`io::ErrorKind::Interrupted`].
    fn read_until(&self, into: Buffer, alarm: &Alarm) -> impl Future<Output = (io::Result<usize>, Buffer)>;

    /// Writes once from the front of `from`; the bytes written are not consumed.
    fn write(&self, from: Buffer) -> impl Future<Output = (io::Result<usize>, Buffer)>;

    /// Completes when a read would not block. May be dropped at any point.
    fn readable(&self) -> impl Future<Output = io::Result<()>>;

    /// Reads what is there, behind the filled part of `into`; zero is the peer's end of stream. No read may be in flight.
    ///
    /// # Errors
    /// Of kind [`io::ErrorKind::WouldBlock`] when nothing is there, or the transport's own.
    fn try_read(&self, into: &mut Buffer) -> io::Result<usize>;

    /// Writes what the transport takes at once. No write may be in flight.
    ///
    /// # Errors
    /// Of kind [`io::ErrorKind::WouldBlock`] when it takes nothing, or the transport's own.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// What would a read find right now? Does not block and takes nothing.
    fn pending(&self) -> Pending;

    /// Grows as the peer takes of what is written, also of a write that has not completed; `None` when that is not known, or
    /// nothing that was written waits for the peer.
    fn taken(&self) -> Option<u64> {
        None
    }

    /// Our own address of this connection; `None` when that is not known.
    fn local(&self) -> Option<SocketAddr> {
        None
    }

    /// Ends our direction; the peer sees the end of stream.
    fn shutdown_write(&self);

    /// Makes the coming close a reset, so that the peer cannot take what it has for a complete message.
    fn reset_on_close(&self);

    /// Makes the drop end both directions for the peer as well before it returns: only the network may delay that, no
    /// operation in flight here, and no byte that the peer does not take.
    fn hang_up_on_drop(&self);

    /// Sets the keep-alive probe interval of the transport, in seconds.
    fn keep_alive(&self, seconds: u32);
}
