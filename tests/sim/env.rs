//! The world as an exchange sees it: `ringgate::net::Env` on virtual time.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use ringgate::net::{Alarm, Buffer, Env, Pending, Stream};

use crate::inspector::Inspector;
use crate::pipe::{End, Look};
use crate::traffic::{self, Dial, Line};
use crate::world::World;

/// What happens to a connection attempt.
pub(crate) enum Dialled {
    Open(End),
    Refused,
    /// No answer at all.
    Silence,
}

/// The first byte of a record of TLS with content (RFC 8446 section 5.1).
pub(crate) const APPLICATION_DATA: u8 = 23;

type Answer = Rc<dyn Fn() -> Dialled>;

/// Addresses that somebody answers.
#[derive(Clone, Default)]
pub(crate) struct Network {
    listeners: Rc<RefCell<HashMap<SocketAddr, Answer>>>,
}

impl Network {
    pub(crate) fn listen(&self, address: SocketAddr, answer: impl Fn() -> Dialled + 'static) {
        self.listeners.borrow_mut().insert(address, Rc::new(answer));
    }
}

/// The world of one worker.
#[derive(Clone)]
pub(crate) struct SimEnv {
    world: World,
    network: Network,
    worker: usize,
    inspector: Rc<Inspector>,
    /// Tasks that the worker's exchanges have started.
    pub(crate) tasks: Rc<RefCell<Vec<usize>>>,
}

impl SimEnv {
    pub(crate) fn new(inspector: &Rc<Inspector>, network: &Network, worker: usize) -> Self {
        let (world, network) = (inspector.world.clone(), network.clone());
        Self { world, network, worker, inspector: Rc::clone(inspector), tasks: Rc::default() }
    }

    pub(crate) fn inspector(&self) -> &Inspector {
        &self.inspector
    }

    /// The gateway's end of a connection that it accepted.
    pub(crate) fn accepted(&self, end: End) -> SimStream {
        SimStream { end, line: None, inspector: Rc::clone(&self.inspector) }
    }
}

/// Ends a dial that was given up.
struct Dialling(Rc<Dial>);

impl Drop for Dialling {
    fn drop(&mut self) {
        self.0.on_end(traffic::Dialled::Silence);
    }
}

impl Env for SimEnv {
    type Stream = SimStream;

    fn now_ns(&self) -> u64 {
        self.world.now_ns()
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<SimStream> {
        let dialling = Dialling(self.inspector.on_dial(self.worker, address));
        self.world.sleep_ns(1000 + self.world.chance().below_u64(900_000)).await;
        let answer = self.network.listeners.borrow().get(&address).map(Rc::clone);
        match answer.map_or(Dialled::Refused, |answer| answer()) {
            Dialled::Open(end) => {
                let line = Some(Line::new(&dialling.0, &end.conn));
                Ok(SimStream { end, line, inspector: Rc::clone(&self.inspector) })
            }
            Dialled::Refused => {
                dialling.0.on_end(traffic::Dialled::Refused);
                Err(io::Error::from_raw_os_error(111))
            }
            Dialled::Silence => std::future::pending().await,
        }
    }

    async fn sleep_ms(&self, ms: u64) {
        self.world.sleep_ms(ms).await;
    }

    /// A connection of HTTP/2 starts a task for each stream, an exchange only for a copy.
    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let number = self.world.spawn(task);
        self.inspector.on_task(number);
        self.tasks.borrow_mut().push(number);
    }
}

/// An end of a connection in the hands of the gateway.
pub(crate) struct SimStream {
    end: End,
    /// Of a connection to an endpoint; closed behind its end.
    line: Option<Line>,
    inspector: Rc<Inspector>,
}

impl SimStream {
    fn on_write(&self, bytes: &[u8]) {
        self.trip_over(bytes, "x-panic: write");
        match &self.line {
            Some(line) => line.on_write(bytes),
            // One who waits may be asked whether it is still there.
            None if bytes.starts_with(b"HTTP/1.1 ") && bytes.get(9) != Some(&b'1') => self.inspector.on_answer(),
            // A record that is too large for an interim response.
            None if bytes.starts_with(&[APPLICATION_DATA]) && bytes.len() > 100 => self.inspector.on_answer(),
            None => {}
        }
    }

    /// What passes to or from an endpoint may be made to hit a bug of the gateway's, as it were.
    fn trip_over(&self, bytes: &[u8], text: &str) {
        let holds = |bytes: &[u8]| bytes.windows(text.len()).any(|part| part.eq_ignore_ascii_case(text.as_bytes()));
        if self.line.is_some() && holds(bytes) {
            // Without a word on standard error.
            std::panic::resume_unwind(Box::new(text.to_owned()));
        }
    }

    fn on_read(&self, bytes: &[u8]) {
        self.trip_over(bytes, "x-panic: read");
        if let Some(line) = &self.line {
            line.on_read(bytes);
        }
    }
}

/// An operation that owns its buffer; dropped in flight it does what an abandoned operation of the kernel does.
struct Operation<'a> {
    end: &'a End,
    buffer: Option<Buffer>,
    is_read: bool,
    is_queued: bool,
}

impl<'a> Operation<'a> {
    fn new(end: &'a End, buffer: Buffer, is_read: bool) -> Self {
        end.on_operation(is_read, true);
        Self { end, buffer: Some(buffer), is_read, is_queued: false }
    }

    async fn run(mut self) -> (io::Result<usize>, Buffer) {
        let result = poll_fn(|poller| {
            let buffer = self.buffer.as_mut().expect("held until the operation completes");
            let polled = if self.is_read {
                if buffer.spare() == 0 {
                    self.end.world().blame(format!("{}: a read without room", self.end.name()));
                }
                let most = buffer.spare();
                self.end.poll_recv(poller, most).map_ok(|bytes| {
                    buffer.extend(&bytes);
                    bytes.len()
                })
            } else {
                let writable = buffer.len();
                self.end.poll_send(poller, &buffer.filled()[..writable])
            };
            self.is_queued = polled.is_pending();
            polled
        })
        .await;
        let buffer = self.buffer.take().expect("held until the operation completes");
        (result, buffer)
    }
}

impl Drop for Operation<'_> {
    fn drop(&mut self) {
        self.end.on_operation(self.is_read, false);
        let Some(buffer) = self.buffer.take() else { return };
        if !self.is_queued {
            return;
        }
        if self.is_read {
            self.end.on_read_abandoned(buffer.spare());
        } else {
            self.end.on_write_abandoned(&buffer.filled()[..buffer.len()]);
        }
    }
}

/// What an operation gives now, or that it would have to wait.
fn at_once<T>(poll: impl FnOnce(&Context<'_>) -> Poll<io::Result<T>>) -> io::Result<T> {
    match poll(&Context::from_waker(Waker::noop())) {
        Poll::Ready(completed) => completed,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl Stream for SimStream {
    async fn read(&self, into: Buffer) -> (io::Result<usize>, Buffer) {
        let before = into.len();
        let (read, buffer) = Operation::new(&self.end, into, true).run().await;
        self.on_read(&buffer.filled()[before..]);
        (read, buffer)
    }

    async fn read_until(&self, into: Buffer, alarm: &Alarm) -> (io::Result<usize>, Buffer) {
        let mut into = into;
        {
            let mut readable = pin!(self.readable());
            if alarm.race(readable.as_mut()).await.is_err() && !self.end.is_readable() {
                return (Err(io::ErrorKind::Interrupted.into()), into);
            }
        }
        let most = into.spare();
        let read = poll_fn(|poller| self.end.poll_recv(poller, most)).await.map(|bytes| {
            into.extend(&bytes);
            bytes.len()
        });
        (read, into)
    }

    async fn write(&self, from: Buffer) -> (io::Result<usize>, Buffer) {
        self.on_write(from.filled());
        Operation::new(&self.end, from, false).run().await
    }

    async fn readable(&self) -> io::Result<()> {
        poll_fn(|poller| match self.end.poll_readable(poller) {
            Poll::Ready(()) => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    fn try_read(&self, into: &mut Buffer) -> io::Result<usize> {
        let received = at_once(|poller| self.end.poll_recv(poller, into.spare()))?;
        into.extend(&received);
        Ok(received.len())
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut count = at_once(|poller| self.end.poll_send(poller, bytes))?;
        // A kernel that has room takes all of it.
        while count < bytes.len()
            && let Ok(more) = at_once(|poller| self.end.poll_send(poller, &bytes[count..]))
        {
            count += more;
        }
        Ok(count)
    }

    fn pending(&self) -> Pending {
        match self.end.look() {
            Look::Nothing => Pending::Nothing,
            Look::Bytes => Pending::Bytes,
            Look::End => Pending::End,
            Look::Broken => Pending::Broken,
        }
    }

    fn shutdown_write(&self) {
        self.end.end_write();
    }

    fn reset_on_close(&self) {
        self.end.reset_on_close();
    }

    fn hang_up_on_drop(&self) {
        // Every drop does.
    }

    fn keep_alive(&self, _seconds: u32) {}
}
