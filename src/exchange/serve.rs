//! The walk of one exchange.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use super::connection::{Client, Next, unread_after};
use super::failure::Failure;
use super::local::Local;
use super::shard::{Adopted, Scratch, Shard};
use super::tally::Tally;
use crate::http1::{BodyLength, FieldKind, Method, RequestHead, Version, is_valid_request_id, via_names};
use crate::net::{Alarm, Buffer, Env};
use crate::routing::Predicates;
use crate::snapshot::{Action, Listener, Route};
use crate::telemetry::Counter;

/// A request head that arrived whole, in the buffer it was parsed from.
pub(super) struct Arrival {
    pub(super) unread: Buffer,
    pub(super) adopted: Rc<Adopted>,
    pub(super) started_ns: u64,
    /// From the first byte to the end of the head; 0 when it came in one piece.
    pub(super) head_ns: u64,
}

/// One request being served: what is known of it, and what it may use.
pub(super) struct Exchange<'a, E: Env> {
    pub(super) shard: &'a Shard<E>,
    pub(super) client: &'a E::Stream,
    /// Guards what the client sends.
    pub(super) client_alarm: &'a Alarm,
    /// Guards what the endpoint sends and the client takes.
    pub(super) alarm: &'a Alarm,
    pub(super) peer: SocketAddr,
    pub(super) peer_text: &'a [u8],
    pub(super) listener: &'a Listener,
    pub(super) adopted: &'a Adopted,
    pub(super) head: &'a RequestHead,
    /// What the head was parsed from, and what came behind it.
    pub(super) bytes: &'a [u8],
    /// An identity of our own, unless the client sent a valid one.
    pub(super) own_id: Option<[u8; 32]>,
    pub(super) tally: Tally,
}

/// How an exchange left its connection.
pub(super) struct Served {
    pub(super) next: Next,
    /// Bytes behind the head that belonged to the request.
    pub(super) body_used: usize,
    /// What an upload read past its request; it follows the buffer of the head.
    pub(super) leftover: Option<Buffer>,
}

/// What becomes of a request.
pub(super) enum Decision<'a> {
    Answer(Local<'a>),
    Forward(&'a Route, usize),
}

/// Serves one exchange: route, admit, forward or answer, settle. What the client sent behind it stays unread.
pub(super) async fn serve_exchange<E: Env>(
    shard: &Shard<E>,
    client: &Client<E>,
    scratch: &mut Scratch,
    peer_text: &[u8],
    arrival: Arrival,
    next_unread: &mut Option<Buffer>,
) -> Next {
    let Arrival { unread, adopted, started_ns, head_ns } = arrival;
    let Some(listener) = adopted.snapshot.listener(&client.listener) else {
        return Next::Close;
    };
    let _active = Gauge::new(&shard.counters.requests_active);
    let Scratch { request, response, upload, download, alarm } = scratch;
    let exchange = Exchange {
        shard,
        client: &client.stream,
        client_alarm: &client.alarm,
        alarm,
        peer: client.peer,
        peer_text,
        listener,
        adopted: &adopted,
        own_id: own_id(shard, request, unread.filled()),
        head: request,
        bytes: unread.filled(),
        tally: Tally { started_ns, head_ns, ..Tally::default() },
    };
    let served = match exchange.decide() {
        Decision::Answer(local) => exchange.answer_locally(&local, exchange.whole_body()).await,
        Decision::Forward(route, cluster) => exchange.forward(route, cluster, response, upload, download).await,
    };
    exchange.settle();
    let used = request.len() + served.body_used;
    *next_unread = Some(unread_after(unread, used, served.leftover));
    served.next
}

fn own_id<E: Env>(shard: &Shard<E>, head: &RequestHead, bytes: &[u8]) -> Option<[u8; 32]> {
    match head.find(bytes, FieldKind::XRequestId) {
        Some(theirs) if is_valid_request_id(theirs) => None,
        Some(_) | None => Some(shard.rng.borrow_mut().hex128()),
    }
}

impl<'a, E: Env> Exchange<'a, E> {
    /// Who answers this request: a cluster, or the gateway itself.
    fn decide(&self) -> Decision<'a> {
        let (head, bytes) = (self.head, self.bytes);
        if matches!(head.method(), Method::Trace | Method::Connect) {
            return Decision::Answer(Local::Failed(Failure::MethodRefused));
        }
        // RFC 9110 section 7.6: a gateway must not forward a message to itself.
        if via_names(head, bytes, &self.shard.via) {
            return Decision::Answer(Local::Failed(Failure::LoopDetected));
        }
        // RFC 9110 section 7.4: a plain connection has no authority over https resources.
        if head.scheme() == Some("https") {
            return Decision::Answer(Local::Failed(Failure::Misdirected));
        }
        if self.asks_for_health() {
            return Decision::Answer(Local::Health);
        }
        let snapshot = &self.adopted.snapshot;
        if self.listener.strict_host && !snapshot.table.knows_host(head.host()) {
            return Decision::Answer(Local::Failed(Failure::Misdirected));
        }
        let view = View { head, bytes };
        let Some(id) = snapshot.table.find(head.host(), head.path(bytes), &view) else {
            return Decision::Answer(Local::Failed(Failure::RouteNotFound));
        };
        self.tally.route.set(Some(id));
        let route = snapshot.route(id);
        // RFC 9110 section 7.6.2: at zero the recipient answers itself.
        if head.max_forwards() == Some(0) {
            return Decision::Answer(Local::Options);
        }
        match &route.action {
            Action::Forward(_) if matches!(head.body(), BodyLength::Exact(length) if length > route.body_limit) => {
                Decision::Answer(Local::Failed(Failure::BodyTooLarge))
            }
            Action::Forward(cluster) => Decision::Forward(route, *cluster),
            Action::Redirect(status, pieces) => Decision::Answer(Local::Redirect(*status, pieces)),
            Action::Respond { status, body, content_type } => {
                Decision::Answer(Local::Fixed { status: *status, body, content_type })
            }
        }
    }

    fn asks_for_health(&self) -> bool {
        let path = self.head.path(self.bytes);
        self.listener.health_path.as_deref() == Some(path)
            && matches!(self.head.method(), Method::Get | Method::Head)
            && !self.adopted.snapshot.table.has_exact_path(self.head.host(), path)
    }

    /// The identity of this request: the client's own when it is valid.
    pub(super) fn request_id(&self) -> &[u8] {
        match &self.own_id {
            Some(own) => own,
            None => self.head.find(self.bytes, FieldKind::XRequestId).unwrap_or_default(),
        }
    }

    /// The route that matched, if any did.
    pub(super) fn route(&self) -> Option<&'a Route> {
        self.tally.route.get().map(|id| self.adopted.snapshot.route(id))
    }

    /// What has come behind the head: the start of the body, and perhaps of further requests.
    pub(super) fn behind_head(&self) -> &'a [u8] {
        &self.bytes[self.head.len()..]
    }

    /// Length of the request's body, if all of it has come with the head.
    pub(super) fn whole_body(&self) -> Option<usize> {
        match self.head.body() {
            BodyLength::None => Some(0),
            BodyLength::Exact(length) => {
                usize::try_from(length).ok().filter(|length| *length <= self.behind_head().len())
            }
            BodyLength::Chunked | BodyLength::UntilClose => None,
        }
    }

    /// May the connection serve another request, as far as the client and the worker are concerned?
    pub(super) fn may_persist(&self) -> bool {
        self.head.keep_alive() && !self.shard.is_draining()
    }

    /// Does a 1.0 client need to be told that its connection persists (RFC 9112 section 9.3)?
    pub(super) fn is_old_client(&self) -> bool {
        self.head.version() == Version::Http10
    }
}

/// The request as the routing table looks at it.
struct View<'a> {
    head: &'a RequestHead,
    bytes: &'a [u8],
}

impl Predicates for View<'_> {
    fn method(&self) -> &[u8] {
        self.head.method_name(self.bytes)
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        self.head.field(self.bytes, name)
    }

    fn query(&self) -> Option<&[u8]> {
        self.head.query(self.bytes)
    }
}

/// Holds a gauge up while it lives.
pub(super) struct Gauge<'a>(&'a Counter);

impl<'a> Gauge<'a> {
    pub(super) fn new(counter: &'a Counter) -> Self {
        counter.add(1);
        Self(counter)
    }
}

impl Drop for Gauge<'_> {
    fn drop(&mut self) {
        self.0.sub(1);
    }
}

/// How far the request has gone upstream; both directions look at it.
#[derive(Default)]
pub(super) struct Sending {
    /// When all attempts together must have an answer.
    pub(super) due_ms: Cell<u64>,
    /// Did all of the request go out?
    pub(super) done: Cell<bool>,
    /// When it did, in milliseconds of the worker's clock.
    pub(super) done_ms: Cell<u64>,
    /// Has any byte gone out that cannot be sent again?
    pub(super) consumed: Cell<bool>,
    /// Is the rest of the body unwanted, because the final answer is there?
    pub(super) stopped: Cell<bool>,
    /// What an upload read past its request.
    pub(super) leftover: Cell<Option<Buffer>>,
}

impl Sending {
    pub(super) fn on_done(&self, now_ms: u64) {
        self.done.set(true);
        self.done_ms.set(now_ms);
    }
}
