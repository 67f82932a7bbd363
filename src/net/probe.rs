//! Does this kernel, and whatever confines this process, allow io_uring?

use std::fmt;
use std::io;
use std::time::Duration;

use crate::limits;

/// What drives a worker's input and output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// io_uring, the default on Linux 6.x.
    IoUring,
    /// epoll, where io_uring is refused.
    Epoll,
}

impl Driver {
    /// The name as written in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

/// Why io_uring is refused; displayed as one sentence with the likely cause.
#[derive(Debug)]
pub struct Refused(io::Error);

impl Refused {
    /// What lets it be used.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        self.cause().1
    }

    /// The likely cause, and what to do about it.
    fn cause(&self) -> (&'static str, &'static str) {
        match self.0.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => {
                ("a seccomp profile or the sysctl kernel.io_uring_disabled forbids it", ALLOW)
            }
            Some(libc::ENOSYS) => ("this kernel has no io_uring, or a seccomp profile hides it", ALLOW),
            Some(libc::EINVAL) => {
                ("this kernel is older than 6.0 and lacks a needed ring flag", "use a kernel of 6.0 or newer")
            }
            Some(libc::ENOMEM) => (
                "the memlock limit (ulimit -l) or the memory of its control group is too small",
                "LimitMEMLOCK=infinity in its unit, `ulimit -l unlimited`, or `--ulimit memlock=-1` of a container; \
                 where that changes nothing, more memory",
            ),
            _ => ("the kernel refused", "look at the kernel's log: `dmesg`"),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "io_uring_setup: {}; {}", self.0, self.cause().0)
    }
}

/// What to do where something forbids io_uring.
const ALLOW: &str = "allow io_uring: sysctl kernel.io_uring_disabled=0, and in containers a seccomp profile with \
                     io_uring_setup, io_uring_enter and io_uring_register";

/// How often a ring is tried for which there is no memory, and the pause before it is tried again.
const TRIES: usize = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// Builds what has a ring in it; again where there is no memory for that.
///
/// The kernel takes all its pages at once and waits for none, so that a machine whose memory is full of the files it has read
/// may have too few of them free for a moment.
///
/// # Errors
/// It is refused for another reason, or time after time.
#[expect(clippy::disallowed_methods, reason = "no reactor runs on this thread yet")]
pub(super) fn build_ring<T>(build: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    build_patiently(build, || std::thread::sleep(PAUSE))
}

fn build_patiently<T>(mut build: impl FnMut() -> io::Result<T>, mut pause: impl FnMut()) -> io::Result<T> {
    for _ in 1..TRIES {
        match build() {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => pause(),
            other => return other,
        }
    }
    build()
}

/// Builds a ring like a worker's for each of so many workers, which share one limit on locked memory, and drops them again.
///
/// # Errors
/// The kernel or a seccomp profile refuses.
pub fn probe_io_uring(workers: usize) -> Result<(), Refused> {
    let mut builder = io_uring::IoUring::builder();
    builder.setup_single_issuer().setup_coop_taskrun();
    builder.setup_cqsize(limits::RING_COMPLETIONS);
    let rings: io::Result<Vec<io_uring::IoUring>> =
        (0..workers).map(|_| build_ring(|| builder.build(limits::RING_ENTRIES))).collect();
    rings.map(drop).map_err(Refused)
}

#[cfg(test)]
impl From<i32> for Refused {
    fn from(code: i32) -> Self {
        Self(io::Error::from_raw_os_error(code))
    }
}

/// Is the kernel's clock kept in time by somebody; `None` where the kernel does not tell (adjtimex(2)).
#[must_use]
pub fn clock_is_synchronized() -> Option<bool> {
    // SAFETY: the structure is plain numbers, for which zeros are valid; `modes` 0 asks and changes nothing.
    let state = unsafe {
        let mut time: libc::timex = std::mem::zeroed();
        libc::adjtimex(&raw mut time)
    };
    (state >= 0).then_some(state != libc::TIME_ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_tried_again_where_memory_is_short_and_only_there() {
        for (code, fails, tried) in
            [(libc::ENOMEM, 3, 4), (libc::ENOMEM, TRIES, TRIES), (libc::EPERM, 3, 1), (libc::ENOMEM, 0, 1)]
        {
            let (mut tries, mut pauses) = (0, 0);
            let build = || {
                tries += 1;
                if tries <= fails { Err(io::Error::from_raw_os_error(code)) } else { Ok(()) }
            };
            let built = build_patiently(build, || pauses += 1);
            assert_eq!((tries, pauses, built.is_ok()), (tried, tried - 1, tried > fails), "{code}, {fails} times");
        }
    }

    #[test]
    fn every_refusal_names_a_cause_and_what_to_do_about_that_one() {
        for (code, cause, remedy) in [
            (libc::EPERM, "seccomp", "io_uring_disabled=0"),
            (libc::EACCES, "seccomp", "io_uring_disabled=0"),
            (libc::ENOSYS, "no io_uring", "seccomp profile with io_uring_setup"),
            (libc::EINVAL, "older than 6.0", "a kernel of 6.0"),
            (libc::ENOMEM, "memlock", "LimitMEMLOCK=infinity"),
            (libc::EIO, "the kernel refused", "dmesg"),
        ] {
            let refused = Refused::from(code);
            let text = refused.to_string();
            assert!(text.starts_with("io_uring_setup: ") && text.contains(cause), "{text}");
            assert!(refused.remedy().contains(remedy), "{text}: {}", refused.remedy());
        }
    }
}
