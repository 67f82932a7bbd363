//! Waiting for a connection when a cluster's cap is reached: first come first served, over all workers.
//!
//! Each worker keeps its own waiters in the order they came and publishes the ticket of the first. Whoever closes a
//! connection learns from the cluster's state which worker has the first of all, and wakes it: its own at once, another
//! worker's through the mailbox. A connection that is returned while the first of all waits here goes to it directly.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use super::shard::Lease;
use crate::cluster::{ClusterState, Ticket};
use crate::net::Stream;
use crate::policy::limit::{Granted, StoreError};

/// What one worker, or the control side, tells another.
#[derive(Debug)]
pub enum Call {
    /// A connection of this cluster may be opened: the first who waits for one is to look.
    Wake(Arc<ClusterState>),
    /// Others wait for a connection of this cluster: an idle one is to be closed.
    Reclaim(Arc<ClusterState>),
    /// A store has answered, or cannot.
    Answered {
        /// Of the question.
        ticket: u64,
        /// What it said.
        result: Result<Granted, StoreError>,
    },
    /// A password was tried.
    Tried {
        /// Of the question.
        ticket: u64,
        /// The number of the user, if it was right.
        found: Option<usize>,
    },
}

/// Sends a call to a worker by its number.
pub type Tell = Box<dyn Fn(usize, Call)>;

/// The waiters of one worker, by cluster.
pub(super) struct Queues<S: Stream> {
    worker: usize,
    tell: Tell,
    lines: RefCell<Vec<Line<S>>>,
}

struct Line<S: Stream> {
    state: Arc<ClusterState>,
    waiters: VecDeque<Rc<Waiter<S>>>,
}

/// One who waits.
struct Waiter<S: Stream> {
    ticket: Ticket,
    waker: Cell<Option<Waker>>,
    is_woken: Cell<bool>,
    granted: Cell<Option<Lease<S>>>,
}

/// What ended a wait.
pub(super) enum Turn<S: Stream> {
    /// A connection that somebody returned.
    Connection(Lease<S>),
    /// Leave to open one.
    Credit(Credit<S>),
}

impl<S: Stream> Queues<S> {
    pub(super) fn new(worker: usize, tell: Tell) -> Rc<Self> {
        Rc::new(Self { worker, tell, lines: RefCell::default() })
    }

    /// Leave to open a connection now, unless the cap is reached or somebody waits already.
    pub(super) fn try_credit(self: &Rc<Self>, state: &Arc<ClusterState>) -> Option<Credit<S>> {
        state.try_take().then(|| Credit::new(self, state))
    }

    /// A place in the cluster's queue, `None` when it is full.
    pub(super) fn try_join(self: &Rc<Self>, state: &Arc<ClusterState>, max: usize) -> Option<Place<S>> {
        let ticket = state.try_join(max)?;
        let waiter =
            Rc::new(Waiter { ticket, waker: Cell::default(), is_woken: Cell::new(false), granted: Cell::default() });
        let mut lines = self.lines.borrow_mut();
        let line = match lines.iter().position(|line| Arc::ptr_eq(&line.state, state)) {
            Some(at) => &mut lines[at],
            None => {
                lines.push(Line { state: Arc::clone(state), waiters: VecDeque::new() });
                lines.last_mut().expect("one was just pushed")
            }
        };
        line.waiters.push_back(Rc::clone(&waiter));
        if line.waiters.len() == 1 {
            state.set_head(self.worker, Some(ticket));
        }
        Some(Place { queues: Rc::clone(self), state: Arc::clone(state), waiter, is_left: Cell::new(false) })
    }

    /// Asks another worker that keeps an idle connection of this cluster to close it; call it from within the queue.
    pub(super) fn reclaim(&self, state: &Arc<ClusterState>) {
        if let Some(worker) = state.idle_elsewhere(self.worker) {
            (self.tell)(worker, Call::Reclaim(Arc::clone(state)));
        }
    }

    /// Hands a connection that would rest to the first of all who wait, if that one waits here.
    pub(super) fn grant(&self, upstream: Lease<S>) -> Option<Lease<S>> {
        let state = &upstream.credit.state;
        // Above a limit that was lowered it is to be closed, whoever waits.
        if state.waiting() == 0 || !state.is_first(self.worker) || state.is_over() {
            return Some(upstream);
        }
        let lines = self.lines.borrow();
        let line = lines.iter().find(|line| Arc::ptr_eq(&line.state, state));
        // One that was granted a connection is on its way out of the queue.
        let first = line.and_then(|line| line.waiters.front()).filter(|first| !first.has_grant());
        let Some(first) = first else { return Some(upstream) };
        // Nobody uses it before the waiter takes it.
        upstream.credit.set_idle(true);
        first.granted.set(Some(upstream));
        first.wake();
        None
    }

    /// Wakes the first who waits here for a connection of this cluster.
    pub(super) fn wake_first(&self, state: &Arc<ClusterState>) {
        let lines = self.lines.borrow();
        if let Some(first) =
            lines.iter().find(|line| Arc::ptr_eq(&line.state, state)).and_then(|line| line.waiters.front())
        {
            first.wake();
        }
    }

    /// Wakes the first of every queue: a reload may have raised a cap.
    pub(super) fn wake_all(&self) {
        for first in self.lines.borrow().iter().filter_map(|line| line.waiters.front()) {
            first.wake();
        }
    }

    fn wake(&self, worker: Option<usize>, state: &Arc<ClusterState>) {
        match worker {
            None => {}
            Some(worker) if worker == self.worker => self.wake_first(state),
            Some(worker) => (self.tell)(worker, Call::Wake(Arc::clone(state))),
        }
    }

    fn remove(&self, state: &Arc<ClusterState>, waiter: &Rc<Waiter<S>>, is_served: bool) {
        let mut lines = self.lines.borrow_mut();
        let at =
            lines.iter().position(|line| Arc::ptr_eq(&line.state, state)).expect("a line lasts while it is waited in");
        let waiters = &mut lines[at].waiters;
        let was_first = waiters.front().is_some_and(|first| Rc::ptr_eq(first, waiter));
        waiters.retain(|other| !Rc::ptr_eq(other, waiter));
        let first = waiters.front().map(|first| first.ticket);
        if first.is_none() {
            drop(lines.swap_remove(at));
        }
        drop(lines);
        if was_first {
            state.set_head(self.worker, first);
        }
        self.wake(if is_served { state.on_served() } else { state.on_left() }, state);
    }
}

impl<S: Stream> Waiter<S> {
    fn wake(&self) {
        self.is_woken.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn has_grant(&self) -> bool {
        let granted = self.granted.take();
        let has = granted.is_some();
        self.granted.set(granted);
        has
    }
}

/// A place in a queue, left by drop.
pub(super) struct Place<S: Stream> {
    queues: Rc<Queues<S>>,
    state: Arc<ClusterState>,
    waiter: Rc<Waiter<S>>,
    is_left: Cell<bool>,
}

impl<S: Stream> Place<S> {
    /// Completes when it is this one's turn; may be dropped and called again.
    pub(super) async fn turn(&self) -> Turn<S> {
        poll_fn(|poller| {
            if let Some(upstream) = self.waiter.granted.take() {
                self.leave(false);
                upstream.credit.set_idle(false);
                return Poll::Ready(Turn::Connection(upstream));
            }
            self.waiter.is_woken.set(false);
            self.waiter.waker.set(Some(poller.waker().clone()));
            if self.is_first_here() && self.state.try_take_turn(self.queues.worker) {
                let credit = Credit::new(&self.queues, &self.state);
                self.leave(true);
                return Poll::Ready(Turn::Credit(credit));
            }
            Poll::Pending
        })
        .await
    }

    fn is_first_here(&self) -> bool {
        let lines = self.queues.lines.borrow();
        let line = lines.iter().find(|line| Arc::ptr_eq(&line.state, &self.state));
        line.and_then(|line| line.waiters.front()).is_some_and(|first| Rc::ptr_eq(first, &self.waiter))
    }

    /// `is_served`: its turn was taken with a credit.
    fn leave(&self, is_served: bool) {
        if !self.is_left.replace(true) {
            self.queues.remove(&self.state, &self.waiter, is_served);
        }
    }
}

impl<S: Stream> Drop for Place<S> {
    fn drop(&mut self) {
        self.leave(false);
        // A connection granted to one who left in the same moment goes on to the next, or its credit does.
        if let Some(upstream) = self.waiter.granted.take() {
            drop(self.queues.grant(upstream));
        }
    }
}

/// Leave to have one connection of a cluster open, given back by drop.
pub(super) struct Credit<S: Stream> {
    queues: Rc<Queues<S>>,
    pub(super) state: Arc<ClusterState>,
    is_idle: Cell<bool>,
}

impl<S: Stream> Credit<S> {
    fn new(queues: &Rc<Queues<S>>, state: &Arc<ClusterState>) -> Self {
        Self { queues: Rc::clone(queues), state: Arc::clone(state), is_idle: Cell::new(false) }
    }

    /// Is there a cap that it counts toward?
    pub(super) fn is_capped(&self) -> bool {
        self.state.limit() != 0
    }

    /// Told that its connection begins or ends a rest.
    pub(super) fn set_idle(&self, is_idle: bool) {
        if self.is_idle.replace(is_idle) != is_idle {
            self.state.on_idle(self.queues.worker, is_idle);
        }
    }
}

impl<S: Stream> Drop for Credit<S> {
    fn drop(&mut self) {
        let named = self.state.on_released();
        self.set_idle(false);
        self.queues.wake(named, &self.state);
    }
}
