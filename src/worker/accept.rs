//! Accept loops: one task per listener, never raced.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::FutureExt;

use super::credit::{Credit, Taken};
use crate::exchange::{Shard, serve_connection};
use crate::net::{BufferPool, Env, Reactor, ReactorListener, Stream, TcpPeer};

/// Pause after an accept failed for want of descriptors: they come back when connections close.
const STARVED_MS: u64 = 50;
/// Time to tell a client that there is no room for it.
const REFUSAL_MS: u64 = 200;
/// RFC 9110 section 15.6.4: overloaded, and worth another try soon.
const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 20\r\n\r\ntoo many connections";

/// What accepting needs; shared by the accept loops of one worker.
pub(super) struct Door {
    pub(super) shard: Rc<Shard<Reactor>>,
    pub(super) credit: Arc<Credit>,
    pub(super) refusals: BufferPool,
    /// Connections of this worker that are open.
    pub(super) open: Rc<Cell<usize>>,
}

/// A listener of this worker while it accepts.
pub(super) struct Listening {
    pub(super) name: Rc<str>,
    socket: Rc<ReactorListener>,
    closed: Rc<Cell<bool>>,
}

/// Counts a connection as open while it lives, and a panic that ends it.
struct Open {
    door: Rc<Door>,
    _taken: Taken,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.door.open.set(self.door.open.get() - 1);
        let counters = self.door.shard.counters();
        counters.tasks.set(self.door.open.get() as u64);
        if std::thread::panicking() {
            counters.panics.add(1);
        }
    }
}

impl Listening {
    /// Starts to accept on a socket.
    pub(super) fn start(door: &Rc<Door>, name: String, socket: ReactorListener) -> Self {
        let listening = Self { name: Rc::from(name), socket: Rc::new(socket), closed: Rc::default() };
        let (name, socket, closed) =
            (Rc::clone(&listening.name), Rc::clone(&listening.socket), Rc::clone(&listening.closed));
        let keeper = Rc::clone(door);
        door.shard.env().spawn(async move { accept_all(&keeper, &name, &socket, &closed).await });
        listening
    }

    /// Stops accepting; what the kernel had accepted already is served.
    pub(super) fn stop(self, door: &Rc<Door>) {
        self.closed.set(true);
        for (stream, peer) in self.socket.close() {
            door.admit(stream, peer, &self.name);
        }
    }
}

async fn accept_all(door: &Rc<Door>, name: &Rc<str>, socket: &ReactorListener, closed: &Cell<bool>) {
    while !closed.get() {
        match socket.accept().await {
            Ok((stream, peer)) => door.admit(stream, peer, name),
            Err(_) if closed.get() => return,
            // The client left before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => {
                door.shard.counters().accept_errors.add(1);
                // Without a pause a worker without descriptors would do nothing but fail to accept.
                door.shard.env().sleep_ms(STARVED_MS).await;
            }
        }
    }
}

impl Door {
    /// Serves a new connection, or tells it that the process is full.
    fn admit(self: &Rc<Self>, stream: TcpPeer, peer: SocketAddr, name: &Rc<str>) {
        let counters = self.shard.counters();
        counters.connections_accepted.add(1);
        let Some(taken) = self.credit.try_take() else {
            counters.connections_rejected.add(1);
            self.turn_away(stream);
            return;
        };
        self.open.set(self.open.get() + 1);
        counters.tasks.set(self.open.get() as u64);
        let open = Open { door: Rc::clone(self), _taken: taken };
        let serving = serve_connection(Rc::clone(&self.shard), stream, peer, Rc::clone(name));
        // A combinator and not an async block, which would hold the future twice.
        self.shard.env().spawn(serving.map(move |()| drop(open)));
    }

    fn turn_away(&self, stream: TcpPeer) {
        let mut buffer = self.refusals.lend();
        buffer.extend(NO_ROOM);
        let shard = Rc::clone(&self.shard);
        self.shard.env().spawn(async move {
            let alarm = shard.alarm();
            // Whoever cannot be told is closed all the same.
            drop(alarm.within(REFUSAL_MS, pin!(stream.write(buffer))).await);
            stream.shutdown_write();
        });
    }
}
