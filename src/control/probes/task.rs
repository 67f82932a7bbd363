//! The life of one target: wait, ask, count, tell, and again.

use std::sync::Arc;

use super::attempt::{Check, Outcome};
use super::target::Target;
use super::{Report, Shared, jitter};
use crate::cluster::HealthCount;

/// Probes `target` by `check` until nobody listens to its reports.
pub(super) async fn run(shared: Arc<Shared>, target: Target, term: u64, mut check: impl Check) {
    let health = &target.health;
    let mut count = HealthCount::new(health.healthy_after, health.unhealthy_after);
    // One that takes no traffic before it was probed is probed at once; the others can wait to spread the load.
    if !health.require_probe {
        tokio::time::sleep(jitter::first(health.interval, shared.draw())).await;
    }
    let (mut was_ours, mut fails) = (false, false);
    loop {
        let (next, outcome) = {
            let _leave = shared.leave(fails).await;
            // It runs from here on, or what answers slowly would be found out slowly.
            let next = tokio::time::sleep(jitter::pause(health.interval, shared.draw()));
            (next, check.check().await)
        };
        let is_ours = outcome.is_ours();
        let report = counted(&mut count, &target, term, outcome);
        if is_ours && !was_ours {
            let (cluster, endpoint) = (&*target.cluster, target.probed());
            tracing::warn!(cluster, %endpoint, detail = &*report.detail, "an endpoint cannot be probed");
        }
        (was_ours, fails) = (is_ours, !report.ok);
        if shared.reports.send(report).is_err() {
            return;
        }
        next.await;
    }
}

/// The report of an outcome, which counts unless it is about this machine.
fn counted(count: &mut HealthCount, target: &Target, term: u64, outcome: Outcome) -> Report {
    let (ok, is_ours) = (outcome.result.is_ok(), outcome.is_ours());
    Report {
        id: target.id,
        ok,
        verdict: if is_ours { None } else { count.on_result(ok) },
        latency_us: outcome.latency_us,
        detail: outcome.result.unwrap_or_else(|trouble| trouble.detail()),
        term,
    }
}
