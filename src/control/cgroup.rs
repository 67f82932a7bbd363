//! Where the files of this process's cgroups are, by cgroup v2 and v1.

use std::path::{Path, PathBuf};

/// The path of this process's group in the hierarchy of cgroup v2, as `/proc/self/cgroup` says.
pub(super) fn v2_group(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| line.strip_prefix("0::"))
}

/// The same in the hierarchy of cgroup v1 that carries `controller`.
pub(super) fn v1_group<'a>(groups: &'a str, controller: &str) -> Option<&'a str> {
    groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let controllers = parts.nth(1)?;
        controllers.split(',').any(|one| one == controller).then(|| parts.next())?
    })
}

/// The group's own folder, which may not be visible here.
pub(super) fn folder(mount: &str, group: &str) -> PathBuf {
    let parts = group.split('/').filter(|part| !part.is_empty() && *part != "..");
    Path::new(mount).join(parts.collect::<PathBuf>())
}

/// The smallest answer of `one` from the mount down to the group; a group that is not visible here is skipped.
pub(super) fn tightest<T: Ord>(mount: &str, group: &str, one: impl Fn(&Path) -> Option<T>) -> Option<T> {
    folder(mount, group).ancestors().take_while(|folder| folder.starts_with(mount)).filter_map(one).min()
}
