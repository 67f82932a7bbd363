//! Series of rollouts.

use std::fmt;

use prometheus_client::metrics::MetricType;

use super::{Page, count_in, seconds};
use crate::telemetry::trial::SideCounts;

/// What one scrape shows of rollouts.
#[derive(Debug, Clone, Default)]
pub struct RolloutView {
    /// Do the files say what was rolled back?
    pub is_rejected: bool,
    /// Trials that have ended, by outcome.
    pub ended: [(&'static str, u64); 3],
    /// What both sides have done of the trial under way, by name.
    pub sides: Option<[(&'static str, SideCounts); 2]>,
}

impl RolloutView {
    pub(super) fn encode(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let help = "1 while a configuration is on trial.";
        page.gauge("gateway_rollout_running", help, u64::from(self.sides.is_some()))?;
        let help = "1 while the configuration files say what was rolled back.";
        page.gauge("gateway_rollout_files_rolled_back", help, u64::from(self.is_rejected))?;
        let mut family = page.open("gateway_rollouts", "Trials that ended, by outcome.", MetricType::Counter)?;
        for (outcome, count) in self.ended.iter().filter(|(outcome, _)| !outcome.is_empty()) {
            count_in(&mut family, &[("outcome", *outcome)], *count)?;
        }
        let sides = || self.sides.iter().flatten();
        let help = "New connections of the trial under way, by who serves them.";
        let mut family = page.open("gateway_rollout_connections", help, MetricType::Counter)?;
        for (side, counts) in sides() {
            count_in(&mut family, &[("side", *side)], counts.connections)?;
        }
        let help = "Requests of the trial under way, by who served them and how they ended.";
        let mut family = page.open("gateway_rollout_requests", help, MetricType::Counter)?;
        for (side, counts) in sides() {
            let other = counts.refused + counts.failed();
            for (result, count) in [
                ("passed", counts.requests.saturating_sub(other)),
                ("refused", counts.refused),
                ("gateway_failed", counts.gateway_failed),
                ("upstream_failed", counts.upstream_failed),
            ] {
                count_in(&mut family, &[("side", *side), ("result", result)], count)?;
            }
        }
        let help = "99th percentile of the trial under way in seconds, by who served.";
        let mut family = page.open("gateway_rollout_p99_seconds", help, MetricType::Gauge)?;
        for (side, counts) in sides() {
            family.encode_family(&[("side", *side)])?.encode_gauge(&seconds(counts.p99_us() * 1_000))?;
        }
        Ok(())
    }
}
