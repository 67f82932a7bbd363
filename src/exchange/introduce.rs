//! Who a new connection comes from, when a proxy in front says so (PROXY protocol), before anything else is read.

use std::net::SocketAddr;
use std::pin::pin;

use super::adopted::Staged;
use super::held::Gauge;
use super::secure::{FirstByte, first_byte};
use super::shard::Shard;
use crate::limits;
use crate::net::{
    Alarm, Buffer, Env, PROXY_HEADER_BYTES, Pending, ProxyHeader, ProxyProgress, Stream, parse_proxy_header,
};
use crate::snapshot::{Listener, ProxyProtocol};

/// The address of the client of a connection that `peer` opened; `None` when the connection is to be closed, which is counted.
///
/// | `proxy_protocol` | peer trusted | first bytes | client |
/// |---|---|---|---|
/// | off | any | not looked at | the peer |
/// | optional | no | not looked at | the peer |
/// | optional | yes | a header | the header's source, or the peer when it names none |
/// | optional | yes | anything else | the peer |
/// | required | no | not looked at | refused |
/// | required | yes | a header | as above |
/// | required | yes | anything else | refused |
/// | any but off | yes | a header that breaks the protocol, or does not come in time | refused |
///
/// Beside the address is what came behind the header, or instead of one.
pub(super) async fn introduce<E: Env>(
    shard: &Shard<E>,
    stream: &E::Stream,
    peer: SocketAddr,
    listener: &Listener,
    staged: Staged,
    due_ms: u64,
) -> Option<(SocketAddr, Option<Buffer>)> {
    let _open = Gauge::new(&shard.counters.connections_active);
    let introduced = match (listener.proxy_protocol, listener.trusts(peer.ip())) {
        (ProxyProtocol::Off, _) | (ProxyProtocol::Optional, false) => return Some((peer, None)),
        (ProxyProtocol::Required, false) => Err(Unknown::Refused),
        (mode, true) => match read_header(shard, stream, due_ms).await {
            Ok((Some(header), rest)) => Ok((header.source.unwrap_or(peer), rest)),
            Ok((None, rest)) if mode == ProxyProtocol::Optional => Ok((peer, rest)),
            Ok(_) => Err(Unknown::Refused),
            Err(why) => Err(why),
        },
    };
    if introduced.as_ref().is_err_and(|why| *why == Unknown::Refused) {
        shard.counters.proxy_headers_refused.add(1);
        shard.on_turned_away(staged);
    }
    introduced.ok().map(|(client, rest)| (client, Some(rest).filter(|rest| !rest.is_empty())))
}

/// Why it is not known who the client is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unknown {
    /// The header, or that there is none, breaks the rules.
    Refused,
    /// The worker drains, and waits for nobody.
    Drained,
}

/// Reads a header, if there is one; what came besides it is the rest.
async fn read_header<E: Env>(
    shard: &Shard<E>,
    stream: &E::Stream,
    due_ms: u64,
) -> Result<(Option<ProxyHeader>, Buffer), Unknown> {
    let alarm = shard.alarm();
    // Whoever says nothing costs a socket and no buffer.
    match first_byte(shard, stream, &alarm, due_ms).await {
        FirstByte::There => {}
        FirstByte::Drained => return Err(Unknown::Drained),
        FirstByte::Late => return Err(Unknown::Refused),
    }
    let mut seen = shard.buffers.lend();
    loop {
        seen = read_more(shard, stream, &alarm, due_ms, seen).await?;
        match parse_proxy_header(seen.filled()) {
            ProxyProgress::Complete(header) => {
                seen.consume(header.length);
                return Ok((Some(header), seen));
            }
            ProxyProgress::Absent => return Ok((None, seen)),
            ProxyProgress::Malformed => return Err(Unknown::Refused),
            // There is room for more: a header is shorter than a buffer.
            ProxyProgress::Partial => {}
        }
    }
}

const _: () = assert!(PROXY_HEADER_BYTES < limits::BUFFER_BYTES);

/// Reads once, behind what was seen.
async fn read_more<E: Env>(
    shard: &Shard<E>,
    stream: &E::Stream,
    alarm: &Alarm,
    due_ms: u64,
    seen: Buffer,
) -> Result<Buffer, Unknown> {
    // It is abandoned only on the way to the close of its connection.
    let since_ms = shard.alarms.now_ms();
    let mut read = pin!(stream.read(seen));
    loop {
        if alarm.now_ms() >= due_ms {
            return Err(Unknown::Refused);
        }
        if shard.waits_for_nobody(since_ms) && stream.pending() != Pending::Bytes {
            return Err(Unknown::Drained);
        }
        alarm.set(shard.rests_until(since_ms, due_ms));
        if let Ok((read, seen)) = alarm.race(read.as_mut()).await {
            return if matches!(read, Ok(count) if count > 0) { Ok(seen) } else { Err(Unknown::Refused) };
        }
    }
}
