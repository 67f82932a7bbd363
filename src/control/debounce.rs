//! When a burst of changes has settled; pure.

/// Waits for silence after a change, but not forever; times in milliseconds of any one clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Debounce {
    quiet_ms: u64,
    most_ms: u64,
    burst: Option<Burst>,
}

#[derive(Debug, Clone, Copy)]
struct Burst {
    first: u64,
    last: u64,
}

impl Debounce {
    /// Settles `quiet_ms` after the last change and at most `most_ms` after the first.
    pub(super) const fn new(quiet_ms: u64, most_ms: u64) -> Self {
        Self { quiet_ms, most_ms, burst: None }
    }

    /// Told of a change.
    pub(super) fn on_change(&mut self, now: u64) {
        let first = self.burst.map_or(now, |burst| burst.first);
        self.burst = Some(Burst { first, last: now });
    }

    /// Milliseconds until the burst has settled, 0 when it has; `None` when there was no change.
    pub(super) fn settles_in(&self, now: u64) -> Option<u64> {
        let burst = self.burst?;
        Some((burst.last + self.quiet_ms).min(burst.first + self.most_ms).saturating_sub(now))
    }

    /// Told that the burst was acted on.
    pub(super) fn on_settled(&mut self) {
        self.burst = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_settles_after_the_quiet_time() {
        let mut debounce = Debounce::new(50, 500);
        assert_eq!(debounce.settles_in(0), None);
        debounce.on_change(100);
        assert_eq!(debounce.settles_in(100), Some(50));
        assert_eq!(debounce.settles_in(150), Some(0));
        assert_eq!(debounce.settles_in(900), Some(0));
        debounce.on_settled();
        assert_eq!(debounce.settles_in(900), None);
    }

    #[test]
    fn each_change_starts_the_quiet_time_again() {
        let mut debounce = Debounce::new(50, 500);
        debounce.on_change(0);
        debounce.on_change(40);
        assert_eq!(debounce.settles_in(50), Some(40));
    }

    #[test]
    fn changes_without_end_settle_all_the_same() {
        let mut debounce = Debounce::new(50, 500);
        for at_ms in (0..=500).step_by(10) {
            debounce.on_change(at_ms);
        }
        assert_eq!(debounce.settles_in(500), Some(0));
    }
}
