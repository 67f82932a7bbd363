//! A read-only hash table from (scope, bytes) to a small value: one probe, one comparison, one cache line.
//!
//! Callers compute the fingerprint of a key, piece by piece where they need those of its prefixes. No
//! two keys of a table share a fingerprint (the seed is chosen so at load), hence a probe finds at most one
//! candidate, and it is the right one unless the key looked for is not in the table.

use core::num::NonZeroU32;

use super::hash;

/// Bytes of a key kept beside its fingerprint; a longer key costs a second cache line.
const INLINE_BYTES: usize = 28;

/// One key with its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key<'a, V> {
    pub(super) scope: u32,
    pub(super) text: &'a [u8],
    pub(super) value: V,
}

/// A place in a table, as long as the table lives; counted from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(NonZeroU32);

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Cell<V> {
    /// Zero in an empty cell.
    print: u64,
    scope: u32,
    len: u32,
    /// The key, or where in the table's text it begins when it is too long.
    inline: [u8; INLINE_BYTES],
    value: V,
}

/// The table.
#[derive(Debug)]
pub(super) struct Index<V> {
    cells: Box<[Cell<V>]>,
    text: Vec<u8>,
    seed: u64,
}

/// How a table's keys are hashed: (seed, scope, bytes) to a fingerprint.
pub(super) type Print = fn(u64, u32, &[u8]) -> u64;

impl<V: Copy + Default> Index<V> {
    /// A table of distinct keys.
    pub(super) fn new(keys: &[Key<'_, V>], print: Print) -> Self {
        const { assert!(size_of::<Cell<V>>() == 64, "a cell is one cache line") };
        let seeds = 0_u64..;
        let mut filled = seeds.filter_map(|seed| Self::try_new(keys, print, seed));
        filled.next().expect("some seed gives different keys different fingerprints")
    }

    /// Places all keys, or refuses when two of them have the same fingerprint under this seed.
    fn try_new(keys: &[Key<'_, V>], print: Print, seed: u64) -> Option<Self> {
        // At most half full: a search for an absent key ends after one or two cells.
        let size = (keys.len() * 2).next_power_of_two();
        let empty = Cell { print: 0, scope: 0, len: 0, inline: [0; INLINE_BYTES], value: V::default() };
        let mut cells = vec![empty; size].into_boxed_slice();
        let mut text = Vec::new();
        for key in keys {
            let print = print(seed, key.scope, key.text).max(1);
            let mut at = hash::place(print, size - 1);
            while cells[at].print != 0 {
                if cells[at].print == print {
                    return None;
                }
                at = (at + 1) & (size - 1);
            }
            let (scope, len, value) = (key.scope, narrow(key.text.len()), key.value);
            cells[at] = Cell { print, scope, len, inline: keep(key.text, &mut text), value };
        }
        Some(Self { cells, text, seed })
    }

    /// What fingerprints of this table begin with.
    pub(super) const fn seed(&self) -> u64 {
        self.seed
    }

    /// The one candidate for a fingerprint; its bytes are still to be compared.
    #[inline]
    pub(super) fn probe(&self, print: u64, scope: u32) -> Option<Slot> {
        let (print, mask) = (print.max(1), self.cells.len() - 1);
        let mut at = hash::place(print, mask);
        loop {
            let cell = &self.cells[at];
            if cell.print == print {
                return if cell.scope == scope { Some(slot(at)) } else { None };
            }
            if cell.print == 0 {
                return None;
            }
            at = (at + 1) & mask;
        }
    }

    /// The scope at a place.
    pub(super) fn scope(&self, slot: Slot) -> u32 {
        self.cell(slot).scope
    }

    /// The value at a place.
    #[inline]
    pub(super) fn value(&self, slot: Slot) -> &V {
        &self.cell(slot).value
    }

    /// Changes the value at a place; only while compiling.
    pub(super) fn set(&mut self, slot: Slot, value: V) {
        self.cells[slot.0.get() as usize - 1].value = value;
    }

    /// The bytes of the key at a place.
    #[inline]
    pub(super) fn text(&self, slot: Slot) -> &[u8] {
        let cell = self.cell(slot);
        let len = cell.len as usize;
        if let Some(text) = cell.inline.get(..len) {
            return text;
        }
        let [a, b, c, d, ..] = cell.inline;
        &self.text[u32::from_le_bytes([a, b, c, d]) as usize..][..len]
    }

    /// The occupied places.
    pub(super) fn slots(&self) -> Vec<Slot> {
        let occupied = self.cells.iter().enumerate().filter(|(_, cell)| cell.print != 0);
        occupied.map(|(at, _)| slot(at)).collect()
    }

    #[inline]
    fn cell(&self, slot: Slot) -> &Cell<V> {
        &self.cells[slot.0.get() as usize - 1]
    }
}

/// The inline part of a key; a key too long for it goes to `text`.
fn keep(key: &[u8], text: &mut Vec<u8>) -> [u8; INLINE_BYTES] {
    let mut inline = [0; INLINE_BYTES];
    if let Some(place) = inline.get_mut(..key.len()) {
        place.copy_from_slice(key);
    } else {
        inline[..4].copy_from_slice(&narrow(text.len()).to_le_bytes());
        text.extend_from_slice(key);
    }
    inline
}

fn slot(at: usize) -> Slot {
    Slot(NonZeroU32::MIN.saturating_add(narrow(at)))
}

/// A count of something in a configuration.
#[inline]
pub(super) fn narrow(count: usize) -> u32 {
    u32::try_from(count).expect("a configuration has far fewer than 2^32 bytes")
}
