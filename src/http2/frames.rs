//! The frames in a stream of bytes, by their headers alone (RFC 9113 section 4.1).

/// What kind of frame it is (RFC 9113 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// DATA.
    Content,
    /// HEADERS.
    Headers,
    /// PRIORITY.
    Priority,
    /// `RST_STREAM`.
    Reset,
    /// SETTINGS.
    Settings,
    /// `PUSH_PROMISE`.
    Push,
    /// PING.
    Ping,
    /// GOAWAY.
    GoAway,
    /// `WINDOW_UPDATE`.
    Window,
    /// CONTINUATION.
    Continuation,
    /// Any other, to be ignored.
    Unknown,
}

/// A frame whose header has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its kind.
    pub kind: FrameKind,
    /// Its flags.
    pub flags: u8,
    /// Bytes of its payload.
    pub length: u32,
    /// The error code of a `RST_STREAM` or a GOAWAY, 0 otherwise.
    pub code: u32,
    /// The tenth byte of a GOAWAY's debug data, by which the words of `h2` differ; 0 otherwise.
    pub mark: u8,
}

/// Bytes of a frame's header.
const HEADER_BYTES: usize = 9;
/// The same, and what stands before the error code of a GOAWAY, and the code.
const GOAWAY_BYTES: usize = HEADER_BYTES + 8;
/// The same, and the debug data that is looked at.
const LONGEST: usize = GOAWAY_BYTES + 10;
/// This frame is the last of its stream.
const END_STREAM: u8 = 0x1;
/// This frame of settings answers one.
const ACK: u8 = 0x1;
/// Part of this frame is padding, whose length stands first.
const PADDED: u8 = 0x8;
/// This frame of fields begins with five bytes of priority.
const PRIORITY: u8 = 0x20;
/// This frame ends the fields that a HEADERS began.
const END_HEADERS: u8 = 0x4;

impl Frame {
    /// Does the sender's direction of the stream end with it?
    #[must_use]
    pub const fn ends_stream(&self) -> bool {
        matches!(self.kind, FrameKind::Content | FrameKind::Headers) && self.flags & END_STREAM != 0
    }

    /// Is another frame of the same fields to follow?
    #[must_use]
    pub const fn leaves_fields_open(&self) -> bool {
        matches!(self.kind, FrameKind::Headers | FrameKind::Continuation | FrameKind::Push)
            && self.flags & END_HEADERS == 0
    }

    /// Does it answer settings?
    #[must_use]
    pub const fn is_settings_ack(&self) -> bool {
        matches!(self.kind, FrameKind::Settings) && self.flags & ACK != 0
    }

    /// Has its payload a length that its kind does not allow (RFC 9113 section 6)?
    #[must_use]
    pub const fn is_misfit(&self) -> bool {
        let padding = (self.flags & PADDED != 0) as u32;
        match self.kind {
            FrameKind::Priority => self.length != 5,
            FrameKind::Reset | FrameKind::Window => self.length != 4,
            FrameKind::Ping => self.length != 8,
            FrameKind::Settings if self.is_settings_ack() => self.length != 0,
            FrameKind::Settings => !self.length.is_multiple_of(6),
            FrameKind::GoAway => self.length < 8,
            FrameKind::Headers if self.flags & PRIORITY != 0 => self.length < 5 + padding,
            FrameKind::Headers | FrameKind::Content => self.length < padding,
            FrameKind::Push | FrameKind::Continuation | FrameKind::Unknown => false,
        }
    }

    fn of(header: &[u8]) -> Self {
        let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let kind = match header[3] {
            0 => FrameKind::Content,
            1 => FrameKind::Headers,
            2 => FrameKind::Priority,
            3 => FrameKind::Reset,
            4 => FrameKind::Settings,
            5 => FrameKind::Push,
            6 => FrameKind::Ping,
            7 => FrameKind::GoAway,
            8 => FrameKind::Window,
            9 => FrameKind::Continuation,
            _ => FrameKind::Unknown,
        };
        let code_at = header.len().min(GOAWAY_BYTES) - 4;
        let code = if header.len() > HEADER_BYTES { number(code_at) } else { 0 };
        let mark = if header.len() == LONGEST { header[LONGEST - 1] } else { 0 };
        Self { kind, flags: header[4], length: number(0) >> 8, code, mark }
    }
}

/// Follows the frames of one direction of a connection, in pieces of any size.
#[derive(Clone, Debug)]
pub struct Scanner {
    header: [u8; LONGEST],
    /// Bytes of `header` that have come.
    have: usize,
    /// Bytes to pass before the next header.
    skip: u32,
    /// Is it in a frame that carries fields, or between two of the same fields?
    in_fields: bool,
}

impl Scanner {
    /// At the start of a direction whose first frame comes behind so many bytes.
    #[must_use]
    pub const fn behind(skip: u32) -> Self {
        Self { header: [0; LONGEST], have: 0, skip, in_fields: false }
    }

    /// Has part of some fields passed, and the rest not?
    #[must_use]
    pub const fn is_in_fields(&self) -> bool {
        self.in_fields
    }

    /// Shows every frame of which the header ends in `bytes` to `see`.
    pub fn scan(&mut self, mut bytes: &[u8], mut see: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let passed = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
                self.skip -= u32::try_from(passed).unwrap_or(self.skip);
                bytes = &bytes[passed..];
                self.in_fields &= self.skip > 0 || self.header_leaves_open();
                continue;
            }
            let wanted = self.wanted();
            let taken = (wanted - self.have).min(bytes.len());
            self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == wanted && wanted == self.wanted() {
                self.on_header(wanted, &mut see);
            }
        }
    }

    /// Bytes of the frame at hand that are looked at.
    const fn wanted(&self) -> usize {
        if self.have < HEADER_BYTES {
            return HEADER_BYTES;
        }
        let length = u32::from_be_bytes([0, self.header[0], self.header[1], self.header[2]]);
        match (self.header[3], length) {
            (3, 4) => HEADER_BYTES + 4,
            (7, 8..18) => GOAWAY_BYTES,
            (7, 18..) => LONGEST,
            _ => HEADER_BYTES,
        }
    }

    fn on_header(&mut self, wanted: usize, see: &mut impl FnMut(Frame)) {
        let frame = Frame::of(&self.header[..wanted]);
        see(frame);
        let looked_at = u32::try_from(wanted - HEADER_BYTES).unwrap_or(0);
        self.skip = frame.length - looked_at;
        self.have = 0;
        let carries = matches!(frame.kind, FrameKind::Headers | FrameKind::Continuation | FrameKind::Push);
        self.in_fields = carries && (self.skip > 0 || frame.leaves_fields_open());
    }

    /// The last header's own view of whether its fields go on.
    fn header_leaves_open(&self) -> bool {
        Frame::of(&self.header[..HEADER_BYTES]).leaves_fields_open()
    }
}

#[cfg(test)]
mod tests;
