//! The live policy: where its document comes from, who changes it, and what of it is in force.
//!
//! Owns the document, its file and its key of Redis. Never: publishes; it says that something changed, and the gateway
//! does. Invariants: a document is in force whole or not at all; a broken or missing one changes nothing but the trouble
//! that is shown; what is told to be stored is on the disk, and in Redis, or in neither.

mod document;
mod file;
mod shared;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub(super) use self::document::{Document, Parts};
use self::file::Mark;
use self::shared::Link;
use super::disk::{self, Prepared};
use super::watch::Watch;
use crate::clock;
use crate::config::{self, PolicyKey};
use crate::policy::LivePolicy;
use crate::policy::limit::{Algorithm, OnStoreError, Shared};

/// Longest wait for Redis when gateways count together.
const STORE_TIMEOUT_MS: u64 = 50;
/// Longest wait for the first word of Redis before clients are served.
const FIRST_WORD: Duration = Duration::from_secs(3);

/// What may have changed the document.
#[derive(Debug)]
pub(super) enum News {
    /// The file, or something beside it; when that was seen.
    File { seen_ns: u64 },
    /// The key, or what is known of it.
    Shared(shared::Told),
}

/// Who changed a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Author {
    /// It stood in its file.
    File,
    /// `POST /policy`.
    Admin,
    /// It stood in Redis.
    Redis,
}

impl Author {
    /// As logs and `/status` name it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Admin => "admin",
            Self::Redis => "redis",
        }
    }
}

/// Why a document was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is none: what is wrong with it.
    Invalid(String),
    /// It could not be kept where it belongs, so that the last one stays.
    Unkept(String),
}

/// What is shown of the policy.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) document: Document,
    pub(super) in_force: bool,
    pub(super) trouble: Option<String>,
}

/// The document and its places.
pub(super) struct LivePolicies {
    workers: usize,
    place: Option<config::LivePolicy>,
    document: Document,
    compiled: Option<Arc<LivePolicy>>,
    /// Is the document somebody's, and not the standard one?
    is_told: bool,
    /// Was the file ever there?
    was_there: bool,
    /// What of the file was looked at last.
    mark: Option<Mark>,
    /// The file was no document when it was read; that may have been in the middle of a write.
    is_suspect: bool,
    trouble: Option<String>,
    /// What the file held when it was read or written last.
    in_file: Option<Document>,
    /// It came from elsewhere and is not in the file yet.
    is_unkept: bool,
    /// Why the last document that was to be kept in the file is not.
    unkept: Option<String>,
    watch: Option<Watch>,
    /// The file was another one, and what watches it may be looking elsewhere.
    is_astray: bool,
    link: Option<Link>,
}

impl LivePolicies {
    /// Nothing is in force, for `workers` workers.
    pub(super) fn new(workers: usize) -> Self {
        Self {
            workers,
            place: None,
            document: Document::standard(now()),
            compiled: None,
            is_told: false,
            was_there: false,
            mark: None,
            is_suspect: false,
            trouble: None,
            in_file: None,
            is_unkept: false,
            unkept: None,
            watch: None,
            is_astray: false,
            link: None,
        }
    }

    /// What is in force, for snapshots.
    pub(super) fn compiled(&self) -> Option<Arc<LivePolicy>> {
        self.compiled.as_ref().map(Arc::clone)
    }

    /// What is shown of it.
    pub(super) fn shown(&self) -> Shown {
        let trouble = self.trouble.as_ref().or(self.unkept.as_ref()).cloned();
        Shown { document: self.document.clone(), in_force: self.compiled.is_some(), trouble }
    }

    /// Takes up the place that a configuration names. The document there is in force from the next snapshot on, and until
    /// there is one the last document is: what is switched off must not open because its place changed. The same place
    /// changes nothing, and without one only what was posted stays.
    pub(super) fn follow(&mut self, place: Option<&config::LivePolicy>) {
        if self.place.as_ref() == place {
            return;
        }
        let new = Self { place: place.cloned(), ..Self::new(self.workers) };
        let old = std::mem::replace(self, new);
        let Some(place) = place else { return };
        if old.is_told {
            (self.document, self.is_told) = (old.document.clone(), true);
        }
        if place.file.is_some() {
            self.read_first(&old);
            self.watch = Watch::new().inspect_err(|error| tracing::warn!(%error, "cannot watch the live policy")).ok();
            self.follow_file();
        }
        match place.redis.as_ref().map(Link::new).transpose() {
            Ok(link) => self.link = link,
            Err(why) => self.on_trouble(why),
        }
        self.compile();
    }

    /// Reads the file of a new place, which may be that of the `old` one.
    fn read_first(&mut self, old: &Self) {
        let Some(path) = self.path() else { return };
        let is_same = old.path().as_ref() == Some(&path);
        self.was_there = is_same && old.was_there;
        self.set_mark(file::mark(&path));
        match load(&path) {
            Ok(Some(document)) => {
                // What could not be kept in it is later than what it still says.
                let is_known = is_same && old.in_file.as_ref() == Some(&document);
                if !is_known {
                    self.document = document.clone();
                }
                self.is_unkept = self.document != document;
                (self.in_file, self.is_told) = (Some(document), true);
            }
            Ok(None) if self.was_there => self.on_trouble(gone(&path)),
            Ok(None) => self.is_unkept = self.is_told,
            Err(why) => self.on_trouble(why),
        }
    }

    /// Waits a moment for what Redis has, so that the first request obeys it.
    pub(super) async fn hear_first(&mut self) {
        let Some(link) = &mut self.link else { return };
        let told = tokio::time::timeout(FIRST_WORD, link.hear()).await;
        let told = told.unwrap_or_else(|_elapsed| shared::Told::Lost("no word at the start".to_owned()));
        let is_lost = matches!(told, shared::Told::Lost(_));
        self.take(News::Shared(told));
        if is_lost {
            let Document { enabled, rate_limit, .. } = &self.document;
            let rate_limit = rate_limit.to_string();
            tracing::error!(enabled, rate_limit, "this live policy is in force until Redis tells another one");
        }
    }

    /// Files that are written here, for those who watch the same directory for something else.
    pub(super) fn own_files(&self) -> Vec<PathBuf> {
        let path = self.path();
        path.iter().flat_map(|path| [path.clone(), disk::beside(path)]).collect()
    }

    /// The document, if it was posted and stands nowhere but here.
    pub(super) fn homeless(&self) -> Option<String> {
        self.in_force().filter(|_| self.place.is_none())
    }

    /// The document, if it has a place; that may have lost it, or not answer.
    pub(super) fn last(&self) -> Option<String> {
        self.in_force().filter(|_| self.place.is_some())
    }

    /// The path of its file, if that was ever there.
    pub(super) fn seen_file(&self) -> Option<String> {
        self.path().filter(|_| self.was_there).map(|path| path.display().to_string())
    }

    fn in_force(&self) -> Option<String> {
        self.is_told.then(|| self.document.to_json())
    }

    /// Takes up the document of another process, a `homeless` one or the `last` of its place, unless the place of this one has
    /// told one; whether it is in force. A file that is not there gets it, unless it is the `seen_file` of that process: then
    /// it is gone.
    pub(super) fn inherit(&mut self, homeless: Option<&str>, last: Option<&str>, seen_file: Option<&str>) -> bool {
        let json = match self.place {
            None => homeless,
            Some(_) if self.is_told => None,
            Some(_) => homeless.or(last),
        };
        let document = json.and_then(|json| Document::parse(json.as_bytes(), now()).ok());
        let is_new = document.is_some();
        if let Some(document) = document {
            // What is wrong with the place is so still.
            (self.document, self.is_told) = (document, true);
            self.compile();
        }
        if let Some(path) = self.path().filter(|path| !self.is_unkept && load(path) == Ok(None)) {
            if seen_file == Some(path.display().to_string().as_str()) {
                self.was_there = true;
                self.on_trouble(gone(&path));
            } else {
                self.is_unkept = is_new;
            }
        }
        is_new
    }

    /// Something that may have changed the document; may be abandoned at any time.
    pub(super) async fn news(&mut self) -> News {
        let file = self.watch.as_ref().map(Watch::changes);
        let changed = async {
            match file {
                Some(changes) => changes.next().await,
                None => std::future::pending().await,
            }
        };
        let heard = async {
            match &mut self.link {
                Some(link) => link.hear().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = changed => News::File { seen_ns: self.watch.as_ref().map_or_else(clock::now_ns, Watch::take_since_ns) },
            told = heard => News::Shared(told),
        }
    }

    /// Takes up what changed; whose document is in force now, if it is another one than before. Follow it by
    /// [`LivePolicies::settle`] once it is published.
    pub(super) fn take(&mut self, news: News) -> Option<Author> {
        match news {
            News::File { .. } => self.take_file(),
            News::Shared(shared::Told::Value(Some(bytes))) => {
                match Document::parse(&bytes, self.document.updated_at.clone()) {
                    Ok(document) => {
                        self.is_told = true;
                        self.trouble.take_if(|trouble| trouble.starts_with("Redis"));
                        self.take_shared(document)
                    }
                    Err(why) => {
                        self.on_trouble(format!("Redis: {why}"));
                        None
                    }
                }
            }
            News::Shared(shared::Told::Value(None)) => {
                self.trouble.take_if(|trouble| trouble.starts_with("Redis"));
                None
            }
            News::Shared(shared::Told::Lost(why)) => {
                self.on_trouble(format!("Redis: {why}"));
                None
            }
        }
    }

    /// Looks at the file, should what watches it have missed something; as [`LivePolicies::take`].
    pub(super) fn look(&mut self) -> Option<Author> {
        let path = self.path()?;
        if file::mark(&path) == self.mark && !self.is_suspect {
            return None;
        }
        self.take_file()
    }

    /// Sees to what can wait until what is in force is published: looks at the way to the file anew, and keeps a document that
    /// came from elsewhere in it, which is what a start without Redis has.
    pub(super) async fn settle(&mut self) {
        if std::mem::take(&mut self.is_astray) {
            self.follow_file();
        }
        if std::mem::take(&mut self.is_unkept) {
            let document = self.document.clone();
            let kept = match self.prepare(&document).await {
                Ok(prepared) => self.commit(prepared, &document, self.is_unedited()).await,
                Err(why) => Err(why),
            };
            if let Err(why) = kept {
                tracing::error!(why, "the live policy is in force and not kept");
                self.unkept = Some(why);
            }
        }
    }

    /// What was posted is not kept, for this reason.
    fn on_unkept(&mut self, why: String) -> Refusal {
        self.unkept = Some(why.clone());
        Refusal::Unkept(why)
    }

    /// Merges a document that was posted into the one in force, and keeps it; when it was kept.
    ///
    /// # Errors
    /// Why not; then nothing has changed.
    pub(super) async fn post(&mut self, bytes: &[u8]) -> Result<u64, Refusal> {
        let document = self.document.merged(bytes, now()).map_err(Refusal::Invalid)?;
        // Whatever may well fail comes before Redis is asked: what it has taken comes back from there.
        let prepared = self.prepare(&document).await.map_err(|why| self.on_unkept(why))?;
        if let Some(link) = &mut self.link
            && let Err(why) = link.write(document.to_json()).await
        {
            let why = format!("Redis: the policy cannot be written: {why}");
            self.trouble = Some(why.clone());
            return Err(Refusal::Unkept(why));
        }
        let kept = self.commit(prepared, &document, || true).await.map_err(|why| self.on_unkept(why));
        let kept_ns = clock::now_ns();
        if self.link.is_none() {
            kept?;
        }
        if self.place.is_none() {
            tracing::warn!("the configuration has no `policy`: what was posted is gone with this process");
        }
        self.adopt(document);
        Ok(kept_ns)
    }

    fn take_file(&mut self) -> Option<Author> {
        let path = self.path()?;
        self.is_astray = true;
        let before = self.mark;
        self.set_mark(file::mark(&path));
        let was_suspect = std::mem::take(&mut self.is_suspect);
        let why = match load(&path) {
            Ok(Some(document)) if document == self.document => {
                (self.trouble, self.in_file) = (None, Some(document));
                if self.mark != before {
                    self.unkept = None;
                }
                return None;
            }
            // Another one came from elsewhere and could not be kept: that the file is old is known.
            Ok(Some(document)) if self.mark == before && self.in_file.as_ref() == Some(&document) => return None,
            Ok(Some(document)) => {
                self.in_file = Some(document.clone());
                self.unkept = None;
                if let Some(link) = &self.link {
                    link.tell(document.to_json());
                }
                self.adopt(document);
                return Some(Author::File);
            }
            // Until there is a document the standard one is in force, and that is no trouble.
            Ok(None) if !self.was_there => return None,
            Ok(None) => gone(&path),
            Err(why) => why,
        };
        if was_suspect {
            self.on_trouble(why);
        } else {
            self.is_suspect = true;
        }
        None
    }

    fn take_shared(&mut self, document: Document) -> Option<Author> {
        if document == self.document {
            return None;
        }
        self.adopt(document);
        self.is_unkept = true;
        Some(Author::Redis)
    }

    /// Lays a document beside the file, if it has one.
    async fn prepare(&self, document: &Document) -> Result<Option<Prepared>, String> {
        let Some(path) = self.path() else { return Ok(None) };
        let json = document.to_json();
        let shown = path.display().to_string();
        written(&shown, move || Prepared::new(&path, &json)).await.map(Some)
    }

    /// Puts a document in its place, if that is free just then.
    async fn commit(
        &mut self,
        prepared: Option<Prepared>,
        document: &Document,
        is_free: impl FnOnce() -> bool + Send + 'static,
    ) -> Result<(), String> {
        let (Some(path), Some(prepared)) = (self.path(), prepared) else { return Ok(()) };
        let shown = path.display().to_string();
        let commit = move || if is_free() { prepared.commit().map(|()| Some(file::mark(&path))) } else { Ok(None) };
        let Some(mark) = written(&shown, commit).await? else {
            tracing::warn!(file = shown, "the policy file was changed meanwhile, and is taken up instead of replaced");
            return Ok(());
        };
        self.set_mark(mark);
        self.is_suspect = false;
        self.in_file = Some(document.clone());
        self.unkept = None;
        Ok(())
    }

    /// Whether the file is what was looked at last; if it is not, an operator has changed it, later than what comes from
    /// elsewhere, and the next look takes that up.
    fn is_unedited(&self) -> impl FnOnce() -> bool + Send + use<> {
        let (path, mark, known) = (self.path(), self.mark, self.in_file.clone());
        move || path.is_none_or(|path| file::mark(&path) == mark || load(&path) == Ok(known))
    }

    fn adopt(&mut self, document: Document) {
        (self.document, self.is_told) = (document, true);
        self.trouble = None;
        self.compile();
    }

    fn compile(&mut self) {
        let Some(pace) = self.document.pace() else { return };
        let key = self.place.as_ref().and_then(|place| place.redis.as_ref());
        let shared = key.map(|key| counted_by(key, pace));
        let threshold = self.document.circuit_breaker_threshold;
        let live = LivePolicy::new(self.document.enabled, pace, threshold, self.workers, shared);
        self.compiled = Some(Arc::new(live));
    }

    fn on_trouble(&mut self, why: String) {
        if self.trouble.as_ref() != Some(&why) {
            tracing::error!(why, "the live policy has trouble, the last document stays");
        }
        self.trouble = Some(why);
    }

    fn set_mark(&mut self, mark: Option<Mark>) {
        self.was_there |= mark.is_some();
        self.mark = mark;
    }

    fn path(&self) -> Option<PathBuf> {
        self.place.as_ref()?.file.clone()
    }

    fn follow_file(&self) {
        if let (Some(path), Some(watch)) = (self.path(), &self.watch) {
            watch.follow_alone(path);
        }
    }
}

fn gone(path: &Path) -> String {
    format!("{} is gone", path.display())
}

/// Writes to a file on a thread of its own.
async fn written<T: Send + 'static>(
    shown: &str,
    write: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, String> {
    let written = tokio::task::spawn_blocking(write).await.unwrap_or_else(|error| Err(io::Error::other(error)));
    written.map_err(|error| format!("the policy cannot be written to {shown}: {error}"))
}

/// The document in a file; `None` without the file.
///
/// # Errors
/// It is none, or cannot be read.
pub(super) fn load(path: &Path) -> Result<Option<Document>, String> {
    let named = |why: String| format!("{}: {why}", path.display());
    let Some(bytes) = file::read(path).map_err(named)? else { return Ok(None) };
    // A document that does not say when it was changed was so with its file, and is the same when it is read again.
    let changed_s = file::mark(path).map_or(0, |(_, _, _, seconds, _)| u64::try_from(seconds).unwrap_or(0));
    Document::parse(&bytes, clock::rfc3339_text(changed_s * 1000)).map(Some).map_err(named)
}

/// Gateways that share a document count its rate together, ahead of use; each alone while Redis does not answer.
fn counted_by(key: &PolicyKey, pace: crate::policy::Pace) -> Shared {
    Shared {
        store: Arc::from(key.url.as_str()),
        is_leased: true,
        on_error: OnStoreError::Local,
        timeout_ms: STORE_TIMEOUT_MS,
        algorithm: Algorithm::SlidingWindow,
        limit: pace.limit,
        period: pace.period,
        prefix: format!("ringgate:policy:{}:", key.key).into_bytes(),
    }
}

fn now() -> String {
    clock::rfc3339_text(clock::unix_ms())
}

#[cfg(test)]
mod tests;
