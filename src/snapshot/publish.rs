//! Publishing by epoch, with quiescence: publish, adopt, retire.
//!
//! The control side keeps an `Arc` of every snapshot that a worker may still use. A worker compares one
//! atomic epoch per request; only when it changed does it take the lock that guards the newest `Arc`.

#![allow(clippy::disallowed_types, reason = "the lock of the control side, which a worker takes once per epoch")]

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use crossbeam_utils::CachePadded;
use futures_util::task::AtomicWaker;

use super::Snapshot;

struct Shared {
    epoch: CachePadded<AtomicU64>,
    newest: Mutex<Arc<Snapshot>>,
    workers: Vec<CachePadded<Progress>>,
    /// Woken at each adoption, if somebody waits for one.
    waits: AtomicWaker,
}

/// How far one worker has come.
#[derive(Default)]
struct Progress {
    /// The newest epoch it adopted.
    adopted: AtomicU64,
    /// The oldest epoch one of its exchanges still uses; `u64::MAX` once the worker ended.
    oldest: AtomicU64,
}

/// The control side: publishes and retires.
pub struct Publisher {
    shared: Arc<Shared>,
    kept: Vec<Arc<Snapshot>>,
}

/// One worker's side: one load per request.
pub struct Reader {
    shared: Arc<Shared>,
    worker: usize,
}

impl Publisher {
    /// Publishes the first snapshot for `workers` workers.
    #[must_use]
    pub fn new(first: Snapshot, workers: usize) -> Self {
        let first = Arc::new(first);
        let shared = Shared {
            epoch: CachePadded::new(AtomicU64::new(first.epoch)),
            newest: Mutex::new(Arc::clone(&first)),
            workers: (0..workers).map(|_| CachePadded::default()).collect(),
            waits: AtomicWaker::new(),
        };
        Self { shared: Arc::new(shared), kept: vec![first] }
    }

    /// The side of one worker.
    #[must_use]
    pub fn reader(&self, worker: usize) -> Reader {
        assert!(worker < self.shared.workers.len(), "no worker {worker}");
        Reader { shared: Arc::clone(&self.shared), worker }
    }

    /// Makes a later snapshot the one in force.
    pub fn publish(&mut self, next: Snapshot) {
        let epoch = next.epoch;
        assert!(epoch > self.epoch(), "epochs only rise");
        let next = Arc::new(next);
        // Each on its own: an exchange of the candidate keeps that alone. One of the other side keeps both.
        self.kept.extend(next.candidate.as_ref().map(|candidate| Arc::clone(&candidate.snapshot)));
        self.kept.push(Arc::clone(&next));
        let mut newest = self.shared.newest.lock().unwrap_or_else(PoisonError::into_inner);
        *newest = next;
        drop(newest);
        // Release: whoever sees the epoch finds its snapshot, or a later one, behind the lock.
        self.shared.epoch.store(epoch, Ordering::Release);
    }

    /// The epoch in force.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.shared.epoch.load(Ordering::Relaxed)
    }

    /// The snapshot in force.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.shared.newest.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has every worker adopted the epoch in force?
    #[must_use]
    pub fn is_adopted(&self) -> bool {
        let epoch = self.epoch();
        self.shared.workers.iter().all(|worker| {
            // A worker that ended adopts nothing more and holds nobody up.
            worker.oldest.load(Ordering::Acquire) == u64::MAX || worker.adopted.load(Ordering::Acquire) >= epoch
        })
    }

    /// Waits until every worker has adopted the epoch in force. One caller at a time: of several, the last is woken.
    pub async fn adopted(&self) {
        poll_fn(|asking| {
            // First, so that an adoption after the look wakes.
            self.shared.waits.register(asking.waker());
            if !self.is_adopted() {
                return Poll::Pending;
            }
            drop(self.shared.waits.take());
            Poll::Ready(())
        })
        .await;
    }

    /// The oldest epoch that a worker may still use.
    #[must_use]
    pub fn oldest_in_use(&self) -> u64 {
        let oldest = self.shared.workers.iter().map(|worker| worker.oldest.load(Ordering::Acquire));
        oldest.min().unwrap_or(u64::MAX).min(self.epoch())
    }

    /// Drops the snapshots that no worker uses any more; returns how many are still kept.
    ///
    /// One long exchange keeps its own snapshot and not those after it, which come by themselves when addresses change.
    pub fn retire(&mut self) -> usize {
        drop(self.take_retired());
        self.kept.len()
    }

    /// The same for whoever wants to drop them elsewhere.
    pub fn take_retired(&mut self) -> Vec<Arc<Snapshot>> {
        // What only this list holds nobody can come by any more: workers take the newest, which the lock holds as well.
        self.kept.extract_if(.., |snapshot| Arc::strong_count(snapshot) == 1).collect()
    }
}

impl Reader {
    /// The epoch in force.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.shared.epoch.load(Ordering::Acquire)
    }

    /// Takes the newest snapshot; only when [`Reader::epoch`] changed.
    #[must_use]
    pub fn load(&self) -> Arc<Snapshot> {
        Arc::clone(&self.shared.newest.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells control what this worker adopted, and the oldest epoch its exchanges still use.
    pub fn on_adopted(&self, adopted: u64, oldest: u64) {
        let progress = &self.shared.workers[self.worker];
        // Release: whatever the worker did with an older snapshot happened before control drops it.
        progress.oldest.store(oldest, Ordering::Release);
        if progress.adopted.swap(adopted, Ordering::AcqRel) != adopted {
            self.shared.waits.wake();
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.workers[self.worker].oldest.store(u64::MAX, Ordering::Release);
        self.shared.waits.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::Table;
    use crate::snapshot::LogSample;

    fn snapshot(epoch: u64) -> Snapshot {
        Snapshot {
            epoch,
            listeners: Arc::default(),
            table: Arc::new(Table::compile(&[])),
            routes: Arc::default(),
            clusters: Arc::default(),
            splits: Arc::default(),
            endpoints: Arc::default(),
            log: LogSample { ok: 0.0, slow_over: std::time::Duration::ZERO, slow: 0.0, errors: 0.0 },
            reason_header: false,
            server_timing: false,
            tracing: None,
            limits: Arc::new(crate::policy::limit::Limits::new([0; 16])),
            headroom: Arc::default(),
            live: None,
            candidate: None,
            trial: None,
        }
    }

    #[test]
    fn a_snapshot_lives_until_the_last_worker_left_it() {
        let mut publisher = Publisher::new(snapshot(1), 2);
        let (one, two) = (publisher.reader(0), publisher.reader(1));
        one.on_adopted(1, 1);
        two.on_adopted(1, 1);
        let used = two.load();
        publisher.publish(snapshot(2));
        assert!(!publisher.is_adopted());
        one.on_adopted(2, 2);
        two.on_adopted(2, 1);
        assert!(publisher.is_adopted());
        assert_eq!((publisher.retire(), publisher.oldest_in_use()), (2, 1));
        drop(used);
        two.on_adopted(2, 2);
        assert_eq!((publisher.retire(), publisher.oldest_in_use()), (1, 2));
        assert_eq!(two.load().epoch, 2);
    }

    #[test]
    fn a_long_exchange_keeps_its_own_snapshot_only() {
        let mut publisher = Publisher::new(snapshot(1), 1);
        let reader = publisher.reader(0);
        let long = reader.load();
        for epoch in 2..=1_000 {
            publisher.publish(snapshot(epoch));
            reader.on_adopted(epoch, long.epoch);
            assert_eq!(publisher.retire(), 2);
        }
    }

    #[test]
    fn a_worker_that_has_not_started_is_waited_for_until_it_ends() {
        let mut publisher = Publisher::new(snapshot(1), 1);
        let reader = publisher.reader(0);
        publisher.publish(snapshot(2));
        assert!(!publisher.is_adopted());
        assert_eq!(publisher.oldest_in_use(), 0);
        drop(reader);
        assert!(publisher.is_adopted());
        assert_eq!(publisher.oldest_in_use(), 2);
    }

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Woken(AtomicU64);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_waits_for_adoption_is_woken_by_the_last_worker_and_by_the_end_of_one() {
        let mut publisher = Publisher::new(snapshot(1), 3);
        let [one, two, ended] = [0, 1, 2].map(|worker| publisher.reader(worker));
        [&one, &two, &ended].iter().for_each(|reader| reader.on_adopted(1, 1));
        publisher.publish(snapshot(2));
        let woken = Arc::new(Woken::default());
        let waker = Arc::clone(&woken).into();
        let mut adopted = Box::pin(publisher.adopted());
        let mut is_adopted = || adopted.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_ready();
        let times = || woken.0.load(Ordering::Relaxed);
        assert!(!is_adopted() && times() == 0);
        one.on_adopted(2, 1);
        assert_eq!(times(), 1);
        assert!(!is_adopted());
        one.on_adopted(2, 2);
        assert_eq!(times(), 1, "what it had adopted before is no news");
        two.on_adopted(2, 2);
        assert_eq!(times(), 2);
        assert!(!is_adopted());
        drop(ended);
        assert!(is_adopted() && times() == 3);
        two.on_adopted(3, 3);
        assert_eq!(times(), 3, "nobody waits any more");
    }

    #[test]
    fn a_reader_never_sees_an_epoch_without_its_snapshot() {
        let mut publisher = Publisher::new(snapshot(1), 1);
        let reader = publisher.reader(0);
        let watch = move || {
            let mut seen = 0;
            while seen < 200 {
                let epoch = reader.epoch();
                if epoch > seen {
                    assert!(reader.load().epoch >= epoch);
                    seen = epoch;
                    reader.on_adopted(epoch, epoch);
                }
            }
        };
        let watcher = std::thread::Builder::new().spawn(watch).expect("a test may have a thread");
        for epoch in 2..=200 {
            publisher.publish(snapshot(epoch));
            assert!(publisher.retire() >= 1);
        }
        watcher.join().expect("the watcher's assertions hold");
    }
}
