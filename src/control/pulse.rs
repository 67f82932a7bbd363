//! The pulse of the gateway: what it does, second by second, and to whom that is told.

mod busy;
mod frame;
mod meter;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};

use self::busy::Busy;
use self::meter::Meter;
use super::board::Board;
use super::latency::{LatencyPage, Ledger};
use crate::clock;

/// Those who may listen at once.
const LISTENERS: usize = 32;
/// Pause between two looks whether anything has changed.
const LOOK: Duration = Duration::from_millis(50);
/// Nanoseconds between two beats.
const BEAT_NS: u64 = 1_000_000_000;

/// The running pulse; it ends when it is stopped or dropped.
pub(super) struct Pulse {
    inner: Arc<Inner>,
    frames: watch::Receiver<Bytes>,
    places: Arc<Semaphore>,
    task: JoinHandle<()>,
}

struct Inner {
    board: Arc<Board>,
    state: Mutex<State>,
}

/// What is known of the seconds before.
struct State {
    ledger: Ledger,
    meter: Meter,
    busy: Busy,
}

/// One who listens.
pub(super) struct Listener {
    /// What it is told before anything else, the last of it first.
    opening: Vec<Bytes>,
    frames: watch::Receiver<Bytes>,
    _place: OwnedSemaphorePermit,
}

impl Pulse {
    /// Begins to beat.
    pub(super) fn start(board: Arc<Board>) -> Self {
        let now_ns = clock::now_ns();
        let state = State {
            ledger: Ledger::new(now_ns),
            meter: Meter::new(now_ns, board.seats(), board.reasons().len()),
            busy: Busy::default(),
        };
        let inner = Arc::new(Inner { board, state: Mutex::new(state) });
        let (tell, frames) = watch::channel(Bytes::new());
        let places = Arc::new(Semaphore::new(LISTENERS));
        let task = tokio::spawn(beat(Arc::clone(&inner), tell, Arc::clone(&places)));
        Self { inner, frames, places, task }
    }

    /// The page `/latency`, made on a thread of its own; `None` at the end of the process.
    pub(super) async fn latency(&self) -> Option<LatencyPage> {
        let (ledger, board) = (self.inner.state().ledger.clone(), Arc::clone(&self.inner.board));
        let making = spawn_blocking(move || {
            let [routes, clusters] = board.series_names();
            ledger.page(clock::now_ns(), board.seats(), &routes, &clusters)
        });
        making.await.ok()
    }

    /// One more who listens; `None` when there are as many as may be.
    pub(super) fn listen(&self) -> Option<Listener> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let mut frames = self.frames.clone();
        frames.mark_unchanged();
        let state = self.inner.state();
        let opening = vec![frame::frame(&self.inner.board, &state), frame::past(&state)];
        Some(Listener { opening, frames, _place: place })
    }

    /// Ends; whoever listens is told nothing more.
    pub(super) fn stop(&self) {
        self.task.abort();
    }
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulse").field("free_places", &self.places.available_permits()).finish_non_exhaustive()
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Listener {
    /// What there is to tell next, once there is; frames that came while nobody asked are left out, but for the last one.
    /// `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.opening.pop() {
            return Some(first);
        }
        self.frames.changed().await.ok()?;
        Some(self.frames.borrow_and_update().clone())
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while it was held leaves numbers that are still worth showing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a mark of the latencies is due.
    fn is_mark_due(&self, now_ns: u64) -> bool {
        self.state().ledger.is_due(now_ns)
    }

    fn on_second(&self, now_ns: u64, is_heard: bool) {
        let (seats, mut state) = (self.board.seats(), self.state());
        state.meter.on_second(now_ns, clock::unix_ms(), seats);
        if is_heard {
            state.busy.on_second(now_ns, seats.len());
        } else {
            state.busy.on_pause();
        }
    }
}

/// Sets a mark in the ledger, read on a thread of its own.
async fn mark(inner: Arc<Inner>, now_ns: u64) {
    let (ledger, board) = (inner.state().ledger.clone(), Arc::clone(&inner.board));
    if let Ok(mark) = spawn_blocking(move || ledger.mark(now_ns, board.seats())).await {
        inner.state().ledger.keep(mark);
    }
}

/// Tells of every second, and in between of what nobody should have to wait for.
async fn beat(inner: Arc<Inner>, tell: watch::Sender<Bytes>, places: Arc<Semaphore>) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut due_ns, mut known) = (clock::now_ns() + BEAT_NS, 0);
    loop {
        looks.tick().await;
        let (now_ns, is_heard) = (clock::now_ns(), places.available_permits() < LISTENERS);
        let is_over = now_ns >= due_ns;
        if is_over {
            inner.on_second(now_ns, is_heard);
            if inner.is_mark_due(now_ns) {
                drop(tokio::spawn(mark(Arc::clone(&inner), now_ns)));
            }
            due_ns = (due_ns + BEAT_NS).max(now_ns);
        }
        if !is_heard {
            continue;
        }
        let seen = inner.board.fingerprint();
        if is_over || seen != known {
            known = seen;
            tell.send_replace(frame::frame(&inner.board, &inner.state()));
        }
    }
}

#[cfg(test)]
mod tests;
