//! Stands in for `src/snapshot/callers.rs`: the same names, other atomics, and sets of two.

mod atomics {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
}

#[path = "../../../src/snapshot/callers/table.rs"]
mod table;

const WAYS: usize = 2;

/// The table of clients.
#[derive(Debug)]
pub struct Clients(table::Clients);

/// What became of one more connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// Counted in this entry.
    Counted(u32),
    /// The client has as many as it may.
    Refused,
    /// There is no entry to count it in.
    Untracked,
}

impl Clients {
    /// One set.
    #[must_use]
    pub fn new() -> Self {
        Self(table::Clients::new(1))
    }

    /// One more connection of a client, who may have `most`.
    #[must_use]
    pub fn enter(&self, client: u64, most: u64) -> Entered {
        match self.0.try_take(hash(client), most) {
            table::Taken::Counted(at) => Entered::Counted(at),
            table::Taken::Refused => Entered::Refused,
            table::Taken::Untracked => Entered::Untracked,
        }
    }

    /// The end of a connection; nothing for one that was not counted.
    pub fn leave(&self, entered: Entered) {
        if let Entered::Counted(at) = entered {
            assert_ne!(at, table::NOWHERE);
            self.0.give_back(at);
        }
    }

    /// What the entries of a client count, one after the other; nothing is under way.
    #[must_use]
    pub fn counts(&self, client: u64) -> Vec<u64> {
        let words = self.0.words.iter().map(|word| word.load(atomics::Ordering::SeqCst));
        let own = words.filter(|word| word & table::TAG == hash(client) & table::TAG);
        own.map(|word| word & table::COUNT).filter(|count| *count > 0).collect()
    }
}

impl Default for Clients {
    fn default() -> Self {
        Self::new()
    }
}

/// All of one set, and told apart by what an entry has of it.
const fn hash(client: u64) -> u64 {
    client << 40
}
