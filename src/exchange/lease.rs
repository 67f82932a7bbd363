//! A connection to an endpoint: an idle one, a new one, or one waited for.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use super::adopted::Lane;
use super::failure::Failure;
use super::held::{Exchange, Gauge};
use super::pick::{Attempt, Tried};
use super::queue::{Credit, Turn};
use super::shard::{Lease, Shard, Upstream};
use super::wire::{WriteError, write_all};
use crate::cluster::{EndpointId, IdleLimits, Siblings};
use crate::limits;
use crate::net::{Alarm, Buffer, Channel, Env, Pending, Stream, Tls, TlsFailure, connect_tls};
use crate::snapshot::{Cluster, Endpoint, EndpointTls, Route, UpstreamProtocol};

/// Why there is no connection.
pub(super) enum Refused<'a, E: Env> {
    /// No endpoint may be tried.
    NoneFit,
    /// The endpoint of this attempt could not be reached.
    Connect(Attempt<'a, E>, Failure),
    /// There is no room, or the client left while it waited.
    Other(Failure),
}

/// What an attempt may use and must avoid.
pub(super) struct Wanted<'a> {
    pub(super) route: &'a Route,
    pub(super) cluster: &'a Cluster,
    pub(super) lane: &'a RefCell<Lane>,
    pub(super) tried: &'a Tried,
    /// May those already tried be tried again?
    pub(super) again: bool,
    /// May even those be that were not to be tried again?
    pub(super) anew: bool,
    /// The hash of what tells this client's requests apart, if the cluster is balanced by it.
    pub(super) key: Option<u32>,
    /// Nanoseconds of the worker's clock, a millisecond old at most.
    pub(super) now_ns: Cell<u64>,
    /// May a connection be reused?
    pub(super) may_reuse: bool,
    /// When the exchange must have its answer.
    pub(super) due_ms: u64,
}

/// How many milliseconds a connect may take.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// For whoever wants a connection now.
    pub(super) own_ms: u64,
    /// For a connection that others wait for as well: a request that has little time takes none from them.
    pub(super) shared_ms: u64,
}

type Opened<'a, E> = Result<(Attempt<'a, E>, Lease<<E as Env>::Stream>), Refused<'a, E>>;

/// What a request gets without a wait.
enum AtOnce<'a, E: Env> {
    /// A connection that rested.
    Connection(Attempt<'a, E>, Lease<E::Stream>),
    /// Leave to open one.
    Credit(Attempt<'a, E>, Credit<E::Stream>),
    /// Nothing; where its endpoint stands in the cluster.
    Nothing(usize),
}

impl<E: Env> Exchange<'_, E> {
    /// An endpoint and a connection to it.
    pub(super) async fn open<'w>(&'w self, wanted: &Wanted<'w>) -> Opened<'w, E> {
        let (shard, cluster) = (&**self.shard, wanted.cluster);
        // First come first served: who comes now does not overtake those who wait.
        let drawn = if cluster.is_waited_for() {
            // The balancer is asked when the turn has come: whoever it names has had a turn by that.
            shard.best_tier(wanted).ok_or(Refused::NoneFit)?;
            None
        } else {
            let attempt = self.pick(wanted).ok_or(Refused::NoneFit)?;
            match self.at_once(wanted, attempt) {
                AtOnce::Connection(attempt, upstream) => return Ok((attempt, upstream)),
                AtOnce::Credit(attempt, credit) => return self.connect(wanted, attempt, credit).await,
                AtOnce::Nothing(index) => Some(index),
            }
        };
        let joined_ns = shard.env.now_ns();
        let turn = self.wait_for_connection(wanted).await;
        wanted.now_ns.set(shard.env.now_ns());
        self.tally.ready_ns.set(wanted.now_ns.get());
        self.tally.queue_ns.set(self.tally.queue_ns.get() + wanted.now_ns.get().saturating_sub(joined_ns).max(1));
        let turn = turn.map_err(Refused::Other)?;
        let attempt = self.pick_in_turn(wanted, drawn).ok_or(Refused::NoneFit)?;
        match turn {
            Turn::Credit(credit) => self.connect(wanted, attempt, credit).await,
            Turn::Connection(upstream) => self.use_granted(wanted, attempt, upstream).await,
        }
    }

    /// What there is for an attempt while nobody waits.
    fn at_once<'w>(&'w self, wanted: &Wanted<'w>, attempt: Attempt<'w, E>) -> AtOnce<'w, E> {
        let (shard, cluster) = (&**self.shard, wanted.cluster);
        if wanted.may_reuse
            && let Some(upstream) = self.lease_idle(attempt.endpoint())
        {
            return AtOnce::Connection(attempt, upstream);
        }
        if let Some(credit) = shard.queues.try_credit(&cluster.state) {
            return AtOnce::Credit(attempt, credit);
        }
        let insists = Self::insists(wanted, &attempt);
        if !insists && let Some((attempt, upstream)) = self.use_any_idle(wanted, attempt.index) {
            return AtOnce::Connection(attempt, upstream);
        }
        if let Some(upstream) = shard.try_take_idle(cluster)
            && !cluster.state.is_over()
        {
            // Its place under the cap is ours at once: given back, it might be somebody else's.
            let Upstream { credit, stream, .. } = *upstream;
            credit.set_idle(false);
            drop(stream);
            return AtOnce::Credit(attempt, credit);
        }
        AtOnce::Nothing(attempt.index)
    }

    /// At the cap a connection to another endpoint is worth more than the balancer's choice; but not always, or the others
    /// would keep the cap to themselves, and an endpoint that comes back would not even get its trial.
    fn insists(wanted: &Wanted<'_>, attempt: &Attempt<'_, E>) -> bool {
        attempt.is_trial() || wanted.lane.borrow().passed_over.insists(attempt.index)
    }

    /// An endpoint for one who waited: what the balancer said before, while it still holds.
    fn pick_in_turn<'w>(&'w self, wanted: &Wanted<'w>, drawn: Option<usize>) -> Option<Attempt<'w, E>> {
        let is_of_best = |at: &usize| self.shard.best_tier(wanted).is_some_and(|tier| tier.contains(at));
        drawn.filter(is_of_best).and_then(|at| self.pick_this(wanted, at)).or_else(|| self.pick(wanted))
    }

    fn lease_idle(&self, endpoint: &Endpoint) -> Option<Lease<E::Stream>> {
        self.shard.lease_idle(endpoint).inspect(|_| self.tally.on_reused())
    }

    /// An idle connection to any endpoint of that one's tier that may be tried, unless the key decides where the request goes.
    fn use_any_idle<'w>(&'w self, wanted: &Wanted<'w>, picked: usize) -> Option<(Attempt<'w, E>, Lease<E::Stream>)> {
        if !wanted.may_reuse || wanted.cluster.key.is_some() {
            return None;
        }
        for index in wanted.cluster.tier_of(picked) {
            if let Some(attempt) = self.pick_this(wanted, index)
                && let Some(upstream) = self.lease_idle(attempt.endpoint())
            {
                wanted.lane.borrow_mut().passed_over.on_settled(picked, index);
                return Some((attempt, upstream));
            }
        }
        None
    }

    /// A connection that somebody returned for us: used as it is if the attempt settles for its endpoint.
    async fn use_granted<'w>(
        &'w self,
        wanted: &Wanted<'w>,
        attempt: Attempt<'w, E>,
        mut upstream: Lease<E::Stream>,
    ) -> Opened<'w, E> {
        let is_usable = wanted.may_reuse && upstream.stream.pending() == Pending::Nothing;
        let settled = if is_usable { self.settle_for(wanted, attempt, upstream.endpoint) } else { Err(attempt) };
        match settled {
            Ok(attempt) => {
                upstream.reused = true;
                upstream.rested_ms = 0;
                self.shard.counters.upstream_reuses.add(1);
                self.tally.on_reused();
                Ok((attempt, upstream))
            }
            Err(attempt) => {
                // Its place under the cap is ours all the same.
                let Upstream { credit, stream, .. } = *upstream;
                drop(stream);
                self.connect(wanted, attempt, credit).await
            }
        }
    }

    /// The attempt at that endpoint, if it is the one that was picked, or one of the same tier that may be tried and the attempt
    /// does not insist; otherwise as it was.
    fn settle_for<'w>(
        &'w self,
        wanted: &Wanted<'w>,
        attempt: Attempt<'w, E>,
        endpoint: EndpointId,
    ) -> Result<Attempt<'w, E>, Attempt<'w, E>> {
        let cluster = wanted.cluster;
        if attempt.endpoint().id == endpoint {
            return Ok(attempt);
        }
        if cluster.key.is_some() || Self::insists(wanted, &attempt) {
            return Err(attempt);
        }
        let index = cluster.tier_of(attempt.index).find(|at| cluster.ids[*at] == endpoint);
        let Some(settled) = index.and_then(|at| self.pick_this(wanted, at)) else { return Err(attempt) };
        wanted.lane.borrow_mut().passed_over.on_settled(attempt.index, settled.index);
        Ok(settled)
    }

    async fn connect<'w>(
        &'w self,
        wanted: &Wanted<'w>,
        attempt: Attempt<'w, E>,
        credit: Credit<E::Stream>,
    ) -> Opened<'w, E> {
        // By its place the endpoint has what it was passed over for.
        if Self::insists(wanted, &attempt) {
            wanted.lane.borrow_mut().passed_over.on_insisted(attempt.index);
        }
        let left_ms = wanted.due_ms.saturating_sub(self.shard.alarms.now_ms());
        let shared_ms = wanted.route.timeouts.connect_ms;
        let patience = Patience { own_ms: shared_ms.min(left_ms.max(limits::TICK_MS)), shared_ms };
        let began_ns = self.shard.env.now_ns();
        // That of an attempt before was, perhaps; this one has none that was open already.
        self.tally.reused.set(false);
        let connected = {
            let words = self.announcement(attempt.cluster);
            let mut connecting = pin!(self.shard.connect(&attempt, credit, words, self.alarm, patience));
            self.watching(connecting.as_mut()).await
        };
        if !matches!(connected, Ok(Ok(_))) {
            // Of an exchange that ends by it, this is where the time went.
            self.tally.connect_ns.set(self.shard.env.now_ns() - began_ns);
        }
        match connected {
            Ok(Ok((upstream, took_ns))) => {
                self.tally.reused.set(upstream.reused);
                self.tally.connect_ns.set(took_ns);
                Ok((attempt, upstream))
            }
            // With more time there might have been a connection, or a stream on one.
            Ok(Err(Failure::ConnectTimeout | Failure::NoStream)) if patience.own_ms < patience.shared_ms => {
                Err(Refused::Connect(attempt, Failure::RequestTimeout))
            }
            Ok(Err(failure)) | Err(failure) => Err(Refused::Connect(attempt, failure)),
        }
    }

    /// Waits in the cluster's queue, if it has one or a connection can be had from another worker.
    async fn wait_for_connection(&self, wanted: &Wanted<'_>) -> Result<Turn<E::Stream>, Failure> {
        let (cluster, queues) = (wanted.cluster, &self.shard.queues);
        let (max, timeout_ms) = match cluster.queue {
            Some(queue) => (queue.max, queue.timeout_ms),
            None if cluster.state.has_room() => (limits::RECLAIM_QUEUE, limits::RECLAIM_MS),
            None => return Err(Failure::UpstreamSaturated),
        };
        let place = queues.try_join(&cluster.state, max).ok_or(Failure::UpstreamSaturated)?;
        // From within the queue, so that whoever is about to let a connection rest sees that somebody waits.
        self.shard.reclaim(cluster);
        let late = if cluster.queue.is_some() { Failure::QueueTimeout } else { Failure::UpstreamSaturated };
        let _waiting = Gauge::new(&self.shard.counters.upstream_waiting);
        let mut turn = pin!(place.turn());
        let due_ms = (self.shard.alarms.now_ms() + timeout_ms).min(wanted.due_ms);
        loop {
            let now_ms = self.shard.alarms.now_ms();
            if now_ms >= due_ms {
                return Err(late);
            }
            self.alarm.set(due_ms.min(now_ms + limits::CLIENT_WATCH_MS));
            if let Ok(turn) = self.alarm.race(turn.as_mut()).await {
                return Ok(turn);
            }
            self.look_at_client().await?;
            // A full mailbox may have refused the first call.
            self.shard.reclaim(cluster);
        }
    }
}

impl<E: Env> Shard<E> {
    /// The newest idle connection to an endpoint that this one has not closed meanwhile.
    pub(super) fn lease_idle(&self, endpoint: &Endpoint) -> Option<Lease<E::Stream>> {
        loop {
            let rested = self.idle.borrow_mut().try_take(endpoint.id, self.alarms.now_ms())?;
            let mut upstream = rested.connection;
            // Looked at every time, however short its rest: whoever trusts a connection that was used a moment ago can
            // hand one client's request the response to another's (RFC 9112 section 9.2).
            let pending = upstream.stream.pending();
            if pending == Pending::Nothing {
                upstream.credit.set_idle(false);
                self.counters.upstream_reuses.add(1);
                upstream.reused = true;
                upstream.rested_ms = rested.idle_ms;
                return Some(upstream);
            }
            self.on_stale(pending);
        }
    }

    /// Counts an idle connection that is of no use any more.
    pub(super) fn on_stale(&self, pending: Pending) {
        let has_bytes = pending == Pending::Bytes;
        self.counters.upstream_stale[usize::from(has_bytes)].add(1);
    }

    /// Any idle connection of a cluster, for its place under the cap; it counts as idle until it is granted or closed.
    pub(super) fn try_take_idle(&self, cluster: &Cluster) -> Option<Lease<E::Stream>> {
        let now_ms = self.alarms.now_ms();
        let mut idle = self.idle.borrow_mut();
        cluster.ids.iter().find_map(|id| idle.try_take(*id, now_ms)).map(|rested| rested.connection)
    }

    /// Closes idle connections that are too many for a cap that was lowered.
    pub(super) fn close_over(&self, cluster: &Cluster) {
        while cluster.state.is_over()
            && let Some(upstream) = self.try_take_idle(cluster)
        {
            drop(upstream);
        }
    }

    /// Somebody waits for a connection of this cluster: an idle one of this worker goes to whoever is first, here or by its
    /// close; without one another worker is asked for one of its.
    pub(super) fn reclaim(&self, cluster: &Cluster) {
        match self.try_take_idle(cluster) {
            Some(upstream) => drop(self.queues.grant(upstream)),
            None => self.queues.reclaim(&cluster.state),
        }
    }

    /// Opens a connection that begins with `words`, or a stream on one that many share; also says how many nanoseconds it
    /// took.
    pub(super) async fn connect(
        self: &Rc<Self>,
        attempt: &Attempt<'_, E>,
        credit: Credit<E::Stream>,
        words: Option<Buffer>,
        alarm: &Alarm,
        patience: Patience,
    ) -> Result<(Lease<E::Stream>, u64), Failure> {
        let (endpoint, cluster) = (attempt.endpoint(), attempt.cluster);
        if endpoint.protocol == UpstreamProtocol::Http1 {
            return self.connect_alone(attempt, credit, words, alarm, patience.own_ms).await;
        }
        match self.try_open_stream(cluster, endpoint, credit) {
            Ok(upstream) => Ok((upstream, 0)),
            // In a box, as most requests need no connection.
            Err(credit) => Box::pin(self.open_stream(attempt, credit, alarm, patience)).await,
        }
    }

    /// Opens a connection for one request at a time.
    pub(super) async fn connect_alone(
        &self,
        attempt: &Attempt<'_, E>,
        credit: Credit<E::Stream>,
        words: Option<Buffer>,
        alarm: &Alarm,
        patience_ms: u64,
    ) -> Result<(Lease<E::Stream>, u64), Failure> {
        let began_ns = self.env.now_ns();
        let (stream, credit) = self.open_alone(attempt, credit, words, alarm, patience_ms).await?;
        Ok(self.on_opened_alone(attempt, stream, credit, began_ns))
    }

    /// A connection for one request at a time is open; also how many nanoseconds that took.
    pub(super) fn on_opened_alone(
        &self,
        attempt: &Attempt<'_, E>,
        stream: Channel<E::Stream>,
        credit: Credit<E::Stream>,
        began_ns: u64,
    ) -> (Lease<E::Stream>, u64) {
        self.counters.upstream_connects.add(1);
        let took_ns = self.env.now_ns().saturating_sub(began_ns);
        attempt.on_connected(took_ns);
        let endpoint = attempt.endpoint().id;
        (Box::new(Upstream { stream, endpoint, reused: false, rested_ms: 0, credit }), took_ns)
    }

    /// The same, with what TLS agrees on yet to be looked at.
    pub(super) async fn open_alone(
        &self,
        attempt: &Attempt<'_, E>,
        credit: Credit<E::Stream>,
        words: Option<Buffer>,
        alarm: &Alarm,
        patience_ms: u64,
    ) -> Result<(Channel<E::Stream>, Credit<E::Stream>), Failure> {
        let (endpoint, cluster) = (attempt.endpoint(), attempt.cluster);
        let due_ms = alarm.now_ms() + patience_ms;
        let (stream, credit) = {
            let opening = Opening { env: &self.env, credit: Some(credit) };
            let connect = pin!(self.env.connect(endpoint.address));
            let Ok(connected) = alarm.within(patience_ms, connect).await else { return Err(Failure::ConnectTimeout) };
            (connected.map_err(|error| connect_failure(&error)), opening.done())
        };
        let stream = stream?;
        if credit.is_capped() {
            stream.hang_up_on_drop();
        }
        if cluster.keep_alive_s > 0 {
            stream.keep_alive(cluster.keep_alive_s);
        }
        if let Some(words) = words {
            let left_ms = due_ms.saturating_sub(alarm.now_ms());
            drop(write_all(&stream, words, alarm, || left_ms).await.map_err(unsaid)?);
        }
        let stream = match &endpoint.tls {
            None => Channel::Plain(stream),
            // In a box, as what it needs is only needed for a moment.
            Some(tls) => Channel::Tls(Box::pin(self.secure(stream, tls, alarm, due_ms)).await.map_err(tls_failure)?),
        };
        Ok((stream, credit))
    }

    /// A connection that many requests are to share.
    pub(super) async fn dial(&self, dial: &Dial, alarm: &Alarm, due_ms: u64) -> Result<Channel<E::Stream>, Failure> {
        let patience_ms = due_ms.saturating_sub(alarm.now_ms());
        let connect = pin!(self.env.connect(dial.address));
        let Ok(connected) = alarm.within(patience_ms, connect).await else { return Err(Failure::ConnectTimeout) };
        let stream = connected.map_err(|error| connect_failure(&error))?;
        if dial.keep_alive_s > 0 {
            stream.keep_alive(dial.keep_alive_s);
        }
        match &dial.tls {
            None => Ok(Channel::Plain(stream)),
            Some(tls) => match self.secure(stream, tls, alarm, due_ms).await {
                Ok(secured) => Ok(Channel::Tls(secured)),
                Err(TlsFailure::NoSharedProtocol) => Err(Failure::NotH2),
                Err(why) => Err(tls_failure(why)),
            },
        }
    }

    async fn secure(
        &self,
        stream: E::Stream,
        tls: &EndpointTls,
        alarm: &Alarm,
        due_ms: u64,
    ) -> Result<Box<Tls<E::Stream>>, TlsFailure> {
        let (config, name) = (Arc::clone(&tls.config), tls.name.clone());
        connect_tls(stream, config, name, &self.buffers, alarm, due_ms).await
    }

    /// Returns a connection to the pool; the endpoint's own `Keep-Alive: timeout` is honoured a second early.
    pub(super) fn give_back(&self, cluster: &Cluster, upstream: Lease<E::Stream>, timeout_s: Option<u64>) {
        // Its first words named one client, and what it carries belongs to that one.
        if cluster.proxy_protocol.is_some() {
            return;
        }
        let now_ms = self.alarms.now_ms();
        let expires_ms = match timeout_s {
            None => u64::MAX,
            Some(seconds) => now_ms.saturating_add(seconds.saturating_sub(1).saturating_mul(1000)),
        };
        // A reload may have removed the endpoint while this exchange was under way. And of a stream nothing is left.
        if expires_ms <= now_ms || !upstream.stream.is_reusable() || !self.has_endpoint(upstream.endpoint) {
            return;
        }
        let upstream = if cluster.is_capped {
            // It may have been opened before there was a cap.
            upstream.stream.hang_up_on_drop();
            match self.queues.grant(upstream) {
                Some(upstream) => upstream,
                None => return,
            }
        } else {
            upstream
        };
        if cluster.state.is_over() {
            return;
        }
        upstream.credit.set_idle(true);
        // The first who waits does so at another worker: closed, so that it may open one.
        if cluster.is_waited_for() {
            return;
        }
        // It says that it rests, and does not yet.
        let resting = cluster.state.idle(self.worker).saturating_sub(1);
        let siblings = Siblings { endpoints: &cluster.ids, resting };
        let endpoint = upstream.endpoint;
        let limits = &self.idle_limits(cluster, endpoint, resting);
        let evicted = self.idle.borrow_mut().on_return(endpoint, upstream, now_ms, expires_ms, limits, siblings);
        drop(evicted);
    }

    /// What this worker may keep with one more connection to the endpoint, when so many of the cluster rest here.
    fn idle_limits(&self, cluster: &Cluster, endpoint: EndpointId, resting: usize) -> IdleLimits {
        let (caps, kept) = (&cluster.idle, self.idle.borrow().count(endpoint));
        IdleLimits {
            per_endpoint: self.fleet.idle_part(self.worker, endpoint).room(kept, caps.per_endpoint),
            total: cluster.state.idle_part(self.worker).room(resting, caps.total),
            idle_ms: caps.idle_ms,
        }
    }
}

/// Where a connection goes that outlives the exchange it is opened for.
pub(super) struct Dial {
    pub(super) endpoint: EndpointId,
    pub(super) protocol: UpstreamProtocol,
    address: SocketAddr,
    tls: Option<EndpointTls>,
    keep_alive_s: u32,
}

impl Dial {
    pub(super) fn to(cluster: &Cluster, endpoint: &Endpoint) -> Self {
        Self {
            endpoint: endpoint.id,
            protocol: endpoint.protocol,
            address: endpoint.address,
            tls: endpoint.tls.clone(),
            keep_alive_s: cluster.keep_alive_s,
        }
    }
}

/// The credit of a connect in flight. When that is abandoned, the reactor has yet to cancel it, and until then it may
/// succeed: the credit comes back a tick later.
struct Opening<'a, E: Env> {
    env: &'a E,
    credit: Option<Credit<E::Stream>>,
}

impl<E: Env> Opening<'_, E> {
    /// The connect is over, whatever came of it.
    fn done(mut self) -> Credit<E::Stream> {
        self.credit.take().expect("taken here alone, which consumes it")
    }
}

impl<E: Env> Drop for Opening<'_, E> {
    fn drop(&mut self) {
        if let Some(credit) = self.credit.take().filter(Credit::is_capped) {
            let env = self.env.clone();
            self.env.spawn(async move {
                env.sleep_ms(limits::TICK_MS).await;
                drop(credit);
            });
        }
    }
}

/// The first words on a connection did not go out: it never came about.
const fn unsaid(why: WriteError) -> Failure {
    match why {
        WriteError::Expired => Failure::ConnectTimeout,
        WriteError::Broken(_) => Failure::ConnectFailed,
    }
}

const fn tls_failure(why: TlsFailure) -> Failure {
    match why {
        TlsFailure::Timeout => Failure::ConnectTimeout,
        TlsFailure::UnknownIssuer => Failure::CertificateUnknown,
        TlsFailure::WrongName => Failure::CertificateName,
        TlsFailure::Expired => Failure::CertificateExpired,
        TlsFailure::NotTls | TlsFailure::PlainHttp => Failure::NotTls,
        TlsFailure::NoSharedVersion | TlsFailure::NoSharedProtocol => Failure::NoSharedTls,
        TlsFailure::Closed
        | TlsFailure::UnknownName
        | TlsFailure::BadCertificate
        | TlsFailure::Revoked
        | TlsFailure::RevocationUnknown
        | TlsFailure::NoCertificate
        | TlsFailure::Refused
        | TlsFailure::Broken => Failure::TlsFailed,
    }
}

fn connect_failure(error: &io::Error) -> Failure {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => Failure::ConnectRefused,
        Some(libc::ETIMEDOUT) => Failure::ConnectTimeout,
        Some(libc::EMFILE | libc::ENFILE | libc::EADDRNOTAVAIL | libc::ENOBUFS | libc::ENOMEM) => {
            Failure::DescriptorsExhausted
        }
        _ if error.kind() == io::ErrorKind::ConnectionRefused => Failure::ConnectRefused,
        _ => Failure::ConnectFailed,
    }
}
