//! Copies of requests for another cluster: sent when the request itself is done, their answers read and dropped.
//!
//! A copy never waits for room and never delays a client, and no answer to one takes more than its share of a worker: its
//! time and the bytes that are read of it are bounded. Only requests whose whole body is at hand (it came with the head, or
//! fitted the buffer that keeps it) and that ask for no other protocol are copied; the others are counted.

use std::cell::Cell;
use std::rc::Rc;

use super::adopted::Adopted;
use super::failure::Fault;
use super::hear::{Silent, hear_head, told_apart};
use super::held::{Exchange, Sending};
use super::lease::{Patience, Wanted};
use super::pick::{Attempt, Tried};
use super::relay::Inbound;
use super::shard::{Scratch, Shard, Upstream};
use super::wire::{Received, read_once, write_all};
use crate::http1::{BodyLength, Method};
use crate::limits;
use crate::net::{Buffer, Env};
use crate::routing::RouteId;
use crate::snapshot::{Mirror, Route};

/// A copy on its way.
struct Copy<E: Env> {
    shard: Rc<Shard<E>>,
    adopted: Rc<Adopted>,
    route: RouteId,
    method: Method,
    cluster: usize,
    /// Place of the endpoint it is encoded for.
    endpoint: usize,
    /// What a connection for it begins with.
    words: Option<Buffer>,
    message: Buffer,
    body: Option<Buffer>,
}

impl<E: Env> Exchange<'_, E> {
    /// Is this request one of those that the route copies?
    pub(super) fn mirror_for(&self, route: &Route) -> Option<Mirror> {
        let mirror = route.mirror?;
        let is_copied = self.adopted.splits[mirror.split].borrow_mut().pick(None) == 0;
        is_copied.then_some(mirror)
    }

    /// Sends a copy of this request, which has gone out whole, if there is room for one more.
    pub(super) fn send_mirror(&self, route: &Route, mirror: Mirror, sending: &Sending) {
        let shard = self.shard;
        let Some(copy) = self.copy(route, mirror, sending) else {
            shard.counters.mirrors_skipped.add(1);
            return;
        };
        shard.mirrors.set(shard.mirrors.get() + 1);
        shard.counters.mirrors_sent.add(1);
        shard.env.spawn(run(copy));
    }

    fn copy(&self, route: &Route, mirror: Mirror, sending: &Sending) -> Option<Copy<E>> {
        let shard = self.shard;
        // Nobody would use what it switches to.
        if !self.upgrade(route).is_empty() {
            return None;
        }
        let body = self.body_for_copy(sending)?;
        if shard.mirrors.get() >= limits::MIRRORS {
            return None;
        }
        let cluster = &self.adopted.snapshot.clusters[mirror.cluster];
        let tried = Tried::default();
        let wanted = Wanted {
            route,
            cluster,
            lane: &self.adopted.lanes[mirror.cluster],
            tried: &tried,
            again: false,
            anew: false,
            key: cluster.key.as_ref().and_then(|from| self.key(from)),
            now_ns: Cell::new(shard.env.now_ns()),
            may_reuse: true,
            due_ms: u64::MAX,
        };
        let endpoint = shard.pick(&wanted)?.index;
        let mut message = shard.buffers.lend();
        self.encode(route, cluster, &cluster.endpoints[endpoint], sending, self.trace_of_copy(), message.sink());
        let start = sending.start.get();
        if message.spare() < start {
            return None;
        }
        message.extend(&self.behind_head()[..start]);
        Some(Copy {
            shard: Rc::clone(shard),
            adopted: Rc::clone(self.adopted),
            route: self.tally.route.get()?,
            method: self.head.method(),
            cluster: mirror.cluster,
            endpoint,
            words: self.announcement(cluster),
            message,
            body,
        })
    }

    /// What went out behind the head and its start; `None` when that is not known any more.
    fn body_for_copy(&self, sending: &Sending) -> Option<Option<Buffer>> {
        if !sending.done.get() {
            return None;
        }
        if !sending.consumed.get() {
            return Some(None);
        }
        sending.kept.borrow_mut().take().map(Some)
    }
}

async fn run<E: Env>(copy: Copy<E>) {
    let shard = Rc::clone(&copy.shard);
    let ended = Ended { shard: &shard };
    let mut scratch = shard.lend_scratch();
    let is_answered = send(&shard, copy, &mut scratch).await;
    shard.return_scratch(scratch);
    if !is_answered {
        shard.counters.mirrors_failed.add(1);
    }
    drop(ended);
}

/// One copy less under way, however it ended.
struct Ended<'a, E: Env> {
    shard: &'a Shard<E>,
}

impl<E: Env> Drop for Ended<'_, E> {
    fn drop(&mut self) {
        self.shard.mirrors.set(self.shard.mirrors.get() - 1);
    }
}

async fn send<E: Env>(shard: &Rc<Shard<E>>, copy: Copy<E>, scratch: &mut Scratch) -> bool {
    let Copy { adopted, route, method, cluster, endpoint, words, message, body, .. } = copy;
    let cluster = &adopted.snapshot.clusters[cluster];
    let route = adopted.snapshot.route(route);
    // First come first served: they have asked for a connection that rests here, and the message is on its way.
    if cluster.is_waited_for() {
        return false;
    }
    let Some(attempt) = shard.enter(cluster, endpoint) else { return false };
    let upstream = match shard.lease_idle(attempt.endpoint()) {
        Some(upstream) => upstream,
        None => {
            let Some(credit) = shard.queues.try_credit(&cluster.state) else { return false };
            let connect_ms = route.timeouts.connect_ms;
            let patience = Patience { own_ms: connect_ms, shared_ms: connect_ms };
            match shard.connect(&attempt, credit, words, &scratch.alarm, patience).await {
                Ok((upstream, _)) => upstream,
                Err(failure) => {
                    // What this gateway lacked says nothing against the endpoint.
                    if failure.verdict().fault == Fault::Upstream {
                        attempt.on_failed();
                    }
                    return false;
                }
            }
        }
    };
    let sent_ns = shard.env.now_ns();
    let patience_ms = route.timeouts.body_idle_ms;
    for part in [Some(message), body].into_iter().flatten() {
        if write_all(&upstream.stream, part, &scratch.alarm, || patience_ms).await.is_err() {
            return false;
        }
    }
    let now_ms = shard.alarms.now_ms();
    let due_ms = now_ms + route.timeouts.request_ms;
    let header_due_ms = due_ms.min(now_ms + route.timeouts.response_header_ms);
    let bounds = Bounds { method, sent_ns, header_due_ms, due_ms, body_ms: patience_ms };
    let (is_reused, fault) = (upstream.reused, || upstream.stream.fault());
    match drop_answer(shard, &attempt, &upstream, scratch, bounds).await.map_err(|why| told_apart(why, fault())) {
        Ok(true) => shard.give_back(cluster, upstream, scratch.response.keep_alive_timeout()),
        Ok(false) => {}
        // The endpoint may have closed what it kept before it saw the copy.
        Err(Silent::Dead) if is_reused => return false,
        Err(Silent::Dead | Silent::Failed | Silent::Late) => {
            attempt.on_failed();
            return false;
        }
    }
    true
}

/// What is known of an answer before it comes.
struct Bounds {
    method: Method,
    sent_ns: u64,
    header_due_ms: u64,
    /// For the body to end.
    due_ms: u64,
    /// Between two parts of the body.
    body_ms: u64,
}

/// Reads an answer, of a long one only the beginning; whether its connection may carry another exchange.
///
/// # Errors
/// It is none.
async fn drop_answer<E: Env>(
    shard: &Shard<E>,
    attempt: &Attempt<'_, E>,
    upstream: &Upstream<E::Stream>,
    scratch: &mut Scratch,
    bounds: Bounds,
) -> Result<bool, Silent> {
    let Bounds { method, sent_ns, header_due_ms, due_ms, body_ms } = bounds;
    let left_ms = || due_ms.saturating_sub(shard.alarms.now_ms());
    let Scratch { response, download, alarm, .. } = scratch;
    let mut buffer = hear_head(shard, upstream, response, alarm, method, header_due_ms).await?;
    let now_ns = shard.env.now_ns();
    attempt.on_answered(response.status(), Some(now_ns.saturating_sub(sent_ns)), now_ns);
    buffer.consume(response.len());
    let mut inbound = Inbound::new(response.body(), 0, download);
    let mut dropped = 0;
    loop {
        let portion = inbound.take(&mut buffer, &shard.buffers).map_err(|_broken| Silent::Failed)?;
        if portion.done {
            let is_delimited = response.body() != BodyLength::UntilClose;
            return Ok(is_delimited && portion.extra.is_none() && response.keep_alive());
        }
        dropped += buffer.len();
        if dropped > limits::MIRROR_ANSWER_BYTES {
            return Ok(false);
        }
        buffer.rewind(0, 0);
        buffer = match read_once(&upstream.stream, buffer, alarm, body_ms.min(left_ms())).await {
            Received::Bytes(filled) => filled,
            Received::End(_) if inbound.ends_with_stream() => return Ok(false),
            Received::End(_) | Received::Broken(_) | Received::Expired => return Err(Silent::Failed),
        };
    }
}
