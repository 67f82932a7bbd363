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
    /// Does it take streams?
    is_open: Cell<bool>,
    /// Since when it has no stream.
    rests_since_ms: Cell<u64>,
    /// The driver's.
    waker: RefCell<Option<Waker>>,
}

impl Room {
    /// Of a connection whose peer has not said yet how many streams it takes; on another one it took `most`.
    #[must_use]
    pub fn new(now_ms: u64, most: Option<u32>) -> Rc<Self> {
        Rc::new(Self {
            streams: Cell::new(0),
            most: Cell::new(most.unwrap_or(limits::H2_UPSTREAM_STREAMS_ASSUMED)),
            is_open: Cell::new(true),
            rests_since_ms: Cell::new(now_ms),
            waker: RefCell::default(),
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

    /// Takes a place, given back by drop.
    #[must_use]
    pub fn take(self: &Rc<Self>) -> Seat {
        self.streams.set(self.streams.get() + 1);
        Seat { room: Rc::clone(self), clock_ms: Cell::new(None) }
    }

    /// The peer takes so many streams at once.
    pub(super) fn set_most(&self, most: usize) {
        self.most.set(u32::try_from(most).unwrap_or(u32::MAX).min(limits::H2_UPSTREAM_STREAMS));
    }

    /// No more streams, and the end of the connection with the last of them.
    pub fn close(&self) {
        if self.is_open.replace(false) {
            self.wake();
        }
    }

    pub(super) fn note(&self, poller: &Poller<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(poller.waker())) {
            *waker = Some(poller.waker().clone());
        }
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
        // The end of a rest is looked at in time; only one that is to end at once must not be waited for.
        if room.streams.get() == 0 && !room.is_open.get() {
            room.wake();
        }
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn no_peer_gets_more_streams_than_its_window_is_made_for() {
        let room = Room::new(0, None);
        room.set_most(usize::MAX);
        let _seats: Vec<_> = (0..limits::H2_UPSTREAM_STREAMS).map(|_| room.take()).collect();
        assert!(!room.has_place() && !room.is_overfull());
    }
}
