//! Which series a route or a cluster counts in: by its name, for the life of the process.
//!
//! A slot is never given to another name, so a reload that adds or moves some mixes no counters. When the slots are
//! used up, further names share the series `other`, which is that of whatever is named so as well.

use std::collections::HashMap;

/// The name of the series of those that have none of their own. No two series have one name.
pub(super) const SHARED: &str = "other";

/// Slots by name.
#[derive(Debug)]
pub(super) struct Series {
    most: usize,
    slots: HashMap<String, usize>,
    names: Vec<String>,
}

impl Series {
    /// None of `most` slots is taken.
    pub(super) fn new(most: usize) -> Self {
        Self { most, slots: HashMap::new(), names: Vec::new() }
    }

    /// The slot of a name; `most` when all are taken.
    pub(super) fn slot(&mut self, name: &str) -> usize {
        if let Some(slot) = self.slots.get(name) {
            return *slot;
        }
        let slot = if name == SHARED { self.most } else { self.names.len() };
        if slot < self.most {
            self.slots.insert(name.to_owned(), slot);
            self.names.push(name.to_owned());
        }
        slot
    }

    /// Names by slot.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_slot_whatever_is_added_or_removed() {
        let mut series = Series::new(8);
        assert_eq!([series.slot("a"), series.slot("b")], [0, 1]);
        assert_eq!([series.slot("c"), series.slot("b"), series.slot("a")], [2, 1, 0]);
        assert_eq!(series.names(), ["a", "b", "c"]);
    }

    #[test]
    fn what_is_named_like_the_shared_series_counts_in_it() {
        let mut series = Series::new(8);
        assert_eq!([series.slot("a"), series.slot("other"), series.slot("b")], [0, 8, 1]);
        assert_eq!(series.names(), ["a", "b"]);
    }

    #[test]
    fn names_beyond_the_last_slot_share_one() {
        let mut series = Series::new(8);
        let shared = 8;
        for index in 0..shared {
            assert_eq!(series.slot(&index.to_string()), index);
        }
        assert_eq!(series.slot("one more"), shared);
        assert_eq!(series.slot("another"), shared);
        assert_eq!(series.names().len(), shared);
    }
}
