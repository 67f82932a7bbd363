//! HTTP/2 by `h2` over a channel, its streams as streams that speak HTTP/1.1.

mod chunk;
mod client;
mod client_stream;
mod content;
mod inbound;
mod io;
mod outbound;
mod polled;
mod room;
mod server;
mod stream;
mod wire;

pub use client::{ClientTurn, H2Client, H2Known, H2Opener, H2Refusal, connect_h2};
pub use client_stream::{ClientStream, StreamFault};
pub use room::{Room, Seat};
pub use server::{H2End, H2Limits, H2Server, Opened, Turn, serve_h2};
pub use stream::ServerStream;
