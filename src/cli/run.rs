//! `ringgate run`.

use std::path::PathBuf;

use super::Error;
use crate::control::{self, Failure, Options, Source, Stop};

/// Without a file the environment makes a gateway: `LISTEN_ADDR` (`:8080`), `UPSTREAM_URL` (required) and `CONFIG_PORT`
/// (9090, the admin server). `RINGGATE_LOG` filters the process log on standard error, for example `debug`.
#[derive(Debug, clap::Args)]
pub(super) struct Run {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Run {
    pub(super) fn run(self) -> Result<(), Error> {
        let source = self.config.as_deref().map_or_else(Source::environment, Source::file);
        control::run(Options { source, on_started: None, stop: Stop::default(), is_whole_process: true })
            .map_err(Error::from)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Config(report) => Self::Config(report),
            Failure::Runtime(_) | Failure::Interrupted => Self::Runtime(failure.to_string()),
        }
    }
}
