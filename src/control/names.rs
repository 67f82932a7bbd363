//! Endpoint names to addresses, for as long as the gateway runs.
//!
//! Owns: every name of the configuration, its last good addresses, and when it is asked for again.
//! Never: lets a failure take addresses away, waits for a name server where traffic or the control loop would wait too.
//! Invariants: a name of the configuration in force has addresses; a configuration that is not published changes
//! nothing; whoever uses the addresses is told of each change, and of a burst of them once.

mod answer;
mod record;
mod schedule;
mod server;
mod system;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::stream::{self, StreamExt as _};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::answer::Answer;
use self::record::{Bounds, Record, Shift};
use self::schedule::Schedule;
use self::system::{Files, System};
use crate::clock;
use crate::config::{Config, Dns};
use crate::rng::Rng;
use crate::snapshot::Resolved;

/// Names asked for at once.
const ASKS: usize = 16;
/// Longest time for all new names of a configuration together.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Wait for further changes after the first, so that a burst of them makes one epoch.
const GATHER_MS: u64 = 100;

/// Whoever knows the addresses of names: this machine's way to ask, or a test.
pub(super) trait Asker: Clone + Send + 'static {
    /// The same, by other settings.
    fn tuned(&self, dns: &Dns) -> Self;

    /// What `host` has for addresses; ends by itself.
    fn ask(self, host: Arc<str>) -> impl Future<Output = Answer> + Send + 'static;
}

/// Every name of the configuration in force, its last good addresses, and when it is asked for again.
pub(super) struct Names<A = System> {
    asker: A,
    now_ms: Box<dyn Fn() -> u64>,
    rng: Rng,
    wanted: Wanted,
    records: HashMap<Arc<str>, Record>,
    schedule: Schedule,
    asks: JoinSet<(Arc<str>, Answer)>,
    /// Names with other addresses than was told.
    changed: BTreeSet<Arc<str>>,
    /// When these are told.
    tell_ms: Option<u64>,
    counts: Counts,
    is_news: bool,
    staged: Option<Staged<A>>,
}

/// What came of asking for the names of a configuration that were not known before.
pub(super) struct Answers<A = System> {
    asker: A,
    wanted: Wanted,
    answers: HashMap<Arc<str>, Answer>,
    /// What was known of the others: the trial that wanted them may be over by now.
    known: HashMap<Arc<str>, Record>,
}

impl<A> Answers<A> {
    /// The addresses of a name that was asked for.
    ///
    /// # Errors
    /// Why there are none.
    pub(super) fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        let asked = self.wanted.hosts.get(host).zip(self.answers.get(host));
        let Some((bounds, answer)) = asked else { return Err("it was not asked for".to_owned()) };
        let mut record = Record::new(*bounds);
        // When it would be asked for again is of no interest.
        let _turn = record.on_answer(answer, 0);
        if record.is_failing() {
            return Err(record.trouble().unwrap_or_default().to_owned());
        }
        Ok(record.addresses().to_vec())
    }
}

/// A configuration that was resolved and is not in force yet.
struct Staged<A> {
    asker: A,
    wanted: Wanted,
    /// New names, each with the time when it is due.
    fresh: HashMap<Arc<str>, (Record, u64)>,
}

/// Lookups since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Those that brought an address.
    pub(super) ok: u64,
    /// Those that did not.
    pub(super) failed: u64,
}

/// One name as shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NameStatus {
    /// The name.
    pub(super) host: String,
    /// Its last good addresses, sorted.
    pub(super) addresses: Vec<IpAddr>,
    /// Did the last lookup bring no address?
    pub(super) is_failing: bool,
    /// What was wrong with the last lookup; it may have brought addresses of one family all the same.
    pub(super) error: Option<String>,
    /// Milliseconds until it is asked for again, 0 while it is.
    pub(super) due_in_ms: u64,
}

impl Default for Names {
    fn default() -> Self {
        // The first configuration brings the settings.
        let none = Duration::ZERO;
        let dns = Dns { servers: Vec::new(), timeout: none, ttl_min: none, ttl_max: none };
        Self::new(System::new(&dns, &Files::default()), || clock::now_ns() / 1_000_000)
    }
}

impl<A: Asker> Names<A> {
    /// No name yet; `now_ms` reads the clock that due times are on.
    pub(super) fn new(asker: A, now_ms: impl Fn() -> u64 + 'static) -> Self {
        // Only waits are drawn: guessing them is of no use to anybody.
        let rng = Rng::from_os().unwrap_or_else(|_| Rng::from_seed(u64::from(std::process::id())));
        Self {
            asker,
            now_ms: Box::new(now_ms),
            rng,
            wanted: Wanted::default(),
            records: HashMap::new(),
            schedule: Schedule::default(),
            asks: JoinSet::new(),
            changed: BTreeSet::new(),
            tell_ms: None,
            counts: Counts::default(),
            is_news: false,
            staged: None,
        }
    }

    /// Asks for the names of `config` that are not known yet, some at once; for [`Names::resolve`]. Whoever waits for it
    /// looks after the known ones meanwhile.
    pub(super) fn ask_for_new(&self, config: &Config) -> impl Future<Output = Answers<A>> + use<A> {
        self.ask_for_new_of(&[config])
    }

    /// The same for several configurations that are to stand side by side, by the settings of the first.
    pub(super) fn ask_for_new_of(&self, configs: &[&Config]) -> impl Future<Output = Answers<A>> + use<A> {
        let wanted = Wanted::of(configs);
        let asker = self.asker_of(&wanted);
        let of = |host: &Arc<str>| Some((Arc::clone(host), self.records.get(host)?.clone()));
        let known: HashMap<_, _> = wanted.hosts.keys().filter_map(of).collect();
        let unknown = wanted.hosts.keys().filter(|host| !known.contains_key(*host)).cloned().collect();
        async move {
            let answers = ask_each(&asker, unknown).await;
            Answers { asker, wanted, answers, known }
        }
    }

    fn asker_of(&self, wanted: &Wanted) -> A {
        match &wanted.dns {
            Some(dns) if wanted.dns != self.wanted.dns => self.asker.tuned(dns),
            Some(_) | None => self.asker.clone(),
        }
    }

    /// The addresses of all names of configurations, of which the new ones had these answers; what is known stays as it is.
    /// The last of `configs` is the one that was asked for, the others may have changed since. Followed by
    /// [`Names::on_published`] or [`Names::on_rejected`].
    ///
    /// # Errors
    /// One sentence for each name without an address, naming its cluster.
    pub(super) fn resolve(&mut self, configs: &[&Config], new: Answers<A>) -> Result<Resolved, Vec<String>> {
        let Answers { asker, wanted: asked, answers, known } = new;
        let wanted = Wanted::of(configs);
        let asker = if wanted.dns == asked.dns { asker } else { self.asker_of(&wanted) };
        let now_ms = (self.now_ms)();
        let mut fresh = HashMap::new();
        let mut failures = Vec::new();
        for (host, answer) in answers {
            let Some(bounds) = wanted.hosts.get(&host) else { continue };
            let mut record = Record::new(*bounds);
            let turn = record.on_answer(&answer, self.rng.u64());
            self.counts.on_answer(record.is_failing());
            if record.is_failing() {
                failures
                    .extend(configs.last().map(|config| explain(config, &host, record.trouble().unwrap_or_default())));
            } else {
                fresh.insert(host, (record, now_ms + turn.wait_ms));
            }
        }
        for (host, mut record) in known {
            if let (Some(bounds), None) = (wanted.hosts.get(&host), self.records.get(&host)) {
                record.on_bounds(*bounds);
                fresh.insert(host, (record, now_ms));
            }
        }
        if !failures.is_empty() {
            failures.sort();
            return Err(failures);
        }
        let resolved =
            wanted.resolved(|host| fresh.get(host).map(|(record, _)| record).or_else(|| self.records.get(host)));
        self.staged = Some(Staged { asker, wanted, fresh });
        Ok(resolved)
    }

    /// The addresses of all names of configurations that want none but known ones. Followed as [`Names::resolve`] is.
    pub(super) fn resolved_of(&mut self, configs: &[&Config]) -> Resolved {
        let wanted = Wanted::of(configs);
        let resolved = wanted.resolved(|host| self.records.get(host));
        if wanted != self.wanted {
            self.staged = Some(Staged { asker: self.asker_of(&wanted), wanted, fresh: HashMap::new() });
        }
        resolved
    }

    /// Told that the configuration resolved last is in force.
    pub(super) fn on_published(&mut self) {
        let Some(Staged { asker, wanted, fresh }) = self.staged.take() else { return };
        let now_ms = (self.now_ms)();
        self.records.retain(|host, _| {
            let is_wanted = wanted.hosts.contains_key(host);
            if !is_wanted {
                self.schedule.on_removed(host);
            }
            is_wanted
        });
        let is_tuned = wanted.dns == self.wanted.dns;
        if !is_tuned {
            // What the former servers still have to say does not count.
            self.asks = JoinSet::new();
        }
        for (host, record) in &mut self.records {
            let bounds = wanted.hosts[host];
            record.on_bounds(bounds);
            if is_tuned {
                self.schedule.on_due_by(host, now_ms + bounds.ceiling_ms());
            } else {
                self.schedule.on_due(host, now_ms);
            }
        }
        for (host, (record, due_ms)) in fresh {
            self.schedule.on_due(&host, due_ms);
            self.records.insert(host, record);
        }
        self.records.values_mut().for_each(Record::on_told);
        self.changed.clear();
        self.tell_ms = None;
        self.asker = asker;
        self.wanted = wanted;
        self.is_news = true;
    }

    /// Told that the configuration resolved last was given up; the one in force goes on.
    pub(super) fn on_rejected(&mut self) {
        self.staged = None;
    }

    /// Asks for names when they are due, and returns those whose addresses have changed once there are some. May be
    /// abandoned at any time: what it began goes on by itself and is taken up by the next call.
    pub(super) async fn changed(&mut self) -> Vec<String> {
        loop {
            if let Some(hosts) = self.step().await {
                return hosts;
            }
        }
    }

    /// One turn of [`Names::changed`], which ends with the next answer or the next due time.
    async fn step(&mut self) -> Option<Vec<String>> {
        let now_ms = (self.now_ms)();
        while self.asks.len() < ASKS
            && let Some(host) = self.schedule.try_next(now_ms)
        {
            self.asks.spawn(ask(self.asker.clone(), host));
        }
        if self.tell_ms.is_some_and(|tell_ms| tell_ms <= now_ms) {
            return Some(self.tell());
        }
        let due_ms = self.schedule.next_ms().filter(|_| self.asks.len() < ASKS);
        let wake_ms = [due_ms, self.tell_ms].into_iter().flatten().min();
        tokio::select! {
            Some(Ok((host, answer))) = self.asks.join_next() => self.on_answer(&host, &answer),
            () = pause(wake_ms.map(|wake_ms| wake_ms.saturating_sub(now_ms))) => {}
        }
        None
    }

    fn on_answer(&mut self, host: &Arc<str>, answer: &Answer) {
        // It may be of a configuration that is gone.
        let Some(record) = self.records.get_mut(host) else { return };
        let now_ms = (self.now_ms)();
        let turn = record.on_answer(answer, self.rng.u64());
        match turn.shift {
            Shift::Lost => {
                let why = record.trouble().unwrap_or_default();
                tracing::warn!(host = &**host, why, "name not resolved, its last addresses stay");
            }
            Shift::Regained => tracing::info!(host = &**host, "name resolved again"),
            Shift::Same => {}
        }
        if record.is_changed() {
            self.changed.insert(Arc::clone(host));
            self.tell_ms.get_or_insert(now_ms + GATHER_MS);
        } else if self.changed.remove(host) && self.changed.is_empty() {
            self.tell_ms = None;
        }
        self.schedule.on_due(host, now_ms + turn.wait_ms);
        self.counts.on_answer(record.is_failing());
        self.is_news = true;
    }

    fn tell(&mut self) -> Vec<String> {
        self.tell_ms = None;
        let changed = std::mem::take(&mut self.changed);
        for host in &changed {
            if let Some(record) = self.records.get_mut(host) {
                record.on_told();
            }
        }
        changed.iter().map(|host| host.to_string()).collect()
    }

    /// Addresses of every endpoint of the configuration in force.
    #[cfg(test)]
    fn resolved(&self) -> Resolved {
        self.wanted.resolved(|host| self.records.get(host))
    }

    /// Was anything learnt since the last call?
    pub(super) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.is_news)
    }

    /// Every name of the configuration in force, sorted.
    pub(super) fn statuses(&self) -> Vec<NameStatus> {
        let now_ms = (self.now_ms)();
        let status = |host: &Arc<str>| {
            let record = self.records.get(host)?;
            Some(NameStatus {
                host: host.to_string(),
                addresses: record.addresses().to_vec(),
                is_failing: record.is_failing(),
                error: record.trouble().map(str::to_owned),
                due_in_ms: self.schedule.due_ms(host).unwrap_or(now_ms).saturating_sub(now_ms),
            })
        };
        self.wanted.hosts.keys().filter_map(status).collect()
    }

    /// Lookups since the start.
    pub(super) const fn counts(&self) -> Counts {
        self.counts
    }
}

impl Counts {
    const fn on_answer(&mut self, is_failing: bool) {
        if is_failing { self.failed += 1 } else { self.ok += 1 }
    }
}

/// What a configuration asks for, or several side by side.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    /// `None` before the first configuration.
    dns: Option<Dns>,
    /// Names; an address stands for itself and is no name.
    hosts: BTreeMap<Arc<str>, Bounds>,
    /// Hosts and ports of endpoints.
    pairs: BTreeSet<(String, u16)>,
}

impl Wanted {
    /// The first is in force: how names are asked for is said by it alone, and how often its own ones are.
    fn of(configs: &[&Config]) -> Self {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let Some(Config { dns, .. }) = configs.first() else { return Self::default() };
        let mut wanted = Self { dns: Some(dns.clone()), ..Self::default() };
        for config in configs {
            let mut hosts: BTreeMap<Arc<str>, Bounds> = BTreeMap::new();
            for endpoint in config.clusters.iter().flat_map(|cluster| &cluster.endpoints) {
                wanted.pairs.insert((endpoint.host.clone(), endpoint.port));
                if endpoint.host.parse::<IpAddr>().is_ok() {
                    continue;
                }
                let ceiling = endpoint.dns_ttl_max.unwrap_or(dns.ttl_max);
                let bounds = Bounds::new(ms(dns.ttl_min), ms(ceiling));
                let host: Arc<str> = Arc::from(endpoint.host.as_str());
                hosts.entry(host).and_modify(|known| *known = known.with(bounds)).or_insert(bounds);
            }
            for (host, bounds) in hosts {
                wanted.hosts.entry(host).or_insert(bounds);
            }
        }
        wanted
    }

    /// Addresses of every endpoint, by the records that `find` finds.
    fn resolved<'a>(&self, find: impl Fn(&str) -> Option<&'a Record>) -> Resolved {
        let addresses = |host: &str| match host.parse::<IpAddr>() {
            Ok(ip) => vec![ip],
            Err(_) => find(host).map(|record| record.addresses().to_vec()).unwrap_or_default(),
        };
        let with_port = |port: u16| move |ip: IpAddr| SocketAddr::new(ip, port);
        (self.pairs.iter())
            .map(|(host, port)| ((host.clone(), *port), addresses(host).into_iter().map(with_port(*port)).collect()))
            .collect()
    }
}

/// The answers for all of `hosts`, some asked for at once and none waited for beyond [`PATIENCE`].
async fn ask_each<A: Asker>(asker: &A, hosts: Vec<Arc<str>>) -> HashMap<Arc<str>, Answer> {
    let late = Answer::unknown(format!("no answer within {PATIENCE:?}"));
    let mut answers: HashMap<Arc<str>, Answer> = hosts.iter().map(|host| (Arc::clone(host), late.clone())).collect();
    let mut asks = stream::iter(hosts).map(|host| ask(asker.clone(), host)).buffer_unordered(ASKS);
    let collecting = async {
        while let Some((host, answer)) = asks.next().await {
            answers.insert(host, answer);
        }
    };
    // Whether it was late shows in the answers.
    drop(timeout(PATIENCE, collecting).await);
    answers
}

/// A bug of the resolver must not cost the name its turn.
async fn ask<A: Asker>(asker: A, host: Arc<str>) -> (Arc<str>, Answer) {
    let asking = AssertUnwindSafe(asker.ask(Arc::clone(&host))).catch_unwind();
    (host, asking.await.unwrap_or_else(|_| Answer::unknown("the resolver panicked".to_owned())))
}

/// Waits some milliseconds, or forever.
async fn pause(wait_ms: Option<u64>) {
    match wait_ms {
        Some(wait_ms) => sleep(Duration::from_millis(wait_ms)).await,
        None => std::future::pending().await,
    }
}

fn explain(config: &Config, host: &str, why: &str) -> String {
    let cluster = config
        .clusters
        .iter()
        .find(|cluster| cluster.endpoints.iter().any(|endpoint| endpoint.host == host))
        .map_or("", |cluster| cluster.name.as_str());
    format!("cluster `{cluster}`: cannot resolve `{host}`: {why}")
}

#[cfg(test)]
mod loopback;
#[cfg(test)]
mod tests;
