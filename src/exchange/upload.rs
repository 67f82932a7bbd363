//! The rest of a request's body on its way to the endpoint.

use super::failure::Failure;
use super::held::{Exchange, Sending};
use super::presence::LOOK_MS;
use super::relay::Inbound;
use super::send::Writing;
use super::wire::{Received, frame_chunk, read_while, trailers_aside};
use crate::http1::{BodyLength, ChunkedDecoder};
use crate::limits;
use crate::net::{Buffer, Channel, Env};
use crate::snapshot::Route;

/// How fast a body must come: `rate` bytes per second of waiting, after `grace_ms` of it.
///
/// Only time spent waiting for the client counts; an endpoint that takes the body slowly is not the client's fault.
#[derive(Clone, Copy, Debug)]
struct Pace {
    rate: u64,
    grace_ms: u64,
    waited_ms: u64,
    received: u64,
}

impl Pace {
    /// Milliseconds the client may still keep us waiting; at most `most_ms` at once.
    fn allowance_ms(&self, most_ms: u64) -> u64 {
        if self.rate == 0 {
            return most_ms;
        }
        let earned = self.received.saturating_mul(1000) / self.rate;
        self.grace_ms.saturating_add(earned).saturating_sub(self.waited_ms).min(most_ms)
    }

    fn on_received(&mut self, bytes: usize, waited_ms: u64) {
        self.received += bytes as u64;
        self.waited_ms += waited_ms;
    }
}

impl<E: Env> Exchange<'_, E> {
    /// Sends what did not go with the head: all but `sent` bytes of the body.
    ///
    /// Fails for the client's sake, also when it leaves while the endpoint takes nothing, when that takes nothing for too long,
    /// or when all of the body is there and the endpoint has too much to do; it does not get the end then. When the endpoint's
    /// connection breaks, its answer may still be there to read (RFC 9112 section 9.5): the upload just stays undone.
    pub(super) async fn send_rest(
        &self,
        upstream: &Channel<E::Stream>,
        decoder: &mut ChunkedDecoder,
        sent: usize,
        route: &Route,
        sending: &Sending,
    ) -> Result<(), Failure> {
        let listener = self.listener;
        // The messages of a call may be far apart.
        let rate = if self.is_grpc { 0 } else { listener.body_rate };
        let mut pace = Pace { rate, grace_ms: listener.body_grace_ms, waited_ms: 0, received: 0 };
        let chunked = self.head.body() == BodyLength::Chunked;
        let mut inbound = Inbound::new(self.head.body(), sent, decoder);
        let mut buffer = self.shard.buffers.lend();
        buffer.rewind(limits::CHUNK_HEADROOM, limits::CHUNK_TAILROOM);
        buffer.extend(self.unsent(sent));
        // A retry drops a read of the body in flight, and with it bytes that nobody can send again.
        sending.consumed.set(true);
        if self.tally.keeps_body.get() {
            *sending.kept.borrow_mut() = Some(self.shard.buffers.lend());
        }
        let mut total = sent as u64;
        loop {
            self.on_moved(sending);
            if buffer.is_empty() {
                self.lend_place();
                buffer = self
                    .read_body(inbound.grow(buffer, &self.shard.buffers), &mut pace, route, sending)
                    .await
                    .map_err(|why| self.late(sending, why))?;
            }
            self.on_moved(sending);
            let portion = inbound.take(&mut buffer, &self.shard.buffers).map_err(Failure::BadRequestBody)?;
            total += buffer.len() as u64;
            self.tally.on_body_in(buffer.len());
            if total > route.body_limit {
                return Err(Failure::BodyTooLarge);
            }
            if portion.done && !self.try_take_place_back() {
                // It was read to its end, and what follows it is another request.
                sending.read.set(true);
                sending.leftover.set(portion.extra);
                return Err(Failure::Overloaded);
            }
            if chunked {
                let options = self.head.connection_options(self.bytes);
                frame_chunk(&mut buffer, portion.done, inbound.trailers(), options, &route.request_edits);
            } else if portion.done {
                self.pass_trailers_up(route, upstream)?;
            }
            sending.keep(buffer.filled());
            // The client's alarm is free while nothing is read from the client.
            let (alarm, patience_ms) = (self.client_alarm, route.timeouts.body_idle_ms);
            let writing = Writing { least: buffer.len(), alarm, patience_ms, is_last: portion.done };
            let Some(back) = self.write_upstream(upstream, buffer, writing).await? else {
                sending.stopped.set(true);
                return Ok(());
            };
            buffer = back;
            if portion.done {
                sending.leftover.set(portion.extra);
                let now_ms = self.shard.alarms.now_ms();
                // The time that a body takes counts for nothing: it has a minimum rate instead.
                sending.due_ms.set(sending.due_ms.get() + (now_ms - sending.began_ms.get()));
                sending.on_done(now_ms);
                sending.done_ns.set(self.shard.env.now_ns());
                return Ok(());
            }
            buffer.rewind(limits::CHUNK_HEADROOM, limits::CHUNK_TAILROOM);
        }
    }

    /// Passes trailers on that came behind a body with a length, if its last byte has come; before that one goes.
    pub(super) fn pass_trailers_up(&self, route: &Route, upstream: &Channel<E::Stream>) -> Result<(), Failure> {
        if let Some(lines) = trailers_aside(self.client, &route.request_edits).map_err(Failure::BadRequestBody)? {
            upstream.put_trailers(&lines);
        }
        Ok(())
    }

    /// What came of the body behind the head, but for the `sent` bytes that went with the head.
    fn unsent(&self, sent: usize) -> &[u8] {
        let behind = self.behind_head();
        match self.head.body() {
            BodyLength::Exact(length) => {
                let end = usize::try_from(length).unwrap_or(usize::MAX).min(behind.len());
                &behind[sent..end]
            }
            BodyLength::None | BodyLength::Chunked | BodyLength::UntilClose => behind,
        }
    }

    async fn read_body(
        &self,
        buffer: Buffer,
        pace: &mut Pace,
        route: &Route,
        sending: &Sending,
    ) -> Result<Buffer, Failure> {
        let began_ms = self.shard.alarms.now_ms();
        let patience_ms = pace.allowance_ms(self.listener.idle_ms);
        let waited_ms = || self.shard.alarms.now_ms() - began_ms.max(sending.began_ms.get());
        let left_ms = |_again| match (self.is_grpc, sending.awaits_continue.get()) {
            (true, _) => self.message_ms(&route.timeouts, sending),
            // It is the endpoint that is waited for, and has a deadline of its own.
            (false, true) => LOOK_MS,
            (false, false) => patience_ms.saturating_sub(waited_ms()),
        };
        match read_while(self.client, buffer, self.client_alarm, left_ms).await {
            Received::Bytes(buffer) => {
                sending.on_continue(self.shard.alarms.now_ms());
                pace.on_received(buffer.len(), waited_ms());
                Ok(buffer)
            }
            // RFC 9112 section 8: a request whose body ends early is incomplete and goes no further.
            Received::End(_) | Received::Broken(_) => Err(Failure::ClientAbort),
            Received::Expired => Err(Failure::ClientBodyTimeout),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_honest_body_lives_and_a_dripping_one_dies() {
        let mut honest = Pace { rate: 1024, grace_ms: 10_000, waited_ms: 0, received: 0 };
        let mut dripping = honest;
        for _ in 0..1_000 {
            honest.on_received(2048, 1_000);
            dripping.on_received(1, 1_000);
            assert!(honest.allowance_ms(75_000) >= 10_000);
        }
        assert_eq!(dripping.allowance_ms(75_000), 0);
    }

    #[test]
    fn no_rate_leaves_only_the_idle_bound() {
        let pace = Pace { rate: 0, grace_ms: 1, waited_ms: 1_000_000, received: 0 };
        assert_eq!(pace.allowance_ms(75_000), 75_000);
    }

    #[test]
    fn credit_for_fast_bytes_never_exceeds_the_idle_bound() {
        let pace = Pace { rate: 1, grace_ms: 1, waited_ms: 0, received: 1 << 30 };
        assert_eq!(pace.allowance_ms(75_000), 75_000);
    }
}
