//! Who is connected to a listener, over all workers and epochs: what its caps on connections are exact by.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crossbeam_utils::CachePadded;

use self::table::{Clients, NOWHERE, Taken};
use crate::limits;

mod atomics;
mod table;

/// Entries of one set of the table of clients.
const WAYS: usize = 16;

/// Why a connection is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowded {
    /// The listener has as many as it may.
    Listener,
    /// Its client has as many as it may.
    Client,
}

impl Crowded {
    /// Its place among the counters of refused connections, the first of which is that of the process.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize + 1
    }
}

/// The connections of one listener; share it as `Arc<Callers>`.
#[derive(Debug, Default)]
pub struct Callers {
    open: CachePadded<AtomicUsize>,
    /// Once there is a cap for each client.
    clients: OnceLock<Clients>,
    /// Keyed, so that nobody outside can aim at an entry.
    hasher: RandomState,
}

/// One connection among those of its listener, until it is dropped.
#[derive(Debug)]
pub struct Caller {
    callers: Arc<Callers>,
    /// Where its client is counted, or [`NOWHERE`].
    client: u32,
}

impl Callers {
    /// Clients are to be counted from now on.
    pub(super) fn count_clients(&self) {
        self.clients.get_or_init(|| Clients::new(limits::CLIENT_SETS));
    }

    /// Lets one more in, of `most`; never more, whoever else comes at the same time.
    ///
    /// # Errors
    /// There are as many.
    pub fn try_enter(self: &Arc<Self>, most: usize) -> Result<Caller, Crowded> {
        let take = |open| (open < most).then_some(open + 1);
        match self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => Ok(Caller { callers: Arc::clone(self), client: NOWHERE }),
            Err(_) => Err(Crowded::Listener),
        }
    }
}

impl Caller {
    /// Counts it as one of `client`'s, of which there may be `most`; false when there is no place to count it at.
    ///
    /// # Errors
    /// The client has as many.
    pub fn try_count(&mut self, client: IpAddr, most: usize) -> Result<bool, Crowded> {
        debug_assert!(self.client == NOWHERE, "a connection has one client");
        let Some(clients) = self.callers.clients.get() else { return Ok(false) };
        let hash = self.callers.hasher.hash_one(network(client));
        match clients.try_take(hash, most as u64) {
            Taken::Counted(at) => self.client = at,
            Taken::Refused => return Err(Crowded::Client),
            Taken::Untracked => {}
        }
        Ok(self.client != NOWHERE)
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        if let Some(clients) = self.callers.clients.get().filter(|_| self.client != NOWHERE) {
            clients.give_back(self.client);
        }
        let before = self.callers.open.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "a connection was counted out twice");
    }
}

/// Whom an address stands for: itself with IPv4, the network of 64 bits that one client usually has with IPv6.
fn network(client: IpAddr) -> (bool, u64) {
    match client.to_canonical() {
        IpAddr::V4(ip) => (false, u64::from(ip.to_bits())),
        IpAddr::V6(ip) => (true, (ip.to_bits() >> 64) as u64),
    }
}

#[cfg(test)]
mod tests;
