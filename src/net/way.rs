//! How threads share cores: those that do what can wait, and those that others wait for.

use std::{io, mem};

/// From now on the thread that calls this runs when nobody else wants its core, more or less.
pub fn give_way() {
    // SAFETY: the call reads nothing and writes nothing of ours. On Linux it is about the calling thread alone, and to ask
    // for less is always allowed; without it the thread would only be less polite.
    let _nice = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
}

/// Nanoseconds that a prompt thread runs for at a time while others want its core; the least that the kernel takes.
const PROMPT_SLICE_NS: u64 = 100_000;

/// From now on the thread that calls this runs soon when it is woken, for a moment at a time: it has no more of a busy core
/// than before, only earlier. Threads that it starts are like any other. Linux obeys from 6.12 on; before that, where it
/// is not allowed, and in a process that was made more important than others, nothing changes: threads and processes that a
/// prompt thread starts would lose that (sched(7), "The reset-on-fork flag").
///
/// # Errors
/// The process is not allowed to ask for it: then nothing changes.
pub fn be_prompt() -> io::Result<()> {
    let flags = u64::from(libc::SCHED_FLAG_RESET_ON_FORK.unsigned_abs());
    // SAFETY: a structure of numbers, of which zeros are a value.
    let mut asked: libc::sched_attr = unsafe { mem::zeroed() };
    let size = u32::try_from(size_of_val(&asked)).unwrap_or(0);
    // SAFETY: the kernel writes at most `size` bytes, which outlive the call; 0 is the calling thread.
    let known = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut asked, size, 0) };
    if known != 0 {
        return Err(io::Error::last_os_error());
    }
    if asked.sched_policy != libc::SCHED_OTHER.unsigned_abs() || asked.sched_nice < 0 {
        // Whoever chose another class for this process chose how prompt it is.
        return Ok(());
    }
    (asked.sched_runtime, asked.sched_flags) = (PROMPT_SLICE_NS, flags);
    // SAFETY: the kernel reads `size` bytes, which the structure says it has, and which outlive the call.
    let taken = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const asked, 0) };
    if taken == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice_ns() -> u64 {
        // SAFETY: as above.
        let mut known: libc::sched_attr = unsafe { mem::zeroed() };
        let size = u32::try_from(size_of_val(&known)).unwrap();
        // SAFETY: as above.
        assert_eq!(unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut known, size, 0) }, 0);
        known.sched_runtime
    }

    #[test]
    fn a_prompt_thread_has_short_slices_and_its_children_have_not() {
        let usual = slice_ns();
        let both = || {
            be_prompt().expect("nothing forbids it here");
            let child = std::thread::Builder::new().spawn(slice_ns).expect("a test may have threads");
            (slice_ns(), child.join().expect("it cannot panic"))
        };
        let prompt = std::thread::Builder::new().spawn(both).expect("a test may have threads");
        let (own, child) = prompt.join().expect("it cannot panic");
        // Before 6.12 there are no slices to ask for.
        assert!(usual == 0 || own == PROMPT_SLICE_NS, "{own}");
        assert_eq!(child, usual);
    }
}
