//! What the kernel says of this process: resident memory, its limit and that of descriptors; and giving memory back.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::cgroup;
use crate::config::MemoryLimit;
use crate::net;
use crate::policy::{Headroom, Shortage};

/// Pause between two looks at what is resident.
const LOOK: Duration = Duration::from_millis(50);
/// Looks after which memory that was freed is given back once more, while it is short.
const LOOKS_PER_RELEASE: u32 = 20;
/// What cgroup v1 calls a limit when there is none is a little less than this.
const UNLIMITED: u64 = 1 << 62;

/// Sets the limit that `wanted` means on this machine.
pub(super) fn limit(headroom: &Headroom, wanted: MemoryLimit) {
    let (bytes, from) = match wanted {
        MemoryLimit::Off => (None, "off"),
        MemoryLimit::Bytes(bytes) => (Some(bytes), "the configuration"),
        MemoryLimit::Auto => (cgroup_limit(|path| std::fs::read_to_string(path).ok()), "the cgroup"),
    };
    if bytes != headroom.limit() {
        tracing::info!(bytes, from, "memory limit");
    }
    headroom.set_limit(bytes);
}

/// Looks how much of its limit is resident, and has the workers told; ends with the runtime.
pub(super) async fn watch(headroom: Arc<Headroom>) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut before, mut short_for) = (Shortage::None, 0u32);
    loop {
        looks.tick().await;
        let limit = headroom.limit();
        if limit.is_none() && before == Shortage::None {
            continue;
        }
        let resident = resident_bytes();
        let Some(now) = headroom.on_used(resident) else {
            if before != Shortage::None {
                short_for += 1;
                if short_for.is_multiple_of(LOOKS_PER_RELEASE) {
                    drop(tokio::task::spawn_blocking(net::give_memory_back));
                }
            }
            continue;
        };
        match now {
            Shortage::None => tracing::info!(resident, limit, "memory is no longer short"),
            Shortage::Requests if before == Shortage::Connections => {
                tracing::warn!(resident, limit, "connections are taken again, requests are not");
            }
            Shortage::Requests => tracing::error!(resident, limit, refused = "requests", "memory is short"),
            Shortage::Connections => tracing::error!(resident, limit, refused = "connections", "memory is short"),
        }
        if before == Shortage::None {
            short_for = 0;
            drop(tokio::task::spawn_blocking(net::give_memory_back));
        }
        before = now;
    }
}

/// The tightest limit of this process's cgroup and all above it, by cgroup v2 and then v1.
fn cgroup_limit(read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let one = |file: &'static str| {
        let read = &read;
        // Where there is none, v2 says `max`.
        move |folder: &Path| read(&folder.join(file))?.trim().parse().ok().filter(|bytes| *bytes < UNLIMITED)
    };
    let v2 = cgroup::v2_group(&groups).and_then(|group| cgroup::tightest("/sys/fs/cgroup", group, one("memory.max")));
    let v1 = cgroup::v1_group(&groups, "memory")
        .and_then(|group| cgroup::tightest("/sys/fs/cgroup/memory", group, one("memory.limit_in_bytes")));
    [v2, v1].into_iter().flatten().min()
}

/// Resident memory in bytes; 0 when `/proc` is not mounted.
pub(super) fn resident_bytes() -> u64 {
    std::fs::read_to_string("/proc/self/status").ok().and_then(|text| parse_resident(&text)).unwrap_or(0)
}

/// Gives back what is large on a thread of its own, so that nobody waits for the control thread meanwhile.
pub(super) fn drop_elsewhere(what: impl Send + 'static) {
    drop(tokio::task::spawn_blocking(move || drop(what)));
}

/// Most descriptors this process may open (the soft limit).
pub(super) fn descriptor_limit() -> Option<u64> {
    parse_descriptors(&std::fs::read_to_string("/proc/self/limits").ok()?)
}

/// `VmRSS:   1234 kB` of `/proc/PID/status`.
fn parse_resident(status: &str) -> Option<u64> {
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?;
    Some(kibibytes.trim().parse::<u64>().ok()? * 1024)
}

/// The soft limit of the line `Max open files` of `/proc/PID/limits`; `None` when unlimited.
fn parse_descriptors(limits: &str) -> Option<u64> {
    limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit_with(files: &[(&str, &str)]) -> Option<u64> {
        cgroup_limit(|path| files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, text)| (*text).to_owned()))
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
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(parse_resident("Name:\tx\nVmRSS:\t    1234 kB\nVmSwap: 0 kB\n"), Some(1_263_616));
        assert_eq!(parse_resident("Name:\tx\n"), None);
        assert!(resident_bytes() > 100_000);
    }

    #[test]
    fn the_soft_limit_of_descriptors_is_read() {
        let text = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files \n";
        assert_eq!(parse_descriptors(text), Some(1024));
        assert_eq!(parse_descriptors("Max open files   unlimited  unlimited files"), None);
        assert!(descriptor_limit().is_some());
    }
}
