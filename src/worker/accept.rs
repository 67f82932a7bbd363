//! Accept loops, one task per listener and never raced, and what becomes of a connection: served here, handed over to
//! a worker that holds fewer, or turned away.

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::vec;

use futures_util::FutureExt;

use super::credit::{Credit, Taken};
use super::loads::{Loads, Place};
use super::mailbox::{Message, Peers};
use crate::exchange::{Shard, serve_connection};
use crate::net::{ACCEPTS_AT_ONCE, Env, Reactor, ReactorListener, Stream, TcpPeer};
use crate::snapshot::Entrance;
use crate::telemetry::MEMORY_CAP;

/// Pause after an accept failed for want of descriptors: they come back when connections close.
const STARVED_MS: u64 = 50;
/// RFC 9110 section 15.6.4: overloaded, and worth another try soon.
const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 20\r\n\r\ntoo many connections";
const NO_MEMORY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 18\r\n\r\nno memory to spare";

/// What accepting needs; shared by the accept loops of one worker.
pub(super) struct Door {
    pub(super) shard: Rc<Shard<Reactor>>,
    /// The number of this worker.
    pub(super) own: usize,
    pub(super) credit: Arc<Credit>,
    pub(super) loads: Arc<Loads>,
    pub(super) peers: Peers,
    /// Connections of this worker that are open.
    pub(super) open: Rc<Cell<usize>>,
    /// Held by whatever has connections yet to admit.
    pub(super) admitting: Rc<()>,
}

/// Who comes.
pub(super) struct Guest {
    pub(super) peer: SocketAddr,
    /// Where it came in.
    pub(super) entrance: Entrance,
    /// When it was accepted, by the monotonic clock.
    pub(super) accepted_ns: u64,
}

/// A listener of this worker while it accepts.
pub(super) struct Listening {
    /// Where its connections come in.
    entrance: Entrance,
    /// The address bound.
    pub(super) address: SocketAddr,
    socket: Rc<ReactorListener>,
    closed: Rc<Cell<bool>>,
}

/// Counts a connection as open while it lives.
struct Open {
    door: Rc<Door>,
    // Given back before the credit, which is never behind the sum of all places.
    _place: Place,
    _taken: Taken,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.door.open.set(self.door.open.get() - 1);
    }
}

impl Listening {
    /// Starts to accept on a socket.
    ///
    /// # Errors
    /// The kernel does not take it.
    pub(super) fn start(door: &Rc<Door>, entrance: Entrance, socket: TcpListener) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let socket = Rc::new(door.shard.env().listen(socket)?);
        let listening = Self { entrance, address, socket: Rc::clone(&socket), closed: Rc::default() };
        let (keeper, closed) = (Rc::clone(door), Rc::clone(&listening.closed));
        door.shard.counters().listening.add(1);
        door.shard.env().spawn(async move {
            accept_all(&keeper, entrance, &socket, &closed).await;
            let listening = &keeper.shard.counters().listening;
            listening.set(listening.value() - 1);
        });
        Ok(listening)
    }

    /// Stops accepting and leaves what waits on the socket to another process that holds it too.
    pub(super) fn release(self) {
        self.closed.set(true);
        self.socket.release();
    }

    /// Stops accepting; what the kernel had accepted already is served, in bursts as if it were accepted now.
    pub(super) fn stop(self, door: &Rc<Door>) {
        self.closed.set(true);
        door.admit_all(self.socket.close(), self.entrance);
    }
}

async fn accept_all(door: &Rc<Door>, entrance: Entrance, socket: &ReactorListener, closed: &Cell<bool>) {
    while !closed.get() {
        match socket.accept().await {
            Ok((stream, peer)) => {
                door.admit(stream, peer, entrance);
                socket.let_others().await;
            }
            Err(_) if closed.get() => return,
            // The client left before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                door.shard.counters().accept_errors[want(&error)].add(1);
                // Without a pause a worker without descriptors would do nothing but fail to accept.
                door.shard.env().sleep_ms(STARVED_MS).await;
            }
        }
    }
}

/// What a connection could not be accepted for want of, as its place in [`crate::telemetry::ACCEPT_ERRORS`].
fn want(error: &io::Error) -> usize {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => 0,
        Some(libc::ENOMEM | libc::ENOBUFS) => 1,
        _ => 2,
    }
}

impl Door {
    /// Admits what was accepted of a socket that is closed; the worker lives until all of it is.
    fn admit_all(self: &Rc<Self>, accepted: Vec<(TcpPeer, SocketAddr)>, entrance: Entrance) {
        let mut accepted = accepted.into_iter();
        self.admit_burst(&mut accepted, entrance);
        if accepted.len() == 0 {
            return;
        }
        let (door, admitting) = (Rc::clone(self), Rc::clone(&self.admitting));
        self.shard.env().spawn(async move {
            while accepted.len() > 0 {
                door.shard.env().let_others().await;
                door.admit_burst(&mut accepted, entrance);
            }
            drop(admitting);
        });
    }

    fn admit_burst(self: &Rc<Self>, accepted: &mut vec::IntoIter<(TcpPeer, SocketAddr)>, entrance: Entrance) {
        for (stream, peer) in accepted.take(ACCEPTS_AT_ONCE) {
            self.admit(stream, peer, entrance);
        }
    }

    /// Finds a worker for a new connection, or tells it that the process is full.
    fn admit(self: &Rc<Self>, stream: TcpPeer, peer: SocketAddr, entrance: Entrance) {
        let counters = self.shard.counters();
        counters.connections_accepted.add(1);
        if !self.shard.has_room_for_connections() {
            return self.refuse(&stream, entrance, MEMORY_CAP, NO_MEMORY);
        }
        let Some(taken) = self.credit.try_take() else { return self.refuse(&stream, entrance, 0, NO_ROOM) };
        let place = self.loads.place(self.own, self.credit.taken());
        let guest = Guest { peer, entrance, accepted_ns: self.shard.env().now_ns() };
        if place.worker() == self.own {
            self.serve(stream, guest, taken, place);
        } else {
            self.hand_over(stream, guest, taken, place);
        }
    }

    /// Counts a connection as refused by a cap, and says so in `words`.
    fn refuse(&self, stream: &TcpPeer, entrance: Entrance, cap: usize, words: &[u8]) {
        self.shard.counters().connections_rejected[cap].add(1);
        // Whoever waits for TLS would take words in plain text for a broken handshake.
        if self.shard.answers_in_plain(entrance) {
            turn_away(stream, words);
        }
    }

    fn serve(self: &Rc<Self>, stream: TcpPeer, guest: Guest, taken: Taken, place: Place) {
        let Guest { peer, entrance, accepted_ns } = guest;
        let serving = serve_connection(Rc::clone(&self.shard), stream, peer, entrance, accepted_ns);
        let Some(serving) = serving else { return };
        self.open.set(self.open.get() + 1);
        let open = Open { door: Rc::clone(self), _place: place, _taken: taken };
        // A combinator and not an async block, which would hold the future twice.
        self.shard.env().spawn(serving.map(move |()| drop(open)));
    }

    /// Hands a connection over to the worker that it has a place on.
    fn hand_over(self: &Rc<Self>, stream: TcpPeer, guest: Guest, taken: Taken, place: Place) {
        let to = place.worker();
        let Guest { peer, entrance, accepted_ns } = guest;
        let message = Message::Serve { socket: stream.into_std(), peer, accepted_ns, entrance, taken, place };
        match self.peers.try_tell(to, message) {
            Ok(()) => self.shard.counters().connections_handed.add(1),
            // It has ended or is far behind, so the connection stays here; what came back is what was sent.
            Err(Message::Serve { socket, taken, place, .. }) => {
                drop(place);
                self.take_over(socket, guest, taken, self.loads.keep(self.own));
            }
            Err(_) => {}
        }
    }

    /// Serves a connection that came by mailbox.
    pub(super) fn take_over(self: &Rc<Self>, socket: TcpStream, guest: Guest, taken: Taken, place: Place) {
        match self.shard.env().adopt(socket) {
            Ok(stream) => self.serve(stream, guest, taken, place),
            // The kernel has no room to register it, as it might have had none to accept it.
            Err(error) => self.shard.counters().accept_errors[want(&error)].add(1),
        }
    }

    /// Takes no more connections from other workers, for good.
    pub(super) fn close(&self) {
        self.loads.close(self.own);
    }

    /// Is no connection open, yet to be admitted or, once the door is closed, on its way from another worker?
    pub(super) fn is_empty(&self) -> bool {
        self.loads.held(self.own) == 0 && Rc::strong_count(&self.admitting) == 1
    }
}

/// Says that there is no room, and ends. It takes neither a buffer nor a task, of which a flood would need one for each.
fn turn_away(stream: &TcpPeer, words: &[u8]) {
    // The kernel has room for the first words on a connection; whoever is gone is closed all the same.
    drop(stream.try_write(words));
    stream.shutdown_write();
}
