//! A connection in memory that behaves like TCP on Linux, at its worst.
//!
//! Bytes are split and delayed but stay in order. A close with unread bytes is a reset; bytes for a closed socket are
//! answered with one. An error is reported once and is an end of stream from then on, as the kernel does it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::world::{Bell, MS, World};

/// How one connection moves bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Profile {
    /// Least and most microseconds of one way.
    pub(crate) latency_us: (u64, u64),
    /// Most bytes of a segment.
    pub(crate) segment: usize,
    /// Bytes under way or unread before a writer waits.
    pub(crate) window: usize,
    /// One in so many segments is late by `stall_ms`; never at 0.
    pub(crate) stall_in: usize,
    pub(crate) stall_ms: u64,
    /// Does a reset take what was received and not read, as RFC 9112 section 9.6 warns?
    pub(crate) reset_discards: bool,
}

impl Profile {
    /// In one piece and at once.
    pub(crate) const FAST: Self = Self {
        latency_us: (10, 10),
        segment: 1 << 20,
        window: 64 * 1024,
        stall_in: 0,
        stall_ms: 0,
        reset_discards: false,
    };
}

enum Packet {
    Data(Vec<u8>),
    Fin,
    Reset,
}

/// One end of a connection.
#[derive(Default)]
struct Socket {
    inbox: RefCell<VecDeque<u8>>,
    /// Bytes sent to this end and not read by it.
    unread: Cell<usize>,
    fin: Cell<bool>,
    /// A reset came: nothing works any more.
    dead: Cell<bool>,
    /// The reset was not reported yet.
    error: Cell<bool>,
    closed: Cell<bool>,
    write_ended: Cell<bool>,
    reset_on_close: Cell<bool>,
    /// No packet to this end overtakes one that arrives at this time.
    latest_ns: Cell<u64>,
    /// A read was abandoned: until when, and how many bytes it may still take with it.
    swallow: Cell<Option<(u64, usize)>>,
    reads: Cell<u32>,
    writes: Cell<u32>,
    bell: Bell,
}

pub(crate) struct Conn {
    pub(crate) name: String,
    world: World,
    profile: Profile,
    sockets: [Socket; 2],
    /// Bytes sent by side 1 from here on answer no request of side 0.
    unsolicited: Cell<bool>,
    /// Is the request that side 0 sends a copy for a mirror?
    pub(crate) is_copy: Cell<bool>,
    /// Has side 1 sent all that it will send in answer?
    pub(crate) is_answered: Cell<bool>,
    stalls_left: Cell<u32>,
}

/// Segments of one connection that are late: more only make a run longer.
const STALLS: u32 = 3;

/// One end, closed when dropped.
pub(crate) struct End {
    pub(crate) conn: Rc<Conn>,
    pub(crate) side: usize,
}

/// A connection: the end that opened it and the one that accepted it.
pub(crate) fn connection(world: &World, name: String, profile: Profile) -> (End, End) {
    let conn = Conn {
        name,
        world: world.clone(),
        profile,
        sockets: [Socket::default(), Socket::default()],
        unsolicited: Cell::new(false),
        is_copy: Cell::new(false),
        is_answered: Cell::new(false),
        stalls_left: Cell::new(STALLS),
    };
    let conn = Rc::new(conn);
    (End { conn: Rc::clone(&conn), side: 0 }, End { conn, side: 1 })
}

pub(crate) fn reset_error() -> io::Error {
    io::Error::from_raw_os_error(104)
}

impl Conn {
    fn post(self: &Rc<Self>, to: usize, packet: Packet, extra_ns: u64) {
        let (least, most) = self.profile.latency_us;
        let chance = self.world.chance();
        let mut latency_ns = (least + chance.below_u64(most - least + 1)) * 1000 + extra_ns;
        if self.profile.stall_in > 0 && self.stalls_left.get() > 0 && chance.one_in(self.profile.stall_in) {
            self.stalls_left.set(self.stalls_left.get() - 1);
            latency_ns += self.profile.stall_ms * MS;
        }
        let socket = &self.sockets[to];
        let at_ns = (self.world.now_ns() + latency_ns).max(socket.latest_ns.get());
        socket.latest_ns.set(at_ns);
        let conn = Rc::clone(self);
        self.world.at(at_ns, move || conn.deliver(to, packet));
    }

    fn deliver(self: &Rc<Self>, to: usize, packet: Packet) {
        let socket = &self.sockets[to];
        match packet {
            Packet::Data(bytes) if socket.dead.get() || socket.closed.get() => {
                socket.unread.set(socket.unread.get() - bytes.len());
                if socket.closed.get() && !socket.dead.get() {
                    self.post(1 - to, Packet::Reset, 0);
                }
                self.sockets[1 - to].bell.ring();
            }
            Packet::Data(mut bytes) => {
                if let Some((until_ns, room)) = socket.swallow.take()
                    && self.world.now_ns() <= until_ns
                {
                    let lost = room.min(bytes.len());
                    self.world.tell(|| format!("{}/{to}: an abandoned read takes {lost} bytes with it", self.name));
                    bytes.drain(..lost);
                    socket.unread.set(socket.unread.get() - lost);
                }
                socket.inbox.borrow_mut().extend(bytes);
            }
            Packet::Fin => socket.fin.set(true),
            Packet::Reset if socket.dead.get() => {}
            Packet::Reset => {
                self.world.tell(|| format!("{}/{to}: is reset", self.name));
                socket.dead.set(true);
                socket.error.set(true);
                if self.profile.reset_discards {
                    let lost = socket.inbox.borrow_mut().drain(..).count();
                    socket.unread.set(socket.unread.get() - lost);
                }
            }
        }
        socket.bell.ring();
    }

    /// The process at this end dies: its kernel closes the connection for it.
    pub(crate) fn kill(self: &Rc<Self>, side: usize, resets: bool) {
        if resets {
            self.sockets[side].reset_on_close.set(true);
        }
        self.close(side);
        self.sockets[side].bell.ring();
    }

    /// Has this side seen the end of the other one, in order or by a reset?
    pub(crate) fn has_ended(&self, side: usize) -> bool {
        self.sockets[side].fin.get() || self.sockets[side].dead.get()
    }

    /// Does it rest: is a whole answer read, and nothing asked since?
    pub(crate) fn is_at_rest(&self) -> bool {
        self.is_answered.get() && self.sockets[0].unread.get() == 0
    }

    /// From here on what side 1 sends answers nothing.
    pub(crate) fn on_answered(&self) {
        self.unsolicited.set(true);
    }

    fn close(self: &Rc<Self>, side: usize) {
        let socket = &self.sockets[side];
        if socket.closed.replace(true) || socket.dead.get() {
            return;
        }
        let is_unread = !socket.inbox.borrow().is_empty();
        if socket.reset_on_close.get() || is_unread {
            self.world.tell(|| format!("{}/{side}: closes with a reset (unread: {is_unread})", self.name));
            self.post(1 - side, Packet::Reset, 0);
        } else if !socket.write_ended.replace(true) {
            self.world.tell(|| format!("{}/{side}: closes", self.name));
            self.post(1 - side, Packet::Fin, 0);
        }
    }
}

/// What [`End::look`] finds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    Nothing,
    Bytes,
    End,
    Broken,
}

impl End {
    fn socket(&self) -> &Socket {
        &self.conn.sockets[self.side]
    }

    pub(crate) fn world(&self) -> &World {
        &self.conn.world
    }

    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.conn.name, self.side)
    }

    /// Closes before the drop; every later operation fails.
    pub(crate) fn close(&self) {
        self.conn.close(self.side);
        self.socket().bell.ring();
    }

    /// Takes received bytes, at most `most`; nothing at the end of the stream.
    pub(crate) fn poll_recv(&self, poller: &Context<'_>, most: usize) -> Poll<io::Result<Vec<u8>>> {
        let socket = self.socket();
        if socket.closed.get() {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        let mut inbox = socket.inbox.borrow_mut();
        if !inbox.is_empty() {
            let mut count = most.min(inbox.len());
            if self.conn.world.chance().one_in(8) {
                count = 1 + self.conn.world.chance().below(count);
            }
            socket.unread.set(socket.unread.get() - count);
            let bytes: Vec<u8> = inbox.drain(..count).collect();
            self.conn.world.tell(|| format!("{}: reads {}", self.name(), shown(&bytes)));
            self.conn.sockets[1 - self.side].bell.ring();
            return Poll::Ready(Ok(bytes));
        }
        if socket.fin.get() {
            return Poll::Ready(Ok(Vec::new()));
        }
        if socket.error.take() {
            return Poll::Ready(Err(reset_error()));
        }
        if socket.dead.get() {
            return Poll::Ready(Ok(Vec::new()));
        }
        socket.bell.listen(poller);
        Poll::Pending
    }

    /// Was it reset?
    pub(crate) fn is_dead(&self) -> bool {
        self.socket().dead.get()
    }

    pub(crate) fn is_readable(&self) -> bool {
        let socket = self.socket();
        !socket.inbox.borrow().is_empty() || socket.fin.get() || socket.dead.get()
    }

    pub(crate) fn poll_readable(&self, poller: &Context<'_>) -> Poll<()> {
        if self.is_readable() {
            return Poll::Ready(());
        }
        self.socket().bell.listen(poller);
        Poll::Pending
    }

    /// Sends some of `bytes`; returns how many.
    pub(crate) fn poll_send(&self, poller: &Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let socket = self.socket();
        if socket.closed.get() {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        if socket.error.take() {
            return Poll::Ready(Err(reset_error()));
        }
        if socket.dead.get() || socket.write_ended.get() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let peer = &self.conn.sockets[1 - self.side];
        let room = self.conn.profile.window.saturating_sub(peer.unread.get());
        // As TCP does, wait for room worth a segment (RFC 9293 section 3.8.6.2.2), or two sides swap single bytes.
        if room < bytes.len().min(self.conn.profile.window / 4) {
            socket.bell.listen(poller);
            return Poll::Pending;
        }
        if self.side == 0 && self.conn.unsolicited.take() && !socket.inbox.borrow().is_empty() {
            let found = shown(socket.inbox.borrow_mut().make_contiguous());
            let name = self.name();
            self.conn.world.blame(format!("{name}: reused although unasked bytes were there to read: {found}"));
        }
        let mut count = room.min(bytes.len());
        if self.conn.world.chance().one_in(16) {
            count = 1 + self.conn.world.chance().below(count);
        }
        self.push(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn push(&self, bytes: &[u8]) {
        self.conn.world.tell(|| format!("{}: writes {}", self.name(), shown(bytes)));
        let peer = &self.conn.sockets[1 - self.side];
        peer.unread.set(peer.unread.get() + bytes.len());
        let mut rest = bytes;
        // Small segments for small messages: thousands of them at once show nothing new.
        let segment = self.conn.profile.segment.max(bytes.len() / 64);
        while !rest.is_empty() {
            let most = rest.len().min(segment);
            let length = 1 + self.conn.world.chance().below(most);
            let (segment, others) = rest.split_at(if most >= 4096 { most } else { length });
            self.conn.post(1 - self.side, Packet::Data(segment.to_vec()), 0);
            rest = others;
        }
    }

    /// What would a read find? Reports an error only once, as the kernel does.
    pub(crate) fn look(&self) -> Look {
        let socket = self.socket();
        if socket.error.take() {
            Look::Broken
        } else if !socket.inbox.borrow().is_empty() {
            Look::Bytes
        } else if socket.fin.get() || socket.dead.get() {
            Look::End
        } else {
            Look::Nothing
        }
    }

    pub(crate) fn end_write(&self) {
        if !self.socket().dead.get() && !self.socket().write_ended.replace(true) {
            self.conn.world.tell(|| format!("{}: ends its direction", self.name()));
            self.conn.post(1 - self.side, Packet::Fin, 0);
        }
    }

    pub(crate) fn reset_on_close(&self) {
        self.socket().reset_on_close.set(true);
    }

    /// Counts operations under way; two of a kind at once are a bug of the caller.
    pub(crate) fn on_operation(&self, is_read: bool, starts: bool) {
        let count = if is_read { &self.socket().reads } else { &self.socket().writes };
        if starts {
            count.set(count.get() + 1);
            if count.get() > 1 {
                let kind = if is_read { "reads" } else { "writes" };
                self.conn.world.blame(format!("{}: two {kind} at once", self.name()));
            }
        } else {
            count.set(count.get() - 1);
        }
    }

    /// A read was dropped in flight: it may still take what comes in the next moment.
    pub(crate) fn on_read_abandoned(&self, room: usize) {
        let until_ns = self.conn.world.now_ns() + self.conn.world.chance().below_u64(3 * MS);
        self.socket().swallow.set(Some((until_ns, room)));
    }

    /// A write was dropped in flight: some of it may still go out.
    pub(crate) fn on_write_abandoned(&self, bytes: &[u8]) {
        if !self.socket().dead.get() && !self.socket().write_ended.get() {
            let count = self.conn.world.chance().below(bytes.len() + 1);
            self.push(&bytes[..count]);
        }
    }

    /// Reads once; a reset stays one even if a write was told of it first.
    pub(crate) async fn recv(&self) -> io::Result<Vec<u8>> {
        let bytes = std::future::poll_fn(|poller| self.poll_recv(poller, 64 * 1024)).await?;
        if bytes.is_empty() && self.socket().dead.get() { Err(reset_error()) } else { Ok(bytes) }
    }

    pub(crate) async fn send(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = std::future::poll_fn(|poller| self.poll_send(poller, bytes)).await?;
            bytes = &bytes[count..];
        }
        Ok(())
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.conn.close(self.side);
    }
}

pub(crate) fn shown(bytes: &[u8]) -> String {
    let text = bytes.iter().position(|byte| !byte.is_ascii() || *byte == 0).unwrap_or(bytes.len());
    let cut = &bytes[..text.saturating_add(4).min(bytes.len()).min(400)];
    let tail = if cut.len() < bytes.len() { format!("... of {} bytes", bytes.len()) } else { String::new() };
    format!("\"{}\"{tail}", cut.escape_ascii())
}
