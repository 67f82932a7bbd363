//! What passes between a connection of HTTP/2 and its channel: buffers, the meter that looks at all of it, and the two
//! loops that read and write.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Poller, Poll};

use h2::server::Connection;
use http::HeaderMap;

use super::chunk::Chunk;
use super::io::Io;
use super::server::H2Limits;
use crate::http2::{Breach, Excess, Meter, Tally};
use crate::limits;
use crate::net::{Alarm, Buffer, BufferPool, Channel, Stall, Stream};

/// A loop that ends with its direction of the channel. It is polled whenever there is something for it to do, and so
/// needs no waker but that of the channel's operation.
type Loop = Pin<Box<dyn Future<Output = io::Result<()>>>>;

/// Asks the channel what its peer has taken ([`Stream::taken`]).
type Taken = Box<dyn Fn() -> Option<u64>>;

/// Bytes from which it shows what a peer speaks: the header of a frame.
pub(super) const GREETING_BYTES: usize = 9;

/// What `h2`'s side of a connection, its streams and whoever drives it share.
pub(super) struct Wire {
    pub(super) pool: BufferPool,
    pub(super) is_secure: bool,
    /// Guards the wait for bytes with a buffer at hand; also the clock.
    alarm: Alarm,
    meter: RefCell<Meter>,
    /// When something came last, or the connection began.
    received_ms: Cell<u64>,
    /// Was the peer given up for its silence?
    is_silent: Cell<bool>,
    /// The first bytes that came, and zeros.
    greeting: Cell<[u8; GREETING_BYTES]>,
    /// What came and was not taken yet.
    inbox: RefCell<Option<Buffer>>,
    /// What is to go.
    outbox: RefCell<Option<Buffer>>,
    /// The write under way.
    writing: Cell<Option<Stall>>,
    /// Tells what the peer has taken of all that was written, until the end.
    taken: RefCell<Option<Taken>>,
    /// Since when the client owes the rest of some fields.
    fields_since_ms: Cell<Option<u64>>,
    /// Since when the client owes an answer to our settings.
    settings_since_ms: Cell<Option<u64>>,
    /// Was the preface right? Until then nobody can be told anything.
    is_begun: Cell<bool>,
    /// The client's direction has ended.
    is_ended: Cell<bool>,
    is_broken: Cell<bool>,
    /// Is what the peer said heard although it takes nothing any more? An endpoint may have answered before it closed (RFC 9112
    /// section 9.5); a client that takes nothing has no use for an answer.
    hears_out: bool,
    /// Does the peer take nothing any more, while it may still be heard? What is written goes nowhere.
    is_deaf: Cell<bool>,
    /// Did the last read fill its buffer, so that a larger one is worth it?
    is_bulk: Cell<bool>,
    /// Was all read that has come, so that it is in vain to look?
    is_dry: Cell<bool>,
    /// Field sections that streams have sent and that have not gone.
    fields_owed: Cell<u64>,
    /// Has the peer got the names of fields whose values differ each time?
    is_introduced: Cell<bool>,
    reader: RefCell<Option<Loop>>,
    writer: RefCell<Option<Loop>>,
}

/// A wire whose loops run; they end with it.
pub(super) struct Running(pub(super) Rc<Wire>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Wire {
    /// A wire over what `carrier` leads to, on which `received` has come already, as a server that allows so
    /// much. Its loops keep it until it is stopped.
    pub(super) fn of_server<S, C>(
        carrier: C,
        received: Option<Buffer>,
        pool: BufferPool,
        alarm: Alarm,
        allowed: H2Limits,
    ) -> Rc<Self>
    where
        S: Stream,
        C: Deref<Target = Channel<S>> + Clone + 'static,
    {
        let meter = Meter::new(alarm.now_ms(), allowed.header_bytes, allowed.streams);
        Self::new(carrier, received, pool, alarm, (meter, false))
    }

    /// The same as a client.
    pub(super) fn of_client<S, C>(carrier: C, pool: BufferPool, alarm: Alarm, header_bytes: u32) -> Rc<Self>
    where
        S: Stream,
        C: Deref<Target = Channel<S>> + Clone + 'static,
    {
        let meter = Meter::of_client(alarm.now_ms(), header_bytes);
        Self::new(carrier, None, pool, alarm, (meter, true))
    }

    fn new<S, C>(
        carrier: C,
        received: Option<Buffer>,
        pool: BufferPool,
        alarm: Alarm,
        (meter, hears_out): (Meter, bool),
    ) -> Rc<Self>
    where
        S: Stream,
        C: Deref<Target = Channel<S>> + Clone + 'static,
    {
        let wire = Rc::new(Self {
            pool,
            is_secure: carrier.is_secure(),
            meter: RefCell::new(meter),
            received_ms: Cell::new(alarm.now_ms()),
            is_silent: Cell::new(false),
            greeting: Cell::default(),
            alarm,
            inbox: RefCell::default(),
            outbox: RefCell::default(),
            writing: Cell::new(None),
            taken: RefCell::default(),
            fields_since_ms: Cell::new(None),
            settings_since_ms: Cell::new(None),
            is_begun: Cell::new(false),
            is_ended: Cell::new(false),
            is_broken: Cell::new(false),
            hears_out,
            is_deaf: Cell::new(false),
            is_bulk: Cell::new(false),
            is_dry: Cell::new(false),
            fields_owed: Cell::new(0),
            is_introduced: Cell::new(false),
            reader: RefCell::default(),
            writer: RefCell::default(),
        });
        if let Some(received) = received {
            wire.on_received(received);
        }
        let (channel, there) = (carrier.clone(), Rc::clone(&wire));
        *wire.reader.borrow_mut() = Some(Box::pin(async move { read_all(&channel, &there).await }));
        let below = carrier.clone();
        *wire.taken.borrow_mut() = Some(Box::new(move || below.taken()));
        let there = Rc::clone(&wire);
        *wire.writer.borrow_mut() = Some(Box::pin(async move { write_all(&carrier, &there).await }));
        wire
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.alarm.now_ms()
    }

    fn on_received(&self, buffer: Buffer) {
        let mut meter = self.meter.borrow_mut();
        meter.on_received(buffer.filled(), self.now_ms());
        self.received_ms.set(self.now_ms());
        if self.greeting.get() == [0; GREETING_BYTES] {
            let mut greeting = [0; GREETING_BYTES];
            let known = buffer.len().min(GREETING_BYTES);
            greeting[..known].copy_from_slice(&buffer.filled()[..known]);
            self.greeting.set(greeting);
        }
        let since_ms = self.fields_since_ms.get().unwrap_or(self.now_ms());
        self.fields_since_ms.set(meter.is_in_fields().then_some(since_ms));
        self.note_settings(&meter);
        self.is_bulk.set(buffer.spare() == 0);
        *self.inbox.borrow_mut() = Some(buffer);
    }

    fn note_settings(&self, meter: &Meter) {
        let since_ms = self.settings_since_ms.get().unwrap_or(self.now_ms());
        self.settings_since_ms.set(meter.awaits_settings().then_some(since_ms));
    }

    /// Gives what has come to `take`, which says how much of it it took; ready with nothing taken at the end of the client's
    /// direction. Nothing comes any more once the meter has seen enough.
    pub(super) fn poll_take(&self, poller: &mut Poller<'_>, take: impl FnOnce(&[u8]) -> usize) -> Poll<io::Result<()>> {
        if self.has_seen_enough() {
            return Poll::Pending;
        }
        if self.inbox.borrow().is_none() && !self.is_ended.get() && !self.is_dry.get() {
            self.poll_loop(&self.reader, poller).inspect_err(|_| self.is_broken.set(true))?;
        }
        if self.has_seen_enough() {
            return Poll::Pending;
        }
        let mut inbox = self.inbox.borrow_mut();
        let Some(buffer) = &mut *inbox else {
            return if self.is_ended.get() { Poll::Ready(Ok(())) } else { Poll::Pending };
        };
        let taken = take(buffer.filled());
        buffer.consume(taken);
        if buffer.is_empty() {
            *inbox = None;
        }
        Poll::Ready(Ok(()))
    }

    /// Nothing is looked for until this is taken back, by whoever has just seen that nothing is there and waits for nothing in
    /// between.
    pub(super) fn set_dry(&self, is_dry: bool) {
        self.is_dry.set(is_dry);
    }

    /// Takes as much of `bytes` as there is room for, to go when [`Wire::poll_send`] is called; pending while there is none.
    pub(super) fn poll_put(&self, poller: &mut Poller<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_broken.get() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if !self.has_room() {
            let _is_sent = self.poll_send(poller)?;
            if !self.has_room() {
                return Poll::Pending;
            }
        }
        if self.is_deaf.get() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let mut outbox = self.outbox.borrow_mut();
        let buffer = outbox.get_or_insert_with(|| self.pool.lend());
        let count = bytes.len().min(buffer.spare());
        buffer.extend(&bytes[..count]);
        let mut meter = self.meter.borrow_mut();
        meter.on_sent(&bytes[..count], self.now_ms());
        self.note_settings(&meter);
        Poll::Ready(Ok(count))
    }

    /// Is there room for a byte to go? A full buffer gives way to a large one once.
    fn has_room(&self) -> bool {
        let mut outbox = self.outbox.borrow_mut();
        let Some(buffer) = &mut *outbox else { return true };
        if buffer.spare() > 0 {
            return true;
        }
        if buffer.is_large() {
            return false;
        }
        let Some(mut large) = self.pool.try_lend_large() else { return false };
        large.extend(buffer.filled());
        *buffer = large;
        true
    }

    /// Writes what is to go; ready once all of it has.
    pub(super) fn poll_send(&self, poller: &mut Poller<'_>) -> Poll<io::Result<()>> {
        if self.is_broken.get() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if self.is_all_sent() {
            return Poll::Ready(Ok(()));
        }
        if let Err(error) = self.poll_loop(&self.writer, poller) {
            if !self.hears_out {
                self.is_broken.set(true);
                return Poll::Ready(Err(error));
            }
            self.is_deaf.set(true);
            self.writing.set(None);
            drop(self.outbox.borrow_mut().take());
        }
        if self.is_all_sent() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn is_all_sent(&self) -> bool {
        self.outbox.borrow().is_none() && !self.is_writing()
    }

    /// Lets a loop go on, up to its end or an error.
    fn poll_loop(&self, slot: &RefCell<Option<Loop>>, poller: &mut Poller<'_>) -> io::Result<()> {
        let mut slot = slot.borrow_mut();
        let Some(running) = &mut *slot else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let Poll::Ready(ended) = running.as_mut().poll(poller) else { return Ok(()) };
        *slot = None;
        ended
    }

    /// Ends both loops, and with them the operations under way: nothing more is read or written.
    pub(super) fn stop(&self) {
        drop((self.reader.borrow_mut().take(), self.writer.borrow_mut().take(), self.taken.borrow_mut().take()));
        self.is_broken.set(true);
    }

    /// What the client did too often.
    pub(super) fn excess(&self) -> Option<Excess> {
        self.meter.borrow().excess()
    }

    /// What showed that the client does not speak the protocol.
    pub(super) fn breach(&self) -> Option<Breach> {
        self.meter.borrow().breach()
    }

    /// Did the peer do something too often, or break the protocol?
    pub(super) fn has_seen_enough(&self) -> bool {
        self.is_begun.get() && (self.excess().is_some() || self.breach().is_some())
    }

    /// The preface was right: what is wrong behind it ends the connection from now on.
    pub(super) fn begin(&self) {
        self.is_begun.set(true);
    }

    /// What has passed since the last call, if anything that counts did; field sections that went are those that no stream of
    /// `connection` sent, but `h2` itself.
    pub(super) fn take_tally(&self, connection: &Connection<Io, Chunk>) -> Option<Tally> {
        let mut tally = self.meter.borrow_mut().take_tally()?;
        let (went, owed) = (tally.fields_sent, self.fields_owed.get());
        tally.fields_sent = went.saturating_sub(owed);
        // What a stream sent before it was reset never goes.
        self.fields_owed.set(if connection.has_streams() { owed.saturating_sub(went) } else { 0 });
        Some(tally)
    }

    /// What has passed since the last call, if anything that counts did.
    pub(super) fn take_whole_tally(&self) -> Option<Tally> {
        self.meter.borrow_mut().take_tally()
    }

    /// Has `h2` taken up the settings of the peer?
    pub(super) fn is_acquainted(&self) -> bool {
        self.meter.borrow().is_acquainted()
    }

    /// Does the peer take nothing any more, while it may still be heard?
    pub(super) fn is_deaf(&self) -> bool {
        self.is_deaf.get()
    }

    /// The peer is given up for its silence.
    pub(super) fn set_silent(&self) {
        self.is_silent.set(true);
    }

    /// Was the peer given up for its silence?
    pub(super) fn is_silent(&self) -> bool {
        self.is_silent.get()
    }

    /// When something came last, or the connection began.
    pub(super) fn received_ms(&self) -> u64 {
        self.received_ms.get()
    }

    /// The first bytes that came, and zeros.
    pub(super) fn greeting(&self) -> [u8; GREETING_BYTES] {
        self.greeting.get()
    }

    /// Lets the first head of a connection bring all its fields into the peer's table (RFC 7541 section 2.3.2), also those
    /// marked to stay out of it: from then on their names are one byte, and only their values are spelled out.
    pub(super) fn introduce(&self, fields: &mut HeaderMap) {
        if !self.is_introduced.replace(true) {
            fields.values_mut().for_each(|value| value.set_sensitive(false));
        }
    }

    /// A stream sends some fields.
    pub(super) fn on_fields(&self) {
        self.fields_owed.set(self.fields_owed.get() + 1);
    }

    /// Since when the client takes nothing of what is written.
    pub(super) fn writing_since_ms(&self) -> Option<u64> {
        let mut stall = self.writing.get()?;
        let since_ms = stall.since_ms(self.now_ms(), || self.taken());
        self.writing.set(Some(stall));
        Some(since_ms)
    }

    /// Is a write under way?
    pub(super) fn is_writing(&self) -> bool {
        self.writing.get().is_some()
    }

    /// What the peer has taken of all that was written, while more waits.
    pub(super) fn taken(&self) -> Option<u64> {
        self.writing.get()?;
        self.taken.borrow().as_ref().and_then(|taken| taken())
    }

    /// Since when the client owes the rest of some fields.
    pub(super) fn fields_since_ms(&self) -> Option<u64> {
        self.fields_since_ms.get()
    }

    /// Since when the client owes an answer to our settings.
    pub(super) fn settings_since_ms(&self) -> Option<u64> {
        self.settings_since_ms.get()
    }

    /// Has the client ended its direction, or is the connection gone?
    pub(super) fn is_over(&self) -> bool {
        self.is_ended.get() || self.is_broken.get()
    }
}

/// Reads whenever nothing is left of what was read before.
async fn read_all<S: Stream>(channel: &Channel<S>, wire: &Wire) -> io::Result<()> {
    while let Some(buffer) = read_some(channel, wire).await? {
        wire.on_received(buffer);
        poll_fn(|_| if wire.inbox.borrow().is_none() { Poll::Ready(()) } else { Poll::Pending }).await;
    }
    wire.is_ended.set(true);
    Ok(())
}

/// What comes next, `None` at the end. A connection that rests gives its buffer back, unless there are few of them.
async fn read_some<S: Stream>(channel: &Channel<S>, wire: &Wire) -> io::Result<Option<Buffer>> {
    loop {
        let large = if wire.is_bulk.get() { wire.pool.try_lend_large() } else { None };
        let into = large.unwrap_or_else(|| wire.pool.lend());
        let (read, buffer) = if wire.pool.lent() <= limits::BUFFERS_IDLE {
            channel.read(into).await
        } else {
            wire.alarm.set_in(limits::PARK_AFTER_MS);
            channel.read_until(into, &wire.alarm).await
        };
        match read {
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(Some(buffer)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                drop(buffer);
                wire.is_bulk.set(false);
                channel.readable().await?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Writes whatever is to go, as much at once as has gathered.
async fn write_all<S: Stream>(channel: &Channel<S>, wire: &Wire) -> io::Result<()> {
    loop {
        let mut from = poll_fn(|_| wire.outbox.borrow_mut().take().map_or(Poll::Pending, Poll::Ready)).await;
        wire.writing.set(Some(Stall::new(wire.now_ms())));
        while !from.is_empty() {
            let (written, back) = channel.write(from).await;
            from = back;
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => from.consume(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            wire.writing.set(Some(Stall::new(wire.now_ms())));
        }
        wire.writing.set(None);
    }
}
