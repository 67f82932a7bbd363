//! A worker and where it counts.

use std::sync::Arc;

use crate::policy::Load;
use crate::telemetry::{Counter, WorkerCounters};

/// One worker as shown.
#[derive(Debug, Clone)]
pub(in crate::control) struct Seat {
    /// The CPU it is pinned to.
    pub(in crate::control) cpu: Option<usize>,
    /// What it counts.
    pub(in crate::control) counters: Arc<WorkerCounters>,
}

impl Seat {
    /// A worker that has counted nothing yet.
    pub(in crate::control) fn new(cpu: Option<usize>) -> Self {
        Self { cpu, counters: Arc::new(WorkerCounters::new()) }
    }
}

/// What clients have at all of them.
pub(super) fn load(seats: &[Seat]) -> Load {
    let sum = |one: fn(&WorkerCounters) -> &Counter| seats.iter().map(|seat| one(&seat.counters).value()).sum();
    Load {
        requests: sum(|cells| &cells.requests_active),
        h2_streams: sum(|cells| &cells.h2_streams_active),
        tunnels: sum(|cells| &cells.tunnels_active),
        connections: sum(|cells| &cells.connections_active),
        idle: sum(|cells| &cells.connections_idle),
        h2_connections: sum(|cells| &cells.h2_connections_active),
    }
}
