//! How long the stages of exchanges take.

use super::counters::Counter;

/// Names of the stages, by the order of [`Stage`].
pub const STAGES: [&str; 11] =
    ["accept", "tls", "head", "route", "admit", "limiter", "queue", "connect", "reuse", "first_byte", "body"];
/// Upper bounds of the buckets in nanoseconds; the bucket behind the last one has none.
pub const STAGE_BOUNDS_NS: [u64; 12] = [
    1_000,
    4_000,
    15_000,
    50_000,
    250_000,
    1_000_000,
    5_000_000,
    25_000_000,
    100_000_000,
    500_000_000,
    2_500_000_000,
    10_000_000_000,
];

/// A stage of an exchange, or of the connection before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// A connection accepted, handed over perhaps, to the first byte of its handshake or of its first request.
    Accept,
    /// The TLS handshake of a client's connection.
    Tls,
    /// First byte of a request to the end of its head, where that came in pieces.
    Head,
    /// Finding the route of a request; of some requests.
    Route,
    /// What policies took, and finding them.
    Admit,
    /// What of that rate limits took, and the stores of those that are shared.
    Limiter,
    /// Waiting for a connection of a cluster at its cap.
    Queue,
    /// Opening a connection to an endpoint.
    Connect,
    /// Finding an endpoint with an idle connection, looking at that, and writing the head for it; of some requests.
    Reuse,
    /// Request sent to the first byte of the response.
    FirstByte,
    /// First byte of the response to the end of the exchange.
    Body,
}

/// The durations of all stages, by bucket; one writer.
#[derive(Debug)]
pub struct Stages {
    cells: [Durations; STAGES.len()],
}

#[derive(Debug)]
struct Durations {
    buckets: [Counter; STAGE_BOUNDS_NS.len() + 1],
    sum_ns: Counter,
}

impl Default for Stages {
    fn default() -> Self {
        let cell =
            |_| Durations { buckets: [const { Counter::new() }; STAGE_BOUNDS_NS.len() + 1], sum_ns: Counter::new() };
        Self { cells: std::array::from_fn(cell) }
    }
}

impl Stages {
    /// Counts one duration of a stage, in the first bucket whose bound is not below it.
    #[inline]
    pub fn observe(&self, stage: Stage, ns: u64) {
        let cell = &self.cells[stage as usize];
        let bucket = STAGE_BOUNDS_NS.iter().position(|bound| ns <= *bound).unwrap_or(STAGE_BOUNDS_NS.len());
        cell.buckets[bucket].add(1);
        cell.sum_ns.add(ns);
    }

    /// Durations of a stage, by its place in [`STAGES`], in one bucket alone.
    #[must_use]
    pub fn bucket(&self, stage: usize, bucket: usize) -> u64 {
        self.cells[stage].buckets[bucket].value()
    }

    /// Sum of all durations of a stage in nanoseconds.
    #[must_use]
    pub fn sum_ns(&self, stage: usize) -> u64 {
        self.cells[stage].sum_ns.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_in_its_stage_and_in_one_bucket() {
        let stages = Stages::default();
        for (ns, bucket) in [(1, 0), (50_000, 3), (50_001, 4), (10_000_000_000, 11), (u64::MAX / 2, 12)] {
            let before = stages.bucket(Stage::FirstByte as usize, bucket);
            stages.observe(Stage::FirstByte, ns);
            assert_eq!(stages.bucket(Stage::FirstByte as usize, bucket), before + 1, "{ns}");
        }
        for (stage, name) in [
            (Stage::Accept, "accept"),
            (Stage::Tls, "tls"),
            (Stage::Route, "route"),
            (Stage::Limiter, "limiter"),
            (Stage::Reuse, "reuse"),
            (Stage::FirstByte, "first_byte"),
            (Stage::Body, "body"),
        ] {
            assert_eq!(STAGES[stage as usize], name);
        }
        assert_eq!(stages.sum_ns(Stage::Body as usize), 0);
    }
}
