//! The only source of randomness: one cryptographic generator per worker.
//!
//! Owns: `ChaCha12` seeded from the kernel, or from a number when a simulation must be replayed.
//! Never: a shared generator, a lock, a system call after seeding.
//! Invariants: request identifiers come from `from_os` in a running gateway; `from_seed` is for simulations.

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng as _, SeedableRng};

/// A cryptographically secure generator owned by one worker.
#[derive(Debug)]
pub struct Rng {
    core: ChaCha12Rng,
}

impl Rng {
    /// Seeds from the kernel; fails only when the kernel has no entropy source to offer.
    ///
    /// # Errors
    /// The failure of `getrandom`.
    pub fn from_os() -> std::io::Result<Self> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(std::io::Error::other)?;
        Ok(Self { core: ChaCha12Rng::from_seed(seed) })
    }

    /// Seeds from a number, so that a simulation can be replayed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self { core: ChaCha12Rng::seed_from_u64(seed) }
    }

    /// 64 random bits.
    pub fn u64(&mut self) -> u64 {
        self.core.next_u64()
    }

    /// A uniform number in `0..n`, and 0 when `n` is 0 (multiply and reject, so without modulo bias).
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 {
            return 0;
        }
        loop {
            let product = u128::from(self.u64()) * u128::from(n);
            // The low words under `2^64 mod n` are those that would make some results likelier than others.
            if u128_low(product) >= n.wrapping_neg() % n {
                return u128_high(product);
            }
        }
    }

    /// 64 random bits, not all of them 0.
    pub fn id64(&mut self) -> [u8; 8] {
        self.u64().max(1).to_be_bytes()
    }

    /// 128 random bits, not all of them 0.
    pub fn id128(&mut self) -> [u8; 16] {
        let mut bits = [0; 16];
        self.core.fill_bytes(&mut bits);
        if bits == [0; 16] { [1; 16] } else { bits }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
const fn u128_low(value: u128) -> u64 {
    value as u64
}

const fn u128_high(value: u128) -> u64 {
    (value >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_another_seed_others() {
        let mut a = Rng::from_seed(7);
        let mut b = Rng::from_seed(7);
        let mut c = Rng::from_seed(8);
        let first: Vec<u64> = (0..8).map(|_| a.u64()).collect();
        assert_eq!(first, (0..8).map(|_| b.u64()).collect::<Vec<_>>());
        assert_ne!(first, (0..8).map(|_| c.u64()).collect::<Vec<_>>());
    }

    #[test]
    fn two_generators_of_the_kernel_differ() {
        assert_ne!(Rng::from_os().unwrap().id128(), Rng::from_os().unwrap().id128());
    }

    #[test]
    fn below_stays_below_and_reaches_every_value() {
        let mut rng = Rng::from_seed(1);
        let mut seen = [0u32; 7];
        for _ in 0..7_000 {
            seen[usize::try_from(rng.below(7)).unwrap()] += 1;
        }
        assert!(seen.iter().all(|count| (800..1_200).contains(count)), "{seen:?}");
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.below(1), 0);
        assert!(rng.below(u64::MAX) < u64::MAX);
    }
}
