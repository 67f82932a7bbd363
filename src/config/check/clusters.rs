//! Clusters and their endpoints.

use rustc_hash::FxHashSet;

use super::super::file::{ClusterFile, EndpointFile};
use super::super::model::{Action, Balance, Cluster, Config, Endpoint, Keepalive};
use super::super::place::At;
use super::super::problems::{Pending, Subject};
use super::process::check_keepalive;
use super::{Check, Names, Written};
use crate::limits::ENDPOINTS_MAX;

pub(super) fn check(check: &mut Check<'_>, files: &[Written], default: Keepalive) -> (Vec<Cluster>, Names) {
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
            let cluster = check_one(check, at, name, file, default);
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

fn check_one(check: &mut Check<'_>, at: At<'_>, name: &str, file: &ClusterFile, default: Keepalive) -> Cluster {
    Cluster {
        name: name.to_owned(),
        balance: check.value(at.key("balance"), file.balance.as_ref()).unwrap_or(Balance::RoundRobin),
        endpoints: check_endpoints(check, &at, file.endpoints.as_deref()),
        keepalive: check_keepalive(check, at.key("keepalive"), file.keepalive.as_ref(), default),
    }
}

fn check_endpoints(check: &mut Check<'_>, cluster: &At<'_>, file: Option<&[EndpointFile]>) -> Vec<Endpoint> {
    let at = cluster.key("endpoints");
    let Some(file) = file else {
        check.missing(cluster, "missing `endpoints`");
        return Vec::new();
    };
    if file.is_empty() {
        check.missing(&at, "a cluster needs at least one endpoint");
    }
    let mut seen = FxHashSet::default();
    let mut endpoints = Vec::with_capacity(file.len());
    for (index, endpoint) in file.iter().enumerate() {
        let at = at.index(index);
        let Some(endpoint) = check.required(&at, "url", endpoint.url.as_ref()) else { continue };
        if !seen.insert(endpoint.clone()) {
            check.error(at.key("url"), "this endpoint is given twice");
        }
        endpoints.push(endpoint);
    }
    endpoints
}

/// Clusters that no route uses are probably a forgotten edit.
pub(super) fn warn_of_unused(check: &mut Check<'_>, config: &Config, names: &Names) {
    let used: FxHashSet<usize> = config
        .routes
        .iter()
        .filter_map(|route| match route.action {
            Action::Forward { cluster } => Some(cluster),
            Action::Redirect { .. } | Action::Respond { .. } => None,
        })
        .collect();
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
