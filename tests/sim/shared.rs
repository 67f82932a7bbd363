//! An origin server of HTTP/2: its requests come as streams of one connection, and each is served as the plan says.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, Method, Request, Response};

use crate::chance::{checksum, pattern};
use crate::endpoint::{Host, PATIENCE_MS};
use crate::link::{Link, LinkIo};
use crate::plan::{Behaviour, BodyPlan, RequestPlan, Shape, Trouble};
use crate::storm::Weather;
use crate::tunnels::{self, send_all};
use crate::world::Bell;

/// One connection of a host.
pub(crate) struct Sharing {
    host: Rc<Host>,
    link: Rc<Link>,
    /// Ends it at once, with a reset or in order.
    dies: Cell<Option<bool>>,
    /// Lets it end with the last of its streams.
    leaves: Cell<bool>,
    /// Streams that have come, and that are open.
    begun: Cell<u64>,
    open: Cell<u64>,
    bell: Bell,
}

/// A request and the way to answer it.
type Asked = (Request<RecvStream>, SendResponse<Bytes>);

impl Sharing {
    pub(crate) async fn serve(host: Rc<Host>, link: Link) {
        let link = Rc::new(link);
        let (dies, leaves, bell) = (Cell::new(None), Cell::new(false), Bell::default());
        let (begun, open) = (Cell::new(0), Cell::new(0));
        let sharing = Rc::new(Self { host, link: Rc::clone(&link), dies, leaves, begun, open, bell });
        sharing.drive().await;
        link.end.close();
    }

    async fn drive(self: &Rc<Self>) {
        let mut builder = Builder::new();
        builder.max_concurrent_streams(self.host.plan.streams).initial_window_size(self.host.plan.stream_window);
        // What the gateway sends is split into tiny pieces here: no sign of malice.
        builder.data_frame_budget(usize::MAX).enable_connect_protocol();
        let handshake = builder.handshake::<_, Bytes>(LinkIo(Rc::clone(&self.link)));
        let Some(Ok(mut connection)) = self.host.world.within(PATIENCE_MS, handshake).await else { return };
        while let Some((request, respond)) = poll_fn(|poller| self.poll_next(&mut connection, poller)).await {
            self.begun.set(self.begun.get() + 1);
            self.open.set(self.open.get() + 1);
            let there = Rc::clone(self);
            self.host.world.spawn(async move { there.exchange(request, respond).await });
        }
        if self.dies.get() == Some(true) {
            self.link.end.reset_on_close();
        }
    }

    /// The next request; nothing at the end.
    fn poll_next(&self, connection: &mut Connection<LinkIo, Bytes>, poller: &mut Context<'_>) -> Poll<Option<Asked>> {
        self.bell.listen(poller);
        if self.dies.get().is_some() {
            return Poll::Ready(None);
        }
        if !self.host.is_awake(poller) {
            return Poll::Pending;
        }
        if self.leaves.take() {
            connection.graceful_shutdown();
        }
        connection.poll_accept(poller).map(|accepted| {
            accepted.and_then(|accepted| {
                accepted
                    .inspect_err(|error| {
                        self.host.world.tell(|| format!("{}: HTTP/2 ended: {error}", self.link.end.name()));
                        let is_ours = error.is_library() && !error.is_io();
                        if is_ours {
                            self.host
                                .world
                                .blame(format!("{}: the gateway breaks HTTP/2: {error}", self.link.end.name()));
                        }
                    })
                    .ok()
            })
        })
    }

    fn die(&self, resets: bool) {
        self.dies.set(Some(resets));
        self.bell.ring();
    }

    fn leave(&self) {
        self.leaves.set(true);
        self.bell.ring();
    }

    async fn exchange(self: Rc<Self>, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        self.answer(request, respond).await;
        self.open.set(self.open.get() - 1);
        let (begun, idle_ms) = (self.begun.get(), self.host.plan.idle_ms.max(1));
        self.host.world.sleep_ms(idle_ms).await;
        if self.open.get() == 0 && self.begun.get() == begun {
            self.leave();
        }
    }

    async fn answer(&self, mut request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        self.host.until_awake().await;
        if self.begun.get() > 1 && self.host.weather() == Weather::Curt {
            return self.die(false);
        }
        let token = request.headers().get("x-token").map_or("", |token| token.to_str().unwrap_or_default()).to_owned();
        if self.host.ledger.tunnels.borrow().contains(&token) {
            self.host.ledger.on_head(&token, false);
            if request.method() == Method::CONNECT {
                let _whole = tunnels::echo_stream(request, respond).await;
            } else {
                drop(respond.send_response(interim(426), true));
            }
            return;
        }
        let Some((plan, attempt)) = self.recognise(&request) else { return };
        self.look_at_length(&mut request, &plan);
        let behaviour = self.host.weathered(&plan.behaviours[attempt.min(plan.behaviours.len() - 1)]);
        self.host.world.tell(|| format!("{}: {} attempt {attempt}: {behaviour:?}", self.link.end.name(), plan.token));
        match behaviour.trouble {
            Trouble::GoneAtOnce => return respond.send_reset(Reason::REFUSED_STREAM),
            Trouble::Early => {
                // RFC 9113 section 8.1: the answer is whole, and the rest of the request is not wanted.
                if let Some(mut stream) = self.respond(&plan, &behaviour, None, &mut respond).await {
                    self.host.world.sleep_ms(behaviour.delay_ms).await;
                    stream.send_reset(Reason::NO_ERROR);
                }
                return;
            }
            Trouble::None
            | Trouble::Stall
            | Trouble::Gone { .. }
            | Trouble::Cut { .. }
            | Trouble::Extra
            | Trouble::Rubbish(_)
            | Trouble::Flood => {}
        }
        if plan.expects && respond.send_informational(interim(100)).is_err() {
            return;
        }
        let body = self.host.world.within(PATIENCE_MS, self.read_body(request.into_body(), &plan)).await;
        let Some(Some(body)) = body else { return };
        self.host.ledger.on_whole(&plan.token, attempt);
        self.host.world.sleep_ms(behaviour.delay_ms).await;
        self.host.until_awake().await;
        match behaviour.trouble {
            Trouble::Stall => self.host.world.sleep_ms(PATIENCE_MS).await,
            Trouble::Gone { reset: true } => respond.send_reset(Reason::INTERNAL_ERROR),
            Trouble::Gone { reset: false } => self.die(self.host.plan.dies_hard),
            Trouble::None
            | Trouble::Early
            | Trouble::GoneAtOnce
            | Trouble::Cut { .. }
            | Trouble::Extra
            | Trouble::Rubbish(_)
            | Trouble::Flood => drop(self.respond(&plan, &behaviour, Some(&body), &mut respond).await),
        }
        if behaviour.closes || behaviour.trouble == Trouble::Extra {
            self.leave();
        }
    }

    /// Whose request is it, and is the head as it must be?
    fn recognise(&self, request: &Request<RecvStream>) -> Option<(RequestPlan, usize)> {
        let field = |name: &str| request.headers().get(name).map_or("", |value| value.to_str().unwrap_or_default());
        let token = field("x-token").to_owned();
        let blame = |what: &str| self.host.world.blame(format!("{token}: {what}: {request:?}"));
        let Some(plan) = self.host.ledger.plan(&token) else {
            blame("an unknown request");
            return None;
        };
        if plan.flaw.as_ref().is_some_and(|flaw| matches!(flaw, crate::plan::Flaw::Head(_))) {
            blame("a malformed request reached an endpoint");
        }
        let expected = format!("/t/{token}?q={token}");
        let target = request.uri().path_and_query().map_or("", |target| target.as_str());
        if request.method().as_str() != plan.method || target != expected || field("x-request-id") != token {
            blame("not as it was sent");
        }
        if request.uri().authority().is_none_or(|authority| authority.as_str() != "sim.test") {
            blame("for somebody else");
        }
        plan.source_problem(field("x-forwarded-for")).iter().for_each(|problem| blame(problem));
        let call = plan.call.as_ref().and_then(|call| call.problem(field("content-type"), field("grpc-timeout")));
        call.iter().for_each(|problem| blame(problem));
        let attempt = self.host.ledger.on_head(&token, false);
        Some((plan, attempt))
    }

    /// Is the body announced as it will be, and is there none where there is to be none?
    fn look_at_length(&self, request: &mut Request<RecvStream>, plan: &RequestPlan) {
        let told = request.headers().get("content-length").map_or("", |length| length.to_str().unwrap_or_default());
        let is_right = match plan.body {
            BodyPlan::None => !goes_on(request.body_mut()),
            BodyPlan::Length(length) => told == length.to_string(),
            BodyPlan::Chunked { .. } => told.is_empty(),
        };
        if !is_right {
            self.host.world.blame(format!("{}: a body of another length: {request:?}", plan.token));
        }
    }

    async fn read_body(&self, mut body: RecvStream, plan: &RequestPlan) -> Option<Vec<u8>> {
        let mut content = Vec::new();
        while let Some(more) = body.data().await {
            let more = more.ok()?;
            content.extend(&more);
            self.host.until_awake().await;
            drop(body.flow_control().release_capacity(more.len()));
        }
        let trailers = body.trailers().await.ok()?.unwrap_or_default();
        let blame = |what: &str| self.host.world.blame(format!("{}: {what}", plan.token));
        if content != plan.body() {
            blame(&format!("a body of {} bytes is not what was sent", content.len()));
        }
        if plan.flaw.is_some() {
            blame("a malformed body arrived whole");
        }
        let wants = matches!(plan.body, BodyPlan::Chunked { trailers: true, .. });
        let sum = trailers.get("x-sum").map(|value| value.as_bytes().to_vec());
        if wants != (sum.as_deref() == Some(plan.token.as_bytes())) {
            blame(&format!("wrong trailers {trailers:?}"));
        }
        Some(content)
    }

    /// Answers as far as the plan says; the stream once the answer is whole.
    async fn respond(
        &self,
        plan: &RequestPlan,
        behaviour: &Behaviour,
        body: Option<&[u8]>,
        respond: &mut SendResponse<Bytes>,
    ) -> Option<SendStream<Bytes>> {
        let interims = if behaviour.trouble == Trouble::Flood { 100 } else { behaviour.interims };
        for _ in 0..interims {
            respond.send_informational(interim(103)).ok()?;
            self.host.world.sleep_ms(behaviour.pace_ms).await;
        }
        let is_bare = plan.method == "HEAD" || matches!(behaviour.status, 204 | 304);
        let content = if is_bare { Vec::new() } else { pattern(&format!("{} answer", plan.token), behaviour.length) };
        let has_trailers = behaviour.shape == Shape::Chunked && !is_bare;
        let is_cut = matches!(behaviour.trouble, Trouble::Cut { .. });
        let ends_at_once = content.is_empty() && !has_trailers && !is_cut;
        let mut stream = respond.send_response(head(plan, behaviour, body), ends_at_once).ok()?;
        if ends_at_once {
            return Some(stream);
        }
        let most = if let Trouble::Cut { at, .. } = behaviour.trouble { at.min(content.len()) } else { content.len() };
        let pieces = if behaviour.pace_ms == 0 { 1 } else { 6 };
        for piece in content[..most].chunks(most.div_ceil(pieces).max(1)) {
            send_all(&mut stream, piece).await?;
            self.host.world.sleep_ms(behaviour.pace_ms).await;
            self.host.until_awake().await;
        }
        if let Trouble::Cut { reset, stall, .. } = behaviour.trouble {
            if stall {
                self.host.world.sleep_ms(PATIENCE_MS).await;
            }
            self.host.world.sleep_ms(behaviour.delay_ms).await;
            if reset {
                stream.send_reset(Reason::INTERNAL_ERROR);
            } else {
                self.die(self.host.plan.dies_hard);
            }
            return None;
        }
        if has_trailers {
            let status = plan.call.as_ref().map(|call| call.status.to_string());
            let call = status.as_ref().map(|status| ("grpc-status", &**status));
            let trailers: Vec<_> = [("x-trail", &*plan.token)].into_iter().chain(call).collect();
            stream.send_trailers(fields(&trailers)).ok()?;
        } else {
            stream.send_data(Bytes::new(), true).ok()?;
        }
        Some(stream)
    }
}

/// May content follow? No longer once the stream was broken, whether or not it had ended with its head.
fn goes_on(body: &mut RecvStream) -> bool {
    let mut poller = Context::from_waker(Waker::noop());
    !body.is_end_stream() && !matches!(body.poll_data(&mut poller), Poll::Ready(None | Some(Err(_))))
}

fn interim(status: u16) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status.try_into().expect("a status");
    response
}

/// The head of an answer; `body` is the request's, if it was read. Rubbish is content of another length than it says.
fn head(plan: &RequestPlan, behaviour: &Behaviour, body: Option<&[u8]>) -> Response<()> {
    let mut response = interim(behaviour.status);
    let (line, length) = (format!("{} {}", plan.method, plan.path()), behaviour.length.to_string());
    let mut all = vec![("x-echo-token", &*plan.token), ("x-echo-line", &line), ("x-body-length", &length)];
    let seen = body.map(|body| format!("{} {:016x}", body.len(), checksum(body)));
    all.extend(seen.as_ref().map(|seen| ("x-echo-body", &**seen)));
    all.extend(plan.call.as_ref().map(|_| ("content-type", "application/grpc")));
    let wrong = (behaviour.length + 1).to_string();
    match (behaviour.trouble, behaviour.shape) {
        _ if behaviour.status == 204 => {}
        (Trouble::Rubbish(_), _) => all.push(("content-length", &wrong)),
        (_, Shape::Length) => all.push(("content-length", &length)),
        (_, Shape::Chunked | Shape::UntilClose) => {}
    }
    *response.headers_mut() = fields(&all);
    response
}

fn fields(all: &[(&'static str, &str)]) -> HeaderMap {
    let each = all.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value")));
    each.collect()
}
