//! The atomics of the ledger, named in one place: a model checker builds the same files over its own.

pub(super) use core::sync::atomic::{AtomicU64, Ordering};
