//! Ringgate: an API gateway and edge proxy on one pinned io_uring reactor per core.
//!
//! The map, one line per room; ARCHITECTURE.md says who may import whom.

pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod control;
pub mod exchange;
pub mod http1;
pub mod http2;
pub mod limits;
pub mod net;
pub mod policy;
pub mod rng;
pub mod routing;
pub mod snapshot;
pub mod telemetry;
pub mod worker;
