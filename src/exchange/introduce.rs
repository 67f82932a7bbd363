//! Who a new connection comes from, when a proxy in front says so (PROXY protocol), before anything else is read.

use std::net::SocketAddr;
use std::pin::pin;

use super::shard::Shard;
use crate::limits;
use crate::net::{Alarm, Buffer, Env, Expired, ProxyProgress, Stream, parse_proxy_header};
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
pub(super) async fn introduce<E: Env>(
    shard: &Shard<E>,
    stream: &E::Stream,
    peer: SocketAddr,
    listener: &Listener,
) -> Option<SocketAddr> {
    let trusted = listener.trusts(peer.ip());
    let client = match (listener.proxy_protocol, trusted) {
        (ProxyProtocol::Off, _) | (ProxyProtocol::Optional, false) => return Some(peer),
        (ProxyProtocol::Required, false) => None,
        (mode, true) => {
            let alarm = shard.alarm();
            let due_ms = alarm.now_ms() + listener.header_timeout_ms;
            match read_header(shard, stream, &alarm, due_ms).await {
                Some(ProxyProgress::Complete(header)) => Some(header.source.unwrap_or(peer)),
                Some(ProxyProgress::Absent) if mode == ProxyProtocol::Optional => Some(peer),
                _ => None,
            }
        }
    };
    if client.is_none() {
        shard.counters().proxy_headers_refused.add(1);
    }
    client
}

/// Reads a header and not a byte more; `None` when nothing comes in time, or the connection broke.
async fn read_header<E: Env>(
    shard: &Shard<E>,
    stream: &E::Stream,
    alarm: &Alarm,
    due_ms: u64,
) -> Option<ProxyProgress> {
    let left_ms = due_ms.saturating_sub(alarm.now_ms());
    alarm.within(left_ms, pin!(stream.readable())).await.ok()?.ok()?;
    let mut seen = shard.buffers.lend();
    loop {
        seen.rewind(0, 0);
        let count = stream.try_peek(&mut seen).ok()?;
        let progress = parse_proxy_header(seen.filled());
        match progress {
            ProxyProgress::Complete(header) => return take(stream, seen, header.length).map(|()| progress),
            ProxyProgress::Absent | ProxyProgress::Malformed => return Some(progress),
            // The rest of what is there already would be readable at once, so that the next look waits for time to pass.
            ProxyProgress::Partial if count > 0 && alarm.now_ms() < due_ms => {
                alarm.set_in(limits::TICK_MS);
                let Err(Expired) = alarm.race(pin!(std::future::pending::<std::convert::Infallible>())).await;
            }
            ProxyProgress::Partial => return None,
        }
    }
}

/// Takes `length` bytes that are there.
fn take<S: Stream>(stream: &S, mut into: Buffer, length: usize) -> Option<()> {
    let mut left = length;
    while left > 0 {
        into.rewind_for(left);
        match stream.try_read(&mut into) {
            Ok(count) if count > 0 => left -= count,
            Ok(_) | Err(_) => return None,
        }
    }
    Some(())
}
