//! An origin whose health a test decides: what it says to probes, and what to everybody else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use super::message::Message;
use super::origin::Origin;

/// A running origin that answers traffic with its name.
#[derive(Debug)]
pub(crate) struct Patient {
    origin: Origin,
    state: Arc<State>,
}

/// How it does; everything may change at any time.
#[derive(Debug)]
struct State {
    name: String,
    /// The status for probes.
    health: AtomicU16,
    /// Every other probe is told that it is not well.
    wavers: AtomicBool,
    /// Milliseconds before the answer to a probe.
    lag_ms: AtomicU64,
    /// The status for traffic.
    status: AtomicU16,
    probes: AtomicU64,
    served: AtomicU64,
}

impl Patient {
    /// One that is well.
    pub(crate) fn start(name: &str) -> Self {
        let state = Arc::new(State {
            name: name.to_owned(),
            health: AtomicU16::new(200),
            wavers: AtomicBool::new(false),
            lag_ms: AtomicU64::new(0),
            status: AtomicU16::new(200),
            probes: AtomicU64::new(0),
            served: AtomicU64::new(0),
        });
        let answers = Arc::clone(&state);
        Self { origin: Origin::answering(move |request| answers.answer(request)), state }
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.origin.address()
    }

    /// The status for probes from now on.
    pub(crate) fn tells_probes(&self, status: u16) -> &Self {
        self.state.health.store(status, Ordering::Relaxed);
        self
    }

    /// Is every other probe told 503 from now on?
    pub(crate) fn wavers(&self, wavers: bool) {
        self.state.wavers.store(wavers, Ordering::Relaxed);
    }

    /// The time before the answer to each probe from now on.
    pub(crate) fn lags(&self, lag_ms: u64) {
        self.state.lag_ms.store(lag_ms, Ordering::Relaxed);
    }

    /// The status for traffic from now on.
    pub(crate) fn tells_clients(&self, status: u16) -> &Self {
        self.state.status.store(status, Ordering::Relaxed);
        self
    }

    /// Probes so far.
    pub(crate) fn probes(&self) -> u64 {
        self.state.probes.load(Ordering::Relaxed)
    }

    /// Requests so far, without probes.
    pub(crate) fn served(&self) -> u64 {
        self.state.served.load(Ordering::Relaxed)
    }
}

impl State {
    fn answer(&self, request: &Message) -> Vec<u8> {
        let is_probe = request.field("user-agent") == Some("ringgate-probe");
        let status = if is_probe { self.probed() } else { self.asked() };
        format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{}", self.name.len(), self.name).into_bytes()
    }

    fn asked(&self) -> u16 {
        self.served.fetch_add(1, Ordering::Relaxed);
        self.status.load(Ordering::Relaxed)
    }

    fn probed(&self) -> u16 {
        let number = self.probes.fetch_add(1, Ordering::Relaxed);
        let lag = Duration::from_millis(self.lag_ms.load(Ordering::Relaxed));
        if !lag.is_zero() {
            std::thread::park_timeout(lag);
        }
        let is_sick = self.wavers.load(Ordering::Relaxed) && number.is_multiple_of(2);
        if is_sick { 503 } else { self.health.load(Ordering::Relaxed) }
    }
}
