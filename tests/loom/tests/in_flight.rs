//! What is in flight is counted by its worker alone, and read by others without a lock.

use ringgate_loom::{Cell, EndpointId, Fleet, Probe};

use crate::meet;

const ID: EndpointId = EndpointId(0);

/// All that the counts of `a_reader_...` are, in their order.
const HISTORY: [u32; 7] = [0, 1, 2, 1, 2, 1, 0];

#[test]
fn a_reader_sees_counts_that_were_true_in_the_order_they_were() {
    fn work(cell: &Cell) {
        for pair in HISTORY.windows(2) {
            if pair[0] < pair[1] { cell.begin() } else { cell.end() }
        }
    }
    fn read(cell: &Cell) {
        let mut since = 0;
        for _ in 0..3 {
            let seen = cell.in_flight();
            let later = HISTORY[since..].iter().position(|count| *count == seen);
            since += later.unwrap_or_else(|| panic!("{seen} was not true, or no longer"));
        }
    }
    meet(6, Cell::default, [work, read], |cell, _| assert_eq!(cell.in_flight(), 0));
}

#[test]
fn a_sum_over_workers_is_of_counts_that_each_was_true() {
    fn fleet() -> Fleet {
        let fleet = Fleet::new(3);
        fleet.on_assigned(ID, Probe::Unprobed, 0, false);
        fleet.cell(1, ID).begin();
        fleet
    }
    fn leave(fleet: &Fleet) -> u32 {
        fleet.cell(1, ID).end();
        fleet.in_flight_elsewhere(1, ID)
    }
    fn grow(fleet: &Fleet) -> u32 {
        fleet.cell(2, ID).begin();
        fleet.cell(2, ID).begin();
        fleet.in_flight_elsewhere(2, ID)
    }
    fn read(fleet: &Fleet) -> u32 {
        fleet.in_flight_elsewhere(0, ID)
    }
    meet(2, fleet, [leave, grow, read], |fleet, sums| {
        assert!(sums[0] <= 2 && sums[1] <= 1 && sums[2] <= 3, "{sums:?}");
        assert_eq!([0, 1, 2].map(|worker| fleet.in_flight_elsewhere(worker, ID)), [2, 2, 0]);
    });
}
