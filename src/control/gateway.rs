//! The running gateway: everything the control loop owns, and how it takes up a new configuration.

use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::board::{Board, Published};
use super::changes::{ListenerChanges, listener_changes, needs_restart};
use super::chores::Chores;
use super::crew::Crew;
use super::log_writer::{Log, LogWriter};
use super::memory;
use super::overview::Overview;
use super::policy::{Author, LivePolicies, News as PolicyNews, Refusal};
use super::probes::{self, Probes};
use super::put::{Keeping, Refused};
use super::rollout::{Course, Rollouts};
use super::sides::Sides;
use super::sockets::{self, Opened, Originals};
use super::source::{Loaded, Source};
use super::systemd;
use super::tables::{News, Tables};
use super::traces::Traces;
use super::upgrade::{Given, Outcome, Successor, Upgraded};
use super::watch::Watch;
use super::weights::Wanted;
use super::written::Written;
use crate::clock;
use crate::config::Config;
use crate::limits;
use crate::policy::LivePolicy;
use crate::snapshot::{Entrance, Publisher, Snapshot};
use crate::worker::{Credit, Loads, Message};

/// Longest wait for every worker to serve by a new epoch.
pub(super) const ADOPTION: Duration = Duration::from_secs(5);
/// Pause between two looks at the sockets that workers accept from.
const ACCEPT_POLL: Duration = Duration::from_millis(1);

/// What asked for a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trigger {
    /// A signal, by its name.
    Signal(&'static str),
    /// The signal to open the log anew, which timers send as well as operators.
    Reopen,
    /// `POST /reload`.
    Admin,
    /// The files changed.
    Files,
    /// `PUT /config`.
    Put,
}

impl Trigger {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Signal(name) => name,
            Self::Reopen => "SIGUSR1",
            Self::Admin => "admin",
            Self::Files => "files",
            Self::Put => "put",
        }
    }
}

/// What came of a reload that was not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reloaded {
    /// The epoch in force.
    pub(super) epoch: u64,
    /// The number of the trial that the configuration is on, if it is.
    pub(super) rollout: Option<NonZeroU32>,
}

/// Everything the control loop owns, except for the admin server.
pub(super) struct Gateway {
    pub(super) source: Source,
    pub(super) loaded: Loaded,
    /// The last report, so that a watch does not repeat it.
    pub(super) last_refusal: Option<String>,
    pub(super) tables: Tables,
    pub(super) publisher: Publisher,
    pub(super) originals: Originals,
    pub(super) watch: Option<Watch>,
    pub(super) crew: Crew,
    pub(super) credit: Arc<Credit>,
    pub(super) loads: Arc<Loads>,
    pub(super) board: Arc<Board>,
    pub(super) writer: LogWriter,
    pub(super) traces: Traces,
    pub(super) probes: Probes,
    pub(super) overview: Arc<Overview>,
    pub(super) policy: LivePolicies,
    pub(super) rollouts: Rollouts,
    pub(super) chores: Chores,
}

impl Gateway {
    /// The configuration in force.
    pub(super) fn config(&self) -> &Config {
        &self.loaded.config
    }

    /// Reads the configuration again and publishes it, or puts it on trial.
    ///
    /// Files that say what is known already publish nothing when only the watch asked.
    ///
    /// # Errors
    /// The whole report; then nothing has changed.
    pub(super) async fn reload(&mut self, trigger: Trigger) -> Result<Reloaded, String> {
        systemd::on_reloading();
        let result = self.take_up_files(trigger).await;
        systemd::on_ready(self.last_refusal.as_deref());
        result.map(|epoch| Reloaded { epoch, rollout: self.rollouts.number() })
    }

    async fn take_up_files(&mut self, trigger: Trigger) -> Result<u64, String> {
        let began = clock::now_ns();
        self.rollouts.on_reading();
        let loading = self.source.clone().load_leaving();
        let (loaded, leavings) = self.meanwhile(loading).await;
        let result = match loaded {
            Ok(loaded) => self.take_up_read(trigger, loaded, began).await,
            Err(report) => self.refuse(trigger, report),
        };
        // Every worker serves by what was read.
        memory::drop_elsewhere(leavings);
        result
    }

    /// Takes up what was read from the files since `began`.
    async fn take_up_read(&mut self, trigger: Trigger, loaded: Loaded, began: u64) -> Result<u64, String> {
        if self.rollouts.course(trigger, &loaded.config, self.config()) == Course::Stay {
            self.stay(loaded);
            // What was refused was taken back: nothing is wrong any more, and the same again is to be told again.
            if self.last_refusal.take().is_some() {
                self.board.on_reload(trigger.name(), None);
                tracing::info!(trigger = trigger.name(), "the files say again what is known");
            }
            return Ok(self.publisher.epoch());
        }
        match self.take_up_loaded(trigger, loaded, None).await {
            Ok(epoch) => {
                self.last_refusal = None;
                self.board.on_reload(trigger.name(), None);
                let published = clock::now_ns();
                let adopted = self.adopted().await;
                tracing::info!(
                    epoch,
                    trigger = trigger.name(),
                    routes = self.config().routes.len(),
                    loaded_ms = millis(published - began),
                    adopted,
                    adopted_ms = millis(clock::now_ns() - published),
                    on_trial = self.rollouts.number().is_some(),
                    "configuration published"
                );
                Ok(epoch)
            }
            Err(refused) => self.refuse(trigger, refused.why()),
        }
    }

    /// The files say what is known already; there may be others of them.
    fn stay(&mut self, loaded: Loaded) {
        if loaded.config == self.loaded.config {
            self.loaded = loaded;
            self.rollouts.on_files_in_force();
        } else {
            if self.rollouts.number().is_none() {
                tracing::warn!("the files say what was rolled back, which is not tried again by itself");
            }
            self.rollouts.on_read(loaded);
        }
        self.follow_files();
        self.show();
    }

    fn refuse(&mut self, trigger: Trigger, report: String) -> Result<u64, String> {
        let repeated = trigger == Trigger::Files && self.last_refusal.as_ref() == Some(&report);
        if !repeated {
            self.board.on_reload(trigger.name(), Some(report.clone()));
            let epoch = self.publisher.epoch();
            tracing::error!(trigger = trigger.name(), epoch, report, "configuration refused, the last one stays");
            self.last_refusal = Some(report.clone());
        }
        // A directory may be gone, and is to be seen when it comes back.
        self.follow_files();
        Err(report)
    }

    /// Puts a configuration on trial or in force, or leaves it as it is where it is known; `keeping` a new main file is the
    /// last of what can fail.
    pub(super) async fn take_up_loaded(
        &mut self,
        trigger: Trigger,
        loaded: Loaded,
        keeping: Option<Keeping>,
    ) -> Result<u64, Refused> {
        match (self.rollouts.course(trigger, &loaded.config, self.config()), loaded.config.rollout.clone()) {
            (Course::Stay, _) => {
                if let Some(keeping) = keeping {
                    keeping.commit().await?;
                }
                self.stay(loaded);
                Ok(self.publisher.epoch())
            }
            (Course::Stage, Some(rules)) => self.stage(loaded, rules, keeping).await,
            (Course::Stage, None) | (Course::Publish, _) => self.publish(loaded, keeping).await,
        }
    }

    /// Everything that can fail comes first, `keeping` a new main file the last of it; from `put_in_force` on nothing does.
    async fn publish(&mut self, loaded: Loaded, keeping: Option<Keeping>) -> Result<u64, Refused> {
        self.tables.look_for_roots(&loaded.config).await;
        let asking = self.tables.ask_for_new(Sides::alone(&loaded.config));
        let new = self.meanwhile(asking).await;
        let log = self.meanwhile(self.open_log(&loaded.config)).await.map_err(Refused::Invalid)?;
        let epoch = self.publisher.epoch() + 1;
        let snapshot = self.tables.compile(Sides::alone(&loaded.config), epoch, new).map_err(Refused::Invalid)?;
        let changes = listener_changes(&self.originals.held(), &loaded.config.listeners);
        let opened = match self.originals.open_more(&changes.open, self.crew.len()) {
            Ok(opened) => opened,
            Err(error) => {
                self.tables.on_rejected(epoch);
                return Err(Refused::Invalid(error));
            }
        };
        if let Some(keeping) = keeping
            && let Err(refused) = keeping.commit().await
        {
            self.tables.on_rejected(epoch);
            return Err(refused);
        }
        self.supersede();
        loaded.warn();
        self.put_in_force(loaded, snapshot, &changes, opened, log);
        Ok(epoch)
    }

    /// Opens the access log that `wanted` has in place of the one that is written to; `None` where it is the same.
    pub(super) fn open_log(&self, wanted: &Config) -> impl Future<Output = Result<Option<Log>, String>> + use<> {
        let output = &wanted.access_log.output;
        let is_other = *output != self.config().access_log.output || self.writer.is_astray();
        let opening = is_other.then(|| Log::open_apart(output.clone()));
        async move {
            match opening {
                Some(opening) => opening.await.map(Some),
                None => Ok(None),
            }
        }
    }

    /// A configuration is for everybody from here on; `snapshot` was compiled from it alone.
    pub(super) fn put_in_force(
        &mut self,
        loaded: Loaded,
        snapshot: Snapshot,
        changes: &ListenerChanges,
        opened: Vec<Opened>,
        log: Option<Log>,
    ) {
        let old = std::mem::replace(&mut self.loaded, loaded);
        self.policy.follow(self.loaded.config.live_policy.as_ref());
        self.traces.follow(&self.loaded.config, snapshot.epoch);
        // Before there is a snapshot that knows nothing of them, and after there is one that knows them.
        self.close_listeners(changes);
        self.put_out(snapshot);
        self.open_listeners(changes, opened);
        self.follow_files();
        self.take_up(&old.config, log);
        self.show();
        memory::drop_elsewhere(old);
    }

    /// Publishes what was compiled from what is in force and what is on trial.
    pub(super) fn put_out(&mut self, mut snapshot: Snapshot) {
        let epoch = snapshot.epoch;
        snapshot.set_live(self.live());
        let sides = self.rollouts.sides(&self.loaded.config);
        self.tables.on_publishing(&snapshot, sides);
        self.probes.follow(probes::targets(sides, &snapshot));
        self.overview = Arc::new(Overview::new(&snapshot, sides));
        self.publish_as_it_is(snapshot);
        self.tables.on_published(epoch);
    }

    /// Publishes tables that nothing else has to learn of.
    pub(super) fn publish_as_it_is(&mut self, snapshot: Snapshot) {
        self.publisher.publish(snapshot);
        self.crew.tell(|| Message::Nudge);
    }

    /// Publishes what is in force, and on trial, once more, with the addresses and the keys that there are now: workers close
    /// what rests at addresses that are gone, and exchanges in flight end there.
    pub(super) fn take_news(&mut self, news: &News) {
        let epoch = self.publisher.epoch() + 1;
        match self.tables.recompile(self.rollouts.sides(&self.loaded.config), epoch) {
            Ok(snapshot) => {
                self.put_out(snapshot);
                self.show();
                match news {
                    News::Addresses(hosts) => {
                        tracing::info!(epoch, hosts = hosts.join(", "), "changed addresses published");
                    }
                    News::Keys(url) => tracing::info!(epoch, url, "changed keys published"),
                    News::Weight(cluster, endpoint) => {
                        tracing::info!(epoch, cluster, %endpoint, "changed weight published")
                    }
                    News::Inherited(weights) => {
                        tracing::info!(epoch, weights, "what operators gave the process before published")
                    }
                    News::Tickets => tracing::info!(epoch, "new keys of session tickets published"),
                }
            }
            Err(why) => {
                tracing::error!(?news, why, "changed addresses, keys or weights not taken up, the last ones stay")
            }
        }
    }

    /// The live policy for a snapshot.
    fn live(&self) -> Option<Arc<LivePolicy>> {
        let live = self.policy.compiled();
        if live.is_some() {
            // No request should have to make the table of rate limits.
            self.tables.limits().prepare();
        }
        live
    }

    /// Gives an endpoint another weight; the epoch that has it, once every worker serves by it, or `None` without such an endpoint.
    ///
    /// # Errors
    /// It was not adopted in time.
    pub(super) async fn weigh(
        &mut self,
        cluster: &str,
        address: SocketAddr,
        wanted: Wanted,
    ) -> Result<Option<u64>, String> {
        if !self.overview.endpoints().any(|(of, endpoint)| of.name == cluster && endpoint.address == address) {
            return Ok(None);
        }
        if self.tables.weigh(cluster, address, wanted) {
            self.take_news(&News::Weight(cluster.to_owned(), address));
        }
        match self.adopted().await {
            true => Ok(Some(self.publisher.epoch())),
            false => Err("a worker did not take it up in time".to_owned()),
        }
    }

    /// Takes up what may have changed the live policy.
    pub(super) async fn take_policy(&mut self, news: PolicyNews) {
        let seen = match news {
            PolicyNews::File { seen_ns } => seen_ns,
            PolicyNews::Shared(_) => clock::now_ns(),
        };
        let author = self.policy.take(news);
        self.publish_policy(author, seen).await;
        self.policy.settle().await;
        self.board.on_policy(self.policy.shown());
    }

    /// Looks whether the live policy was changed unseen.
    pub(super) async fn look_at_policy(&mut self) {
        let seen = clock::now_ns();
        let author = self.policy.look();
        self.publish_policy(author, seen).await;
        self.policy.settle().await;
    }

    /// Merges what was posted into the live policy.
    ///
    /// # Errors
    /// Why not; then nothing has changed.
    pub(super) async fn post_policy(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        match self.policy.post(bytes).await {
            // Until it is kept it may still be refused.
            Ok(kept) => {
                self.publish_policy(Some(Author::Admin), kept).await;
                Ok(())
            }
            Err(refusal) => {
                let (Refusal::Invalid(why) | Refusal::Unkept(why)) = &refusal;
                tracing::warn!(why, "posted policy refused, the last one stays");
                self.board.on_policy_refused(self.policy.shown());
                Err(refusal)
            }
        }
    }

    /// Publishes the configuration in force once more under the live policy that there is now; its epoch.
    fn put_policy_out(&mut self) -> u64 {
        let epoch = self.publisher.epoch() + 1;
        let snapshot = self.publisher.current().under(self.live(), epoch);
        self.tables.on_policy_publishing(&snapshot);
        self.publish_as_it_is(snapshot);
        epoch
    }

    /// Publishes the configuration in force once more under the live policy that there is now, if it is another one.
    async fn publish_policy(&mut self, author: Option<Author>, seen: u64) {
        self.board.on_policy(self.policy.shown());
        if let Some(author) = author {
            let epoch = self.put_policy_out();
            let adopted = self.adopted().await;
            let took = clock::now_ns() - seen;
            let document = self.policy.shown().document;
            tracing::info!(
                epoch,
                by = author.name(),
                enabled = document.enabled,
                rate_limit = document.rate_limit.to_string(),
                circuit_breaker_threshold = document.circuit_breaker_threshold,
                adopted,
                adopted_ms = millis(took),
                "live policy published"
            );
            self.board.on_policy_published(epoch, took);
        }
    }

    fn close_listeners(&mut self, changes: &ListenerChanges) {
        for address in &changes.close {
            self.crew.tell(|| Message::Unlisten { address: *address });
            self.originals.close(*address);
        }
    }

    fn open_listeners(&mut self, changes: &ListenerChanges, opened: Vec<Opened>) {
        for held in &changes.keep {
            self.originals.rename(held);
        }
        let snapshot = self.publisher.current();
        for one in opened {
            self.tables.on_bound(&one.held);
            self.crew.listen(one.held.entrance(&snapshot), one.berths);
            self.originals.keep(one.held, one.sockets);
        }
    }

    /// What a new configuration changes outside the snapshot.
    fn take_up(&self, old: &Config, log: Option<Log>) {
        let new = &self.loaded.config;
        self.credit.set_limit(new.runtime.max_connections);
        self.loads.set_balanced(new.runtime.accept_balance);
        memory::limit(self.tables.headroom(), new.runtime.memory_limit);
        match log {
            Some(log) => self.writer.write_to(log),
            // It was looked at when the trial began, and may have been moved away since; or it was away, and is back.
            None if old.access_log.output != new.access_log.output || self.writer.is_astray() => {
                self.writer.reopen(&new.access_log.output);
            }
            None => {}
        }
        let restart = needs_restart(old, new);
        if !restart.is_empty() {
            tracing::warn!(settings = restart.join(", "), "changed settings that take effect at the next start");
        }
    }

    /// Watches the files of the configuration, or nothing when it does not want that.
    pub(super) fn follow_files(&self) {
        if let Some(watch) = &self.watch {
            watch.ignore(self.policy.own_files());
            let files = &self.rollouts.on_disk().unwrap_or(&self.loaded).files;
            watch.follow(if self.loaded.config.watch { files } else { &[] });
        }
    }

    /// Waits until every worker serves by the epoch in force; `false` when that takes too long.
    pub(super) async fn adopted(&self) -> bool {
        tokio::time::timeout(ADOPTION, self.publisher.adopted()).await.is_ok()
    }

    /// What operators gave this process that stands nowhere else, or may not be read there.
    fn given(&self) -> Given {
        Given {
            weights: self.tables.weights(),
            policy: self.policy.homeless(),
            last_policy: self.policy.last(),
            policy_file: self.policy.seen_file(),
        }
    }

    /// Takes up what operators gave the process before, and waits until every worker serves by that.
    ///
    /// # Errors
    /// A worker did not take it up in time.
    pub(super) async fn inherit(&mut self, given: Given) -> Result<(), String> {
        let (homeless, last, seen_file) = (&given.policy, &given.last_policy, &given.policy_file);
        let is_policy_new = self.policy.inherit(homeless.as_deref(), last.as_deref(), seen_file.as_deref());
        let weighed = given
            .weights
            .into_iter()
            .filter(|(cluster, address, weight)| self.tables.weigh(cluster, *address, Wanted::Weight(*weight)));
        let weights = weighed.count();
        if weights > 0 {
            self.take_news(&News::Inherited(weights));
        } else if is_policy_new {
            let epoch = self.put_policy_out();
            self.show();
            tracing::info!(epoch, "the live policy of the process before published");
        }
        match self.adopted().await {
            true => Ok(()),
            false => Err("a worker did not take up what was given to the process before".to_owned()),
        }
    }

    /// Hands over to a process that can serve: has it take up what operators gave this one, stops accepting, has it accept,
    /// and accepts again where it does not.
    pub(super) async fn hand_over(&self, mut successor: Successor) -> Outcome {
        // While this process accepts: clients wait for all that follows.
        successor.inherit(self.given()).await?;
        let is_kept = |name: &String| successor.listeners.contains(name);
        let (mut copies, mut released) = (Vec::new(), Vec::new());
        let snapshot = self.publisher.current();
        for (held, sockets) in self.originals.all().filter(|(held, _)| is_kept(&held.name)) {
            // Now, while nothing is given up: descriptors may be short.
            let berths = sockets::berths(sockets, self.crew.len()).map_err(|error| error.to_string())?;
            copies.push((held.entrance(&snapshot), berths));
            released.push(held.bound);
        }
        let others = self.accept_loops(|name| !is_kept(name));
        for address in released {
            self.crew.tell(|| Message::Release { address });
        }
        let outcome = if self.accepts_by(others).await {
            successor.take_over().await
        } else {
            Err("a worker does not stop accepting".to_owned())
        };
        match outcome {
            Ok(epoch) => {
                let keeps_admin = successor.keeps_admin;
                Ok(Upgraded { pid: successor.release(), epoch, keeps_admin })
            }
            Err(why) => {
                drop(successor);
                self.accept_on(copies);
                Err(why)
            }
        }
    }

    /// Has the workers accept on sockets of these entrances.
    pub(super) fn accept_on(&self, copies: Vec<(Entrance, Vec<Vec<TcpListener>>)>) {
        for (entrance, berths) in copies {
            self.crew.listen(entrance, berths);
        }
    }

    /// How many sockets the workers accept from when they accept on the listeners of these names.
    pub(super) fn accept_loops(&self, which: impl Fn(&String) -> bool) -> u64 {
        let listeners = self.originals.all().filter(|(held, _)| which(&held.name));
        listeners.map(|(_, sockets)| sockets.len().max(self.crew.len()) as u64).sum()
    }

    /// Waits until the workers accept from so many sockets; `false` when that takes too long, or one has ended.
    pub(super) async fn accepts_by(&self, loops: u64) -> bool {
        let waiting = async {
            while self.board.listening() != loops {
                if self.crew.any_finished() {
                    return false;
                }
                tokio::time::sleep(ACCEPT_POLL).await;
            }
            true
        };
        tokio::time::timeout(ADOPTION, waiting).await.unwrap_or(false)
    }

    /// The configuration in force as it was written.
    pub(super) fn written(&self) -> Written {
        Written { texts: self.loaded.texts.clone(), sources: self.source.sources() }
    }

    /// What was read last and not refused: what is on trial, what was rolled back, or what is in force.
    pub(super) fn read_last(&self) -> Written {
        let texts = self.rollouts.on_disk().unwrap_or(&self.loaded).texts.clone();
        Written { texts, sources: self.source.sources() }
    }

    /// Puts what is in force on the board.
    pub(super) fn show(&self) {
        let [routes, clusters] = self.tables.series_names();
        self.board.on_written(self.written());
        self.board.on_config(Arc::clone(&self.loaded.config));
        self.board.on_policy(self.policy.shown());
        self.board.on_rollout(self.rollouts.shown());
        self.board.on_published(Published {
            epoch: self.publisher.epoch(),
            listeners: self.originals.all().map(|(held, _)| (held.name.clone(), held.bound)).collect(),
            routes,
            clusters,
            max_connections: self.config().runtime.max_connections as u64,
            top_clients: self.config().top_clients,
            routes_omitted: self.routes_omitted(),
            overview: Arc::clone(&self.overview),
        });
    }

    /// Routes that have no series of their own.
    fn routes_omitted(&self) -> u64 {
        let snapshot = self.publisher.current();
        snapshot.routes.iter().filter(|route| route.series >= limits::ROUTE_SERIES).count() as u64
    }

    /// Puts names and issuers on the board when anything was learnt of them.
    pub(super) fn show_names(&mut self) {
        if let Some((names, counts)) = self.tables.try_names() {
            self.board.on_names(names, counts);
        }
        if let Some((issuers, counts)) = self.tables.try_issuers() {
            self.board.on_issuers(issuers, counts);
        }
    }

    /// Opens the access log afresh.
    pub(super) fn reopen_log(&self) {
        self.writer.reopen(&self.config().access_log.output);
    }

    /// Frees what no worker uses any more.
    pub(super) fn retire(&mut self) {
        let retired = self.publisher.take_retired();
        if !retired.is_empty() {
            memory::drop_elsewhere(retired);
        }
        self.tables.retire(self.publisher.oldest_in_use());
    }
}

/// Nanoseconds as milliseconds with their fraction, for logs.
#[allow(clippy::cast_precision_loss, reason = "a log line rounds")]
fn millis(ns: u64) -> f64 {
    ns as f64 / 1e6
}
