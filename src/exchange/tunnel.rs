//! What follows a switch of protocols: bytes both ways, until both sides have ended (RFC 9110 section 7.8).

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;

use super::answer::{Answer, Awaited, Outcome};
use super::failure::Failure;
use super::held::{Exchange, Gauge, lines};
use super::websocket;
use super::wire::{Received, WriteError, read_once, write_all};
use crate::http1::{
    BodyLength, FieldKind, ResponseBody, ResponseHead, ResponseOut, encode_switch, is_switched_to, offered_protocols,
};
use crate::limits;
use crate::net::{Alarm, Buffer, Channel, Env, Expired, Stream};
use crate::snapshot::Route;

/// How one direction of a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Whoever sends said that nothing more comes; the other side was told.
    HalfClosed,
    /// Whoever sends is gone without a word that it was the end, and takes nothing more either.
    SenderGone,
    /// Whoever receives has closed; it may still be heard.
    ReceiverGone,
    /// Whoever sends broke its connection.
    SenderBroke,
    /// Whoever receives did: only one of both directions is told.
    ReceiverBroke,
    /// Nothing came for too long, in either direction.
    Idle,
}

/// One direction of a tunnel.
struct Direction<'a, E: Env> {
    from: &'a Channel<E::Stream>,
    to: &'a Channel<E::Stream>,
    alarm: &'a Alarm,
    life: &'a Life,
}

/// What both directions know of one another.
struct Life {
    /// The longest either may be silent while the other is.
    idle_ms: Cell<u64>,
    /// When anything came last in either direction.
    last_ms: Cell<u64>,
}

/// How often a direction that waits looks whether it still may.
const LOOK_MS: u64 = 5_000;

impl<'a, E: Env> Exchange<'a, E> {
    /// The protocol to ask the endpoint for: the first that the client offers and the route lets pass; empty for none.
    ///
    /// A request with a body is served without a switch: RFC 9110 section 7.8 would have the protocol begin behind it.
    pub(super) fn upgrade(&self, route: &Route) -> &'a [u8] {
        if route.upgrades.is_empty()
            || self.head.body() != BodyLength::None
            || self.head.find(self.bytes, FieldKind::Upgrade).is_none()
        {
            return b"";
        }
        let passes = |name: &&[u8]| route.upgrades.iter().any(|upgrade| upgrade.eq_ignore_ascii_case(name));
        offered_protocols(self.head, self.bytes).find(passes).unwrap_or_default()
    }

    /// Does this response switch to what was asked for?
    pub(super) fn is_asked_switch(&self, awaited: &Awaited<'_, E>, response: &ResponseHead, bytes: &[u8]) -> bool {
        let protocol = self.upgrade(awaited.tries.route);
        // RFC 8441 section 5: an endpoint of HTTP/2 has no challenge to answer.
        let is_answered = || !awaited.stream.is_reusable() || self.is_key_answered(response, bytes);
        !protocol.is_empty() && is_switched_to(response, bytes, protocol) && is_answered()
    }

    /// The answer to the challenge of a client of HTTP/1.1 (RFC 6455 section 4.2.2), which an endpoint of HTTP/2 has not seen.
    fn answer_to_key(&self, awaited: &Awaited<'_, E>) -> Option<String> {
        let is_ours = !awaited.stream.is_reusable() && !self.client.is_h2();
        self.head.field(self.bytes, "sec-websocket-key").filter(|_| is_ours).map(websocket::answer_to)
    }

    /// Does a switch answer the challenge that was made here? A client of HTTP/1.1 made its own, and looks by itself.
    fn is_key_answered(&self, response: &ResponseHead, bytes: &[u8]) -> bool {
        let key = self.head.field(self.bytes, "sec-websocket-key").filter(|_| self.client.is_h2());
        let answer = response.field(bytes, "sec-websocket-accept").unwrap_or_default();
        key.is_none_or(|key| websocket::is_answer_to(key, answer))
    }

    /// Did a client of HTTP/2 ask for a tunnel (RFC 8441)? Otherwise its requests have no Upgrade.
    pub(super) fn asks_for_tunnel(&self) -> bool {
        self.client.is_h2() && self.head.find(self.bytes, FieldKind::Upgrade).is_some()
    }

    /// Would this response look like a switch to a client of HTTP/2, and be none?
    pub(super) fn is_false_switch(&self, response: &ResponseHead) -> bool {
        matches!(response.status(), 200..300) && self.asks_for_tunnel()
    }

    /// Tells the client of the switch, and carries bytes until both directions have ended. `buffer` holds the endpoint's
    /// response and what came behind it; what the client sent early waits behind its request.
    pub(super) async fn tunnel(&self, awaited: &Awaited<'_, E>, response: &ResponseHead, buffer: Buffer) -> Outcome {
        let counters = &self.shard.counters;
        let _tunnel = Gauge::new(&counters.tunnels_active);
        counters.tunnels.add(1);
        self.switch(awaited, response, buffer).await?;
        let idle_ms = awaited.tries.route.timeouts.tunnel_idle_ms;
        // It goes while the other direction is carried: an endpoint may want to be heard before it takes all of it.
        let early = Some(self.behind_head()).filter(|early| !early.is_empty()).map(|early| {
            let mut out = self.shard.buffers.lend();
            out.extend(early);
            self.tally.on_body_in(early.len());
            out
        });
        let life = &Life { idle_ms: Cell::new(idle_ms), last_ms: Cell::new(self.shard.alarms.now_ms()) };
        let up = Direction::<E> { from: self.client, to: awaited.stream, alarm: self.client_alarm, life };
        let down = Direction::<E> { from: awaited.stream, to: self.client, alarm: self.alarm, life };
        let (mut up, mut down) = (pin!(self.carry(up, early, true)), pin!(self.carry(down, None, false)));
        match until_both_ended(up.as_mut(), down.as_mut()).await {
            Ok(()) => {}
            Err(Failure::TunnelIdle) => self.on_failure(Failure::TunnelIdle),
            // The other side must not take that for an orderly end: the client is told by what follows from the failure.
            Err(failure) => {
                awaited.stream.reset_on_close();
                return Err(failure);
            }
        }
        Ok(Answer { last: None, client_persists: false, upstream_persists: false })
    }

    /// Relays the response that switches, with what came behind it.
    async fn switch(
        &self,
        awaited: &Awaited<'_, E>,
        response: &ResponseHead,
        mut buffer: Buffer,
    ) -> Result<(), Failure> {
        let route = awaited.tries.route;
        let mut head = self.shard.buffers.lend();
        let mut told = lines(&self.added.take(), b"").concat();
        if let Some(answer) = self.answer_to_key(awaited) {
            told.extend_from_slice(format!("Sec-WebSocket-Accept: {answer}\r\n").as_bytes());
        }
        let how = ResponseOut {
            version: self.head.version(),
            request_id: self.request_id(),
            date: &self.shard.date(),
            edits: &route.response_edits,
            added: &[&told[..]],
            body: ResponseBody::AsReceived,
            close: false,
            keep_alive_10: false,
            trailers: false,
        };
        encode_switch(head.sink(), buffer.filled(), response, self.upgrade(route), &how);
        buffer.consume(response.len());
        self.tally.on_body_out(buffer.len());
        // RFC 8441 section 5: a 200 is what switches a stream.
        self.tally.status.set(if self.client.is_h2() { 200 } else { response.status() });
        self.tally.switched_ns.set(self.shard.env.now_ns());
        self.tally.open_ended.set(true);
        drop(self.write_client(head).await?);
        drop(self.write_client(buffer).await?);
        Ok(())
    }

    /// Carries one direction to its end, what is there already first.
    async fn carry(&self, direction: Direction<'_, E>, early: Option<Buffer>, is_up: bool) -> Ended {
        let Direction { from, to, alarm, life } = direction;
        let Life { idle_ms, last_ms } = life;
        if let Some(early) = early
            && let Err(ended) = pass_on(to, early, alarm, life).await
        {
            return ended;
        }
        loop {
            // A tunnel that rests holds no buffer.
            if let Err(ended) = self.wait_for_bytes(from, alarm, life).await {
                return ended;
            }
            let buffer = match read_once(from, self.shard.buffers.lend(), alarm, idle_ms.get()).await {
                Received::Bytes(buffer) => buffer,
                Received::End(_) => {
                    // RFC 8446 section 6.1: without that word an end looks cut; whoever reads slowly takes it later.
                    let _in_time = alarm.within(limits::LINGER_MS, pin!(to.announce_end())).await;
                    to.shutdown_write();
                    // It may have closed altogether: what the other still has to say must come soon, counted from here.
                    last_ms.set(self.shard.alarms.now_ms());
                    idle_ms.set(idle_ms.get().min(limits::TUNNEL_HALF_CLOSED_MS));
                    return Ended::HalfClosed;
                }
                Received::Broken(kind) => return sender_ended(kind),
                Received::Expired => return Ended::Idle,
            };
            last_ms.set(self.shard.alarms.now_ms());
            let count = if is_up { &self.tally.bytes_in } else { &self.tally.bytes_out };
            count.set(count.get() + buffer.len() as u64);
            if let Err(ended) = pass_on(to, buffer, alarm, life).await {
                return ended;
            }
        }
    }

    async fn wait_for_bytes(&self, from: &Channel<E::Stream>, alarm: &Alarm, life: &Life) -> Result<(), Ended> {
        let mut readable = pin!(from.readable());
        loop {
            let (now_ms, due_ms) = (self.shard.alarms.now_ms(), life.last_ms.get() + life.idle_ms.get());
            if now_ms >= due_ms {
                return Err(Ended::Idle);
            }
            alarm.set(due_ms.min(now_ms + LOOK_MS));
            match alarm.race(readable.as_mut()).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => return Err(sender_ended(error.kind())),
                // The other direction may have been busy, or the worker drains, which a tunnel outlasts.
                Err(Expired) => {}
            }
        }
    }
}

/// RFC 8446 section 6.1: an end of TLS without that word may be a cut, but many leave it out, and what came was delivered.
fn sender_ended(kind: io::ErrorKind) -> Ended {
    if kind == io::ErrorKind::UnexpectedEof { Ended::SenderGone } else { Ended::SenderBroke }
}

/// Gives all of `buffer` to whoever receives.
async fn pass_on<S: Stream>(to: &S, buffer: Buffer, alarm: &Alarm, life: &Life) -> Result<(), Ended> {
    match write_all(to, buffer, alarm, || life.idle_ms.get()).await {
        Ok(_) => {
            life.last_ms.set(alarm.now_ms());
            Ok(())
        }
        Err(WriteError::Expired) => Err(Ended::Idle),
        // Without an end before it, which would make it a broken pipe.
        Err(WriteError::Broken(io::ErrorKind::ConnectionReset)) => Err(Ended::ReceiverBroke),
        Err(WriteError::Broken(_)) => Err(Ended::ReceiverGone),
    }
}

/// Runs both directions: to the end of both, unless what ended one leaves nothing for the other.
///
/// # Errors
/// A side broke its connection, or there was silence for too long.
async fn until_both_ended(
    mut up: Pin<&mut impl Future<Output = Ended>>,
    mut down: Pin<&mut impl Future<Output = Ended>>,
) -> Result<(), Failure> {
    let (mut up_ended, mut down_ended) = (None, None);
    poll_fn(|poller| {
        if up_ended.is_none()
            && let Poll::Ready(ended) = up.as_mut().poll(poller)
        {
            up_ended = Some(ended);
        }
        if down_ended.is_none()
            && let Poll::Ready(ended) = down.as_mut().poll(poller)
        {
            down_ended = Some(ended);
        }
        match (up_ended, down_ended) {
            (Some(Ended::SenderBroke), _) | (_, Some(Ended::ReceiverBroke)) => Poll::Ready(Err(Failure::ClientAbort)),
            (_, Some(Ended::SenderBroke)) | (Some(Ended::ReceiverBroke), _) => Poll::Ready(Err(Failure::TunnelBroken)),
            (Some(Ended::Idle), _) | (_, Some(Ended::Idle)) => Poll::Ready(Err(Failure::TunnelIdle)),
            (Some(Ended::SenderGone), _) | (_, Some(Ended::SenderGone)) => Poll::Ready(Ok(())),
            (Some(Ended::HalfClosed | Ended::ReceiverGone), Some(Ended::HalfClosed | Ended::ReceiverGone)) => {
                Poll::Ready(Ok(()))
            }
            (Some(_), None) | (None, Some(_) | None) => Poll::Pending,
        }
    })
    .await
}
