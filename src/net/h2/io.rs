//! The channel as `h2` wants it: the traits of tokio, of which nothing else is used here.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Poller, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::wire::Wire;

/// `h2`'s end of a wire.
pub(super) struct Io(pub(super) Rc<Wire>);

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, poller: &mut Poller<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.poll_take(poller, |received| {
            let count = received.len().min(into.remaining());
            into.put_slice(&received[..count]);
            count
        })
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, poller: &mut Poller<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_put(poller, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        poller: &mut Poller<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut total = 0;
        for slice in slices {
            match self.0.poll_put(poller, slice) {
                Poll::Ready(Ok(count)) => {
                    total += count;
                    if count < slice.len() {
                        break;
                    }
                }
                Poll::Pending if total == 0 => return Poll::Pending,
                Poll::Ready(Err(error)) if total == 0 => return Poll::Ready(Err(error)),
                // What was taken has to be told; the rest of it comes again.
                Poll::Pending | Poll::Ready(Err(_)) => break,
            }
        }
        Poll::Ready(Ok(total))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// `h2` flushes behind every large frame; what it wrote goes when it has no more to write.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Poller<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<io::Result<()>> {
        ready!(self.0.poll_send(poller))?;
        Poll::Ready(Ok(()))
    }
}
