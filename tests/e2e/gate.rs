//! A gate that requests wait at inside an origin, so that a test decides how long they are in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::origin::Origin;
use super::wait::until_true;

/// The gate; clones are the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    arrived: AtomicU64,
    allowed: AtomicU64,
}

impl Gate {
    /// A shut gate.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Waits to be let through; for an origin's thread.
    pub(crate) fn passes(&self) {
        let number = self.inner.arrived.fetch_add(1, Ordering::Relaxed);
        until_true("the gate opens", || number < self.inner.allowed.load(Ordering::Relaxed));
    }

    /// How many have arrived so far.
    pub(crate) fn arrived(&self) -> u64 {
        self.inner.arrived.load(Ordering::Relaxed)
    }

    /// Waits until so many have arrived.
    pub(crate) fn sees(&self, count: u64) {
        until_true(&format!("{count} at the gate, not {}", self.arrived()), || self.arrived() >= count);
        assert_eq!(self.arrived(), count, "at the gate");
    }

    /// Lets `count` more through, in the order they arrived.
    pub(crate) fn lets(&self, count: u64) {
        self.inner.allowed.fetch_add(count, Ordering::Relaxed);
    }

    /// Opens it for good.
    pub(crate) fn opens(&self) {
        self.inner.allowed.store(u64::MAX / 2, Ordering::Relaxed);
    }

    /// An origin whose requests wait at this gate when their path begins with `/held`, and which answers with `content`.
    pub(crate) fn origin(&self, content: &'static str) -> Origin {
        let gate = self.clone();
        Origin::answering(move |request| {
            if request.start.split(' ').nth(1).is_some_and(|path| path.starts_with("/held")) {
                gate.passes();
            }
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{content}", content.len()).into_bytes()
        })
    }
}
