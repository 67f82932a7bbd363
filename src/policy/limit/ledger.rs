//! What every key has used, for all workers: a table of fixed size, without locks.

use crossbeam_utils::CachePadded;

use super::WAYS;
use super::atomics::{AtomicU64, Ordering};
use super::rule::{Grant, Rule, counts_for_ns};
use super::word::{Key, Owner, State};

/// The table. A key has one set, and in it at most one entry.
///
/// When all entries of a set are in use, a new key takes the place of the one that is worth least: of those that have
/// something left the one whose time is over first, and only then one that has nothing left. So a flood of new keys
/// cannot wash out a client that is being refused, and whoever loses an entry is served again as if it were new.
#[derive(Debug)]
pub struct Ledger {
    sets: Box<[Set]>,
    stolen: CachePadded<AtomicU64>,
}

/// One set: two cache lines. In the first one are the ways that are taken first, so that a decision mostly touches one.
///
/// Entries come about in one order, that of `latest`. Who wants one evicts an owner (the state goes an era ahead), swaps
/// `latest` to the new owner and stores it at its way. Everybody else does that last step for it before looking, so a key
/// that is not found when `latest` has not changed is not there, and no key is ever there twice.
#[derive(Debug)]
#[repr(C, align(128))]
struct Set {
    latest: AtomicU64,
    ways: [Way; WAYS],
}

/// An owner, and what it has used.
#[derive(Debug)]
#[repr(C, align(16))]
struct Way {
    owner: AtomicU64,
    state: AtomicU64,
}

/// An entry that may be had, and what it is worth: those that are worth least come first.
struct Candidate {
    way: usize,
    owner: Owner,
    state: State,
    worth: (bool, u64),
}

impl Ledger {
    /// A ledger of at least `sets` sets of seven entries, 128 bytes each.
    #[must_use]
    pub fn new(sets: usize) -> Self {
        let sets = sets.max(1).next_power_of_two();
        Self { sets: (0..sets).map(|_| Set::new()).collect(), stolen: CachePadded::new(AtomicU64::new(0)) }
    }

    /// Up to `want` tokens of `rule` for `key`.
    pub fn charge(&self, key: Key, rule: &Rule, want: u32, now_ns: u64) -> Grant {
        let set = self.set(key);
        let form = rule.form();
        // Who comes round again does so because somebody else got on.
        loop {
            let latest = Owner(set.latest.load(Ordering::Acquire));
            set.settle(latest);
            let (way, owner) = match set.find(key, form) {
                Some(found) => found,
                None => match set.enter(latest, key, form, now_ns, &self.stolen) {
                    Some(entered) => entered,
                    None => continue,
                },
            };
            if let Some(grant) = set.charge(way, owner, rule, want, now_ns) {
                return grant;
            }
        }
    }

    /// Entries taken from keys that still counted, since the process began.
    #[must_use]
    pub fn stolen(&self) -> u64 {
        self.stolen.load(Ordering::Relaxed)
    }

    #[expect(clippy::cast_possible_truncation, reason = "fewer bits than a usize has are kept")]
    fn set(&self, key: Key) -> &Set {
        &self.sets[key.place as usize & (self.sets.len() - 1)]
    }
}

impl Set {
    fn new() -> Self {
        Self {
            latest: AtomicU64::new(0),
            ways: std::array::from_fn(|_| Way { owner: AtomicU64::new(0), state: AtomicU64::new(0) }),
        }
    }

    /// Stores the latest owner at its way, unless that has been done.
    fn settle(&self, latest: Owner) {
        let word = &self.ways[latest.way() % WAYS].owner;
        let seen = Owner(word.load(Ordering::Acquire));
        if seen != latest && seen.precedes(latest) {
            // Who fails here finds it done.
            let _ = word.compare_exchange(seen.0, latest.0, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    fn find(&self, key: Key, form: u8) -> Option<(usize, Owner)> {
        (0..WAYS).find_map(|way| {
            let owner = Owner(self.ways[way].owner.load(Ordering::Acquire));
            (owner.is(key, form) && self.state(way).belongs_to(owner)).then_some((way, owner))
        })
    }

    fn state(&self, way: usize) -> State {
        State(self.ways[way].state.load(Ordering::Acquire))
    }

    /// Makes an entry for a key that had none at `latest`; `None`: somebody else changed the set.
    fn enter(&self, latest: Owner, key: Key, form: u8, now_ns: u64, stolen: &AtomicU64) -> Option<(usize, Owner)> {
        let Candidate { way, owner, state, worth } = self.least(latest, now_ns)?;
        if state.belongs_to(owner) {
            // Somebody may have made the entry in what was the last free way, so that now none seems to be.
            if self.latest.load(Ordering::Acquire) != latest.0 {
                return None;
            }
            // What the owner uses from here on it uses elsewhere.
            self.swap_state(way, state, State::after(owner))?;
            if worth.1 > 0 {
                stolen.fetch_add(1, Ordering::Relaxed);
            }
        }
        let next = owner.succeeded_by(key, form, way);
        self.latest.compare_exchange(latest.0, next.0, Ordering::AcqRel, Ordering::Relaxed).ok()?;
        self.settle(next);
        Some((way, next))
    }

    /// The entry that is worth least; a free one is worth nothing. Of equals that which was had longest ago, so that keys
    /// whose amounts count for a moment only do not push each other out while there is room.
    fn least(&self, latest: Owner, now_ns: u64) -> Option<Candidate> {
        (1..=WAYS)
            .map(|step| (latest.way() + step) % WAYS)
            .map(|way| {
                let owner = Owner(self.ways[way].owner.load(Ordering::Acquire));
                let state = self.state(way);
                let counts_for_ns =
                    if state.belongs_to(owner) { counts_for_ns(owner.form(), state.amount(), now_ns) } else { 0 };
                Candidate { way, owner, state, worth: (state.is_spent() && counts_for_ns > 0, counts_for_ns) }
            })
            .min_by_key(|candidate| candidate.worth)
    }

    /// Takes up to `want` tokens of the entry at `way`; `None` when it is not `owner`'s any more.
    fn charge(&self, way: usize, owner: Owner, rule: &Rule, want: u32, now_ns: u64) -> Option<Grant> {
        let mut state = self.state(way);
        while state.belongs_to(owner) {
            let (grant, amount) = rule.charge(state.amount(), want, now_ns);
            // Who gets nothing changes nothing, so a flood of refused requests writes no shared line. But a bucket that another
            // rule left emptier than this one can be fills up from now on, not when that other one would have begun to.
            let is_cut = rule.is_bucket() && amount != state.amount();
            if grant.granted == 0 && !is_cut
                || self.swap_state(way, state, state.with(amount, grant.remaining == 0)).is_some()
            {
                return Some(grant);
            }
            state = self.state(way);
        }
        None
    }

    fn swap_state(&self, way: usize, from: State, to: State) -> Option<()> {
        self.ways[way].state.compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Relaxed).ok().map(|_| ())
    }
}

#[cfg(test)]
mod tests;
