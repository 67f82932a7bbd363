//! Deadlines of one worker, checked once per tick, and the only place that abandons an operation.
//!
//! Setting a deadline is a store. A tick looks at the dense table only when the earliest deadline has passed,
//! so that neither a busy nor an idle connection pays for a timer of its own.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Poller, Poll, Waker};

const NEVER: u64 = u64::MAX;
/// In the table of deadlines: it has passed.
const FIRED: u64 = 0;

/// A deadline passed before the operation completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired;

/// The deadlines and the coarse clock of one worker.
#[derive(Clone)]
pub struct Alarms {
    inner: Rc<Inner>,
}

struct Inner {
    now_ms: Cell<u64>,
    earliest_ms: Cell<u64>,
    due_ms: RefCell<Vec<u64>>,
    wakers: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<u32>>,
}

impl Alarms {
    /// No alarms, at `now_ms` of the worker's monotonic clock.
    #[must_use]
    pub fn new(now_ms: u64) -> Self {
        Self {
            inner: Rc::new(Inner {
                now_ms: Cell::new(now_ms),
                earliest_ms: Cell::new(NEVER),
                due_ms: RefCell::default(),
                wakers: RefCell::default(),
                free: RefCell::default(),
            }),
        }
    }

    /// Monotonic milliseconds as of the last tick.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.inner.now_ms.get()
    }

    /// A new alarm that is not set.
    #[must_use]
    pub fn register(&self) -> Alarm {
        let inner = &self.inner;
        let slot = inner.free.borrow_mut().pop().unwrap_or_else(|| {
            inner.wakers.borrow_mut().push(None);
            let mut due = inner.due_ms.borrow_mut();
            due.push(NEVER);
            u32::try_from(due.len() - 1).expect("a worker has fewer than 2^32 connections")
        });
        Alarm { inner: Rc::clone(inner), slot }
    }

    /// Advances the clock and fires what is due.
    pub fn on_tick(&self, now_ms: u64) {
        let inner = &self.inner;
        inner.now_ms.set(now_ms);
        if now_ms < inner.earliest_ms.get() {
            return;
        }
        let mut earliest = NEVER;
        let mut wakers = inner.wakers.borrow_mut();
        for (due, waker) in inner.due_ms.borrow_mut().iter_mut().zip(wakers.iter_mut()) {
            if *due > now_ms {
                earliest = earliest.min(*due);
            } else if *due != FIRED {
                *due = FIRED;
                waker.take().into_iter().for_each(Waker::wake);
            }
        }
        inner.earliest_ms.set(earliest);
    }

    /// Fires every alarm: whoever waits looks around, and sets its alarm again if it stays.
    pub fn fire_all(&self) {
        self.inner.due_ms.borrow_mut().fill(FIRED);
        for waker in self.inner.wakers.borrow_mut().iter_mut() {
            waker.take().into_iter().for_each(Waker::wake);
        }
    }
}

/// One deadline that can be set again and again.
pub struct Alarm {
    inner: Rc<Inner>,
    slot: u32,
}

impl Alarm {
    /// Fires at `at_ms` of the worker's clock (within a tick); replaces what was set.
    pub fn set(&self, at_ms: u64) {
        let at_ms = at_ms.max(FIRED + 1);
        self.inner.due_ms.borrow_mut()[self.slot as usize] = at_ms;
        if at_ms < self.inner.earliest_ms.get() {
            self.inner.earliest_ms.set(at_ms);
        }
    }

    /// Fires `ms` milliseconds from the last tick on.
    pub fn set_in(&self, ms: u64) {
        self.set(self.inner.now_ms.get().saturating_add(ms));
    }

    /// Fires no more.
    pub fn clear(&self) {
        self.inner.due_ms.borrow_mut()[self.slot as usize] = NEVER;
    }

    /// Monotonic milliseconds as of the last tick.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.inner.now_ms.get()
    }

    /// Has it fired since it was set?
    #[must_use]
    pub fn has_fired(&self) -> bool {
        self.inner.due_ms.borrow()[self.slot as usize] == FIRED
    }

    /// Ready once it has fired; otherwise the task is woken when it does.
    pub fn poll_fired(&self, poller: &Poller<'_>) -> Poll<()> {
        if self.has_fired() {
            return Poll::Ready(());
        }
        let waker = &mut self.inner.wakers.borrow_mut()[self.slot as usize];
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(poller.waker())) {
            *waker = Some(poller.waker().clone());
        }
        Poll::Pending
    }

    /// Runs `operation` until it completes or this alarm fires; the operation stays usable.
    pub async fn race<F: Future>(&self, mut operation: Pin<&mut F>) -> Result<F::Output, Expired> {
        poll_fn(|poller| match operation.as_mut().poll(poller) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.poll_fired(poller).map(|()| Err(Expired)),
        })
        .await
    }

    /// Runs `operation` for at most `ms` milliseconds; the caller abandons it then.
    pub async fn within<F: Future>(&self, ms: u64, mut operation: Pin<&mut F>) -> Result<F::Output, Expired> {
        let due_ms = self.now_ms().saturating_add(ms);
        loop {
            self.set(due_ms);
            match self.race(operation.as_mut()).await {
                Ok(output) => return Ok(output),
                Err(Expired) if self.now_ms() >= due_ms => return Err(Expired),
                // Somebody asked everyone to look around; a bounded operation has nothing to look at.
                Err(Expired) => {}
            }
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.inner.due_ms.borrow_mut()[self.slot as usize] = NEVER;
        self.inner.wakers.borrow_mut()[self.slot as usize] = None;
        self.inner.free.borrow_mut().push(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Poller::from_waker(Waker::noop()))
    }

    #[test]
    fn an_alarm_fires_at_its_time_and_not_before() {
        let alarms = Alarms::new(0);
        let alarm = alarms.register();
        alarm.set(20);
        alarms.on_tick(19);
        assert!(!alarm.has_fired());
        alarms.on_tick(20);
        assert!(alarm.has_fired());
        alarm.set(40);
        assert!(!alarm.has_fired());
    }

    #[test]
    fn a_late_alarm_does_not_hide_an_early_one() {
        let alarms = Alarms::new(0);
        let (early, late) = (alarms.register(), alarms.register());
        late.set(100);
        early.set(10);
        alarms.on_tick(10);
        assert!(early.has_fired() && !late.has_fired());
        alarms.on_tick(100);
        assert!(late.has_fired());
    }

    #[test]
    fn an_operation_is_abandoned_only_at_its_own_deadline() {
        let alarms = Alarms::new(0);
        let alarm = alarms.register();
        let mut pending = std::pin::pin!(std::future::pending::<()>());
        let mut bounded = std::pin::pin!(alarm.within(50, pending.as_mut()));
        assert!(poll_once(bounded.as_mut()).is_pending());
        alarms.on_tick(10);
        alarms.fire_all();
        assert!(poll_once(bounded.as_mut()).is_pending());
        alarms.on_tick(60);
        assert_eq!(poll_once(bounded.as_mut()), Poll::Ready(Err(Expired)));
    }

    #[test]
    fn a_dropped_alarm_leaves_its_place() {
        let alarms = Alarms::new(0);
        let first = alarms.register();
        first.set(10);
        drop(first);
        let second = alarms.register();
        alarms.on_tick(10);
        assert!(!second.has_fired());
        assert_eq!(alarms.inner.wakers.borrow().len(), 1);
    }
}
