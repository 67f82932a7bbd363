//! The trace that a request belongs to (W3C Trace Context, level 1).

use std::ops::Range;

use super::fields::FieldKind;
use super::request::RequestHead;

/// Bytes of a value of version 00.
const VALUE_BYTES: usize = 55;
/// Where the identity of the trace stands.
const TRACE_ID: Range<usize> = 3..35;
const HEX: &[u8; 16] = b"0123456789abcdef";
/// The only flag that this level knows.
const SAMPLED: u8 = 1;

/// What `traceparent` says: the trace, and the span that is its sender's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace; not all zero.
    pub trace_id: [u8; 16],
    /// The span; not all zero.
    pub span_id: [u8; 8],
    /// Does the sender record it?
    pub sampled: bool,
}

/// What a request that goes on says of its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceOut {
    /// Value of `traceparent`.
    pub parent: TraceParent,
    /// Did the trace come with the request? Then `tracestate` goes on.
    pub is_continued: bool,
}

impl TraceParent {
    /// What a head says; `None` when it says nothing, something invalid, or several things.
    #[must_use]
    pub fn of(head: &RequestHead, bytes: &[u8]) -> Option<Self> {
        Self::parse(value_of(head, bytes)?)
    }

    /// The identity of the trace in what a head says, as it stands there; `None` when [`TraceParent::of`] is.
    #[must_use]
    pub fn id_of<'b>(head: &RequestHead, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let value = value_of(head, bytes)?;
        Self::parse(value).and_then(|_valid| value.get(TRACE_ID))
    }

    /// Reads a value (section 3.2.2); one of a later version as one of version 00, as far as that goes (section 4.3).
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (known, rest) = value.split_at_checked(VALUE_BYTES)?;
        let version = hex::<1>(&known[..2])?[0];
        let is_whole = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.first().is_none_or(|byte| *byte == b'-'),
        };
        if !is_whole || [2, 35, 52].iter().any(|at| known[*at] != b'-') {
            return None;
        }
        let (trace_id, span_id) = (hex::<16>(&known[TRACE_ID])?, hex::<8>(&known[36..52])?);
        let flags = hex::<1>(&known[53..])?[0];
        let is_valid = trace_id != [0; 16] && span_id != [0; 8];
        is_valid.then_some(Self { trace_id, span_id, sampled: flags & SAMPLED != 0 })
    }

    /// Appends the value, of version 00.
    pub fn push(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"00-");
        out.extend_from_slice(&trace_id_text(&self.trace_id));
        out.push(b'-');
        for byte in self.span_id {
            out.extend_from_slice(&digits(byte));
        }
        out.extend_from_slice(if self.sampled { b"-01" } else { b"-00" });
    }
}

/// The only value of its name.
fn value_of<'b>(head: &RequestHead, bytes: &'b [u8]) -> Option<&'b [u8]> {
    let mut values = head.fields().iter().filter(|field| field.kind == FieldKind::Traceparent);
    let value = values.next()?.value.of(bytes);
    if values.next().is_some() { None } else { Some(value) }
}

/// An identity of a trace as logs show it.
#[must_use]
pub fn trace_id_text(id: &[u8; 16]) -> [u8; 32] {
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(id) {
        pair.copy_from_slice(&digits(*byte));
    }
    text
}

const fn digits(byte: u8) -> [u8; 2] {
    [HEX[(byte >> 4) as usize], HEX[(byte & 0xf) as usize]]
}

/// Lower-case hexadecimal digits: upper-case ones are invalid (section 3.2.2.1).
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    // Whether all of them are digits is asked once.
    let mut seen = 0;
    for (byte, pair) in bytes.iter_mut().zip(text.as_chunks::<2>().0) {
        let [high, low] = pair.map(|digit| DIGITS[usize::from(digit)]);
        seen |= high | low;
        *byte = high << 4 | low;
    }
    (seen & NO_DIGIT == 0).then_some(bytes)
}

/// What a digit is worth, by its character.
const DIGITS: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let mut worth = 0_u8;
    while worth < 16 {
        digits[HEX[worth as usize] as usize] = worth;
        worth += 1;
    }
    digits
};
const NO_DIGIT: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_value_comes_back_as_it_was() {
        for value in [VALUE, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"] {
            let parsed = TraceParent::parse(value.as_bytes()).unwrap();
            assert_eq!(parsed.sampled, value.ends_with("01"));
            assert_eq!(trace_id_text(&parsed.trace_id), *b"4bf92f3577b34da6a3ce929d0e0e4736");
            let mut out = Vec::new();
            parsed.push(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), value);
        }
    }

    /// Section 4.3: a higher version is read as far as it is known; of its flags one is.
    #[test]
    fn a_later_version_is_read_as_the_first() {
        for value in [
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes",
        ] {
            assert!(TraceParent::parse(value.as_bytes()).is_some_and(|parsed| parsed.sampled), "{value}");
        }
        let flags = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-fe";
        assert!(TraceParent::parse(flags.as_bytes()).is_some_and(|parsed| !parsed.sampled));
    }

    /// Sections 3.2.2.1 to 3.2.2.5.
    #[test]
    fn what_is_invalid_is_no_value() {
        for value in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "0g-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::parse(value.as_bytes()), None, "{value}");
        }
        for at in 0..VALUE.len() {
            let mut near = VALUE.as_bytes().to_vec();
            near[at] = b'\xff';
            assert_eq!(TraceParent::parse(&near), None, "{at}");
        }
    }
}
