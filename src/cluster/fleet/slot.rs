//! What all workers share about one endpoint: one cache line, rarely written.

use super::super::atomics::{AtomicU64, Ordering};
use super::breaker::{BreakerPolicy, BreakerState, BreakerWord, Pass, Run, Stage, Transition};
use super::fitness::{BreakerView, Fitness, Probe, fitness, fitness_at_last};
use super::passive::{EjectionWord, PassivePolicy};

/// Thousandths of its full share at which an endpoint that returns begins.
const RAMP_START: u32 = 100;
/// The full share.
const RAMP_END: u32 = 1_000;

/// The state of one endpoint that all workers share, on a cache line of its own.
///
/// It is written when something changes: an operator, a probe's verdict, a failure, a transition. A success on a closed
/// breaker writes nothing here. Words are independent of one another, so loads and stores are relaxed; where they are
/// not, it is said why.
///
/// Times are milliseconds of one clock that never goes back and that all workers share.
#[derive(Debug)]
#[repr(align(64))]
pub struct Slot {
    breaker: AtomicU64,
    run: AtomicU64,
    ejection: AtomicU64,
    /// See [`Standing`].
    standing: AtomicU64,
    rest_until_ms: AtomicU64,
    /// 0: it never was away.
    ramp_from_ms: AtomicU64,
    latency_us: AtomicU64,
    ejections: AtomicU64,
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            breaker: AtomicU64::new(0),
            run: AtomicU64::new(0),
            ejection: AtomicU64::new(0),
            standing: AtomicU64::new(0),
            rest_until_ms: AtomicU64::new(0),
            ramp_from_ms: AtomicU64::new(0),
            latency_us: AtomicU64::new(0),
            ejections: AtomicU64::new(0),
        }
    }
}

impl Slot {
    /// Whether it may be picked, by [`super::truth_table`].
    #[must_use]
    pub fn fitness(&self, now_ms: u64) -> Fitness {
        let standing = self.standing();
        let is_ejected = standing.has_passive() && self.ejection_word().is_ejected(now_ms);
        fitness(standing.is_drained(), standing.probe(), is_ejected, self.view(standing, now_ms))
    }

    /// Whether it may be picked once probes and ejections are disregarded, because no endpoint is fit.
    #[must_use]
    pub fn fitness_at_last(&self, now_ms: u64) -> Fitness {
        let standing = self.standing();
        fitness_at_last(standing.is_drained(), self.view(standing, now_ms))
    }

    /// Whether it asked for a pause, or could not be reached a moment ago: to be picked only when no other is fit.
    #[must_use]
    pub fn is_resting(&self, now_ms: u64) -> bool {
        now_ms < self.rest_until_ms.load(Ordering::Relaxed)
    }

    /// Lets it rest until `until_ms`, or for longer when it already does.
    pub fn rest_until(&self, until_ms: u64) {
        raise(&self.rest_until_ms, until_ms);
    }

    /// Thousandths of its share of the load, 1 to 1000: it begins at 100 when it returns and grows evenly to 1000 over
    /// `slow_start_ms`.
    ///
    /// What returns is a new endpoint among others, one that was drained, failed its probe or had to pass its first,
    /// one whose breaker closed, and one whose ejection ended.
    #[must_use]
    pub fn ramp(&self, now_ms: u64, slow_start_ms: u64) -> u32 {
        let ejected_ms = Some(self.ejected_until_ms()).filter(|until_ms| *until_ms <= now_ms);
        let from_ms = self.ramp_from_ms.load(Ordering::Relaxed).max(ejected_ms.unwrap_or(0));
        let age_ms = now_ms.saturating_sub(from_ms);
        if from_ms == 0 || age_ms >= slow_start_ms {
            return RAMP_END;
        }
        let grown = u128::from(RAMP_END - RAMP_START) * u128::from(age_ms) / u128::from(slow_start_ms);
        RAMP_START + u32::try_from(grown).expect("an age below the whole gives a share below the whole")
    }

    /// The identity belongs to a new endpoint: all that is known of the one before is forgotten.
    ///
    /// `is_new_among_others`: it ramps from now, as the others would otherwise be left idle for it. Tokens of probes
    /// that are still out come back as before.
    pub fn on_assigned(&self, probe: Probe, now_ms: u64, is_new_among_others: bool) {
        self.set_standing(Standing::default().with_probe(probe));
        self.change_breaker(BreakerWord::on_assigned);
        self.run.store(0, Ordering::Relaxed);
        self.forget_ejection();
        self.ejections.store(0, Ordering::Relaxed);
        self.rest_until_ms.store(0, Ordering::Relaxed);
        self.latency_us.store(0, Ordering::Relaxed);
        self.ramp_from_ms.store(if is_new_among_others { now_ms.max(1) } else { 0 }, Ordering::Relaxed);
    }

    /// Which policies its cluster has in the snapshot about to be published: what a missing one decided ends, and what
    /// exchanges of older snapshots still decide by it keeps nobody away. For the control thread.
    pub fn on_policies(&self, has_breaker: bool, has_passive: bool) {
        let before = self.standing();
        self.set_standing(before.with_policies(has_breaker, has_passive));
        if !has_breaker || !before.has_breaker() {
            self.close_for_good();
        }
        if (!has_passive || !before.has_passive()) && self.ejected_until_ms() > 0 {
            self.forget_ejection();
        }
    }

    /// An operator takes it out or brings it back; coming back starts the ramp. For the control thread.
    pub fn set_drained(&self, drained: bool, now_ms: u64) {
        let before = self.standing();
        if before.is_drained() && !drained {
            self.ramp_from(now_ms);
        }
        self.set_standing(before.with_drained(drained));
    }

    /// The verdict of its active check; becoming healthy starts the ramp. For the control thread.
    pub fn set_probe(&self, probe: Probe, now_ms: u64) {
        let before = self.standing();
        if matches!(before.probe(), Probe::Unhealthy | Probe::Pending)
            && matches!(probe, Probe::Healthy | Probe::Unprobed)
        {
            self.ramp_from(now_ms);
        }
        self.set_standing(before.with_probe(probe));
    }

    /// Whether an operator took it out.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.standing().is_drained()
    }

    /// The verdict of its active check.
    #[must_use]
    pub fn probe(&self) -> Probe {
        self.standing().probe()
    }

    /// The state of its breaker; one whose open time is over is half-open, the next attempt being its probe. Without a
    /// breaker it is closed.
    #[must_use]
    pub fn breaker(&self, now_ms: u64) -> BreakerState {
        match self.breaker_word().stage() {
            _ if !self.standing().has_breaker() => BreakerState::Closed,
            Stage::Closed => BreakerState::Closed,
            Stage::Open { until_ms } if now_ms < until_ms => BreakerState::Open,
            Stage::Open { .. } | Stage::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// When its open breaker lets a probe pass, 0 when it is not open.
    #[must_use]
    pub fn open_until_ms(&self) -> u64 {
        match self.breaker_word().stage() {
            Stage::Open { until_ms } => until_ms,
            Stage::Closed | Stage::HalfOpen { .. } => 0,
        }
    }

    /// Probes of its breaker that are out.
    #[must_use]
    pub fn probes_out(&self) -> u64 {
        self.breaker_word().out()
    }

    /// Whether it is ejected.
    #[must_use]
    pub fn is_ejected(&self, now_ms: u64) -> bool {
        self.standing().has_passive() && self.ejection_word().is_ejected(now_ms)
    }

    /// When its last ejection ends or ended, 0 when there was none.
    #[must_use]
    pub fn ejected_until_ms(&self) -> u64 {
        self.ejection_word().until_ms()
    }

    /// How often it has been ejected.
    #[must_use]
    pub fn ejections(&self) -> u64 {
        self.ejections.load(Ordering::Relaxed)
    }

    /// Average latency of its probes in microseconds, 0 when unknown.
    #[must_use]
    pub fn latency_us(&self) -> u64 {
        self.latency_us.load(Ordering::Relaxed)
    }

    /// Sets the average latency of its probes, in microseconds. For the control thread.
    pub fn set_latency_us(&self, us: u64) {
        self.latency_us.store(us, Ordering::Relaxed);
    }

    /// The right to an attempt, or none when the breaker is open or all its probes are out.
    ///
    /// A closed breaker is only read. A probe's pass holds a token. Every pass is ended once, by [`super::Fleet::on_success`],
    /// [`super::Fleet::on_failure`] or [`Self::on_abandoned`]. Without a policy the answer is always yes, and what one
    /// left behind is closed.
    #[must_use = "a pass that is not ended keeps its token"]
    pub fn try_enter(&self, now_ms: u64, policy: Option<&BreakerPolicy>) -> Option<Pass> {
        let Some(policy) = policy else {
            let word = self.close_for_good();
            return Some(Pass::plain(word.term()));
        };
        let mut seen = self.breaker_word();
        loop {
            let (next, pass) = seen.try_enter(now_ms, policy);
            match self.exchange_breaker(seen, next) {
                Ok(()) => return pass,
                Err(now) => seen = now,
            }
        }
    }

    /// The attempt of `pass` ended without saying anything about the endpoint, or never began.
    pub fn on_abandoned(&self, pass: Pass) {
        if pass.is_probe {
            self.change_breaker(|word| word.on_abandoned(pass));
        }
    }

    /// The probe of `pass` succeeded.
    pub(super) fn on_probe_succeeded(&self, pass: Pass, now_ms: u64, policy: &BreakerPolicy) -> Option<Transition> {
        let transition = self.change_breaker(|word| word.on_probe_succeeded(pass, policy));
        if transition.is_some() {
            self.ramp_from(now_ms);
        }
        transition
    }

    /// The probe of `pass` failed.
    pub(super) fn on_probe_failed(&self, pass: Pass, now_ms: u64, policy: &BreakerPolicy) -> Option<Transition> {
        self.change_breaker(|word| word.on_probe_failed(pass, now_ms, policy))
    }

    /// Too many attempts of the term of `pass` failed.
    pub(super) fn on_tripped(&self, pass: Pass, now_ms: u64, policy: &BreakerPolicy) -> Option<Transition> {
        self.change_breaker(|word| word.on_tripped(pass, now_ms, policy))
    }

    /// Whether the outcome of `pass` counts toward opening the breaker.
    pub(super) fn counts(&self, pass: Pass) -> bool {
        // Acquire: pairs with the release that closed the breaker for this term, so that the success that did it, noted
        // in another worker's cell, is seen by the failure that asks for it.
        BreakerWord(self.breaker.load(Ordering::Acquire)).counts(pass)
    }

    /// Whether `pass` is a probe of the trial that still lasts.
    pub(super) fn tries(&self, pass: Pass) -> bool {
        self.breaker_word().tries(pass)
    }

    /// Whether the failure at `now_ns` makes too many in a row; `success_ns`: the last success, 0 when there was none.
    pub(super) fn is_run_over(&self, now_ns: u64, success_ns: u64, policy: &BreakerPolicy) -> bool {
        let mut seen = self.run.load(Ordering::Relaxed);
        loop {
            let next = Run(seen).on_failure(now_ns, success_ns);
            match self.run.compare_exchange_weak(seen, next.0, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return next.is_over(policy),
                Err(now) => seen = now,
            }
        }
    }

    pub(super) fn ejection_word(&self) -> EjectionWord {
        EjectionWord(self.ejection.load(Ordering::Relaxed))
    }

    /// Ejects it, unless its ejection word has changed since it was `seen`. For the holder of [`super::passive::Ejector`].
    pub(super) fn try_eject(&self, seen: EjectionWord, now_ms: u64, policy: &PassivePolicy) -> bool {
        let next = seen.on_ejected(now_ms, policy);
        let is_made = self.ejection.compare_exchange(seen.0, next.0, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_made {
            self.ejections.fetch_add(1, Ordering::Relaxed);
        }
        is_made
    }

    fn breaker_word(&self) -> BreakerWord {
        BreakerWord(self.breaker.load(Ordering::Relaxed))
    }

    fn view(&self, standing: Standing, now_ms: u64) -> BreakerView {
        if standing.has_breaker() { self.breaker_word().view(now_ms) } else { BreakerView::Closed }
    }

    fn standing(&self) -> Standing {
        Standing(self.standing.load(Ordering::Relaxed))
    }

    /// Only the control thread writes it, so nothing is lost between a load and this.
    fn set_standing(&self, standing: Standing) {
        self.standing.store(standing.0, Ordering::Relaxed);
    }

    /// Puts `next` in the place of `seen`; the word that is there when it is another.
    fn exchange_breaker(&self, seen: BreakerWord, next: BreakerWord) -> Result<(), BreakerWord> {
        if next == seen {
            return Ok(());
        }
        // Release: see `counts`. All changes are exchanges, so a later one does not hide the one that closed.
        self.breaker
            .compare_exchange_weak(seen.0, next.0, Ordering::Release, Ordering::Relaxed)
            .map(drop)
            .map_err(BreakerWord)
    }

    fn change_breaker(&self, change: impl Fn(BreakerWord) -> BreakerWord) -> Option<Transition> {
        let mut seen = self.breaker_word();
        loop {
            let next = change(seen);
            match self.exchange_breaker(seen, next) {
                Ok(()) => {
                    let (from, to) = (seen.state(), next.state());
                    return (from != to).then_some(Transition { from, to });
                }
                Err(now) => seen = now,
            }
        }
    }

    /// Closes a breaker that has no policy any more; returns its word, which is only read when it is closed.
    fn close_for_good(&self) -> BreakerWord {
        if self.change_breaker(BreakerWord::on_removed).is_some() {
            self.run.store(0, Ordering::Relaxed);
        }
        self.breaker_word()
    }

    fn forget_ejection(&self) {
        let mut seen = self.ejection_word();
        loop {
            let next = seen.on_forgotten();
            match self.ejection.compare_exchange_weak(seen.0, next.0, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => seen = EjectionWord(now),
            }
        }
    }

    fn ramp_from(&self, now_ms: u64) {
        raise(&self.ramp_from_ms, now_ms.max(1));
    }
}

/// Makes `word` at least `value`; one that already is, is only read.
fn raise(word: &AtomicU64, value: u64) {
    if word.load(Ordering::Relaxed) < value {
        word.fetch_max(value, Ordering::Relaxed);
    }
}

/// What the control thread says of an endpoint, in one word.
///
/// | bits | what |
/// |---|---|
/// | 0 | drained |
/// | 1, 2 | the probe's verdict |
/// | 3 | there is no breaker |
/// | 4 | there is no ejection |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Standing(u64);

const DRAINED: u64 = 1;
const PROBE_AT: u32 = 1;
const PROBE_MASK: u64 = 3 << PROBE_AT;
const NO_BREAKER: u64 = 1 << 3;
const NO_PASSIVE: u64 = 1 << 4;

impl Standing {
    const fn is_drained(self) -> bool {
        self.0 & DRAINED != 0
    }

    const fn probe(self) -> Probe {
        match (self.0 & PROBE_MASK) >> PROBE_AT {
            0 => Probe::Unprobed,
            1 => Probe::Pending,
            2 => Probe::Healthy,
            _ => Probe::Unhealthy,
        }
    }

    const fn has_breaker(self) -> bool {
        self.0 & NO_BREAKER == 0
    }

    const fn has_passive(self) -> bool {
        self.0 & NO_PASSIVE == 0
    }

    const fn with_drained(self, drained: bool) -> Self {
        Self(self.0 & !DRAINED | drained as u64)
    }

    const fn with_probe(self, probe: Probe) -> Self {
        Self(self.0 & !PROBE_MASK | (probe as u64) << PROBE_AT)
    }

    const fn with_policies(self, has_breaker: bool, has_passive: bool) -> Self {
        let breaker = if has_breaker { 0 } else { NO_BREAKER };
        let passive = if has_passive { 0 } else { NO_PASSIVE };
        Self(self.0 & !(NO_BREAKER | NO_PASSIVE) | breaker | passive)
    }
}
