//! Whether an endpoint may be picked: the one truth table over its four reasons.

/// What the active health check says of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// There is no active check, or none has finished and traffic need not wait for one.
    Unprobed = 0,
    /// None has finished yet, and traffic must wait for one (`require_probe`).
    Pending = 1,
    /// Enough checks in a row passed.
    Healthy = 2,
    /// Enough checks in a row failed.
    Unhealthy = 3,
}

/// What a breaker lets pass at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerView {
    /// Everything: it is closed, or there is none.
    Closed,
    /// A probe: it is half-open, or its time is over, and a probe is free.
    Trial,
    /// Nothing: its time is not over, or every probe is out.
    Shut,
}

/// Why an endpoint is not to be picked: the first that applies, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// An operator took it out.
    Drained,
    /// Its first active check is still to come and is required.
    Unprobed,
    /// Its active check fails.
    Probe,
    /// Too many of its answers were failures.
    Ejected,
    /// Its breaker lets nothing pass.
    Breaker,
}

/// Whether an endpoint may be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fitness {
    /// It may.
    Fit,
    /// It may when [`super::Slot::try_enter`] gives the attempt a token: the breaker is being tried.
    Trial,
    /// It may not.
    Unfit(Unfit),
}

impl Fitness {
    /// What logs and pages call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fit => "fit",
            Self::Trial => "trial",
            Self::Unfit(Unfit::Drained) => "unfit: drained",
            Self::Unfit(Unfit::Unprobed) => "unfit: unprobed",
            Self::Unfit(Unfit::Probe) => "unfit: probe",
            Self::Unfit(Unfit::Ejected) => "unfit: ejected",
            Self::Unfit(Unfit::Breaker) => "unfit: breaker",
        }
    }
}

/// Whether an endpoint may be picked, by all that is known of it.
///
/// Each line is a row of [`truth_table`]. A probe that has not been made is as good as one that passed.
#[must_use]
pub const fn fitness(drained: bool, probe: Probe, ejected: bool, breaker: BreakerView) -> Fitness {
    use Probe::{Healthy, Pending, Unhealthy, Unprobed};
    match (drained, probe, ejected, breaker) {
        (true, _, _, _) => Fitness::Unfit(Unfit::Drained),
        (false, Pending, _, _) => Fitness::Unfit(Unfit::Unprobed),
        (false, Unhealthy, _, _) => Fitness::Unfit(Unfit::Probe),
        (false, Unprobed | Healthy, true, _) => Fitness::Unfit(Unfit::Ejected),
        (false, Unprobed | Healthy, false, BreakerView::Shut) => Fitness::Unfit(Unfit::Breaker),
        (false, Unprobed | Healthy, false, BreakerView::Trial) => Fitness::Trial,
        (false, Unprobed | Healthy, false, BreakerView::Closed) => Fitness::Fit,
    }
}

/// What an endpoint is once probes and ejections are disregarded, as `fail_open` does when no endpoint is fit.
///
/// Neither a drained endpoint nor one whose breaker is shut is ever used.
#[must_use]
pub const fn fitness_at_last(drained: bool, breaker: BreakerView) -> Fitness {
    fitness(drained, Probe::Unprobed, false, breaker)
}

/// Combinations that have one outcome.
pub(super) struct Row {
    pub(super) drained: &'static [bool],
    pub(super) probes: &'static [Probe],
    pub(super) ejected: &'static [bool],
    pub(super) breakers: &'static [BreakerView],
}

pub(super) const ANY: [bool; 2] = [true, false];
pub(super) const PROBES: [Probe; 4] = [Probe::Unprobed, Probe::Healthy, Probe::Pending, Probe::Unhealthy];
pub(super) const BREAKERS: [BreakerView; 3] = [BreakerView::Closed, BreakerView::Trial, BreakerView::Shut];
/// Probes that keep nothing away.
const PASSING: [Probe; 2] = [Probe::Unprobed, Probe::Healthy];

/// The rows as they are printed; together they are every combination, each once.
pub(super) const ROWS: [Row; 7] = [
    Row { drained: &[true], probes: &PROBES, ejected: &ANY, breakers: &BREAKERS },
    Row { drained: &[false], probes: &[Probe::Pending], ejected: &ANY, breakers: &BREAKERS },
    Row { drained: &[false], probes: &[Probe::Unhealthy], ejected: &ANY, breakers: &BREAKERS },
    Row { drained: &[false], probes: &PASSING, ejected: &[true], breakers: &BREAKERS },
    Row { drained: &[false], probes: &PASSING, ejected: &[false], breakers: &[BreakerView::Shut] },
    Row { drained: &[false], probes: &PASSING, ejected: &[false], breakers: &[BreakerView::Trial] },
    Row { drained: &[false], probes: &PASSING, ejected: &[false], breakers: &[BreakerView::Closed] },
];

impl Row {
    /// What [`fitness`] says of its first combination.
    pub(super) const fn outcome(&self) -> Fitness {
        fitness(self.drained[0], self.probes[0], self.ejected[0], self.breakers[0])
    }
}

/// The truth table as Markdown: the operator's reference.
#[must_use]
pub fn truth_table() -> String {
    let mut table = String::from("| drained | probe | ejected | breaker | fitness |\n|---|---|---|---|---|\n");
    for row in &ROWS {
        let drained = cell(row.drained, &ANY, |drained| if *drained { "yes" } else { "no" });
        let probe = cell(row.probes, &PROBES, |probe| match probe {
            Probe::Unprobed => "unprobed",
            Probe::Pending => "pending",
            Probe::Healthy => "healthy",
            Probe::Unhealthy => "unhealthy",
        });
        let ejected = cell(row.ejected, &ANY, |ejected| if *ejected { "yes" } else { "no" });
        let breaker = cell(row.breakers, &BREAKERS, |breaker| match breaker {
            BreakerView::Closed => "closed",
            BreakerView::Trial => "trial",
            BreakerView::Shut => "shut",
        });
        let outcome = row.outcome().name();
        table.push_str(&format!("| {drained} | {probe} | {ejected} | {breaker} | {outcome} |\n"));
    }
    table
}

/// The names of `values`, or `any` when they are all there are.
fn cell<T>(values: &[T], all: &[T], name: impl Fn(&T) -> &'static str) -> String {
    if values.len() == all.len() {
        return "any".to_owned();
    }
    values.iter().map(name).collect::<Vec<_>>().join(" or ")
}
