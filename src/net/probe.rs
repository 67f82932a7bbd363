//! Does this kernel, and whatever confines this process, allow io_uring?

use std::io;

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

/// Builds a ring like a worker's and drops it again.
///
/// # Errors
/// One sentence with the likely cause, when the kernel or a seccomp profile refuses.
pub fn probe_io_uring() -> Result<(), String> {
    let mut builder = io_uring::IoUring::builder();
    builder.setup_single_issuer().setup_coop_taskrun();
    builder.setup_cqsize(limits::RING_COMPLETIONS);
    let ring: io::Result<io_uring::IoUring> = builder.build(limits::RING_ENTRIES);
    ring.map(drop).map_err(|error| explain(&error))
}

fn explain(error: &io::Error) -> String {
    let cause = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "a seccomp profile or the sysctl kernel.io_uring_disabled forbids it",
        Some(libc::ENOSYS) => "this kernel has no io_uring, or a seccomp profile hides it",
        Some(libc::EINVAL) => "this kernel is older than 6.0 and lacks a needed ring flag",
        Some(libc::ENOMEM) => "the memlock limit is too small (ulimit -l)",
        _ => "the kernel refused",
    };
    format!("io_uring_setup: {error}; {cause}")
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
    fn every_refusal_names_a_cause() {
        for code in [libc::EPERM, libc::ENOSYS, libc::EINVAL, libc::ENOMEM, libc::EIO] {
            let text = explain(&io::Error::from_raw_os_error(code));
            assert!(text.starts_with("io_uring_setup: ") && text.contains("; "), "{text}");
        }
    }
}
