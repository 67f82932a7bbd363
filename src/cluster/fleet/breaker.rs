//! One endpoint's circuit breaker as one word: closed, open, half-open, and the probes that are out.
//!
//! Every transition is a pure function from word to word; `Slot` applies them by compare-and-swap. The word
//! counts the probes that are out by what they are, not by term: a probe that outlives its term still takes up
//! its place until it ends, so an endpoint on trial never carries more probes than allowed, and a place is
//! given back by whatever ends the probe.

use super::fitness::BreakerView;

/// When a breaker opens, for how long, and what closes it again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerPolicy {
    /// Milliseconds over which failures are counted.
    pub window_ms: u64,
    /// Share of failures, 0 to 1, at or above which it opens; above 1: off.
    pub error_rate: f64,
    /// Results in the window below which the share says nothing; at most 65,536 is ever reached for certain.
    pub min_requests: u32,
    /// Failures in a row that open it whatever the share; 0: off, and above 65,535 as if it were that.
    pub consecutive: u32,
    /// Milliseconds it stays open before it lets a probe pass.
    pub open_ms: u64,
    /// Probes that may be out at once; taken as 1 below and as [`Self::PROBES_MAX`] above what is possible.
    pub probes: u32,
    /// Probes that must succeed before it closes; 0 is taken as 1.
    pub close_after: u32,
}

impl BreakerPolicy {
    /// Most probes that may be out at once.
    pub const PROBES_MAX: u32 = 31;

    /// One that opens by failures in a row alone, of which it has yet to be told how many; in all else it is what a configuration
    /// gets that says nothing.
    pub const BY_ROW: Self = Self {
        window_ms: 10_000,
        error_rate: f64::INFINITY,
        min_requests: 1,
        consecutive: 0,
        open_ms: 15_000,
        probes: 1,
        close_after: 3,
    };

    fn limit(&self) -> u64 {
        u64::from(self.probes.clamp(1, Self::PROBES_MAX))
    }
}

/// Where a breaker is; the numbers are those of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Everything passes.
    Closed = 0,
    /// Nothing passes.
    Open = 1,
    /// Probes pass, a few at a time.
    HalfOpen = 2,
}

/// A change of a breaker's state, told to the one caller who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The state left.
    pub from: BreakerState,
    /// The state entered.
    pub to: BreakerState,
}

/// The right to one attempt; a probe's holds a token, so each pass is ended exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    pub(super) term: u16,
    pub(super) is_probe: bool,
    pub(super) begins_trial: bool,
}

impl Pass {
    /// Whether the attempt tries an endpoint whose breaker is not closed.
    #[must_use]
    pub const fn is_probe(self) -> bool {
        self.is_probe
    }

    /// Whether the breaker became half-open by it.
    #[must_use]
    pub const fn begins_trial(self) -> bool {
        self.begins_trial
    }

    /// The pass of a closed breaker.
    pub(super) const fn plain(term: u16) -> Self {
        Self { term, is_probe: false, begins_trial: false }
    }
}

/// The state with what belongs to it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Closed,
    Open { until_ms: u64 },
    HalfOpen { successes: u64 },
}

/// A breaker in one word.
///
/// | bits | what |
/// |---|---|
/// | 0, 1 | state |
/// | 2 to 6 | probes out, of any term |
/// | 7 to 11 | probes allowed, by the policy last seen |
/// | 12 to 25 | term: one more with every change of state |
/// | 26 to 63 | open: end in milliseconds (8.7 years; later ends are cut to that); half-open: successes |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BreakerWord(pub(super) u64);

const OUT_AT: u32 = 2;
const LIMIT_AT: u32 = 7;
const TERM_AT: u32 = 12;
const PAYLOAD_AT: u32 = 26;
const COUNT_MASK: u64 = 0x1f;
const TERM_MASK: u16 = 0x3fff;
const PAYLOAD_MAX: u64 = (1 << (64 - PAYLOAD_AT)) - 1;

impl BreakerWord {
    fn new(stage: Stage, term: u16, out: u64, limit: u64) -> Self {
        let (state, payload) = match stage {
            Stage::Closed => (BreakerState::Closed, 0),
            Stage::Open { until_ms } => (BreakerState::Open, until_ms),
            Stage::HalfOpen { successes } => (BreakerState::HalfOpen, successes),
        };
        debug_assert!(out <= COUNT_MASK && limit <= COUNT_MASK && term <= TERM_MASK, "a field outgrew its bits");
        Self(
            state as u64
                | out << OUT_AT
                | limit << LIMIT_AT
                | u64::from(term) << TERM_AT
                | payload.min(PAYLOAD_MAX) << PAYLOAD_AT,
        )
    }

    pub(super) const fn state(self) -> BreakerState {
        match self.0 & 3 {
            0 => BreakerState::Closed,
            1 => BreakerState::Open,
            _ => BreakerState::HalfOpen,
        }
    }

    pub(super) const fn stage(self) -> Stage {
        let payload = self.0 >> PAYLOAD_AT;
        match self.state() {
            BreakerState::Closed => Stage::Closed,
            BreakerState::Open => Stage::Open { until_ms: payload },
            BreakerState::HalfOpen => Stage::HalfOpen { successes: payload },
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the mask leaves what fits")]
    pub(super) const fn term(self) -> u16 {
        (self.0 >> TERM_AT) as u16 & TERM_MASK
    }

    /// Probes that are out.
    pub(super) const fn out(self) -> u64 {
        self.0 >> OUT_AT & COUNT_MASK
    }

    const fn limit(self) -> u64 {
        self.0 >> LIMIT_AT & COUNT_MASK
    }

    pub(super) const fn view(self, now_ms: u64) -> BreakerView {
        let is_free = self.out() < self.limit();
        match self.stage() {
            Stage::Closed => BreakerView::Closed,
            Stage::Open { until_ms } if now_ms < until_ms => BreakerView::Shut,
            Stage::Open { .. } | Stage::HalfOpen { .. } if is_free => BreakerView::Trial,
            Stage::Open { .. } | Stage::HalfOpen { .. } => BreakerView::Shut,
        }
    }

    /// Whether the outcome of `pass` counts toward opening: it began in the closed term that still lasts.
    pub(super) const fn counts(self, pass: Pass) -> bool {
        !pass.is_probe && pass.term == self.term() && matches!(self.state(), BreakerState::Closed)
    }

    /// The right to an attempt, with the word that records it; without a right the word may still change.
    pub(super) fn try_enter(self, now_ms: u64, policy: &BreakerPolicy) -> (Self, Option<Pass>) {
        let limit = policy.limit();
        match self.stage() {
            Stage::Closed => (self, Some(Pass::plain(self.term()))),
            Stage::Open { until_ms } if now_ms < until_ms || self.out() >= limit => (self.with_limit(limit), None),
            Stage::Open { .. } => self.next(Stage::HalfOpen { successes: 0 }, limit).with_probe(true),
            Stage::HalfOpen { .. } if self.out() >= limit => (self.with_limit(limit), None),
            Stage::HalfOpen { .. } => self.with_limit(limit).with_probe(false),
        }
    }

    /// Too many attempts of the term of `pass` failed.
    pub(super) fn on_tripped(self, pass: Pass, now_ms: u64, policy: &BreakerPolicy) -> Self {
        if self.counts(pass) { self.opened(now_ms, policy) } else { self }
    }

    /// A probe failed: the trial is over, unless it is one of an earlier term.
    pub(super) fn on_probe_failed(self, pass: Pass, now_ms: u64, policy: &BreakerPolicy) -> Self {
        let word = self.on_abandoned(pass);
        if word.tries(pass) { word.opened(now_ms, policy) } else { word }
    }

    /// A probe succeeded: enough of them close the breaker, those of an earlier term left out.
    pub(super) fn on_probe_succeeded(self, pass: Pass, policy: &BreakerPolicy) -> Self {
        let word = self.on_abandoned(pass);
        match word.stage() {
            Stage::HalfOpen { successes } if word.tries(pass) => {
                let successes = successes + 1;
                if successes >= u64::from(policy.close_after) {
                    word.next(Stage::Closed, word.limit())
                } else {
                    word.with_stage(Stage::HalfOpen { successes })
                }
            }
            Stage::Closed | Stage::Open { .. } | Stage::HalfOpen { .. } => word,
        }
    }

    /// A pass ended without an outcome: a probe's token comes back, of whatever term it is.
    pub(super) fn on_abandoned(self, pass: Pass) -> Self {
        if !pass.is_probe {
            return self;
        }
        Self::new(self.stage(), self.term(), self.out().saturating_sub(1), self.limit())
    }

    /// The endpoint has no breaker any more: one that is not closed closes.
    pub(super) fn on_removed(self) -> Self {
        match self.state() {
            BreakerState::Closed => self,
            BreakerState::Open | BreakerState::HalfOpen => self.on_assigned(),
        }
    }

    /// All that was is forgotten, but for tokens that are out: they come back.
    pub(super) fn on_assigned(self) -> Self {
        self.next(Stage::Closed, self.limit())
    }

    /// Whether `pass` is a probe of the trial that still lasts.
    pub(super) const fn tries(self, pass: Pass) -> bool {
        pass.is_probe && pass.term == self.term() && matches!(self.state(), BreakerState::HalfOpen)
    }

    fn opened(self, now_ms: u64, policy: &BreakerPolicy) -> Self {
        self.next(Stage::Open { until_ms: now_ms.saturating_add(policy.open_ms) }, policy.limit())
    }

    /// The next term.
    fn next(self, stage: Stage, limit: u64) -> Self {
        Self::new(stage, self.term().wrapping_add(1) & TERM_MASK, self.out(), limit)
    }

    fn with_stage(self, stage: Stage) -> Self {
        Self::new(stage, self.term(), self.out(), self.limit())
    }

    fn with_limit(self, limit: u64) -> Self {
        Self::new(self.stage(), self.term(), self.out(), limit)
    }

    fn with_probe(self, begins_trial: bool) -> (Self, Option<Pass>) {
        let word = Self::new(self.stage(), self.term(), self.out() + 1, self.limit());
        (word, Some(Pass { term: self.term(), is_probe: true, begins_trial }))
    }
}

/// Failures in a row in one word: how many, and when the last was.
///
/// | bits | what |
/// |---|---|
/// | 0 to 15 | failures in a row; no more are counted than fit |
/// | 16 to 63 | microseconds of the last one (8.9 years) |
///
/// Successes do not touch it, or they would all write one line that every core shares. A failure asks when the
/// last success was instead, which each worker notes for itself. One in the same microsecond ends the run: of two
/// whose order is unknown, the success is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run(pub(super) u64);

impl Run {
    const COUNT_MAX: u64 = 0xffff;

    pub(super) const fn count(self) -> u64 {
        self.0 & Self::COUNT_MAX
    }

    /// A failure at `now_ns`, the last success of the endpoint having been at `success_ns` (0: never).
    pub(super) fn on_failure(self, now_ns: u64, success_ns: u64) -> Self {
        let last_us = self.0 >> 16;
        let is_broken = success_ns / 1_000 >= last_us;
        let count = if is_broken { 1 } else { (self.count() + 1).min(Self::COUNT_MAX) };
        Self((now_ns / 1_000).max(last_us) << 16 | count)
    }

    /// Whether so many in a row open the breaker.
    pub(super) fn is_over(self, policy: &BreakerPolicy) -> bool {
        policy.consecutive > 0 && self.count() >= u64::from(policy.consecutive).min(Self::COUNT_MAX)
    }
}
