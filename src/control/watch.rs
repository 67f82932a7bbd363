//! Sees that configuration files changed: inotify on their directories and on those of the links that lead to them, so a
//! rename over a file, a swapped symbolic link (Kubernetes' `..data`) and a new file of an `include` are all seen.
//!
//! The control thread reads the events itself, a few at a time: there is no other thread to wait for, and a storm of them
//! holds nothing up.

mod scope;
mod way;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;

use self::scope::{Change, Scope, Told};
use super::debounce::Debounce;
use crate::clock;

/// Silence after a file was written whole, or put in its place: there may be others of them.
const QUIET_WHOLE_MS: u64 = 10;
/// Silence after any other change: a file may be being written.
const QUIET_MS: u64 = 50;
/// Longest wait for that silence.
const MOST_MS: u64 = 1_000;

/// What is to be told of a directory; reading is no change.
const MASK: AddWatchFlags = AddWatchFlags::IN_MODIFY
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_MOVE)
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

/// The same where a file is of interest once it is whole: who writes a log in its directory wakes nobody.
const MASK_ALONE: AddWatchFlags = MASK.difference(AddWatchFlags::IN_MODIFY);

/// Watches the directories of a set of files; its task ends with it.
pub(super) struct Watch {
    lookout: Arc<Lookout>,
    task: AbortHandle,
}

/// What the task that reads events shares with those who ask.
struct Lookout {
    inotify: AsyncFd<Queue>,
    changes: Arc<Changes>,
    field: Mutex<Field>,
}

/// The kernel's queue of events, which the reactor knows by its number.
struct Queue(Inotify);

impl Queue {
    #[expect(
        deprecated,
        reason = "what came after it is unsafe; the number of this queue is the same until it is dropped"
    )]
    fn new() -> io::Result<AsyncFd<Self>> {
        let queue = Self(Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?);
        AsyncFd::with_interest(queue, Interest::READABLE)
    }
}

impl AsRawFd for Queue {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// What is looked at.
#[derive(Default)]
struct Field {
    scope: Scope,
    folders: BTreeMap<WatchDescriptor, PathBuf>,
}

/// Changes that nobody has asked about.
#[derive(Default)]
pub(super) struct Changes {
    told: Notify,
    /// When the first of them was seen; 0 without one.
    since_ns: AtomicU64,
    /// How long the last of them is to be followed by silence.
    quiet_ms: AtomicU64,
}

impl Changes {
    fn on_change(&self, change: Change) {
        let quiet_ms = if change == Change::Whole { QUIET_WHOLE_MS } else { QUIET_MS };
        self.quiet_ms.store(quiet_ms, Ordering::Relaxed);
        // Whoever is told asks for the time after that.
        let _first = self.since_ns.compare_exchange(0, clock::now_ns(), Ordering::AcqRel, Ordering::Relaxed);
        self.told.notify_one();
    }

    /// Waits for the next change, be it one of many.
    pub(super) async fn next(&self) {
        self.told.notified().await;
    }

    /// Waits for the next change and until the burst it begins has settled.
    async fn settled(&self) {
        let mut debounce = Debounce::new(MOST_MS);
        self.next().await;
        debounce.on_change(now_ms(), self.quiet_ms.load(Ordering::Relaxed));
        while let Some(rest) = debounce.settles_in(now_ms()).filter(|rest| *rest > 0) {
            if tokio::time::timeout(Duration::from_millis(rest), self.next()).await.is_ok() {
                debounce.on_change(now_ms(), self.quiet_ms.load(Ordering::Relaxed));
            }
        }
    }
}

impl Watch {
    /// Starts without anything to watch, on a runtime.
    ///
    /// # Errors
    /// No more inotify instances for this user.
    pub(super) fn new() -> io::Result<Self> {
        let inotify = Queue::new()?;
        let lookout = Arc::new(Lookout { inotify, changes: Arc::default(), field: Mutex::default() });
        let task = tokio::spawn(look_out(Arc::clone(&lookout))).abort_handle();
        Ok(Self { lookout, task })
    }

    /// Told of every change at once, also of those that are one of many.
    pub(super) fn changes(&self) -> Arc<Changes> {
        Arc::clone(&self.lookout.changes)
    }

    /// When the first change was seen since this was asked last; now, if it was none of a file.
    pub(super) fn take_since_ns(&self) -> u64 {
        match self.lookout.changes.since_ns.swap(0, Ordering::AcqRel) {
            0 => clock::now_ns(),
            since_ns => since_ns,
        }
    }

    /// Takes no notice of changes of these files, which are the gateway's own.
    pub(super) fn ignore(&self, own: impl IntoIterator<Item = PathBuf>) {
        self.lookout.field().scope.ignore(own);
    }

    /// Watches the ways to `files` and nothing else, and whether others of their kind come; a directory that cannot be watched
    /// is reported in the log. What changed before counts as a change, too.
    pub(super) fn follow(&self, files: &[PathBuf]) {
        self.follow_as(files, false);
    }

    /// The same for a file that takes in no other, and is looked at when whoever wrote it has closed it.
    pub(super) fn follow_alone(&self, file: PathBuf) {
        self.follow_as(&[file], true);
    }

    fn follow_as(&self, files: &[PathBuf], alone: bool) {
        if self.lookout.follow(files, alone) {
            // A file may have changed after it was read and before it was watched.
            self.lookout.changes.on_change(Change::Part);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Lookout {
    fn field(&self) -> MutexGuard<'_, Field> {
        self.field.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a directory is watched that was not.
    fn follow(&self, files: &[PathBuf], alone: bool) -> bool {
        let mut field = self.field();
        field.scope.follow(files, alone);
        let mask = if alone { MASK_ALONE } else { MASK };
        let mut folders = BTreeMap::new();
        for folder in field.scope.directories() {
            // Of one that is watched already it is the same descriptor, of one in the place of another it is not.
            match self.inotify.get_ref().0.add_watch(&folder, mask) {
                Ok(descriptor) => drop(folders.insert(descriptor, folder)),
                // That of a built-in file, or it was removed in this moment.
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(error) => tracing::warn!(folder = %folder.display(), %error, "cannot watch for changes"),
            }
        }
        for gone in field.folders.keys().filter(|descriptor| !folders.contains_key(*descriptor)) {
            // The kernel drops the watch of a removed directory itself; then this fails, and that is fine.
            let _already = self.inotify.get_ref().0.rm_watch(*gone);
        }
        let renewed = folders.keys().any(|descriptor| !field.folders.contains_key(descriptor));
        field.folders = folders;
        renewed
    }

    fn on_events(&self, events: &[InotifyEvent]) {
        let field = self.field();
        // What came last says whether there is more to come.
        if let Some(change) = events.iter().rev().find_map(|event| field.change_of(event)) {
            self.changes.on_change(change);
        }
    }
}

impl Field {
    fn change_of(&self, event: &InotifyEvent) -> Option<Change> {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            // Lost events may have been about anything.
            return Some(Change::Part);
        }
        // Of a directory that is not watched any more there may be some left.
        let folder = self.folders.get(&event.wd)?;
        // The directory itself is gone, moved, or another's now.
        let Some(name) = &event.name else { return Some(Change::Part) };
        let is_whole = event.mask.intersects(AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO);
        let told = Told { is_whole, is_directory: event.mask.contains(AddWatchFlags::IN_ISDIR) };
        self.scope.change_of(&folder.join(name), told)
    }
}

/// Reads what the kernel tells, some hundred events at a time, and lets others have their turn in between.
async fn look_out(lookout: Arc<Lookout>) {
    loop {
        let Ok(mut readable) = lookout.inotify.readable().await else { return };
        match readable.try_io(|inotify| Ok(inotify.get_ref().0.read_events()?)) {
            Ok(Ok(events)) => lookout.on_events(&events),
            Ok(Err(error)) if error.raw_os_error() == Some(Errno::EINTR as i32) => {}
            Ok(Err(error)) => {
                tracing::error!(%error, "changed files are not noticed any more, use SIGHUP");
                return;
            }
            // There is nothing to read any more.
            Err(_) => {}
        }
        drop(readable);
        tokio::task::yield_now().await;
    }
}

/// One message for every settled burst of changes; never one when there is nothing that watches.
pub(super) fn bursts(watch: Option<&Watch>) -> mpsc::Receiver<()> {
    let (bursts, inbox) = mpsc::channel(1);
    if let Some(changes) = watch.map(Watch::changes) {
        tokio::spawn(async move {
            loop {
                changes.settled().await;
                if bursts.send(()).await.is_err() {
                    return;
                }
            }
        });
    }
    inbox
}

fn now_ms() -> u64 {
    clock::now_ns() / 1_000_000
}

#[cfg(test)]
mod tests;
