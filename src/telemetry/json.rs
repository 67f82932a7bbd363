//! Records as JSON lines. What a peer sent is data: it can neither end a line, nor a string, nor steer a terminal.
//!
//! With every request in the log this is most of what a line costs. So lines are written into memory that has room for the
//! longest one, names of members are copies of a known size, texts are looked at and copied in blocks, and numbers come three
//! digits at a time from a table.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::counters::PROTOCOLS;
use super::record::{Decoded, Record, TEXTS_BYTES_MAX};
use crate::clock::{self, RFC3339_BYTES};

/// Most bytes of one line: a byte of text becomes six at most, and everything else fits beside that.
const LINE_BYTES_MAX: usize = 6 * TEXTS_BYTES_MAX + 2048;

/// What stands around the time, and the time.
const TIME_BYTES: usize = TIME_FRONT.len() + RFC3339_BYTES + 1;
const TIME_FRONT: &[u8; 9] = b"{\"time\":\"";

const ROOMY: &str = "there is room for the longest line";

/// Lines that are to be written at once; their memory is kept from batch to batch.
#[derive(Debug)]
pub struct Lines {
    /// A line feed, and behind it the lines up to `end`.
    bytes: Box<[u8]>,
    end: usize,
    /// How lines begin at the last time written, which many records share.
    time: (u64, [u8; TIME_BYTES]),
}

impl Lines {
    /// Room for lines that fill `batch_bytes` and one more.
    #[must_use]
    pub fn new(batch_bytes: usize) -> Self {
        let mut bytes = vec![0; 1 + batch_bytes + LINE_BYTES_MAX].into_boxed_slice();
        bytes[0] = b'\n';
        Self { bytes, end: 1, time: (0, beginning(0)) }
    }

    /// Whether they fill a batch, and are to be written before the next one is added.
    #[must_use]
    pub fn are_full(&self) -> bool {
        self.end + LINE_BYTES_MAX > self.bytes.len()
    }

    /// The lines.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[1..self.end]
    }

    /// The lines behind a line feed, which ends one that was left open.
    #[must_use]
    pub fn after_a_break(&self) -> &[u8] {
        &self.bytes[..self.end]
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.end = 1;
    }

    /// Adds a record as one JSON object and a line feed; fields that say nothing are left out.
    pub fn add(&mut self, of: &Decoded<'_>) {
        if of.record.unix_ms != self.time.0 {
            self.time = (of.record.unix_ms, beginning(of.record.unix_ms));
        }
        let room = &mut self.bytes[self.end..];
        let most = room.len();
        let mut line = Line { room, is_plain: of.texts.iter().all(|text| are_plain(text)) };
        line.put_record(&self.time.1, &of.record);
        self.end += most - line.room.len();
    }
}

/// How a line begins.
fn beginning(unix_ms: u64) -> [u8; TIME_BYTES] {
    let mut bytes = [b'"'; TIME_BYTES];
    let (front, rest) = bytes.split_at_mut(TIME_FRONT.len());
    front.copy_from_slice(TIME_FRONT);
    rest[..RFC3339_BYTES].copy_from_slice(&clock::rfc3339(unix_ms));
    bytes
}

/// The line that is being written. It stays in registers, as what is not inlined gets the room alone, and gives it back.
struct Line<'a> {
    /// What is left of it; each step takes its bytes off the front.
    room: &'a mut [u8],
    /// Is there nothing to escape in any text?
    is_plain: bool,
}

impl Line<'_> {
    #[inline(always)]
    fn put_record(&mut self, beginning: &[u8; TIME_BYTES], record: &Record<'_>) {
        self.put(beginning);
        self.text(b",\"protocol\":\"", protocol(record.protocol));
        self.text(b",\"method\":\"", record.method);
        self.text(b",\"host\":\"", record.host);
        self.text(b",\"path\":\"", record.path);
        if record.query {
            self.put(b",\"query\":true");
        }
        self.number(b",\"status\":", u64::from(record.status));
        self.millis(b",\"duration_ms\":", record.duration_ns);
        self.put(b",\"client_ip\":\"");
        self.address(record.client);
        self.put(b"\"");
        self.id(b",\"request_id\":\"", record.request_id);
        self.id(b",\"trace_id\":\"", record.trace_id);
        self.text(b",\"route\":\"", record.route);
        self.text(b",\"cluster\":\"", record.cluster);
        if let Some(endpoint) = record.endpoint {
            self.put(b",\"endpoint\":\"");
            self.socket(endpoint);
            self.put(b"\"");
            self.text(b",\"upstream_protocol\":\"", protocol(record.upstream_protocol));
            self.put(if record.reused { &b",\"reused\":true"[..] } else { b",\"reused\":false" });
        }
        self.number(b",\"attempts\":", u64::from(record.attempts));
        if let Some(status) = record.grpc_status {
            self.number(b",\"grpc_status\":", u64::from(status));
        }
        self.number(b",\"bytes_in\":", record.bytes_in);
        self.number(b",\"bytes_out\":", record.bytes_out);
        if let Some(reason) = record.reason {
            self.text(b",\"reason\":\"", reason.as_bytes());
            self.text(b",\"fault\":\"", record.fault.as_bytes());
            self.text(b",\"stage\":\"", record.stage.as_bytes());
            self.text(b",\"detail\":\"", record.detail.as_bytes());
        }
        self.text(b",\"user_agent\":\"", record.user_agent);
        self.text(b",\"sni\":\"", record.sni);
        self.text(b",\"client_cert\":\"", record.client_cert);
        self.text(b",\"identity\":\"", record.identity);
        self.millis(b",\"head_ms\":", record.head_ns);
        if record.admit_ns > 0 {
            self.millis(b",\"admit_ms\":", record.admit_ns);
        }
        if record.queue_ns > 0 {
            self.millis(b",\"queue_ms\":", record.queue_ns);
        }
        if record.attempts > 0 {
            self.millis(b",\"connect_ms\":", record.connect_ns);
            self.millis(b",\"first_byte_ms\":", record.first_byte_ns);
            self.millis(b",\"body_ms\":", record.body_ns);
        }
        self.number(b",\"epoch\":", record.epoch);
        self.put(b"}\n");
    }

    #[inline(always)]
    fn put(&mut self, bytes: &[u8]) {
        self.take(bytes.len()).copy_from_slice(bytes);
    }

    /// The next bytes, to be written.
    #[inline(always)]
    fn take(&mut self, length: usize) -> &mut [u8] {
        self.room.split_off_mut(..length).expect(ROOMY)
    }

    /// The next bytes, of which some may be written, and then passed by [`Line::pass`].
    #[inline(always)]
    fn ahead(&mut self) -> &mut [u8; AHEAD] {
        self.room.first_chunk_mut().expect(ROOMY)
    }

    #[inline(always)]
    fn pass(&mut self, length: usize) {
        self.take(length);
    }

    /// One string member, left out when empty. `member` is all that stands before the text.
    #[inline(always)]
    fn text<const N: usize>(&mut self, member: &[u8; N], value: &[u8]) {
        if value.is_empty() {
            return;
        }
        if self.is_plain {
            let (front, rest) = self.take(N + value.len() + 1).split_first_chunk_mut().expect(ROOMY);
            *front = *member;
            let (quote, text) = rest.split_last_mut().expect(ROOMY);
            text.copy_from_slice(value);
            *quote = b'"';
        } else {
            self.put(member);
            self.room = escape(std::mem::take(&mut self.room), value);
            self.put(b"\"");
        }
    }

    /// A member whose text nearly always is an identity of ours.
    #[inline(always)]
    fn id<const N: usize>(&mut self, member: &[u8; N], value: &[u8]) {
        match <&[u8; 32]>::try_from(value) {
            Ok(id) if self.is_plain => {
                self.put(member);
                self.put(id);
                self.put(b"\"");
            }
            _ => self.text(member, value),
        }
    }

    #[inline(always)]
    fn number<const N: usize>(&mut self, member: &[u8; N], value: u64) {
        let ahead = self.ahead();
        ahead[..N].copy_from_slice(member);
        match three(value) {
            Some(digits) => {
                let end = digits.write(ahead, N);
                self.pass(end);
            }
            None => {
                self.pass(N);
                self.room = long_digits(std::mem::take(&mut self.room), value);
            }
        }
    }

    /// Milliseconds with three decimals, cut and not rounded.
    #[inline(always)]
    fn millis<const N: usize>(&mut self, member: &[u8; N], ns: u64) {
        let ahead = self.ahead();
        ahead[..N].copy_from_slice(member);
        let thousandths = Three::of((ns / 1_000 % 1_000) as usize);
        match three(ns / 1_000_000) {
            Some(digits) => {
                let point = digits.write(ahead, N);
                ahead[point] = b'.';
                ahead[point + 1..point + 5].copy_from_slice(&thousandths.0);
                self.pass(point + 4);
            }
            None => {
                self.pass(N);
                self.room = long_digits(std::mem::take(&mut self.room), ns / 1_000_000);
                self.put(b".");
                self.put(&thousandths.0[..3]);
            }
        }
    }

    #[inline(always)]
    fn address(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => {
                let ahead = self.ahead();
                let end = dotted(ahead, ip);
                self.pass(end);
            }
            IpAddr::V6(ip) => self.format(format_args!("{ip}")),
        }
    }

    #[inline(always)]
    fn socket(&mut self, endpoint: SocketAddr) {
        match endpoint {
            SocketAddr::V4(_) => {
                self.address(endpoint.ip());
                self.number(b":", u64::from(endpoint.port()));
            }
            SocketAddr::V6(endpoint) => self.format(format_args!("{endpoint}")),
        }
    }

    #[inline(always)]
    fn format(&mut self, arguments: std::fmt::Arguments<'_>) {
        self.room = formatted(std::mem::take(&mut self.room), arguments);
    }
}

/// Memory for some words with milliseconds behind each, three decimals, cut and not rounded.
#[derive(Debug)]
pub struct Millis {
    bytes: [u8; Self::ROOM],
}

impl Millis {
    const ROOM: usize = 7 * AHEAD;

    /// Each word with its milliseconds, and `end` behind the last, written where they are to stay.
    ///
    /// # Panics
    /// They are more than five, or longer than two dozen bytes.
    #[inline]
    pub fn write<'t, 'w>(
        place: &'t mut Option<Self>,
        members: impl IntoIterator<Item = (&'w [u8], u64)>,
        end: &[u8],
    ) -> &'t [u8] {
        let Self { bytes } = place.insert(Self { bytes: [0; Self::ROOM] });
        let mut line = Line { room: bytes, is_plain: true };
        for (word, ns) in members {
            line.put(word);
            line.millis(b"", ns);
        }
        line.put(end);
        let length = Self::ROOM - line.room.len();
        &bytes[..length]
    }
}

/// Room that a member's name and a number, or an address, have at once.
const AHEAD: usize = 48;

/// An address; where it ends.
#[inline(always)]
fn dotted(ahead: &mut [u8; AHEAD], ip: Ipv4Addr) -> usize {
    let [first, second, third, fourth] = ip.octets().map(|octet| Three::of(usize::from(octet)));
    let mut end = first.write(ahead, 0);
    for octet in [second, third, fourth] {
        ahead[end] = b'.';
        end = octet.write(ahead, end + 1);
    }
    end
}

/// The name of a protocol, nothing where none is known.
fn protocol(place: Option<u8>) -> &'static [u8] {
    place.and_then(|place| PROTOCOLS.get(usize::from(place))).map_or(&[], |name| name.as_bytes())
}

/// The three digits of a number below a thousand, and how many of them are zeros in front.
#[derive(Clone, Copy)]
struct Three([u8; 4]);

impl Three {
    /// Those of a number below a thousand.
    #[inline(always)]
    fn of(value: usize) -> Self {
        Self(THREE[value])
    }

    /// Writes the number where it is to stand, and up to three bytes behind it; where it ends.
    #[inline(always)]
    fn write(self, ahead: &mut [u8; AHEAD], at: usize) -> usize {
        // Two bits, which is what lets the compiler see that there is room.
        let zeros = self.0[3] & 3;
        let digits = u32::from_le_bytes(self.0) >> (8 * zeros);
        ahead[at..at + 4].copy_from_slice(&digits.to_le_bytes());
        at + usize::from((3 - zeros) & 3)
    }
}

/// The digits of a number that has at most three.
#[inline(always)]
fn three(value: u64) -> Option<Three> {
    THREE.get(usize::try_from(value).ok()?).copied().map(Three)
}

/// The three digits of every number below a thousand, and how many of them are zeros in front.
#[expect(clippy::cast_possible_truncation, reason = "a digit fits in a byte")]
const THREE: [[u8; 4]; 1_000] = {
    let mut table = [[0; 4]; 1_000];
    let mut value = 0;
    while value < table.len() {
        let (hundreds, tens, ones) = (value / 100, value / 10 % 10, value % 10);
        let zeros = if value < 10 { 2 } else { (value < 100) as u8 };
        table[value] = [b'0' + hundreds as u8, b'0' + tens as u8, b'0' + ones as u8, zeros];
        value += 1;
    }
    table
};

fn long_digits(room: &mut [u8], value: u64) -> &mut [u8] {
    let mut out = Line { room, is_plain: true };
    out.number(b"", value / 1_000);
    out.put(&THREE[(value % 1_000) as usize][..3]);
    out.room
}

#[cold]
fn formatted<'a>(mut room: &'a mut [u8], arguments: std::fmt::Arguments<'_>) -> &'a mut [u8] {
    room.write_fmt(arguments).expect(ROOMY);
    room
}

/// Writes `bytes` as the inside of a JSON string.
///
/// `"` and `\` are escaped by a backslash; control characters (below 0x20, 0x7f, U+0080 to U+009F) and the line
/// separators U+2028 and U+2029 become `\u00XX` or `\u20XX`; each run of bytes that is not UTF-8 becomes U+FFFD,
/// as RFC 8259 section 8.1 demands UTF-8. Everything else is copied.
#[cold]
fn escape<'a>(room: &'a mut [u8], bytes: &[u8]) -> &'a mut [u8] {
    let mut out = Line { room, is_plain: false };
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid();
        let mut copied = 0;
        for (at, char) in valid.char_indices().filter(|(_, char)| must_escape(*char)) {
            out.put(&valid.as_bytes()[copied..at]);
            copied = at + char.len_utf8();
            match char {
                '"' => out.put(b"\\\""),
                '\\' => out.put(b"\\\\"),
                other => out.format(format_args!("\\u{:04x}", u32::from(other))),
            }
        }
        out.put(&valid.as_bytes()[copied..]);
        if !chunk.invalid().is_empty() {
            out.put("\u{fffd}".as_bytes());
        }
    }
    out.room
}

fn must_escape(char: char) -> bool {
    matches!(char, '"' | '\\' | '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}')
}

/// Are all bytes characters of their own that need no escape, as nearly always? Without a way out at the first that is not.
fn are_plain(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks();
    let mut last = [b' '; 8];
    last[..rest.len()].copy_from_slice(rest);
    words.iter().fold(odd_bits(last), |odd, word| odd | odd_bits(*word)) & HIGH == 0
}

/// A one in each byte of a word, and the highest bit of each.
const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGH: u64 = ONES << 7;

/// Sets the highest bit of some byte when any of a word is odd, and of none when all are plain: from a space to `~`, but for
/// `"` and `\`.
///
/// Each step looks at all bytes at once. What it borrows from the next byte, or carries into it, comes from an odd one, so that the
/// answer is right where its place is not. With their second bit turned, control characters and `"` are those below 0x21.
#[inline(always)]
fn odd_bits(word: [u8; 8]) -> u64 {
    let word = u64::from_le_bytes(word);
    let low = (word ^ (ONES * 0x02)).wrapping_sub(ONES * 0x21);
    let backslash = (word ^ (ONES * u64::from(b'\\'))).wrapping_sub(ONES);
    let high = word | word.wrapping_add(ONES);
    low | backslash | high
}

#[cfg(test)]
mod tests;
