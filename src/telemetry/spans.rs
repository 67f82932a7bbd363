//! An exchange and its attempts as parts of a trace, and their way from a worker to the exporter.
//!
//! The compact form is that of the access log with the trace in front of it; it is private to one process run as well.

use std::net::SocketAddr;

use super::record::{Decoded, RECORD_BYTES_MAX, Record, ip, ip_bytes, take};
use super::ring::{ByteDrain, ByteRing, byte_ring};
use crate::limits;

/// An exchange as a part of its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExchangeSpan<'a> {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The span of the exchange.
    pub span_id: [u8; 8],
    /// The span that it is part of, if the trace came with the request.
    pub parent: Option<[u8; 8]>,
    /// Is this trace recorded by others as well?
    pub sampled: bool,
    /// Did the gateway or an endpoint fail?
    pub is_error: bool,
    /// Wall-clock nanoseconds when the exchange began.
    pub began_unix_ns: u64,
    /// Its attempts in their order, each by [`AttemptSpan::encode`].
    pub attempts: &'a [u8],
    /// What the access log tells of it.
    pub record: Record<'a>,
}

/// An attempt as a part of its exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptSpan<'a> {
    /// The span that the endpoint was told.
    pub span_id: [u8; 8],
    /// Nanoseconds from the beginning of the exchange to its own.
    pub began_ns: u64,
    /// Nanoseconds from the beginning of the exchange to its end.
    pub ended_ns: u64,
    /// Its endpoint.
    pub endpoint: SocketAddr,
    /// Was an idle connection used?
    pub reused: bool,
    /// Status of the response; 0 when there was none.
    pub status: u16,
    /// Why it failed; empty when it did not.
    pub reason: &'a str,
}

/// Most bytes of one attempt: the longest reason is much shorter than that.
pub const ATTEMPT_BYTES_MAX: usize = 128;
/// Most bytes of all attempts of one exchange; further ones are left out.
pub const ATTEMPTS_BYTES_MAX: usize = 16 * ATTEMPT_BYTES_MAX;
const SPAN_BYTES_MAX: usize = 48 + ATTEMPTS_BYTES_MAX + RECORD_BYTES_MAX;

/// What is plenty in a ring: enough for some hundred exchanges, and three times that fits beside it.
const PLENTY_BYTES: usize = limits::SPAN_RING_BYTES / 4;

const _: () = assert!(4 * SPAN_BYTES_MAX <= limits::SPAN_RING_BYTES);

const FLAG_PARENT: u8 = 1;
const FLAG_SAMPLED: u8 = 2;
const FLAG_ERROR: u8 = 4;
const FLAG_REUSED: u8 = 1;

impl<'a> AttemptSpan<'a> {
    /// Appends the compact form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(if self.reused { FLAG_REUSED } else { 0 });
        out.extend_from_slice(&self.span_id);
        out.extend_from_slice(&self.began_ns.to_le_bytes());
        out.extend_from_slice(&self.ended_ns.to_le_bytes());
        out.extend_from_slice(&ip_bytes(Some(self.endpoint.ip())));
        out.extend_from_slice(&self.endpoint.port().to_le_bytes());
        out.extend_from_slice(&self.status.to_le_bytes());
        // Reasons are words of ours.
        let reason = &self.reason.as_bytes()[..self.reason.len().min(ATTEMPT_BYTES_MAX / 2)];
        out.push(u8::try_from(reason.len()).unwrap_or(0));
        out.extend_from_slice(reason);
    }

    /// Takes the first of `input`; `None` when there is none.
    #[must_use]
    pub fn take(input: &mut &'a [u8]) -> Option<Self> {
        let flags = take::<1>(input)?[0];
        let span_id = take(input)?;
        let (began_ns, ended_ns) = (u64::from_le_bytes(take(input)?), u64::from_le_bytes(take(input)?));
        let ip = ip(take(input)?)?;
        let (port, status) = (u16::from_le_bytes(take(input)?), u16::from_le_bytes(take(input)?));
        let length = take::<1>(input)?[0];
        let reason = str::from_utf8(input.split_off(..usize::from(length))?).ok()?;
        let endpoint = SocketAddr::new(ip, port);
        Some(Self { span_id, began_ns, ended_ns, endpoint, reused: flags & FLAG_REUSED != 0, status, reason })
    }
}

impl<'a> ExchangeSpan<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        let flags = if self.parent.is_some() { FLAG_PARENT } else { 0 }
            | if self.sampled { FLAG_SAMPLED } else { 0 }
            | if self.is_error { FLAG_ERROR } else { 0 };
        out.push(flags);
        out.extend_from_slice(&self.trace_id);
        out.extend_from_slice(&self.span_id);
        out.extend_from_slice(&self.parent.unwrap_or_default());
        out.extend_from_slice(&self.began_unix_ns.to_le_bytes());
        let attempts = &self.attempts[..self.attempts.len().min(ATTEMPTS_BYTES_MAX)];
        let length = u32::try_from(attempts.len()).expect("ATTEMPTS_BYTES_MAX fits in 32 bits");
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(attempts);
        self.record.encode(out);
    }

    fn decode(mut bytes: &'a [u8]) -> Option<Self> {
        let input = &mut bytes;
        let flags = take::<1>(input)?[0];
        let (trace_id, span_id, parent) = (take(input)?, take(input)?, take(input)?);
        let began_unix_ns = u64::from_le_bytes(take(input)?);
        let length = u32::from_le_bytes(take(input)?);
        let attempts = input.split_off(..length as usize)?;
        Some(Self {
            trace_id,
            span_id,
            parent: (flags & FLAG_PARENT != 0).then_some(parent),
            sampled: flags & FLAG_SAMPLED != 0,
            is_error: flags & FLAG_ERROR != 0,
            began_unix_ns,
            attempts,
            record: Decoded::of(input)?.record,
        })
    }

    /// Its attempts, the first one first.
    pub fn attempts(&self) -> impl Iterator<Item = AttemptSpan<'a>> {
        let mut rest = self.attempts;
        std::iter::from_fn(move || AttemptSpan::take(&mut rest))
    }
}

/// The worker's end: exchanges go in, and are dropped when there is no room.
#[derive(Debug)]
pub struct SpanRing(ByteRing);

/// The exporter's end.
#[derive(Debug)]
pub struct SpanDrain(ByteDrain);

/// Both ends of a ring of `SPAN_RING_BYTES`.
#[must_use]
pub fn span_ring() -> (SpanRing, SpanDrain) {
    let (ring, drain) = byte_ring(limits::SPAN_RING_BYTES, SPAN_BYTES_MAX);
    (SpanRing(ring), SpanDrain(drain))
}

impl SpanRing {
    /// Copies `span` into the ring; `false` when it does not fit now, and then the caller counts it as dropped.
    ///
    /// Neither allocates nor waits.
    pub fn try_push(&mut self, span: &ExchangeSpan<'_>) -> bool {
        self.0.try_push(|out| span.encode(out))
    }
}

impl SpanDrain {
    /// Takes the oldest exchange, if there is one.
    pub fn try_pop(&mut self) -> Option<ExchangeSpan<'_>> {
        let bytes = self.0.try_pop()?;
        Some(ExchangeSpan::decode(bytes).expect("the ring carries only what ExchangeSpan::encode wrote"))
    }

    /// Whether nothing waits now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether so much waits that it should be taken soon.
    #[must_use]
    pub fn has_plenty(&self) -> bool {
        self.0.waiting() >= PLENTY_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::full;
    use super::*;

    fn attempt(reason: &str) -> AttemptSpan<'_> {
        AttemptSpan {
            span_id: [7; 8],
            began_ns: 1,
            ended_ns: u64::MAX,
            endpoint: "[2001:db8::1]:443".parse().unwrap(),
            reused: true,
            status: 503,
            reason,
        }
    }

    fn span(attempts: &[u8]) -> ExchangeSpan<'_> {
        ExchangeSpan {
            trace_id: [1; 16],
            span_id: [2; 8],
            parent: Some([3; 8]),
            sampled: true,
            is_error: false,
            began_unix_ns: 784_111_777_123_456_789,
            attempts,
            record: full(),
        }
    }

    #[test]
    fn an_exchange_and_its_attempts_come_back_as_they_went() {
        let (mut ring, mut drain) = span_ring();
        let mut attempts = Vec::new();
        attempt("upstream_status").encode(&mut attempts);
        attempt("").encode(&mut attempts);
        for sent in
            [span(&attempts), ExchangeSpan { parent: None, sampled: false, is_error: true, attempts: &[], ..span(&[]) }]
        {
            assert!(ring.try_push(&sent));
            let came = drain.try_pop().unwrap();
            assert_eq!(came, sent);
            let count = if sent.attempts.is_empty() { 0 } else { 2 };
            assert_eq!(came.attempts().count(), count);
        }
        let mut rest = &attempts[..];
        assert_eq!(AttemptSpan::take(&mut rest), Some(attempt("upstream_status")));
        assert_eq!(AttemptSpan::take(&mut rest), Some(attempt("")));
        assert_eq!(AttemptSpan::take(&mut rest), None);
        assert!(drain.is_empty());
    }

    #[test]
    fn the_longest_exchange_keeps_its_bound_and_does_not_grow_the_scratch_space() {
        let (mut ring, mut drain) = span_ring();
        let mut attempts = Vec::new();
        let long = "x".repeat(300);
        while attempts.len() < ATTEMPTS_BYTES_MAX {
            let before = attempts.len();
            attempt(&long).encode(&mut attempts);
            assert!(attempts.len() - before <= ATTEMPT_BYTES_MAX);
        }
        let long = vec![b'x'; 2 * limits::LOG_FIELD_BYTES];
        let record = Record {
            method: &long,
            path: &long,
            host: &long,
            request_id: &long,
            trace_id: &long,
            route: &long,
            cluster: &long,
            user_agent: &long,
            sni: &long,
            client_cert: &long,
            identity: &long,
            ..full()
        };
        let sent = ExchangeSpan { record, ..span(&attempts) };
        let mut bytes = Vec::new();
        sent.encode(&mut bytes);
        assert!(bytes.len() <= SPAN_BYTES_MAX, "{}", bytes.len());
        assert!(ring.try_push(&sent) && drain.try_pop().is_some());
    }

    #[test]
    fn a_full_ring_refuses_and_takes_again_once_drained() {
        let (mut ring, mut drain) = span_ring();
        let mut pushed = 0;
        assert!(!drain.has_plenty());
        while ring.try_push(&span(&[])) {
            pushed += 1;
        }
        assert!(pushed >= 4 && drain.has_plenty());
        let mut came = 0;
        while drain.try_pop().is_some() {
            came += 1;
        }
        assert_eq!(came, pushed);
        assert!(ring.try_push(&span(&[])));
    }
}
