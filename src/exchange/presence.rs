//! Is the client still there, while others are waited for (requirement B12)?

use std::future::Future;
use std::pin::Pin;

use super::failure::Failure;
use super::held::Exchange;
use super::local::cannot_tell;
use super::wire::write_all;
use crate::http1::Version;
use crate::limits;
use crate::net::{Env, Expired, Pending, Stream};

/// How often a waiting exchange looks at its deadlines and its client.
pub(super) const LOOK_MS: u64 = 250;

/// What is known of the client's direction while it waits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Watch {
    /// Open as far as we know.
    Open,
    /// Ended, or with a further request in it: only errors are of interest.
    Closed,
}

impl<E: Env> Exchange<'_, E> {
    /// Waits for what comes before the request's body is read or after it was, unless the client turns out to be gone.
    pub(super) async fn watching<F: Future>(&self, mut work: Pin<&mut F>) -> Result<F::Output, Failure> {
        loop {
            // Free while nothing is read from the client.
            self.client_alarm.set_in(limits::CLIENT_WATCH_MS);
            match self.client_alarm.race(work.as_mut()).await {
                Ok(output) => return Ok(output),
                Err(Expired) => drop(self.look_at_client().await?),
            }
        }
    }

    /// Is the client known to be gone, where nothing may be written to find out? It is if it reset its connection or its
    /// stream; an end is a half-close, unless some of the request `is_missing` (RFC 9112 section 8).
    pub(super) fn has_left(&self, is_missing: bool) -> bool {
        match self.client.pending() {
            Pending::Broken => true,
            Pending::End => is_missing,
            Pending::Nothing | Pending::Bytes => false,
        }
    }

    /// Is the client still there? An end of its stream may be a half-close, after which it waits for its
    /// response, or a full close. Only a write tells: an unasked 100 (Continue) is legal and ignored
    /// (RFC 9110 section 15.2.1), and a client that is gone answers it with a reset.
    pub(super) async fn look_at_client(&self) -> Result<Watch, Failure> {
        match self.client.pending() {
            Pending::Broken => Err(Failure::ClientAbort),
            Pending::Nothing => Ok(Watch::Open),
            // A pipelined request or a body: nothing more can be learnt without reading it.
            Pending::Bytes => Ok(Watch::Closed),
            Pending::End => {
                self.probe_client().await?;
                Ok(Watch::Closed)
            }
        }
    }

    /// Once, and never to a 1.0 client (RFC 9110 section 15.2).
    async fn probe_client(&self) -> Result<(), Failure> {
        if self.head.version() == Version::Http10 || self.tally.is_probed.replace(true) {
            return Ok(());
        }
        let mut probe = self.shard.buffers.lend();
        probe.extend(b"HTTP/1.1 100 Continue\r\n\r\n");
        self.tally.committed.set(true);
        drop(write_all(self.client, probe, self.client_alarm, || LOOK_MS).await.map_err(cannot_tell)?);
        Ok(())
    }
}
