//! The request on its way to an endpoint: its head, and as much of its body as came with it.

use std::io;
use std::pin::pin;

use super::failure::Failure;
use super::held::{Exchange, Sending};
use super::pick::Attempt;
use super::presence::LOOK_MS;
use crate::http1::{BodyLength, Forwarded, RequestOut, TraceOut, encode_request};
use crate::net::{Alarm, Buffer, Channel, Env, Expired, Stall, Stream, StreamFault};
use crate::snapshot::{Cluster, Endpoint, Route};

/// How something is written to an endpoint.
pub(super) struct Writing<'a> {
    /// Bytes that must go; of the rest goes what goes with them.
    pub(super) least: usize,
    /// One that is free meanwhile.
    pub(super) alarm: &'a Alarm,
    /// How long the endpoint may take nothing.
    pub(super) patience_ms: u64,
    /// Is nothing more of the request to be read?
    pub(super) is_last: bool,
}

impl<E: Env> Exchange<'_, E> {
    /// Sends the head, and with it as much of a sized body as came with it and goes at once; returns how much that was. What
    /// does not waits beside the answer: an endpoint may give one instead of room (RFC 9112 section 9.5).
    pub(super) async fn send_head_and_start(
        &self,
        route: &Route,
        attempt: &Attempt<'_, E>,
        stream: &Channel<E::Stream>,
        sending: &Sending,
    ) -> Result<usize, Failure> {
        self.pass_trailers_up(route, stream)?;
        let mut out = self.shard.buffers.lend();
        self.encode(route, attempt.cluster, attempt.endpoint(), sending, self.trace_of_attempt(), out.sink());
        let (head, mut start) = (out.len(), self.start_of_body(out.spare()));
        // What was kept of an upload begins where the first attempt left off.
        let is_again = sending.kept.borrow().is_some();
        if is_again {
            start = start.min(sending.start.get());
        }
        out.extend(&self.behind_head()[..start]);
        // Without a connect in between, the request went out when it was ready: one reading of the clock less.
        let is_first = self.tally.attempts.get() == 1 && self.tally.reused.get();
        self.tally.sent_ns.set(if is_first { self.on_reused() } else { self.shard.env.now_ns() });
        let writing =
            Writing { least: head, alarm: self.alarm, patience_ms: route.timeouts.body_idle_ms, is_last: true };
        // The buffer is not kept until the answer comes: a second attempt encodes afresh, and others use it meanwhile, while
        // it is in the processor's cache.
        match self.write_upstream(stream, out, writing).await? {
            Some(out) => start -= out.len(),
            // Nothing went, not even of a body that is yet to come.
            None if stream.fault() == Some(StreamFault::Unprocessed) => return Err(Failure::StreamRefused),
            None => {}
        }
        let is_whole = match self.head.body() {
            BodyLength::None => true,
            BodyLength::Exact(length) => length == start as u64,
            BodyLength::Chunked | BodyLength::UntilClose => false,
        };
        if is_again {
            self.send_kept(route, stream, start, sending).await?;
        } else {
            sending.start.set(start);
            self.tally.bytes_in.set(start as u64);
        }
        let now_ms = self.shard.alarms.now_ms();
        if is_whole || is_again {
            sending.on_done(now_ms);
        } else {
            sending.began_ms.set(now_ms);
            sending.awaits_continue.set(self.head.expects_continue() && self.behind_head().is_empty());
        }
        Ok(start)
    }

    /// How much of a sized body goes with the head: what came with it, as far as there is room.
    fn start_of_body(&self, room: usize) -> usize {
        match self.head.body() {
            BodyLength::Exact(length) => {
                usize::try_from(length).unwrap_or(usize::MAX).min(self.behind_head().len()).min(room)
            }
            BodyLength::None | BodyLength::Chunked | BodyLength::UntilClose => 0,
        }
    }

    /// Sends once more what an earlier attempt sent behind the head: what came with it, and the copy of the rest.
    async fn send_kept<S: Stream>(
        &self,
        route: &Route,
        stream: &S,
        start: usize,
        sending: &Sending,
    ) -> Result<(), Failure> {
        let mut out = self.shard.buffers.lend();
        // Two buffers' worth at most: what came with the head fitted one, and so did the copy.
        for part in [0, 1] {
            out.rewind(0, 0);
            if part == 0 {
                out.extend(&self.behind_head()[start..sending.start.get()]);
            } else if let Some(kept) = &*sending.kept.borrow() {
                out.extend(kept.filled());
            }
            let patience_ms = route.timeouts.body_idle_ms;
            let writing = Writing { least: out.len(), alarm: self.alarm, patience_ms, is_last: true };
            let Some(back) = self.write_upstream(stream, out, writing).await? else { return Ok(()) };
            out = back;
        }
        Ok(())
    }

    /// Writes to the endpoint, unless the client turns out to be gone; consumes what went. Nothing comes back when the
    /// endpoint takes no more: what it said before it closed may still be there to read (RFC 9112 section 9.5).
    pub(super) async fn write_upstream<S: Stream>(
        &self,
        stream: &S,
        mut from: Buffer,
        writing: Writing<'_>,
    ) -> Result<Option<Buffer>, Failure> {
        let Writing { least, alarm, patience_ms, is_last } = writing;
        let rest = from.len() - least;
        while from.len() > rest {
            let (mut step, mut stall) = (pin!(stream.write(from)), Stall::new(alarm.now_ms()));
            let (written, back) = loop {
                alarm.set(stall.due_ms(patience_ms).min(alarm.now_ms() + LOOK_MS));
                match alarm.race(step.as_mut()).await {
                    Ok(completed) => break completed,
                    // Before the endpoint is blamed: a client that left takes its whole upload back.
                    Err(Expired) if self.has_left(!is_last) => return Err(Failure::ClientAbort),
                    Err(Expired) if stall.is_over(alarm.now_ms(), patience_ms, || stream.taken()) => {
                        return Err(Failure::UpstreamWriteTimeout);
                    }
                    Err(Expired) => {}
                }
            };
            from = back;
            match written {
                Ok(0) => return Ok(None),
                Ok(count) => from.consume(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Ok(None),
            }
        }
        Ok(Some(from))
    }

    pub(super) fn encode(
        &self,
        route: &Route,
        cluster: &Cluster,
        endpoint: &Endpoint,
        sending: &Sending,
        trace: Option<TraceOut>,
        out: &mut Vec<u8>,
    ) {
        let path = self.head.path(self.bytes);
        // A buffer of the pool, because a warm request allocates nothing. RFC 9112 section 3.2.4: what asks about the server as
        // a whole goes on so, and has no prefix.
        let rewritten = route.rewrite.as_ref().filter(|_| path != b"*").map(|rewrite| {
            let mut rewritten = self.shard.buffers.lend();
            rewritten.extend(&rewrite.prefix);
            rewritten.extend(path.get(rewrite.strip..).unwrap_or_default());
            if rewritten.is_empty() {
                rewritten.extend(b"/");
            }
            rewritten
        });
        let path = rewritten.as_ref().map_or(path, Buffer::filled);
        let now_ms = self.shard.alarms.now_ms();
        // Both bound the head of the answer, so the endpoint is told of the nearer one.
        let left_ms = sending.due_ms.get().saturating_sub(now_ms).min(route.timeouts.response_header_ms).max(1);
        let how = RequestOut {
            path,
            query: self.head.query(self.bytes),
            host: if route.host_of_endpoint { &endpoint.authority } else { self.host_for(endpoint) },
            forwarded: Forwarded {
                peer_ip: self.peer_text,
                proto: if self.client.is_secure() { "https" } else { "http" },
                client: self.is_trusted.then(|| self.client_ip()),
            },
            request_id: self.request_id(),
            trace,
            via: &self.shard.via,
            by_h2: self.client.is_h2(),
            edits: &route.request_edits,
            added: &self.identities.lines(),
            body: self.head.body(),
            timeout_ms: (!route.deadline_field.is_empty()).then_some((&route.deadline_field[..], left_ms)),
            close: cluster.proxy_protocol.is_some(),
            upgrade: self.upgrade(route),
            grpc_timeout_ms: sending.call_due_ms.get().map(|due_ms| due_ms.saturating_sub(now_ms).max(1)),
            certificate: self.certificate(),
        };
        encode_request(out, self.bytes, self.head, &how);
    }

    /// RFC 9112 section 3.2: a 1.1 request names a host; a 1.0 client may have sent none.
    fn host_for<'e>(&'e self, endpoint: &'e Endpoint) -> &'e [u8] {
        match self.head.authority() {
            [] => &endpoint.authority,
            authority => authority,
        }
    }
}
