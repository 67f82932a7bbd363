//! The endpoint's answer: its head, awaited while the client is watched, and its body on the way to the client.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;

use super::failure::Failure;
use super::held::{Exchange, Sending, lines};
use super::local::cannot_tell;
use super::pick::Attempt;
use super::presence::{LOOK_MS, Watch};
use super::relay::{Inbound, Portion};
use super::retry::Tries;
use super::wire::{Received, frame_chunk, read_while, received, trailers_aside, write_all};
use crate::http1::{
    BodyLength, ChunkedDecoder, HeadError, HeadLimits, Progress, ResponseBody, ResponseHead, ResponseOut, Version,
    encode_interim, encode_response,
};
use crate::limits;
use crate::net::{Buffer, Channel, Env, Stream};

/// Free bytes before a response head, so that our own head fits in front of its body without a copy of the body.
const HEAD_HEADROOM: usize = 512;
/// Bounds of a response head (the defaults of a request head: endpoints are ours, but not trusted with memory).
pub(super) const RESPONSE_LIMITS: HeadLimits = HeadLimits {
    bytes: limits::HEADER_BYTES_DEFAULT,
    count: limits::HEADER_COUNT_DEFAULT,
    line: limits::REQUEST_LINE_BYTES,
};

/// An answer, relayed but for its last bytes.
pub(super) struct Answer {
    /// What the client has yet to get; the endpoint is done with it.
    pub(super) last: Option<Buffer>,
    /// May the client's connection serve another request?
    pub(super) client_persists: bool,
    /// May the endpoint's connection carry another exchange?
    pub(super) upstream_persists: bool,
}

/// How an attempt ended once its request was under way.
pub(super) type Outcome = Result<Answer, Failure>;

/// One endpoint's side of an exchange that waits for its answer.
pub(super) struct Awaited<'a, E: Env> {
    pub(super) stream: &'a Channel<E::Stream>,
    pub(super) tries: &'a Tries<'a>,
    pub(super) attempt: &'a Attempt<'a, E>,
    pub(super) sending: &'a Sending,
}

impl<E: Env> Awaited<'_, E> {
    /// When the head of the answer is due, or the 100 that the client waits for, and what it is when it is not there. The time
    /// a body takes to be sent counts for nothing: bodies have a minimum rate instead.
    fn due(&self, now_ms: u64) -> (u64, Failure) {
        let timeouts = &self.tries.route.timeouts;
        let call_due = self.sending.call_due_ms.get().unwrap_or(u64::MAX);
        let (header_due, request_due) = match self.sending.asked_ms() {
            None => (now_ms + timeouts.response_header_ms, call_due),
            Some(asked_ms) => (asked_ms + timeouts.response_header_ms, self.sending.due_ms.get().min(call_due)),
        };
        if request_due < header_due {
            (request_due, Failure::RequestTimeout)
        } else {
            (header_due, Failure::UpstreamTimeout)
        }
    }
}

impl<E: Env> Exchange<'_, E> {
    /// Reads the answer and relays it. Fails with nothing sent downstream as long as the tally has no status.
    pub(super) async fn relay_answer(
        &self,
        awaited: &Awaited<'_, E>,
        response: &mut ResponseHead,
        decoder: &mut ChunkedDecoder,
    ) -> Outcome {
        let (mut buffer, came_ns) = self.read_answer(awaited, response).await?;
        let took_ns = self.endpoint_ns(awaited.sending, came_ns);
        self.on_answer(awaited, response, buffer.filled(), (took_ns, came_ns));
        if response.status() == 101 {
            self.leave_gate(took_ns);
            // In a box, because a tunnel is rare and what it needs is large.
            return Box::pin(self.tunnel(awaited, response, buffer)).await;
        }
        if awaited.tries.try_give_up_status(self, response.status(), awaited.sending) {
            return Err(Failure::UpstreamStatus);
        }
        self.leave_gate(took_ns);
        let early = !awaited.sending.done.get();
        if early && response.status() >= 400 {
            // RFC 9112 section 9.5: a client whose request is refused may stop sending it, and so do we.
            awaited.sending.stopped.set(true);
            // A read that was under way may have taken the front of it along.
            self.client.stop_listening();
        }
        let body = self.response_body(response.body());
        let close = early || !self.may_persist() || body == ResponseBody::UntilClose;
        let mut head = self.shard.buffers.lend();
        {
            let added = self.added.take();
            let mut place = None;
            let how = ResponseOut {
                version: self.head.version(),
                request_id: self.request_id(),
                date: &self.shard.date(),
                edits: &awaited.tries.route.response_edits,
                added: &lines(&added, self.timing_line(&mut place)),
                body,
                close,
                keep_alive_10: !close && self.is_old_client(),
                trailers: self.head.accepts_trailers(),
            };
            encode_response(head.sink(), buffer.filled(), response, &how);
        }
        let reply = Reply { status: response.status(), body, hops: self.hops(response, buffer.filled()) };
        buffer.consume(response.len());
        let mut inbound = Inbound::new(response.body(), 0, decoder);
        let (clean, last) = self.relay_body(awaited, &mut inbound, &reply, head, buffer).await?;
        Ok(Answer {
            last: Some(last),
            client_persists: !close,
            upstream_persists: clean && response.keep_alive() && awaited.sending.done.get(),
        })
    }

    /// Tells the endpoint's breaker and balancer how it did: what it took, where that is known, and when its answer came.
    fn on_answer(
        &self,
        awaited: &Awaited<'_, E>,
        response: &ResponseHead,
        bytes: &[u8],
        (took_ns, came_ns): (Option<u64>, u64),
    ) {
        let status = response.status();
        self.tally.upstream_status.set(status);
        awaited.attempt.on_answered(status, took_ns, came_ns);
        self.on_call_answered(response, bytes);
        // RFC 9110 section 10.2.3: how long the service expects to be unavailable. A date is not worth a clock here.
        if status == 503
            && let Some(seconds) = response.field(bytes, "retry-after").and_then(decimal)
        {
            awaited.attempt.rest_for(seconds.saturating_mul(1000).min(limits::RETRY_AFTER_MS));
        }
    }

    /// How the body goes to the client, given how it comes.
    fn response_body(&self, length: BodyLength) -> ResponseBody {
        match length {
            BodyLength::None => ResponseBody::AsReceived,
            BodyLength::Exact(length) => ResponseBody::Exact(length),
            // RFC 9112 section 6.1: a 1.0 client knows no transfer coding.
            BodyLength::Chunked | BodyLength::UntilClose if self.head.version() == Version::Http10 => {
                ResponseBody::UntilClose
            }
            BodyLength::Chunked | BodyLength::UntilClose => ResponseBody::Chunked,
        }
    }

    /// What the response's `Connection` names besides its own options: trailers of these names go no further
    /// (RFC 9110 section 7.6.1). Empty, and without an allocation, unless the client takes trailers.
    fn hops(&self, response: &ResponseHead, bytes: &[u8]) -> Vec<Vec<u8>> {
        if !self.head.accepts_trailers() || response.body() != BodyLength::Chunked {
            return Vec::new();
        }
        let is_own =
            |option: &[u8]| option.eq_ignore_ascii_case(b"close") || option.eq_ignore_ascii_case(b"keep-alive");
        response.connection_options(bytes).filter(|option| !is_own(option)).map(<[u8]>::to_vec).collect()
    }

    /// Sends the head with what has come of the body, then the rest, but for the last part; true when nothing followed the
    /// body.
    async fn relay_body(
        &self,
        awaited: &Awaited<'_, E>,
        inbound: &mut Inbound<'_>,
        reply: &Reply,
        head: Buffer,
        mut buffer: Buffer,
    ) -> Result<(bool, Buffer), Failure> {
        let chunked = reply.body == ResponseBody::Chunked;
        self.tally.open_ended.set(reply.body == ResponseBody::UntilClose);
        let mut head = Some(head);
        let mut portion = inbound.take(&mut buffer, &self.shard.buffers).map_err(Failure::BadResponseBody)?;
        loop {
            self.tally.on_body_out(buffer.len());
            if chunked {
                let hops = reply.hops.iter().map(Vec::as_slice);
                let edits = &awaited.tries.route.response_edits;
                frame_chunk(&mut buffer, portion.done, self.trailers_for_client(inbound), hops, edits);
            } else if portion.done {
                self.pass_trailers(awaited)?;
            }
            if let Some(head) = head.take() {
                self.tally.status.set(reply.status);
                buffer = self.put_head(head, buffer).await?;
            }
            if portion.done {
                self.on_call_trailers(inbound.trailers());
                // RFC 9112 section 9.2: bytes that no request asked for are not a response.
                return Ok((portion.extra.is_none() && !inbound.ends_with_stream(), buffer));
            }
            buffer = self.write_client(buffer).await?;
            buffer.rewind(limits::CHUNK_HEADROOM, limits::CHUNK_TAILROOM);
            buffer = inbound.grow(buffer, &self.shard.buffers);
            self.on_moved(awaited.sending);
            (buffer, portion) = self.read_portion(awaited, inbound, buffer).await?;
        }
    }

    /// Passes trailers on that came behind a body with a length, before the last byte of it goes.
    fn pass_trailers(&self, awaited: &Awaited<'_, E>) -> Result<(), Failure> {
        let edits = &awaited.tries.route.response_edits;
        if let Some(lines) = trailers_aside(awaited.stream, edits).map_err(Failure::BadResponseBody)? {
            self.on_call_trailers(&lines);
            if self.head.accepts_trailers() {
                self.client.put_trailers(&lines);
            }
        }
        Ok(())
    }

    async fn read_portion(
        &self,
        awaited: &Awaited<'_, E>,
        inbound: &mut Inbound<'_>,
        buffer: Buffer,
    ) -> Result<(Buffer, Portion), Failure> {
        let timeouts = &awaited.tries.route.timeouts;
        let due_ms = self.shard.alarms.now_ms() + timeouts.body_idle_ms;
        let has_left = Cell::new(false);
        let left_ms = |again| {
            // An upload under way finds out by itself. RFC 9110 section 15.2: interim responses come before the final one.
            if again && awaited.sending.is_over() && self.has_left(false) {
                has_left.set(true);
                return 0;
            }
            let left_ms = match self.is_grpc {
                true => self.message_ms(timeouts, awaited.sending),
                false => due_ms.saturating_sub(self.shard.alarms.now_ms()),
            };
            left_ms.min(LOOK_MS)
        };
        match read_while(awaited.stream, buffer, self.alarm, left_ms).await {
            Received::Bytes(mut buffer) => {
                self.on_moved(awaited.sending);
                let portion = inbound.take(&mut buffer, &self.shard.buffers).map_err(Failure::BadResponseBody)?;
                Ok((buffer, portion))
            }
            Received::End(buffer) if inbound.ends_with_stream() => Ok((buffer, Portion { done: true, extra: None })),
            Received::End(_) | Received::Broken(_) => Err(Failure::UpstreamTruncated),
            Received::Expired if has_left.get() => Err(Failure::ClientAbort),
            Received::Expired => Err(self.late(awaited.sending, Failure::UpstreamBodyTimeout)),
        }
    }

    fn trailers_for_client<'i>(&self, inbound: &'i Inbound<'_>) -> &'i [u8] {
        if self.head.accepts_trailers() { inbound.trailers() } else { &[] }
    }

    /// Puts the head in front of the body, or sends it ahead when there is no room.
    async fn put_head(&self, head: Buffer, mut buffer: Buffer) -> Result<Buffer, Failure> {
        if buffer.is_empty() {
            return Ok(head);
        }
        if buffer.try_prepend(head.filled()) {
            return Ok(buffer);
        }
        drop(self.write_client(head).await?);
        Ok(buffer)
    }

    /// How long the client may take nothing now. A stream may wait long for its turn though its connection moves, and that has a
    /// bound of its own.
    pub(super) fn client_patience_ms(&self) -> u64 {
        let most_ms = self.listener.write_timeout_ms;
        if self.client.is_h2() { most_ms } else { self.shard.client_patience_ms(most_ms) }
    }

    pub(super) async fn write_client(&self, buffer: Buffer) -> Result<Buffer, Failure> {
        write_all(self.client, buffer, self.alarm, || self.client_patience_ms()).await.map_err(cannot_tell)
    }

    /// Reads until a final response head is there, and tells when the last of it came; interim ones go to the client on the way.
    async fn read_answer(
        &self,
        awaited: &Awaited<'_, E>,
        response: &mut ResponseHead,
    ) -> Result<(Buffer, u64), Failure> {
        let mut buffer = self.shard.buffers.lend();
        buffer.rewind(HEAD_HEADROOM, 0);
        let (mut interims, mut came_ns) = (0, 0);
        response.clear();
        loop {
            if !buffer.is_empty() {
                let progress = response.parse(buffer.filled(), &RESPONSE_LIMITS, self.head.method());
                match progress.map_err(|why| bad_response(why, buffer.filled()))? {
                    Progress::Partial => {}
                    Progress::Complete if self.is_asked_switch(awaited, response, buffer.filled()) => {
                        return Ok((buffer, came_ns));
                    }
                    Progress::Complete if response.status() == 101 => return Err(Failure::UnaskedSwitch),
                    Progress::Complete if self.is_false_switch(response) => return Err(Failure::NotSwitched),
                    Progress::Complete if !response.is_interim() => return Ok((buffer, came_ns)),
                    Progress::Complete => {
                        interims += 1;
                        if interims > limits::INTERIM_RESPONSES {
                            return Err(Failure::InterimFlood);
                        }
                        self.relay_interim(response, &mut buffer, awaited.sending).await?;
                        continue;
                    }
                }
            }
            buffer.reserve(1);
            let is_first = buffer.is_empty() && self.tally.first_byte_ns.get() == 0;
            buffer = self.read_answer_once(awaited, buffer).await?;
            came_ns = self.shard.env.now_ns();
            if is_first {
                self.tally.first_byte_ns.set(came_ns.saturating_sub(self.tally.sent_ns.get()));
            }
        }
    }

    async fn read_answer_once(&self, awaited: &Awaited<'_, E>, into: Buffer) -> Result<Buffer, Failure> {
        let has_begun = !into.is_empty();
        let completed = self.read_watching(awaited, into).await?;
        // Since 1.3 an endpoint that does not like our certificate says so behind the handshake (RFC 8446 section 4.4.2.4).
        let is_alert = completed.0.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::InvalidData);
        match received(completed) {
            Received::Bytes(buffer) => Ok(buffer),
            Received::Broken(_) if is_alert && !has_begun => Err(Failure::TlsFailed),
            Received::End(_) | Received::Broken(_) | Received::Expired if has_begun => Err(Failure::ResponseHeadCut),
            Received::End(_) => Err(Failure::UpstreamEof),
            Received::Broken(_) | Received::Expired => Err(Failure::UpstreamReset),
        }
    }

    /// RFC 9110 section 15.2: interim responses are forwarded, but never to a 1.0 client.
    async fn relay_interim(
        &self,
        response: &mut ResponseHead,
        buffer: &mut Buffer,
        sending: &Sending,
    ) -> Result<(), Failure> {
        if self.head.version() == Version::Http11 {
            let mut interim = self.shard.buffers.lend();
            encode_interim(interim.sink(), buffer.filled(), response);
            // Something went downstream: the request is not sent to anybody else from here on.
            self.tally.committed.set(true);
            drop(self.write_client(interim).await?);
        }
        if response.status() == 100 {
            sending.on_continue(self.shard.alarms.now_ms());
        }
        buffer.consume(response.len());
        response.clear();
        Ok(())
    }

    /// Reads once from the endpoint; a client that leaves meanwhile, or a deadline, ends the wait.
    async fn read_watching(
        &self,
        awaited: &Awaited<'_, E>,
        into: Buffer,
    ) -> Result<(io::Result<usize>, Buffer), Failure> {
        let mut read = pin!(awaited.stream.read(into));
        let now_ms = self.shard.alarms.now_ms();
        // Most answers come at once, and pay neither for a watch nor for its end.
        self.alarm.set(awaited.due(now_ms).0.min(now_ms + limits::CLIENT_WATCH_MS));
        if let Ok(completed) = self.alarm.race(read.as_mut()).await {
            return Ok(completed);
        }
        let mut watch = Watch::Open;
        loop {
            let now_ms = self.shard.alarms.now_ms();
            let (due_ms, late) = awaited.due(now_ms);
            if now_ms >= due_ms {
                return Err(late);
            }
            self.alarm.set(due_ms.min(now_ms + LOOK_MS));
            let watched = watch == Watch::Open && awaited.sending.is_over();
            match self.wait(read.as_mut(), watched).await {
                Woken::Read(completed) => return Ok(completed),
                Woken::Look => {
                    // An upload under way finds out by itself.
                    if awaited.sending.is_over() {
                        watch = self.look_at_client().await?;
                    }
                }
            }
        }
    }

    async fn wait<F>(&self, mut read: Pin<&mut F>, watched: bool) -> Woken
    where
        F: Future<Output = (io::Result<usize>, Buffer)>,
    {
        let mut readable = pin!(self.client.readable());
        poll_fn(|poller| {
            if let Poll::Ready(completed) = read.as_mut().poll(poller) {
                return Poll::Ready(Woken::Read(completed));
            }
            if watched && readable.as_mut().poll(poller).is_ready() {
                return Poll::Ready(Woken::Look);
            }
            self.alarm.poll_fired(poller).map(|()| Woken::Look)
        })
        .await
    }
}

/// What the body of a response needs to know of its head.
struct Reply {
    status: u16,
    body: ResponseBody,
    hops: Vec<Vec<u8>>,
}

enum Woken {
    Read((io::Result<usize>, Buffer)),
    Look,
}

fn decimal(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok().filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

fn bad_response(why: HeadError, bytes: &[u8]) -> Failure {
    match bytes {
        _ if is_tls_record(bytes) => Failure::SpeaksTls,
        _ if is_settings(bytes) => Failure::SpeaksH2,
        _ => Failure::of_response(why),
    }
}

/// The frame that a server of HTTP/2 begins with instead of a status line (RFC 9113 section 3.4), or the GOAWAY of one that
/// did not understand us.
const fn is_settings(bytes: &[u8]) -> bool {
    matches!(bytes, [0, 0, _, 4 | 7, 0, 0, 0, 0, 0, ..])
}

/// A TLS record with an alert or a handshake message instead of a status line (RFC 8446 section 5.1).
const fn is_tls_record(bytes: &[u8]) -> bool {
    matches!(bytes, [21 | 22, 3, 0..=4, ..])
}

/// Runs the upload beside the answer until the answer is complete, or the upload fails for the client's sake; one that is
/// not wanted any more is dropped, so that nothing of it takes from the client what tells whether it is there.
pub(super) async fn both(
    mut upload: Pin<&mut Option<impl Future<Output = Result<(), Failure>>>>,
    mut answer: Pin<&mut impl Future<Output = Outcome>>,
    sending: &Sending,
) -> Outcome {
    poll_fn(|poller| {
        if let Some(uploading) = upload.as_mut().as_pin_mut()
            && let Poll::Ready(uploaded) = uploading.poll(poller)
        {
            upload.set(None);
            if let Err(failure) = uploaded {
                return Poll::Ready(Err(failure));
            }
        }
        let answered = answer.as_mut().poll(poller);
        if sending.stopped.get() {
            upload.set(None);
        }
        answered
    })
    .await
}
