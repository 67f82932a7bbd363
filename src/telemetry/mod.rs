//! What a gateway tells about itself: counters, records, the ring they travel through, their text.
//!
//! Owns: per-worker counters, the record of one exchange, its single-producer ring, sampling, and the rendering of
//! records as JSON lines and of counters as Prometheus text.
//! Never: a lock, an allocation or formatting on the request path; writing to a file or a socket.
//! Invariants: every counter cell has one writer; a full ring drops the record and never waits; what is logged of a
//! peer is always escaped.

mod clusters;
mod counters;
mod json;
mod latency;
mod metrics;
mod policy_syncs;
mod record;
mod retries;
mod ring;
mod sampler;
mod spans;
mod stages;
mod top_clients;
mod trial;

pub use clusters::{AdmissionView, ClusterView, EndpointView};
pub use counters::{
    ACCEPT_ERRORS, CAPS, CLASSES, Cells, Counter, DURATION_BOUNDS_NS, H2_CODES, H2_EXCESSES, Histogram, MEMORY_CAP,
    METHODS, PROTOCOLS, REASONS_MAX, STATUS_FIRST, TLS_FAILURES, WorkerCounters, method_index,
};
pub use json::{Lines, Millis};
pub use latency::{LATENCY_BUCKETS, LATENCY_SERIES, Latencies, LatencySeries, Spread, latency_bound_ns};
pub use metrics::{Format, Reloads, RolloutView, Scrape, UpgradeCounts, render_metrics};
pub use policy_syncs::PolicySyncs;
pub use record::{Decoded, Record};
pub use retries::{NotRetried, Retried};
pub use ring::{LogDrain, LogRing, ring};
pub use sampler::{Class, Sampler, Share};
pub use spans::{ATTEMPT_BYTES_MAX, ATTEMPTS_BYTES_MAX, AttemptSpan, ExchangeSpan, SpanDrain, SpanRing, span_ring};
pub use stages::{STAGE_BOUNDS_NS, STAGES, Stage, Stages};
pub use top_clients::TopClients;
pub use trial::{Cells as TrialCells, Ending, Side, SideCounts, Trial};
