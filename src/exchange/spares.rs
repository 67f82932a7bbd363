//! Things that a worker keeps for whoever needs one next.

use std::cell::{Cell, RefCell};

use crate::limits;

/// Things that are lent and given back.
pub(super) struct Spares<T> {
    kept: RefCell<Vec<T>>,
    /// Fewest of them at hand since the last trim: nobody needed those.
    fewest: Cell<usize>,
}

impl<T> Default for Spares<T> {
    fn default() -> Self {
        Self { kept: RefCell::default(), fewest: Cell::new(0) }
    }
}

impl<T> Spares<T> {
    /// The one given back last, if there is any.
    pub(super) fn try_lend(&self) -> Option<T> {
        let mut kept = self.kept.borrow_mut();
        let lent = kept.pop();
        self.fewest.set(self.fewest.get().min(kept.len()));
        lent
    }

    /// Takes one back.
    pub(super) fn give_back(&self, spare: T) {
        let mut kept = self.kept.borrow_mut();
        if kept.len() < limits::BUFFERS_KEPT {
            kept.push(spare);
        }
    }

    /// Frees half of those that nobody needed since the last trim.
    pub(super) fn trim(&self) {
        let mut kept = self.kept.borrow_mut();
        let left = kept.len() - self.fewest.get().div_ceil(2).min(kept.len());
        let unneeded = kept.split_off(left);
        self.fewest.set(left);
        drop(kept);
        drop(unneeded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_last_is_lent_first() {
        let spares = Spares::default();
        assert_eq!(spares.try_lend(), None);
        spares.give_back(1);
        spares.give_back(2);
        assert_eq!((spares.try_lend(), spares.try_lend(), spares.try_lend()), (Some(2), Some(1), None));
    }

    #[test]
    fn what_nobody_needs_is_freed_over_time_and_what_is_in_use_stays() {
        let spares = Spares::default();
        (0..100).for_each(|number| spares.give_back(number));
        spares.trim();
        for _ in 0..10 {
            let lent = (spares.try_lend(), spares.try_lend());
            [lent.0, lent.1].into_iter().flatten().for_each(|one| spares.give_back(one));
            spares.trim();
        }
        assert_eq!(spares.kept.borrow().len(), 2);
    }

    #[test]
    fn no_more_are_kept_than_a_worker_may_keep() {
        let spares = Spares::default();
        (0..2 * limits::BUFFERS_KEPT).for_each(|number| spares.give_back(number));
        assert_eq!(spares.kept.borrow().len(), limits::BUFFERS_KEPT);
    }
}
