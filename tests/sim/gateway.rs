//! The gateway under test: the real shards and connections of its workers on the simulated world, and its control side.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::FutureExt;
use ringgate::cluster::Probe;
use ringgate::config::Config;
use ringgate::exchange::{Belongings, Shard, serve_connection};
use ringgate::limits;
use ringgate::rng::Rng;
use ringgate::snapshot::{Publisher, Registry, Resolved, Snapshot, compile};
use ringgate::telemetry::{LogDrain, LogRing, WorkerCounters, ring, span_ring};

use crate::entry::Entry;
use crate::env::{Network, SimEnv};
use crate::inspector::Inspector;
use crate::mailbox::{Hearing, Mailbox, Order};
use crate::pipe::{End, Profile, connection};
use crate::settings::{self, Settings};
use crate::world::World;

/// Wall-clock milliseconds at the beginning of virtual time.
pub(crate) const UNIX_MS: u64 = 1_700_000_000_000;

fn resolved(config: &Config) -> Resolved {
    let endpoints = config.clusters.iter().flat_map(|cluster| &cluster.endpoints);
    let address = |host: &str, port: u16| format!("{host}:{port}").parse().expect("an address");
    endpoints.map(|one| ((one.host.clone(), one.port), vec![address(&one.host, one.port)])).collect::<HashMap<_, _>>()
}

/// One worker.
pub(crate) struct Worker {
    env: SimEnv,
    /// Nothing once it has ended.
    shard: RefCell<Option<Rc<Shard<SimEnv>>>>,
    pub(crate) counters: Arc<WorkerCounters>,
    log: RefCell<LogDrain>,
    /// Connections accepted and not yet ended.
    open: Rc<Cell<usize>>,
    mailbox: Rc<Mailbox>,
}

impl Worker {
    /// What it works with, until it has ended.
    pub(crate) fn shard(&self) -> Option<Rc<Shard<SimEnv>>> {
        self.shard.borrow().as_ref().map(Rc::clone)
    }

    /// What it has logged and nobody has read.
    pub(crate) fn records(&self) -> Vec<Entry> {
        std::iter::from_fn(|| self.log.borrow_mut().try_pop().map(|popped| Entry::from(popped.record))).collect()
    }

    fn tick(&self, now_ms: u64) {
        if let Some(shard) = self.shard() {
            shard.on_tick(now_ms, UNIX_MS + now_ms);
        }
    }

    /// Does what came by mailbox.
    fn obey(&self) {
        let Some(shard) = self.shard() else { return };
        while let Some(order) = self.mailbox.next_order() {
            match order {
                Order::Nudge => shard.adopt_newest(),
                Order::Drain { rest_ms } => shard.drain(rest_ms),
            }
        }
        while let Some(call) = self.mailbox.next_call() {
            shard.on_call(&call);
        }
    }

    /// Ends as the thread of a drained worker does: everything it still has goes with it.
    fn end(&self, world: &World, tick: usize) {
        world.abort(tick);
        self.env.inspector().see("workers that ended");
        for task in self.env.tasks.take() {
            world.abort(task);
        }
        self.mailbox.close();
        let Some(shard) = self.shard.take() else { return };
        if shard.buffers_lent() > 0 {
            world.blame(format!("{} buffers are lent by a worker that ended", shard.buffers_lent()));
        }
        if Rc::strong_count(&shard) > 1 {
            world.blame("somebody keeps a worker that ended".to_owned());
        }
    }
}

/// All workers with their control side.
pub(crate) struct Gateway {
    pub(crate) world: World,
    pub(crate) network: Network,
    pub(crate) inspector: Rc<Inspector>,
    pub(crate) workers: Vec<Worker>,
    pub(crate) publisher: RefCell<Publisher>,
    registry: RefCell<Registry>,
    rocks: Vec<SocketAddr>,
    /// What was in force, by epoch from 1.
    epochs: RefCell<Vec<Settings>>,
    accepted: Cell<usize>,
    /// Tasks that serve clients, by the name of each.
    pub(crate) tasks: RefCell<HashMap<String, usize>>,
    pub(crate) drained_ms: Cell<Option<u64>>,
}

impl Gateway {
    /// A gateway by `settings`, its workers ticking; `rocks`: endpoints that never fail.
    pub(crate) fn new(
        world: &World,
        workers: usize,
        hearing: Hearing,
        settings: &Settings,
        rocks: Vec<SocketAddr>,
    ) -> Rc<Self> {
        let config = settings.config();
        let mut registry = Registry::new(workers);
        let snapshot = compile(&config, 1, &mut registry, &resolved(&config)).expect("it compiles");
        // A draining worker hears once a tick.
        let slack_ms = hearing.delay_ms.max(limits::TICK_MS) + 1;
        let inspector = Inspector::new(world, registry.fleet(), slack_ms, settings.is_shared);
        registry.on_publishing(&snapshot, &config, world.now_ms());
        registry.on_published(1);
        inspector.on_published(&snapshot, &config, &rocks);
        let ids = probed(&config, &snapshot, &rocks);
        let publisher = Publisher::new(snapshot, workers);
        let network = Network::default();
        let mailboxes: Vec<_> = (0..workers).map(|_| Rc::new(Mailbox::new(world, hearing))).collect();
        let shared = Shared { inspector: &inspector, network: &network, publisher: &publisher, mailboxes: &mailboxes };
        let workers: Vec<_> = (0..workers).map(|number| shared.worker(number, &registry)).collect();
        let gateway = Rc::new(Self {
            world: world.clone(),
            network,
            inspector,
            workers,
            publisher: RefCell::new(publisher),
            registry: RefCell::new(registry),
            rocks,
            epochs: RefCell::new(vec![settings.clone()]),
            accepted: Cell::new(0),
            tasks: RefCell::default(),
            drained_ms: Cell::new(None),
        });
        gateway.set_healthy(&ids);
        let watching = Rc::clone(&gateway);
        world.set_watch(move || watching.inspector.look(|| watching.publisher.borrow().oldest_in_use()));
        for number in 0..gateway.workers.len() {
            gateway.workers[number].tick(world.now_ms());
            let tick = world.spawn(Rc::clone(&gateway).keep_ticking(number));
            world.spawn(Rc::clone(&gateway).keep_listening(number, tick));
        }
        gateway
    }

    async fn keep_ticking(self: Rc<Self>, number: usize) {
        // Workers do not tick in step.
        if self.workers.len() > 1 {
            self.world.sleep_ns(self.world.chance().below_u64(limits::TICK_MS * 1_000_000)).await;
        }
        loop {
            self.workers[number].tick(self.world.now_ms());
            self.world.sleep_ms(limits::TICK_MS).await;
        }
    }

    /// The mailbox, as the worker's thread reads it.
    async fn keep_listening(self: Rc<Self>, number: usize, tick: usize) {
        let worker = &self.workers[number];
        loop {
            worker.obey();
            let is_draining = worker.shard().is_some_and(|shard| shard.is_draining());
            if !is_draining {
                worker.mailbox.listen().await;
            } else if worker.open.get() == 0 {
                return worker.end(&self.world, tick);
            } else {
                self.world.sleep_ms(limits::TICK_MS).await;
            }
        }
    }

    /// A client's connection; the gateway serves the other end.
    pub(crate) fn accept(&self, name: String, profile: Profile) -> End {
        self.accept_by("web", name, profile)
    }

    /// The same, by this listener.
    pub(crate) fn accept_by(&self, listener: &'static str, name: String, profile: Profile) -> End {
        self.take(listener, self.world.chance().below(self.workers.len()), name, profile)
    }

    /// The same, at this worker.
    pub(crate) fn accept_at(&self, number: usize, name: String, profile: Profile) -> End {
        self.take("web", number, name, profile)
    }

    fn take(&self, listener: &'static str, number: usize, name: String, profile: Profile) -> End {
        let clients = self.accepted.replace(self.accepted.get() + 1);
        let peer = format!("192.0.2.{}:{}", clients % 250 + 1, 4000 + clients).parse().expect("an address");
        self.take_from(peer, listener, number, name, profile)
    }

    /// A connection of the client at `peer`, by this listener at this worker.
    pub(crate) fn take_from(
        &self,
        peer: SocketAddr,
        listener: &'static str,
        number: usize,
        name: String,
        profile: Profile,
    ) -> End {
        let (client, server) = connection(&self.world, name.clone(), profile);
        let worker = &self.workers[number];
        let Some(shard) = worker.shard().filter(|_| self.drained_ms.get().is_none()) else {
            // Nobody listens any more.
            server.reset_on_close();
            return client;
        };
        let entrance = self.publisher.borrow().current().entrance(listener).expect("a listener that every epoch has");
        let (stream, accepted_ns) = (worker.env.accepted(server), ringgate::net::Env::now_ns(&worker.env));
        let open = Rc::clone(&worker.open);
        open.set(open.get() + 1);
        let task = self.world.spawn(async move {
            // As the reactor does.
            let served = match serve_connection(shard, stream, peer, entrance, accepted_ns) {
                Some(serving) => AssertUnwindSafe(serving).catch_unwind().await,
                None => Ok(()),
            };
            open.set(open.get() - 1);
            if let Err(panic) = served {
                let text = panic.downcast_ref::<String>().filter(|text| text.starts_with("x-panic"));
                if text.is_none() {
                    std::panic::resume_unwind(panic);
                }
            }
        });
        self.world.tell(|| format!("{} is served by task {task} of w{number}", client.name()));
        if listener.contains("h2") {
            self.inspector.on_streams_of(task);
        }
        self.tasks.borrow_mut().insert(name, task);
        client
    }

    /// The client of that name may take its answers slowly.
    pub(crate) fn on_slow(&self, name: &str) {
        if let Some(task) = self.tasks.borrow().get(name) {
            self.inspector.on_slow(*task);
        }
    }

    /// Connections accepted and not yet ended.
    pub(crate) fn open(&self) -> usize {
        self.workers.iter().map(|worker| worker.open.get()).sum()
    }

    /// Publishes a configuration; `nudge`: tells idle workers, as the real control always does.
    pub(crate) fn reload(&self, settings: &Settings, nudge: bool) {
        if self.drained_ms.get().is_some() {
            return;
        }
        let epoch = self.publisher.borrow().epoch() + 1;
        self.world.tell(|| format!("reload: epoch {epoch}\n{}", settings.yaml()));
        self.retire();
        let config = settings.config();
        let mut registry = self.registry.borrow_mut();
        let snapshot = compile(&config, epoch, &mut registry, &resolved(&config)).expect("it compiles");
        registry.on_publishing(&snapshot, &config, self.world.now_ms());
        self.inspector.on_published(&snapshot, &config, &self.rocks);
        let ids = probed(&config, &snapshot, &self.rocks);
        self.publisher.borrow_mut().publish(snapshot);
        registry.on_published(epoch);
        drop(registry);
        self.set_healthy(&ids);
        self.epochs.borrow_mut().push(settings.clone());
        if nudge {
            self.nudge();
        }
    }

    /// Tells all workers to adopt the newest configuration.
    pub(crate) fn nudge(&self) {
        self.workers.iter().for_each(|worker| worker.mailbox.order(Order::Nudge));
    }

    /// Is this an endpoint as of now, and one that is probed if that is asked for?
    pub(crate) fn has_endpoint(&self, address: SocketAddr, probed: bool) -> bool {
        let epochs = self.epochs.borrow();
        let clusters = epochs.last().into_iter().flat_map(|settings| &settings.clusters);
        let mut candidates = clusters.filter(|cluster| !probed || cluster.probed.is_some());
        candidates.any(|cluster| {
            cluster.endpoints.iter().any(|endpoint| settings::address(cluster.room, endpoint.number) == address)
        })
    }

    /// The settings of all epochs.
    pub(crate) fn epochs(&self) -> Vec<Settings> {
        self.epochs.borrow().clone()
    }

    /// The settings of an epoch.
    pub(crate) fn settings_of(&self, epoch: u64) -> Settings {
        self.epochs.borrow()[usize::try_from(epoch).expect("few") - 1].clone()
    }

    fn set_healthy(&self, ids: &[ringgate::cluster::EndpointId]) {
        for id in ids {
            self.inspector.fleet.slot(*id).set_probe(Probe::Healthy, self.world.now_ms());
        }
    }

    /// Frees what no worker uses any more.
    pub(crate) fn retire(&self) {
        let mut publisher = self.publisher.borrow_mut();
        publisher.retire();
        self.registry.borrow_mut().retire(publisher.oldest_in_use());
    }

    /// Drains, and waits for nobody who rests.
    pub(crate) fn drain(&self) {
        self.drain_after(0);
    }

    /// Drains, and waits so long for those who rest.
    pub(crate) fn drain_after(&self, rest_ms: u64) {
        self.world.tell(|| format!("drain {rest_ms}"));
        self.drained_ms.set(Some(self.world.now_ms()));
        self.workers.iter().for_each(|worker| worker.mailbox.order(Order::Drain { rest_ms }));
    }

    /// What all workers have logged and nobody has read.
    pub(crate) fn records(&self) -> Vec<Entry> {
        self.workers.iter().flat_map(Worker::records).collect()
    }

    /// A counter or gauge over all workers.
    pub(crate) fn sum(&self, of: impl Fn(&WorkerCounters) -> u64) -> u64 {
        self.workers.iter().map(|worker| of(&worker.counters)).sum()
    }

    /// Exchanges counted, whatever their method and status.
    pub(crate) fn requests(&self) -> u64 {
        let all = || (0..10).flat_map(|method| (100..600).map(move |status| (method, status)));
        self.sum(|counters| all().map(|(method, status)| counters.requests(method, status)).sum())
    }
}

/// The endpoints of rocks whose clusters are probed: their checks pass before anybody looks.
fn probed(config: &Config, snapshot: &Snapshot, rocks: &[SocketAddr]) -> Vec<ringgate::cluster::EndpointId> {
    let clusters = snapshot.clusters.iter().zip(&config.clusters).filter(|(_, written)| written.active.is_some());
    let endpoints = clusters.flat_map(|(cluster, _)| &cluster.endpoints);
    endpoints.filter(|endpoint| rocks.contains(&endpoint.address)).map(|endpoint| endpoint.id).collect()
}

/// What workers are made of.
struct Shared<'a> {
    inspector: &'a Rc<Inspector>,
    network: &'a Network,
    publisher: &'a Publisher,
    mailboxes: &'a [Rc<Mailbox>],
}

impl Shared<'_> {
    fn worker(&self, number: usize, registry: &Registry) -> Worker {
        let env = SimEnv::new(self.inspector, self.network, number);
        let counters = Arc::new(WorkerCounters::new());
        let (ring, log) = ring();
        let shard = self.shard(number, registry, &env, &counters, ring);
        Worker {
            env,
            shard: RefCell::new(Some(Rc::new(shard))),
            counters,
            log: RefCell::new(log),
            open: Rc::default(),
            mailbox: Rc::clone(&self.mailboxes[number]),
        }
    }

    fn shard(
        &self,
        number: usize,
        registry: &Registry,
        env: &SimEnv,
        counters: &Arc<WorkerCounters>,
        log: LogRing,
    ) -> Shard<SimEnv> {
        let (inspector, others) = (Rc::clone(self.inspector), self.mailboxes.to_vec());
        Shard::new(Belongings {
            env: env.clone(),
            worker: number,
            reader: self.publisher.reader(number),
            fleet: Arc::clone(registry.fleet()),
            counters: Arc::clone(counters),
            log,
            spans: span_ring().0,
            rng: Rng::from_seed(self.inspector.world.chance().next()),
            via: b"ringgate-sim".to_vec(),
            tell: Box::new(move |worker, call| {
                inspector.world.tell(|| format!("w{number} calls w{worker}: {}", called(&call)));
                inspector.see(called(&call));
                if !others[worker].try_call(call) {
                    inspector.on_refused();
                }
            }),
            // There is no store in the simulation, and nobody who tries passwords.
            ask: Arc::new(|_ask| false),
        })
    }
}

fn called(call: &ringgate::exchange::Call) -> &'static str {
    match call {
        ringgate::exchange::Call::Wake(_) => "calls to wake",
        ringgate::exchange::Call::Reclaim(_) => "calls to reclaim",
        ringgate::exchange::Call::Answered { .. } | ringgate::exchange::Call::Tried { .. } => "calls with an answer",
    }
}
