//! The control plane: one thread beside the workers that decides, and never touches a request.
//!
//! Owns: loading and publishing configurations, sockets before they are handed out, signals, the watch on files, the
//! admin server, the access-log thread, start and shutdown.
//! Never: serves a client, runs on a worker's thread, makes a worker wait.
//! Invariants: a configuration is published whole or not at all; a refused one changes nothing but the report;
//! everything a peer of the admin server may see is on the board.

#![allow(clippy::disallowed_types, reason = "locks of the control side are never taken by a worker")]

mod admin;
mod board;
mod cgroup;
mod changes;
mod chores;
mod cpus;
mod crew;
mod debounce;
mod disk;
mod doctor;
mod driver;
mod gateway;
mod journal;
mod keys;
mod latency;
mod log_writer;
mod memory;
mod names;
mod online;
mod outbound;
mod overview;
mod passwords;
mod policy;
mod privileges;
mod probes;
mod pulse;
mod put;
mod rollout;
mod roots;
mod routes;
mod sentinel;
mod series;
mod shutdown;
mod sides;
mod signals;
mod sockets;
mod source;
mod start;
mod store;
mod systemd;
mod tables;
mod tiers;
mod traces;
mod upgrade;
mod watch;
mod weights;
mod written;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use admin::{AdminServer, Orders, ReloadRequest};
use chores::{Chore, Chores};
use gateway::{Gateway, Trigger};
use put::{PutRequest, Refused};
use signals::{Signals, Wish};
use upgrade::{Due, Inherited, Program, Successor, UpgradeRequest, Upgrades};

use crate::config::Runtime;
use crate::net;
pub use doctor::{Examined, Grade, examine};
pub use online::{Finding, Wrong, check_online};
pub use source::Source;

/// Longest time until a reload is told how it went: names, first keys and the file of the log are waited for, then the workers.
pub const RELOAD_LASTS: Duration = names::PATIENCE
    .saturating_add(keys::PATIENCE)
    .saturating_add(log_writer::OPENING)
    .saturating_add(gateway::ADOPTION);
/// The same for an upgrade, unless `runtime.upgrade_timeout` says otherwise; the workers stop to accept in between.
pub const UPGRADE_LASTS: Duration =
    Runtime::UPGRADE_TIMEOUT.saturating_add(upgrade::HAND_OVER).saturating_add(gateway::ADOPTION);
/// Pause between two rounds of housekeeping.
const HOUSEKEEPING: Duration = Duration::from_millis(100);
/// Orders of the admin server that are not obeyed yet.
const PENDING_ORDERS: usize = 64;

/// How to run a gateway.
pub struct Options {
    /// Where its configuration comes from.
    pub source: Source,
    /// Told once it serves.
    pub on_started: Option<Box<dyn FnOnce(Started) + Send>>,
    /// Ends it as SIGTERM does.
    pub stop: Stop,
    /// Whether this process is the gateway and nothing else: it may have sockets of another, and be replaced by the program
    /// on disk, which is started with the same arguments.
    pub is_whole_process: bool,
}

/// What a gateway tells when it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Listeners by name, with the addresses bound.
    pub listeners: Vec<(String, SocketAddr)>,
    /// The admin server: an address, or `unix:` and a path.
    pub admin: Option<String>,
}

/// Ends a gateway from another thread.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Notify>);

impl Stop {
    /// Asks for a graceful end; a second call ends at once.
    pub fn stop(&self) {
        self.0.notify_one();
    }
}

/// Why a gateway did not start, or did not end as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The configuration is invalid: its whole report.
    Config(String),
    /// This machine refuses something: what, and what to do.
    Runtime(String),
    /// A second signal cut the shutdown short.
    Interrupted,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(report) | Self::Runtime(report) => f.write_str(report),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for Failure {}

/// Runs a gateway on this thread and its workers until it is told to end.
///
/// # Errors
/// Why it did not start, or that a worker ended or a second signal cut the shutdown short.
pub fn run(options: Options) -> Result<(), Failure> {
    // Before there are other threads, which begin with the rights of this one.
    if options.is_whole_process {
        let given_up = privileges::take_no_more();
        given_up.map_err(|error| Failure::Runtime(format!("cannot forgo further rights: {error}")))?;
    }
    journal::start().map_err(|error| Failure::Runtime(format!("cannot start the thread of the log: {error}")))?;
    let ended = run_logged(options);
    journal::finish();
    ended
}

fn run_logged(options: Options) -> Result<(), Failure> {
    // Before anything is opened.
    let inherited = if options.is_whole_process { Inherited::take() } else { Ok(Inherited::default()) };
    let inherited = inherited.map_err(Failure::Runtime)?;
    let program = if options.is_whole_process { Program::of_this_process() } else { None };
    net::map_buffers_apart();
    // A change of the live policy is to be in force within milliseconds, however busy the workers are.
    if let Err(error) = net::be_prompt() {
        tracing::info!(%error, "the control thread may not be prompt: on busy cores changes take longer to be in force");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Runtime(format!("cannot start the control thread: {error}")))?;
    let ended = runtime.block_on(serve(options, inherited, program));
    // A file may still be being read on a thread of its own.
    runtime.shutdown_background();
    ended
}

async fn serve(options: Options, inherited: Inherited, program: Option<Program>) -> Result<(), Failure> {
    let mut signals = Signals::new().map_err(|error| Failure::Runtime(format!("cannot catch signals: {error}")))?;
    let (orders, chores, mut inbox) = Inbox::new();
    let replaces = inherited.predecessor.is_some();
    let (mut gateway, mut admin) = Box::pin(start::start(options.source, orders, chores, inherited)).await?;
    // It has been told that this process serves, and others rely on it: from here on nothing fails for want of a descriptor.
    announce(&gateway, options.on_started);
    let mut upgrades = upgrades(&gateway, admin.as_mut(), program);
    if replaces {
        // The files may have changed between their being read and the end of the other process's watch, and the log's may have
        // been moved away.
        gateway.reopen_log();
        drop(gateway.reload(Trigger::Files).await);
    }
    let stopped = control_loop(&mut gateway, &mut signals, &options.stop, &mut inbox, &mut upgrades).await;
    // Who orders something from here on is told so, and does not wait; the rest ends with the gateway's chores.
    drop(inbox);
    // A process that was to replace this one ends with it.
    drop(upgrades);
    gateway.probes.stop();
    if let (Some(admin), Stopped::Replaced { keeps_admin }) = (&mut admin, stopped) {
        admin.retire(keeps_admin);
    }
    let ended = shutdown::shut_down(gateway, stopped, &mut signals, &options.stop).await;
    if let Some(mut admin) = admin {
        if matches!(stopped, Stopped::Replaced { .. }) {
            admin.retired().await;
        }
        admin.stop();
    }
    ended
}

fn upgrades(gateway: &Gateway, admin: Option<&mut AdminServer>, program: Option<Program>) -> Upgrades {
    let listener = admin.and_then(AdminServer::take_listener);
    Upgrades::new(program, upgrade::admin_text(&gateway.config().admin.listen).zip(listener))
}

fn announce(gateway: &Gateway, on_started: Option<Box<dyn FnOnce(Started) + Send>>) {
    let started = gateway.board.started();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        pid = std::process::id(),
        workers = gateway.crew.len(),
        io = gateway.board.driver_name(),
        listeners = started.listeners.iter().map(|(name, at)| format!("{name}={at}")).collect::<Vec<_>>().join(" "),
        admin = started.admin.as_deref().unwrap_or("off"),
        "gateway starting"
    );
    if let Some(tell) = on_started {
        tell(started);
    }
}

/// Why the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopped {
    /// A signal by its name, or the owner's request.
    Asked(&'static str),
    /// A worker ended by itself.
    WorkerDied,
    /// Another process took over, with the admin server's socket or without it.
    Replaced { keeps_admin: bool },
}

/// Orders of the admin server that come one after the other.
struct Inbox {
    reloads: mpsc::Receiver<ReloadRequest>,
    upgrades: mpsc::Receiver<UpgradeRequest>,
    puts: mpsc::Receiver<PutRequest>,
}

impl Inbox {
    fn new() -> (Orders, Chores, Self) {
        let (to_reload, reloads) = mpsc::channel(PENDING_ORDERS);
        let (to_policies, policies) = mpsc::channel(PENDING_ORDERS);
        let (to_weights, weights) = mpsc::channel(PENDING_ORDERS);
        let (to_upgrade, upgrades) = mpsc::channel(PENDING_ORDERS);
        let (to_put, puts) = mpsc::channel(PENDING_ORDERS);
        let (to_rollouts, rollouts) = mpsc::channel(PENDING_ORDERS);
        let orders = Orders {
            reloads: to_reload,
            policies: to_policies,
            weights: to_weights,
            upgrades: to_upgrade,
            puts: to_put,
            rollouts: to_rollouts,
        };
        (orders, Chores { policies, weights, rollouts }, Self { reloads, upgrades, puts })
    }
}

enum Event {
    Wish(Wish),
    Reload(ReloadRequest),
    Chore(Chore),
    Upgrade(UpgradeRequest),
    Put(PutRequest),
    /// A process that is to replace this one is ready, or there is none.
    Successor(Result<Successor, String>),
    Files,
    Housekeeping,
}

async fn control_loop(
    gateway: &mut Gateway,
    signals: &mut Signals,
    stop: &Stop,
    inbox: &mut Inbox,
    upgrades: &mut Upgrades,
) -> Stopped {
    let mut bursts = watch::bursts(gateway.watch.as_ref());
    let mut housekeeping = chores::rounds();
    loop {
        let event = tokio::select! {
            wish = signals.next() => Event::Wish(wish),
            () = stop.0.notified() => return Stopped::Asked("stop"),
            Some(request) = inbox.reloads.recv() => Event::Reload(request),
            Some(request) = inbox.upgrades.recv() => Event::Upgrade(request),
            Some(request) = inbox.puts.recv() => Event::Put(request),
            started = upgrades.next() => Event::Successor(started),
            Some(()) = bursts.recv() => Event::Files,
            chore = gateway.next_chore() => Event::Chore(chore),
            _ = housekeeping.tick() => Event::Housekeeping,
        };
        let due = match event {
            Event::Wish(Wish::Stop(name)) => return Stopped::Asked(name),
            Event::Wish(Wish::Reload(name)) => upgrades.put_off(Trigger::Signal(name), Vec::new()),
            Event::Wish(Wish::Reopen) => {
                gateway.reopen_log();
                upgrades.put_off(Trigger::Reopen, Vec::new())
            }
            Event::Wish(Wish::Upgrade(name)) => {
                upgrades.begin(name, gateway, None);
                None
            }
            Event::Upgrade(request) => {
                upgrades.begin("admin", gateway, Some(request));
                None
            }
            Event::Put(request) => match put(gateway, signals, stop, upgrades, request).await {
                Some(stopped) => return stopped,
                None => None,
            },
            Event::Successor(started) => match upgrades.conclude(gateway, started).await {
                Ok(upgraded) => return Stopped::Replaced { keeps_admin: upgraded.keeps_admin },
                Err(due) => due,
            },
            Event::Reload(request) => upgrades.put_off(Trigger::Admin, pending(request, inbox)),
            Event::Files => upgrades.put_off(Trigger::Files, Vec::new()),
            Event::Chore(chore) => {
                see_to(chore, gateway, upgrades).await;
                None
            }
            Event::Housekeeping => {
                gateway.keep_house().await;
                // What a new process was given must stay true.
                if !upgrades.is_under_way() {
                    gateway.look_at_rollout().await;
                }
                if gateway.crew.any_finished() {
                    return Stopped::WorkerDied;
                }
                None
            }
        };
        if let Some(due) = due
            && let Some(stopped) = reload(gateway, signals, stop, due).await
        {
            return stopped;
        }
    }
}

/// Does it, unless it decides about a trial while an upgrade is under way: what the new process was given must stay true.
async fn see_to(chore: Chore, gateway: &mut Gateway, upgrades: &Upgrades) {
    match chore {
        Chore::Conclude((_, reply)) if upgrades.is_under_way() => {
            drop(reply.send(Err("an upgrade is under way".to_owned())));
        }
        chore @ (Chore::Post(_) | Chore::Weigh(_) | Chore::Conclude(_) | Chore::Policy(_) | Chore::News(_)) => {
            gateway.see_to(chore).await;
        }
    }
}

/// Reloads and answers whoever waits for that, unless an end is asked for: a name that does not resolve must not hold it up.
async fn reload(gateway: &mut Gateway, signals: &mut Signals, stop: &Stop, due: Due) -> Option<Stopped> {
    let (trigger, requests) = due;
    tokio::select! {
        result = gateway.reload(trigger) => {
            gateway.retire();
            for request in requests {
                drop(request.send(result.clone()));
            }
            None
        }
        name = signals.next_stop() => Some(Stopped::Asked(name)),
        () = stop.0.notified() => Some(Stopped::Asked("stop")),
    }
}

/// Takes up a configuration that was sent, unless an end is asked for.
async fn put(
    gateway: &mut Gateway,
    signals: &mut Signals,
    stop: &Stop,
    upgrades: &Upgrades,
    (order, reply): PutRequest,
) -> Option<Stopped> {
    if upgrades.is_under_way() {
        // The new process has read the file already.
        drop(reply.send(Err(Refused::Busy("an upgrade is under way"))));
        return None;
    }
    tokio::select! {
        result = gateway.put(order) => {
            gateway.retire();
            drop(reply.send(result));
            None
        }
        name = signals.next_stop() => Some(Stopped::Asked(name)),
        () = stop.0.notified() => Some(Stopped::Asked("stop")),
    }
}

/// Every request that waits: one reload answers them all.
fn pending(first: ReloadRequest, inbox: &mut Inbox) -> Vec<ReloadRequest> {
    let mut requests = vec![first];
    while let Ok(request) = inbox.reloads.try_recv() {
        requests.push(request);
    }
    requests
}
