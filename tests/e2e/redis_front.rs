//! What stands before a server of Redis at a port: it passes on what is said, takes its time for the answers, or talks rubbish.

use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::redis::Redis;
use super::wait::{now_ms, thread};

/// What no server of Redis says to our questions.
pub(crate) const RUBBISH: [&[u8]; 4] = [
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"+OK\r\n+OK\r\n+OK\r\n+OK\r\n",
    b"*4\r\n:9\r\n:-1\r\n:0\r\n:0\r\n",
    b"\0\xff$-7\r\n*9\r\n",
];
/// In place of a number of `RUBBISH`: the server itself.
const NONE: usize = usize::MAX;

/// A port before a server.
#[derive(Debug)]
pub(crate) struct RedisFront {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    server: PathBuf,
    rubbish: AtomicUsize,
    takes_ms: AtomicU64,
    is_over: AtomicBool,
}

impl RedisFront {
    /// One that passes on.
    pub(crate) fn of(redis: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("a bound socket");
        let state = Arc::new(State {
            server: redis.socket(),
            rubbish: AtomicUsize::new(NONE),
            takes_ms: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        });
        let there = Arc::clone(&state);
        drop(thread("redis-front", move || {
            while let Ok((stream, _)) = listener.accept() {
                if there.is_over.load(Ordering::Relaxed) {
                    return;
                }
                there.serves(stream);
            }
        }));
        Self { address, state }
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says this of `RUBBISH` to whatever is asked, and the server hears nothing of it.
    pub(crate) fn talks(&self, rubbish: usize) {
        self.state.rubbish.store(rubbish, Ordering::Relaxed);
    }

    /// Lets the server answer.
    pub(crate) fn passes_on(&self) {
        self.talks(NONE);
    }

    /// Each answer comes so much later from now on.
    pub(crate) fn takes(&self, time: Duration) {
        self.state.takes_ms.store(u64::try_from(time.as_millis()).expect("seconds fit"), Ordering::Relaxed);
    }
}

impl Drop for RedisFront {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Relaxed);
        // Wakes the accept, which then sees that it is over.
        drop(TcpStream::connect(self.address));
    }
}

impl State {
    fn serves(self: &Arc<Self>, client: TcpStream) {
        let server = UnixStream::connect(&self.server).expect("it listens");
        let (to_client, to_server) = (client.try_clone().expect("a socket"), server.try_clone().expect("a socket"));
        let (up, down) = (Arc::clone(self), Arc::clone(self));
        drop(thread("redis-front-up", move || up.asks(client, to_server)));
        drop(thread("redis-front-down", move || down.answers(server, to_client)));
    }

    fn asks(&self, mut client: TcpStream, mut server: UnixStream) {
        while let Some(bytes) = read(&mut client) {
            let sent = match RUBBISH.get(self.rubbish.load(Ordering::Relaxed)) {
                None => server.write_all(&bytes),
                Some(rubbish) => client.write_all(rubbish),
            };
            if sent.is_err() {
                break;
            }
        }
        drop(server.shutdown(std::net::Shutdown::Both));
    }

    fn answers(&self, mut server: UnixStream, mut client: TcpStream) {
        while let Some(bytes) = read(&mut server) {
            let due_ms = now_ms() + self.takes_ms.load(Ordering::Relaxed);
            while now_ms() < due_ms {
                std::thread::park_timeout(Duration::from_millis(due_ms.saturating_sub(now_ms())));
            }
            if client.write_all(&bytes).is_err() {
                break;
            }
        }
        drop(client.shutdown(std::net::Shutdown::Both));
    }
}

fn read(from: &mut impl Read) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 16 << 10];
    let count = from.read(&mut bytes).ok().filter(|count| *count > 0)?;
    bytes.truncate(count);
    Some(bytes)
}
