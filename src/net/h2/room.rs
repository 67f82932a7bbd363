//! How many streams a connection to an endpoint has, and may have.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context as Poller, Waker};

use crate::limits;

/// The streams of one connection to an endpoint, and whether it takes more; whoever drives it and whoever opens streams share
/// it.
#[derive(Debug)]
pub struct Room {
    streams: Cell<u32>,
    most: Cell<u32>,
    /// Streams that may yet begin: identities are used once (RFC 9113 section 5.1.1).
    left: Cell<u32>,
    /// Does it take streams?
    is_open: Cell<bool>,
    /// Since when it has no stream.
    rests_since_ms: Cell<u64>,
    /// The driver's.
    waker: RefCell<Option<Waker>>,
    /// Those who wait for a place.
    waiting: RefCell<Vec<Waker>>,
}

impl Room {
    /// Of a connection whose peer has not said yet how many streams it takes; on another one it took `most`.
    #[must_use]
    pub fn new(now_ms: u64, most: Option<u32>) -> Rc<Self> {
        Self::with_identities(now_ms, most, limits::H2_UPSTREAM_IDENTITIES)
    }

    fn with_identities(now_ms: u64, most: Option<u32>, left: u32) -> Rc<Self> {
        Rc::new(Self {
            streams: Cell::new(0),
            most: Cell::new(most.unwrap_or(limits::H2_UPSTREAM_STREAMS_ASSUMED)),
            left: Cell::new(left),
            is_open: Cell::new(true),
            rests_since_ms: Cell::new(now_ms),
            waker: RefCell::default(),
            waiting: RefCell::default(),
        })
    }

    /// Streams that are open, or about to be.
    #[must_use]
    pub fn streams(&self) -> u32 {
        self.streams.get()
    }

    /// Most streams at once.
    #[must_use]
    pub fn most(&self) -> u32 {
        self.most.get()
    }

    /// Is there a place for one more?
    #[must_use]
    pub fn has_place(&self) -> bool {
        self.is_open.get() && self.streams.get() < self.most.get()
    }

    /// Have more places been given away than there are? They were when nobody knew how many there are.
    #[must_use]
    pub fn is_overfull(&self) -> bool {
        self.streams.get() > self.most.get()
    }

    /// Does the peer take no streams just now, however many there are (RFC 9113 section 6.5.2)?
    #[must_use]
    pub fn takes_none(&self) -> bool {
        self.is_open.get() && self.most.get() == 0
    }

    /// Wakes whoever polls once there may be a place, or never will be.
    pub fn await_place(&self, poller: &Poller<'_>) {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(poller.waker())) {
            waiting.push(poller.waker().clone());
        }
    }

    /// Does it take streams, if there is a place?
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open.get()
    }

    /// Since when it has no stream, if it has none.
    #[must_use]
    pub fn rests_since_ms(&self) -> Option<u64> {
        (self.streams.get() == 0).then(|| self.rests_since_ms.get())
    }

    /// Takes a place, given back by drop. The last one that there is an identity for closes the room: RFC 9113 section 5.1.1
    /// wants a new connection then.
    #[must_use]
    pub fn take(self: &Rc<Self>) -> Seat {
        self.streams.set(self.streams.get() + 1);
        self.left.set(self.left.get().saturating_sub(1));
        if self.left.get() == 0 {
            self.close();
        }
        Seat { room: Rc::clone(self), clock_ms: Cell::new(None) }
    }

    /// The peer takes so many streams at once.
    pub(super) fn set_most(&self, most: usize) {
        let most = u32::try_from(most).unwrap_or(u32::MAX).min(limits::H2_UPSTREAM_STREAMS);
        if self.most.replace(most) < most {
            self.call();
        }
    }

    /// No more streams, and the end of the connection with the last of them.
    pub fn close(&self) {
        if self.is_open.replace(false) {
            self.wake();
            self.call();
        }
    }

    pub(super) fn note(&self, poller: &Poller<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(poller.waker())) {
            *waker = Some(poller.waker().clone());
        }
    }

    /// Tells those who wait for a place to look again.
    fn call(&self) {
        // Borrowed for no longer: who is woken may wait again.
        let waiting = self.waiting.take();
        waiting.into_iter().for_each(Waker::wake);
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// A place for one stream.
#[derive(Debug)]
pub struct Seat {
    room: Rc<Room>,
    /// When it was left, as far as that is known.
    clock_ms: Cell<Option<u64>>,
}

impl Seat {
    /// The room that it is in.
    #[must_use]
    pub const fn room(&self) -> &Rc<Room> {
        &self.room
    }

    /// Told the time of its drop.
    pub(super) fn on_leaving(&self, now_ms: u64) {
        self.clock_ms.set(Some(now_ms));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let room = &self.room;
        room.streams.set(room.streams.get() - 1);
        if let Some(now_ms) = self.clock_ms.get() {
            room.rests_since_ms.set(now_ms);
        }
        // The end of a rest is looked at in time; only one that may end at once must not be waited for.
        if room.streams.get() == 0 && (!room.is_open.get() || room.takes_none()) {
            room.wake();
        }
        room.call();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[test]
    fn places_are_given_back_and_a_lower_number_takes_none_away() {
        let room = Room::new(0, None);
        let seats: Vec<_> = (0..limits::H2_UPSTREAM_STREAMS_ASSUMED).map(|_| room.take()).collect();
        assert!(!room.has_place() && !room.is_overfull());
        room.set_most(10);
        assert!(room.is_overfull() && room.rests_since_ms().is_none());
        drop(seats);
        assert!(room.has_place() && room.rests_since_ms() == Some(0));
        let last = room.take();
        last.on_leaving(7);
        drop(last);
        assert_eq!(room.rests_since_ms(), Some(7));
        room.close();
        assert!(!room.has_place());
    }

    /// RFC 9113 section 5.1.1: identities cannot be used again, and whoever has none left opens another connection.
    #[test]
    fn a_connection_without_identities_takes_no_more_and_ends_with_its_last_stream() {
        let woken = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&woken));
        let room = Room::with_identities(0, None, 3);
        room.note(&Poller::from_waker(&waker));
        drop([room.take(), room.take()]);
        assert!(room.has_place() && woken.0.load(Ordering::Relaxed) == 0, "given back, they are used all the same");
        let last = room.take();
        assert!(!room.has_place() && !room.is_open() && room.streams() == 1);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1, "whoever drives it sees that it takes no more");
        drop(last);
        assert_eq!(woken.0.load(Ordering::Relaxed), 2, "and that it may end");
    }

    #[test]
    fn whoever_waits_for_a_place_is_woken_by_all_that_may_give_one() {
        let woken = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&woken));
        let poller = Poller::from_waker(&waker);
        let count = || woken.0.load(Ordering::Relaxed);
        let room = Room::new(0, None);
        let seat = room.take();
        room.set_most(0);
        assert!(room.takes_none());
        room.await_place(&poller);
        room.await_place(&poller);
        room.set_most(0);
        assert_eq!(count(), 0);
        room.set_most(1);
        assert!(!room.takes_none());
        assert_eq!(count(), 1);
        room.set_most(2);
        assert_eq!(count(), 1);
        room.await_place(&poller);
        drop(seat);
        assert_eq!(count(), 2);
        room.set_most(0);
        room.await_place(&poller);
        room.close();
        assert!(!room.takes_none());
        assert_eq!(count(), 3);
    }

    /// Counts how often it is woken.
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn no_peer_gets_more_streams_than_its_window_is_made_for() {
        let room = Room::new(0, None);
        room.set_most(usize::MAX);
        let _seats: Vec<_> = (0..limits::H2_UPSTREAM_STREAMS).map(|_| room.take()).collect();
        assert!(!room.has_place() && !room.is_overfull());
    }
}
