//! The challenge with which HTTP/1.1 opens a WebSocket (RFC 6455 section 4): HTTP/2 has none, so it is made for its clients and
//! answered for its endpoints.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use data_encoding::BASE64;

use crate::rng::Rng;

/// What is behind every key when it is answered (RFC 6455 section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A key that nobody has used before.
pub(super) fn new_key(rng: &mut Rng) -> String {
    BASE64.encode(&[rng.u64().to_le_bytes(), rng.u64().to_le_bytes()].concat())
}

/// The answer to `key`.
pub(super) fn answer_to(key: &[u8]) -> String {
    let digested = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat());
    BASE64.encode(digested.as_ref())
}

/// Is this the answer to `key`?
pub(super) fn is_answer_to(key: &[u8], answer: &[u8]) -> bool {
    answer_to(key).as_bytes() == answer
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6455 section 1.3.
    #[test]
    fn a_key_has_one_answer() {
        assert!(is_answer_to(b"dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert!(!is_answer_to(b"dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOO="));
        assert!(!is_answer_to(b"dGhlIHNhbXBsZSBub25jZQ==", b""));
    }

    #[test]
    fn keys_are_sixteen_bytes_and_differ() {
        let mut rng = Rng::from_seed(1);
        let (one, two) = (new_key(&mut rng), new_key(&mut rng));
        assert_ne!(one, two);
        assert_eq!(BASE64.decode(one.as_bytes()).expect("base64").len(), 16);
    }
}
