//! When a failed attempt is tried again.

use std::time::Duration;

use super::super::bounds::ATTEMPTS_MAX;
use super::super::choices::{Cause, RetryCause};
use super::super::file::RetryFile;
use super::super::leaf::Leaf;
use super::super::model::{Retry, RetryOn};
use super::super::place::At;
use super::Check;

/// The longest wait between two tries, however often it was doubled.
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// What holds when neither a route nor `defaults` says anything.
pub(super) const BUILT_IN: Retry = Retry {
    attempts: 2,
    on: RetryOn { connect: true, reset: true, timeout: false, statuses: Vec::new() },
    budget: 0.1,
    backoff: Duration::from_millis(100),
    any_method: false,
    same_endpoint: false,
};

pub(super) fn check(check: &mut Check<'_>, at: At<'_>, file: Option<&RetryFile>, default: &Retry) -> Retry {
    let Some(file) = file else { return default.clone() };
    let retry = Retry {
        attempts: check
            .number(at.key("attempts"), file.attempts.as_ref(), 1..=ATTEMPTS_MAX)
            .unwrap_or(default.attempts),
        on: match &file.on {
            Some(leaves) => check_on(check, at.key("on"), leaves),
            None => default.on.clone(),
        },
        budget: check.value(at.key("budget"), file.budget.as_ref()).unwrap_or(default.budget),
        backoff: check_backoff(check, at.key("backoff"), file).unwrap_or(default.backoff),
        any_method: check.value(at.key("methods"), file.methods.as_ref()).unwrap_or(default.any_method),
        same_endpoint: check
            .value(at.key("same_endpoint"), file.same_endpoint.as_ref())
            .unwrap_or(default.same_endpoint),
    };
    let names_nothing = match &file.on {
        Some(leaves) => leaves.is_empty(),
        None => default.on.is_empty(),
    };
    if names_nothing && retry.attempts > 1 {
        let key = if file.on.is_some() { "on" } else { "attempts" };
        let note = "write `attempts: 1` to switch retries off, or what is tried again: `on: [connect, reset]`";
        check.error_with(at.key(key), "more than one attempt, but nothing is tried again", note);
    }
    retry
}

fn check_on(check: &mut Check<'_>, at: At<'_>, leaves: &[Leaf<RetryCause>]) -> RetryOn {
    let mut on = RetryOn::default();
    for (index, leaf) in leaves.iter().enumerate() {
        let at = at.index(index);
        let is_given = match check.value(at, Some(leaf)) {
            Some(Cause::Connect) => std::mem::replace(&mut on.connect, true),
            Some(Cause::Reset) => std::mem::replace(&mut on.reset, true),
            Some(Cause::Timeout) => std::mem::replace(&mut on.timeout, true),
            Some(Cause::Status(status)) => {
                let is_given = on.statuses.contains(&status);
                on.statuses.push(status);
                is_given
            }
            None => false,
        };
        if is_given {
            check.error(at, "this is given twice");
        }
    }
    on.statuses.sort_unstable();
    on
}

fn check_backoff(check: &mut Check<'_>, at: At<'_>, file: &RetryFile) -> Option<Duration> {
    let backoff = check.value(at, file.backoff.as_ref())?;
    if backoff > BACKOFF_MAX {
        check.error_with(
            at,
            "expected at most `10s`",
            "no two tries are further apart, however often this was doubled",
        );
    }
    Some(backoff)
}
