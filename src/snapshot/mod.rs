//! Snapshot: the configuration as a worker reads it, immutable, one per epoch.
//!
//! Owns: the compiled tables, compiling them from a checked configuration, and publishing them by
//! epoch: publish, adopt, retire.
//! Never: reads a file, a socket or a clock; changes a snapshot once it is published.
//! Invariants: epochs only rise; a snapshot is dropped by the control side alone, after the last
//! worker stopped using it (quiescence), so that no destructor runs on a data core.

mod callers;
mod candidate;
mod clusters;
mod compile;
mod entrances;
mod policies;
mod publish;
mod tables;
mod tls;
mod upstream;

pub use callers::{Caller, Callers, Crowded};
pub use candidate::{Candidate, OnTrial};
pub use clusters::{Registry, Weights};
pub use compile::{CompileError, Resolved, compile, compile_beside, route_spec};
pub use entrances::Entrance;
pub use policies::{Issued, access};
pub use publish::{Publisher, Reader};
pub use tables::{Action, Listener, LogSample, Piece, ProxyProtocol, Rewrite, Route, Snapshot, Timeouts, TraceSample};
pub use tls::{Greeting, Inbound, TlsError, client_config};
pub use upstream::{
    Cluster, Endpoint, EndpointTls, Gate, KeyFrom, Mirror, Pings, ProxyVersion, QueueBound, Retry, SplitRoute,
    Statuses, UpstreamProtocol,
};
