//! Which endpoint of a cluster serves a request, and the bookkeeping of idle connections to endpoints.
//!
//! Owns the balancers, the order and the limits of idle upstream connections, and the identities of
//! endpoints across reloads. Never does: I/O, reading a clock, drawing randomness, closing a connection
//! (what must be closed is handed back).
//!
//! Invariants: an identity names one endpoint for as long as any snapshot that knows it is in use; an
//! idle connection is in exactly one place and is handed out or handed back exactly once.

mod atomics;
mod balance;
mod budget;
mod carriers;
mod endpoints;
mod fleet;
mod health;
mod idle;
mod inflight;
mod list;
mod part;
mod passed_over;
mod state;
mod tier;

pub use balance::{Balancer, Candidates, Ring, Split, Strategy};
pub use budget::{RetryBudget, backoff_ms};
pub use carriers::Carriers;
pub use endpoints::{EndpointId, EndpointKey, EndpointRegistry, EndpointsFull};
pub use fleet::{
    BreakerPolicy, BreakerState, BreakerView, Cell, Fitness, Fleet, Now, Outcome, Pass, PassivePolicy, Probe, Slot,
    Transition, Unfit, fitness, fitness_at_last, truth_table,
};
pub use health::HealthCount;
pub use idle::{Idle, IdleCaps, IdleLimits, Rested, Siblings};
pub use inflight::InFlightView;
pub use list::{Link, List, NONE};
pub use part::{Cap, Part};
pub use passed_over::PassedOver;
pub use state::{ClusterState, Ticket};
pub use tier::TierGate;
