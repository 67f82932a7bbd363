//! What a response says of a rate limit.

use super::rule::Decision;

const SECOND_NS: u64 = 1_000_000_000;

impl Decision {
    /// Names of the fields that tell of it, in lower case.
    pub const FIELDS: [&'static str; 3] = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];

    /// The field lines, each with its CR LF.
    #[must_use]
    pub fn lines(&self) -> DecisionLines {
        let mut out = DecisionLines { bytes: [0; LINES_BYTES], length: 0 };
        for (name, value) in [
            (&b"X-RateLimit-Limit: "[..], u64::from(self.limit)),
            (b"X-RateLimit-Remaining: ", u64::from(self.remaining)),
            (b"X-RateLimit-Reset: ", self.reset_ns.div_ceil(SECOND_NS)),
        ] {
            out.push(name);
            out.push(itoa::Buffer::new().format(value).as_bytes());
            out.push(b"\r\n");
        }
        out
    }

    /// Seconds for `Retry-After`, rounded up and at least one.
    #[must_use]
    pub fn retry_after_s(&self) -> u64 {
        self.retry_after_ns.div_ceil(SECOND_NS).max(1)
    }
}

/// Bytes that the longest of them take: names, and numbers of 32, 32 and 64 bits.
const LINES_BYTES: usize = 128;
const _: () = assert!(19 + 10 + 2 + 23 + 10 + 2 + 19 + 20 + 2 <= LINES_BYTES);

/// Field lines of a decision, in place.
#[derive(Debug)]
pub struct DecisionLines {
    bytes: [u8; LINES_BYTES],
    length: usize,
}

impl DecisionLines {
    /// The lines.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn push(&mut self, text: &[u8]) {
        self.bytes[self.length..self.length + text.len()].copy_from_slice(text);
        self.length += text.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_up() {
        let decision =
            Decision { allowed: false, limit: 100, remaining: 0, reset_ns: 59_000_000_001, retry_after_ns: 1 };
        let lines = decision.lines();
        assert_eq!(lines.bytes(), b"X-RateLimit-Limit: 100\r\nX-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: 60\r\n");
        let most = Decision { limit: u32::MAX, remaining: u32::MAX, reset_ns: u64::MAX, ..decision };
        assert!(most.lines().bytes().ends_with(b"\r\nX-RateLimit-Reset: 18446744074\r\n"));
        assert_eq!(decision.retry_after_s(), 1);
        assert_eq!(Decision { retry_after_ns: 2 * SECOND_NS, ..decision }.retry_after_s(), 2);
        assert_eq!(Decision { retry_after_ns: 2 * SECOND_NS + 1, ..decision }.retry_after_s(), 3);
    }
}
