//! Configuration: YAML text to the checked [`Config`], or a [`Report`] of everything that is wrong with it.
//!
//! Owns the format: what may be written (`file`), what single values look like (`units`, `addresses`, `patterns`,
//! `choices`), what contradicts itself (`check`), and how it is told (`report`).
//!
//! Never reads a file or a variable except through [`Sources`], never opens a socket, never shows a substituted value.
//!
//! Invariants: a [`Config`] holds valid values only; a refused one leaves nothing behind; all errors come at once, in
//! the order of files and lines.

mod addresses;
mod bounds;
mod certificates;
mod check;
mod choices;
mod effective;
mod file;
mod keys_url;
mod leaf;
mod load;
mod locate;
mod model;
mod patterns;
mod place;
mod portions;
mod problems;
mod rates;
mod report;
mod shape;
mod source;
mod substitute;
mod text;
mod units;
mod words;

#[cfg(test)]
pub(crate) mod tests;

use std::path::{Path, PathBuf};

pub(crate) use addresses::ip_and_port;
pub use effective::{Effective, Texts};
pub use file::json_schema;
pub use load::Leavings;
pub use model::{
    Access, AccessLog, Action, ActiveHealth, Admin, AdminListen, AdminTls, Admission, ApiKey, Authorities, Balance,
    BasicAuth, BodyMinRate, Breaker, ClientAuth, Cluster, ClusterTls, Collector, Config, Dns, Endpoint, ExternalAuth,
    HashKey, HeaderEdits, HostHeader, HostMatch, Identity, Io, Jwt, JwtKeys, Keepalive, KeySource, KeysUrl, LimitStore,
    Listener, ListenerLimits, ListenerTls, LivePolicy, MemoryLimit, Mirror, NoneHealthy, Output, PassiveHealth,
    PathMatch, Policy, PolicyKey, Priority, ProbeKind, Protocol, ProxyProtocol, ProxyVersion, Queue, RateLimit, Retry,
    RetryOn, Revocations, Rollout, Route, RunAs, Runtime, Sample, Scheme, Timeouts, TlsVersion, Token, Tracing,
    UpstreamProtocol, Workers,
};
pub use report::{Excerpt, Problem, Report, Severity};
pub use source::{Disk, Sources};

/// A configuration that may be run.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is legal but probably not meant.
    pub warnings: Report,
    /// Every file that was read, sorted: the main file, included ones, those that `${file:PATH}` names, certificates and
    /// keys.
    pub files: Vec<PathBuf>,
    /// The texts of the configuration itself, from which is shown what is in force.
    pub texts: Texts,
}

/// Loads the configuration at `path` and everything it includes.
///
/// # Errors
/// Every problem that was found, when at least one of them is an error.
pub fn load(path: &Path, sources: &dyn Sources) -> Result<Loaded, Report> {
    load_leaving(path, sources).0
}

/// The same for whoever drops elsewhere what is left of it.
pub fn load_leaving(path: &Path, sources: &dyn Sources) -> (Result<Loaded, Report>, Leavings) {
    load::from_file(path, sources)
}

/// The admin endpoint of the configuration at `path`, whatever is wrong with the rest of it: a gateway that refused the file
/// goes on with the one of before, and is asked how it fares just then.
///
/// # Errors
/// The file cannot be read as YAML, or what it says of its admin endpoint is wrong.
pub fn load_admin(path: &Path, sources: &dyn Sources) -> Result<Admin, Report> {
    load::admin_of(path, sources)
}

/// The configuration of a start without a file: `LISTEN_ADDR` (`:8080`), `UPSTREAM_URL` (required) and `CONFIG_PORT`
/// (9090), all requests to that one upstream.
///
/// # Errors
/// Every variable that is missing or wrong.
pub fn from_environment(sources: &dyn Sources) -> Result<Loaded, Report> {
    load::from_environment(sources)
}
