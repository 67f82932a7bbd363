//! Descriptors that another process left open for this one.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::SockRef;

/// The first descriptor behind standard input, output and error.
const FIRST: RawFd = 3;

/// Takes the descriptors of these numbers, closed on exec from now on; `closes_others` closes every other one but the
/// standard three. To be called once, before this process opens anything.
///
/// # Errors
/// A number that is standard, named twice or not open, or a second call; then nothing is taken.
pub fn take_inherited(numbers: &[RawFd], closes_others: bool) -> io::Result<Vec<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(io::Error::other("descriptors were taken before"));
    }
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    if sorted.first().is_some_and(|first| *first < FIRST) || sorted.windows(2).any(|two| two[0] == two[1]) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{numbers:?} are no descriptors to take")));
    }
    for number in numbers {
        // SAFETY: it reads a flag of a number, open or not.
        if unsafe { libc::fcntl(*number, libc::F_GETFD) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    if closes_others {
        close_between(&sorted);
    }
    let take = |number: &RawFd| {
        // SAFETY: it is open, named once, and this is the first who takes it: nothing was opened before, and this runs once.
        let descriptor = unsafe { OwnedFd::from_raw_fd(*number) };
        // It cannot fail on an open descriptor.
        drop(SockRef::from(&descriptor).set_cloexec(true));
        descriptor
    };
    Ok(numbers.iter().map(take).collect())
}

/// Closes everything from [`FIRST`] on that is not among `kept`, which is sorted.
fn close_between(kept: &[RawFd]) {
    let mut from = FIRST;
    for stop in kept.iter().copied().chain([RawFd::MAX]) {
        if from < stop {
            // SAFETY: nothing of this process owns a descriptor yet, and those that it is to own are left out.
            unsafe { libc::close_range(from.unsigned_abs(), (stop - 1).unsigned_abs(), 0) };
        }
        from = stop.saturating_add(1);
    }
}
