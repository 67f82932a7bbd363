//! Answers of the gateway itself.

use super::failure::{Failure, Unproven, Verdict};
use super::held::{Exchange, Next, Served, lines};
use super::wire::{WriteError, write_all};
use crate::http1::{GRPC, LocalReply, Method, encode_local, grpc_message};
use crate::net::Env;
use crate::snapshot::Piece;

/// What the gateway answers itself.
#[derive(Clone, Copy)]
pub(super) enum Local<'a> {
    /// A failure, told to the client.
    Failed(Failure),
    /// The gateway's own health.
    Health,
    /// OPTIONS that may go no further.
    Options,
    /// The answer to a preflight (CORS); its fields are in what policies add.
    Preflight,
    /// What another service wants the client to be told; it is in what policies add.
    Relayed,
    /// A redirect with its status.
    Redirect(u16, &'a [Piece]),
    /// A fixed response.
    Fixed { status: u16, body: &'a [u8], content_type: &'a str },
}

impl Local<'_> {
    /// What failed, if anything did.
    const fn failure(&self) -> Option<Failure> {
        match self {
            Self::Failed(failure) => Some(*failure),
            Self::Relayed => Some(Failure::Unproven(Unproven::Service)),
            Self::Health | Self::Options | Self::Preflight | Self::Redirect(..) | Self::Fixed { .. } => None,
        }
    }
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const ALLOWED: &[u8] = b"GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH";

impl<E: Env> Exchange<'_, E> {
    /// Answers and says how the connection goes on; `body` is how much of what came behind the head is the request's
    /// body, if all of that was read.
    pub(super) async fn answer_locally(&self, local: &Local<'_>, body: Option<usize>) -> Served {
        if let Some(failure) = local.failure() {
            self.on_failure(failure);
            self.on_rejected(failure);
        }
        // RFC 9112 section 9.3: a body that is not read whole must not be taken for the next request.
        let close = body.is_none() || !self.may_persist();
        let mut out = self.shard.buffers.lend();
        let (status, sent) = self.encode_locally(local, close, out.sink());
        self.tally.status.set(status);
        self.tally.on_body_out(sent);
        let written = write_all(self.client, out, self.alarm, || self.client_patience_ms()).await;
        let next = match written {
            Err(error) => {
                // A request that was refused stays so, whether or not its client is there to hear it.
                if local.failure().is_none() {
                    self.on_failure(cannot_tell(error));
                }
                Next::Reset
            }
            // RFC 9112 section 9.6: whoever may still send must not lose the response to a reset.
            Ok(_) if body.is_none() || (close && self.head.keep_alive()) => Next::Linger,
            Ok(_) if close => Next::Close,
            Ok(_) => Next::KeepAlive,
        };
        Served { next, body_used: body.unwrap_or(0), leftover: None }
    }

    /// Encodes the answer; returns its status and the length of its content.
    fn encode_locally(&self, local: &Local<'_>, close: bool, out: &mut Vec<u8>) -> (u16, usize) {
        let mut location = Vec::new();
        let mut digits = [0; 20];
        let message = self.call_message(local);
        let (status, body, content_type): (u16, &[u8], &str) = match local {
            // Whatever became of a call is told by fields: a response that consists of them alone.
            Local::Failed(_) if self.is_grpc => (200, b"", TEXT),
            Local::Failed(failure) => {
                let Verdict { status, text, .. } = failure.verdict();
                (status, text.as_bytes(), TEXT)
            }
            Local::Health if self.shard.is_draining() => (503, br#"{"status":"draining"}"#, JSON),
            Local::Health => (200, br#"{"status":"ok"}"#, JSON),
            Local::Options => (200, b"", TEXT),
            Local::Preflight => (204, b"", TEXT),
            Local::Relayed => match self.added.relayed.get() {
                Some(relayed) => (relayed.status, &relayed.body, &relayed.content_type),
                None => (403, b"", TEXT),
            },
            Local::Redirect(status, pieces) => {
                self.locate(pieces, &mut location);
                (*status, b"", TEXT)
            }
            Local::Fixed { status, body, content_type } => (*status, body, content_type),
        };
        let mut extra: [(&'static str, &[u8]); 4] = [("", b""); 4];
        let mut extras = 0;
        let mut add = |name, value| {
            extra[extras] = (name, value);
            extras += 1;
        };
        match local {
            Local::Failed(failure) if self.is_grpc => {
                let status = failure.grpc_status();
                self.tally.grpc_status.set(Some(status as u8));
                // Without content nobody else says of which kind it is.
                add("Content-Type", GRPC.as_bytes());
                add("grpc-status", status.digits().as_bytes());
                add("grpc-message", &message);
            }
            // RFC 9110 section 15.5.6: 405 names the methods that are allowed.
            Local::Failed(Failure::MethodRefused) | Local::Options => add("Allow", ALLOWED),
            // RFC 9110 section 15.6.4, RFC 6585 section 4: down, overloaded or refused for a while, so when to come back.
            Local::Failed(_) if matches!(status, 429 | 503) => {
                add("Retry-After", seconds(self.tally.retry_after_s.get(), &mut digits));
            }
            Local::Redirect(..) => add("Location", &location),
            Local::Failed(_) | Local::Health | Local::Preflight | Local::Relayed | Local::Fixed { .. } => {}
        }
        if let Some(failure) = local.failure().filter(|_| self.adopted.snapshot.reason_header) {
            add("X-Gateway-Reason", failure.verdict().label.as_bytes());
        }
        let added = self.added.take();
        let mut place = None;
        let reply = LocalReply {
            status,
            body,
            content_type,
            request_id: Some(self.request_id()),
            date: &self.shard.date(),
            close,
            head_only: self.head.method() == Method::Head,
            version: self.head.version(),
            keep_alive_10: !close && self.is_old_client(),
            extra: &extra[..extras],
            edits: self.route().map_or(&self.shard.no_edits, |route| &route.response_edits),
            added: &lines(&added, self.timing_line(&mut place)),
        };
        encode_local(out, &reply);
        (status, if reply.head_only { 0 } else { body.len() })
    }

    /// What a call that failed is told in words; empty for everything else.
    fn call_message(&self, local: &Local<'_>) -> Vec<u8> {
        if let Local::Failed(failure) = local
            && self.is_grpc
        {
            return grpc_message(failure.verdict().text);
        }
        Vec::new()
    }

    fn locate(&self, pieces: &[Piece], location: &mut Vec<u8>) {
        for piece in pieces {
            match piece {
                Piece::Text(text) => location.extend_from_slice(text),
                // RFC 9112 section 3.2.4: who asks about the server as a whole named no path.
                Piece::Path if self.head.path(self.bytes) == b"*" => {}
                Piece::Path => location.extend_from_slice(self.head.path(self.bytes)),
                Piece::Query => {
                    if let Some(query) = self.head.query(self.bytes) {
                        location.push(b'?');
                        location.extend_from_slice(query);
                    }
                }
            }
        }
    }
}

/// Whole seconds in decimal, at least one.
fn seconds(seconds: u64, digits: &mut [u8; 20]) -> &[u8] {
    use std::io::Write;
    let mut rest = &mut digits[..];
    write!(rest, "{}", seconds.max(1)).expect("20 bytes hold every number");
    let left = rest.len();
    &digits[..20 - left]
}

/// What a failed write to the client says about it.
pub(super) fn cannot_tell(error: WriteError) -> Failure {
    match error {
        WriteError::Expired => Failure::ClientWriteTimeout,
        WriteError::Broken(_) => Failure::ClientAbort,
    }
}
