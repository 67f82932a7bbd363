//! Each test is a small piece of work for two or three threads, run in every order that loom can tell apart and for
//! every value that a weak memory may show them. A thread that waits for ever ends the run as a deadlock.

#![allow(clippy::unwrap_used, reason = "a test program: what it does not expect is its failure")]

mod callers;
mod caps;
mod in_flight;
mod ledger;
mod queue;
mod slot;
mod workers;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use loom::model::Builder;
use loom::thread;

/// Lets `parties` work on what `setup` made, each on a thread, and shows `judge` what they left and returned.
///
/// `preemptions` bounds how often a thread that could go on is interrupted; `LOOM_MAX_PREEMPTIONS` sets another bound.
/// The main thread runs on until it must wait, and loom looks for orders from there: of a store it remembers one access
/// before it, so a thread's own load hides the load of another. Each party is the main thread once, which finds those.
fn meet<S: 'static, T: 'static, const N: usize>(
    preemptions: usize,
    setup: fn() -> S,
    parties: [fn(&S) -> T; N],
    judge: fn(&S, [T; N]),
) {
    let runs = Arc::new(AtomicUsize::new(0));
    for first in 0..N {
        let counted = Arc::clone(&runs);
        let mut builder = Builder::new();
        builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
        // What `setup` does alone counts as well.
        builder.max_branches = 10_000;
        builder.check(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            // Not loom's counted pointer: it would take part in the orders, and a deadlock end as an abort.
            let shared = Arc::new(setup());
            let others: Vec<_> = (0..N)
                .map(|at| {
                    let shared = Arc::clone(&shared);
                    (at != first).then(|| thread::spawn(move || parties[at](&shared)))
                })
                .collect();
            let mut mine = Some(parties[first](&shared));
            let returned: Vec<T> = others
                .into_iter()
                .map(|other| other.map_or_else(|| mine.take().unwrap(), |it| it.join().unwrap()))
                .collect();
            judge(&shared, returned.try_into().ok().unwrap());
        });
    }
    assert!(runs.load(Ordering::Relaxed) > N, "the parties never met");
}
