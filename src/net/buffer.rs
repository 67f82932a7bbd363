//! Buffers that travel to the kernel and back, and the pool of one worker.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
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

#[derive(Default)]
struct Shelves {
    small: Shelf,
    large: Shelf,
    /// Buffers of both sizes that are out.
    lent: Cell<usize>,
    lent_large: Cell<usize>,
    /// Most that were out since the last trim but one: so many may be needed again at once.
    most: Cell<usize>,
    most_before: Cell<usize>,
    /// Small buffers that were made, for their colours.
    made: Cell<usize>,
    /// Are no large ones to be had, because memory is short?
    short: Cell<bool>,
}

/// Buffers of one size that nobody has.
#[derive(Default)]
struct Shelf {
    #[expect(clippy::vec_box, reason = "a buffer moves on and off its shelf as one pointer")]
    bodies: RefCell<Vec<Box<Body>>>,
    /// Fewest of them since the last trim: nobody needed those.
    fewest: Cell<usize>,
}

impl Shelf {
    fn take(&self) -> Option<Box<Body>> {
        let mut bodies = self.bodies.borrow_mut();
        let body = bodies.pop();
        self.fewest.set(self.fewest.get().min(bodies.len()));
        body
    }

    /// Frees half of those that nobody needed since the last trim, and all beyond `most`.
    fn trim(&self, most: usize) {
        let mut bodies = self.bodies.borrow_mut();
        let kept = bodies.len() - self.fewest.get().div_ceil(2).min(bodies.len());
        let kept = kept.min(most);
        bodies.truncate(kept);
        self.fewest.set(kept);
    }
}

impl Shelves {
    /// Small buffers that are worth keeping. A burst that needs more than usual comes again within moments, and to map them
    /// anew each time would cost more than all else that is done with them.
    fn worth_keeping(&self) -> usize {
        limits::BUFFERS_KEPT.max(self.most.get()).max(self.most_before.get())
    }

    /// Each begins elsewhere in its page: most of them hold little more than a head, and all heads at the front of a page
    /// would share a small part of the processor's cache (cache colouring, Bonwick 1994 section 4.1).
    fn new_small(&self) -> Box<Body> {
        let made = self.made.replace(self.made.get() + 1);
        Body::new(limits::BUFFER_BYTES, made % COLOURS * COLOUR_BYTES, false)
    }
}

/// So many places in a page, this many bytes apart, for a buffer to begin at; a mapping has at least a page more than a buffer
/// needs, and the head fits behind the last of them.
const COLOURS: usize = 16;
const COLOUR_BYTES: usize = 192;
const _: () = assert!(COLOURS * COLOUR_BYTES < 4096 && limits::BUFFER_BYTES.is_multiple_of(4096));

impl BufferPool {
    /// An empty pool.
    #[must_use]
    pub fn new() -> Self {
        Self { inner: Rc::default() }
    }

    /// Lends an empty buffer of [`limits::BUFFER_BYTES`].
    #[must_use]
    pub fn lend(&self) -> Buffer {
        let body = self.inner.small.take();
        self.wrap(body.unwrap_or_else(|| self.inner.new_small()))
    }

    /// Lends no large buffers from now on, or does again.
    pub fn set_short(&self, is_short: bool) {
        self.inner.short.set(is_short);
    }

    /// Are no large ones lent?
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.inner.short.get()
    }

    /// Lends an empty buffer of [`limits::BODY_BUFFER_BYTES`], or none when enough are out or memory is short.
    #[must_use]
    pub fn try_lend_large(&self) -> Option<Buffer> {
        if self.inner.lent_large.get() >= limits::BODY_BUFFERS_PER_WORKER || self.inner.short.get() {
            return None;
        }
        let body = self.inner.large.take();
        self.inner.lent_large.set(self.inner.lent_large.get() + 1);
        Some(
            self.wrap(
                body.unwrap_or_else(|| Body::new(limits::BODY_BUFFER_BYTES + limits::BODY_BUFFER_SLACK, 0, true)),
            ),
        )
    }

    /// Buffers lent and not yet returned.
    #[must_use]
    pub fn lent(&self) -> usize {
        self.inner.lent.get()
    }

    /// Frees half of the buffers of each size that nobody needed since the last trim, and what is beyond a burst that is over; all
    /// that nobody has while memory is short.
    pub fn trim(&self) {
        self.inner.most_before.set(self.inner.most.replace(self.inner.lent.get()));
        let most = |most: usize| if self.is_short() { 0 } else { most };
        self.inner.small.trim(most(self.inner.worth_keeping()));
        self.inner.large.trim(most(limits::BODY_BUFFERS_KEPT));
    }

    fn wrap(&self, mut body: Box<Body>) -> Buffer {
        let lent = self.inner.lent.get() + 1;
        self.inner.lent.set(lent);
        self.inner.most.set(self.inner.most.get().max(lent));
        body.home = Some(Rc::clone(&self.inner));
        Buffer { body: ManuallyDrop::new(body) }
    }
}

/// Makes the C library map every buffer on its own, so that a freed one goes back to the system at once instead of
/// leaving a hole in the heap; call it once, before the workers start.
pub fn map_buffers_apart() {
    let threshold = i32::try_from(limits::BUFFER_BYTES).expect("a buffer is small");
    // SAFETY: mallopt changes a parameter of the allocator and touches no memory of ours.
    let accepted = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, threshold) };
    // Refused, it would only leave freed buffers in the heap for longer.
    debug_assert_eq!(accepted, 1, "glibc takes any threshold up to 32 MiB");
}

/// Has the C library give memory that nobody uses back to the system. It looks through all of it, so not on a worker, and holds the
/// lock of one arena after the other meanwhile, so not without need.
pub fn give_memory_back() {
    // SAFETY: malloc_trim frees what is not allocated and touches no memory of ours.
    let _released = unsafe { libc::malloc_trim(0) };
}

impl Default for BufferPool {
    fn default() -> Self {
        Self::new()
    }
}

/// Bytes with free room before and behind them.
///
/// Reads append behind the filled part; writes take from its front. It is one pointer wide: it moves in and out of every operation.
pub struct Buffer {
    body: ManuallyDrop<Box<Body>>,
}

struct Body {
    bytes: Vec<u8>,
    /// Bytes at the front that are never used.
    base: usize,
    start: usize,
    tailroom: usize,
    large: bool,
    /// So many bytes of the vector's memory, from its beginning, have been written once.
    written: usize,
    /// Where that memory is, and how large.
    memory: (usize, usize),
    /// Where it goes when it is dropped; none while it lies on a shelf.
    home: Option<Rc<Shelves>>,
}

impl Body {
    fn new(capacity: usize, base: usize, large: bool) -> Box<Self> {
        let bytes = Vec::with_capacity(base + capacity);
        let mut body =
            Box::new(Self { bytes, base, start: base, tailroom: 0, large, written: 0, memory: (0, 0), home: None });
        body.set_length(base);
        body
    }

    /// Bytes that no read fills.
    const fn slack(&self) -> usize {
        if self.large { limits::BODY_BUFFER_SLACK } else { 0 }
    }

    /// Sets the vector's length; what is new in it is zero or what stood there before.
    fn set_length(&mut self, length: usize) {
        self.note_written();
        if length <= self.written {
            // SAFETY: that many bytes of this memory were initialised once, and who shortens a vector of bytes leaves them
            // as they are.
            unsafe { self.bytes.set_len(length) }
        } else {
            self.bytes.resize(length, 0);
            self.note_written();
        }
    }

    /// A vector that moved or grew has other memory.
    fn note_written(&mut self) {
        let memory = (self.bytes.as_ptr().addr(), self.bytes.capacity());
        let kept = if memory == self.memory { self.written } else { 0 };
        self.memory = memory;
        self.written = kept.max(self.bytes.len());
    }
}

impl Buffer {
    /// The bytes that were read or written and not yet consumed.
    #[must_use]
    pub fn filled(&self) -> &[u8] {
        &self.body.bytes[self.body.start..]
    }

    /// The same, to decode in place.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        let body = &mut **self.body;
        &mut body.bytes[body.start..]
    }

    /// Number of filled bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.body.bytes.len() - self.body.start
    }

    /// Is nothing filled?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Free bytes behind the filled ones that a read may fill.
    #[must_use]
    pub fn spare(&self) -> usize {
        let body = &**self.body;
        (body.bytes.capacity() - body.bytes.len()).saturating_sub(body.tailroom + body.slack())
    }

    /// Drops `count` bytes from the front; they become headroom.
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.len(), "consumed {count} of {} bytes", self.len());
        self.body.start += count;
    }

    /// Cuts the filled part to `count` bytes.
    pub fn truncate(&mut self, count: usize) {
        let end = self.body.start + count;
        self.body.bytes.truncate(end);
    }

    /// Empties the buffer and leaves free bytes before what comes next, and behind what a read may fill.
    pub fn rewind(&mut self, headroom: usize, tailroom: usize) {
        let body = &mut **self.body;
        body.start = body.base + headroom;
        body.set_length(body.start);
        body.tailroom = tailroom;
    }

    /// Puts `front` right before the filled bytes when the headroom allows.
    pub fn try_prepend(&mut self, front: &[u8]) -> bool {
        let body = &mut **self.body;
        if front.len() > body.start - body.base {
            return false;
        }
        body.start -= front.len();
        body.bytes[body.start..body.start + front.len()].copy_from_slice(front);
        true
    }

    /// Makes room for at least `count` more bytes: by moving the filled part to the front, then by growing.
    pub fn reserve(&mut self, count: usize) {
        if self.spare() >= count {
            return;
        }
        let body = &mut **self.body;
        body.bytes.drain(body.base..body.start);
        body.start = body.base;
        if self.spare() < count {
            let body = &mut **self.body;
            body.bytes.reserve_exact(body.tailroom + body.slack() + count.max(body.bytes.capacity()));
        }
    }

    /// Appends to the filled part.
    pub fn extend(&mut self, more: &[u8]) {
        self.body.bytes.extend_from_slice(more);
    }

    /// The vector behind the buffer, for encoders that append to it: it has more in front than the filled bytes, and is to stay
    /// the same vector.
    pub fn sink(&mut self) -> &mut Vec<u8> {
        &mut self.body.bytes
    }

    /// Lets `fill` write into `most` bytes behind the filled ones, and keeps as many as it says.
    ///
    /// # Errors
    /// What `fill` says; then nothing is added.
    pub fn try_fill<E>(&mut self, most: usize, fill: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Result<(), E> {
        let body = &mut **self.body;
        let before = body.bytes.len();
        body.set_length(before + most);
        let filled = fill(&mut body.bytes[before..]);
        body.bytes.truncate(before + *filled.as_ref().unwrap_or(&0));
        filled.map(drop)
    }

    /// Was it lent as a large one?
    #[must_use]
    pub fn is_large(&self) -> bool {
        self.body.large
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: a buffer is dropped once, and nothing uses its body afterwards.
        let mut body = unsafe { ManuallyDrop::take(&mut self.body) };
        let home = body.home.take().expect("a buffer off its shelf knows its home");
        home.lent.set(home.lent.get() - 1);
        let (shelf, kept, size) = if body.large {
            home.lent_large.set(home.lent_large.get() - 1);
            (&home.large, limits::BODY_BUFFERS_KEPT, limits::BODY_BUFFER_BYTES)
        } else {
            (&home.small, home.worth_keeping(), limits::BUFFER_BYTES)
        };
        let mut shelf = shelf.bodies.borrow_mut();
        // A buffer that grew for one large head must not stay large for ever.
        if shelf.len() < kept && body.bytes.capacity() <= size * 2 {
            let base = body.base;
            body.set_length(base);
            body.start = base;
            body.tailroom = 0;
            shelf.push(body);
        }
    }
}

// SAFETY: the pointer covers the initialised bytes behind the headroom and stays valid
// while the buffer is owned by the operation: the vector is not touched until it comes back.
unsafe impl monoio::buf::IoBuf for Buffer {
    fn read_ptr(&self) -> *const u8 {
        self.filled().as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.len()
    }
}

// SAFETY: the pointer and the count describe the spare capacity behind the vector's length, and
// `set_init` makes the length cover exactly what the kernel wrote there.
unsafe impl monoio::buf::IoBufMut for Buffer {
    fn write_ptr(&mut self) -> *mut u8 {
        self.body.bytes.spare_capacity_mut().as_mut_ptr().cast()
    }

    fn bytes_total(&mut self) -> usize {
        self.spare()
    }

    unsafe fn set_init(&mut self, count: usize) {
        let filled = self.body.bytes.len() + count;
        assert!(filled <= self.body.bytes.capacity(), "the kernel wrote past the buffer");
        // SAFETY: the kernel initialised `count` bytes behind the length, within the capacity.
        unsafe { self.body.bytes.set_len(filled) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_lent_again() {
        let pool = BufferPool::new();
        let buffer = pool.lend();
        let address = buffer.body.bytes.as_ptr();
        drop(buffer);
        assert_eq!(pool.lent(), 0);
        assert_eq!(pool.lend().body.bytes.as_ptr(), address);
    }

    /// Their heads are in different parts of the processor's cache then.
    #[test]
    fn buffers_begin_at_different_places_of_a_page_and_have_the_same_room() {
        let pool = BufferPool::new();
        let buffers: Vec<_> = (0..COLOURS).map(|_| pool.lend()).collect();
        let mut starts: Vec<_> = buffers.iter().map(|buffer| buffer.body.start).collect();
        starts.dedup();
        assert_eq!(starts.len(), COLOURS);
        for mut buffer in buffers {
            assert_eq!((buffer.len(), buffer.spare()), (0, limits::BUFFER_BYTES));
            assert!(!buffer.try_prepend(b"1"), "what is before the start is nobody's");
            buffer.extend(b"head body");
            buffer.consume(5);
            buffer.reserve(limits::BUFFER_BYTES - 4);
            assert_eq!((buffer.filled(), buffer.spare()), (&b"body"[..], limits::BUFFER_BYTES - 4));
        }
        assert_eq!(pool.lend().spare(), limits::BUFFER_BYTES, "also when it is lent again");
    }

    #[test]
    fn headroom_holds_what_stood_there_and_is_not_written_again() {
        let pool = BufferPool::new();
        let mut buffer = pool.lend();
        buffer.extend(&[7; 100]);
        drop(buffer);
        let mut buffer = pool.lend();
        buffer.rewind(60, 0);
        assert!(buffer.is_empty() && buffer.try_prepend(b"head"));
        assert_eq!(buffer.body.bytes[buffer.body.base..buffer.body.start], [7; 56]);
        buffer.rewind(200, 0);
        assert_eq!(buffer.body.bytes[buffer.body.base + 100..], [0; 100], "beyond it there is nothing yet");
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
    fn buffers_that_nobody_needs_are_freed_over_time() {
        let pool = BufferPool::new();
        drop((0..100).map(|_| pool.lend()).collect::<Vec<_>>());
        pool.trim();
        for _ in 0..10 {
            drop((pool.lend(), pool.lend()));
            pool.trim();
        }
        assert_eq!(pool.inner.small.bodies.borrow().len(), 2, "the two that are in use stay");
        pool.set_short(true);
        pool.trim();
        assert!(pool.inner.small.bodies.borrow().is_empty(), "while memory is short");
    }

    #[test]
    fn what_a_burst_needs_is_kept_as_long_as_it_lasts_and_freed_behind_it() {
        let pool = BufferPool::new();
        let burst = 3 * limits::BUFFERS_KEPT;
        for _ in 0..3 {
            drop((0..burst).map(|_| pool.lend()).collect::<Vec<_>>());
            assert_eq!(pool.inner.small.bodies.borrow().len(), burst, "none is mapped anew for the next one");
            pool.trim();
        }
        pool.trim();
        assert_eq!(pool.inner.small.bodies.borrow().len(), limits::BUFFERS_KEPT);
    }

    #[test]
    fn large_buffers_are_kept_while_they_are_needed() {
        let pool = BufferPool::new();
        let lend = |count| drop((0..count).map(|_| pool.try_lend_large()).collect::<Vec<_>>());
        lend(64);
        pool.trim();
        for _ in 0..10 {
            lend(40);
            pool.trim();
        }
        assert_eq!(pool.inner.large.bodies.borrow().len(), 40);
        for _ in 0..8 {
            pool.trim();
        }
        assert!(pool.inner.large.bodies.borrow().is_empty());
    }

    #[test]
    fn what_is_filled_follows_what_is_there_whatever_the_buffer_held_before() {
        let pool = BufferPool::new();
        let mut expected = Vec::new();
        for round in 0..20_u8 {
            let mut buffer = pool.try_lend_large().expect("few are out");
            expected.clear();
            for step in 0..round {
                match step % 4 {
                    0 => buffer.extend(&[step; 9]),
                    1 => buffer.sink().extend_from_slice(&[step; 9]),
                    2 => buffer.reserve(usize::from(round) * 40_000),
                    _ => {}
                }
                if step % 4 < 2 {
                    expected.extend_from_slice(&[step; 9]);
                }
                let size = 3000 * usize::from(step);
                let filled = buffer.try_fill(size, |room| {
                    assert_eq!(room.len(), size);
                    room.fill(round);
                    if step % 5 == 4 { Err("no") } else { Ok(size / 2) }
                });
                assert_eq!(filled.is_err(), step % 5 == 4);
                expected.resize(expected.len() + if filled.is_ok() { size / 2 } else { 0 }, round);
                assert!(buffer.filled() == expected, "round {round}, step {step}");
            }
        }
    }

    #[test]
    fn a_read_of_a_large_buffer_leaves_what_tls_adds() {
        let pool = BufferPool::new();
        let mut buffer = pool.try_lend_large().expect("few are out");
        assert_eq!(buffer.spare(), limits::BODY_BUFFER_BYTES);
        buffer.extend(&vec![0; limits::BODY_BUFFER_BYTES]);
        assert_eq!((buffer.spare(), buffer.sink().capacity() - buffer.len()), (0, limits::BODY_BUFFER_SLACK));
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
