//! Clusters and endpoints as they stand: what pages and metrics show, and readiness.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::sides::Sides;
use crate::cluster::{BreakerState, ClusterState, EndpointId, Fitness, Fleet, Probe, Slot};
use crate::config::Config;
use crate::policy::Admission;
use crate::snapshot::{Endpoint, Snapshot};
use crate::telemetry::{AdmissionView, ClusterView, EndpointView};

/// Clusters of the configuration in force, each with its cells of shared state.
#[derive(Default)]
pub(super) struct Overview {
    pub(super) clusters: Vec<Shown>,
}

/// One cluster.
pub(super) struct Shown {
    pub(super) name: String,
    balance: &'static str,
    is_required: bool,
    pub(super) state: Arc<ClusterState>,
    admission: Option<Arc<Admission>>,
    pub(super) endpoints: Vec<ShownEndpoint>,
    is_probed: bool,
    pub(super) max_latency_us: Option<u64>,
    /// Milliseconds between two looks at the latencies of tiers.
    pub(super) look_ms: u64,
}

/// One endpoint.
pub(super) struct ShownEndpoint {
    pub(super) id: EndpointId,
    pub(super) address: SocketAddr,
    weight: u32,
    pub(super) priority: u8,
    capacity: u32,
}

impl Overview {
    /// What `snapshot`, compiled from `sides`, has to show: of what is on trial whatever the other does not have.
    pub(super) fn new(snapshot: &Snapshot, sides: Sides<'_>) -> Self {
        let mut sides = sides.compiled(snapshot).map(|(snapshot, config)| Self::of(snapshot, config));
        let mut shown = sides.next().unwrap_or_default();
        for cluster in sides.flat_map(|candidate| candidate.clusters) {
            match shown.clusters.iter_mut().find(|known| known.name == cluster.name) {
                Some(known) => {
                    let is_new = |one: &ShownEndpoint| known.endpoints.iter().all(|other| other.id != one.id);
                    let new: Vec<_> = cluster.endpoints.into_iter().filter(is_new).collect();
                    known.endpoints.extend(new);
                }
                // Nobody is unready for want of what is on trial.
                None => shown.clusters.push(Shown { is_required: false, ..cluster }),
            }
        }
        shown
    }

    fn of(snapshot: &Snapshot, config: &Config) -> Self {
        let clusters = snapshot.clusters.iter().zip(&config.clusters);
        Self {
            clusters: clusters
                .map(|(cluster, written)| Shown {
                    name: cluster.name.clone(),
                    balance: cluster.strategy.name(),
                    is_required: cluster.is_required,
                    state: Arc::clone(&cluster.state),
                    admission: cluster.admission.as_ref().map(|gate| Arc::clone(&gate.shared)),
                    endpoints: cluster.endpoints.iter().map(ShownEndpoint::new).collect(),
                    is_probed: written.active.is_some(),
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

    /// Every endpoint with its cluster.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = (&Shown, &ShownEndpoint)> {
        self.clusters.iter().flat_map(|cluster| cluster.endpoints.iter().map(move |endpoint| (cluster, endpoint)))
    }

    /// Every endpoint that has an active check.
    pub(super) fn probed(&self) -> impl Iterator<Item = EndpointId> {
        self.endpoints().filter(|(cluster, _)| cluster.is_probed).map(|(_, endpoint)| endpoint.id)
    }

    /// Everything for pages and metrics; `details` says how the last probe of an endpoint went.
    pub(super) fn views(&self, fleet: &Fleet, now_ms: u64, details: &HashMap<EndpointId, String>) -> Vec<ClusterView> {
        self.clusters.iter().map(|cluster| cluster.view(fleet, now_ms, details)).collect()
    }
}

/// May it be picked?
pub(super) fn is_fit(slot: &Slot, now_ms: u64) -> bool {
    matches!(slot.fitness(now_ms), Fitness::Fit | Fitness::Trial)
}

impl Shown {
    fn view(&self, fleet: &Fleet, now_ms: u64, details: &HashMap<EndpointId, String>) -> ClusterView {
        let endpoints: Vec<EndpointView> =
            self.endpoints.iter().map(|endpoint| endpoint.view(fleet, now_ms, details)).collect();
        let slow = self.state.slow_tiers();
        let (most, active) = (self.state.limit() as u64, self.state.in_use() as u64);
        ClusterView {
            name: self.name.clone(),
            balance: self.balance,
            max_connections: most,
            connections: self.state.taken() as u64,
            connections_active: active,
            saturation: ClusterView::saturation_of(active, most),
            in_flight: endpoints.iter().map(|endpoint| endpoint.in_flight).sum(),
            waiting: self.state.waiting() as u64,
            admission: self.admission.as_ref().map(|gate| AdmissionView {
                limit: gate.limit(),
                in_flight: gate.in_flight(),
                baseline_us: gate.baseline_us(),
                shed: gate.shed(),
            }),
            slow_tiers: (0..64).filter(|priority| slow >> priority & 1 == 1).collect(),
            endpoints,
        }
    }
}

/// What probes measured, or before the first of them what the workers did when they connected; 0 when nobody did.
pub(super) fn latency_us(fleet: &Fleet, id: EndpointId) -> u64 {
    match fleet.slot(id).latency_us() {
        0 => (0..fleet.workers()).map(|worker| u64::from(fleet.cell(worker, id).connect_us())).max().unwrap_or(0),
        probed => probed,
    }
}

impl ShownEndpoint {
    fn new(endpoint: &Endpoint) -> Self {
        let Endpoint { id, address, weight, priority, capacity, .. } = *endpoint;
        Self { id, address, weight, priority, capacity }
    }

    fn view(&self, fleet: &Fleet, now_ms: u64, details: &HashMap<EndpointId, String>) -> EndpointView {
        let slot = fleet.slot(self.id);
        let fitness = slot.fitness(now_ms);
        let breaker = slot.breaker(now_ms);
        EndpointView {
            address: self.address.to_string(),
            weight: self.weight,
            priority: self.priority,
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
            resting: slot.is_resting(now_ms),
            capacity: self.capacity,
            in_flight: (0..fleet.workers()).map(|worker| u64::from(fleet.cell(worker, self.id).in_flight())).sum(),
            latency_us: latency_us(fleet, self.id),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {

    use super::*;
    use crate::config::tests::of_text;
    use crate::snapshot::{Registry, compile};

    /// One cluster, with what outlives its configurations.
    pub(in crate::control) struct Scene {
        registry: Registry,
        epoch: u64,
        ids: Vec<EndpointId>,
        pub(in crate::control) overview: Overview,
    }

    impl Scene {
        /// Nothing is published yet.
        pub(in crate::control) fn new() -> Self {
            Self { registry: Registry::new(1), epoch: 0, ids: Vec::new(), overview: Overview::default() }
        }

        /// Publishes the cluster with these entries, its endpoints having addresses for hosts; their identities.
        pub(in crate::control) fn publish(&mut self, entries: &str) -> Vec<EndpointId> {
            let config = configuration(entries);
            let endpoints = config.clusters.iter().flat_map(|cluster| &cluster.endpoints);
            let address = |host: &str, port: u16| vec![format!("{host}:{port}").parse().unwrap()];
            let resolved = endpoints.map(|one| ((one.host.clone(), one.port), address(&one.host, one.port))).collect();
            self.epoch += 1;
            let snapshot = compile(&config, self.epoch, &mut self.registry, &resolved).unwrap();
            self.registry.on_publishing(&snapshot, &config, 0);
            self.registry.on_published(self.epoch);
            self.ids.clone_from(&snapshot.clusters[0].ids);
            self.overview = Overview::new(&snapshot, Sides::alone(&config));
            self.ids.clone()
        }

        pub(in crate::control) fn fleet(&self) -> &Fleet {
            self.registry.fleet()
        }

        /// What is shared about an endpoint, by its place among those of rising priority.
        pub(in crate::control) fn slot(&self, at: usize) -> &Slot {
            self.fleet().slot(self.ids[at])
        }

        pub(in crate::control) fn views(&self, now_ms: u64) -> Vec<ClusterView> {
            self.overview.views(self.fleet(), now_ms, &HashMap::new())
        }
    }

    fn configuration(entries: &str) -> Config {
        let yaml = format!(
            "version: 1\nadmin: {{ listen: off }}\nlisteners: {{ web: {{ address: '127.0.0.1:0' }} }}\n\
             routes: [{{ name: all, match: {{ path: /* }}, cluster: app }}]\nclusters: {{ app: {{ {entries} }} }}\n"
        );
        of_text(&yaml)
    }

    #[test]
    fn the_priority_shown_is_the_one_written() {
        let mut scene = Scene::new();
        scene.publish("endpoints: [{ url: 'http://10.0.0.1', priority: 63 }, { url: 'http://10.0.0.2', priority: 5 }]");
        let endpoints = &scene.views(0)[0].endpoints;
        let shown: Vec<_> = endpoints.iter().map(|one| (one.address.as_str(), one.priority)).collect();
        assert_eq!(shown, [("10.0.0.2:80", 5), ("10.0.0.1:80", 63)]);
    }

    #[test]
    fn ready_needs_a_fit_endpoint_in_every_required_cluster() {
        let mut scene = Scene::new();
        let entries =
            "health: { active: { kind: tcp } }, endpoints: [{ url: 'http://10.0.0.1' }, { url: 'http://10.0.0.2' }]";
        let is_ready = |scene: &Scene| scene.overview.is_ready(scene.fleet(), 0);
        scene.publish(&format!("required: true, {entries}"));
        assert!(is_ready(&scene));
        scene.slot(0).set_probe(Probe::Unhealthy, 0);
        assert!(is_ready(&scene), "one is enough");
        scene.slot(1).set_probe(Probe::Unhealthy, 0);
        assert!(!is_ready(&scene));
        scene.publish(entries);
        assert!(is_ready(&scene), "nobody requires it");
    }
}
