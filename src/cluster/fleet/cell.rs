//! What one worker knows of one endpoint: written by that worker alone, read by anyone.

use super::super::atomics::{AtomicU32, AtomicU64, Ordering};
use super::window::Window;

/// Nanoseconds in which the weight of a latency falls to 1/e.
const TAU_NS: f64 = 10e9;

/// One worker's own measures of one endpoint, on cache lines of their own.
///
/// Methods that change anything are for the worker that owns the cell. An increment is a load and a store, which no
/// other core waits for.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Cell {
    in_flight: AtomicU32,
    connect_us: AtomicU32,
    latency_ns: AtomicU64,
    latency_at_ns: AtomicU64,
    last_success_ns: AtomicU64,
    pub(super) breaker: Window,
    pub(super) passive: Window,
}

impl Cell {
    /// An exchange with the endpoint began.
    pub fn begin(&self) {
        self.in_flight.store(self.in_flight() + 1, Ordering::Relaxed);
    }

    /// One that began has ended, however.
    pub fn end(&self) {
        debug_assert!(self.in_flight() > 0, "an exchange ended that never began");
        self.in_flight.store(self.in_flight().saturating_sub(1), Ordering::Relaxed);
    }

    /// Exchanges of this worker in flight to the endpoint.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// An answer took `sample_ns`.
    ///
    /// A peak moves the average there at once, so that a stall is felt by the next choice; what is below it pulls it
    /// down by the time that has passed, with a time constant of 10 s.
    pub fn on_latency(&self, sample_ns: u64, now_ns: u64) {
        let average_ns = self.latency_ns();
        let next_ns = if sample_ns >= average_ns {
            sample_ns
        } else {
            sample_ns + scaled(average_ns - sample_ns, self.weight(now_ns))
        };
        // 0 says that nothing is known.
        self.latency_ns.store(next_ns.max(1), Ordering::Relaxed);
        self.latency_at_ns.store(now_ns, Ordering::Relaxed);
    }

    /// The average latency in nanoseconds as of the last answer, 0 when there was none.
    #[must_use]
    pub fn latency_ns(&self) -> u64 {
        self.latency_ns.load(Ordering::Relaxed)
    }

    /// The average latency in nanoseconds as it counts at `now_ns`: it fades while no answer renews it.
    ///
    /// A balancer compares this one. Without the fading, an endpoint that stalled once would lose every comparison from
    /// then on, and never get the request that would show it has recovered.
    #[must_use]
    pub fn latency_at(&self, now_ns: u64) -> u64 {
        scaled(self.latency_ns(), self.weight(now_ns))
    }

    /// A connection took `us` microseconds to open.
    pub fn on_connect(&self, us: u32) {
        let average_us = self.connect_us();
        let next_us = if average_us == 0 { us } else { average_us - average_us / 8 + us / 8 };
        self.connect_us.store(next_us.max(1), Ordering::Relaxed);
    }

    /// The average time to connect in microseconds, each new one weighing an eighth; 0 when there was none.
    #[must_use]
    pub fn connect_us(&self) -> u32 {
        self.connect_us.load(Ordering::Relaxed)
    }

    /// The identity belongs to another endpoint than before: averages of the old one are forgotten.
    ///
    /// What the windows counted is forgotten without being told, by [`super::Slot::on_assigned`].
    pub fn on_assigned(&self) {
        self.connect_us.store(0, Ordering::Relaxed);
        self.latency_ns.store(0, Ordering::Relaxed);
    }

    pub(super) fn on_success(&self, now_ns: u64) {
        self.last_success_ns.store(now_ns, Ordering::Relaxed);
    }

    /// The last success that counted for the breaker, 0 when there was none.
    pub(super) fn last_success_ns(&self) -> u64 {
        self.last_success_ns.load(Ordering::Relaxed)
    }

    /// What is left of the average's weight at `now_ns`, 0 to 1.
    fn weight(&self, now_ns: u64) -> f64 {
        let age = now_ns.saturating_sub(self.latency_at_ns.load(Ordering::Relaxed)) as f64 / TAU_NS;
        // Under load ages are tiny; two terms of the series are then as good as the function, at a tenth of its cost.
        if age < 1e-3 { 1.0 - age } else { (-age).exp() }
    }
}

/// `value * by`, for `by` from 0 to 1, rounded down.
#[expect(clippy::cast_possible_truncation, reason = "the product is no larger than the value")]
fn scaled(value: u64, by: f64) -> u64 {
    (value as f64 * by) as u64
}
