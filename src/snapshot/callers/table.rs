//! How many connections each client has, by a hash of who it is: a table of fixed size, without locks.

use super::WAYS;
use super::atomics::{AtomicU64, Ordering};
use crate::limits;

/// No entry.
pub(super) const NOWHERE: u32 = u32::MAX;
/// Bits of an entry: whose it is by a part of the hash, how often it was claimed, and how many connections there are.
pub(super) const COUNT: u64 = (1 << 20) - 1;
const STAMP: u64 = ((1 << 10) - 1) << 20;
const STAMP_ONE: u64 = 1 << 20;
pub(super) const TAG: u64 = !(COUNT | STAMP);
/// The count of an entry that is about to be somebody's.
const CLAIMED: u64 = COUNT;
/// Looks at a set that others keep changing, after which a connection is not counted.
const ROUNDS: usize = 64;

const _: () = assert!((limits::CONNECTIONS_PER_CLIENT_MAX as u64) < CLAIMED);
// The set is chosen by bits of the hash that the tag does not have.
const _: () = assert!((limits::CLIENT_SETS as u64) <= STAMP_ONE);

/// The table, in sets of a few entries. An entry of nobody's connections is free for whoever comes next.
///
/// A client has one entry at most. Whoever makes one claims it first, then looks at the rest of the set, and gives up for
/// one that is there, or takes the claim of another who is about to make one for the same client; only then it counts. Of
/// two at once the later claim sees the earlier one.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) words: Box<[AtomicU64]>,
}

/// What became of one more connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
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
    pub(super) fn new(sets: usize) -> Self {
        Self { words: std::iter::repeat_with(|| AtomicU64::new(0)).take(sets * WAYS).collect() }
    }

    /// One more of the client of this hash, who may have `most`.
    pub(super) fn try_take(&self, hash: u64, most: u64) -> Taken {
        let sets = (self.words.len() / WAYS) as u64;
        let first = usize::try_from(hash % sets).unwrap_or(0) * WAYS;
        for _ in 0..ROUNDS {
            if let Round::Over(taken) = self.look(first, hash & TAG, most) {
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

    /// One less in this entry.
    pub(super) fn give_back(&self, at: u32) {
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
