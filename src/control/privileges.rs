//! Giving up root: a process that root has started becomes another user, and keeps of root's rights only that of listening on
//! ports below 1024, for reloads and upgrades.

use std::ffi::CString;

use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl::set_no_new_privs;
use nix::unistd::{Gid, Group, Uid, User, initgroups, setgroups, setresgid, setresuid};

use crate::config::RunAs;

/// Becomes this user for good; whether that changed anything.
///
/// Rights belong to threads: those of this one are what the workers inherit, and all others lose theirs.
///
/// # Errors
/// One sentence: there is no such user or group, or this process may not become it.
pub(super) fn become_user(wanted: &RunAs) -> Result<bool, String> {
    let (user, own_group) = uid(&wanted.user)?;
    let group = match &wanted.group {
        Some(name) => gid(name)?,
        None => {
            own_group.ok_or_else(|| format!("no user has the number {user}: give a group as well, `{user}:GROUP`"))?
        }
    };
    if Uid::effective() == user {
        return Ok(false);
    }
    if !Uid::effective().is_root() {
        return Err(format!("only root may become `{}`; this process runs as user {}", wanted.user, Uid::effective()));
    }
    let listens =
        caps::has_cap(None, CapSet::Permitted, Capability::CAP_NET_BIND_SERVICE).map_err(|e| e.to_string())?;
    caps::securebits::set_keepcaps(true).map_err(|error| error.to_string())?;
    change(wanted, user, group).map_err(|error| format!("cannot become `{}`: {error}", wanted.user))?;
    keep_only(listens).map_err(|error| format!("cannot give up the rights of root: {error}"))?;
    if setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_ok() {
        return Err("the rights of root could be taken back".to_owned());
    }
    tracing::info!(user = user.as_raw(), group = group.as_raw(), low_ports = listens, "runs as another user");
    Ok(true)
}

/// Gives up for good the rights that another program could bring, as one that broke in would want
/// (`PR_SET_NO_NEW_PRIVS`, prctl(2)); what this program's own file brings stays for the process of an upgrade.
///
/// # Errors
/// The system does not let it.
pub(super) fn take_no_more() -> nix::Result<()> {
    set_no_new_privs()
}

fn change(wanted: &RunAs, user: Uid, group: Gid) -> nix::Result<()> {
    match CString::new(wanted.user.as_str()) {
        // Its other groups as well, unless one was given instead.
        Ok(name) if wanted.group.is_none() && wanted.user.parse::<u32>().is_err() => initgroups(&name, group)?,
        _ => setgroups(&[group])?,
    }
    setresgid(group, group, group)?;
    setresuid(user, user, user)
}

fn keep_only(listens: bool) -> Result<(), caps::errors::CapsError> {
    let kept: CapsHashSet = listens.then_some(Capability::CAP_NET_BIND_SERVICE).into_iter().collect();
    caps::set(None, CapSet::Permitted, &kept)?;
    caps::set(None, CapSet::Inheritable, &kept)?;
    caps::set(None, CapSet::Effective, &kept)?;
    // What a new process of an upgrade begins with.
    caps::set(None, CapSet::Ambient, &kept)
}

/// A user by name or number, with the number of its group if it has an entry.
fn uid(name: &str) -> Result<(Uid, Option<Gid>), String> {
    let unknown = || format!("there is no user `{name}` on this machine");
    let (number, found) = match name.parse::<u32>() {
        Ok(number) => (Some(Uid::from_raw(number)), User::from_uid(Uid::from_raw(number))),
        Err(_) => (None, User::from_name(name)),
    };
    let found = found.map_err(|error| format!("cannot look for the user `{name}`: {error}"))?;
    let group = found.as_ref().map(|user| user.gid);
    number.or(found.map(|user| user.uid)).map(|user| (user, group)).ok_or_else(unknown)
}

/// A group by name or number.
fn gid(name: &str) -> Result<Gid, String> {
    if let Ok(number) = name.parse::<u32>() {
        return Ok(Gid::from_raw(number));
    }
    let found = Group::from_name(name).map_err(|error| format!("cannot look for the group `{name}`: {error}"))?;
    found.map(|group| group.gid).ok_or_else(|| format!("there is no group `{name}` on this machine"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_are_found_by_name_and_by_number() {
        assert_eq!(uid("root"), Ok((Uid::from_raw(0), Some(Gid::from_raw(0)))));
        assert_eq!(uid("0"), uid("root"));
        assert_eq!(uid("3999999999"), Ok((Uid::from_raw(3_999_999_999), None)));
        assert_eq!(
            uid("nobody-of-that-name"),
            Err("there is no user `nobody-of-that-name` on this machine".to_owned())
        );
        assert_eq!((gid("root"), gid("7")), (Ok(Gid::from_raw(0)), Ok(Gid::from_raw(7))));
        assert_eq!(gid("no-such-group"), Err("there is no group `no-such-group` on this machine".to_owned()));
    }

    #[test]
    fn a_number_without_an_entry_needs_a_group() {
        let wanted = RunAs { user: "3999999999".to_owned(), group: None };
        assert!(become_user(&wanted).unwrap_err().contains("give a group as well"));
    }
}
