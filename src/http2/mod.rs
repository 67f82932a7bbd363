//! HTTP/2 as HTTP/1.1: what passes between a stream and an exchange (RFC 9113).
//!
//! Owns: a client's request as the head of HTTP/1.1 (`request`) and the response to it as fields (`response`); a request to
//! an endpoint as fields (`decode_request`, and `known` for what repeats) and its response as a head (`encode_response`); the framing of a body that an
//! exchange wrote, taken off (`body`), trailers both ways (`trailers`), single fields (`field`), and what the frames of a connection say about its
//! peer (`frames`, `meter`). Frames themselves and their compression are the work of `h2`.
//! Never: a socket, a clock, waiting.
//! Invariants: a message that is not well-formed is refused and never translated; a head that is translated reads in
//! one way only, which our own strict parser checks once more; nothing of the connection crosses.

mod body;
mod decode_request;
mod encode_response;
mod field;
mod frames;
mod known;
mod meter;
mod request;
mod response;
mod trailers;

pub use body::{Piece, Unframer};
pub use decode_request::{RequestStart, decode_request_head};
pub use encode_response::{AnswerBody, encode_interim_head, encode_response_head, encode_switched_head};
pub use frames::{Frame, FrameKind, Scanner};
pub use known::KnownRequests;
pub use meter::{Breach, ERROR_CODES, Excess, Meter, Tally};
pub use request::{encode_request_head, encode_switch_head};
pub use response::{ResponseStart, decode_response_head, decode_switch_head};
pub use trailers::{decode_trailers, encode_trailers};

/// What a client of HTTP/2 sends first (RFC 9113 section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
