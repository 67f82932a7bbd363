//! The one timeout of a probe, shared by its steps.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::Sleep;

use super::trouble::{Phase, Trouble};

/// The end of a probe's time.
pub(super) struct Deadline {
    after: Duration,
    end: Pin<Box<Sleep>>,
}

impl Deadline {
    /// `after` from now.
    pub(super) fn new(after: Duration) -> Self {
        Self { after, end: Box::pin(tokio::time::sleep(after)) }
    }

    /// What `step` gives.
    ///
    /// # Errors
    /// [`Trouble::TimedOut`] in `phase`, and the step is given up.
    pub(super) async fn before<T>(&mut self, phase: Phase, step: impl Future<Output = T>) -> Result<T, Trouble> {
        tokio::select! {
            biased;
            done = step => Ok(done),
            () = &mut self.end => Err(Trouble::TimedOut { after: self.after, phase }),
        }
    }
}
