//! What the gateway sends to endpoints, as its network sees it: connections dialled, requests begun, and how each ended.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use crate::env::APPLICATION_DATA;
use crate::inspector::Inspector;
use crate::pipe::Conn;

/// How an attempt to connect went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialled {
    /// Nothing came of it yet, or ever.
    Silence,
    Refused,
    Open,
}

/// A connection as it is opened; over when dropped.
pub(crate) struct Dial {
    inspector: Rc<Inspector>,
    pub(crate) worker: usize,
    pub(crate) task: usize,
    pub(crate) address: SocketAddr,
    pub(crate) began_ms: u64,
    pub(crate) ended_ms: Cell<u64>,
    pub(crate) outcome: Cell<Dialled>,
    pub(crate) trial: RefCell<Option<Rc<Trial>>>,
    is_over: Cell<bool>,
}

impl Dial {
    pub(crate) fn new(inspector: &Rc<Inspector>, worker: usize, task: usize, address: SocketAddr) -> Rc<Self> {
        let world = &inspector.world;
        world.tell(|| format!("w{worker} task {task}: dials {address}"));
        Rc::new(Self {
            inspector: Rc::clone(inspector),
            worker,
            task,
            address,
            began_ms: world.now_ms(),
            ended_ms: Cell::new(u64::MAX),
            outcome: Cell::new(Dialled::Silence),
            trial: RefCell::default(),
            is_over: Cell::new(false),
        })
    }

    /// Told how it went, or that nobody waits for it any more.
    pub(crate) fn on_end(&self, outcome: Dialled) {
        if self.is_over.replace(true) {
            return;
        }
        self.outcome.set(outcome);
        self.ended_ms.set(self.inspector.world.now_ms());
        self.inspector.on_dialled(self);
        if outcome != Dialled::Open {
            self.inspector.on_dial_failed(self.task, self.address);
            if let Some(trial) = self.trial.take() {
                trial.is_over.set(true);
            }
        }
    }
}

/// The passage of one request through a breaker that is not closed.
pub(crate) struct Trial {
    pub(crate) address: SocketAddr,
    /// Has it shown how the endpoint does, or been given up?
    pub(crate) is_over: Cell<bool>,
}

/// One request on its way to an endpoint.
pub(crate) struct Attempt {
    pub(crate) worker: usize,
    pub(crate) is_copy: bool,
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
    pub(crate) began_ms: u64,
    pub(crate) reused: bool,
    /// Of the final response, once its head was read; 0 for what is none.
    pub(crate) status: Cell<Option<u16>>,
    pub(crate) has_interim: Cell<bool>,
    /// Did a part of a head come that is not whole?
    pub(crate) has_part: Cell<bool>,
    /// When the gateway closed the connection, and whether it knew that the endpoint had.
    pub(crate) closed: Cell<Option<(u64, bool)>>,
    pub(crate) trial: RefCell<Option<Rc<Trial>>>,
}

impl Attempt {
    pub(crate) fn new(line: &Line, is_copy: bool, head: &[u8], reused: bool, began_ms: u64) -> Self {
        Self {
            worker: line.worker,
            is_copy,
            address: line.address,
            token: token(head).unwrap_or_default(),
            began_ms,
            reused,
            status: Cell::new(None),
            has_interim: Cell::new(false),
            has_part: Cell::new(false),
            closed: Cell::new(None),
            trial: RefCell::default(),
        }
    }

    /// Takes heads off the front of `start`, interim ones before the final one.
    fn on_read(&self, start: &mut Vec<u8>) {
        while self.status.get().is_none()
            && let Some(end) = start.windows(4).position(|window| window == b"\r\n\r\n")
        {
            let digits = start.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
            match digits {
                Some(status) if status < 200 && status != 101 => self.has_interim.set(true),
                status => self.status.set(status.or(Some(0))),
            }
            start.drain(..end + 4);
        }
        self.has_part.set(!start.is_empty());
    }
}

/// `/t/TOKEN?` of a request's head.
fn token(head: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(&head[..head.len().min(200)]).into_owned();
    let path = text.split(' ').nth(1)?;
    let token = path.strip_prefix("/t/")?.split('?').next()?;
    Some(token.to_owned())
}

fn is_head(bytes: &[u8]) -> bool {
    ["GET /", "HEAD /", "POST /", "PUT /"].iter().any(|start| bytes.starts_with(start.as_bytes()))
}

/// An open connection to an endpoint; closed when dropped.
pub(crate) struct Line {
    inspector: Rc<Inspector>,
    pub(crate) worker: usize,
    pub(crate) address: SocketAddr,
    pub(crate) number: usize,
    conn: Rc<Conn>,
    trial: RefCell<Option<Rc<Trial>>>,
    attempt: RefCell<Option<Rc<Attempt>>>,
    /// What came of the head that is being read.
    start: RefCell<Vec<u8>>,
}

impl Line {
    pub(crate) fn new(dial: &Dial, conn: &Rc<Conn>) -> Self {
        dial.on_end(Dialled::Open);
        Self {
            inspector: Rc::clone(&dial.inspector),
            worker: dial.worker,
            address: dial.address,
            number: dial.inspector.on_opened(dial.address, conn),
            conn: Rc::clone(conn),
            trial: RefCell::new(dial.trial.take()),
            attempt: RefCell::default(),
            start: RefCell::default(),
        }
    }

    /// The gateway writes, unless `bytes` are what is left of something.
    pub(crate) fn on_write(&self, bytes: &[u8]) {
        if bytes.starts_with(&[APPLICATION_DATA]) {
            // It cannot be read; what is sent behind a whole answer is the next request.
            self.inspector.on_use(self.number, &self.conn);
        }
        if !is_head(bytes) {
            return;
        }
        let before = self.attempt.take();
        // A write that took only a part is no new request.
        let attempt = self.inspector.on_request(self, &self.conn, bytes, before.is_none());
        if let Some(trial) = self.trial.take() {
            attempt.trial.replace(Some(trial));
        }
        self.start.borrow_mut().clear();
        *self.attempt.borrow_mut() = Some(attempt);
    }

    pub(crate) fn on_read(&self, bytes: &[u8]) {
        self.inspector.on_traffic();
        if bytes.starts_with(&[APPLICATION_DATA]) {
            self.on_sealed();
        }
        let attempt = self.attempt.borrow();
        let Some(attempt) = attempt.as_ref().filter(|attempt| attempt.status.get().is_none()) else { return };
        let mut start = self.start.borrow_mut();
        start.extend(bytes);
        attempt.on_read(&mut start);
        let Some(status) = attempt.status.get() else { return };
        self.inspector.on_status(self.address, status);
        if let Some(trial) = attempt.trial.take() {
            trial.is_over.set(true);
        }
    }
}

impl Line {
    /// An answer that cannot be read: it is taken for a good one.
    fn on_sealed(&self) {
        self.inspector.on_status(self.address, 200);
        if let Some(trial) = self.trial.take() {
            trial.is_over.set(true);
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            let now_ms = self.inspector.world.now_ms();
            attempt.closed.set(Some((now_ms, self.conn.has_ended(0))));
            if let Some(trial) = attempt.trial.take() {
                trial.is_over.set(true);
            }
        }
        if let Some(trial) = self.trial.take() {
            trial.is_over.set(true);
        }
        self.inspector.on_closed(self.address, self.number);
    }
}
