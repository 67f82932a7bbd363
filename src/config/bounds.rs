//! How large the numbers of the format may be, for the check and for the schema alike.

/// Most weight of one endpoint.
pub(super) const ENDPOINT_WEIGHT_MAX: u32 = 1000;
/// The last tier of endpoints: a mask of tiers has a bit for each.
pub(super) const PRIORITY_MAX: u32 = 63;
/// Most weight of one cluster of a split: beside the least weight, a share of a hundredth of a percent.
pub(super) const SPLIT_WEIGHT_MAX: u32 = 10_000;
/// Most tries of one request.
pub(super) const ATTEMPTS_MAX: u32 = 10;
/// Most requests that a breaker lets through at once to try.
pub(super) const PROBES_MAX: u32 = 31;
/// Most successes that a breaker may want before it closes.
pub(super) const CLOSE_AFTER_MAX: u32 = 255;
/// Most results that a window of one endpoint is sure to hold.
pub(super) const MIN_REQUESTS_MAX: u32 = 65_536;
/// Longest run of failures that is counted.
pub(super) const CONSECUTIVE_MAX: u32 = 65_535;
/// Most requests in flight that an adaptive limit may let in.
pub(super) const ADMITTED_MAX: u32 = 1_000_000;
/// The last TCP port.
pub(super) const PORT_MAX: u32 = 65_535;
