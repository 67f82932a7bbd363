//! Passwords: which are known, and who waits for one that the control side tries.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::bell::Bell;
use super::store::{Ask, Question};
use crate::limits;
use crate::policy::auth::{Cache, Identity, Login, Proof, Refused, UserBook, Users};

/// A password that a worker wants to have tried.
#[derive(Debug)]
pub struct PasswordAsk {
    /// Who asks.
    pub worker: usize,
    /// Comes back with the answer.
    pub ticket: u64,
    /// Who has which password.
    pub book: Arc<UserBook>,
    /// Whose it is said to be.
    pub login: Login,
    /// When nobody waits for it any more, in milliseconds of the monotonic clock.
    pub due_ms: u64,
}

/// What came of it: the number of the user, if it was right.
type Found = Option<usize>;

/// What one worker has asked to be tried, and what was refused.
pub(super) struct Proofs {
    worker: usize,
    ask: Ask,
    next: Cell<u64>,
    asking: RefCell<Vec<Asking>>,
    refused: RefCell<Refused>,
}

struct Asking {
    ticket: u64,
    users: Arc<Users>,
    proof: Proof,
    bell: Rc<Bell<Found>>,
    due_ms: u64,
}

impl Proofs {
    pub(super) fn new(worker: usize, ask: Ask) -> Self {
        Self { worker, ask, next: Cell::new(0), asking: RefCell::default(), refused: RefCell::default() }
    }

    /// Were these credentials refused a short while ago?
    pub(super) fn is_refused(&self, users: &Users, proof: &Proof, now_s: u64) -> bool {
        self.refused.borrow().has(users.stamp(), proof, now_s)
    }

    /// Has a password tried, or waits with whoever has asked about the same one; `None` when there is no room.
    pub(super) fn ask(&self, users: &Arc<Users>, proof: &Proof, login: Login, now_ms: u64) -> Option<Rc<Bell<Found>>> {
        let mut asking = self.asking.borrow_mut();
        // What is overdue may never be answered.
        asking.retain(|one| now_ms < one.due_ms);
        let same = asking.iter().find(|one| one.proof == *proof && one.users.stamp() == users.stamp());
        if let Some(one) = same {
            return Some(Rc::clone(&one.bell));
        }
        let ticket = self.next.replace(self.next.get() + 1);
        let due_ms = now_ms + limits::PASSWORD_WAIT_MS;
        let book = Arc::clone(&users.book);
        let question = Question::Password(PasswordAsk { worker: self.worker, ticket, book, login, due_ms });
        if asking.len() >= limits::PASSWORD_ASKS || !(self.ask)(question) {
            return None;
        }
        let bell = Rc::new(Bell::default());
        asking.push(Asking { ticket, users: Arc::clone(users), proof: *proof, bell: Rc::clone(&bell), due_ms });
        Some(bell)
    }

    /// The answer came; it is kept, whoever waits.
    pub(super) fn on_tried(&self, ticket: u64, found: Found, known: &RefCell<Cache>, now_s: u64) {
        let mut asking = self.asking.borrow_mut();
        let Some(place) = asking.iter().position(|one| one.ticket == ticket) else { return };
        let Asking { users, proof, bell, .. } = asking.swap_remove(place);
        match found.and_then(|number| users.identity(number)) {
            Some(identity) => {
                let (until_s, identity) = (now_s + limits::PASSWORD_KNOWN_S, Rc::new(Identity::clone(identity)));
                known.borrow_mut().on_verified(users.stamp(), &proof, until_s, identity, now_s);
            }
            None => self.refused.borrow_mut().on_refused(users.stamp(), proof, now_s),
        }
        bell.ring(found);
    }
}
