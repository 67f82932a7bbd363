//! Since when a peer takes nothing of what is written to it.

/// Milliseconds between two looks at what the peer has taken.
const LOOK_MS: u64 = 500;
/// What counts as moving: who takes a byte now and then to hold a connection for ever is cut like one who takes nothing.
const STEP_BYTES: u64 = 16 * 1024;

/// A write under way, while it does not move.
///
/// A write completes late: a socket says only when a third of it is free that there is room again, and what one write of TLS
/// or of HTTP/2 carries is up to 256 KiB. Who reads slowly, but steadily, would pass for one who reads nothing; so whoever
/// waits looks at what the peer has taken meanwhile ([`super::Stream::taken`]).
#[derive(Clone, Copy, Debug)]
pub struct Stall {
    since_ms: u64,
    looked_ms: u64,
    /// What was taken when it last moved.
    taken: Option<u64>,
}

impl Stall {
    /// Of a write that begins.
    #[must_use]
    pub const fn new(now_ms: u64) -> Self {
        Self { since_ms: now_ms, looked_ms: now_ms, taken: None }
    }

    /// Since when nothing moves, as far as that is known; `taken` is asked when it is time to look.
    pub fn since_ms(&mut self, now_ms: u64, taken: impl FnOnce() -> Option<u64>) -> u64 {
        if now_ms >= self.looked_ms + LOOK_MS {
            self.looked_ms = now_ms;
            let taken = taken();
            let has_moved = match (self.taken, taken) {
                (Some(before), Some(now)) => now.saturating_sub(before) >= STEP_BYTES,
                (before, now) => before != now,
            };
            if has_moved {
                (self.since_ms, self.taken) = (now_ms, taken);
            }
        }
        self.since_ms
    }

    /// Has nothing moved for `patience_ms`?
    pub fn is_over(&mut self, now_ms: u64, patience_ms: u64, taken: impl FnOnce() -> Option<u64>) -> bool {
        now_ms >= self.since_ms(now_ms, taken).saturating_add(patience_ms)
    }

    /// When to ask whether it is over.
    #[must_use]
    pub fn due_ms(&self, patience_ms: u64) -> u64 {
        self.since_ms.saturating_add(patience_ms).min(self.looked_ms + LOOK_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks when that is due, until it is over; when that was.
    fn over_ms(patience_ms: u64, taken: impl Fn(u64) -> Option<u64>) -> u64 {
        let (mut stall, mut now_ms) = (Stall::new(0), 0);
        for _ in 0..1000 {
            now_ms = stall.due_ms(patience_ms);
            if stall.is_over(now_ms, patience_ms, || taken(now_ms)) {
                break;
            }
        }
        now_ms
    }

    #[test]
    fn it_is_over_once_nothing_has_moved_for_so_long() {
        assert_eq!(over_ms(1000, |_| None), 1000, "nobody knows");
        assert_eq!(over_ms(1000, |_| Some(7)), 1000 + LOOK_MS, "from the first look on");
        assert_eq!(over_ms(1000, |now_ms| Some(now_ms.min(5000) * 64)), 6000);
        assert_eq!(over_ms(1000, Some), 1000 + LOOK_MS, "too little");
        assert_eq!(over_ms(LOOK_MS / 2, Some), LOOK_MS / 2, "too short to look");
    }

    #[test]
    fn it_is_never_over_while_something_moves() {
        assert!(over_ms(1000, |now_ms| Some(now_ms / 900 * STEP_BYTES)) > 100_000);
    }
}
