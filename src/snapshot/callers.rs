//! Who is connected to a listener, over all workers and epochs: what its caps on connections are exact by.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crossbeam_utils::CachePadded;

use crate::limits;

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
}

/// One connection among those of its listener, until it is dropped.
#[derive(Debug)]
pub struct Caller {
    callers: Arc<Callers>,
    /// Where its client is counted, or [`NOWHERE`].
    client: u32,
}

const NOWHERE: u32 = u32::MAX;

impl Callers {
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
        match clients.try_take(client, most) {
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

/// The callers of every listener by name, for as long as it is configured or somebody is connected.
#[derive(Default)]
pub(super) struct Lists(HashMap<String, Arc<Callers>>);

impl Lists {
    /// Those of the listener `name`; with a place for its clients if they are to be counted.
    pub(super) fn of(&mut self, name: &str, per_client: bool) -> Arc<Callers> {
        let callers = self.0.entry(name.to_owned()).or_default();
        if per_client {
            callers.clients.get_or_init(|| Clients::new(limits::CLIENT_SETS));
        }
        Arc::clone(callers)
    }

    /// Forgets those whom nobody uses any more.
    pub(super) fn forget_unused(&mut self) {
        self.0.retain(|_, callers| Arc::strong_count(callers) > 1);
    }
}

/// Entries of one set.
const WAYS: usize = 16;
/// Bits of an entry: whose it is by a part of the hash, how often it was claimed, and how many connections there are.
const COUNT: u64 = (1 << 20) - 1;
const STAMP: u64 = ((1 << 10) - 1) << 20;
const STAMP_ONE: u64 = 1 << 20;
const TAG: u64 = !(COUNT | STAMP);
/// The count of an entry that is about to be somebody's.
const CLAIMED: u64 = COUNT;
/// Looks at a set that others keep changing, after which a connection is not counted.
const ROUNDS: usize = 64;

const _: () = assert!((limits::CONNECTIONS_PER_CLIENT_MAX as u64) < CLAIMED);
// The set is chosen by bits of the hash that the tag does not have.
const _: () = assert!((limits::CLIENT_SETS as u64) <= STAMP_ONE);

/// How many connections each client has: a table of fixed size, in sets of a few entries, by a keyed hash that nobody
/// outside can aim at. An entry of nobody's connections is free for whoever comes next.
///
/// A client has one entry at most. Whoever makes one claims it first, then looks at the rest of the set, and gives up for
/// one that is there, or takes the claim of another who is about to make one for the same client; only then it counts. Of
/// two at once the later claim sees the earlier one.
#[derive(Debug)]
struct Clients {
    hasher: RandomState,
    words: Box<[AtomicU64]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    /// In this entry.
    Counted(u32),
    /// There are as many as there may be.
    Refused,
    /// All entries of its set are of others.
    Untracked,
}

/// What one look at a set came to.
enum Round {
    Over(Taken),
    /// The set changed meanwhile.
    Again,
}

impl Clients {
    fn new(sets: usize) -> Self {
        let words = std::iter::repeat_with(AtomicU64::default).take(sets * WAYS).collect();
        Self { hasher: RandomState::new(), words }
    }

    fn try_take(&self, client: IpAddr, most: usize) -> Taken {
        let hash = self.hasher.hash_one(network(client));
        let sets = (self.words.len() / WAYS) as u64;
        let first = usize::try_from(hash % sets).unwrap_or(0) * WAYS;
        for _ in 0..ROUNDS {
            if let Round::Over(taken) = self.look(first, hash & TAG, most as u64) {
                return taken;
            }
        }
        Taken::Untracked
    }

    fn look(&self, first: usize, tag: u64, most: u64) -> Round {
        let set = &self.words[first..first + WAYS];
        let mut free = None;
        for (way, word) in set.iter().enumerate() {
            let seen = word.load(Ordering::SeqCst);
            match seen & COUNT {
                0 => free = free.or(Some((way, seen))),
                CLAIMED => {}
                _ if seen & TAG == tag => return add(word, seen, most, first + way),
                _ => {}
            }
        }
        let Some((way, seen)) = free else { return Round::Over(Taken::Untracked) };
        claim(set, way, seen, tag, first)
    }

    fn give_back(&self, at: u32) {
        let before = self.words[at as usize].fetch_sub(1, Ordering::SeqCst);
        debug_assert!(!matches!(before & COUNT, 0 | CLAIMED), "a connection was given back twice");
    }
}

/// One more in an entry of its client.
fn add(word: &AtomicU64, mut seen: u64, most: u64, at: usize) -> Round {
    let entry = seen & !COUNT;
    loop {
        if seen & COUNT >= most {
            return Round::Over(Taken::Refused);
        }
        match word.compare_exchange_weak(seen, seen + 1, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => return Round::Over(counted(at)),
            Err(now) if now & !COUNT != entry || matches!(now & COUNT, 0 | CLAIMED) => return Round::Again,
            Err(now) => seen = now,
        }
    }
}

/// A first connection in a free entry, `seen` as it was.
fn claim(set: &[AtomicU64], way: usize, seen: u64, tag: u64, first: usize) -> Round {
    let entry = tag | (seen.wrapping_add(STAMP_ONE) & STAMP);
    let swap = |word: &AtomicU64, from, to| word.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok();
    if !swap(&set[way], seen, entry | CLAIMED) {
        return Round::Again;
    }
    for (other, word) in set.iter().enumerate() {
        let seen = word.load(Ordering::SeqCst);
        if other == way || seen & TAG != tag || seen & COUNT == 0 {
            continue;
        }
        if seen & COUNT != CLAIMED || !swap(word, seen, seen & !COUNT) {
            // It is there already. Whoever took our claim has freed it.
            swap(&set[way], entry | CLAIMED, entry);
            return Round::Again;
        }
    }
    if swap(&set[way], entry | CLAIMED, entry | 1) { Round::Over(counted(first + way)) } else { Round::Again }
}

fn counted(at: usize) -> Taken {
    Taken::Counted(u32::try_from(at).unwrap_or(NOWHERE))
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
