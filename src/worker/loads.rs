//! Accept balance: how many connections each worker holds, and which one serves the next.
//!
//! The kernel spreads connections over the sockets of a listener by a hash, so that eight long-lived ones may well
//! share one core of two. The worker that accepted keeps a connection unless that puts it above its share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;

/// Added to the number of a worker that takes no more connections from others: such a one is never the least loaded.
const CLOSED: usize = 1 << (usize::BITS - 1);
/// A worker may be above its share by one connection, or by this part of its share where that is more.
const SLACK: usize = 16;

/// The connections that each worker holds, those on their way to it included; share it as `Arc<Loads>`.
#[derive(Debug)]
pub struct Loads {
    // Each behind an `Arc` of its own: the count of references to one for all would be a line that all cores write.
    numbers: Box<[Number]>,
    balanced: AtomicBool,
}

/// Connections of one worker, and [`CLOSED`].
type Number = Arc<CachePadded<AtomicUsize>>;

/// One connection counted on one worker, taken off by drop.
#[derive(Debug)]
pub struct Place {
    number: Number,
    worker: usize,
}

impl Loads {
    /// `workers` workers without a connection; `balanced` as for [`Loads::set_balanced`].
    #[must_use]
    pub fn new(workers: usize, balanced: bool) -> Self {
        Self { numbers: (0..workers).map(|_| Number::default()).collect(), balanced: AtomicBool::new(balanced) }
    }

    /// Whether a worker above its share hands new connections over, or keeps all that it accepts.
    pub fn set_balanced(&self, balanced: bool) {
        self.balanced.store(balanced, Ordering::Relaxed);
    }

    /// The connections of a worker, those on their way to it included.
    #[must_use]
    pub fn held(&self, worker: usize) -> usize {
        self.numbers[worker].load(Ordering::Relaxed) & !CLOSED
    }

    /// A place for a connection that `own` accepted, the newest of `total` in the process: there, unless that would
    /// put it above its share, and otherwise on the least loaded worker.
    ///
    /// Exact whoever else places at the same time, because a number that changed since it was looked at is looked at
    /// again; a `total` that counts connections which others are just placing is right, one that misses some is safe.
    #[must_use]
    pub fn place(&self, own: usize, total: usize) -> Place {
        if !self.balanced.load(Ordering::Relaxed) {
            return self.keep(own);
        }
        let look = |worker: usize| self.numbers[worker].load(Ordering::Relaxed);
        loop {
            let (worker, seen) = place(own, total, self.numbers.len(), look);
            let number = &self.numbers[worker];
            if number.compare_exchange_weak(seen, seen + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return Place { number: Arc::clone(number), worker };
            }
        }
    }

    /// A place on this worker, whatever the others hold.
    #[must_use]
    pub fn keep(&self, worker: usize) -> Place {
        let number = Arc::clone(&self.numbers[worker]);
        number.fetch_add(1, Ordering::Relaxed);
        Place { number, worker }
    }

    /// This worker takes no more connections from others, for good: once it holds none, none is on its way either.
    pub fn close(&self, worker: usize) {
        self.numbers[worker].fetch_or(CLOSED, Ordering::Relaxed);
    }
}

impl Place {
    /// The worker that it is on.
    #[must_use]
    pub const fn worker(&self) -> usize {
        self.worker
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let before = self.number.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before & !CLOSED > 0, "a place was given back twice");
    }
}

/// Who serves a connection that `own` accepted, and how many that one held: `look` gives the number of a worker.
///
/// Only a worker above its share pays for a look at every other one.
fn place(own: usize, total: usize, workers: usize, look: impl Fn(usize) -> usize) -> (usize, usize) {
    let held = look(own);
    if held >= CLOSED || !is_above_share(held + 1, total, workers) {
        return (own, held);
    }
    // Each worker begins its search behind itself, so that several of them do not all choose the first of equals.
    let others = (1..workers).map(|step| (own + step) % workers);
    let least = others.map(|worker| (worker, look(worker))).min_by_key(|&(_, held)| held);
    least.filter(|&(_, least)| least < held).unwrap_or((own, held))
}

/// Is `held` more than an equal share of `total`, by more than the slack?
const fn is_above_share(held: usize, total: usize, workers: usize) -> bool {
    // In connections times workers, so that nothing is rounded.
    let part = total / SLACK;
    held * workers > total + if part > workers { part } else { workers }
}

#[cfg(test)]
mod tests;
