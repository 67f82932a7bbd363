//! A look at every endpoint of a configuration, for `ringgate check --online`.
//!
//! Owns: what is said to each endpoint, how long that may take, and the reasons that are given.
//! Never: changes anything, or sends a request that an application would see as work.
//! Invariants: every endpoint is looked at once for each of its addresses; the whole takes no longer than the names do,
//! and then the time for one endpoint for each [`AT_ONCE`] of them.

mod look;
mod reason;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;

use self::look::Aim;
use self::reason::Reason;
use super::names::{Answers, Names};
use super::roots;
use crate::config::{self, Cluster, Config, Endpoint, Scheme};
use crate::snapshot::{ProxyVersion, client_config};

/// Endpoints looked at at once.
const AT_ONCE: usize = 64;

/// One address of an endpoint as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The cluster's name.
    pub cluster: String,
    /// The URL that is configured.
    pub url: String,
    /// The address that was looked at; none where the name has none.
    pub address: Option<SocketAddr>,
    /// What is spoken, or what is wrong.
    pub found: Result<&'static str, Wrong>,
}

/// Why an endpoint is not as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The reason code of requests that fail so; `unresolved` where a name has no address, `unverifiable` where this machine
    /// has nothing to verify its certificate by.
    pub reason: &'static str,
    /// The same in words.
    pub text: String,
}

/// Looks at every endpoint of `config`, each for at most `patience` once its name is resolved; in the order of the
/// configuration. `on_found` hears of each as it is done, with the number of all.
///
/// # Errors
/// This machine lacks what a runtime takes.
pub fn check_online(
    config: &Config,
    patience: Duration,
    mut on_found: impl FnMut(&Finding, usize),
) -> Result<Vec<Finding>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|why| why.to_string())?;
    runtime.block_on(async {
        let answers = Names::default().ask_for_new(config).await;
        let tasks = tasks(config, &answers).await;
        let count = tasks.len();
        let looks = tasks.into_iter().enumerate().map(|(place, task)| async move { (place, task.run(patience).await) });
        let mut looks = stream::iter(looks).buffer_unordered(AT_ONCE);
        let mut findings = Vec::with_capacity(count);
        while let Some((place, finding)) = looks.next().await {
            on_found(&finding, count);
            findings.push((place, finding));
        }
        findings.sort_by_key(|(place, _)| *place);
        Ok(findings.into_iter().map(|(_, finding)| finding).collect())
    })
}

/// One address of an endpoint, to be looked at.
struct Task {
    cluster: String,
    url: String,
    target: Result<(SocketAddr, Aim), Wrong>,
}

impl Task {
    async fn run(self, patience: Duration) -> Finding {
        let Self { cluster, url, target } = self;
        match target {
            Err(wrong) => Finding { cluster, url, address: None, found: Err(wrong) },
            Ok((address, aim)) => {
                let found = aim.look(address, patience).await;
                Finding { cluster, url, address: Some(address), found: found.map_err(Wrong::from) }
            }
        }
    }
}

impl From<Reason> for Wrong {
    fn from(reason: Reason) -> Self {
        Self { reason: reason.label(), text: reason.text().to_owned() }
    }
}

/// Every endpoint by its addresses.
async fn tasks(config: &Config, answers: &Answers) -> Vec<Task> {
    let mut tasks = Vec::new();
    for cluster in &config.clusters {
        let tls = secured_by(cluster).await;
        for endpoint in &cluster.endpoints {
            let name = format!("{}://{}", endpoint.scheme.name(), endpoint.authority());
            let task = |target| Task { cluster: cluster.name.clone(), url: name.clone(), target };
            let wrong = |reason: Reason| move |text| Wrong { reason: reason.label(), text };
            let addresses = addresses(answers, &endpoint.host).map_err(wrong(Reason::Unresolved));
            let aims: Result<Vec<_>, _> = addresses.and_then(|addresses| {
                let aim = || aim(cluster, endpoint, tls.as_ref()).map_err(wrong(Reason::Unverifiable));
                addresses.into_iter().map(|ip| Ok((SocketAddr::new(ip, endpoint.port), aim()?))).collect()
            });
            match aims {
                Ok(aims) => tasks.extend(aims.into_iter().map(|aim| task(Ok(aim)))),
                Err(wrong) => tasks.push(task(Err(wrong))),
            }
        }
    }
    tasks
}

fn addresses(answers: &Answers, host: &str) -> Result<Vec<IpAddr>, String> {
    host.parse().map_or_else(|_| answers.addresses(host), |ip| Ok(vec![ip]))
}

/// With what connections to the cluster's `https` endpoints are secured, if it has any.
async fn secured_by(cluster: &Cluster) -> Result<Option<Arc<ClientConfig>>, String> {
    if cluster.endpoints.iter().all(|endpoint| endpoint.scheme != Scheme::Https) {
        return Ok(None);
    }
    let system = if cluster.tls.trusts_system() { Some(roots::system().await?) } else { None };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = client_config(&provider, &cluster.tls, cluster.protocol, system.as_ref());
    Ok(Some(Arc::new(config.map_err(|why| why.to_string())?)))
}

/// `tls` is what secures the cluster's `https` endpoints, or why nothing can.
fn aim(
    cluster: &Cluster,
    endpoint: &Endpoint,
    tls: Result<&Option<Arc<ClientConfig>>, &String>,
) -> Result<Aim, String> {
    let tls = match tls {
        Ok(Some(config)) if endpoint.scheme == Scheme::Https => {
            let name = cluster.tls.server_name.as_ref().unwrap_or(&endpoint.host);
            let bad = |_| format!("`{name}` is no name that a certificate can be for");
            Some((Arc::clone(config), ServerName::try_from(name.clone()).map_err(bad)?))
        }
        Err(why) if endpoint.scheme == Scheme::Https => return Err(why.clone()),
        Ok(_) | Err(_) => None,
    };
    Ok(Aim {
        authority: endpoint.authority(),
        protocol: cluster.protocol,
        is_h2c: endpoint.scheme == Scheme::H2c,
        tls,
        proxy_protocol: cluster.proxy_protocol.map(|version| match version {
            config::ProxyVersion::V1 => ProxyVersion::V1,
            config::ProxyVersion::V2 => ProxyVersion::V2,
        }),
    })
}
