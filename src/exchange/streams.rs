//! The life of a client's connection of HTTP/2: one task drives it, and one more serves each of its streams as an exchange.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::ops::Deref;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::berth::Serving;
use super::connection::{PeerText, ScratchGuard, announce_end, linger, refuse};
use super::failure::Failure;
use super::held::{Arrival, Client, Gauge, Next};
use super::serve::serve_exchange;
use super::shard::Shard;
use super::websocket;
use crate::http1::{HeadError, Progress};
use crate::http2::{ERROR_CODES, Excess, Tally, encode_request_head, encode_switch_head};
use crate::limits;
use crate::net::{
    Buffer, Channel, Env, Expired, H2End, H2Limits, H2Server, Opened, ServerStream, Stream, Turn, serve_h2,
};
use crate::snapshot::Listener;
use crate::telemetry::{H2_CODES, H2_EXCESSES};

/// How often a connection that may take too long with something is looked at.
const LOOK_MS: u64 = 250;

/// The client as the transport of its streams.
struct Carrier<E: Env>(Rc<Client<E>>);

impl<E: Env> Clone for Carrier<E> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<E: Env> Deref for Carrier<E> {
    type Target = Channel<E::Stream>;

    fn deref(&self) -> &Self::Target {
        &self.0.stream
    }
}

/// Where a connection stands on its way to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// Since this time no new stream is taken.
    Draining(u64),
    /// Since this time nothing is left to do but to say so.
    Done(u64),
    /// Since this time it only waits for its last words to go, to a client that may still be sending.
    Ending(u64),
}

/// How a connection is closed once it has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Farewell {
    /// At once: nothing more is expected of the client, or nothing more reaches it.
    Close,
    /// The client may still be sending, and a reset for that must not take our last words with it.
    Linger,
}

/// The streams of one connection that are served; while there are none the connection counts as idle.
struct Streams<E: Env> {
    shard: Rc<Shard<E>>,
    /// The client's address as text, for all of them.
    peer_text: PeerText,
    open: Cell<usize>,
    /// When the last of them ended, or the connection began.
    rests_since_ms: Cell<u64>,
    /// Was there any?
    is_proven: Cell<bool>,
    /// Was there a request that never became one?
    is_refused: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

/// One stream that is served.
struct Open<E: Env> {
    connection: Rc<Client<E>>,
    streams: Rc<Streams<E>>,
}

impl<E: Env> Open<E> {
    fn new(connection: &Rc<Client<E>>, streams: &Rc<Streams<E>>) -> Self {
        if streams.open.replace(streams.open.get() + 1) == 0 {
            connection.shard.counters.connections_idle.sub(1);
        }
        streams.is_proven.set(true);
        Self { connection: Rc::clone(connection), streams: Rc::clone(streams) }
    }
}

impl<E: Env> Drop for Open<E> {
    fn drop(&mut self) {
        let Self { connection, streams } = self;
        streams.open.set(streams.open.get() - 1);
        if streams.open.get() == 0 {
            connection.shard.counters.connections_idle.add(1);
            streams.rests_since_ms.set(connection.shard.alarms.now_ms());
            streams.waiting.borrow_mut().take().into_iter().for_each(Waker::wake);
        }
    }
}

/// Serves a connection of HTTP/2, on which `received` has come already, until it ends and all of its streams have.
pub(super) async fn serve_streams<E: Env>(client: Box<Client<E>>, received: Option<Buffer>) {
    let client: Rc<Client<E>> = client.into();
    let Some((mut server, bounds)) = begin(&client, received).await else { return };
    let counters = &client.shard.counters;
    let farewell = {
        let _open = Gauge::new(&counters.h2_connections_active);
        let streams = Rc::new(Streams::new(&client));
        let mut course = Course { client: &client, streams: &streams, bounds, phase: Phase::Open };
        let farewell = course.run(&mut server).await;
        // What streams still wait for comes no more, and they are told so.
        drop(server);
        streams.all_ended().await;
        counters.connections_unused.add(u64::from(!streams.is_proven.get() && !streams.is_refused.get()));
        farewell
    };
    match farewell {
        Farewell::Linger => linger(&client).await,
        Farewell::Close => announce_end(&client).await,
    }
}

/// Waits for the client's preface, as long as it might take for its first request.
async fn begin<E: Env>(client: &Rc<Client<E>>, received: Option<Buffer>) -> Option<(H2Server, Bounds)> {
    let shard = &client.shard;
    let adopted = client.adopt();
    let listener = adopted.snapshot.listener(client.entrance)?;
    let allowed =
        H2Limits { streams: listener.h2_streams, header_bytes: u32::try_from(listener.head.bytes).unwrap_or(u32::MAX) };
    let bounds = Bounds::of(listener);
    drop(adopted);
    let carrier = Carrier(Rc::clone(client));
    let beginning = serve_h2(carrier, received, shard.buffers.clone(), shard.alarms.register(), allowed);
    let began_ns = shard.env.now_ns();
    match client.alarm.within(bounds.fields_ms, pin!(beginning)).await {
        Ok(Ok(server)) => return Some((server, bounds)),
        Ok(Err(_)) => shard.counters.connections_unused.add(1),
        Err(Expired) => client.settle_refused(Failure::ClientHeaderTimeout, began_ns, 0),
    }
    shard.counters.client_glitches.add(1);
    None
}

/// What the listener allows, in milliseconds; a listener that a reload removed allows no more rest.
#[derive(Clone, Copy)]
struct Bounds {
    /// Without a stream, once there was one.
    rest_ms: u64,
    /// For the fields of one message, and for the first of them to come.
    fields_ms: u64,
    /// For a write that does not move.
    write_ms: u64,
}

impl Bounds {
    fn of(listener: &Listener) -> Self {
        Self { rest_ms: listener.idle_ms, fields_ms: listener.header_timeout_ms, write_ms: listener.write_timeout_ms }
    }
}

/// A connection on its way.
struct Course<'a, E: Env> {
    client: &'a Rc<Client<E>>,
    streams: &'a Rc<Streams<E>>,
    bounds: Bounds,
    phase: Phase,
}

impl<E: Env> Course<'_, E> {
    /// Takes streams until the connection has ended.
    async fn run(&mut self, server: &mut H2Server) -> Farewell {
        let Self { client, streams, .. } = *self;
        let counters = &client.shard.counters;
        loop {
            client.alarm.set(self.due_ms(server));
            match server
                .next(&client.alarm, |opened| open(client, streams, opened), |tally| count(client, streams, tally))
                .await
            {
                Turn::Opened => {
                    if self.phase == Phase::Open
                        && !(self.is_listened_for() && self.client.shard.has_room_for_requests())
                    {
                        self.drain(server);
                    }
                }
                Turn::Excess(excess) => {
                    counters.client_glitches.add(1);
                    counters.h2_excesses[excess.index()].add(1);
                    self.phase = Phase::Ending(client.shard.alarms.now_ms());
                }
                Turn::Breach(_) => {
                    counters.client_glitches.add(1);
                    self.phase = Phase::Ending(client.shard.alarms.now_ms());
                }
                Turn::Look => {
                    if !self.look(server) {
                        return Farewell::Close;
                    }
                }
                // A client that was told beforehand has nothing to say any more.
                Turn::Closed if server.is_over() || matches!(self.phase, Phase::Draining(_) | Phase::Done(_)) => {
                    return Farewell::Close;
                }
                Turn::Closed => return Farewell::Linger,
            }
        }
    }

    /// Does its listener still exist? Its bounds are those of the newest configuration.
    fn is_listened_for(&mut self) -> bool {
        let adopted = self.client.adopt();
        let listener = adopted.snapshot.listener(self.client.entrance);
        self.bounds = listener.map_or(self.bounds, Bounds::of);
        listener.is_some()
    }

    fn drain(&mut self, server: &mut H2Server) {
        server.drain();
        self.phase = Phase::Draining(self.client.shard.alarms.now_ms());
    }

    /// Ends it now, because the client owes something for too long.
    fn end(&mut self, server: &mut H2Server, why: H2End) {
        server.end(why);
        self.client.shard.counters.client_glitches.add(1);
        self.phase = Phase::Ending(self.client.shard.alarms.now_ms());
    }

    /// The fields of a request do not come: to the log it is one, as with HTTP/1.
    fn end_too_slow(&mut self, server: &mut H2Server) {
        let shard = &self.client.shard;
        let since_ms = server.fields_since_ms().unwrap_or_else(|| shard.alarms.now_ms());
        let waited_ms = shard.alarms.now_ms().saturating_sub(since_ms);
        let began_ns = shard.env.now_ns().saturating_sub(waited_ms * 1_000_000);
        self.streams.is_refused.set(true);
        self.client.settle_refused(Failure::ClientHeaderTimeout, began_ns, 0);
        self.end(server, H2End::TooSlow);
    }

    /// When it has rested for too long.
    fn rests_until_ms(&self) -> u64 {
        let bound_ms = if self.streams.is_proven.get() { self.bounds.rest_ms } else { self.bounds.fields_ms };
        self.streams.rests_since_ms.get() + bound_ms
    }

    /// When to look again. The end of a stream wakes nobody: it is noticed at the next look.
    fn due_ms(&self, server: &H2Server) -> u64 {
        let now_ms = self.client.shard.alarms.now_ms();
        match self.phase {
            Phase::Open if server.is_timed() => now_ms + LOOK_MS,
            Phase::Open if self.streams.open.get() > 0 => now_ms + self.bounds.rest_ms,
            Phase::Open => self.rests_until_ms(),
            Phase::Draining(_) | Phase::Done(_) | Phase::Ending(_) => now_ms + LOOK_MS,
        }
    }

    /// Looks at what may take too long; false when the connection is to be closed as it is.
    fn look(&mut self, server: &mut H2Server) -> bool {
        let shard = &self.client.shard;
        let now_ms = shard.alarms.now_ms();
        let is_listened_for = self.is_listened_for();
        let patience_ms =
            shard.client_patience_ms(self.bounds.write_ms).max(self.bounds.write_ms.min(limits::H2_PATIENCE_MS));
        if server.writing_since_ms().is_some_and(|since_ms| now_ms >= since_ms + patience_ms) {
            // A client that takes nothing takes no last words either.
            self.client.stream.reset_on_close();
            return false;
        }
        let rests = self.streams.open.get() == 0;
        let is_overdue = |since_ms: Option<u64>| since_ms.is_some_and(|ms| now_ms >= ms + self.bounds.fields_ms);
        match self.phase {
            Phase::Open if is_overdue(server.fields_since_ms()) => self.end_too_slow(server),
            Phase::Open if is_overdue(server.settings_since_ms()) => self.end(server, H2End::Unsettled),
            // Fields that have begun have a bound of their own.
            Phase::Open
                if shard.is_draining()
                    || !is_listened_for
                    || rests && server.fields_since_ms().is_none() && now_ms >= self.rests_until_ms() =>
            {
                self.drain(server);
            }
            Phase::Draining(since_ms) if rests && now_ms >= since_ms + limits::H2_GOAWAY_MS => {
                server.end(H2End::Done);
                self.phase = Phase::Done(now_ms);
            }
            Phase::Done(since_ms) | Phase::Ending(since_ms) => return now_ms < since_ms + limits::LINGER_MS,
            Phase::Open | Phase::Draining(_) => {}
        }
        true
    }
}

const _: () = assert!(Excess::ALL.len() == H2_EXCESSES.len() && ERROR_CODES == H2_CODES.len());

/// Lets a request that came be served in a task of its own.
fn open<E: Env>(client: &Rc<Client<E>>, streams: &Rc<Streams<E>>, opened: Opened) {
    client.shard.counters.h2_streams.add(1);
    let arrived = Arrived::new(Open::new(client, streams), opened);
    client.shard.env.spawn(Serving::begin(&client.shard, arrived));
}

/// Counts what has passed, and requests that never became an exchange because their fields were too large.
fn count<E: Env>(client: &Client<E>, streams: &Streams<E>, tally: &Tally) {
    let counters = &client.shard.counters;
    counters.h2_resets_received.add(tally.resets_received);
    counters.h2_resets_sent.add(tally.resets_sent);
    for (counter, count) in counters.h2_goaways.iter().zip(tally.goaways) {
        counter.add(count);
    }
    for _ in 0..tally.fields_sent {
        streams.is_refused.set(true);
        counters.client_glitches.add(1);
        client.settle_refused(Failure::BadRequest(HeadError::HeadTooLarge), client.shard.env.now_ns(), 0);
    }
}

impl<E: Env> Streams<E> {
    fn new(client: &Client<E>) -> Self {
        client.shard.counters.connections_idle.add(1);
        Self {
            shard: Rc::clone(&client.shard),
            peer_text: PeerText::new(client.peer),
            open: Cell::new(0),
            rests_since_ms: Cell::new(client.shard.alarms.now_ms()),
            is_proven: Cell::new(false),
            is_refused: Cell::new(false),
            waiting: RefCell::default(),
        }
    }

    async fn all_ended(&self) {
        poll_fn(|poller| {
            if self.open.get() == 0 {
                return Poll::Ready(());
            }
            *self.waiting.borrow_mut() = Some(poller.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl<E: Env> Drop for Streams<E> {
    fn drop(&mut self) {
        // Each that is open holds them: none is, however the connection ended.
        self.shard.counters.connections_idle.sub(1);
    }
}

/// A request that came on a stream, and what it says in HTTP/1.1.
pub(super) struct Arrived<E: Env> {
    open: Open<E>,
    stream: Box<ServerStream>,
    head: Buffer,
    translated: Result<(), HeadError>,
    started_ns: u64,
}

impl<E: Env> Arrived<E> {
    /// Translated at once: what `h2` makes of a request is large, and many requests may come in one read.
    fn new(open: Open<E>, opened: Opened) -> Self {
        let Opened { request, has_body, protocol, stream } = opened;
        let has_body = has_body && protocol.is_none();
        let shard = &open.connection.shard;
        let started_ns = shard.env.now_ns();
        let mut head = shard.buffers.lend();
        let is_secure = open.connection.stream.is_secure();
        let translated = match protocol {
            Some(protocol) => {
                let key = websocket::new_key(&mut shard.rng.borrow_mut());
                encode_switch_head(head.sink(), &request, &protocol, key.as_bytes(), is_secure)
            }
            None => encode_request_head(head.sink(), &request, has_body, is_secure),
        };
        if has_body && translated.is_ok() {
            stream.read_behind(&mut head);
        }
        Self { open, stream, head, translated, started_ns }
    }
}

/// Serves one stream: one request, one response.
pub(super) async fn serve_stream<E: Env>(arrived: Arrived<E>) {
    let Arrived { open, stream, head, translated, started_ns } = arrived;
    let connection = &open.connection;
    let shard = &connection.shard;
    let (entrance, alarm) = (connection.entrance, shard.alarms.register());
    let (peer, staged) = (connection.peer, connection.staged);
    let client = Client::new(Rc::clone(shard), Channel::H2(stream), peer, entrance, alarm, staged, None);
    let next = match translated {
        Ok(()) => serve_head(&open, &client, head, started_ns).await,
        Err(why) => refuse(&client, connection, Failure::BadRequest(why), started_ns).await,
    };
    if next == Next::Reset {
        client.stream.reset_on_close();
    }
}

/// Serves the request whose whole head is in `unread`.
async fn serve_head<E: Env>(open: &Open<E>, client: &Client<E>, unread: Buffer, started_ns: u64) -> Next {
    let Open { connection, streams } = open;
    let shard = &client.shard;
    let mut scratch = ScratchGuard::lend(shard);
    let scratch = scratch.scratch();
    let adopted = client.adopt();
    let Some(listener) = adopted.snapshot.listener(client.entrance) else {
        // A listener that a reload removed serves nothing more; what it never began can be asked for elsewhere.
        if let Channel::H2(stream) = &client.stream {
            stream.refuse();
        }
        connection.settle_refused(Failure::ListenerRemoved, started_ns, 0);
        return Next::Close;
    };
    scratch.request.clear();
    // Once more by the strict parser, whatever the translation thought of it.
    let why = match scratch.request.parse(unread.filled(), &listener.head) {
        Ok(Progress::Complete) => {
            let arrival = Arrival { unread, adopted, started_ns, head_ns: 0 };
            let peer_text = streams.peer_text.text();
            return serve_exchange(shard, client, connection, scratch, peer_text, arrival, &mut None).await;
        }
        Ok(Progress::Partial) => HeadError::HeadTooLarge,
        Err(why) => why,
    };
    refuse(client, connection, Failure::BadRequest(why), started_ns).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_told_by_its_own_name() {
        assert_eq!(Excess::ALL.map(Excess::label), H2_EXCESSES);
    }
}
