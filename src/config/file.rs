//! The configuration as written: the shape of the YAML, and the JSON Schema that editors use.
//!
//! Every part may be missing here; `check` knows which ones must not. Doc comments become the descriptions of the schema.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

use super::addresses::{AdminListen, EndpointUrl, Listen, Network};
use super::choices::{BalanceName, HostHeaderName, IoName, OutputName, WorkerCount};
use super::leaf::{Kind, Leaf, Scalar, ScalarVisitor};
use super::patterns::{
    DeadlineField, FieldName, FieldValue, HealthPath, HostPattern, Method, PathPattern, PrefixRewrite, RedirectTarget,
};
use super::units::{Count, OrOff, Percent, Silence, Size, Span, Switch, Text, Wait};

/// A Ringgate configuration.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
#[schemars(title = "Ringgate configuration")]
pub(super) struct Document {
    /// The version of the format, 1.
    #[schemars(required)]
    pub(super) version: Option<Leaf<Count>>,
    /// Globs of further files, relative to this one, read in sorted order; they may hold clusters, listeners and routes.
    pub(super) include: Option<Vec<Leaf<Text>>>,
    /// The process itself.
    pub(super) runtime: Option<RuntimeFile>,
    /// The admin endpoint.
    pub(super) admin: Option<AdminFile>,
    /// Listening addresses by name.
    pub(super) listeners: Option<Named<ListenerFile>>,
    /// Values for routes and clusters that give none themselves.
    pub(super) defaults: Option<DefaultsFile>,
    /// Sets of endpoints by name.
    pub(super) clusters: Option<Named<ClusterFile>>,
    /// Which requests go where; precedence is by specificity, then by order.
    pub(super) routes: Option<Vec<RouteFile>>,
    /// What the gateway tells about its work.
    pub(super) observability: Option<ObservabilityFile>,
    /// How changes of the configuration are taken up.
    pub(super) reload: Option<ReloadFile>,
}

/// The process itself.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct RuntimeFile {
    /// `auto` (the CPUs this process may use), a number, or a list of CPUs.
    pub(super) workers: Option<WorkersFile>,
    /// `auto`, `io_uring` or `epoll`.
    pub(super) io: Option<Leaf<IoName>>,
    /// How long a shutdown waits for exchanges in flight, 30s.
    pub(super) shutdown_grace: Option<Leaf<Span>>,
    /// Most accepted connections at once in the whole process, 50000.
    pub(super) max_connections: Option<Leaf<Count>>,
}

/// The admin endpoint.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct AdminFile {
    /// A loopback address (port 9090 unless given here or by `CONFIG_PORT`), `unix:/path` or `off`.
    pub(super) listen: Option<Leaf<AdminListen>>,
}

/// One listening address.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct ListenerFile {
    /// Where to listen; `:8080` is port 8080 of every address.
    #[schemars(required)]
    pub(super) address: Option<Leaf<Listen>>,
    /// The path of the gateway's own health check, `/health`, or `off`.
    pub(super) health_path: Option<Leaf<OrOff<HealthPath>>>,
    /// Bounds on what a client may send and how long it may take.
    pub(super) limits: Option<LimitsFile>,
    /// Networks whose `X-Forwarded-*` fields are believed.
    pub(super) trusted_proxies: Option<Vec<Leaf<Network>>>,
    /// Whether a host that no route names is answered with 421, false.
    pub(super) strict_host: Option<Leaf<Switch>>,
}

/// Bounds on what a client may send and how long it may take.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct LimitsFile {
    /// Bytes of one request head, 64KiB.
    pub(super) header_bytes: Option<Leaf<Size>>,
    /// Field lines of one request head, 128.
    pub(super) header_count: Option<Leaf<Count>>,
    /// Time for a request head to arrive once its first byte did, 10s.
    pub(super) header_timeout: Option<Leaf<Wait>>,
    /// Time a connection may rest between two requests, 75s.
    pub(super) idle_timeout: Option<Leaf<Wait>>,
    /// The slowest a request body may arrive.
    pub(super) body_min_rate: Option<BodyMinRateFile>,
    /// Time a client may read nothing of a response that waits for it, 30s.
    pub(super) write_timeout: Option<Leaf<Wait>>,
}

/// The slowest a request body may arrive.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `rate` and `grace`")]
pub(super) struct BodyMinRateFile {
    /// Bytes per second on average, 1KiB; 0 demands nothing.
    pub(super) rate: Option<Leaf<Size>>,
    /// Time from the start of the body in which nothing is demanded, 10s.
    pub(super) grace: Option<Leaf<Span>>,
}

/// Values for routes and clusters that give none themselves.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct DefaultsFile {
    /// For routes.
    pub(super) route: Option<RouteDefaultsFile>,
    /// For clusters.
    pub(super) cluster: Option<ClusterDefaultsFile>,
}

/// Values for routes that give none themselves.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct RouteDefaultsFile {
    /// How long the steps of a forwarded request may take.
    pub(super) timeouts: Option<TimeoutsFile>,
    /// Bytes of a request body, 10MiB; 0 is no limit.
    pub(super) body_limit: Option<Leaf<Size>>,
}

/// Values for clusters that give none themselves.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct ClusterDefaultsFile {
    /// How idle connections to endpoints are kept.
    pub(super) keepalive: Option<KeepaliveFile>,
}

/// How long the steps of a forwarded request may take.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct TimeoutsFile {
    /// To open a connection to an endpoint, 5s.
    pub(super) connect: Option<Leaf<Wait>>,
    /// From the end of the request to the end of the response head, 10s.
    pub(super) response_header: Option<Leaf<Wait>>,
    /// From the request's head to the end of the response head, attempts included, 30s.
    pub(super) request: Option<Leaf<Wait>>,
    /// In which an upstream must send something while its response body is read, 30s.
    pub(super) body_idle: Option<Leaf<Wait>>,
}

/// A set of endpoints.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct ClusterFile {
    /// How an endpoint is chosen: `round_robin`.
    pub(super) balance: Option<Leaf<BalanceName>>,
    /// The addresses requests are sent to, at least one.
    #[schemars(required, length(min = 1))]
    pub(super) endpoints: Option<Vec<EndpointFile>>,
    /// How idle connections to the endpoints are kept.
    pub(super) keepalive: Option<KeepaliveFile>,
}

/// One address of a cluster.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `url`")]
pub(super) struct EndpointFile {
    /// `http://host:port`.
    #[schemars(required)]
    pub(super) url: Option<Leaf<EndpointUrl>>,
}

/// How idle upstream connections are kept.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct KeepaliveFile {
    /// Idle connections kept for one endpoint, 1000.
    pub(super) idle_per_endpoint: Option<Leaf<Count>>,
    /// Idle connections kept for the whole cluster, 10000.
    pub(super) idle_total: Option<Leaf<Count>>,
    /// Time a connection may rest before it is closed, 90s.
    pub(super) idle_timeout: Option<Leaf<Wait>>,
    /// Time of silence before the kernel probes the peer, 30s, or `off`.
    pub(super) tcp: Option<Leaf<OrOff<Silence>>>,
}

/// Which requests, and what becomes of them: exactly one of `cluster`, `redirect` and `respond`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct RouteFile {
    /// Its name in logs and metrics, unique among routes.
    #[schemars(required)]
    pub(super) name: Option<Leaf<Text>>,
    /// Which requests; everything that is not given matches all.
    #[serde(rename = "match")]
    pub(super) matching: Option<MatchFile>,
    /// Forwards to this cluster.
    pub(super) cluster: Option<Leaf<Text>>,
    /// Answers with a redirect.
    pub(super) redirect: Option<RedirectFile>,
    /// Answers with a fixed response.
    pub(super) respond: Option<RespondFile>,
    /// Which `Host` the upstream sees: `preserve` (the client's) or `upstream` (the endpoint's).
    pub(super) host_header: Option<Leaf<HostHeaderName>>,
    /// Tells the upstream in this field how many milliseconds its answer may take.
    pub(super) deadline_header: Option<Leaf<DeadlineField>>,
    /// How long the steps of a forwarded request may take.
    pub(super) timeouts: Option<TimeoutsFile>,
    /// Bytes of a request body; 0 is no limit.
    pub(super) body_limit: Option<Leaf<Size>>,
    /// Changes the path on the way to the upstream.
    pub(super) rewrite: Option<RewriteFile>,
    /// Edits of fields.
    pub(super) headers: Option<HeadersFile>,
}

/// Which requests a route takes; all parts must match.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct MatchFile {
    /// `api.example.com`, `*.example.com` (every host below it) or `*`.
    pub(super) host: Option<Leaf<HostPattern>>,
    /// `/robots.txt` (only this) or `/orders/*` (`/orders` and everything below it).
    pub(super) path: Option<Leaf<PathPattern>>,
    /// Any of these methods.
    #[schemars(length(min = 1))]
    pub(super) methods: Option<Vec<Leaf<Method>>>,
    /// Fields that must be present with exactly this value.
    pub(super) headers: Option<Named<Leaf<FieldValue>>>,
    /// Query parameters that must be present with exactly this value.
    pub(super) query: Option<Named<Leaf<Text>>>,
}

/// A redirect.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `to` and `status`")]
pub(super) struct RedirectFile {
    /// A URL or a path; `{path}` and `{query}` (with its `?`) stand for the request's.
    #[schemars(required)]
    pub(super) to: Option<Leaf<RedirectTarget>>,
    /// 301, 302, 303, 307 or 308.
    #[schemars(required)]
    pub(super) status: Option<Leaf<Count>>,
}

/// A fixed response.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `status` and `body`")]
pub(super) struct RespondFile {
    /// 200 to 599.
    #[schemars(required)]
    pub(super) status: Option<Leaf<Count>>,
    /// Its content, empty unless given.
    pub(super) body: Option<Leaf<Text>>,
    /// Its media type, `text/plain; charset=utf-8`.
    pub(super) content_type: Option<Leaf<FieldValue>>,
}

/// Changes of the path on the way to the upstream.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `prefix`")]
pub(super) struct RewriteFile {
    /// What stands in place of the matched prefix; what followed the prefix is kept.
    #[schemars(required)]
    pub(super) prefix: Option<Leaf<PrefixRewrite>>,
}

/// Edits of fields in both directions.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `request` and `response`")]
pub(super) struct HeadersFile {
    /// On the way to the upstream.
    pub(super) request: Option<EditsFile>,
    /// On the way to the client.
    pub(super) response: Option<EditsFile>,
}

/// Edits of fields, applied in the order remove, set, add.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `set`, `add` and `remove`")]
pub(super) struct EditsFile {
    /// Replaces every line of the field.
    pub(super) set: Option<Named<Leaf<FieldValue>>>,
    /// Adds a line.
    pub(super) add: Option<Named<Leaf<FieldValue>>>,
    /// Removes every line of the field.
    pub(super) remove: Option<Vec<Leaf<FieldName>>>,
}

/// What the gateway tells about its work.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct ObservabilityFile {
    /// One JSON line for an exchange.
    pub(super) access_log: Option<AccessLogFile>,
    /// Whether local replies carry `x-gateway-reason`, off.
    pub(super) reason_header: Option<Leaf<Switch>>,
}

/// The access log.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct AccessLogFile {
    /// `stdout`, the path of a file, or `off`.
    pub(super) output: Option<Leaf<OutputName>>,
    /// Which exchanges get a line.
    pub(super) sample: Option<SampleFile>,
}

/// Which exchanges get a log line.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct SampleFile {
    /// Share of the exchanges that are neither slow nor failed, 100%.
    pub(super) ok: Option<Leaf<Percent>>,
    /// The slow ones.
    pub(super) slow: Option<SlowFile>,
    /// Share of the failed ones, 100%.
    pub(super) errors: Option<Leaf<Percent>>,
}

/// Which exchanges are slow, and how many of them get a log line.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `over` and `share`")]
pub(super) struct SlowFile {
    /// From this duration on an exchange is slow, 500ms.
    pub(super) over: Option<Leaf<Span>>,
    /// Share of the slow ones, 100%.
    pub(super) share: Option<Leaf<Percent>>,
}

/// How changes of the configuration are taken up.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(super) struct ReloadFile {
    /// Whether the files are watched and reloaded when they change, true.
    pub(super) watch: Option<Leaf<Switch>>,
}

/// `auto`, a number, or a list of CPUs.
#[derive(Debug)]
pub(super) enum WorkersFile {
    Scalar(Leaf<WorkerCount>),
    List(Vec<Leaf<Count>>),
}

impl<'de> Deserialize<'de> for WorkersFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WorkersVisitor)
    }
}

struct WorkersVisitor;

impl<'de> Visitor<'de> for WorkersVisitor {
    type Value = WorkersFile;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(WorkerCount::EXPECTED)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<WorkersFile, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = entries.next_element()? {
            list.push(entry);
        }
        Ok(WorkersFile::List(list))
    }

    fn visit_bool<E: de::Error>(self, on: bool) -> Result<WorkersFile, E> {
        Ok(WorkersFile::Scalar(Leaf::new(Scalar::Switch(on))))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<WorkersFile, E> {
        Ok(WorkersFile::Scalar(Leaf::new(Scalar::Number(number))))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<WorkersFile, E> {
        ScalarVisitor { expected: WorkerCount::EXPECTED }
            .visit_i64(number)
            .map(|scalar| WorkersFile::Scalar(Leaf::new(scalar)))
    }

    fn visit_f64<E: de::Error>(self, _number: f64) -> Result<WorkersFile, E> {
        Ok(WorkersFile::Scalar(Leaf::new(Scalar::OddNumber)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<WorkersFile, E> {
        Ok(WorkersFile::Scalar(Leaf::new(Scalar::Text(text.to_owned()))))
    }
}

impl JsonSchema for WorkersFile {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Workers".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = Leaf::<WorkerCount>::json_schema(generator);
        let cpu = Leaf::<Count>::json_schema(generator);
        json_schema!({ "anyOf": [one, { "type": "array", "items": cpu, "minItems": 1 }] })
    }
}

/// A mapping from names to values in the order written; a name given twice is an error.
#[derive(Debug)]
pub(super) struct Named<T>(pub(super) Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(NamedVisitor(PhantomData))
    }
}

struct NamedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for NamedVisitor<T> {
    type Value = Named<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping from names to values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Named<T>, A::Error> {
        let mut seen = rustc_hash::FxHashSet::default();
        let mut list: Vec<(String, T)> = Vec::new();
        while let Some(key) = entries.next_key::<String>()? {
            if !seen.insert(key.clone()) {
                return Err(de::Error::custom("a name is given twice"));
            }
            list.push((key, entries.next_value()?));
        }
        Ok(Named(list))
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Named{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": generator.subschema_for::<T>() })
    }
}

/// The JSON Schema of the format (draft 2020-12), generated from the types that read it.
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(Document).to_value()
}
