//! Routes as `/routes` shows them.

use schemars::JsonSchema;
use serde::Serialize;

use crate::config::{Action, Config, HostMatch, PathMatch, Route};

/// One route.
#[derive(Debug, Clone, Serialize, JsonSchema, PartialEq, Eq)]
pub(super) struct ShownRoute {
    name: String,
    host: String,
    path: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    methods: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    query: Vec<(String, String)>,
    action: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    policies: Vec<String>,
}

/// The routes of a configuration, in the order written.
pub(super) fn shown(config: &Config) -> Vec<ShownRoute> {
    config.routes.iter().map(|route| one(config, route)).collect()
}

fn one(config: &Config, route: &Route) -> ShownRoute {
    let Route { name, methods, headers, query, .. } = route;
    ShownRoute {
        name: name.clone(),
        host: match &route.host {
            HostMatch::Any => "*".to_owned(),
            HostMatch::Exact(host) => host.clone(),
            HostMatch::Wildcard(suffix) => format!("*{suffix}"),
        },
        path: match &route.path {
            PathMatch::Exact(path) => path.clone(),
            PathMatch::Prefix(prefix) => format!("{prefix}*"),
        },
        methods: methods.clone(),
        headers: headers.clone(),
        query: query.clone(),
        action: action(config, &route.action),
        policies: route.policies.iter().map(|index| config.policies[*index].name.clone()).collect(),
    }
}

fn action(config: &Config, action: &Action) -> String {
    let cluster = |index: usize| &config.clusters[index].name;
    match action {
        Action::Forward { cluster: index } => format!("forward to {}", cluster(*index)),
        Action::Split { to, .. } => {
            let parts: Vec<String> = to.iter().map(|(index, share)| format!("{} {share}", cluster(*index))).collect();
            format!("split between {}", parts.join(", "))
        }
        Action::Redirect { to, status } => format!("redirect {status} to {to}"),
        Action::Respond { status, .. } => format!("respond {status}"),
    }
}
