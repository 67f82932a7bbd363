//! Forwarding: pick an endpoint, lease or open a connection, send, take the answer, perhaps once more.

use std::io;
use std::pin::pin;

use super::answer::{Answer, Awaited, Outcome, both};
use super::failure::{Failure, Fault};
use super::held::{Exchange, Gauge, Next, Sending, Served};
use super::local::Local;
use super::shard::Upstream;
use super::wire::{WriteError, write_all};
use crate::http1::{BodyLength, ChunkedDecoder, Forwarded, RequestOut, ResponseHead, encode_request};
use crate::net::{Buffer, Env, Expired, Pending, Stream};
use crate::snapshot::{Cluster, Endpoint, Route};

/// What an exchange needs besides itself to be forwarded; lent by the connection.
struct Parts<'a> {
    response: &'a mut ResponseHead,
    upload: &'a mut ChunkedDecoder,
    download: &'a mut ChunkedDecoder,
    /// The request as encoded, kept until the answer begins so that it can be sent again.
    out: Option<Buffer>,
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
        let mut parts = Parts { response, upload, download, out: None };
        let sending = Sending::default();
        match self.attempt_all(route, cluster, &mut parts, &sending).await {
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
    fn cut_off(&self, failure: Failure) -> Served {
        self.on_failure(failure);
        let is_client = failure.verdict().fault == Fault::Client;
        let next = if is_client || self.tally.open_ended.get() { Next::Reset } else { Next::Close };
        Served { next, body_used: 0, leftover: None }
    }

    async fn refuse(&self, failure: Failure, sending: &Sending) -> Served {
        // A body that was sent to its end was read to its end, whatever became of it.
        let body = if sending.done.get() { Some(self.body_used()) } else { self.whole_body() };
        let served = self.answer_locally(&Local::Failed(failure), body).await;
        Served { leftover: sending.leftover.take(), ..served }
    }

    /// Bytes behind the head that were part of this request; an upload consumes all of them and keeps what is left over.
    fn body_used(&self) -> usize {
        self.whole_body().unwrap_or_else(|| self.behind_head().len())
    }

    /// Attempts until an answer begins. Connect failures go to other endpoints, whatever the request: nothing was sent.
    /// A connection that dies before a byte of response is replaced once when the request can be replayed.
    async fn attempt_all(&self, route: &Route, cluster: usize, parts: &mut Parts<'_>, sending: &Sending) -> Outcome {
        let began_ms = self.shard.alarms.now_ms();
        let request_due_ms = began_ms + route.timeouts.request_ms;
        sending.due_ms.set(request_due_ms);
        let cursor = &self.adopted.cursors[cluster];
        let cluster = &self.adopted.snapshot.clusters[cluster];
        let mut avoid = None;
        let mut connects_left = cluster.endpoints.len();
        let mut may_reuse = true;
        loop {
            let count = cluster.endpoints.len();
            let index = cursor.borrow_mut().try_pick(count, |_| true, avoid).expect("a cluster has an endpoint");
            let endpoint = &cluster.endpoints[index];
            self.tally.attempts.set(self.tally.attempts.get() + 1);
            self.tally.endpoint.set(Some(endpoint.address));
            let upstream = match self.lease(route, cluster, endpoint, may_reuse).await {
                Ok(upstream) => upstream,
                Err(failure) => {
                    self.on_attempt_failed(failure);
                    connects_left -= 1;
                    let in_time = self.shard.alarms.now_ms() < request_due_ms;
                    if connects_left == 0 || !failure.verdict().retryable || !in_time {
                        return Err(failure);
                    }
                    avoid = Some(index);
                    continue;
                }
            };
            let reused = upstream.reused;
            let awaited = (request_due_ms, began_ms);
            let outcome = self.attempt(route, cluster, endpoint, upstream, parts, sending, awaited).await;
            let Err(failure) = outcome else { return outcome };
            self.on_attempt_failed(failure);
            // A fresh connection that dies says something about its endpoint, so only another one is worth a try.
            if !(may_reuse && (reused || count > 1) && self.may_replay(failure, sending)) {
                return Err(failure);
            }
            // RFC 9110 section 9.2.2: an automatic retry is not retried again. It goes to another endpoint if there is
            // one: what killed one connection may have killed its endpoint.
            may_reuse = false;
            avoid = Some(index);
            self.shard.counters.retries.add(1);
        }
    }

    /// RFC 9110 section 9.2.2: only idempotent requests, of which nothing was sent that cannot be sent again.
    fn may_replay(&self, failure: Failure, sending: &Sending) -> bool {
        matches!(failure, Failure::UpstreamReset | Failure::UpstreamEof)
            && self.head.method().is_idempotent()
            && !sending.consumed.get()
            && !self.tally.committed.get()
    }

    /// One attempt on one connection, which goes back to the pool if its exchange was complete.
    #[expect(clippy::too_many_arguments, reason = "the parts of one attempt, named at its only call")]
    async fn attempt(
        &self,
        route: &Route,
        cluster: &Cluster,
        endpoint: &Endpoint,
        upstream: Upstream<E::Stream>,
        parts: &mut Parts<'_>,
        sending: &Sending,
        (request_due_ms, began_ms): (u64, u64),
    ) -> Outcome {
        let _active = Gauge::new(&self.shard.counters.upstream_connections_active);
        let sent = self.send_head_and_start(route, endpoint, &upstream.stream, parts, sending).await?;
        let awaited = Awaited { stream: &upstream.stream, route, sending, request_due_ms, began_ms };
        let Parts { response, upload, download, out } = parts;
        let outcome = {
            // Pinned once: a future that is passed on is held twice, and this one is most of a busy connection.
            let mut answer = pin!(self.relay_answer(&awaited, response, download, out));
            if sending.done.get() {
                answer.as_mut().await
            } else {
                let rest = pin!(self.send_rest(&upstream.stream, upload, sent, route, sending));
                both(rest, answer.as_mut(), sending).await
            }
        };
        if outcome.as_ref().is_ok_and(|answer| answer.upstream_persists) {
            self.give_back(cluster, upstream, parts.response.keep_alive_timeout());
        }
        outcome
    }

    /// Sends the head with as much of a sized body as came with it; returns how much that was.
    async fn send_head_and_start<S: Stream>(
        &self,
        route: &Route,
        endpoint: &Endpoint,
        stream: &S,
        parts: &mut Parts<'_>,
        sending: &Sending,
    ) -> Result<usize, Failure> {
        let mut out = parts.out.take().unwrap_or_else(|| self.shard.buffers.lend());
        out.rewind(0, 0);
        self.encode(route, endpoint, sending, out.sink());
        let behind = self.behind_head();
        let start = match self.head.body() {
            BodyLength::Exact(length) => {
                usize::try_from(length).unwrap_or(usize::MAX).min(behind.len()).min(out.spare())
            }
            BodyLength::None | BodyLength::Chunked | BodyLength::UntilClose => 0,
        };
        out.extend(&behind[..start]);
        self.tally.bytes_in.set(start as u64);
        let is_whole = match self.head.body() {
            BodyLength::None => true,
            BodyLength::Exact(length) => length == start as u64,
            BodyLength::Chunked | BodyLength::UntilClose => false,
        };
        // Without a connect in between, the request went out right after it came: one reading of the clock less.
        let is_first = self.tally.attempts.get() == 1 && self.tally.reused.get();
        self.tally.sent_ns.set(if is_first { self.tally.started_ns } else { self.shard.env.now_ns() });
        match write_all(stream, out, self.alarm, route.timeouts.body_idle_ms).await {
            // The bytes stay in the buffer's headroom until the answer begins, but a second attempt encodes afresh.
            Ok(out) => parts.out = Some(out),
            Err(WriteError::Expired) => return Err(Failure::UpstreamWriteTimeout),
            // What the endpoint said before it closed may still be there to read.
            Err(WriteError::Broken) => {}
        }
        if is_whole {
            sending.on_done(self.shard.alarms.now_ms());
        }
        Ok(start)
    }

    fn encode(&self, route: &Route, endpoint: &Endpoint, sending: &Sending, out: &mut Vec<u8>) {
        let path = self.head.path(self.bytes);
        // A buffer of the pool, because a warm request allocates nothing.
        let rewritten = route.rewrite.as_ref().map(|rewrite| {
            let mut rewritten = self.shard.buffers.lend();
            rewritten.extend(&rewrite.prefix);
            rewritten.extend(path.get(rewrite.strip..).unwrap_or_default());
            if rewritten.is_empty() {
                rewritten.extend(b"/");
            }
            rewritten
        });
        let path = rewritten.as_ref().map_or(path, Buffer::filled);
        let left_ms = sending.due_ms.get().saturating_sub(self.shard.alarms.now_ms()).max(1);
        let how = RequestOut {
            path,
            query: self.head.query(self.bytes),
            host: if route.host_of_endpoint { &endpoint.authority } else { self.host_for(endpoint) },
            forwarded: Forwarded {
                peer_ip: self.peer_text,
                proto: "http",
                trusted: self.listener.trusts(self.peer.ip()),
            },
            request_id: self.request_id(),
            via: &self.shard.via,
            edits: &route.request_edits,
            body: self.head.body(),
            timeout_ms: (!route.deadline_field.is_empty()).then_some((&route.deadline_field[..], left_ms)),
            close: false,
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

    /// A connection to `endpoint`: an idle one that is still good, or a new one.
    async fn lease(
        &self,
        route: &Route,
        cluster: &Cluster,
        endpoint: &Endpoint,
        may_reuse: bool,
    ) -> Result<Upstream<E::Stream>, Failure> {
        if may_reuse && let Some(upstream) = self.lease_idle(endpoint) {
            return Ok(upstream);
        }
        let began_ns = self.shard.env.now_ns();
        let connect = pin!(self.shard.env.connect(endpoint.address));
        let stream = match self.alarm.within(route.timeouts.connect_ms, connect).await {
            Err(Expired) => return Err(Failure::ConnectTimeout),
            Ok(Err(error)) => return Err(connect_failure(&error)),
            Ok(Ok(stream)) => stream,
        };
        if cluster.keep_alive_s > 0 {
            stream.keep_alive(cluster.keep_alive_s);
        }
        self.shard.counters.upstream_connects.add(1);
        self.tally.reused.set(false);
        self.tally.connect_ns.set(self.shard.env.now_ns().saturating_sub(began_ns));
        Ok(Upstream { stream, endpoint: endpoint.id, reused: false })
    }

    /// The newest idle connection that its endpoint has not closed meanwhile.
    fn lease_idle(&self, endpoint: &Endpoint) -> Option<Upstream<E::Stream>> {
        let counters = &self.shard.counters;
        loop {
            let rested = self.shard.idle.borrow_mut().try_take(endpoint.id, self.shard.alarms.now_ms())?;
            let mut upstream = rested.connection;
            // Looked at every time, however short its rest: whoever trusts a connection that was used a moment ago can
            // hand one client's request the response to another's (RFC 9112 section 9.2).
            if upstream.stream.pending() == Pending::Nothing {
                counters.upstream_reuses.add(1);
                self.tally.reused.set(true);
                upstream.reused = true;
                return Some(upstream);
            }
            counters.upstream_glitches.add(1);
        }
    }

    /// Returns a connection to the pool; the endpoint's own `Keep-Alive: timeout` is honoured a second early.
    fn give_back(&self, cluster: &Cluster, upstream: Upstream<E::Stream>, timeout_s: Option<u64>) {
        let now_ms = self.shard.alarms.now_ms();
        let expires_ms = match timeout_s {
            None => u64::MAX,
            Some(seconds) => now_ms.saturating_add(seconds.saturating_sub(1).saturating_mul(1000)),
        };
        // A reload may have removed the endpoint while this exchange was under way.
        if expires_ms > now_ms && self.shard.has_endpoint(upstream.endpoint) {
            let endpoint = upstream.endpoint;
            let mut idle = self.shard.idle.borrow_mut();
            drop(idle.on_return(endpoint, upstream, now_ms, expires_ms, &cluster.idle));
        }
    }
}

fn connect_failure(error: &io::Error) -> Failure {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => Failure::ConnectRefused,
        Some(libc::ETIMEDOUT) => Failure::ConnectTimeout,
        Some(libc::EMFILE | libc::ENFILE | libc::EADDRNOTAVAIL | libc::ENOBUFS | libc::ENOMEM) => {
            Failure::DescriptorsExhausted
        }
        _ if error.kind() == io::ErrorKind::ConnectionRefused => Failure::ConnectRefused,
        _ => Failure::ConnectFailed,
    }
}
