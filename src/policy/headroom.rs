//! What is taken on while memory runs short.
//!
//! Whoever has a limit of memory is killed above it, with all that is in flight. What is near it takes on nothing new, so that
//! what it has can end: first no requests, then no connections either.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// Parts in a hundred of the limit at which requests are refused, and below which they are taken again.
const REQUESTS: (u64, u64) = (92, 88);
/// The same of connections.
const CONNECTIONS: (u64, u64) = (95, 92);
/// The same of requests where there is a floor, in parts of what is left above it.
const REQUESTS_ABOVE: (u64, u64) = (50, 25);
/// The same of connections.
const CONNECTIONS_ABOVE: (u64, u64) = (75, 50);
/// With less than one part in so many of the limit above the floor nothing is refused.
const LEAST_ABOVE: u64 = 32;
/// One part in so many of the limit may always be at work: probes are, and what is being refused.
const ALWAYS_AT_WORK: u64 = 64;
/// How long it is refused in vain before that is taken for a floor: memory that was freed is given back meanwhile.
const IN_VAIN_MS: u64 = 2_000;

/// Bytes that a request holds at most, in the mean of many.
const REQUEST_BYTES: u64 = 256 << 10;
/// The same of a tunnel, which buffers little.
const TUNNEL_BYTES: u64 = 32 << 10;
/// Bytes that a connection of HTTP/2 holds while it rests.
const H2_CONNECTION_BYTES: u64 = 24 << 10;
/// The same of any other.
const CONNECTION_BYTES: u64 = 2 << 10;
/// What a connection holds besides, at most and in the mean of many, while a handshake or the head of a request is on its way:
/// the head as far as it has come, room for it parsed, and the session's buffer.
const ARRIVING_BYTES: u64 = 96 << 10;

/// What clients have there, and how much.
#[derive(Debug, Clone, Copy, Default)]
pub struct Load {
    /// Requests that are served, those that became tunnels among them.
    pub requests: u64,
    /// Streams of HTTP/2 that are served, each a request.
    pub h2_streams: u64,
    /// Tunnels.
    pub tunnels: u64,
    /// Connections, those of HTTP/2 among them.
    pub connections: u64,
    /// Connections between two requests, those of HTTP/2 without a stream among them.
    pub idle: u64,
    /// Connections of HTTP/2.
    pub h2_connections: u64,
}

impl Load {
    /// Bytes that its end may free.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        let Self { requests, tunnels, connections, h2_connections, .. } = *self;
        requests.saturating_sub(tunnels) * REQUEST_BYTES
            + tunnels * TUNNEL_BYTES
            + self.arriving() * ARRIVING_BYTES
            + connections.saturating_sub(h2_connections) * CONNECTION_BYTES
            + h2_connections * H2_CONNECTION_BYTES
    }

    /// Connections that neither rest nor serve a request: on them comes the word of a proxy, a handshake or a head. One of HTTP/2
    /// with streams is among them: it has buffers of its own while it is busy.
    const fn arriving(&self) -> u64 {
        let h1_requests = self.requests.saturating_sub(self.h2_streams);
        // Each is counted at a moment of its own, so that more may seem to be less.
        self.connections.saturating_sub(self.idle).saturating_sub(h1_requests)
    }
}

/// How short memory is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Shortage {
    /// All is taken on.
    #[default]
    None,
    /// Requests are refused.
    Requests,
    /// Connections are refused as well.
    Connections,
}

/// Milliseconds that a client may take next to nothing while memory is short: as that begins, and at the least.
const PATIENCE_MS: (u64, u64) = (2_000, 500);
/// At the least while it is so short that connections are refused.
const LEAST_PATIENCE_MS: u64 = 100;

impl Shortage {
    /// How long a client may take next to nothing, in milliseconds, a tick after `before_ms`: half as long each time, so that who
    /// has waited for longest is let go first, and nobody any more as soon as that was enough.
    #[must_use]
    pub fn patience_ms(self, before_ms: u64) -> u64 {
        let (first, least) = PATIENCE_MS;
        match self {
            Self::None => u64::MAX,
            Self::Requests => (before_ms / 2).clamp(least, first),
            Self::Connections => (before_ms / 2).clamp(LEAST_PATIENCE_MS, first),
        }
    }

    /// What follows, with so many bytes in use, by the bounds that the limit alone gives:
    ///
    /// | before | below 88 % | below 92 % | below 95 % | from 95 % on |
    /// |---|---|---|---|---|
    /// | none | none | none | requests | connections |
    /// | requests | none | requests | requests | connections |
    /// | connections | none | requests | connections | connections |
    fn next(self, used: u64, bounds: &Bounds) -> Self {
        let at_least = |(from, until): (u64, u64), is_before: bool| used >= if is_before { until } else { from };
        if at_least(bounds.connections, self == Self::Connections) {
            Self::Connections
        } else if at_least(bounds.requests, self != Self::None) {
            Self::Requests
        } else {
            Self::None
        }
    }
}

/// In bytes: from where something is refused, and below what no more.
#[derive(Debug)]
struct Bounds {
    requests: (u64, u64),
    connections: (u64, u64),
}

impl Bounds {
    /// By the limit, or by what is left of it above the floor where there is one.
    fn new(limit: u64, floor: u64) -> Self {
        let above = limit.saturating_sub(floor);
        let (base, rest, requests, connections) = match floor {
            0 => (0, limit, REQUESTS, CONNECTIONS),
            _ if above < limit / LEAST_ABOVE => (u64::MAX, 0, REQUESTS_ABOVE, CONNECTIONS_ABOVE),
            _ => (floor, above, REQUESTS_ABOVE, CONNECTIONS_ABOVE),
        };
        let both = |(from, until): (u64, u64)| (base + parts(rest, from), base + parts(rest, until));
        Self { requests: both(requests), connections: both(connections) }
    }
}

/// So many parts in a hundred of a number of bytes, which may be any, rounded up.
const fn parts(of: u64, count: u64) -> u64 {
    of / 100 * count + (of % 100 * count).div_ceil(100)
}

/// What is seen at one look.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// When, by a clock that only goes forward.
    pub now_ms: u64,
    /// Bytes in use that cannot be taken back.
    pub used: u64,
    /// Bytes that may be.
    pub limit: Option<u64>,
    /// Bytes that may be freed by the end of what is at work ([`Load::bytes`]).
    pub at_work: u64,
}

/// What has changed by a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Memory is as short as that now.
    To(Shortage),
    /// So much is in use with so little at work that refusing frees nothing: it is the floor now.
    InVain,
}

/// Judges how short memory is, look by look.
///
/// It refuses near the limit, while what is at work may hold what is in use above the bound where that would end. Where it may not
/// for two seconds, or from a new limit's first look on, what is in use is a floor: a process may need that much, or have it left
/// from a peak. Then only what comes on top of the floor counts, by parts of what is left above it; it sinks with what is in use, and
/// is forgotten where requests would be taken by the limit alone.
#[derive(Debug, Default)]
pub struct Judge {
    shortage: Shortage,
    /// The limit of the look before; 0 is none.
    limit: u64,
    /// Bytes that refusing does not free; 0 while that is not known.
    floor: u64,
    /// Since when refusing cannot help.
    in_vain_since_ms: Option<u64>,
}

impl Judge {
    /// How short memory is.
    #[must_use]
    pub const fn shortage(&self) -> Shortage {
        self.shortage
    }

    /// Is something refused though that cannot help, so that what is in use is soon taken for a floor?
    #[must_use]
    pub const fn is_in_vain(&self) -> bool {
        self.in_vain_since_ms.is_some()
    }

    /// Told what was seen; what that changes.
    pub fn on_look(&mut self, Look { now_ms, used, limit, at_work }: Look) -> Option<Change> {
        let Some(limit) = limit else {
            let before = std::mem::take(self).shortage;
            return (before != Shortage::None).then_some(Change::To(Shortage::None));
        };
        let is_new = std::mem::replace(&mut self.limit, limit) != limit;
        self.floor = if used < parts(limit, REQUESTS.1) { 0 } else { self.floor.min(used) };
        let bounds = Bounds::new(limit, self.floor);
        let next = self.shortage.next(used, &bounds);
        let may_help = at_work > used.saturating_sub(bounds.requests.1).max(limit / ALWAYS_AT_WORK);
        if next == Shortage::None || may_help {
            self.in_vain_since_ms = None;
            return self.turn_to(next);
        }
        let since_ms = *self.in_vain_since_ms.get_or_insert(now_ms);
        // What was in use before there was this limit is no peak that passes.
        if !is_new && now_ms.saturating_sub(since_ms) < IN_VAIN_MS {
            return self.turn_to(next);
        }
        self.in_vain_since_ms = None;
        let is_first = std::mem::replace(&mut self.floor, used) == 0;
        let change = self.turn_to(Shortage::None);
        if is_first { Some(Change::InVain) } else { change }
    }

    fn turn_to(&mut self, next: Shortage) -> Option<Change> {
        let before = std::mem::replace(&mut self.shortage, next);
        (before != next).then_some(Change::To(next))
    }
}

/// What is known of it, for all workers.
#[derive(Debug, Default)]
pub struct Headroom {
    /// In bytes; 0 is none.
    limit: AtomicU64,
    /// Is it what the cgroup may use?
    is_auto: AtomicBool,
    shortage: AtomicU8,
}

impl Headroom {
    /// Changes the limit, in bytes; `None` lifts it.
    pub fn set_limit(&self, limit: Option<u64>) {
        self.limit.store(limit.unwrap_or(0), Ordering::Relaxed);
    }

    /// The limit in bytes, if there is one.
    #[must_use]
    pub fn limit(&self) -> Option<u64> {
        Some(self.limit.load(Ordering::Relaxed)).filter(|limit| *limit > 0)
    }

    /// Changes whether the limit follows what the cgroup may use.
    pub fn set_auto(&self, is_auto: bool) {
        self.is_auto.store(is_auto, Ordering::Relaxed);
    }

    /// Does the limit follow what the cgroup may use?
    #[must_use]
    pub fn is_auto(&self) -> bool {
        self.is_auto.load(Ordering::Relaxed)
    }

    /// Has all workers know how short memory is.
    pub fn set_shortage(&self, shortage: Shortage) {
        self.shortage.store(shortage as u8, Ordering::Relaxed);
    }

    /// How short memory is.
    #[must_use]
    pub fn shortage(&self) -> Shortage {
        match self.shortage.load(Ordering::Relaxed) {
            0 => Shortage::None,
            1 => Shortage::Requests,
            _ => Shortage::Connections,
        }
    }

    /// Is there memory for further requests?
    #[must_use]
    pub fn takes_requests(&self) -> bool {
        self.shortage() == Shortage::None
    }

    /// Is there memory for further connections?
    #[must_use]
    pub fn takes_connections(&self) -> bool {
        self.shortage() < Shortage::Connections
    }
}

#[cfg(test)]
mod tests;
