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
    let why: String = first_error(report).chars().take(SHOWN_CHARS).collect();
    let status = format!("serving by the configuration before; the files were refused: {why}");
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// The first line of what a report refuses; it may begin with what it only warns of.
fn first_error(report: &str) -> &str {
    let error = report.lines().find(|line| line.starts_with("error"));
    error.or_else(|| report.lines().next()).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_by_its_first_error() {
        let report = "warning: a.yaml:5:1: old\n  |\nerror: a.yaml:90:3: new\nerror: a.yaml:91:3: another\n";
        assert_eq!(first_error(report), "error: a.yaml:90:3: new");
        assert_eq!(first_error("the name app.example has no address\nmore"), "the name app.example has no address");
        assert_eq!(first_error(""), "");
    }
}
