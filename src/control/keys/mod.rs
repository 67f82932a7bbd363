//! Keys that issuers of tokens publish: fetched again and again on the control thread.
//!
//! Owns a task for each source and what it last found. Never: follows redirects, tells a key.
//! Invariants: the last good keys stay until others are there; a source is asked ahead of its time at most once in each
//! interval, however many tokens name a key that is not there.

mod fetch;
mod first;
mod schedule;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use rustc_hash::FxHashMap;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::clock;
use crate::config::{Config, JwtKeys, KeySource};
use crate::policy::auth::{KeySet, Wanted};
use crate::rng::Rng;
use crate::snapshot::Issued;
use fetch::Found;
use first::First;
pub(super) use first::PATIENCE;

/// What is shown of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyStatus {
    /// Its URL, without the query.
    pub(super) url: String,
    /// Keys in force.
    pub(super) keys: usize,
    /// Keys of the set that cannot be used.
    pub(super) skipped: usize,
    /// Milliseconds since 1970 when they were last fetched, 0 for never.
    pub(super) fetched_ms: u64,
    /// Why the last try failed.
    pub(super) error: Option<String>,
}

/// Fetches that went well, and that failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct KeyCounts {
    pub(super) ok: u64,
    pub(super) failed: u64,
}

/// One source that is asked; dropping it ends its task.
struct Running {
    source: KeySource,
    term: u64,
    wanted: Arc<Wanted>,
    keys: KeySet,
    status: KeyStatus,
    task: JoinHandle<()>,
}

impl Running {
    /// Has it said anything, or could it not?
    const fn is_heard(&self) -> bool {
        self.status.keys > 0 || self.status.fetched_ms > 0 || self.status.error.is_some()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a task found.
struct Report {
    term: u64,
    found: Found,
}

/// What came of asking the sources of a configuration that are new.
pub(super) struct FirstKeys(Vec<First>);

/// Every source of the configuration in force.
pub(super) struct Keys {
    sources: Vec<Running>,
    /// Sources of a configuration that is about to be in force.
    staged: Vec<First>,
    /// Flags that such a configuration has already, for sources that begin with it and were not asked before.
    promised: Vec<(KeySource, Arc<Wanted>)>,
    reports: mpsc::UnboundedSender<Report>,
    inbox: mpsc::UnboundedReceiver<Report>,
    terms: u64,
    rng: Rng,
    counts: KeyCounts,
    has_news: bool,
}

impl Default for Keys {
    fn default() -> Self {
        let (reports, inbox) = mpsc::unbounded_channel();
        // It only spreads fetches in time, so without entropy the clock will do.
        let rng = Rng::from_os().unwrap_or_else(|_| Rng::from_seed(clock::now_ns()));
        let counts = KeyCounts::default();
        let (sources, staged, promised) = (Vec::new(), Vec::new(), Vec::new());
        Self { sources, staged, promised, reports, inbox, terms: 0, rng, counts, has_news: false }
    }
}

impl Keys {
    /// Asks the sources of `config` without known keys, and waits for them only so long; for [`Keys::stage`]. Whoever waits
    /// for it looks after the others meanwhile.
    pub(super) fn ask_for_new(&self, config: &Config) -> impl Future<Output = FirstKeys> + use<> {
        let mut firsts: Vec<First> = Vec::new();
        for source in sources(config) {
            let is_known = |running: &Running| {
                running.source == *source || (running.source.url == source.url && !running.keys.keys().is_empty())
            };
            if !self.sources.iter().any(is_known) && !firsts.iter().any(|first| first.source == *source) {
                firsts.push(First::new(source, Arc::default()));
            }
        }
        async move { FirstKeys(first::heard(firsts).await) }
    }

    /// The sources of a configuration had these first answers. Followed by [`Keys::follow`] or [`Keys::on_rejected`].
    pub(super) fn stage(&mut self, FirstKeys(firsts): FirstKeys) {
        self.staged = firsts;
    }

    /// Told that the configuration of [`Keys::stage`] was given up.
    pub(super) fn on_rejected(&mut self) {
        self.staged.clear();
        self.promised.clear();
    }

    /// Whoever is asked at the URL of `source`, by whatever settings.
    fn at(&self, source: &KeySource) -> Option<&Running> {
        best(self.sources.iter(), source)
    }

    /// Asks the sources of `configs` and no others; those that are asked already go on with the keys that they have.
    pub(super) fn follow<'a>(&mut self, configs: impl Iterator<Item = &'a Config>) {
        let mut before = std::mem::take(&mut self.sources);
        let mut staged = std::mem::take(&mut self.staged);
        let promised = std::mem::take(&mut self.promised);
        for source in configs.flat_map(sources) {
            if self.sources.iter().any(|running| running.source == *source) {
                continue;
            }
            match before.iter().position(|running| running.source == *source) {
                Some(at) => self.sources.push(before.swap_remove(at)),
                None => {
                    // Another interval, or another authority: the keys stay until the first answer. Whose they are may go on
                    // beside it, for the configuration in force or another policy, so each has a flag of its own.
                    let known = best(before.iter().chain(&self.sources), source);
                    let keys = known.map(|running| running.keys.clone()).unwrap_or_default();
                    let wanted = promised.iter().find(|(of, _)| of == source).map(|(_, wanted)| Arc::clone(wanted));
                    let first = staged.iter().position(|first| first.source == *source);
                    let first = first.map(|at| staged.swap_remove(at)).inspect(warn_of_silence);
                    self.start(first.unwrap_or_else(|| First::new(source, wanted.unwrap_or_default())), keys);
                }
            }
        }
        self.has_news |= !before.is_empty();
    }

    /// `keys` are in force until others come.
    fn start(&mut self, first: First, keys: KeySet) {
        self.terms += 1;
        let (term, reports) = (self.terms, self.reports.clone());
        let tell = move |found| reports.send(Report { term, found }).is_ok();
        let (source, wanted) = (first.source.clone(), Arc::clone(&first.wanted));
        let keys = first.keys().cloned().unwrap_or(keys);
        let rng = Rng::from_seed(self.rng.u64());
        let asking = schedule::run(source.clone(), first.answer(), Arc::clone(&wanted), rng, tell);
        let status =
            KeyStatus { url: source.url.to_string(), keys: keys.keys().len(), skipped: 0, fetched_ms: 0, error: None };
        let task = tokio::spawn(asking);
        self.sources.push(Running { source, term, wanted, keys, status, task });
        self.has_news = true;
    }

    /// What the policies of `config` may believe now, by their names, and whom they tell of unknown keys.
    pub(super) fn issued(&mut self, config: &Config) -> Issued {
        let mut issued = FxHashMap::default();
        for policy in &config.policies {
            let Some(JwtKeys::Remote(source)) = policy.jwt.as_ref().map(|jwt| &jwt.keys) else { continue };
            let exact = self.sources.iter().find(|running| running.source == *source);
            let first = self.staged.iter().find(|first| first.source == *source);
            let known = || exact.or_else(|| self.at(source)).map(|running| &running.keys);
            let Some(keys) = first.and_then(First::keys).or_else(known).cloned() else { continue };
            let wanted = match (exact, first) {
                (Some(running), _) => Arc::clone(&running.wanted),
                (None, Some(first)) => Arc::clone(&first.wanted),
                (None, None) => promised(&mut self.promised, source),
            };
            issued.insert(policy.name.clone(), (keys, wanted));
        }
        issued
    }

    /// Has a source of `config` yet to be heard of?
    pub(super) fn awaits(&self, config: &Config) -> bool {
        let is_heard = |source: &KeySource| {
            self.sources.iter().any(|running| running.source.url == source.url && running.is_heard())
        };
        sources(config).any(|source| !is_heard(source))
    }

    /// Waits until a source has other keys than before: its URL. May be abandoned at any time.
    pub(super) async fn changed(&mut self) -> String {
        loop {
            let report = self.inbox.recv().await.expect("one sender is our own");
            if let Some(url) = self.on_report(report) {
                return url;
            }
        }
    }

    fn on_report(&mut self, report: Report) -> Option<String> {
        let running = self.sources.iter_mut().find(|running| running.term == report.term)?;
        self.has_news = true;
        let status = &mut running.status;
        match report.found {
            Ok(jwks) => {
                self.counts.ok += 1;
                status.keys = jwks.keys.keys().len();
                status.skipped = jwks.skipped;
                status.fetched_ms = clock::unix_ms();
                status.error = None;
                let is_new = running.keys != jwks.keys;
                running.keys = jwks.keys;
                is_new.then(|| running.status.url.clone())
            }
            Err(why) => {
                self.counts.failed += 1;
                let kept = running.keys.keys().len();
                tracing::warn!(url = status.url, why, kept, "keys of an issuer cannot be fetched");
                status.error = Some(why);
                None
            }
        }
    }

    /// Every source and the number of fetches, when anything was learnt since the last call.
    pub(super) fn try_news(&mut self) -> Option<(Vec<KeyStatus>, KeyCounts)> {
        let statuses = || self.sources.iter().map(|running| running.status.clone()).collect();
        std::mem::take(&mut self.has_news).then(|| (statuses(), self.counts))
    }
}

/// Of those that are asked at the URL of `source`, by whatever settings, one with keys if there is one.
fn best<'a>(all: impl Iterator<Item = &'a Running>, source: &KeySource) -> Option<&'a Running> {
    all.filter(|running| running.source.url == source.url).max_by_key(|running| !running.keys.is_empty())
}

/// The flag of a source that has no task yet.
fn promised(flags: &mut Vec<(KeySource, Arc<Wanted>)>, source: &KeySource) -> Arc<Wanted> {
    if let Some((_, wanted)) = flags.iter().find(|(of, _)| of == source) {
        return Arc::clone(wanted);
    }
    let wanted = Arc::default();
    flags.push((source.clone(), Arc::clone(&wanted)));
    wanted
}

fn warn_of_silence(first: &First) {
    if first.is_silent() {
        let url = first.source.url.to_string();
        tracing::warn!(url, "keys of an issuer have not come in time, its tokens are refused until they do");
    }
}

fn sources(config: &Config) -> impl Iterator<Item = &KeySource> {
    config.policies.iter().filter_map(|policy| match &policy.jwt.as_ref()?.keys {
        JwtKeys::Remote(source) => Some(source),
        JwtKeys::Local(_) => None,
    })
}
