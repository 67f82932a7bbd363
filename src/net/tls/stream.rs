//! A TLS connection over a transport, as a stream of its own.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;

use rustls::{Error, HandshakeKind};

use super::certificate::describe;
use super::session::{RECORD_OVERHEAD, Session, Step, encrypted_bytes};
use crate::http1::ClientCertificate;
use crate::limits;
use crate::net::{Alarm, Buffer, BufferPool, Pending, Stream};

/// Most plaintext that one write of the transport carries: what one read of a body fills.
const WRITE_BYTES: usize = limits::BODY_BUFFER_BYTES;
const _: () = assert!(encrypted_bytes(WRITE_BYTES) <= limits::BODY_BUFFER_BYTES + limits::BODY_BUFFER_SLACK);
/// The same when only a small buffer is to be had.
const SMALL_WRITE_BYTES: usize = limits::BUFFER_BYTES - 4 * RECORD_OVERHEAD;

/// What an error says of a peer that wants another handshake.
const RENEGOTIATES: &str = "the peer asked for a renegotiation";

/// TLS over a transport. Made by [`super::accept`] or [`super::connect`], so its handshake is done.
///
/// One side may read while the other writes. What was received and not asked for yet lies in two buffers: records that
/// are not decrypted, and plaintext that did not fit where it was asked for. Both are empty, and back in the pool, when
/// the connection rests.
pub struct Tls<S: Stream> {
    transport: S,
    pool: BufferPool,
    session: RefCell<Session>,
    /// Read once, when the handshake is done: requests only copy what it says.
    certificate: Option<Box<ClientCertificate>>,
    /// Records that were read and are not decrypted yet; the last one may be incomplete.
    records: RefCell<Option<Buffer>>,
    /// Plaintext ahead of whoever reads.
    spill: RefCell<Option<Buffer>>,
    /// Did the last read fill its buffer, so that a larger one is worth it?
    is_bulk: Cell<bool>,
    peer_closed: Cell<bool>,
    reading: Cell<bool>,
    /// A write is under way, or one was abandoned: nothing may follow it in another's name.
    writing: Cell<bool>,
    /// Nothing more is to be said: it was, or a reset will say otherwise.
    is_silent: Cell<bool>,
    /// The peer broke the protocol: what it sends makes no sense any more.
    is_broken: Cell<bool>,
    /// Nobody wants to know what still comes.
    is_deaf: Cell<bool>,
}

impl<S: Stream> Tls<S> {
    /// A connection whose handshake is done, with the records and the plaintext that came right behind it.
    pub(super) fn new(
        transport: S,
        pool: BufferPool,
        session: Session,
        records: Option<Buffer>,
        ahead: Option<Buffer>,
    ) -> Self {
        let shown = match &session {
            Session::Server(connection) => connection.peer_certificates().and_then(<[_]>::first),
            Session::Client(_) => None,
        };
        Self {
            transport,
            pool,
            certificate: shown.and_then(describe).map(Box::new),
            session: RefCell::new(session),
            records: RefCell::new(records),
            spill: RefCell::new(ahead),
            is_bulk: Cell::new(false),
            peer_closed: Cell::new(false),
            reading: Cell::new(false),
            writing: Cell::new(false),
            is_silent: Cell::new(false),
            is_broken: Cell::new(false),
            is_deaf: Cell::new(false),
        }
    }

    /// Was the handshake a full one, or did it resume a session?
    pub fn kind(&self) -> Option<HandshakeKind> {
        self.session.borrow().agreed().handshake_kind()
    }

    /// What a client's certificate says of it; a resumed session has the certificate that it began with.
    pub fn certificate(&self) -> Option<&ClientCertificate> {
        self.certificate.as_deref()
    }

    /// Says nothing more, not even that nothing more comes.
    pub(in crate::net) fn keep_silent(&self) {
        self.is_silent.set(true);
    }

    /// What comes from here on is read as it is: a read that was abandoned may have taken the front of it along. What
    /// was kept for a reader is dropped.
    pub(in crate::net) fn stop_listening(&self) {
        self.is_deaf.set(true);
        drop(self.spill.take());
    }

    /// Is HTTP/2 the protocol that both sides agreed on (RFC 7301)?
    pub fn agreed_on_h2(&self) -> bool {
        self.session.borrow().agreed().alpn_protocol() == Some(b"h2")
    }

    /// What has to become readable before a read is; nothing when a read would not wait.
    pub(in crate::net) fn transport_unless_ready(&self) -> Option<&S> {
        let is_ready = self.spill.borrow().is_some() || self.peer_closed.get() || self.has_record();
        if is_ready { None } else { Some(&self.transport) }
    }

    /// Decrypts what is there, behind `into` as far as there is room.
    ///
    /// # Errors
    /// The peer broke the protocol; it is told, if the transport takes that at once.
    fn decrypt(&self, into: &mut Buffer) -> io::Result<()> {
        let mut spill = self.spill.borrow_mut();
        if let Some(ahead) = &mut *spill {
            let count = ahead.len().min(into.spare());
            into.extend(&ahead.filled()[..count]);
            ahead.consume(count);
            if !ahead.is_empty() {
                return Ok(());
            }
            *spill = None;
        }
        let mut kept = self.records.borrow_mut();
        let Some(records) = &mut *kept else { return Ok(()) };
        let mut out = Vec::new();
        let mut session = self.session.borrow_mut();
        let outcome = loop {
            if into.spare() == 0 || spill.is_some() {
                break Ok(());
            }
            let mut take = |plain: &[u8]| self.hand_over(plain, into, &mut spill);
            match session.step(records, &mut take, &mut out) {
                Ok(Step::More) => {}
                Ok(Step::Open | Step::Blocked) => break Ok(()),
                Ok(Step::Closed) => {
                    self.peer_closed.set(true);
                    break Ok(());
                }
                Err(error) => break Err(error),
            }
        };
        // All that TLS has to say of its own once the handshake is done is no to a renegotiation (RFC 5246 section 7.2.2),
        // and with whoever asks for one it ends: a refusal in between could not go out while a write is under way.
        let outcome =
            outcome.and_then(|()| if out.is_empty() { Ok(()) } else { Err(Error::General(RENEGOTIATES.to_owned())) });
        if outcome.is_err() {
            session.last_words(records, &mut out);
            self.is_silent.set(true);
            self.is_broken.set(true);
            if !self.writing.get() {
                // Whoever cannot be told is closed all the same.
                drop(self.transport.try_write(&out));
            }
        }
        if records.is_empty() || outcome.is_err() {
            *kept = None;
        }
        outcome.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Puts `plain` behind `into`, and what does not fit ahead of the next read.
    fn hand_over(&self, plain: &[u8], into: &mut Buffer, spill: &mut Option<Buffer>) {
        let (now, later) = plain.split_at(plain.len().min(into.spare()));
        into.extend(now);
        self.put_ahead(later, spill);
    }

    fn put_ahead(&self, plain: &[u8], spill: &mut Option<Buffer>) {
        if !plain.is_empty() {
            let ahead = spill.get_or_insert_with(|| self.pool.lend());
            ahead.reserve(plain.len());
            ahead.extend(plain);
        }
    }

    /// A buffer to read records into, with room in front of them for those that are there already.
    fn landing(&self) -> Buffer {
        let ahead = self.records.borrow().as_ref().map_or(0, Buffer::len);
        let wants_large = self.is_bulk.get() || ahead >= limits::BUFFER_BYTES / 2;
        let large = if wants_large { self.pool.try_lend_large() } else { None };
        let mut landing = large.unwrap_or_else(|| self.pool.lend());
        landing.rewind(ahead, 0);
        landing.reserve(limits::BUFFER_BYTES / 2);
        landing
    }

    /// What was read follows what is there.
    fn land(&self, mut landing: Buffer) {
        self.is_bulk.set(landing.spare() == 0);
        let mut records = self.records.borrow_mut();
        if let Some(before) = &*records
            && !landing.try_prepend(before.filled())
        {
            // The room in front went to a move of the buffer's content.
            let mut joined = self.pool.lend();
            joined.extend(before.filled());
            joined.reserve(landing.len());
            joined.extend(landing.filled());
            landing = joined;
        }
        *records = Some(landing);
    }

    /// What a read makes of what is there: `None` when the transport has to be asked.
    fn received(&self, into: &mut Buffer) -> Option<io::Result<usize>> {
        if self.is_broken.get() {
            return Some(Err(io::ErrorKind::InvalidData.into()));
        }
        let before = into.len();
        match self.decrypt(into) {
            Err(error) => Some(Err(error)),
            Ok(()) if into.len() > before => Some(Ok(into.len() - before)),
            Ok(()) if self.peer_closed.get() => Some(Ok(0)),
            Ok(()) => None,
        }
    }

    /// The records for the front of `plain`, and how much of it they carry.
    fn encrypted(&self, plain: &[u8]) -> io::Result<(Buffer, usize)> {
        let large = if plain.len() > SMALL_WRITE_BYTES { self.pool.try_lend_large() } else { None };
        let most = if large.is_some() { WRITE_BYTES } else { SMALL_WRITE_BYTES };
        let mut out = large.unwrap_or_else(|| self.pool.lend());
        let count = plain.len().min(most);
        let outcome = self.say(|session, records, take| session.encrypt(&plain[..count], records, take, &mut out));
        outcome.map_err(|error| io::Error::new(io::ErrorKind::BrokenPipe, error))?;
        Ok((out, count))
    }

    /// Has the session say something, for which it looks at all records that are there: what they carry, and that the peer
    /// ended, is kept for whoever reads.
    fn say(
        &self,
        what: impl FnOnce(&mut Session, &mut Buffer, &mut dyn FnMut(&[u8])) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let (mut records, mut spill) = (self.records.borrow_mut(), self.spill.borrow_mut());
        let mut none = None;
        let received = records.as_mut().unwrap_or_else(|| none.insert(self.pool.lend()));
        let mut take = |ahead: &[u8]| {
            if !self.is_deaf.get() {
                self.put_ahead(ahead, &mut spill);
            }
        };
        if what(&mut self.session.borrow_mut(), received, &mut take)? {
            self.peer_closed.set(true);
        }
        Ok(())
    }

    /// Is there a whole record that is not decrypted yet?
    pub(super) fn has_record(&self) -> bool {
        self.records.borrow().as_ref().is_some_and(|records| match records.filled() {
            // RFC 8446 section 5.1: type, version and length.
            [_, _, _, high, low, content @ ..] => content.len() >= usize::from(u16::from_be_bytes([*high, *low])),
            _ => false,
        })
    }

    /// Takes what is there, to see whether it says anything to whoever reads; that is kept for them.
    fn look_inside(&self) -> Pending {
        let mut ahead = self.pool.lend();
        match self.try_read(&mut ahead) {
            Ok(0) => Pending::End,
            Ok(_) => {
                let mut spill = self.spill.borrow_mut();
                if let Some(rest) = spill.take() {
                    ahead.reserve(rest.len());
                    ahead.extend(rest.filled());
                }
                *spill = Some(ahead);
                Pending::Bytes
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Pending::Nothing,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Pending::End,
            Err(_) => Pending::Broken,
        }
    }

    /// The alert that says that nothing more comes (RFC 8446 section 6.1): once, and if anything may be said.
    fn goodbye(&self) -> Option<Vec<u8>> {
        if self.is_silent.replace(true) || self.writing.get() {
            return None;
        }
        let mut out = Vec::new();
        self.say(|session, records, take| session.close_notify(records, take, &mut out)).ok()?;
        Some(out)
    }

    /// Tells the peer that nothing more comes, if the transport takes that at once.
    fn say_close(&self) {
        if let Some(alert) = self.goodbye() {
            drop(self.transport.try_write(&alert));
        }
    }

    /// Tells the peer that nothing more comes, and waits until the transport has taken it.
    pub(in crate::net) async fn announce_end(&self) {
        let Some(alert) = self.goodbye() else { return };
        let sent = match self.transport.try_write(&alert) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            sent => sent.unwrap_or(alert.len()),
        };
        if sent < alert.len() {
            let mut rest = self.pool.lend();
            rest.extend(&alert[sent..]);
            // Whoever cannot be told is closed all the same.
            drop(self.put(rest).await);
        }
    }

    /// Writes all of `out` to the transport.
    async fn put(&self, mut out: Buffer) -> io::Result<()> {
        while !out.is_empty() {
            let (written, back) = self.transport.write(out).await;
            out = back;
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => out.consume(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl<S: Stream> Stream for Tls<S> {
    async fn read(&self, mut into: Buffer) -> (io::Result<usize>, Buffer) {
        if self.is_deaf.get() {
            return self.transport.read(into).await;
        }
        loop {
            if let Some(received) = self.received(&mut into) {
                return (received, into);
            }
            let reading = Flag::raise(&self.reading);
            let (read, landing) = self.transport.read(self.landing()).await;
            drop(reading);
            match read {
                // Without the alert that ends a direction, anybody may have cut it (RFC 8446 section 6.1).
                Ok(0) => return (Err(io::ErrorKind::UnexpectedEof.into()), into),
                Ok(_) => self.land(landing),
                Err(error) => return (Err(error), into),
            }
        }
    }

    async fn read_until(&self, mut into: Buffer, alarm: &Alarm) -> (io::Result<usize>, Buffer) {
        loop {
            if let Some(received) = self.received(&mut into) {
                return (received, into);
            }
            let reading = Flag::raise(&self.reading);
            let (read, landing) = self.transport.read_until(self.landing(), alarm).await;
            drop(reading);
            match read {
                Ok(0) => return (Err(io::ErrorKind::UnexpectedEof.into()), into),
                Ok(_) => self.land(landing),
                Err(error) => return (Err(error), into),
            }
        }
    }

    async fn write(&self, from: Buffer) -> (io::Result<usize>, Buffer) {
        if self.is_silent.get() {
            return (Err(io::ErrorKind::BrokenPipe.into()), from);
        }
        let (out, count) = match self.encrypted(from.filled()) {
            Ok(encrypted) => encrypted,
            Err(error) => return (Err(error), from),
        };
        // Stays up when this is abandoned or fails: a record that went out in part is followed by nothing.
        self.writing.set(true);
        if let Err(error) = self.put(out).await {
            return (Err(error), from);
        }
        self.writing.set(false);
        (Ok(count), from)
    }

    async fn readable(&self) -> io::Result<()> {
        match self.transport_unless_ready() {
            Some(transport) => transport.readable().await,
            None => Ok(()),
        }
    }

    fn try_read(&self, into: &mut Buffer) -> io::Result<usize> {
        loop {
            if let Some(received) = self.received(into) {
                return received;
            }
            let mut landing = self.landing();
            match self.transport.try_read(&mut landing)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => self.land(landing),
            }
        }
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        // A record must go out whole, which nobody can promise here.
        let _refused = bytes;
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn pending(&self) -> Pending {
        match self.transport.pending() {
            // Whatever has come before: there is nobody to answer.
            Pending::Broken => Pending::Broken,
            below @ (Pending::Nothing | Pending::End | Pending::Bytes) if self.is_deaf.get() => below,
            _ if self.spill.borrow().is_some() => Pending::Bytes,
            // Whoever is at it finds out by itself.
            Pending::Bytes if self.reading.get() => Pending::Nothing,
            // It may be a message of TLS itself, such as a ticket.
            Pending::Bytes => self.look_inside(),
            Pending::Nothing | Pending::End if self.has_record() => self.look_inside(),
            Pending::Nothing if self.peer_closed.get() => Pending::End,
            seen @ (Pending::Nothing | Pending::End) => seen,
        }
    }

    fn taken(&self) -> Option<u64> {
        self.transport.taken()
    }

    fn local(&self) -> Option<SocketAddr> {
        self.transport.local()
    }

    fn shutdown_write(&self) {
        self.say_close();
        self.transport.shutdown_write();
    }

    fn reset_on_close(&self) {
        self.keep_silent();
        self.transport.reset_on_close();
    }

    fn hang_up_on_drop(&self) {
        self.transport.hang_up_on_drop();
    }

    fn keep_alive(&self, seconds: u32) {
        self.transport.keep_alive(seconds);
    }
}

impl<S: Stream> Drop for Tls<S> {
    fn drop(&mut self) {
        self.say_close();
    }
}

/// Says that something is under way, however it ends.
struct Flag<'a>(&'a Cell<bool>);

impl<'a> Flag<'a> {
    fn raise(flag: &'a Cell<bool>) -> Self {
        flag.set(true);
        Self(flag)
    }
}

impl Drop for Flag<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}
