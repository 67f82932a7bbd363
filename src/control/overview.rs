//! Clusters and endpoints as they stand: what pages and metrics show, readiness, and which tiers are too slow.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::cluster::{BreakerState, ClusterState, EndpointId, Fitness, Fleet, Probe, Slot, TierGate};
use crate::config::Config;
use crate::snapshot::Snapshot;
use crate::telemetry::{ClusterView, EndpointView};

/// Clusters of the configuration in force, each with its cells of shared state.
#[derive(Default)]
pub(super) struct Overview {
    clusters: Vec<Shown>,
}

struct Shown {
    name: String,
    balance: &'static str,
    is_required: bool,
    state: Arc<ClusterState>,
    endpoints: Vec<ShownEndpoint>,
    /// How many endpoints each tier has, in order.
    tiers: Vec<usize>,
    max_latency_us: Option<u64>,
    /// Milliseconds between two looks at the latencies of tiers.
    look_ms: u64,
}

struct ShownEndpoint {
    id: EndpointId,
    address: SocketAddr,
    weight: u32,
    /// The number of its tier, best first.
    tier: u8,
}

impl Overview {
    /// What `snapshot`, compiled from `config`, has to show.
    pub(super) fn new(snapshot: &Snapshot, config: &Config) -> Self {
        let clusters = snapshot.clusters.iter().zip(&config.clusters);
        Self {
            clusters: clusters
                .map(|(cluster, written)| Shown {
                    name: cluster.name.clone(),
                    balance: cluster.strategy.name(),
                    is_required: cluster.is_required,
                    state: Arc::clone(&cluster.state),
                    endpoints: (cluster.tiers.iter().zip(0_u8..))
                        .flat_map(|(tier, number)| cluster.endpoints[tier.clone()].iter().map(move |one| (one, number)))
                        .map(|(one, tier)| ShownEndpoint { id: one.id, address: one.address, weight: one.weight, tier })
                        .collect(),
                    tiers: cluster.tiers.iter().map(ExactSizeIterator::len).collect(),
                    max_latency_us: written.max_latency.map(|most| u64::try_from(most.as_micros()).unwrap_or(u64::MAX)),
                    look_ms: written
                        .active
                        .as_ref()
                        .map_or(1_000, |active| u64::try_from(active.interval.as_millis()).unwrap_or(u64::MAX).max(1)),
                })
                .collect(),
        }
    }

    /// Has every cluster that the configuration requires an endpoint that may be picked?
    pub(super) fn is_ready(&self, fleet: &Fleet, now_ms: u64) -> bool {
        let required = self.clusters.iter().filter(|cluster| cluster.is_required);
        required
            .into_iter()
            .all(|cluster| cluster.endpoints.iter().any(|endpoint| is_fit(fleet.slot(endpoint.id), now_ms)))
    }

    /// Everything for pages and metrics; `details` says how the last probe of an endpoint went.
    pub(super) fn views(&self, fleet: &Fleet, now_ms: u64, details: &HashMap<EndpointId, String>) -> Vec<ClusterView> {
        self.clusters.iter().map(|cluster| cluster.view(fleet, now_ms, details)).collect()
    }
}

fn is_fit(slot: &Slot, now_ms: u64) -> bool {
    matches!(slot.fitness(now_ms), Fitness::Fit | Fitness::Trial)
}

impl Shown {
    fn view(&self, fleet: &Fleet, now_ms: u64, details: &HashMap<EndpointId, String>) -> ClusterView {
        let endpoints: Vec<EndpointView> =
            self.endpoints.iter().map(|endpoint| endpoint.view(fleet, now_ms, details)).collect();
        let slow = self.state.slow_tiers();
        ClusterView {
            name: self.name.clone(),
            balance: self.balance,
            max_connections: self.state.limit() as u64,
            connections: self.state.taken() as u64,
            in_flight: endpoints.iter().map(|endpoint| endpoint.in_flight).sum(),
            waiting: self.state.waiting() as u64,
            slow_tiers: (0..64).filter(|tier| slow >> tier & 1 == 1).collect(),
            endpoints,
        }
    }

    /// The mean latency of each tier as far as it is known.
    fn latencies_us(&self, fleet: &Fleet) -> Vec<Option<u64>> {
        let mut first = 0;
        let tier = |count: &usize| {
            let endpoints = &self.endpoints[first..first + count];
            first += count;
            let known = endpoints.iter().map(|endpoint| latency_us(fleet, endpoint.id)).filter(|us| *us > 0);
            let (sum, count) = known.fold((0, 0), |(sum, count), us| (sum + us, count + 1));
            (count > 0).then(|| sum / count)
        };
        self.tiers.iter().map(tier).collect()
    }
}

/// What probes measured, or before the first of them what the workers did when they connected; 0 when nobody did.
fn latency_us(fleet: &Fleet, id: EndpointId) -> u64 {
    match fleet.slot(id).latency_us() {
        0 => (0..fleet.workers()).map(|worker| u64::from(fleet.cell(worker, id).connect_us())).max().unwrap_or(0),
        probed => probed,
    }
}

impl ShownEndpoint {
    fn view(&self, fleet: &Fleet, now_ms: u64, details: &HashMap<EndpointId, String>) -> EndpointView {
        let slot = fleet.slot(self.id);
        let fitness = slot.fitness(now_ms);
        let breaker = slot.breaker(now_ms);
        EndpointView {
            address: self.address.to_string(),
            weight: self.weight,
            priority: self.tier,
            fit: is_fit(slot, now_ms),
            unfit: if let Fitness::Unfit(_) = fitness { fitness.name() } else { "" },
            probe: match slot.probe() {
                Probe::Unprobed => "unprobed",
                Probe::Pending => "pending",
                Probe::Healthy => "healthy",
                Probe::Unhealthy => "unhealthy",
            },
            probe_detail: details.get(&self.id).cloned().unwrap_or_default(),
            breaker: match breaker {
                BreakerState::Closed => "closed",
                BreakerState::Open => "open",
                BreakerState::HalfOpen => "half_open",
            },
            breaker_state: breaker as u64,
            ejected: slot.is_ejected(now_ms),
            in_flight: (0..fleet.workers()).map(|worker| u64::from(fleet.cell(worker, self.id).in_flight())).sum(),
            latency_us: latency_us(fleet, self.id),
        }
    }
}

/// Judges the tiers of clusters that have a `max_latency`, once per probe interval.
#[derive(Default)]
pub(super) struct Tiers {
    gates: HashMap<String, (TierGate, u64)>,
}

impl Tiers {
    /// Another configuration: gates of clusters whose tiers or bound changed begin anew.
    pub(super) fn clear(&mut self) {
        self.gates.clear();
    }

    /// Looks at every cluster whose time has come.
    pub(super) fn look(&mut self, overview: &Overview, fleet: &Fleet, now_ms: u64) {
        for cluster in &overview.clusters {
            let Some(max_us) = cluster.max_latency_us else { continue };
            let gate = self.gates.entry(cluster.name.clone());
            let (gate, due_ms) = gate.or_insert_with(|| (TierGate::new(cluster.tiers.len(), max_us), 0));
            if now_ms < *due_ms {
                continue;
            }
            *due_ms = now_ms + cluster.look_ms;
            let slow = gate.on_latencies(&cluster.latencies_us(fleet));
            if slow != cluster.state.slow_tiers() {
                tracing::warn!(
                    cluster = cluster.name,
                    slow = format!("{slow:b}"),
                    "tiers left for their latency changed"
                );
                cluster.state.set_slow_tiers(slow);
            }
        }
    }
}
