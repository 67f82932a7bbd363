//! What a response says of a rate limit.

use super::rule::Decision;

const SECOND_NS: u64 = 1_000_000_000;

impl Decision {
    /// Names of the fields that tell of it, in lower case.
    pub const FIELDS: [&'static str; 3] = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];

    /// Writes the field lines, each with its CR LF.
    pub fn push_lines(&self, out: &mut Vec<u8>) {
        for (name, value) in [
            (&b"X-RateLimit-Limit: "[..], u64::from(self.limit)),
            (b"X-RateLimit-Remaining: ", u64::from(self.remaining)),
            (b"X-RateLimit-Reset: ", self.reset_ns.div_ceil(SECOND_NS)),
        ] {
            out.extend_from_slice(name);
            push_number(out, value);
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Seconds for `Retry-After`, rounded up and at least one.
    #[must_use]
    pub fn retry_after_s(&self) -> u64 {
        self.retry_after_ns.div_ceil(SECOND_NS).max(1)
    }
}

fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_up() {
        let decision =
            Decision { allowed: false, limit: 100, remaining: 0, reset_ns: 59_000_000_001, retry_after_ns: 1 };
        let mut out = Vec::new();
        decision.push_lines(&mut out);
        assert_eq!(out, b"X-RateLimit-Limit: 100\r\nX-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: 60\r\n");
        assert_eq!(decision.retry_after_s(), 1);
        assert_eq!(Decision { retry_after_ns: 2 * SECOND_NS, ..decision }.retry_after_s(), 2);
        assert_eq!(Decision { retry_after_ns: 2 * SECOND_NS + 1, ..decision }.retry_after_s(), 3);
    }
}
