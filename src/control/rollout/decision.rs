//! What becomes of a configuration on trial: pure, without a clock, by counts and the time.
//!
//! What may be chance never counts: a share of requests is worse only by more than what is allowed and three standard
//! errors of the difference besides.

use std::fmt;

use crate::config;
use crate::telemetry::SideCounts;

/// Standard errors that may be chance.
const SIGMAS: f64 = 3.0;
/// Requests from which on a configuration that does nothing but fail is given up without waiting for more.
const DISASTER_REQUESTS: u64 = 20;
/// By how much its share of failures is larger then.
const DISASTER: f64 = 0.5;
/// Requests of the configuration in force that say something of how it does; with fewer it is taken to do well.
const KNOWN_REQUESTS: u64 = 20;
/// The part of requests that may be slower than the 99th percentile.
const TAIL: f64 = 0.01;
/// A difference that never counts, in microseconds.
const LEAST_US: u64 = 1_000;

/// One trial on its way to a decision.
#[derive(Debug, Clone)]
pub(super) struct Rollout {
    rules: config::Rollout,
    began_ms: u64,
}

/// What is to become of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Decision {
    /// Nothing is decided.
    Continue,
    /// Nothing speaks against it, with so many requests seen.
    Promote(u64),
    /// This does.
    RollBack(Fault),
}

/// What speaks against a configuration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fault {
    /// More of its requests fail.
    Failures(Shares),
    /// It refuses more of its requests.
    Refusals(Shares),
    /// Its requests take longer: both 99th percentiles in microseconds, and how many of how many were beyond what is allowed.
    Latency { candidate_us: u64, current_us: u64, beyond: u64, of: u64 },
}

/// Two shares of requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shares {
    candidate: Part,
    current: Part,
    allowed: f64,
}

/// So many of so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    some: u64,
    all: u64,
}

impl Rollout {
    /// A trial by `rules` that began at `began_ms`, of the clock that it is told the time of.
    pub(super) const fn new(rules: config::Rollout, began_ms: u64) -> Self {
        Self { rules, began_ms }
    }

    /// By what it is decided.
    pub(super) const fn rules(&self) -> &config::Rollout {
        &self.rules
    }

    /// Milliseconds that it has left.
    pub(super) fn left_ms(&self, now_ms: u64) -> u64 {
        let hold_ms = u64::try_from(self.rules.hold.as_millis()).unwrap_or(u64::MAX);
        self.began_ms.saturating_add(hold_ms).saturating_sub(now_ms)
    }

    /// Decides by what both sides have counted.
    ///
    /// | requests of the candidate | before the end of `hold` | at its end |
    /// |---|---|---|
    /// | fewer than 20 | go on | failures and refusals are judged, else promote |
    /// | 20 and more | rolled back if half more of them fail, else go on | as above |
    /// | `min_requests` and more | judged at every look | judged, else promote |
    pub(super) fn decide(&self, current: &SideCounts, candidate: &SideCounts, now_ms: u64) -> Decision {
        let is_over = self.left_ms(now_ms) == 0;
        let is_enough = candidate.requests >= self.rules.min_requests;
        if let Some(fault) = self.fault(current, candidate, is_over || is_enough) {
            return Decision::RollBack(fault);
        }
        if is_over { Decision::Promote(candidate.requests) } else { Decision::Continue }
    }

    fn fault(&self, current: &SideCounts, candidate: &SideCounts, is_judged: bool) -> Option<Fault> {
        let part = |side: &SideCounts, some: u64| Part { some: some.min(side.requests), all: side.requests };
        let shares = |of: fn(&SideCounts) -> u64, allowed: f64| Shares {
            candidate: part(candidate, of(candidate)),
            current: part(current, of(current)).known(),
            allowed,
        };
        let failures = shares(SideCounts::failed, self.rules.max_error_increase);
        let refusals = shares(|side| side.refused, self.rules.max_refusal_increase);
        if failures.is_disaster() || is_judged && failures.is_exceeded() {
            return Some(Fault::Failures(failures));
        }
        if is_judged && refusals.is_exceeded() {
            return Some(Fault::Refusals(refusals));
        }
        self.latency(current, candidate)
    }

    /// A percentile is one of many requests, at the end as well.
    fn latency(&self, current: &SideCounts, candidate: &SideCounts) -> Option<Fault> {
        if current.requests.min(candidate.requests) < self.rules.min_requests {
            return None;
        }
        let (current_us, of) = (current.p99_us(), candidate.requests);
        let bound_us = times(current_us, 1.0 + self.rules.max_p99_increase).max(current_us + LEAST_US);
        let beyond = candidate.slower_than(bound_us);
        let chance = SIGMAS * (TAIL * (1.0 - TAIL) / number(of)).sqrt();
        let candidate_us = candidate.p99_us();
        (number(beyond) / number(of) > TAIL + chance).then_some(Fault::Latency { candidate_us, current_us, beyond, of })
    }
}

impl Part {
    fn share(self) -> f64 {
        if self.all == 0 { 0.0 } else { number(self.some) / number(self.all) }
    }

    /// What is known of hardly any request is not known.
    const fn known(self) -> Self {
        if self.all < KNOWN_REQUESTS { Self { some: 0, all: 0 } } else { self }
    }
}

impl Shares {
    fn difference(&self) -> f64 {
        self.candidate.share() - self.current.share()
    }

    fn is_disaster(&self) -> bool {
        self.candidate.all >= DISASTER_REQUESTS && self.difference() > DISASTER
    }

    fn is_exceeded(&self) -> bool {
        let Self { candidate, current, allowed } = *self;
        if candidate.all == 0 {
            return false;
        }
        let pooled = Part { some: candidate.some + current.some, all: candidate.all + current.all }.share();
        let other = if current.all == 0 { 0.0 } else { 1.0 / number(current.all) };
        let chance = SIGMAS * (pooled * (1.0 - pooled) * (1.0 / number(candidate.all) + other)).sqrt();
        self.difference() > allowed + chance
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failures(shares) => write!(f, "{shares} failed"),
            Self::Refusals(shares) => write!(f, "{shares} were refused"),
            Self::Latency { candidate_us, current_us, beyond, of } => {
                let [candidate_ms, current_ms] = [candidate_us, current_us].map(|us| number(*us) / 1e3);
                write!(
                    f,
                    "its 99th percentile is {candidate_ms:.1} ms, the other {current_ms:.1} ms; {beyond} of {of} requests \
                     took longer than is allowed"
                )
            }
        }
    }
}

impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { candidate, current, .. } = self;
        let [own, other] = [candidate.share(), current.share()].map(|share| share * 100.0);
        let (some, all) = (candidate.some, candidate.all);
        write!(f, "{some} of {all} requests ({own:.1} %), against {} of {} ({other:.1} %),", current.some, current.all)
    }
}

#[allow(clippy::cast_precision_loss, reason = "a share of more than 2^53 requests may round")]
fn number(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a duration that grows stays in range")]
fn times(us: u64, factor: f64) -> u64 {
    (number(us) * factor) as u64
}

#[cfg(test)]
mod tests;
