//! `ringgate reload`.

use serde_json::Value;

use super::admin::Server;
use super::{Error, rollout, say};

/// Has a running gateway read its configuration again, and waits for the outcome: exit code 0 once every core serves by it, 3
/// with the whole report when it was refused, which changes nothing. Where the configuration proves itself first (`reload.stage`),
/// the outcome is the end of its trial: 0 when it was promoted, 1 with the reason when it was not.
#[derive(Debug, clap::Args)]
pub(super) struct Reload {
    /// Do not wait for the end of a trial.
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    server: Server,
}

impl Reload {
    pub(super) fn run(self) -> Result<(), Error> {
        let answer = self.server.order("/reload")?;
        let told: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        match (answer.status, told["error"].as_str()) {
            (200, _) => {
                let Some(number) = told["rollout"].as_u64() else {
                    say(format!("configuration published, epoch {}", told["epoch"]));
                    return Ok(());
                };
                say(format!("configuration on trial, trial {number}, epoch {}", told["epoch"]));
                if self.no_wait { Ok(()) } else { rollout::wait_for(&self.server, number) }
            }
            (400, Some(report)) => Err(Error::Config(report.to_owned())),
            (status, error) => {
                Err(Error::Runtime(format!("answered with {status}: {}", error.unwrap_or(answer.body.trim()))))
            }
        }
    }
}
