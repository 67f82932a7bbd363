//! HTTP/2 as HTTP/1.1: what passes between a stream and an exchange (RFC 9113).
//!
//! Owns: a request's fields as the head of HTTP/1.1 (`request`), the head and the body that an exchange wrote as a
//! response's fields and content (`response`, `body`), trailers both ways (`trailers`), and what the frames of a
//! connection say about its peer (`frames`, `meter`). Frames themselves and their compression are the work of `h2`.
//! Never: a socket, a clock, waiting.
//! Invariants: a request that is not well-formed is refused and never translated; a head that is translated reads in
//! one way only, which our own strict parser checks once more; nothing of the connection crosses.

mod body;
mod frames;
mod meter;
mod request;
mod response;
mod trailers;

pub use body::{Piece, Unframer};
pub use frames::{Frame, FrameKind, Scanner};
pub use meter::{Breach, ERROR_CODES, Excess, Meter, Tally};
pub use request::encode_request_head;
pub use response::{ResponseStart, decode_response_head};
pub use trailers::{decode_trailers, encode_trailers};

/// What a client of HTTP/2 sends first (RFC 9113 section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
