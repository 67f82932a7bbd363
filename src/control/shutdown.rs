//! The end: stop accepting, let exchanges finish, then close whatever is left.

use std::time::Duration;

use super::gateway::Gateway;
use super::signals::Signals;
use super::sockets::Originals;
use super::{Failure, Stop, Stopped, systemd};
use crate::worker::Message;

/// Wait for workers that were told to close everything.
const STOP_PATIENCE: Duration = Duration::from_secs(2);
/// Wait for the last lines of the access log.
const LOG_PATIENCE: Duration = Duration::from_secs(2);

/// Wait for the last spans to be taken.
const TRACE_PATIENCE: Duration = Duration::from_secs(2);

/// How the wait for exchanges in flight ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drained {
    /// All of them finished.
    Whole,
    /// The grace period was over.
    Late,
    /// A second request to end.
    Interrupted,
}

/// Ends a gateway; the admin server answers until this returns.
///
/// # Errors
/// A worker had ended by itself, or a second signal cut the drain short.
pub(super) async fn shut_down(
    mut gateway: Gateway,
    stopped: Stopped,
    signals: &mut Signals,
    stop: &Stop,
) -> Result<(), Failure> {
    let grace = gateway.config().runtime.shutdown_grace;
    let (connections, grace_seconds) = (gateway.board.load().connections, grace.as_secs_f64());
    match stopped {
        Stopped::Asked(reason) => {
            systemd::on_stopping();
            tracing::info!(reason, connections, grace_seconds, "shutting down gracefully");
        }
        Stopped::WorkerDied => {
            systemd::on_stopping();
            tracing::error!("a worker ended by itself, shutting down");
        }
        // To systemd the gateway has not stopped.
        Stopped::Replaced { .. } => tracing::info!(connections, grace_seconds, "replaced, finishing what is in flight"),
    }
    gateway.board.on_draining();
    // Of what little time there is, most is for requests in flight.
    let rest = gateway.config().runtime.idle_grace.min(grace / 2);
    let rest_ms = u64::try_from(rest.as_millis()).unwrap_or(u64::MAX);
    gateway.crew.tell(|| Message::Drain { rest_ms });
    // Whoever waits for one, or orders another, is told that it will not come about.
    drop(gateway.chores);
    // The addresses are to be free once the workers have closed theirs.
    gateway.originals = Originals::default();
    let drained = tokio::select! {
        () = gateway.crew.ended() => Drained::Whole,
        () = tokio::time::sleep(grace) => Drained::Late,
        _ = signals.next_stop() => Drained::Interrupted,
        () = stop.0.notified() => Drained::Interrupted,
    };
    if drained != Drained::Whole {
        tracing::warn!(cut = gateway.board.load().connections, why = ?drained, "closing the connections that are left");
        gateway.crew.tell(|| Message::Stop);
        drop(tokio::time::timeout(STOP_PATIENCE, gateway.crew.ended()).await);
    }
    let died = gateway.crew.because("a worker ended by itself");
    if !gateway.writer.finish(LOG_PATIENCE) {
        tracing::warn!("the output of the access log is blocked, its last lines are lost");
    }
    if !gateway.traces.finish(TRACE_PATIENCE).await {
        tracing::warn!("the collector of traces does not answer, the last spans are lost");
    }
    tracing::info!("gateway stopped");
    match (stopped, drained) {
        (Stopped::WorkerDied, _) => Err(Failure::Runtime(died)),
        (Stopped::Asked(_) | Stopped::Replaced { .. }, Drained::Interrupted) => Err(Failure::Interrupted),
        (Stopped::Asked(_) | Stopped::Replaced { .. }, Drained::Whole | Drained::Late) => Ok(()),
    }
}
