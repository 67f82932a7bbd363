//! What the programs of the measuring rig share: the ring, the listening socket and message heads.
//!
//! The rig speaks only the HTTP/1.1 its own programs produce; it is not a proxy to be used.

pub mod arguments;
pub mod handshakes;
pub mod head;
pub mod held;
pub mod open_loop;
pub mod ring;
pub mod wake;
