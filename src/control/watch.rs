//! Sees that configuration files changed: inotify on their directories, so a rename over a file, a swapped symbolic
//! link (Kubernetes' `..data`) and a new file of an `include` are all seen.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::{Notify, mpsc};

use super::debounce::Debounce;
use crate::clock;
use crate::net::be_prompt;

/// Silence after a change before it counts.
const QUIET_MS: u64 = 50;
/// Longest wait for that silence.
const MOST_MS: u64 = 1_000;

/// Watches the directories of a set of files.
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    watched: BTreeSet<PathBuf>,
    changed: Arc<Notify>,
    /// When the first change was seen that nobody has asked about; 0 without one.
    since_ns: Arc<AtomicU64>,
    scope: Arc<Mutex<Scope>>,
}

impl Watch {
    /// Starts without anything to watch.
    ///
    /// # Errors
    /// No more inotify instances for this user.
    pub(super) fn new() -> notify::Result<Self> {
        let changed = Arc::new(Notify::new());
        let scope = Arc::<Mutex<Scope>>::default();
        let since_ns = Arc::<AtomicU64>::default();
        let (told, since, seen) = (Arc::clone(&changed), Arc::clone(&since_ns), Arc::clone(&scope));
        let mut is_prompt = false;
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if !mem::replace(&mut is_prompt, true) {
                be_prompt();
            }
            let scope = seen.lock().unwrap_or_else(PoisonError::into_inner);
            // An error means that events were lost, so something may have changed.
            if event.map_or(true, |event| is_change(&event.kind) && scope.concerns(&event)) {
                // Whoever is told asks for the time after that.
                let _first = since.compare_exchange(0, clock::now_ns(), Ordering::AcqRel, Ordering::Relaxed);
                told.notify_one();
            }
        })?;
        Ok(Self { watcher, watched: BTreeSet::new(), changed, since_ns, scope })
    }

    /// Told of every change at once, also of those that are one of many.
    pub(super) fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    /// When the first change was seen since this was asked last; now, if it was none of a file.
    pub(super) fn take_since_ns(&self) -> u64 {
        match self.since_ns.swap(0, Ordering::AcqRel) {
            0 => clock::now_ns(),
            since_ns => since_ns,
        }
    }

    /// Takes no notice of changes of these files, which are the gateway's own.
    pub(super) fn ignore(&self, own: impl IntoIterator<Item = PathBuf>) {
        let own = own.into_iter().map(|file| absolute(&file)).collect();
        self.scope.lock().unwrap_or_else(PoisonError::into_inner).own = own;
    }

    /// Watches the directories of `files` and no others; a directory that cannot be watched is reported in the log, one
    /// that does not exist (a built-in file) is left out. What changed before counts as a change, too.
    pub(super) fn follow(&mut self, files: &[PathBuf]) {
        let mut scope = self.scope.lock().unwrap_or_else(PoisonError::into_inner);
        let own = mem::take(&mut scope.own);
        *scope = Scope { own, ..Scope::of(files) };
        drop(scope);
        let mut wanted = directories(files);
        wanted.retain(|folder| folder.is_dir());
        for gone in self.watched.difference(&wanted) {
            // The kernel drops the watch of a removed directory itself; then this fails, and that is fine.
            drop(self.watcher.unwatch(gone));
        }
        let renewed = wanted != self.watched;
        let mut watched = BTreeSet::new();
        for folder in wanted {
            // Watching once more is harmless and renews the watch of a directory that was replaced.
            match self.watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => drop(watched.insert(folder)),
                Err(error) => tracing::warn!(folder = %folder.display(), %error, "cannot watch for changes"),
            }
        }
        self.watched = watched;
        if renewed && !self.watched.is_empty() {
            // A file may have changed after it was read and before it was watched.
            self.changed.notify_one();
        }
    }
}

/// One message for every settled burst of changes; never one when there is nothing that watches.
pub(super) fn changes(watch: Option<&Watch>) -> mpsc::Receiver<()> {
    let (bursts, inbox) = mpsc::channel(1);
    if let Some(changed) = watch.map(|watch| Arc::clone(&watch.changed)) {
        tokio::spawn(async move {
            loop {
                settled(&changed).await;
                if bursts.send(()).await.is_err() {
                    return;
                }
            }
        });
    }
    inbox
}

/// Waits for the next change and until the burst it begins has settled.
async fn settled(changes: &Notify) {
    let mut debounce = Debounce::new(QUIET_MS, MOST_MS);
    changes.notified().await;
    debounce.on_change(now_ms());
    while let Some(rest) = debounce.settles_in(now_ms()).filter(|rest| *rest > 0) {
        if tokio::time::timeout(Duration::from_millis(rest), changes.notified()).await.is_ok() {
            debounce.on_change(now_ms());
        }
    }
    debounce.on_settled();
}

fn now_ms() -> u64 {
    clock::now_ns() / 1_000_000
}

/// What of the watched directories is of interest: logs are written there as well, our own among them, and a gateway that
/// reads its configuration anew for each line that it writes would never rest.
#[derive(Debug, Default)]
struct Scope {
    files: BTreeSet<PathBuf>,
    /// Extensions of the files: another one of its kind may be one that an `include` takes in.
    extensions: BTreeSet<Option<OsString>>,
    /// Files that the gateway writes itself.
    own: BTreeSet<PathBuf>,
}

impl Scope {
    fn of(files: &[PathBuf]) -> Self {
        let targets = files.iter().filter_map(|file| file.canonicalize().ok());
        Self {
            files: files.iter().map(|file| absolute(file)).chain(targets).collect(),
            extensions: files.iter().map(|file| file.extension().map(OsStr::to_owned)).collect(),
            own: BTreeSet::new(),
        }
    }

    /// Whether it is about one of the files, one of their kind, or anything that is no plain file: links and directories
    /// on the way to one.
    fn concerns(&self, event: &Event) -> bool {
        let is_plain = |path: &Path| path.symlink_metadata().is_ok_and(|metadata| metadata.is_file());
        let is_kindred = |path: &Path| self.extensions.contains(&path.extension().map(OsStr::to_owned));
        let concerns = |path: &PathBuf| {
            self.files.contains(path) || !self.own.contains(path) && (is_kindred(path) || !is_plain(path))
        };
        event.paths.is_empty() || event.paths.iter().any(concerns)
    }
}

/// Reading is no change, closing after a write is.
fn is_change(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(access) => *access == AccessKind::Close(AccessMode::Write),
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => true,
    }
}

/// The directories where a change of one of `files` shows: its own, and that of the file a link leads to.
fn directories(files: &[PathBuf]) -> BTreeSet<PathBuf> {
    let targets = files.iter().filter_map(|file| file.canonicalize().ok());
    files.iter().map(|file| absolute(file)).chain(targets).filter_map(|file| Some(file.parent()?.to_owned())).collect()
}

/// The path from the root, links left as they are.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("ringgate-watch-{}-{test}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path.canonicalize().unwrap())
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    /// Whether `change` is noticed within a generous time.
    fn notices(files: &[PathBuf], change: impl FnOnce()) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut watch = Watch::new().unwrap();
        watch.follow(files);
        let changed = Arc::clone(&watch.changed);
        runtime.block_on(async {
            // The first follow counts as a change of its own.
            settled(&changed).await;
            change();
            tokio::time::timeout(Duration::from_secs(20), settled(&changed)).await.is_ok()
        })
    }

    #[test]
    fn a_write_is_noticed() {
        let folder = Folder::new("write");
        let file = folder.write("gateway.yaml", "a");
        assert!(notices(std::slice::from_ref(&file), || std::fs::write(&file, "b").unwrap()));
    }

    #[test]
    fn a_rename_over_the_file_is_noticed() {
        let folder = Folder::new("rename");
        let file = folder.write("gateway.yaml", "a");
        let next = folder.write("elsewhere/next", "b");
        assert!(notices(std::slice::from_ref(&file), || std::fs::rename(&next, &file).unwrap()));
    }

    #[test]
    fn a_swapped_link_to_a_directory_is_noticed() {
        let folder = Folder::new("swap");
        folder.write("..one/gateway.yaml", "a");
        folder.write("..two/gateway.yaml", "b");
        symlink("..one", folder.0.join("..data")).unwrap();
        let file = folder.0.join("gateway.yaml");
        symlink("..data/gateway.yaml", &file).unwrap();
        assert!(notices(&[file], || {
            symlink("..two", folder.0.join("..data_next")).unwrap();
            std::fs::rename(folder.0.join("..data_next"), folder.0.join("..data")).unwrap();
        }));
    }

    #[test]
    fn reading_is_no_change() {
        assert!(!is_change(&EventKind::Access(AccessKind::Open(AccessMode::Read))));
        assert!(!is_change(&EventKind::Access(AccessKind::Close(AccessMode::Read))));
        assert!(is_change(&EventKind::Access(AccessKind::Close(AccessMode::Write))));
        assert!(is_change(&EventKind::Any));
    }

    #[test]
    fn a_log_beside_the_configuration_does_not_concern_it() {
        let folder = Folder::new("beside");
        let file = folder.write("gateway.yaml", "a");
        let (log, other) = (folder.write("gateway.log", "a"), folder.write("more.yaml", "a"));
        let link = folder.0.join("..data");
        symlink("elsewhere", &link).unwrap();
        let scope = Scope::of(std::slice::from_ref(&file));
        let concerns = |path: &Path| scope.concerns(&Event::new(EventKind::Any).add_path(path.to_owned()));
        assert!(concerns(&file) && concerns(&other) && concerns(&link) && concerns(&folder.0));
        assert!(!concerns(&log));
        assert!(concerns(&folder.0.join("gone")), "what is gone may have been anything");
        assert!(scope.concerns(&Event::new(EventKind::Other)), "lost events may have been about anything");
        let scope =
            Scope { own: [folder.0.join("gone"), other.clone()].into(), ..Scope::of(std::slice::from_ref(&file)) };
        let concerns = |path: &Path| scope.concerns(&Event::new(EventKind::Any).add_path(path.to_owned()));
        assert!(
            concerns(&file) && !concerns(&folder.0.join("gone")) && !concerns(&other),
            "its own files are none of them"
        );
    }

    #[test]
    fn a_link_is_watched_on_both_ends() {
        let folder = Folder::new("ends");
        let target = folder.write("far/gateway.yaml", "a");
        let link = folder.0.join("gateway.yaml");
        symlink(&target, &link).unwrap();
        assert_eq!(directories(&[link]), BTreeSet::from([folder.0.clone(), folder.0.join("far")]));
        assert_eq!(directories(&[PathBuf::from("gateway.yaml")]), BTreeSet::from([std::env::current_dir().unwrap()]));
    }
}
