//! Seeded choices, and patterns that tell whose bytes are whose.

use std::cell::Cell;

/// A stream of choices; the same seed gives the same ones.
pub(crate) struct Chance {
    state: Cell<u64>,
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: Cell::new(mix(seed ^ 0x5eed)) }
    }

    /// A stream of its own, so that choices here do not change those there.
    pub(crate) fn fork(&self) -> Self {
        Self::new(self.next())
    }

    pub(crate) fn next(&self) -> u64 {
        self.state.set(self.state.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        mix(self.state.get())
    }

    /// 0 to `n - 1`.
    pub(crate) fn below(&self, n: usize) -> usize {
        if n == 0 { 0 } else { usize::try_from(self.next() % n as u64).expect("below n") }
    }

    pub(crate) fn below_u64(&self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.next() % n }
    }

    pub(crate) fn one_in(&self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Copy>(&self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Content that only the owner of `name` has.
pub(crate) fn pattern(name: &str, length: usize) -> Vec<u8> {
    let chance = Chance::new(hash(name));
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&chance.next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(7, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)))
}
