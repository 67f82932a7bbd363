//! A worker and where it counts.

use std::sync::Arc;

use crate::telemetry::WorkerCounters;

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
