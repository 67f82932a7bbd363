//! Nanoseconds of one pick of an endpoint, by strategy, of 3, 10 and 100 endpoints.
//!
//! The endpoints are looked at as the exchange does, through the state that workers share; of the last 64 requests all
//! are in flight. `cargo bench --bench pick -- p2c` measures one strategy.
#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]
#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "a benchmark reads the clock and prints")]

use std::hint::black_box;
use std::time::Instant;

use ringgate::cluster::{Balancer, Candidates, EndpointId, Fitness, Fleet, InFlightView, Probe, Ring, Strategy};
use ringgate::rng::Rng;

const STRATEGIES: [Strategy; 6] = [
    Strategy::RoundRobin,
    Strategy::WeightedRoundRobin,
    Strategy::LeastConnections,
    Strategy::LeastSaturated,
    Strategy::P2c,
    Strategy::ConsistentHash,
];
const WORKER: usize = 0;
const WORKERS: usize = 2;
const IN_FLIGHT: usize = 64;
/// Between two picks: those of a busy worker.
const GAP_NS: u64 = 10_000;
const LATENCY_NS: u64 = IN_FLIGHT as u64 * GAP_NS;

struct Cluster {
    fleet: Fleet,
    ids: Vec<EndpointId>,
    elsewhere: InFlightView,
    capacity: u32,
    now_ns: u64,
}

impl Cluster {
    fn new(endpoints: u32) -> Self {
        let fleet = Fleet::new(WORKERS);
        let ids: Vec<EndpointId> = (0..endpoints).map(EndpointId).collect();
        for id in &ids {
            fleet.on_assigned(*id, Probe::Unprobed, 0, false);
            fleet.cell(WORKER, *id).on_latency(LATENCY_NS, 0);
        }
        Self { fleet, ids, elsewhere: InFlightView::new(), capacity: 512 / endpoints, now_ns: 0 }
    }

    fn passes(&mut self, ns: u64) {
        self.now_ns += ns;
        let others = |at: usize| self.fleet.in_flight_elsewhere(WORKER, self.ids[at]);
        self.elsewhere.refresh(self.now_ns, self.ids.len(), others);
    }
}

impl Candidates for Cluster {
    fn count(&self) -> usize {
        self.ids.len()
    }

    fn share(&self, at: usize) -> u32 {
        let (slot, now_ms) = (self.fleet.slot(self.ids[at]), self.now_ns / 1_000_000);
        let is_fit = matches!(slot.fitness(now_ms), Fitness::Fit | Fitness::Trial) && !slot.is_resting(now_ms);
        if is_fit { slot.ramp(now_ms, 10_000) } else { 0 }
    }

    fn in_flight(&self, at: usize) -> u32 {
        self.fleet.cell(WORKER, self.ids[at]).in_flight() + self.elsewhere.elsewhere(at)
    }

    fn capacity(&self, _at: usize) -> u32 {
        self.capacity
    }

    fn latency_ns(&self, at: usize) -> u64 {
        self.fleet.cell(WORKER, self.ids[at]).latency_at(self.now_ns)
    }
}

fn measure(strategy: Strategy, endpoints: u32) -> f64 {
    const PICKS: u32 = 1_000_000;
    let mut cluster = Cluster::new(endpoints);
    let names: Vec<String> = (0..endpoints).map(|at| format!("10.0.0.{at}:80")).collect();
    let ring = Ring::new(names.iter().map(|name| (name.as_bytes(), 1)));
    let (mut balancer, mut rng) = (Balancer::new(strategy, 1), Rng::from_seed(1));
    // The places of the last picks, which end in their order.
    let mut in_flight = [None; IN_FLIGHT];
    let start = Instant::now();
    for number in 0..PICKS {
        cluster.passes(GAP_NS);
        let key = (strategy == Strategy::ConsistentHash).then(|| Ring::hash(&number.to_ne_bytes()));
        let picked = black_box(balancer.try_pick(&cluster, Some(&ring), key, || rng.u64()));
        let cell = |at: usize| cluster.fleet.cell(WORKER, cluster.ids[at]);
        let ended = std::mem::replace(&mut in_flight[number as usize % IN_FLIGHT], picked);
        picked.into_iter().for_each(|at| cell(at).begin());
        if let Some(cell) = ended.map(cell) {
            if strategy == Strategy::P2c {
                cell.on_latency(LATENCY_NS, cluster.now_ns);
            }
            cell.end();
        }
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(PICKS)
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    for strategy in
        STRATEGIES.into_iter().filter(|one| wanted.is_empty() || wanted.iter().any(|name| name == one.name()))
    {
        for endpoints in [3, 10, 100] {
            println!("{:<20} {endpoints:>4} endpoints {:>6.0} ns/pick", strategy.name(), measure(strategy, endpoints));
        }
    }
}
