//! Rate limits: how many requests of one key may pass in a span of time.
//!
//! Owns the two algorithms ([`Rule`]), the table of what has been used that all workers share ([`Ledger`]), and what one
//! worker may pass without asking it ([`Shard`]). Never: a lock, an allocation in a decision, a wall clock.
//!
//! Invariants: no more passes than a rule allows, whoever asks at once. Below [`crate::limits::RATE_LEASE_SHARE`] times the
//! number of workers nothing less passes either; above it, what is lost is bounded by 2.5 % of the limit. Memory is fixed:
//! an entry whose time is over is a free one, and a full set loses the entry that is worth least.

mod atomics;
mod bucket;
mod fields;
mod key;
mod lease;
mod ledger;
mod limiter;
mod rule;
mod shard;
mod store;
mod window;
mod word;

pub use fields::DecisionLines;
pub use key::KeySeed;
pub use lease::{Leases, Taken};
pub use ledger::Ledger;
pub use limiter::{KeyFrom, Keys, Limiter, Limits, Shared};
pub use rule::{Decision, Grant, Rule};
pub use shard::Shard;
pub use store::{Algorithm, Charge, Granted, OnStoreError, StoreError};
pub use word::Key;

/// Entries of one set of the ledger: with their states and the word that orders them, two cache lines.
const WAYS: usize = 7;
