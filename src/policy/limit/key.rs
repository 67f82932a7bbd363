//! From what identifies a client to a key of the ledger.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

use super::word::Key;

/// The secret of one process, without which nobody can tell which keys meet in a set.
#[derive(Clone, Copy)]
pub struct KeySeed([u8; 16]);

impl KeySeed {
    /// From 128 random bits.
    #[must_use]
    pub const fn new(bits: [u8; 16]) -> Self {
        Self(bits)
    }

    /// The key of `value`, which is of the kind `source`, under the policy `policy`.
    ///
    /// The numbers are the same after a reload, and so is the key.
    #[must_use]
    pub fn key(&self, policy: u64, source: u64, value: &[u8]) -> Key {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write_u64(policy);
        hasher.write_u64(source);
        hasher.write(value);
        let hash = hasher.finish128();
        Key::from_hash(hash.h1, hash.h2)
    }

    /// A number for a name that the configuration gives.
    #[must_use]
    pub fn number(&self, name: &str) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write(name.as_bytes());
        hasher.finish128().h1
    }
}

impl std::fmt::Debug for KeySeed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("KeySeed(secret)")
    }
}
