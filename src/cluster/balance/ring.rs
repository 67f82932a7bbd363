//! A ring of hashes: a key keeps its endpoint while others come and go (Karger et al. 1997).

/// Points of an endpoint of weight 1.
const POINTS: u32 = 160;
/// Most points of a ring; above it every endpoint gets fewer.
const POINTS_MAX: u64 = 1 << 20;

/// Points by hash, compiled once per snapshot; CRC32, virtual nodes, binary search.
#[derive(Debug)]
pub struct Ring {
    points: Vec<(u32, u32)>,
}

impl Ring {
    /// A ring of endpoints by their places, each with a name that does not depend on the others and a weight; weight 0
    /// has no points.
    ///
    /// An endpoint's points depend on its name and weight alone: without one of n endpoints only its keys move.
    #[must_use]
    pub fn new<'a>(endpoints: impl IntoIterator<Item = (&'a [u8], u32)>) -> Self {
        let endpoints: Vec<_> = endpoints.into_iter().collect();
        let wanted: u64 = endpoints.iter().map(|(_, weight)| u64::from(*weight) * u64::from(POINTS)).sum();
        let scale = wanted.div_ceil(POINTS_MAX).max(1);
        let mut points = Vec::new();
        for (at, (name, weight)) in (0_u32..).zip(&endpoints) {
            let count = u64::from(*weight) * u64::from(POINTS) / scale;
            // However many there are, an endpoint with a weight is somewhere.
            let count = if *weight > 0 { count.max(1) } else { 0 };
            for node in 0..count {
                let mut crc = crc32fast::Hasher::new();
                crc.update(name);
                crc.update(&node.to_le_bytes());
                points.push((mixed(crc.finalize()), at));
            }
        }
        // Of two endpoints at one point the first wins, in whatever order they were added.
        points.sort_unstable();
        Self { points }
    }

    /// The place of a key on the ring.
    #[must_use]
    pub fn hash(key: &[u8]) -> u32 {
        mixed(crc32fast::hash(key))
    }

    /// The endpoints from a hash on, all the way around; an endpoint occurs once for each of its points.
    pub fn walk(&self, hash: u32) -> impl Iterator<Item = usize> + '_ {
        let begin = self.points.partition_point(|(point, _)| *point < hash);
        self.points[begin..].iter().chain(&self.points[..begin]).map(|(_, at)| *at as usize)
    }
}

/// CRC32 is linear: names that differ in few bits lie in patterns. The finaliser of `MurmurHash3` breaks them up.
const fn mixed(mut hash: u32) -> u32 {
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}
