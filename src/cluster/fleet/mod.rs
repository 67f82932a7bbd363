//! The state of all endpoints: what is shared, what each worker measures, and how the outcome of an attempt changes it.
//!
//! Owns the truth table of fitness, breakers, ejections, slow start and the counts of exchanges in flight. Never does:
//! reading a clock, waiting, picking an endpoint.
//!
//! Invariants: a success on a closed breaker writes to its worker's cell alone; no more probes of a breaker are out
//! than its policy allows; no more endpoints of a cluster are ejected than its policy allows; each pass is ended once.

mod breaker;
mod cell;
mod fitness;
mod passive;
mod slot;
#[cfg(test)]
mod tests;
mod window;

use std::sync::OnceLock;

use crossbeam_utils::CachePadded;

use super::EndpointId;
use super::atomics::{AtomicBool, AtomicUsize};
use super::part::Part;
use crate::limits::ENDPOINTS_MAX;
use passive::{EjectionWord, Ejector};
use window::{Counts, Era, Window};

pub use breaker::{BreakerPolicy, BreakerState, Pass, Transition};
pub use cell::Cell;
pub use fitness::{BreakerView, Fitness, Probe, Unfit, fitness, fitness_at_last, truth_table};
pub use passive::PassivePolicy;
pub use slot::Slot;

/// One moment of the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// In milliseconds.
    pub ms: u64,
    /// The same in nanoseconds.
    pub ns: u64,
}

/// What a failure led to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The breaker opened.
    pub opened: Option<Transition>,
    /// The endpoint was ejected.
    pub ejected: bool,
}

/// Endpoints of one chunk of memory.
const CHUNK: usize = 64;

const _: () = {
    assert!(ENDPOINTS_MAX.is_multiple_of(CHUNK));
    // One line each, so that two endpoints, and two workers, never write to the same one.
    assert!(size_of::<Slot>() == 64 && align_of::<Slot>() == 64);
    assert!(size_of::<Cell>() == 192 && align_of::<Cell>() == 64);
};

/// A table by endpoint that allocates as identities come into use, and never moves what it holds.
#[derive(Debug)]
struct Table<T> {
    chunks: Box<[OnceLock<Box<[T]>>]>,
}

impl<T: Default> Table<T> {
    fn new() -> Self {
        Self { chunks: (0..ENDPOINTS_MAX / CHUNK).map(|_| OnceLock::new()).collect() }
    }

    fn at(&self, id: EndpointId) -> &T {
        let chunk = || (0..CHUNK).map(|_| T::default()).collect();
        &self.chunks[id.0 as usize / CHUNK].get_or_init(chunk)[id.0 as usize % CHUNK]
    }

    /// Nothing when nobody has used it yet.
    fn try_at(&self, id: EndpointId) -> Option<&T> {
        Some(&self.chunks[id.0 as usize / CHUNK].get()?[id.0 as usize % CHUNK])
    }
}

/// The state of all endpoints, shared by all threads; it outlives every snapshot.
///
/// Identities are below `limits::ENDPOINTS_MAX`, workers below the number it was made for.
#[derive(Debug)]
pub struct Fleet {
    slots: Table<Slot>,
    /// By worker.
    cells: Box<[Table<Cell>]>,
    /// What each worker claimed of the spare part of the cap on idle connections.
    claims: Box<[Table<AtomicUsize>]>,
    /// What all claimed so.
    claimed: Table<CachePadded<AtomicUsize>>,
}

impl Fleet {
    /// A fleet seen by so many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        let (cells, claims) = (0..workers).map(|_| (Table::new(), Table::new())).unzip::<_, _, Vec<_>, Vec<_>>();
        Self { slots: Table::new(), cells: cells.into(), claims: claims.into(), claimed: Table::new() }
    }

    /// Number of workers.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.cells.len()
    }

    /// What all share about an endpoint.
    #[must_use]
    pub fn slot(&self, id: EndpointId) -> &Slot {
        self.slots.at(id)
    }

    /// What one worker measures of an endpoint.
    #[must_use]
    pub fn cell(&self, worker: usize, id: EndpointId) -> &Cell {
        self.cells[worker].at(id)
    }

    /// The part that one worker has of what all may keep of idle connections to an endpoint.
    #[must_use]
    pub fn idle_part(&self, worker: usize, id: EndpointId) -> Part<'_> {
        Part { claimed: self.claims[worker].at(id), claimed_by_all: self.claimed.at(id) }
    }

    /// A new endpoint took the identity, see [`Slot::on_assigned`]; for the control thread, before the snapshot that
    /// has it is published.
    ///
    /// Allocates here what the workers would otherwise allocate, and wait for one another over, at the first request.
    pub fn on_assigned(&self, id: EndpointId, probe: Probe, now_ms: u64, is_new_among_others: bool) {
        for (cells, claims) in self.cells.iter().zip(&self.claims) {
            cells.at(id);
            claims.at(id);
        }
        self.claimed.at(id);
        self.slot(id).on_assigned(probe, now_ms, is_new_among_others);
    }

    /// Exchanges in flight to an endpoint over all workers but one.
    #[must_use]
    pub fn in_flight_elsewhere(&self, worker: usize, id: EndpointId) -> u32 {
        let others = self.cells.iter().enumerate().filter(|(other, _)| *other != worker);
        others.filter_map(|(_, cells)| cells.try_at(id)).map(Cell::in_flight).sum()
    }

    /// The attempt of `pass` on `worker` succeeded; the breaker's transition when it made one (half-open to closed).
    ///
    /// Writes to the worker's cell alone, unless the attempt was a probe of the breaker.
    pub fn on_success(
        &self,
        worker: usize,
        id: EndpointId,
        pass: Pass,
        now: Now,
        breaker: Option<&BreakerPolicy>,
        passive: Option<&PassivePolicy>,
    ) -> Option<Transition> {
        let (slot, cell) = (self.slot(id), self.cell(worker, id));
        if let Some(policy) = passive {
            let ejection = slot.ejection_word();
            // While it is ejected only latecomers and last resorts come in; it returns with a clean record.
            if !ejection.is_ejected(now.ms) {
                cell.passive.on_result(Era::new(policy.window_ms, ejection.number()), now.ms, true);
            }
        }
        let Some(policy) = breaker else {
            slot.on_abandoned(pass);
            return None;
        };
        if pass.is_probe {
            if slot.tries(pass) {
                // Before the breaker closes: it ends the run of failures of the terms before.
                cell.on_success(now.ns);
            }
            return slot.on_probe_succeeded(pass, now.ms, policy);
        }
        if slot.counts(pass) {
            cell.breaker.on_result(Era::new(policy.window_ms, pass.term), now.ms, true);
            cell.on_success(now.ns);
        }
        None
    }

    /// The attempt of `pass` on `worker` failed; what that led to.
    ///
    /// Sums the windows of all workers. `peers` are all endpoints of the cluster, for the share that may be ejected;
    /// `ejecting` is the cluster's flag that one worker at a time holds to eject.
    #[expect(clippy::too_many_arguments, reason = "the parts of one attempt and the policies in force for it")]
    pub fn on_failure(
        &self,
        worker: usize,
        id: EndpointId,
        pass: Pass,
        now: Now,
        breaker: Option<&BreakerPolicy>,
        passive: Option<&PassivePolicy>,
        peers: &[EndpointId],
        ejecting: &AtomicBool,
    ) -> Outcome {
        let slot = self.slot(id);
        let opened = match breaker {
            Some(policy) if pass.is_probe => slot.on_probe_failed(pass, now.ms, policy),
            Some(policy) => self.count_failure(worker, id, pass, now, policy),
            None => {
                slot.on_abandoned(pass);
                None
            }
        };
        let ejected = passive.is_some_and(|policy| {
            let seen = self.try_judge(worker, id, now.ms, policy);
            seen.is_some_and(|seen| self.try_eject(id, seen, now.ms, policy, peers, ejecting))
        });
        Outcome { opened, ejected }
    }

    /// Notes a failure on a closed breaker, and opens it when there are too many.
    fn count_failure(
        &self,
        worker: usize,
        id: EndpointId,
        pass: Pass,
        now: Now,
        policy: &BreakerPolicy,
    ) -> Option<Transition> {
        let slot = self.slot(id);
        if !slot.counts(pass) {
            return None;
        }
        let era = Era::new(policy.window_ms, pass.term);
        self.cell(worker, id).breaker.on_result(era, now.ms, false);
        let success_ns = self.cells_of(id).map(Cell::last_success_ns).max().unwrap_or(0);
        let is_over = slot.is_run_over(now.ns, success_ns, policy)
            || self.counts(id, |cell| &cell.breaker, era, now.ms).is_over(policy.error_rate, policy.min_requests);
        if is_over { slot.on_tripped(pass, now.ms, policy) } else { None }
    }

    /// Notes a failure for ejection; the ejection word by which there are too many. An ejected endpoint's do not count.
    fn try_judge(&self, worker: usize, id: EndpointId, now_ms: u64, policy: &PassivePolicy) -> Option<EjectionWord> {
        let seen = self.slot(id).ejection_word();
        if seen.is_ejected(now_ms) {
            return None;
        }
        let era = Era::new(policy.window_ms, seen.number());
        self.cell(worker, id).passive.on_result(era, now_ms, false);
        let counts = self.counts(id, |cell| &cell.passive, era, now_ms);
        counts.is_over(policy.error_rate, policy.min_requests).then_some(seen)
    }

    /// Ejects an endpoint, unless that would make more than the share of `peers` that may be, or its ejection word is
    /// no longer the one `seen`.
    fn try_eject(
        &self,
        id: EndpointId,
        seen: EjectionWord,
        now_ms: u64,
        policy: &PassivePolicy,
        peers: &[EndpointId],
        ejecting: &AtomicBool,
    ) -> bool {
        let Some(_ejector) = Ejector::try_new(ejecting) else { return false };
        let ejected = peers.iter().filter(|peer| self.slot(**peer).is_ejected(now_ms)).count();
        policy.allows(ejected, peers.len()) && self.slot(id).try_eject(seen, now_ms, policy)
    }

    fn cells_of(&self, id: EndpointId) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter_map(move |cells| cells.try_at(id))
    }

    /// What all workers counted in a window of `era`.
    fn counts(&self, id: EndpointId, window: impl Fn(&Cell) -> &Window, era: Era, now_ms: u64) -> Counts {
        self.cells_of(id).map(|cell| window(cell).counts(era, now_ms)).fold(Counts::default(), Counts::plus)
    }
}
