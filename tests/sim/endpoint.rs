//! An origin server that checks what it is sent and does what the plan says.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use crate::chance::{checksum, pattern};
use crate::env::{Dialled, Network};
use crate::introduction;
use crate::ledger::Ledger;
use crate::link::Link;
use crate::pipe::{Conn, End, connection};
use crate::plan::{Behaviour, BodyPlan, EndpointPlan, RUBBISH, RequestPlan, Shape, Trouble, WireTrouble};
use crate::seals;
use crate::shared::Sharing;
use crate::storm::Weather;
use crate::tunnels::{self, is_of_client};
use crate::wire::{Body, Framing, Head, chunked};
use crate::world::{Bell, World};

/// Longer than every timeout of the gateway: an endpoint that waits so long waits for nothing.
pub(crate) const PATIENCE_MS: u64 = 8_000;

/// A host that runs an origin server, in good weather or bad.
pub(crate) struct Host {
    pub(crate) world: World,
    pub(crate) ledger: Rc<Ledger>,
    pub(crate) plan: EndpointPlan,
    pub(crate) address: SocketAddr,
    weather: Cell<Weather>,
    changed: Bell,
    lines: RefCell<Vec<Weak<Conn>>>,
    opened: Cell<usize>,
}

impl Host {
    /// Starts one at `address`.
    pub(crate) fn start(
        world: &World,
        network: &Network,
        ledger: &Rc<Ledger>,
        plan: &EndpointPlan,
        address: SocketAddr,
    ) -> Rc<Self> {
        let host = Rc::new(Self {
            world: world.clone(),
            ledger: Rc::clone(ledger),
            plan: plan.clone(),
            address,
            weather: Cell::new(Weather::Fair),
            changed: Bell::default(),
            lines: RefCell::default(),
            opened: Cell::new(0),
        });
        let listening = Rc::clone(&host);
        network.listen(address, move || listening.answer());
        host
    }

    fn answer(self: &Rc<Self>) -> Dialled {
        let (chance, plan) = (self.world.chance(), &self.plan);
        match self.weather.get() {
            Weather::Down => return Dialled::Refused,
            Weather::Dark => return Dialled::Silence,
            Weather::Fair | Weather::Frozen | Weather::Sick { .. } | Weather::Slow { .. } | Weather::Curt => {}
        }
        if plan.refuses_in > 0 && chance.one_in(plan.refuses_in) {
            return Dialled::Refused;
        }
        if plan.silent_in > 0 && chance.one_in(plan.silent_in) {
            return Dialled::Silence;
        }
        self.opened.set(self.opened.get() + 1);
        let name = format!("up{}.{}", self.address.ip(), self.opened.get());
        let (ours, theirs) = connection(&self.world, name, plan.profile);
        self.lines.borrow_mut().retain(|line| line.strong_count() > 0);
        self.lines.borrow_mut().push(Rc::downgrade(&theirs.conn));
        let host = Rc::clone(self);
        if plan.is_shared {
            let link = self.link(theirs);
            self.world.spawn(Sharing::serve(host, link));
            return Dialled::Open(ours);
        }
        self.world.spawn(async move {
            let client = match host.plan.announced {
                None => None,
                Some(version) => match introduction::hear(&theirs, version).await {
                    Ok(None) => return,
                    Ok(Some(client)) => Some(client.to_string()),
                    Err(problem) => return host.world.blame(format!("{}: {problem}", theirs.name())),
                },
            };
            let link = host.link(theirs);
            let (poisoned, served) = (Cell::new(false), Cell::new(false));
            Server { host, link, client, poisoned, served }.serve().await;
        });
        Dialled::Open(ours)
    }

    fn link(&self, end: End) -> Link {
        if self.plan.is_sealed {
            seals::served(end, self.plan.is_shared)
        } else {
            Link::plain(end, WireTrouble::default())
        }
    }

    /// The weather changes.
    pub(crate) fn set_weather(&self, weather: Weather) {
        self.world.tell(|| format!("{}: {weather:?}", self.address));
        self.weather.set(weather);
        if weather == Weather::Down {
            // The kernel closes what the process had open.
            let lines = self.lines.take();
            lines.iter().filter_map(Weak::upgrade).for_each(|conn| conn.kill(1, self.plan.dies_hard));
        }
        self.changed.ring();
    }

    /// A stopped process goes on once it is let.
    pub(crate) async fn until_awake(&self) {
        poll_fn(|poller| if self.is_awake(poller) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Does it go on? If not, whoever asks is woken.
    pub(crate) fn is_awake(&self, poller: &Context<'_>) -> bool {
        let is_awake = !matches!(self.weather.get(), Weather::Frozen | Weather::Dark);
        if !is_awake {
            self.changed.listen(poller);
        }
        is_awake
    }

    pub(crate) fn weather(&self) -> Weather {
        self.weather.get()
    }

    /// What the weather makes of a behaviour.
    pub(crate) fn weathered(&self, planned: &Behaviour) -> Behaviour {
        let mut behaviour = planned.clone();
        match self.weather.get() {
            Weather::Sick { status } => {
                behaviour.status = status;
                (behaviour.shape, behaviour.trouble) = (Shape::Length, Trouble::None);
                (behaviour.delay_ms, behaviour.pace_ms, behaviour.interims) = (0, 0, 0);
            }
            Weather::Slow { ms } => behaviour.delay_ms += ms,
            Weather::Fair | Weather::Frozen | Weather::Dark | Weather::Down | Weather::Curt => {}
        }
        behaviour
    }
}

/// One connection of a host.
struct Server {
    host: Rc<Host>,
    link: Link,
    /// Whom its first words said that it is for.
    client: Option<String>,
    /// Has it sent a response that nobody asked for?
    poisoned: Cell<bool>,
    /// Has it had a request?
    served: Cell<bool>,
}

/// May the connection carry another request?
type Goes = bool;

impl Server {
    async fn serve(self) {
        let mut bytes = Vec::new();
        loop {
            let Some(head) = self.read_head(&mut bytes).await else { return };
            self.host.until_awake().await;
            let is_again = self.served.replace(true);
            if is_again && self.client.is_some() {
                self.host.world.blame(format!("{}: used again, and for one client", self.link.end.name()));
            }
            if is_again && self.host.weather.get() == Weather::Curt {
                return;
            }
            if self.poisoned.get() {
                // What it would answer now would be taken for the answer to a later request.
                return;
            }
            if self.host.ledger.tunnels.borrow().contains(head.one("x-token").unwrap_or_default()) {
                return self.tunnel(&head, bytes).await;
            }
            let Some((plan, attempt)) = self.recognise(&head) else { return };
            let behaviour = self.host.weathered(&plan.behaviours[attempt.min(plan.behaviours.len() - 1)]);
            self.host
                .world
                .tell(|| format!("{}: {} attempt {attempt}: {behaviour:?}", self.link.end.name(), plan.token));
            if !self.serve_one(&head, &plan, attempt, &behaviour, &mut bytes).await {
                return;
            }
        }
    }

    async fn read_head(&self, bytes: &mut Vec<u8>) -> Option<Head> {
        loop {
            match Head::take(bytes) {
                Ok(Some(head)) => return Some(head),
                Ok(None) => {}
                Err(problem) => {
                    self.host.world.blame(format!("{}: {problem}", self.link.end.name()));
                    return None;
                }
            }
            let patience_ms = if bytes.is_empty() { self.host.plan.idle_ms.max(1) } else { PATIENCE_MS };
            let more = self.host.world.within(patience_ms, self.link.recv()).await?.ok()?;
            if more.is_empty() {
                return None;
            }
            bytes.extend(more);
        }
    }

    async fn tunnel(&self, head: &Head, bytes: Vec<u8>) {
        if self.link.end.conn.is_copy.get() {
            self.host.world.blame(format!("a tunnel is copied: {head:?}"));
        }
        self.host.ledger.on_head(head.one("x-token").unwrap_or_default(), self.link.end.conn.is_copy.get());
        let clients = [head.one("x-forwarded-for"), self.client.as_deref()];
        if clients.into_iter().flatten().any(|client| !is_of_client(client) && !introduction::is_source(client)) {
            self.host.world.blame(format!("{}: a tunnel of {clients:?}", self.link.end.name()));
        }
        tunnels::echo(&self.link, head, bytes).await;
    }

    /// Whose request is it, and is the head as it must be?
    fn recognise(&self, head: &Head) -> Option<(RequestPlan, usize)> {
        let [method, target, _] = &head.first;
        let token = head.one("x-token").unwrap_or_default().to_owned();
        let Some(plan) = self.host.ledger.plan(&token) else {
            self.host.world.blame(format!("{}: an unknown request: {head:?}", self.link.end.name()));
            return None;
        };
        let expected = format!("/t/{token}?q={token}");
        if matches!(plan.flaw, Some(crate::plan::Flaw::Head(_))) {
            self.host.world.blame(format!("{token}: a malformed request reached an endpoint"));
        }
        if *method != plan.method || *target != expected || head.one("x-request-id") != Some(token.as_str()) {
            self.host.world.blame(format!("{token}: not as it was sent: {head:?}"));
        }
        let told = [head.one("x-forwarded-for").or(Some("")), self.client.as_deref()];
        let sources = told.into_iter().flatten().filter_map(|told| plan.source_problem(told));
        let fields = ["content-type", "grpc-timeout"].map(|name| head.one(name).unwrap_or_default());
        let call = plan.call.as_ref().and_then(|call| call.problem(fields[0], fields[1]));
        for problem in sources.chain(call) {
            self.host.world.blame(format!("{token}: {problem}: {head:?}"));
        }
        match (head.request_framing(), &plan.body) {
            (Ok(Framing::Length(_)), BodyPlan::None) => {}
            (Ok(Framing::Length(length)), BodyPlan::Length(sent)) if length == *sent => {}
            (Ok(Framing::Chunked), BodyPlan::Chunked { .. }) => {}
            (framing, _) => self.host.world.blame(format!("{token}: {framing:?} is not {:?}: {head:?}", plan.body)),
        }
        let attempt = self.host.ledger.on_head(&token, self.link.end.conn.is_copy.get());
        Some((plan, attempt))
    }

    async fn serve_one(
        &self,
        head: &Head,
        plan: &RequestPlan,
        attempt: usize,
        behaviour: &Behaviour,
        bytes: &mut Vec<u8>,
    ) -> Goes {
        if behaviour.trouble == Trouble::GoneAtOnce {
            return false;
        }
        if behaviour.trouble == Trouble::Early {
            let answer = self.answer(plan, behaviour, None);
            let _sent = self.link.send(&answer).await;
            // Gives the answer a head start before the close, which is a reset while the upload comes in.
            self.host.world.sleep_ms(behaviour.delay_ms).await;
            return false;
        }
        if plan.expects
            && head.one("expect").is_some()
            && self.link.send(b"HTTP/1.1 100 Continue\r\n\r\n").await.is_err()
        {
            return false;
        }
        let Some(body) = self.read_body(head, plan, bytes).await else { return false };
        self.host.ledger.on_whole(&plan.token, attempt);
        if !bytes.is_empty() {
            self.host.world.blame(format!("{}: {} bytes behind the request", plan.token, bytes.len()));
        }
        self.host.world.sleep_ms(behaviour.delay_ms).await;
        self.host.until_awake().await;
        let goes = self.respond(plan, behaviour, &body).await;
        goes && !behaviour.closes && behaviour.shape != Shape::UntilClose
    }

    async fn read_body(&self, head: &Head, plan: &RequestPlan, bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
        let mut body = Body::new(head.request_framing().ok()?);
        loop {
            if let Err(problem) = body.take(bytes) {
                self.host.world.blame(format!("{}: {problem}", plan.token));
                return None;
            }
            if body.is_done {
                break;
            }
            let more = self.host.world.within(PATIENCE_MS, self.link.recv()).await?.ok()?;
            self.host.until_awake().await;
            if more.is_empty() {
                return None;
            }
            bytes.extend(more);
        }
        if body.content != plan.body() {
            self.host.world.blame(format!(
                "{}: a body of {} bytes is not what was sent",
                plan.token,
                body.content.len()
            ));
        }
        if plan.flaw.is_some() {
            self.host.world.blame(format!("{}: a malformed body arrived whole", plan.token));
        }
        let wants = matches!(plan.body, BodyPlan::Chunked { trailers: true, .. });
        let sum = body.trailers.iter().find(|(name, _)| name == "x-sum").map(|(_, value)| value.as_str());
        if wants != (sum == Some(plan.token.as_str())) {
            self.host.world.blame(format!("{}: wrong trailers {:?}", plan.token, body.trailers));
        }
        Some(body.content)
    }

    async fn respond(&self, plan: &RequestPlan, behaviour: &Behaviour, body: &[u8]) -> Goes {
        let interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n";
        let interims = if behaviour.trouble == Trouble::Flood { 100 } else { behaviour.interims };
        for _ in 0..interims {
            if self.link.send(interim).await.is_err() {
                return false;
            }
            self.host.world.sleep_ms(behaviour.pace_ms).await;
        }
        let mut answer = self.answer(plan, behaviour, Some(body));
        match behaviour.trouble {
            Trouble::Stall => {
                let _woken = self.host.world.within(PATIENCE_MS, self.link.recv()).await;
                return false;
            }
            Trouble::Gone { reset } => {
                if reset {
                    self.link.end.reset_on_close();
                }
                return false;
            }
            Trouble::Rubbish(kind) => {
                let _sent = self.link.send(RUBBISH[kind]).await;
                self.host.world.sleep_ms(behaviour.delay_ms).await;
                return false;
            }
            Trouble::Cut { at, reset, stall } => return self.cut(&answer, at, behaviour, reset, stall).await,
            Trouble::Extra => {
                self.poisoned.set(true);
                self.link.end.conn.on_answered();
                answer.extend_from_slice(b"HTTP/1.1 200 OK\r\nX-Echo-Token: poison\r\nContent-Length: 6\r\n\r\npoison");
            }
            Trouble::None | Trouble::Early | Trouble::GoneAtOnce | Trouble::Flood => {}
        }
        let pieces = if behaviour.pace_ms == 0 { 1 } else { 6 };
        let mut left = answer.len();
        for piece in answer.chunks(answer.len().div_ceil(pieces)) {
            if self.link.send(piece).await.is_err() {
                return false;
            }
            left -= piece.len();
            // Now: behind the pause the next request may be here. What ends with its connection is not whole before that has.
            let is_whole = left == 0 && (is_bare(plan, behaviour) || behaviour.shape != Shape::UntilClose);
            self.link.end.conn.is_answered.set(is_whole);
            self.host.world.sleep_ms(behaviour.pace_ms).await;
            self.host.until_awake().await;
        }
        if behaviour.shape == Shape::UntilClose && self.host.plan.is_sealed {
            self.link.end_write().await;
        }
        true
    }

    /// Sends the front of an answer and no more. An answer that ends with its connection can only be cut by a reset.
    async fn cut(&self, answer: &[u8], at: usize, behaviour: &Behaviour, reset: bool, stall: bool) -> Goes {
        let at = at.min(answer.len() - 1);
        if self.link.send(&answer[..at]).await.is_err() {
            return false;
        }
        if stall {
            let _woken = self.host.world.within(PATIENCE_MS, self.link.recv()).await;
        }
        self.host.world.sleep_ms(behaviour.delay_ms).await;
        // With TLS an end that nobody announced is no end either.
        if reset || behaviour.shape == Shape::UntilClose && !self.host.plan.is_sealed {
            self.link.end.reset_on_close();
        }
        false
    }

    /// The whole answer; `body` is the request's, if it was read.
    fn answer(&self, plan: &RequestPlan, behaviour: &Behaviour, body: Option<&[u8]>) -> Vec<u8> {
        let token = &plan.token;
        let content = pattern(&format!("{token} answer"), behaviour.length);
        let mut head = format!("HTTP/1.1 {} Sure\r\nX-Echo-Token: {token}\r\n", behaviour.status);
        head += &format!("X-Echo-Line: {} {}\r\nX-Body-Length: {}\r\n", plan.method, plan.path(), behaviour.length);
        if let Some(body) = body {
            head += &format!("X-Echo-Body: {} {:016x}\r\n", body.len(), checksum(body));
        }
        let (call, status) = plan.call.as_ref().map_or(("", String::new()), |call| {
            ("Content-Type: application/grpc\r\n", format!("Grpc-Status: {}\r\n", call.status))
        });
        head += call;
        head += match (behaviour.closes || behaviour.shape == Shape::UntilClose, behaviour.trouble) {
            (true, _) | (_, Trouble::Early) => "Connection: close\r\n",
            _ => "Connection: X-Secret\r\nX-Secret: hop\r\n",
        };
        match behaviour.shape {
            _ if behaviour.status == 204 => {}
            Shape::Length => head += &format!("Content-Length: {}\r\n", behaviour.length),
            Shape::Chunked if behaviour.status == 304 => {}
            Shape::Chunked => head += "Transfer-Encoding: chunked\r\n",
            Shape::UntilClose => {}
        }
        let mut answer = (head + "\r\n").into_bytes();
        match behaviour.shape {
            _ if is_bare(plan, behaviour) => {}
            Shape::Length | Shape::UntilClose => answer.extend(content),
            Shape::Chunked => {
                let sizes = [behaviour.length / 3 + 1, 1, 5_000];
                answer.extend(chunked(&content, &sizes, &format!("X-Trail: {token}\r\n{status}")));
            }
        }
        answer
    }
}

/// Is it an answer without content, whatever its head says (RFC 9112 section 6.3)?
fn is_bare(plan: &RequestPlan, behaviour: &Behaviour) -> bool {
    plan.method == "HEAD" || matches!(behaviour.status, 204 | 304)
}
