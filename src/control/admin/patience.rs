//! Peers of the admin server that take nothing of their answers: they are waited for, and not for ever, nor when there are
//! too many.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{self, Sleep};

use super::seats::{Seat, Seats, Sitter};

/// Longest wait for a peer to take a byte.
const PATIENCE: Duration = Duration::from_secs(10);

/// A listener whose connections end with an error when their peers take nothing for [`PATIENCE`], or others need their seats.
pub(super) struct Patient<L> {
    listener: L,
    seats: Seats,
}

impl<L> Patient<L> {
    /// As many of `listener` as there are seats.
    pub(super) const fn new(listener: L, seats: Seats) -> Self {
        Self { listener, seats }
    }
}

/// Such a connection.
pub(super) struct Waiting<S> {
    stream: S,
    seat: Seat,
    /// Since a write or a flush did not go on.
    since: Option<Pin<Box<Sleep>>>,
}

impl<L: Listener> Listener for Patient<L> {
    type Io = Waiting<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, peer) = self.listener.accept().await;
        (Waiting { stream, seat: self.seats.take(), since: None }, peer)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

impl<L: Listener> Connected<IncomingStream<'_, Patient<L>>> for Sitter {
    fn connect_info(stream: IncomingStream<'_, Patient<L>>) -> Self {
        stream.io().seat.sitter()
    }
}

impl<S: AsyncWrite + Unpin> Waiting<S> {
    /// The outcome of an attempt, or an error when the wait has been too long.
    fn bounded<T>(
        &mut self,
        cx: &mut Context<'_>,
        attempt: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.seat.is_kept(cx)?;
        if let Poll::Ready(outcome) = attempt(Pin::new(&mut self.stream), cx) {
            self.since = None;
            self.seat.on_moved();
            return Poll::Ready(outcome);
        }
        let since = self.since.get_or_insert_with(|| Box::pin(time::sleep(PATIENCE)));
        ready!(since.as_mut().poll(cx));
        self.seat.on_given_up();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Waiting<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.seat.is_kept(cx)?;
        let before = into.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, into));
        if into.filled().len() > before {
            self.seat.on_moved();
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Waiting<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.bounded(cx, |stream, cx| stream.poll_write(cx, from))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.bounded(cx, |stream, cx| stream.poll_write_vectored(cx, from))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.bounded(cx, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.bounded(cx, |stream, cx| stream.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::limits::ADMIN_CONNECTIONS;

    fn pair() -> (Waiting<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (ours, theirs) = duplex(64);
        (Waiting { stream: ours, seat: Seats::new(Arc::default()).take(), since: None }, theirs)
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_given_up_in_time() {
        let (mut ours, _theirs) = pair();
        let began = Instant::now();
        let error = ours.write_all(&[0; 65]).await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed().as_secs()), (io::ErrorKind::TimedOut, PATIENCE.as_secs()));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_a_byte_is_told_that_its_seat_is_taken() {
        let (ours, _theirs) = duplex(64);
        let mut seats = Seats::new(Arc::default());
        let mut waiting = Waiting { stream: ours, seat: seats.take(), since: None };
        let taking = async {
            time::sleep(PATIENCE).await;
            (0..ADMIN_CONNECTIONS).map(|_| seats.take()).collect::<Vec<_>>()
        };
        let (read, _others) = tokio::join!(waiting.read_u8(), taking);
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(waiting.write_u8(0).await.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_sends_something_is_not_the_next_to_lose_its_seat() {
        let mut seats = Seats::new(Arc::default());
        let (mut near, mut far): (Vec<_>, Vec<_>) = (0..ADMIN_CONNECTIONS)
            .map(|_| duplex(64))
            .map(|(ours, theirs)| (Waiting { stream: ours, seat: seats.take(), since: None }, theirs))
            .unzip();
        far[0].write_u8(b'x').await.unwrap();
        assert_eq!(near[0].read_u8().await.unwrap(), b'x');
        let _one_more = seats.take();
        near[0].write_u8(b'y').await.expect("it has its seat");
        assert_eq!(near[1].write_u8(b'y').await.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_peer_is_waited_for_as_long_as_it_takes_something() {
        let (mut ours, mut theirs) = pair();
        let reading = async {
            for _ in 0..8 {
                time::sleep(PATIENCE / 2).await;
                theirs.read_exact(&mut [0; 32]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(timeout(PATIENCE * 9, ours.write_all(&[0; 256])), reading);
        written.expect("in time").expect("taken");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_says_nothing_is_not_hurried() {
        let (mut ours, mut theirs) = pair();
        let saying = async {
            time::sleep(PATIENCE * 3).await;
            theirs.write_all(b"x").await.unwrap();
        };
        let (read, ()) = tokio::join!(ours.read_u8(), saying);
        assert_eq!(read.unwrap(), b'x');
    }
}
