//! What a worker lends to its exchanges: everything it owns, nothing shared.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::adopted::{Adopted, Staged};
use super::berth::Berths;
use super::carry::Carrier;
use super::handshakes::Handshakes;
use super::proofs::Proofs;
use super::queue::{Call, Credit, Queues, Tell};
use super::spares::Spares;
use super::store::{Ask, Asked};
use crate::clock;
use crate::cluster::{BreakerPolicy, Cap, Carriers, EndpointId, Fleet, Idle};
use crate::http1::{ChunkedDecoder, FieldEdits, RequestHead, ResponseHead};
use crate::limits;
use crate::net::{Alarm, Alarms, BufferPool, Channel, Env, H2Known, Pending, Stream};
use crate::policy::auth::Cache;
use crate::policy::limit::Shard as Leases;
use crate::rng::Rng;
use crate::snapshot::{Cluster, Entrance, Reader, Snapshot};
use crate::telemetry::{LogRing, SpanRing, WorkerCounters};

/// A connection to an endpoint.
pub struct Upstream<S: Stream> {
    /// Before the credit, so that it is dropped before it.
    pub(super) stream: Channel<S>,
    pub(super) endpoint: EndpointId,
    /// Has it carried an exchange before?
    pub(super) reused: bool,
    /// Milliseconds that it rested before this exchange.
    pub(super) rested_ms: u64,
    /// Its place under the cluster's cap.
    pub(super) credit: Credit<S>,
}

/// A connection that is used or at rest, in a box that it keeps, as it changes hands often.
pub(super) type Lease<S> = Box<Upstream<S>>;

/// Storage that an active connection borrows and gives back when it rests.
pub(super) struct Scratch {
    pub(super) request: RequestHead,
    pub(super) response: ResponseHead,
    pub(super) upload: ChunkedDecoder,
    pub(super) download: ChunkedDecoder,
    /// Guards the endpoint's side; the client's side has the connection's own alarm.
    pub(super) alarm: Alarm,
}

/// What a worker is given to make its shard.
pub struct Belongings<E> {
    /// The world.
    pub env: E,
    /// Number of the worker.
    pub worker: usize,
    /// The snapshots, by epoch.
    pub reader: Reader,
    /// The endpoints as all cores see them.
    pub fleet: Arc<Fleet>,
    /// What it counts.
    pub counters: Arc<WorkerCounters>,
    /// Where its access-log records go.
    pub log: LogRing,
    /// Where its exchanges go as parts of traces.
    pub spans: SpanRing,
    /// Its randomness.
    pub rng: Rng,
    /// The name of this process in `Via`.
    pub via: Vec<u8>,
    /// Sends a call to another worker.
    pub tell: Tell,
    /// Asks the control side.
    pub ask: Ask,
}

/// Everything one worker owns.
pub struct Shard<E: Env> {
    pub(super) env: E,
    pub(super) alarms: Alarms,
    pub(super) buffers: BufferPool,
    pub(super) known: H2Known,
    pub(super) counters: Arc<WorkerCounters>,
    pub(super) log: RefCell<LogRing>,
    pub(super) spans: RefCell<SpanRing>,
    pub(super) rng: RefCell<Rng>,
    pub(super) worker: usize,
    pub(super) fleet: Arc<Fleet>,
    pub(super) idle: RefCell<Idle<Lease<E::Stream>>>,
    pub(super) carriers: RefCell<Carriers<Rc<Carrier<E::Stream>>>>,
    pub(super) queues: Rc<Queues<E::Stream>>,
    pub(super) handshakes: Handshakes,
    /// What it has asked of stores, and what it holds of theirs.
    pub(super) asked: Asked,
    /// Passwords that it has asked about.
    pub(super) proofs: Proofs,
    /// Tokens of rate limits that this worker has leased.
    pub(super) leases: RefCell<Leases>,
    /// Tokens that were verified, until they end: by the wall clock, in seconds since 1970.
    pub(super) verified: RefCell<Cache>,
    /// What else is known of clients for a while, by the monotonic clock.
    pub(super) vouched: RefCell<Cache>,
    /// Copies of requests on their way.
    pub(super) mirrors: Cell<usize>,
    /// Exchanges so far, some of which are timed more closely.
    begun: Cell<u32>,
    pub(super) via: Vec<u8>,
    pub(super) no_edits: FieldEdits,
    /// How long clients may take nothing at most, by how short memory is.
    patience_ms: Cell<u64>,
    draining: Cell<bool>,
    stopped: Cell<bool>,
    /// When it began to drain, `u64::MAX` before.
    drained_ms: Cell<u64>,
    /// How long connections rest in a drain.
    rest_ms: Cell<u64>,
    date: Cell<[u8; clock::IMF_FIXDATE_BYTES]>,
    unix_ms: Cell<u64>,
    reader: Reader,
    current: RefCell<Rc<Adopted>>,
    left: RefCell<Vec<Rc<Adopted>>>,
    /// In boxes, because they are lent for every request.
    scratches: Spares<Box<Scratch>>,
    pub(super) berths: Berths<E>,
    closed: RefCell<Vec<Lease<E::Stream>>>,
}

impl<E: Env> Shard<E> {
    /// A worker's shard, on the snapshot in force.
    #[must_use]
    pub fn new(belongings: Belongings<E>) -> Self {
        let Belongings { env, worker, reader, fleet, counters, log, spans, mut rng, via, tell, ask } = belongings;
        let alarms = Alarms::new(env.now_ns() / 1_000_000);
        let adopted = Rc::new(Adopted::new(reader.load(), None, fleet.workers(), &mut rng));
        let epoch = adopted.snapshot.epoch;
        reader.on_adopted(epoch, epoch);
        counters.epoch.set(epoch);
        Self {
            env,
            alarms,
            buffers: BufferPool::new(),
            known: H2Known::default(),
            counters,
            log: RefCell::new(log),
            spans: RefCell::new(spans),
            rng: RefCell::new(rng),
            worker,
            fleet,
            idle: RefCell::new(Idle::new()),
            carriers: RefCell::default(),
            queues: Queues::new(worker, tell),
            asked: Asked::new(worker, Arc::clone(&ask)),
            proofs: Proofs::new(worker, ask),
            handshakes: Handshakes::new(),
            leases: RefCell::default(),
            verified: RefCell::default(),
            vouched: RefCell::default(),
            mirrors: Cell::new(0),
            begun: Cell::new(0),
            via,
            no_edits: FieldEdits::default(),
            patience_ms: Cell::new(u64::MAX),
            draining: Cell::new(false),
            stopped: Cell::new(false),
            drained_ms: Cell::new(u64::MAX),
            rest_ms: Cell::new(0),
            date: Cell::new([b' '; clock::IMF_FIXDATE_BYTES]),
            unix_ms: Cell::new(0),
            reader,
            current: RefCell::new(adopted),
            left: RefCell::default(),
            scratches: Spares::default(),
            berths: Spares::default(),
            closed: RefCell::default(),
        }
    }

    /// Are the shortest stages of the exchange that begins timed? A reading of the clock costs about as much as they take.
    pub(super) fn times_closely(&self) -> bool {
        let begun = self.begun.get();
        self.begun.set(begun.wrapping_add(1));
        begun.is_multiple_of(limits::TIMED_ONE_IN)
    }

    /// The snapshot for a new exchange of a connection that was staged so: one atomic load, and a change of snapshot when the
    /// epoch moved on.
    pub(super) fn adopt(&self, staged: Staged) -> Rc<Adopted> {
        if self.reader.epoch() != self.current.borrow().snapshot.epoch {
            self.adopt_newest();
        }
        self.current.borrow().of(staged)
    }

    /// Decides for a new connection, for as long as it lives, whether what is on trial serves it.
    pub(super) fn stage(&self, entrance: Entrance) -> Staged {
        let adopted = self.adopt(None);
        let on_trial = adopted.snapshot.trial.as_ref()?;
        let candidate = adopted.snapshot.candidate.as_ref()?;
        let staged = candidate.takes(entrance, || self.rng.borrow_mut().u64()).then(|| on_trial.trial.number());
        if let Some(cells) = adopted.of(staged).on_trial(self.worker) {
            cells.on_connection();
        }
        staged
    }

    /// Has what came in there an answer without a handshake? Nothing is known of a listener that a reload removed.
    #[must_use]
    pub fn answers_in_plain(&self, entrance: Entrance) -> bool {
        self.adopt(None).snapshot.listener(entrance).is_some_and(|listener| listener.tls.is_none())
    }

    /// Is there memory for another connection?
    #[must_use]
    pub fn has_room_for_connections(&self) -> bool {
        self.current.borrow().snapshot.headroom.takes_connections()
    }

    /// Is there memory for another request?
    pub(super) fn has_room_for_requests(&self) -> bool {
        self.current.borrow().snapshot.headroom.takes_requests()
    }

    /// How long a client may take nothing of what is written to it, `most_ms` as a rule.
    pub(super) fn client_patience_ms(&self, most_ms: u64) -> u64 {
        most_ms.min(self.patience_ms.get())
    }

    /// A connection that was staged so ends before its first request, because whatever serves it does not let it in.
    pub(super) fn on_turned_away(&self, staged: Staged) {
        if let Some(cells) = self.adopt(staged).on_trial(self.worker) {
            cells.on_turned_away();
        }
    }

    /// Adopts the newest snapshot now; an idle worker is asked to, so that nobody waits for its next request.
    pub fn adopt_newest(&self) {
        let newest = self.reader.load();
        if newest.epoch == self.current.borrow().snapshot.epoch {
            return;
        }
        let before = Rc::clone(&self.current.borrow());
        let workers = self.fleet.workers();
        let next = Rc::new(Adopted::new(newest, Some(&before), workers, &mut self.rng.borrow_mut()));
        self.counters.epoch.set(next.snapshot.epoch);
        drop(self.current.replace(next));
        self.close_removed(&before.snapshot);
        self.trim_idle(before.clusters());
        self.forget_before(&before.snapshot);
        let now = Rc::clone(&self.current.borrow());
        for cluster in now.clusters() {
            self.close_over(cluster);
        }
        self.queues.wake_all();
        let on_trial = before.candidate.as_ref().map(Rc::clone);
        // What holds the other first, so that both can be left at once.
        self.left.borrow_mut().extend([before].into_iter().chain(on_trial));
        self.leave_unused();
    }

    /// When the breakers of this cluster open, by the live policy that is in force now.
    pub(super) fn breaker_of(&self, cluster: &Cluster) -> Option<BreakerPolicy> {
        cluster.breaker_under(self.current.borrow().snapshot.live.as_deref())
    }

    /// Closes the idle connections of endpoints that the current snapshot no longer has.
    fn close_removed(&self, before: &Snapshot) {
        let mut closed = self.closed.borrow_mut();
        for &endpoint in before.endpoints.iter() {
            if !self.has_endpoint(endpoint) {
                self.idle.borrow_mut().on_endpoint_removed(endpoint, &mut closed);
                self.close_carriers(endpoint);
                self.fleet.idle_part(self.worker, endpoint).trim(0, Cap::NONE);
            }
        }
        closed.clear();
    }

    /// Gives back what others may need more of the places for idle connections to these.
    fn trim_idle<'c>(&self, clusters: impl Iterator<Item = &'c Cluster>) {
        let idle = self.idle.borrow();
        for cluster in clusters {
            cluster.state.idle_part(self.worker).trim(cluster.state.idle(self.worker), cluster.idle.total);
            for &id in &cluster.ids {
                self.fleet.idle_part(self.worker, id).trim(idle.count(id), cluster.idle.per_endpoint);
            }
        }
    }

    /// What was measured of an identity's last endpoint says nothing about its new one.
    fn forget_before(&self, before: &Snapshot) {
        let now = Rc::clone(&self.current.borrow());
        let is_new = |id: &&EndpointId| before.endpoints.binary_search_by_key(&id.0, |known| known.0).is_err();
        for &id in now.snapshot.endpoints.iter().filter(is_new) {
            self.fleet.cell(self.worker, id).on_assigned();
        }
    }

    /// Obeys another worker.
    pub fn on_call(&self, call: &Call) {
        match call {
            Call::Wake(state) => self.queues.wake_first(state),
            Call::Reclaim(state) if state.waiting() > 0 => {
                let adopted = Rc::clone(&self.current.borrow());
                if let Some(cluster) = adopted.clusters().find(|cluster| Arc::ptr_eq(&cluster.state, state))
                    && let Some(upstream) = self.try_take_idle(cluster)
                {
                    // The close wakes whoever is first, unless that one waits here and takes it as it is.
                    drop(self.queues.grant(upstream));
                }
            }
            Call::Reclaim(_) => {}
            Call::Answered { ticket, result } => self.asked.on_answered(*ticket, *result, self.env.now_ns()),
            Call::Tried { ticket, found } => {
                self.proofs.on_tried(*ticket, *found, &self.vouched, self.alarms.now_ms() / 1000);
            }
        }
    }

    /// Does the current snapshot have this endpoint?
    pub(super) fn has_endpoint(&self, endpoint: EndpointId) -> bool {
        self.current.borrow().snapshot.endpoints.binary_search_by_key(&endpoint.0, |id| id.0).is_ok()
    }

    /// Leaves the snapshots that no exchange of this worker uses any more, and tells control so.
    fn leave_unused(&self) {
        let mut left = self.left.borrow_mut();
        left.retain(|adopted| Rc::strong_count(adopted) > 1);
        let newest = self.current.borrow().snapshot.epoch;
        let oldest = left.iter().map(|adopted| adopted.snapshot.epoch).min();
        self.reader.on_adopted(newest, oldest.unwrap_or(newest));
    }

    /// Housekeeping, every [`limits::TICK_MS`]: deadlines, idle upstream connections, dates, gauges.
    pub fn on_tick(&self, now_ms: u64, unix_ms: u64) {
        if unix_ms / 1000 != self.unix_ms.get() / 1000 {
            let mut date = [0; clock::IMF_FIXDATE_BYTES];
            clock::imf_fixdate(unix_ms / 1000, &mut date);
            self.date.set(date);
        }
        self.unix_ms.set(unix_ms);
        self.counters.store_lost.add(self.asked.leases.borrow_mut().take_lost());
        let is_short = !self.has_room_for_requests();
        let is_due = now_ms / limits::TRIM_MS != self.alarms.now_ms() / limits::TRIM_MS;
        self.buffers.set_short(is_short);
        if is_short || is_due {
            self.buffers.trim();
            self.scratches.trim();
            self.berths.trim();
        }
        if is_short {
            self.close_resting_carriers();
        }
        if is_due {
            self.trim_idle(Rc::clone(&self.current.borrow()).clusters());
        }
        self.alarms.on_tick(now_ms);
        let shortage = self.current.borrow().snapshot.headroom.shortage();
        let patience_ms = shortage.patience_ms(self.patience_ms.get());
        if patience_ms < self.patience_ms.replace(patience_ms) {
            // Whoever waits for a client to take something asks how long it still may.
            self.alarms.fire_all();
        }
        let mut closed = self.closed.borrow_mut();
        let mut idle = self.idle.borrow_mut();
        idle.on_tick(now_ms, &mut closed);
        // A few looks per tick find what endpoints closed without a system call for each connection each time.
        let is_stale = |upstream: &Lease<E::Stream>| {
            let pending = upstream.stream.pending();
            if pending != Pending::Nothing {
                self.on_stale(pending);
            }
            // What is kept for requests to come is of no use while none are taken.
            is_short || pending != Pending::Nothing
        };
        idle.sweep(STALE_LOOKS_PER_TICK, is_stale, &mut closed);
        closed.clear();
        self.counters.upstream_connections_idle.set(idle.len() as u64);
        self.counters.buffers_out.set(self.buffers.lent() as u64);
        drop((idle, closed));
        if !self.left.borrow().is_empty() {
            self.leave_unused();
        }
    }

    /// From now on connections end with the next answer that begins, and those that rest, or come to rest behind an answer that
    /// has begun, after `rest_ms`: until then a request may be on its way, sent before the client could know.
    pub fn drain(&self, rest_ms: u64) {
        self.draining.set(true);
        self.drained_ms.set(self.alarms.now_ms());
        self.rest_ms.set(rest_ms);
        self.alarms.fire_all();
    }

    /// From now on nothing is served any more: exchanges are given up where they are, each of them counted and logged.
    pub fn stop(&self) {
        self.stopped.set(true);
        self.alarms.fire_all();
    }

    /// Was this worker told to stop?
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.get()
    }

    /// When a rest since `since_ms` that would end at `due_ms` does, as far as it is known.
    pub(super) fn rests_until(&self, since_ms: u64, due_ms: u64) -> u64 {
        due_ms.min(since_ms.max(self.drained_ms.get()).saturating_add(self.rest_ms.get()))
    }

    /// Does this worker wait no more for a request on a connection that rests since `since_ms`?
    pub(super) fn waits_for_nobody(&self, since_ms: u64) -> bool {
        self.alarms.now_ms() >= self.rests_until(since_ms, u64::MAX)
    }

    /// Wall-clock nanoseconds at a time of the monotonic clock that is about now.
    pub(super) fn unix_ns(&self, at_ns: u64) -> u64 {
        // Both clocks were read at the last tick.
        let ticked_ns = self.alarms.now_ms() * 1_000_000;
        (self.unix_ms.get() * 1_000_000 + at_ns).saturating_sub(ticked_ns)
    }

    /// Is this worker draining?
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// The world of this worker.
    #[must_use]
    pub fn env(&self) -> &E {
        &self.env
    }

    /// What this worker counts.
    #[must_use]
    pub fn counters(&self) -> &WorkerCounters {
        &self.counters
    }

    /// A deadline of this worker's clock.
    #[must_use]
    pub fn alarm(&self) -> Alarm {
        self.alarms.register()
    }

    /// Buffers that connections hold.
    #[must_use]
    pub fn buffers_lent(&self) -> usize {
        self.buffers.lent()
    }

    pub(super) fn date(&self) -> [u8; clock::IMF_FIXDATE_BYTES] {
        self.date.get()
    }

    pub(super) fn unix_ms(&self) -> u64 {
        self.unix_ms.get()
    }

    pub(super) fn lend_scratch(&self) -> Box<Scratch> {
        self.scratches.try_lend().unwrap_or_else(|| {
            Box::new(Scratch {
                request: RequestHead::new(),
                response: ResponseHead::new(),
                upload: ChunkedDecoder::new(),
                download: ChunkedDecoder::new(),
                alarm: self.alarms.register(),
            })
        })
    }

    pub(super) fn return_scratch(&self, scratch: Box<Scratch>) {
        scratch.alarm.clear();
        self.scratches.give_back(scratch);
    }
}

/// Idle upstream connections looked at per tick.
const STALE_LOOKS_PER_TICK: usize = 8;
