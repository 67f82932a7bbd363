//! The least loaded: fewest exchanges in flight for the room an endpoint has.

use super::weighted::Turns;
use super::{Candidates, FULL_SHARE};

/// What the exchanges in flight are measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// The endpoint's share, so its weight.
    Share,
    /// The endpoint's capacity; the share while any fit endpoint has no cap.
    Capacity,
}

/// Picks the endpoint with the smallest quotient of exchanges in flight and room.
///
/// Those that are equally loaded, all of them when the cluster is idle, take turns by their room: one worker then
/// spreads its picks, and workers that began at different places do not herd.
#[derive(Debug)]
pub(super) struct Least {
    room: Room,
    loads: Vec<Load>,
    turns: Turns,
}

#[derive(Clone, Copy, Debug, Default)]
struct Load {
    in_flight: u32,
    /// 0 is unfit.
    room: u64,
}

impl Least {
    /// Nothing read yet; the turns among equals begin at `start`.
    pub(super) const fn new(room: Room, start: u32) -> Self {
        Self { room, loads: Vec::new(), turns: Turns::new(start) }
    }

    /// The least loaded endpoint with a share.
    pub(super) fn try_pick(&mut self, candidates: &impl Candidates) -> Option<usize> {
        self.turns.on_count(candidates.count());
        self.read(candidates);
        let (mut least, mut picked, mut is_tied) = (Load::default(), None, false);
        for (at, load) in self.loads.iter().enumerate().filter(|(_, load)| load.room > 0) {
            if picked.is_none() || load.is_below(least) {
                (least, picked, is_tied) = (*load, Some(at), false);
            } else if !least.is_below(*load) {
                is_tied = true;
            }
        }
        if !is_tied {
            return picked;
        }
        let loads = &self.loads;
        self.turns.try_pick(|at| if least.is_below(loads[at]) { 0 } else { loads[at].room })
    }

    /// Reads every endpoint once: a load that moves while endpoints are compared would make the least one vanish.
    fn read(&mut self, candidates: &impl Candidates) {
        let count = candidates.count();
        let by_capacity = self.room == Room::Capacity
            && (0..count).all(|at| candidates.capacity(at) > 0 || candidates.share(at) == 0);
        self.loads.clear();
        self.loads.extend((0..count).map(|at| {
            let share = candidates.share(at);
            let room = if by_capacity {
                u64::from(candidates.capacity(at).max(1)) * u64::from(share.min(FULL_SHARE))
            } else {
                u64::from(share)
            };
            Load { in_flight: candidates.in_flight(at), room }
        }));
    }
}

impl Load {
    /// Whether its quotient is smaller than that of `other`; an unfit one is below nothing.
    fn is_below(self, other: Self) -> bool {
        u128::from(self.in_flight) * u128::from(other.room) < u128::from(other.in_flight) * u128::from(self.room)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Dice, Table};
    use super::*;

    fn picks(least: &mut Least, table: &Table, rounds: usize) -> Vec<usize> {
        (0..rounds).map(|_| least.try_pick(table).unwrap()).collect()
    }

    #[test]
    fn the_fewest_in_flight_for_the_weight_is_picked() {
        let mut table = Table::of_shares(&[1000, 3000, 1000]);
        let mut least = Least::new(Room::Share, 0);
        for (in_flight, picked) in [([1, 2, 1], 1), ([1, 3, 0], 2), ([3, 10, 4], 0), ([1, 4, 2], 0)] {
            table.in_flight = in_flight.to_vec();
            assert_eq!(least.try_pick(&table), Some(picked), "{in_flight:?}");
        }
    }

    #[test]
    fn the_smallest_part_of_the_capacity_is_picked() {
        let mut table = Table::of_shares(&[1000; 3]);
        table.capacity = vec![10, 100, 1000];
        let mut least = Least::new(Room::Capacity, 0);
        for (in_flight, picked) in [([1, 9, 200], 1), ([0, 1, 1], 0), ([9, 90, 899], 2), ([20, 190, 2000], 1)] {
            table.in_flight = in_flight.to_vec();
            assert_eq!(least.try_pick(&table), Some(picked), "{in_flight:?}");
        }
    }

    #[test]
    fn without_a_cap_somewhere_weights_are_the_measure() {
        let mut table = Table::of_shares(&[1000, 3000]);
        table.capacity = vec![0, 1];
        table.in_flight = vec![1, 2];
        let mut least = Least::new(Room::Capacity, 0);
        assert_eq!(least.try_pick(&table), Some(1));
        let mut table = Table::of_shares(&[0, 1000, 1000]);
        table.capacity = vec![0, 1, 10];
        table.in_flight = vec![0, 1, 2];
        assert_eq!(least.try_pick(&table), Some(2), "an unfit one without a cap changes nothing");
    }

    #[test]
    fn an_idle_cluster_takes_turns_by_weight() {
        let table = Table::of_shares(&[5000, 1000, 1000]);
        assert_eq!(picks(&mut Least::new(Room::Share, 0), &table, 7), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(picks(&mut Least::new(Room::Capacity, 2), &table, 3), [1, 0, 2]);
    }

    #[test]
    fn an_idle_cluster_takes_turns_by_capacity() {
        let mut table = Table::of_shares(&[1000, 500, 1000]);
        table.capacity = vec![10, 20, 30];
        let picks = picks(&mut Least::new(Room::Capacity, 0), &table, 500);
        let count = |endpoint| picks.iter().filter(|pick| **pick == endpoint).count();
        assert_eq!([count(0), count(1), count(2)], [100, 100, 300]);
    }

    #[test]
    fn only_those_tied_for_least_take_turns() {
        let mut table = Table::of_shares(&[1000, 2000, 1000, 1000]);
        table.in_flight = vec![2, 4, 3, 2];
        let picks = picks(&mut Least::new(Room::Share, 0), &table, 40);
        let count = |endpoint| picks.iter().filter(|pick| **pick == endpoint).count();
        assert_eq!([count(0), count(1), count(2), count(3)], [10, 20, 0, 10]);
    }

    #[test]
    fn no_fit_endpoint_is_below_the_one_picked() {
        let mut dice = Dice::new(3);
        for room in [Room::Share, Room::Capacity] {
            let mut least = Least::new(room, 1);
            for _ in 0..5_000 {
                let table = Table::random(&mut dice, 6);
                let Some(picked) = least.try_pick(&table) else {
                    assert!(table.share.iter().all(|share| *share == 0));
                    continue;
                };
                let chosen = least.loads[picked];
                assert!(chosen.room > 0);
                assert!(least.loads.iter().all(|load| load.room == 0 || !load.is_below(chosen)), "{table:?}");
            }
        }
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let mut table = Table::of_shares(&[u32::MAX; 3]);
        table.capacity = vec![u32::MAX; 3];
        table.in_flight = vec![u32::MAX, u32::MAX - 1, u32::MAX];
        for room in [Room::Share, Room::Capacity] {
            assert_eq!(Least::new(room, 0).try_pick(&table), Some(1));
        }
    }

    #[test]
    fn picks_after_the_first_keep_their_storage() {
        let (mut least, mut dice) = (Least::new(Room::Capacity, 0), Dice::new(2));
        least.try_pick(&Table::random(&mut dice, 8));
        let storage = (least.loads.as_ptr(), least.loads.capacity());
        for _ in 0..1_000 {
            least.try_pick(&Table::random(&mut dice, 8));
        }
        assert_eq!((least.loads.as_ptr(), least.loads.capacity()), storage);
    }
}
