//! What one exchange measures of itself.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};

use super::failure::Failure;
use crate::routing::RouteId;

/// The measures of one exchange; both directions write to them.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) started_ns: u64,
    pub(super) head_ns: u64,
    /// The address of a client behind trusted proxies, once somebody asked for it.
    pub(super) client_ip: Cell<Option<IpAddr>>,
    /// Is it one of those whose shortest stages are timed?
    pub(super) is_timed: bool,
    /// What its policies took; 0 when it has none.
    pub(super) admit_ns: Cell<u64>,
    /// When its rate limits were asked; 0 when it has none.
    pub(super) limits_ns: Cell<u64>,
    /// What it waited for a connection of a cluster at its cap.
    pub(super) queue_ns: Cell<u64>,
    /// The clock when the request was last seen to be ready for an attempt: its head was whole, its policies had let it pass,
    /// its turn had come, or another attempt was granted.
    pub(super) ready_ns: Cell<u64>,
    pub(super) route: Cell<Option<RouteId>>,
    /// Status on its way to the client; 0 before there is one.
    pub(super) status: Cell<u16>,
    /// Has any byte gone to the client, an interim response included? Then the request is not sent again.
    pub(super) committed: Cell<bool>,
    /// Was a client that ended its direction asked whether it is still there?
    pub(super) is_probed: Cell<bool>,
    /// Does the response end with its connection, so that only a reset shows that it was cut?
    pub(super) open_ended: Cell<bool>,
    pub(super) failure: Cell<Option<Failure>>,
    /// Did it come to its end, well or not?
    pub(super) is_over: Cell<bool>,
    /// How a call of gRPC ended, by its endpoint or by us.
    pub(super) grpc_status: Cell<Option<u8>>,
    pub(super) bytes_in: Cell<u64>,
    pub(super) bytes_out: Cell<u64>,
    pub(super) endpoint: Cell<Option<SocketAddr>>,
    /// What is spoken to it, as its place in [`crate::telemetry::PROTOCOLS`], once there is a connection.
    pub(super) upstream_protocol: Cell<Option<u8>>,
    pub(super) attempts: Cell<u32>,
    /// Is a copy of the body kept while it fits, for another attempt or a mirror?
    pub(super) keeps_body: Cell<bool>,
    /// Seconds after which a refusal may be over; 0 when nobody knows.
    pub(super) retry_after_s: Cell<u64>,
    /// Index of the cluster it was forwarded to.
    pub(super) cluster: Cell<Option<usize>>,
    pub(super) reused: Cell<bool>,
    pub(super) connect_ns: Cell<u64>,
    pub(super) sent_ns: Cell<u64>,
    pub(super) first_byte_ns: Cell<u64>,
    /// Status of the endpoint's response in the attempt under way; 0 before there is one.
    pub(super) upstream_status: Cell<u16>,
    /// When the protocol was switched; 0 when it was not.
    pub(super) switched_ns: Cell<u64>,
}

impl Tally {
    /// Has any byte of a response gone to the client?
    pub(super) fn is_answered(&self) -> bool {
        self.status.get() != 0
    }

    /// The attempt under way has a connection that was open already.
    pub(super) fn on_reused(&self) {
        self.reused.set(true);
        self.connect_ns.set(0);
    }

    pub(super) fn on_body_in(&self, count: usize) {
        self.bytes_in.set(self.bytes_in.get() + count as u64);
    }

    pub(super) fn on_body_out(&self, count: usize) {
        self.bytes_out.set(self.bytes_out.get() + count as u64);
    }
}
