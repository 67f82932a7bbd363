//! What the kernel says of this process: memory in use, its limit and that of descriptors; and giving memory back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::cgroup;
use crate::clock;
use crate::config::MemoryLimit;
use crate::net;
use crate::policy::{Change, Headroom, Judge, Load, Look, Shortage};

/// Pause between two looks at what is in use.
const LOOK: Duration = Duration::from_millis(50);
/// Looks after which the limit of a cgroup is read again, and memory that was freed is given back once more while it is short.
const LOOKS_PER_SECOND: u64 = 20;
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
        MemoryLimit::Auto => drop(follow(headroom)),
    }
}

/// Sets the limit that the cgroup has now, which may be another than at the start.
fn follow(headroom: &Headroom) -> Option<GroupLimit> {
    let group = cgroup_limit(read);
    set(headroom, group.as_ref().map(|group| group.bytes), "the cgroup");
    group
}

fn set(headroom: &Headroom, bytes: Option<u64>, from: &str) {
    if bytes != headroom.limit() {
        tracing::info!(bytes, from, "memory limit");
    }
    headroom.set_limit(bytes);
}

/// Looks how much of its limit is in use, and has the workers told; ends with the runtime. `load` says what clients have there.
pub(super) async fn watch(headroom: Arc<Headroom>, load: impl Fn() -> Load + Send) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut judge, mut trims, mut group) = (Judge::default(), Trims::default(), None);
    for count in 0u64.. {
        looks.tick().await;
        let is_second = count.is_multiple_of(LOOKS_PER_SECOND);
        if !headroom.is_auto() {
            group = None;
        } else if is_second {
            group = follow(&headroom);
        }
        let limit = headroom.limit();
        let used = if limit.is_some() { used_bytes(group.as_ref()) } else { 0 };
        let look = Look { now_ms: clock::now_ns() / 1_000_000, used, limit, at_work: load().bytes() };
        let before = judge.shortage();
        let change = judge.on_look(look);
        let now = judge.shortage();
        headroom.set_shortage(now);
        if let Some(change) = change {
            tell(change, before, look);
        }
        if now != Shortage::None && (before == Shortage::None || is_second && trims.may_help(used)) {
            trims.begin(used);
        }
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
/// worker may have to wait for one: it is done again only where the last time helped.
#[derive(Debug, Default)]
struct Trims {
    running: Option<JoinHandle<()>>,
    /// Bytes in use when the last one began.
    used_before: u64,
}

impl Trims {
    fn begin(&mut self, used: u64) {
        if self.running.as_ref().is_none_or(JoinHandle::is_finished) {
            self.used_before = used;
            self.running = Some(tokio::task::spawn_blocking(net::give_memory_back));
        }
    }

    /// Is less in use than before the last one?
    const fn may_help(&self, used: u64) -> bool {
        used.saturating_add(WORTH_WHILE) <= self.used_before
    }
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
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
/// upgrade.
fn used_bytes(group: Option<&GroupLimit>) -> u64 {
    let own = read(Path::new(STATUS)).and_then(|status| parse_held(&status)).unwrap_or(0);
    own.max(group.and_then(|group| group_bytes(group, read)).unwrap_or(0))
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
    read(Path::new(STATUS)).and_then(|status| line_of(&status, "VmRSS:")).unwrap_or(0)
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
mod tests {
    use super::*;

    fn from<'a>(files: &'a [(&'a str, &'a str)]) -> impl Fn(&Path) -> Option<String> {
        |path| files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, text)| (*text).to_owned())
    }

    fn limit_with(files: &[(&str, &str)]) -> Option<u64> {
        cgroup_limit(from(files)).map(|group| group.bytes)
    }

    #[test]
    fn the_tightest_limit_of_a_v2_cgroup_counts() {
        let group = ("/proc/self/cgroup", "0::/pod/box\n");
        let limits = [
            group,
            ("/sys/fs/cgroup/memory.max", "max\n"),
            ("/sys/fs/cgroup/pod/memory.max", "536870912\n"),
            ("/sys/fs/cgroup/pod/box/memory.max", "1073741824\n"),
        ];
        assert_eq!(limit_with(&limits), Some(512 << 20));
        assert_eq!(limit_with(&limits[..2]), None);
        assert_eq!(limit_with(&[]), None);
        // A container with a namespace of its own sees its files at the mount.
        let own = [("/proc/self/cgroup", "0::/\n"), ("/sys/fs/cgroup/memory.max", "268435456\n")];
        assert_eq!(limit_with(&own), Some(256 << 20));
    }

    #[test]
    fn a_limit_of_a_v1_cgroup_is_found_and_what_is_none_is_not() {
        let group = ("/proc/self/cgroup", "9:memory:/box\n4:cpu,cpuacct:/other\n0::/init\n");
        let file = "/sys/fs/cgroup/memory/box/memory.limit_in_bytes";
        assert_eq!(limit_with(&[group, (file, "134217728\n")]), Some(128 << 20));
        assert_eq!(limit_with(&[group, (file, "9223372036854771712\n")]), None);
        let root = [group, ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "67108864\n")];
        assert_eq!(limit_with(&root), Some(64 << 20), "a container without a namespace of its own");
    }

    #[test]
    fn what_a_group_has_in_use_counts_where_the_limit_is_its_own_but_for_files_that_can_be_dropped() {
        let v2 = [
            ("/proc/self/cgroup", "0::/pod/box\n"),
            ("/sys/fs/cgroup/pod/box/memory.max", "1000\n"),
            ("/sys/fs/cgroup/pod/box/memory.current", "900\n"),
            ("/sys/fs/cgroup/pod/box/memory.stat", "anon 500\ninactive_file 250\nactive_file 50\n"),
            ("/sys/fs/cgroup/pod/memory.max", "999\n"),
            ("/sys/fs/cgroup/pod/memory.current", "998\n"),
        ];
        let used_with = |files: &[(&str, &str)]| {
            let group = cgroup_limit(from(files)).expect("a limit");
            group_bytes(&group, from(files))
        };
        assert_eq!(used_with(&v2[..4]), Some(600));
        assert_eq!(used_with(&v2), None, "the limit of a group above is shared with others");
        assert_eq!(used_with(&v2[..2]), None, "nothing is known");
        let v1 = [
            ("/proc/self/cgroup", "9:memory:/box\n"),
            ("/sys/fs/cgroup/memory/box/memory.limit_in_bytes", "1000\n"),
            ("/sys/fs/cgroup/memory/box/memory.usage_in_bytes", "950\n"),
            (
                "/sys/fs/cgroup/memory/box/memory.stat",
                "inactive_file 1\ntotal_inactive_file 200\ntotal_active_file 50\n",
            ),
        ];
        assert_eq!(used_with(&v1), Some(700));
    }

    #[test]
    fn memory_is_read_in_bytes_and_what_the_kernel_can_take_back_is_not_held() {
        let old = "Name:\tx\nVmRSS:\t    1234 kB\nVmSwap: 0 kB\n";
        assert_eq!((line_of(old, "VmRSS:"), parse_held(old)), (Some(1_263_616), Some(1_263_616)));
        let new = "VmRSS:\t 1234 kB\nRssAnon:\t 200 kB\nRssFile:\t 1000 kB\nRssShmem:\t 34 kB\n";
        assert_eq!(parse_held(new), Some(234 * 1024));
        assert_eq!(parse_held("Name:\tx\n"), None);
        let held = used_bytes(None);
        assert!(held > 100_000 && held < resident_bytes(), "{held}");
    }

    #[test]
    fn memory_is_given_back_once_more_only_where_that_helped() {
        let trims = Trims { running: None, used_before: 100 << 20 };
        assert!(!trims.may_help(200 << 20) && !trims.may_help(100 << 20) && !trims.may_help((99 << 20) + 1));
        assert!(trims.may_help(99 << 20));
    }

    #[test]
    fn the_soft_limit_of_descriptors_is_read() {
        let text = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files \n";
        assert_eq!(parse_descriptors(text), Some(1024));
        assert_eq!(parse_descriptors("Max open files   unlimited  unlimited files"), None);
        assert!(descriptor_limit().is_some());
    }
}
