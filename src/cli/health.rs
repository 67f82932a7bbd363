//! `ringgate health`.

use std::path::PathBuf;
use std::time::Duration;

use super::Error;
use super::admin::{Found, Question, Target, TlsFiles, ask, default_port, wrong_url};

/// Exit code 0 when the answer is 200, else 1 with the reason.
#[derive(Debug, clap::Args)]
pub(super) struct Health {
    /// The page to ask: `http://HOST:PORT/PATH`, the same with `https`, or `unix:/path/of/the.sock`. Default: `/health` of the admin server on
    /// port `CONFIG_PORT` (9090) of this machine.
    #[arg(long, conflicts_with = "config")]
    url: Option<String>,
    /// Ask the admin server of this configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    tls: TlsFiles,
    /// Seconds to wait.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    #[arg(skip = std::env::var("CONFIG_PORT").ok())]
    port: Option<String>,
}

impl Health {
    pub(super) fn run(self) -> Result<(), Error> {
        let Found { target, tls, .. } = self.find()?;
        let secured = target.secured_by(&self.tls, tls.as_ref())?;
        let question = Question { secured, ..Question::default() };
        let asked = ask(&target, question, Duration::from_secs(self.timeout));
        let status = asked.map_err(|error| Error::Runtime(format!("{target}: {error}")))?.status;
        if status == 200 { Ok(()) } else { Err(Error::Runtime(format!("answered with {status}"))) }
    }

    fn find(&self) -> Result<Found, Error> {
        if let Some(file) = &self.config {
            return Target::of_config(file, "/health");
        }
        let port = default_port(self.port.as_deref());
        let url = self.url.clone().unwrap_or_else(|| format!("127.0.0.1:{port}"));
        let target = Target::parse(&url, "/health", port, &self.tls).ok_or_else(|| wrong_url(&url))?;
        Ok(Found { target, token: None, tls: None })
    }
}
