//! Which series of `/metrics` a route counts in: by its name, for the life of the process.
//!
//! A slot is never given to another name, so a reload that adds or moves routes mixes no counters. When the slots are
//! used up, further names share the series `other`.

use std::collections::HashMap;

use crate::limits;

/// Slots by route name.
#[derive(Debug, Default)]
pub(super) struct RouteSeries {
    slots: HashMap<String, usize>,
    names: Vec<String>,
}

impl RouteSeries {
    /// The slot of a route; `ROUTE_SERIES` when all are taken.
    pub(super) fn slot(&mut self, name: &str) -> usize {
        if let Some(slot) = self.slots.get(name) {
            return *slot;
        }
        let slot = self.names.len();
        if slot < limits::ROUTE_SERIES {
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
        let mut series = RouteSeries::default();
        assert_eq!([series.slot("a"), series.slot("b")], [0, 1]);
        assert_eq!([series.slot("c"), series.slot("b"), series.slot("a")], [2, 1, 0]);
        assert_eq!(series.names(), ["a", "b", "c"]);
    }

    #[test]
    fn names_beyond_the_last_slot_share_one() {
        let mut series = RouteSeries::default();
        let shared = limits::ROUTE_SERIES;
        for index in 0..shared {
            assert_eq!(series.slot(&index.to_string()), index);
        }
        assert_eq!(series.slot("one more"), shared);
        assert_eq!(series.slot("another"), shared);
        assert_eq!(series.names().len(), limits::ROUTE_SERIES);
    }
}
