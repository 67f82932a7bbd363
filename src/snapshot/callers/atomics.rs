//! The atomics of the table of clients, named in one place: a model checker builds the same file over its own.

pub(super) use core::sync::atomic::{AtomicU64, Ordering};
