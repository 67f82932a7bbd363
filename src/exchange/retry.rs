//! After a failed attempt: whether another follows, where and when (requirement F2).

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::pending;
use std::pin::pin;

use super::adopted::Lane;
use super::failure::{Failure, RetryOn};
use super::held::{Exchange, Sending};
use super::lease::Wanted;
use super::pick::Tried;
use crate::cluster::backoff_ms;
use crate::limits;
use crate::net::{Env, Expired};
use crate::snapshot::{Cluster, Route};
use crate::telemetry::{NotRetried, Retried};

/// The attempts of one exchange.
pub(super) struct Tries<'a> {
    pub(super) route: &'a Route,
    pub(super) cluster: &'a Cluster,
    pub(super) lane: &'a RefCell<Lane>,
    key: Option<u32>,
    tried: Cell<Tried>,
    /// Attempts made once more, but not those that only went on from an endpoint that could not be reached.
    retries: Cell<u32>,
    /// How often an endpoint did nothing with the request.
    refusals: Cell<u32>,
    /// May endpoints that were tried be tried again?
    again: Cell<bool>,
    /// May even those be that failed for good, where there is no other?
    anew: Cell<bool>,
    may_reuse: Cell<bool>,
    /// The retry that a response was given up for.
    granted: Cell<Option<Step>>,
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    GiveUp,
    /// Another attempt after so many milliseconds, for this reason.
    After(u64, Retried),
}

impl<'a> Tries<'a> {
    pub(super) fn new(route: &'a Route, cluster: &'a Cluster, lane: &'a RefCell<Lane>, key: Option<u32>) -> Self {
        lane.borrow_mut().budget.on_request(route.retry.budget);
        Self {
            route,
            cluster,
            lane,
            key,
            tried: Cell::default(),
            retries: Cell::new(0),
            refusals: Cell::new(0),
            again: Cell::new(false),
            anew: Cell::new(false),
            may_reuse: Cell::new(true),
            granted: Cell::new(None),
        }
    }

    /// What the next attempt may use, and until when.
    pub(super) fn wanted<'w>(&'w self, tried: &'w Tried, now_ns: u64, due_ms: u64) -> Wanted<'w> {
        Wanted {
            route: self.route,
            cluster: self.cluster,
            lane: self.lane,
            tried,
            again: self.again.get(),
            anew: self.anew.get(),
            key: self.key,
            now_ns: Cell::new(now_ns),
            may_reuse: self.may_reuse.get(),
            due_ms,
        }
    }

    pub(super) fn tried(&self) -> Tried {
        self.tried.get()
    }

    pub(super) fn on_tried(&self, place: usize) {
        let mut tried = self.tried.get();
        tried.push(place);
        self.tried.set(tried);
    }

    /// Told that the endpoint at `place` could not be reached, or died at once. It is not tried again, unless the route says so and a
    /// retry is granted: what refused a connection would most likely refuse it again, and the client would wait for nothing.
    pub(super) fn bar(&self, place: usize) {
        self.anew.set(false);
        let mut tried = self.tried.get();
        tried.bar(place);
        self.tried.set(tried);
    }

    /// After a response with this status: gives it up for a retry if there may be one. Nothing of it was sent downstream.
    pub(super) fn try_give_up_status<E: Env>(
        &self,
        exchange: &Exchange<'_, E>,
        status: u16,
        sending: &Sending,
    ) -> bool {
        if !self.route.retry.statuses.has(status) {
            return false;
        }
        let step = match sending.done.get() {
            true => self.retry(exchange, Retried::Status, sending),
            false => exchange.deny(NotRetried::Body),
        };
        if step != Step::GiveUp {
            self.granted.set(Some(step));
        }
        step != Step::GiveUp
    }

    /// After an attempt at the endpoint in this place that failed with a connection under way.
    pub(super) fn after_attempt<E: Env>(
        &self,
        exchange: &Exchange<'_, E>,
        place: usize,
        failure: Failure,
        reused: bool,
        sending: &Sending,
    ) -> Step {
        if let Some(step) = self.granted.take() {
            self.again.set(true);
            return step;
        }
        let on = failure.verdict().retry_on;
        if on == RetryOn::Unread {
            return self.after_refusal(exchange, sending);
        }
        let is_unanswered = exchange.tally.first_byte_ns.get() == 0;
        if failure.is_death() && reused && is_unanswered && self.may_reuse.get() {
            // RFC 9110 section 9.2.2: the endpoint may just have closed a connection that rested; that is nobody's fault,
            // costs no budget and is tried once more at once. It goes to another endpoint if there is one: what killed one
            // connection may have killed its endpoint.
            if let Some(why) = exchange.why_not_again(self.route, sending) {
                return exchange.deny(why);
            }
            self.may_reuse.set(false);
            self.again.set(true);
            self.retries.set(self.retries.get() + 1);
            return Step::After(0, Retried::Reused);
        }
        let retry = &self.route.retry;
        // A fresh connection that dies says something about its endpoint: another one is worth a try.
        if on == RetryOn::Reset && retry.reset {
            self.bar(place);
            return self.retry(exchange, Retried::Reset, sending);
        }
        if on == RetryOn::Timeout && retry.timeout {
            self.again.set(true);
            return self.retry(exchange, Retried::Timeout, sending);
        }
        Step::GiveUp
    }

    /// No endpoint is left to try after this failure but those that failed so, if any is.
    pub(super) fn after_the_last<E: Env>(
        &self,
        exchange: &Exchange<'_, E>,
        failure: Failure,
        sending: &Sending,
    ) -> Step {
        let is_connect = failure.verdict().retry_on == RetryOn::Connect && self.route.retry.connect;
        if is_connect && !self.anew.get() { self.retry(exchange, Retried::Connect, sending) } else { Step::GiveUp }
    }

    /// RFC 9113 section 8.7: what an endpoint did nothing with goes out again, whatever it is, at no cost and at once.
    fn after_refusal<E: Env>(&self, exchange: &Exchange<'_, E>, sending: &Sending) -> Step {
        if self.refusals.get() + 1 >= limits::H2_REFUSALS {
            return exchange.deny(NotRetried::Attempts);
        }
        if !sending.can_repeat() {
            return exchange.deny(NotRetried::Body);
        }
        self.refusals.set(self.refusals.get() + 1);
        self.again.set(true);
        Step::After(0, Retried::Refused)
    }

    /// May a connect that failed be followed by one to another endpoint?
    pub(super) fn may_go_on(&self, now_ms: u64, due_ms: u64) -> bool {
        self.route.retry.connect && now_ms < due_ms && !self.tried.get().is_full()
    }

    /// One retry more, if the request, the route's attempts, the deadline and the budget allow it.
    fn retry<E: Env>(&self, exchange: &Exchange<'_, E>, why: Retried, sending: &Sending) -> Step {
        let (retry, made) = (&self.route.retry, self.retries.get());
        if made + 1 >= retry.attempts {
            return exchange.deny(NotRetried::Attempts);
        }
        // Without a connection nothing was sent.
        if why != Retried::Connect
            && let Some(why) = exchange.why_not_again(self.route, sending)
        {
            return exchange.deny(why);
        }
        if !retry.same_endpoint && self.is_alone(exchange, why, sending) {
            return exchange.deny(NotRetried::Endpoint);
        }
        let shard = exchange.shard;
        let pause_ms = backoff_ms(retry.backoff_ms, made, shard.rng.borrow_mut().u64());
        let now_ms = shard.alarms.now_ms();
        if now_ms + pause_ms >= sending.due_ms.get() {
            return exchange.deny(NotRetried::Deadline);
        }
        if !self.lane.borrow_mut().budget.try_take(now_ms) {
            return exchange.deny(NotRetried::Budget);
        }
        self.retries.set(made + 1);
        self.anew.set(retry.same_endpoint);
        Step::After(pause_ms, why)
    }

    /// Is no endpoint left for a retry for this reason but those that are not tried again?
    fn is_alone<E: Env>(&self, exchange: &Exchange<'_, E>, why: Retried, sending: &Sending) -> bool {
        let nobody = || {
            let (tried, now_ns) = (self.tried.get(), exchange.shard.env.now_ns());
            exchange.shard.best_tier(&self.wanted(&tried, now_ns, sending.due_ms.get())).is_none()
        };
        // After a connect that failed one was looked for already.
        why == Retried::Connect || why == Retried::Reset && nobody()
    }
}

impl<E: Env> Exchange<'_, E> {
    /// RFC 9110 section 9.2.2: only idempotent requests unless told otherwise, and only while all that was sent can be sent
    /// again and nothing went downstream.
    fn why_not_again(&self, route: &Route, sending: &Sending) -> Option<NotRetried> {
        if !self.head.method().is_idempotent() && !route.retry.any_method {
            Some(NotRetried::NonIdempotent)
        } else if self.tally.committed.get() {
            Some(NotRetried::Answered)
        } else if !sending.can_repeat() {
            Some(NotRetried::Body)
        } else {
            None
        }
    }

    fn deny(&self, why: NotRetried) -> Step {
        self.shard.counters.retries_denied[why as usize].add(1);
        Step::GiveUp
    }

    /// Waits before a retry; ends early when the client is gone.
    pub(super) async fn pause(&self, ms: u64) -> Result<(), Failure> {
        if ms == 0 {
            return Ok(());
        }
        let nothing = pin!(pending::<Infallible>());
        let mut waiting = pin!(self.alarm.within(ms, nothing));
        let Err(Expired) = self.watching(waiting.as_mut()).await?;
        Ok(())
    }
}
