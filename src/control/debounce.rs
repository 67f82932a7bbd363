//! When a burst of changes has settled; pure.

/// Waits for silence after a change, but not forever; times in milliseconds of any one clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Debounce {
    most_ms: u64,
    burst: Option<Burst>,
}

#[derive(Debug, Clone, Copy)]
struct Burst {
    first: u64,
    settled: u64,
}

impl Debounce {
    /// Settles at most `most_ms` after the first change.
    pub(super) const fn new(most_ms: u64) -> Self {
        Self { most_ms, burst: None }
    }

    /// Told of a change, which is the last one if `quiet_ms` of silence follow.
    pub(super) fn on_change(&mut self, now: u64, quiet_ms: u64) {
        let first = self.burst.map_or(now, |burst| burst.first);
        self.burst = Some(Burst { first, settled: now + quiet_ms });
    }

    /// Milliseconds until the burst has settled, 0 when it has; `None` when there was no change.
    pub(super) fn settles_in(&self, now: u64) -> Option<u64> {
        let burst = self.burst?;
        Some(burst.settled.min(burst.first + self.most_ms).saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_settles_after_the_quiet_time() {
        let mut debounce = Debounce::new(500);
        assert_eq!(debounce.settles_in(0), None);
        debounce.on_change(100, 50);
        assert_eq!(debounce.settles_in(100), Some(50));
        assert_eq!(debounce.settles_in(150), Some(0));
        assert_eq!(debounce.settles_in(900), Some(0));
    }

    #[test]
    fn each_change_starts_a_quiet_time_of_its_own() {
        let mut debounce = Debounce::new(500);
        debounce.on_change(0, 50);
        debounce.on_change(40, 50);
        assert_eq!(debounce.settles_in(50), Some(40));
        debounce.on_change(50, 10);
        assert_eq!(debounce.settles_in(50), Some(10));
    }

    #[test]
    fn changes_without_end_settle_all_the_same() {
        let mut debounce = Debounce::new(500);
        for at_ms in (0..=500).step_by(10) {
            debounce.on_change(at_ms, 50);
        }
        assert_eq!(debounce.settles_in(500), Some(0));
    }
}
