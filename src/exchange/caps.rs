//! Whether a new connection is let in: the caps of its listener, in all and for each client, exact over all workers.

use std::net::IpAddr;

use super::shard::Shard;
use crate::net::Env;
use crate::snapshot::{Caller, Crowded, Listener};
use crate::telemetry::MEMORY_CAP;

const _: () = assert!(Crowded::Client.index() + 1 == MEMORY_CAP);

/// Lets a connection that `peer` opened in, if there is room; nothing to hold where nothing is capped.
///
/// # Errors
/// There is no room, which is counted.
pub(super) fn enter<E: Env>(shard: &Shard<E>, listener: &Listener, peer: IpAddr) -> Result<Option<Caller>, Crowded> {
    let most = match (listener.connections, listener.per_client) {
        (None, None) => return Ok(None),
        (Some(most), _) => most,
        (None, Some(_)) => usize::MAX,
    };
    let caller = listener.callers.try_enter(most);
    let caller = caller.inspect_err(|why| shard.counters.connections_rejected[why.index()].add(1))?;
    // Before anybody else is accepted, so that those of one client never fill the listener.
    if listener.is_announced(peer) { Ok(Some(caller)) } else { count_client(shard, listener, Some(caller), peer) }
}

/// Counts it as one of its client's, once that is known. A trusted proxy that speaks for itself, or does not say for whom,
/// is not counted: it brings many.
///
/// # Errors
/// The client has as many as it may, which is counted.
pub(super) fn count_client<E: Env>(
    shard: &Shard<E>,
    listener: &Listener,
    mut caller: Option<Caller>,
    client: IpAddr,
) -> Result<Option<Caller>, Crowded> {
    if let Some((caller, most)) = caller.as_mut().zip(listener.per_client)
        && !listener.trusts(client)
    {
        match caller.try_count(client, most) {
            Ok(is_tracked) => shard.counters.connections_untracked.add(u64::from(!is_tracked)),
            Err(why) => {
                shard.counters.connections_rejected[why.index()].add(1);
                return Err(why);
            }
        }
    }
    Ok(caller)
}
