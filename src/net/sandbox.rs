//! The sandbox of a worker: what its thread gives up for good before it reads the first byte of a stranger.
//!
//! A worker reads and writes sockets. It opens no file, starts no program and builds no second ring, so the kernel is asked
//! to refuse it that: by Landlock (landlock(7)), which also holds for what is asked through a ring, and by a filter of system
//! calls (seccomp(2)). The control thread keeps its files, since it reloads them, and what starts the process of an upgrade.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::io;
use std::thread;

use landlock::{ABI, Access as _, AccessFs, Ruleset, RulesetAttr as _, RulesetCreated, RulesetStatus};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

/// The newest rights over files that are given up; an older kernel knows fewer, and takes those.
const RIGHTS: ABI = ABI::V5;

/// Calls that a worker never makes, and one who took it over would: other programs, the memory of other processes, keys, other
/// roots and users, the kernel's own code, and rings, whose operations no filter sees.
const REFUSED: [libc::c_long; 36] = [
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_personality,
    libc::SYS_io_uring_setup,
];

/// What the kernel lets a worker give up; the reason where it does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// All files.
    pub files: Result<(), String>,
    /// System calls that it never makes.
    pub calls: Result<(), String>,
}

impl Sandbox {
    /// Gives all of that up for this thread and those that it starts.
    #[must_use]
    pub fn enter() -> Self {
        Self { files: give_up_files(), calls: give_up_calls() }
    }

    /// What could not be given up, with the reasons; nothing when all could.
    #[must_use]
    pub fn kept(self) -> Vec<String> {
        let named = |what: &str, given_up: Result<(), String>| given_up.err().map(|why| format!("{what}: {why}"));
        [named("files", self.files), named("system calls", self.calls)].into_iter().flatten().collect()
    }

    /// What workers will be able to give up here.
    ///
    /// # Errors
    /// No thread can be started to try it.
    pub fn probe() -> io::Result<Self> {
        let trial = thread::Builder::new().name("sandbox".to_owned()).spawn(Self::enter)?;
        trial.join().map_err(|_| io::Error::other("it panicked"))
    }
}

fn give_up_files() -> Result<(), String> {
    let ruleset = Ruleset::default().handle_access(AccessFs::from_all(RIGHTS)).and_then(Ruleset::create);
    match ruleset.and_then(RulesetCreated::restrict_self).map_err(|error| error.to_string())?.ruleset {
        RulesetStatus::NotEnforced => Err("the kernel has no Landlock, or a seccomp profile refuses it".to_owned()),
        RulesetStatus::PartiallyEnforced | RulesetStatus::FullyEnforced => Ok(()),
    }
}

fn give_up_calls() -> Result<(), String> {
    let arch = TargetArch::try_from(ARCH).map_err(|error| error.to_string())?;
    let rules: BTreeMap<i64, _> = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    let refusal = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refusal, arch).and_then(BpfProgram::try_from);
    let program = filter.map_err(|error| error.to_string())?;
    seccompiler::apply_filter(&program).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::ErrorKind;
    use std::process::Command;

    use super::*;
    use crate::net::{Driver, probe_io_uring, run_reactor};

    /// On a thread of its own, which ends with it.
    fn within<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> T {
        let inside = thread::Builder::new().spawn(|| {
            assert_eq!(Sandbox::enter(), Sandbox { files: Ok(()), calls: Ok(()) });
            look()
        });
        inside.unwrap().join().unwrap()
    }

    const SELF: &str = "/proc/self/status";

    #[test]
    fn no_file_can_be_opened_and_no_program_started() {
        let (read, made, ran, ring) = within(|| {
            let read = File::open(SELF).map(drop);
            let made = File::create(std::env::temp_dir().join("ringgate-sandbox")).map(drop);
            let ran = Command::new("/bin/true").status().map(drop);
            (read, made, ran, probe_io_uring(1).map(drop))
        });
        let kind = |result: io::Result<()>| result.map_err(|error| error.kind());
        assert_eq!([read, made, ran].map(kind), [const { Err(ErrorKind::PermissionDenied) }; 3]);
        assert!(ring.is_err());
        assert!(File::open(SELF).is_ok(), "other threads keep all");
    }

    #[test]
    fn no_file_can_be_opened_through_the_ring_that_was_there_before() {
        let opened = thread::Builder::new().spawn(|| {
            run_reactor(Driver::IoUring, async {
                let before = monoio::fs::File::open(SELF).await.map(drop);
                assert_eq!(Sandbox::enter().files, Ok(()));
                (before.is_ok(), monoio::fs::File::open(SELF).await.map(drop).map_err(|error| error.kind()))
            })
        });
        assert_eq!(opened.unwrap().join().unwrap().unwrap(), (true, Err(ErrorKind::PermissionDenied)));
    }

    #[test]
    fn it_can_be_tried_before() {
        assert_eq!(Sandbox::probe().unwrap(), Sandbox { files: Ok(()), calls: Ok(()) });
        assert!(File::open(SELF).is_ok());
    }
}
