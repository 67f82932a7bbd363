//! Buffers that travel to the kernel and back, and the pool of one worker.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::limits;

/// The buffers of one worker: lent, returned by drop, reused.
///
/// A buffer finds its way home whatever happens to the operation that held it: monoio keeps a
/// cancelled operation's buffer until the kernel is done with it and drops it then.
#[derive(Clone)]
pub struct BufferPool {
    inner: Rc<Shelves>,
}

struct Shelves {
    small: RefCell<Vec<Vec<u8>>>,
    large: RefCell<Vec<Vec<u8>>>,
    lent: Cell<usize>,
    lent_large: Cell<usize>,
}

impl BufferPool {
    /// An empty pool.
    #[must_use]
    pub fn new() -> Self {
        Self {
            inner: Rc::new(Shelves {
                small: RefCell::new(Vec::with_capacity(limits::BUFFERS_KEPT)),
                large: RefCell::new(Vec::with_capacity(limits::BODY_BUFFERS_KEPT)),
                lent: Cell::new(0),
                lent_large: Cell::new(0),
            }),
        }
    }

    /// Lends an empty buffer of [`limits::BUFFER_BYTES`].
    #[must_use]
    pub fn lend(&self) -> Buffer {
        let bytes = self.inner.small.borrow_mut().pop();
        let bytes = bytes.unwrap_or_else(|| Vec::with_capacity(limits::BUFFER_BYTES));
        self.wrap(bytes)
    }

    /// Lends an empty buffer of [`limits::BODY_BUFFER_BYTES`], or none when enough are out.
    #[must_use]
    pub fn try_lend_large(&self) -> Option<Buffer> {
        if self.inner.lent_large.get() >= limits::BODY_BUFFERS_PER_WORKER {
            return None;
        }
        let bytes = self.inner.large.borrow_mut().pop();
        let bytes = bytes.unwrap_or_else(|| Vec::with_capacity(limits::BODY_BUFFER_BYTES));
        self.inner.lent_large.set(self.inner.lent_large.get() + 1);
        let mut buffer = self.wrap(bytes);
        buffer.large = true;
        Some(buffer)
    }

    /// Buffers lent and not yet returned.
    #[must_use]
    pub fn lent(&self) -> usize {
        self.inner.lent.get()
    }

    fn wrap(&self, bytes: Vec<u8>) -> Buffer {
        self.inner.lent.set(self.inner.lent.get() + 1);
        Buffer { bytes, start: 0, stop: usize::MAX, tailroom: 0, large: false, home: Rc::clone(&self.inner) }
    }
}

impl Default for BufferPool {
    fn default() -> Self {
        Self::new()
    }
}

/// Bytes with free room before and behind them.
///
/// Reads append behind the filled part; writes take from its front, up to the limit that
/// [`Buffer::limit_write`] set.
pub struct Buffer {
    pub(super) bytes: Vec<u8>,
    pub(super) start: usize,
    pub(super) stop: usize,
    tailroom: usize,
    large: bool,
    home: Rc<Shelves>,
}

impl Buffer {
    /// The bytes that were read or written and not yet consumed.
    #[must_use]
    pub fn filled(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// The same, to decode in place.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }

    /// Number of filled bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Is nothing filled?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Free bytes behind the filled ones that a read may fill.
    #[must_use]
    pub fn spare(&self) -> usize {
        (self.bytes.capacity() - self.bytes.len()).saturating_sub(self.tailroom)
    }

    /// Drops `count` bytes from the front; they become headroom.
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.len(), "consumed {count} of {} bytes", self.len());
        self.start += count;
    }

    /// Cuts the filled part to `count` bytes.
    pub fn truncate(&mut self, count: usize) {
        self.bytes.truncate(self.start + count);
    }

    /// Empties the buffer and leaves free bytes before what comes next, and behind what a read may fill.
    pub fn rewind(&mut self, headroom: usize, tailroom: usize) {
        self.bytes.clear();
        self.bytes.resize(headroom, 0);
        self.start = headroom;
        self.stop = usize::MAX;
        self.tailroom = tailroom;
    }

    /// Puts `front` right before the filled bytes when the headroom allows.
    pub fn try_prepend(&mut self, front: &[u8]) -> bool {
        if front.len() > self.start {
            return false;
        }
        self.start -= front.len();
        self.bytes[self.start..self.start + front.len()].copy_from_slice(front);
        true
    }

    /// Makes room for at least `count` more bytes: by moving the filled part to the front, then by growing.
    pub fn reserve(&mut self, count: usize) {
        if self.spare() >= count {
            return;
        }
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        if self.spare() < count {
            self.bytes.reserve_exact(self.tailroom + count.max(self.bytes.capacity()));
        }
    }

    /// Appends to the filled part.
    pub fn extend(&mut self, more: &[u8]) {
        self.bytes.extend_from_slice(more);
    }

    /// The vector behind the buffer, for encoders that append to it.
    pub fn sink(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Lets the next write take only the first `count` filled bytes.
    pub fn limit_write(&mut self, count: usize) {
        self.stop = self.start + count;
    }

    /// Number of bytes the next write may take.
    #[must_use]
    pub fn writable(&self) -> usize {
        self.stop.min(self.bytes.len()).saturating_sub(self.start)
    }

    /// Was it lent as a large one?
    #[must_use]
    pub fn is_large(&self) -> bool {
        self.large
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        let home = &self.home;
        home.lent.set(home.lent.get() - 1);
        let (shelf, kept, size) = if self.large {
            home.lent_large.set(home.lent_large.get() - 1);
            (&home.large, limits::BODY_BUFFERS_KEPT, limits::BODY_BUFFER_BYTES)
        } else {
            (&home.small, limits::BUFFERS_KEPT, limits::BUFFER_BYTES)
        };
        let mut shelf = shelf.borrow_mut();
        // A buffer that grew for one large head must not stay large for ever.
        if shelf.len() < kept && bytes.capacity() <= size * 2 {
            shelf.push(bytes);
        }
    }
}

// SAFETY: the pointer covers the initialised bytes from `start` to the write limit and stays valid
// while the buffer is owned by the operation: the vector is not touched until it comes back.
unsafe impl monoio::buf::IoBuf for Buffer {
    fn read_ptr(&self) -> *const u8 {
        self.bytes[self.start..].as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.writable()
    }
}

// SAFETY: the pointer and the count describe the spare capacity behind the vector's length, and
// `set_init` makes the length cover exactly what the kernel wrote there.
unsafe impl monoio::buf::IoBufMut for Buffer {
    fn write_ptr(&mut self) -> *mut u8 {
        self.bytes.spare_capacity_mut().as_mut_ptr().cast()
    }

    fn bytes_total(&mut self) -> usize {
        self.spare()
    }

    unsafe fn set_init(&mut self, count: usize) {
        let filled = self.bytes.len() + count;
        assert!(filled <= self.bytes.capacity(), "the kernel wrote past the buffer");
        // SAFETY: the kernel initialised `count` bytes behind the length, within the capacity.
        unsafe { self.bytes.set_len(filled) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_lent_again() {
        let pool = BufferPool::new();
        let buffer = pool.lend();
        let address = buffer.bytes.as_ptr();
        drop(buffer);
        assert_eq!(pool.lent(), 0);
        assert_eq!(pool.lend().bytes.as_ptr(), address);
    }

    #[test]
    fn what_is_consumed_becomes_headroom() {
        let pool = BufferPool::new();
        let mut buffer = pool.lend();
        buffer.extend(b"head body");
        buffer.consume(5);
        assert!(!buffer.try_prepend(b"too long"));
        assert!(buffer.try_prepend(b"HEAD "));
        assert_eq!(buffer.filled(), b"HEAD body");
    }

    #[test]
    fn reserve_moves_before_it_grows() {
        let pool = BufferPool::new();
        let mut buffer = pool.lend();
        buffer.rewind(limits::BUFFER_BYTES - 4, 0);
        buffer.extend(b"abcd");
        buffer.reserve(limits::BUFFER_BYTES - 4);
        assert_eq!(buffer.filled(), b"abcd");
        assert_eq!(buffer.spare(), limits::BUFFER_BYTES - 4);
        buffer.reserve(limits::BUFFER_BYTES);
        assert!(buffer.spare() >= limits::BUFFER_BYTES);
        assert_eq!(buffer.filled(), b"abcd");
    }

    #[test]
    fn a_read_leaves_the_tailroom_free() {
        let pool = BufferPool::new();
        let mut buffer = pool.lend();
        buffer.rewind(100, 8);
        assert_eq!(buffer.spare(), limits::BUFFER_BYTES - 108);
        buffer.extend(&vec![0; buffer.spare()]);
        assert_eq!(buffer.spare(), 0);
        buffer.extend(b"8 bytes.");
        assert_eq!(buffer.sink().capacity(), limits::BUFFER_BYTES);
    }

    #[test]
    fn a_write_takes_no_more_than_its_limit() {
        let pool = BufferPool::new();
        let mut buffer = pool.lend();
        buffer.extend(b"0123456789");
        buffer.limit_write(4);
        assert_eq!(buffer.writable(), 4);
        buffer.consume(4);
        assert_eq!(buffer.writable(), 0);
        assert_eq!(buffer.filled(), b"456789");
    }

    #[test]
    fn large_buffers_are_bounded() {
        let pool = BufferPool::new();
        let lent: Vec<_> = std::iter::from_fn(|| pool.try_lend_large()).take(10_000).collect();
        assert_eq!(lent.len(), limits::BODY_BUFFERS_PER_WORKER);
        drop(lent);
        assert!(pool.try_lend_large().is_some_and(|buffer| buffer.is_large()));
    }
}
