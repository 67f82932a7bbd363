//! An origin server that checks what it is sent and does what the plan says.

use std::cell::Cell;
use std::rc::Rc;

use crate::chance::{checksum, pattern};
use crate::env::{Dialled, SimEnv};
use crate::ledger::Ledger;
use crate::pipe::{End, connection};
use crate::plan::{Behaviour, BodyPlan, EndpointPlan, RUBBISH, RequestPlan, Shape, Trouble};
use crate::wire::{Body, Framing, Head, chunked};
use crate::world::World;

/// Longer than every timeout of the gateway: an endpoint that waits so long waits for nothing.
const PATIENCE_MS: u64 = 8_000;

/// Starts an endpoint at `10.0.0.(number + 1):80`.
pub(crate) fn start(world: &World, env: &SimEnv, ledger: &Rc<Ledger>, plan: &EndpointPlan, number: usize) {
    let (world, ledger, plan) = (world.clone(), Rc::clone(ledger), plan.clone());
    let address = format!("10.0.0.{}:80", number + 1).parse().expect("an address");
    let opened = Cell::new(0);
    env.listen(address, move || {
        let chance = world.chance();
        if plan.refuses_in > 0 && chance.one_in(plan.refuses_in) {
            return Dialled::Refused;
        }
        if plan.silent_in > 0 && chance.one_in(plan.silent_in) {
            return Dialled::Silence;
        }
        opened.set(opened.get() + 1);
        let (ours, theirs) = connection(&world, format!("up{number}.{}", opened.get()), plan.profile);
        let server = Server {
            world: world.clone(),
            ledger: Rc::clone(&ledger),
            idle_ms: plan.idle_ms,
            end: theirs,
            poisoned: Cell::new(false),
        };
        world.spawn(async move { server.serve().await });
        Dialled::Open(ours)
    });
}

pub(crate) struct Server {
    pub(crate) world: World,
    pub(crate) ledger: Rc<Ledger>,
    pub(crate) idle_ms: u64,
    pub(crate) end: End,
    /// Has it sent a response that nobody asked for?
    pub(crate) poisoned: Cell<bool>,
}

/// May the connection carry another request?
type Goes = bool;

impl Server {
    pub(crate) async fn serve(self) {
        let mut bytes = Vec::new();
        loop {
            let Some(head) = self.read_head(&mut bytes).await else { return };
            if self.poisoned.get() {
                // What it would answer now would be taken for the answer to a later request.
                return;
            }
            let Some((plan, attempt)) = self.recognise(&head) else { return };
            let behaviour = plan.behaviours[attempt.min(plan.behaviours.len() - 1)].clone();
            self.world.tell(|| format!("{}: {} attempt {attempt}: {behaviour:?}", self.end.name(), plan.token));
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
                    self.world.blame(format!("{}: {problem}", self.end.name()));
                    return None;
                }
            }
            let patience_ms = if bytes.is_empty() { self.idle_ms.max(1) } else { PATIENCE_MS };
            let more = self.world.within(patience_ms, self.end.recv()).await?.ok()?;
            if more.is_empty() {
                return None;
            }
            bytes.extend(more);
        }
    }

    /// Whose request is it, and is the head as it must be?
    fn recognise(&self, head: &Head) -> Option<(RequestPlan, usize)> {
        let [method, target, _] = &head.first;
        let token = head.one("x-token").unwrap_or_default().to_owned();
        let Some(plan) = self.ledger.plan(&token) else {
            self.world.blame(format!("{}: an unknown request: {head:?}", self.end.name()));
            return None;
        };
        let expected = format!("/t/{token}?q={token}");
        if matches!(plan.flaw, Some(crate::plan::Flaw::Head(_))) {
            self.world.blame(format!("{token}: a malformed request reached an endpoint"));
        }
        if *method != plan.method || *target != expected || head.one("x-request-id") != Some(token.as_str()) {
            self.world.blame(format!("{token}: not as it was sent: {head:?}"));
        }
        match (head.request_framing(), &plan.body) {
            (Ok(Framing::Length(_)), BodyPlan::None) => {}
            (Ok(Framing::Length(length)), BodyPlan::Length(sent)) if length == *sent => {}
            (Ok(Framing::Chunked), BodyPlan::Chunked { .. }) => {}
            (framing, _) => self.world.blame(format!("{token}: {framing:?} is not {:?}: {head:?}", plan.body)),
        }
        Some((plan, self.ledger.on_head(&token)))
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
            let _sent = self.end.send(&answer).await;
            // Gives the answer a head start before the close, which is a reset while the upload comes in.
            self.world.sleep_ms(behaviour.delay_ms).await;
            return false;
        }
        if plan.expects
            && head.one("expect").is_some()
            && self.end.send(b"HTTP/1.1 100 Continue\r\n\r\n").await.is_err()
        {
            return false;
        }
        let Some(body) = self.read_body(head, plan, bytes).await else { return false };
        self.ledger.on_whole(&plan.token, attempt);
        if !bytes.is_empty() {
            self.world.blame(format!("{}: {} bytes behind the request", plan.token, bytes.len()));
        }
        self.world.sleep_ms(behaviour.delay_ms).await;
        let goes = self.respond(plan, behaviour, &body).await;
        goes && !behaviour.closes && behaviour.shape != Shape::UntilClose
    }

    async fn read_body(&self, head: &Head, plan: &RequestPlan, bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
        let mut body = Body::new(head.request_framing().ok()?);
        loop {
            if let Err(problem) = body.take(bytes) {
                self.world.blame(format!("{}: {problem}", plan.token));
                return None;
            }
            if body.is_done {
                break;
            }
            let more = self.world.within(PATIENCE_MS, self.end.recv()).await?.ok()?;
            if more.is_empty() {
                return None;
            }
            bytes.extend(more);
        }
        if body.content != plan.body() {
            self.world.blame(format!("{}: a body of {} bytes is not what was sent", plan.token, body.content.len()));
        }
        if plan.flaw.is_some() {
            self.world.blame(format!("{}: a malformed body arrived whole", plan.token));
        }
        let wants = matches!(plan.body, BodyPlan::Chunked { trailers: true, .. });
        let sum = body.trailers.iter().find(|(name, _)| name == "x-sum").map(|(_, value)| value.as_str());
        if wants != (sum == Some(plan.token.as_str())) {
            self.world.blame(format!("{}: wrong trailers {:?}", plan.token, body.trailers));
        }
        Some(body.content)
    }

    async fn respond(&self, plan: &RequestPlan, behaviour: &Behaviour, body: &[u8]) -> Goes {
        let interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n";
        let interims = if behaviour.trouble == Trouble::Flood { 100 } else { behaviour.interims };
        for _ in 0..interims {
            if self.end.send(interim).await.is_err() {
                return false;
            }
            self.world.sleep_ms(behaviour.pace_ms).await;
        }
        let mut answer = self.answer(plan, behaviour, Some(body));
        match behaviour.trouble {
            Trouble::Stall => {
                let _woken = self.world.within(PATIENCE_MS, self.end.recv()).await;
                return false;
            }
            Trouble::Gone { reset } => {
                if reset {
                    self.end.reset_on_close();
                }
                return false;
            }
            Trouble::Rubbish(kind) => {
                let _sent = self.end.send(RUBBISH[kind]).await;
                self.world.sleep_ms(behaviour.delay_ms).await;
                return false;
            }
            Trouble::Cut { at, reset, stall } => return self.cut(&answer, at, behaviour, reset, stall).await,
            Trouble::Extra => {
                self.poisoned.set(true);
                self.end.conn.on_answered();
                answer.extend_from_slice(b"HTTP/1.1 200 OK\r\nX-Echo-Token: poison\r\nContent-Length: 6\r\n\r\npoison");
            }
            Trouble::None | Trouble::Early | Trouble::GoneAtOnce | Trouble::Flood => {}
        }
        let pieces = if behaviour.pace_ms == 0 { 1 } else { 6 };
        for piece in answer.chunks(answer.len().div_ceil(pieces)) {
            if self.end.send(piece).await.is_err() {
                return false;
            }
            self.world.sleep_ms(behaviour.pace_ms).await;
        }
        true
    }

    /// Sends the front of an answer and no more. An answer that ends with its connection can only be cut by a reset.
    async fn cut(&self, answer: &[u8], at: usize, behaviour: &Behaviour, reset: bool, stall: bool) -> Goes {
        let at = at.min(answer.len() - 1);
        if self.end.send(&answer[..at]).await.is_err() {
            return false;
        }
        if stall {
            let _woken = self.world.within(PATIENCE_MS, self.end.recv()).await;
        }
        self.world.sleep_ms(behaviour.delay_ms).await;
        if reset || behaviour.shape == Shape::UntilClose {
            self.end.reset_on_close();
        }
        false
    }

    /// The whole answer; `body` is the request's, if it was read.
    fn answer(&self, plan: &RequestPlan, behaviour: &Behaviour, body: Option<&[u8]>) -> Vec<u8> {
        let token = &plan.token;
        let content = pattern(&format!("{token} answer"), behaviour.length);
        let is_bare = plan.method == "HEAD" || matches!(behaviour.status, 204 | 304);
        let mut head = format!("HTTP/1.1 {} Sure\r\nX-Echo-Token: {token}\r\n", behaviour.status);
        head += &format!("X-Echo-Line: {} {}\r\nX-Body-Length: {}\r\n", plan.method, plan.path(), behaviour.length);
        if let Some(body) = body {
            head += &format!("X-Echo-Body: {} {:016x}\r\n", body.len(), checksum(body));
        }
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
            _ if is_bare => {}
            Shape::Length | Shape::UntilClose => answer.extend(content),
            Shape::Chunked => {
                let sizes = [behaviour.length / 3 + 1, 1, 5_000];
                answer.extend(chunked(&content, &sizes, &format!("X-Trail: {token}\r\n")));
            }
        }
        answer
    }
}
