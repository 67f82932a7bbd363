//! A service is asked whether a request may pass: by a request of ours, through the machinery of its cluster.

use std::cell::Cell;
use std::io::Write as _;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use super::failure::{Failure, Fault, Unproven};
use super::hear::{Silent, hear_head, told_apart};
use super::held::Exchange;
use super::lease::{Refused, Wanted};
use super::local::Local;
use super::pick::{Attempt, Tried};
use super::relay::Inbound;
use super::shard::{Lease, Scratch, Upstream};
use super::wire::{Received, WriteError, read_once, write_all};
use crate::http1::{BodyLength, FieldKind, Method, ResponseHead};
use crate::limits;
use crate::net::{Buffer, Env};
use crate::policy::auth::{External, Identity};

/// What a client is told in the words of the service.
pub(super) struct Relayed {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
}

/// What the service says.
enum Answer {
    Passes(Identity),
    /// With field lines.
    Refuses(Relayed, Vec<u8>),
    /// Nothing that could be understood.
    Fails,
}

/// Fields of a refusal that the client gets.
const RELAYED: [&str; 4] = ["www-authenticate", "location", "set-cookie", "retry-after"];

impl<'a, E: Env> Exchange<'a, E> {
    /// Asks the service, unless what it says is known.
    pub(super) async fn ask_service(&self, external: &Arc<External>) -> Result<(), Local<'a>> {
        // Of two the endpoint might believe another one than the service.
        self.authorization().map_err(|why| Local::Failed(Failure::Unproven(why)))?;
        let proof = external.proof(|name, told| self.each_value(name, told));
        let now_s = self.shard.alarms.now_ms() / 1000;
        if let Some(proof) = &proof
            && let Some(known) = self.shard.vouched.borrow().find(external.stamp(), proof, now_s)
        {
            self.identities.service.get_or_init(|| Rc::clone(known));
            return Ok(());
        }
        self.shard.counters.auth_asked.add(1);
        // In a box, because most requests ask nobody.
        let answer = Box::pin(self.service_says(external)).await.map_err(Local::Failed)?;
        // What is told of the connection is that to the endpoint, and what it takes begins now.
        self.tally.reused.set(false);
        self.tally.connect_ns.set(0);
        self.tally.ready_ns.set(self.shard.env.now_ns());
        match answer {
            Answer::Passes(identity) => {
                let identity = Rc::clone(self.identities.service.get_or_init(|| Rc::new(identity)));
                if let (Some(proof), Some(cache)) = (proof, &external.rules.cache) {
                    let (mut vouched, until_s) = (self.shard.vouched.borrow_mut(), now_s + cache.for_s);
                    vouched.on_verified(external.stamp(), &proof, until_s, identity, now_s);
                }
                Ok(())
            }
            Answer::Refuses(..) if self.is_grpc => Err(Local::Failed(Failure::Unproven(Unproven::Service))),
            Answer::Refuses(relayed, lines) => {
                let mut added = self.added.response.borrow_mut();
                added.get_or_insert_with(|| self.shard.buffers.lend()).extend(&lines);
                self.added.relayed.get_or_init(|| Box::new(relayed));
                Err(Local::Relayed)
            }
            Answer::Fails => {
                self.shard.counters.auth_failed.add(1);
                let denied = Local::Failed(Failure::Unproven(Unproven::ServiceSilent));
                if external.rules.allows_without { Ok(()) } else { Err(denied) }
            }
        }
    }

    /// Calls back with every value of a field of the request, in their order, but for what ends here (RFC 9110 section 7.6.1)
    /// and what a peer that is not trusted says of its client.
    fn each_value(&self, name: &str, told: &mut dyn FnMut(&[u8])) {
        let is_named = |of: &[u8]| of.eq_ignore_ascii_case(name.as_bytes());
        for field in self.head.fields() {
            let is_believed = self.is_trusted || !field.kind.is_claim();
            if !field.hop && is_believed && is_named(field.name.of(self.bytes)) {
                told(field.value.of(self.bytes));
            }
        }
    }

    /// Asks until there is an answer: another endpoint where no connection comes about, and once more where a kept one turns
    /// out dead. An error says that the client is gone.
    async fn service_says(&self, external: &External) -> Result<Answer, Failure> {
        let Some(route) = self.route() else { return Ok(Answer::Fails) };
        let cluster = &self.adopted.snapshot.clusters[external.cluster];
        let (began_ns, timeout_ms) = (self.shard.env.now_ns(), external.rules.timeout_ms);
        let due_ms = self.shard.alarms.now_ms() + timeout_ms;
        let (mut tried, mut may_reuse) = (Tried::default(), true);
        for _ in 0..limits::AUTH_ATTEMPTS {
            let unreachable = {
                let wanted = Wanted {
                    route,
                    cluster,
                    lane: &self.adopted.lanes[external.cluster],
                    tried: &tried,
                    again: false,
                    anew: false,
                    key: cluster.key.as_ref().and_then(|from| self.key(from)),
                    now_ns: Cell::new(self.shard.env.now_ns()),
                    may_reuse,
                    due_ms,
                };
                let opened = self.open(&wanted).await;
                // An endpoint is not slow that was asked when a queue, or another endpoint, had used up most of the time.
                let gone_ms = wanted.now_ns.get().saturating_sub(began_ns) / 1_000_000;
                let has_time = gone_ms * 2 <= timeout_ms;
                match opened {
                    Ok((attempt, upstream)) => {
                        let is_reused = upstream.reused;
                        let said = {
                            let mut asking = pin!(self.ask_endpoint(external, &attempt, upstream, due_ms));
                            self.watching(asking.as_mut()).await?
                        };
                        match said {
                            Ok(answer) => return Ok(answer),
                            Err(Silent::Dead) if is_reused => {
                                may_reuse = false;
                                None
                            }
                            Err(Silent::Late) if !has_time => return Ok(Answer::Fails),
                            Err(Silent::Dead | Silent::Failed | Silent::Late) => {
                                attempt.on_failed();
                                return Ok(Answer::Fails);
                            }
                        }
                    }
                    Err(Refused::Connect(_, failure) | Refused::Other(failure))
                        if failure.verdict().fault == Fault::Client =>
                    {
                        return Err(failure);
                    }
                    // What this gateway lacked says nothing against the service.
                    Err(Refused::Connect(attempt, failure)) if failure.verdict().fault == Fault::Upstream => {
                        if has_time || failure != Failure::RequestTimeout {
                            attempt.on_unreached();
                        }
                        Some(attempt.index)
                    }
                    Err(Refused::NoneFit | Refused::Connect(..) | Refused::Other(_)) => return Ok(Answer::Fails),
                }
            };
            if let Some(index) = unreachable {
                tried.bar(index);
            }
            if self.shard.alarms.now_ms() >= due_ms {
                break;
            }
        }
        Ok(Answer::Fails)
    }

    /// One question on one connection, which goes back to its pool if its exchange was complete.
    async fn ask_endpoint(
        &self,
        external: &External,
        attempt: &Attempt<'_, E>,
        upstream: Lease<E::Stream>,
        due_ms: u64,
    ) -> Result<Answer, Silent> {
        let closes = attempt.cluster.proxy_protocol.is_some();
        let question = self.question(external, &attempt.endpoint().authority, closes);
        let mut scratch = self.shard.lend_scratch();
        let said = self.converse(external, attempt, &upstream, &mut scratch, question, due_ms).await;
        let timeout_s = scratch.response.keep_alive_timeout();
        self.shard.return_scratch(scratch);
        let (answer, persists) = said.map_err(|why| told_apart(why, upstream.stream.fault()))?;
        if persists {
            self.shard.give_back(attempt.cluster, upstream, timeout_s);
        }
        Ok(answer)
    }

    /// A GET of the service's path that tells of the request, with the fields that the policy names.
    fn question(&self, external: &External, authority: &[u8], closes: bool) -> Buffer {
        let mut buffer = self.shard.buffers.lend();
        let out = buffer.sink();
        let path = self.head.path(self.bytes);
        out.extend_from_slice(b"GET ");
        out.extend_from_slice(external.rules.path.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        push_line(out, "Host", authority);
        push_line(out, "X-Forwarded-Method", self.head.method_name(self.bytes));
        // As the endpoint is told.
        let claimed = |kind| self.head.find(self.bytes, kind).filter(|_| self.is_trusted);
        let own: &[u8] = if self.client.is_secure() { b"https" } else { b"http" };
        push_line(out, "X-Forwarded-Proto", claimed(FieldKind::XForwardedProto).unwrap_or(own));
        let host = claimed(FieldKind::XForwardedHost).unwrap_or(self.head.authority());
        if !host.is_empty() {
            push_line(out, "X-Forwarded-Host", host);
        }
        match self.head.query(self.bytes) {
            Some(query) => push_line(out, "X-Forwarded-Uri", &[path, query].join(&b'?')),
            None => push_line(out, "X-Forwarded-Uri", path),
        }
        // Writing to memory cannot fail.
        let _written = write!(out, "X-Forwarded-For: {}\r\n", self.client_ip());
        push_line(out, "X-Request-ID", self.request_id());
        // RFC 9110 section 7.6.3: should the service be behind this gateway, the loop is found.
        push_line(out, "Via", &[b"1.1 ", &self.shard.via[..]].concat());
        if closes {
            push_line(out, "Connection", b"close");
        }
        for name in &external.rules.forward {
            self.each_value(name, &mut |value| push_line(out, name, value));
        }
        out.extend_from_slice(b"\r\n");
        buffer
    }

    /// Puts the question and reads the answer, of a long one only the head; also whether the connection may carry another.
    async fn converse(
        &self,
        external: &External,
        attempt: &Attempt<'_, E>,
        upstream: &Upstream<E::Stream>,
        scratch: &mut Scratch,
        question: Buffer,
        due_ms: u64,
    ) -> Result<(Answer, bool), Silent> {
        let (shard, sent_ns) = (self.shard, self.shard.env.now_ns());
        let left_ms = || due_ms.saturating_sub(shard.alarms.now_ms());
        let Scratch { response, download, alarm, .. } = scratch;
        let patience_ms = left_ms();
        match write_all(&upstream.stream, question, alarm, || patience_ms).await {
            Ok(_) => {}
            Err(WriteError::Broken(_)) => return Err(Silent::Dead),
            Err(WriteError::Expired) => return Err(Silent::Late),
        }
        let mut buffer = hear_head(shard, upstream, response, alarm, Method::Get, due_ms).await?;
        let now_ns = shard.env.now_ns();
        attempt.on_answered(response.status(), Some(now_ns.saturating_sub(sent_ns)), now_ns);
        let mut answer = sort(external, response, buffer.filled());
        buffer.consume(response.len());
        let mut inbound = Inbound::new(response.body(), 0, download);
        let mut content = Vec::new();
        let is_whole = loop {
            let portion = inbound.take(&mut buffer, &shard.buffers).map_err(|_broken| Silent::Failed)?;
            content.extend_from_slice(buffer.filled());
            if portion.done {
                let is_delimited = response.body() != BodyLength::UntilClose;
                break Some(is_delimited && portion.extra.is_none() && response.keep_alive());
            }
            if content.len() > limits::AUTH_BODY_BYTES {
                break None;
            }
            buffer.rewind(0, 0);
            buffer = match read_once(&upstream.stream, buffer, alarm, left_ms()).await {
                Received::Bytes(filled) => filled,
                Received::End(_) if inbound.ends_with_stream() => break Some(false),
                Received::End(_) | Received::Broken(_) => return Err(Silent::Failed),
                Received::Expired => return Err(Silent::Late),
            };
        };
        if let (Answer::Refuses(relayed, _), Some(_)) = (&mut answer, is_whole) {
            relayed.body = content;
        }
        Ok((answer, is_whole.unwrap_or(false)))
    }
}

/// What a head says: 2xx lets pass, 4xx and redirects are the client's, and all else is no answer.
fn sort(external: &External, response: &ResponseHead, bytes: &[u8]) -> Answer {
    let each = |name: &str, told: &mut dyn FnMut(&[u8])| {
        for field in response.fields() {
            if !field.hop && field.name.of(bytes).eq_ignore_ascii_case(name.as_bytes()) {
                told(field.value.of(bytes));
            }
        }
    };
    match response.status() {
        200..=299 => Answer::Passes(external.identity(each)),
        status @ (301 | 302 | 303 | 307 | 308 | 400..=499) => {
            let mut lines = Vec::new();
            for name in RELAYED {
                each(name, &mut |value| push_line(&mut lines, name, value));
            }
            let content_type = response.field(bytes, "content-type").unwrap_or(b"text/plain");
            let content_type = String::from_utf8_lossy(content_type).into_owned();
            Answer::Refuses(Relayed { status, content_type, body: Vec::new() }, lines)
        }
        _ => Answer::Fails,
    }
}

/// A field line of what was parsed before.
fn push_line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
