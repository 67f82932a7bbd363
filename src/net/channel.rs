//! A connection as exchanges use it: the transport itself, or TLS over it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context as Poller, Poll};

use futures_util::future::Either;

use super::{Alarm, Buffer, ClientStream, Pending, ServerStream, Stream, StreamFault, Tls};
use crate::http1::ClientCertificate;

/// A transport, secured or not, or a stream of HTTP/2; who reads and writes does not see the difference.
pub enum Channel<S: Stream> {
    /// The transport as it is.
    Plain(S),
    /// TLS over the transport.
    Tls(Box<Tls<S>>),
    /// One stream of a connection of HTTP/2, as the server.
    H2(Box<ServerStream>),
    /// One stream of a connection of HTTP/2, as the client.
    H2Client(Box<ClientStream>),
}

impl<S: Stream> Channel<S> {
    /// Is it secured?
    pub fn is_secure(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(_) => true,
            Self::H2(stream) => stream.is_secure(),
            Self::H2Client(stream) => stream.is_secure(),
        }
    }

    /// Is HTTP/2 what both sides agreed on when it was secured (RFC 9113 section 3.2)?
    pub fn agreed_on_h2(&self) -> bool {
        matches!(self, Self::Tls(stream) if stream.agreed_on_h2())
    }

    /// What the peer's certificate says of it, where it showed one: never for one stream of HTTP/2.
    pub fn certificate(&self) -> Option<&ClientCertificate> {
        match self {
            Self::Tls(stream) => stream.certificate(),
            Self::Plain(_) | Self::H2(_) | Self::H2Client(_) => None,
        }
    }

    /// Is it a stream of HTTP/2 that a client opened?
    pub const fn is_h2(&self) -> bool {
        matches!(self, Self::H2(_))
    }

    /// Nobody wants to know what still comes: it is read to be dropped.
    pub fn stop_listening(&self) {
        if let Self::Tls(stream) = self {
            stream.stop_listening();
        }
    }

    /// The connection is about to end in order: with TLS the peer is told, which may take until it reads.
    pub async fn announce_end(&self) {
        if let Self::Tls(stream) = self {
            stream.announce_end().await;
        }
    }

    /// May it be used again when its exchange is over? A stream may not.
    pub const fn is_reusable(&self) -> bool {
        matches!(self, Self::Plain(_) | Self::Tls(_))
    }

    /// Why a stream to an endpoint has no response, where there is more to say than that it has none.
    pub fn fault(&self) -> Option<StreamFault> {
        if let Self::H2Client(stream) = self { stream.fault() } else { None }
    }

    /// Appends the lines of trailers that came behind a body with a length, once the last byte of it was read: of a stream of
    /// HTTP/2, where they may (RFC 9113 section 8.1).
    pub fn append_trailers(&self, into: &mut Vec<u8>) {
        match self {
            Self::Plain(_) | Self::Tls(_) => {}
            Self::H2(stream) => stream.append_trailers(into),
            Self::H2Client(stream) => stream.append_trailers(into),
        }
    }

    /// Trailers that are to follow a body with a length, line by line; before the last byte of it is written. HTTP/1.1 has no
    /// place for them, and there they are left out (RFC 9110 section 6.5).
    pub fn put_trailers(&self, lines: &[u8]) {
        match self {
            Self::Plain(_) | Self::Tls(_) => {}
            Self::H2(stream) => stream.put_trailers(lines),
            Self::H2Client(stream) => stream.put_trailers(lines),
        }
    }

    /// The connection is about to end, and TLS does not say that all was said (RFC 8446 section 6.1).
    pub fn end_unannounced(&self) {
        if let Self::Tls(stream) = self {
            stream.keep_silent();
        }
    }
}

/// Completes when a stream is readable, at once without one.
enum Gone<'a> {
    Now,
    Server(&'a ServerStream),
    Client(&'a ClientStream),
}

impl Future for Gone<'_> {
    type Output = io::Result<()>;

    fn poll(self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<Self::Output> {
        match *self {
            Self::Now => Poll::Ready(Ok(())),
            Self::Server(stream) => stream.poll_readable(poller).map(Ok),
            Self::Client(stream) => stream.poll_readable(poller).map(Ok),
        }
    }
}

impl<S: Stream> Stream for Channel<S> {
    fn read(&self, into: Buffer) -> impl Future<Output = (io::Result<usize>, Buffer)> {
        match self {
            Self::Plain(stream) => Either::Left(stream.read(into)),
            Self::Tls(stream) => Either::Right(Either::Left(stream.read(into))),
            Self::H2(stream) => Either::Right(Either::Right(Either::Left(stream.read(into)))),
            Self::H2Client(stream) => Either::Right(Either::Right(Either::Right(stream.read(into)))),
        }
    }

    fn read_until(&self, into: Buffer, alarm: &Alarm) -> impl Future<Output = (io::Result<usize>, Buffer)> {
        match self {
            Self::Plain(stream) => Either::Left(stream.read_until(into, alarm)),
            Self::Tls(stream) => Either::Right(Either::Left(stream.read_until(into, alarm))),
            Self::H2(stream) => Either::Right(Either::Right(Either::Left(stream.read_until(into, alarm)))),
            Self::H2Client(stream) => Either::Right(Either::Right(Either::Right(stream.read_until(into, alarm)))),
        }
    }

    fn write(&self, from: Buffer) -> impl Future<Output = (io::Result<usize>, Buffer)> {
        match self {
            Self::Plain(stream) => Either::Left(stream.write(from)),
            Self::Tls(stream) => Either::Right(Either::Left(stream.write(from))),
            Self::H2(stream) => Either::Right(Either::Right(Either::Left(stream.write(from)))),
            Self::H2Client(stream) => Either::Right(Either::Right(Either::Right(stream.write(from)))),
        }
    }

    fn readable(&self) -> impl Future<Output = io::Result<()>> {
        // One future of the transport for both, because a connection that rests consists of little else.
        match self {
            Self::Plain(stream) => Either::Left(stream.readable()),
            Self::Tls(stream) => match stream.transport_unless_ready() {
                Some(transport) => Either::Left(transport.readable()),
                None => Either::Right(Gone::Now),
            },
            Self::H2(stream) => Either::Right(Gone::Server(stream)),
            Self::H2Client(stream) => Either::Right(Gone::Client(stream)),
        }
    }

    fn try_read(&self, into: &mut Buffer) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.try_read(into),
            Self::Tls(stream) => stream.try_read(into),
            Self::H2(stream) => stream.try_read(into),
            Self::H2Client(stream) => stream.try_read(into),
        }
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.try_write(bytes),
            Self::Tls(stream) => stream.try_write(bytes),
            Self::H2(stream) => stream.try_write(bytes),
            Self::H2Client(stream) => stream.try_write(bytes),
        }
    }

    fn pending(&self) -> Pending {
        match self {
            Self::Plain(stream) => stream.pending(),
            Self::Tls(stream) => stream.pending(),
            Self::H2(stream) => stream.pending(),
            Self::H2Client(stream) => stream.pending(),
        }
    }

    fn taken(&self) -> Option<u64> {
        match self {
            Self::Plain(stream) => stream.taken(),
            Self::Tls(stream) => stream.taken(),
            Self::H2(stream) => stream.taken(),
            Self::H2Client(stream) => stream.taken(),
        }
    }

    fn local(&self) -> Option<SocketAddr> {
        match self {
            Self::Plain(stream) => stream.local(),
            Self::Tls(stream) => stream.local(),
            Self::H2(stream) => stream.local(),
            Self::H2Client(stream) => stream.local(),
        }
    }

    fn shutdown_write(&self) {
        match self {
            Self::Plain(stream) => stream.shutdown_write(),
            Self::Tls(stream) => stream.shutdown_write(),
            Self::H2(stream) => stream.shutdown_write(),
            Self::H2Client(stream) => stream.shutdown_write(),
        }
    }

    fn reset_on_close(&self) {
        match self {
            Self::Plain(stream) => stream.reset_on_close(),
            Self::Tls(stream) => stream.reset_on_close(),
            Self::H2(stream) => stream.reset_on_close(),
            Self::H2Client(stream) => stream.reset_on_close(),
        }
    }

    fn hang_up_on_drop(&self) {
        match self {
            Self::Plain(stream) => stream.hang_up_on_drop(),
            Self::Tls(stream) => stream.hang_up_on_drop(),
            Self::H2(stream) => stream.hang_up_on_drop(),
            Self::H2Client(stream) => stream.hang_up_on_drop(),
        }
    }

    fn keep_alive(&self, seconds: u32) {
        match self {
            Self::Plain(stream) => stream.keep_alive(seconds),
            Self::Tls(stream) => stream.keep_alive(seconds),
            Self::H2(stream) => stream.keep_alive(seconds),
            Self::H2Client(stream) => stream.keep_alive(seconds),
        }
    }
}
