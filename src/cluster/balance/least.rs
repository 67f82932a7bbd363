//! The endpoint that has least to do.

use super::Candidates;

/// A load as a fraction: what there is, and what it is measured by.
pub(super) type Load = (u64, u64);

/// Exchanges in flight, measured by weight. The one about to be added counts, so that weights tell idle endpoints apart.
pub(super) fn by_weight(candidates: &impl Candidates, at: usize, share: u32) -> Load {
    (u64::from(candidates.in_flight(at)) + 1, u64::from(share))
}

/// Exchanges in flight, measured by capacity; by weight when there is no cap.
pub(super) fn by_capacity(candidates: &impl Candidates, at: usize, share: u32) -> Load {
    match candidates.capacity(at) {
        0 => by_weight(candidates, at, share),
        // An endpoint that ramps up counts as smaller than it will be.
        capacity => {
            let ramp = u64::from(candidates.ramp_of(at, share));
            ((u64::from(candidates.in_flight(at)) + 1) * 1000, u64::from(capacity) * ramp.max(1))
        }
    }
}

/// The endpoint with the smallest load, the first from `begin` on among equals: workers that begin elsewhere do not herd.
pub(super) fn try_pick<C: Candidates>(candidates: &C, begin: usize, load: fn(&C, usize, u32) -> Load) -> Option<usize> {
    let count = candidates.count();
    let mut best: Option<(usize, Load)> = None;
    for at in (begin..count).chain(0..begin.min(count)) {
        let share = candidates.share(at);
        if share == 0 {
            continue;
        }
        let (much, of) = load(candidates, at, share);
        // Fractions are compared crosswise: no rounding, no division.
        let is_less =
            |(than, than_of): Load| u128::from(much) * u128::from(than_of) < u128::from(than) * u128::from(of);
        if best.is_none_or(|(_, least)| is_less(least)) {
            best = Some((at, (much, of)));
        }
    }
    best.map(|(at, _)| at)
}
