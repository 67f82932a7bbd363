//! What holds when a key is left out, for every key of the format.
//!
//! A path names the keys that lead to a value; `*` stands for any name and any index. A `?` marks a section that is off
//! unless it is written: nothing in it holds without it. Tests hold the table against the schema, and what it says
//! against the configuration that is loaded.

use std::borrow::Cow;
use std::sync::OnceLock;

use serde_json::Value as Json;

use super::super::json_schema;
use super::read::Reading;
use super::{Entries, Kind, Node, Order, Origin, find};

use Fallback::{By, Is, Nothing, Same};

/// What holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fallback {
    /// Nothing: it must be written, is off, or follows from the rest.
    Nothing,
    /// This, in YAML.
    Is(&'static str),
    /// What stands at another place, where the condition holds.
    Same(fn(&Around<'_>) -> bool, &'static str),
    /// This, in YAML, which depends on what stands around.
    By(fn(&Around<'_>) -> Option<String>),
}

/// What stands around a key that was left out.
pub(super) struct Around<'a> {
    /// The mappings that hold it, from the outermost on; `None` for one that was left out itself.
    above: Vec<Option<&'a Entries>>,
    /// The keys of those mappings.
    keys: Vec<Cow<'a, str>>,
}

impl Around<'_> {
    /// What stands at a key of the mapping so many levels above the key's own.
    fn node(&self, levels: usize, key: &str) -> Option<&Node> {
        find(self.above.get(self.above.len().checked_sub(levels + 1)?).copied().flatten()?, key)
    }

    fn has(&self, levels: usize, key: &str) -> bool {
        self.node(levels, key).is_some()
    }

    fn text(&self, levels: usize, key: &str) -> Option<&str> {
        match &self.node(levels, key)?.kind {
            Kind::Scalar(value) => value.as_str(),
            Kind::List(_) | Kind::Mapping(_) => None,
        }
    }

    /// The texts of a list.
    fn list(&self, levels: usize, key: &str) -> Vec<&str> {
        let Some(Node { kind: Kind::List(nodes), .. }) = self.node(levels, key) else { return Vec::new() };
        nodes
            .iter()
            .filter_map(|node| match &node.kind {
                Kind::Scalar(value) => value.as_str(),
                Kind::List(_) | Kind::Mapping(_) => None,
            })
            .collect()
    }
}

/// Does the route forward? Told by its own mapping, so many levels up.
fn forwards(around: &Around<'_>, levels: usize) -> bool {
    around.has(levels, "cluster") || around.has(levels, "split")
}

fn always(_: &Around<'_>) -> bool {
    true
}

fn route_forwards(around: &Around<'_>) -> bool {
    forwards(around, 0)
}

fn timeouts_forward(around: &Around<'_>) -> bool {
    forwards(around, 1)
}

/// Connections that name one client each are kept for nobody.
fn keeps_connections(around: &Around<'_>) -> bool {
    around.text(1, "proxy_protocol").is_none_or(|version| version == "off")
}

fn given(condition: bool, yaml: &str) -> Option<String> {
    condition.then(|| yaml.to_owned())
}

fn protocols(around: &Around<'_>) -> Option<String> {
    Some(if around.has(0, "tls") { "[h2, http/1.1]" } else { "[http/1.1]" }.to_owned())
}

/// Only where HTTP/2 is spoken.
fn streams(around: &Around<'_>) -> Option<String> {
    let written = around.list(1, "protocols");
    given(written.contains(&"h2"), "100")
}

/// The address of an endpoint may say it.
fn protocol(around: &Around<'_>) -> Option<String> {
    let Some(Node { kind: Kind::List(endpoints), .. }) = around.node(0, "endpoints") else { return None };
    let is_h2c = |node: &Node| match &node.kind {
        Kind::Mapping(entries) => matches!(find(entries, "url"), Some(Node { kind: Kind::Scalar(url), .. })
            if url.as_str().is_none_or(|url| url.starts_with("h2c:") || url.contains("${"))),
        Kind::Scalar(_) | Kind::List(_) => false,
    };
    given(!endpoints.iter().any(is_h2c), "http1")
}

fn is_web_probe(around: &Around<'_>) -> bool {
    around.text(0, "kind").is_some_and(|kind| kind.starts_with("http"))
}

/// 2s, or the interval when that is shorter.
fn probe_timeout(around: &Around<'_>) -> Option<String> {
    let Some(interval) = around.text(0, "interval") else { return Some("2s".to_owned()) };
    let (number, unit) = interval.split_at(interval.find(|char: char| !char.is_ascii_digit())?);
    let is_short = match unit {
        "ms" => number.parse::<u64>().ok()? < 2000,
        "s" => number.parse::<u64>().ok()? < 2,
        _ => false,
    };
    Some(if is_short { interval.to_owned() } else { "2s".to_owned() })
}

/// As many as the limit, of a bucket.
fn burst(around: &Around<'_>) -> Option<String> {
    let limit = around.text(0, "limit").unwrap_or(LIMIT);
    let (count, _) = limit.split_once('/')?;
    given(around.text(0, "algorithm") == Some("token_bucket"), count)
}

/// The name of the policy.
fn realm(around: &Around<'_>) -> Option<String> {
    let name = around.keys.get(1)?;
    serde_json::to_string(name).ok()
}

const LIMIT: &str = "100/1m";

/// Every key of the format, in the order in which they are shown.
#[rustfmt::skip]
pub(super) const TABLE: &[(&str, Fallback)] = &[
    ("version", Nothing),
    ("include", Nothing),
    ("runtime.workers", Is("auto")),
    ("runtime.io", Is("auto")),
    ("runtime.user", Nothing),
    ("runtime.sandbox", Is("true")),
    ("runtime.shutdown_grace", Is("30s")),
    ("runtime.idle_grace", Is("1s")),
    ("runtime.upgrade_timeout", Is("20s")),
    ("runtime.max_connections", Is("50000")),
    ("runtime.memory_limit", Is("auto")),
    ("runtime.accept_balance", Is("true")),
    ("dns.servers", Nothing),
    ("dns.timeout", Is("2s")),
    ("dns.ttl_min", Is("1s")),
    ("dns.ttl_max", Is("30s")),
    ("admin.listen", Is("127.0.0.1:${CONFIG_PORT:-9090}")),
    ("admin.tls?.cert", Nothing),
    ("admin.tls?.key", Nothing),
    ("admin.tls?.client_ca", Nothing),
    ("admin.token", Nothing),
    ("admin.read_token", Nothing),
    ("listeners.*.address", Nothing),
    ("listeners.*.health_path", Is("/health")),
    ("listeners.*.tls?.certificates.*.cert", Nothing),
    ("listeners.*.tls?.certificates.*.key", Nothing),
    ("listeners.*.tls?.min_version", Is("'1.2'")),
    ("listeners.*.tls?.client_ca", Nothing),
    ("listeners.*.tls?.client_crl", Nothing),
    ("listeners.*.tls?.client_auth", By(|around| given(around.has(0, "client_ca"), "required"))),
    ("listeners.*.protocols", By(protocols)),
    ("listeners.*.trusted_proxies", Is("[]")),
    ("listeners.*.proxy_protocol", Is("off")),
    ("listeners.*.strict_host", Is("false")),
    ("listeners.*.limits.header_bytes", Is("64KiB")),
    ("listeners.*.limits.header_count", Is("128")),
    ("listeners.*.limits.header_timeout", Is("10s")),
    ("listeners.*.limits.handshake_timeout", By(|around| given(around.has(1, "tls"), "10s"))),
    ("listeners.*.limits.idle_timeout", Is("75s")),
    ("listeners.*.limits.body_min_rate.rate", Is("1KiB")),
    ("listeners.*.limits.body_min_rate.grace", Is("10s")),
    ("listeners.*.limits.write_timeout", Is("30s")),
    ("listeners.*.limits.connections", Is("0")),
    ("listeners.*.limits.connections_per_client", Is("0")),
    ("listeners.*.limits.h2_streams", By(streams)),
    ("defaults.route.timeouts.connect", Is("5s")),
    ("defaults.route.timeouts.response_header", Is("10s")),
    ("defaults.route.timeouts.request", Is("30s")),
    ("defaults.route.timeouts.body_idle", Is("30s")),
    ("defaults.route.timeouts.tunnel_idle", Is("1h")),
    ("defaults.route.body_limit", Is("10MiB")),
    ("defaults.route.upgrades", Is("[websocket]")),
    ("defaults.route.policies", Is("[]")),
    ("defaults.route.retry.attempts", Is("2")),
    ("defaults.route.retry.on", Is("[connect, reset]")),
    ("defaults.route.retry.budget", Is("10%")),
    ("defaults.route.retry.backoff", Is("100ms")),
    ("defaults.route.retry.methods", Is("idempotent")),
    ("defaults.route.retry.same_endpoint", Is("off")),
    ("defaults.cluster.keepalive.idle_per_endpoint", Is("1000")),
    ("defaults.cluster.keepalive.idle_total", Is("10000")),
    ("defaults.cluster.keepalive.idle_timeout", Is("90s")),
    ("defaults.cluster.keepalive.tcp", Is("30s")),
    ("defaults.cluster.keepalive.ping_after", Is("10s")),
    ("defaults.cluster.keepalive.ping_timeout", Is("5s")),
    ("clusters.*.balance", Is("round_robin")),
    ("clusters.*.hash_key", Nothing),
    ("clusters.*.hash_key?.header", Nothing),
    ("clusters.*.hash_key?.cookie", Nothing),
    ("clusters.*.protocol", By(protocol)),
    ("clusters.*.endpoints.*.url", Nothing),
    ("clusters.*.endpoints.*.weight", Is("1")),
    ("clusters.*.endpoints.*.priority", Is("0")),
    ("clusters.*.endpoints.*.dns_ttl_max", Nothing),
    ("clusters.*.tls?.ca", Nothing),
    ("clusters.*.tls?.cert", Nothing),
    ("clusters.*.tls?.key", Nothing),
    ("clusters.*.tls?.server_name", Nothing),
    ("clusters.*.tls?.insecure_skip_verify", Is("false")),
    ("clusters.*.proxy_protocol", Is("off")),
    ("clusters.*.keepalive.idle_per_endpoint", Same(keeps_connections, "defaults.cluster.keepalive.idle_per_endpoint")),
    ("clusters.*.keepalive.idle_total", Same(keeps_connections, "defaults.cluster.keepalive.idle_total")),
    ("clusters.*.keepalive.idle_timeout", Same(keeps_connections, "defaults.cluster.keepalive.idle_timeout")),
    ("clusters.*.keepalive.tcp", Same(always, "defaults.cluster.keepalive.tcp")),
    ("clusters.*.keepalive.ping_after", Same(always, "defaults.cluster.keepalive.ping_after")),
    ("clusters.*.keepalive.ping_timeout", Same(always, "defaults.cluster.keepalive.ping_timeout")),
    ("clusters.*.max_connections", Is("0")),
    ("clusters.*.queue?.max", Nothing),
    ("clusters.*.queue?.timeout", Nothing),
    ("clusters.*.admission?.min", Is("1")),
    ("clusters.*.admission?.max", Is("1000")),
    ("clusters.*.admission?.measure_every", Is("30s")),
    ("clusters.*.slow_start", Nothing),
    ("clusters.*.none_healthy", Is("fail_open")),
    ("clusters.*.required", Is("false")),
    ("clusters.*.max_latency", Nothing),
    ("clusters.*.health?.active?.kind", Nothing),
    ("clusters.*.health?.active?.path", By(|around| given(is_web_probe(around), "/"))),
    ("clusters.*.health?.active?.host", Nothing),
    ("clusters.*.health?.active?.service", Nothing),
    ("clusters.*.health?.active?.port", Nothing),
    ("clusters.*.health?.active?.interval", Is("5s")),
    ("clusters.*.health?.active?.timeout", By(probe_timeout)),
    ("clusters.*.health?.active?.expect", By(|around| given(is_web_probe(around), "200"))),
    ("clusters.*.health?.active?.healthy_after", Is("2")),
    ("clusters.*.health?.active?.unhealthy_after", Is("3")),
    ("clusters.*.health?.active?.require_probe", Is("false")),
    // Unless given, probes are secured as requests are.
    ("clusters.*.health?.active?.ca", Nothing),
    ("clusters.*.health?.active?.server_name", Nothing),
    ("clusters.*.health?.active?.insecure_skip_verify", Nothing),
    ("clusters.*.health?.passive?.window", Is("30s")),
    ("clusters.*.health?.passive?.error_rate", Is("50%")),
    ("clusters.*.health?.passive?.min_requests", Is("20")),
    ("clusters.*.health?.passive?.eject_for", Is("10s")),
    ("clusters.*.health?.passive?.max_ejected", Is("50%")),
    ("clusters.*.breaker?.window", Is("10s")),
    ("clusters.*.breaker?.error_rate", Is("50%")),
    ("clusters.*.breaker?.min_requests", Is("20")),
    // 50, or what the live policy says.
    ("clusters.*.breaker?.consecutive", Nothing),
    ("clusters.*.breaker?.open_for", Is("15s")),
    ("clusters.*.breaker?.probes", Is("1")),
    ("clusters.*.breaker?.close_after", Is("3")),
    ("policies.*.access?.allow", Nothing),
    ("policies.*.access?.deny", Nothing),
    ("policies.*.rate_limit?.key", Is("client_ip")),
    ("policies.*.rate_limit?.limit", Is(LIMIT)),
    ("policies.*.rate_limit?.algorithm", Is("sliding_window")),
    ("policies.*.rate_limit?.burst", By(burst)),
    ("policies.*.rate_limit?.scope", Is("process")),
    ("policies.*.rate_limit?.store?.redis", Nothing),
    ("policies.*.rate_limit?.store?.mode", Is("leased")),
    ("policies.*.rate_limit?.store?.on_store_error", Is("allow")),
    ("policies.*.rate_limit?.store?.store_timeout", Is("50ms")),
    ("policies.*.cors?.origins", Nothing),
    ("policies.*.cors?.methods", Is("[GET, HEAD, POST]")),
    ("policies.*.cors?.headers", Is("[]")),
    ("policies.*.cors?.expose", Is("[]")),
    ("policies.*.cors?.credentials", Is("false")),
    ("policies.*.cors?.max_age", Is("5s")),
    ("policies.*.jwt?.issuer", Nothing),
    ("policies.*.jwt?.audience", Nothing),
    // As the keys allow.
    ("policies.*.jwt?.algorithms", Nothing),
    ("policies.*.jwt?.scopes", Is("[]")),
    ("policies.*.jwt?.jwks_url", Nothing),
    ("policies.*.jwt?.jwks_ca", Nothing),
    ("policies.*.jwt?.refresh", By(|around| given(around.has(0, "jwks_url"), "10m"))),
    ("policies.*.jwt?.keys_file", Nothing),
    ("policies.*.jwt?.public_key_file", Nothing),
    ("policies.*.jwt?.secret_file", Nothing),
    ("policies.*.jwt?.leeway", Is("30s")),
    ("policies.*.jwt?.forward_claims.*", Nothing),
    ("policies.*.jwt?.forward_credentials", Is("true")),
    ("policies.*.jwt?.realm", By(realm)),
    ("policies.*.api_key?.header", Is("x-api-key")),
    ("policies.*.api_key?.keys_file", Nothing),
    ("policies.*.api_key?.forward_identity", Nothing),
    ("policies.*.api_key?.forward_credentials", Is("false")),
    ("policies.*.api_key?.realm", By(realm)),
    ("policies.*.basic_auth?.users_file", Nothing),
    ("policies.*.basic_auth?.forward_user", Nothing),
    ("policies.*.basic_auth?.forward_credentials", Is("false")),
    ("policies.*.basic_auth?.realm", By(realm)),
    ("policies.*.external_auth?.cluster", Nothing),
    ("policies.*.external_auth?.path", Is("/")),
    ("policies.*.external_auth?.timeout", Is("500ms")),
    ("policies.*.external_auth?.forward_headers", Is("[authorization]")),
    ("policies.*.external_auth?.response_headers", Is("[]")),
    ("policies.*.external_auth?.cache?.for", Nothing),
    // The fields of `forward_headers`.
    ("policies.*.external_auth?.cache?.key", Nothing),
    ("policies.*.external_auth?.on_error", Is("deny")),
    ("routes.*.name", Nothing),
    ("routes.*.match.host", Is("'*'")),
    ("routes.*.match.path", Is("/*")),
    ("routes.*.match.methods", Nothing),
    ("routes.*.match.headers.*", Nothing),
    ("routes.*.match.query.*", Nothing),
    ("routes.*.cluster", Nothing),
    ("routes.*.split.*.cluster", Nothing),
    ("routes.*.split.*.weight", Nothing),
    ("routes.*.split_key", Nothing),
    ("routes.*.split_key?.header", Nothing),
    ("routes.*.split_key?.cookie", Nothing),
    ("routes.*.redirect?.to", Nothing),
    ("routes.*.redirect?.status", Nothing),
    ("routes.*.respond?.status", Nothing),
    ("routes.*.respond?.body", Nothing),
    ("routes.*.respond?.content_type", Is("text/plain; charset=utf-8")),
    ("routes.*.policies", Same(always, "defaults.route.policies")),
    ("routes.*.priority", By(|around| given(route_forwards(around), "normal"))),
    ("routes.*.require_client_cert", Is("false")),
    ("routes.*.host_header", By(|around| given(route_forwards(around), "preserve"))),
    ("routes.*.deadline_header", Nothing),
    ("routes.*.timeouts.connect", Same(timeouts_forward, "defaults.route.timeouts.connect")),
    ("routes.*.timeouts.response_header", Same(timeouts_forward, "defaults.route.timeouts.response_header")),
    ("routes.*.timeouts.request", Same(timeouts_forward, "defaults.route.timeouts.request")),
    ("routes.*.timeouts.body_idle", Same(timeouts_forward, "defaults.route.timeouts.body_idle")),
    ("routes.*.timeouts.tunnel_idle", Same(timeouts_forward, "defaults.route.timeouts.tunnel_idle")),
    ("routes.*.body_limit", Same(always, "defaults.route.body_limit")),
    ("routes.*.retry.attempts", Same(timeouts_forward, "defaults.route.retry.attempts")),
    ("routes.*.retry.on", Same(timeouts_forward, "defaults.route.retry.on")),
    ("routes.*.retry.budget", Same(timeouts_forward, "defaults.route.retry.budget")),
    ("routes.*.retry.backoff", Same(timeouts_forward, "defaults.route.retry.backoff")),
    ("routes.*.retry.methods", Same(timeouts_forward, "defaults.route.retry.methods")),
    ("routes.*.retry.same_endpoint", Same(timeouts_forward, "defaults.route.retry.same_endpoint")),
    ("routes.*.upgrades", Same(route_forwards, "defaults.route.upgrades")),
    ("routes.*.mirror?.cluster", Nothing),
    ("routes.*.mirror?.share", Nothing),
    ("routes.*.rewrite?.prefix", Nothing),
    ("routes.*.headers?.request?.set.*", Nothing),
    ("routes.*.headers?.request?.add.*", Nothing),
    ("routes.*.headers?.request?.remove", Nothing),
    ("routes.*.headers?.response?.set.*", Nothing),
    ("routes.*.headers?.response?.add.*", Nothing),
    ("routes.*.headers?.response?.remove", Nothing),
    ("policy?.file", By(|around| given(!around.has(0, "redis"), ".gateway-policy.json"))),
    ("policy?.redis?.url", Nothing),
    ("policy?.redis?.key", Is("gateway:policy")),
    ("observability.access_log.output", Is("stdout")),
    ("observability.access_log.sample.ok", Is("100%")),
    ("observability.access_log.sample.slow.over", Is("500ms")),
    ("observability.access_log.sample.slow.share", Is("100%")),
    ("observability.access_log.sample.errors", Is("100%")),
    ("observability.reason_header", Is("false")),
    ("observability.server_timing", Is("false")),
    ("observability.tracing?.otlp", Nothing),
    ("observability.tracing?.ca", Nothing),
    ("observability.tracing?.sample", Is("5%")),
    ("observability.metrics.top_clients", Is("50")),
    ("reload.watch", Is("true")),
    ("reload.stage?.share", Is("10%")),
    ("reload.stage?.for", Is("30s")),
    ("reload.stage?.min_requests", Is("500")),
    ("reload.stage?.rollback_if.error_rate_increase", Is("1%")),
    ("reload.stage?.rollback_if.refusal_rate_increase", Is("10%")),
    ("reload.stage?.rollback_if.p99_increase", Is("50%")),
];

/// Values that are paths of files.
const PATHS: [&str; 20] = [
    "admin.listen",
    "admin.tls.cert",
    "admin.tls.key",
    "admin.tls.client_ca",
    "listeners.*.tls.certificates.*.cert",
    "listeners.*.tls.certificates.*.key",
    "listeners.*.tls.client_ca",
    "listeners.*.tls.client_crl",
    "clusters.*.tls.ca",
    "clusters.*.tls.cert",
    "clusters.*.tls.key",
    "clusters.*.health.active.ca",
    "policies.*.jwt.jwks_ca",
    "policies.*.jwt.keys_file",
    "policies.*.jwt.public_key_file",
    "policies.*.jwt.secret_file",
    "policies.*.api_key.keys_file",
    "policies.*.basic_auth.users_file",
    "policy.file",
    "observability.tracing.ca",
];

/// Is it the path of a file?
pub(super) fn is_path(path: &str) -> bool {
    PATHS.contains(&path) || path == "observability.access_log.output"
}

/// The order of all keys.
pub(super) fn order() -> &'static Order {
    static ORDER: OnceLock<Order> = OnceLock::new();
    ORDER.get_or_init(|| {
        let mut order = Order::default();
        for (rank, (path, _)) in TABLE.iter().enumerate() {
            let mut here = &mut order;
            for key in path.split('.') {
                here = &mut here.ranks.entry(key.trim_end_matches('?')).or_insert((rank, Order::default())).1;
            }
        }
        order
    })
}

/// Is the mapping at these keys one from names to values?
pub(super) fn is_named(path: &[String]) -> bool {
    let below = path.iter().try_fold(order(), |order, key| order.below(key));
    below.is_some_and(|order| order.ranks.contains_key("*"))
}

/// May the value at a path be of this JSON type?
pub(super) fn takes(path: &str, kind: &str) -> bool {
    static SCHEMA: OnceLock<Json> = OnceLock::new();
    let schema = SCHEMA.get_or_init(json_schema);
    let keys: Vec<&str> = path.split('.').collect();
    takes_at(schema, schema, &keys, kind)
}

fn takes_at(root: &Json, here: &Json, path: &[&str], kind: &str) -> bool {
    if let Some(name) = here["$ref"].as_str() {
        let target = root.pointer(name.trim_start_matches('#'));
        return target.is_some_and(|target| takes_at(root, target, path, kind));
    }
    if here["anyOf"].as_array().is_some_and(|all| all.iter().any(|one| takes_at(root, one, path, kind))) {
        return true;
    }
    let Some((key, rest)) = path.split_first() else {
        let types = &here["type"];
        return types == kind || types.as_array().is_some_and(|types| types.iter().any(|one| one == kind));
    };
    let below = if *key == "*" {
        [&here["items"], &here["additionalProperties"]]
    } else {
        [&here["properties"][*key], &Json::Null]
    };
    below.into_iter().any(|below| below.is_object() && takes_at(root, below, rest, kind))
}

/// Puts in what holds where nothing was written.
pub(super) fn fill(reading: &mut Reading<'_>) {
    for (path, fallback) in TABLE {
        if matches!(fallback, Nothing) {
            continue;
        }
        let plain = path.replace('?', "");
        let keys: Vec<&str> = path.split('.').collect();
        // What it is the same as stands before it in the table.
        let same = if let Same(_, from) = fallback { at(&reading.top, from).cloned() } else { None };
        let mut found = Vec::new();
        let mut around = Around { above: vec![Some(&reading.top)], keys: Vec::new() };
        look(&mut around, &keys, &mut |around| {
            let node = match fallback {
                Nothing => None,
                Is(yaml) => Some(reading.standard(&plain, yaml)),
                Same(condition, _) if condition(around) => same.clone(),
                Same(..) => None,
                By(choose) => choose(around).map(|yaml| reading.standard(&plain, &yaml)),
            };
            let keys = || around.keys.iter().map(|key| key.clone().into_owned()).collect::<Vec<_>>();
            found.extend(node.map(|node| (keys(), node)));
        });
        for (keys, node) in found {
            put(&mut reading.top, &keys, node);
        }
    }
}

fn at<'a>(top: &'a Entries, path: &str) -> Option<&'a Node> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let node = find(top, first)?;
    match (rest, &node.kind) {
        (None, _) => Some(node),
        (Some(rest), Kind::Mapping(entries)) => at(entries, rest),
        (Some(_), Kind::Scalar(_) | Kind::List(_)) => None,
    }
}

/// Finds every place of a path where nothing is, and tells what stands around it.
fn look<'a>(around: &mut Around<'a>, path: &[&'a str], tell: &mut dyn FnMut(&Around<'_>)) {
    let Some((key, rest)) = path.split_first() else { return };
    let here = around.above.last().copied().flatten();
    if *key == "*" {
        for (name, node) in here.into_iter().flatten() {
            step(around, name.into(), Some(node), rest, tell);
        }
        return;
    }
    let (key, is_off) = key.strip_suffix('?').map_or((*key, false), |key| (key, true));
    match here.and_then(|entries| find(entries, key)) {
        Some(node) => step(around, key.into(), Some(node), rest, tell),
        None if rest.is_empty() => {
            around.keys.push(key.into());
            tell(around);
            around.keys.pop();
        }
        None if is_off || rest.contains(&"*") => {}
        None => step(around, key.into(), None, rest, tell),
    }
}

/// Goes on below a key, where there is more to go.
fn step<'a>(
    around: &mut Around<'a>,
    key: Cow<'a, str>,
    node: Option<&'a Node>,
    rest: &[&'a str],
    tell: &mut dyn FnMut(&Around<'_>),
) {
    if rest.is_empty() {
        return;
    }
    around.keys.push(key);
    match node.map(|node| &node.kind) {
        Some(Kind::List(nodes)) if rest[0] == "*" => {
            for (index, node) in nodes.iter().enumerate() {
                step(around, index.to_string().into(), Some(node), &rest[1..], tell);
            }
        }
        Some(Kind::Scalar(_) | Kind::List(_)) => {}
        Some(Kind::Mapping(entries)) => below(around, Some(entries), rest, tell),
        None => below(around, None, rest, tell),
    }
    around.keys.pop();
}

fn below<'a>(
    around: &mut Around<'a>,
    entries: Option<&'a Entries>,
    rest: &[&'a str],
    tell: &mut dyn FnMut(&Around<'_>),
) {
    around.above.push(entries);
    look(around, rest, tell);
    around.above.pop();
}

/// Puts a value where nothing is.
fn put(entries: &mut Entries, keys: &[String], node: Node) {
    let Some((key, rest)) = keys.split_first() else { return };
    if rest.is_empty() {
        entries.push((key.clone(), node));
        return;
    }
    let known = entries.iter().position(|(known, _)| known == key).unwrap_or_else(|| {
        let empty = Node { kind: Kind::Mapping(Vec::new()), origin: Origin::default() };
        entries.push((key.clone(), empty));
        entries.len() - 1
    });
    let (mut here, mut rest) = (&mut entries[known].1.kind, rest);
    while let Kind::List(nodes) = here {
        let index: Option<usize> = rest[0].parse().ok();
        let Some(node) = index.and_then(|index| nodes.get_mut(index)) else { return };
        (here, rest) = (&mut node.kind, &rest[1..]);
    }
    if let Kind::Mapping(entries) = here {
        put(entries, rest, node);
    }
}
