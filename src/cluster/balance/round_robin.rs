//! In turn: each fit endpoint once a round, a ramping one in a part of the rounds.

use super::{Candidates, FULL_SHARE};

/// Takes the endpoints in turn, whatever their weights.
///
/// An endpoint below full share (only a ramping one is) saves its share at each of its turns and takes the turn that
/// fills it; the others let it pass. With weights above 1 an endpoint counts as ramped up at the share of weight 1.
#[derive(Debug)]
pub(super) struct RoundRobin {
    next: usize,
    seats: Vec<Seat>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seat {
    /// Below [`FULL_SHARE`] between picks.
    saved: u32,
    /// As the round under way read it; 0 is unfit.
    share: u32,
}

impl RoundRobin {
    /// A cursor that begins at `start` modulo the number of endpoints.
    pub(super) const fn new(start: u32) -> Self {
        Self { next: start as usize, seats: Vec::new() }
    }

    /// The next endpoint whose turn it is; constant time when that one is at full share.
    ///
    /// The cursor goes on behind the endpoint picked, so those that stand behind an unfit one get no more than
    /// their share.
    pub(super) fn try_pick(&mut self, candidates: &impl Candidates) -> Option<usize> {
        let count = candidates.count();
        let begin = self.next.checked_rem(count)?;
        if self.seats.len() != count {
            self.seats.clear();
            self.seats.resize(count, Seat::default());
        }
        let picked = self.round(begin, candidates).or_else(|| self.later_round(begin))?;
        self.next = picked + 1;
        Some(picked)
    }

    /// One round from `begin`: the first whose turn it is.
    fn round(&mut self, begin: usize, candidates: &impl Candidates) -> Option<usize> {
        (begin..self.seats.len()).chain(0..begin).find(|at| {
            let seat = &mut self.seats[*at];
            seat.share = candidates.share(*at).min(FULL_SHARE);
            seat.share == FULL_SHARE || seat.try_turn()
        })
    }

    /// When a whole round passed without a pick, all that are fit ramp: the pick of the first round that has one.
    fn later_round(&mut self, begin: usize) -> Option<usize> {
        let is_fit = |seat: &&mut Seat| seat.share > 0;
        let rounds = self.seats.iter_mut().filter(is_fit).map(|seat| seat.rounds_left()).min()?;
        for seat in self.seats.iter_mut().filter(is_fit) {
            seat.saved += seat.share * (rounds - 1);
        }
        (begin..self.seats.len()).chain(0..begin).find(|at| self.seats[*at].try_turn())
    }
}

impl Seat {
    /// Whether it takes this turn of its own.
    const fn try_turn(&mut self) -> bool {
        let saved = self.saved + self.share;
        self.saved = saved % FULL_SHARE;
        saved >= FULL_SHARE
    }

    /// Rounds until it takes a turn, at least 1; its share is above 0.
    const fn rounds_left(&self) -> u32 {
        (FULL_SHARE - self.saved).div_ceil(self.share)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Dice, Table};
    use super::*;

    fn picks(balance: &mut RoundRobin, table: &Table, rounds: usize) -> Vec<usize> {
        (0..rounds).map(|_| balance.try_pick(table).unwrap()).collect()
    }

    #[test]
    fn endpoints_come_in_turn_from_the_start_given() {
        let table = Table::of_shares(&[1000; 3]);
        assert_eq!(picks(&mut RoundRobin::new(0), &table, 7), [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(picks(&mut RoundRobin::new(5), &table, 4), [2, 0, 1, 2]);
        assert_eq!(picks(&mut RoundRobin::new(u32::MAX), &Table::of_shares(&[1000]), 3), [0, 0, 0]);
    }

    #[test]
    fn weights_do_not_matter() {
        assert_eq!(picks(&mut RoundRobin::new(0), &Table::of_shares(&[5000, 1000, 900_000]), 6), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn the_fit_share_the_load_of_the_unfit_evenly() {
        let table = Table::of_shares(&[1000, 0, 0, 1000, 1000]);
        let picks = picks(&mut RoundRobin::new(1), &table, 300);
        for endpoint in [0, 3, 4] {
            assert_eq!(picks.iter().filter(|pick| **pick == endpoint).count(), 100);
        }
    }

    #[test]
    fn only_the_endpoint_at_the_cursor_is_looked_at_when_it_is_fit() {
        let table = Table::of_shares(&[1000; 9]);
        let mut balance = RoundRobin::new(0);
        for round in 0..40 {
            assert_eq!(balance.try_pick(&table), Some(round % 9));
            assert_eq!(table.looks(), round + 1);
        }
    }

    #[test]
    fn a_ramping_endpoint_takes_its_part_of_the_rounds_and_the_others_stay_even() {
        for share in [1, 100, 250, 333, 999] {
            let picks = picks(&mut RoundRobin::new(0), &Table::of_shares(&[1000, share, 1000]), 30_000);
            let count = |endpoint| picks.iter().filter(|pick| **pick == endpoint).count();
            let rounds = count(0);
            assert!(rounds.abs_diff(count(2)) <= 1, "share {share}");
            assert!(count(1).abs_diff(rounds * share as usize / 1000) <= 1, "share {share}: {}", count(1));
        }
    }

    #[test]
    fn endpoints_that_all_ramp_share_by_their_ramps() {
        let picks = picks(&mut RoundRobin::new(1), &Table::of_shares(&[100, 0, 300, 200]), 6_000);
        let count = |endpoint| picks.iter().filter(|pick| **pick == endpoint).count();
        for (endpoint, turns) in [(0, 1_000), (1, 0), (2, 3_000), (3, 2_000)] {
            assert!(usize::abs_diff(count(endpoint), turns) <= 2, "{endpoint}: {}", count(endpoint));
        }
    }

    #[test]
    fn nothing_is_picked_when_none_is_fit_or_there_are_none() {
        assert_eq!(RoundRobin::new(9).try_pick(&Table::of_shares(&[0; 4])), None);
        assert_eq!(RoundRobin::new(9).try_pick(&Table::of_shares(&[])), None);
    }

    #[test]
    fn a_cluster_that_shrinks_keeps_the_cursor_within_it() {
        let mut balance = RoundRobin::new(4);
        assert_eq!(picks(&mut balance, &Table::of_shares(&[1000; 5]), 1), [4]);
        assert_eq!(picks(&mut balance, &Table::of_shares(&[1000; 2]), 3), [1, 0, 1]);
    }

    #[test]
    fn picks_after_the_first_keep_their_storage() {
        let (mut balance, mut dice) = (RoundRobin::new(0), Dice::new(2));
        balance.try_pick(&Table::random(&mut dice, 8));
        let storage = (balance.seats.as_ptr(), balance.seats.capacity());
        for _ in 0..1_000 {
            balance.try_pick(&Table::random(&mut dice, 8));
        }
        assert_eq!((balance.seats.as_ptr(), balance.seats.capacity()), storage);
    }
}
