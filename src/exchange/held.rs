//! What a connection and its exchange hold while they live.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use super::adopted::{Adopted, Staged};
use super::authenticate::Identities;
use super::external::Relayed;
use super::shard::Shard;
use super::tally::Tally;
use super::trace::Trace;
use crate::http1::{BodyLength, ClientCertificate, FieldKind, RequestHead, Version};
use crate::net::{Alarm, Buffer, Channel, Env};
use crate::policy::Permit;
use crate::policy::limit::{Decision, DecisionLines};
use crate::snapshot::{Caller, Entrance, Greeting, Listener, Route};
use crate::telemetry::Counter;

/// A client's connection between its exchanges, or one stream of HTTP/2.
pub(super) struct Client<E: Env> {
    pub(super) shard: Rc<Shard<E>>,
    pub(super) stream: Channel<E::Stream>,
    pub(super) peer: SocketAddr,
    pub(super) entrance: Entrance,
    pub(super) alarm: Alarm,
    /// When it was accepted; 0 once that has been told.
    pub(super) accepted_ns: u64,
    /// What most have nothing of.
    pub(super) extra: Option<Box<Extra>>,
    /// Is it one of those that what is on trial serves?
    pub(super) staged: Staged,
    /// Has it carried an exchange?
    pub(super) is_proven: bool,
    /// Did its rest end because bytes are there?
    pub(super) is_ready: bool,
}

impl<E: Env> Client<E> {
    /// A connection that has carried nothing yet.
    pub(super) fn new(
        shard: Rc<Shard<E>>,
        stream: Channel<E::Stream>,
        peer: SocketAddr,
        entrance: Entrance,
        alarm: Alarm,
        staged: Staged,
        extra: Option<Box<Extra>>,
    ) -> Self {
        gauge(&shard, &stream).add(1);
        Self { shard, stream, peer, entrance, alarm, accepted_ns: 0, extra, staged, is_proven: false, is_ready: false }
    }

    /// What is to serve its next exchange.
    pub(super) fn adopt(&self) -> Rc<Adopted> {
        self.shard.adopt(self.staged)
    }

    /// Has the newest configuration a listener for it?
    pub(super) fn is_wanted(&self) -> bool {
        self.adopt().snapshot.listener(self.entrance).is_some()
    }

    /// May it carry requests for `host`, as far as its certificate goes?
    pub(super) fn speaks_for(&self, listener: &Listener, host: &[u8]) -> bool {
        let (Some(tls), Some(greeting)) = (&listener.tls, self.greeting()) else { return true };
        tls.speaks_for(str::from_utf8(host).unwrap_or_default(), greeting)
    }

    /// The name that it was opened for by TLS; empty when it is plain, or none was given.
    pub(super) fn server_name(&self) -> &str {
        self.greeting().map_or("", Greeting::name)
    }

    fn greeting(&self) -> Option<&Greeting> {
        self.extra.as_ref()?.greeting.as_ref()
    }

    /// What has come of it before it was served.
    pub(super) fn take_received(&mut self) -> Option<Buffer> {
        self.extra.as_mut()?.received.take()
    }
}

/// What a connection holds besides.
pub(super) struct Extra {
    /// Its place under the caps of its listener, until its end.
    _caller: Option<Caller>,
    /// What came behind the header of a proxy, until it is taken for the beginning of a request.
    received: Option<Buffer>,
    /// What it asked for and got, if it is secured.
    greeting: Option<Greeting>,
}

impl Extra {
    pub(super) fn new(caller: Option<Caller>, received: Option<Buffer>) -> Option<Box<Self>> {
        (caller.is_some() || received.is_some()).then(|| Box::new(Self { _caller: caller, received, greeting: None }))
    }

    /// What a secured connection holds.
    pub(super) fn secured(caller: Option<Caller>, greeting: Option<Greeting>) -> Option<Box<Self>> {
        (caller.is_some() || greeting.is_some()).then(|| Box::new(Self { _caller: caller, received: None, greeting }))
    }
}

/// How a connection goes on after an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another request may follow.
    KeepAlive,
    /// Everything was said.
    Close,
    /// Everything was said, but the client may still be sending (RFC 9112 section 9.6).
    Linger,
    /// The response was cut short, which its framing shows: what would say that all was said is not said.
    Cut,
    /// What the client has must not pass for a complete response.
    Reset,
}

impl<E: Env> Drop for Client<E> {
    fn drop(&mut self) {
        gauge(&self.shard, &self.stream).sub(1);
    }
}

/// What counts such clients.
fn gauge<'s, E: Env>(shard: &'s Shard<E>, stream: &Channel<E::Stream>) -> &'s Counter {
    if stream.is_h2() { &shard.counters.h2_streams_active } else { &shard.counters.connections_active }
}

/// What follows an exchange: `unread` without the `used` bytes that it spent, or what its upload read past it.
pub(super) fn unread_after(mut unread: Buffer, used: usize, leftover: Option<Buffer>) -> Buffer {
    unread.consume(used.min(unread.len()));
    if let Some(leftover) = leftover {
        debug_assert!(unread.is_empty(), "an upload starts behind all that came with the head");
        unread = leftover;
    }
    if unread.is_empty() {
        unread.rewind(0, 0);
    }
    unread
}

/// A request head that arrived whole, in the buffer it was parsed from.
pub(super) struct Arrival {
    pub(super) unread: Buffer,
    pub(super) adopted: Rc<Adopted>,
    pub(super) started_ns: u64,
    /// From the first byte to the end of the head; 0 when it came in one piece.
    pub(super) head_ns: u64,
}

/// One request being served: what is known of it, and what it may use.
pub(super) struct Exchange<'a, E: Env> {
    pub(super) shard: &'a Rc<Shard<E>>,
    pub(super) client: &'a Channel<E::Stream>,
    /// What the client opened: its stream is `client`, or carries it.
    pub(super) connection: &'a Client<E>,
    /// Guards what the client sends.
    pub(super) client_alarm: &'a Alarm,
    /// Guards what the endpoint sends and the client takes.
    pub(super) alarm: &'a Alarm,
    pub(super) peer: SocketAddr,
    pub(super) peer_text: &'a [u8],
    /// Are the forwarding fields of the peer believed?
    pub(super) is_trusted: bool,
    pub(super) listener: &'a Listener,
    pub(super) adopted: &'a Rc<Adopted>,
    pub(super) head: &'a RequestHead,
    /// What the head was parsed from, and what came behind it.
    pub(super) bytes: &'a [u8],
    /// An identity of our own, unless the client sent a valid one.
    pub(super) own_id: Option<[u8; 32]>,
    /// Is it a call of gRPC?
    pub(super) is_grpc: bool,
    /// The trace it is part of, where requests are traced.
    pub(super) trace: Option<Trace>,
    pub(super) tally: Tally,
    pub(super) added: Added,
    pub(super) identities: Identities<'a>,
    /// Its place behind the gate of its cluster, until its answer begins.
    pub(super) permit: Cell<Option<Permit<'a>>>,
}

/// Field lines that the route's policies add; most exchanges have none.
#[derive(Default)]
pub(super) struct Added {
    /// To the response, whoever makes it; to the request, see [`Identities::lines`].
    pub(super) response: RefCell<Option<Buffer>>,
    /// What the client is told of a rate limit.
    pub(super) limit: Cell<Option<Decision>>,
    /// What another service wants the client to be told.
    pub(super) relayed: OnceCell<Box<Relayed>>,
}

impl Added {
    /// What a response is told, the last time that somebody asks.
    pub(super) fn take(&self) -> (Option<Buffer>, Option<DecisionLines>) {
        (self.response.borrow_mut().take(), self.limit.take().map(|decision| decision.lines()))
    }
}

/// What [`Added::take`] gave, and what took how long, as lines.
pub(super) fn lines<'l>(
    (buffer, limit): &'l (Option<Buffer>, Option<DecisionLines>),
    timing: &'l [u8],
) -> [&'l [u8]; 3] {
    [buffer.as_ref().map_or(b"", Buffer::filled), timing, limit.as_ref().map_or(b"", DecisionLines::bytes)]
}

/// How an exchange left its connection.
pub(super) struct Served {
    pub(super) next: Next,
    /// Bytes behind the head that belonged to the request.
    pub(super) body_used: usize,
    /// What an upload read past its request; it follows the buffer of the head.
    pub(super) leftover: Option<Buffer>,
}

impl<'a, E: Env> Exchange<'a, E> {
    /// The identity of this request: the client's own when it is valid.
    pub(super) fn request_id(&self) -> &[u8] {
        match &self.own_id {
            Some(own) => own,
            None => self.head.find(self.bytes, FieldKind::XRequestId).unwrap_or_default(),
        }
    }

    /// What the client's certificate says, where it showed one.
    pub(super) fn certificate(&self) -> Option<&'a ClientCertificate> {
        self.connection.stream.certificate()
    }

    /// The route that matched, if any did.
    pub(super) fn route(&self) -> Option<&'a Route> {
        self.tally.route.get().map(|id| self.adopted.snapshot.route(id))
    }

    /// What has come behind the head: the start of the body, and perhaps of further requests.
    pub(super) fn behind_head(&self) -> &'a [u8] {
        &self.bytes[self.head.len()..]
    }

    /// Length of the request's body, if all of it has come with the head.
    pub(super) fn whole_body(&self) -> Option<usize> {
        match self.head.body() {
            BodyLength::None => Some(0),
            BodyLength::Exact(length) => {
                usize::try_from(length).ok().filter(|length| *length <= self.behind_head().len())
            }
            BodyLength::Chunked | BodyLength::UntilClose => None,
        }
    }

    /// May the connection serve another request, as far as the client, the worker and the newest configuration are
    /// concerned?
    pub(super) fn may_persist(&self) -> bool {
        // Connections that rest hold memory as well.
        let has_room = self.adopted.snapshot.headroom.takes_requests();
        self.head.keep_alive() && !self.shard.is_draining() && has_room && self.connection.is_wanted()
    }

    /// Does a 1.0 client need to be told that its connection persists (RFC 9112 section 9.3)?
    pub(super) fn is_old_client(&self) -> bool {
        self.head.version() == Version::Http10
    }
}

/// Holds a gauge up while it lives.
pub(super) struct Gauge<'a>(&'a Counter);

impl<'a> Gauge<'a> {
    pub(super) fn new(counter: &'a Counter) -> Self {
        counter.add(1);
        Self(counter)
    }
}

impl Drop for Gauge<'_> {
    fn drop(&mut self) {
        self.0.sub(1);
    }
}

/// How far the request has gone upstream; both directions look at it.
#[derive(Default)]
pub(super) struct Sending {
    /// When all attempts together must have an answer; later by the time that a body took to come.
    pub(super) due_ms: Cell<u64>,
    /// When that time began, in milliseconds of the worker's clock.
    pub(super) entered_ms: Cell<u64>,
    /// The same by the clock, in nanoseconds.
    pub(super) entered_ns: Cell<u64>,
    /// How much of that time was left when this attempt began.
    pub(super) given_ms: Cell<u64>,
    /// When a call of gRPC that has a time is over, whatever it is at.
    pub(super) call_due_ms: Cell<Option<u64>>,
    /// When either side of a call of gRPC last sent something, or took something, in milliseconds of the worker's clock.
    pub(super) moved_ms: Cell<u64>,
    /// Did all of the request go out?
    pub(super) done: Cell<bool>,
    /// Did it in any attempt? Then it was read to its end.
    pub(super) read: Cell<bool>,
    /// When it did, in milliseconds of the worker's clock.
    pub(super) done_ms: Cell<u64>,
    /// When an upload behind the head ended, by the clock; 0 when there was none.
    pub(super) done_ns: Cell<u64>,
    /// Does the client send nothing of its body before it has a 100 (RFC 9110 section 10.1.1)?
    pub(super) awaits_continue: Cell<bool>,
    /// When the head went out, or the client was told to go on.
    pub(super) began_ms: Cell<u64>,
    /// Has any byte gone out that is not kept?
    pub(super) consumed: Cell<bool>,
    /// Bytes of the body that went with the head of the first attempt.
    pub(super) start: Cell<usize>,
    /// Copies of what an upload sent behind the head, as long as they fit.
    pub(super) kept: RefCell<Option<Buffer>>,
    /// Is the rest of the body unwanted, because the final answer is there or the endpoint takes no more?
    pub(super) stopped: Cell<bool>,
    /// What an upload read past its request.
    pub(super) leftover: Cell<Option<Buffer>>,
}

impl Sending {
    /// Could all that was sent be sent again? Of an upload under way only the part that came is known.
    pub(super) fn can_repeat(&self) -> bool {
        !self.consumed.get() || (self.done.get() && self.kept.borrow().is_some())
    }

    /// Does nobody read from the client any more, who would find out by that when it is gone?
    pub(super) const fn is_over(&self) -> bool {
        self.done.get() || self.stopped.get()
    }

    /// Since when the endpoint is to answer, in milliseconds of the worker's clock; `None` while the client is to send.
    pub(super) fn asked_ms(&self) -> Option<u64> {
        match (self.done.get(), self.awaits_continue.get()) {
            (true, _) => Some(self.done_ms.get()),
            (false, true) => Some(self.began_ms.get()),
            (false, false) => None,
        }
    }

    /// Is the endpoint without any of the body because its client waits for a 100, and has the endpoint not refused it either?
    pub(super) const fn is_kept_back(&self) -> bool {
        self.awaits_continue.get() && !self.stopped.get()
    }

    /// The client was told to go on, or did not wait for that.
    pub(super) fn on_continue(&self, now_ms: u64) {
        if self.awaits_continue.replace(false) {
            self.began_ms.set(now_ms);
        }
    }

    /// Another attempt begins: nothing has gone out yet.
    pub(super) fn on_again(&self) {
        self.done.set(false);
        self.stopped.set(false);
    }

    /// Keeps a copy of what goes out, unless it is too much.
    pub(super) fn keep(&self, sent: &[u8]) {
        let mut kept = self.kept.borrow_mut();
        if kept.as_ref().is_some_and(|kept| kept.spare() < sent.len()) {
            drop(kept.take());
        }
        if let Some(kept) = &mut *kept {
            kept.extend(sent);
        }
    }

    pub(super) fn on_done(&self, now_ms: u64) {
        self.done.set(true);
        self.read.set(true);
        self.done_ms.set(now_ms);
    }
}
