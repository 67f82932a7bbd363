//! The two sides of calls that go both ways: clients, and endpoints of HTTP/2.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream, SendStream, client, server};
use http::{HeaderMap, Request, Response};

use crate::link::{Link, LinkIo};
use crate::plan::Tongue;
use crate::talks::{Course, End, Kind, Messages, Talk, Talks, Trouble};
use crate::tunnels::send_all;
use crate::world::{Bell, World};

/// Longer than every time-out of the gateway together.
const PATIENCE_MS: u64 = 30_000;

/// Sends a message in frames of at most a piece; nothing once nobody wants it.
async fn send(stream: &mut SendStream<Bytes>, talk: &Talk, is_up: bool, number: usize) -> Option<()> {
    for piece in talk.message(is_up, number).chunks(talk.piece) {
        send_all(stream, piece).await?;
    }
    Some(())
}

/// How a reader takes its time.
struct Pace<'a> {
    world: &'a World,
    rests_ms: u64,
    lags_ms: u64,
}

/// Takes the messages of one direction; their trailers at the end of it, nothing if it was cut.
async fn take(
    messages: &Messages,
    talk: &Talk,
    is_up: bool,
    body: &mut RecvStream,
    pace: Pace<'_>,
) -> Option<HeaderMap> {
    pace.world.sleep_ms(pace.rests_ms).await;
    while let Some(more) = body.data().await {
        let more = more.ok()?;
        if let Err(problem) = messages.on_bytes(talk, is_up, &more) {
            pace.world.blame(format!("{}: {problem}", talk.token));
        }
        pace.world.sleep_ms(pace.lags_ms).await;
        drop(body.flow_control().release_capacity(more.len()));
    }
    let trailers = body.trailers().await.ok()?;
    if !messages.is_even() {
        pace.world.blame(format!("{}: the end of a direction within a message", talk.token));
    }
    Some(trailers.unwrap_or_default())
}

/// A client with its connection.
pub(crate) struct Caller {
    pub(crate) talks: Rc<Talks>,
    pub(crate) link: Rc<Link>,
    pub(crate) tongue: Tongue,
}

impl Caller {
    pub(crate) async fn play(self: Rc<Self>, calls: Vec<Talk>) {
        let world = &self.talks.world;
        let (wanted, over) = (calls.len(), Rc::new(Cell::new(0)));
        let sender = world.within(PATIENCE_MS, self.begin()).await.flatten();
        for talk in calls {
            let (there, over) = (Rc::clone(&self), Rc::clone(&over));
            let sender = sender.clone();
            world.spawn(async move {
                let end = match sender {
                    Some(sender) => there.talks.world.within(PATIENCE_MS, there.call(&talk, sender)).await,
                    None => Some(End::Broken),
                };
                there.talks.all[&talk.token].1.client.set(end);
                over.set(over.get() + 1);
                there.talks.over.set(there.talks.over.get() + 1);
                there.talks.bell.ring();
            });
        }
        drop(sender);
        self.talks.bell.until(|| over.get() == wanted).await;
        // Its last words may be on their way.
        world.sleep_ms(50).await;
        self.link.end.close();
    }

    async fn begin(&self) -> Option<SendRequest<Bytes>> {
        self.link.handshake().await.ok()?;
        let mut builder = client::Builder::new();
        let window = self.tongue.window;
        builder.initial_window_size(window).initial_connection_window_size(16 * window).data_frame_budget(usize::MAX);
        let (sender, connection) = builder.handshake(LinkIo(Rc::clone(&self.link))).await.ok()?;
        self.talks.world.spawn(async move { drop(connection.await) });
        Some(sender)
    }

    async fn call(&self, talk: &Talk, sender: SendRequest<Bytes>) -> End {
        let Ok(mut sender) = sender.ready().await else { return End::Broken };
        let request = Request::post(format!("http://sim.test/t/{}", talk.token))
            .header("x-token", &talk.token)
            .header("te", "trailers")
            .header("content-type", "application/grpc");
        let request = request.body(()).expect("a request");
        let Ok((answer, stream)) = sender.send_request(request, false) else { return End::Broken };
        drop(sender);
        let course = &self.talks.all[&talk.token].1;
        let mut upload = std::pin::pin!(self.upload(talk, course, stream));
        let mut download = std::pin::pin!(self.download(talk, course, answer));
        let mut held = None;
        poll_fn(|poller| {
            if held.is_none()
                && let Poll::Ready(stream) = upload.as_mut().poll(poller)
            {
                // Dropped before the answer is whole, it would cancel the call.
                held = Some(stream);
            }
            download.as_mut().poll(poller)
        })
        .await
    }

    async fn upload(&self, talk: &Talk, course: &Course, mut stream: SendStream<Bytes>) -> Option<SendStream<Bytes>> {
        for number in 0..talk.up.len() {
            if talk.trouble == Trouble::Cancels(number) {
                course.cancelled_ms.set(Some(self.talks.world.now_ms()));
                stream.send_reset(Reason::CANCEL);
                return None;
            }
            if talk.kind == Kind::LockStep {
                course.at_client.bell.until(|| course.at_client.count.get() >= number).await;
            }
            if talk.kind == Kind::Subscription && number > 0 {
                course.at_client.bell.until(|| course.at_client.count.get() == talk.down.len()).await;
            }
            send(&mut stream, talk, true, number).await?;
            self.talks.world.sleep_ms(talk.pause_ms).await;
        }
        stream.send_data(Bytes::new(), true).ok()?;
        Some(stream)
    }

    async fn download(&self, talk: &Talk, course: &Course, answer: ResponseFuture) -> End {
        let Ok(response) = answer.await else { return End::Broken };
        let (parts, mut body) = response.into_parts();
        let blame = |what: &str| self.talks.world.blame(format!("{}: {what}: {parts:?}", talk.token));
        if parts.status != 200 || parts.headers.get("content-type").is_none_or(|value| value != "application/grpc") {
            blame("no answer to a call");
            return End::Broken;
        }
        if parts.headers.contains_key("grpc-status") {
            if !body.is_end_stream() {
                blame("content behind a failure");
            }
            return End::Local;
        }
        if parts.headers.get("x-token").is_none_or(|token| token != &*talk.token) {
            blame("the answer to another call");
        }
        let pace = Pace { world: &self.talks.world, rests_ms: talk.client_rests_ms, lags_ms: talk.client_lags_ms };
        let Some(trailers) = take(&course.at_client, talk, false, &mut body, pace).await else { return End::Broken };
        let field = |name: &str| trailers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match (field("grpc-status"), field("x-trail")) {
            ("0", trail) if trail == talk.token => End::Whole,
            // Cut by the gateway, which tells it so as well.
            (status, "") if !matches!(status, "" | "0") => End::Broken,
            _ => {
                self.talks.world.blame(format!("{}: ends with {trailers:?}", talk.token));
                End::Broken
            }
        }
    }
}

/// An endpoint's side of one connection.
pub(crate) struct Service {
    talks: Rc<Talks>,
    link: Rc<Link>,
    is_dead: Cell<bool>,
    bell: Bell,
}

impl Service {
    pub(crate) async fn serve(talks: Rc<Talks>, link: Link, window: u32) {
        let service = Rc::new(Self { talks, link: Rc::new(link), is_dead: Cell::new(false), bell: Bell::default() });
        let mut builder = server::Builder::new();
        builder.initial_window_size(window).data_frame_budget(usize::MAX);
        let handshake = builder.handshake(LinkIo(Rc::clone(&service.link)));
        let Some(Ok(mut connection)) = service.talks.world.within(PATIENCE_MS, handshake).await else { return };
        while let Some((request, respond)) = poll_fn(|poller| service.poll_next(&mut connection, poller)).await {
            let there = Rc::clone(&service);
            service.talks.world.spawn(async move { there.answer(request, respond).await });
        }
        if service.is_dead.get() {
            service.link.end.reset_on_close();
        }
        service.link.end.close();
    }

    fn poll_next(
        &self,
        connection: &mut Connection<LinkIo, Bytes>,
        poller: &mut Context<'_>,
    ) -> Poll<Option<(Request<RecvStream>, SendResponse<Bytes>)>> {
        self.bell.listen(poller);
        if self.is_dead.get() {
            return Poll::Ready(None);
        }
        connection.poll_accept(poller).map(|accepted| accepted.and_then(Result::ok))
    }

    async fn answer(self: &Rc<Self>, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let (parts, body) = request.into_parts();
        let field = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let token = field("x-token").to_owned();
        let world = &self.talks.world;
        let Some((talk, course)) = self.talks.all.get(&token) else {
            return world.blame(format!("an unknown call: {parts:?}"));
        };
        let told = [parts.method.as_str(), parts.uri.path(), field("te"), field("content-type")];
        if told != ["POST", &format!("/t/{token}"), "trailers", "application/grpc"] {
            world.blame(format!("{token}: not as it was sent: {parts:?}"));
        }
        course.arrivals.set(course.arrivals.get() + 1);
        let there = Rc::clone(self);
        world.spawn(async move { there.listen(&token, body).await });
        let head = Response::builder().header("x-token", &talk.token).header("content-type", "application/grpc");
        let Ok(stream) = respond.send_response(head.body(()).expect("a response"), false) else { return };
        let _whole = self.speak(talk, course, stream).await;
    }

    async fn listen(&self, token: &str, mut body: RecvStream) {
        let (talk, course) = &self.talks.all[token];
        let pace = Pace { world: &self.talks.world, rests_ms: 0, lags_ms: talk.endpoint_lags_ms };
        let end = match take(&course.at_endpoint, talk, true, &mut body, pace).await {
            Some(_) => End::Whole,
            None => End::Broken,
        };
        course.endpoint.set(Some(end));
        course.ended_ms.set(Some(self.talks.world.now_ms()));
        course.at_endpoint.bell.ring();
    }

    async fn speak(&self, talk: &Talk, course: &Course, mut stream: SendStream<Bytes>) -> Option<()> {
        let heard = &course.at_endpoint;
        for number in 0..talk.down.len() {
            let due = match talk.kind {
                Kind::Unary | Kind::Up => talk.up.len(),
                Kind::Down | Kind::Subscription => 1,
                Kind::LockStep => number + 1,
                Kind::Free => 0,
            };
            heard.bell.until(|| heard.count.get() >= due || course.endpoint.get().is_some()).await;
            if heard.count.get() < due {
                // Its client is gone.
                return None;
            }
            match talk.trouble {
                Trouble::Resets(after) if after == number => {
                    stream.send_reset(Reason::INTERNAL_ERROR);
                    return None;
                }
                Trouble::Dies(after) if after == number => {
                    self.is_dead.set(true);
                    self.bell.ring();
                    return None;
                }
                Trouble::None | Trouble::Cancels(_) | Trouble::Resets(_) | Trouble::Dies(_) => {}
            }
            send(&mut stream, talk, false, number).await?;
            course.sent_by_endpoint.set(number + 1);
            self.talks.world.sleep_ms(talk.pause_ms).await;
        }
        heard.bell.until(|| course.endpoint.get().is_some()).await;
        if course.endpoint.get() != Some(End::Whole) {
            return None;
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().expect("a value"));
        trailers.insert("x-trail", talk.token.parse().expect("a value"));
        stream.send_trailers(trailers).ok()
    }
}
