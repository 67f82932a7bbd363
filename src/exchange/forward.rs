//! Forwarding: pick an endpoint, lease or open a connection, send, take the answer, perhaps once more.

use std::pin::pin;

use super::answer::{Answer, Awaited, Outcome, both};
use super::failure::{Failure, Fault};
use super::held::{Exchange, Gauge, Next, Sending, Served};
use super::lease::Refused;
use super::local::Local;
use super::pick::Attempt;
use super::retry::{Step, Tries};
use super::shard::Lease;
use crate::http1::{ChunkedDecoder, ResponseHead};
use crate::limits;
use crate::net::{Channel, Env, Stream, StreamFault};
use crate::snapshot::{Cluster, Route};
use crate::telemetry::Retried;

/// What an exchange needs besides itself to be forwarded; lent by the connection.
pub(super) struct Parts<'a> {
    pub(super) response: &'a mut ResponseHead,
    upload: &'a mut ChunkedDecoder,
    download: &'a mut ChunkedDecoder,
}

impl<E: Env> Exchange<'_, E> {
    /// Forwards the request and relays the answer, or answers with the failure.
    pub(super) async fn forward(
        &self,
        route: &Route,
        cluster: usize,
        response: &mut ResponseHead,
        upload: &mut ChunkedDecoder,
        download: &mut ChunkedDecoder,
    ) -> Served {
        let mut parts = Parts { response, upload, download };
        let sending = Sending::default();
        self.tally.cluster.set(Some(cluster));
        if !self.try_enter_gate(route.priority) {
            return self.refuse(Failure::Overloaded, &sending).await;
        }
        let mirror = self.mirror_for(route);
        let may_be_refused = self.adopted.snapshot.clusters[cluster].speaks_h2;
        self.tally.keeps_body.set(mirror.is_some() || may_be_refused || self.may_repeat(route));
        let outcome = self.attempt_all(route, cluster, &mut parts, &sending).await;
        drop(self.permit.take());
        if let Some(mirror) = mirror {
            self.send_mirror(route, mirror, &sending);
        }
        match outcome {
            Ok(answer) => self.answered(&answer, &sending),
            Err(failure) if self.tally.is_answered() || failure.verdict().status == 499 => self.cut_off(failure),
            Err(failure) => self.refuse(failure, &sending).await,
        }
    }

    fn answered(&self, answer: &Answer, sending: &Sending) -> Served {
        let next = match answer.client_persists {
            true => Next::KeepAlive,
            // RFC 9112 section 9.6: whoever may still send must not lose the response to a reset.
            false if !sending.done.get() || self.head.keep_alive() => Next::Linger,
            false => Next::Close,
        };
        Served { next, body_used: self.body_used(), leftover: sending.leftover.take() }
    }

    /// The response is out, in part at least, and cannot be completed: its framing shows that, or a reset does
    /// (RFC 9112 section 8).
    pub(super) fn cut_off(&self, failure: Failure) -> Served {
        self.on_failure(failure);
        let is_client = failure.verdict().fault == Fault::Client;
        let next = if is_client || self.tally.open_ended.get() { Next::Reset } else { Next::Cut };
        Served { next, body_used: 0, leftover: None }
    }

    /// Could this request be sent again, should an attempt of it fail?
    fn may_repeat(&self, route: &Route) -> bool {
        self.head.method().is_idempotent() || (route.retry.any_method && route.retry.attempts > 1)
    }

    async fn refuse(&self, failure: Failure, sending: &Sending) -> Served {
        // A body that was once sent to its end was read to its end, whatever became of it.
        let body = if sending.read.get() { Some(self.body_used()) } else { self.whole_body() };
        let served = self.answer_locally(&Local::Failed(failure), body).await;
        Served { leftover: sending.leftover.take(), ..served }
    }

    /// Bytes behind the head that were part of this request; an upload consumes all of them and keeps what is left over.
    fn body_used(&self) -> usize {
        self.whole_body().unwrap_or_else(|| self.behind_head().len())
    }

    /// Attempts until an answer begins. A connect that failed goes on at another endpoint, whatever the request: nothing was
    /// sent. All else is a retry, of requests that can be sent again, by the route's rules.
    async fn attempt_all(&self, route: &Route, cluster: usize, parts: &mut Parts<'_>, sending: &Sending) -> Outcome {
        let lane = &self.adopted.lanes[cluster];
        let cluster = &self.adopted.snapshot.clusters[cluster];
        let key = cluster.key.as_ref().and_then(|from| self.key(from));
        let tries = Tries::new(route, cluster, lane, key);
        self.set_due(route, sending);
        let (mut last, mut again) = (None, None);
        loop {
            let tried = tries.tried();
            let is_first = self.tally.attempts.get() == 0;
            let now_ns = if is_first { self.tally.ready_ns.get() } else { self.shard.env.now_ns() };
            self.tally.ready_ns.set(now_ns);
            let (pause_ms, why) = match self.open(&tries.wanted(&tried, now_ns, sending.due_ms.get())).await {
                Ok((attempt, upstream)) => {
                    let (reused, rested_ms) = (upstream.reused, upstream.rested_ms);
                    self.on_attempt(&attempt, again, sending);
                    tries.on_tried(attempt.index);
                    let outcome = self.attempt(&tries, &attempt, upstream, parts, sending).await;
                    let Err(failure) = outcome else { return outcome };
                    self.on_attempt_failed(failure);
                    let is_dead = failure.is_death();
                    // A connection that rested and was closed meanwhile says nothing about its endpoint.
                    let is_stale = is_dead && reused && rested_ms >= limits::STALE_MS;
                    let step = tries.after_attempt(self, attempt.index, failure, reused, sending);
                    let is_blameless = self.is_blameless(failure, step, route, sending);
                    if failure.verdict().fault == Fault::Upstream && !is_stale && !is_blameless {
                        attempt.on_failed();
                    }
                    if is_dead && !is_stale {
                        attempt.rest_for(limits::DEATH_REST_MS);
                    }
                    last = Some(failure);
                    match step {
                        Step::After(ms, why) => (ms, why),
                        Step::GiveUp => {
                            if matches!(failure, Failure::UpstreamTimeout | Failure::RequestTimeout) {
                                self.leave_gate_late(sending);
                            }
                            return Err(failure);
                        }
                    }
                }
                Err(Refused::Connect(attempt, failure)) => {
                    self.on_attempt(&attempt, again, sending);
                    self.on_attempt_failed(failure);
                    if failure.verdict().fault != Fault::Upstream {
                        return Err(failure);
                    }
                    if !self.is_blameless(failure, Step::GiveUp, route, sending) {
                        attempt.on_unreached();
                    }
                    tries.bar(attempt.index);
                    last = Some(failure);
                    if !tries.may_go_on(self.shard.alarms.now_ms(), sending.due_ms.get()) {
                        return Err(failure);
                    }
                    again = Some(Retried::Connect);
                    continue;
                }
                // What the last endpoint did says more than that there is no other.
                Err(Refused::NoneFit) => match last.map(|last| (last, tries.after_the_last(self, last, sending))) {
                    Some((_, Step::After(ms, why))) => (ms, why),
                    Some((failure, Step::GiveUp)) => return Err(failure),
                    None => return Err(self.none_fit(cluster)),
                },
                Err(Refused::Other(failure)) => return Err(failure),
            };
            self.pause(pause_ms).await?;
            sending.on_again();
            again = Some(why);
        }
    }

    /// Does a failure of the endpoint's say nothing against it? So does a request that it asks to be sent elsewhere, but not one
    /// that nobody took in the end. And so do those that a client can bring about: a call whose own time is over, of which it may
    /// give as little as it likes, and the silence behind a head whose body it keeps until a 100 comes, which many endpoints never
    /// send, or the end of a tunnel, of which it may make what it likes. Nor is an endpoint slow that was asked when others, or
    /// a queue, had used up most of the time that it may take; but one that is mute for half of it is not excused, or a hung one
    /// behind a queue would never be found out.
    fn is_blameless(&self, failure: Failure, step: Step, route: &Route, sending: &Sending) -> bool {
        let is_over = || sending.call_due_ms.get().is_some_and(|due_ms| self.shard.alarms.now_ms() >= due_ms);
        let own_ms = route.timeouts.request_ms.min(route.timeouts.response_header_ms);
        let is_cut_short = sending.given_ms.get() * 2 < own_ms;
        let is_refused = failure == Failure::StreamRefused && step != Step::GiveUp;
        let is_silent = matches!(failure, Failure::UpstreamTimeout | Failure::RequestTimeout) || failure.is_death();
        let is_unanswered = sending.is_kept_back() && self.tally.upstream_status.get() == 0;
        let is_tunnel = failure == Failure::TunnelBroken;
        is_refused
            || is_tunnel
            || is_unanswered && is_silent
            || failure == Failure::RequestTimeout && (is_cut_short || is_over())
    }

    /// From here on there is so much time: the route's, and no more than a call of gRPC was given.
    fn set_due(&self, route: &Route, sending: &Sending) {
        let now_ms = self.shard.alarms.now_ms();
        let call_ms = self.call_ms();
        sending.entered_ms.set(now_ms);
        sending.entered_ns.set(self.tally.ready_ns.get());
        sending.call_due_ms.set(call_ms.map(|call_ms| now_ms + call_ms));
        sending.due_ms.set(now_ms + route.timeouts.request_ms.min(call_ms.unwrap_or(u64::MAX)));
    }

    /// Another attempt begins; it is a retry if there is something that it was granted `again` for.
    fn on_attempt(&self, attempt: &Attempt<'_, E>, again: Option<Retried>, sending: &Sending) {
        if let Some(why) = again {
            self.shard.counters.retries[why as usize].add(1);
        }
        // Each clock is compared with itself alone: that of the alarms stands still while the worker is busy.
        let waited_ms = self.tally.ready_ns.get().saturating_sub(sending.entered_ns.get()) / 1_000_000;
        sending.given_ms.set((sending.due_ms.get() - sending.entered_ms.get()).saturating_sub(waited_ms));
        self.tally.attempts.set(self.tally.attempts.get() + 1);
        self.tally.endpoint.set(Some(attempt.endpoint().address));
        self.tally.upstream_protocol.set(None);
        self.tally.first_byte_ns.set(0);
        self.tally.upstream_status.set(0);
        self.on_attempt_traced();
    }

    fn none_fit(&self, cluster: &Cluster) -> Failure {
        match self.shard.breaker_wait_ms(cluster) {
            Some(wait_ms) => {
                self.tally.retry_after_s.set(wait_ms.div_ceil(1000).max(1));
                Failure::BreakerOpen
            }
            None => Failure::NoneFit,
        }
    }

    /// One attempt on one connection, which goes back to the pool if its exchange was complete.
    async fn attempt(
        &self,
        tries: &Tries<'_>,
        attempt: &Attempt<'_, E>,
        upstream: Lease<E::Stream>,
        parts: &mut Parts<'_>,
        sending: &Sending,
    ) -> Outcome {
        self.tally.upstream_protocol.set(Some(if upstream.stream.is_reusable() { 1 } else { 2 }));
        let active = Gauge::new(&self.shard.counters.upstream_connections_active);
        let stream = (!upstream.stream.is_reusable()).then(|| Gauge::new(&self.shard.counters.h2_upstream_streams));
        let sent = self.send_head_and_start(tries.route, attempt, &upstream.stream, sending).await?;
        let awaited = Awaited { stream: &upstream.stream, tries, attempt, sending };
        let Parts { response, upload, download } = parts;
        let outcome = {
            // Pinned once: a future that is passed on is held twice, and this one is most of a busy connection.
            let mut answer = pin!(self.relay_answer(&awaited, response, download));
            if sending.done.get() {
                answer.as_mut().await
            } else {
                let rest = pin!(Some(self.send_rest(&upstream.stream, upload, sent, tries.route, sending)));
                both(rest, answer.as_mut(), sending).await
            }
        };
        let mut answer = outcome.map_err(|failure| told_apart(failure, &upstream.stream))?;
        // Before the client gets the last of it and may go on elsewhere: its next request finds the connection free. And a
        // client that reads slowly holds no connection that others wait for.
        if answer.upstream_persists {
            self.shard.give_back(tries.cluster, upstream, parts.response.keep_alive_timeout());
        } else {
            drop(upstream);
        }
        drop((active, stream));
        if let Some(last) = answer.last.take() {
            drop(self.write_client(last).await?);
        }
        Ok(answer)
    }
}

/// What a failure was, where the stream that it happened on knows more than that it is over.
#[cold]
fn told_apart<S: Stream>(failure: Failure, stream: &Channel<S>) -> Failure {
    if !failure.is_death() {
        return failure;
    }
    match stream.fault() {
        None => failure,
        Some(StreamFault::Unprocessed) => Failure::StreamRefused,
        Some(StreamFault::Reset) => Failure::StreamReset,
        Some(StreamFault::WantsHttp1) => Failure::NotH2,
        Some(StreamFault::Untranslatable(why)) => Failure::BadRequest(why),
        Some(StreamFault::Malformed(why)) => Failure::of_response(why),
        Some(StreamFault::Silent) => Failure::UpstreamSilent,
    }
}
