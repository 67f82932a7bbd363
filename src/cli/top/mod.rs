//! `ringgate top`.

mod frame;
mod sample;
mod screen;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use tokio::time::sleep;

use self::frame::frame;
use self::sample::Sample;
use super::admin::{Server, Site};
use super::{Error, say};

/// From one look at the gateway to the next.
const PAUSE: Duration = Duration::from_secs(1);

/// What a running gateway does, second by second: requests and how long they take, what is rejected and why, workers, and
/// clusters with every endpoint. `q` ends it.
#[derive(Debug, clap::Args)]
pub(super) struct Top {
    /// One second as plain text; so it is also where standard output is no terminal.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    server: Server,
}

impl Top {
    pub(super) fn run(self) -> Result<(), Error> {
        let site = self.server.site()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::Runtime(error.to_string()))?;
        let ended = runtime.block_on(async {
            if self.once || !io::stdout().is_terminal() || !io::stdin().is_terminal() {
                let before = look(&site).await?;
                sleep(PAUSE).await;
                let after = look(&site).await?;
                say(frame(&before, &after).join("\n"));
                return Ok(());
            }
            screen::show(&site).await
        });
        // Whoever is being asked may never answer.
        runtime.shutdown_background();
        ended
    }
}

/// Looks at a gateway, on a thread of its own.
async fn look(site: &Site) -> Result<Sample, Error> {
    let site = site.clone();
    let looking = tokio::task::spawn_blocking(move || Sample::of(&site));
    looking.await.unwrap_or_else(|error| Err(Error::Runtime(error.to_string())))
}
