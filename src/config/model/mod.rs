//! The checked configuration: every value in here is valid, every name resolved, every default filled in.

mod admin;
mod auth;
mod cluster;
mod live_policy;
mod policy;
mod rollout;
mod route;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

pub use self::admin::{Admin, AdminListen, AdminTls, Token};
pub use self::auth::{ApiKey, BasicAuth, ExternalAuth, Jwt, JwtKeys, KeySource, KeysUrl};
pub use self::cluster::{
    ActiveHealth, Admission, Balance, Breaker, Cluster, Endpoint, HashKey, Keepalive, NoneHealthy, PassiveHealth,
    ProbeKind, ProxyVersion, Queue, Scheme, UpstreamProtocol,
};
pub use self::live_policy::{LivePolicy, PolicyKey};
pub use self::policy::{Access, LimitStore, Policy, RateLimit};
pub use self::rollout::Rollout;
pub use self::route::{
    Action, HeaderEdits, HostHeader, HostMatch, Mirror, PathMatch, Priority, Retry, RetryOn, Route, Timeouts,
};
pub use self::tls::{Authorities, ClientAuth, ClusterTls, Identity, ListenerTls, Protocol, Revocations, TlsVersion};

/// One whole configuration, ready to be compiled into a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Workers, I/O driver, process-wide limits.
    pub runtime: Runtime,
    /// How names of endpoints become addresses.
    pub dns: Dns,
    /// The admin endpoint.
    pub admin: Admin,
    /// Data listeners in the order written, at least one.
    pub listeners: Vec<Listener>,
    /// Clusters in the order written; [`Action`] and [`Mirror`] index into this list.
    pub clusters: Vec<Cluster>,
    /// Policies in the order written; [`Route::policies`] indexes into this list.
    pub policies: Vec<Policy>,
    /// Where the live policy document is, if one is in force from the start.
    pub live_policy: Option<LivePolicy>,
    /// Routes in the order written.
    pub routes: Vec<Route>,
    /// The access log.
    pub access_log: AccessLog,
    /// Whether local replies carry their reason in a header.
    pub reason_header: bool,
    /// Whether responses tell trusted peers what took how long.
    pub server_timing: bool,
    /// How requests are traced; `None` when their `traceparent` goes on as it came.
    pub tracing: Option<Tracing>,
    /// Clients with series of their own on `/metrics`.
    pub top_clients: usize,
    /// Whether the configuration files are watched and reloaded when they change.
    pub watch: bool,
    /// How this configuration proves itself before it is for all connections, if it is to.
    pub rollout: Option<Rollout>,
}

impl Runtime {
    /// How long an upgrade waits for the new process where nothing else is said.
    pub const UPGRADE_TIMEOUT: Duration = Duration::from_secs(20);
}

/// Settings of the process itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// How many workers, and on which CPUs.
    pub workers: Workers,
    /// Which I/O driver the workers use.
    pub io: Io,
    /// As whom the process runs once root has started it; `None` for whoever starts it.
    pub user: Option<RunAs>,
    /// Whether workers give up what they never need: files, other programs, rare system calls.
    pub sandbox: bool,
    /// How long a shutdown waits for exchanges in flight.
    pub shutdown_grace: Duration,
    /// How long resting connections may still bring a request then.
    pub idle_grace: Duration,
    /// How long an upgrade waits for the new process to be ready.
    pub upgrade_timeout: Duration,
    /// Most accepted connections at once in the whole process, at least 1.
    pub max_connections: usize,
    /// Memory near which nothing new is taken on.
    pub memory_limit: MemoryLimit,
    /// Whether a worker that holds more connections than another hands new ones over.
    pub accept_balance: bool,
}

/// A user of this machine by name or number, who may not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunAs {
    /// The name or number.
    pub user: String,
    /// The name or number of the group; the user's own unless given.
    pub group: Option<String>,
}

/// Memory that the process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryLimit {
    /// What its cgroup may use.
    Auto,
    /// Any.
    Off,
    /// So many bytes.
    Bytes(u64),
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

/// How names of endpoints become addresses; no duration is zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dns {
    /// Name servers in the order they are asked, none twice; empty for those of the system.
    pub servers: Vec<SocketAddr>,
    /// Time for one answer.
    pub timeout: Duration,
    /// The soonest a name is asked for again, whatever its TTL says.
    pub ttl_min: Duration,
    /// The latest a name is asked for again, whatever its TTL says; at least `ttl_min`.
    pub ttl_max: Duration,
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
    /// How its connections are secured; `None` for plain ones.
    pub tls: Option<ListenerTls>,
    /// What it speaks, the favourite first: at least one, none twice.
    pub protocols: Vec<Protocol>,
    /// Bounds on what a client may send and how long it may take.
    pub limits: ListenerLimits,
    /// Peers whose `X-Forwarded-*` fields are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether a host that no route names is answered with 421.
    pub strict_host: bool,
    /// Whether trusted proxies say who their client is before anything else.
    pub proxy_protocol: ProxyProtocol,
}

/// Whether peers of [`Listener::trusted_proxies`] begin a connection with a header of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// They do not.
    Off,
    /// They may.
    Optional,
    /// They must, and nobody else is served; `trusted_proxies` is not empty.
    Required,
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
    /// Time from an accepted connection to the end of its TLS handshake.
    pub handshake_timeout: Duration,
    /// Time a connection may rest between two requests.
    pub idle_timeout: Duration,
    /// The slowest a request body may arrive.
    pub body_min_rate: BodyMinRate,
    /// Time a client may read nothing of a response that waits for it.
    pub write_timeout: Duration,
    /// Most connections at once; `None` for no cap.
    pub connections: Option<usize>,
    /// Most connections at once of one client; `None` for no cap.
    pub connections_per_client: Option<usize>,
    /// Streams open at once on one connection of HTTP/2, 1 to [`crate::limits::H2_STREAMS_MAX`].
    pub h2_streams: u32,
}

/// The slowest a request body may arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyMinRate {
    /// Bytes per second on average; 0 means that no rate is demanded.
    pub bytes_per_second: u64,
    /// Time from the start of the body in which no rate is demanded.
    pub grace: Duration,
}

/// Where the access log goes and how much of it.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessLog {
    /// Where lines go.
    pub output: Output,
    /// Which exchanges get a line.
    pub sample: Sample,
}

/// How requests are traced.
#[derive(Debug, Clone, PartialEq)]
pub struct Tracing {
    /// Where spans go, if they go anywhere.
    pub otlp: Option<Collector>,
    /// Share of the traces that begin here and are recorded, 0.0 to 1.0.
    pub sample: f64,
}

/// A collector of traces.
#[derive(Debug, Clone, PartialEq)]
pub struct Collector {
    /// Scheme, host, port and path, without a query.
    pub url: KeysUrl,
    /// Who may have signed its certificate; the system's authorities when there are none.
    pub ca: Option<Authorities>,
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
