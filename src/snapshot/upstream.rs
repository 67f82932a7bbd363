//! The compiled tables of clusters, and what a route asks of them beyond their names.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::cluster::{BreakerPolicy, ClusterState, EndpointId, IdleCaps, PassivePolicy, Ring, Strategy};
use crate::policy::{Admission, AdmissionPolicy, LivePolicy};

/// A named set of endpoints.
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Its addresses, at least one, by rising priority number.
    pub endpoints: Vec<Endpoint>,
    /// The identities of its addresses, in the same order.
    pub ids: Vec<EndpointId>,
    /// Endpoints of one priority, best first; together they are all.
    pub tiers: Vec<Range<usize>>,
    /// What all workers share of it; it survives reloads.
    pub state: Arc<ClusterState>,
    /// The gate before it, if it has one; it survives reloads too.
    pub admission: Option<Gate>,
    /// How an endpoint is chosen.
    pub strategy: Strategy,
    /// The ring of [`Strategy::ConsistentHash`].
    pub ring: Option<Ring>,
    /// What of a request is hashed onto the ring.
    pub key: Option<KeyFrom>,
    /// Is HTTP/2 spoken to any of its endpoints, or may it be?
    pub speaks_h2: bool,
    /// Has it a cap on connections? The number is with its state.
    pub is_capped: bool,
    /// Who may wait for a connection when the cap is reached; nobody when there is none.
    pub queue: Option<QueueBound>,
    /// Milliseconds in which an endpoint that returned comes to its full share; 0 gives it at once.
    pub slow_start_ms: u64,
    /// With no endpoint fit, are those tried that probes or errors took out?
    pub fail_open: bool,
    /// Is a gateway without a fit endpoint of it not ready?
    pub is_required: bool,
    /// When an endpoint's breaker opens and closes, as its configuration says; see [`Cluster::breaker_under`].
    pub breaker: Option<BreakerPolicy>,
    /// Failures in a row that open it, if its configuration says how many.
    pub own_consecutive: Option<u32>,
    /// When an endpoint is ejected for its errors.
    pub passive: Option<PassivePolicy>,
    /// The header that names the client ahead of everything on a connection, which is not kept then.
    pub proxy_protocol: Option<ProxyVersion>,
    /// Idle connections that all workers keep.
    pub idle: IdleCaps,
    /// Seconds of silence before the kernel probes an upstream connection; 0 never.
    pub keep_alive_s: u32,
    /// When a silent endpoint of HTTP/2 is asked for a sign of life, and given up without one; never where there is none.
    pub pings: Option<Pings>,
    /// Its series of latencies; the control side keeps it by name across reloads.
    pub series: usize,
}

impl Cluster {
    /// The tier of the endpoint at this place.
    #[must_use]
    pub fn tier_of(&self, at: usize) -> Range<usize> {
        let tier = self.tiers.iter().find(|tier| tier.contains(&at));
        tier.cloned().expect("every endpoint is of a tier")
    }

    /// Does anybody wait for a connection of it? Without a cap nobody does.
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        self.is_capped && self.state.waiting() > 0
    }

    /// When its breakers open under this live policy, whose threshold is also that of a cluster which has none of its own; `None`
    /// where they never do.
    #[must_use]
    pub fn breaker_under(&self, live: Option<&LivePolicy>) -> Option<BreakerPolicy> {
        let Some(live) = live else { return self.breaker };
        let consecutive = live.threshold_beside(self.own_consecutive);
        Some(BreakerPolicy { consecutive, ..self.breaker.unwrap_or(BreakerPolicy::BY_ROW) })
    }
}

/// How a silent endpoint of HTTP/2 is asked for a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pings {
    /// Milliseconds of silence, with requests open, after which it is asked for the first time.
    pub after_ms: u64,
    /// Milliseconds that it has.
    pub timeout_ms: u64,
}

/// One address.
pub struct Endpoint {
    /// Its identity, stable across reloads.
    pub id: EndpointId,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its own name for a `Host` field.
    pub authority: Vec<u8>,
    /// Its weight; 0 is drained.
    pub weight: u32,
    /// Its priority, below 64; the lowest number is the best.
    pub priority: u8,
    /// Its part of the cluster's cap by weight, at least 1; 0 without a cap.
    pub capacity: u32,
    /// With what connections to it are secured; they are plain without it.
    pub tls: Option<EndpointTls>,
    /// What is spoken to it.
    pub protocol: UpstreamProtocol,
}

/// A limit on requests in flight that follows their latency.
#[derive(Clone)]
pub struct Gate {
    /// Its bounds.
    pub policy: AdmissionPolicy,
    /// What all workers share of it.
    pub shared: Arc<Admission>,
}

/// What is spoken to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, with prior knowledge where there is no TLS to agree on it.
    H2,
    /// What TLS agrees on.
    Auto,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// TLS to one endpoint.
#[derive(Clone)]
pub struct EndpointTls {
    /// Whose certificates are believed, and our own.
    pub config: Arc<ClientConfig>,
    /// The name that its certificate must have.
    pub name: ServerName<'static>,
}

/// A bounded wait for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueBound {
    /// Requests that may wait at once in the whole process.
    pub max: usize,
    /// Milliseconds one may wait.
    pub timeout_ms: u64,
}

/// What of a request tells it from others, for hashing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyFrom {
    /// The first line of this field; lower case.
    Header(String),
    /// The cookie of this name.
    Cookie(String),
    /// The client's address, without its port.
    ClientIp,
    /// The path, without the query.
    Path,
}

/// Shares of a route's requests for several clusters.
pub struct SplitRoute {
    /// Its number among the splits of the snapshot.
    pub number: usize,
    /// Index in [`super::Snapshot::clusters`] and weight of each.
    pub to: Vec<(usize, u32)>,
    /// What keeps a client at one cluster; without it requests are dealt out.
    pub sticky: Option<KeyFrom>,
}

/// Copies of a route's requests for another cluster, whose answers nobody sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Index in [`super::Snapshot::clusters`].
    pub cluster: usize,
    /// Its number among the splits of the snapshot: the first part is copied.
    pub split: usize,
}

/// When a failed attempt is followed by another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    /// Most attempts of one request, the first included; going on after a failed connect is not counted.
    pub attempts: u32,
    /// After a connect that failed?
    pub connect: bool,
    /// After a connection that died before a byte of its response?
    pub reset: bool,
    /// After a response head that did not come in time?
    pub timeout: bool,
    /// After these statuses.
    pub statuses: Statuses,
    /// Share of requests that may be sent again.
    pub budget: f64,
    /// Milliseconds before the first retry; doubled each time.
    pub backoff_ms: u64,
    /// Also requests that are not idempotent?
    pub any_method: bool,
    /// At an endpoint that could not be reached, or died, where there is no other?
    pub same_endpoint: bool,
}

/// A set of server errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statuses(u128);

impl Statuses {
    const FIRST: u16 = 500;

    /// The set of those that are from 500 to 599.
    #[must_use]
    pub fn new(statuses: &[u16]) -> Self {
        Self(statuses.iter().filter_map(|status| Self::bit(*status)).fold(0, |set, bit| set | bit))
    }

    /// Is this status one of them?
    #[must_use]
    pub fn has(self, status: u16) -> bool {
        Self::bit(status).is_some_and(|bit| self.0 & bit != 0)
    }

    fn bit(status: u16) -> Option<u128> {
        status.checked_sub(Self::FIRST).filter(|place| *place < 100).map(|place| 1 << place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_statuses_has_what_was_put_in() {
        let statuses = Statuses::new(&[500, 503, 599, 404, 600]);
        for status in 0..=u16::MAX {
            assert_eq!(statuses.has(status), [500, 503, 599].contains(&status), "{status}");
        }
    }
}
