//! One after the other.

use super::Candidates;

/// Takes the endpoints in turn.
#[derive(Clone, Debug)]
pub(super) struct RoundRobin {
    next: usize,
}

impl RoundRobin {
    pub(super) fn new(start: u32) -> Self {
        Self { next: start as usize }
    }

    /// The place at which a search over `count` endpoints begins.
    pub(super) fn place_in(&self, count: usize) -> usize {
        self.next.checked_rem(count).unwrap_or(0)
    }

    /// Told what was picked: the next search begins behind it.
    pub(super) const fn on_picked(&mut self, at: usize) {
        self.next = at + 1;
    }

    /// The next endpoint with a share. One that ramps up takes only that part of its turns that it has ramped to.
    ///
    /// The cursor goes on behind the endpoint picked, so those that stand behind an unfit one get no more than their
    /// share.
    pub(super) fn try_pick(&mut self, candidates: &impl Candidates, draw: &mut impl FnMut() -> u64) -> Option<usize> {
        let count = candidates.count();
        let begin = self.next.checked_rem(count)?;
        let mut fallback = None;
        for at in (begin..count).chain(0..begin) {
            // Weights do not count here, only the part of them that slow start leaves: the thousandths.
            let ramp = match candidates.share(at) {
                0 => continue,
                share => candidates.ramp_of(at, share),
            };
            if ramp >= 1000 || draw() % 1000 < u64::from(ramp) {
                self.next = at + 1;
                return Some(at);
            }
            fallback = fallback.or(Some(at));
        }
        self.next = fallback? + 1;
        fallback
    }
}
