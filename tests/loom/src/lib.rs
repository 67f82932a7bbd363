//! The types of `src/cluster` and `src/policy/limit` that cores share, compiled from their own files over loom's atomics.

mod cluster;
pub mod limit;
#[path = "../../../src/limits.rs"]
pub mod limits;

pub use cluster::*;
