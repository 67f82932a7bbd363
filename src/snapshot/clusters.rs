//! Clusters compiled, and what of them outlives a snapshot: identities, states, endpoint slots.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rustls::RootCertStore;
use rustls::pki_types::ServerName;

use super::Snapshot;
use super::compile::{CompileError, Resolved, ms};
use super::entrances::Entrances;
use super::policies::Issued;
use super::tls::{Outbound, TlsError, TlsKeeper};
use super::upstream::{
    Cluster, Endpoint, EndpointTls, Gate, KeyFrom, Pings, ProxyVersion, QueueBound, UpstreamProtocol,
};
use crate::cluster::{
    BreakerPolicy, Cap, ClusterState, EndpointId, EndpointKey, EndpointRegistry, Fleet, IdleCaps, PassivePolicy, Probe,
    Ring, Strategy,
};
use crate::config;
use crate::policy::limit::Limits;
use crate::policy::{Admission, AdmissionPolicy, Headroom, LivePolicy};

/// Weights of endpoints, by their cluster and address.
pub type Weights = HashMap<(String, SocketAddr), u32>;

/// What outlives any one snapshot: the identities of endpoints, their slots, the states of clusters by name, the
/// secrets of TLS sessions, what has been used of rate limits, and which listener takes over from which, with those who
/// are connected.
pub struct Registry {
    workers: usize,
    endpoints: EndpointRegistry,
    fleet: Arc<Fleet>,
    states: HashMap<String, Arc<ClusterState>>,
    admissions: HashMap<String, Arc<Admission>>,
    /// Probe state of endpoints that are new in the snapshot under construction.
    probes: HashMap<EndpointId, Probe>,
    pub(super) tls: TlsKeeper,
    pub(super) issued: Issued,
    weights: Weights,
    limits: Arc<Limits>,
    headroom: Arc<Headroom>,
    pub(super) entrances: Entrances,
}

impl Registry {
    /// Weights in place of those of the configuration, for snapshots to come.
    pub fn set_weights(&mut self, weights: Weights) {
        self.weights = weights;
    }

    /// Keys that issuers publish, for snapshots to come.
    pub fn set_issued(&mut self, issued: Issued) {
        self.issued = issued;
    }

    /// An empty registry of a process with `workers` workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            workers,
            endpoints: EndpointRegistry::new(),
            fleet: Arc::new(Fleet::new(workers)),
            states: HashMap::new(),
            admissions: HashMap::new(),
            probes: HashMap::new(),
            tls: TlsKeeper::new(),
            issued: Issued::default(),
            weights: Weights::default(),
            limits: Arc::new(Limits::new([0; 16])),
            headroom: Arc::default(),
            entrances: Entrances::default(),
        }
    }

    /// The same with random bits, so that nobody can tell which keys of rate limits meet in a set.
    #[must_use]
    pub fn seeded(workers: usize, seed: [u8; 16]) -> Self {
        Self { limits: Arc::new(Limits::new(seed)), ..Self::new(workers) }
    }

    /// What has been used of all rate limits.
    #[must_use]
    pub const fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// Whether there is memory for more.
    #[must_use]
    pub const fn headroom(&self) -> &Arc<Headroom> {
        &self.headroom
    }

    /// Where hellos of clients are counted that asked for a name that no certificate of their listener is for.
    #[must_use]
    pub const fn unknown_names(&self) -> &Arc<AtomicU64> {
        self.tls.unknown_names()
    }

    /// The endpoints as all cores see them.
    #[must_use]
    pub const fn fleet(&self) -> &Arc<Fleet> {
        &self.fleet
    }

    /// Workers of the process.
    #[must_use]
    pub const fn workers(&self) -> usize {
        self.workers
    }

    /// Does it need the system's authorities for `config`, which it has not been given?
    #[must_use]
    pub fn lacks_system_roots(&self, config: &config::Config) -> bool {
        let trusts_system = |cluster: &config::Cluster| cluster.tls.trusts_system() && is_secure(cluster);
        !self.tls.has_system() && config.clusters.iter().any(trusts_system)
    }

    /// Given the authorities that the system believes.
    pub fn set_system_roots(&mut self, roots: Arc<RootCertStore>) {
        self.tls.set_system(roots);
    }

    /// Told that a period of the keys of session tickets is over: snapshots to come have new ones.
    pub const fn on_ticket_period_over(&mut self) {
        self.tls.on_period_over();
    }

    /// Told that `snapshot` is about to be published: what is shared takes up its settings. Workers adopt it after that.
    pub fn on_publishing(&mut self, snapshot: &Snapshot, config: &config::Config, now_ms: u64) {
        self.on_publishing_beside(snapshot, config, None, now_ms);
    }

    /// The same where another configuration, `candidate`, is on trial beside it: its settings are for what the other has no
    /// part in.
    pub fn on_publishing_beside(
        &mut self,
        snapshot: &Snapshot,
        config: &config::Config,
        candidate: Option<&config::Config>,
        now_ms: u64,
    ) {
        self.entrances.on_publishing(&snapshot.listeners);
        let is_first = snapshot.epoch == 1;
        for id in self.endpoints.fresh() {
            let probe = self.probes.get(&id).copied().unwrap_or(Probe::Unprobed);
            self.fleet.on_assigned(id, probe, now_ms, !is_first);
        }
        self.probes.clear();
        let beside = snapshot.candidate.as_ref().map(|candidate| &*candidate.snapshot);
        self.take_up(snapshot, config, None, now_ms);
        if let (Some(beside), Some(config)) = (beside, candidate) {
            self.take_up(beside, config, Some(snapshot), now_ms);
        }
        let clusters = || beside.into_iter().chain([snapshot]).flat_map(|side| side.clusters.iter());
        // A cluster that is gone may come back while requests of before hold its connections, or are still to open some: as
        // long as there is a snapshot that has it.
        let is_known = |name: &String| clusters().any(|cluster| cluster.name == *name);
        self.states.retain(|name, state| Arc::strong_count(state) > 1 || is_known(name));
        let gates = clusters().filter_map(|cluster| Some((&cluster.name, cluster.admission.as_ref()?)));
        self.admissions = gates.map(|(name, gate)| (name.clone(), Arc::clone(&gate.shared))).collect();
        for cluster in clusters() {
            self.states.entry(cluster.name.clone()).or_insert_with(|| Arc::clone(&cluster.state));
        }
    }

    /// What is shared takes up the settings of `snapshot`, but for what `taken` has of it.
    fn take_up(&self, snapshot: &Snapshot, config: &config::Config, taken: Option<&Snapshot>, now_ms: u64) {
        let taken = || taken.into_iter().flat_map(|taken| taken.clusters.iter());
        for (cluster, written) in snapshot.clusters.iter().zip(&config.clusters) {
            let shared = taken().find(|known| Arc::ptr_eq(&known.state, &cluster.state));
            let is_shared = |id: EndpointId| shared.is_some_and(|shared| shared.ids.contains(&id));
            for endpoint in cluster.endpoints.iter().filter(|endpoint| !is_shared(endpoint.id)) {
                let slot = self.fleet.slot(endpoint.id);
                slot.set_drained(endpoint.weight == 0, now_ms);
                match &written.active {
                    None => {
                        slot.set_probe(Probe::Unprobed, now_ms);
                        slot.set_latency_us(0);
                    }
                    // Nobody demands a first probe any more.
                    Some(active) if !active.require_probe && slot.probe() == Probe::Pending => {
                        slot.set_probe(Probe::Unprobed, now_ms);
                    }
                    Some(_) => {}
                }
                self.on_policies(cluster, snapshot.live.as_deref(), endpoint.id);
            }
            if shared.is_some() {
                continue;
            }
            // Every worker is nudged to adopt the snapshot, and looks after its waiters then.
            let _woken = cluster.state.set_limit(written.max_connections);
            if written.max_latency.is_none() {
                cluster.state.set_slow_tiers(0);
            }
        }
    }

    fn on_policies(&self, cluster: &Cluster, live: Option<&LivePolicy>, id: EndpointId) {
        self.fleet.slot(id).on_policies(cluster.breaker_under(live).is_some(), cluster.passive.is_some());
    }

    /// Told that `snapshot`, the tables in force under a live policy that may be their first one, is about to be published: what is
    /// shared learns that clusters have breakers which had none.
    pub fn on_policy_publishing(&self, snapshot: &Snapshot) {
        let beside = snapshot.candidate.as_ref().map(|candidate| &*candidate.snapshot);
        for cluster in beside.into_iter().chain([snapshot]).flat_map(|side| side.clusters.iter()) {
            for id in &cluster.ids {
                self.on_policies(cluster, snapshot.live.as_deref(), *id);
            }
        }
    }

    /// Told that the listener `name` of the configuration in force has sockets at `bound`.
    pub fn on_bound(&mut self, name: &str, bound: SocketAddr) {
        self.entrances.on_bound(name, bound);
    }

    /// Told that the snapshot of `epoch` was published.
    pub fn on_published(&mut self, epoch: u64) {
        self.endpoints.on_published(epoch);
        self.tls.on_published();
    }

    /// Told that the snapshot of `epoch` was given up.
    pub fn on_rejected(&mut self, epoch: u64) {
        self.probes.clear();
        self.endpoints.on_rejected(epoch);
    }

    /// Told that no worker uses an epoch before `oldest`.
    pub fn retire(&mut self, oldest: u64) {
        self.endpoints.retire(oldest);
    }

    fn state(&self, cluster: &config::Cluster) -> Arc<ClusterState> {
        let known = self.states.get(&cluster.name).map(Arc::clone);
        known.unwrap_or_else(|| Arc::new(ClusterState::new(self.workers, cluster.max_connections)))
    }
}

/// The gate before a cluster: the one of before, if there was one.
fn gate(cluster: &config::Cluster, registry: &Registry) -> Option<Gate> {
    let config::Admission { min, max, measure_every } = cluster.admission?;
    let policy = AdmissionPolicy { min, max, measure_every_ms: ms(measure_every) };
    let known = registry.admissions.get(&cluster.name).map(Arc::clone);
    Some(Gate { policy, shared: known.unwrap_or_else(|| Arc::new(Admission::new(registry.workers, &policy))) })
}

pub(super) fn cluster(
    cluster: &config::Cluster,
    epoch: u64,
    registry: &mut Registry,
    resolved: &Resolved,
) -> Result<Cluster, CompileError> {
    let mut endpoints = addresses(cluster, epoch, registry, resolved)?;
    // Stable: within a priority the order is as written.
    endpoints.sort_by_key(|endpoint| endpoint.priority);
    let tiers = tiers(endpoints.iter().map(|endpoint| endpoint.priority));
    share_capacity(&mut endpoints, cluster.max_connections);
    let strategy = strategy(cluster.balance);
    let ring = (strategy == Strategy::ConsistentHash).then(|| {
        let names: Vec<String> = endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect();
        Ring::new(names.iter().map(String::as_bytes).zip(endpoints.iter().map(|endpoint| endpoint.weight)))
    });
    let (keepalive, workers) = (&cluster.keepalive, registry.workers.max(1));
    Ok(Cluster {
        name: cluster.name.clone(),
        ids: endpoints.iter().map(|endpoint| endpoint.id).collect(),
        speaks_h2: endpoints.iter().any(|endpoint| endpoint.protocol != UpstreamProtocol::Http1),
        endpoints,
        tiers,
        state: registry.state(cluster),
        admission: gate(cluster, registry),
        strategy,
        ring,
        key: cluster.hash_key.as_ref().map(key),
        is_capped: cluster.max_connections > 0,
        queue: cluster.queue.as_ref().map(|queue| QueueBound { max: queue.max, timeout_ms: ms(queue.timeout) }),
        slow_start_ms: cluster.slow_start.map_or(0, ms),
        fail_open: cluster.none_healthy == config::NoneHealthy::FailOpen,
        is_required: cluster.required,
        breaker: cluster.breaker.as_ref().map(breaker),
        own_consecutive: cluster.breaker.as_ref().and_then(|breaker| breaker.consecutive),
        passive: cluster.passive.as_ref().map(passive),
        proxy_protocol: cluster.proxy_protocol.map(proxy_version),
        idle: IdleCaps {
            per_endpoint: Cap::new(keepalive.idle_per_endpoint, workers),
            total: Cap::new(keepalive.idle_total, workers),
            idle_ms: ms(keepalive.idle_timeout),
        },
        keep_alive_s: keepalive.tcp.map_or(0, |time| u32::try_from(time.as_secs()).unwrap_or(u32::MAX)),
        pings: keepalive.ping_after.map(|after| Pings { after_ms: ms(after), timeout_ms: ms(keepalive.ping_timeout) }),
        series: usize::MAX,
    })
}

/// Every address of every endpoint.
fn addresses(
    cluster: &config::Cluster,
    epoch: u64,
    registry: &mut Registry,
    resolved: &Resolved,
) -> Result<Vec<Endpoint>, CompileError> {
    let mut endpoints: Vec<Endpoint> = Vec::new();
    let needs_probe = cluster.active.as_ref().is_some_and(|active| active.require_probe);
    let outbound = outbound(cluster, registry)?;
    for written in &cluster.endpoints {
        let mut secured = secured(cluster, written, outbound.as_ref())?;
        secured.transport.push_str(match cluster.proxy_protocol {
            None => "",
            Some(config::ProxyVersion::V1) => " behind v1",
            Some(config::ProxyVersion::V2) => " behind v2",
        });
        let addresses = resolved.get(&(written.host.clone(), written.port)).map_or(&[][..], Vec::as_slice);
        if addresses.is_empty() {
            return Err(CompileError::Unresolved { cluster: cluster.name.clone(), host: written.host.clone() });
        }
        for &address in addresses {
            let id = assign(cluster, address, &secured.transport, epoch, registry)?;
            // What is compiled first is in force, and decides where what is on trial beside it has the same endpoint.
            registry.probes.entry(id).or_insert(if needs_probe { Probe::Pending } else { Probe::Unprobed });
            // Two names of one cluster may share an address; it is one endpoint.
            if endpoints.iter().all(|known| known.id != id) {
                let authority = written.authority().into_bytes();
                let given = registry.weights.get(&(cluster.name.clone(), address));
                let (weight, priority) = (given.copied().unwrap_or(written.weight), written.priority);
                let tls = secured.tls.clone();
                let protocol = protocol(cluster.speaks_to(written));
                endpoints.push(Endpoint { id, address, authority, weight, priority, capacity: 0, tls, protocol });
            }
        }
    }
    Ok(endpoints)
}

const fn protocol(protocol: config::UpstreamProtocol) -> UpstreamProtocol {
    match protocol {
        config::UpstreamProtocol::Http1 => UpstreamProtocol::Http1,
        config::UpstreamProtocol::H2 => UpstreamProtocol::H2,
        config::UpstreamProtocol::Auto => UpstreamProtocol::Auto,
    }
}

fn is_secure(cluster: &config::Cluster) -> bool {
    cluster.endpoints.iter().any(|endpoint| endpoint.scheme == config::Scheme::Https)
}

/// TLS to the endpoints of a cluster that speak it.
fn outbound(cluster: &config::Cluster, registry: &mut Registry) -> Result<Option<Outbound>, CompileError> {
    let outbound = is_secure(cluster).then(|| registry.tls.outbound(&cluster.tls, cluster.protocol)).transpose();
    outbound.map_err(|why| tls_error(cluster, why))
}

fn tls_error(cluster: &config::Cluster, why: TlsError) -> CompileError {
    CompileError::Tls { of: format!("cluster `{}`", cluster.name), why }
}

/// How one endpoint is spoken to.
struct Secured {
    tls: Option<EndpointTls>,
    /// All of it that a kept connection depends on.
    transport: String,
}

fn secured(
    cluster: &config::Cluster,
    endpoint: &config::Endpoint,
    outbound: Option<&Outbound>,
) -> Result<Secured, CompileError> {
    let Some(outbound) = outbound.filter(|_| endpoint.scheme == config::Scheme::Https) else {
        let transport = match cluster.speaks_to(endpoint) {
            config::UpstreamProtocol::Http1 | config::UpstreamProtocol::Auto => "http",
            config::UpstreamProtocol::H2 => "h2c",
        };
        return Ok(Secured { tls: None, transport: transport.to_owned() });
    };
    let host = cluster.tls.server_name.as_ref().unwrap_or(&endpoint.host);
    let name = ServerName::try_from(host.clone()).map_err(|error| {
        let why = format!("`{host}` is no name that a certificate can be for: {error}");
        tls_error(cluster, TlsError::Refused(why))
    })?;
    let transport = format!("https {} {host}", outbound.number);
    Ok(Secured { tls: Some(EndpointTls { config: Arc::clone(&outbound.config), name }), transport })
}

fn assign(
    cluster: &config::Cluster,
    address: SocketAddr,
    transport: &str,
    epoch: u64,
    registry: &mut Registry,
) -> Result<EndpointId, CompileError> {
    let key = EndpointKey { cluster: cluster.name.clone(), address, transport: transport.to_owned() };
    registry.endpoints.assign(epoch, &key).map_err(|_| CompileError::EndpointsFull)
}

fn tiers(priorities: impl Iterator<Item = u8>) -> Vec<Range<usize>> {
    let mut tiers: Vec<(u8, Range<usize>)> = Vec::new();
    for (at, priority) in priorities.enumerate() {
        match tiers.last_mut() {
            Some((last, range)) if *last == priority => range.end = at + 1,
            Some(_) | None => tiers.push((priority, at..at + 1)),
        }
    }
    tiers.into_iter().map(|(_, range)| range).collect()
}

/// Gives every endpoint its part of the cap by weight, at least one connection.
fn share_capacity(endpoints: &mut [Endpoint], cap: usize) {
    let weights: u64 = endpoints.iter().map(|endpoint| u64::from(endpoint.weight)).sum();
    if cap == 0 || weights == 0 {
        return;
    }
    for endpoint in endpoints {
        let part = cap as u64 * u64::from(endpoint.weight) / weights;
        endpoint.capacity = u32::try_from(part).unwrap_or(u32::MAX).max(1);
    }
}

const fn strategy(balance: config::Balance) -> Strategy {
    match balance {
        config::Balance::RoundRobin => Strategy::RoundRobin,
        config::Balance::WeightedRoundRobin => Strategy::WeightedRoundRobin,
        config::Balance::LeastConnections => Strategy::LeastConnections,
        config::Balance::ConsistentHash => Strategy::ConsistentHash,
        config::Balance::LeastSaturated => Strategy::LeastSaturated,
        config::Balance::P2c => Strategy::P2c,
    }
}

const fn proxy_version(version: config::ProxyVersion) -> ProxyVersion {
    match version {
        config::ProxyVersion::V1 => ProxyVersion::V1,
        config::ProxyVersion::V2 => ProxyVersion::V2,
    }
}

pub(super) fn key(key: &config::HashKey) -> KeyFrom {
    match key {
        config::HashKey::Header(name) => KeyFrom::Header(name.clone()),
        config::HashKey::Cookie(name) => KeyFrom::Cookie(name.clone()),
        config::HashKey::ClientIp => KeyFrom::ClientIp,
        config::HashKey::Path => KeyFrom::Path,
    }
}

fn breaker(breaker: &config::Breaker) -> BreakerPolicy {
    BreakerPolicy {
        window_ms: ms(breaker.window),
        error_rate: breaker.error_rate,
        min_requests: breaker.min_requests,
        consecutive: breaker.consecutive.unwrap_or(config::Breaker::CONSECUTIVE),
        open_ms: ms(breaker.open_for),
        probes: breaker.probes,
        close_after: breaker.close_after,
    }
}

fn passive(passive: &config::PassiveHealth) -> PassivePolicy {
    PassivePolicy {
        window_ms: ms(passive.window),
        error_rate: passive.error_rate,
        min_requests: passive.min_requests,
        eject_ms: ms(passive.eject_for),
        max_ejected: passive.max_ejected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_breaker_that_the_live_policy_brings_is_in_all_but_its_failures_one_without_entries() {
        let config = config::tests::of_text(
            "version: 1\nlisteners: { web: { address: ':0' } }\n\
             clusters: { app: { breaker: {}, endpoints: [{ url: 'http://10.0.0.1:80' }] } }\n\
             routes: [{ name: all, cluster: app }]\n",
        );
        let written = breaker(config.clusters[0].breaker.as_ref().expect("it is there"));
        let by_row = BreakerPolicy { consecutive: written.consecutive, ..BreakerPolicy::BY_ROW };
        let BreakerPolicy { error_rate, min_requests, .. } = written;
        assert_eq!(BreakerPolicy { error_rate, min_requests, ..by_row }, written);
    }

    #[test]
    fn endpoints_of_one_priority_are_one_tier() {
        assert_eq!(tiers([0, 0, 1, 5, 5, 5].into_iter()), [0..2, 2..3, 3..6]);
        assert_eq!(tiers([7, 8].into_iter()), [0..1, 1..2]);
    }

    #[test]
    fn capacity_follows_weight_and_is_never_nothing() {
        let endpoint = |weight| Endpoint {
            id: EndpointId(0),
            address: "127.0.0.1:1".parse().expect("an address"),
            authority: Vec::new(),
            weight,
            priority: 0,
            capacity: 0,
            tls: None,
            protocol: UpstreamProtocol::Http1,
        };
        let mut endpoints = [endpoint(3), endpoint(1), endpoint(0)];
        share_capacity(&mut endpoints, 8);
        assert_eq!(endpoints.each_ref().map(|endpoint| endpoint.capacity), [6, 2, 1]);
    }
}
