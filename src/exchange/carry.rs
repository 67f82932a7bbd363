//! Connections of HTTP/2 to endpoints: shared by the exchanges of a worker, each driven by a task of its own.
//!
//! An exchange takes a place on one that has room, or on one that is about to be opened, or begins another. It gets a stream
//! that speaks HTTP/1.1 and knows nothing of the others on it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::failure::Failure;
use super::held::Gauge;
use super::lease::{Dial, Patience};
use super::pick::Attempt;
use super::queue::Credit;
use super::shard::{Lease, Shard, Upstream};
use crate::cluster::EndpointId;
use crate::limits;
use crate::net::{Alarm, Channel, ClientTurn, Env, Expired, H2Client, H2Opener, H2Refusal, Room, Stream, connect_h2};
use crate::snapshot::{Cluster, Endpoint, Pings, UpstreamProtocol};

/// One connection of HTTP/2 to an endpoint, from before it is opened until it has ended.
pub(super) struct Carrier<S: Stream> {
    room: Rc<Room>,
    state: RefCell<State<S>>,
    waiting: RefCell<Vec<Waker>>,
    terms: Cell<Terms>,
    /// Has it carried a request?
    is_proven: Cell<bool>,
}

/// What holds for a connection by the cluster that used it last.
#[derive(Clone, Copy)]
struct Terms {
    /// Longest rest in milliseconds.
    idle_ms: u64,
    pings: Option<Pings>,
}

impl Terms {
    const fn of(cluster: &Cluster) -> Self {
        Self { idle_ms: cluster.idle.idle_ms, pings: cluster.pings }
    }
}

enum State<S: Stream> {
    Connecting,
    Open(H2Opener),
    /// TLS agreed on HTTP/1.1: it carries one request, and the next one whom that is.
    Solitary(Cell<Option<Channel<S>>>),
    Failed(Failure),
}

/// What became of a connection that was waited for.
enum Became<S: Stream> {
    Open(H2Opener),
    /// Not to be shared; the first who waited has it.
    Solitary(Option<Channel<S>>),
}

impl<S: Stream> Carrier<S> {
    fn new(now_ms: u64, most: Option<u32>, terms: Terms) -> Rc<Self> {
        Rc::new(Self {
            room: Room::new(now_ms, most),
            state: RefCell::new(State::Connecting),
            waiting: RefCell::default(),
            terms: Cell::new(terms),
            is_proven: Cell::new(false),
        })
    }

    /// No more streams, and the end with the last of them.
    pub(super) fn close(&self) {
        self.room.close();
    }

    fn opener(&self) -> Option<H2Opener> {
        if let State::Open(opener) = &*self.state.borrow() { Some(opener.clone()) } else { None }
    }

    fn is_connecting(&self) -> bool {
        matches!(*self.state.borrow(), State::Connecting)
    }

    fn turn_to(&self, state: State<S>) {
        drop(self.state.replace(state));
        self.waiting.take().into_iter().for_each(Waker::wake);
    }

    /// Waits until it is open, or is known not to become so.
    async fn opened(&self) -> Result<Became<S>, Failure> {
        poll_fn(|poller| match &*self.state.borrow() {
            State::Open(opener) => Poll::Ready(Ok(Became::Open(opener.clone()))),
            State::Solitary(channel) => Poll::Ready(Ok(Became::Solitary(channel.take()))),
            State::Failed(failure) => Poll::Ready(Err(*failure)),
            State::Connecting => {
                self.waiting.borrow_mut().push(poller.waker().clone());
                Poll::Pending
            }
        })
        .await
    }
}

impl<E: Env> Shard<E> {
    /// A stream on a connection that is open and has room.
    pub(super) fn try_open_stream(
        &self,
        cluster: &Cluster,
        endpoint: &Endpoint,
        credit: Credit<E::Stream>,
    ) -> Result<Lease<E::Stream>, Credit<E::Stream>> {
        let carriers = self.carriers.borrow();
        let is_usable = |carrier: &Rc<Carrier<E::Stream>>| carrier.room.has_place() && !carrier.is_connecting();
        let Some(carrier) = carriers.find(endpoint.id, is_usable) else { return Err(credit) };
        let state = carrier.state.borrow();
        let State::Open(opener) = &*state else { return Err(credit) };
        carrier.terms.set(Terms::of(cluster));
        self.counters.upstream_reuses.add(1);
        Ok(self.stream(carrier, opener, endpoint.id, credit))
    }

    fn stream(
        &self,
        carrier: &Rc<Carrier<E::Stream>>,
        opener: &H2Opener,
        endpoint: EndpointId,
        credit: Credit<E::Stream>,
    ) -> Lease<E::Stream> {
        let rested_ms = carrier.room.rests_since_ms().map_or(0, |since_ms| self.alarms.now_ms() - since_ms);
        let stream = Channel::H2Client(opener.stream(carrier.room.take()));
        Box::new(Upstream { stream, endpoint, reused: carrier.is_proven.replace(true), rested_ms, credit })
    }

    /// A stream on a connection that is about to be opened, by somebody else or for this one; also how many nanoseconds that
    /// took.
    pub(super) async fn open_stream(
        self: &Rc<Self>,
        attempt: &Attempt<'_, E>,
        mut credit: Credit<E::Stream>,
        alarm: &Alarm,
        patience: Patience,
    ) -> Result<(Lease<E::Stream>, u64), Failure> {
        let (endpoint, cluster) = (attempt.endpoint(), attempt.cluster);
        let began_ns = self.env.now_ns();
        let due_ms = alarm.now_ms() + patience.own_ms;
        let mut last = Failure::StreamRefused;
        if self.carriers.borrow().is_solitary(endpoint.id) {
            match self.try_alone(attempt, credit, alarm, patience.own_ms).await? {
                Ok(opened) => return Ok(opened),
                Err(back) => credit = back,
            }
        }
        for _ in 0..limits::H2_REFUSALS {
            let left_ms = due_ms.saturating_sub(alarm.now_ms());
            credit = match alarm.within(left_ms, pin!(self.room(cluster, endpoint, credit))).await {
                Ok(Ok(upstream)) => return Ok((upstream, self.env.now_ns().saturating_sub(began_ns))),
                Ok(Err(credit)) => credit,
                Err(Expired) => return Err(Failure::NoStream),
            };
            let carrier = self.carrier_to_come(cluster, endpoint, patience.shared_ms);
            let seat = carrier.room.take();
            let left_ms = due_ms.saturating_sub(alarm.now_ms());
            let opener = match alarm.within(left_ms, pin!(carrier.opened())).await {
                Ok(Ok(Became::Open(opener))) => opener,
                Ok(Ok(Became::Solitary(Some(stream)))) => {
                    let took_ns = self.env.now_ns().saturating_sub(began_ns);
                    if credit.is_capped() {
                        stream.hang_up_on_drop();
                    }
                    attempt.on_connected(took_ns);
                    let endpoint = endpoint.id;
                    return Ok((Box::new(Upstream { stream, endpoint, reused: false, rested_ms: 0, credit }), took_ns));
                }
                Ok(Ok(Became::Solitary(None))) => {
                    let left_ms = due_ms.saturating_sub(alarm.now_ms());
                    match self.try_alone(attempt, credit, alarm, left_ms).await? {
                        Ok(opened) => return Ok(opened),
                        Err(back) => credit = back,
                    }
                    continue;
                }
                Ok(Err(failure)) if is_anothers(failure, due_ms.saturating_sub(alarm.now_ms())) => {
                    last = failure;
                    continue;
                }
                Ok(Err(failure)) => return Err(failure),
                Err(Expired) => return Err(Failure::ConnectTimeout),
            };
            let took_ns = self.env.now_ns().saturating_sub(began_ns);
            // Fewer streams than was thought, or none any more: whoever is too many goes elsewhere.
            if carrier.room.is_overfull() || !carrier.room.is_open() {
                last = Failure::StreamRefused;
                continue;
            }
            attempt.on_connected(took_ns);
            let upstream = self.stream(&carrier, &opener, endpoint.id, credit);
            drop(seat);
            return Ok((upstream, took_ns));
        }
        Err(last)
    }

    /// A stream on a connection that is open, waited for while the endpoint takes none on one of them: another would fare no
    /// better. Leave to begin another, where all are full.
    async fn room(
        &self,
        cluster: &Cluster,
        endpoint: &Endpoint,
        credit: Credit<E::Stream>,
    ) -> Result<Lease<E::Stream>, Credit<E::Stream>> {
        let mut credit = Some(credit);
        poll_fn(|poller| {
            let held = credit.take().expect("it is taken here alone, and put back unless the wait is over");
            let held = match self.try_open_stream(cluster, endpoint, held) {
                Ok(upstream) => return Poll::Ready(Ok(upstream)),
                Err(held) => held,
            };
            let carriers = self.carriers.borrow();
            let open = || carriers.of(endpoint.id).iter().filter(|carrier| carrier.opener().is_some());
            if !open().any(|carrier| carrier.room.takes_none()) {
                return Poll::Ready(Err(held));
            }
            open().for_each(|carrier| carrier.room.await_place(poller));
            credit = Some(held);
            Poll::Pending
        })
        .await
    }

    /// Opens a connection for this request alone, unless TLS agrees on HTTP/2: then the credit comes back. What it agreed on
    /// before is no promise, and from now on all share again, by a connection that is begun as such.
    async fn try_alone(
        &self,
        attempt: &Attempt<'_, E>,
        credit: Credit<E::Stream>,
        alarm: &Alarm,
        patience_ms: u64,
    ) -> Result<Result<(Lease<E::Stream>, u64), Credit<E::Stream>>, Failure> {
        let began_ns = self.env.now_ns();
        let (stream, credit) = self.open_alone(attempt, credit, None, alarm, patience_ms).await?;
        if stream.agreed_on_h2() {
            self.carriers.borrow_mut().on_solitary(attempt.endpoint().id, false);
            return Ok(Err(credit));
        }
        Ok(Ok(self.on_opened_alone(attempt, stream, credit, began_ns)))
    }

    /// A connection that others wait for as well, if there is room on it; otherwise one that begins now.
    fn carrier_to_come(
        self: &Rc<Self>,
        cluster: &Cluster,
        endpoint: &Endpoint,
        connect_ms: u64,
    ) -> Rc<Carrier<E::Stream>> {
        let mut carriers = self.carriers.borrow_mut();
        let is_coming = |carrier: &Rc<Carrier<E::Stream>>| carrier.is_connecting() && carrier.room.has_place();
        if let Some(carrier) = carriers.find(endpoint.id, is_coming) {
            return Rc::clone(carrier);
        }
        // What others take is what this one is thought to take.
        let known = carriers.of(endpoint.id).iter().filter(|carrier| carrier.opener().is_some());
        let most = known.map(|carrier| carrier.room.most()).max().filter(|most| *most > 0);
        let carrier = Carrier::new(self.alarms.now_ms(), most, Terms::of(cluster));
        carriers.on_begun(endpoint.id, Rc::clone(&carrier));
        let dial = Dial::to(cluster, endpoint);
        self.env.spawn(carry(Rc::clone(self), Rc::clone(&carrier), dial, connect_ms));
        carrier
    }

    /// Lets the connections to an endpoint end that a reload removed.
    pub(super) fn close_carriers(&self, endpoint: EndpointId) {
        self.carriers.borrow().of(endpoint).iter().for_each(|carrier| carrier.close());
    }

    /// Lets all connections end that nobody uses, nor waits for.
    pub(super) fn close_resting_carriers(&self) {
        let carriers = self.carriers.borrow();
        let resting = carriers.all().filter(|one| one.room.rests_since_ms().is_some() && !one.room.takes_none());
        resting.for_each(|carrier| carrier.close());
    }
}

/// Does a failure of a connection that others wait for as well say nothing of the next one, with so much time left? It may
/// have been begun by a route of less patience, or by an endpoint that was about to end.
fn is_anothers(failure: Failure, left_ms: u64) -> bool {
    failure == Failure::StreamRefused || failure == Failure::ConnectTimeout && left_ms > 0
}

/// A connection in the book, out of it by drop.
struct Listed<E: Env> {
    shard: Rc<Shard<E>>,
    carrier: Rc<Carrier<E::Stream>>,
    endpoint: EndpointId,
}

impl<E: Env> Drop for Listed<E> {
    fn drop(&mut self) {
        let ended = self.shard.carriers.borrow_mut().on_ended(self.endpoint, |known| Rc::ptr_eq(known, &self.carrier));
        // Whoever still waits for it, waits in vain.
        if self.carrier.is_connecting() {
            self.carrier.turn_to(State::Failed(Failure::ConnectFailed));
        }
        self.carrier.close();
        drop(ended);
    }
}

/// The life of one connection.
async fn carry<E: Env>(shard: Rc<Shard<E>>, carrier: Rc<Carrier<E::Stream>>, dial: Dial, connect_ms: u64) {
    let listed = Listed { shard: Rc::clone(&shard), carrier: Rc::clone(&carrier), endpoint: dial.endpoint };
    let alarm = shard.alarms.register();
    match begin(&shard, &carrier, &dial, &alarm, connect_ms).await {
        Ok(Begun::Solitary(channel)) => {
            shard.counters.upstream_connects.add(1);
            shard.carriers.borrow_mut().on_solitary(dial.endpoint, true);
            carrier.turn_to(State::Solitary(Cell::new(Some(channel))));
        }
        Ok(Begun::Shared(client, opener)) => {
            shard.counters.upstream_connects.add(1);
            carrier.turn_to(State::Open(opener));
            let _open = Gauge::new(&shard.counters.h2_upstream_connections);
            Course { shard: &shard, carrier: &carrier, endpoint: dial.endpoint, ending_since_ms: None }
                .run(client, &alarm)
                .await;
        }
        Err(failure) => carrier.turn_to(State::Failed(failure)),
    }
    drop(listed);
}

/// A connection as it begins.
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
enum Begun<S: Stream> {
    Shared(H2Client, H2Opener),
    Solitary(Channel<S>),
}

/// Connects, and waits for the endpoint's settings.
async fn begin<E: Env>(
    shard: &Rc<Shard<E>>,
    carrier: &Rc<Carrier<E::Stream>>,
    dial: &Dial,
    alarm: &Alarm,
    connect_ms: u64,
) -> Result<Begun<E::Stream>, Failure> {
    let due_ms = alarm.now_ms() + connect_ms;
    let channel = shard.dial(dial, alarm, due_ms).await?;
    if channel.is_secure() && !channel.agreed_on_h2() {
        return if dial.protocol == UpstreamProtocol::Auto {
            Ok(Begun::Solitary(channel))
        } else {
            Err(Failure::NotH2)
        };
    }
    let channel = Rc::new(channel);
    let means = (shard.buffers.clone(), shard.known.clone());
    let beginning = connect_h2(channel, means, shard.alarms.register(), Rc::clone(&carrier.room));
    let left_ms = due_ms.saturating_sub(alarm.now_ms());
    match alarm.within(left_ms, pin!(beginning)).await {
        Ok(Ok((client, opener))) => Ok(Begun::Shared(client, opener)),
        Ok(Err(refusal)) => Err(match refusal {
            H2Refusal::Closed => Failure::ConnectFailed,
            H2Refusal::Leaving => Failure::StreamRefused,
            H2Refusal::NotH2 => Failure::NotH2,
            H2Refusal::SpeaksTls => Failure::SpeaksTls,
            H2Refusal::Alert => Failure::TlsFailed,
        }),
        Err(Expired) => Err(Failure::ConnectTimeout),
    }
}

/// A connection on its way.
struct Course<'a, E: Env> {
    shard: &'a Rc<Shard<E>>,
    carrier: &'a Rc<Carrier<E::Stream>>,
    endpoint: EndpointId,
    /// Since when nothing is left to do but to say so.
    ending_since_ms: Option<u64>,
}

impl<E: Env> Course<'_, E> {
    async fn run(&mut self, mut client: H2Client, alarm: &Alarm) {
        loop {
            alarm.set(self.due_ms(&client));
            if client.next(alarm, |_| {}).await == ClientTurn::Closed {
                if let Some(excess) = client.excess() {
                    self.shard.counters.h2_upstream_excesses[excess.index()].add(1);
                }
                return;
            }
            match self.look(&mut client) {
                Look::GoOn => {}
                Look::Ended => return,
                Look::Silent => return client.give_up(),
            }
        }
    }

    /// When to look again. The end of a stream wakes nobody: it is noticed at the next look.
    fn due_ms(&self, client: &H2Client) -> u64 {
        if let Some(since_ms) = self.ending_since_ms {
            return since_ms + limits::H2_GOAWAY_MS;
        }
        let Terms { idle_ms, pings } = self.carrier.terms.get();
        let rests_since_ms = self.carrier.room.rests_since_ms();
        let rested_ms = rests_since_ms.map_or(u64::MAX, |since_ms| since_ms.saturating_add(idle_ms));
        let sign_ms = match (pings, client.asked_ms()) {
            (Some(pings), Some(asked_ms)) => asked_ms.saturating_add(pings.timeout_ms),
            (Some(pings), None) if rests_since_ms.is_none() => client.ask_at_ms(pings.after_ms),
            (Some(_) | None, _) => u64::MAX,
        };
        rested_ms.min(sign_ms)
    }

    fn look(&mut self, client: &mut H2Client) -> Look {
        let now_ms = self.shard.alarms.now_ms();
        if let Some(since_ms) = self.ending_since_ms {
            return if now_ms >= since_ms + limits::H2_GOAWAY_MS { Look::Ended } else { Look::GoOn };
        }
        let (carrier, room) = (self.carrier, &self.carrier.room);
        let Terms { idle_ms, pings } = carrier.terms.get();
        // Also while it rests: nobody's request is to find out.
        if let (Some(pings), Some(asked_ms)) = (pings, client.asked_ms())
            && now_ms >= asked_ms.saturating_add(pings.timeout_ms)
        {
            return Look::Silent;
        }
        if let Some(since_ms) = room.rests_since_ms() {
            let is_wanted = room.is_open()
                && !self.shard.is_draining()
                && self.shard.has_endpoint(self.endpoint)
                && !self.is_superfluous();
            if !is_wanted || now_ms >= since_ms.saturating_add(idle_ms) {
                room.close();
                // Without anybody who could open a stream, the connection says good-bye and ends.
                carrier.turn_to(State::Failed(Failure::ConnectFailed));
                self.ending_since_ms = Some(now_ms);
            }
        } else if let Some(pings) = pings
            && client.asked_ms().is_none()
            && now_ms >= client.ask_at_ms(pings.after_ms)
        {
            client.ask(now_ms);
        }
        Look::GoOn
    }

    /// Is there another connection that takes no streams? One is enough to hear of it when the endpoint does again.
    fn is_superfluous(&self) -> bool {
        let carriers = self.shard.carriers.borrow();
        let is_other = |known: &Rc<Carrier<E::Stream>>| {
            !Rc::ptr_eq(known, self.carrier) && known.opener().is_some() && known.room.takes_none()
        };
        self.carrier.room.takes_none() && carriers.find(self.endpoint, is_other).is_some()
    }
}

/// What a look at a connection came to.
enum Look {
    GoOn,
    Ended,
    Silent,
}
