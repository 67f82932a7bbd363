//! `ringgate health`.

use std::path::PathBuf;
use std::time::Duration;

use super::Error;
use super::admin::{Question, Target, ask, wrong_url};

/// Exit code 0 when the answer is 200, else 1 with the reason.
#[derive(Debug, clap::Args)]
pub(super) struct Health {
    /// The page to ask: `http://HOST:PORT/PATH`, or `unix:/path/of/the.sock`. Default: `/health` of the admin server on
    /// port `CONFIG_PORT` (9090) of this machine.
    #[arg(long, conflicts_with = "config")]
    url: Option<String>,
    /// Ask the admin server of this configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Seconds to wait.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    #[arg(skip = std::env::var("CONFIG_PORT").ok())]
    port: Option<String>,
}

impl Health {
    pub(super) fn run(self) -> Result<(), Error> {
        let target = self.target()?;
        let asked = ask(&target, Question::default(), Duration::from_secs(self.timeout));
        let status = asked.map_err(|error| Error::Runtime(format!("{target}: {error}")))?.status;
        if status == 200 { Ok(()) } else { Err(Error::Runtime(format!("answered with {status}"))) }
    }

    fn target(&self) -> Result<Target, Error> {
        if let Some(file) = &self.config {
            return Ok(Target::of_config(file, "/health")?.0);
        }
        let default = || format!("http://127.0.0.1:{}", self.port.as_deref().unwrap_or("9090"));
        let url = self.url.clone().unwrap_or_else(default);
        Target::parse(&url, "/health").ok_or_else(|| wrong_url(&url))
    }
}
