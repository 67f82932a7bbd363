//! A connection as exchanges use it: the transport itself, or TLS over it.

use std::future::{Future, ready};
use std::io;

use futures_util::future::Either;

use super::{Alarm, Buffer, Pending, Stream, Tls};

/// A transport, secured or not; who reads and writes does not see the difference.
pub enum Channel<S: Stream> {
    /// The transport as it is.
    Plain(S),
    /// TLS over the transport.
    Tls(Box<Tls<S>>),
}

impl<S: Stream> Channel<S> {
    /// Is it secured?
    pub const fn is_secure(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// The connection is about to end, and TLS does not say that all was said (RFC 8446 section 6.1).
    pub fn end_unannounced(&self) {
        if let Self::Tls(stream) = self {
            stream.keep_silent();
        }
    }
}

impl<S: Stream> Stream for Channel<S> {
    fn read(&self, into: Buffer) -> impl Future<Output = (io::Result<usize>, Buffer)> {
        match self {
            Self::Plain(stream) => Either::Left(stream.read(into)),
            Self::Tls(stream) => Either::Right(stream.read(into)),
        }
    }

    fn read_until(&self, into: Buffer, alarm: &Alarm) -> impl Future<Output = (io::Result<usize>, Buffer)> {
        match self {
            Self::Plain(stream) => Either::Left(stream.read_until(into, alarm)),
            Self::Tls(stream) => Either::Right(stream.read_until(into, alarm)),
        }
    }

    fn write(&self, from: Buffer) -> impl Future<Output = (io::Result<usize>, Buffer)> {
        match self {
            Self::Plain(stream) => Either::Left(stream.write(from)),
            Self::Tls(stream) => Either::Right(stream.write(from)),
        }
    }

    fn readable(&self) -> impl Future<Output = io::Result<()>> {
        // One future of the transport for both, because a connection that rests consists of little else.
        let waits = match self {
            Self::Plain(stream) => Some(stream),
            Self::Tls(stream) => stream.transport_unless_ready(),
        };
        match waits {
            Some(transport) => Either::Left(transport.readable()),
            None => Either::Right(ready(Ok(()))),
        }
    }

    fn try_read(&self, into: &mut Buffer) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.try_read(into),
            Self::Tls(stream) => stream.try_read(into),
        }
    }

    fn try_peek(&self, into: &mut Buffer) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.try_peek(into),
            Self::Tls(stream) => stream.try_peek(into),
        }
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.try_write(bytes),
            Self::Tls(stream) => stream.try_write(bytes),
        }
    }

    fn pending(&self) -> Pending {
        match self {
            Self::Plain(stream) => stream.pending(),
            Self::Tls(stream) => stream.pending(),
        }
    }

    fn shutdown_write(&self) {
        match self {
            Self::Plain(stream) => stream.shutdown_write(),
            Self::Tls(stream) => stream.shutdown_write(),
        }
    }

    fn reset_on_close(&self) {
        match self {
            Self::Plain(stream) => stream.reset_on_close(),
            Self::Tls(stream) => stream.reset_on_close(),
        }
    }

    fn hang_up_on_drop(&self) {
        match self {
            Self::Plain(stream) => stream.hang_up_on_drop(),
            Self::Tls(stream) => stream.hang_up_on_drop(),
        }
    }

    fn keep_alive(&self, seconds: u32) {
        match self {
            Self::Plain(stream) => stream.keep_alive(seconds),
            Self::Tls(stream) => stream.keep_alive(seconds),
        }
    }
}
