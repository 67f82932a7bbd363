//! The upgrade: a new process of the binary on disk takes over the listening sockets, and this one drains.
//!
//! Owns what passes between the two. Never: closes a socket whose queue nobody else has, or stops accepting before the
//! new process has done everything that can fail.
//! Invariants: of the sockets that both hold, at most one process accepts, because how their descriptors block is
//! shared; until the new one has said that it serves, this one can go on as if nothing had been.

mod page;
mod passed;
mod predecessor;
mod program;
mod successor;

use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;

use tokio::sync::oneshot;

pub(super) use page::upgrade;
pub(super) use passed::{Inherited, admin_text};
pub(super) use predecessor::{Given, Predecessor};
pub(super) use program::Program;
pub(super) use successor::{HAND_OVER, Successor};

use super::admin::ReloadRequest;
use super::gateway::{Gateway, Trigger};
use super::systemd;

/// The new process, and the epoch that it serves by; or why there is none.
pub(super) type Outcome = Result<Upgraded, String>;

/// Somebody asks for an upgrade and wants to know how it went.
pub(super) type UpgradeRequest = oneshot::Sender<Outcome>;

/// A reload: what asked for it, and who waits for its outcome.
pub(super) type Due = (Trigger, Vec<ReloadRequest>);

/// Who serves after an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Upgraded {
    /// The new process.
    pub(super) pid: u32,
    /// The epoch that it serves by.
    pub(super) epoch: u64,
    /// Whether it has the admin server's socket.
    pub(super) keeps_admin: bool,
}

/// Upgrades of this process.
pub(super) struct Upgrades {
    /// What to start; nothing in a process that is no gateway alone.
    program: Option<Program>,
    /// The admin server's address as configured, and its socket.
    admin: Option<(String, OwnedFd)>,
    under_way: Option<UnderWay>,
}

struct UnderWay {
    starting: Pin<Box<dyn Future<Output = Result<Successor, String>>>>,
    asked: Option<UpgradeRequest>,
    /// What asked for a reload meanwhile: the new process reads the files itself, this one only if that comes to nothing.
    waiting: Option<Due>,
}

impl Upgrades {
    /// For a process of this program, or for one that may not be replaced.
    pub(super) const fn new(program: Option<Program>, admin: Option<(String, OwnedFd)>) -> Self {
        Self { program, admin, under_way: None }
    }

    /// Begins an upgrade, unless one is under way.
    pub(super) fn begin(&mut self, by: &'static str, gateway: &Gateway, asked: Option<UpgradeRequest>) {
        let why = match &self.program {
            Some(program) if self.under_way.is_none() => {
                tracing::info!(by, program = %program.path.display(), "upgrade begins");
                if gateway.rollouts.on_disk().is_some() {
                    tracing::warn!(
                        "the new process serves by the files as they are, which are not what is in force here"
                    );
                }
                let patience = gateway.config().runtime.upgrade_timeout;
                let passing = passed::Passing::new(&gateway.originals, self.admin.as_ref());
                let starting = Box::pin(Successor::start(program.clone(), passing, patience));
                self.under_way = Some(UnderWay { starting, asked, waiting: None });
                return;
            }
            Some(_) => "an upgrade is under way",
            None => "this process cannot be upgraded",
        };
        tracing::warn!(by, why, "upgrade not begun");
        if let Some(asked) = asked {
            drop(asked.send(Err(why.to_owned())));
        }
    }

    /// Is one under way?
    pub(super) const fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// The new process once it could serve, or why it cannot; may be abandoned.
    pub(super) async fn next(&mut self) -> Result<Successor, String> {
        match &mut self.under_way {
            Some(under_way) => under_way.starting.as_mut().await,
            None => std::future::pending().await,
        }
    }

    /// Keeps a reload for later while an upgrade is under way: what the new process was given must stay true. What comes
    /// back is due now.
    pub(super) fn put_off(&mut self, trigger: Trigger, mut requests: Vec<ReloadRequest>) -> Option<Due> {
        let Some(under_way) = &mut self.under_way else { return Some((trigger, requests)) };
        tracing::info!(trigger = trigger.name(), "reload left to the new process");
        under_way.waiting.get_or_insert((trigger, Vec::new())).1.append(&mut requests);
        None
    }

    /// Hands over to the new process, or goes on without it; then a reload may be due.
    pub(super) async fn conclude(
        &mut self,
        gateway: &Gateway,
        started: Result<Successor, String>,
    ) -> Result<Upgraded, Option<Due>> {
        let UnderWay { starting, asked, waiting } = self.under_way.take().expect("it has just started a process");
        drop(starting);
        let outcome = match started {
            Ok(successor) => gateway.hand_over(successor).await,
            Err(why) => Err(why),
        };
        gateway.board.on_upgrade(&outcome);
        match &outcome {
            Ok(Upgraded { pid, epoch, .. }) => {
                systemd::on_replaced(*pid);
                tracing::info!(pid, epoch, "upgraded, the new process serves");
            }
            Err(why) => tracing::error!(why, "upgrade failed, this process goes on serving"),
        }
        if let Some(asked) = asked {
            drop(asked.send(outcome.clone()));
        }
        outcome.map_err(|_why| waiting)
    }
}
