//! Stands in for `src/policy/limit/mod.rs`: the same names, other atomics, and sets of two.

mod atomics {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
}

#[path = "../../../src/policy/limit/bucket.rs"]
mod bucket;
#[path = "../../../src/policy/limit/ledger.rs"]
mod ledger;
#[path = "../../../src/policy/limit/rule.rs"]
mod rule;
#[path = "../../../src/policy/limit/shard.rs"]
mod shard;
#[path = "../../../src/policy/limit/window.rs"]
mod window;
#[path = "../../../src/policy/limit/word.rs"]
mod word;

pub use ledger::Ledger;
pub use rule::{Decision, Grant, Rule};
pub use shard::Shard;
pub use word::Key;

const WAYS: usize = 2;
