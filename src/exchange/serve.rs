//! The walk of one exchange.

use std::cell::Cell;

use super::authenticate::Identities;
use super::failure::Failure;
use super::held::{Added, Arrival, Client, Exchange, Gauge, Next, unread_after};
use super::local::Local;
use super::shard::{Scratch, Shard};
use super::tally::Tally;
use super::trace::Trace;
use crate::http1::{BodyLength, FieldKind, Method, RequestHead, id_text, is_grpc, is_valid_request_id, via_names};
use crate::net::{Buffer, Env};
use crate::routing::{Predicates, RouteId};
use crate::snapshot::{Action, Route, Snapshot, SplitRoute};

/// What becomes of a request.
pub(super) enum Decision<'a> {
    Answer(Local<'a>),
    Forward(&'a Route, usize),
}

/// Serves one exchange: route, admit, forward or answer, settle. What the client sent behind it stays unread.
///
/// `connection` is what the client opened: `client` itself, or what carries it when that is one stream of HTTP/2.
pub(super) async fn serve_exchange<E: Env>(
    shard: &Shard<E>,
    client: &Client<E>,
    connection: &Client<E>,
    scratch: &mut Scratch,
    peer_text: &[u8],
    arrival: Arrival,
    next_unread: &mut Option<Buffer>,
) -> Next {
    let Arrival { unread, adopted, started_ns, head_ns } = arrival;
    let listener = adopted.snapshot.listener(client.entrance).expect("the head was read by its bounds");
    let _active = Gauge::new(&shard.counters.requests_active);
    let Scratch { request, response, upload, download, alarm } = scratch;
    let exchange = Exchange {
        shard: &client.shard,
        client: &client.stream,
        connection,
        client_alarm: &client.alarm,
        alarm,
        peer: client.peer,
        peer_text,
        is_trusted: listener.trusts(client.peer.ip()),
        listener,
        adopted: &adopted,
        own_id: own_id(shard, request, unread.filled()),
        is_grpc: is_call(request, unread.filled()),
        trace: Trace::begin(shard, &adopted, request, unread.filled()),
        head: request,
        bytes: unread.filled(),
        tally: Tally {
            started_ns,
            head_ns,
            ready_ns: Cell::new(started_ns + head_ns),
            is_timed: shard.times_closely(),
            ..Tally::default()
        },
        added: Added::default(),
        identities: Identities::default(),
        permit: Cell::default(),
    };
    let served = match exchange.decide().await {
        // A client that left is told nothing.
        Decision::Answer(Local::Failed(failure)) if failure.verdict().status == 499 => exchange.cut_off(failure),
        Decision::Answer(local) => exchange.answer_locally(&local, exchange.whole_body()).await,
        Decision::Forward(route, cluster) => exchange.forward(route, cluster, response, upload, download).await,
    };
    exchange.end();
    let used = request.len() + served.body_used;
    *next_unread = Some(unread_after(unread, used, served.leftover));
    served.next
}

/// A call of gRPC is a POST of its media type.
fn is_call(head: &RequestHead, bytes: &[u8]) -> bool {
    head.method() == Method::Post && head.find(bytes, FieldKind::ContentType).is_some_and(is_grpc)
}

fn own_id<E: Env>(shard: &Shard<E>, head: &RequestHead, bytes: &[u8]) -> Option<[u8; 32]> {
    match head.find(bytes, FieldKind::XRequestId) {
        Some(theirs) if is_valid_request_id(theirs) => None,
        Some(_) | None => Some(id_text(&shard.rng.borrow_mut().id128())),
    }
}

impl<'a, E: Env> Exchange<'a, E> {
    /// Who answers this request: a cluster, or the gateway itself.
    async fn decide(&self) -> Decision<'a> {
        let (head, bytes) = (self.head, self.bytes);
        if matches!(head.method(), Method::Trace | Method::Connect) {
            return Decision::Answer(Local::Failed(Failure::MethodRefused));
        }
        // RFC 9110 section 7.6: a gateway must not forward a message to itself.
        if via_names(head, bytes, &self.shard.via) {
            return Decision::Answer(Local::Failed(Failure::LoopDetected));
        }
        if self.is_misdirected() {
            return Decision::Answer(Local::Failed(Failure::Misdirected));
        }
        if self.asks_for_health() && !self.asks_for_tunnel() {
            return Decision::Answer(Local::Health);
        }
        let snapshot = &self.adopted.snapshot;
        if !snapshot.headroom.takes_requests() {
            return Decision::Answer(Local::Failed(Failure::MemoryShort));
        }
        let Some(id) = self.find_route(snapshot) else {
            let is_stranger = self.listener.strict_host && !snapshot.table.names_host(head.host());
            let why = if is_stranger { Failure::Misdirected } else { Failure::RouteNotFound };
            return Decision::Answer(Local::Failed(why));
        };
        self.tally.route.set(Some(id));
        self.on_routed();
        let route = snapshot.route(id);
        if route.needs_certificate && self.certificate().is_none() {
            return Decision::Answer(Local::Failed(Failure::CertificateMissing));
        }
        if route.policies.is_some() || snapshot.live.is_some() {
            let admitted = self.admit(route, snapshot.live.as_deref()).await;
            self.on_policies_asked();
            if let Err(refusal) = admitted {
                return Decision::Answer(refusal);
            }
        }
        // An answer of the gateway's own would look like the tunnel that was asked for (RFC 8441 section 4).
        let is_forwarded = matches!(route.action, Action::Forward(_) | Action::Split(_));
        if self.asks_for_tunnel() && (!is_forwarded || self.upgrade(route).is_empty()) {
            return Decision::Answer(Local::Failed(Failure::MethodRefused));
        }
        // RFC 9110 section 7.6.2: at zero the recipient answers itself.
        if head.max_forwards() == Some(0) {
            return Decision::Answer(Local::Options);
        }
        match &route.action {
            Action::Forward(_) | Action::Split(_) if matches!(head.body(), BodyLength::Exact(length) if length > route.body_limit) => {
                Decision::Answer(Local::Failed(Failure::BodyTooLarge))
            }
            Action::Forward(cluster) => Decision::Forward(route, *cluster),
            Action::Split(split) => Decision::Forward(route, self.split(split)),
            Action::Redirect(status, pieces) => Decision::Answer(Local::Redirect(*status, pieces)),
            Action::Respond { status, body, content_type } => {
                Decision::Answer(Local::Fixed { status: *status, body, content_type })
            }
        }
    }

    /// The route of this request. A preflight asks about another one, so that it belongs to the route of that if scripts
    /// may share it (<https://fetch.spec.whatwg.org/#cors-preflight-request>).
    fn find_route(&self, snapshot: &Snapshot) -> Option<RouteId> {
        let (head, bytes) = (self.head, self.bytes);
        let find = |method| snapshot.table.find(head.host(), head.path(bytes), &View { head, bytes, method });
        let asked = self.preflight().and_then(|preflight| find(preflight.method));
        asked.filter(|id| snapshot.route(*id).shares()).or_else(|| find(head.method_name(bytes)))
    }

    fn split(&self, split: &SplitRoute) -> usize {
        let key = split.sticky.as_ref().and_then(|from| self.key(from));
        split.to[self.adopted.splits[split.number].borrow_mut().pick(key)].0
    }

    /// Is this connection not one for the resource that is asked for (RFC 9110 section 7.4)? A plain one has no authority
    /// over those of https, and of the certificates of a listener it must have got the one that is for the host. A gateway
    /// in front that is trusted may have one connection for all.
    fn is_misdirected(&self) -> bool {
        if !self.client.is_secure() {
            return self.head.scheme() == Some("https");
        }
        !self.connection.speaks_for(self.listener, self.head.host()) && !self.is_trusted
    }

    /// A route of exactly that path answers itself, if it is the one of this request.
    fn asks_for_health(&self) -> bool {
        let (head, bytes) = (self.head, self.bytes);
        let (path, method) = (head.path(bytes), head.method_name(bytes));
        self.listener.health_path.as_deref() == Some(path)
            && matches!(head.method(), Method::Get | Method::Head)
            && !self.adopted.snapshot.table.is_exact(head.host(), path, &View { head, bytes, method })
    }
}

/// The request as the routing table looks at it.
struct View<'a> {
    head: &'a RequestHead,
    bytes: &'a [u8],
    method: &'a [u8],
}

impl Predicates for View<'_> {
    fn method(&self) -> &[u8] {
        self.method
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        self.head.field(self.bytes, name)
    }

    fn query(&self) -> Option<&[u8]> {
        self.head.query(self.bytes)
    }
}
