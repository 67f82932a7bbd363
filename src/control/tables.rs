//! What compiling a configuration needs beside it, and what must outlive any one configuration.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

use super::changes::Held;
use super::keys::{FirstKeys, KeyCounts, KeyStatus, Keys};
use super::names::{Answers, Counts, NameStatus, Names};
use super::roots;
use super::series::Series;
use super::sides::{Sides, Staged};
use super::weights::{GivenWeights, Wanted};
use crate::clock;
use crate::cluster::{Fleet, Probe};
use crate::config::Config;
use crate::limits;
use crate::policy::Headroom;
use crate::policy::limit::Limits;
use crate::rng::Rng;
use crate::snapshot::{self, CompileError, Registry, Resolved, Snapshot};

/// Identities of endpoints, series of routes and clusters, and the addresses of names.
pub(super) struct Tables {
    registry: Registry,
    routes: Series,
    clusters: Series,
    names: Names,
    keys: Keys,
    weights: GivenWeights,
    /// When the keys of session tickets turn over.
    tickets: Interval,
}

/// What came of asking for what is new in a configuration.
pub(super) struct Heard {
    names: Answers,
    keys: FirstKeys,
}

/// What was learnt that changes the tables of the configuration in force.
#[derive(Debug)]
pub(super) enum News {
    /// These names have other addresses.
    Addresses(Vec<String>),
    /// The issuer at this URL has other keys.
    Keys(String),
    /// This endpoint of this cluster has another weight.
    Weight(String, SocketAddr),
    /// The process before handed over so many weights, or a live policy.
    Inherited(usize),
    /// The keys of session tickets are as old as they may be.
    Tickets,
}

impl Tables {
    /// Nothing yet, for `workers` workers.
    ///
    /// # Errors
    /// The kernel has no random numbers.
    pub(super) fn new(workers: usize) -> std::io::Result<Self> {
        let mut rng = Rng::from_os()?;
        let mut seed = [0; 16];
        seed[..8].copy_from_slice(&rng.u64().to_ne_bytes());
        seed[8..].copy_from_slice(&rng.u64().to_ne_bytes());
        let registry = Registry::seeded(workers, seed);
        Ok(Self {
            registry,
            routes: Series::new(limits::ROUTE_SERIES),
            clusters: Series::new(limits::CLUSTER_SERIES),
            names: Names::default(),
            keys: Keys::default(),
            weights: GivenWeights::default(),
            tickets: ticket_periods(),
        })
    }

    /// What has been used of all rate limits.
    pub(super) const fn limits(&self) -> &Arc<Limits> {
        self.registry.limits()
    }

    /// Whether there is memory for more.
    pub(super) const fn headroom(&self) -> &Arc<Headroom> {
        self.registry.headroom()
    }

    /// Where hellos of TLS are counted that asked for an unknown name.
    pub(super) const fn unknown_names(&self) -> &Arc<AtomicU64> {
        self.registry.unknown_names()
    }

    /// The endpoints as all cores see them.
    pub(super) const fn fleet(&self) -> &Arc<Fleet> {
        self.registry.fleet()
    }

    /// Asks for the names of `sides` that are not known yet, and the issuers of what is in force for their first keys; for
    /// [`Tables::compile`]. What is on trial waits for its keys when it has its place, and serves nobody until then.
    pub(super) fn ask_for_new(&self, sides: Sides<'_>) -> impl Future<Output = Heard> + use<> {
        let names = self.names.ask_for_new_of(&sides.configs().collect::<Vec<_>>());
        let keys = self.keys.ask_for_new(sides.current);
        async move {
            let (names, keys) = tokio::join!(names, keys);
            Heard { names, keys }
        }
    }

    /// Reads the authorities that the system believes, once `config` needs them; for [`Tables::compile`], which says who
    /// lacks them when there are none.
    pub(super) async fn look_for_roots(&mut self, config: &Config) {
        if self.registry.lacks_system_roots(config)
            && let Ok(system) = roots::system().await
        {
            self.registry.set_system_roots(system);
        }
    }

    /// Compiles `sides` as `epoch`; what is new in them had these answers.
    ///
    /// # Errors
    /// Every name without an address, or what the compiler refuses; follow neither by [`Tables::on_published`].
    pub(super) fn compile(&mut self, sides: Sides<'_>, epoch: u64, new: Heard) -> Result<Snapshot, String> {
        let configs: Vec<_> = sides.configs().collect();
        let resolved = self.names.resolve(&configs, new.names).map_err(|all| all.join("\n"))?;
        self.keys.stage(new.keys);
        self.assemble(sides, epoch, &resolved)
    }

    /// Compiles `sides`, which have no new names, as `epoch` with the addresses and the keys that there are now.
    ///
    /// # Errors
    /// What the compiler refuses: too many endpoints by now; then do not follow it by [`Tables::on_published`].
    pub(super) fn recompile(&mut self, sides: Sides<'_>, epoch: u64) -> Result<Snapshot, String> {
        let resolved = self.names.resolved_of(&sides.configs().collect::<Vec<_>>());
        self.assemble(sides, epoch, &resolved)
    }

    fn assemble(&mut self, sides: Sides<'_>, epoch: u64, resolved: &Resolved) -> Result<Snapshot, String> {
        self.registry.set_weights(self.weights.all());
        self.try_assemble(sides, epoch, resolved).map_err(|error| {
            self.on_rejected(epoch);
            error.to_string()
        })
    }

    fn try_assemble(&mut self, sides: Sides<'_>, epoch: u64, resolved: &Resolved) -> Result<Snapshot, CompileError> {
        self.registry.set_issued(self.keys.issued(sides.current));
        let mut snapshot = snapshot::compile(sides.current, epoch, &mut self.registry, resolved)?;
        self.number_series(&mut snapshot);
        let Some(Staged { config, share, trial }) = sides.candidate else { return Ok(snapshot) };
        self.registry.set_issued(self.keys.issued(config));
        let mut candidate = snapshot::compile_beside(config, epoch, &mut self.registry, resolved)?;
        self.number_series(&mut candidate);
        Ok(snapshot.beside(candidate, share, Arc::clone(trial)))
    }

    fn number_series(&mut self, snapshot: &mut Snapshot) {
        let (routes, clusters) = (Arc::get_mut(&mut snapshot.routes), Arc::get_mut(&mut snapshot.clusters));
        for route in routes.expect("nobody else has a new snapshot") {
            route.series = self.routes.slot(&route.name);
        }
        for cluster in clusters.expect("nobody else has a new snapshot") {
            cluster.series = self.clusters.slot(&cluster.name);
        }
    }

    /// Gives an endpoint another weight in snapshots to come; whether that is anything new.
    pub(super) fn weigh(&mut self, cluster: &str, address: SocketAddr, wanted: Wanted) -> bool {
        self.weights.set(cluster, address, wanted)
    }

    /// Every weight that was given.
    pub(super) fn weights(&self) -> Vec<(String, SocketAddr, u32)> {
        let all = self.weights.all().into_iter();
        all.map(|((cluster, address), weight)| (cluster, address, weight)).collect()
    }

    /// Told that `snapshot`, compiled from `sides`, is about to be published: what all cores share takes up its settings.
    pub(super) fn on_publishing(&mut self, snapshot: &Snapshot, sides: Sides<'_>) {
        let candidate = sides.candidate.map(|staged| staged.config);
        self.registry.on_publishing_beside(snapshot, sides.current, candidate, clock::now_ns() / 1_000_000);
        self.keys.follow(sides.configs());
        self.weights.follow(sides.configs());
    }

    /// Told that `snapshot`, the tables in force under another live policy, is about to be published.
    pub(super) fn on_policy_publishing(&self, snapshot: &Snapshot) {
        self.registry.on_policy_publishing(snapshot);
    }

    /// Told that a listener of the configuration in force was opened.
    pub(super) fn on_bound(&mut self, held: &Held) {
        self.registry.on_bound(&held.name, held.bound);
    }

    /// Told that the snapshot of `epoch` is in force.
    pub(super) fn on_published(&mut self, epoch: u64) {
        self.registry.on_published(epoch);
        self.names.on_published();
    }

    /// Told that the snapshot of `epoch` was given up after it was compiled.
    pub(super) fn on_rejected(&mut self, epoch: u64) {
        self.registry.on_rejected(epoch);
        self.names.on_rejected();
        self.keys.on_rejected();
    }

    /// Told that no worker uses an epoch before `oldest`.
    pub(super) fn retire(&mut self, oldest: u64) {
        self.registry.retire(oldest);
    }

    /// Asks for names when they are due, and listens to those who ask issuers; what has changed. May be abandoned at any time.
    pub(super) async fn news(&mut self) -> News {
        tokio::select! {
            hosts = self.names.changed() => News::Addresses(hosts),
            url = self.keys.changed() => News::Keys(url),
            _ = self.tickets.tick() => {
                self.registry.on_ticket_period_over();
                News::Tickets
            }
        }
    }

    /// Has an issuer whose keys `config` needs yet to be heard of?
    pub(super) fn awaits_keys(&self, config: &Config) -> bool {
        self.keys.awaits(config)
    }

    /// Has an endpoint of `snapshot` yet to be probed before it may serve?
    pub(super) fn awaits_probes(&self, snapshot: &Snapshot) -> bool {
        let fleet = self.registry.fleet();
        snapshot.endpoints.iter().any(|id| fleet.slot(*id).probe() == Probe::Pending)
    }

    /// Every issuer and the number of fetches, when anything was learnt since the last call.
    pub(super) fn try_issuers(&mut self) -> Option<(Vec<KeyStatus>, KeyCounts)> {
        self.keys.try_news()
    }

    /// Every name and the number of lookups, when anything was learnt since the last call.
    pub(super) fn try_names(&mut self) -> Option<(Vec<NameStatus>, Counts)> {
        self.names.take_news().then(|| (self.names.statuses(), self.names.counts()))
    }

    /// Names of routes and of clusters by series slot.
    pub(super) fn series_names(&self) -> [Vec<String>; 2] {
        [&self.routes, &self.clusters].map(|series| series.names().to_vec())
    }
}

/// The ends of the periods in which session tickets are sealed with one key.
fn ticket_periods() -> Interval {
    let mut ends = interval(Duration::from_secs(limits::TICKET_PERIOD_S.into()));
    // The first one has just begun.
    ends.reset();
    ends.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ends
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::config::{self, Sources};

    /// A configuration with a listener that speaks TLS.
    fn config() -> Config {
        struct Files([String; 2]);
        impl Sources for Files {
            fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
                let [cert, key] = &self.0;
                Ok(match path.to_str() {
                    Some("a.crt") => cert.clone(),
                    Some("a.key") => key.clone(),
                    _ => YAML.to_owned(),
                }
                .into_bytes())
            }
            fn env(&self, _: &str) -> Option<String> {
                None
            }
            fn glob(&self, _: &str) -> Result<Vec<PathBuf>, String> {
                Ok(Vec::new())
            }
        }
        const YAML: &str = "version: 1\nroutes: [{ name: all, respond: { status: 200 } }]\nlisteners:\n  \
                            web: { address: ':1', tls: { certificates: [{ cert: a.crt, key: a.key }] } }\n";
        let key = rcgen::KeyPair::generate().unwrap();
        let cert = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        let files = Files([cert.pem(), key.serialize_pem()]);
        config::load(Path::new("tables.yaml"), &files).unwrap_or_else(|all| panic!("{all}")).config
    }

    #[tokio::test(start_paused = true)]
    async fn session_tickets_get_new_keys_once_in_a_period() {
        let (mut tables, config) = (Tables::new(1).unwrap(), config());
        let (began, period) = (Instant::now(), Duration::from_secs(6 * 60 * 60));
        let mut epoch = 0;
        let mut publish = |tables: &mut Tables| {
            epoch += 1;
            let snapshot = tables.recompile(Sides::alone(&config), epoch).unwrap();
            tables.on_published(epoch);
            Arc::clone(&snapshot.listeners[0].tls.as_ref().expect("given").config().ticketer)
        };
        let mut keys = publish(&mut tables);
        for periods in 1..=3 {
            // Whoever asks again and again, because of other events, misses nothing and changes nothing.
            for _ in 0..2 {
                assert!(timeout(period / 3, tables.news()).await.is_err());
                assert!(Arc::ptr_eq(&keys, &publish(&mut tables)), "a reload");
            }
            assert!(matches!(tables.news().await, News::Tickets));
            assert_eq!(began.elapsed().as_secs(), (period * periods).as_secs());
            let next = publish(&mut tables);
            assert!(!Arc::ptr_eq(&keys, &next));
            let ticket = keys.encrypt(b"a session").expect("a ticket");
            assert_eq!(next.decrypt(&ticket).as_deref(), Some(&b"a session"[..]), "of the period before");
            keys = next;
        }
    }
}
