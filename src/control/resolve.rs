//! Endpoint names to addresses, on the control side: a resolver may take seconds.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};

use crate::config::Config;
use crate::snapshot::Resolved;

/// Longest time one name may take.
const NAME_TIMEOUT: Duration = Duration::from_secs(10);
/// Names resolved at once.
const CONCURRENT: usize = 16;

/// The addresses of every endpoint of `config`; a name that fails keeps its `last` addresses.
///
/// # Errors
/// One sentence per name that has no address, naming its cluster.
pub(super) async fn resolve(config: &Config, last: &Resolved) -> Result<Resolved, Vec<String>> {
    let mut resolved = Resolved::new();
    let mut names = BTreeSet::new();
    for endpoint in config.clusters.iter().flat_map(|cluster| &cluster.endpoints) {
        match endpoint.host.parse::<IpAddr>() {
            Ok(ip) => {
                resolved.insert((endpoint.host.clone(), endpoint.port), vec![SocketAddr::new(ip, endpoint.port)]);
            }
            Err(_) => {
                names.insert((endpoint.host.clone(), endpoint.port));
            }
        }
    }
    let mut failures = Vec::new();
    let mut answers =
        stream::iter(names).map(|name| async { (look_up(&name).await, name) }).buffer_unordered(CONCURRENT);
    while let Some((answer, name)) = answers.next().await {
        match (answer, last.get(&name)) {
            (Ok(addresses), _) => drop(resolved.insert(name, addresses)),
            (Err(why), Some(addresses)) => {
                tracing::warn!(host = name.0, why, "name not resolved, its last addresses stay");
                resolved.insert(name, addresses.clone());
            }
            (Err(why), None) => failures.push((name, why)),
        }
    }
    if failures.is_empty() {
        return Ok(resolved);
    }
    failures.sort();
    Err(failures.iter().map(|((host, port), why)| explain(config, host, *port, why)).collect())
}

/// Addresses of a name in the resolver's order, each once.
async fn look_up(name: &(String, u16)) -> Result<Vec<SocketAddr>, String> {
    let answer = tokio::time::timeout(NAME_TIMEOUT, tokio::net::lookup_host((name.0.as_str(), name.1))).await;
    let mut addresses = Vec::new();
    for address in
        answer.map_err(|_| format!("no answer within {NAME_TIMEOUT:?}"))?.map_err(|error| error.to_string())?
    {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() { Err("the name has no address".to_owned()) } else { Ok(addresses) }
}

fn explain(config: &Config, host: &str, port: u16, why: &str) -> String {
    let cluster = config
        .clusters
        .iter()
        .find(|cluster| cluster.endpoints.iter().any(|endpoint| endpoint.host == host && endpoint.port == port))
        .map_or("", |cluster| cluster.name.as_str());
    format!("cluster `{cluster}`: cannot resolve `{host}`: {why}")
}
