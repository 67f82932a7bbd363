//! `ringgate reload`.

use hyper::Method;
use serde_json::Value;

use super::admin::Server;
use super::{Error, say};

/// Has a running gateway read its configuration again, and waits for the outcome: exit code 0 once every core serves by it, 3
/// with the whole report when it was refused, which changes nothing.
#[derive(Debug, clap::Args)]
pub(super) struct Reload {
    #[command(flatten)]
    server: Server,
}

impl Reload {
    pub(super) fn run(self) -> Result<(), Error> {
        let answer = self.server.ask(Method::POST, "/reload", None)?;
        let told: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        match (answer.status, told["error"].as_str()) {
            (200, _) => {
                say(format!("configuration published, epoch {}", told["epoch"]));
                Ok(())
            }
            (400, Some(report)) => Err(Error::Config(report.to_owned())),
            (status, error) => {
                Err(Error::Runtime(format!("answered with {status}: {}", error.unwrap_or(answer.body.trim()))))
            }
        }
    }
}
