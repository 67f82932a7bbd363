//! Active health probes: each endpoint that wants them is asked from the control thread, again and again.
//!
//! Owns one task per target, its schedule and its count of results. Never: decides what an endpoint may serve (it
//! reports verdicts), follows redirects, keeps a connection.
//! Invariants: at most [`PROBES_AT_ONCE`] probes are under way; a probe and everything it opened end with its target;
//! what this machine lacks (descriptors, certificates) is never counted against an endpoint.

mod attempt;
mod deadline;
mod grpc;
mod health_message;
mod http;
mod http2;
mod jitter;
mod sniff;
mod target;
mod task;
mod tls;
mod trouble;

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::task::JoinHandle;

use crate::clock;
use crate::cluster::EndpointId;
use crate::rng::Rng;

use attempt::Prober;
pub(super) use attempt::introduction;
pub(super) use sniff::First;
pub(super) use target::{Target, targets};
use tls::Trust;

/// Probes under way at once in the whole process.
const PROBES_AT_ONCE: usize = 256;
/// Those of them that may be to endpoints whose last probe failed, and may well take all of their timeout again: the
/// others do not wait for them.
const FAILING_AT_ONCE: usize = 192;

const _: () = assert!(FAILING_AT_ONCE < PROBES_AT_ONCE);

/// How one probe went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    /// The endpoint that was asked.
    pub(super) id: EndpointId,
    /// Did it answer as it should?
    pub(super) ok: bool,
    /// The verdict, when this probe changed it: is the endpoint healthy? See [`crate::cluster::HealthCount`].
    pub(super) verdict: Option<bool>,
    /// Microseconds that the slower of the connection and the answer took, a TLS handshake left out; 0 when no
    /// connection came about.
    pub(super) latency_us: u64,
    /// What happened, for logs and the admin pages: `status 503`, `connection refused`.
    pub(super) detail: Cow<'static, str>,
    /// The term of the task that wrote it.
    term: u64,
}

/// What all tasks share.
struct Shared {
    reports: mpsc::UnboundedSender<Report>,
    permits: Semaphore,
    failing: Semaphore,
    trust: Trust,
    rng: Mutex<Rng>,
}

impl Shared {
    /// Leave to probe; `fails`: the last probe of the same target failed.
    async fn leave(&self, fails: bool) -> (Option<SemaphorePermit<'_>>, SemaphorePermit<'_>) {
        let taken = |permit: Result<_, _>| permit.expect("nobody closes the semaphore");
        let failing = if fails { Some(taken(self.failing.acquire().await)) } else { None };
        (failing, taken(self.permits.acquire().await))
    }

    /// 64 random bits.
    fn draw(&self) -> u64 {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).u64()
    }
}

/// The task of one target; dropping it ends the task and the probe that is under way.
struct Running {
    target: Arc<Target>,
    term: u64,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Those who are probed, as of now.
#[derive(Clone, Default)]
pub(super) struct Followed(Arc<Mutex<FxHashMap<EndpointId, Running>>>);

impl Followed {
    /// The target that `report` is about, `None` when it has been changed or left since: then the report is void, and its
    /// identity may be another endpoint's by now.
    pub(super) fn target_of(&self, report: &Report) -> Option<Arc<Target>> {
        let running = self.running();
        running.get(&report.id).filter(|running| running.term == report.term).map(|running| Arc::clone(&running.target))
    }

    fn running(&self) -> MutexGuard<'_, FxHashMap<EndpointId, Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every probe of the process.
pub(super) struct Probes {
    shared: Arc<Shared>,
    followed: Followed,
    /// Terms given out: one per task, so that what a task said before it ended can be told from its successor's word.
    terms: u64,
}

impl Probes {
    /// Without a target; what its probes find is sent to `reports`.
    pub(super) fn new(reports: mpsc::UnboundedSender<Report>) -> Self {
        // It only spreads probes in time, so without entropy the clock will do.
        let rng = Rng::from_os().unwrap_or_else(|_| Rng::from_seed(clock::now_ns()));
        let (permits, failing) = (Semaphore::new(PROBES_AT_ONCE), Semaphore::new(FAILING_AT_ONCE));
        let shared = Arc::new(Shared { reports, permits, failing, trust: Trust::new(), rng: Mutex::new(rng) });
        Self { shared, followed: Followed::default(), terms: 0 }
    }

    /// Those who are probed, now and later.
    pub(super) fn followed(&self) -> Followed {
        self.followed.clone()
    }

    /// Probes `targets` and nothing else: those that are probed just so already go on with their counts, those that are
    /// new or changed begin anew, the others end. No two targets have one identity. Called on the control thread.
    pub(super) fn follow(&mut self, targets: Vec<Target>) {
        let mut before = std::mem::take(&mut *self.followed.running());
        let mut running = FxHashMap::with_capacity_and_hasher(targets.len(), rustc_hash::FxBuildHasher);
        for target in targets {
            let known = before.remove(&target.id);
            let one = match known.filter(|known| *known.target == target && !known.task.is_finished()) {
                Some(one) => one,
                None => self.start(target),
            };
            running.insert(one.target.id, one);
        }
        *self.followed.running() = running;
    }

    fn start(&mut self, target: Target) -> Running {
        self.terms += 1;
        let term = self.terms;
        let prober = Prober::new(target.clone(), Arc::clone(&self.shared));
        let task = tokio::spawn(task::run(Arc::clone(&self.shared), target.clone(), term, prober));
        Running { target: Arc::new(target), term, task }
    }

    /// Ends every probe.
    pub(super) fn stop(&self) {
        self.followed.running().clear();
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests;
