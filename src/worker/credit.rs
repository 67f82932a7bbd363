//! An exact cap that all workers share: one atomic number, touched when a connection opens or closes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;

/// Connections that may be open at once.
#[derive(Debug)]
pub struct Credit {
    taken: CachePadded<AtomicUsize>,
    limit: AtomicUsize,
}

/// One taken credit, given back by drop.
#[derive(Debug)]
pub struct Taken(Arc<Credit>);

impl Credit {
    /// `limit` credits, all free.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { taken: CachePadded::new(AtomicUsize::new(0)), limit: AtomicUsize::new(limit) }
    }

    /// Takes one, or none when as many as the limit are out; never more, whoever else takes at the same time.
    #[must_use]
    pub fn try_take(self: &Arc<Self>) -> Option<Taken> {
        let limit = self.limit.load(Ordering::Relaxed);
        let take = |taken| (taken < limit).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        Some(Taken(Arc::clone(self)))
    }

    /// Changes the limit; what is out above a lower one stays out until it is given back.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// The limit.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Credits that are out.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_threads_never_hold_more_than_the_limit() {
        let credit = Arc::new(Credit::new(3));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let credit = Arc::clone(&credit);
                std::thread::Builder::new()
                    .spawn(move || {
                        for _ in 0..10_000 {
                            let taken = credit.try_take();
                            assert!(credit.taken() <= 3);
                            drop(taken);
                        }
                    })
                    .expect("a test may have threads")
            })
            .collect();
        for thread in threads {
            thread.join().expect("no assertion failed");
        }
        assert_eq!(credit.taken(), 0);
    }

    #[test]
    fn a_lower_limit_takes_nothing_back() {
        let credit = Arc::new(Credit::new(2));
        let (one, two) = (credit.try_take(), credit.try_take());
        assert!(one.is_some() && two.is_some() && credit.try_take().is_none());
        credit.set_limit(1);
        drop(one);
        assert!(credit.try_take().is_none());
        drop(two);
        assert!(credit.try_take().is_some());
    }
}
