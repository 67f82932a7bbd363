//! Worker: one pinned thread and all it owns.
//!
//! Owns: the reactor, its listeners and accept loops, the shard its exchanges use, its mailbox, its
//! housekeeping tick and its drain.
//! Never: touches what another worker owns, or waits for one; a connection that another has more
//! room for goes to it by mailbox. Never reaches control: orders flow down by mailbox, figures flow
//! up by single-writer cells and a ring.
//! Invariants: an accept is never raced; a panic ends one connection; every accepted connection
//! holds one credit of the process and one place on one worker from accept to close.

mod accept;
mod credit;
mod loads;
mod mailbox;
mod run;

use std::io;
use std::sync::Arc;
use std::thread;

use crate::cluster::Fleet;
use crate::exchange::Failure;
use crate::net::{Driver, Sandbox};
use crate::snapshot::{Entrance, Reader};
use crate::telemetry::{LogRing, SpanRing, WorkerCounters};

pub use crate::exchange::{Ask, Call, PasswordAsk, Question, StoreAsk};
pub use credit::{Credit, Taken};
pub use loads::{Loads, Place};
pub use mailbox::{Mailbox, Message, Peers, crew};

/// Everything a worker is given at its start.
pub struct WorkerSpec {
    /// Its number, from 0.
    pub index: usize,
    /// The CPU it is pinned to, if any.
    pub cpu: Option<usize>,
    /// What drives its input and output.
    pub driver: Driver,
    /// What it gives up, as a trial did, if anything; it ends where it cannot do the same.
    pub sandbox: Option<Sandbox>,
    /// What it counts.
    pub counters: Arc<WorkerCounters>,
    /// Where its access-log records go.
    pub log: LogRing,
    /// Where its exchanges go as parts of traces.
    pub spans: SpanRing,
    /// The snapshots, by epoch.
    pub snapshots: Reader,
    /// The endpoints as all cores see them.
    pub fleet: Arc<Fleet>,
    /// Its listening sockets, each with where its connections come in.
    pub listeners: Vec<(Entrance, std::net::TcpListener)>,
    /// Connections the whole process may hold.
    pub max_connections: Arc<Credit>,
    /// Connections that every worker of the process holds.
    pub loads: Arc<Loads>,
    /// Asks the control side.
    pub ask: Ask,
}

/// A worker as control sees it.
pub struct WorkerHandle {
    sender: Arc<mailbox::Sender>,
    thread: thread::JoinHandle<io::Result<()>>,
}

impl WorkerHandle {
    /// Starts a worker on a thread of its own; `mailbox` is the one of its number in its [`crew`].
    ///
    /// # Errors
    /// The thread cannot be created.
    pub fn spawn(spec: WorkerSpec, mailbox: Mailbox) -> io::Result<Self> {
        let Mailbox { sender, receiver, peers } = mailbox;
        let thread = thread::Builder::new()
            .name(format!("worker-{}", spec.index))
            .spawn(move || run::run(spec, receiver, peers))?;
        Ok(Self { sender, thread })
    }

    /// Puts a message into the mailbox and wakes the worker; false when the mailbox is full or the worker ended.
    #[must_use]
    pub fn send(&self, message: Message) -> bool {
        !self.is_finished() && self.sender.order(message)
    }

    /// Has the thread ended?
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the thread; call it once [`WorkerHandle::is_finished`].
    ///
    /// # Errors
    /// Why it ended by itself.
    pub fn join(self) -> Result<(), String> {
        match self.thread.join() {
            Ok(ended) => ended.map_err(|error| error.to_string()),
            Err(_) => Err("it panicked".to_owned()),
        }
    }
}

/// The reason codes of local replies and upstream errors, by the index of their counters.
#[must_use]
pub fn reasons() -> Vec<&'static str> {
    Failure::KINDS.iter().map(|kind| kind.verdict().label).collect()
}
