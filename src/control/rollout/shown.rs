//! What is shown of rollouts.

use std::num::NonZeroU32;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::clock;
use crate::config::Rollout;
use crate::telemetry::{RolloutView, Side, SideCounts, Trial};

/// How a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::control) enum Outcome {
    /// It is in force.
    Promoted,
    /// It was given up for what it did, or because an operator wanted that.
    RolledBack,
    /// It was given up for another configuration.
    Superseded,
}

impl Outcome {
    pub(super) const ALL: [Self; 3] = [Self::Promoted, Self::RolledBack, Self::Superseded];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled_back",
            Self::Superseded => "superseded",
        }
    }
}

/// What the pages know of rollouts.
#[derive(Clone, Default)]
pub(in crate::control) struct Shown {
    pub(super) running: Option<ShownRunning>,
    pub(super) is_rejected: bool,
    pub(super) last: Option<Last>,
    pub(super) ended: [u64; Outcome::ALL.len()],
}

/// The trial under way; its counts are read when they are shown.
#[derive(Clone)]
pub(super) struct ShownRunning {
    pub(super) trial: Arc<Trial>,
    pub(super) rules: Rollout,
    pub(super) began_unix_ms: u64,
    pub(super) waits: bool,
}

/// What is on trial, and how the last trial ended.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "RolloutStatus")]
pub(in crate::control) struct Status {
    /// `running` or `idle`.
    phase: &'static str,
    running: Option<RunningStatus>,
    last: Option<Last>,
    /// Do the files say what was rolled back?
    files_rolled_back: bool,
}

/// The trial under way.
#[derive(Debug, Clone, Serialize, JsonSchema)]
struct RunningStatus {
    number: u32,
    /// Has it no share yet, because an issuer's keys or an endpoint's first probe are waited for?
    waits: bool,
    share: f64,
    began: String,
    decided_by: String,
    hold_seconds: f64,
    min_requests: u64,
    max_error_increase: f64,
    max_refusal_increase: f64,
    max_p99_increase: f64,
    candidate: SideStatus,
    current: SideStatus,
}

/// How the last trial ended.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct Last {
    number: u32,
    outcome: Outcome,
    reason: String,
    at: String,
    candidate: SideStatus,
    current: SideStatus,
}

/// What one side has done.
#[derive(Debug, Clone, Serialize, JsonSchema)]
struct SideStatus {
    connections: u64,
    requests: u64,
    gateway_failed: u64,
    upstream_failed: u64,
    refused: u64,
    p99_ms: f64,
}

impl Last {
    pub(super) fn new(
        number: NonZeroU32,
        outcome: Outcome,
        reason: &str,
        current: &SideCounts,
        candidate: &SideCounts,
    ) -> Self {
        Self {
            number: number.get(),
            outcome,
            reason: reason.to_owned(),
            at: clock::rfc3339_text(clock::unix_ms()),
            candidate: SideStatus::new(candidate),
            current: SideStatus::new(current),
        }
    }
}

impl SideStatus {
    fn new(counts: &SideCounts) -> Self {
        let SideCounts { connections, requests, gateway_failed, upstream_failed, refused, .. } = *counts;
        Self { connections, requests, gateway_failed, upstream_failed, refused, p99_ms: millis(counts.p99_us()) }
    }
}

impl ShownRunning {
    fn status(&self) -> RunningStatus {
        let Rollout { share, hold, min_requests, max_error_increase, max_refusal_increase, max_p99_increase } =
            self.rules;
        let hold_ms = u64::try_from(hold.as_millis()).unwrap_or(u64::MAX);
        RunningStatus {
            number: self.trial.number().get(),
            waits: self.waits,
            share,
            began: clock::rfc3339_text(self.began_unix_ms),
            decided_by: clock::rfc3339_text(self.began_unix_ms.saturating_add(hold_ms)),
            hold_seconds: hold.as_secs_f64(),
            min_requests,
            max_error_increase,
            max_refusal_increase,
            max_p99_increase,
            candidate: SideStatus::new(&self.trial.counts(Side::Candidate)),
            current: SideStatus::new(&self.trial.counts(Side::Current)),
        }
    }
}

impl Shown {
    /// The page `/rollout`.
    pub(in crate::control) fn status(&self) -> Status {
        Status {
            phase: if self.running.is_some() { "running" } else { "idle" },
            running: self.running.as_ref().map(ShownRunning::status),
            last: self.last.clone(),
            files_rolled_back: self.is_rejected,
        }
    }

    /// For one scrape.
    pub(in crate::control) fn view(&self) -> RolloutView {
        let sides = |running: &ShownRunning| {
            [("candidate", Side::Candidate), ("current", Side::Current)]
                .map(|(name, side)| (name, running.trial.counts(side)))
        };
        RolloutView {
            is_rejected: self.is_rejected,
            ended: Outcome::ALL.map(|outcome| (outcome.name(), self.ended[outcome as usize])),
            sides: self.running.as_ref().map(sides),
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "a page rounds")]
fn millis(us: u64) -> f64 {
    us as f64 / 1e3
}
