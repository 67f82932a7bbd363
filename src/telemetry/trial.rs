//! What is counted of a configuration under trial, and of the one in force beside it.

use std::num::NonZeroU32;

use crossbeam_utils::CachePadded;

use super::counters::Counter;

/// Buckets of one doubling of a duration: each is an eighth of its octave wide.
const STEPS: u64 = 8;
/// Doublings, from 8 microseconds to more than two minutes.
const OCTAVES: u64 = 24;
const BUCKETS: usize = 8 * 25;

const _: () = assert!(BUCKETS as u64 == STEPS * (OCTAVES + 1));

/// Which of the two configurations a connection is served by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one in force.
    Current,
    /// The one under trial.
    Candidate,
}

/// How a request ended, as far as that says something about a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was answered with what was asked for, or its client left or was wrong.
    Passed,
    /// The configuration did not let it pass: no route, no access, no more of a limit.
    Refused,
    /// The gateway could not serve it.
    GatewayFailed,
    /// Its endpoint could not, or said that it could not.
    UpstreamFailed,
}

/// One trial: a cell of each worker for each side, written by that worker alone. Another trial has cells of its own, so that
/// what still ends of this one counts nowhere else.
#[derive(Debug)]
pub struct Trial {
    number: NonZeroU32,
    workers: Box<[CachePadded<[Cells; 2]>]>,
}

/// What one worker counts of one side.
#[derive(Debug)]
pub struct Cells {
    connections: Counter,
    requests: Counter,
    refused: Counter,
    gateway_failed: Counter,
    upstream_failed: Counter,
    durations: Box<[Counter]>,
}

/// What all workers have counted of one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SideCounts {
    /// New connections that it was given.
    pub connections: u64,
    /// Requests, and connections that were turned away before one.
    pub requests: u64,
    /// Those of them that it did not let pass.
    pub refused: u64,
    /// Those that the gateway could not serve.
    pub gateway_failed: u64,
    /// Those that an endpoint could not serve.
    pub upstream_failed: u64,
    durations: Vec<u64>,
}

impl Trial {
    /// A trial of this number among those of the process, for `workers` workers.
    #[must_use]
    pub fn new(number: NonZeroU32, workers: usize) -> Self {
        Self { number, workers: (0..workers).map(|_| CachePadded::new([Cells::new(), Cells::new()])).collect() }
    }

    /// Its number.
    #[must_use]
    pub const fn number(&self) -> NonZeroU32 {
        self.number
    }

    /// Where a worker counts.
    #[must_use]
    pub fn cells(&self, worker: usize, side: Side) -> &Cells {
        &self.workers[worker][side as usize]
    }

    /// What all workers have counted.
    #[must_use]
    pub fn counts(&self, side: Side) -> SideCounts {
        let mut counts = SideCounts::default();
        for worker in &self.workers {
            let cells = &worker[side as usize];
            counts.connections += cells.connections.value();
            counts.requests += cells.requests.value();
            counts.refused += cells.refused.value();
            counts.gateway_failed += cells.gateway_failed.value();
            counts.upstream_failed += cells.upstream_failed.value();
            for (sum, cell) in counts.durations.iter_mut().zip(&cells.durations) {
                *sum += cell.value();
            }
        }
        counts
    }
}

impl Cells {
    fn new() -> Self {
        Self {
            connections: Counter::new(),
            requests: Counter::new(),
            refused: Counter::new(),
            gateway_failed: Counter::new(),
            upstream_failed: Counter::new(),
            durations: (0..BUCKETS).map(|_| Counter::new()).collect(),
        }
    }

    /// A new connection was given this side.
    pub fn on_connection(&self) {
        self.connections.add(1);
    }

    /// A request ended, so long after it began.
    pub fn on_request(&self, ending: Ending, duration_ns: u64) {
        self.durations[bucket(duration_ns / 1_000)].add(1);
        self.count(ending);
    }

    /// A connection ended before its first request: there was no room for it, it was not introduced as it should be, or
    /// nobody could agree on how to secure it.
    pub fn on_turned_away(&self) {
        self.count(Ending::Refused);
    }

    fn count(&self, ending: Ending) {
        match ending {
            Ending::Passed => {}
            Ending::Refused => self.refused.add(1),
            Ending::GatewayFailed => self.gateway_failed.add(1),
            Ending::UpstreamFailed => self.upstream_failed.add(1),
        }
        // Last, so that nobody sees more failures than requests.
        self.requests.add(1);
    }
}

impl Default for SideCounts {
    fn default() -> Self {
        let durations = vec![0; BUCKETS];
        Self { connections: 0, requests: 0, refused: 0, gateway_failed: 0, upstream_failed: 0, durations }
    }
}

impl SideCounts {
    /// Requests that failed, whoever is to blame.
    #[must_use]
    pub const fn failed(&self) -> u64 {
        self.gateway_failed + self.upstream_failed
    }

    /// Microseconds within which 99 of 100 requests ended, rounded up by an eighth at most; 0 of none.
    #[must_use]
    pub fn p99_us(&self) -> u64 {
        let all: u64 = self.durations.iter().sum();
        let mut above = all / 100;
        for (at, held) in self.durations.iter().enumerate().rev().filter(|(_, held)| **held > 0) {
            match above.checked_sub(*held) {
                Some(left) => above = left,
                None => return lower_bound_us(at + 1),
            }
        }
        0
    }

    /// Requests that certainly took longer than `us` microseconds.
    #[must_use]
    pub fn slower_than(&self, us: u64) -> u64 {
        let first = (0..BUCKETS).find(|at| lower_bound_us(*at) > us).unwrap_or(BUCKETS);
        self.durations[first..].iter().sum()
    }

    /// With further requests that took so long.
    #[cfg(test)]
    #[must_use]
    pub fn with_durations(mut self, us: u64, count: u64) -> Self {
        self.durations[bucket(us)] += count;
        self.requests += count;
        self
    }
}

/// The bucket of a duration: its leading bits.
fn bucket(us: u64) -> usize {
    let us = us.min((STEPS << OCTAVES) - 1);
    let octave = u64::from(us.checked_ilog2().unwrap_or(0).saturating_sub(STEPS.ilog2() - 1));
    let step = if octave == 0 { us } else { (us >> (octave - 1)) - STEPS };
    usize::try_from(octave * STEPS + step).unwrap_or(BUCKETS - 1)
}

/// The least duration of a bucket in microseconds.
fn lower_bound_us(bucket: usize) -> u64 {
    let (octave, step) = (bucket as u64 / STEPS, bucket as u64 % STEPS);
    if octave == 0 { step } else { (STEPS + step) << (octave - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_within_the_bounds_of_its_bucket() {
        for us in (0..5_000).chain([65_535, 65_536, 1_000_000, 60_000_000, 134_217_727]) {
            let at = bucket(us);
            let (least, end) = (lower_bound_us(at), lower_bound_us(at + 1));
            assert!(least <= us && us < end, "{us}: {least} to {end}");
            assert!(end - least <= 1 || (end - least) * 8 <= least, "{us}: {least} to {end}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn the_99th_percentile_leaves_one_request_in_a_hundred_above() {
        let counts = SideCounts::default().with_durations(1_000, 990).with_durations(50_000, 10);
        assert!((1_000..=1_125).contains(&counts.p99_us()), "{}", counts.p99_us());
        let counts = counts.with_durations(50_000, 1);
        assert!((50_000..=56_250).contains(&counts.p99_us()), "{}", counts.p99_us());
        assert_eq!(SideCounts::default().p99_us(), 0);
        assert!(SideCounts::default().with_durations(7, 1).p99_us() == 8);
    }

    #[test]
    fn what_is_slower_for_certain_is_counted_and_nothing_else() {
        let counts = SideCounts::default().with_durations(1_000, 5).with_durations(9_000, 3);
        assert_eq!([0, 999, 1_200, 8_000, 9_000, u64::MAX].map(|us| counts.slower_than(us)), [8, 3, 3, 3, 0, 0]);
    }

    #[test]
    fn workers_and_sides_count_apart_and_are_summed() {
        let trial = Trial::new(NonZeroU32::MIN, 2);
        trial.cells(0, Side::Candidate).on_connection();
        for worker in 0..2 {
            trial.cells(worker, Side::Candidate).on_request(Ending::UpstreamFailed, 2_000_000);
            trial.cells(worker, Side::Current).on_request(Ending::Passed, 1_000_000);
        }
        trial.cells(1, Side::Candidate).on_request(Ending::GatewayFailed, 0);
        trial.cells(1, Side::Candidate).on_request(Ending::Refused, 0);
        trial.cells(1, Side::Candidate).on_turned_away();
        let (current, candidate) = (trial.counts(Side::Current), trial.counts(Side::Candidate));
        assert_eq!((current.requests, current.failed(), current.refused, current.connections), (2, 0, 0, 0));
        assert_eq!((candidate.requests, candidate.failed(), candidate.refused), (5, 3, 2));
        assert_eq!((candidate.upstream_failed, candidate.gateway_failed, candidate.connections), (2, 1, 1));
        assert_eq!(candidate.slower_than(1_500), 2, "what is turned away has no duration");
    }
}
