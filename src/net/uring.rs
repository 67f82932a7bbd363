//! The world on monoio: io_uring, or epoll where io_uring is refused.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::future::{Future, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt;
use monoio::io::{AsyncReadRent, AsyncWriteRent, CancelableAsyncReadRent, Canceller};
use monoio::net::{TcpListener, TcpStream};
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};
use socket2::SockRef;

use super::hang_up::HangUp;
use super::probe::build_ring;
use super::{Alarm, Buffer, Driver, Env, Pending, Stream};
use crate::{clock, limits};

thread_local! {
    /// Tasks that have not ended.
    static TASKS: Cell<u64> = const { Cell::new(0) };
    /// Told of each task that a panic ended.
    static ON_PANIC: RefCell<Option<Box<dyn Fn()>>> = const { RefCell::new(None) };
}

/// Runs `future` on a reactor of this thread until it completes.
///
/// The ring belongs to the calling thread alone (single issuer), so the reactor is built inside
/// the pinned worker thread.
///
/// # Errors
/// The kernel's refusal to set up the ring or the epoll instance.
pub fn run_reactor<F: Future>(driver: Driver, future: F) -> io::Result<F::Output> {
    match driver {
        Driver::IoUring => {
            let mut ring = io_uring::IoUring::builder();
            // Measured: without these two flags a small request costs 16 to 27 % more CPU.
            ring.setup_single_issuer().setup_coop_taskrun();
            ring.setup_cqsize(limits::RING_COMPLETIONS);
            let mut runtime = build_ring(|| {
                RuntimeBuilder::<IoUringDriver>::new()
                    .uring_builder(ring.clone())
                    .with_entries(limits::RING_ENTRIES)
                    .enable_timer()
                    .build()
            })?;
            Ok(runtime.block_on(future))
        }
        Driver::Epoll => {
            let mut runtime = RuntimeBuilder::<LegacyDriver>::new().enable_timer().build()?;
            Ok(runtime.block_on(future))
        }
    }
}

/// The world of a worker on monoio.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reactor {
    driver_is_epoll: bool,
}

impl Reactor {
    /// The world of the calling thread, which runs a reactor of `driver`.
    #[must_use]
    pub const fn new(driver: Driver) -> Self {
        Self { driver_is_epoll: matches!(driver, Driver::Epoll) }
    }

    /// Tasks of this thread that have not ended.
    #[must_use]
    pub fn tasks(&self) -> u64 {
        TASKS.get()
    }

    /// Has `told` called for each task of this thread that a panic ends, from now on.
    pub fn on_panic(&self, told: impl Fn() + 'static) {
        ON_PANIC.set(Some(Box::new(told)));
    }

    /// Takes a listening socket into this reactor.
    ///
    /// # Errors
    /// The socket cannot be registered.
    pub fn listen(&self, socket: std::net::TcpListener) -> io::Result<ReactorListener> {
        socket.set_nonblocking(self.driver_is_epoll)?;
        let inner = TcpListener::from_std(socket)?;
        Ok(ReactorListener { inner, reactor: *self, canceller: Cell::default(), at_once: Cell::default() })
    }

    /// Takes a connected socket into this reactor, wherever it was accepted; io_uring wants it blocking and epoll not.
    ///
    /// # Errors
    /// The socket cannot be registered; it is closed then.
    pub fn adopt(&self, socket: std::net::TcpStream) -> io::Result<TcpPeer> {
        socket.set_nonblocking(self.driver_is_epoll)?;
        Ok(TcpPeer::new(TcpStream::from_std(socket)?))
    }

    /// Lets everything else on this reactor have its turn.
    pub async fn let_others(&self) {
        self.sleep_ms(TURN_MS).await;
    }

    /// Waits until the other end of `bell` is rung; false once that end is gone.
    pub async fn hear(&self, bell: &mut Bell) -> bool {
        let spare = std::mem::take(&mut bell.spare);
        let (heard, spare) = bell.inner.read(spare).await;
        bell.spare = spare;
        matches!(heard, Ok(count) if count > 0)
    }

    /// Takes the worker's end of a bell into this reactor.
    ///
    /// # Errors
    /// The socket cannot be registered.
    pub fn bell(&self, socket: std::os::unix::net::UnixStream) -> io::Result<Bell> {
        socket.set_nonblocking(self.driver_is_epoll)?;
        let inner = monoio::net::UnixStream::from_std(socket)?;
        Ok(Bell { inner, spare: Vec::with_capacity(64) })
    }
}

/// The worker's end of a pair of sockets: the other end wakes it.
pub struct Bell {
    inner: monoio::net::UnixStream,
    spare: Vec<u8>,
}

impl Env for Reactor {
    type Stream = TcpPeer;

    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpPeer> {
        let stream = TcpStream::connect_addr(address).await?;
        stream.set_nodelay(true)?;
        Ok(TcpPeer::new(stream))
    }

    async fn sleep_ms(&self, ms: u64) {
        monoio::time::sleep(Duration::from_millis(ms)).await;
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        TASKS.set(TASKS.get() + 1);
        // A panic that reaches the reactor would end every connection on it. It is told of here, because what the task
        // holds may be dropped only after it was caught, and cannot tell it from any other end.
        drop(monoio::spawn(AssertUnwindSafe(task).catch_unwind().map(|ended| {
            TASKS.set(TASKS.get() - 1);
            if ended.is_err() {
                ON_PANIC.with_borrow(|told| {
                    if let Some(told) = told {
                        told();
                    }
                });
            }
        })));
    }
}

/// Connections that a listener accepts in a row before everything else has its turn.
pub const ACCEPTS_AT_ONCE: usize = 64;
/// A timer, and not merely the end of the queue of tasks: monoio looks at its timers only when no task is left.
const TURN_MS: u64 = 1;

/// A listening socket of one worker.
pub struct ReactorListener {
    inner: TcpListener,
    reactor: Reactor,
    canceller: Cell<Option<Canceller>>,
    /// Connections since the last one that had to be waited for.
    at_once: Cell<usize>,
}

impl ReactorListener {
    /// Accepts one connection. Runs in a task of its own and is never raced: a cancelled accept leaks its socket.
    ///
    /// # Errors
    /// The kernel's, for instance when file descriptors ran out, or after [`ReactorListener::close`] or
    /// [`ReactorListener::release`].
    pub async fn accept(&self) -> io::Result<(TcpPeer, SocketAddr)> {
        let canceller = self.canceller.take().unwrap_or_default();
        let handle = canceller.handle();
        self.canceller.set(Some(canceller));
        self.at_once.set(self.at_once.get() + 1);
        let mut accepting = pin!(self.inner.cancelable_accept(handle));
        let (stream, peer) = poll_fn(|poller| {
            let accepted = accepting.as_mut().poll(poller);
            if accepted.is_pending() {
                self.at_once.set(0);
            }
            accepted
        })
        .await?;
        Ok((TcpPeer::new(stream), peer))
    }

    /// Lets everything else on this reactor have its turn, once many connections in a row did not have to be waited for: on
    /// epoll an accept completes at once as long as there is one, and a burst would stop all that is served.
    pub async fn let_others(&self) {
        if self.at_once.get() >= ACCEPTS_AT_ONCE {
            self.at_once.set(0);
            self.reactor.let_others().await;
        }
    }

    /// Stops listening: takes what the kernel had accepted already, then makes a waiting accept fail.
    #[must_use]
    pub fn close(&self) -> Vec<(TcpPeer, SocketAddr)> {
        let descriptor = borrow(self.inner.as_raw_fd());
        let socket = SockRef::from(&descriptor);
        let mut accepted = Vec::new();
        if socket.set_nonblocking(true).is_ok() {
            while let Ok((stream, peer)) = socket.accept() {
                if let (Ok(stream), Some(peer)) = (self.reactor.adopt(stream.into()), peer.as_socket()) {
                    accepted.push((stream, peer));
                }
            }
        }
        // An accept that waits completes with EINVAL; nothing is left to do when the socket is gone.
        drop(socket.shutdown(std::net::Shutdown::Read));
        accepted
    }

    /// Stops accepting and leaves the socket and its queue to whoever else holds it: a waiting accept completes, with a
    /// connection that had just come or with an error.
    pub fn release(&self) {
        if let Some(canceller) = self.canceller.take() {
            drop(canceller.cancel());
        }
    }
}

/// A TCP connection on monoio.
pub struct TcpPeer {
    // Before the descriptor, so that it is dropped before it.
    hang_up: HangUp,
    // Both directions are in use at once, each by one operation that holds its own reference to the descriptor.
    inner: UnsafeCell<TcpStream>,
    canceller: Cell<Option<Canceller>>,
}

impl TcpPeer {
    fn new(stream: TcpStream) -> Self {
        Self { hang_up: HangUp::default(), inner: UnsafeCell::new(stream), canceller: Cell::new(None) }
    }

    /// Takes the connection out of this reactor, so that another may [`Reactor::adopt`] it. No operation may be in
    /// flight, which holds for a connection that has just been accepted.
    #[must_use]
    pub fn into_std(self) -> std::net::TcpStream {
        self.hang_up.call_off();
        // On epoll this ends the registration; io_uring knows a descriptor only while an operation is in flight, and
        // then this panics instead of letting two reactors read from one socket.
        let descriptor = self.inner.into_inner().into_raw_fd();
        // SAFETY: the stream was consumed without closing its descriptor, so nobody else owns it.
        let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
        // The accept of io_uring leaves it open for children of this process. It cannot fail on an open descriptor.
        drop(SockRef::from(&socket).set_cloexec(true));
        socket.into()
    }

    #[expect(clippy::mut_from_ref, reason = "monoio asks for &mut where it only clones a reference to the descriptor")]
    fn stream(&self) -> &mut TcpStream {
        // SAFETY: monoio's read, write and shutdown use the exclusive borrow only to clone the shared
        // descriptor into the operation before they return; monoio's own owned halves do the same. This type is
        // neither Send nor Sync, so no other thread can be in one of these calls.
        unsafe { &mut *self.inner.get() }
    }

    fn receive_now(&self, into: &mut Buffer) -> io::Result<usize> {
        let room = into.spare();
        let spare = &mut into.sink().spare_capacity_mut()[..room];
        let count = SockRef::from(&self.socket()).recv_with_flags(spare, libc::MSG_DONTWAIT)?;
        // SAFETY: the kernel initialised `count` bytes behind the length, within the capacity.
        unsafe { monoio::buf::IoBufMut::set_init(into, count) };
        Ok(count)
    }

    fn socket(&self) -> BorrowedFd<'_> {
        borrow(self.stream().as_raw_fd())
    }
}

fn borrow<'a>(descriptor: RawFd) -> BorrowedFd<'a> {
    // SAFETY: the descriptor stays open while its owner, from which the caller just took it, is borrowed.
    unsafe { BorrowedFd::borrow_raw(descriptor) }
}

impl Stream for TcpPeer {
    async fn read(&self, into: Buffer) -> (io::Result<usize>, Buffer) {
        self.stream().read(into).await
    }

    async fn read_until(&self, into: Buffer, alarm: &Alarm) -> (io::Result<usize>, Buffer) {
        let canceller = self.canceller.take().unwrap_or_default();
        let handle = canceller.handle();
        let mut operation = pin!(self.stream().cancelable_read(into, handle));
        if let Ok(completed) = alarm.race(operation.as_mut()).await {
            self.canceller.set(Some(canceller));
            return completed;
        }
        drop(canceller.cancel());
        match operation.await {
            (Err(error), into) if error.raw_os_error() == Some(libc::ECANCELED) => {
                (Err(io::ErrorKind::Interrupted.into()), into)
            }
            completed => completed,
        }
    }

    async fn write(&self, from: Buffer) -> (io::Result<usize>, Buffer) {
        self.stream().write(from).await
    }

    async fn readable(&self) -> io::Result<()> {
        self.stream().readable(false).await
    }

    fn try_read(&self, into: &mut Buffer) -> io::Result<usize> {
        self.receive_now(into)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        SockRef::from(&self.socket()).send_with_flags(bytes, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
    }

    fn pending(&self) -> Pending {
        let descriptor = self.socket();
        let socket = SockRef::from(&descriptor);
        let mut byte = [MaybeUninit::uninit(); 1];
        match socket.recv_with_flags(&mut byte, libc::MSG_PEEK | libc::MSG_DONTWAIT) {
            // Behind an end of stream, or bytes, the kernel reports a later reset only as the socket's error.
            Ok(count) => match socket.take_error() {
                Ok(None) if count == 0 => Pending::End,
                Ok(None) => Pending::Bytes,
                Ok(Some(_)) | Err(_) => Pending::Broken,
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Pending::Nothing,
            Err(_) => Pending::Broken,
        }
    }

    /// What the peer's kernel has acknowledged: once its buffer is full, that is what the peer reads.
    fn taken(&self) -> Option<u64> {
        let mut told = MaybeUninit::<libc::tcp_info>::zeroed();
        let mut length = u32::try_from(size_of_val(&told)).expect("a few hundred bytes");
        // SAFETY: the descriptor is open, and the kernel writes no more than `length` bytes.
        let outcome = unsafe {
            let room = told.as_mut_ptr().cast();
            libc::getsockopt(self.socket().as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, room, &raw mut length)
        };
        // SAFETY: it has numbers alone, which may be zero, and were all set to that.
        (outcome == 0).then(|| unsafe { told.assume_init() }.tcpi_bytes_acked)
    }

    fn local(&self) -> Option<SocketAddr> {
        let socket = self.socket();
        SockRef::from(&socket).local_addr().ok().and_then(|address| address.as_socket())
    }

    fn shutdown_write(&self) {
        // It fails only when the peer already reset the connection, and then there is no direction left to end.
        drop(SockRef::from(&self.socket()).shutdown(std::net::Shutdown::Write));
    }

    fn reset_on_close(&self) {
        // It cannot fail on an open socket; if it did, the close would merely be an orderly one.
        drop(SockRef::from(&self.socket()).set_linger(Some(Duration::ZERO)));
        self.hang_up.reset();
    }

    fn hang_up_on_drop(&self) {
        self.hang_up.on(self.socket().as_raw_fd());
    }

    fn keep_alive(&self, seconds: u32) {
        let interval = Duration::from_secs(u64::from(seconds.max(1)));
        let probes = socket2::TcpKeepalive::new().with_time(interval).with_interval(interval);
        // A platform that refuses leaves the connection without probes, as if none had been asked for.
        drop(SockRef::from(&self.socket()).set_tcp_keepalive(&probes));
    }
}

#[cfg(test)]
mod tests;
