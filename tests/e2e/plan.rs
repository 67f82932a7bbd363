//! The configuration of one test, in pieces.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::gateway::Gateway;

/// The I/O driver of the gateway under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Io {
    /// `io_uring`.
    Uring,
    /// `epoll`.
    Epoll,
}

impl Io {
    /// The name in a configuration.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Uring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

/// A configuration with short defaults: flow mappings without their braces.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    io: Io,
    workers: String,
    runtime: String,
    listener: String,
    limits: String,
    timeouts: String,
    defaults: String,
    keepalive: String,
    clusters: String,
    policies: String,
    routes: String,
    log: String,
    sample: String,
    rest: String,
}

impl Plan {
    /// All requests to these endpoints, by the one worker of a gateway on `io`.
    pub(crate) fn to(io: Io, endpoints: &[SocketAddr]) -> Self {
        let plan = Self::bare(io).cluster("app", endpoints);
        if endpoints.is_empty() { plan } else { plan.route("name: everything, cluster: app") }
    }

    /// No route and no cluster.
    pub(crate) fn bare(io: Io) -> Self {
        Self {
            io,
            workers: format!("[{}]", next_cpu()),
            runtime: String::new(),
            listener: String::new(),
            limits: String::new(),
            timeouts: String::new(),
            defaults: String::new(),
            keepalive: String::new(),
            clusters: String::new(),
            policies: String::new(),
            routes: String::new(),
            log: "stdout".to_owned(),
            sample: String::new(),
            rest: String::new(),
        }
    }

    /// Further entries of `runtime`.
    pub(crate) fn runtime(mut self, entries: &str) -> Self {
        append(&mut self.runtime, entries);
        self
    }

    /// The workers, `auto` or a number.
    pub(crate) fn workers(mut self, workers: &str) -> Self {
        workers.clone_into(&mut self.workers);
        self
    }

    /// Further entries of the listener.
    pub(crate) fn listener(mut self, entries: &str) -> Self {
        append(&mut self.listener, entries);
        self
    }

    /// HTTP/2 besides HTTP/1.1 on the listener.
    pub(crate) fn speaks_h2(self) -> Self {
        self.listener("protocols: [h2, http/1.1]")
    }

    /// Entries of the listener's limits.
    pub(crate) fn limits(mut self, entries: &str) -> Self {
        append(&mut self.limits, entries);
        self
    }

    /// Entries of the default timeouts.
    pub(crate) fn timeouts(mut self, entries: &str) -> Self {
        append(&mut self.timeouts, entries);
        self
    }

    /// Further entries of the defaults of routes.
    pub(crate) fn defaults(mut self, entries: &str) -> Self {
        append(&mut self.defaults, entries);
        self
    }

    /// Entries of the default keep-alive of clusters.
    pub(crate) fn keepalive(mut self, entries: &str) -> Self {
        append(&mut self.keepalive, entries);
        self
    }

    /// A further cluster.
    pub(crate) fn cluster(self, name: &str, endpoints: &[SocketAddr]) -> Self {
        if endpoints.is_empty() { self } else { self.cluster_of(name, &urls(endpoints)) }
    }

    /// A further cluster with entries beside its endpoints.
    pub(crate) fn cluster_with(self, name: &str, endpoints: &[SocketAddr], entries: &str) -> Self {
        self.cluster_as(name, &format!("{entries}, endpoints: [{}]", urls(endpoints)))
    }

    /// A further cluster, its endpoints as they stand in the file.
    pub(crate) fn cluster_of(self, name: &str, endpoints: &str) -> Self {
        self.cluster_as(name, &format!("endpoints: [{endpoints}]"))
    }

    /// A further cluster, all its entries as they stand in the file.
    pub(crate) fn cluster_as(mut self, name: &str, entries: &str) -> Self {
        let _ = writeln!(self.clusters, "  {name}: {{ {entries} }}");
        self
    }

    /// Further policies.
    pub(crate) fn policies(mut self, entries: &str) -> Self {
        append(&mut self.policies, entries);
        self
    }

    /// A further route.
    pub(crate) fn route(mut self, entries: &str) -> Self {
        let _ = writeln!(self.routes, "  - {{ {entries} }}");
        self
    }

    /// Where the access log goes.
    pub(crate) fn log(mut self, output: &str) -> Self {
        output.clone_into(&mut self.log);
        self
    }

    /// Entries of the access log's sample.
    pub(crate) fn sample(mut self, entries: &str) -> Self {
        append(&mut self.sample, entries);
        self
    }

    /// Further lines at the end.
    pub(crate) fn and(mut self, lines: &str) -> Self {
        self.rest.push_str(lines);
        self.rest.push('\n');
        self
    }

    /// The file.
    pub(crate) fn yaml(&self) -> String {
        let Self { workers, runtime, listener, limits, timeouts, defaults, keepalive, .. } = self;
        let io = self.io.name();
        // Tests that end a gateway do not wait for clients that rest, unless that is what they are about.
        let rest = if runtime.contains("idle_grace") { "" } else { ", idle_grace: 0s" };
        let clusters = if self.clusters.is_empty() { " {}\n".to_owned() } else { format!("\n{}", self.clusters) };
        let routes = if self.routes.is_empty() { " []\n".to_owned() } else { format!("\n{}", self.routes) };
        format!(
            "version: 1\n\
             runtime: {{ workers: {workers}, io: {io}{rest}{runtime} }}\n\
             admin: {{ listen: '127.0.0.1:0' }}\n\
             listeners:\n  web: {{ address: '127.0.0.1:0', limits: {{ {} }}{listener} }}\n\
             defaults:\n  route: {{ timeouts: {{ {} }}{defaults} }}\n  cluster: {{ keepalive: {{ {} }} }}\n\
             clusters:{clusters}policies: {{ {} }}\nroutes:{routes}\
             observability:\n  reason_header: on\n  access_log: {{ output: '{}', sample: {{ {} }} }}\n{}",
            without_comma(limits),
            without_comma(timeouts),
            without_comma(keepalive),
            without_comma(&self.policies),
            self.log,
            without_comma(&self.sample),
            self.rest,
        )
    }

    /// Starts a gateway on it.
    pub(crate) fn start(&self) -> Gateway {
        Gateway::start(&self.yaml())
    }
}

fn urls(endpoints: &[SocketAddr]) -> String {
    let urls: Vec<String> = endpoints.iter().map(|at| format!("{{ url: 'http://{at}' }}")).collect();
    urls.join(", ")
}

fn append(entries: &mut String, more: &str) {
    entries.push_str(", ");
    entries.push_str(more);
}

fn without_comma(entries: &str) -> &str {
    entries.strip_prefix(", ").unwrap_or(entries)
}

/// A CPU for a single worker: tests that run at once use different ones.
fn next_cpu() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let cpus = core_affinity::get_core_ids().unwrap_or_default();
    let turn = std::process::id() as usize + NEXT.fetch_add(1, Ordering::Relaxed);
    if cpus.is_empty() { 0 } else { cpus[turn % cpus.len()].id }
}
