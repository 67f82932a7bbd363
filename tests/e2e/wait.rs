//! Waiting for a condition, with a deadline.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringgate::clock;

/// Longest wait for anything that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(3);

/// Milliseconds on the monotonic clock.
pub(crate) fn now_ms() -> u64 {
    clock::now_ns() / 1_000_000
}

/// Looks again and again until there is something to see; fails with `what` when that takes too long.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let due_ms = now_ms() + u64::try_from(PATIENCE.as_millis()).expect("seconds fit");
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(now_ms() < due_ms, "waited {PATIENCE:?} in vain: {what}");
        std::thread::park_timeout(PAUSE);
    }
}

/// Looks until `condition` holds.
pub(crate) fn until_true(what: &str, mut condition: impl FnMut() -> bool) {
    until(what, || condition().then_some(()));
}

/// Does this take less than `bound`? It has three tries, since others may have the processor for a while.
pub(crate) fn is_quicker_than(bound: Duration, mut work: impl FnMut()) -> bool {
    (0..3).any(|_| {
        let began_ns = clock::now_ns();
        work();
        u128::from(clock::now_ns() - began_ns) < bound.as_nanos()
    })
}

/// Tells threads that work until they are told so to end, also when their test fails in between.
pub(crate) struct Ends<'a>(pub(crate) &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Starts a named thread.
pub(crate) fn thread<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body).expect("a test may have threads")
}
