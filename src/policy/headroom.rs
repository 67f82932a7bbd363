//! What is taken on while memory runs short.
//!
//! Whoever has a limit of memory is killed above it, with all that is in flight. What is near it takes on nothing new, so that
//! what it has can end: first no requests, then no connections either.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Parts in a hundred of the limit at which requests are refused, and below which they are taken again.
const REQUESTS: (u64, u64) = (92, 88);
/// The same of connections.
const CONNECTIONS: (u64, u64) = (95, 92);

/// How short memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Shortage {
    /// All is taken on.
    None,
    /// Requests are refused.
    Requests,
    /// Connections are refused as well.
    Connections,
}

impl Shortage {
    /// What follows, with so much of the limit in use:
    ///
    /// | before | below 88 % | below 92 % | below 95 % | from 95 % on |
    /// |---|---|---|---|---|
    /// | none | none | none | requests | connections |
    /// | requests | none | requests | requests | connections |
    /// | connections | none | requests | connections | connections |
    fn next(self, used: u64, limit: u64) -> Self {
        // In hundredths of the limit, which may be any number.
        let at_least = |(from, until): (u64, u64), is_before: bool| {
            let parts = if is_before { until } else { from };
            u128::from(used) * 100 >= u128::from(limit) * u128::from(parts)
        };
        if at_least(CONNECTIONS, self == Self::Connections) {
            Self::Connections
        } else if at_least(REQUESTS, self != Self::None) {
            Self::Requests
        } else {
            Self::None
        }
    }
}

/// What is known of it, for all workers.
#[derive(Debug, Default)]
pub struct Headroom {
    /// In bytes; 0 is none.
    limit: AtomicU64,
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

    /// Told how many bytes are in use; how short they are now, if that is another answer than before.
    pub fn on_used(&self, bytes: u64) -> Option<Shortage> {
        let before = self.shortage();
        let now = self.limit().map_or(Shortage::None, |limit| before.next(bytes, limit));
        self.shortage.store(now as u8, Ordering::Relaxed);
        (now != before).then_some(now)
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
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_taken_again_only_well_below_where_that_began() {
        let headroom = Headroom::default();
        headroom.set_limit(Some(1000));
        for (used, changed, now) in [
            (919, None, Shortage::None),
            (920, Some(Shortage::Requests), Shortage::Requests),
            (880, None, Shortage::Requests),
            (949, None, Shortage::Requests),
            (950, Some(Shortage::Connections), Shortage::Connections),
            (920, None, Shortage::Connections),
            (919, Some(Shortage::Requests), Shortage::Requests),
            (879, Some(Shortage::None), Shortage::None),
            (919, None, Shortage::None),
            (2000, Some(Shortage::Connections), Shortage::Connections),
            (1, Some(Shortage::None), Shortage::None),
        ] {
            assert_eq!((headroom.on_used(used), headroom.shortage()), (changed, now), "{used}");
            assert_eq!(headroom.takes_requests(), now == Shortage::None, "{used}");
            assert_eq!(headroom.takes_connections(), now != Shortage::Connections, "{used}");
        }
    }

    #[test]
    fn without_a_limit_nothing_is_short_and_one_that_is_lifted_ends_what_was() {
        let headroom = Headroom::default();
        assert_eq!((headroom.on_used(u64::MAX), headroom.limit()), (None, None));
        headroom.set_limit(Some(u64::MAX));
        assert_eq!(headroom.on_used(u64::MAX), Some(Shortage::Connections));
        headroom.set_limit(None);
        assert_eq!(headroom.on_used(u64::MAX), Some(Shortage::None));
    }
}
