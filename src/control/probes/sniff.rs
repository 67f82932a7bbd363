//! The first bytes of an answer, kept to say what a port speaks when the parser only knows what it does not.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The first byte of a TLS record that answers what is no TLS: an alert (RFC 8446 section 5.1).
const TLS_ALERT: u8 = 21;
/// The same of a handshake.
const TLS_HANDSHAKE: u8 = 22;
/// The first byte of the version of every TLS record.
const TLS_MAJOR: u8 = 3;
/// The type of the frame with the settings (RFC 9113 section 6.5).
const SETTINGS: u8 = 4;

/// The first bytes of an answer, zeros where there are fewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::control) struct First([u8; Self::BYTES]);

impl First {
    /// As many as tell one protocol from another.
    pub(in crate::control) const BYTES: usize = 8;

    /// Those of `bytes`.
    pub(in crate::control) fn of(bytes: &[u8]) -> Self {
        let mut first = [0; Self::BYTES];
        let length = bytes.len().min(first.len());
        first[..length].copy_from_slice(&bytes[..length]);
        Self(first)
    }

    /// A TLS alert or handshake.
    pub(in crate::control) const fn is_tls(self) -> bool {
        matches!(self.0, [TLS_ALERT | TLS_HANDSHAKE, TLS_MAJOR, 0..=4, ..])
    }

    /// A status line of HTTP/1.
    pub(in crate::control) fn is_http1(self) -> bool {
        self.0.starts_with(b"HTTP/1.")
    }

    /// A SETTINGS frame of HTTP/2, which a server sends first (RFC 9113 section 3.4).
    pub(in crate::control) const fn is_http2(self) -> bool {
        matches!(self.0, [0, 0, _, SETTINGS, 0, 0, 0, 0])
    }
}

/// What was seen of a stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen(Arc<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// What the first read brought.
    first: OnceLock<First>,
    reset: AtomicBool,
}

impl Seen {
    /// Nothing came at all.
    pub(super) fn is_none(&self) -> bool {
        self.0.first.get().is_none()
    }

    fn first(&self) -> Option<First> {
        self.0.first.get().copied()
    }

    /// A TLS alert or handshake came.
    pub(super) fn is_tls(&self) -> bool {
        self.first().is_some_and(First::is_tls)
    }

    /// A status line of HTTP/1 came.
    pub(super) fn is_http1(&self) -> bool {
        self.first().is_some_and(First::is_http1)
    }

    /// A SETTINGS frame of HTTP/2 came, which a server sends first (RFC 9113 section 3.4).
    pub(super) fn is_http2(&self) -> bool {
        self.first().is_some_and(First::is_http2)
    }

    /// The other side cut the connection.
    pub(super) fn is_reset(&self) -> bool {
        self.0.reset.load(Ordering::Relaxed)
    }

    fn failed(&self, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::ConnectionReset {
            self.0.reset.store(true, Ordering::Relaxed);
        }
        error
    }

    fn on_read(&self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.0.first.get_or_init(|| First::of(bytes));
        }
    }
}

/// A stream that remembers the first bytes it reads.
#[derive(Debug)]
pub(super) struct Sniff<S> {
    stream: S,
    seen: Seen,
}

impl<S> Sniff<S> {
    /// Listens in on `stream`.
    pub(super) fn new(stream: S) -> (Self, Seen) {
        let seen = Seen::default();
        (Self { stream, seen: seen.clone() }, seen)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Sniff<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        if let Err(error) = ready!(Pin::new(&mut self.stream).poll_read(cx, into)) {
            return Poll::Ready(Err(self.seen.failed(error)));
        }
        self.seen.on_read(&into.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Sniff<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        Poll::Ready(written.map_err(|error| self.seen.failed(error)))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(reads: &[&[u8]]) -> Seen {
        let seen = Seen::default();
        reads.iter().for_each(|bytes| seen.on_read(bytes));
        seen
    }

    #[test]
    fn only_the_first_bytes_count() {
        assert!(seen(&[]).is_none() && seen(&[b""]).is_none());
        assert!(seen(&[b"", b"\x15\x03\x03\0\x02\x02\x32"]).is_tls());
        assert!(seen(&[b"\x16\x03\x01\0\x02"]).is_tls());
        assert!(!seen(&[b"HTTP/1.1 200 OK\r\n", b"\x15\x03\x03"]).is_tls());
        assert!(seen(&[b"HTTP/1.0 400 Bad Request", b"x"]).is_http1());
        assert!(seen(&[b"\0\0\x12\x04\0\0\0\0\0\0\x03"]).is_http2());
        assert!(!seen(&[b"HTTP/1.1 200 OK\r\n"]).is_http2() && !seen(&[b"\0\0\0"]).is_http2());
        assert!(!seen(&[b"\0\0\x12\x04"]).is_http1() && !seen(&[b"\x15"]).is_tls());
    }
}
