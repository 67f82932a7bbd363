//! How a changed configuration proves itself, as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::leaf::Leaf;
use super::super::units::{Count, Increase, Percent, Wait};

/// A changed configuration takes a share of new connections first, and all of them once it has done no worse than the one in
/// force; else it is given up. At once and for all without this.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(in crate::config) struct StageFile {
    /// Share of new connections that it takes, 10%.
    pub(in crate::config) share: Option<Leaf<Percent>>,
    /// How long it does before it is promoted, 30s.
    #[serde(rename = "for")]
    pub(in crate::config) hold: Option<Leaf<Wait>>,
    /// Requests before it is judged, 500; at the end its failures are judged however few there were.
    pub(in crate::config) min_requests: Option<Leaf<Count>>,
    /// What speaks against it.
    pub(in crate::config) rollback_if: Option<RollbackFile>,
}

/// By how much a changed configuration may do worse than the one in force.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(in crate::config) struct RollbackFile {
    /// Its share of failed requests (5xx) exceeds that of the one in force by more, 1%.
    pub(in crate::config) error_rate_increase: Option<Leaf<Percent>>,
    /// Its share of refused requests (no route, no access, handshakes that failed) does, 10%.
    pub(in crate::config) refusal_rate_increase: Option<Leaf<Percent>>,
    /// Its 99th percentile exceeds the other by more, 50%; differences below a millisecond never count.
    pub(in crate::config) p99_increase: Option<Leaf<Increase>>,
}
