//! Balancers: the choice among the fit endpoints of a cluster, one per worker and cluster.
//!
//! A balancer asks what it needs to know of each endpoint and keeps only cursors. Every one of them picks an endpoint
//! whenever one has a share above 0, and never one without.

mod least;
mod p2c;
mod ring;
mod round_robin;
mod split;
mod weighted;

pub use ring::Ring;
pub use split::Split;

use round_robin::RoundRobin;
use weighted::Weighted;

/// What a balancer sees of a cluster's endpoints at one moment.
pub trait Candidates {
    /// Endpoints, fit or not.
    fn count(&self) -> usize;
    /// Weight in thousandths, scaled by slow start; 0 when it must not be picked now.
    fn share(&self, at: usize) -> u32;
    /// Exchanges in flight to it over all workers.
    fn in_flight(&self, at: usize) -> u32;
    /// Exchanges it is meant to carry at once; 0 without a cap.
    fn capacity(&self, at: usize) -> u32;
    /// Moving average of its latency in nanoseconds as this worker saw it; 0 when unknown.
    fn latency_ns(&self, at: usize) -> u64;
    /// Its weight, at least 1.
    fn weight(&self, at: usize) -> u32;

    /// Thousandths of its weight that slow start leaves, at most 1000, given its share.
    fn ramp_of(&self, at: usize, share: u32) -> u32 {
        (share / self.weight(at).max(1)).min(1000)
    }
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// One after the other, whatever their weights.
    RoundRobin,
    /// In proportion to their weights, spread evenly.
    WeightedRoundRobin,
    /// The one with the fewest exchanges in flight for its weight.
    LeastConnections,
    /// By the hash of a key, on a ring.
    ConsistentHash,
    /// The one with the smallest part of its capacity in use.
    LeastSaturated,
    /// The better of two drawn at random, by latency and exchanges in flight.
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
#[derive(Debug)]
pub struct Balancer {
    strategy: Strategy,
    /// Where a search begins; also what a key that is not there falls back to.
    turn: RoundRobin,
    weighted: Weighted,
}

impl Balancer {
    /// A balancer whose search begins at `start` modulo the number of endpoints.
    ///
    /// Workers begin at different places, or all of them would open on the same endpoint.
    #[must_use]
    pub fn new(strategy: Strategy, start: u32) -> Self {
        Self { strategy, turn: RoundRobin::new(start), weighted: Weighted::new(start) }
    }

    /// Its strategy.
    #[must_use]
    pub const fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// The place of an endpoint with a share above 0, `None` when there is none.
    ///
    /// `ring` and `key` (the hash of what tells requests apart) are for [`Strategy::ConsistentHash`]; a request without a
    /// key is dealt out in turn. `draw` gives 64 random bits and is called only when they are needed.
    pub fn try_pick(
        &mut self,
        candidates: &impl Candidates,
        ring: Option<&Ring>,
        key: Option<u32>,
        mut draw: impl FnMut() -> u64,
    ) -> Option<usize> {
        match self.strategy {
            Strategy::RoundRobin => self.turn.try_pick(candidates, &mut draw),
            Strategy::WeightedRoundRobin => self.weighted.try_pick(candidates),
            Strategy::LeastConnections => self.least(candidates, least::by_weight),
            Strategy::LeastSaturated => self.least(candidates, least::by_capacity),
            Strategy::P2c => p2c::try_pick(candidates, &mut draw),
            Strategy::ConsistentHash => match (ring, key) {
                (Some(ring), Some(key)) => ring.walk(key).find(|at| candidates.share(*at) > 0),
                (Some(_) | None, _) => self.turn.try_pick(candidates, &mut draw),
            },
        }
    }

    /// Among equals the turn decides.
    fn least<C: Candidates>(&mut self, candidates: &C, load: fn(&C, usize, u32) -> least::Load) -> Option<usize> {
        let begin = self.turn.place_in(candidates.count());
        least::try_pick(candidates, begin, load).inspect(|at| self.turn.on_picked(*at))
    }
}

#[cfg(test)]
mod tests;
