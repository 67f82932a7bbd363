//! The parts that only the main file has: the process, names, the admin endpoint, what is observed.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::addresses::{AdminListen, NameServer};
use super::super::choices::{IoName, MemorySize, OutputName, UserName, WorkerCount};
use super::super::keys_url::CollectorUrl;
use super::super::leaf::Leaf;
use super::super::units::{Count, Percent, Span, Switch, Text, Wait};
use super::compound::ScalarOr;
use super::rollout::StageFile;

/// The process itself.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(in crate::config) struct RuntimeFile {
    /// `auto` (the CPUs this process may use), a number, or a list of CPUs.
    pub(in crate::config) workers: Option<WorkersFile>,
    /// `auto`, `io_uring` or `epoll`.
    pub(in crate::config) io: Option<Leaf<IoName>>,
    /// As whom the process runs once root has started it: `NAME`, `NAME:GROUP`, or numbers; as whoever starts it unless given.
    pub(in crate::config) user: Option<Leaf<UserName>>,
    /// Whether workers give up for good what they never need, on: files, other programs, rare system calls.
    pub(in crate::config) sandbox: Option<Leaf<Switch>>,
    /// How long a shutdown waits for exchanges in flight, 30s.
    pub(in crate::config) shutdown_grace: Option<Leaf<Span>>,
    /// How long resting connections may still bring a request once a shutdown has begun, 1s; it is answered with
    /// `Connection: close`. Never longer than half of `shutdown_grace`.
    pub(in crate::config) idle_grace: Option<Leaf<Span>>,
    /// How long an upgrade waits for the new process to be ready, 20s.
    pub(in crate::config) upgrade_timeout: Option<Leaf<Wait>>,
    /// Most accepted connections at once in the whole process, 50000.
    pub(in crate::config) max_connections: Option<Leaf<Count>>,
    /// Memory of the process near which nothing new is taken on: `auto` (what its cgroup may use), a size, or `off`.
    pub(in crate::config) memory_limit: Option<Leaf<MemorySize>>,
    /// Whether a worker that holds more connections than another hands new ones over, on.
    pub(in crate::config) accept_balance: Option<Leaf<Switch>>,
}

/// `auto`, a number, or a list of CPUs.
pub(in crate::config) type WorkersFile = ScalarOr<WorkerCount, Vec<Leaf<Count>>>;

/// How names of endpoints become addresses.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(in crate::config) struct DnsFile {
    /// Name servers, port 53 unless given; the system's when left out.
    #[schemars(length(min = 1))]
    pub(in crate::config) servers: Option<Vec<Leaf<NameServer>>>,
    /// Time for one answer, 2s.
    pub(in crate::config) timeout: Option<Leaf<Wait>>,
    /// The soonest a name is asked for again, whatever its TTL says, 1s.
    pub(in crate::config) ttl_min: Option<Leaf<Wait>>,
    /// The latest a name is asked for again, whatever its TTL says, 30s.
    pub(in crate::config) ttl_max: Option<Leaf<Wait>>,
}

/// The admin endpoint.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(in crate::config) struct AdminFile {
    /// An address (port 9090 unless given here or by `CONFIG_PORT`), `unix:/path` or `off`. Beyond loopback it needs a `token`
    /// or `tls` with a `client_ca`.
    pub(in crate::config) listen: Option<Leaf<AdminListen>>,
    /// How its connections are secured, if they are.
    pub(in crate::config) tls: Option<AdminTlsFile>,
    /// Who sends this as `Authorization: Bearer` may do everything; anybody who comes, unless there is a token. From a file:
    /// `${file:PATH}`.
    pub(in crate::config) token: Option<Leaf<Text>>,
    /// Who sends this may look at everything and change nothing.
    pub(in crate::config) read_token: Option<Leaf<Text>>,
}

/// How connections of the admin endpoint are secured.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `cert` and `key`")]
pub(in crate::config) struct AdminTlsFile {
    /// A file in PEM: the certificate, and behind it those that sign it.
    #[schemars(required)]
    pub(in crate::config) cert: Option<Leaf<Text>>,
    /// A file in PEM: its private key, without a passphrase.
    #[schemars(required)]
    pub(in crate::config) key: Option<Leaf<Text>>,
    /// A file of the certificates that must have signed a client's, in PEM.
    pub(in crate::config) client_ca: Option<Leaf<Text>>,
}

/// What the gateway tells about its work.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(in crate::config) struct ObservabilityFile {
    /// One JSON line for an exchange.
    pub(in crate::config) access_log: Option<AccessLogFile>,
    /// Whether local replies carry `x-gateway-reason`, off.
    pub(in crate::config) reason_header: Option<Leaf<Switch>>,
    /// Whether responses tell trusted peers (`trusted_proxies`) in `server-timing` what took how long, off.
    pub(in crate::config) server_timing: Option<Leaf<Switch>>,
    /// What `/metrics` tells.
    pub(in crate::config) metrics: Option<MetricsFile>,
    /// Requests are part of traces (W3C Trace Context); without it, `traceparent` goes on as it came.
    pub(in crate::config) tracing: Option<TracingFile>,
}

/// How requests are traced.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `otlp`, `ca` and `sample`")]
pub(in crate::config) struct TracingFile {
    /// The collector that gets spans by OTLP (HTTP, protobuf); `/v1/traces` is added. Without it there are no spans, but
    /// traces go on.
    pub(in crate::config) otlp: Option<Leaf<CollectorUrl>>,
    /// With `otlp`: a file of the certificates that may sign that of the collector, in PEM; the system's when left out.
    pub(in crate::config) ca: Option<Leaf<Text>>,
    /// Share of the traces that begin here and are recorded, 5%. Those that come with requests say so themselves; failed and
    /// slow requests are always recorded.
    pub(in crate::config) sample: Option<Leaf<Percent>>,
}

/// What `/metrics` tells.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(in crate::config) struct MetricsFile {
    /// Clients that have a series of their own where clients are told apart, 50, at most 256; the rest share one.
    pub(in crate::config) top_clients: Option<Leaf<Count>>,
}

/// The access log.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(in crate::config) struct AccessLogFile {
    /// `stdout`, the path of a file, or `off`.
    pub(in crate::config) output: Option<Leaf<OutputName>>,
    /// Which exchanges get a line.
    pub(in crate::config) sample: Option<SampleFile>,
}

/// Which exchanges get a log line.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(in crate::config) struct SampleFile {
    /// Share of the exchanges that are neither slow nor failed, 100%.
    pub(in crate::config) ok: Option<Leaf<Percent>>,
    /// The slow ones.
    pub(in crate::config) slow: Option<SlowFile>,
    /// Share of the failed ones, 100%.
    pub(in crate::config) errors: Option<Leaf<Percent>>,
}

/// Which exchanges are slow, and how many of them get a log line.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `over` and `share`")]
pub(in crate::config) struct SlowFile {
    /// From this duration on an exchange is slow, 500ms.
    pub(in crate::config) over: Option<Leaf<Span>>,
    /// Share of the slow ones, 100%.
    pub(in crate::config) share: Option<Leaf<Percent>>,
}

/// How changes of the configuration are taken up.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(in crate::config) struct ReloadFile {
    /// Whether the files are watched and reloaded when they change, true.
    pub(in crate::config) watch: Option<Leaf<Switch>>,
    /// How a change proves itself before it is for all connections.
    pub(in crate::config) stage: Option<StageFile>,
}
