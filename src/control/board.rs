//! What the running gateway shows: written by the control loop, read by the admin server.

mod glance;
mod seat;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use schemars::JsonSchema;
use serde::Serialize;

pub(super) use self::glance::Glance;
pub(super) use self::seat::Seat;
use super::admin::Turned;
use super::keys::{KeyCounts, KeyStatus};
use super::names::{Counts, NameStatus};
use super::overview::Overview;
use super::policy::{Document, Shown};
use super::rollout;
use super::routes::{self, ShownRoute};
use super::traces::Counts as SpanCounts;
use super::upgrade::Outcome;
use super::written::Written;
use super::{Started, journal, memory};
use crate::clock;
use crate::cluster::{EndpointId, Fleet};
use crate::config::Config;
use crate::net::Driver;
use crate::policy::limit::Limits;
use crate::policy::{Headroom, Load};
use crate::telemetry::{CAPS, ClusterView, PolicySyncs, Reloads, Scrape, UpgradeCounts};

/// What does not change while the process runs.
pub(super) struct Fixed {
    /// Driver of every worker.
    pub(super) driver: Driver,
    /// Why it was chosen.
    pub(super) driver_why: String,
    /// Workers in order.
    pub(super) seats: Vec<Seat>,
    /// Reason codes by index.
    pub(super) reasons: Vec<&'static str>,
    /// Names of failed TLS handshakes, in the order of their counters.
    pub(super) tls_failures: Vec<&'static str>,
    /// Why a store has no answer, in the order of its counters.
    pub(super) store_failures: Vec<&'static str>,
    /// Lines the log writer lost.
    pub(super) log_lost: Arc<AtomicU64>,
    /// Hellos of TLS that asked for an unknown name.
    pub(super) unknown_names: Arc<AtomicU64>,
    /// What became of spans.
    pub(super) span_counts: Arc<SpanCounts>,
    /// The endpoints as all cores see them.
    pub(super) fleet: Arc<Fleet>,
    /// What has been used of all rate limits.
    pub(super) limits: Arc<Limits>,
    /// Whether there is memory for more.
    pub(super) headroom: Arc<Headroom>,
}

/// How the last reload went.
#[derive(Debug, Clone, Serialize, JsonSchema, PartialEq, Eq)]
pub(super) struct LastReload {
    /// Was it published?
    pub(super) ok: bool,
    /// When, RFC 3339.
    pub(super) at: String,
    /// What asked for it.
    pub(super) trigger: &'static str,
    /// The whole report when it was refused.
    pub(super) error: Option<String>,
}

/// How the last upgrade went that left this process serving, which is one that failed.
#[derive(Debug, Clone, Serialize, JsonSchema, PartialEq, Eq)]
pub(super) struct LastUpgrade {
    ok: bool,
    at: String,
    pid: Option<u32>,
    error: Option<String>,
}

/// What changes, behind the lock.
#[derive(Default)]
struct Live {
    epoch: u64,
    listeners: Vec<(String, SocketAddr)>,
    admin: Option<String>,
    routes: Vec<String>,
    clusters: Vec<String>,
    max_connections: u64,
    top_clients: usize,
    routes_omitted: u64,
    ready: bool,
    draining: bool,
    reloads: Reloads,
    last_reload: Option<LastReload>,
    last_upgrade: Option<LastUpgrade>,
    upgrades: UpgradeCounts,
    /// The process whose place this one took.
    replaced: Option<u32>,
    rollout: rollout::Shown,
    policy: Option<Shown>,
    policy_syncs: PolicySyncs,
    dns: DnsStatus,
    issuers: Vec<ShownIssuer>,
    key_counts: KeyCounts,
    overview: Arc<Overview>,
    config: Option<Arc<Config>>,
    written: Option<Written>,
    /// How the last probe of each endpoint went.
    probe_details: HashMap<EndpointId, String>,
    /// Probes that were passed and that failed.
    probes: (u64, u64),
}

impl Live {
    fn is_ready(&self, fleet: &Fleet) -> bool {
        self.ready && !self.draining && self.overview.is_ready(fleet, clock::now_ns() / 1_000_000)
    }
}

/// The board; share it as `Arc<Board>`.
pub(super) struct Board {
    started_ms: u64,
    started_ns: u64,
    fixed: Fixed,
    /// Connections of the admin server that were ended.
    turned: Arc<Turned>,
    live: Mutex<Live>,
}

/// What a published configuration changes on the board.
pub(super) struct Published {
    /// Its epoch.
    pub(super) epoch: u64,
    /// Listeners with the addresses bound.
    pub(super) listeners: Vec<(String, SocketAddr)>,
    /// Route names by series slot.
    pub(super) routes: Vec<String>,
    /// Cluster names by series slot.
    pub(super) clusters: Vec<String>,
    /// Most connections accepted.
    pub(super) max_connections: u64,
    /// Clients with series of their own.
    pub(super) top_clients: usize,
    /// Routes that have no series of their own.
    pub(super) routes_omitted: u64,
    /// Its clusters.
    pub(super) overview: Arc<Overview>,
}

impl Board {
    /// A board that is not ready yet.
    pub(super) fn new(fixed: Fixed) -> Self {
        let live = Live { reloads: Reloads { last_ok: true, ..Reloads::default() }, ..Live::default() };
        let (started_ms, started_ns) = (clock::unix_ms(), clock::now_ns());
        Self { started_ms, started_ns, fixed, turned: Arc::default(), live: Mutex::new(live) }
    }

    /// Connections closed because of a cap since the start, by the order of [`CAPS`].
    pub(super) fn rejected(&self) -> [u64; CAPS.len()] {
        std::array::from_fn(|cap| {
            self.fixed.seats.iter().map(|seat| seat.counters.connections_rejected[cap].value()).sum()
        })
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        // A panic while it was held leaves numbers that are still worth showing.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A configuration is in force.
    pub(super) fn on_published(&self, published: Published) {
        let mut live = self.live();
        live.epoch = published.epoch;
        live.listeners = published.listeners;
        live.routes = published.routes;
        live.clusters = published.clusters;
        live.max_connections = published.max_connections;
        live.top_clients = published.top_clients;
        live.routes_omitted = published.routes_omitted;
        live.overview = published.overview;
        // An identity may be another endpoint's one day, and what is not probed any more has no last probe.
        let probed: HashSet<EndpointId> = live.overview.probed().collect();
        live.probe_details.retain(|id, _| probed.contains(id));
    }

    /// An endpoint was probed.
    pub(super) fn on_probed(&self, id: EndpointId, ok: bool, detail: &str) {
        let mut live = self.live();
        let count = if ok { &mut live.probes.0 } else { &mut live.probes.1 };
        *count += 1;
        let shown = live.probe_details.entry(id).or_default();
        shown.clear();
        shown.push_str(detail);
    }

    /// The clusters in force.
    pub(super) fn overview(&self) -> Arc<Overview> {
        Arc::clone(&self.live().overview)
    }

    /// What counts the connections of the admin server that were ended.
    pub(super) const fn turned(&self) -> &Arc<Turned> {
        &self.turned
    }

    /// The endpoints as all cores see them.
    pub(super) const fn fleet(&self) -> &Arc<Fleet> {
        &self.fixed.fleet
    }

    /// The routes in force; made for whoever asks, there may be ten thousand.
    pub(super) fn routes(&self) -> Vec<ShownRoute> {
        let config = self.live().config.clone();
        config.map(|config| routes::shown(&config)).unwrap_or_default()
    }

    /// This configuration is in force.
    pub(super) fn on_config(&self, config: Arc<Config>) {
        self.live().config = Some(config);
    }

    /// The clusters in force, with their endpoints.
    pub(super) fn clusters(&self) -> Vec<ClusterView> {
        let live = self.live();
        live.overview.views(&self.fixed.fleet, clock::now_ns() / 1_000_000, &live.probe_details)
    }

    /// The configuration in force, or the words for it, are others.
    pub(super) fn on_written(&self, written: Written) {
        self.live().written = Some(written);
    }

    /// The epoch in force, and its configuration as it was written.
    pub(super) fn written(&self) -> Option<(u64, Written)> {
        let live = self.live();
        Some((live.epoch, live.written.clone()?))
    }

    /// Names were asked for.
    pub(super) fn on_names(&self, names: Vec<NameStatus>, counts: Counts) {
        let now_ms = clock::unix_ms();
        let shown = |name: NameStatus| ShownName {
            host: name.host,
            addresses: name.addresses,
            failing: name.is_failing,
            error: name.error,
            due: clock::rfc3339_text(now_ms + name.due_in_ms),
        };
        let names = names.into_iter().map(shown).collect();
        self.live().dns = DnsStatus { lookups_ok: counts.ok, lookups_failed: counts.failed, names };
    }

    /// Issuers were asked for their keys.
    pub(super) fn on_issuers(&self, issuers: Vec<KeyStatus>, counts: KeyCounts) {
        let shown = |issuer: KeyStatus| ShownIssuer {
            url: issuer.url,
            keys: issuer.keys,
            skipped: issuer.skipped,
            fetched: (issuer.fetched_ms > 0).then(|| clock::rfc3339_text(issuer.fetched_ms)),
            error: issuer.error,
        };
        let mut live = self.live();
        live.issuers = issuers.into_iter().map(shown).collect();
        live.key_counts = counts;
    }

    /// A reload ended; `error` is its report when it was refused.
    pub(super) fn on_reload(&self, trigger: &'static str, error: Option<String>) {
        let mut live = self.live();
        let ok = error.is_none();
        if ok {
            live.reloads.ok += 1;
        } else {
            live.reloads.failed += 1;
        }
        live.reloads.last_ok = ok;
        live.last_reload = Some(LastReload { ok, at: clock::rfc3339_text(clock::unix_ms()), trigger, error });
    }

    /// A configuration that was sent is refused: whoever sent it was told why, and the files say what is in force as before.
    pub(super) fn on_put_refused(&self) {
        self.live().reloads.refused += 1;
    }

    /// An upgrade of this process ended.
    pub(super) fn on_upgrade(&self, outcome: &Outcome) {
        let (pid, error) = (outcome.as_ref().ok().map(|upgraded| upgraded.pid), outcome.as_ref().err().cloned());
        let mut live = self.live();
        live.upgrades.failed += u64::from(error.is_some());
        live.last_upgrade =
            Some(LastUpgrade { ok: pid.is_some(), at: clock::rfc3339_text(clock::unix_ms()), pid, error });
    }

    /// What is known of rollouts.
    pub(super) fn on_rollout(&self, shown: rollout::Shown) {
        self.live().rollout = shown;
    }

    /// The page `/rollout`.
    pub(super) fn rollout(&self) -> rollout::Status {
        self.live().rollout.status()
    }

    /// This process took the place of another.
    pub(super) fn on_replacing(&self, pid: u32) {
        let mut live = self.live();
        (live.replaced, live.upgrades.ok) = (Some(pid), 1);
    }

    /// Sockets that the workers accept from.
    pub(super) fn listening(&self) -> u64 {
        self.fixed.seats.iter().map(|seat| seat.counters.listening.value()).sum()
    }

    /// The least that every worker has ticked since `last`, which becomes what each has ticked by now.
    pub(super) fn ticked_since(&self, last: &mut Vec<u64>) -> u64 {
        let ticks: Vec<u64> = self.fixed.seats.iter().map(|seat| seat.counters.ticks.value()).collect();
        last.resize(ticks.len(), 0);
        let least = ticks.iter().zip(last.iter()).map(|(now, last)| now - last).min().unwrap_or_default();
        *last = ticks;
        least
    }

    /// What is known of the live policy.
    pub(super) fn on_policy(&self, shown: Shown) {
        let mut live = self.live();
        let known = live.policy.as_ref().and_then(|shown| shown.trouble.as_ref());
        if shown.trouble.is_some() && shown.trouble.as_ref() != known {
            live.policy_syncs.refused += 1;
        }
        live.policy = Some(shown);
    }

    /// Every core serves by another live policy, `took_ns` after its change was seen.
    pub(super) fn on_policy_published(&self, epoch: u64, took_ns: u64) {
        let mut live = self.live();
        live.epoch = epoch;
        live.policy_syncs.on_synced(took_ns);
    }

    /// A live policy that was posted was not taken.
    pub(super) fn on_policy_refused(&self, shown: Shown) {
        let mut live = self.live();
        live.policy_syncs.refused += 1;
        live.policy = Some(shown);
    }

    /// The live policy document.
    pub(super) fn policy(&self) -> Option<Document> {
        self.live().policy.as_ref().map(|shown| shown.document.clone())
    }

    /// The admin server listens.
    pub(super) fn on_admin(&self, address: String) {
        self.live().admin = Some(address);
    }

    /// Every worker serves.
    pub(super) fn on_ready(&self) {
        self.live().ready = true;
    }

    /// The shutdown began.
    pub(super) fn on_draining(&self) {
        self.live().draining = true;
    }

    /// Did the shutdown begin?
    pub(super) fn is_draining(&self) -> bool {
        self.live().draining
    }

    /// May a load balancer send traffic: configuration loaded, listeners up, not draining, and an endpoint fit in every
    /// cluster that is required?
    pub(super) fn is_ready(&self) -> bool {
        self.live().is_ready(&self.fixed.fleet)
    }

    /// What is told at the start.
    pub(super) fn started(&self) -> Started {
        let live = self.live();
        Started { listeners: live.listeners.clone(), admin: live.admin.clone() }
    }

    /// Name of the workers' I/O driver.
    pub(super) const fn driver_name(&self) -> &'static str {
        self.fixed.driver.name()
    }

    /// What clients have here now.
    pub(super) fn load(&self) -> Load {
        seat::load(&self.fixed.seats)
    }

    /// Everything for one scrape.
    pub(super) fn scrape(&self) -> Scrape {
        let live = self.live();
        Scrape {
            workers: self.fixed.seats.iter().map(|seat| Arc::clone(&seat.counters)).collect(),
            reasons: self.fixed.reasons.clone(),
            tls_failures: self.fixed.tls_failures.clone(),
            store_failures: self.fixed.store_failures.clone(),
            routes: live.routes.clone(),
            top_clients: live.top_clients,
            limits_stolen: self.fixed.limits.stolen(),
            max_connections: live.max_connections,
            memory_bytes: memory::resident_bytes(),
            memory_limit_bytes: self.fixed.headroom.limit().unwrap_or(0),
            memory_shedding: self.fixed.headroom.shortage() as u64,
            started_ms: self.started_ms,
            epoch: live.epoch,
            policy_syncs: live.policy_syncs,
            reloads: live.reloads,
            upgrades: live.upgrades,
            clusters: live.overview.views(&self.fixed.fleet, clock::now_ns() / 1_000_000, &live.probe_details),
            probes: live.probes,
            lookups: (live.dns.lookups_ok, live.dns.lookups_failed),
            key_fetches: (live.key_counts.ok, live.key_counts.failed),
            log_dropped: self.fixed.log_lost.load(Ordering::Relaxed),
            journal_dropped: journal::lost(),
            unknown_names: self.fixed.unknown_names.load(Ordering::Relaxed),
            routes_omitted: live.routes_omitted,
            spans_exported: self.fixed.span_counts.exported(),
            spans_dropped: self.fixed.span_counts.dropped(),
            admin_ended: self.turned.counts(),
            rollout: live.rollout.view(),
        }
    }

    /// The page `/status`.
    pub(super) fn status(&self) -> Status {
        let live = self.live();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            started: clock::rfc3339_text(self.started_ms),
            uptime_seconds: (clock::now_ns() - self.started_ns) / 1_000_000_000,
            epoch: live.epoch,
            ready: live.is_ready(&self.fixed.fleet),
            draining: live.draining,
            io: IoStatus { driver: self.fixed.driver.name(), reason: self.fixed.driver_why.clone() },
            workers: self.fixed.seats.iter().enumerate().map(worker_status).collect(),
            listeners: live.listeners.iter().map(listener_status).collect(),
            admin: live.admin.clone(),
            last_reload: live.last_reload.clone(),
            last_upgrade: live.last_upgrade.clone(),
            replaced_pid: live.replaced,
            rollout: live.rollout.status(),
            policy: live.policy.as_ref().map(policy_status),
            dns: live.dns.clone(),
            issuers: live.issuers.clone(),
        }
    }
}

/// The page `/status` as JSON.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Status {
    version: &'static str,
    pid: u32,
    started: String,
    uptime_seconds: u64,
    epoch: u64,
    ready: bool,
    draining: bool,
    io: IoStatus,
    workers: Vec<WorkerStatus>,
    listeners: Vec<ListenerStatus>,
    admin: Option<String>,
    last_reload: Option<LastReload>,
    last_upgrade: Option<LastUpgrade>,
    replaced_pid: Option<u32>,
    rollout: rollout::Status,
    policy: Option<PolicyStatus>,
    dns: DnsStatus,
    issuers: Vec<ShownIssuer>,
}

/// The live policy.
#[derive(Debug, Serialize, JsonSchema)]
struct PolicyStatus {
    in_force: bool,
    document: Document,
    error: Option<String>,
}

/// Who publishes keys of tokens.
#[derive(Debug, Clone, Serialize, JsonSchema)]
struct ShownIssuer {
    url: String,
    keys: usize,
    skipped: usize,
    fetched: Option<String>,
    error: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
struct DnsStatus {
    lookups_ok: u64,
    lookups_failed: u64,
    names: Vec<ShownName>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
struct ShownName {
    host: String,
    addresses: Vec<IpAddr>,
    failing: bool,
    error: Option<String>,
    due: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct IoStatus {
    driver: &'static str,
    reason: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct WorkerStatus {
    index: usize,
    cpu: Option<usize>,
    epoch: u64,
    connections_active: u64,
    connections_idle: u64,
    requests_active: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ListenerStatus {
    name: String,
    address: SocketAddr,
}

fn worker_status((index, seat): (usize, &Seat)) -> WorkerStatus {
    WorkerStatus {
        index,
        cpu: seat.cpu,
        epoch: seat.counters.epoch.value(),
        connections_active: seat.counters.connections_active.value(),
        connections_idle: seat.counters.connections_idle.value(),
        requests_active: seat.counters.requests_active.value(),
    }
}

fn listener_status((name, address): &(String, SocketAddr)) -> ListenerStatus {
    ListenerStatus { name: name.clone(), address: *address }
}

fn policy_status(shown: &Shown) -> PolicyStatus {
    PolicyStatus { in_force: shown.in_force, document: shown.document.clone(), error: shown.trouble.clone() }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::overview::tests::Scene;
    use super::*;

    /// A board of one worker on epoll.
    pub(in crate::control) fn board() -> Board {
        let seats = vec![Seat::new(Some(0))];
        let fixed = Fixed {
            driver: Driver::Epoll,
            driver_why: "asked for".to_owned(),
            seats,
            reasons: Vec::new(),
            tls_failures: Vec::new(),
            store_failures: Vec::new(),
            log_lost: Arc::default(),
            unknown_names: Arc::default(),
            span_counts: Arc::default(),
            fleet: Arc::new(Fleet::new(1)),
            limits: Arc::new(Limits::new([0; 16])),
            headroom: Arc::default(),
        };
        Board::new(fixed)
    }

    #[test]
    fn ready_means_serving_and_not_draining() {
        let board = board();
        assert!(!board.is_ready());
        board.on_ready();
        assert!(board.is_ready());
        board.on_draining();
        assert!(!board.is_ready() && !board.status().ready && board.status().draining);
    }

    #[test]
    fn a_refused_reload_shows_its_report_until_one_succeeds() {
        let board = board();
        assert!(board.scrape().reloads.last_ok);
        board.on_reload("signal", Some("gateway.yaml:3:1: unknown key".to_owned()));
        let last = board.status().last_reload.unwrap();
        assert_eq!((last.ok, last.error.as_deref()), (false, Some("gateway.yaml:3:1: unknown key")));
        assert!(!board.scrape().reloads.last_ok);
        board.on_put_refused();
        assert!(!board.scrape().reloads.last_ok, "the files are still wrong");
        board.on_reload("file", None);
        board.on_put_refused();
        let reloads = board.scrape().reloads;
        assert_eq!((reloads.ok, reloads.failed, reloads.refused, reloads.last_ok), (1, 1, 2, true));
        assert!(board.status().last_reload.unwrap().ok);
    }

    #[test]
    fn the_slowest_worker_tells_whether_all_tick() {
        let board = board();
        let (ticks, mut last) = (&board.fixed.seats[0].counters.ticks, Vec::new());
        ticks.add(3);
        assert_eq!((board.ticked_since(&mut last), board.ticked_since(&mut last)), (3, 0));
        ticks.add(1);
        assert_eq!(board.ticked_since(&mut last), 1);
    }

    #[test]
    fn the_status_page_shows_names_with_their_addresses_and_errors() {
        let board = board();
        let name = NameStatus {
            host: "db.test".to_owned(),
            addresses: vec!["10.0.0.1".parse().unwrap()],
            is_failing: true,
            error: Some("no such name".to_owned()),
            due_in_ms: 0,
        };
        board.on_names(vec![name], Counts { ok: 3, failed: 1 });
        let json = serde_json::to_value(board.status()).unwrap();
        assert_eq!((&json["dns"]["lookups_ok"], &json["dns"]["lookups_failed"]), (&3.into(), &1.into()));
        let shown = &json["dns"]["names"][0];
        assert_eq!((&shown["host"], &shown["addresses"]), (&"db.test".into(), &serde_json::json!(["10.0.0.1"])));
        assert_eq!((&shown["failing"], &shown["error"]), (&true.into(), &"no such name".into()));
    }

    #[test]
    fn how_the_last_probe_went_is_forgotten_with_its_endpoint_and_with_its_check() {
        let board = board();
        let mut scene = Scene::new();
        let mut publish = |entries: &str| {
            let id = scene.publish(entries);
            board.on_published(Published {
                epoch: 1,
                listeners: Vec::new(),
                routes: Vec::new(),
                clusters: Vec::new(),
                max_connections: 9,
                top_clients: 50,
                routes_omitted: 0,
                overview: Arc::new(std::mem::take(&mut scene.overview)),
            });
            id
        };
        let detail = || board.clusters()[0].endpoints[0].probe_detail.clone();
        let probed = "health: { active: { kind: tcp } }";
        let ids = publish(&format!("{probed}, endpoints: [{{ url: 'http://10.0.0.1' }}]"));
        board.on_probed(ids[0], false, "connection refused");
        publish(&format!("{probed}, endpoints: [{{ url: 'http://10.0.0.1' }}]"));
        assert_eq!(detail(), "connection refused");
        publish("endpoints: [{ url: 'http://10.0.0.1' }]");
        assert_eq!(detail(), "", "it is not probed any more");
        board.on_probed(ids[0], false, "connection refused");
        publish(&format!("{probed}, endpoints: [{{ url: 'http://10.0.0.2' }}]"));
        let ids = publish(&format!("{probed}, endpoints: [{{ url: 'http://10.0.0.1' }}]"));
        assert_eq!((ids[0], detail()), (EndpointId(0), String::new()), "it is another one of the same identity");
    }

    #[test]
    fn the_status_page_shows_bound_addresses_and_workers() {
        let board = board();
        board.on_published(Published {
            epoch: 7,
            listeners: vec![("web".to_owned(), "127.0.0.1:8080".parse().unwrap())],
            routes: Vec::new(),
            clusters: Vec::new(),
            max_connections: 9,
            top_clients: 50,
            routes_omitted: 0,
            overview: Arc::default(),
        });
        let json = serde_json::to_value(board.status()).unwrap();
        assert_eq!(json["epoch"], 7);
        assert_eq!(json["listeners"][0], serde_json::json!({"name": "web", "address": "127.0.0.1:8080"}));
        assert_eq!(json["workers"][0]["cpu"], 0);
        assert_eq!(json["io"]["driver"], "epoll");
        assert_eq!(json["dns"]["names"], serde_json::json!([]));
        assert_eq!(board.scrape().max_connections, 9);
    }
}
