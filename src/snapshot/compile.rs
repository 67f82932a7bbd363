//! Checked configuration to compiled tables.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::clusters::{self, Registry};
use super::entrances::Succession;
use super::policies::{self, Compiled};
use super::tls::TlsError;
use super::{
    Action, Cluster, Listener, LogSample, Mirror, Piece, ProxyProtocol, Retry, Rewrite, Route, Snapshot, SplitRoute,
    Statuses, Timeouts, TraceSample,
};
use crate::config;
use crate::http1::{FieldEdits, HeadLimits};
use crate::limits;
use crate::policy::{Access, Priority};
use crate::routing::{HostPattern, PathPattern, RouteSpec, Table};

/// Addresses of every (host, port) of the configuration.
pub type Resolved = HashMap<(String, u16), Vec<SocketAddr>>;

/// A checked configuration that still cannot become a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompileError {
    /// The host of an endpoint has no address.
    Unresolved {
        /// Cluster of the endpoint.
        cluster: String,
        /// Its host.
        host: String,
    },
    /// TLS cannot be spoken as configured.
    Tls {
        /// The listener or the cluster.
        of: String,
        /// What is wrong.
        why: TlsError,
    },
    /// More endpoints than [`limits::ENDPOINTS_MAX`].
    EndpointsFull,
    /// A field edit that the encoder refuses.
    FieldEdit {
        /// Route of the edit.
        route: String,
        /// What is wrong with it.
        why: String,
    },
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved { cluster, host } => {
                write!(f, "cluster `{cluster}`: `{host}` has no address; is the name right and DNS reachable?")
            }
            Self::Tls { of, why } => write!(f, "{of}: {why}"),
            Self::EndpointsFull => write!(f, "more than {} endpoints", limits::ENDPOINTS_MAX),
            Self::FieldEdit { route, why } => write!(f, "route `{route}`: {why}"),
        }
    }
}

impl std::error::Error for CompileError {}

/// Parts of a mirror's share.
const MIRROR_PARTS: u32 = 1_000_000;

/// Compiles `config` into the snapshot of `epoch`.
///
/// # Errors
/// An endpoint without an address, too many endpoints, a field edit that the encoder refuses, or TLS without anybody to
/// believe.
pub fn compile(
    config: &config::Config,
    epoch: u64,
    registry: &mut Registry,
    resolved: &Resolved,
) -> Result<Snapshot, CompileError> {
    registry.tls.begin();
    compile_beside(config, epoch, registry, resolved)
}

/// The same for a configuration that is to stand beside the one compiled last, in the same epoch.
///
/// # Errors
/// As for [`compile`].
pub fn compile_beside(
    config: &config::Config,
    epoch: u64,
    registry: &mut Registry,
    resolved: &Resolved,
) -> Result<Snapshot, CompileError> {
    let specs: Vec<RouteSpec> = config.routes.iter().map(route_spec).collect();
    let policies: Vec<Compiled> =
        (config.policies.iter()).map(|one| policies::compile(one, registry.workers(), &registry.issued)).collect();
    if config.policies.iter().any(|policy| policy.rate_limit.is_some()) {
        registry.limits().prepare();
    }
    let mut refused = None;
    // Made in their place: there may be tens of thousands, and every page of a copy is one more to be had from the system.
    let mut routes: Arc<[Route]> = (config.routes.iter()).map(|one| route(one, &policies, &mut refused)).collect();
    if let Some(refused) = refused {
        return Err(refused);
    }
    let splits = number_splits(Arc::get_mut(&mut routes).expect("nobody else has them yet"), &config.routes);
    let clusters = (config.clusters.iter())
        .map(|one| clusters::cluster(one, epoch, registry, resolved))
        .collect::<Result<Vec<_>, _>>()?;
    let mut endpoints: Vec<_> =
        clusters.iter().flat_map(|cluster: &Cluster| cluster.endpoints.iter().map(|one| one.id)).collect();
    endpoints.sort_unstable_by_key(|id| id.0);
    let listeners =
        config.listeners.iter().map(|one| listener(one, &config.listeners, registry)).collect::<Result<_, _>>()?;
    Ok(Snapshot {
        epoch,
        listeners,
        table: Arc::new(Table::compile(&specs)),
        routes,
        clusters: clusters.into(),
        splits: splits.into(),
        endpoints: endpoints.into(),
        log: log_sample(&config.access_log),
        reason_header: config.reason_header,
        server_timing: config.server_timing,
        tracing: config
            .tracing
            .as_ref()
            .map(|tracing| TraceSample { share: tracing.sample, exports: tracing.otlp.is_some() }),
        limits: Arc::clone(registry.limits()),
        headroom: Arc::clone(registry.headroom()),
        live: None,
        candidate: None,
        trial: None,
    })
}

/// The matching half of a route, for the routing table and for warnings about routes that never match.
#[must_use]
pub fn route_spec(route: &config::Route) -> RouteSpec {
    RouteSpec {
        host: match &route.host {
            config::HostMatch::Any => HostPattern::Any,
            config::HostMatch::Exact(host) => HostPattern::Exact(host.clone()),
            config::HostMatch::Wildcard(suffix) => HostPattern::Wildcard(suffix.clone()),
        },
        path: match &route.path {
            config::PathMatch::Exact(path) => PathPattern::Exact(path.clone()),
            config::PathMatch::Prefix(prefix) => PathPattern::Prefix(without_slash(prefix).to_owned()),
        },
        methods: route.methods.clone(),
        headers: route.headers.clone(),
        query: route.query.clone(),
    }
}

fn without_slash(prefix: &str) -> &str {
    prefix.strip_suffix('/').unwrap_or(prefix)
}

fn route(route: &config::Route, policies: &[Compiled], refused: &mut Option<CompileError>) -> Route {
    let policies = policies::of_route(route, policies);
    let owned: Vec<&str> = policies.iter().flat_map(|policies| policies.response_fields()).collect();
    let kept_back: Vec<&str> = policies.iter().flat_map(|policies| policies.request_fields()).collect();
    let request_edits = edits(&route.name, &route.request_headers, &kept_back, refused);
    let rewrite = match (&route.rewrite_prefix, &route.path) {
        (Some(new), config::PathMatch::Prefix(old)) => {
            Some(Rewrite { strip: without_slash(old).len(), prefix: new.clone().into_bytes() })
        }
        (Some(_) | None, _) => None,
    };
    Route {
        name: route.name.clone(),
        action: match &route.action {
            config::Action::Forward { cluster } => Action::Forward(*cluster),
            config::Action::Split { to, sticky } => {
                Action::Split(SplitRoute { number: 0, to: to.clone(), sticky: sticky.as_ref().map(clusters::key) })
            }
            config::Action::Redirect { to, status } => Action::Redirect(*status, pieces(to)),
            config::Action::Respond { status, body, content_type } => {
                Action::Respond { status: *status, body: body.clone().into_bytes(), content_type: content_type.clone() }
            }
        },
        deadline_field: route.deadline_header.clone().unwrap_or_default().into_bytes(),
        timeouts: Timeouts {
            connect_ms: ms(route.timeouts.connect),
            response_header_ms: ms(route.timeouts.response_header),
            request_ms: ms(route.timeouts.request),
            body_idle_ms: ms(route.timeouts.body_idle),
            tunnel_idle_ms: ms(route.timeouts.tunnel_idle),
        },
        retry: retry(&route.retry),
        upgrades: route.upgrades.iter().map(|name| name.clone().into_bytes()).collect(),
        mirror: route.mirror.as_ref().map(|mirror| Mirror { cluster: mirror.cluster, split: 0 }),
        body_limit: route.body_limit.unwrap_or(u64::MAX),
        rewrite,
        host_of_endpoint: route.host_header == config::HostHeader::Upstream,
        policies,
        priority: match route.priority {
            config::Priority::Low => Priority::Low,
            config::Priority::Normal => Priority::Normal,
            config::Priority::High => Priority::High,
        },
        needs_certificate: route.require_client_cert,
        request_edits,
        response_edits: edits(&route.name, &route.response_headers, &owned, refused),
        series: usize::MAX,
    }
}

/// Compiles edits; fields that policies write are removed as well. The first that cannot be is `refused`.
fn edits(route: &str, edits: &config::HeaderEdits, owned: &[&str], refused: &mut Option<CompileError>) -> FieldEdits {
    let remove: Vec<String> = edits.remove.iter().cloned().chain(owned.iter().map(|&name| name.to_owned())).collect();
    FieldEdits::new(&edits.set, &edits.add, &remove).unwrap_or_else(|error| {
        refused.get_or_insert_with(|| CompileError::FieldEdit { route: route.to_owned(), why: error.to_string() });
        FieldEdits::default()
    })
}

fn pieces(to: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = to;
    while let Some(at) = rest.find('{') {
        let (text, place) = rest.split_at(at);
        let (piece, name) =
            if place.starts_with("{query}") { (Piece::Query, "{query}") } else { (Piece::Path, "{path}") };
        pieces.push(Piece::Text(text.as_bytes().to_vec()));
        pieces.push(piece);
        rest = place.strip_prefix(name).expect("the checker lets no other brace pass");
    }
    pieces.push(Piece::Text(rest.as_bytes().to_vec()));
    pieces
}

/// The splits in the order of their numbers, and the routes with theirs filled in.
fn number_splits(routes: &mut [Route], written: &[config::Route]) -> Vec<Vec<u32>> {
    let mut splits = Vec::new();
    for (route, written) in routes.iter_mut().zip(written) {
        if let Action::Split(split) = &mut route.action {
            split.number = splits.len();
            splits.push(split.to.iter().map(|(_, weight)| *weight).collect());
        }
        if let Some((mirror, written)) = route.mirror.as_mut().zip(written.mirror.as_ref()) {
            mirror.split = splits.len();
            splits.push(mirror_parts(written.share));
        }
    }
    splits
}

/// What of a million requests is copied, which is something, and what is not.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the share is from 0 to 1")]
fn mirror_parts(share: f64) -> Vec<u32> {
    let copied = ((share * f64::from(MIRROR_PARTS)).round() as u32).clamp(1, MIRROR_PARTS);
    vec![copied, MIRROR_PARTS - copied]
}

fn retry(retry: &config::Retry) -> Retry {
    Retry {
        attempts: retry.attempts,
        connect: retry.on.connect,
        reset: retry.on.reset,
        timeout: retry.on.timeout,
        statuses: Statuses::new(&retry.on.statuses),
        budget: retry.budget,
        backoff_ms: ms(retry.backoff),
        any_method: retry.any_method,
        same_endpoint: retry.same_endpoint,
    }
}

/// Compiles `listener`, one of `all`.
fn listener(
    listener: &config::Listener,
    all: &[config::Listener],
    registry: &mut Registry,
) -> Result<Listener, CompileError> {
    let limits = &listener.limits;
    let Succession { entrance, former, callers } = registry.entrances.inherit(listener, all);
    if limits.connections_per_client.is_some() {
        callers.count_clients();
    }
    let secured = listener.tls.as_ref().map(|tls| registry.tls.inbound(tls, &listener.protocols)).transpose();
    Ok(Listener {
        name: listener.name.clone(),
        address: listener.address,
        entrance,
        former,
        health_path: listener.health_path.clone().map(String::into_bytes),
        head: HeadLimits {
            bytes: limits.header_bytes,
            count: limits.header_count,
            line: limits::REQUEST_LINE_BYTES.min(limits.header_bytes),
        },
        header_timeout_ms: ms(limits.header_timeout),
        handshake_ms: ms(limits.handshake_timeout),
        idle_ms: ms(limits.idle_timeout),
        body_rate: limits.body_min_rate.bytes_per_second,
        body_grace_ms: ms(limits.body_min_rate.grace),
        write_timeout_ms: ms(limits.write_timeout),
        trusted: match &listener.trusted_proxies[..] {
            [] => None,
            trusted => Some(Access::new(trusted, &[])),
        },
        strict_host: listener.strict_host,
        proxy_protocol: match listener.proxy_protocol {
            config::ProxyProtocol::Off => ProxyProtocol::Off,
            config::ProxyProtocol::Optional => ProxyProtocol::Optional,
            config::ProxyProtocol::Required => ProxyProtocol::Required,
        },
        connections: limits.connections,
        per_client: limits.connections_per_client,
        callers,
        h2_streams: if listener.protocols.contains(&config::Protocol::Http2) { limits.h2_streams } else { 0 },
        tls: secured.map_err(|why| CompileError::Tls { of: format!("listener `{}`", listener.name), why })?,
    })
}

fn log_sample(log: &config::AccessLog) -> LogSample {
    let sample = log.sample;
    let off = log.output == config::Output::Off;
    let share = |share: f64| if off { 0.0 } else { share };
    LogSample {
        ok: share(sample.ok),
        slow_over: sample.slow_over,
        slow: share(sample.slow_share),
        errors: share(sample.errors),
    }
}

pub(super) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}
