//! Which endpoint of a cluster serves a request, and the bookkeeping of idle connections to endpoints.
//!
//! Owns the balancers, the order and the limits of idle upstream connections, and the identities of
//! endpoints across reloads. Never does: I/O, reading a clock, drawing randomness, closing a connection
//! (what must be closed is handed back).
//!
//! Invariants: an identity names one endpoint for as long as any snapshot that knows it is in use; an
//! idle connection is in exactly one place and is handed out or handed back exactly once.

mod balance;
mod endpoints;
mod idle;
mod list;

pub use balance::RoundRobin;
pub use endpoints::{EndpointId, EndpointKey, EndpointRegistry, EndpointsFull};
pub use idle::{Idle, IdleLimits, Rested};
