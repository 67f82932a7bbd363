//! The process that is to replace this one.

use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::time::Duration;

use tokio::runtime::Handle;

use super::passed::{Passing, VARIABLE};
use super::predecessor::{Given, Talk, Word};
use super::program::Program;

/// Longest wait for the new process to accept once it was told to; it has nothing else to do any more.
const TAKE_OVER: Duration = Duration::from_secs(5);
/// Longest wait for the new process to serve by what it was given; this one accepts meanwhile.
const INHERITANCE: Duration = Duration::from_secs(10);
/// Longest wait for the exit status of a process that said no more.
const STATUS: Duration = Duration::from_secs(2);
/// Longest time between a new process that is ready and one that serves.
pub(in crate::control) const HAND_OVER: Duration = TAKE_OVER.saturating_add(INHERITANCE).saturating_add(STATUS);
/// Pause between two looks at it.
const STATUS_POLL: Duration = Duration::from_millis(5);
/// Variables that speak of one process by its number, or of sockets that this one has taken.
const PERSONAL: [&str; 4] = ["WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// A new process that could serve; dropped it is killed, unless it has taken over.
#[derive(Debug)]
pub(in crate::control) struct Successor {
    // Taken by its end.
    child: Option<Child>,
    talk: Talk,
    /// Listeners of this process that the new one goes on with.
    pub(in crate::control) listeners: Vec<String>,
    /// Whether it has the admin server's socket.
    pub(in crate::control) keeps_admin: bool,
}

impl Successor {
    /// Starts the program and waits until it is ready to accept.
    ///
    /// # Errors
    /// Why it cannot serve, or that it did not say so in time; then it is gone.
    pub(super) async fn start(program: Program, passing: Passing, patience: Duration) -> Result<Self, String> {
        let mut successor = Self::spawn(&program, passing)
            .map_err(|error| format!("{} cannot be started: {error}", program.path.display()))?;
        match successor.hear_within(patience).await? {
            Word::Ready { listeners, admin } => {
                successor.listeners = listeners;
                successor.keeps_admin = admin;
                Ok(successor)
            }
            word @ (Word::Given(_) | Word::Inherited | Word::Go | Word::Serving { .. } | Word::Failed { .. }) => {
                Err(unasked(&word))
            }
        }
    }

    fn spawn(program: &Program, mut passing: Passing) -> io::Result<Self> {
        let (near, far) = UnixStream::pair()?;
        let mut command = Command::new(&program.path);
        command.arg0(&program.name).args(&program.arguments).env(VARIABLE, passing.open(&far)?);
        for variable in PERSONAL {
            command.env_remove(variable);
        }
        let child = Some(command.spawn()?);
        Ok(Self { child, talk: Talk::new(near)?, listeners: Vec::new(), keeps_admin: false })
    }

    /// Has it serve by what this process was given, while this one accepts: that may be another compilation of everything.
    ///
    /// # Errors
    /// It cannot.
    pub(in crate::control) async fn inherit(&mut self, given: Given) -> Result<(), String> {
        if given == Given::default() {
            return Ok(());
        }
        let told = self.talk.say(&Word::Given(given)).await;
        told.map_err(|error| format!("the new process cannot be told what it inherits: {error}"))?;
        match self.hear_within(INHERITANCE).await? {
            Word::Inherited => Ok(()),
            word @ (Word::Ready { .. } | Word::Given(_) | Word::Go | Word::Serving { .. } | Word::Failed { .. }) => {
                Err(unasked(&word))
            }
        }
    }

    /// Has it accept, now that this process does not; the epoch that it serves by.
    ///
    /// # Errors
    /// It cannot.
    pub(in crate::control) async fn take_over(&mut self) -> Result<u64, String> {
        let told = self.talk.say(&Word::Go).await;
        told.map_err(|error| format!("the new process cannot be told to accept: {error}"))?;
        match self.hear_within(TAKE_OVER).await? {
            Word::Serving { epoch } => Ok(epoch),
            word @ (Word::Ready { .. } | Word::Given(_) | Word::Inherited | Word::Go | Word::Failed { .. }) => {
                Err(unasked(&word))
            }
        }
    }

    /// Lets it live on; its number.
    pub(in crate::control) fn release(mut self) -> u32 {
        self.child.take().map_or(0, |child| child.id())
    }

    async fn hear_within(&mut self, patience: Duration) -> Result<Word, String> {
        match tokio::time::timeout(patience, self.talk.hear()).await {
            Ok(Ok(Some(Word::Failed { why }))) => Err(why),
            Ok(Ok(Some(word))) => Ok(word),
            Ok(Ok(None)) => Err(self.last_words().await),
            Ok(Err(error)) => Err(format!("the new process was not understood: {error}")),
            Err(_elapsed) => Err(format!("the new process was not ready within {}s", patience.as_secs_f64())),
        }
    }

    /// How a process ended that says no more.
    async fn last_words(&mut self) -> String {
        let status = async {
            loop {
                if let Some(Ok(Some(status))) = self.child.as_mut().map(Child::try_wait) {
                    return status;
                }
                tokio::time::sleep(STATUS_POLL).await;
            }
        };
        let status = tokio::time::timeout(STATUS, status).await;
        let ended = status.map(|status| format!("the new process ended: {status}"));
        ended.unwrap_or_else(|_elapsed| "the new process says no more".to_owned())
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        drop(child.kill());
        // Its end takes a moment that nobody here has to wait for.
        if let Ok(runtime) = Handle::try_current() {
            drop(runtime.spawn_blocking(move || child.wait()));
        }
    }
}

fn unasked(word: &Word) -> String {
    format!("the new process said {word:?}, which was not its turn to say")
}
