//! What all workers share of one cluster: the exact cap on its connections, the queue for one, who holds idle ones.
//!
//! Three parties look at one another: who gives a credit back, who waits for one, who holds an idle connection that
//! keeps one. Each first writes what it has to say, then passes a fence, then reads what the others said, so of two
//! that meet at least one sees the other and no wake-up is lost. `tests/loom` shows it.

use crossbeam_utils::CachePadded;

use super::atomics::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use super::part::Part;

/// The head of a worker on which nobody waits; later than every ticket.
const NOBODY: u64 = u64::MAX;

/// Reads of what several workers change, in the hope of one that nothing changed meanwhile.
const STEADY_READS: usize = 8;

/// One waiter in the word that counts both; what is below are the credits that are out.
const WAITER: u64 = 1 << 32;

/// A place in the queue of a cluster: the smaller came first, on whichever worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// How many credits are out, and how many wait for one.
#[derive(Clone, Copy, Debug)]
struct Counts {
    taken: usize,
    waiting: usize,
}

impl Counts {
    fn of(word: u64) -> Self {
        let half = |half: u64| usize::try_from(half % WAITER).expect("a half of the word fits");
        Self { taken: half(word), waiting: half(word / WAITER) }
    }

    /// Is there a credit to take?
    const fn is_free(self, limit: usize) -> bool {
        limit == 0 || self.taken < limit
    }
}

/// What one worker says to the others; it alone writes.
#[derive(Debug)]
struct Said {
    /// The ticket of its first waiter.
    head: AtomicU64,
    idle: AtomicUsize,
    /// What it claimed of the spare part of the cap on idle connections.
    claimed: AtomicUsize,
}

/// The state of one cluster that its workers and the control side share; it outlives reloads.
///
/// Each worker keeps its own waiters in a queue, first in, first out, and follows these steps, which no other task of
/// that worker interrupts. Send x: the worker that x names, if any, is sent a message, which is to `serve` unless said.
///
/// ```text
/// begin:    an idle connection, if nobody is waiting(); else open one with a credit of try_take(); else `wait`
/// wait:     ticket = try_join(max), none: refuse; add it to the queue
///           if it is the front: set_head(worker, ticket), `serve`
///           if it was not served: `reclaim`, and sleep until it is served or gives up
/// serve:    while the queue has a front and try_take_turn(worker): take it off; set_head(worker, new front);
///           send on_served(); it goes on with its credit
/// hand:     take the front off; set_head(worker, new front); send on_left(); then set_idle(worker, count): until here the
///           connection counts as idle; it goes on with that
/// give up:  take it off; set_head(worker, new front) if it was the front; send on_left()
///           one that was handed something meanwhile gives that back instead: `close` or `rest`
/// close:    send on_released(); then set_idle(worker, count) if it was idle
/// rest:     if is_over(): `close`; add it to the idle; set_idle(worker, count); if somebody is waiting(): `reclaim`
/// reclaim:  without own idle connections of the cluster: send `reclaim` to idle_elsewhere(worker)
///           else take one off; `hand` it if is_first(worker) and not is_over(), else `close` it
///           as a message: only if somebody is waiting()
/// tick:     while the queue has a front: `serve`, then `reclaim` once if it still has
/// ```
///
/// The tick is for messages that a full mailbox refused, and for a limit that was lowered.
///
/// A credit stands for one open connection, in use or idle. Without a limit only the count of credits is written, once
/// as a connection opens and once as it closes, so that a limit set later is exact from the first moment.
/// Workers are numbered from 0; a number at or above that given to `new` panics.
#[derive(Debug)]
pub struct ClusterState {
    /// Credits that are out and waiters in one word: who is served is at no moment both, or neither.
    counts: CachePadded<AtomicU64>,
    tickets: CachePadded<AtomicU64>,
    workers: Box<[CachePadded<Said>]>,
    /// What all claimed so.
    claimed: CachePadded<AtomicUsize>,
    /// 0 for none; this and what follows is seldom written.
    limit: AtomicUsize,
    slow_tiers: AtomicU64,
    ejecting: AtomicBool,
}

impl ClusterState {
    /// A cluster without connections for `workers` workers; `max_connections` 0 sets no limit.
    #[must_use]
    pub fn new(workers: usize, max_connections: usize) -> Self {
        let none = AtomicUsize::default;
        let said = || CachePadded::new(Said { head: AtomicU64::new(NOBODY), idle: none(), claimed: none() });
        Self {
            counts: CachePadded::new(AtomicU64::new(0)),
            tickets: CachePadded::new(AtomicU64::new(0)),
            workers: (0..workers).map(|_| said()).collect(),
            claimed: CachePadded::new(none()),
            limit: AtomicUsize::new(max_connections),
            slow_tiers: AtomicU64::new(0),
            ejecting: AtomicBool::new(false),
        }
    }

    /// Changes the limit, 0 for none; returns the worker to wake, because its first waiter may have a credit now.
    ///
    /// What is out above a lower limit stays out until it is given back.
    #[must_use = "a waiter may have become servable"]
    pub fn set_limit(&self, max_connections: usize) -> Option<usize> {
        self.limit.store(max_connections, Ordering::Relaxed);
        self.servable()
    }

    /// The most connections, 0 for no limit.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Credits that are out: connections open or about to be.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.counts().taken
    }

    /// Connections that are not idle: in use, or about to be opened.
    #[must_use]
    pub fn in_use(&self) -> usize {
        let (counts, idle) = self.steady();
        counts.taken.saturating_sub(idle)
    }

    /// Are more connections open than the limit, because it was lowered?
    #[must_use]
    pub fn is_over(&self) -> bool {
        let limit = self.limit();
        limit != 0 && self.taken() > limit
    }

    /// Is there, or will there be as soon as idle connections are closed, a credit for one more than those who wait?
    ///
    /// What changes meanwhile may make it say yes in vain, and hardly ever no: a connection that goes to a waiter, or
    /// closes, counts as idle until it no longer counts otherwise.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let (counts, idle) = self.steady();
        let limit = self.limit();
        limit == 0 || counts.taken + counts.waiting < limit + idle
    }

    /// Waiters of all workers.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.counts().waiting
    }

    /// Takes a credit, unless as many as the limit are out or somebody waits, whose turn it is.
    #[must_use]
    pub fn try_take(&self) -> bool {
        let limit = self.limit();
        if limit == 0 {
            self.counts.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        self.try_count(|counts| counts.waiting == 0 && counts.is_free(limit), 1)
    }

    /// Told that a connection closed and its credit is free; returns the worker to wake.
    #[must_use = "the free credit may be somebody's"]
    pub fn on_released(&self) -> Option<usize> {
        // Whoever takes this credit sees the connection closed that had it.
        let before = Counts::of(self.counts.fetch_sub(1, Ordering::Release));
        debug_assert!(before.taken > 0, "a credit is given back once");
        self.servable()
    }

    /// Takes a place at the end of the queue, unless `max_waiting` wait already; end it with [`Self::on_left`].
    #[must_use]
    pub fn try_join(&self, max_waiting: usize) -> Option<Ticket> {
        self.try_count(|counts| counts.waiting < max_waiting, WAITER)
            .then(|| Ticket(self.tickets.fetch_add(1, Ordering::Relaxed)))
    }

    /// Says who is the first waiter of `worker`; only that worker calls it, before anything that reads the queue.
    pub fn set_head(&self, worker: usize, first: Option<Ticket>) {
        self.workers[worker].head.store(first.map_or(NOBODY, |ticket| ticket.0), Ordering::Relaxed);
        // Pairs with the fence of `servable`: who frees a credit sees this head, or this worker sees that credit.
        fence(Ordering::SeqCst);
    }

    /// Whether the first of all waiters is one of `worker`.
    #[must_use]
    pub fn is_first(&self, worker: usize) -> bool {
        self.first() == Some(worker)
    }

    /// Takes a credit for the first waiter of `worker`, if it is the first of all and one is free; it waits no longer, and
    /// [`Self::on_served`] follows.
    #[must_use]
    pub fn try_take_turn(&self, worker: usize) -> bool {
        let limit = self.limit();
        // Adds a credit and takes a waiter away, of which there is one: it is the worker's own.
        self.is_first(worker) && self.try_count(|counts| counts.is_free(limit), 1_u64.wrapping_sub(WAITER))
    }

    /// Told that the head of the worker is set after [`Self::try_take_turn`]; returns the worker to wake.
    ///
    /// One of several free credits is all that a turn can take: the rest is the next one's.
    #[must_use = "a free credit may be the next waiter's"]
    pub fn on_served(&self) -> Option<usize> {
        self.servable()
    }

    /// Told that a waiter left the queue without a credit of its own, and the head of its worker is set; returns the worker
    /// to wake: a wake-up may have been meant for the one who left.
    #[must_use = "a free credit may be the next waiter's"]
    pub fn on_left(&self) -> Option<usize> {
        let before = Counts::of(self.counts.fetch_sub(WAITER, Ordering::Relaxed));
        debug_assert!(before.waiting > 0, "a waiter leaves once");
        self.servable()
    }

    /// Says how many idle connections of this cluster `worker` keeps; only it calls this, before [`Self::waiting`].
    pub fn set_idle(&self, worker: usize, idle: usize) {
        self.workers[worker].idle.store(idle, Ordering::Relaxed);
        // Nobody waits without a limit, and most clusters have none: they are spared the fence.
        if self.limit() != 0 {
            // Pairs with the fence of `idle_elsewhere`: one of the two sees the other.
            fence(Ordering::SeqCst);
        }
    }

    /// Told that an idle connection of `worker` came or went; see [`Self::set_idle`].
    pub fn on_idle(&self, worker: usize, came: bool) {
        let idle = self.idle(worker);
        self.set_idle(worker, if came { idle + 1 } else { idle.saturating_sub(1) });
    }

    /// The idle connections that `worker` keeps, as it said last.
    #[must_use]
    pub fn idle(&self, worker: usize) -> usize {
        self.workers[worker].idle.load(Ordering::Relaxed)
    }

    /// The part that `worker` has of what all may keep idle.
    #[must_use]
    pub fn idle_part(&self, worker: usize) -> Part<'_> {
        Part { claimed: &self.workers[worker].claimed, claimed_by_all: &self.claimed }
    }

    /// The worker other than `worker` that keeps most idle connections, if any does.
    #[must_use]
    pub fn idle_elsewhere(&self, worker: usize) -> Option<usize> {
        fence(Ordering::SeqCst);
        let others = self.workers.iter().enumerate().filter(|(at, _)| *at != worker);
        let idle = others.map(|(at, said)| (said.idle.load(Ordering::Relaxed), at));
        idle.max_by_key(|(idle, _)| *idle).filter(|(idle, _)| *idle > 0).map(|(_, at)| at)
    }

    /// The tiers to leave while another will do: bit n for priority n.
    #[must_use]
    pub fn slow_tiers(&self) -> u64 {
        self.slow_tiers.load(Ordering::Relaxed)
    }

    /// Says which tiers to leave.
    pub fn set_slow_tiers(&self, mask: u64) {
        self.slow_tiers.store(mask, Ordering::Relaxed);
    }

    /// True while somebody decides on an ejection: only one may count those ejected at a time.
    #[must_use]
    pub fn ejecting(&self) -> &AtomicBool {
        &self.ejecting
    }

    /// The worker of the first waiter, when somebody waits and a credit is free.
    ///
    /// Whoever could have made both true calls this afterwards.
    fn servable(&self) -> Option<usize> {
        // Pairs with the fence of `set_head`, and with that of another call: the later one sees both writes.
        fence(Ordering::SeqCst);
        let counts = self.counts();
        // Few wait, most of the time: one line is read instead of one of each worker.
        (counts.waiting > 0 && counts.is_free(self.limit())).then(|| self.first()).flatten()
    }

    /// The worker of the first of all waiters whose head is set.
    fn first(&self) -> Option<usize> {
        let heads = self.workers.iter().map(|said| said.head.load(Ordering::Relaxed)).enumerate();
        heads.min_by_key(|(_, head)| *head).filter(|(_, head)| *head != NOBODY).map(|(worker, _)| worker)
    }

    fn counts(&self) -> Counts {
        Counts::of(self.counts.load(Ordering::Relaxed))
    }

    /// Adds `change` to the word of counts if they are as `may` wants them.
    fn try_count(&self, may: impl Fn(Counts) -> bool, change: u64) -> bool {
        let next = |word| may(Counts::of(word)).then(|| word.wrapping_add(change));
        self.counts.fetch_update(Ordering::Acquire, Ordering::Relaxed, next).is_ok()
    }

    /// The counts and the idle connections of all workers, of one moment if there is such a one.
    fn steady(&self) -> (Counts, usize) {
        let mut before = self.counts.load(Ordering::Relaxed);
        let mut idle_most = 0;
        for _ in 0..STEADY_READS {
            fence(Ordering::SeqCst);
            let idle = self.workers.iter().map(|said| said.idle.load(Ordering::Relaxed)).sum();
            fence(Ordering::SeqCst);
            let after = self.counts.load(Ordering::Relaxed);
            if before == after {
                return (Counts::of(after), idle);
            }
            (before, idle_most) = (after, idle_most.max(idle));
        }
        (Counts::of(before), idle_most)
    }
}

#[cfg(test)]
mod tests;
