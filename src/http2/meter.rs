//! What the frames of one connection say about its peer: abuse that is legal frame by frame (RFC 9113 section 10.5).

use super::PREFACE;
use super::frames::{Frame, FrameKind, Scanner};
use crate::limits;

/// What a peer did too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// Streams that it opened and reset, or made us reset.
    Resets,
    /// PING.
    Ping,
    /// SETTINGS.
    Settings,
    /// PRIORITY.
    Priority,
    /// DATA without content, or with next to none.
    EmptyContent,
    /// `WINDOW_UPDATE` beyond what was sent to it.
    Window,
    /// CONTINUATION in a row.
    Continuation,
    /// Fields of one message, far beyond what is allowed.
    Fields,
    /// Frames of other kinds that carry nothing.
    Other,
}

impl Excess {
    /// Every excess, in the order of their counters.
    pub const ALL: [Self; 9] = [
        Self::Resets,
        Self::Ping,
        Self::Settings,
        Self::Priority,
        Self::EmptyContent,
        Self::Window,
        Self::Continuation,
        Self::Fields,
        Self::Other,
    ];

    /// The name in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Resets => "resets",
            Self::Ping => "ping",
            Self::Settings => "settings",
            Self::Priority => "priority",
            Self::EmptyContent => "empty_data",
            Self::Window => "window_update",
            Self::Continuation => "continuation",
            Self::Fields => "fields",
            Self::Other => "other",
        }
    }

    /// Its place in [`Excess::ALL`], the index of its counter.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A connection error that the header of a frame shows (RFC 9113 section 5.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// Something came before the settings (section 3.4).
    Unannounced,
    /// A frame of a length that its kind does not have (section 4.2).
    FrameSize,
}

/// Error codes that HTTP/2 has (RFC 9113 section 7).
pub const ERROR_CODES: usize = 14;

/// What has passed since somebody last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Resets that came.
    pub resets_received: u64,
    /// Resets that went.
    pub resets_sent: u64,
    /// Field sections that went.
    pub fields_sent: u64,
    /// Frames of messages that came.
    pub spoken: u64,
    /// GOAWAYs that came.
    pub goaways_received: u64,
    /// GOAWAYs that went, by error code.
    pub goaways: [u64; ERROR_CODES],
}

/// So much in so long, with what is not used saved up to the same amount.
#[derive(Clone, Copy, Debug)]
struct Budget {
    most: u64,
    left: u64,
    refilled_ms: u64,
}

impl Budget {
    /// `frames` in [`limits::H2_BUDGET_MS`], all of them at hand. One frame costs as many units as there are milliseconds
    /// in that time, so that nothing is rounded.
    const fn new(frames: u64, now_ms: u64) -> Self {
        let most = frames * limits::H2_BUDGET_MS;
        Self { most, left: most, refilled_ms: now_ms }
    }

    /// Spends one frame; false when there is none left.
    fn try_spend(&mut self, now_ms: u64) -> bool {
        let passed_ms = now_ms.saturating_sub(self.refilled_ms);
        self.refilled_ms = now_ms;
        let refill = passed_ms.saturating_mul(self.most / limits::H2_BUDGET_MS);
        self.left = self.left.saturating_add(refill).min(self.most);
        match self.left.checked_sub(limits::H2_BUDGET_MS) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }

    /// Gives quarters of a frame back.
    fn earn_quarters(&mut self, quarters: u64) {
        self.left = (self.left + quarters * limits::H2_BUDGET_MS / 4).min(self.most);
    }
}

/// Looks at the bytes of one connection, both ways.
///
/// | frame | costs | earns |
/// |---|---|---|
/// | PING, SETTINGS, PRIORITY, `WINDOW_UPDATE`, GOAWAY, unknown, DATA without content or end, received | 1 control | |
/// | `RST_STREAM` received | 1 reset | |
/// | `RST_STREAM` sent because of what the client sent | 1 reset | |
/// | HEADERS received | | 4 control |
/// | DATA sent | | 2 control; besides, for `WINDOW_UPDATE` alone, 2 and 1 for each 512 bytes, kept until they come |
/// | the end of a response sent | | a quarter of a reset |
/// | CONTINUATION received that is not the last | 1 of those that its field section may have | |
/// | GOAWAY sent by `h2` for an abuse that it found | everything | |
#[derive(Clone, Debug)]
pub struct Meter {
    received: Scanner,
    sent: Scanner,
    control: Budget,
    resets: Budget,
    /// `WINDOW_UPDATE` that may answer content that was sent. They come when the peer reads it, which may be MiBs and seconds
    /// later, so that these are not bounded by a time.
    windows_due: u64,
    /// CONTINUATION of one field section, of those that are not the last.
    continuations: u32,
    continuations_most: u32,
    /// Settings sent that were not answered.
    settings_owed: u32,
    is_announced: bool,
    excess: Option<Excess>,
    breach: Option<Breach>,
    tally: Tally,
    /// Have we said that we know the peer's settings?
    is_acquainted: bool,
    /// Are resets what the peer may do as it likes? An endpoint is asked for what it then does not want.
    may_reset: bool,
}

impl Meter {
    /// For the server's side of a connection that begins now, its preface included, with field sections of so many bytes
    /// and so many streams at once.
    #[must_use]
    pub fn new(now_ms: u64, header_bytes: u32, streams: u32) -> Self {
        // Frames as full as they may be, some that are not, and a few in any case. `h2` reckons alike and looks later.
        let full = (header_bytes / FRAME_BYTES).max(1);
        Self {
            received: Scanner::behind(u32::try_from(PREFACE.len()).unwrap_or(0)),
            sent: Scanner::behind(0),
            control: Budget::new(limits::H2_CONTROL_FRAMES, now_ms),
            resets: Budget::new(resets_allowed(streams), now_ms),
            windows_due: 0,
            continuations: 0,
            continuations_most: (full + full / 4).max(limits::H2_CONTINUATIONS),
            settings_owed: 0,
            is_announced: false,
            excess: None,
            breach: None,
            tally: Tally::default(),
            is_acquainted: false,
            may_reset: false,
        }
    }

    /// For the client's side of a connection that begins now, our preface included.
    #[must_use]
    pub fn of_client(now_ms: u64, header_bytes: u32) -> Self {
        let server = Self::new(now_ms, header_bytes, limits::H2_UPSTREAM_STREAMS);
        let Self { received: sent, sent: received, .. } = server.clone();
        Self { received, sent, may_reset: true, ..server }
    }

    /// Have we said that we know the peer's settings (RFC 9113 section 6.5.3)?
    #[must_use]
    pub const fn is_acquainted(&self) -> bool {
        self.is_acquainted
    }

    /// Told what came.
    pub fn on_received(&mut self, bytes: &[u8], now_ms: u64) {
        let Self { received, control, resets, excess, breach, tally, may_reset, .. } = self;
        let Self { windows_due, continuations, continuations_most, settings_owed, is_announced, .. } = self;
        received.scan(bytes, |frame| {
            let is_first = !std::mem::replace(is_announced, true);
            if is_first && (frame.kind != FrameKind::Settings || frame.is_settings_ack()) {
                breach.get_or_insert(Breach::Unannounced);
            }
            if frame.is_misfit() {
                breach.get_or_insert(Breach::FrameSize);
            }
            let what = match frame.kind {
                FrameKind::Headers => {
                    tally.spoken += 1;
                    *continuations = 0;
                    control.earn_quarters(4 * CONTROL_PER_STREAM);
                    return;
                }
                FrameKind::Continuation => {
                    *continuations += u32::from(frame.leaves_fields_open());
                    if *continuations > *continuations_most {
                        excess.get_or_insert(Excess::Continuation);
                    }
                    return;
                }
                FrameKind::Content if frame.length == 0 && !frame.ends_stream() => Excess::EmptyContent,
                FrameKind::Content | FrameKind::Push => {
                    tally.spoken += 1;
                    return;
                }
                FrameKind::Reset => {
                    tally.resets_received += 1;
                    if *may_reset {
                        return;
                    }
                    Excess::Resets
                }
                FrameKind::Ping => Excess::Ping,
                FrameKind::Settings => {
                    *settings_owed = settings_owed.saturating_sub(u32::from(frame.is_settings_ack()));
                    Excess::Settings
                }
                FrameKind::Priority => Excess::Priority,
                FrameKind::Window if *windows_due > 0 => {
                    *windows_due -= 1;
                    return;
                }
                FrameKind::Window => Excess::Window,
                FrameKind::GoAway => {
                    tally.goaways_received += 1;
                    Excess::Other
                }
                FrameKind::Unknown => Excess::Other,
            };
            let budget = if what == Excess::Resets { &mut *resets } else { &mut *control };
            if !budget.try_spend(now_ms) {
                excess.get_or_insert(what);
            }
        });
    }

    /// Told what goes.
    pub fn on_sent(&mut self, bytes: &[u8], now_ms: u64) {
        let Self { sent, control, resets, windows_due, settings_owed, .. } = self;
        let Self { excess, tally, is_acquainted, may_reset, .. } = self;
        sent.scan(bytes, |frame| {
            if frame.ends_stream() {
                resets.earn_quarters(1);
            }
            #[expect(clippy::wildcard_enum_match_arm, reason = "all other frames say nothing about the client")]
            match frame.kind {
                FrameKind::Content => {
                    control.earn_quarters(4 * CONTROL_PER_CONTENT);
                    *windows_due += WINDOWS_PER_CONTENT + u64::from(frame.length / BYTES_PER_WINDOW);
                }
                FrameKind::Headers => tally.fields_sent += 1,
                FrameKind::Settings => {
                    *settings_owed += u32::from(!frame.is_settings_ack());
                    *is_acquainted |= frame.is_settings_ack();
                }
                FrameKind::Reset => {
                    tally.resets_sent += 1;
                    if !*may_reset && is_of_client(frame) && !resets.try_spend(now_ms) {
                        excess.get_or_insert(Excess::Resets);
                    }
                }
                FrameKind::GoAway => {
                    let code = usize::try_from(frame.code).unwrap_or(0);
                    tally.goaways[if code < ERROR_CODES { code } else { 0 }] += 1;
                    if frame.code == ENHANCE_YOUR_CALM && excess.is_none() {
                        *excess = told_by_h2(frame.mark);
                    }
                }
                _ => {}
            }
        });
    }

    /// What the peer did too often, from the first time on.
    #[must_use]
    pub const fn excess(&self) -> Option<Excess> {
        self.excess
    }

    /// What shows that the peer does not speak the protocol.
    #[must_use]
    pub const fn breach(&self) -> Option<Breach> {
        self.breach
    }

    /// Were settings sent that the peer has not answered?
    #[must_use]
    pub const fn awaits_settings(&self) -> bool {
        self.settings_owed > 0
    }

    /// Has part of some fields come, and the rest not?
    #[must_use]
    pub const fn is_in_fields(&self) -> bool {
        self.received.is_in_fields()
    }

    /// What has passed since the last call; none if that was nothing.
    pub fn take_tally(&mut self) -> Option<Tally> {
        Some(core::mem::take(&mut self.tally)).filter(|tally| *tally != Tally::default())
    }
}

/// Streams that a peer may reset at once, of so many that it may have open: all of them.
fn resets_allowed(streams: u32) -> u64 {
    u64::from(streams).max(limits::H2_RESETS)
}

/// Control frames that come with a stream: its window, its priority.
const CONTROL_PER_STREAM: u64 = 4;
/// Control frames that answer content: a ping to measure the path.
const CONTROL_PER_CONTENT: u64 = 2;
/// Windows that answer content, of stream and connection.
const WINDOWS_PER_CONTENT: u64 = 2;
/// Bytes of content for which there may be one more: `net/http` of Go makes room on both each time 4 KiB were read, and others
/// for less.
const BYTES_PER_WINDOW: u32 = 512;

/// Bytes of a frame's payload that everybody may send.
const FRAME_BYTES: u32 = 16_384;

/// What `h2` had enough of. It says so in the debug data of its GOAWAY and nowhere else: `header_list_way_too_large`,
/// `too_many_continuations`, `too_many_resets`, `too_many_internal_resets`, `too_many_data_frames`.
const fn told_by_h2(mark: u8) -> Option<Excess> {
    match mark {
        b's' => Some(Excess::Fields),
        b'c' => Some(Excess::Continuation),
        b'r' | b'i' => Some(Excess::Resets),
        b'd' => Some(Excess::EmptyContent),
        // None of them: it was told to go by us.
        0 => None,
        _ => Some(Excess::Other),
    }
}

/// Is this a reset that what the client sent made necessary? So it was made to be: CVE-2025-8671.
const fn is_of_client(reset: Frame) -> bool {
    // RFC 9113 section 7: NO_ERROR, INTERNAL_ERROR, CANCEL and a few more are ours.
    matches!(reset.code, PROTOCOL_ERROR | FLOW_CONTROL_ERROR | STREAM_CLOSED | FRAME_SIZE_ERROR | REFUSED_STREAM)
}

const PROTOCOL_ERROR: u32 = 0x1;
const FLOW_CONTROL_ERROR: u32 = 0x3;
const STREAM_CLOSED: u32 = 0x5;
const FRAME_SIZE_ERROR: u32 = 0x6;
const REFUSED_STREAM: u32 = 0x7;
const ENHANCE_YOUR_CALM: u32 = 0xb;

#[cfg(test)]
mod tests;
