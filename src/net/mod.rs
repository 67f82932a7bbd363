//! Net: the only room that knows the kernel.
//!
//! Owns the seam of the request path ([`Env`] and [`Stream`]), its implementation on monoio
//! (`uring`), the buffers that travel to the kernel and back, and every cancellation of an
//! operation in flight (`deadline`).
//! Never: parses, routes or decides anything about a message.
//! Invariants: a buffer lent to the kernel is owned by the operation until it completes; nothing
//! outside this room names monoio.

mod buffer;
mod channel;
mod deadline;
mod env;
mod h2;
mod hang_up;
mod inherited;
mod probe;
mod proxy_protocol;
mod sandbox;
mod stall;
mod tls;
mod uring;
mod way;

pub use buffer::{Buffer, BufferPool, give_memory_back, map_buffers_apart};
pub use channel::Channel;
pub use deadline::{Alarm, Alarms, Expired};
pub use env::{Env, Pending, Stream};
pub use h2::{
    ClientStream, ClientTurn, H2Client, H2End, H2Known, H2Limits, H2Opener, H2Refusal, H2Server, Opened, Room, Seat,
    ServerStream, StreamFault, Turn, connect_h2, serve_h2,
};
pub use inherited::take_inherited;
pub use probe::{Driver, Refused, clock_is_synchronized, probe_io_uring};
pub use proxy_protocol::{
    PROXY_HEADER_BYTES, ProxyHeader, ProxyParties, ProxyProgress, encode_proxy_v1, encode_proxy_v2, parse_proxy_header,
};
pub use sandbox::Sandbox;
pub use stall::Stall;
pub use tls::{Accepted, Tls, TlsFailure, accept as accept_tls, connect as connect_tls};
pub use uring::{ACCEPTS_AT_ONCE, Bell, Reactor, ReactorListener, TcpPeer, run_reactor};
pub use way::{be_prompt, give_way};
