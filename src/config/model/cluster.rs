//! The checked form of clusters.

use std::time::Duration;

use super::ClusterTls;

/// A named set of endpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Its name, unique among clusters.
    pub name: String,
    /// How an endpoint is chosen.
    pub balance: Balance,
    /// What is hashed: always there with [`Balance::ConsistentHash`], of no use with any other.
    pub hash_key: Option<HashKey>,
    /// Its endpoints in the order written: at least one, none twice, not all of weight 0.
    pub endpoints: Vec<Endpoint>,
    /// What is spoken to its endpoints; to those with [`Scheme::H2c`] it is HTTP/2 all the same.
    pub protocol: UpstreamProtocol,
    /// How connections to its `https` endpoints are secured.
    pub tls: ClusterTls,
    /// The header of the PROXY protocol that connections to its endpoints begin with; such connections are not kept.
    pub proxy_protocol: Option<ProxyVersion>,
    /// How idle connections to its endpoints are kept.
    pub keepalive: Keepalive,
    /// Most connections to all its endpoints together, over all workers; 0 without a cap.
    pub max_connections: usize,
    /// Requests that wait when `max_connections` is reached; `None` refuses them at once, and without a cap.
    pub queue: Option<Queue>,
    /// A limit on its requests in flight that follows their latency.
    pub admission: Option<Admission>,
    /// Time over which an endpoint that comes back gets its full share again, never zero; `None` is at once.
    pub slow_start: Option<Duration>,
    /// What happens when no endpoint is fit.
    pub none_healthy: NoneHealthy,
    /// Whether the process is ready only while this cluster has a fit endpoint.
    pub required: bool,
    /// A tier slower than this is left while another one is not, never zero; `None` leaves none.
    pub max_latency: Option<Duration>,
    /// Probes of its endpoints.
    pub active: Option<ActiveHealth>,
    /// Ejection by what becomes of requests.
    pub passive: Option<PassiveHealth>,
    /// The breaker that each of its endpoints has.
    pub breaker: Option<Breaker>,
}

/// A limit on requests in flight that follows their latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// Least requests in flight, at least 1.
    pub min: u32,
    /// Most requests in flight, at least `min`.
    pub max: u32,
    /// How often what an answer takes without others is measured anew, never zero.
    pub measure_every: Duration,
}

/// How an endpoint of a cluster is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// One after the other, whatever their weights are.
    RoundRobin,
    /// One after the other, each as often as its weight says, spread out.
    WeightedRoundRobin,
    /// The one with the fewest exchanges in flight.
    LeastConnections,
    /// The same one for the same [`HashKey`].
    ConsistentHash,
    /// The one with the smallest share of its capacity in use.
    LeastSaturated,
    /// The faster of two chosen at random.
    P2c,
}

/// The part of a request that is hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// The value of the field of this name, in lower case.
    Header(String),
    /// The value of the cookie of this name, case-sensitive (RFC 6265 section 4.1.1).
    Cookie(String),
    /// The client's address without its port.
    ClientIp,
    /// The path without the query.
    Path,
}

/// What happens when no endpoint of a cluster is fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoneHealthy {
    /// Health checks are disregarded: every endpoint is used that is neither drained nor behind an open breaker.
    FailOpen,
    /// The request is answered with 503.
    FailClosed,
}

/// One address of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Whether connections to it are secured.
    pub scheme: Scheme,
    /// A name in lower case, or an IP address; an IPv6 address is without brackets.
    pub host: String,
    /// Its TCP port, never 0.
    pub port: u16,
    /// Its share beside the others', 0 to 1000; 0 drains it.
    pub weight: u32,
    /// Its tier, 0 to 63; a higher one is used only when the lower ones have no fit endpoint.
    pub priority: u8,
    /// The latest its name is asked for again, at least [`ttl_min`](super::Dns::ttl_min); `None` takes
    /// [`ttl_max`](super::Dns::ttl_max).
    pub dns_ttl_max: Option<Duration>,
}

impl Endpoint {
    /// The value of a `Host` field that names this endpoint (RFC 9110 section 7.2): no port when it is the scheme's own.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == self.scheme.port() { host } else { format!("{host}:{}", self.port) }
    }
}

/// What is spoken to the endpoints of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; without TLS with prior knowledge.
    H2,
    /// What TLS agrees on, HTTP/2 if there is a choice.
    Auto,
}

impl UpstreamProtocol {
    /// Do the requests of several clients share a connection?
    pub const fn is_shared(self) -> bool {
        matches!(self, Self::H2 | Self::Auto)
    }
}

impl Cluster {
    /// What is spoken to one of its endpoints.
    pub const fn speaks_to(&self, endpoint: &Endpoint) -> UpstreamProtocol {
        match endpoint.scheme {
            Scheme::H2c => UpstreamProtocol::H2,
            Scheme::Http | Scheme::Https => self.protocol,
        }
    }
}

/// How an endpoint is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// By TCP as it is.
    Http,
    /// By TLS.
    Https,
    /// By TCP as it is, where HTTP/2 is spoken without being agreed on (RFC 9113 section 3.3).
    H2c,
}

impl Scheme {
    /// The name in a URL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::H2c => "h2c",
        }
    }

    /// The port of a URL that gives none (RFC 9110 sections 4.2.1 and 4.2.2).
    pub const fn port(self) -> u16 {
        match self {
            Self::Http | Self::H2c => 80,
            Self::Https => 443,
        }
    }
}

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// How idle upstream connections are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Idle connections kept for one endpoint in the whole process; 0 keeps none.
    pub idle_per_endpoint: usize,
    /// Idle connections kept for the whole cluster in the whole process; 0 keeps none.
    pub idle_total: usize,
    /// Time a connection may rest before it is closed.
    pub idle_timeout: Duration,
    /// Time of silence before the kernel probes the peer (`TCP_KEEPIDLE`), at least one second; `None` when off.
    pub tcp: Option<Duration>,
    /// Time of silence, with requests open, before an endpoint of HTTP/2 is asked for a sign of life, never zero; `None` when
    /// it is never asked.
    pub ping_after: Option<Duration>,
    /// Time that it has for one, never zero.
    pub ping_timeout: Duration,
}

/// Requests that wait for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// Most of them at once over all workers, at least 1.
    pub max: usize,
    /// The longest one waits, never zero.
    pub timeout: Duration,
}

/// Probes that the gateway sends to every endpoint of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveHealth {
    /// What a probe is.
    pub kind: ProbeKind,
    /// The target of an HTTP or HTTPS probe: starts with `/`, may hold a query.
    pub path: String,
    /// The `Host` of an HTTP or HTTPS probe, `None` for the endpoint's own.
    pub host: Option<String>,
    /// The service that a gRPC probe asks for, empty for the whole server.
    pub service: String,
    /// The port, never 0; `None` for the endpoint's own.
    pub port: Option<u16>,
    /// From one probe to the next, never zero.
    pub interval: Duration,
    /// For the whole answer, never zero and at most `interval`.
    pub timeout: Duration,
    /// Statuses of a healthy endpoint (HTTP and HTTPS): first and last of each range, 200 to 599, at least one range.
    pub expect: Vec<(u16, u16)>,
    /// Passed probes in a row that make an endpoint healthy again, at least 1.
    pub healthy_after: u32,
    /// Failed probes in a row that make it unhealthy, at least 1.
    pub unhealthy_after: u32,
    /// Whether a new endpoint gets no request before it passed.
    pub require_probe: bool,
    /// How an HTTPS probe is secured.
    pub tls: ClusterTls,
}

/// What a probe of an endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeKind {
    /// A connection that comes about.
    Tcp,
    /// A GET with an expected status.
    Http,
    /// The same over TLS.
    Https,
    /// `grpc.health.v1.Health/Check` with the answer `SERVING`.
    Grpc,
}

/// Ejection of endpoints by what becomes of their requests, over a sliding window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PassiveHealth {
    /// Time over which failures are counted, never zero.
    pub window: Duration,
    /// Share of failures that ejects an endpoint, above 0.0 and up to 1.0.
    pub error_rate: f64,
    /// Requests in the window before the share means anything, 1 to 65536.
    pub min_requests: u32,
    /// Time of the first ejection, never zero; further ones last longer.
    pub eject_for: Duration,
    /// Share of the cluster's endpoints that may be ejected at once, above 0.0 and up to 1.0.
    pub max_ejected: f64,
}

/// When an endpoint that fails is left alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Breaker {
    /// Time over which failures are counted, never zero.
    pub window: Duration,
    /// Share of failures that opens it, above 0.0 and up to 1.0.
    pub error_rate: f64,
    /// Attempts in the window before the share means anything, 1 to 65536.
    pub min_requests: u32,
    /// Failures in a row that open it whatever the share is, at most 65535, 0 for none; [`Breaker::CONSECUTIVE`] or what the
    /// live policy says unless given.
    pub consecutive: Option<u32>,
    /// Time it stays open before it tries again, never zero.
    pub open_for: Duration,
    /// Requests let through at once to try, 1 to 31.
    pub probes: u32,
    /// Successes of those that close it, 1 to 255.
    pub close_after: u32,
}

impl Breaker {
    /// Failures in a row that open a breaker unless it is said.
    pub const CONSECUTIVE: u32 = 50;
}
