//! The parts that only the main file has: the process, defaults, what is observed.

use std::time::Duration;

use super::super::choices::OutputWritten;
use super::super::file::{KeepaliveFile, SampleFile, ScalarOr, TimeoutsFile, TracingFile, WorkersFile};
use super::super::model::{
    AccessLog, Collector, Io, Keepalive, MemoryLimit, Output, Retry, Runtime, Sample, Timeouts, Tracing, Workers,
};
use super::super::place::At;
use super::{Check, Written, retry, tls};
use crate::limits::{TOP_CLIENTS_DEFAULT, TOP_CLIENTS_MAX, WORKERS_MAX};

/// The protocol that connections may be switched to when nothing else is said (RFC 6455 section 1.3).
const WEBSOCKET: &str = "websocket";
/// Accepted connections of the process when the file does not say.
const MAX_CONNECTIONS: usize = 50_000;
/// Share of the traces that begin here and are recorded.
const TRACE_SHARE: f64 = 0.05;
/// Highest number of a CPU (`CPU_SETSIZE` of sched_setaffinity(2)).
const CPU_MAX: usize = 1023;

/// What routes and clusters take when they give nothing themselves.
pub(super) struct Defaults {
    pub(super) timeouts: Timeouts,
    pub(super) retry: Retry,
    pub(super) body_limit: Option<u64>,
    pub(super) upgrades: Vec<String>,
    pub(super) keepalive: Keepalive,
}

const BUILT_IN: Defaults = Defaults {
    timeouts: Timeouts {
        connect: Duration::from_secs(5),
        response_header: Duration::from_secs(10),
        request: Duration::from_secs(30),
        body_idle: Duration::from_secs(30),
        tunnel_idle: Duration::from_secs(3600),
    },
    retry: retry::BUILT_IN,
    body_limit: Some(10 << 20),
    // A list with something in it is no constant: `check_defaults` fills it in.
    upgrades: Vec::new(),
    keepalive: Keepalive {
        idle_per_endpoint: 1000,
        idle_total: 10_000,
        idle_timeout: Duration::from_secs(90),
        tcp: Some(Duration::from_secs(30)),
        ping_after: Some(Duration::from_secs(10)),
        ping_timeout: Duration::from_secs(5),
    },
};

pub(super) fn check_defaults(check: &mut Check<'_>, main: &Written) -> Defaults {
    let root = At::root(main.file);
    let at = root.key("defaults");
    let written = main.document.defaults.as_ref();
    let (at_route, route) = (at.key("route"), written.and_then(|defaults| defaults.route.as_ref()));
    let (at_cluster, cluster) = (at.key("cluster"), written.and_then(|defaults| defaults.cluster.as_ref()));
    let timeouts = route.and_then(|route| route.timeouts.as_ref());
    let keepalive = cluster.and_then(|cluster| cluster.keepalive.as_ref());
    Defaults {
        timeouts: check_timeouts(check, at_route.key("timeouts"), timeouts, BUILT_IN.timeouts),
        retry: retry::check(
            check,
            at_route.key("retry"),
            route.and_then(|route| route.retry.as_ref()),
            &BUILT_IN.retry,
        ),
        body_limit: match check.value(at_route.key("body_limit"), route.and_then(|route| route.body_limit.as_ref())) {
            Some(bytes) => (bytes > 0).then_some(bytes),
            None => BUILT_IN.body_limit,
        },
        upgrades: match route.and_then(|route| route.upgrades.as_ref()) {
            Some(names) => check.values(at_route.key("upgrades"), Some(names)),
            None => vec![WEBSOCKET.to_owned()],
        },
        keepalive: check_keepalive(check, at_cluster.key("keepalive"), keepalive, BUILT_IN.keepalive),
    }
}

pub(super) fn check_timeouts(
    check: &mut Check<'_>,
    at: At<'_>,
    file: Option<&TimeoutsFile>,
    default: Timeouts,
) -> Timeouts {
    let Some(file) = file else { return default };
    Timeouts {
        connect: check.value(at.key("connect"), file.connect.as_ref()).unwrap_or(default.connect),
        response_header: check
            .value(at.key("response_header"), file.response_header.as_ref())
            .unwrap_or(default.response_header),
        request: check.value(at.key("request"), file.request.as_ref()).unwrap_or(default.request),
        body_idle: check.value(at.key("body_idle"), file.body_idle.as_ref()).unwrap_or(default.body_idle),
        tunnel_idle: check.value(at.key("tunnel_idle"), file.tunnel_idle.as_ref()).unwrap_or(default.tunnel_idle),
    }
}

pub(super) fn check_keepalive(
    check: &mut Check<'_>,
    at: At<'_>,
    file: Option<&KeepaliveFile>,
    default: Keepalive,
) -> Keepalive {
    let Some(file) = file else { return default };
    Keepalive {
        idle_per_endpoint: check
            .value(at.key("idle_per_endpoint"), file.idle_per_endpoint.as_ref())
            .unwrap_or(default.idle_per_endpoint),
        idle_total: check.value(at.key("idle_total"), file.idle_total.as_ref()).unwrap_or(default.idle_total),
        idle_timeout: check.value(at.key("idle_timeout"), file.idle_timeout.as_ref()).unwrap_or(default.idle_timeout),
        tcp: check.value(at.key("tcp"), file.tcp.as_ref()).unwrap_or(default.tcp),
        ping_after: check.value(at.key("ping_after"), file.ping_after.as_ref()).unwrap_or(default.ping_after),
        ping_timeout: check.value(at.key("ping_timeout"), file.ping_timeout.as_ref()).unwrap_or(default.ping_timeout),
    }
}

pub(super) fn check_runtime(check: &mut Check<'_>, main: &Written) -> Runtime {
    let root = At::root(main.file);
    let at = root.key("runtime");
    let mut runtime = Runtime {
        workers: Workers::Auto,
        io: Io::Auto,
        user: None,
        sandbox: true,
        shutdown_grace: Duration::from_secs(30),
        idle_grace: Duration::from_secs(1),
        upgrade_timeout: Runtime::UPGRADE_TIMEOUT,
        max_connections: MAX_CONNECTIONS,
        memory_limit: MemoryLimit::Auto,
        accept_balance: true,
    };
    let Some(file) = &main.document.runtime else { return runtime };
    runtime.workers = check_workers(check, at.key("workers"), file.workers.as_ref());
    if let Some(io) = check.value(at.key("io"), file.io.as_ref()) {
        runtime.io = io;
    }
    runtime.user = check.value(at.key("user"), file.user.as_ref());
    if let Some(sandbox) = check.value(at.key("sandbox"), file.sandbox.as_ref()) {
        runtime.sandbox = sandbox;
    }
    if let Some(grace) = check.value(at.key("idle_grace"), file.idle_grace.as_ref()) {
        runtime.idle_grace = grace;
    }
    if let Some(grace) = check.value(at.key("shutdown_grace"), file.shutdown_grace.as_ref()) {
        runtime.shutdown_grace = grace;
    }
    if let Some(patience) = check.value(at.key("upgrade_timeout"), file.upgrade_timeout.as_ref()) {
        runtime.upgrade_timeout = patience;
    }
    match check.value(at.key("max_connections"), file.max_connections.as_ref()) {
        Some(0) => check.error(at.key("max_connections"), "expected at least 1 connection"),
        Some(connections) => runtime.max_connections = connections,
        None => {}
    }
    if let Some(limit) = check.value(at.key("memory_limit"), file.memory_limit.as_ref()) {
        runtime.memory_limit = limit;
    }
    if let Some(balance) = check.value(at.key("accept_balance"), file.accept_balance.as_ref()) {
        runtime.accept_balance = balance;
    }
    runtime
}

fn check_workers(check: &mut Check<'_>, at: At<'_>, file: Option<&WorkersFile>) -> Workers {
    let list = match file {
        None => return Workers::Auto,
        Some(ScalarOr::Scalar(leaf)) => {
            return check.value(at, Some(leaf)).flatten().map_or(Workers::Auto, Workers::Count);
        }
        Some(ScalarOr::Compound(list)) => list,
    };
    if list.is_empty() || list.len() > WORKERS_MAX {
        check.error(at, format!("expected 1 to {WORKERS_MAX} CPUs"));
    }
    let mut cpus = Vec::new();
    for (index, leaf) in list.iter().enumerate() {
        match check.value(at.index(index), Some(leaf)) {
            Some(cpu) if cpu > CPU_MAX => {
                check.error(at.index(index), format!("expected the number of a CPU, at most {CPU_MAX}"))
            }
            Some(cpu) if cpus.contains(&cpu) => check.error(at.index(index), "this CPU is given twice"),
            Some(cpu) => cpus.push(cpu),
            None => {}
        }
    }
    Workers::List(cpus)
}

/// Clients with series of their own.
pub(super) fn check_top_clients(check: &mut Check<'_>, main: &Written) -> usize {
    let root = At::root(main.file);
    let at_observability = root.key("observability");
    let at = at_observability.key("metrics");
    let metrics = main.document.observability.as_ref().and_then(|file| file.metrics.as_ref());
    let most = u32::try_from(TOP_CLIENTS_MAX).unwrap_or(u32::MAX);
    let leaf = metrics.and_then(|metrics| metrics.top_clients.as_ref());
    check.number(at.key("top_clients"), leaf, 0..=most).map_or(TOP_CLIENTS_DEFAULT, |count| count as usize)
}

/// Whether and how requests are traced, and whether responses tell what took how long.
pub(super) fn check_tracing(check: &mut Check<'_>, main: &Written) -> (Option<Tracing>, bool) {
    let root = At::root(main.file);
    let at_observability = root.key("observability");
    let Some(file) = &main.document.observability else { return (None, false) };
    let server_timing = check.value(at_observability.key("server_timing"), file.server_timing.as_ref());
    let at = at_observability.key("tracing");
    let tracing = file.tracing.as_ref().map(|tracing| Tracing {
        otlp: check_collector(check, at, tracing),
        sample: check.value(at.key("sample"), tracing.sample.as_ref()).unwrap_or(TRACE_SHARE),
    });
    (tracing, server_timing.unwrap_or(false))
}

fn check_collector(check: &mut Check<'_>, at: At<'_>, file: &TracingFile) -> Option<Collector> {
    let url = check.value(at.key("otlp"), file.otlp.as_ref());
    let is_secure = url.as_ref().is_some_and(|url| url.is_secure);
    if file.ca.is_some() && !is_secure && (url.is_some() || file.otlp.is_none()) {
        check.error(at.key("ca"), "it is only of use with an `otlp` of `https://`");
    }
    let ca = file.ca.as_ref().and_then(|leaf| tls::check_authorities(check, at.key("ca"), leaf));
    Some(Collector { url: url?, ca })
}

pub(super) fn check_observability(check: &mut Check<'_>, main: &Written) -> (AccessLog, bool) {
    let root = At::root(main.file);
    let at = root.key("observability");
    let written = main.document.observability.as_ref();
    let reason = check.value(at.key("reason_header"), written.and_then(|file| file.reason_header.as_ref()));
    let at_log = at.key("access_log");
    let log = written.and_then(|file| file.access_log.as_ref());
    let output = match check.value(at_log.key("output"), log.and_then(|log| log.output.as_ref())) {
        Some(OutputWritten::Off) => Output::Off,
        Some(OutputWritten::File(path)) => Output::File(check.path(&path)),
        Some(OutputWritten::Stdout) | None => Output::Stdout,
    };
    let sample = check_sample(check, at_log.key("sample"), log.and_then(|log| log.sample.as_ref()));
    (AccessLog { output, sample }, reason.unwrap_or(false))
}

fn check_sample(check: &mut Check<'_>, at: At<'_>, file: Option<&SampleFile>) -> Sample {
    let mut sample = Sample { ok: 1.0, slow_over: Duration::from_millis(500), slow_share: 1.0, errors: 1.0 };
    let Some(file) = file else { return sample };
    if let Some(share) = check.value(at.key("ok"), file.ok.as_ref()) {
        sample.ok = share;
    }
    if let Some(share) = check.value(at.key("errors"), file.errors.as_ref()) {
        sample.errors = share;
    }
    let Some(slow) = &file.slow else { return sample };
    let at = at.key("slow");
    if let Some(over) = check.value(at.key("over"), slow.over.as_ref()) {
        sample.slow_over = over;
    }
    if let Some(share) = check.value(at.key("share"), slow.share.as_ref()) {
        sample.slow_share = share;
    }
    sample
}

pub(super) fn check_watch(check: &mut Check<'_>, main: &Written) -> bool {
    let root = At::root(main.file);
    let at = root.key("reload");
    check.value(at.key("watch"), main.document.reload.as_ref().and_then(|reload| reload.watch.as_ref())).unwrap_or(true)
}
