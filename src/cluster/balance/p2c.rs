//! The power of two random choices (Mitzenmacher 2001), by latency and exchanges in flight.

use super::Candidates;

/// Draws from all endpoints before the fit ones are counted out.
const DRAWS: usize = 4;

/// The cheaper of two different endpoints drawn at random.
pub(super) fn try_pick(candidates: &impl Candidates, draw: &mut impl FnMut() -> u64) -> Option<usize> {
    let first = drawn(candidates, None, draw)?;
    let Some(second) = drawn(candidates, Some(first), draw) else { return Some(first) };
    Some(if costs_less(candidates, second, first) { second } else { first })
}

/// A fit endpoint other than `but`, each as likely.
fn drawn(candidates: &impl Candidates, but: Option<usize>, draw: &mut impl FnMut() -> u64) -> Option<usize> {
    let count = candidates.count();
    if count == 0 {
        return None;
    }
    let is_open = |at: &usize| Some(*at) != but && candidates.share(*at) > 0;
    // Most of the time most are fit, and none need be counted.
    if let Some(at) = (0..DRAWS).map(|_| below(count, draw())).find(is_open) {
        return Some(at);
    }
    let open = (0..count).filter(is_open).count();
    if open == 0 { None } else { (0..count).filter(is_open).nth(below(open, draw())) }
}

/// Multiply and shift: uniform but for one part in 2^32 of `count`.
fn below(count: usize, random: u64) -> usize {
    usize::try_from((u128::from(random) * count as u128) >> 64).expect("less than `count`")
}

/// Latency times what is in flight, for its share. An endpoint nobody has measured yet is tried.
fn costs_less(candidates: &impl Candidates, one: usize, than: usize) -> bool {
    let cost = |at| u128::from(candidates.latency_ns(at)) * u128::from(candidates.in_flight(at).saturating_add(1));
    let load = |at| u128::from(candidates.in_flight(at).saturating_add(1));
    let (one_share, than_share) = (u128::from(candidates.share(one)), u128::from(candidates.share(than)));
    if candidates.latency_ns(one) == 0 || candidates.latency_ns(than) == 0 {
        let is_new = |at| candidates.latency_ns(at) == 0 && candidates.in_flight(at) == 0;
        return match (is_new(one), is_new(than)) {
            (true, false) => true,
            (false, true) => false,
            (true, true) | (false, false) => load(one) * than_share < load(than) * one_share,
        };
    }
    cost(one) * than_share < cost(than) * one_share
}
