//! Passwords that were tried and are wrong, so that trying the same again costs little.

use super::cache::Stamp;
use crate::limits;

/// Credentials that were refused, of one worker: in a table of fixed size, one in each place, the last one that came there.
#[derive(Debug, Default)]
pub struct Refused {
    /// Empty until something is kept.
    entries: Vec<(Stamp, Proof, u64)>,
}

/// Stands for credentials: their SHA-256.
pub type Proof = [u8; 32];

impl Refused {
    /// Whether the policy of `stamp` has refused these credentials a short while ago.
    #[must_use]
    pub fn has(&self, stamp: Stamp, proof: &Proof, now_s: u64) -> bool {
        let entry = self.entries.get(place(proof));
        entry.is_some_and(|(known, other, until_s)| *known == stamp && other == proof && now_s < *until_s)
    }

    /// They were refused at `now_s`.
    pub fn on_refused(&mut self, stamp: Stamp, proof: Proof, now_s: u64) {
        if self.entries.is_empty() {
            self.entries.resize_with(limits::REFUSED_ENTRIES, Default::default);
        }
        self.entries[place(&proof)] = (stamp, proof, now_s + limits::REFUSED_S);
    }
}

fn place(proof: &Proof) -> usize {
    usize::from(u16::from_le_bytes([proof[0], proof[1]])) % limits::REFUSED_ENTRIES
}
