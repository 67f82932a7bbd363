//! HTTP/2 by `h2` over a channel, its streams as streams that speak HTTP/1.1.

mod chunk;
mod inbound;
mod io;
mod outbound;
mod server;
mod stream;
mod wire;

pub use server::{H2End, H2Limits, H2Server, Opened, Turn, serve_h2};
pub use stream::ServerStream;
