//! What the kernel says of this process: memory in use, its limit and that of descriptors; and giving memory back.

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::cgroup;
use crate::clock;
use crate::config::MemoryLimit;
use crate::net;
use crate::policy::{Change, Headroom, Judge, Load, Look, Shortage};

/// Pause between two looks at what is in use.
const LOOK: Duration = Duration::from_millis(50);
/// The same from so many parts in a hundred of the limit on: clients that come all at once may fill the rest within a second.
const LOOK_NEAR: (u64, Duration) = (80, Duration::from_millis(10));
/// What cgroup v1 calls a limit when there is none is a little less than this.
const UNLIMITED: u64 = 1 << 62;
/// Bytes less in use that make it worth while to give memory back once more.
const WORTH_WHILE: u64 = 1 << 20;

/// What a hierarchy of cgroups calls its files.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    mount: &'static str,
    limit: &'static str,
    used: &'static str,
    /// The lines of `memory.stat` that say how much of that is files: the kernel drops them before it kills anybody, those that were
    /// read again too, as a log that is written here and shipped elsewhere.
    files: [&'static str; 2],
}

static V2: Hierarchy = Hierarchy {
    mount: "/sys/fs/cgroup",
    limit: "memory.max",
    used: "memory.current",
    files: ["inactive_file ", "active_file "],
};
static V1: Hierarchy = Hierarchy {
    mount: "/sys/fs/cgroup/memory",
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    files: ["total_inactive_file ", "total_active_file "],
};

/// The limit that a cgroup sets this process.
#[derive(Debug, PartialEq, Eq)]
struct GroupLimit {
    bytes: u64,
    /// The folder of the process's own group, where the limit is its: what a group above has in use is others' as well, for whose
    /// sake nobody is refused.
    own: Option<(PathBuf, &'static Hierarchy)>,
}

/// Sets the limit that `wanted` means on this machine.
pub(super) fn limit(headroom: &Headroom, wanted: MemoryLimit) {
    headroom.set_auto(wanted == MemoryLimit::Auto);
    match wanted {
        MemoryLimit::Off => set(headroom, None, "off"),
        MemoryLimit::Bytes(bytes) => set(headroom, Some(bytes), "the configuration"),
        MemoryLimit::Auto => drop(follow(headroom, read)),
    }
}

/// Sets the limit that the cgroup has now, which may be another than at the start; nothing, and it stays, where that cannot be read.
fn follow(headroom: &Headroom, read: impl Fn(&Path) -> io::Result<String>) -> Option<Option<GroupLimit>> {
    let group = known(read, |read| cgroup_limit(read))?;
    set(headroom, group.as_ref().map(|group| group.bytes), "the cgroup");
    Some(group)
}

fn set(headroom: &Headroom, bytes: Option<u64>, from: &str) {
    if bytes != headroom.limit() {
        tracing::info!(bytes, from, "memory limit");
    }
    headroom.set_limit(bytes);
}

/// Looks how much of its limit is in use, and has the workers told; ends with the runtime. `load` says what clients have there.
pub(super) async fn watch(headroom: Arc<Headroom>, load: impl Fn() -> Load + Send) {
    let mut watch = Watch::default();
    loop {
        let pause = watch.on_look(&headroom, clock::now_ns() / 1_000_000, load().bytes(), read);
        watch.trims.begin_if_due();
        tokio::time::sleep(pause).await;
    }
}

/// What is kept from one look to the next.
#[derive(Debug, Default)]
struct Watch {
    /// That of the look before.
    second: Option<u64>,
    /// Where the limit comes from, as far as it is known.
    group: Option<GroupLimit>,
    judge: Judge,
    trims: Trims,
}

impl Watch {
    /// Looks how much of the limit is in use, and has the workers told; when to look again. Where that cannot be read all stays
    /// as it is.
    fn on_look(
        &mut self,
        headroom: &Headroom,
        now_ms: u64,
        at_work: u64,
        read: impl Fn(&Path) -> io::Result<String> + Copy,
    ) -> Duration {
        let second = Some(now_ms / 1_000);
        let is_second = std::mem::replace(&mut self.second, second) != second;
        if !headroom.is_auto() {
            self.group = None;
        } else if is_second && let Some(group) = follow(headroom, read) {
            self.group = group;
        }
        let limit = headroom.limit();
        let used = if limit.is_some() { used_bytes(self.group.as_ref(), read) } else { Some(0) };
        let Some(used) = used else { return LOOK };
        let look = Look { now_ms, used, limit, at_work };
        let (before, was_in_vain) = (self.judge.shortage(), self.judge.is_in_vain());
        let change = self.judge.on_look(look);
        headroom.set_shortage(self.judge.shortage());
        if let Some(change) = change {
            tell(change, before, look);
        }
        let begins = before == Shortage::None || self.judge.is_in_vain() && !was_in_vain;
        self.trims.on_look(self.judge.shortage() != Shortage::None, begins, is_second, used);
        let is_near = limit.is_some_and(|limit| used >= limit / 100 * LOOK_NEAR.0);
        if is_near { LOOK_NEAR.1 } else { LOOK }
    }
}

fn tell(change: Change, before: Shortage, Look { used, limit, at_work, .. }: Look) {
    match change {
        Change::InVain => tracing::warn!(
            used,
            limit,
            at_work,
            "the memory limit leaves little above what is in use with next to nothing at work, so nothing is refused because of that"
        ),
        Change::To(Shortage::None) => tracing::info!(used, limit, "memory is no longer short"),
        Change::To(Shortage::Requests) if before == Shortage::Connections => {
            tracing::warn!(used, limit, "connections are taken again, requests are not");
        }
        Change::To(Shortage::Requests) => tracing::error!(used, limit, refused = "requests", "memory is short"),
        Change::To(Shortage::Connections) => tracing::error!(used, limit, refused = "connections", "memory is short"),
    }
}

/// Gives freed memory back, one time after the other. The C library holds the lock of each of its arenas meanwhile, so that a
/// worker may have to wait for one: it is done when memory begins to be short, when refusing begins to be in vain, since only then what
/// a peak had is free and it is soon taken for a floor, and again where the last time helped.
#[derive(Debug, Default)]
struct Trims {
    running: Option<JoinHandle<()>>,
    /// Is one to begin as soon as none is running?
    is_due: bool,
    /// Bytes in use at the last look.
    used: u64,
    /// Bytes in use when the last one began.
    used_before: u64,
}

impl Trims {
    /// Told of a look: is memory short, has that or that it is in vain begun with it, and is it the one of its second?
    fn on_look(&mut self, is_short: bool, begins: bool, is_second: bool, used: u64) {
        self.used = used;
        self.is_due = is_short && (self.is_due || begins || is_second && self.may_help());
    }

    fn begin_if_due(&mut self) {
        if self.takes_turn() {
            self.running = Some(tokio::task::spawn_blocking(net::give_memory_back));
        }
    }

    /// Is one due and none running? Then it begins.
    fn takes_turn(&mut self) -> bool {
        let begins = self.is_due && self.running.as_ref().is_none_or(JoinHandle::is_finished);
        if begins {
            self.is_due = false;
            self.used_before = self.used;
        }
        begins
    }

    /// Is less in use than before the last one?
    const fn may_help(&self) -> bool {
        self.used.saturating_add(WORTH_WHILE) <= self.used_before
    }
}

fn read(path: &Path) -> io::Result<String> {
    std::fs::read_to_string(path)
}

/// What `find` makes of files, of which it is told nothing where they are not to be had; `None` where one could not be read for want
/// of descriptors or memory: nothing follows from that.
fn known<T>(
    read: impl Fn(&Path) -> io::Result<String>,
    find: impl FnOnce(&dyn Fn(&Path) -> Option<String>) -> T,
) -> Option<T> {
    let is_wanting = Cell::new(false);
    let found = find(&|path: &Path| {
        let text = read(path);
        let why = text.as_ref().err().and_then(io::Error::raw_os_error);
        is_wanting.set(is_wanting.get() || matches!(why, Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)));
        text.ok()
    });
    (!is_wanting.get()).then_some(found)
}

/// The tightest limit of this process's cgroup and all above it, by cgroup v2 and v1.
fn cgroup_limit(read: impl Fn(&Path) -> Option<String>) -> Option<GroupLimit> {
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let v2 = cgroup::v2_group(&groups).and_then(|group| limit_in(&V2, group, &read));
    let v1 = cgroup::v1_group(&groups, "memory").and_then(|group| limit_in(&V1, group, &read));
    [v2, v1].into_iter().flatten().min_by_key(|limit| limit.bytes)
}

fn limit_in(hierarchy: &'static Hierarchy, group: &str, read: impl Fn(&Path) -> Option<String>) -> Option<GroupLimit> {
    // Where there is none, v2 says `max`.
    let one = |folder: &Path| number(&read(&folder.join(hierarchy.limit))?).filter(|bytes| *bytes < UNLIMITED);
    let bytes = cgroup::tightest(hierarchy.mount, group, one)?;
    let own = cgroup::folder(hierarchy.mount, group);
    let is_its = one(&own) == Some(bytes);
    Some(GroupLimit { bytes, own: is_its.then_some((own, hierarchy)) })
}

/// Bytes of this process, or of its group where that is what the limit is of: then sockets count, and the other process of an
/// upgrade. Nothing where neither is to be had, or one could not be read this time.
fn used_bytes(group: Option<&GroupLimit>, read: impl Fn(&Path) -> io::Result<String>) -> Option<u64> {
    known(read, |read| {
        let own = read(Path::new(STATUS)).and_then(|status| parse_held(&status));
        own.max(group.and_then(|group| group_bytes(group, read)))
    })
    .flatten()
}

/// Bytes that the group has in use and the kernel cannot simply drop.
fn group_bytes(group: &GroupLimit, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let (folder, hierarchy) = group.own.as_ref()?;
    let used = number(&read(&folder.join(hierarchy.used))?)?;
    // Far from the limit the rest is of no interest, and dear to read.
    if used < group.bytes / 2 {
        return Some(used);
    }
    let stat = read(&folder.join("memory.stat"))?;
    let of = |name| stat.lines().find_map(|line: &str| number(line.strip_prefix(name)?));
    let [inactive, active] = hierarchy.files.map(of);
    Some(used.saturating_sub(inactive? + active?))
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

const STATUS: &str = "/proc/self/status";

/// Resident memory in bytes; 0 when `/proc` is not mounted.
pub(super) fn resident_bytes() -> u64 {
    read(Path::new(STATUS)).ok().and_then(|status| line_of(&status, "VmRSS:")).unwrap_or(0)
}

/// Gives back what is large on a thread of its own, so that nobody waits for the control thread meanwhile.
pub(super) fn drop_elsewhere(what: impl Send + 'static) {
    drop(tokio::task::spawn_blocking(move || drop(what)));
}

/// Most descriptors this process may open (the soft limit).
pub(super) fn descriptor_limit() -> Option<u64> {
    parse_descriptors(&std::fs::read_to_string("/proc/self/limits").ok()?)
}

/// Bytes of `/proc/PID/status` that the kernel cannot take back: mapped files, such as the program itself, it can. An old kernel
/// does not tell them apart.
fn parse_held(status: &str) -> Option<u64> {
    let Some(own) = line_of(status, "RssAnon:") else { return line_of(status, "VmRSS:") };
    Some(own + line_of(status, "RssShmem:").unwrap_or(0))
}

/// Bytes of a line such as `VmRSS:   1234 kB` of `/proc/PID/status`.
fn line_of(status: &str, name: &str) -> Option<u64> {
    let kibibytes = status.lines().find_map(|line| line.strip_prefix(name))?.trim().strip_suffix(" kB")?;
    Some(number(kibibytes)? * 1024)
}

/// The soft limit of the line `Max open files` of `/proc/PID/limits`; `None` when unlimited.
fn parse_descriptors(limits: &str) -> Option<u64> {
    limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests;
