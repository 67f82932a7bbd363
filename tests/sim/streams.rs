//! A client of HTTP/2: its requests as streams of one connection, each remembered as a dialogue of its own.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Response};

use crate::call::CallPlan;
use crate::client::PATIENCE_MS;
use crate::ledger::{Dialogue, Ended, Ledger, Reply};
use crate::link::{Link, LinkIo};
use crate::plan::{BodyPlan, ClientPlan, Ending, RequestPlan};
use crate::wire::Head;
use crate::world::{Bell, World};

/// Pieces of answers that a slow client makes its connection wait for: more only make a run longer, past its patience.
const LAGS: u32 = 50;

/// What the streams of a connection share.
struct Shared {
    world: World,
    ledger: Rc<Ledger>,
    plan: ClientPlan,
    link: Rc<Link>,
    /// Streams that are over.
    done: Cell<usize>,
    /// Pieces that it still makes wait.
    lags_left: Cell<u32>,
    /// Is the connection?
    closed: Cell<bool>,
    bell: Bell,
}

/// Plays `plan` on `link`, which is secured already if it is to be, and leaves a dialogue for each request in the ledger.
pub(crate) async fn play(world: World, ledger: Rc<Ledger>, plan: ClientPlan, link: Rc<Link>) {
    let (done, lags_left, closed, bell) = (Cell::new(0), Cell::new(LAGS), Cell::new(false), Bell::default());
    let shared = Rc::new(Shared { world: world.clone(), ledger, plan, link, done, lags_left, closed, bell });
    if world.within(PATIENCE_MS, shared.run()).await.is_none() {
        world.blame(format!("{}: the gateway never closes", shared.link.end.name()));
    }
    shared.link.end.close();
    // Whatever was never answered is told so now.
    shared.bell.ring();
}

impl Shared {
    async fn run(self: &Rc<Self>) {
        let window = self.plan.tongue.window;
        let mut builder = Builder::new();
        builder.initial_window_size(window).initial_connection_window_size(window.max(65_535));
        // Endpoints are read in tiny pieces here, and so their content goes on: no sign of malice.
        builder.data_frame_budget(usize::MAX);
        let handshake = builder.handshake::<_, Bytes>(LinkIo(Rc::clone(&self.link)));
        let Ok((sender, connection)) = handshake.await else { return self.fail_all() };
        let there = Rc::clone(self);
        self.world.spawn(async move {
            let ended = connection.await;
            there.world.tell(|| format!("{}: HTTP/2 ended: {ended:?}", there.link.end.name()));
            there.closed.set(true);
            there.bell.ring();
        });
        for (number, request) in self.plan.requests.iter().enumerate() {
            if number > 0 && !self.plan.pipelines {
                self.bell.until(|| self.done.get() >= number).await;
                self.world.sleep_ms(self.plan.gap_ms).await;
            }
            let (there, request, sender) = (Rc::clone(self), request.clone(), sender.clone());
            self.world.spawn(async move { there.exchange(request, sender).await });
        }
        self.bell.until(|| self.done.get() == self.plan.requests.len()).await;
        if self.plan.ending != Ending::Wait {
            // The last handle gone, the connection says goodbye by itself.
            drop(sender);
        }
        self.bell.until(|| self.closed.get()).await;
    }

    /// No stream came about.
    fn fail_all(&self) {
        let ended = if self.link.has_left() { Ended::Left } else { Ended::Reset };
        self.plan.requests.iter().for_each(|request| self.note(request, None, ended));
    }

    fn note(&self, request: &RequestPlan, reply: Option<Reply>, ended: Ended) {
        self.world.tell(|| format!("{}: ended {ended:?}", request.token));
        let plan = ClientPlan { requests: vec![request.clone()], ..self.plan.clone() };
        let (replies, ended_ms) = (reply.into_iter().collect(), self.world.now_ms());
        self.ledger.dialogues.borrow_mut().push(Dialogue { plan, replies, ended, ended_ms });
        self.done.set(self.done.get() + 1);
        self.bell.ring();
    }

    async fn exchange(self: Rc<Self>, request: RequestPlan, sender: SendRequest<Bytes>) {
        let reply = RefCell::new(None);
        let cancels_ms = self.plan.tongue.cancels_ms.filter(|_| request.token.ends_with(['0', '3', '6']));
        let patience_ms = cancels_ms.unwrap_or(PATIENCE_MS);
        // Dropped before its end, a stream is cancelled.
        let outcome = self.world.within(patience_ms, self.converse(&request, sender, &reply)).await;
        let ended = match outcome {
            None if cancels_ms.is_none() => Ended::Never,
            None => Ended::Left,
            Some(()) if self.link.has_left() => Ended::Left,
            Some(()) => match &*reply.borrow() {
                Some(Reply { is_whole: true, .. }) => Ended::Left,
                _ => Ended::Reset,
            },
        };
        self.note(&request, reply.take(), ended);
    }

    /// Sends a request and takes its answer; what came of it stands in `reply`.
    async fn converse(&self, request: &RequestPlan, sender: SendRequest<Bytes>, reply: &RefCell<Option<Reply>>) {
        let Ok(mut sender) = sender.ready().await else { return };
        let is_bare = matches!(request.body, BodyPlan::None | BodyPlan::Length(0));
        let Ok((answer, stream)) = sender.send_request(head(request, self.plan.tongue.is_tls), is_bare) else { return };
        drop(sender);
        // Both ways at once; the answer decides when it is over.
        let mut upload = pin!(upload(request, stream));
        let mut download = pin!(self.download(request, answer, reply));
        let mut is_sent = is_bare;
        poll_fn(|poller| {
            if !is_sent {
                is_sent = upload.as_mut().poll(poller).is_ready();
            }
            download.as_mut().poll(poller)
        })
        .await;
    }

    async fn download(&self, request: &RequestPlan, answer: ResponseFuture, reply: &RefCell<Option<Reply>>) {
        let Ok(response) = answer.await else { return };
        let (head, mut body) = taken(response);
        let is_bare = request.method == "HEAD";
        let whole = body.is_end_stream();
        *reply.borrow_mut() = Some(Reply { head, content: Vec::new(), trailers: Vec::new(), is_whole: whole });
        while let Some(Ok(content)) = body.data().await {
            if is_bare && !content.is_empty() {
                self.world.blame(format!("{}: content for a HEAD", request.token));
            }
            reply.borrow_mut().as_mut().into_iter().for_each(|reply| reply.content.extend(&content));
            if self.plan.tongue.lags_ms > 0 && self.lags_left.get() > 0 {
                self.lags_left.set(self.lags_left.get() - 1);
                self.world.sleep_ms(self.plan.tongue.lags_ms).await;
            }
            drop(body.flow_control().release_capacity(content.len()));
        }
        let Ok(trailers) = body.trailers().await else { return };
        if let Some(reply) = &mut *reply.borrow_mut() {
            reply.trailers = trailers.map(|trailers| fields(&trailers)).unwrap_or_default();
            reply.is_whole = body.is_end_stream();
        }
    }
}

fn head(request: &RequestPlan, is_tls: bool) -> Request<()> {
    let (token, scheme) = (&request.token, if is_tls { "https" } else { "http" });
    let mut head = Request::builder()
        .method(request.method.parse::<Method>().expect("a method"))
        .uri(format!("{scheme}://sim.test/t/{token}?q={token}"))
        .header("x-token", token)
        .header("x-request-id", token)
        .header("te", "trailers");
    if let BodyPlan::Length(length) = request.body {
        head = head.header("content-length", length);
    }
    if request.expects {
        head = head.header("expect", "100-continue");
    }
    for (name, value) in request.call.iter().flat_map(CallPlan::fields) {
        head = head.header(name, value);
    }
    head.body(()).expect("a request")
}

/// Sends the body as far as it is taken.
async fn upload(request: &RequestPlan, mut stream: SendStream<Bytes>) {
    let mut rest = Bytes::from(request.body());
    let trailers = matches!(request.body, BodyPlan::Chunked { trailers: true, .. });
    if rest.is_empty() && !trailers {
        drop(stream.send_data(Bytes::new(), true));
        return;
    }
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len());
        let Some(Ok(room)) = poll_fn(|poller| stream.poll_capacity(poller)).await else { return };
        let piece = rest.split_to(room.min(rest.len()));
        if stream.send_data(piece, rest.is_empty() && !trailers).is_err() {
            return;
        }
    }
    if trailers {
        let mut fields = HeaderMap::new();
        fields.insert("x-sum", request.token.parse().expect("a value"));
        drop(stream.send_trailers(fields));
    }
    // The stream is cancelled should this be dropped before all of it has gone.
    Held(stream).await;
}

/// Keeps a stream until it is dropped.
struct Held(#[expect(dead_code, reason = "kept for its drop")] SendStream<Bytes>);

impl Future for Held {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

/// As a head of HTTP/1.1, which is what judges know.
fn taken(response: Response<RecvStream>) -> (Head, RecvStream) {
    let (parts, body) = response.into_parts();
    let first = ["HTTP/1.1".to_owned(), parts.status.as_str().to_owned(), String::new()];
    (Head { first, fields: fields(&parts.headers) }, body)
}

fn fields(map: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    map.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}
