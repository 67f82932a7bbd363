//! Which name is asked for next, and when; pure.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Due times of names, in milliseconds of one clock that never goes back.
///
/// Invariant: a name that is being asked for is known and not due.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// `None` while it is being asked for.
    names: HashMap<Arc<str>, Option<u64>>,
    due: BTreeSet<(u64, Arc<str>)>,
}

impl Schedule {
    /// Told that `name`, new or known, is due at `at_ms`.
    pub(super) fn on_due(&mut self, name: &Arc<str>, at_ms: u64) {
        if let Some(Some(before_ms)) = self.names.insert(Arc::clone(name), Some(at_ms)) {
            self.due.remove(&(before_ms, Arc::clone(name)));
        }
        self.due.insert((at_ms, Arc::clone(name)));
        self.check_invariants();
    }

    /// Told that `name` must not wait beyond `at_ms`; one that is being asked for is left alone.
    pub(super) fn on_due_by(&mut self, name: &Arc<str>, at_ms: u64) {
        if self.due_ms(name).is_some_and(|due_ms| due_ms > at_ms) {
            self.on_due(name, at_ms);
        }
    }

    /// Told that nobody wants `name` any more.
    pub(super) fn on_removed(&mut self, name: &Arc<str>) {
        if let Some(Some(due_ms)) = self.names.remove(name) {
            self.due.remove(&(due_ms, Arc::clone(name)));
        }
        self.check_invariants();
    }

    /// A name that is due, the longest waiting first; from here on it is being asked for.
    pub(super) fn try_next(&mut self, now_ms: u64) -> Option<Arc<str>> {
        if self.next_ms()? > now_ms {
            return None;
        }
        let (_, name) = self.due.pop_first()?;
        self.names.insert(Arc::clone(&name), None);
        self.check_invariants();
        Some(name)
    }

    /// When the next name is due.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.due.first().map(|(due_ms, _)| *due_ms)
    }

    /// When `name` is due, `None` while it is being asked for or when it is not known.
    pub(super) fn due_ms(&self, name: &str) -> Option<u64> {
        self.names.get(name).copied().flatten()
    }

    fn check_invariants(&self) {
        debug_assert_eq!(self.due.len(), self.names.values().flatten().count(), "every due time is its name's");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::rng::Rng;

    fn name(text: &str) -> Arc<str> {
        Arc::from(text)
    }

    #[test]
    fn names_are_taken_when_due_and_the_longest_waiting_first() {
        let mut schedule = Schedule::default();
        schedule.on_due(&name("b"), 20);
        schedule.on_due(&name("a"), 10);
        assert_eq!((schedule.next_ms(), schedule.try_next(9)), (Some(10), None));
        assert_eq!(schedule.try_next(20), Some(name("a")));
        assert_eq!(schedule.try_next(20), Some(name("b")));
        assert_eq!((schedule.try_next(u64::MAX), schedule.next_ms()), (None, None));
    }

    #[test]
    fn a_name_that_is_being_asked_for_is_not_taken_again() {
        let mut schedule = Schedule::default();
        schedule.on_due(&name("a"), 10);
        assert!(schedule.try_next(10).is_some());
        schedule.on_due_by(&name("a"), 0);
        assert_eq!((schedule.try_next(u64::MAX), schedule.due_ms("a")), (None, None));
        schedule.on_due(&name("a"), 30);
        assert_eq!(schedule.due_ms("a"), Some(30));
    }

    #[test]
    fn a_due_time_is_only_ever_brought_forward_by_a_limit() {
        let mut schedule = Schedule::default();
        schedule.on_due(&name("a"), 10);
        schedule.on_due_by(&name("a"), 20);
        assert_eq!(schedule.due_ms("a"), Some(10));
        schedule.on_due_by(&name("a"), 5);
        assert_eq!(schedule.due_ms("a"), Some(5));
        schedule.on_due_by(&name("nobody"), 5);
        assert_eq!(schedule.due_ms("nobody"), None);
    }

    /// Against a map that is searched from end to end: 20,000 random steps over nine names.
    #[test]
    fn any_sequence_gives_what_a_plain_map_gives() {
        let mut rng = Rng::from_seed(5);
        let mut schedule = Schedule::default();
        let mut model: BTreeMap<Arc<str>, Option<u64>> = BTreeMap::new();
        for _ in 0..20_000 {
            let (one, at_ms) = (name(&rng.below(9).to_string()), rng.below(50));
            match rng.below(4) {
                0 => {
                    schedule.on_due(&one, at_ms);
                    model.insert(one, Some(at_ms));
                }
                1 => {
                    schedule.on_due_by(&one, at_ms);
                    if let Some(Some(due_ms)) = model.get_mut(&one) {
                        *due_ms = at_ms.min(*due_ms);
                    }
                }
                2 => {
                    schedule.on_removed(&one);
                    model.remove(&one);
                }
                _ => {
                    let due = model.iter().filter_map(|(name, due)| Some(((*due)?, Arc::clone(name)))).min();
                    let expected = due.filter(|(due_ms, _)| *due_ms <= at_ms).map(|(_, name)| name);
                    if let Some(name) = &expected {
                        model.insert(Arc::clone(name), None);
                    }
                    assert_eq!(schedule.try_next(at_ms), expected);
                }
            }
            assert_eq!(schedule.next_ms(), model.values().flatten().min().copied());
        }
    }
}
