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
mod changes;
mod cpus;
mod crew;
mod debounce;
mod doctor;
mod driver;
mod gateway;
mod journal;
mod keys;
mod log_writer;
mod memory;
mod names;
mod online;
mod overview;
mod passwords;
mod policy;
mod probes;
mod roots;
mod routes;
mod sentinel;
mod series;
mod shutdown;
mod signals;
mod sockets;
mod source;
mod start;
mod store;
mod tables;
mod tiers;
mod watch;
mod weights;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::MissedTickBehavior;

use admin::{Orders, PolicyRequest, ReloadRequest, WeightRequest};
use gateway::{Gateway, Trigger};
use policy::News as PolicyNews;
use signals::{Signals, Wish};
use tables::News;

use crate::net;
pub use doctor::{Examined, Grade, examine};
pub use online::{Finding, Wrong, check_online};
pub use source::Source;

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
    journal::start();
    net::map_buffers_apart();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Runtime(format!("cannot start the control thread: {error}")))?;
    let ended = runtime.block_on(serve(options));
    // A file may still be being read on a thread of its own.
    runtime.shutdown_background();
    ended
}

async fn serve(options: Options) -> Result<(), Failure> {
    let mut signals = Signals::new().map_err(|error| Failure::Runtime(format!("cannot catch signals: {error}")))?;
    let (orders, mut inbox) = Inbox::new();
    let (mut gateway, admin) = start::start(options.source, orders).await?;
    announce(&gateway, options.on_started);
    let stopped = control_loop(&mut gateway, &mut signals, &options.stop, &mut inbox).await;
    gateway.probes.stop();
    let ended = shutdown::shut_down(gateway, stopped, &mut signals, &options.stop).await;
    if let Some(admin) = admin {
        admin.stop();
    }
    ended
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
}

/// Orders of the admin server.
struct Inbox {
    reloads: mpsc::Receiver<ReloadRequest>,
    policies: mpsc::Receiver<PolicyRequest>,
    weights: mpsc::Receiver<WeightRequest>,
}

impl Inbox {
    fn new() -> (Orders, Self) {
        let (to_reload, reloads) = mpsc::channel(PENDING_ORDERS);
        let (to_policies, policies) = mpsc::channel(PENDING_ORDERS);
        let (to_weights, weights) = mpsc::channel(PENDING_ORDERS);
        let orders = Orders { reloads: to_reload, policies: to_policies, weights: to_weights };
        (orders, Self { reloads, policies, weights })
    }
}

enum Event {
    Wish(Wish),
    Reload(ReloadRequest),
    Post(PolicyRequest),
    Weigh(WeightRequest),
    /// The live policy may be another one.
    Policy(PolicyNews),
    Files,
    /// Names have other addresses, or issuers other keys.
    News(News),
    Housekeeping,
}

async fn control_loop(gateway: &mut Gateway, signals: &mut Signals, stop: &Stop, inbox: &mut Inbox) -> Stopped {
    let mut changes = watch::changes(gateway.watch.as_ref());
    // An interval and not a sleep, which busy events would start anew each time.
    let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
    housekeeping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let event = tokio::select! {
            wish = signals.next() => Event::Wish(wish),
            () = stop.0.notified() => return Stopped::Asked("stop"),
            Some(request) = inbox.reloads.recv() => Event::Reload(request),
            Some(request) = inbox.policies.recv() => Event::Post(request),
            Some(request) = inbox.weights.recv() => Event::Weigh(request),
            Some(()) = changes.recv() => Event::Files,
            news = gateway.tables.news() => Event::News(news),
            news = gateway.policy.news() => Event::Policy(news),
            _ = housekeeping.tick() => Event::Housekeeping,
        };
        let (trigger, requests) = match event {
            Event::Wish(Wish::Stop(name)) => return Stopped::Asked(name),
            Event::Wish(Wish::Reload(name)) => (Trigger::Signal(name), Vec::new()),
            Event::Wish(Wish::Reopen) => {
                gateway.reopen_log();
                (Trigger::Signal("SIGUSR1"), Vec::new())
            }
            Event::Wish(Wish::Unknown(name)) => {
                tracing::warn!(signal = name, "signal ignored");
                continue;
            }
            Event::Reload(request) => (Trigger::Admin, pending(request, inbox)),
            Event::Post((bytes, reply)) => {
                drop(reply.send(gateway.post_policy(&bytes).await));
                continue;
            }
            Event::Weigh(((cluster, address, wanted), reply)) => {
                drop(reply.send(gateway.weigh(&cluster, address, wanted).await));
                continue;
            }
            Event::Policy(news) => {
                gateway.take_policy(news).await;
                continue;
            }
            Event::Files => (Trigger::Files, Vec::new()),
            Event::News(news) => {
                gateway.take_news(&news);
                continue;
            }
            Event::Housekeeping => {
                gateway.retire();
                gateway.show_names();
                gateway.look_at_policy().await;
                if gateway.crew.any_finished() {
                    return Stopped::WorkerDied;
                }
                continue;
            }
        };
        // A name that does not resolve must not hold up the end.
        tokio::select! {
            result = gateway.reload(trigger) => {
                gateway.retire();
                for request in requests {
                    drop(request.send(result.clone()));
                }
            }
            name = signals.next_stop() => return Stopped::Asked(name),
            () = stop.0.notified() => return Stopped::Asked("stop"),
        }
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
