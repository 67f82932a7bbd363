//! Exchange: one request and its response, first byte to last. Start here.
//!
//! Owns: the life of a client connection (`connection`, and `streams` for HTTP/2), the walk of one exchange
//! (`serve::serve_exchange`: read, route, admit, forward, respond, settle), every way it can fail
//! (`failure`), and what a worker lends to its exchanges (`shard`).
//! Never: names the configuration, the kernel or another worker; formats a log line.
//! Invariants: one response or one close per request; a request's bytes reach one endpoint as one
//! message; what is lent (buffers, connections, gauges) returns when the future is dropped.

mod admit;
mod adopted;
mod announce;
mod answer;
mod authenticate;
mod bell;
mod berth;
mod call;
mod caps;
mod carry;
mod connection;
mod external;
mod failure;
mod forward;
mod gate;
mod handshakes;
mod hear;
mod held;
mod introduce;
mod key;
mod lease;
mod limit;
mod local;
mod mirror;
mod pick;
mod presence;
mod proofs;
mod queue;
mod relay;
mod retry;
mod secure;
mod send;
mod serve;
mod settle;
mod shard;
mod spares;
mod store;
mod streams;
mod tally;
mod timing;
mod trace;
mod tunnel;
mod upload;
mod websocket;
mod wire;

pub use connection::serve_connection;
pub use failure::{Failure, Fault, GrpcStatus, Severity, Unproven, Verdict};
pub use proofs::PasswordAsk;
pub use queue::{Call, Tell};
pub use shard::{Belongings, Shard, Upstream};
pub use store::{Ask, Question, StoreAsk};
