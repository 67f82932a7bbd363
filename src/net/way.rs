//! Threads that do what can wait.

/// From now on the thread that calls this runs when nobody else wants its core, more or less.
pub fn give_way() {
    // SAFETY: the call reads nothing and writes nothing of ours. On Linux it is about the calling thread alone, and to ask
    // for less is always allowed; without it the thread would only be less polite.
    let _nice = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
}
