//! The hash of the lookup tables: unkeyed, because a table verifies what it finds by its bytes and its
//! contents come from the configuration, so a peer can neither fake a hit nor lengthen a chain.

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

#[expect(clippy::cast_possible_truncation, reason = "takes both halves of the product")]
const fn fold(state: u64) -> u64 {
    let product = state as u128 * MULTIPLIER as u128;
    product as u64 ^ (product >> 64) as u64
}

/// The state before the first piece of a key.
pub(super) const fn begin(seed: u64, scope: u32) -> u64 {
    fold(seed ^ ((scope as u64) << 32) ^ 0xa076_1d64_78bd_642f)
}

/// The state after one more piece; `"ab"` and `"a"` then `"b"` differ.
#[inline]
pub(super) fn mix(mut state: u64, piece: &[u8]) -> u64 {
    let (words, rest) = piece.as_chunks();
    for word in words {
        state = fold(state ^ u64::from_le_bytes(*word));
    }
    finish(state, rest, piece.len())
}

/// What [`mix`] gives for the bytes of an iterator.
pub(super) fn mix_each(mut state: u64, piece: impl Iterator<Item = u8>) -> u64 {
    let (mut word, mut len) = ([0; 8], 0);
    for byte in piece {
        word[len % 8] = byte;
        len += 1;
        if len % 8 == 0 {
            state = fold(state ^ u64::from_le_bytes(word));
        }
    }
    finish(state, &word[..len % 8], len)
}

/// Adds the last bytes and the length of a piece.
#[inline]
fn finish(state: u64, rest: &[u8], len: usize) -> u64 {
    // Overlapping reads are faster than one byte at a time; the length tells apart what they make equal.
    let tail = match (rest, rest.first_chunk(), rest.last_chunk()) {
        (_, Some(low), Some(high)) => u64::from(u32::from_le_bytes(*low)) | u64::from(u32::from_le_bytes(*high)) << 32,
        ([first, ..], _, _) => {
            let middle = u64::from(rest[rest.len() / 2]);
            let last = u64::from(rest[rest.len() - 1]);
            u64::from(*first) | middle << 8 | last << 16
        }
        _ => 0,
    };
    fold(state.rotate_left(23) ^ tail ^ (len as u64).wrapping_mul(0xe703_7ed1_a0b4_28db))
}

/// The slot a hash begins to look at in a table of `mask + 1` slots.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the mask keeps fewer bits than a usize has")]
pub(super) const fn place(print: u64, mask: usize) -> usize {
    print as usize & mask
}
