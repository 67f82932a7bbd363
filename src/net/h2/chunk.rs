//! Content on its way to the client.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Poll, Waker};

use bytes::{Buf, Bytes};

use crate::limits;
use crate::net::{Buffer, BufferPool};

/// A piece of content in the hands of `h2`.
pub(super) struct Chunk {
    content: Content,
    _place: Option<Place>,
}

enum Content {
    /// As large as it is, because many may wait.
    Small(Bytes),
    Pooled(Buffer),
}

/// From this size on, content lies in a buffer of the pool.
const POOLED_BYTES: usize = limits::BUFFER_BYTES / 4;

impl Chunk {
    /// A copy of `content`, at most [`limits::BUFFER_BYTES`] long, in the queue of a stream that has one.
    pub(super) fn new(content: &[u8], pool: &BufferPool, queue: Option<&Rc<Queue>>) -> Self {
        let content = if content.len() < POOLED_BYTES {
            Content::Small(Bytes::copy_from_slice(content))
        } else {
            let mut buffer = pool.lend();
            buffer.extend(content);
            Content::Pooled(buffer)
        };
        Self { content, _place: queue.map(Queue::place) }
    }
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        match &self.content {
            Content::Small(bytes) => bytes.len(),
            Content::Pooled(buffer) => buffer.len(),
        }
    }

    fn chunk(&self) -> &[u8] {
        match &self.content {
            Content::Small(bytes) => bytes,
            Content::Pooled(buffer) => buffer.filled(),
        }
    }

    fn advance(&mut self, count: usize) {
        match &mut self.content {
            Content::Small(bytes) => bytes.advance(count),
            Content::Pooled(buffer) => buffer.consume(count),
        }
    }
}

/// The chunks of one stream that have not gone yet: flow control bounds their bytes, and this their number.
#[derive(Default)]
pub(super) struct Queue {
    length: Cell<usize>,
    waiting: RefCell<Option<Waker>>,
}

/// Chunks of one stream that may wait.
const CHUNKS: usize = 16;

struct Place(Rc<Queue>);

impl Queue {
    /// Ready when there is room for a chunk; otherwise the task is woken when there is.
    pub(super) fn poll_room(&self, waker: &Waker) -> Poll<()> {
        if self.length.get() < CHUNKS {
            return Poll::Ready(());
        }
        *self.waiting.borrow_mut() = Some(waker.clone());
        Poll::Pending
    }

    /// Does no chunk wait?
    pub(super) fn is_empty(&self) -> bool {
        self.length.get() == 0
    }

    fn place(self: &Rc<Self>) -> Place {
        self.length.set(self.length.get() + 1);
        Place(Rc::clone(self))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.length.set(self.0.length.get() - 1);
        if let Some(waker) = self.0.waiting.borrow_mut().take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_given_as_it_was_taken_whatever_its_size() {
        let (pool, queue) = (BufferPool::new(), Rc::new(Queue::default()));
        for length in [1, POOLED_BYTES - 1, POOLED_BYTES, limits::BUFFER_BYTES] {
            let content: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).expect("small")).collect();
            let mut chunk = Chunk::new(&content, &pool, Some(&queue));
            chunk.advance(1);
            assert_eq!((chunk.remaining(), chunk.chunk()), (length - 1, &content[1..]));
        }
        assert_eq!(pool.lent(), 0);
    }

    #[test]
    fn a_stream_keeps_so_many_chunks_and_no_more() {
        let (pool, queue) = (BufferPool::new(), Rc::new(Queue::default()));
        let mut chunks: Vec<_> = (0..CHUNKS).map(|_| Chunk::new(b"x", &pool, Some(&queue))).collect();
        assert!(queue.poll_room(Waker::noop()).is_pending());
        drop(chunks.pop());
        assert!(queue.poll_room(Waker::noop()).is_ready());
    }
}
