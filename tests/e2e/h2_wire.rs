//! A client of HTTP/2 whose every frame a test writes itself, right or wrong.

use std::io;
use std::net::{Shutdown, SocketAddr};

use super::wire::{End, Wire};

/// What a client says first (RFC 9113 section 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Kinds of frames (RFC 9113 section 6).
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RESET: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// Flags.
pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const ENDS: u8 = END_STREAM | END_HEADERS;

/// Error codes (RFC 9113 section 7).
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const SETTINGS_TIMEOUT: u32 = 4;
pub(crate) const STREAM_CLOSED: u32 = 5;
pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const CALM: u32 = 11;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The four bytes at `at` as a number: an error code, an increment.
    pub(crate) fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }

    /// Does the gateway's direction of the stream end with it?
    pub(crate) const fn ends(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

/// What became of a stream or of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// A response of this status.
    Status(u16),
    /// A reset with this code.
    Reset(u32),
    /// The connection ended with this code.
    GoAway(u32),
    /// The connection ended without a word.
    Silence,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct H2Wire(Wire);

impl H2Wire {
    /// Connects, says the preface and settings without dynamic tables, and answers those of the gateway.
    pub(crate) fn to(address: SocketAddr) -> Self {
        Self::over(Wire::to(address))
    }

    /// The same on a connection that is there, perhaps secured.
    pub(crate) fn over(wire: Wire) -> Self {
        let mut wire = Self::bare(wire);
        wire.sends(settings(&[(1, 0)]));
        wire.settles();
        wire
    }

    /// Takes a connection on which everything was said already.
    pub(crate) const fn over_begun(wire: Wire) -> Self {
        Self(wire)
    }

    /// Says nothing but the preface.
    pub(crate) fn bare(mut wire: Wire) -> Self {
        wire.sends(PREFACE);
        Self(wire)
    }

    /// Answers the settings of the gateway, and waits for its answer to ours.
    pub(crate) fn settles(&mut self) {
        let (mut theirs, mut ours) = (false, false);
        while !theirs || !ours {
            let frame = self.reads().expect("settings");
            if frame.kind == SETTINGS && frame.flags & ACK == 0 {
                self.sends(frame_of(SETTINGS, ACK, 0, b""));
                theirs = true;
            }
            ours |= frame.kind == SETTINGS && frame.flags & ACK != 0;
        }
    }

    /// Sends frames.
    pub(crate) fn sends(&mut self, frames: impl AsRef<[u8]>) -> &mut Self {
        self.0.sends(frames);
        self
    }

    /// The same; the gateway may have closed.
    pub(crate) fn try_sends(&mut self, frames: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.try_send(frames)
    }

    /// Reads a frame; none at the end of the connection.
    pub(crate) fn reads(&mut self) -> Option<Frame> {
        if !self.0.has_bytes() {
            return None;
        }
        let header = self.0.reads(9);
        let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let payload = self.0.reads(usize::try_from(number(0) >> 8).expect("a small frame"));
        Some(Frame { kind: header[3], flags: header[4], stream: number(5), payload })
    }

    /// Reads what is there already.
    pub(crate) fn reads_now(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while !self.0.is_silent() {
            match self.reads() {
                Some(frame) => frames.push(frame),
                None => break,
            }
        }
        frames
    }

    /// Waits for the first frame of this kind.
    pub(crate) fn expects(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.reads().unwrap_or_else(|| panic!("the end instead of a frame of kind {kind}"));
            if frame.kind == kind {
                return frame;
            }
            assert!(frame.kind != GOAWAY, "{frame:?} instead of a frame of kind {kind}");
        }
    }

    /// Waits until it is known what becomes of the stream.
    pub(crate) fn fate_of(&mut self, stream: u32) -> Fate {
        loop {
            let Some(frame) = self.reads() else { return Fate::Silence };
            match frame.kind {
                GOAWAY => {
                    // Whoever has nothing to say any more is not waited for.
                    drop(self.0.stream().shutdown(Shutdown::Write));
                    self.ends();
                    return Fate::GoAway(frame.number(4));
                }
                RESET if frame.stream == stream => return Fate::Reset(frame.number(0)),
                HEADERS if frame.stream == stream => return Fate::Status(status_of(&frame.payload)),
                _ => {}
            }
        }
    }

    /// Sends `unit` in batches until the gateway says goodbye, at most so many; the code, and how many went.
    pub(crate) fn floods(&mut self, most: usize, mut unit: impl FnMut(usize) -> Vec<u8>) -> (u32, usize) {
        let mut sent = 0;
        while sent < most {
            let batch: Vec<u8> = (sent..sent + BATCH).flat_map(&mut unit).collect();
            sent += BATCH;
            let is_gone = self.try_sends(batch).is_err();
            if let Some(goaway) = self.reads_now().into_iter().find(|frame| frame.kind == GOAWAY) {
                return (goaway.number(4), sent);
            }
            if is_gone {
                break;
            }
        }
        match self.fate_of(0) {
            Fate::GoAway(code) => (code, sent),
            other @ (Fate::Status(_) | Fate::Reset(_) | Fate::Silence) => panic!("{other:?} after {sent}"),
        }
    }

    /// A PING and its answer: everything before it has been looked at.
    pub(crate) fn pings(&mut self) -> &mut Self {
        self.sends(frame_of(PING, 0, 0, b"are you?"));
        let answer = self.expects(PING);
        assert_eq!((answer.flags, &answer.payload[..]), (ACK, &b"are you?"[..]));
        self
    }

    /// Is there neither a frame nor an end to be read right now?
    pub(crate) fn is_silent(&self) -> bool {
        self.0.is_silent()
    }

    /// Reads to the end of the connection.
    pub(crate) fn ends(&mut self) -> End {
        self.0.reads_to_end().1
    }

    /// Closes the connection.
    pub(crate) fn closes(self) {
        self.0.closes();
    }

    /// The connection below.
    pub(crate) const fn wire(&mut self) -> &mut Wire {
        &mut self.0
    }
}

/// Frames between two looks at what the gateway says.
const BATCH: usize = 20;

/// The bytes of a frame.
pub(crate) fn frame_of(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A frame of settings.
pub(crate) fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let each = values.iter().flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat());
    frame_of(SETTINGS, 0, 0, &each.collect::<Vec<_>>())
}

/// A frame that resets a stream.
pub(crate) fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame_of(RESET, 0, stream, &code.to_be_bytes())
}

/// A frame that makes room; none on the connection as a whole.
pub(crate) fn window(stream: u32, increment: u32) -> Vec<u8> {
    frame_of(WINDOW, 0, stream, &increment.to_be_bytes())
}

/// A stream that is a GET.
pub(crate) fn get(stream: u32, path: &str) -> Vec<u8> {
    frame_of(HEADERS, ENDS, stream, &fields_of("GET", path, &[]))
}

/// A stream that begins with the fields of a POST.
pub(crate) fn post(stream: u32, path: &str) -> Vec<u8> {
    frame_of(HEADERS, END_HEADERS, stream, &fields_of("POST", path, &[]))
}

/// The fields of a request, without a dynamic table.
pub(crate) fn fields_of(method: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "a.example")];
    block(&[&pseudo[..], fields].concat())
}

/// A field section, each field as a literal that is not remembered (RFC 7541 section 6.2.2).
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            push_length(&mut bytes, text.len());
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// RFC 7541 section 5.1, with a prefix of seven bits.
fn push_length(bytes: &mut Vec<u8>, length: usize) {
    if length < 127 {
        bytes.push(u8::try_from(length).expect("a byte"));
        return;
    }
    bytes.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).expect("a byte") | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).expect("a byte"));
}

/// The status that a field section begins with, where nothing is remembered.
pub(crate) fn status_of(block: &[u8]) -> u16 {
    // RFC 7541 section 6.3: updates of the table's size come first.
    let updates = block.iter().take_while(|byte| **byte & 0xe0 == 0x20).count();
    let block = &block[updates..];
    match block[0] {
        0x88..=0x8e => [200, 204, 206, 304, 400, 404, 500][usize::from(block[0] - 0x88)],
        0x08 | 0x18 | 0x48 => {
            let (is_coded, length) = (block[1] & 0x80 != 0, usize::from(block[1] & 0x7f));
            let text = &block[2..2 + length];
            if is_coded { digits_of(text) } else { std::str::from_utf8(text).expect("digits").parse().expect("digits") }
        }
        other => panic!("no status: {other:#x}"),
    }
}

/// Three digits in the code of RFC 7541 appendix B: 0, 1 and 2 have five bits, the others six.
fn digits_of(coded: &[u8]) -> u16 {
    let bits: Vec<u16> = coded.iter().flat_map(|byte| (0..8).rev().map(move |at| u16::from(byte >> at & 1))).collect();
    let number = |bits: &[u16]| bits.iter().fold(0, |number, bit| number * 2 + bit);
    let (mut at, mut status) = (0, 0);
    for _ in 0..3 {
        let short = number(&bits[at..at + 5]);
        let (digit, length) = if short < 3 { (short, 5) } else { (number(&bits[at..at + 6]) - 0b01_1001 + 3, 6) };
        status = status * 10 + digit;
        at += length;
    }
    status
}
