//! What the dashboard shows of the control side, every second and as often as it changes.

use std::hash::{Hash as _, Hasher as _};

use rustc_hash::FxHasher;
use serde::Serialize;

use super::{
    Board, IoStatus, LastReload, LastUpgrade, ListenerStatus, Live, PolicyStatus, Seat, listener_status, policy_status,
};
use crate::clock;
use crate::control::{memory, rollout};

/// The process, its configuration and its live policy.
#[derive(Debug, Serialize)]
pub(in crate::control) struct Glance {
    version: &'static str,
    pid: u32,
    started: String,
    uptime_seconds: u64,
    epoch: u64,
    ready: bool,
    draining: bool,
    io: IoStatus,
    listeners: Vec<ListenerStatus>,
    max_connections: u64,
    memory_bytes: u64,
    last_reload: Option<LastReload>,
    last_upgrade: Option<LastUpgrade>,
    policy: Option<PolicyStatus>,
    rollout: rollout::Status,
}

impl Board {
    /// The workers in order.
    pub(in crate::control) fn seats(&self) -> &[Seat] {
        &self.fixed.seats
    }

    /// Reason codes by index.
    pub(in crate::control) fn reasons(&self) -> &[&'static str] {
        &self.fixed.reasons
    }

    /// Names of the series of routes and of clusters.
    pub(in crate::control) fn series_names(&self) -> [Vec<String>; 2] {
        let live = self.live();
        [live.routes.clone(), live.clusters.clone()]
    }

    /// What there is to see now.
    pub(in crate::control) fn glance(&self) -> Glance {
        let memory_bytes = memory::resident_bytes();
        let live = self.live();
        Glance {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            started: clock::rfc3339_text(self.started_ms),
            uptime_seconds: (clock::now_ns() - self.started_ns) / 1_000_000_000,
            epoch: live.epoch,
            ready: live.is_ready(&self.fixed.fleet),
            draining: live.draining,
            io: IoStatus { driver: self.fixed.driver.name(), reason: self.fixed.driver_why.clone() },
            listeners: live.listeners.iter().map(listener_status).collect(),
            max_connections: live.max_connections,
            memory_bytes,
            last_reload: live.last_reload.clone(),
            last_upgrade: live.last_upgrade.clone(),
            policy: live.policy.as_ref().map(policy_status),
            rollout: live.rollout.status(),
        }
    }

    /// A number that is another one when something has changed that nobody should have to wait for: the configuration, the
    /// policy, or the fitness or breaker of an endpoint.
    pub(in crate::control) fn fingerprint(&self) -> u64 {
        let now_ms = clock::now_ns() / 1_000_000;
        let live = self.live();
        let mut hasher = FxHasher::default();
        (live.epoch, live.is_ready(&self.fixed.fleet), live.draining).hash(&mut hasher);
        outcomes(&live, &mut hasher);
        for (_, endpoint) in live.overview.endpoints() {
            let slot = self.fixed.fleet.slot(endpoint.id);
            (slot.fitness(now_ms).name(), slot.breaker(now_ms) as u64).hash(&mut hasher);
        }
        hasher.finish()
    }
}

fn outcomes(live: &Live, hasher: &mut FxHasher) {
    (live.reloads.ok, live.reloads.failed).hash(hasher);
    live.last_upgrade.as_ref().map(|last| (last.ok, &last.at)).hash(hasher);
    if let Some(policy) = &live.policy {
        let document = &policy.document;
        (policy.in_force, &policy.trouble, document.enabled, &document.updated_at).hash(hasher);
        (document.rate_limit.to_string(), document.circuit_breaker_threshold).hash(hasher);
    }
}
