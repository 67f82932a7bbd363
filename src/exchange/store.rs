//! Limits that a store keeps: asking it through the control side, and waiting for its answer.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::bell::Bell;
use super::proofs::PasswordAsk;
use crate::limits;
use crate::policy::limit::{Charge, Granted, Key, Leases, StoreError};

/// A question of a worker to a store.
#[derive(Debug)]
pub struct StoreAsk {
    /// Who asks.
    pub worker: usize,
    /// Comes back with the answer.
    pub ticket: u64,
    /// The store's URL.
    pub store: Arc<str>,
    /// What is asked.
    pub charge: Charge,
    /// Longest wait in milliseconds.
    pub patience_ms: u64,
}

/// What a worker asks of the control side.
#[derive(Debug)]
pub enum Question {
    /// Of a store.
    Store(StoreAsk),
    /// Is this password right?
    Password(PasswordAsk),
}

/// Hands a question to the control side; false when there is no room for it.
pub type Ask = Arc<dyn Fn(Question) -> bool + Send + Sync>;

/// What a store says, or why it says nothing.
pub(super) type Answer = Result<Granted, StoreError>;

/// Rings when a store has answered.
pub(super) type AnswerBell = Bell<Answer>;

/// What one worker has asked of stores, and what it holds of their limits.
pub(super) struct Asked {
    worker: usize,
    ask: Ask,
    pub(super) leases: RefCell<Leases>,
    next: Cell<u64>,
    tickets: RefCell<HashMap<u64, Asking>>,
    /// Who waits for a lease of a key that has been asked for.
    bells: RefCell<HashMap<Key, Rc<AnswerBell>>>,
    /// Stores that had no answer of late, and when they are asked again.
    resting: RefCell<Vec<(Arc<str>, u64)>>,
}

/// One who waits for a lease.
pub(super) struct Waiter<'a> {
    asked: &'a Asked,
    key: Key,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.asked.leases.borrow_mut().on_waited(self.key);
    }
}

struct Asking {
    bell: Rc<AnswerBell>,
    store: Arc<str>,
    /// The key of a lease and the period of its limit.
    lease: Option<(Key, u64)>,
    asked_ms: u64,
}

impl Asked {
    pub(super) fn new(worker: usize, ask: Ask) -> Self {
        Self {
            worker,
            ask,
            leases: RefCell::default(),
            next: Cell::new(0),
            tickets: RefCell::default(),
            bells: RefCell::default(),
            resting: RefCell::default(),
        }
    }

    /// Asks, for one request or for a lease of a key.
    ///
    /// # Errors
    /// The store had no answer of late, or too many questions are on their way.
    pub(super) fn ask(
        &self,
        store: &Arc<str>,
        charge: Charge,
        lease: Option<(Key, u64)>,
        patience_ms: u64,
        now_ms: u64,
    ) -> Result<(u64, Rc<AnswerBell>), StoreError> {
        if self.is_resting(store, now_ms) {
            return Err(self.refused(lease, StoreError::Resting));
        }
        if self.tickets.borrow().len() >= limits::STORE_ASKS {
            self.forget_older_than(now_ms.saturating_sub(limits::STORE_FORGET_MS));
        }
        let ticket = self.next.replace(self.next.get() + 1);
        let has_room = self.tickets.borrow().len() < limits::STORE_ASKS;
        let store_ask = StoreAsk { worker: self.worker, ticket, store: Arc::clone(store), charge, patience_ms };
        let question = Question::Store(store_ask);
        if !has_room || !(self.ask)(question) {
            return Err(self.refused(lease, StoreError::Crowded));
        }
        let bell = Rc::new(Bell::default());
        if let Some((key, _)) = lease {
            self.bells.borrow_mut().insert(key, Rc::clone(&bell));
        }
        self.tickets
            .borrow_mut()
            .insert(ticket, Asking { bell: Rc::clone(&bell), store: Arc::clone(store), lease, asked_ms: now_ms });
        Ok((ticket, bell))
    }

    fn refused(&self, lease: Option<(Key, u64)>, why: StoreError) -> StoreError {
        if let Some((key, _)) = lease {
            self.leases.borrow_mut().on_failed(key);
        }
        why
    }

    fn is_resting(&self, store: &Arc<str>, now_ms: u64) -> bool {
        self.resting.borrow().iter().any(|(known, until_ms)| now_ms < *until_ms && known == store)
    }

    /// Nobody asks a store that had no answer for a while: what is known need not be asked by way of control.
    fn on_told(&self, store: Arc<str>, is_answer: bool, now_ms: u64) {
        let mut resting = self.resting.borrow_mut();
        resting.retain(|(known, _)| *known != store);
        if !is_answer {
            resting.push((store, now_ms + limits::STORE_REST_MS));
        }
    }

    /// One more waits for the lease of a key that was asked for, and is counted for as long as it keeps what this gives beside
    /// what is rung when the lease is there.
    pub(super) fn waits_for(&self, key: Key) -> Option<(Waiter<'_>, Rc<AnswerBell>)> {
        let bell = self.bell_of(key)?;
        self.leases.borrow_mut().on_waits(key);
        Some((Waiter { asked: self, key }, bell))
    }

    /// What is rung when the lease of a key that was asked for is there.
    fn bell_of(&self, key: Key) -> Option<Rc<AnswerBell>> {
        self.bells.borrow().get(&key).map(Rc::clone)
    }

    /// The answer came; one that nobody waits for any more is dropped, and what it grants with it.
    pub(super) fn on_answered(&self, ticket: u64, answer: Result<Granted, StoreError>, now_ns: u64) {
        let Some(asking) = self.tickets.borrow_mut().remove(&ticket) else { return };
        self.on_told(asking.store, answer.is_ok(), now_ns / 1_000_000);
        if let Some((key, period_ns)) = asking.lease {
            match answer {
                Ok(granted) => self.leases.borrow_mut().on_granted(key, &granted, period_ns, now_ns),
                Err(_) => self.leases.borrow_mut().on_failed(key),
            }
            self.bells.borrow_mut().remove(&key);
        }
        asking.bell.ring(answer);
    }

    /// Nobody waits for this one any more.
    pub(super) fn forget(&self, ticket: u64) {
        self.tickets.borrow_mut().remove(&ticket);
    }

    /// The answer to the question about this key is overdue: it may be asked again.
    pub(super) fn give_up(&self, key: Key) {
        self.bells.borrow_mut().remove(&key);
        self.leases.borrow_mut().on_failed(key);
    }

    #[cold]
    fn forget_older_than(&self, ms: u64) {
        let mut forgotten = Vec::new();
        self.tickets.borrow_mut().retain(|_, asking| {
            let is_kept = asking.asked_ms >= ms;
            forgotten.extend(asking.lease.filter(|_| !is_kept).map(|(key, _)| key));
            is_kept
        });
        forgotten.into_iter().for_each(|key| self.give_up(key));
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::mpsc;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use super::*;
    use crate::policy::limit::{Algorithm, Taken};

    fn charge() -> Charge {
        let algorithm = Algorithm::SlidingWindow;
        Charge { key: b"k".to_vec(), algorithm, limit: 5, period: Duration::from_secs(1), want: 1 }
    }

    fn granted() -> Granted {
        Granted { granted: 1, left: 4, reset: Duration::from_secs(1), retry: Duration::ZERO }
    }

    #[test]
    fn an_answer_wakes_all_who_wait_for_it_and_comes_once() {
        let (sender, seen) = mpsc::channel();
        let asked = Asked::new(
            3,
            Arc::new(
                move |question| matches!(question, Question::Store(ask) if sender.send((ask.worker, ask.ticket)).is_ok()),
            ),
        );
        let (key, url) = (Key::from_hash(1, 1), Arc::from("redis://a"));
        assert_eq!(asked.leases.borrow_mut().take(key, 5, 0), Taken::Wait(1));
        let (ticket, bell) = asked.ask(&url, charge(), Some((key, 1_000_000_000)), 50, 0).expect("room");
        assert_eq!(seen.try_iter().collect::<Vec<_>>(), [(3, ticket)]);
        let other = asked.bell_of(key).expect("it rings for all");
        let mut poller = Context::from_waker(Waker::noop());
        assert!(
            pin!(bell.heard()).poll(&mut poller).is_pending() && pin!(other.heard()).poll(&mut poller).is_pending()
        );
        asked.on_answered(ticket, Ok(granted()), 1);
        assert_eq!(pin!(bell.heard()).poll(&mut poller), Poll::Ready(Ok(granted())));
        assert_eq!(pin!(other.heard()).poll(&mut poller), Poll::Ready(Ok(granted())));
        assert!(asked.bell_of(key).is_none());
        asked.on_answered(ticket, Ok(granted()), 1);
        assert!(matches!(asked.leases.borrow_mut().take(key, 5, 2), Taken::Decided(one, _) if one.allowed));
        assert_eq!(asked.leases.borrow_mut().take(key, 5, 3), Taken::Wait(0), "one token, and the next is asked for");
    }

    #[test]
    fn a_question_that_finds_no_room_leaves_nothing_behind_and_old_ones_make_room() {
        let asked = Asked::new(0, Arc::new(|question| matches!(question, Question::Store(ask) if ask.charge.want > 0)));
        let (key, url) = (Key::from_hash(1, 1), Arc::from("redis://a"));
        let refused = Charge { want: 0, ..charge() };
        assert_eq!(asked.leases.borrow_mut().take(key, 5, 0), Taken::Wait(1));
        assert_eq!(asked.ask(&url, refused, Some((key, 1)), 50, 0).err(), Some(StoreError::Crowded));
        assert!(asked.bell_of(key).is_none());
        assert_eq!(asked.leases.borrow_mut().take(key, 5, 0), Taken::Wait(1), "it may be asked for again");
        for _ in 0..limits::STORE_ASKS {
            assert!(asked.ask(&url, charge(), None, 50, 7).is_ok());
        }
        assert!(asked.ask(&url, charge(), None, 50, 8).is_err());
        assert!(asked.ask(&url, charge(), None, 50, 8 + limits::STORE_FORGET_MS).is_ok());
        assert_eq!(asked.tickets.borrow().len(), 1);
    }

    #[test]
    fn a_store_that_had_no_answer_is_left_alone_for_a_while_and_others_are_not() {
        let asked = Asked::new(0, Arc::new(|_question| true));
        let (one, other) = (Arc::from("redis://a"), Arc::from("redis://b"));
        let (ticket, _bell) = asked.ask(&one, charge(), None, 50, 0).expect("room");
        asked.on_answered(ticket, Err(StoreError::TimedOut), 1_000_000);
        assert_eq!(asked.ask(&one, charge(), None, 50, limits::STORE_REST_MS).err(), Some(StoreError::Resting));
        assert!(asked.ask(&other, charge(), None, 50, 2).is_ok());
        let (ticket, _bell) =
            asked.ask(&one, charge(), None, 50, 1 + limits::STORE_REST_MS).expect("it is asked again");
        asked.on_answered(ticket, Ok(granted()), 2_000_000);
        assert!(asked.ask(&one, charge(), None, 50, 3).is_ok());
    }
}
