//! What streams of HTTP/2 have in common: `h2` is polled, and an operation of ours owns its buffer until it completes.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context as Poller, Poll, Waker};

use crate::net::{Alarm, Buffer};

/// A stream whose operations all belong to one task.
pub(super) trait Polled {
    /// That task.
    fn task(&self) -> &Task;

    /// Reads once, behind the filled part of `into`; zero is the end.
    fn poll_read(&self, poller: &mut Poller<'_>, into: &mut Buffer) -> Poll<io::Result<usize>>;

    /// Writes once from the front of `bytes`.
    fn poll_write(&self, poller: &mut Poller<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;
}

/// The task that uses a stream, as far as it is known.
pub(super) struct Task(RefCell<Waker>);

impl Default for Task {
    fn default() -> Self {
        Self(RefCell::new(Waker::noop().clone()))
    }
}

impl Task {
    /// Remembers whom to wake: looks without a waker must not take the place of one that waits.
    pub(super) fn note(&self, poller: &Poller<'_>) {
        if !self.0.borrow().will_wake(poller.waker()) {
            self.0.replace(poller.waker().clone());
        }
    }

    /// What `poll` gives now; the task is woken as if it had polled itself.
    pub(super) fn look<T>(&self, poll: impl FnOnce(&mut Poller<'_>) -> Poll<T>) -> Poll<T> {
        let waker = self.0.borrow().clone();
        poll(&mut Poller::from_waker(&waker))
    }
}

/// A read or a write with the buffer that it owns.
pub(super) struct Operation<'a, P> {
    stream: &'a P,
    buffer: Option<Buffer>,
    is_read: bool,
}

/// Reads once.
pub(super) const fn read<P: Polled>(stream: &P, into: Buffer) -> Operation<'_, P> {
    Operation { stream, buffer: Some(into), is_read: true }
}

/// Writes once.
pub(super) const fn write<P: Polled>(stream: &P, from: Buffer) -> Operation<'_, P> {
    Operation { stream, buffer: Some(from), is_read: false }
}

/// Reads once, but gives up when `alarm` fires, without losing a byte.
pub(super) async fn read_until<P: Polled>(stream: &P, into: Buffer, alarm: &Alarm) -> (io::Result<usize>, Buffer) {
    let mut operation = read(stream, into);
    match alarm.race(Pin::new(&mut operation)).await {
        Ok(completed) => completed,
        // Whatever has come is still there.
        Err(_) => {
            let into = operation.buffer.take().expect("it has not completed");
            (Err(io::ErrorKind::Interrupted.into()), into)
        }
    }
}

/// Reads what is there.
pub(super) fn try_read<P: Polled>(stream: &P, into: &mut Buffer) -> io::Result<usize> {
    at_once(stream.task().look(|poller| stream.poll_read(poller, into)))
}

/// Writes what there is room for.
pub(super) fn try_write<P: Polled>(stream: &P, bytes: &[u8]) -> io::Result<usize> {
    at_once(stream.task().look(|poller| stream.poll_write(poller, bytes)))
}

fn at_once(polled: Poll<io::Result<usize>>) -> io::Result<usize> {
    match polled {
        Poll::Ready(completed) => completed,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl<P: Polled> Future for Operation<'_, P> {
    type Output = (io::Result<usize>, Buffer);

    fn poll(mut self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<Self::Output> {
        let stream = self.stream;
        stream.task().note(poller);
        let is_read = self.is_read;
        let buffer = self.buffer.as_mut().expect("polled until it completes");
        let polled =
            if is_read { stream.poll_read(poller, buffer) } else { stream.poll_write(poller, buffer.filled()) };
        polled.map(|completed| (completed, self.buffer.take().expect("polled until it completes")))
    }
}
