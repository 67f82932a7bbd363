//! The trace that a request belongs to (W3C Trace Context, level 1).

use std::ops::Range;

use super::encode::{HEX, write_hex};
use super::fields::FieldKind;
use super::request::RequestHead;

/// Bytes of a value of version 00.
const VALUE_BYTES: usize = 55;
/// Where its parts stand, each behind a `-`.
const VERSION: Range<usize> = 0..2;
const TRACE_ID: Range<usize> = 3..35;
const SPAN_ID: Range<usize> = 36..52;
const FLAGS: Range<usize> = 53..VALUE_BYTES;
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
        valid(value_of(head, bytes)?).map(|known| &known[TRACE_ID])
    }

    /// Reads a value (section 3.2.2); one of a later version as one of version 00, as far as that goes (section 4.3).
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let known = valid(value)?;
        let (trace_id, span_id) = (hex(&known[TRACE_ID]), hex(&known[SPAN_ID]));
        Some(Self { trace_id, span_id, sampled: hex::<1>(&known[FLAGS])[0] & SAMPLED != 0 })
    }

    /// Appends the value, of version 00.
    pub fn push(&self, out: &mut Vec<u8>) {
        let mut value = *b"00-................................-................-..";
        write_hex(&mut value[TRACE_ID], &self.trace_id);
        write_hex(&mut value[SPAN_ID], &self.span_id);
        write_hex(&mut value[FLAGS], &[u8::from(self.sampled)]);
        out.extend_from_slice(&value);
    }
}

/// The only value of its name.
fn value_of<'b>(head: &RequestHead, bytes: &'b [u8]) -> Option<&'b [u8]> {
    let mut values = head.fields().iter().filter(|field| field.kind == FieldKind::Traceparent);
    let value = values.next()?.value.of(bytes);
    if values.next().is_some() { None } else { Some(value) }
}

/// What is known of a value, if that is valid.
fn valid(value: &[u8]) -> Option<&[u8]> {
    let (known, rest) = value.split_at_checked(VALUE_BYTES)?;
    let is_whole = match &known[VERSION] {
        b"00" => rest.is_empty(),
        b"ff" => false,
        _ => rest.first().is_none_or(|byte| *byte == b'-'),
    };
    let is_divided = [TRACE_ID, SPAN_ID, FLAGS].iter().all(|part| known[part.start - 1] == b'-');
    let [version, trace_id, span_id, flags] = [VERSION, TRACE_ID, SPAN_ID, FLAGS].map(|part| seen(&known[part]));
    let is_hex = (version | trace_id | span_id | flags) & NO_DIGIT == 0;
    // Identities of nothing but zeros are invalid (sections 3.2.2.3 and 3.2.2.4).
    (is_whole && is_divided && is_hex && trace_id != 0 && span_id != 0).then_some(known)
}

/// What all digits are worth in one; in `NO_DIGIT` there is a bit for those that are none.
fn seen(digits: &[u8]) -> u8 {
    digits.iter().fold(0, |seen, digit| seen | DIGITS[usize::from(*digit)])
}

/// The bytes that digits stand for.
fn hex<const N: usize>(digits: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        let [high, low] = pair.map(|digit| DIGITS[usize::from(digit)]);
        *byte = high << 4 | low;
    }
    bytes
}

/// What a digit is worth, by its character; upper-case ones are invalid (section 3.2.2.1).
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
            assert_eq!(super::super::encode::id_text(&parsed.trace_id), *b"4bf92f3577b34da6a3ce929d0e0e4736");
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
