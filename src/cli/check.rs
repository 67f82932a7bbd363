//! `ringgate check`.

use std::io::{self, Write as _};
use std::time::Duration;

use super::{ConfigFile, Error, load, say};
use crate::config::Config;
use crate::control::{self, Finding};
use crate::routing::{RouteId, Shadow, shadowed};
use crate::snapshot::route_spec;

/// Prints warnings and what was read, or everything that is wrong (exit code 3).
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Check {
    #[command(flatten)]
    file: ConfigFile,
    /// Connect to every endpoint as well, as requests would: TCP, the cluster's TLS, and the first words of HTTP/2 or an
    /// `OPTIONS *` of HTTP/1.1. Each that does not answer so is told with the reason that requests would fail with.
    #[arg(long)]
    online: bool,
    /// Seconds that each endpoint has.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, requires = "online", value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
}

const EXIT_CODES: &str = "Exit codes: 0 the file is valid and with --online every endpoint is as configured, \
1 some endpoint is not as configured, 2 wrong usage, 3 invalid configuration.";

impl Check {
    pub(super) fn run(self) -> Result<(), Error> {
        let loaded = load(&self.file.path)?;
        for warning in never_match(&loaded.config) {
            say(format_args!("warning: {warning}"));
        }
        say(format_args!("{}: {}", self.file.path.display(), summary(&loaded.config)));
        if self.online { self.look(&loaded.config) } else { Ok(()) }
    }

    /// Looks at every endpoint; how far that is goes to standard error.
    fn look(&self, config: &Config) -> Result<(), Error> {
        let mut done = 0;
        let on_found = |finding: &Finding, count: usize| {
            done += 1;
            drop(writeln!(io::stderr(), "{done} of {count}: {}", finding.url));
        };
        let findings = control::check_online(config, Duration::from_secs(self.timeout), on_found);
        let findings = findings.map_err(Error::Runtime)?;
        findings.iter().for_each(|finding| say(sentence(finding)));
        let wrong = findings.iter().filter(|finding| finding.found.is_err()).count();
        if wrong == 0 {
            return Ok(());
        }
        Err(Error::Runtime(format!("{wrong} of {} endpoints are not as configured", findings.len())))
    }
}

/// What was found of one endpoint.
fn sentence(finding: &Finding) -> String {
    let address = finding.address.map_or(String::new(), |address| format!(" ({address})"));
    let found = match &finding.found {
        Ok(spoken) => (*spoken).to_owned(),
        Err(wrong) => format!("{}: {}", wrong.reason, wrong.text),
    };
    format!("{}: {}{address}: {found}", finding.cluster, finding.url)
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
    use crate::config::tests::of_text;

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
        assert_eq!(
            never_match(&of_text(GATEWAY)),
            ["route `second` can never match: route `first` takes its requests"]
        );
    }

    #[test]
    fn the_summary_counts() {
        assert_eq!(summary(&of_text(GATEWAY)), "valid, 1 listener, 1 cluster, 2 routes");
    }
}
