//! `ringgate upgrade`.

use serde_json::Value;

use super::admin::Server;
use super::{Error, say};

/// Has a running gateway start the program that is on disk now, which takes over its listening sockets, and waits for the
/// outcome: exit code 0 once the new process serves, 1 with the reason when it cannot; then the old one goes on serving.
#[derive(Debug, clap::Args)]
pub(super) struct Upgrade {
    #[command(flatten)]
    server: Server,
}

impl Upgrade {
    pub(super) fn run(self) -> Result<(), Error> {
        let answer = self.server.order("/upgrade")?;
        let told: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        if answer.status == 200 {
            say(format!("upgraded, process {} serves, epoch {}", told["pid"], told["epoch"]));
            return Ok(());
        }
        let why = told["error"].as_str().unwrap_or(answer.body.trim());
        Err(Error::Runtime(format!("not upgraded, answered with {}: {why}", answer.status)))
    }
}
