//! Whether what became of a request fits what the endpoints did, and whether it was tried as often as it should be.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;

use ringgate::limits;
use ringgate::telemetry::{Counter, NotRetried};

use crate::entry::Entry;
use crate::gateway::UNIX_MS;
use crate::ledger::Dialogue;
use crate::plan::{BodyPlan, Ending, Mood, RequestPlan};
use crate::scenario::Run;
use crate::settings::{CONNECT_MS, ClusterSettings, RESPONSE_HEADER_MS, ROOMS, Settings};
use crate::traffic::{Attempt, Dialled};
use crate::verdict::Logged;

/// What clocks that tick may be off by.
const SLACK_MS: u64 = 2 * limits::TICK_MS + 2;
/// Longest pause between two reads of a body, as configured.
const BODY_IDLE_MS: u64 = 700;

/// All that is known of the requests of a run.
pub(crate) struct Stories<'a> {
    run: &'a Run,
    attempts: HashMap<String, Vec<Rc<Attempt>>>,
    copies: HashMap<String, usize>,
}

/// All that is known of one.
struct Story<'a> {
    run: &'a Run,
    request: &'a RequestPlan,
    dialogue: &'a Dialogue,
    record: &'a Entry,
    worker: usize,
    settings: Settings,
    /// Nothing when it went nowhere.
    cluster: Option<ClusterSettings>,
    /// The endpoint of the cluster that never fails.
    rock: Option<SocketAddr>,
    attempts: &'a [Rc<Attempt>],
    took_ms: u64,
    from_ms: u64,
    to_ms: u64,
}

impl<'a> Stories<'a> {
    pub(crate) fn new(run: &'a Run) -> Self {
        let mut stories = Self { run, attempts: HashMap::new(), copies: HashMap::new() };
        for attempt in run.gateway.inspector.attempts.borrow().iter() {
            if attempt.is_copy {
                *stories.copies.entry(attempt.token.clone()).or_default() += 1;
            } else {
                stories.attempts.entry(attempt.token.clone()).or_default().push(Rc::clone(attempt));
            }
        }
        stories
    }

    /// What does not fit about the record of a request.
    pub(crate) fn problems(&self, dialogue: &Dialogue, request: &RequestPlan, one: &Logged) -> Vec<String> {
        let record = &one.record;
        let settings = self.run.gateway.settings_of(record.epoch);
        let cluster = settings.clusters.iter().find(|cluster| ROOMS[cluster.room] == one.cluster()).cloned();
        let rocks = self.run.plan.rocks();
        let took_ms = record.duration_ns / 1_000_000;
        let to_ms = record.unix_ms - UNIX_MS + SLACK_MS;
        let story = Story {
            run: self.run,
            request,
            dialogue,
            record,
            worker: one.worker,
            rock: cluster.as_ref().and_then(|cluster| cluster.address_of_first()).filter(|first| rocks.contains(first)),
            cluster,
            attempts: self.attempts.get(&request.token).map_or(&[][..], Vec::as_slice),
            took_ms,
            from_ms: to_ms.saturating_sub(took_ms + 2 * SLACK_MS),
            to_ms,
            settings,
        };
        let mut problems = story.problems_of_attempts();
        problems.extend(story.misfit());
        problems.extend(story.problem_of_giving_up());
        problems.extend(story.problem_of_time());
        let copies = self.copies.get(&request.token).copied().unwrap_or(0);
        if copies > usize::from(story.settings.mirror.is_some()) {
            problems.push(format!("{copies} copies were sent"));
        }
        problems
    }
}

impl ClusterSettings {
    fn address_of_first(&self) -> Option<SocketAddr> {
        let first = self.endpoints.iter().find(|endpoint| endpoint.number == 0 && endpoint.weight > 0)?;
        Some(crate::settings::address(self.room, first.number))
    }
}

impl Story<'_> {
    fn may_repeat(&self) -> bool {
        self.request.is_idempotent() || self.settings.retry.any_method
    }

    fn reason(&self) -> &str {
        self.record.reason.as_deref().unwrap_or("")
    }

    /// Could its deadline have been what ended it?
    fn is_late(&self) -> bool {
        // The last pause is the longest: twice the base for each retry before it.
        let pause_ms = self.settings.retry.backoff_ms << (self.settings.retry.attempts.max(2) - 2);
        self.took_ms + pause_ms + SLACK_MS >= self.settings.request_ms
    }

    /// Was it sent again only when it might be?
    fn problems_of_attempts(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let most = if self.may_repeat() { self.settings.retry.attempts as usize + 1 } else { 1 };
        if self.attempts.len() > most {
            problems.push(format!("{} was sent {} times, at most {most}", self.request.method, self.attempts.len()));
        }
        if self.attempts.iter().any(|attempt| attempt.worker != self.worker) {
            problems.push("another worker sent it".to_owned());
        }
        for pair in self.attempts.windows(2) {
            problems.extend(self.problem_between(&pair[0], &pair[1]));
        }
        problems
    }

    fn problem_between(&self, one: &Attempt, next: &Attempt) -> Option<String> {
        let retry = &self.settings.retry;
        if one.has_interim.get() && !self.request.is_old {
            return Some("sent again although an interim response had been relayed".to_owned());
        }
        let Some((closed_ms, was_closed)) = one.closed.get().filter(|(closed_ms, _)| *closed_ms <= next.began_ms)
        else {
            return Some("sent again while the attempt before lasted".to_owned());
        };
        let cause = match (one.status.get(), was_closed) {
            (Some(status), _) if retry.on(&status.to_string()) => "a status",
            (Some(status), _) => return Some(format!("sent again after a {status}")),
            (None, true) if one.has_part.get() => return Some("sent again after a part of a response".to_owned()),
            (None, true) if one.reused => return None,
            (None, true) if one.address == next.address => return Some("sent to what had killed it".to_owned()),
            (None, true) if retry.on("reset") => "a reset",
            (None, false) if retry.on("timeout") => "a time-out",
            (None, _) => return Some("sent again without a cause that was asked for".to_owned()),
        };
        let pause_ms = next.began_ms - closed_ms;
        let paused = pause_ms + SLACK_MS >= retry.backoff_ms / 2;
        (!paused).then(|| format!("sent again {pause_ms} ms after {cause}"))
    }

    /// Is there a ground for its reason?
    fn misfit(&self) -> Option<String> {
        let last = self.attempts.last();
        let waited_ms = last.map_or(0, |last| last.closed.get().map_or(self.to_ms, |(at, _)| at) - last.began_ms);
        let was_closed = last.is_some_and(|last| last.closed.get().is_some_and(|(_, gone)| gone));
        let status = last.and_then(|last| last.status.get());
        let mood = self.run.plan.bones.mood;
        let fits = match self.reason() {
            "" => true,
            "upstream_saturated" => self.was_full(),
            "upstream_queue_timeout" => self.was_full() && self.has_queued(),
            "breaker_open" => self.rock.is_none() && self.has_breaker(),
            "no_healthy_endpoint" => self.rock.is_none() && mood != Mood::Calm,
            "connect_refused" => self.has_dialled(Dialled::Refused, 0),
            "connect_timeout" => self.has_dialled(Dialled::Silence, CONNECT_MS),
            "upstream_reset" | "upstream_eof" | "upstream_head_cut" => was_closed,
            "upstream_truncated" => was_closed && status.is_some(),
            "upstream_status" => self.attempts.iter().any(|one| one.status.get().is_some_and(|status| status >= 500)),
            "upstream_timeout" => status.is_none() && waited_ms + SLACK_MS >= RESPONSE_HEADER_MS,
            "request_timeout" => self.took_ms + SLACK_MS >= self.settings.request_ms,
            "upstream_body_timeout" | "upstream_write_timeout" => waited_ms + SLACK_MS >= BODY_IDLE_MS,
            "bad_response" | "bad_response_body" | "interim_flood" | "unasked_switch" => mood == Mood::Wild,
            "bad_request" | "bad_request_body" => self.request.flaw.is_some(),
            // One who has a final answer instead of its 100 takes its request back.
            "client_abort" => !self.dialogue.plan.is_fair() || self.request.expects && status.is_some(),
            "client_body_timeout" | "client_header_timeout" | "client_write_timeout" => !self.dialogue.plan.is_fair(),
            _ => false,
        };
        (!fits).then(|| format!("no ground for it; rock {:?}, last attempt {}", self.rock, told(last)))
    }

    /// Were there spans without a free connection while it lasted?
    fn was_full(&self) -> bool {
        let clusters = self.run.gateway.inspector.clusters.borrow();
        let name = self.cluster.as_ref().map_or("", |cluster| ROOMS[cluster.room]);
        let watched = clusters.iter().find(|watched| watched.name == name);
        watched.is_some_and(|watched| {
            watched.full.iter().any(|(from_ms, to_ms)| *from_ms <= self.to_ms && *to_ms >= self.from_ms)
        })
    }

    fn has_queued(&self) -> bool {
        let queue = self.cluster.as_ref().and_then(|cluster| cluster.queue.as_ref());
        queue.is_some_and(|queue| self.took_ms + SLACK_MS >= queue.timeout_ms.min(self.settings.request_ms))
    }

    fn has_breaker(&self) -> bool {
        let opened = self.run.gateway.sum(|counters| counters.breaker_transitions.iter().map(Counter::value).sum());
        opened > 0 && self.cluster.as_ref().is_some_and(|cluster| cluster.breaker.is_some())
    }

    /// Did its task dial in vain while it lasted?
    fn has_dialled(&self, outcome: Dialled, patience_ms: u64) -> bool {
        let tasks = self.run.gateway.tasks.borrow();
        let client = self.request.token.split('r').next().unwrap_or_default();
        let Some(task) = tasks.get(client) else { return false };
        let inspector = &self.run.gateway.inspector;
        let dials = inspector.dials.borrow();
        let mut own = dials.iter().filter(|dial| inspector.is_of(dial.task, *task) && dial.outcome.get() == outcome);
        own.any(|dial| {
            let (from_ms, to_ms) = (dial.began_ms, dial.ended_ms.get());
            let is_patient =
                to_ms - from_ms + SLACK_MS >= patience_ms || self.took_ms + SLACK_MS >= self.settings.request_ms;
            from_ms >= self.from_ms && from_ms <= self.to_ms && is_patient
        })
    }

    /// Did it fail although another attempt was due, at an endpoint that never fails?
    fn problem_of_giving_up(&self) -> Option<String> {
        let rock = self.rock?;
        let retry = &self.settings.retry;
        let status = self.record.status.to_string();
        let cause = match self.reason() {
            "connect_refused" | "connect_timeout" => "connect",
            "upstream_reset" | "upstream_eof" => "reset",
            "upstream_timeout" => "timeout",
            "" if self.attempts.last().is_some_and(|last| last.address != rock) => status.as_str(),
            _ => return None,
        };
        let has_body = self.request.body != BodyPlan::None;
        let is_committed = self.attempts.iter().any(|one| one.has_interim.get());
        let is_denied =
            self.run.gateway.workers[self.worker].counters.retries_denied[NotRetried::Budget as usize].value() > 0;
        let is_due = match cause {
            // Nothing was sent: whatever the request, and however often.
            "connect" => retry.on.contains(&"connect") && (self.attempts.is_empty() || !has_body && !is_committed),
            // One who half-closed was perhaps sent a 100, after which nothing is sent again.
            _ if has_body || is_committed || !self.may_repeat() || self.dialogue.plan.ending == Ending::HalfClose => {
                false
            }
            "reset" if self.attempts.len() == 1 && self.attempts[0].reused => true,
            "reset" => self.is_wanted(cause, is_denied) && self.attempts.iter().all(|one| one.address != rock),
            _ => self.is_wanted(cause, is_denied),
        };
        (is_due && !self.is_late() && self.dialogue.plan.is_fair())
            .then(|| format!("given up after {} attempts although {rock} never fails", self.attempts.len()))
    }

    fn is_wanted(&self, cause: &str, is_denied: bool) -> bool {
        self.settings.retry.on(cause) && self.attempts.len() < self.settings.retry.attempts as usize && !is_denied
    }

    /// A request without a body has its answer, or the gateway's, by its deadline.
    fn problem_of_time(&self) -> Option<String> {
        let is_local = self.record.status >= 500 && self.record.reason.is_some();
        let is_cut = matches!(self.reason(), "upstream_truncated" | "upstream_body_timeout" | "bad_response_body");
        let is_over = self.took_ms > self.settings.request_ms + SLACK_MS + limits::TICK_MS;
        (is_local && !is_cut && self.request.body == BodyPlan::None && self.dialogue.plan.is_fair() && is_over)
            .then(|| format!("{} ms are more than the {} it may take", self.took_ms, self.settings.request_ms))
    }
}

fn told(attempt: Option<&Rc<Attempt>>) -> String {
    attempt.map_or("none".to_owned(), |one| {
        let Attempt { address, began_ms, reused, .. } = &**one;
        let (status, closed) = (one.status.get(), one.closed.get());
        format!("to {address} at {began_ms} ms, reused {reused}, status {status:?}, closed {closed:?}")
    })
}
