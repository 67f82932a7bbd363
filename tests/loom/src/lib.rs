//! The types of `src/cluster`, `src/policy/limit` and `src/snapshot` that cores share, compiled from their own files over
//! loom's atomics.

pub mod callers;
mod cluster;
pub mod limit;
#[path = "../../../src/limits.rs"]
pub mod limits;

pub use cluster::*;
