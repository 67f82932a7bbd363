//! The TLS handshakes that a worker has under way. At the bound the oldest ends for a new one: an honest client is done
//! within a few round trips, so that whoever only begins handshakes ends those of its own kind.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Poll, Waker};

use crate::cluster::{Link, List, NONE};
use crate::limits;

/// The handshakes of one worker; constant time, no allocation once warm.
pub(super) struct Handshakes(RefCell<Inner>);

struct Inner {
    most: usize,
    places: Vec<Place>,
    free: Vec<u32>,
    /// Oldest first; those that have to end are in it no more.
    age: List,
    links: Vec<Link>,
}

#[derive(Default)]
struct Place {
    has_to_end: bool,
    waker: Option<Waker>,
}

/// One handshake while it lives.
pub(super) struct Underway<'a> {
    all: &'a Handshakes,
    at: u32,
}

impl Handshakes {
    /// None yet, of [`limits::HANDSHAKES_PER_WORKER`].
    pub(super) const fn new() -> Self {
        Self::of(limits::HANDSHAKES_PER_WORKER)
    }

    const fn of(most: usize) -> Self {
        Self(RefCell::new(Inner { most, places: Vec::new(), free: Vec::new(), age: List::EMPTY, links: Vec::new() }))
    }

    /// A new one, for which the oldest has to end when there are as many as there may be.
    pub(super) fn begin(&self) -> Underway<'_> {
        let mut inner = self.0.borrow_mut();
        let crowded = if inner.age.len >= inner.most { inner.oust_oldest() } else { None };
        let at = inner.enter();
        drop(inner);
        // Whatever a wake does, it may look here.
        crowded.into_iter().for_each(Waker::wake);
        Underway { all: self, at }
    }
}

impl Inner {
    fn oust_oldest(&mut self) -> Option<Waker> {
        let oldest = self.age.first;
        if oldest == NONE {
            return None;
        }
        self.age.remove(&mut self.links, oldest);
        let place = &mut self.places[oldest as usize];
        place.has_to_end = true;
        place.waker.take()
    }

    fn enter(&mut self) -> u32 {
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            self.links.push(Link::ALONE);
            u32::try_from(self.places.len() - 1).expect("a worker has fewer than 2^32 connections")
        });
        self.age.push(&mut self.links, at);
        at
    }
}

impl Underway<'_> {
    /// Runs `operation` until it completes; `None` when this handshake has to end before.
    pub(super) async fn run<F: Future>(&self, mut operation: Pin<&mut F>) -> Option<F::Output> {
        poll_fn(|poller| {
            if let Poll::Ready(output) = operation.as_mut().poll(poller) {
                return Poll::Ready(Some(output));
            }
            let place = &mut self.all.0.borrow_mut().places[self.at as usize];
            if place.has_to_end {
                return Poll::Ready(None);
            }
            if !place.waker.as_ref().is_some_and(|waker| waker.will_wake(poller.waker())) {
                place.waker = Some(poller.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        let inner = &mut *self.all.0.borrow_mut();
        let place = std::mem::take(&mut inner.places[self.at as usize]);
        if !place.has_to_end {
            inner.age.remove(&mut inner.links, self.at);
        }
        inner.free.push(self.at);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Context as Poller;

    use super::*;
    use crate::rng::Rng;

    fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Poller::from_waker(Waker::noop()))
    }

    fn has_to_end(one: &Underway<'_>) -> bool {
        let mut forever = pin!(std::future::pending::<()>());
        poll_once(pin!(one.run(forever.as_mut()))) == Poll::Ready(None)
    }

    #[test]
    fn the_oldest_ends_for_one_too_many() {
        let all = Handshakes::of(3);
        let (first, second, third) = (all.begin(), all.begin(), all.begin());
        assert!(![&first, &second, &third].map(has_to_end).contains(&true));
        let fourth = all.begin();
        assert_eq!([&first, &second, &third, &fourth].map(has_to_end), [true, false, false, false]);
        drop(second);
        let fifth = all.begin();
        assert_eq!([&third, &fourth, &fifth].map(has_to_end), [false; 3], "there was room");
        let sixth = all.begin();
        assert_eq!([&third, &fourth, &fifth, &sixth].map(has_to_end), [true, false, false, false]);
    }

    #[test]
    fn one_that_is_done_is_done_even_when_it_has_to_end() {
        let all = Handshakes::of(1);
        let first = all.begin();
        let _second = all.begin();
        let mut done = pin!(std::future::ready(7));
        assert_eq!(poll_once(pin!(first.run(done.as_mut()))), Poll::Ready(Some(7)));
    }

    #[test]
    fn as_many_as_there_may_be_go_on_whoever_comes_and_goes() {
        let all = Handshakes::of(8);
        let mut rng = Rng::from_seed(3);
        let mut living: Vec<Underway<'_>> = Vec::new();
        for _ in 0..10_000 {
            if rng.u64().is_multiple_of(3) && !living.is_empty() {
                let at = usize::try_from(rng.u64() % living.len() as u64).expect("an index");
                drop(living.remove(at));
            } else {
                living.push(all.begin());
            }
            let inner = all.0.borrow();
            let ages = inner.age.checked(&inner.links);
            assert!(ages.len() <= 8 && inner.places.len() == living.len() + inner.free.len());
            let staying: Vec<u32> =
                living.iter().map(|one| one.at).filter(|at| !inner.places[*at as usize].has_to_end).collect();
            assert_eq!(ages, staying, "in the order of their coming");
            if living.len() > 40 {
                drop(inner);
                living.clear();
            }
        }
    }
}
