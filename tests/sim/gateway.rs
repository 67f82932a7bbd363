//! The gateway under test: the real shard and connections on the simulated world.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use ringgate::config::{self, Config, Sources};
use ringgate::exchange::{Belongings, Shard, serve_connection};
use ringgate::limits;
use ringgate::rng::Rng;
use ringgate::snapshot::{Publisher, Registry, Resolved, compile};
use ringgate::telemetry::{LogDrain, OwnedRecord, WorkerCounters, ring};

use crate::env::{SimEnv, SimStream};
use crate::pipe::{End, Profile, connection};
use crate::world::World;

/// Every bound is finite and small, so that a run is short.
pub(crate) const HEADER_MS: u64 = 1_000;
pub(crate) const RESPONSE_HEADER_MS: u64 = 700;

struct Text(Vec<u8>);

impl Sources for Text {
    fn read(&self, _path: &Path) -> std::io::Result<Vec<u8>> {
        Ok(self.0.clone())
    }

    fn env(&self, _name: &str) -> Option<String> {
        None
    }

    fn glob(&self, _pattern: &str) -> Vec<PathBuf> {
        Vec::new()
    }
}

/// The configuration with these endpoints, by number.
fn configuration(endpoints: &[usize]) -> Config {
    let urls: Vec<String> =
        endpoints.iter().map(|number| format!("{{ url: \"http://10.0.0.{}\" }}", number + 1)).collect();
    let yaml = format!(
        "version: 1\nadmin: {{ listen: off }}\n\
         listeners: {{ web: {{ address: \"127.0.0.1:0\", limits: {{ header_timeout: {HEADER_MS}ms, idle_timeout: 2s,\n  \
           body_min_rate: {{ rate: 100B, grace: 1s }}, write_timeout: 1500ms }} }} }}\n\
         defaults: {{ route: {{ timeouts: {{ connect: 300ms, response_header: {RESPONSE_HEADER_MS}ms, request: 1500ms, body_idle: 700ms }} }},\n  \
           cluster: {{ keepalive: {{ idle_timeout: 1s, idle_per_endpoint: 4 }} }} }}\n\
         clusters: {{ app: {{ endpoints: [{}] }} }}\n\
         routes: [{{ name: all, match: {{ path: /* }}, cluster: app, body_limit: 1MiB }}]\n\
         observability: {{ reason_header: on, access_log: {{ output: stdout, sample: {{ ok: 100% }} }} }}\n",
        urls.join(", ")
    );
    config::load(Path::new("sim.yaml"), &Text(yaml.into_bytes())).unwrap_or_else(|report| panic!("{report}")).config
}

fn resolved(config: &Config) -> Resolved {
    let endpoints = config.clusters.iter().flat_map(|cluster| &cluster.endpoints);
    let address = |host: &str, port: u16| format!("{host}:{port}").parse().expect("an address");
    endpoints.map(|one| ((one.host.clone(), one.port), vec![address(&one.host, one.port)])).collect::<HashMap<_, _>>()
}

/// One worker with its control side.
pub(crate) struct Gateway {
    pub(crate) world: World,
    pub(crate) env: SimEnv,
    pub(crate) shard: Rc<Shard<SimEnv>>,
    pub(crate) counters: Arc<WorkerCounters>,
    pub(crate) publisher: RefCell<Publisher>,
    registry: RefCell<Registry>,
    log: RefCell<LogDrain>,
    /// Connections accepted and not yet ended.
    pub(crate) open: Rc<Cell<usize>>,
    pub(crate) accepted: Cell<usize>,
    pub(crate) drained_ms: Cell<Option<u64>>,
}

impl Gateway {
    /// A gateway in front of these endpoints, its tick running.
    pub(crate) fn new(world: &World, endpoints: &[usize]) -> Rc<Self> {
        let env = SimEnv::new(world);
        let config = configuration(endpoints);
        let mut registry = Registry::new(1);
        let snapshot = compile(&config, 1, &mut registry, &resolved(&config)).expect("it compiles");
        registry.on_publishing(&snapshot, &config, world.now_ms());
        registry.on_published(1);
        let publisher = Publisher::new(snapshot, 1);
        let counters = Arc::new(WorkerCounters::new());
        let (ring, log) = ring();
        let shard = Shard::new(Belongings {
            env: env.clone(),
            worker: 0,
            reader: publisher.reader(0),
            fleet: Arc::clone(registry.fleet()),
            counters: Arc::clone(&counters),
            log: ring,
            rng: Rng::from_seed(world.chance().next()),
            via: b"ringgate-sim".to_vec(),
            tell: Box::new(|_, _| {}),
        });
        let gateway = Rc::new(Self {
            world: world.clone(),
            env,
            shard: Rc::new(shard),
            counters,
            publisher: RefCell::new(publisher),
            registry: RefCell::new(registry),
            log: RefCell::new(log),
            open: Rc::default(),
            accepted: Cell::new(0),
            drained_ms: Cell::new(None),
        });
        gateway.tick();
        world.spawn(Rc::clone(&gateway).keep_ticking());
        gateway
    }

    fn tick(&self) {
        self.shard.on_tick(self.world.now_ms(), 1_700_000_000_000 + self.world.now_ms());
    }

    async fn keep_ticking(self: Rc<Self>) {
        loop {
            self.world.sleep_ms(limits::TICK_MS).await;
            self.tick();
        }
    }

    /// A client's connection; the gateway serves the other end.
    pub(crate) fn accept(&self, name: String, profile: Profile) -> End {
        let number = self.accepted.get();
        self.accepted.set(number + 1);
        let (client, server) = connection(&self.world, name, profile);
        let (shard, open) = (Rc::clone(&self.shard), Rc::clone(&self.open));
        let peer = format!("192.0.2.{}:{}", number % 250 + 1, 4000 + number).parse().expect("an address");
        open.set(open.get() + 1);
        self.world.spawn(async move {
            serve_connection(shard, SimStream { end: server }, peer, Rc::from("web")).await;
            open.set(open.get() - 1);
        });
        client
    }

    /// Publishes a configuration with these endpoints; `nudge` tells an idle worker.
    pub(crate) fn reload(&self, endpoints: &[usize], nudge: bool) {
        let mut publisher = self.publisher.borrow_mut();
        let mut registry = self.registry.borrow_mut();
        let epoch = publisher.epoch() + 1;
        self.world.tell(|| format!("reload: epoch {epoch} with endpoints {endpoints:?}"));
        registry.retire(publisher.oldest_in_use());
        publisher.retire();
        let config = configuration(endpoints);
        let snapshot = compile(&config, epoch, &mut registry, &resolved(&config)).expect("it compiles");
        registry.on_publishing(&snapshot, &config, self.world.now_ms());
        publisher.publish(snapshot);
        registry.on_published(epoch);
        if nudge {
            self.shard.adopt_newest();
        }
    }

    pub(crate) fn drain(&self) {
        self.world.tell(|| "drain".to_owned());
        self.drained_ms.set(Some(self.world.now_ms()));
        self.shard.drain();
    }

    pub(crate) fn records(&self) -> Vec<OwnedRecord> {
        std::iter::from_fn(|| self.log.borrow_mut().try_pop()).collect()
    }

    /// Exchanges counted, whatever their method and status.
    pub(crate) fn requests(&self) -> u64 {
        (0..10)
            .flat_map(|method| (100..600).map(move |status| (method, status)))
            .map(|(method, status)| self.counters.requests(method, status))
            .sum()
    }
}
