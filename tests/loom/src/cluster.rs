//! Stands in for `src/cluster/mod.rs`: the same names, other atomics.

mod atomics {
    pub(super) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
}

#[path = "../../../src/cluster/fleet/mod.rs"]
mod fleet;
#[path = "../../../src/cluster/part.rs"]
mod part;
#[path = "../../../src/cluster/state.rs"]
mod state;

/// An endpoint by its number, as in `src/cluster/endpoints.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub u32);

pub use fleet::*;
pub use part::{Cap, Part};
pub use state::{ClusterState, Ticket};
