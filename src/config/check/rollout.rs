//! How a changed configuration proves itself.

use std::time::Duration;

use super::super::model::Rollout;
use super::super::place::At;
use super::{Check, Written};

/// Most requests that may be waited for.
const REQUESTS_MAX: u32 = 1_000_000_000;

pub(super) fn check(check: &mut Check<'_>, main: &Written) -> Option<Rollout> {
    let written = main.document.reload.as_ref()?.stage.as_ref()?;
    let root = At::root(main.file);
    let reload = root.key("reload");
    let at = reload.key("stage");
    let share = check.value(at.key("share"), written.share.as_ref()).unwrap_or(0.1);
    if share <= 0.0 {
        check.error(at.key("share"), "expected a percentage above `0%`; leave `stage` out to have none");
    }
    let least = check.number(at.key("min_requests"), written.min_requests.as_ref(), 1..=REQUESTS_MAX);
    let hold = check.value(at.key("for"), written.hold.as_ref()).unwrap_or(Duration::from_secs(30));
    let (at, rules) = (at.key("rollback_if"), written.rollback_if.as_ref());
    let failed = rules.and_then(|rules| rules.error_rate_increase.as_ref());
    let refused = rules.and_then(|rules| rules.refusal_rate_increase.as_ref());
    let p99 = rules.and_then(|rules| rules.p99_increase.as_ref());
    Some(Rollout {
        share,
        hold,
        min_requests: least.unwrap_or(500).into(),
        max_error_increase: check.value(at.key("error_rate_increase"), failed).unwrap_or(0.01),
        max_refusal_increase: check.value(at.key("refusal_rate_increase"), refused).unwrap_or(0.1),
        max_p99_increase: check.value(at.key("p99_increase"), p99).unwrap_or(0.5),
    })
}
