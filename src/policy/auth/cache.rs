//! Credentials that were verified, so that they need not be again while they hold.

use std::rc::Rc;

use super::identity::Identity;
use crate::limits;

/// Stands for a policy's rules and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Stamp(u128);

impl Stamp {
    /// The stamp of what this is the digest of, at least 16 bytes.
    #[must_use]
    pub fn of(digest: &[u8]) -> Self {
        Self(digest.first_chunk().map_or(0, |first| u128::from_le_bytes(*first)))
    }
}

/// Places in which one credential may stand.
const WAYS: usize = 4;
const SETS: usize = limits::AUTH_CACHE_ENTRIES / WAYS;

/// Verified credentials of one worker, in a table of fixed size: a new one takes the place of the one that ends first.
///
/// They are compared whole, so nothing has to be believed of a hash. The place is told by the last bytes, which are the end
/// of a signature or a digest: whoever cannot sign cannot choose them either. The stamp of the policy is compared as well: a
/// credential is known to the policy that verified it, and to nobody once a key or a rule has changed.
#[derive(Debug, Default)]
pub struct Cache {
    /// Empty until something is kept.
    entries: Vec<Option<Entry>>,
}

struct Entry {
    mark: u64,
    stamp: Stamp,
    /// When it was verified: a clock that was set back since says nothing of it.
    from_s: u64,
    until_s: u64,
    credential: Box<[u8]>,
    identity: Rc<Identity>,
}

impl core::fmt::Debug for Entry {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Entry").field("until_s", &self.until_s).finish_non_exhaustive()
    }
}

impl Cache {
    /// Whose credential this is, if the policy of `stamp` has verified it and it holds at `now_s`.
    #[must_use]
    pub fn find(&self, stamp: Stamp, credential: &[u8], now_s: u64) -> Option<&Rc<Identity>> {
        let mark = mark(credential);
        let entries = self.entries.get(places(mark))?;
        let entry = entries.iter().flatten().find(|entry| {
            let holds = entry.from_s <= now_s && now_s < entry.until_s;
            holds && entry.mark == mark && entry.stamp == stamp && *entry.credential == *credential
        })?;
        Some(&entry.identity)
    }

    /// Keeps what was verified until `until_s`; one that is too long is not kept.
    pub fn on_verified(&mut self, stamp: Stamp, credential: &[u8], until_s: u64, identity: Rc<Identity>, now_s: u64) {
        if credential.len() > limits::AUTH_CACHED_BYTES || until_s <= now_s {
            return;
        }
        if self.entries.is_empty() {
            self.entries.resize_with(SETS * WAYS, || None);
        }
        let mark = mark(credential);
        let entries = &mut self.entries[places(mark)];
        // An entry that has ended is as good as none.
        let ends = |entry: &Option<Entry>| entry.as_ref().map_or(0, |entry| entry.until_s);
        let same = entries.iter().position(|entry| {
            entry
                .as_ref()
                .is_some_and(|entry| entry.mark == mark && *entry.credential == *credential && entry.stamp == stamp)
        });
        let at = same.or_else(|| (0..WAYS).min_by_key(|at| ends(&entries[*at])));
        if let Some(at) = at {
            entries[at] = Some(Entry { mark, stamp, from_s: now_s, until_s, credential: credential.into(), identity });
        }
    }

    /// How many are kept, ended ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.iter().flatten().count()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The last bytes, mixed so that every one of them tells of the place.
#[allow(clippy::cast_possible_truncation, reason = "halves of a wider number")]
fn mark(credential: &[u8]) -> u64 {
    let mut last = [0; 16];
    let length = credential.len().min(16);
    last[..length].copy_from_slice(&credential[credential.len() - length..]);
    let last = u128::from_le_bytes(last);
    let (low, high) = (last as u64 ^ 0x9e37_79b9_7f4a_7c15, (last >> 64) as u64 ^ 0xd1b5_4a32_d192_ed03);
    let product = u128::from(low) * u128::from(high);
    product as u64 ^ (product >> 64) as u64
}

#[allow(clippy::cast_possible_truncation, reason = "any bits will do")]
fn places(mark: u64) -> core::ops::Range<usize> {
    let set = mark as usize % SETS;
    set * WAYS..(set + 1) * WAYS
}
