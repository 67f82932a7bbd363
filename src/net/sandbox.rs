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
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, sock_filter};

/// The newest rights over files that are given up; an older kernel knows fewer, and takes those.
const RIGHTS: ABI = ABI::V5;

/// Calls that a worker never makes, and one who took it over would: other programs, the memory of other processes, keys, other
/// roots and users, the kernel's own code, and rings, whose operations no filter sees. And what Landlock leaves of files: their
/// owners, modes, times and attributes, and before Linux 6.2 their length.
const REFUSED: &[libc::c_long] = &[
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
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_personality,
    libc::SYS_io_uring_setup,
    libc::SYS_truncate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    SETXATTRAT,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    REMOVEXATTRAT,
    FILE_SETATTR,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utimes,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_futimesat,
];

// Calls newer than the names of libc for some machines; those of the last years have the same number on all.
const FCHMODAT2: libc::c_long = 452;
const SETXATTRAT: libc::c_long = 463;
const REMOVEXATTRAT: libc::c_long = 466;
const FILE_SETATTR: libc::c_long = 469;

/// From this number on x86-64 has all calls a second time (x32), which no rule for a single number would hold for.
const X32: u32 = 0x4000_0000;

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

    /// Gives all of that up, as the trial did.
    ///
    /// # Errors
    /// It did not become the same: what the start told of workers would not hold.
    pub fn enter_as(trial: &Self) -> io::Result<()> {
        let entered = Self::enter();
        if entered == *trial {
            return Ok(());
        }
        let told = |sandbox: Self| format!("[{}]", sandbox.kept().join("; "));
        let (kept, expected) = (told(entered), told(trial.clone()));
        Err(io::Error::other(format!("its sandbox is not that of the trial: it kept {kept}, the trial {expected}")))
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
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refusal.clone(), arch).and_then(BpfProgram::try_from);
    let mut program = refusal_from(X32, refusal).to_vec();
    program.extend(filter.map_err(|error| error.to_string())?);
    seccompiler::apply_filter(&program).map_err(|error| error.to_string())
}

/// The start of a filter: refuses calls from this number on, and leaves the others to what follows.
fn refusal_from(number: u32, refusal: SeccompAction) -> [sock_filter; 3] {
    let step = |code, k, jf| sock_filter { code, jt: 0, jf, k };
    // BPF_LD | BPF_W | BPF_ABS of the number, which comes first; BPF_JMP | BPF_JGE | BPF_K; BPF_RET | BPF_K.
    [step(0x20, 0, 0), step(0x35, number, 1), step(0x06, refusal.into(), 0)]
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, Permissions};
    use std::io::ErrorKind;
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::{self, Command};

    use super::*;
    use crate::net::{Driver, probe_io_uring, run_reactor};

    /// On a thread of its own, which ends with it, once it gave that up.
    fn without<T: Send + 'static>(give_up: fn() -> Result<(), String>, look: impl FnOnce() -> T + Send + 'static) -> T {
        let inside = thread::Builder::new().spawn(move || {
            assert_eq!(give_up(), Ok(()));
            look()
        });
        inside.unwrap().join().unwrap()
    }

    /// The error of a call none of whose arguments is of use: no pointer, no descriptor, no process, no flags and no user, or one to
    /// leave as it is.
    fn errno_of(call: libc::c_long) -> Option<i32> {
        let no: libc::c_long = -1;
        // SAFETY: at that address is nothing that the kernel could read or write.
        let result = unsafe { libc::syscall(call, no, no, no, no, no, no) };
        if result == -1 { io::Error::last_os_error().raw_os_error() } else { None }
    }

    macro_rules! named {
        ($($call:ident)*) => { [$((stringify!($call), libc::$call)),*] };
    }

    const SELF: &str = "/proc/self/status";

    #[test]
    fn no_file_can_be_opened_or_made() {
        let made = std::env::temp_dir().join(format!("ringgate-sandbox-{}", process::id()));
        let errors =
            without(give_up_files, move || [File::open(SELF), File::create(made)].map(|file| file.unwrap_err()));
        assert_eq!(
            errors.map(|error| error.raw_os_error()),
            [Some(libc::EACCES); 2],
            "by Landlock, with the calls left"
        );
        assert!(File::open(SELF).is_ok(), "other threads keep all");
    }

    #[test]
    fn no_call_that_a_worker_never_makes_is_made() {
        let mut calls = named![
            SYS_execve SYS_execveat SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev SYS_pidfd_getfd SYS_kcmp SYS_add_key
            SYS_keyctl SYS_request_key SYS_mount SYS_umount2 SYS_pivot_root SYS_chroot SYS_setns SYS_unshare
            SYS_open_by_handle_at SYS_name_to_handle_at SYS_setuid SYS_setgid SYS_setreuid SYS_setregid SYS_setresuid
            SYS_setresgid SYS_setfsuid SYS_setfsgid SYS_setgroups SYS_capset SYS_bpf SYS_perf_event_open SYS_userfaultfd
            SYS_init_module SYS_finit_module SYS_delete_module SYS_kexec_load SYS_kexec_file_load SYS_reboot SYS_personality
            SYS_io_uring_setup SYS_truncate SYS_fchmod SYS_fchmodat SYS_fchown SYS_fchownat SYS_utimensat SYS_setxattr
            SYS_lsetxattr SYS_fsetxattr SYS_removexattr SYS_lremovexattr SYS_fremovexattr
        ]
        .to_vec();
        calls.extend([("fchmodat2", 452), ("setxattrat", 463), ("removexattrat", 466), ("file_setattr", 469)]);
        #[cfg(target_arch = "x86_64")]
        calls.extend(named![SYS_chmod SYS_chown SYS_lchown SYS_utime SYS_utimes SYS_futimesat]);
        assert_eq!(calls.len(), REFUSED.len(), "each is tried");
        calls.push(("getpid of x32", libc::c_long::from(X32) | libc::SYS_getpid));
        let left = without(give_up_calls, || {
            calls.retain(|(_, call)| errno_of(*call) != Some(libc::EPERM));
            calls
        });
        assert_eq!(left, []);
    }

    #[test]
    fn no_program_can_be_started_and_no_file_be_changed() {
        let own = std::env::temp_dir().join(format!("ringgate-own-{}", process::id()));
        File::create(&own).unwrap();
        let changed = own.clone();
        let (ran, mode, ring) = without(give_up_calls, || {
            let mode = fs::set_permissions(changed, Permissions::from_mode(0o777));
            (Command::new("/bin/true").status().map(drop), mode, probe_io_uring(1).map(drop))
        });
        fs::remove_file(own).unwrap();
        let errors = [ran, mode].map(|result| result.map_err(|error| error.kind()));
        assert_eq!(errors, [const { Err(ErrorKind::PermissionDenied) }; 2]);
        assert!(ring.is_err());
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

    #[test]
    fn one_that_is_not_as_it_was_tried_is_an_error() {
        let entered = |trial: Sandbox| without(|| Ok(()), move || Sandbox::enter_as(&trial));
        let whole = Sandbox { files: Ok(()), calls: Ok(()) };
        entered(whole.clone()).unwrap();
        let error = entered(Sandbox { files: Err("no Landlock".to_owned()), ..whole }).unwrap_err();
        let told = "its sandbox is not that of the trial: it kept [], the trial [files: no Landlock]";
        assert_eq!(error.to_string(), told);
    }
}
