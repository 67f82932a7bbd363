//! How many workers, and on which CPUs: the affinity mask, the cgroup's quota and the configuration.

use std::path::Path;

use super::cgroup;
use crate::config::Workers;
use crate::limits;

/// One worker per entry, with the CPU it is pinned to.
pub(super) type Placement = Vec<Option<usize>>;

/// The CPUs that this process may run on, in rising order; at least one.
pub(super) fn allowed() -> Vec<usize> {
    let mut cpus: Vec<usize> = core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
    cpus.sort_unstable();
    if cpus.is_empty() { vec![0] } else { cpus }
}

/// CPUs worth of time that the cgroup grants, rounded up; `None` without a quota.
pub(super) fn quota() -> Option<usize> {
    quota_of(|path| std::fs::read_to_string(path).ok())
}

/// Places workers as the configuration asks.
///
/// Under a quota smaller than the mask the workers are not pinned: containers that share a machine would otherwise all
/// sit on its first CPUs. More workers than CPUs are not pinned either.
///
/// # Errors
/// A listed CPU that this process may not use.
pub(super) fn place(workers: &Workers, allowed: &[usize], quota: Option<usize>) -> Result<Placement, String> {
    let pinned = |count: usize| allowed.iter().take(count).copied().map(Some).collect();
    let count = match workers {
        Workers::Auto => match quota {
            Some(quota) if quota < allowed.len() => return Ok(vec![None; quota.clamp(1, limits::WORKERS_MAX)]),
            Some(_) | None => allowed.len().min(limits::WORKERS_MAX),
        },
        Workers::Count(count) => *count,
        Workers::List(list) => {
            return match list.iter().find(|cpu| !allowed.contains(cpu)) {
                Some(cpu) => Err(format!(
                    "runtime.workers names CPU {cpu}, but this process may only use {allowed:?} (affinity mask)"
                )),
                None => Ok(list.iter().copied().map(Some).collect()),
            };
        }
    };
    Ok(if count <= allowed.len() { pinned(count) } else { vec![None; count] })
}

/// The tightest quota of this process's cgroup and all above it, by cgroup v2 and then v1.
fn quota_of(read: impl Fn(&Path) -> Option<String>) -> Option<usize> {
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let v2 = cgroup::v2_group(&groups).map(|group| {
        cgroup::tightest("/sys/fs/cgroup", group, |folder| parse_cpu_max(&read(&folder.join("cpu.max"))?))
    });
    let v1 = cgroup::v1_group(&groups, "cpu").map(|group| {
        let one = |folder: &Path| {
            parse_cfs(&read(&folder.join("cpu.cfs_quota_us"))?, &read(&folder.join("cpu.cfs_period_us"))?)
        };
        ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"]
            .iter()
            .filter_map(|mount| cgroup::tightest(mount, group, one))
            .min()
    });
    [v2.flatten(), v1.flatten()].into_iter().flatten().min()
}

/// `max 100000` or `150000 100000` (microseconds of quota and period).
fn parse_cpu_max(text: &str) -> Option<usize> {
    let (quota, period) = text.trim().split_once(' ')?;
    parse_cfs(quota, period)
}

/// Quota and period in microseconds; -1 and `max` are no quota.
fn parse_cfs(quota: &str, period: &str) -> Option<usize> {
    let quota: u64 = quota.trim().parse().ok()?;
    let period: u64 = period.trim().parse().ok().filter(|period| *period > 0)?;
    usize::try_from(quota.div_ceil(period).max(1)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota_with(files: &[(&str, &str)]) -> Option<usize> {
        quota_of(|path| {
            files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, content)| (*content).to_owned())
        })
    }

    #[test]
    fn a_v2_quota_is_rounded_up() {
        let group = ("/proc/self/cgroup", "0::/\n");
        assert_eq!(quota_with(&[group, ("/sys/fs/cgroup/cpu.max", "150000 100000\n")]), Some(2));
        assert_eq!(quota_with(&[group, ("/sys/fs/cgroup/cpu.max", "200000 100000\n")]), Some(2));
        assert_eq!(quota_with(&[group, ("/sys/fs/cgroup/cpu.max", "10000 100000\n")]), Some(1));
        assert_eq!(quota_with(&[group, ("/sys/fs/cgroup/cpu.max", "max 100000\n")]), None);
        assert_eq!(quota_with(&[group]), None);
        assert_eq!(quota_with(&[]), None);
    }

    #[test]
    fn the_tightest_group_on_the_way_down_counts() {
        let files = [
            ("/proc/self/cgroup", "0::/pod/box\n"),
            ("/sys/fs/cgroup/pod/cpu.max", "300000 100000"),
            ("/sys/fs/cgroup/pod/box/cpu.max", "max 100000"),
        ];
        assert_eq!(quota_with(&files), Some(3));
    }

    #[test]
    fn a_v1_quota_is_found_under_both_mounts() {
        let group = ("/proc/self/cgroup", "5:memory:/x\n4:cpu,cpuacct:/box\n0::/init\n");
        for mount in ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"] {
            let quota = format!("{mount}/box/cpu.cfs_quota_us");
            let period = format!("{mount}/box/cpu.cfs_period_us");
            assert_eq!(quota_with(&[group, (&quota, "250000\n"), (&period, "100000\n")]), Some(3));
            assert_eq!(quota_with(&[group, (&quota, "-1\n"), (&period, "100000\n")]), None);
            assert_eq!(quota_with(&[group, (&quota, "250000\n"), (&period, "0\n")]), None);
        }
        // A container without a cgroup namespace sees the path of its host, and its own files at the mount.
        let root = [
            group,
            ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000"),
        ];
        assert_eq!(quota_with(&root), Some(1));
    }

    #[test]
    fn auto_is_one_pinned_worker_per_allowed_cpu() {
        assert_eq!(place(&Workers::Auto, &[1, 3], None), Ok(vec![Some(1), Some(3)]));
        assert_eq!(place(&Workers::Auto, &[1, 3], Some(2)), Ok(vec![Some(1), Some(3)]));
    }

    #[test]
    fn a_quota_below_the_mask_decides_the_number_and_pins_nothing() {
        assert_eq!(place(&Workers::Auto, &[0, 1, 2, 3], Some(2)), Ok(vec![None, None]));
    }

    #[test]
    fn a_count_is_pinned_while_there_are_cpus_for_it() {
        assert_eq!(place(&Workers::Count(1), &[2, 3], None), Ok(vec![Some(2)]));
        assert_eq!(place(&Workers::Count(3), &[2, 3], None), Ok(vec![None; 3]));
    }

    #[test]
    fn a_listed_cpu_outside_the_mask_is_refused_by_name() {
        assert_eq!(place(&Workers::List(vec![3, 1]), &[1, 3], None), Ok(vec![Some(3), Some(1)]));
        assert!(place(&Workers::List(vec![1, 7]), &[1, 3], None).unwrap_err().contains("CPU 7"));
    }

    #[test]
    fn this_process_may_use_a_cpu() {
        assert!(!allowed().is_empty());
    }
}
