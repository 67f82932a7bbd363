//! What one worker counts, each cell written by that worker alone and read by whoever scrapes.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use super::latency::Latencies;
use super::retries::{NotRetried, Retried};
use super::stages::Stages;
use super::top_clients::TopClients;
use crate::limits;

/// Most distinct reasons of local replies and of upstream errors.
pub const REASONS_MAX: usize = 80;
/// What a new connection could not be accepted for want of.
pub const ACCEPT_ERRORS: [&str; 3] = ["descriptors", "memory", "other"];
/// Kinds of failed TLS handshakes.
pub const TLS_FAILURES: usize = 16;
/// The settings that cap connections: of the process, of a listener, of a client of it, and by the memory of the process.
pub const CAPS: [&str; 4] = ["max_connections", "connections", "connections_per_client", "memory_limit"];
/// The place of the last one.
pub const MEMORY_CAP: usize = CAPS.len() - 1;
/// What a client of HTTP/2 may do too often, in the order of the counters.
pub const H2_EXCESSES: [&str; 9] =
    ["resets", "ping", "settings", "priority", "empty_data", "window_update", "continuation", "fields", "other"];
/// Error codes of HTTP/2 (RFC 9113 section 7).
pub const H2_CODES: [&str; 14] = [
    "no_error",
    "protocol_error",
    "internal_error",
    "flow_control_error",
    "settings_timeout",
    "stream_closed",
    "frame_size_error",
    "refused_stream",
    "cancel",
    "compression_error",
    "connect_error",
    "enhance_your_calm",
    "inadequate_security",
    "http_1_1_required",
];
/// Protocols of requests, by the index of their counters.
pub const PROTOCOLS: [&str; 3] = ["HTTP/1.0", "HTTP/1.1", "HTTP/2"];
/// Labels of the `method` dimension, by the index of [`method_index`].
pub const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "OTHER"];
/// Lowest status code counted on its own; anything outside 100 to 599 counts as 599.
pub const STATUS_FIRST: u16 = 100;
const STATUSES: usize = 500;
/// Classes of status codes, 1xx to 5xx.
pub const CLASSES: usize = 5;
/// Upper bounds of the duration histogram in nanoseconds; the bucket behind the last one has none.
pub const DURATION_BOUNDS_NS: [u64; 17] = [
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// The index of a method in [`METHODS`]; methods are case-sensitive (RFC 9110 section 9.1).
#[must_use]
pub fn method_index(method: &[u8]) -> usize {
    match method {
        b"GET" => 0,
        b"HEAD" => 1,
        b"POST" => 2,
        b"PUT" => 3,
        b"DELETE" => 4,
        b"OPTIONS" => 5,
        b"PATCH" => 6,
        b"TRACE" => 7,
        b"CONNECT" => 8,
        _ => METHODS.len() - 1,
    }
}

/// A number with a single writer, so that adding is a plain load and store and never a locked instruction.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter at 0.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds `n`; wraps at 2^64.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Takes `n` off a gauge.
    #[inline]
    pub fn sub(&self, n: u64) {
        debug_assert!(self.value() >= n, "a gauge went below zero");
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(n), Ordering::Relaxed);
    }

    /// Replaces the value.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Replaces the value when `value` is larger.
    #[inline]
    pub fn raise(&self, value: u64) {
        if value > self.value() {
            self.set(value);
        }
    }

    /// The value now.
    #[inline]
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Durations by bucket and their sum.
#[derive(Debug)]
pub struct Histogram {
    buckets: [Counter; DURATION_BOUNDS_NS.len() + 1],
    sum_ns: Counter,
}

impl Histogram {
    fn new() -> Self {
        Self { buckets: std::array::from_fn(|_| Counter::new()), sum_ns: Counter::new() }
    }

    /// Counts one duration in the first bucket whose bound is not below it.
    #[inline]
    pub fn observe(&self, ns: u64) {
        // Searched from the small end: almost every request ends in the first few buckets.
        let bucket = DURATION_BOUNDS_NS.iter().position(|bound| ns <= *bound).unwrap_or(DURATION_BOUNDS_NS.len());
        self.buckets[bucket].add(1);
        self.sum_ns.add(ns);
    }

    /// Durations counted in bucket `index` alone, not in those below it.
    #[must_use]
    pub fn bucket(&self, index: usize) -> u64 {
        self.buckets[index].value()
    }

    /// Sum of all durations in nanoseconds.
    #[must_use]
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns.value()
    }
}

/// Everything one worker counts; share it as `Arc<WorkerCounters>` with the scraper.
///
/// Gauges (written by `add` and `sub` or `set`) are marked so, everything else only grows.
#[derive(Debug)]
pub struct WorkerCounters {
    cells: CachePadded<Cells>,
    requests: Box<[Counter]>,
    routes: Box<[Counter]>,
    latencies: Latencies,
}

impl std::ops::Deref for WorkerCounters {
    type Target = Cells;

    fn deref(&self) -> &Cells {
        &self.cells
    }
}

/// The plain cells of a worker, reached through [`WorkerCounters`].
#[derive(Debug)]
pub struct Cells {
    /// Connections accepted from clients.
    pub connections_accepted: Counter,
    /// Gauge: client connections open.
    pub connections_active: Counter,
    /// Gauge: client connections open and between two requests; those of HTTP/2 without a stream.
    pub connections_idle: Counter,
    /// Connections closed at once because a cap was reached, by the order of [`CAPS`].
    pub connections_rejected: [Counter; CAPS.len()],
    /// Connections that count for no client, because the table of clients had no place for theirs.
    pub connections_untracked: Counter,
    /// Connections accepted here and handed over to another worker, which held fewer.
    pub connections_handed: Counter,
    /// Gauge: upstream connections carrying an exchange.
    pub upstream_connections_active: Counter,
    /// Gauge: upstream connections resting in a pool.
    pub upstream_connections_idle: Counter,
    /// Upstream connections opened.
    pub upstream_connects: Counter,
    /// Exchanges that began on a pooled upstream connection.
    pub upstream_reuses: Counter,
    /// Gauge: requests between their head and the end of their response.
    pub requests_active: Counter,
    /// Client connections that ended before a request of theirs was whole, or was refused.
    pub connections_unused: Counter,
    /// Exchanges that the client left before their end.
    pub client_aborts: Counter,
    /// Failures of `accept`, in the order of [`ACCEPT_ERRORS`].
    pub accept_errors: [Counter; ACCEPT_ERRORS.len()],
    /// Tasks that a panic ended: connections, streams, accept loops, the tick.
    pub panics: Counter,
    /// Records of the access log, and spans, dropped because their ring was full, and spans of attempts that their exchange had
    /// no room for, in this order.
    pub untold: [Counter; 3],
    /// Legal but odd messages from clients.
    pub client_glitches: Counter,
    /// Idle upstream connections that their endpoint had closed, and those with bytes nobody asked for, in this order.
    pub upstream_stale: [Counter; 2],
    /// Exchanges sent once more, by [`Retried`].
    pub retries: [Counter; Retried::ALL.len()],
    /// Exchanges that were not sent once more, by [`NotRetried`].
    pub retries_denied: [Counter; NotRetried::ALL.len()],
    /// Gauge: requests waiting for a connection to a cluster at its cap.
    pub upstream_waiting: Counter,
    /// Breakers that closed, opened, and became half-open, in this order.
    pub breaker_transitions: [Counter; 3],
    /// Endpoints ejected for their errors.
    pub ejections: Counter,
    /// Requests about which another service was asked.
    pub auth_asked: Counter,
    /// Of them those that it did not answer.
    pub auth_failed: Counter,
    /// Copies of requests sent to mirrors.
    pub mirrors_sent: Counter,
    /// Copies that got no answer.
    pub mirrors_failed: Counter,
    /// Connections closed because of their PROXY header, or for want of one.
    pub proxy_headers_refused: Counter,
    /// Gauge: connections that were switched to another protocol.
    pub tunnels_active: Counter,
    /// Connections that were switched to another protocol.
    pub tunnels: Counter,
    /// Gauge: TLS handshakes with clients under way.
    pub tls_handshakes_active: Counter,
    /// TLS handshakes with clients that were done in full.
    pub tls_handshakes_full: Counter,
    /// TLS handshakes with clients that resumed a session.
    pub tls_handshakes_resumed: Counter,
    /// TLS handshakes that were ended because as many newer ones were under way as may be.
    pub tls_handshakes_ousted: Counter,
    /// TLS handshakes with clients that failed, by the order of the failures.
    pub tls_failures: [Counter; TLS_FAILURES],
    /// Gauge: connections of HTTP/2 open.
    pub h2_connections_active: Counter,
    /// Gauge: streams of HTTP/2 that are served.
    pub h2_streams_active: Counter,
    /// Streams of HTTP/2 that clients opened.
    pub h2_streams: Counter,
    /// Streams that clients reset.
    pub h2_resets_received: Counter,
    /// Streams that were reset here.
    pub h2_resets_sent: Counter,
    /// GOAWAYs sent, by error code.
    pub h2_goaways: [Counter; H2_CODES.len()],
    /// Connections of HTTP/2 ended for what their clients did too often, by the order of the excesses.
    pub h2_excesses: [Counter; H2_EXCESSES.len()],
    /// Connections of HTTP/2 to endpoints ended for what those did too often, by the order of the excesses.
    pub h2_upstream_excesses: [Counter; H2_EXCESSES.len()],
    /// Gauge: connections of HTTP/2 to endpoints.
    pub h2_upstream_connections: Counter,
    /// Gauge: streams open to endpoints.
    pub h2_upstream_streams: Counter,
    /// Requests by protocol, in the order of [`PROTOCOLS`], and behind them those of which nothing is known.
    pub protocols: [Counter; PROTOCOLS.len() + 1],
    /// Requests that were to be copied and were not, for want of room or of their body.
    pub mirrors_skipped: Counter,
    /// Gauge: buffers lent to connections.
    pub buffers_out: Counter,
    /// Gauge: tasks alive on the reactor, as of the last tick.
    pub tasks: Counter,
    /// Ticks that came later than the stall bound.
    pub stalls: Counter,
    /// Gauge: the longest lateness of a tick, in nanoseconds.
    pub stall_max_ns: Counter,
    /// Gauge: the epoch this worker serves by.
    pub epoch: Counter,
    /// Gauge: listening sockets that this worker accepts from.
    pub listening: Counter,
    /// Ticks that this worker has done.
    pub ticks: Counter,
    /// Duration of exchanges from the first byte of the request to the last byte of the response.
    pub durations: Histogram,
    /// Durations of the stages of exchanges.
    pub stages: Stages,
    /// Requests that a local reply refused, or that were given up unanswered, by reason index.
    pub rejected: [Counter; REASONS_MAX],
    /// Responses that began and did not come to their end, by reason index.
    pub cut: [Counter; REASONS_MAX],
    /// Questions to the stores of rate limits.
    pub store_requests: Counter,
    /// Requests that waited for a store.
    pub store_waits: Counter,
    /// Requests that a store had no answer for, by why.
    pub store_errors: [Counter; 5],
    /// Tokens that were leased from a store and not used in their time.
    pub store_lost: Counter,
    /// Requests that rate limits refused, by client.
    pub top_clients: TopClients,
    /// Upstream attempts that failed, by reason index.
    pub upstream_errors: [Counter; REASONS_MAX],
}

impl Default for WorkerCounters {
    fn default() -> Self {
        Self::new()
    }
}

impl Cells {
    /// All of them at 0.
    fn new() -> Self {
        Self {
            connections_accepted: Counter::new(),
            connections_active: Counter::new(),
            connections_idle: Counter::new(),
            connections_rejected: std::array::from_fn(|_| Counter::new()),
            connections_untracked: Counter::new(),
            connections_handed: Counter::new(),
            upstream_connections_active: Counter::new(),
            upstream_connections_idle: Counter::new(),
            upstream_connects: Counter::new(),
            upstream_reuses: Counter::new(),
            requests_active: Counter::new(),
            connections_unused: Counter::new(),
            client_aborts: Counter::new(),
            accept_errors: [const { Counter::new() }; ACCEPT_ERRORS.len()],
            panics: Counter::new(),
            untold: [const { Counter::new() }; 3],
            client_glitches: Counter::new(),
            upstream_stale: [const { Counter::new() }; 2],
            retries: [const { Counter::new() }; Retried::ALL.len()],
            retries_denied: [const { Counter::new() }; NotRetried::ALL.len()],
            upstream_waiting: Counter::new(),
            breaker_transitions: [const { Counter::new() }; 3],
            ejections: Counter::new(),
            auth_asked: Counter::new(),
            auth_failed: Counter::new(),
            mirrors_sent: Counter::new(),
            mirrors_failed: Counter::new(),
            mirrors_skipped: Counter::new(),
            proxy_headers_refused: Counter::new(),
            tunnels_active: Counter::new(),
            tunnels: Counter::new(),
            tls_handshakes_active: Counter::new(),
            tls_handshakes_full: Counter::new(),
            tls_handshakes_resumed: Counter::new(),
            tls_handshakes_ousted: Counter::new(),
            tls_failures: std::array::from_fn(|_| Counter::new()),
            h2_connections_active: Counter::new(),
            h2_streams_active: Counter::new(),
            h2_streams: Counter::new(),
            h2_resets_received: Counter::new(),
            h2_resets_sent: Counter::new(),
            h2_goaways: std::array::from_fn(|_| Counter::new()),
            h2_excesses: std::array::from_fn(|_| Counter::new()),
            h2_upstream_excesses: std::array::from_fn(|_| Counter::new()),
            h2_upstream_connections: Counter::new(),
            h2_upstream_streams: Counter::new(),
            protocols: std::array::from_fn(|_| Counter::new()),
            buffers_out: Counter::new(),
            tasks: Counter::new(),
            stalls: Counter::new(),
            stall_max_ns: Counter::new(),
            epoch: Counter::new(),
            listening: Counter::new(),
            ticks: Counter::new(),
            durations: Histogram::new(),
            stages: Stages::default(),
            rejected: std::array::from_fn(|_| Counter::new()),
            cut: std::array::from_fn(|_| Counter::new()),
            store_requests: Counter::new(),
            store_waits: Counter::new(),
            store_errors: [const { Counter::new() }; 5],
            store_lost: Counter::new(),
            top_clients: TopClients::default(),
            upstream_errors: std::array::from_fn(|_| Counter::new()),
        }
    }
}

impl WorkerCounters {
    /// All cells at 0; allocates the tables once.
    #[must_use]
    pub fn new() -> Self {
        Self {
            cells: CachePadded::new(Cells::new()),
            requests: table(METHODS.len() * STATUSES),
            routes: table((limits::ROUTE_SERIES + 1) * CLASSES),
            latencies: Latencies::default(),
        }
    }

    /// Counts one finished exchange: `method` by [`method_index`], `route` by its index in the snapshot's table
    /// (`None` when no route matched; indices from `ROUTE_SERIES` on share one series), `cluster` likewise.
    #[inline]
    pub fn on_exchange(
        &self,
        method: usize,
        status: u16,
        route: Option<usize>,
        cluster: Option<usize>,
        duration_ns: u64,
    ) {
        let status = if (STATUS_FIRST..STATUS_FIRST + 500).contains(&status) { status } else { 599 };
        self.requests[method.min(METHODS.len() - 1) * STATUSES + usize::from(status - STATUS_FIRST)].add(1);
        let slot = route.map_or(limits::ROUTE_SERIES, |route| route.min(limits::ROUTE_SERIES));
        self.routes[slot * CLASSES + usize::from(status / 100 - 1)].add(1);
        self.durations.observe(duration_ns);
        self.latencies.observe(route, cluster, duration_ns);
    }

    /// How long exchanges took.
    #[must_use]
    pub const fn latencies(&self) -> &Latencies {
        &self.latencies
    }

    /// Exchanges of a method index and a status code between 100 and 599.
    #[must_use]
    pub fn requests(&self, method: usize, status: u16) -> u64 {
        self.requests[method * STATUSES + usize::from(status - STATUS_FIRST)].value()
    }

    /// Exchanges of a route slot (`ROUTE_SERIES` is the shared one) and a status class between 1 and 5.
    #[must_use]
    pub fn route_requests(&self, slot: usize, class: usize) -> u64 {
        self.routes[slot * CLASSES + class - 1].value()
    }
}

fn table(cells: usize) -> Box<[Counter]> {
    (0..cells).map(|_| Counter::new()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::new();
        for (ns, bucket) in [(0, 0), (50_000, 0), (50_001, 1), (5_000_000, 6), (10_000_000_000, 16), (u64::MAX / 2, 17)]
        {
            let before = histogram.bucket(bucket);
            histogram.observe(ns);
            assert_eq!(histogram.bucket(bucket), before + 1, "{ns} ns");
        }
    }

    #[test]
    fn the_bounds_of_the_histogram_rise() {
        assert!(DURATION_BOUNDS_NS.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn an_exchange_is_counted_by_method_status_and_route_class() {
        let counters = WorkerCounters::new();
        counters.on_exchange(method_index(b"POST"), 201, Some(3), Some(0), 10);
        counters.on_exchange(method_index(b"post"), 700, None, None, 20);
        counters.on_exchange(0, 404, Some(1_000_000), None, 30);
        assert_eq!(counters.requests(2, 201), 1);
        assert_eq!(counters.requests(9, 599), 1);
        assert_eq!(counters.route_requests(3, 2), 1);
        assert_eq!(counters.route_requests(limits::ROUTE_SERIES, 5), 1);
        assert_eq!(counters.route_requests(limits::ROUTE_SERIES, 4), 1);
        assert_eq!(counters.durations.sum_ns(), 60);
    }

    #[test]
    fn a_counter_adds_subtracts_sets_and_raises() {
        let counter = Counter::new();
        counter.add(5);
        counter.sub(2);
        assert_eq!(counter.value(), 3);
        counter.raise(2);
        assert_eq!(counter.value(), 3);
        counter.raise(9);
        assert_eq!(counter.value(), 9);
        counter.set(1);
        assert_eq!(counter.value(), 1);
    }
}
