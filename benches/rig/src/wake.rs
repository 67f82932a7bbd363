//! Waiting for sockets and for an instant at once, to the microsecond.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

/// Sockets reported at once.
const EVENTS: usize = 256;

/// A set of sockets to wait for; each carries a number that it is known by.
pub struct Wakes {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Wakes {
    /// An empty set.
    ///
    /// # Errors
    /// Why the kernel refused.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointer is passed; the result is checked before it is owned.
        let descriptor = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just returned this descriptor and nothing else owns it.
        let epoll = unsafe { OwnedFd::from_raw_fd(descriptor) };
        Ok(Self { epoll, events: Vec::with_capacity(EVENTS) })
    }

    /// Reports `socket` as `number` whenever it can be read; closing the socket removes it.
    ///
    /// # Errors
    /// Why the kernel refused.
    pub fn watch(&self, socket: &impl AsRawFd, number: usize) -> io::Result<()> {
        let readable = u32::from_ne_bytes(libc::EPOLLIN.to_ne_bytes());
        let mut event = libc::epoll_event { events: readable, u64: number as u64 };
        // SAFETY: `event` outlives the call, which only reads it.
        let refused =
            unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &raw mut event) };
        if refused < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Waits until a socket can be read or `longest` is over and puts the numbers into `ready`.
    ///
    /// # Errors
    /// Why the kernel refused; an interruption is no error.
    pub fn wait(&mut self, longest: Duration, ready: &mut Vec<usize>) -> io::Result<()> {
        ready.clear();
        let nanoseconds = libc::c_long::from(longest.subsec_nanos());
        let timeout =
            libc::timespec { tv_sec: libc::time_t::try_from(longest.as_secs()).unwrap_or(1), tv_nsec: nanoseconds };
        // SAFETY: `events` has room for EVENTS entries and both pointers outlive the call.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS,
                &raw const timeout,
                ptr::null::<libc::sigset_t>(),
                0_usize,
            )
        };
        let Ok(count) = usize::try_from(count) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
        };
        // SAFETY: the kernel filled `count` entries, at most EVENTS, the capacity.
        unsafe { self.events.set_len(count) };
        ready.extend(self.events.iter().filter_map(|event| usize::try_from(event.u64).ok()));
        Ok(())
    }
}

/// Lets this thread's waits end when they are due instead of up to 50 microseconds later.
pub fn without_timer_slack() {
    let nanoseconds: libc::c_ulong = 1;
    // SAFETY: this option takes one number and touches no memory of ours; a refusal only costs precision.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, nanoseconds) };
}
