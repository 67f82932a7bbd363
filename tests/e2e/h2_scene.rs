//! A gateway under abuse, and somebody beside it who behaves and must not notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::endpoint::{Accepted, Endpoint};
use super::gateway::Gateway;
use super::h2_client::{H2Client, H2Stream};
use super::h2_wire::H2Wire;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::wait::{is_quicker_than, now_ms, until_true};

/// Most memory that one attacker may cost while it floods.
const FLOOD_BYTES: u64 = 32 << 20;

/// A gateway of HTTP/2 whose routes lead to an origin that answers (`/echo`), to one that never does (`/stuck`), and to
/// one at which a bystander's request waits all the while.
pub(crate) struct Scene {
    pub(crate) gateway: Gateway,
    pub(crate) stuck: Stuck,
    origin: Origin,
    held: Accepted,
    waiting: H2Stream,
    bystander: H2Client,
    resident: u64,
    descriptors: usize,
}

/// An origin that takes requests and never answers.
pub(crate) struct Stuck {
    origin: Origin,
    left: Arc<AtomicU64>,
}

impl Stuck {
    fn new() -> Self {
        let left = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&left);
        let origin = Origin::serving(move |mut wire| {
            wire.try_reads_head();
            wire.try_reads_to_end();
            counted.fetch_add(1, Ordering::Relaxed);
        });
        Self { origin, left }
    }

    /// Requests that came and are waiting.
    pub(crate) fn waiting(&self) -> u64 {
        self.origin.connections() - self.left()
    }

    /// Requests that were cancelled.
    pub(crate) fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }
}

impl Scene {
    /// Everything at its place.
    pub(crate) fn set(io: Io) -> Self {
        Self::set_with(io, |plan| plan)
    }

    /// The same with something different about the configuration.
    pub(crate) fn set_with(io: Io, change: impl FnOnce(Plan) -> Plan) -> Self {
        let (endpoint, origin, stuck) = (Endpoint::listens(), Origin::echo(), Stuck::new());
        let plan = Plan::bare(io)
            .speaks_h2()
            .keepalive("idle_per_endpoint: 0")
            .cluster("echo", &[origin.address()])
            .cluster("stuck", &[stuck.origin.address()])
            .cluster("held", &[endpoint.address()])
            .route("name: echo, match: { path: /echo }, cluster: echo")
            .route("name: stuck, match: { path: /stuck }, cluster: stuck")
            .route("name: held, match: { path: /held }, cluster: held");
        let gateway = change(plan).start();
        let mut bystander = H2Client::to(gateway.address());
        bystander.gets("/echo").expects(200);
        let waiting = bystander.gets("/held");
        let mut held = endpoint.accepts();
        held.expects("GET /held ");
        gateway.waits_for("upstream_connections_active", 1.0);
        let (resident, descriptors) = (gateway.process.resident_bytes(), gateway.process.descriptors());
        Self { gateway, stuck, origin, held, waiting, bystander, resident, descriptors }
    }

    /// A client that knows no manners.
    pub(crate) fn attacker(&self) -> H2Wire {
        H2Wire::to(self.gateway.address())
    }

    /// A flood, all through which memory is bounded, not only behind it.
    pub(crate) fn floods(
        &self,
        attacker: &mut H2Wire,
        most: usize,
        mut unit: impl FnMut(usize) -> Vec<u8>,
    ) -> (u32, usize) {
        let bounded = |number: usize| self.is_bounded(&format!("after {number}"));
        let told = attacker.floods(most, |number| {
            if number.is_multiple_of(100) {
                bounded(number);
            }
            unit(number)
        });
        bounded(told.1);
        told
    }

    /// Memory is bounded, whoever is there.
    pub(crate) fn is_bounded(&self, when: &str) {
        let grown = self.gateway.process.resident_bytes().saturating_sub(self.resident);
        assert!(grown < FLOOD_BYTES, "{grown} bytes more {when}");
    }

    /// The bystander's next request.
    pub(crate) fn goes_on(&mut self) {
        assert_eq!(self.bystander.gets("/echo").expects(200).text(), "GET /echo HTTP/1.1");
    }

    /// Waits until so many connections were ended for this.
    pub(crate) fn names(&self, kind: &str, times: f64) {
        self.gateway.waits_for(&format!("http2_abuses_total{{kind=\"{kind}\"}}"), times);
    }

    /// Checks what must hold when the attackers are gone: nothing of theirs is left, and nobody else has noticed (faults.md,
    /// "After every scenario").
    pub(crate) fn recovers(mut self) {
        self.goes_on();
        let gateway = &self.gateway;
        let is_quick = is_quicker_than(Duration::from_secs(1), || {
            let (mut old, mut new) = (gateway.client(), H2Client::to(gateway.address()));
            old.asks("/echo");
            old.expects(200);
            new.gets("/echo").expects(200);
        });
        assert!(is_quick, "I2: a fresh connection of either kind waited for a second");
        gateway.waits_for("http2_connections_active", 1.0);
        gateway.waits_for("http2_streams_active", 1.0);
        gateway.waits_for("upstream_connections_active", 1.0);
        until_true("everything upstream was cancelled", || self.stuck.waiting() == 0);
        // Spare buffers are given back within seconds.
        until_true("I3: as much memory as before", || gateway.process.resident_bytes() < self.resident + (6 << 20));
        // The connection of a request to `/metrics` may be among them.
        until_true("I3: as many descriptors as before", || gateway.process.descriptors() <= self.descriptors + 1);
        let (ticks, began_ms) = (gateway.process.cpu_ticks(), now_ms());
        until_true("some rest", || now_ms() - began_ms > 300);
        let used = gateway.process.cpu_ticks() - ticks;
        assert!(used <= 10, "I7: {used} hundredths of a second in a third of a second of rest");
        self.held.replies_with("held");
        assert_eq!(self.waiting.expects(200).text(), "held");
        gateway.waits_for("http_requests_active", 0.0);
        let requests = gateway.metric_sum("http_requests_total");
        until_true("I4: a line for each request", || gateway.log_lines().len() as f64 >= requests);
        assert_eq!(gateway.log_lines().len() as f64, requests, "I4");
        assert_eq!(gateway.metric("http_request_duration_seconds_count"), requests, "I5");
        drop((self.bystander, self.origin));
        self.gateway.waits_for("http2_connections_active", 0.0);
        self.gateway.stop();
    }
}
