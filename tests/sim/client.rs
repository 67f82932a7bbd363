//! A client: writes its requests as planned, reads what comes, and remembers it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::ledger::{Dialogue, Ended, Ledger, Reply};
use crate::link::Link;
use crate::plan::{ClientPlan, Ending, RequestPlan};
use crate::wire::{Body, Framing, Head};
use crate::world::{Bell, World};

/// Longer than every timeout of the gateway together.
pub(crate) const PATIENCE_MS: u64 = 20_000;
/// How long a client that expects a 100 waits for it.
const EXPECT_MS: u64 = 60;

/// What the writing and the reading half share.
struct Shared {
    world: World,
    plan: ClientPlan,
    link: Rc<Link>,
    written: Cell<usize>,
    replies: RefCell<Vec<Reply>>,
    /// Interim responses to the request whose answer is awaited.
    continues: Cell<usize>,
    ended: Cell<Option<Ended>>,
    bell: Bell,
}

/// Plays `plan` on `link` and leaves the dialogue in the ledger.
pub(crate) async fn play(world: World, ledger: Rc<Ledger>, plan: ClientPlan, link: Rc<Link>) {
    let shared = Rc::new(Shared {
        world: world.clone(),
        plan,
        link,
        written: Cell::new(0),
        replies: RefCell::default(),
        continues: Cell::new(0),
        ended: Cell::new(None),
        bell: Bell::default(),
    });
    let writer = Rc::clone(&shared);
    world.spawn(async move { writer.write_all().await });
    let reader = Rc::clone(&shared);
    world.spawn(async move { reader.read_all().await });
    world.within(PATIENCE_MS, shared.bell.until(|| shared.ended.get().is_some())).await;
    let ended = shared.ended.get().unwrap_or(Ended::Never);
    shared.ended.set(Some(ended));
    shared.bell.ring();
    if ended == Ended::Left && shared.plan.aborts.is_some_and(|(_, reset)| reset) {
        shared.link.end.reset_on_close();
    }
    // The halves may still wait for something; what they hold is closed for them.
    shared.link.end.close();
    ledger.dialogues.borrow_mut().push(Dialogue {
        plan: shared.plan.clone(),
        replies: shared.replies.take(),
        ended,
        ended_ms: world.now_ms(),
    });
}

/// The connection of `plan` was never secured: nothing was asked.
pub(crate) fn fail(world: &World, ledger: &Ledger, plan: &ClientPlan, link: &Link) {
    let ended = if link.has_left() { Ended::Left } else { Ended::Reset };
    let alone = |request: &RequestPlan| ClientPlan { requests: vec![request.clone()], ..plan.clone() };
    let plans = if plan.tongue.is_h2 { plan.requests.iter().map(alone).collect() } else { vec![plan.clone()] };
    for plan in plans {
        let (replies, ended_ms) = (Vec::new(), world.now_ms());
        ledger.dialogues.borrow_mut().push(Dialogue { plan, replies, ended, ended_ms });
    }
}

impl Shared {
    fn is_over(&self) -> bool {
        self.ended.get().is_some()
    }

    fn finish(&self, ended: Ended) {
        if !self.is_over() {
            self.world.tell(|| format!("{}: ended {ended:?}", self.link.end.name()));
            self.ended.set(Some(ended));
        }
        self.bell.ring();
    }

    async fn write_all(&self) {
        for (number, request) in self.plan.requests.iter().enumerate() {
            if number > 0 && !self.plan.pipelines {
                self.bell.until(|| self.is_over() || self.replies.borrow().len() >= number).await;
                self.world.sleep_ms(self.plan.gap_ms).await;
            }
            if self.is_over() || !self.write_one(number, request).await {
                return;
            }
        }
        match self.plan.ending {
            Ending::HalfClose => self.link.end_write().await,
            Ending::Close | Ending::Wait => {}
        }
    }

    /// False when the connection takes no more.
    async fn write_one(&self, number: usize, request: &RequestPlan) -> bool {
        let waits = request.expects && !request.is_old && !self.plan.pipelines;
        if !waits {
            return self.write(&[request.head(), request.framed_body()].concat()).await;
        }
        if !self.write(&request.head()).await {
            return false;
        }
        {
            let answered = || self.is_over() || self.continues.get() > 0 || self.replies.borrow().len() > number;
            self.world.within(EXPECT_MS, self.bell.until(answered)).await;
            if self.replies.borrow().len() > number {
                // RFC 9110 section 10.1.1: a final answer instead of the 100; the body is not sent, so this ends here.
                self.link.end_write().await;
                return false;
            }
        }
        self.write(&request.framed_body()).await
    }

    async fn write(&self, bytes: &[u8]) -> bool {
        let (piece, pause_ms) = self.plan.drip.unwrap_or((usize::MAX, 0));
        let mut rest = bytes;
        while !rest.is_empty() {
            let left = self.plan.aborts.map_or(usize::MAX, |(at, _)| at.saturating_sub(self.written.get()));
            let (now, later) = rest.split_at(piece.min(rest.len()).min(left));
            if self.is_over() || self.link.send(now).await.is_err() {
                return false;
            }
            self.written.set(self.written.get() + now.len());
            if self.plan.aborts.is_some_and(|(at, _)| self.written.get() >= at) {
                self.finish(Ended::Left);
                return false;
            }
            if pause_ms > 0 {
                self.world.sleep_ms(pause_ms).await;
            }
            rest = later;
        }
        true
    }

    async fn read_all(&self) {
        if !self.plan.reads {
            // Holds on until the gateway has given up, and then looks.
            self.world.sleep_ms(PATIENCE_MS / 2).await;
        }
        let mut bytes = Vec::new();
        let mut closing = false;
        loop {
            let number = self.replies.borrow().len();
            let is_last = number == self.plan.requests.len();
            if is_last && self.plan.ending == Ending::Close && !closing && bytes.is_empty() {
                return self.finish(Ended::Left);
            }
            let ended = match self.read_reply(&mut bytes, number).await {
                Ok(reply) => {
                    if closing || is_last {
                        self.blame(&format!("a response too many, number {number}: {:?}", reply.head.first));
                    }
                    closing |= reply.head.says_close();
                    let is_whole = reply.is_whole;
                    self.replies.borrow_mut().push(reply);
                    self.continues.set(0);
                    self.bell.ring();
                    if is_whole {
                        continue;
                    }
                    Ended::Reset
                }
                Err(ended) => ended,
            };
            let is_whole = self.replies.borrow().last().is_none_or(|reply| reply.is_whole);
            if self.link.is_unannounced() && is_whole && self.plan.is_fair() && bytes.is_empty() {
                self.blame("the gateway ends TLS without a word (RFC 8446 section 6.1)");
            }
            if !bytes.is_empty() && is_whole && (closing || is_last) {
                self.blame(&format!("bytes behind the last response: {}", crate::pipe::shown(&bytes)));
            }
            return self.finish(ended);
        }
    }

    fn blame(&self, problem: &str) {
        let token = self.plan.requests.first().map(|request| request.token.as_str()).unwrap_or_default();
        self.world.blame(format!("client of {token}: {problem}"));
    }

    /// Reads one final response; an end of the connection inside its body leaves it incomplete.
    async fn read_reply(&self, bytes: &mut Vec<u8>, number: usize) -> Result<Reply, Ended> {
        let request = self.plan.requests.get(number.min(self.plan.requests.len() - 1));
        let method = request.map_or("GET", |request| request.method);
        let is_old = request.is_some_and(|request| request.is_old);
        let (head, framing) = loop {
            match Head::take(bytes).and_then(|head| head.map(|head| framed(head, method)).transpose()) {
                Ok(Some((head, framing))) => {
                    if head.status().is_ok_and(|status| status >= 200) {
                        break (head, framing);
                    }
                    if is_old {
                        self.blame("an interim response to a 1.0 client");
                    }
                    self.continues.set(self.continues.get() + 1);
                    self.bell.ring();
                }
                Ok(None) => {
                    let more = self.read_more().await?;
                    if more.is_empty() {
                        return Err(Ended::InOrder);
                    }
                    bytes.extend(more);
                }
                Err(problem) => {
                    self.blame(&problem);
                    return Err(Ended::Reset);
                }
            }
        };
        if is_old && framing == Framing::Chunked {
            self.blame("chunks for a 1.0 client");
        }
        let mut body = Body::new(framing);
        while !body.is_done {
            if let Err(problem) = body.take(bytes) {
                self.blame(&format!("{problem} in the response {:?}", head.first));
                break;
            }
            if body.is_done {
                break;
            }
            match self.read_more().await {
                Ok(more) if more.is_empty() => {
                    body.on_end();
                    break;
                }
                Ok(more) => bytes.extend(more),
                Err(_) => break,
            }
        }
        let Body { content, trailers, is_done: is_whole, .. } = body;
        Ok(Reply { head, content, trailers, is_whole })
    }

    async fn read_more(&self) -> Result<Vec<u8>, Ended> {
        let left = || self.is_over() || self.link.has_left();
        self.link.recv().await.map_err(|_| if left() { Ended::Left } else { Ended::Reset })
    }
}

fn framed(head: Head, method: &str) -> Result<(Head, Framing), String> {
    // A refusal that comes before the request was understood has a body, whatever the method was going to be.
    let is_refusal = head.one("x-request-id").is_none() && head.says_close();
    let framing = head.response_framing(if is_refusal { "GET" } else { method })?;
    Ok((head, framing))
}
