//! The handshake of a client's connection, before its first exchange.

use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use rustls::HandshakeKind;

use super::adopted::Staged;
use super::connection::{linger, refuse};
use super::failure::Failure;
use super::held::{Client, Extra, Gauge, Next};
use super::shard::Shard;
use crate::net::{Accepted, Alarm, Buffer, Channel, Env, Pending, Stream, TlsFailure, accept_tls};
use crate::snapshot::{Caller, Entrance, Greeting, Inbound};
use crate::telemetry::{Stage, TLS_FAILURES};

/// A connection that has yet to be secured.
pub(super) struct Unsecured<E: Env> {
    pub(super) shard: Rc<Shard<E>>,
    pub(super) stream: E::Stream,
    pub(super) peer: SocketAddr,
    pub(super) caller: Option<Caller>,
    pub(super) entrance: Entrance,
    pub(super) staged: Staged,
    pub(super) tls: Inbound,
    /// When it was accepted, by the monotonic clock.
    pub(super) accepted_ns: u64,
    /// When it must be done, in milliseconds of the worker's clock.
    pub(super) due_ms: u64,
    /// What has come of it already.
    pub(super) received: Option<Buffer>,
}

/// Secures a connection; `None` when that failed, which is counted, and the connection closed.
pub(super) async fn secure<E: Env>(unsecured: Unsecured<E>) -> Option<Box<Client<E>>> {
    let Unsecured { shard, stream, peer, caller, entrance, staged, tls, accepted_ns, due_ms, received } = unsecured;
    let open = Gauge::new(&shard.counters.connections_active);
    let alarm = shard.alarms.register();
    // A client that says nothing costs a socket and no session.
    if received.is_none() {
        match first_byte(&shard, &stream, &alarm, due_ms).await {
            FirstByte::There => {}
            FirstByte::Drained => return None,
            FirstByte::Late => {
                count_failure(&shard, TlsFailure::Timeout);
                return None;
            }
        }
    }
    let config = (Arc::clone(tls.config()), tls.asks_clients());
    let hello_ns = shard.env.now_ns();
    shard.counters.stages.observe(Stage::Accept, hello_ns.saturating_sub(accepted_ns));
    let (accepted, greeting) = {
        let _handshake = Gauge::new(&shard.counters.tls_handshakes_active);
        let underway = shard.handshakes.begin();
        let handshake = pin!(accept_tls(stream, received, config, &shard.buffers, &alarm, due_ms));
        Greeting::of(underway.run(handshake)).await
    };
    // From here on whoever holds the connection counts it.
    drop(open);
    let Some(accepted) = accepted else {
        shard.counters.tls_handshakes_ousted.add(1);
        return None;
    };
    match accepted {
        Accepted::Secured(tls) => {
            let full = tls.kind() != Some(HandshakeKind::Resumed);
            let count = if full { &shard.counters.tls_handshakes_full } else { &shard.counters.tls_handshakes_resumed };
            count.add(1);
            shard.counters.stages.observe(Stage::Tls, shard.env.now_ns().saturating_sub(hello_ns));
            Some(Box::new(Client::new(
                Rc::clone(&shard),
                Channel::Tls(tls),
                peer,
                entrance,
                alarm,
                staged,
                Extra::secured(caller, greeting),
            )))
        }
        Accepted::Failed(stream, why) => {
            count_failure(&shard, why);
            if why != TlsFailure::PlainHttp {
                shard.on_turned_away(staged);
            } else {
                let client = Client::new(
                    Rc::clone(&shard),
                    Channel::Plain(stream),
                    peer,
                    entrance,
                    alarm,
                    staged,
                    Extra::new(caller, None),
                );
                if refuse(&client, &client, Failure::PlainHttp, accepted_ns).await == Next::Linger {
                    linger(&client).await;
                }
            }
            None
        }
    }
}

/// What came of the wait for a connection's first byte.
pub(super) enum FirstByte {
    /// It is there, or the end of the client's direction is.
    There,
    /// It did not come in time.
    Late,
    /// The worker drains, and waits for nobody.
    Drained,
}

/// Waits for the first byte, without a buffer.
pub(super) async fn first_byte<E: Env>(shard: &Shard<E>, stream: &E::Stream, alarm: &Alarm, due_ms: u64) -> FirstByte {
    let _idle = Gauge::new(&shard.counters.connections_idle);
    let since_ms = shard.alarms.now_ms();
    let mut readable = pin!(stream.readable());
    loop {
        if shard.alarms.now_ms() >= due_ms {
            return FirstByte::Late;
        }
        if shard.waits_for_nobody(since_ms) && stream.pending() != Pending::Bytes {
            return FirstByte::Drained;
        }
        alarm.set(shard.rests_until(since_ms, due_ms));
        if alarm.race(readable.as_mut()).await.is_ok() {
            return FirstByte::There;
        }
    }
}

const _: () = assert!(TlsFailure::ALL.len() == TLS_FAILURES);

fn count_failure<E: Env>(shard: &Shard<E>, why: TlsFailure) {
    shard.counters.tls_failures[why.index()].add(1);
}
