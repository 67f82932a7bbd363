//! The checked configuration: every value in here is valid, every name resolved, every default filled in.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

/// One whole configuration, ready to be compiled into a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Workers, I/O driver, process-wide limits.
    pub runtime: Runtime,
    /// Where the admin endpoint listens.
    pub admin: Admin,
    /// Data listeners in the order written, at least one.
    pub listeners: Vec<Listener>,
    /// Clusters in the order written; [`Action::Forward`] indexes into this list.
    pub clusters: Vec<Cluster>,
    /// Routes in the order written.
    pub routes: Vec<Route>,
    /// The access log.
    pub access_log: AccessLog,
    /// Whether local replies carry their reason in a header.
    pub reason_header: bool,
    /// Whether the configuration files are watched and reloaded when they change.
    pub watch: bool,
}

/// Settings of the process itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// How many workers, and on which CPUs.
    pub workers: Workers,
    /// Which I/O driver the workers use.
    pub io: Io,
    /// How long a shutdown waits for exchanges in flight.
    pub shutdown_grace: Duration,
    /// Most accepted connections at once in the whole process, at least 1.
    pub max_connections: usize,
}

/// The number and placement of workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Workers {
    /// One for each CPU that this process may use.
    Auto,
    /// This many, 1 to [`crate::limits::WORKERS_MAX`].
    Count(usize),
    /// One on each of these CPUs: not empty, no CPU twice.
    List(Vec<usize>),
}

/// The I/O driver of the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Io {
    /// io_uring, or epoll when the kernel refuses io_uring.
    Auto,
    /// io_uring or nothing.
    IoUring,
    /// epoll.
    Epoll,
}

/// Where the admin endpoint listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admin {
    /// Nowhere.
    Off,
    /// On this loopback address.
    Tcp(SocketAddr),
    /// On a unix socket at this path.
    Unix(PathBuf),
}

/// One listening address and what holds for every connection accepted there.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Its name, unique among listeners.
    pub name: String,
    /// The address to bind; port 0 lets the kernel choose.
    pub address: SocketAddr,
    /// The path that the gateway itself answers for health checks, `None` when off.
    pub health_path: Option<String>,
    /// Bounds on what a client may send and how long it may take.
    pub limits: ListenerLimits,
    /// Peers whose `X-Forwarded-*` fields are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether a host that no route names is answered with 421.
    pub strict_host: bool,
}

/// Bounds on what a client may send and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Bytes of one request head.
    pub header_bytes: usize,
    /// Field lines of one request head.
    pub header_count: usize,
    /// Time for a request head to arrive once its first byte did.
    pub header_timeout: Duration,
    /// Time a connection may rest between two requests.
    pub idle_timeout: Duration,
    /// The slowest a request body may arrive.
    pub body_min_rate: BodyMinRate,
    /// Time a client may read nothing of a response that waits for it.
    pub write_timeout: Duration,
}

/// The slowest a request body may arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyMinRate {
    /// Bytes per second on average; 0 means that no rate is demanded.
    pub bytes_per_second: u64,
    /// Time from the start of the body in which no rate is demanded.
    pub grace: Duration,
}

/// A named set of endpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Its name, unique among clusters.
    pub name: String,
    /// How an endpoint is chosen.
    pub balance: Balance,
    /// Its endpoints in the order written: at least one, none twice.
    pub endpoints: Vec<Endpoint>,
    /// How idle connections to its endpoints are kept.
    pub keepalive: Keepalive,
}

/// How an endpoint of a cluster is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// One after the other.
    RoundRobin,
}

/// One address of a cluster, reached by plain HTTP/1.1.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// A name in lower case, or an IP address; an IPv6 address is without brackets.
    pub host: String,
    /// Its TCP port, never 0.
    pub port: u16,
}

impl Endpoint {
    /// The value of a `Host` field that names this endpoint (RFC 9110 section 7.2): no port when it is 80.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == 80 { host } else { format!("{host}:{}", self.port) }
    }
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
}

/// One rule: which requests, and what becomes of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Its name, unique among routes.
    pub name: String,
    /// Which hosts it matches.
    pub host: HostMatch,
    /// Which paths it matches.
    pub path: PathMatch,
    /// Methods it matches, case-sensitive (RFC 9110 section 9.1); empty matches all.
    pub methods: Vec<String>,
    /// Fields that must be present with exactly this value; names are in lower case.
    pub headers: Vec<(String, String)>,
    /// Query parameters that must be present with exactly this value.
    pub query: Vec<(String, String)>,
    /// What becomes of a request.
    pub action: Action,
    /// Which `Host` the upstream sees.
    pub host_header: HostHeader,
    /// The field that tells the upstream how many milliseconds its answer may take; in lower case.
    pub deadline_header: Option<String>,
    /// How long the steps of a forwarded request may take.
    pub timeouts: Timeouts,
    /// Bytes of a request body, `None` without a limit.
    pub body_limit: Option<u64>,
    /// Replaces the prefix of a [`PathMatch::Prefix`] route: starts with `/` or is empty, never ends with `/`. With the
    /// prefix `/orders/`, the new path is this text and what follows `/orders` in the old one, or `/` if that is empty.
    pub rewrite_prefix: Option<String>,
    /// Edits of the request's fields on the way to the upstream.
    pub request_headers: HeaderEdits,
    /// Edits of the response's fields on the way to the client.
    pub response_headers: HeaderEdits,
}

/// Which hosts a route matches; always in lower case, without a port and without a final dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostMatch {
    /// Every host.
    Any,
    /// This host; an IPv6 address is in brackets, as in a `Host` field.
    Exact(String),
    /// Every host below a domain: the suffix with its first dot, `.example.com` for `*.example.com`.
    Wildcard(String),
}

/// Which paths a route matches; a path starts with `/` and carries no query.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathMatch {
    /// This path and no other.
    Exact(String),
    /// Ends with `/`: `/orders/` (written `/orders/*`) matches `/orders` and everything that starts with `/orders/`;
    /// `/` (written `/*`) matches every path.
    Prefix(String),
}

/// What becomes of a request that a route matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It is forwarded to a cluster.
    Forward {
        /// Index into [`Config::clusters`].
        cluster: usize,
    },
    /// It is answered with a redirect.
    Redirect {
        /// The value of `Location`; `{path}` stands for the request's path and `{query}` for its query with the
        /// `?`, or nothing. No other brace occurs.
        to: String,
        /// 301, 302, 303, 307 or 308.
        status: u16,
    },
    /// It is answered with a fixed response.
    Respond {
        /// 200 to 599.
        status: u16,
        /// The content; empty for 204, 205 and 304.
        body: String,
        /// The value of `Content-Type`.
        content_type: String,
    },
}

/// Which `Host` the upstream sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostHeader {
    /// The one the client sent.
    Preserve,
    /// The endpoint's own, see [`Endpoint::authority`].
    Upstream,
}

/// How long the steps of a forwarded request may take; none is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To open a connection to an endpoint.
    pub connect: Duration,
    /// From the last byte of the request to the end of the response head.
    pub response_header: Duration,
    /// From the request's head to the end of the response head, attempts included; bodies are guarded by
    /// `body_idle` and [`BodyMinRate`] instead.
    pub request: Duration,
    /// In which an upstream must send something while its response body is read.
    pub body_idle: Duration,
}

/// Edits of a message's fields, applied in the order remove, set, add; names are in lower case, valid tokens, never
/// hop-by-hop or framing fields; values are valid field values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Fields that replace every line of their name.
    pub set: Vec<(String, String)>,
    /// Lines that are added.
    pub add: Vec<(String, String)>,
    /// Names whose lines are removed.
    pub remove: Vec<String>,
}

/// Where the access log goes and how much of it.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessLog {
    /// Where lines go.
    pub output: Output,
    /// Which exchanges get a line.
    pub sample: Sample,
}

/// Where access log lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Appended to this file.
    File(PathBuf),
    /// Nowhere.
    Off,
}

/// Which exchanges get a log line: shares are 0.0 to 1.0, the classes are tried in the order errors, slow, ok.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Share of the exchanges that are neither slow nor failed.
    pub ok: f64,
    /// From this duration on an exchange is slow.
    pub slow_over: Duration,
    /// Share of the slow ones.
    pub slow_share: f64,
    /// Share of the failed ones (status 500 and above, and local replies to a failure).
    pub errors: f64,
}
