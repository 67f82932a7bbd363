//! TLS over any [`super::Stream`], by rustls: the handshake, and records in pooled buffers.
//!
//! A connection that rests holds its session and no buffer. Records are read into one pooled buffer and decrypted from
//! there; what an exchange writes is encrypted into another, so that several records leave in one write.

mod certificate;
mod handshake;
mod session;
mod stream;
#[cfg(test)]
mod tests;

pub use handshake::{Accepted, TlsFailure, accept, connect};
pub use stream::Tls;
