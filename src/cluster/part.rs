//! A cap that all workers share, kept exactly although they hardly ever ask one another.
//!
//! Half of it is shared out: every worker has as much as any other, which nobody takes from it. What is left is spare: who has used
//! up its share claims a place of that, keeps it while it needs it, and gives back now and then what it does not need. So all of
//! them together never keep more than the cap, one alone may keep more than half of it, and whoever keeps what it may writes nothing
//! that others read.

use super::atomics::{AtomicUsize, Ordering};

/// A cap, shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cap {
    /// What each worker has for itself.
    own: usize,
    /// What is claimed by whoever needs it.
    spare: usize,
}

impl Cap {
    /// What is left of a cap when what it was for is gone.
    pub const NONE: Self = Self { own: 0, spare: 0 };

    /// A cap of `most` over all of `workers`.
    #[must_use]
    pub const fn new(most: usize, workers: usize) -> Self {
        if workers <= 1 {
            return Self { own: most, spare: 0 };
        }
        let own = most / workers / 2;
        Self { own, spare: most - own * workers }
    }
}

/// One worker's part of what all may keep of one thing.
#[derive(Debug)]
pub struct Part<'a> {
    /// Of the spare places those that it has claimed; it alone writes.
    pub(super) claimed: &'a AtomicUsize,
    /// Those that all have claimed.
    pub(super) claimed_by_all: &'a AtomicUsize,
}

impl Part<'_> {
    /// How many it may keep, now that it has `kept` and another one has come.
    #[must_use]
    pub fn room(&self, kept: usize, cap: Cap) -> usize {
        let mut claimed = self.claimed.load(Ordering::Relaxed);
        if kept >= cap.own + claimed && self.try_claim(cap.spare) {
            claimed += 1;
            self.claimed.store(claimed, Ordering::Relaxed);
        }
        // A reload may have lowered the cap.
        cap.own + claimed.min(cap.spare)
    }

    /// Gives back what it does not need to keep as many as it has.
    pub fn trim(&self, kept: usize, cap: Cap) {
        let claimed = self.claimed.load(Ordering::Relaxed);
        let needed = claimed.min(kept.saturating_sub(cap.own));
        if needed < claimed {
            self.claimed.store(needed, Ordering::Relaxed);
            self.claimed_by_all.fetch_sub(claimed - needed, Ordering::Relaxed);
        }
    }

    fn try_claim(&self, most: usize) -> bool {
        let next = |claimed| (claimed < most).then_some(claimed + 1);
        self.claimed_by_all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Workers that keep as much as they may.
    struct Workers<const N: usize> {
        claimed_by_all: AtomicUsize,
        claimed: [AtomicUsize; N],
        kept: [usize; N],
    }

    impl<const N: usize> Workers<N> {
        fn new() -> Self {
            Self { claimed_by_all: AtomicUsize::new(0), claimed: [const { AtomicUsize::new(0) }; N], kept: [0; N] }
        }

        fn part(&self, worker: usize) -> Part<'_> {
            Part { claimed: &self.claimed[worker], claimed_by_all: &self.claimed_by_all }
        }

        fn comes(&mut self, worker: usize, cap: Cap) {
            if self.part(worker).room(self.kept[worker], cap) > self.kept[worker] {
                self.kept[worker] += 1;
            }
        }

        fn total(&self) -> usize {
            self.kept.iter().sum()
        }
    }

    #[test]
    fn all_together_keep_what_the_cap_says_whatever_it_is() {
        for most in 0..40 {
            let (mut workers, cap) = (Workers::<4>::new(), Cap::new(most, 4));
            for round in 0..160 {
                workers.comes(round % 4, cap);
                assert!(workers.total() <= most, "{most}");
            }
            assert_eq!(workers.total(), most);
        }
    }

    #[test]
    fn one_alone_keeps_more_than_half_and_leaves_the_others_their_shares() {
        let (mut workers, cap) = (Workers::<4>::new(), Cap::new(80, 4));
        for worker in [0, 1, 2, 3] {
            (0..200).for_each(|_| workers.comes(worker, cap));
        }
        assert_eq!(workers.kept, [50, 10, 10, 10]);
    }

    #[test]
    fn what_is_not_needed_any_more_goes_to_others() {
        let (mut workers, cap) = (Workers::<2>::new(), Cap::new(8, 2));
        (0..9).for_each(|_| workers.comes(0, cap));
        assert_eq!(workers.kept, [6, 0]);
        workers.kept[0] = 3;
        workers.part(0).trim(3, cap);
        (0..9).for_each(|_| workers.comes(1, cap));
        assert_eq!(workers.kept, [3, 5]);
        workers.part(0).trim(0, Cap::NONE);
        (0..9).for_each(|_| workers.comes(1, cap));
        assert_eq!(workers.kept, [3, 6], "three of the first are within its share and another");
    }

    #[test]
    fn a_cap_that_is_lowered_gives_no_room_for_what_was_claimed_under_another() {
        let mut workers = Workers::<2>::new();
        (0..9).for_each(|_| workers.comes(0, Cap::new(8, 2)));
        let lower = Cap::new(3, 2);
        assert_eq!(workers.part(0).room(6, lower), 3);
        assert_eq!(workers.part(1).room(0, lower), 0, "until the first has given back");
    }

    #[test]
    fn a_worker_that_is_alone_has_all_of_it() {
        let (mut workers, cap) = (Workers::<1>::new(), Cap::new(5, 1));
        (0..9).for_each(|_| workers.comes(0, cap));
        assert_eq!((workers.kept, workers.claimed_by_all.load(Ordering::Relaxed)), ([5], 0));
    }
}
