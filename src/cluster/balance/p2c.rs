//! The power of two choices: of two random endpoints, the cheaper one.

use core::cmp::Ordering;

use super::Candidates;

/// Comparisons in a row that an endpoint loses before it is picked once: its latency is as old as its last pick, and
/// one slow moment would otherwise keep it out for good.
const LOSSES: u16 = 256;

/// Draws two distinct fit endpoints, each pair as likely as any other, and picks the cheaper.
///
/// The cost is latency x (exchanges in flight + 1) / weight. An endpoint is in 2 of n pairs, so no weight brings it
/// more than that part of the requests, and an idle cluster goes by latency and weight alone.
///
/// | latency known | and in flight | counts as |
/// |---|---|---|
/// | yes | any | that latency |
/// | no | none | nothing: it is explored |
/// | no | some | that of the other, until the first response says more |
#[derive(Debug)]
pub(super) struct P2c {
    /// By endpoint: comparisons lost since its last pick.
    lost: Vec<u16>,
    fit: Vec<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Choice {
    at: usize,
    share: u32,
}

impl P2c {
    /// Nothing compared yet.
    pub(super) const fn new() -> Self {
        Self { lost: Vec::new(), fit: Vec::new() }
    }

    /// The cheaper of two; the only fit one where there is one.
    pub(super) fn try_pick(&mut self, candidates: &impl Candidates, mut draw: impl FnMut() -> u64) -> Option<usize> {
        let count = candidates.count();
        if self.lost.len() != count {
            self.lost.clear();
            self.lost.resize(count, 0);
            self.fit.clear();
            self.fit.reserve_exact(count);
        }
        let choice = |at| Choice { at, share: candidates.share(at) };
        if let Some((one, two)) = pair(count, &mut draw) {
            let (one, two) = (choice(one), choice(two));
            if one.share > 0 && two.share > 0 {
                return Some(self.compare(candidates, one, two));
            }
        }
        self.fit.clear();
        self.fit.extend((0..count).filter(|at| candidates.share(*at) > 0));
        match pair(self.fit.len(), &mut draw) {
            Some((one, two)) => Some(self.compare(candidates, choice(self.fit[one]), choice(self.fit[two]))),
            None => self.fit.first().copied(),
        }
    }

    /// The cheaper one, or the one that lost too often; of equals the first, which is either by chance.
    fn compare(&mut self, candidates: &impl Candidates, one: Choice, two: Choice) -> usize {
        let dearer = if self.lost[one.at] >= LOSSES {
            two
        } else if self.lost[two.at] >= LOSSES || order(candidates, one, two) == Ordering::Greater {
            one
        } else {
            two
        };
        let picked = if dearer.at == one.at { two.at } else { one.at };
        self.lost[dearer.at] = self.lost[dearer.at].saturating_add(1);
        self.lost[picked] = 0;
        picked
    }
}

/// How the costs of two endpoints compare, without a division.
fn order(candidates: &impl Candidates, one: Choice, two: Choice) -> Ordering {
    let (latency_one, latency_two) = (candidates.latency_ns(one.at), candidates.latency_ns(two.at));
    let cost = |own: Choice, latency_ns: u64, other: Choice, other_latency_ns: u64| {
        let in_flight = candidates.in_flight(own.at);
        let latency_ns = match (latency_ns, in_flight) {
            (0, 0) => 0,
            (0, _) => other_latency_ns.max(1),
            (known, _) => known,
        };
        // 64 + 32 + 32 bits: it fits.
        u128::from(latency_ns) * (u128::from(in_flight) + 1) * u128::from(other.share)
    };
    cost(one, latency_one, two, latency_two).cmp(&cost(two, latency_two, one, latency_one))
}

/// Two distinct numbers below `count`, every ordered pair as likely, `None` when there are not two.
fn pair(count: usize, draw: &mut impl FnMut() -> u64) -> Option<(usize, usize)> {
    if count < 2 {
        return None;
    }
    let bits = draw();
    let (one, two) = (below(bits >> 32, count), below(bits & 0xffff_ffff, count - 1));
    Some((one, if two >= one { two + 1 } else { two }))
}

/// A number below `count` from 32 random bits; with `count` far below 2^32 the bias is not measurable.
fn below(bits: u64, count: usize) -> usize {
    usize::try_from((bits * count as u64) >> 32).expect("32 bits leave the product below `count`")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Dice, Table};
    use super::*;

    fn counts(table: &Table, rounds: usize) -> Vec<usize> {
        let (mut p2c, mut dice) = (P2c::new(), Dice::new(11));
        let mut counts = vec![0; table.share.len()];
        for _ in 0..rounds {
            counts[p2c.try_pick(table, || dice.next()).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn two_choices_are_distinct_and_every_pair_is_as_likely() {
        let mut dice = Dice::new(5);
        let mut seen = [[0; 4]; 4];
        for _ in 0..12_000 {
            let (one, two) = pair(4, &mut || dice.next()).unwrap();
            seen[one][two] += 1;
        }
        for (one, row) in seen.iter().enumerate() {
            for (two, count) in row.iter().enumerate() {
                assert!(if one == two { *count == 0 } else { (850..1150).contains(count) }, "{seen:?}");
            }
        }
        assert_eq!(pair(2, &mut || u64::MAX), Some((1, 0)));
        assert_eq!(pair(2, &mut || 0), Some((0, 1)));
        assert_eq!((pair(1, &mut || 0), pair(0, &mut || 0)), (None, None));
    }

    #[test]
    fn equals_are_picked_evenly_and_the_unfit_not_at_all() {
        let mut table = Table::of_shares(&[1000, 0, 1000, 1000, 0]);
        table.latency_ns = vec![7; 5];
        let counts = counts(&table, 9_000);
        assert_eq!((counts[1], counts[4]), (0, 0));
        assert!([0, 2, 3].iter().all(|at| (2_800..3_200).contains(&counts[*at])), "{counts:?}");
    }

    #[test]
    fn the_cost_is_latency_by_load_over_weight() {
        let mut table = Table::of_shares(&[1000, 2000]);
        let costs = [([10, 10], [0, 0], 1), ([10, 30], [0, 0], 0), ([10, 30], [1, 0], 1), ([10, 10], [4, 10], 0)];
        for (latency_ns, in_flight, cheaper) in costs {
            (table.latency_ns, table.in_flight) = (latency_ns.to_vec(), in_flight.to_vec());
            let counts = counts(&table, 200);
            assert_eq!(counts[cheaper], 200, "{latency_ns:?} {in_flight:?}");
        }
    }

    #[test]
    fn an_unknown_latency_is_explored_once_at_a_time() {
        let mut table = Table::of_shares(&[1000, 1000]);
        table.latency_ns = vec![1, 0];
        assert_eq!(counts(&table, 100), [0, 100], "unknown and idle");
        table.in_flight = vec![0, 1];
        assert_eq!(counts(&table, 100), [100, 0], "unknown and being explored");
        table.in_flight = vec![5, 1];
        assert_eq!(counts(&table, 100), [0, 100], "unknown, but less loaded");
        table.latency_ns = vec![0, 0];
        table.in_flight = vec![1, 2];
        assert_eq!(counts(&table, 100), [100, 0], "nothing known but the load");
    }

    #[test]
    fn an_endpoint_that_always_loses_is_looked_at_again() {
        let mut table = Table::of_shares(&[1000, 1000]);
        table.latency_ns = vec![1, u64::MAX];
        let rounds = usize::from(LOSSES) + 1;
        assert_eq!(counts(&table, rounds * 10), [usize::from(LOSSES) * 10, 10]);
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let mut table = Table::of_shares(&[u32::MAX, u32::MAX]);
        table.latency_ns = vec![u64::MAX; 2];
        table.in_flight = vec![u32::MAX, u32::MAX - 1];
        assert_eq!(counts(&table, 100), [0, 100]);
    }

    #[test]
    fn bits_are_drawn_once_while_all_are_fit() {
        let mut table = Table::of_shares(&[1000; 3]);
        let mut p2c = P2c::new();
        let mut drawn = 0;
        let mut draw = || {
            drawn += 1;
            0
        };
        p2c.try_pick(&table, &mut draw).unwrap();
        table.share[0] = 0;
        p2c.try_pick(&table, &mut draw).unwrap();
        assert_eq!(drawn, 3);
    }

    #[test]
    fn picks_after_the_first_keep_their_storage() {
        let (mut p2c, mut dice) = (P2c::new(), Dice::new(2));
        let storage = |p2c: &P2c| (p2c.lost.as_ptr(), p2c.fit.as_ptr(), p2c.lost.capacity(), p2c.fit.capacity());
        p2c.try_pick(&Table::of_shares(&[1000; 8]), || 0);
        let before = storage(&p2c);
        for _ in 0..1_000 {
            let table = Table::random(&mut dice, 8);
            p2c.try_pick(&table, || dice.next());
        }
        assert_eq!(storage(&p2c), before);
    }
}
