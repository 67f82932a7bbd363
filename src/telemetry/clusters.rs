//! Clusters and their endpoints at one moment, for `/metrics` and `/clusters`.

use schemars::JsonSchema;
use serde::Serialize;

/// One cluster.
#[derive(Debug, Clone, Serialize, JsonSchema, PartialEq)]
pub struct ClusterView {
    /// Its name.
    pub name: String,
    /// How endpoints are chosen.
    pub balance: &'static str,
    /// Most connections to its endpoints; 0 without a cap.
    pub max_connections: u64,
    /// Connections open to its endpoints, idle ones included.
    pub connections: u64,
    /// Those that are not idle; more than `max_connections` after that was lowered.
    pub connections_active: u64,
    /// These as a share of `max_connections`, above 1 after that was lowered; 0 without a cap.
    pub saturation: f64,
    /// Requests in flight to its endpoints.
    pub in_flight: u64,
    /// Requests that wait for a connection.
    pub waiting: u64,
    /// The limit on requests in flight that follows their latency, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admission: Option<AdmissionView>,
    /// Priorities that are left because they are slow.
    pub slow_tiers: Vec<u8>,
    /// Its endpoints.
    pub endpoints: Vec<EndpointView>,
}

/// A limit on requests in flight that follows their latency.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema, PartialEq)]
pub struct AdmissionView {
    /// Most requests in flight of normal priority.
    pub limit: u32,
    /// Requests in flight.
    pub in_flight: u32,
    /// What an answer takes when nothing waits, in microseconds; 0 before that is known.
    pub baseline_us: f64,
    /// Requests that were shed.
    pub shed: u64,
}

impl ClusterView {
    /// The share of a cap that is in use; 0 without one.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a ratio of counts above 2^53 may round")]
    pub fn saturation_of(active: u64, most: u64) -> f64 {
        if most == 0 { 0.0 } else { active as f64 / most as f64 }
    }

    /// Makes one of what has one address: an endpoint that is spoken to in two ways, as by two names or while a trial changes how,
    /// counts apart, and has one label.
    pub(super) fn merge_addresses(&mut self) {
        self.endpoints.sort_by(|one, other| one.address.cmp(&other.address));
        self.endpoints.dedup_by(|next, first| {
            let is_same = next.address == first.address;
            if is_same {
                first.fit |= next.fit;
                first.in_flight += next.in_flight;
                // Half-open is nearer to closed than open is, whatever their numbers.
                let rank = |state: u64| [0, 2, 1].get(usize::try_from(state).unwrap_or(usize::MAX)).copied();
                first.breaker_state =
                    std::cmp::max_by_key(first.breaker_state, next.breaker_state, |state| rank(*state));
            }
            is_same
        });
    }
}

/// One endpoint.
#[derive(Debug, Clone, Serialize, JsonSchema, PartialEq)]
pub struct EndpointView {
    /// Its address.
    pub address: String,
    /// Its weight; 0 is drained.
    pub weight: u32,
    /// Its tier.
    pub priority: u8,
    /// May it be picked?
    pub fit: bool,
    /// Why not; empty when it may.
    pub unfit: &'static str,
    /// What the active check says: `unprobed`, `pending`, `healthy` or `unhealthy`.
    pub probe: &'static str,
    /// How the last probe went; empty before the first.
    pub probe_detail: String,
    /// `closed`, `open` or `half_open`.
    pub breaker: &'static str,
    /// 0 closed, 1 open, 2 half-open.
    pub breaker_state: u64,
    /// Was it ejected for its errors?
    pub ejected: bool,
    /// Is it spared while others are fit, because it asked for that or a connection to it failed a moment ago?
    pub resting: bool,
    /// Its share of the cluster's cap on connections; 0 without one.
    pub capacity: u32,
    /// Requests in flight to it.
    pub in_flight: u64,
    /// Moving average of the time to connect or to answer a probe, in microseconds; 0 when unknown.
    pub latency_us: u64,
}
