//! `ringgate check`.

use super::{ConfigFile, Error, load, say};
use crate::config::Config;
use crate::routing::{RouteId, Shadow, shadowed};
use crate::snapshot::route_spec;

/// Prints warnings and what was read, or everything that is wrong (exit code 3).
#[derive(Debug, clap::Args)]
pub(super) struct Check {
    #[command(flatten)]
    file: ConfigFile,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Error> {
        let loaded = load(&self.file.path)?;
        for warning in never_match(&loaded.config) {
            say(format_args!("warning: {warning}"));
        }
        say(format_args!("{}: {}", self.file.path.display(), summary(&loaded.config)));
        Ok(())
    }
}

/// One sentence per route that no request can reach.
fn never_match(config: &Config) -> Vec<String> {
    let specs: Vec<_> = config.routes.iter().map(route_spec).collect();
    let name = |id: RouteId| config.routes[id.0 as usize].name.as_str();
    let sentence = |shadow: Shadow| {
        let route = name(shadow.route);
        if shadow.by == shadow.route {
            format!("route `{route}` can never match: its predicates contradict one another")
        } else {
            format!("route `{route}` can never match: route `{}` takes its requests", name(shadow.by))
        }
    };
    shadowed(&specs).into_iter().map(sentence).collect()
}

fn summary(config: &Config) -> String {
    let count = |number: usize, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
    format!(
        "valid, {}, {}, {}",
        count(config.listeners.len(), "listener"),
        count(config.clusters.len(), "cluster"),
        count(config.routes.len(), "route")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::parsed;

    const GATEWAY: &str = "
version: 1
listeners: { web: { address: 127.0.0.1:8080 } }
clusters: { app: { endpoints: [{ url: 'http://127.0.0.1:3000' }] } }
routes:
  - { name: first, match: { path: /a }, cluster: app }
  - { name: second, match: { path: /a }, cluster: app }
";

    #[test]
    fn a_route_behind_its_equal_is_named_with_the_one_before_it() {
        assert_eq!(never_match(&parsed(GATEWAY)), ["route `second` can never match: route `first` takes its requests"]);
    }

    #[test]
    fn the_summary_counts() {
        assert_eq!(summary(&parsed(GATEWAY)), "valid, 1 listener, 1 cluster, 2 routes");
    }
}
