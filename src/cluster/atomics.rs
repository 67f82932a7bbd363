//! The atomics of this room, named in one place: a model checker builds the same files over its own.

pub(super) use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
