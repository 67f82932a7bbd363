//! The record of one exchange and its compact form in the ring.
//!
//! The compact form is private to one process run: a front that has one size, of little-endian numbers in a fixed order, and
//! then the texts.

use std::net::{IpAddr, SocketAddr};

use super::counters::PROTOCOLS;
use crate::limits;

/// What the access log tells about one exchange; borrowed from the exchange, copied once into the ring, and borrowed from
/// there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Wall-clock milliseconds when the exchange ended (a tick old at most).
    pub unix_ms: u64,
    /// Protocol as its place in [`PROTOCOLS`]; none when nothing is known of the request.
    pub protocol: Option<u8>,
    /// Method as received.
    pub method: &'a [u8],
    /// Path as received, without the query: a query may carry secrets and is never logged.
    pub path: &'a [u8],
    /// Whether the target had a query.
    pub query: bool,
    /// Host of the request; empty when there was none.
    pub host: &'a [u8],
    /// Status sent to the client; 499 when it left before there was one.
    pub status: u16,
    /// First byte of the request to the last byte of the response.
    pub duration_ns: u64,
    /// Address of the client, by the trusted-proxy rules.
    pub client: IpAddr,
    /// Identifier sent as `X-Request-ID`.
    pub request_id: &'a [u8],
    /// Identity of the trace; empty when it is part of none.
    pub trace_id: &'a [u8],
    /// Name of the route; empty when none matched.
    pub route: &'a [u8],
    /// Name of the cluster; empty when the exchange was not forwarded.
    pub cluster: &'a [u8],
    /// Endpoint of the last attempt.
    pub endpoint: Option<SocketAddr>,
    /// What was spoken to it, as its place in [`PROTOCOLS`]; none when no connection came about.
    pub upstream_protocol: Option<u8>,
    /// Attempts upstream.
    pub attempts: u32,
    /// How a call of gRPC ended.
    pub grpc_status: Option<u8>,
    /// Body bytes from the client.
    pub bytes_in: u64,
    /// Body bytes to the client.
    pub bytes_out: u64,
    /// Reason code of a local reply or of an exchange cut short.
    pub reason: Option<&'a str>,
    /// Who failed: client, gateway or upstream; empty when nobody did.
    pub fault: &'a str,
    /// What was being done when it failed; empty when nothing did.
    pub stage: &'a str,
    /// The rule of the grammar that was broken; empty for other reasons.
    pub detail: &'a str,
    /// `User-Agent` of the request; empty when there was none.
    pub user_agent: &'a [u8],
    /// Name that the client asked for by TLS (RFC 6066 section 3); empty when it named none, or spoke without TLS.
    pub sni: &'a [u8],
    /// Subject of the client's certificate; empty when it showed none.
    pub client_cert: &'a [u8],
    /// Who the client is by its token, key or password; empty when the route did not ask.
    pub identity: &'a [u8],
    /// First byte to the end of the request head.
    pub head_ns: u64,
    /// What the request waited for its policies; 0 when none of them takes time.
    pub admit_ns: u64,
    /// What it waited for a connection of a cluster at its cap.
    pub queue_ns: u64,
    /// Opening the upstream connection; 0 when it was reused.
    pub connect_ns: u64,
    /// Request sent to the first byte of the upstream response; 0 when there was none.
    pub first_byte_ns: u64,
    /// First byte of the upstream response to the end of the exchange; 0 when there was none.
    pub body_ns: u64,
    /// Whether the upstream connection came from the pool.
    pub reused: bool,
    /// Epoch of the configuration the exchange ran on.
    pub epoch: u64,
}

/// Texts of every record.
const TEXTS: usize = 11;
/// Further ones of a record that has a reason.
const REASON_TEXTS: usize = 4;
/// Numbers of one record that take eight bytes.
const NUMBERS: usize = 11;
/// Bytes of an address: its family, and room for the longer one.
const IP_BYTES: usize = 17;
/// Bytes in front of the texts, which have the same place in every record: flags, status, attempts, status of a call, numbers,
/// addresses, a port, and how long the texts are.
const FRONT_BYTES: usize = 1 + 2 + 4 + 2 + NUMBERS * size_of::<u64>() + 2 * IP_BYTES + 2 + TEXTS * size_of::<u16>();
/// Most bytes of all its texts.
pub(super) const TEXTS_BYTES_MAX: usize = (TEXTS + REASON_TEXTS) * limits::LOG_FIELD_BYTES;
/// Most bytes of one record in the ring.
pub(super) const RECORD_BYTES_MAX: usize = FRONT_BYTES + REASON_TEXTS * size_of::<u16>() + TEXTS_BYTES_MAX;

/// Stands for no status of a call.
const NO_STATUS: u16 = u16::MAX;

const FLAG_QUERY: u8 = 1;
const FLAG_REUSED: u8 = 2;
const FLAG_REASON: u8 = 4;
/// Where the protocols stand among the flags: two bits each, its place and one.
const PROTOCOL_SHIFT: u8 = 3;
const UPSTREAM_PROTOCOL_SHIFT: u8 = 5;
const PROTOCOL_MASK: u8 = 3;

impl Record<'_> {
    /// Appends the compact form; every text is cut at `LOG_FIELD_BYTES`.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let texts = [
            self.method,
            self.path,
            self.host,
            self.request_id,
            self.trace_id,
            self.route,
            self.cluster,
            self.user_agent,
            self.sni,
            self.client_cert,
            self.identity,
        ]
        .map(cut);
        out.extend_from_slice(&self.front(&texts));
        push_texts(out, &texts);
        if let Some(reason) = self.reason {
            let words = [reason, self.fault, self.stage, self.detail].map(|word| cut(word.as_bytes()));
            out.extend_from_slice(words.map(length).as_flattened());
            push_texts(out, &words);
        }
    }

    /// What has the same place in every record.
    #[inline]
    fn front(&self, texts: &[&[u8]; TEXTS]) -> [u8; FRONT_BYTES] {
        let flags = if self.query { FLAG_QUERY } else { 0 }
            | if self.reused { FLAG_REUSED } else { 0 }
            | if self.reason.is_some() { FLAG_REASON } else { 0 }
            | self.protocol.map_or(0, |protocol| (protocol + 1) << PROTOCOL_SHIFT)
            | self.upstream_protocol.map_or(0, |protocol| (protocol + 1) << UPSTREAM_PROTOCOL_SHIFT);
        let numbers = [
            self.unix_ms,
            self.duration_ns,
            self.bytes_in,
            self.bytes_out,
            self.head_ns,
            self.admit_ns,
            self.queue_ns,
            self.connect_ns,
            self.first_byte_ns,
            self.body_ns,
            self.epoch,
        ];
        let mut front = [0; FRONT_BYTES];
        let room = &mut &mut front[..];
        put(room, &[flags]);
        put(room, &self.status.to_le_bytes());
        put(room, &self.attempts.to_le_bytes());
        put(room, &self.grpc_status.map_or(NO_STATUS, u16::from).to_le_bytes());
        put(room, numbers.map(u64::to_le_bytes).as_flattened());
        put(room, &ip_bytes(Some(self.client)));
        put(room, &ip_bytes(self.endpoint.map(|endpoint| endpoint.ip())));
        put(room, &self.endpoint.map_or(0, |endpoint| endpoint.port()).to_le_bytes());
        put(room, texts.map(length).as_flattened());
        front
    }
}

const _: () = assert!(limits::LOG_FIELD_BYTES <= u16::MAX as usize);
// Each of them and none.
const _: () = assert!(PROTOCOLS.len() <= PROTOCOL_MASK as usize);

fn cut(text: &[u8]) -> &[u8] {
    &text[..text.len().min(limits::LOG_FIELD_BYTES)]
}

#[expect(clippy::cast_possible_truncation, reason = "LOG_FIELD_BYTES fits in 16 bits, asserted above")]
fn length(text: &[u8]) -> [u8; 2] {
    (text.len() as u16).to_le_bytes()
}

/// Writes to the front of `room`, which becomes what is left of it.
#[inline(always)]
fn put(room: &mut &mut [u8], bytes: &[u8]) {
    room.split_off_mut(..bytes.len()).expect("the parts of the front fill it").copy_from_slice(bytes);
}

fn push_texts(out: &mut Vec<u8>, texts: &[&[u8]]) {
    // Many are empty, and need no call.
    for text in texts.iter().filter(|text| !text.is_empty()) {
        out.extend_from_slice(text);
    }
}

/// An address, or that there is none.
pub(super) fn ip_bytes(ip: Option<IpAddr>) -> [u8; IP_BYTES] {
    let mut bytes = [0; IP_BYTES];
    match ip {
        None => {}
        Some(IpAddr::V4(ip)) => {
            bytes[0] = 4;
            bytes[1..5].copy_from_slice(&ip.octets());
        }
        Some(IpAddr::V6(ip)) => {
            bytes[0] = 6;
            bytes[1..].copy_from_slice(&ip.octets());
        }
    }
    bytes
}

/// A record as it came out of its compact form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// The record.
    pub record: Record<'a>,
    /// All its texts, those of the reason apart, so that they can be looked at together.
    pub(super) texts: [&'a [u8]; 2],
}

impl<'a> Decoded<'a> {
    /// Reads what [`Record::encode`] wrote; `None` only if the bytes are not its work.
    #[inline]
    pub(super) fn of(bytes: &'a [u8]) -> Option<Self> {
        let (front, mut rest) = bytes.split_first_chunk::<FRONT_BYTES>()?;
        let input = &mut &front[..];
        let flags = take::<1>(input)?[0];
        let status = u16::from_le_bytes(take(input)?);
        let attempts = u32::from_le_bytes(take(input)?);
        let grpc_status = u16::from_le_bytes(take(input)?);
        let [
            unix_ms,
            duration_ns,
            bytes_in,
            bytes_out,
            head_ns,
            admit_ns,
            queue_ns,
            connect_ns,
            first_byte_ns,
            body_ns,
            epoch,
        ] = take_numbers(input)?;
        let client = ip(take(input)?)?;
        let endpoint_ip = ip(take(input)?);
        let port = u16::from_le_bytes(take(input)?);
        // In the order of `encode`, which is that of the literal below.
        let (texts, all) = take_texts::<TEXTS>(input, &mut rest)?;
        let mut texts = texts.into_iter();
        let mut text = || texts.next().unwrap_or_default();
        let has_reason = flags & FLAG_REASON != 0;
        let ([reason, fault, stage, detail], all_words) =
            if has_reason { take_words(rest)? } else { ([""; REASON_TEXTS], &[][..]) };
        (has_reason || rest.is_empty()).then_some(())?;
        let record = Record {
            unix_ms,
            protocol: protocol(flags, PROTOCOL_SHIFT),
            method: text(),
            path: text(),
            query: flags & FLAG_QUERY != 0,
            host: text(),
            status,
            duration_ns,
            client,
            request_id: text(),
            trace_id: text(),
            route: text(),
            cluster: text(),
            endpoint: endpoint_ip.map(|ip| SocketAddr::new(ip, port)),
            upstream_protocol: protocol(flags, UPSTREAM_PROTOCOL_SHIFT),
            attempts,
            grpc_status: u8::try_from(grpc_status).ok(),
            bytes_in,
            bytes_out,
            user_agent: text(),
            sni: text(),
            client_cert: text(),
            identity: text(),
            reason: has_reason.then_some(reason),
            fault,
            stage,
            detail,
            head_ns,
            admit_ns,
            queue_ns,
            connect_ns,
            first_byte_ns,
            body_ns,
            reused: flags & FLAG_REUSED != 0,
            epoch,
        };
        Some(Self { record, texts: [all, all_words] })
    }
}

fn take_numbers(input: &mut &[u8]) -> Option<[u64; NUMBERS]> {
    let (numbers, _none) = input.split_off(..NUMBERS * size_of::<u64>())?.as_chunks();
    Some(<[[u8; 8]; NUMBERS]>::try_from(numbers).ok()?.map(u64::from_le_bytes))
}

/// Texts off the front of `input`, as long as `lengths` say, and all of them in one piece.
fn take_texts<'a, const N: usize>(lengths: &[u8], input: &mut &'a [u8]) -> Option<([&'a [u8]; N], &'a [u8])> {
    let (lengths, _none) = lengths.as_chunks();
    let start = *input;
    let mut texts: [&[u8]; N] = [&[]; N];
    for (text, length) in texts.iter_mut().zip(lengths) {
        *text = input.split_off(..usize::from(u16::from_le_bytes(*length)))?;
    }
    Some((texts, &start[..start.len() - input.len()]))
}

/// Texts that are ours, behind how long they are; there is nothing behind them.
#[cold]
fn take_words(mut input: &[u8]) -> Option<([&str; REASON_TEXTS], &[u8])> {
    let lengths = input.split_off(..REASON_TEXTS * size_of::<u16>())?;
    let (texts, all) = take_texts::<REASON_TEXTS>(lengths, &mut input)?;
    let mut words = [""; REASON_TEXTS];
    for (word, text) in words.iter_mut().zip(texts) {
        *word = str::from_utf8(text).ok()?;
    }
    input.is_empty().then_some((words, all))
}

const fn protocol(flags: u8, shift: u8) -> Option<u8> {
    (flags >> shift & PROTOCOL_MASK).checked_sub(1)
}

pub(super) fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    input.split_off(..N)?.try_into().ok()
}

/// The address that [`ip_bytes`] wrote.
pub(super) fn ip(bytes: [u8; IP_BYTES]) -> Option<IpAddr> {
    let [family, octets @ ..] = bytes;
    match family {
        0 => None,
        4 => Some(IpAddr::from([octets[0], octets[1], octets[2], octets[3]])),
        _ => Some(IpAddr::from(octets)),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A record with every field set.
    pub(in crate::telemetry) fn full() -> Record<'static> {
        Record {
            unix_ms: 784_111_777_123,
            protocol: Some(2),
            method: b"GET",
            path: b"/a",
            query: true,
            host: b"example.com",
            status: 502,
            duration_ns: 1_234_567,
            client: "2001:db8::1".parse().unwrap(),
            request_id: b"0123456789abcdef0123456789abcdef",
            trace_id: b"4bf92f3577b34da6a3ce929d0e0e4736",
            route: b"everything",
            cluster: b"app",
            endpoint: Some("10.0.0.7:3000".parse().unwrap()),
            upstream_protocol: Some(1),
            attempts: 2,
            grpc_status: Some(14),
            bytes_in: 3,
            bytes_out: u64::MAX,
            reason: Some("connect_refused"),
            fault: "upstream",
            stage: "connect",
            detail: "",
            user_agent: b"curl/8",
            sni: b"www.example.com",
            client_cert: b"CN=a",
            identity: b"alice",
            head_ns: 1_000,
            admit_ns: 2_000,
            queue_ns: 3_000,
            connect_ns: 4_000,
            first_byte_ns: 5_000,
            body_ns: 6_000,
            reused: false,
            epoch: 9,
        }
    }

    fn encoded(record: &Record<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        bytes
    }

    #[test]
    fn a_record_comes_back_as_it_went() {
        assert_eq!(Decoded::of(&encoded(&full())).unwrap().record, full());
        let bare = Record {
            grpc_status: None,
            protocol: None,
            endpoint: None,
            upstream_protocol: None,
            reason: None,
            fault: "",
            stage: "",
            reused: true,
            query: false,
            ..full()
        };
        assert_eq!(Decoded::of(&encoded(&bare)).unwrap().record, bare);
    }

    #[test]
    fn long_texts_are_cut_and_the_longest_record_keeps_its_bound() {
        let long = vec![b'x'; 3 * limits::LOG_FIELD_BYTES];
        let record = Record {
            method: &long,
            path: &long,
            host: &long,
            request_id: &long,
            route: &long,
            cluster: &long,
            user_agent: &long,
            sni: &long,
            client_cert: &long,
            identity: &long,
            ..full()
        };
        let bytes = encoded(&record);
        assert!(bytes.len() <= RECORD_BYTES_MAX);
        let cut = Decoded::of(&bytes).unwrap().record;
        assert_eq!(cut.path.len(), limits::LOG_FIELD_BYTES);
        assert_eq!(cut.reason, Some("connect_refused"));
    }

    #[test]
    fn a_truncated_record_is_refused() {
        let bytes = encoded(&full());
        for length in 0..bytes.len() {
            assert_eq!(Decoded::of(&bytes[..length]), None, "{length}");
        }
    }
}
