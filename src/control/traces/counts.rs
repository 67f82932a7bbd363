//! What became of spans.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why spans never came to be the collector's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::control) enum Dropped {
    /// There was no connection, or it broke.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// The answer was a status other than 2xx.
    Status,
    /// The answer was none of OTLP.
    BadAnswer,
    /// The collector took the others.
    Rejected,
    /// The gateway ended first, or has no collector any more.
    Shutdown,
}

impl Dropped {
    /// All of them, by their index.
    const ALL: [Self; 6] =
        [Self::Unreachable, Self::Timeout, Self::Status, Self::BadAnswer, Self::Rejected, Self::Shutdown];

    /// The name in figures.
    pub(in crate::control) const fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Status => "status",
            Self::BadAnswer => "bad_answer",
            Self::Rejected => "rejected",
            Self::Shutdown => "shutdown",
        }
    }

    /// The one of this index.
    pub(super) fn of(index: u8) -> Option<Self> {
        Self::ALL.get(usize::from(index)).copied()
    }
}

/// Spans by what became of them.
#[derive(Debug, Default)]
pub(in crate::control) struct Counts {
    exported: AtomicU64,
    dropped: [AtomicU64; Dropped::ALL.len()],
}

impl Counts {
    pub(super) fn on_exported(&self, spans: u64) {
        self.exported.fetch_add(spans, Ordering::Relaxed);
    }

    pub(super) fn on_dropped(&self, why: Dropped, spans: u64) {
        self.dropped[why as usize].fetch_add(spans, Ordering::Relaxed);
    }

    /// Spans that the collector took.
    pub(in crate::control) fn exported(&self) -> u64 {
        self.exported.load(Ordering::Relaxed)
    }

    /// The others, by why.
    pub(in crate::control) fn dropped(&self) -> Vec<(&'static str, u64)> {
        Dropped::ALL.iter().map(|why| (why.name(), self.dropped[*why as usize].load(Ordering::Relaxed))).collect()
    }
}
