//! How a changed configuration proves itself.

use std::time::Duration;

/// How a changed configuration proves itself beside the one in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    /// Share of new connections that it takes, above 0.0 and up to 1.0.
    pub share: f64,
    /// How long it does before it is promoted; not zero.
    pub hold: Duration,
    /// Requests before it is judged, at least 1.
    pub min_requests: u64,
    /// By how much its share of failed requests may exceed that of the one in force, 0.0 to 1.0.
    pub max_error_increase: f64,
    /// The same for requests that it does not let pass.
    pub max_refusal_increase: f64,
    /// By how much its 99th percentile may exceed the other: 0.5 for half as much again.
    pub max_p99_increase: f64,
}
