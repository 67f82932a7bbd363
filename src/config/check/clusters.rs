//! Clusters: how an endpoint is chosen, caps, and what contradicts itself among them.

use std::net::IpAddr;
use std::time::Duration;

use rustc_hash::FxHashSet;

use super::super::bounds::ADMITTED_MAX;
use super::super::file::{AdmissionFile, ClusterFile, QueueFile};
use super::super::model::{
    Action, Admission, Balance, Cluster, Config, Dns, Endpoint, Keepalive, NoneHealthy, PassiveHealth, Queue, Runtime,
    Scheme, UpstreamProtocol, Workers,
};
use super::super::place::At;
use super::super::problems::{Pending, Subject};
use super::process::check_keepalive;
use super::{Check, Names, Written, endpoints, hash_key, health, tls};
use crate::limits::ENDPOINTS_MAX;

/// How often the baseline of an adaptive limit is measured, unless given.
const MEASURE_EVERY: Duration = Duration::from_secs(30);

/// What the rest of the configuration says about clusters.
pub(super) struct Surroundings<'a> {
    pub(super) keepalive: Keepalive,
    pub(super) runtime: &'a Runtime,
    pub(super) dns: &'a Dns,
}

pub(super) fn check(check: &mut Check<'_>, files: &[Written], around: &Surroundings<'_>) -> (Vec<Cluster>, Names) {
    let mut clusters: Vec<Cluster> = Vec::new();
    let mut names = Names::default();
    let mut endpoints = 0;
    for written in files {
        check.base.clone_from(&written.base);
        let root = At::root(written.file);
        let at = root.key("clusters");
        for (name, file) in written.document.clusters.iter().flat_map(|named| &named.0) {
            let at = at.key(name);
            let problem = |message| Pending::error(at.place(), message).at_key();
            names.take(check, "cluster", name, clusters.len(), problem);
            let cluster = check_one(check, at, name, file, around);
            let before = endpoints;
            endpoints += cluster.endpoints.len();
            if before <= ENDPOINTS_MAX && endpoints > ENDPOINTS_MAX {
                let message = format!("the clusters have more than {ENDPOINTS_MAX} endpoints together");
                check.problems.push(problem(message).subject(Subject::Nothing));
            }
            clusters.push(cluster);
        }
    }
    (clusters, names)
}

fn check_one(check: &mut Check<'_>, at: At<'_>, name: &str, file: &ClusterFile, around: &Surroundings<'_>) -> Cluster {
    let balance = match &file.balance {
        Some(leaf) => check.value(at.key("balance"), Some(leaf)),
        None => Some(Balance::RoundRobin),
    };
    let max_connections = check.value(at.key("max_connections"), file.max_connections.as_ref());
    let at_health = at.key("health");
    let health = file.health.as_ref();
    let endpoints = endpoints::check(check, &at, file.endpoints.as_deref(), balance, around.dns);
    let protocol = check.value(at.key("protocol"), file.protocol.as_ref());
    check_protocol(check, at, protocol, &endpoints);
    let tls = tls::check_cluster(check, at, file.tls.as_ref(), &endpoints);
    let mut active =
        health::check_active(check, at_health.key("active"), health.and_then(|health| health.active.as_ref()));
    if let Some(active) = &mut active {
        health::take_up_tls(check, at_health.key("active"), active, &tls, &endpoints);
    }
    let cluster = Cluster {
        name: name.to_owned(),
        balance: balance.unwrap_or(Balance::RoundRobin),
        hash_key: hash_key::check(check, at.key("hash_key"), file.hash_key.as_ref()),
        protocol: protocol.unwrap_or(UpstreamProtocol::Http1),
        endpoints,
        tls,
        proxy_protocol: check.value(at.key("proxy_protocol"), file.proxy_protocol.as_ref()).flatten(),
        keepalive: check_keepalive(check, at.key("keepalive"), file.keepalive.as_ref(), around.keepalive),
        max_connections: max_connections.unwrap_or(0),
        queue: check_queue(check, at.key("queue"), file.queue.as_ref()),
        admission: check_admission(check, at.key("admission"), file.admission.as_ref()),
        slow_start: check.value(at.key("slow_start"), file.slow_start.as_ref()),
        none_healthy: check.value(at.key("none_healthy"), file.none_healthy.as_ref()).unwrap_or(NoneHealthy::FailOpen),
        required: check.value(at.key("required"), file.required.as_ref()).unwrap_or(false),
        max_latency: check.value(at.key("max_latency"), file.max_latency.as_ref()),
        active,
        passive: health::check_passive(
            check,
            at_health.key("passive"),
            health.and_then(|health| health.passive.as_ref()),
        ),
        breaker: health::check_breaker(check, at.key("breaker"), file.breaker.as_ref()),
    };
    // Where something was refused, what looks like its absence is none.
    if check.problems.is_broken(&at.place()) {
        return cluster;
    }
    if file.queue.is_some() && (file.max_connections.is_none() || max_connections == Some(0)) {
        let problem = Pending::error(at.key("queue").place(), "`queue` means nothing without `max_connections`");
        let note = "requests wait only when a cap on connections is reached: give one, or leave `queue` out".to_owned();
        check.problems.push(problem.at_key().note(Some(note)));
    }
    if cluster.proxy_protocol.is_some()
        && cluster.endpoints.iter().any(|endpoint| cluster.speaks_to(endpoint).is_shared())
    {
        let note =
            "a connection that begins with a client's name is for that client alone, those of HTTP/2 are for all";
        check.error_with(at.key("proxy_protocol"), "`proxy_protocol` with endpoints that speak HTTP/2", note);
    }
    if let Some(balance) = balance {
        check_balance(check, at, file, balance);
    }
    warn_of_few_connections(check, at, &cluster, around.runtime);
    warn_of_useless_keepalive(check, at, file, &cluster);
    warn_of_useless_latency(check, at, &cluster);
    if let Some(passive) = &cluster.passive {
        warn_of_no_ejection(check, at_health, &cluster, passive);
    }
    cluster
}

/// A protocol that is at odds with the URL of an endpoint.
fn check_protocol(check: &mut Check<'_>, at: At<'_>, protocol: Option<UpstreamProtocol>, endpoints: &[Endpoint]) {
    if protocol == Some(UpstreamProtocol::Http1) && endpoints.iter().any(|endpoint| endpoint.scheme == Scheme::H2c) {
        let note = "write `http://` in the URLs of endpoints that speak HTTP/1.1, or leave `protocol` out";
        check.error_with(at.key("protocol"), "`http1` is not what an `h2c://` URL asks for", note);
    }
    if protocol == Some(UpstreamProtocol::Auto) && endpoints.iter().any(|endpoint| endpoint.scheme == Scheme::Http) {
        let note = "TLS agrees on it: write `https://`, or `h2c://` for HTTP/2 without TLS, or leave `protocol` out";
        check.error_with(at.key("protocol"), "`auto` with an `http://` URL", note);
    }
}

fn check_queue(check: &mut Check<'_>, at: At<'_>, file: Option<&QueueFile>) -> Option<Queue> {
    let file = file?;
    let max = check.required(&at, "max", file.max.as_ref());
    if max == Some(0) {
        let note = "leave `queue` out to let nobody wait";
        check.error_with(at.key("max"), "expected a whole number of at least 1", note);
    }
    let timeout = check.required(&at, "timeout", file.timeout.as_ref());
    Some(Queue { max: max?, timeout: timeout? })
}

fn check_admission(check: &mut Check<'_>, at: At<'_>, file: Option<&AdmissionFile>) -> Option<Admission> {
    let file = file?;
    let min = check.number(at.key("min"), file.min.as_ref(), 1..=ADMITTED_MAX).unwrap_or(1);
    let max = check.number(at.key("max"), file.max.as_ref(), 1..=ADMITTED_MAX).unwrap_or(1000);
    if min > max {
        let note = "fewer could never be in flight: lower `min` or raise `max`, 1000 unless given";
        check.error_with(at.key("min"), "`min` is more than `max`", note);
    }
    let measure_every = check.value(at.key("measure_every"), file.measure_every.as_ref());
    Some(Admission { min, max, measure_every: measure_every.unwrap_or(MEASURE_EVERY) })
}

/// What goes with a balancer, and what does not.
fn check_balance(check: &mut Check<'_>, at: At<'_>, file: &ClusterFile, balance: Balance) {
    let is_hashing = balance == Balance::ConsistentHash;
    if is_hashing && file.hash_key.is_none() {
        let problem = Pending::error(at.key("balance").place(), "`consistent_hash` needs a `hash_key`");
        let note = "what is hashed: `client_ip`, `path`, `{ header: NAME }` or `{ cookie: NAME }`".to_owned();
        check.problems.push(problem.subject(Subject::Container).note(Some(note)));
    }
    if !is_hashing && file.hash_key.is_some() {
        let note = "write `balance: consistent_hash`, or leave `hash_key` out";
        check.warn(at, "hash_key", "`hash_key` is of no use without `consistent_hash`", note);
    }
}

fn warn_of_few_connections(check: &mut Check<'_>, at: At<'_>, cluster: &Cluster, runtime: &Runtime) {
    let workers = match &runtime.workers {
        Workers::Auto => return,
        Workers::Count(workers) => *workers,
        Workers::List(cpus) => cpus.len(),
    };
    if cluster.max_connections > 0 && cluster.max_connections < workers {
        let note = "connections then move from worker to worker instead of being reused, which is slower: give each worker one";
        let warning = Pending::warning(at.key("max_connections").place(), "fewer connections than workers");
        check.problems.push(warning.note(Some(note.to_owned())));
    }
}

/// Whoever is told its client by each connection is asked by one connection for each request.
fn warn_of_useless_keepalive(check: &mut Check<'_>, at: At<'_>, file: &ClusterFile, cluster: &Cluster) {
    let Some(keepalive) = file.keepalive.as_ref().filter(|_| cluster.proxy_protocol.is_some()) else { return };
    let written = [
        ("idle_per_endpoint", keepalive.idle_per_endpoint.is_some()),
        ("idle_total", keepalive.idle_total.is_some()),
        ("idle_timeout", keepalive.idle_timeout.is_some()),
    ];
    for (key, _) in written.iter().filter(|(_, is_written)| *is_written) {
        let message = format!("`{key}` is of no use with `proxy_protocol`");
        check.warn(at.key("keepalive"), key, &message, "a connection that names one client is not kept for another");
    }
}

fn warn_of_useless_latency(check: &mut Check<'_>, at: At<'_>, cluster: &Cluster) {
    if cluster.max_latency.is_none() {
        return;
    }
    if cluster.active.is_none() {
        let note = "a tier that was left gets no requests: only probes can tell when it is fast again";
        check.warn(at, "max_latency", "`max_latency` without `health.active`", note);
    }
    let tiers: FxHashSet<u8> = cluster.endpoints.iter().map(|endpoint| endpoint.priority).collect();
    if tiers.len() == 1 {
        let note = "a slow tier is left for another one: give some endpoints another `priority`";
        check.warn(at, "max_latency", "`max_latency` is of no use with a single tier", note);
    }
}

/// Passive checks that can never eject anybody; unknown where a name may have several addresses.
fn warn_of_no_ejection(check: &mut Check<'_>, health: At<'_>, cluster: &Cluster, passive: &PassiveHealth) {
    let count = cluster.endpoints.len();
    let is_known = cluster.endpoints.iter().all(|endpoint| endpoint.host.parse::<IpAddr>().is_ok());
    let ejected = passive.max_ejected * f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    if is_known && count > 0 && ejected > 0.0 && ejected < 1.0 {
        let message =
            format!("`max_ejected` is less than one of {count} endpoint{}", if count == 1 { "" } else { "s" });
        let note =
            "nothing would ever be ejected: allow a larger share (it is 50% unless given), or leave `passive` out";
        check.warn(health, "passive", &message, note);
    }
}

/// Clusters that no route uses are probably a forgotten edit.
pub(super) fn warn_of_unused(check: &mut Check<'_>, config: &Config, names: &Names) {
    let mut used: FxHashSet<usize> = FxHashSet::default();
    for route in &config.routes {
        match &route.action {
            Action::Forward { cluster } => drop(used.insert(*cluster)),
            Action::Split { to, .. } => used.extend(to.iter().map(|(cluster, _)| *cluster)),
            Action::Redirect { .. } | Action::Respond { .. } => {}
        }
        used.extend(route.mirror.map(|mirror| mirror.cluster));
    }
    used.extend(config.policies.iter().filter_map(|policy| policy.external_auth.as_ref()).map(|asked| asked.cluster));
    for (index, cluster) in config.clusters.iter().enumerate() {
        if used.contains(&index) {
            continue;
        }
        if let Some((_, place)) = names.taken.get(&cluster.name) {
            let warning = Pending::warning(place.clone(), format!("no route uses the cluster `{}`", cluster.name));
            check.problems.push(warning.at_key().subject(Subject::Nothing));
        }
    }
}
