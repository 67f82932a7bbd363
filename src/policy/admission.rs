//! Adaptive admission: how many requests an endpoint of a cluster works on at once without any of them waiting there.
//!
//! Nobody can say that number, so it is found by what it does to latency, as TCP Vegas and the gradient limit of Netflix's
//! concurrency-limits find theirs: a baseline is measured with few requests in flight, and while many are, the limit goes
//! by the ratio of the baseline to what is measured. What is above the limit is shed at once, because behind it would only
//! grow a queue.

mod gate;
mod histogram;

pub use gate::{Admission, Permit};

/// Requests in flight before anything is known.
const INITIAL: f64 = 8.0;
/// How much above the baseline is noise.
const TOLERANCE: f64 = 1.2;
/// Fewest answers that say something of latency.
const SAMPLES_MIN: u64 = 50;
/// The share of a new median in the one that the limit follows: medians of few answers are noisy.
const NEWS: f64 = 0.3;
/// So many times as long as an answer takes is a window at least: otherwise only the quick ones would be in it.
const ANSWERS: f64 = 3.0;
/// Milliseconds until the first baseline, which may be that of an endpoint with too much to do already, is old.
const FIRST_MS: u64 = 1000;
/// Shortest time in which answers are looked at together, in milliseconds.
const WINDOW_MS: u64 = 100;
/// The same while the limit is being found.
const STARTING_MS: u64 = 10;
/// Slowest fall of a limit in one window.
const FALL: f64 = 0.5;

/// Bounds of a limit, and how often its baseline is measured anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionPolicy {
    /// Least requests in flight, at least 1.
    pub min: u32,
    /// Most requests in flight, at least `min`.
    pub max: u32,
    /// Milliseconds between two measurements of the baseline.
    pub measure_every_ms: u64,
}

/// Who is shed last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Priority {
    /// When a quarter of the limit is free no longer.
    Low,
    /// At the limit.
    #[default]
    Normal,
    /// A quarter above the limit.
    High,
}

impl Priority {
    /// How many requests may be in flight when one of this priority comes in addition; at least one.
    #[must_use]
    pub const fn share_of(self, limit: u32) -> u32 {
        let share = match self {
            Self::Low => limit - limit.div_ceil(4),
            Self::Normal => limit,
            Self::High => limit + limit.div_ceil(4),
        };
        if share == 0 { 1 } else { share }
    }
}

/// What was seen of a cluster's answers between two moments.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Window {
    /// Its length in milliseconds.
    length_ms: u64,
    /// Answers in it.
    count: u64,
    /// Half of them came within so many microseconds.
    median_us: f64,
    /// What they took on average, in microseconds.
    mean_us: f64,
    /// Requests that were shed.
    shed: u64,
}

impl Window {
    /// Does it say what answers take?
    fn is_telling(&self) -> bool {
        self.count >= SAMPLES_MIN && count(self.length_ms) * 1000.0 >= self.mean_us * ANSWERS
    }
}

/// What a limit is being done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Stage {
    /// Requests of before are still on their way, so that this window says nothing of the few that are let in now.
    Settling,
    /// Few requests are in flight: what they take is the baseline.
    Measuring,
    /// The limit doubles until latency says otherwise.
    Starting,
    /// The limit follows latency.
    Following,
}

/// A limit that follows latency: the pure part.
///
/// | stage | requests in flight | a window ends it | next |
/// |---|---|---|---|
/// | settling | a third of the limit | at once | measuring |
/// | measuring | a third of the limit | its median is the baseline | starting the first time, then following |
/// | starting | the limit | doubles the limit while the ratio is not below 1 | following once it is |
/// | following | the limit | limit x ratio + root(limit) / 2 | settling when the baseline is old and requests are shed |
///
/// The ratio is baseline x 1.2 / median, between 0.5 and 1, of medians smoothed over a few windows. A limit that is not used does not grow.
/// While nothing is shed, a baseline that is old and still holds is renewed without a measurement, which would shed.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Gradient {
    stage: Stage,
    limit: f64,
    /// 0 before there is one.
    baseline_us: f64,
    /// What the medians of late are about.
    median_us: f64,
    /// When the baseline is old.
    measure_at_ms: u64,
}

impl Gradient {
    fn new(policy: &AdmissionPolicy) -> Self {
        Self {
            stage: Stage::Measuring,
            limit: bounded(INITIAL, policy),
            baseline_us: 0.0,
            median_us: 0.0,
            measure_at_ms: 0,
        }
    }

    /// Most requests in flight now.
    fn in_flight_max(&self, policy: &AdmissionPolicy) -> u32 {
        let limit = match self.stage {
            // The first baseline is taken at the first limit, which is low anyway.
            Stage::Settling | Stage::Measuring if self.baseline_us > 0.0 => self.limit / 3.0,
            Stage::Settling | Stage::Measuring | Stage::Starting | Stage::Following => self.limit,
        };
        whole(limit).clamp(policy.min, policy.max)
    }

    /// Least length of the window that begins, in milliseconds.
    fn window_ms(&self) -> u64 {
        if self.stage == Stage::Starting || self.baseline_us == 0.0 { STARTING_MS } else { WINDOW_MS }
    }

    fn on_window(&mut self, window: &Window, now_ms: u64, policy: &AdmissionPolicy) {
        let news = if self.stage == Stage::Following { NEWS } else { 1.0 };
        self.median_us += (window.median_us.max(1.0) - self.median_us) * news;
        let ratio = (self.baseline_us * TOLERANCE / self.median_us).clamp(FALL, 1.0);
        // Little's law: requests in flight on average.
        let used = window.mean_us * count(window.count) / (count(window.length_ms) * 1000.0).max(1.0);
        let is_used = used >= self.limit / 2.0;
        match self.stage {
            Stage::Settling => self.stage = Stage::Measuring,
            Stage::Measuring => {
                let is_first = self.baseline_us == 0.0;
                self.stage = if is_first { Stage::Starting } else { Stage::Following };
                self.baseline_us = self.median_us;
                let in_ms = if is_first { FIRST_MS.min(policy.measure_every_ms) } else { policy.measure_every_ms };
                self.measure_at_ms = now_ms.saturating_add(in_ms);
            }
            Stage::Starting if ratio < 1.0 => {
                self.limit = bounded(self.limit * ratio, policy);
                self.stage = Stage::Following;
            }
            Stage::Starting if is_used => self.limit = bounded(self.limit * 2.0, policy),
            Stage::Starting => {}
            Stage::Following => {
                let wanted = self.limit * ratio + self.limit.sqrt() / 2.0;
                self.limit = bounded(if is_used { wanted } else { wanted.min(self.limit) }, policy);
                if now_ms >= self.measure_at_ms {
                    self.renew(window.shed == 0, ratio, now_ms, policy);
                }
            }
        }
    }

    /// The baseline is old.
    fn renew(&mut self, is_at_ease: bool, ratio: f64, now_ms: u64, policy: &AdmissionPolicy) {
        match (is_at_ease, ratio < 1.0) {
            (true, false) => {
                self.baseline_us = self.median_us;
                self.measure_at_ms = now_ms.saturating_add(policy.measure_every_ms);
            }
            // The limit falls until something is shed, or answers are quick again.
            (true, true) => {}
            (false, _) => self.stage = Stage::Settling,
        }
    }
}

fn bounded(limit: f64, policy: &AdmissionPolicy) -> f64 {
    limit.clamp(f64::from(policy.min), f64::from(policy.max))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, which is meant")]
fn whole(number: f64) -> u32 {
    number as u32
}

#[expect(clippy::cast_precision_loss, reason = "counts of one window")]
fn count(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests;
