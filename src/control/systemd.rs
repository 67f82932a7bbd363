//! What systemd is told of this process, and the sockets that it passes; nothing where it is not systemd that started it.

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

use sd_notify::NotifyState;

use super::board::Board;

/// Characters of a report that `systemctl status` shows.
const SHOWN_CHARS: usize = 300;

/// The gateway serves, or goes on serving by what it has while its files are refused: then the status says why, as systemd
/// takes every reload that has ended for a success.
pub(super) fn on_ready(refusal: Option<&str>) {
    let Some(report) = refusal else { return tell(&[NotifyState::Ready, NotifyState::Status("serving")]) };
    let why: String = report.lines().next().unwrap_or_default().chars().take(SHOWN_CHARS).collect();
    let status = format!("serving by the configuration before; the files were refused: {why}");
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// The configuration is read again; [`on_ready`] follows, whatever comes of it.
pub(super) fn on_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "systemd is not told of a reload"),
    }
}

/// The gateway drains.
pub(super) fn on_stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Another process is the gateway now.
pub(super) fn on_replaced(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, ?states, "systemd cannot be told");
    }
}

/// Tells systemd that the workers live, twice in each span that it allows, but only if all of them have ticked since.
pub(super) async fn watch(board: Arc<Board>) {
    let Some(span) = sd_notify::watchdog_enabled().filter(|span| !span.is_zero()) else { return };
    let mut last = Vec::new();
    loop {
        tokio::time::sleep(span / 2).await;
        if board.is_draining() {
            return;
        }
        if board.ticked_since(&mut last) > 0 {
            tell(&[NotifyState::Watchdog]);
        } else {
            tracing::error!("a worker does not tick, systemd is not told that it lives");
        }
    }
}

/// The sockets that systemd passed to this process, with their names.
///
/// # Errors
/// Its variables make no sense.
pub(super) fn passed() -> io::Result<Vec<(RawFd, String)>> {
    Ok(sd_notify::listen_fds_with_names()?.collect())
}
