//! The ring of consistent hashing: a key stays with its endpoint whatever happens to the others.

use super::{Candidates, FULL_SHARE};

/// Points of an endpoint of weight 1, while [`POINTS_MAX`] leaves room for them.
const POINTS: u64 = 160;
/// Points of a ring (1 MiB of them) beyond which every endpoint has half, a quarter ... of its points, but at least one.
const POINTS_MAX: u64 = 128 * 1024;
/// Points from the key's on that may be passed over before a ramping endpoint is taken as it is.
const LOOKS: usize = 64;
/// Keeps the part of the keys that a ramping endpoint gets apart from their places on the ring.
const RAMP_SALT: u32 = 0x5bd1_e995;

/// The endpoints of a cluster as points on a circle of 2^32 hashes; immutable, compiled when a configuration is loaded.
///
/// An endpoint's points follow from its name alone, so the order of the endpoints does not matter and one more or
/// less moves only the keys it gains or loses. The hash is CRC-32 (ISO-HDLC); because that is linear, names that differ
/// in a digit would stand in step with one another, so its bits are mixed at the end.
#[derive(Debug)]
pub struct Ring {
    /// By hash.
    points: Box<[Point]>,
    /// Share of each endpoint at full ramp; 0 has no point.
    full_shares: Box<[u64]>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    hash: u32,
    endpoint: u32,
}

impl Ring {
    /// The ring of `(name, weight)` in the order of the candidates; a name is stable and the endpoint's own (`ip:port`).
    ///
    /// An endpoint of weight 0 has no points.
    pub fn new<'a>(endpoints: impl IntoIterator<Item = (&'a [u8], u32)>) -> Self {
        let endpoints: Vec<_> = endpoints.into_iter().collect();
        let wanted = endpoints.iter().map(|(_, weight)| u64::from(*weight) * POINTS).sum::<u64>();
        // Halving keeps the points that stay where they were, so keys move only when a bound is crossed.
        let halvings = wanted.div_ceil(POINTS_MAX).max(1).next_power_of_two().ilog2();
        let mut points = Vec::new();
        for ((name, weight), endpoint) in endpoints.iter().zip(0..).filter(|((_, weight), _)| *weight > 0) {
            let origin = Self::hash(name);
            let count = ((u64::from(*weight) * POINTS) >> halvings).max(1);
            points.extend((0..).take_while(|number| u64::from(*number) < count).map(|number| Point {
                // Not a sum: two endpoints whose origins are close would share most of their points.
                hash: mix(origin ^ mix(number)),
                endpoint,
            }));
        }
        let name = |point: &Point| endpoints[point.endpoint as usize].0;
        points.sort_unstable_by(|a, b| a.hash.cmp(&b.hash).then_with(|| name(a).cmp(name(b))));
        let full_share = |(_, weight): &(_, u32)| u64::from(*weight) * u64::from(FULL_SHARE);
        Self { points: points.into_boxed_slice(), full_shares: endpoints.iter().map(full_share).collect() }
    }

    /// The place of a key on the circle.
    pub fn hash(key: &[u8]) -> u32 {
        mix(crc32fast::hash(key))
    }

    /// The endpoints from the key's place on, once round; one comes as often as it has points.
    pub fn walk(&self, hash: u32) -> impl Iterator<Item = usize> + '_ {
        let (passed, ahead) = self.points.split_at(self.points.partition_point(|point| point.hash < hash));
        ahead.iter().chain(passed).map(|point| point.endpoint as usize)
    }

    /// The endpoint of a key, or the next one on the circle that takes it; `None` when none with a point is fit.
    ///
    /// A ramping endpoint takes the part of its keys that its share is of its full one, always the same ones and more
    /// as it ramps up. The others go on, but only so far that a lone endpoint at full share is not buried under them.
    pub(super) fn try_pick(&self, key: u32, candidates: &impl Candidates) -> Option<usize> {
        let count = candidates.count();
        let share = |at: usize| if at < count { candidates.share(at) } else { 0 };
        let mut passed_over = None;
        for at in self.walk(key).take(LOOKS) {
            let share = share(at);
            if self.takes(at, share, key) {
                return Some(at);
            }
            if share > 0 && passed_over.is_none() {
                passed_over = Some(at);
            }
        }
        if passed_over.is_some() {
            return passed_over;
        }
        // Without this, every request of a cluster that is down would walk the whole ring.
        if (0..count).all(|at| candidates.share(at) == 0) {
            return None;
        }
        self.walk(key).skip(LOOKS).find(|at| share(*at) > 0)
    }

    /// Whether an endpoint with this share takes the key that comes to it.
    fn takes(&self, at: usize, share: u32, key: u32) -> bool {
        let (share, full_share) = (u64::from(share), self.full_shares[at]);
        share > 0 && (share >= full_share || (u64::from(mix(key ^ RAMP_SALT)) * full_share) >> 32 < share)
    }
}

/// Spreads every bit over all of them; a bijection (the finaliser of `MurmurHash3`).
pub(super) const fn mix(mut bits: u32) -> u32 {
    bits = (bits ^ (bits >> 16)).wrapping_mul(0x85eb_ca6b);
    bits = (bits ^ (bits >> 13)).wrapping_mul(0xc2b2_ae35);
    bits ^ (bits >> 16)
}

#[cfg(test)]
mod tests;
