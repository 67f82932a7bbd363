//! The types of `src/cluster` that cores share, compiled from their own files over loom's atomics.

mod cluster;
#[path = "../../../src/limits.rs"]
pub mod limits;

pub use cluster::*;
