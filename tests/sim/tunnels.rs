//! Clients that ask for a WebSocket, by HTTP/1.1 or by RFC 8441, and the endpoints that say all of it again.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use bytes::Bytes;
use data_encoding::BASE64;
use futures_util::future::{Either, select};
use h2::client::Builder;
use h2::ext::Protocol;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{Method, Request, Response};

use crate::chance::{Chance, pattern};
use crate::introduction::Introduction;
use crate::link::{Link, LinkIo};
use crate::pipe::Profile;
use crate::plan::Tongue;
use crate::wire::Head;
use crate::world::{Bell, World};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// Longer than every time of the gateway together.
const PATIENCE_MS: u64 = 20_000;

#[derive(Clone, Debug)]
pub(crate) struct TunnelPlan {
    pub(crate) token: String,
    pub(crate) tongue: Tongue,
    pub(crate) introduction: Option<Introduction>,
    pub(crate) profile: Profile,
    pub(crate) start_ms: u64,
    /// What is sent, in pieces of this size, and so long between them.
    length: usize,
    piece: usize,
    pause_ms: u64,
    /// Does some of it go before the answer is there?
    is_hasty: bool,
}

impl TunnelPlan {
    pub(crate) fn draw(
        chance: &Chance,
        number: usize,
        tongue: Tongue,
        introduction: Option<Introduction>,
        profile: Profile,
        is_calm: bool,
    ) -> Self {
        let length = chance.pick(&[0, 1, 300, 5_000, 70_000]);
        Self {
            token: format!("u{number}r0"),
            tongue,
            introduction,
            profile,
            start_ms: chance.below_u64(1_500),
            length,
            piece: chance.pick(&[1, 500, 20_000]).max(length / 50 + 1),
            pause_ms: if is_calm { 1 } else { chance.pick(&[0, 0, 3, 40]) },
            is_hasty: chance.one_in(3),
        }
    }

    fn content(&self) -> Vec<u8> {
        pattern(&self.token, self.length)
    }
}

/// How a tunnel went for its client.
#[derive(Default)]
struct Course {
    is_open: Cell<bool>,
    opened: Bell,
    echoed: Cell<usize>,
    /// Did its endpoint's direction end in order?
    is_ended: Cell<bool>,
}

/// Plays `plan` on `link`. `must`: does nothing excuse a tunnel that does not come about, or is not whole?
pub(crate) async fn play(world: World, plan: TunnelPlan, link: Rc<Link>, must: bool) {
    let course = Course::default();
    let played = async {
        if plan.tongue.is_h2 {
            by_stream(&world, &plan, &link, &course).await
        } else {
            by_switch(&world, &plan, &link, &course).await
        }
    };
    let told = world.within(PATIENCE_MS, played).await;
    let blame = |what: &str| {
        world.blame(format!("{}: {what}: {} of {} bytes came back", plan.token, course.echoed.get(), plan.length))
    };
    match told {
        None => blame("a tunnel without end"),
        Some(Err(what)) => blame(&what),
        Some(Ok(())) if must && !link.has_left() => {
            if !(course.is_open.get() && course.is_ended.get() && course.echoed.get() == plan.length) {
                blame("a tunnel that nobody disturbed");
            }
        }
        Some(Ok(())) => {}
    }
    link.end.close();
}

impl Course {
    fn open(&self) {
        self.is_open.set(true);
        self.opened.ring();
    }

    /// Some of it came back: it must be what was sent, in order.
    fn on_bytes(&self, bytes: &[u8], content: &[u8]) -> Result<(), String> {
        let at = self.echoed.get();
        if content.get(at..at + bytes.len()) != Some(bytes) {
            return Err("other bytes than were sent".to_owned());
        }
        self.echoed.set(at + bytes.len());
        Ok(())
    }
}

/// RFC 9110 section 7.8. Both ways at once from the first byte on: what comes back of what goes early may fill all that is
/// between the two sides before the last of it has gone.
async fn by_switch(world: &World, plan: &TunnelPlan, link: &Link, course: &Course) -> Result<(), String> {
    let content = plan.content();
    let taking = pin!(take_switched(link, course, &content));
    match select(taking, pin!(send_switching(world, plan, link, course, &content))).await {
        Either::Left((taken, _)) => taken,
        Either::Right((_, taking)) => taking.await,
    }
}

/// Asks for the switch, and sends what is to go: some of it ahead of the answer if that is planned, the rest behind it.
async fn send_switching(
    world: &World,
    plan: &TunnelPlan,
    link: &Link,
    course: &Course,
    content: &[u8],
) -> io::Result<()> {
    let token = &plan.token;
    let early = if plan.is_hasty { plan.piece.min(content.len()) } else { 0 };
    let head = format!(
        "GET /t/{token}?q={token} HTTP/1.1\r\nHost: sim.test\r\nX-Token: {token}\r\nX-Request-Id: {token}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    );
    link.send(&[head.as_bytes(), &content[..early]].concat()).await?;
    course.opened.until(|| course.is_open.get()).await;
    for piece in content[early..].chunks(plan.piece) {
        link.send(piece).await?;
        world.sleep_ms(plan.pause_ms).await;
    }
    link.end_write().await;
    Ok(())
}

/// Takes the answer, and what comes back behind it.
async fn take_switched(link: &Link, course: &Course, content: &[u8]) -> Result<(), String> {
    let mut bytes = Vec::new();
    let answer = loop {
        if let Some(head) = Head::take(&mut bytes)? {
            break head;
        }
        match link.recv().await {
            Ok(more) if !more.is_empty() => bytes.extend(more),
            _ => return Ok(()),
        }
    };
    match answer.status()? {
        101 if answer.one("sec-websocket-accept") == Some(&accept_of(KEY)) => course.open(),
        400.. => return Ok(()),
        status => return Err(format!("{status} instead of a switch: {answer:?}")),
    }
    loop {
        course.on_bytes(&std::mem::take(&mut bytes), content)?;
        match link.recv().await {
            Ok(more) if more.is_empty() => {
                course.is_ended.set(true);
                return Ok(());
            }
            Ok(more) => bytes = more,
            Err(_) => return Ok(()),
        }
    }
}

/// RFC 8441.
async fn by_stream(world: &World, plan: &TunnelPlan, link: &Rc<Link>, course: &Course) -> Result<(), String> {
    let mut builder = Builder::new();
    builder.initial_window_size(plan.tongue.window).data_frame_budget(usize::MAX);
    let handshake = builder.handshake::<_, Bytes>(LinkIo(Rc::clone(link)));
    let Ok((sender, connection)) = handshake.await else { return Ok(()) };
    let closed = Rc::new(Cell::new(false));
    let flag = Rc::clone(&closed);
    world.spawn(async move {
        drop(connection.await);
        flag.set(true);
    });
    while !sender.is_extended_connect_protocol_enabled() {
        if closed.get() {
            return Ok(());
        }
        world.sleep_ms(5).await;
    }
    let (token, scheme) = (&plan.token, if plan.tongue.is_tls { "https" } else { "http" });
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("{scheme}://sim.test/t/{token}?q={token}"))
        .extension(Protocol::from_static("websocket"))
        .header("x-token", token)
        .header("x-request-id", token)
        .header("sec-websocket-version", "13")
        .body(())
        .expect("a request");
    let Ok(mut sender) = sender.ready().await else { return Ok(()) };
    let Ok((answer, stream)) = sender.send_request(request, false) else { return Ok(()) };
    drop(sender);
    let content = plan.content();
    let (there, rest, paces) = (world.clone(), content.clone(), (plan.piece, plan.pause_ms));
    let upload = async move {
        let mut stream = stream;
        for piece in rest.chunks(paces.0) {
            send_all(&mut stream, piece).await?;
            there.sleep_ms(paces.1).await;
        }
        stream.send_data(Bytes::new(), true).ok()?;
        Some(stream)
    };
    if plan.is_hasty {
        world.spawn(async move { drop(upload.await) });
        return take(answer.await, course, &content).await;
    }
    let answer = answer.await;
    world.spawn(async move { drop(upload.await) });
    take(answer, course, &content).await
}

/// Takes what comes back on a stream.
async fn take(answer: Result<Response<RecvStream>, h2::Error>, course: &Course, content: &[u8]) -> Result<(), String> {
    let Ok(answer) = answer else { return Ok(()) };
    match answer.status().as_u16() {
        200 => course.open(),
        400.. => return Ok(()),
        status => return Err(format!("{status} instead of a tunnel")),
    }
    let mut body = answer.into_body();
    while let Some(more) = body.data().await {
        let Ok(more) = more else { return Ok(()) };
        course.on_bytes(&more, content)?;
        drop(body.flow_control().release_capacity(more.len()));
    }
    course.is_ended.set(true);
    Ok(())
}

/// The answer to a challenge (RFC 6455 section 4.2.2).
pub(crate) fn accept_of(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()).as_ref())
}

/// An endpoint's side by HTTP/1.1: agrees, and says everything again, `bytes` first.
pub(crate) async fn echo(link: &Link, head: &Head, early: Vec<u8>) {
    let Some(key) = head.one("sec-websocket-key") else {
        let _sent = link.send(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
        return;
    };
    let switch = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        accept_of(key)
    );
    let mut bytes = [switch.into_bytes(), early].concat();
    while link.send(&bytes).await.is_ok() {
        match link.recv().await {
            Ok(more) if !more.is_empty() => bytes = more,
            Ok(_) => return link.end_write().await,
            Err(_) => return,
        }
    }
}

/// The same by HTTP/2.
pub(crate) async fn echo_stream(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Option<()> {
    let mut stream = respond.send_response(Response::new(()), false).ok()?;
    let mut body = request.into_body();
    while let Some(more) = body.data().await {
        let more = more.ok()?;
        send_all(&mut stream, &more).await?;
        drop(body.flow_control().release_capacity(more.len()));
    }
    stream.send_data(Bytes::new(), true).ok()
}

/// Sends content as the window allows; nothing once nobody wants it.
pub(crate) async fn send_all(stream: &mut SendStream<Bytes>, content: &[u8]) -> Option<()> {
    let mut rest = Bytes::copy_from_slice(content);
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len());
        let room = poll_fn(|poller| stream.poll_capacity(poller)).await?.ok()?;
        stream.send_data(rest.split_to(room.min(rest.len())), false).ok()?;
    }
    Some(())
}

/// Is this address one that clients come from?
pub(crate) fn is_of_client(text: &str) -> bool {
    text.starts_with("192.0.2.")
}
