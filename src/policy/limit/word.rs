//! The two words of an entry, and the key that they belong to.
//!
//! | owner | bits | state | bits |
//! |---|---|---|---|
//! | print of the key | 50 | amount, in the form of the rule | 58 |
//! | form of the amount | 6 | nothing is left | 1 |
//! | era | 5 | era | 5 |
//! | way | 3 | | |
//!
//! An era is one owner's time at a way. A state belongs to the owner whose era it bears; one that is an era ahead says
//! that the owner has been evicted and the way is free.

/// Bits of an amount.
pub(super) const AMOUNT_BITS: u32 = 58;
/// The greatest amount.
pub(super) const AMOUNT_MASK: u64 = (1 << AMOUNT_BITS) - 1;

const SPENT: u64 = 1 << AMOUNT_BITS;
const ERA_AT: u32 = AMOUNT_BITS + 1;
const ERA_MASK: u64 = 31;
const WAY_BITS: u32 = 3;
const WAY_MASK: u64 = 7;
const FORM_AT: u32 = 8;
const FORM_MASK: u64 = 63;
const PRINT_AT: u32 = 14;
const PRINT_MASK: u64 = (1 << 50) - 1;

/// A key of a policy as the ledger knows it: a hash that nobody outside can aim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Where its set is.
    pub(super) place: u64,
    /// What tells it from the others of its set; never 0, which no way begins with.
    print: u64,
}

impl Key {
    /// From 128 bits of a keyed hash.
    #[must_use]
    pub fn from_hash(place: u64, print: u64) -> Self {
        Self { place, print: (print & PRINT_MASK).max(1) }
    }
}

/// Whose a way is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner(pub(super) u64);

impl Owner {
    /// The next owner of `way`, which is `self`'s.
    pub(super) const fn succeeded_by(self, key: Key, form: u8, way: usize) -> Self {
        let era = (self.era() + 1) & ERA_MASK;
        Self(key.print << PRINT_AT | (form as u64) << FORM_AT | era << WAY_BITS | way as u64)
    }

    pub(super) const fn is(self, key: Key, form: u8) -> bool {
        self.0 >> FORM_AT == key.print << (PRINT_AT - FORM_AT) | form as u64
    }

    pub(super) const fn era(self) -> u64 {
        self.0 >> WAY_BITS & ERA_MASK
    }

    pub(super) const fn way(self) -> usize {
        (self.0 & WAY_MASK) as usize
    }

    pub(super) const fn form(self) -> u8 {
        (self.0 >> FORM_AT & FORM_MASK) as u8
    }

    /// Is `self` the owner right before `next` at the same way?
    pub(super) const fn precedes(self, next: Self) -> bool {
        (self.era() + 1) & ERA_MASK == next.era()
    }
}

/// What an owner has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State(pub(super) u64);

impl State {
    pub(super) const fn amount(self) -> u64 {
        self.0 & AMOUNT_MASK
    }

    /// Had its owner nothing left when it was written?
    pub(super) const fn is_spent(self) -> bool {
        self.0 & SPENT != 0
    }

    pub(super) const fn belongs_to(self, owner: Owner) -> bool {
        self.0 >> ERA_AT == owner.era()
    }

    pub(super) const fn with(self, amount: u64, is_spent: bool) -> Self {
        let spent = if is_spent { SPENT } else { 0 };
        Self(self.0 >> ERA_AT << ERA_AT | spent | amount & AMOUNT_MASK)
    }

    /// Nothing used, by the owner after `owner`.
    pub(super) const fn after(owner: Owner) -> Self {
        Self(((owner.era() + 1) & ERA_MASK) << ERA_AT)
    }
}
