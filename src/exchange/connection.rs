//! The life of one client connection: exchanges while it is busy, almost nothing while it rests.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use futures_util::future::Either;

use super::adopted::Staged;
use super::caps::{count_client, enter};
use super::failure::{Failure, Fault};
use super::held::{Arrival, Client, Extra, Gauge, Next};
use super::introduce::introduce;
use super::secure::{Unsecured, secure};
use super::serve::serve_exchange;
use super::shard::{Scratch, Shard};
use super::streams::serve_streams;
use super::wire::{Received, read_once, write_all};
use crate::http1::{HeadError, LocalReply, Progress, RequestHead, Version, encode_local};
use crate::http2::PREFACE;
use crate::limits;
use crate::net::{Buffer, Channel, Env, Pending, Stream};
use crate::snapshot::{Caller, Entrance};
use crate::telemetry::Stage;

/// Why a connection's busy part ended.
enum Pause {
    /// It rests, until this time of the worker's clock at most.
    Park(u64),
    /// It turned out to speak HTTP/2, and this is what it has said so far.
    Streams(Buffer),
    End(Next),
}

/// What came of waiting for a request head.
enum HeadRead {
    Arrived(Arrival),
    /// The preface of HTTP/2, or its beginning.
    Preface(Buffer),
    Gone,
    /// To be answered with this failure, and closed.
    Refused(Failure),
}

/// Serves a connection that came in there until it ends; nothing when the caps of its listener do not let it in.
/// It was accepted at `accepted_ns` of the monotonic clock, perhaps by another worker.
pub fn serve_connection<E: Env>(
    shard: Rc<Shard<E>>,
    stream: E::Stream,
    peer: SocketAddr,
    entrance: Entrance,
    accepted_ns: u64,
) -> Option<impl Future<Output = ()>> {
    let staged = shard.stage(entrance);
    let adopted = shard.adopt(staged);
    // Of a listener that a reload removed nothing is known; its connections end with the refusal of their first request.
    let listener = adopted.snapshot.listener(entrance);
    let caller = listener.map_or(Ok(None), |listener| enter(&shard, listener, peer.ip()));
    let caller = caller.inspect_err(|_crowded| shard.on_turned_away(staged)).ok()?;
    Some(match listener {
        Some(listener) if !listener.begins_with_requests() => {
            Either::Right(Box::pin(serve_after_words(shard, stream, peer, entrance, staged, caller, accepted_ns)))
        }
        Some(_) | None => {
            let extra = Extra::new(caller, None);
            Either::Left(serve(plain(shard, stream, peer, entrance, staged, extra, accepted_ns)))
        }
    })
}

/// A connection of which nothing is to be learnt before its first request.
fn plain<E: Env>(
    shard: Rc<Shard<E>>,
    stream: E::Stream,
    peer: SocketAddr,
    entrance: Entrance,
    staged: Staged,
    extra: Option<Box<Extra>>,
    accepted_ns: u64,
) -> Box<Client<E>> {
    let alarm = shard.alarms.register();
    // In a box, because a future holds what is passed into it twice: as passed and as used.
    let mut client = Box::new(Client::new(shard, Channel::Plain(stream), peer, entrance, alarm, staged, extra));
    client.accepted_ns = accepted_ns;
    client
}

/// Serves a connection whose requests come behind the words of a proxy, or of TLS, or of both in this order.
async fn serve_after_words<E: Env>(
    shard: Rc<Shard<E>>,
    stream: E::Stream,
    peer: SocketAddr,
    entrance: Entrance,
    staged: Staged,
    caller: Option<Caller>,
    accepted_ns: u64,
) {
    // What these need is gone when they are done.
    let Some(client) = Box::pin(async move {
        let adopted = shard.adopt(staged);
        let listener = adopted.snapshot.listener(entrance)?;
        let accepted_ms = shard.alarms.now_ms();
        let (tls, secured_ms) = (listener.tls.clone(), accepted_ms + listener.handshake_ms);
        let introduced_ms = accepted_ms + listener.header_timeout_ms;
        // The words of a proxy are part of the time of a handshake.
        let due_ms = if tls.is_some() { introduced_ms.min(secured_ms) } else { introduced_ms };
        let is_announced = listener.is_announced(peer.ip());
        let (peer, received) = introduce(&shard, &stream, peer, listener, staged, due_ms).await?;
        let caller = if is_announced { count_client(&shard, listener, caller, peer.ip()) } else { Ok(caller) };
        let caller = caller.inspect_err(|_crowded| shard.on_turned_away(staged)).ok()?;
        // Whoever takes its time with a handshake must not hold on to a whole epoch.
        drop(adopted);
        match tls {
            None => Some(plain(shard, stream, peer, entrance, staged, Extra::new(caller, received), accepted_ns)),
            Some(tls) => {
                let due_ms = secured_ms;
                secure(Unsecured { shard, stream, peer, caller, entrance, staged, tls, accepted_ns, due_ms, received })
                    .await
            }
        }
    })
    .await
    else {
        return;
    };
    if client.stream.agreed_on_h2() {
        return Box::pin(serve_streams(client, None)).await;
    }
    serve(client).await;
}

async fn serve<E: Env>(mut client: Box<Client<E>>) {
    let received = loop {
        // The state of a busy connection lives in a box of its own, so that a resting one is small; and what is matched on
        // is kept until the match is over, which must not be a rest.
        let rests = match Box::pin(serve_unless_stopped(&mut client)).await {
            Some(Pause::Park(due_ms)) => Ok(due_ms),
            Some(Pause::End(next)) => Err(next),
            Some(Pause::Streams(received)) => break received,
            None => return,
        };
        match rests {
            Ok(due_ms) => {
                if !rest(&client, due_ms).await {
                    return count_unused(&client);
                }
                client.is_ready = true;
            }
            Err(Next::Linger) => return Box::pin(linger(&client)).await,
            Err(Next::Cut) => return client.stream.end_unannounced(),
            Err(Next::Reset) => return client.stream.reset_on_close(),
            Err(Next::KeepAlive | Next::Close) if client.stream.is_secure() => {
                return Box::pin(announce_end(&client)).await;
            }
            Err(Next::KeepAlive | Next::Close) => return,
        }
    };
    Box::pin(serve_streams(client, Some(received))).await;
}

/// Counts a connection that ends here if it ends before its first request was whole.
fn count_unused<E: Env>(client: &Client<E>) {
    client.shard.counters.connections_unused.add(u64::from(!client.is_proven));
}

/// Waits without a buffer for the next byte; false when the connection is to be closed instead.
async fn rest<E: Env>(client: &Client<E>, due_ms: u64) -> bool {
    let _idle = Gauge::new(&client.shard.counters.connections_idle);
    let mut readable = pin!(client.stream.readable());
    loop {
        // In a drain nobody is parked: this began before it.
        if is_over(client, 0, due_ms) {
            return false;
        }
        client.alarm.set(client.shard.rests_until(0, due_ms));
        if let Ok(ready) = client.alarm.race(readable.as_mut()).await {
            return ready.is_ok();
        }
    }
}

/// The same as [`serve_busy`]; `None` when the worker stops, and then what is under way is given up.
async fn serve_unless_stopped<E: Env>(client: &mut Client<E>) -> Option<Pause> {
    let shard = Rc::clone(&client.shard);
    let mut busy = pin!(serve_busy(client));
    poll_fn(|poller| match shard.is_stopped() {
        true => Poll::Ready(None),
        false => busy.as_mut().poll(poller).map(Some),
    })
    .await
}

/// Serves exchanges until the connection ends or has nothing to do for a while.
async fn serve_busy<E: Env>(client: &mut Client<E>) -> Pause {
    let shard = Rc::clone(&client.shard);
    let shard = &*shard;
    let peer_text = PeerText::new(client.peer);
    let mut unread = client.take_received();
    loop {
        let filled = match unread.take().filter(|unread: &Buffer| !unread.is_empty()) {
            Some(pipelined) => pipelined,
            None => match first_bytes(shard, client, shard.buffers.lend()).await {
                Ok(filled) => filled,
                Err(pause) => {
                    if matches!(pause, Pause::End(_)) {
                        count_unused(client);
                    }
                    return pause;
                }
            },
        };
        let started_ns = shard.env.now_ns();
        if client.accepted_ns > 0 {
            let accepted_ns = std::mem::take(&mut client.accepted_ns);
            shard.counters.stages.observe(Stage::Accept, started_ns.saturating_sub(accepted_ns));
        }
        // Lent per exchange, so that connections between two requests hold none.
        let mut scratch = ScratchGuard::lend(shard);
        let scratch = scratch.scratch();
        let next = match read_head(shard, client, &mut scratch.request, filled, started_ns).await {
            HeadRead::Arrived(arrival) => {
                client.is_proven = true;
                serve_exchange(shard, client, client, scratch, peer_text.text(), arrival, &mut unread).await
            }
            HeadRead::Preface(received) => return Pause::Streams(received),
            HeadRead::Gone => {
                count_unused(client);
                Next::Close
            }
            HeadRead::Refused(failure) => refuse(client, client, failure, started_ns).await,
        };
        if next != Next::KeepAlive {
            return Pause::End(next);
        }
    }
}

/// Reads until a whole request head is there; its first bytes are.
async fn read_head<E: Env>(
    shard: &Shard<E>,
    client: &Client<E>,
    head: &mut RequestHead,
    mut unread: Buffer,
    started_ns: u64,
) -> HeadRead {
    head.clear();
    let adopted = client.adopt();
    // A listener that a reload removed serves nothing more, and says so to whoever could not know.
    let Some(listener) = adopted.snapshot.listener(client.entrance) else {
        return HeadRead::Refused(Failure::ListenerRemoved);
    };
    let due_ms = shard.alarms.now_ms() + listener.header_timeout_ms;
    let mut head_ns = 0;
    loop {
        match head.parse(unread.filled(), &listener.head) {
            Ok(Progress::Complete) => return HeadRead::Arrived(Arrival { unread, adopted, started_ns, head_ns }),
            Ok(Progress::Partial) => {}
            // RFC 9113 section 3.3: a client with prior knowledge begins with what is no request of HTTP/1.
            Err(HeadError::UnsupportedVersion)
                if !client.is_proven && listener.h2_streams > 0 && is_preface(unread.filled()) =>
            {
                if unread.len() >= PREFACE_LINE {
                    return HeadRead::Preface(unread);
                }
            }
            Err(why) => return HeadRead::Refused(Failure::BadRequest(why)),
        }
        unread.reserve(1);
        // Measured from the first byte, not from the last one: a client that drips bytes gets no more time.
        let left_ms = due_ms.saturating_sub(shard.alarms.now_ms());
        match read_once(&client.stream, unread, &client.alarm, left_ms).await {
            Received::Bytes(filled) => {
                unread = filled;
                head_ns = shard.env.now_ns().saturating_sub(started_ns);
            }
            Received::End(_) | Received::Broken(_) => return HeadRead::Gone,
            Received::Expired => return HeadRead::Refused(Failure::ClientHeaderTimeout),
        }
    }
}

/// The first line of the preface of HTTP/2, by which it is told from a request.
const PREFACE_LINE: usize = 14;

/// Is this how HTTP/2 begins, as far as it has come?
fn is_preface(received: &[u8]) -> bool {
    received.iter().zip(&PREFACE[..PREFACE_LINE]).all(|(one, other)| one == other)
}

/// Waits for the first bytes of a request: a while with a buffer at hand, and then not here.
async fn first_bytes<E: Env>(shard: &Shard<E>, client: &mut Client<E>, mut buffer: Buffer) -> Result<Buffer, Pause> {
    let is_ready = std::mem::take(&mut client.is_ready);
    let client = &*client;
    let _idle = Gauge::new(&shard.counters.connections_idle);
    let began_ms = shard.alarms.now_ms();
    let due_ms = began_ms + first_bytes_bound(client);
    let lent = shard.buffers.lent();
    // While memory is short a buffer is too much for one that rests.
    if is_ready || lent <= limits::BUFFERS_IDLE && shard.has_room_for_requests() {
        return wait_with_buffer(client, buffer, began_ms, due_ms).await;
    }
    // What comes to rest in a drain does not rest for long.
    if lent > limits::BUFFERS_HOT && !shard.is_draining() {
        return Err(Pause::Park(due_ms));
    }
    loop {
        if shard.is_draining() && is_over(client, began_ms, due_ms) {
            return Err(Pause::End(Next::Close));
        }
        let looks_ms = if shard.is_draining() { due_ms } else { due_ms.min(began_ms + limits::PARK_AFTER_MS) };
        client.alarm.set(shard.rests_until(began_ms, looks_ms));
        let (read, back) = client.stream.read_until(buffer, &client.alarm).await;
        buffer = back;
        match read {
            Ok(0) => return Err(Pause::End(Next::Close)),
            Ok(_) => return Ok(buffer),
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(Pause::End(Next::Close)),
            Err(_) if shard.is_draining() || shard.alarms.now_ms() < began_ms + limits::PARK_AFTER_MS => {}
            Err(_) => return Err(Pause::Park(due_ms)),
        }
    }
}

/// Is the wait for a request over that began at `since_ms`? A worker that drains waits a short while, and what has come by
/// then is a request that was accepted.
fn is_over<E: Env>(client: &Client<E>, since_ms: u64, due_ms: u64) -> bool {
    let shard = &client.shard;
    shard.alarms.now_ms() >= due_ms || shard.waits_for_nobody(since_ms) && client.stream.pending() != Pending::Bytes
}

/// Waits for the first bytes to the end, buffer in hand: while few buffers are out, parking would cost more than it saves.
async fn wait_with_buffer<E: Env>(
    client: &Client<E>,
    buffer: Buffer,
    since_ms: u64,
    due_ms: u64,
) -> Result<Buffer, Pause> {
    let mut read = pin!(client.stream.read(buffer));
    loop {
        // The operation is abandoned only on the way to the close of its connection.
        if is_over(client, since_ms, due_ms) {
            return Err(Pause::End(Next::Close));
        }
        client.alarm.set(client.shard.rests_until(since_ms, due_ms));
        if let Ok((read, filled)) = client.alarm.race(read.as_mut()).await {
            return if matches!(read, Ok(count) if count > 0) { Ok(filled) } else { Err(Pause::End(Next::Close)) };
        }
    }
}

/// A connection that has proven itself may rest; one that never sent a request may not. Where a reload removed the listener,
/// a request that is on its way is to be refused and not lost.
fn first_bytes_bound<E: Env>(client: &Client<E>) -> u64 {
    let adopted = client.adopt();
    let listener = adopted.snapshot.listener(client.entrance);
    listener.map_or(
        limits::LINGER_MS,
        |listener| {
            if client.is_proven { listener.idle_ms } else { listener.header_timeout_ms }
        },
    )
}

/// Tells a client why its request is not served, before there is one to speak of. `connection` is what it opened, which knows
/// who it is; `client` itself, or what carries its stream.
pub(super) async fn refuse<E: Env>(
    client: &Client<E>,
    connection: &Client<E>,
    failure: Failure,
    started_ns: u64,
) -> Next {
    let (shard, adopted) = (&connection.shard, connection.adopt());
    let verdict = failure.verdict();
    shard.counters.client_glitches.add(u64::from(verdict.fault == Fault::Client));
    connection.settle_refused(failure, started_ns, verdict.text.len());
    let extra: &[(&'static str, &[u8])] =
        if adopted.snapshot.reason_header { &[("X-Gateway-Reason", verdict.label.as_bytes())] } else { &[] };
    let mut out = shard.buffers.lend();
    let reply = LocalReply {
        status: verdict.status,
        body: verdict.text.as_bytes(),
        content_type: "text/plain; charset=utf-8",
        request_id: None,
        date: &shard.date(),
        close: true,
        head_only: false,
        version: Version::Http11,
        keep_alive_10: false,
        extra,
        edits: &shard.no_edits,
        added: &[],
    };
    encode_local(out.sink(), &reply);
    match write_all(&client.stream, out, &client.alarm, || limits::LINGER_MS).await {
        Ok(_) => Next::Linger,
        Err(_) => Next::Reset,
    }
}

/// Says that nothing more comes, to a client that takes it within a while: without that word, an answer that ends with its
/// connection looks cut (RFC 8446 section 6.1).
pub(super) async fn announce_end<E: Env>(client: &Client<E>) {
    let _in_time = client.alarm.within(limits::LINGER_MS, pin!(client.stream.announce_end())).await;
}

/// Ends our direction and drops what still comes, for a while: a close with unread bytes would reset the
/// connection and take the response with it (RFC 9112 section 9.6).
pub(super) async fn linger<E: Env>(client: &Client<E>) {
    let shard = &client.shard;
    announce_end(client).await;
    client.stream.shutdown_write();
    client.stream.stop_listening();
    let mut buffer = shard.buffers.lend();
    let due_ms = shard.alarms.now_ms() + limits::LINGER_MS;
    let mut dropped = 0;
    while dropped < limits::LINGER_BYTES {
        buffer.rewind(0, 0);
        let left_ms = due_ms.saturating_sub(shard.alarms.now_ms());
        match read_once(&client.stream, buffer, &client.alarm, left_ms).await {
            Received::Bytes(filled) => buffer = filled,
            Received::End(_) | Received::Broken(_) | Received::Expired => return,
        }
        dropped += buffer.len();
    }
}

/// Gives the storage of an active connection back, however its future ends.
pub(super) struct ScratchGuard<'a, E: Env> {
    shard: &'a Shard<E>,
    scratch: Option<Box<Scratch>>,
}

impl<'a, E: Env> ScratchGuard<'a, E> {
    pub(super) fn lend(shard: &'a Shard<E>) -> Self {
        Self { shard, scratch: Some(shard.lend_scratch()) }
    }

    pub(super) fn scratch(&mut self) -> &mut Scratch {
        self.scratch.as_mut().expect("lent until it is dropped")
    }
}

impl<E: Env> Drop for ScratchGuard<'_, E> {
    fn drop(&mut self) {
        if let Some(scratch) = self.scratch.take() {
            self.shard.return_scratch(scratch);
        }
    }
}

/// The address of a peer as text, without an allocation: an IPv6 address has at most 39 characters.
pub(super) struct PeerText {
    text: [u8; 46],
    length: usize,
}

impl PeerText {
    pub(super) fn new(peer: SocketAddr) -> Self {
        use std::io::Write;
        let mut text = [0; 46];
        let mut rest = &mut text[..];
        write!(rest, "{}", peer.ip().to_canonical()).expect("46 bytes hold every address");
        let left = rest.len();
        Self { text, length: 46 - left }
    }

    pub(super) fn text(&self) -> &[u8] {
        &self.text[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Reactor, TcpPeer};

    fn future_size<F, Fut>(_: F) -> usize
    where
        F: Fn(Rc<Shard<Reactor>>, TcpPeer, SocketAddr, Entrance, u64) -> Fut,
    {
        size_of::<Fut>()
    }

    #[test]
    fn a_resting_connection_is_small() {
        let (client, future) = (size_of::<Client<Reactor>>(), future_size(serve_connection::<Reactor>));
        assert!(client + future <= 464, "a resting connection has {client} bytes and its future {future}");
    }

    #[test]
    fn a_mapped_address_is_written_as_ipv4() {
        for (peer, text) in [
            ("192.0.2.1:80", "192.0.2.1"),
            ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
            ("[2001:db8:1111:2222:3333:4444:5555:6666]:80", "2001:db8:1111:2222:3333:4444:5555:6666"),
        ] {
            let peer = PeerText::new(peer.parse().expect("an address"));
            assert_eq!(peer.text(), text.as_bytes());
        }
    }
}
