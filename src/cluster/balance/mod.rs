//! Balancers: the choice among the endpoints of a cluster, and the choice among the clusters of a split.
//!
//! One balancer per worker and cluster, so a pick takes no lock and writes nothing that another core reads. What a
//! balancer may know of the endpoints it asks through [`Candidates`], each number once or twice per pick; a number
//! that changes in between spoils no pick.

mod least;
mod p2c;
mod ring;
mod round_robin;
mod split;
#[cfg(test)]
mod tests;
mod weighted;

pub use ring::Ring;
pub use split::Split;

use least::{Least, Room};
use p2c::P2c;
use round_robin::RoundRobin;
use weighted::Turns;

/// The share of an endpoint of weight 1 that is not ramping.
const FULL_SHARE: u32 = 1000;

/// What a balancer sees of a cluster's endpoints at one moment.
pub trait Candidates {
    /// Number of endpoints; the others are asked for `0..count`.
    fn count(&self) -> usize;
    /// Weight in thousandths scaled by slow start (weight 3 at full ramp: 3000), 0 when it must not be picked now.
    fn share(&self, at: usize) -> u32;
    /// Exchanges in flight to it over all workers.
    fn in_flight(&self, at: usize) -> u32;
    /// Exchanges it is meant to carry at once (for `LeastSaturated`), 0 without a cap.
    fn capacity(&self, at: usize) -> u32;
    /// Moving average of its latency in nanoseconds as this worker saw it, 0 when unknown.
    fn latency_ns(&self, at: usize) -> u64;
}

/// How the endpoints of a cluster share its requests.
///
/// | strategy | picks | weight | slow start | per pick |
/// |---|---|---|---|---|
/// | `RoundRobin` | the next | not heeded | share of its turns | constant, and the unfit in its way |
/// | `WeightedRoundRobin` | whom most turns are owed | turns | turns | all endpoints |
/// | `LeastConnections` | least in flight / weight | load and ties | load and ties | all endpoints |
/// | `ConsistentHash` | the key's place on the ring | points | share of its keys | a binary search |
/// | `LeastSaturated` | least in flight / capacity | by its capacity | scales the capacity | all endpoints |
/// | `P2c` | the cheaper of two random ones | cost | cost | constant, unless a choice is unfit |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// In turn, whatever the weights.
    RoundRobin,
    /// In turn by weight, smoothly.
    WeightedRoundRobin,
    /// The fewest exchanges in flight for its weight.
    LeastConnections,
    /// The same endpoint for the same key.
    ConsistentHash,
    /// The smallest part of its capacity in use.
    LeastSaturated,
    /// The cheaper of two random choices by latency, load and weight.
    P2c,
}

impl Strategy {
    /// The name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::WeightedRoundRobin => "weighted_round_robin",
            Self::LeastConnections => "least_connections",
            Self::ConsistentHash => "consistent_hash",
            Self::LeastSaturated => "least_saturated",
            Self::P2c => "p2c",
        }
    }
}

/// One worker's balancer of one cluster.
///
/// Its storage is made by the first pick, and made anew when the number of endpoints changes; no other pick allocates.
#[derive(Debug)]
pub struct Balancer {
    state: State,
}

#[derive(Debug)]
enum State {
    RoundRobin(RoundRobin),
    WeightedRoundRobin(Turns),
    LeastConnections(Least),
    /// Turns for requests without a key.
    ConsistentHash(Turns),
    LeastSaturated(Least),
    P2c(P2c),
}

impl Balancer {
    /// A balancer that begins at `start`, any number: workers with different ones do not begin at the same endpoint.
    pub const fn new(strategy: Strategy, start: u32) -> Self {
        let state = match strategy {
            Strategy::RoundRobin => State::RoundRobin(RoundRobin::new(start)),
            Strategy::WeightedRoundRobin => State::WeightedRoundRobin(Turns::new(start)),
            Strategy::LeastConnections => State::LeastConnections(Least::new(Room::Share, start)),
            Strategy::ConsistentHash => State::ConsistentHash(Turns::new(start)),
            Strategy::LeastSaturated => State::LeastSaturated(Least::new(Room::Capacity, start)),
            Strategy::P2c => State::P2c(P2c::new()),
        };
        Self { state }
    }

    /// The strategy it was made for.
    pub const fn strategy(&self) -> Strategy {
        match self.state {
            State::RoundRobin(_) => Strategy::RoundRobin,
            State::WeightedRoundRobin(_) => Strategy::WeightedRoundRobin,
            State::LeastConnections(_) => Strategy::LeastConnections,
            State::ConsistentHash(_) => Strategy::ConsistentHash,
            State::LeastSaturated(_) => Strategy::LeastSaturated,
            State::P2c(_) => Strategy::P2c,
        }
    }

    /// An endpoint for one request, `None` when no share is above 0.
    ///
    /// Only `ConsistentHash` looks at `ring`, compiled from these candidates in this order, and at `key`, the
    /// [`Ring::hash`] of the request's key; without either it takes turns by weight. `draw` gives 64 random bits;
    /// only `P2c` calls it, at most twice.
    pub fn try_pick(
        &mut self,
        candidates: &impl Candidates,
        ring: Option<&Ring>,
        key: Option<u32>,
        draw: impl FnMut() -> u64,
    ) -> Option<usize> {
        match &mut self.state {
            State::RoundRobin(round_robin) => round_robin.try_pick(candidates),
            State::WeightedRoundRobin(turns) => in_turn(turns, candidates),
            State::LeastConnections(least) | State::LeastSaturated(least) => least.try_pick(candidates),
            State::ConsistentHash(turns) => {
                turns.on_count(candidates.count());
                ring.zip(key)
                    .and_then(|(ring, key)| ring.try_pick(key, candidates))
                    .or_else(|| in_turn(turns, candidates))
            }
            State::P2c(p2c) => p2c.try_pick(candidates, draw),
        }
    }
}

fn in_turn(turns: &mut Turns, candidates: &impl Candidates) -> Option<usize> {
    turns.on_count(candidates.count());
    turns.try_pick(|at| u64::from(candidates.share(at)))
}
