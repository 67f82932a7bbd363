//! What every strategy owes, and the endpoints that the tests of the strategies choose among.

use core::cell::Cell;

use super::*;

const STRATEGIES: [Strategy; 6] = [
    Strategy::RoundRobin,
    Strategy::WeightedRoundRobin,
    Strategy::LeastConnections,
    Strategy::ConsistentHash,
    Strategy::LeastSaturated,
    Strategy::P2c,
];

/// Endpoints as a test wrote them down.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) share: Vec<u32>,
    pub(super) in_flight: Vec<u32>,
    pub(super) capacity: Vec<u32>,
    pub(super) latency_ns: Vec<u64>,
    looks: Cell<usize>,
}

impl Table {
    /// Idle endpoints without caps, of unknown latency.
    pub(super) fn of_shares(shares: &[u32]) -> Self {
        let count = shares.len();
        Self {
            share: shares.to_vec(),
            in_flight: vec![0; count],
            capacity: vec![0; count],
            latency_ns: vec![0; count],
            looks: Cell::new(0),
        }
    }

    /// `count` endpoints of which about a third are unfit, a third ramp and some have neither cap nor known latency.
    pub(super) fn random(dice: &mut Dice, count: usize) -> Self {
        let mut table = Self::of_shares(&vec![0; count]);
        for at in 0..count {
            let weight = dice.number(5) + 1;
            table.share[at] = [0, dice.number(1000 * weight), 1000 * weight][dice.below(3)];
            table.in_flight[at] = dice.number(4);
            table.capacity[at] = [0, dice.number(50), 100][dice.below(3)];
            table.latency_ns[at] = [0, u64::from(dice.number(1_000_000))][dice.below(2)];
        }
        table
    }

    /// How often a share was asked for.
    pub(super) fn looks(&self) -> usize {
        self.looks.get()
    }
}

impl Candidates for Table {
    fn count(&self) -> usize {
        self.share.len()
    }

    fn share(&self, at: usize) -> u32 {
        self.looks.set(self.looks.get() + 1);
        self.share[at]
    }

    fn in_flight(&self, at: usize) -> u32 {
        self.in_flight[at]
    }

    fn capacity(&self, at: usize) -> u32 {
        self.capacity[at]
    }

    fn latency_ns(&self, at: usize) -> u64 {
        self.latency_ns[at]
    }
}

/// A seeded generator (xorshift64*).
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(super) fn number(&mut self, end: u32) -> u32 {
        u32::try_from(((self.next() >> 32) * u64::from(end)) >> 32).unwrap()
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        self.number(u32::try_from(end).unwrap()) as usize
    }
}

/// A ring of endpoints with these weights.
fn ring_of(weights: impl IntoIterator<Item = u32>) -> Ring {
    let named: Vec<_> =
        weights.into_iter().enumerate().map(|(at, weight)| (format!("10.0.0.{at}:80"), weight)).collect();
    Ring::new(named.iter().map(|(name, weight)| (name.as_bytes(), *weight)))
}

/// Picks per endpoint in `rounds` requests, of which `together` are in flight at a time and last equally long.
fn served(strategy: Strategy, table: &mut Table, ring: &Ring, together: usize, rounds: usize) -> Vec<usize> {
    let mut dice = Dice::new(together as u64);
    let mut balancer = Balancer::new(strategy, 3);
    let mut in_flight = Vec::new();
    let mut counts = vec![0; table.share.len()];
    for round in 0..rounds {
        if in_flight.len() == together {
            let ended = in_flight.swap_remove(dice.below(together));
            table.in_flight[ended] -= 1;
        }
        let key = Ring::hash(&dice.next().to_le_bytes());
        let picked = balancer.try_pick(table, Some(ring), Some(key), || dice.next()).unwrap();
        table.in_flight[picked] += 1;
        in_flight.push(picked);
        // The beginning fills the cluster up.
        if round >= rounds / 10 {
            counts[picked] += 1;
        }
    }
    counts
}

#[test]
fn what_is_unfit_is_never_picked_and_what_is_fit_always_in_a_cluster_that_changes() {
    for strategy in STRATEGIES {
        let mut dice = Dice::new(7);
        let mut balancer = Balancer::new(strategy, 1_000_003);
        assert_eq!(balancer.strategy(), strategy);
        for _ in 0..500 {
            let count = dice.below(7);
            let ring = ring_of((0..count).map(|_| dice.number(4)));
            for _ in 0..dice.below(6) {
                let table = Table::random(&mut dice, count);
                let ring = [None, Some(&ring)][dice.below(2)];
                let key = [None, Some(dice.number(u32::MAX))][dice.below(2)];
                match balancer.try_pick(&table, ring, key, || dice.next()) {
                    Some(picked) => assert!(table.share[picked] > 0, "{strategy:?}: {picked} of {table:?}"),
                    None => assert!(table.share.iter().all(|share| *share == 0), "{strategy:?}: none of {table:?}"),
                }
            }
        }
    }
}

/// Endpoints whose numbers are others at every look, but for one that is always fit.
struct Restless(core::cell::RefCell<Dice>);

impl Candidates for Restless {
    fn count(&self) -> usize {
        5
    }

    fn share(&self, at: usize) -> u32 {
        let share = [0, 1, 700, 1000, 9000][self.0.borrow_mut().below(5)];
        if at == 3 { share.max(1) } else { share }
    }

    fn in_flight(&self, _at: usize) -> u32 {
        self.0.borrow_mut().number(3)
    }

    fn capacity(&self, _at: usize) -> u32 {
        self.0.borrow_mut().number(3)
    }

    fn latency_ns(&self, _at: usize) -> u64 {
        u64::from(self.0.borrow_mut().number(3))
    }
}

#[test]
fn numbers_that_change_during_a_pick_spoil_none() {
    let ring = ring_of([1; 5]);
    for strategy in STRATEGIES {
        let restless = Restless(Dice::new(1).into());
        let mut balancer = Balancer::new(strategy, 2);
        let mut dice = Dice::new(2);
        for _ in 0..20_000 {
            let key = Some(dice.number(u32::MAX));
            let picked = balancer.try_pick(&restless, Some(&ring), key, || dice.next());
            assert!(picked.is_some_and(|at| at < 5), "{strategy:?}");
        }
    }
}

#[test]
fn requests_follow_weights_under_load() {
    let weights = [1, 2, 3, 2];
    for strategy in STRATEGIES {
        let mut table = Table::of_shares(&weights.map(|weight| 1000 * weight));
        table.capacity = weights.map(|weight| 100 * weight).to_vec();
        table.latency_ns = vec![1_000_000; 4];
        let counts = served(strategy, &mut table, &ring_of(weights), 320, 40_000);
        let total = if strategy == Strategy::RoundRobin { 4 } else { 8 };
        for (count, weight) in counts.iter().zip(weights) {
            let due = 36_000 * if strategy == Strategy::RoundRobin { 1 } else { weight as usize } / total;
            let tolerance = if strategy == Strategy::ConsistentHash { due / 5 } else { due / 10 };
            assert!(count.abs_diff(due) <= tolerance, "{strategy:?}: {counts:?}");
        }
    }
}

#[test]
fn a_ramping_endpoint_gets_the_part_of_an_even_share_that_its_ramp_allows_under_load() {
    for strategy in STRATEGIES {
        for ramp in [100, 300, 600] {
            let mut table = Table::of_shares(&[1000, 1000, ramp, 1000]);
            table.capacity = vec![200; 4];
            table.latency_ns = vec![1_000_000; 4];
            let counts = served(strategy, &mut table, &ring_of([1; 4]), 400, 40_000);
            // Of hashed keys each endpoint gets its own part, which need not be even.
            let full = if strategy == Strategy::ConsistentHash {
                let mut whole = Table::of_shares(&[1000; 4]);
                served(strategy, &mut whole, &ring_of([1; 4]), 400, 40_000)[2]
            } else {
                [0, 1, 3].map(|at| counts[at]).iter().sum::<usize>() / 3
            };
            let due = full * ramp as usize / 1000;
            assert!(counts[2].abs_diff(due) <= due / 8, "{strategy:?} at {ramp}: {counts:?}, due {due}");
        }
    }
}

#[test]
fn a_ramping_endpoint_is_not_flooded_while_the_cluster_is_idle() {
    for strategy in STRATEGIES {
        let mut table = Table::of_shares(&[1000, 1000, 100, 1000]);
        table.latency_ns = vec![1_000_000; 4];
        let counts = served(strategy, &mut table, &ring_of([1; 4]), 1, 10_000);
        assert!(counts[2] * 100 <= counts.iter().sum::<usize>() * 4, "{strategy:?}: {counts:?}");
        assert!(counts[2] > 0, "{strategy:?}: {counts:?}");
    }
}

#[test]
fn workers_that_start_apart_begin_at_different_endpoints() {
    let mut table = Table::of_shares(&[1000; 4]);
    table.latency_ns = vec![1; 4];
    for strategy in STRATEGIES {
        let mut counts = [0; 4];
        let mut dice = Dice::new(5);
        for start in 0..400 {
            let mut balancer = Balancer::new(strategy, start);
            counts[balancer.try_pick(&table, None, None, || dice.next()).unwrap()] += 1;
        }
        // Random choices differ without a start.
        let tolerance = if strategy == Strategy::P2c { 30 } else { 0 };
        assert!(counts.iter().all(|count| 100_u32.abs_diff(*count) <= tolerance), "{strategy:?}: {counts:?}");
    }
}

#[test]
fn the_faster_of_equally_loaded_endpoints_gets_more_by_p2c_and_the_slow_one_is_not_forgotten() {
    let mut table = Table::of_shares(&[1000; 3]);
    table.latency_ns = vec![1_000_000, 1_000_000, 20_000_000];
    let counts = served(Strategy::P2c, &mut table, &ring_of([1; 3]), 8, 20_000);
    assert!(counts[2] > 0 && counts[2] < 1_000, "{counts:?}");
    assert!(counts[0].abs_diff(counts[1]) < 1_000, "{counts:?}");
}

#[test]
fn a_key_keeps_its_endpoint_on_every_worker_and_a_request_without_one_takes_its_turn() {
    let ring = ring_of([1; 4]);
    let table = Table::of_shares(&[1000; 4]);
    let (mut one, mut other) = (Balancer::new(Strategy::ConsistentHash, 0), Balancer::new(Strategy::ConsistentHash, 9));
    let mut in_turn = [0; 4];
    for number in 0..400_u32 {
        let key = Some(Ring::hash(&number.to_le_bytes()));
        let picked = one.try_pick(&table, Some(&ring), key, || 0);
        assert_eq!(picked, other.try_pick(&table, Some(&ring), key, || 0));
        in_turn[one.try_pick(&table, Some(&ring), None, || 0).unwrap()] += 1;
    }
    assert_eq!(in_turn, [100; 4]);
}
