//! `ringgate doctor`.

use std::time::Duration;

use super::{ConfigFile, Error, load, say};
use crate::clock;
use crate::config::Config;
use crate::control::{self, Examined, Grade};

/// Looks for what this machine, its certificates and the endpoints lack, and says what to do about each.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 nothing that keeps the gateway from its work, 1 something does, 2 wrong usage, 3 invalid configuration."
)]
pub(super) struct Doctor {
    #[command(flatten)]
    file: ConfigFile,
    /// Ask no name server and connect to no endpoint.
    #[arg(long)]
    offline: bool,
    /// Seconds that each endpoint has.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
}

impl Doctor {
    pub(super) fn run(self) -> Result<(), Error> {
        let config = load(&self.file.path)?.config;
        let now = i64::try_from(clock::unix_ms() / 1000).unwrap_or(i64::MAX);
        let mut all = control::examine(&config, now);
        if !self.offline {
            all.extend(endpoints(&config, Duration::from_secs(self.timeout))?);
        }
        all.iter().for_each(|one| say(sentence(one)));
        let count = |grade: Grade| all.iter().filter(|one| one.grade == grade).count();
        let (failures, warnings) = (count(Grade::Failure), count(Grade::Warning));
        let told = format!("{} looked at: {failures} failed, {warnings} to look after", all.len());
        if failures > 0 {
            return Err(Error::Runtime(told));
        }
        say(told);
        Ok(())
    }
}

fn endpoints(config: &Config, patience: Duration) -> Result<Vec<Examined>, Error> {
    let findings = control::check_online(config, patience, |_, _| {}).map_err(Error::Runtime)?;
    let examined = findings.into_iter().map(|finding| {
        let (grade, found, remedy) = match finding.found {
            Ok(spoken) => (Grade::Fine, spoken.to_owned(), String::new()),
            Err(wrong) => {
                (Grade::Failure, format!("{}: {}", wrong.reason, wrong.text), remedy(wrong.reason).to_owned())
            }
        };
        Examined { grade, what: format!("{} {}", finding.cluster, finding.url), found, remedy }
    });
    Ok(examined.collect())
}

/// What to do about an endpoint that fails so.
fn remedy(reason: &str) -> &'static str {
    match reason {
        "unresolved" => "look at the name, and at dns.servers or /etc/resolv.conf",
        "unverifiable" => "install ca-certificates, or name its authority in tls.ca of the cluster",
        "connect_refused" => "nothing listens there: start it, or look at the port",
        "connect_timeout" | "connect_failed" => {
            "look for a firewall or a route on the way: `ip route get`, `traceroute -T`"
        }
        "tls_unknown_issuer" => "name its authority in tls.ca of the cluster",
        "tls_wrong_name" => "name what its certificate is for in tls.server_name of the cluster",
        "tls_expired" => "renew its certificate, or look at the clock of this machine",
        "tls_plain_peer" => "write http:// in its url",
        "upstream_speaks_tls" => "write https:// in its url",
        "upstream_not_h2" => "write protocol: http1 in the cluster, or http:// instead of h2c://",
        "upstream_speaks_h2" => "write protocol: h2 in the cluster, or h2c:// instead of http://",
        _ => "`ringgate check --online` and its own log tell more",
    }
}

fn sentence(one: &Examined) -> String {
    let grade = match one.grade {
        Grade::Fine => "ok  ",
        Grade::Warning => "warn",
        Grade::Failure => "FAIL",
    };
    let remedy = if one.remedy.is_empty() { String::new() } else { format!("\n     fix: {}", one.remedy) };
    format!("{grade} {}: {}{remedy}", one.what, one.found)
}
