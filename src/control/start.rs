//! From a source to a running gateway.

use std::net::TcpListener;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::admin::{AdminServer, Orders};
use super::board::{Board, Fixed, Seat};
use super::changes::listener_changes;
use super::chores::Chores;
use super::crew::{Berth, Crew, Shared};
use super::driver::Choice;
use super::gateway::Gateway;
use super::log_writer::LogWriter;
use super::overview::Overview;
use super::policy::LivePolicies;
use super::probes::{self, Probes};
use super::rollout::Rollouts;
use super::sentinel::Sentinel;
use super::sides::Sides;
use super::sockets::{self, Opened, Originals};
use super::source::{Loaded, Source};
use super::systemd;
use super::tables::Tables;
use super::traces::{Counts as SpanCounts, Traces};
use super::upgrade::{Inherited, Predecessor};
use super::watch::Watch;
use super::{Failure, cpus, driver, memory, privileges};
use crate::config::Config;
use crate::net::{Driver, Sandbox, TlsFailure};
use crate::policy::limit::StoreError;
use crate::snapshot::{Entrance, Publisher, Snapshot};
use crate::telemetry::{LogRing, SpanRing, ring, span_ring};
use crate::worker::{self, Credit, Loads};

/// Descriptors that a gateway needs beside its connections: those of probes for the most part.
const SPARE_DESCRIPTORS: u64 = 320;

/// The sockets of a listener for each worker, and where its connections come in.
type Copies = (Entrance, Vec<Vec<TcpListener>>);

/// Everything but the threads of the workers, which start once nothing else can fail.
struct Prepared {
    source: Source,
    loaded: Loaded,
    driver: Driver,
    /// What workers give up, as a trial did.
    sandbox: Option<Sandbox>,
    tables: Tables,
    snapshot: Snapshot,
    policy: LivePolicies,
    opened: Vec<Opened>,
    seats: Vec<Seat>,
    rings: Vec<(LogRing, SpanRing)>,
    board: Arc<Board>,
    writer: LogWriter,
    traces: Traces,
}

/// Loads, compiles, binds or takes up what was inherited, and starts; returns once every worker serves.
///
/// # Errors
/// An invalid configuration, or whatever this machine refuses; the process to be replaced, if there is one, is told.
pub(super) async fn start(
    source: Source,
    orders: Orders,
    chores: Chores,
    mut inherited: Inherited,
) -> Result<(Gateway, Option<AdminServer>), Failure> {
    let mut predecessor = inherited.predecessor.take();
    let started = Box::pin(start_after(source, orders, chores, inherited, predecessor.as_mut())).await;
    if let Some(predecessor) = &mut predecessor {
        predecessor.tell(started.as_ref().map(|(gateway, _)| gateway.publisher.epoch())).await;
    }
    if started.is_ok() {
        systemd::on_ready(None);
    }
    started
}

async fn start_after(
    source: Source,
    orders: Orders,
    chores: Chores,
    mut inherited: Inherited,
    predecessor: Option<&mut Predecessor>,
) -> Result<(Gateway, Option<AdminServer>), Failure> {
    let prepared = prepare(source, &mut inherited).await?;
    let admin = prepared.loaded.config.admin.clone();
    let socket = inherited.take_admin(&admin.listen);
    let board = Arc::clone(&prepared.board);
    let Some(predecessor) = predecessor else {
        let server = AdminServer::start(&admin, board, orders, socket).await.map_err(Failure::Runtime)?;
        let (gateway, _none_left) = prepared.launch(chores, false).map_err(Failure::Runtime)?;
        return Box::pin(serves(gateway)).await.map(|gateway| (gateway, server));
    };
    let (gateway, later) = prepared.launch(chores, true).map_err(Failure::Runtime)?;
    let mut gateway = launched(gateway).await?;
    if let Some(given) = predecessor.relieve(inherited.kept, socket.is_some()).await? {
        // The other process accepts as long as this takes.
        if let Err(why) = gateway.inherit(given).await {
            gateway.crew.tell(|| worker::Message::Stop);
            return Err(Failure::Runtime(why));
        }
        predecessor.on_inherited().await?;
    }
    let server = AdminServer::start(&admin, board, orders, socket).await.map_err(Failure::Runtime)?;
    gateway.board.on_replacing(predecessor.pid);
    gateway.accept_on(later);
    Box::pin(serves(gateway)).await.map(|gateway| (gateway, server))
}

/// Waits until every worker accepts.
async fn serves(gateway: Gateway) -> Result<Gateway, Failure> {
    warn_of_limits(gateway.config());
    let gateway = launched(gateway).await?;
    let loops = gateway.accept_loops(|_| true);
    if gateway.accepts_by(loops).await && !gateway.crew.any_finished() {
        gateway.board.on_ready();
        return Ok(gateway);
    }
    gateway.crew.tell(|| worker::Message::Stop);
    Err(Failure::Runtime(gateway.crew.because("a worker does not accept")))
}

/// Waits until every worker has adopted the first snapshot.
async fn launched(gateway: Gateway) -> Result<Gateway, Failure> {
    if gateway.adopted().await && !gateway.crew.any_finished() {
        return Ok(gateway);
    }
    gateway.crew.tell(|| worker::Message::Stop);
    Err(Failure::Runtime(gateway.crew.because("a worker did not start")))
}

async fn prepare(source: Source, inherited: &mut Inherited) -> Result<Prepared, Failure> {
    let mut loaded = source.clone().load().await.map_err(Failure::Config)?;
    if let Some(user) = &loaded.config.runtime.user
        && privileges::become_user(user).map_err(|why| Failure::Runtime(format!("runtime.user: {why}")))?
    {
        // A reload reads everything as that user: what it may not read is better told now.
        loaded = source.clone().load().await.map_err(Failure::Config)?;
    }
    loaded.warn();
    let config = &loaded.config;
    let refused = Failure::Runtime;
    let placement = cpus::place(&config.runtime.workers, &cpus::allowed(), cpus::quota()).map_err(refused)?;
    let chosen = driver::choose(config.runtime.io, placement.len()).map_err(|why| refused(driver::told(&why)))?;
    let Choice { driver, why: driver_why, .. } = chosen;
    tracing::info!(driver = driver.name(), why = driver_why, "io driver chosen");
    let sandbox = config.runtime.sandbox.then(try_sandbox).transpose().map_err(refused)?;
    let mut tables = Tables::new(placement.len()).map_err(|error| refused(error.to_string()))?;
    memory::limit(tables.headroom(), config.runtime.memory_limit);
    tables.look_for_roots(config).await;
    let sides = Sides::alone(config);
    let mut policy = LivePolicies::new(placement.len());
    policy.follow(config.live_policy.as_ref());
    let (new, ()) = tokio::join!(tables.ask_for_new(sides), policy.hear_first());
    let mut snapshot = tables.compile(sides, 1, new).map_err(refused)?;
    snapshot.live = policy.compiled();
    if snapshot.live.is_some() {
        tables.limits().prepare();
    }
    tables.on_publishing(&snapshot, sides);
    tables.on_published(1);
    let wanted = listener_changes(&[], &config.listeners).open;
    inherited.fit(&config.listeners).map_err(refused)?;
    let opened = sockets::open_all(&wanted, Vec::new(), placement.len(), inherited).map_err(refused)?;
    let (logs, log_drains): (Vec<_>, Vec<_>) = placement.iter().map(|_| ring()).unzip();
    let (spans, span_drains): (Vec<_>, Vec<_>) = placement.iter().map(|_| span_ring()).unzip();
    let rings = logs.into_iter().zip(spans).collect();
    let writer = LogWriter::start(&config.access_log.output, log_drains);
    let writer = writer.map_err(|error| refused(error.to_string()))?;
    let seats: Vec<Seat> = placement.into_iter().map(Seat::new).collect();
    let span_counts = Arc::<SpanCounts>::default();
    let traces = Traces::start(config, span_drains, Arc::clone(&span_counts));
    let board = Arc::new(Board::new(Fixed {
        driver,
        driver_why,
        seats: seats.clone(),
        reasons: worker::reasons(),
        tls_failures: TlsFailure::ALL.map(TlsFailure::label).to_vec(),
        store_failures: StoreError::ALL.map(StoreError::name).to_vec(),
        log_lost: writer.lost_cell(),
        unknown_names: Arc::clone(tables.unknown_names()),
        span_counts,
        fleet: Arc::clone(tables.fleet()),
        limits: Arc::clone(tables.limits()),
        headroom: Arc::clone(tables.headroom()),
    }));
    Ok(Prepared {
        source,
        loaded,
        driver,
        sandbox,
        tables,
        snapshot,
        policy,
        opened,
        seats,
        rings,
        board,
        writer,
        traces,
    })
}

impl Prepared {
    /// Starts the workers; `leaves_inherited` has them accept on what was inherited only later, and gives it back.
    fn launch(mut self, chores: Chores, leaves_inherited: bool) -> Result<(Gateway, Vec<Copies>), String> {
        let (reports, found) = mpsc::unbounded_channel();
        let mut probes = Probes::new(reports);
        let sides = Sides::alone(&self.loaded.config);
        let targets = probes::targets(sides, &self.snapshot);
        let overview = Arc::new(Overview::new(&self.snapshot, sides));
        let publisher = Publisher::new(self.snapshot, self.seats.len());
        let runtime = &self.loaded.config.runtime;
        let credit = Arc::new(Credit::new(runtime.max_connections));
        let loads = Arc::new(Loads::new(self.seats.len(), runtime.accept_balance));
        let (mut originals, mut later) = (Originals::default(), Vec::new());
        let mut berths: Vec<Berth> = self.seats.iter().map(|_| Vec::new()).collect();
        for one in self.opened {
            let entrance = one.held.entrance(&publisher.current());
            self.tables.on_bound(&one.held);
            if one.is_inherited && leaves_inherited {
                later.push((entrance, one.berths));
            } else {
                for (berth, sockets) in berths.iter_mut().zip(one.berths) {
                    berth.extend(sockets.into_iter().map(|socket| (entrance, socket)));
                }
            }
            originals.keep(one.held, one.sockets);
        }
        let (fleet, sandbox) = (self.tables.fleet(), &self.sandbox);
        let shared = Shared { publisher: &publisher, sandbox, fleet, credit: &credit, loads: &loads };
        let crew = Crew::spawn(self.driver, &self.seats, self.rings, berths, &shared)?;
        probes.follow(targets);
        let gateway = Gateway {
            probes,
            overview,
            source: self.source,
            loaded: self.loaded,
            last_refusal: None,
            tables: self.tables,
            publisher,
            originals,
            watch: watch(),
            crew,
            credit,
            loads,
            board: self.board,
            writer: self.writer,
            traces: self.traces,
            policy: self.policy,
            rollouts: Rollouts::default(),
            chores,
        };
        gateway.follow_files();
        gateway.show();
        let sentinel = Sentinel::new(gateway.probes.followed(), Arc::clone(&gateway.board));
        // It ends with the runtime.
        drop(tokio::spawn(sentinel.run(found)));
        drop(tokio::spawn(systemd::watch(Arc::clone(&gateway.board))));
        let board = Arc::clone(&gateway.board);
        drop(tokio::spawn(memory::watch(Arc::clone(gateway.tables.headroom()), move || board.load())));
        Ok((gateway, later))
    }
}

/// Tells what workers cannot give up on this machine; they serve without.
fn try_sandbox() -> Result<Sandbox, String> {
    let sandbox = Sandbox::probe().map_err(|error| format!("cannot try the sandbox of workers: {error}"))?;
    let kept = sandbox.clone().kept();
    if kept.is_empty() {
        tracing::info!("workers give up files, programs and rare system calls");
    } else {
        tracing::warn!(kept = kept.join("; "), "workers are sandboxed in part");
    }
    Ok(sandbox)
}

/// A watch, unless the user has no inotify instance left: a gateway without one still serves.
fn watch() -> Option<Watch> {
    Watch::new().inspect_err(|error| tracing::warn!(%error, "changed files will not be noticed, use SIGHUP")).ok()
}

/// Descriptors that a gateway may need: an accepted connection may need another to an endpoint.
pub(super) const fn descriptors_for(config: &Config) -> u64 {
    2 * config.runtime.max_connections as u64 + SPARE_DESCRIPTORS
}

/// The soft limit of open files is a default that nobody chose,
/// so it is raised as far as the hard one allows.
fn warn_of_limits(config: &Config) {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let needed = descriptors_for(config);
    if let Some(limit) = memory::descriptor_limit().filter(|limit| *limit < needed) {
        tracing::warn!(limit, needed, "the limit of open files (ulimit -n) is below what max_connections may need");
    }
}
