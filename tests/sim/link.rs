//! One end of a connection as clients and endpoints use it: as it is, or with TLS over it, by rustls' own state machine.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustls::Connection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::pipe::{End, reset_error};
use crate::plan::WireTrouble;
use crate::world::{Bell, MS};

/// Bytes that may wait to be sent before whoever writes waits as well.
const OUTBOX_BYTES: usize = 32 * 1024;

pub(crate) struct Link {
    pub(crate) end: End,
    tls: Option<RefCell<Connection>>,
    /// Records, or frames, that have not gone.
    outbox: RefCell<Vec<u8>>,
    /// Records that came and were not looked at.
    unread: RefCell<Vec<u8>>,
    trouble: WireTrouble,
    sent: Cell<usize>,
    /// Between two pieces of a drip.
    pauses: Rc<Cell<bool>>,
    /// Was it left in the midst of something, as planned?
    left: Cell<bool>,
    /// Did the peer end without saying so?
    unannounced: Cell<bool>,
    moved: Rc<Bell>,
}

impl Link {
    pub(crate) fn plain(end: End, trouble: WireTrouble) -> Self {
        Self::new(end, None, trouble)
    }

    pub(crate) fn secured(end: End, session: Connection, trouble: WireTrouble) -> Self {
        Self::new(end, Some(RefCell::new(session)), trouble)
    }

    fn new(end: End, tls: Option<RefCell<Connection>>, trouble: WireTrouble) -> Self {
        Self {
            end,
            tls,
            outbox: RefCell::default(),
            unread: RefCell::default(),
            trouble,
            sent: Cell::new(0),
            pauses: Rc::default(),
            left: Cell::new(false),
            unannounced: Cell::new(false),
            moved: Rc::default(),
        }
    }

    /// Did this side leave as it was to?
    pub(crate) fn has_left(&self) -> bool {
        self.left.get()
    }

    /// Did the peer's direction end without a word of TLS that it does?
    pub(crate) fn is_unannounced(&self) -> bool {
        self.unannounced.get()
    }

    /// Was a session resumed?
    pub(crate) fn is_resumed(&self) -> bool {
        let kind = self.tls.as_ref().and_then(|tls| tls.borrow().handshake_kind());
        kind == Some(rustls::HandshakeKind::Resumed)
    }

    /// Goes through the handshake, if there is one.
    pub(crate) async fn handshake(&self) -> io::Result<()> {
        let Some(tls) = &self.tls else { return Ok(()) };
        poll_fn(|poller| {
            loop {
                // What is to go goes, or waits for room; either way the peer may have something to say.
                if self.poll_pump(poller)?.is_ready() && !tls.borrow().is_handshaking() {
                    return Poll::Ready(Ok(()));
                }
                if ready!(self.poll_records(poller))? == 0 {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
            }
        })
        .await
    }

    /// Reads once; nothing at the end that the peer announced, or of a plain connection.
    pub(crate) async fn recv(&self) -> io::Result<Vec<u8>> {
        if self.tls.is_none() {
            return self.end.recv().await;
        }
        poll_fn(|poller| self.poll_recv(poller, 64 * 1024)).await
    }

    pub(crate) async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        if self.tls.is_none() {
            return self.end.send(bytes).await;
        }
        for piece in bytes.chunks(OUTBOX_BYTES) {
            self.push(piece)?;
            poll_fn(|poller| self.poll_pump(poller)).await?;
        }
        Ok(())
    }

    /// Ends this direction, and says so.
    pub(crate) async fn end_write(&self) {
        if let Some(tls) = &self.tls {
            tls.borrow_mut().send_close_notify();
            if poll_fn(|poller| self.poll_pump(poller)).await.is_err() {
                return;
            }
        }
        self.end.end_write();
    }

    fn push(&self, bytes: &[u8]) -> io::Result<()> {
        match &self.tls {
            Some(tls) => tls.borrow_mut().writer().write_all(bytes),
            None => self.outbox.borrow_mut().write_all(bytes),
        }
    }

    fn poll_recv(&self, poller: &Context<'_>, most: usize) -> Poll<io::Result<Vec<u8>>> {
        let Some(tls) = &self.tls else {
            let bytes = ready!(self.end.poll_recv(poller, most))?;
            let is_dead = bytes.is_empty() && self.end.is_dead();
            return Poll::Ready(if is_dead { Err(reset_error()) } else { Ok(bytes) });
        };
        loop {
            let mut bytes = vec![0; most];
            match tls.borrow_mut().reader().read(&mut bytes) {
                Ok(count) => {
                    bytes.truncate(count);
                    return Poll::Ready(Ok(bytes));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.unannounced.set(true);
                    return Poll::Ready(Err(error));
                }
            }
            let _how_many = ready!(self.poll_records(poller))?;
        }
    }

    /// Takes in what has come; how many bytes, none at the end.
    fn poll_records(&self, poller: &Context<'_>) -> Poll<io::Result<usize>> {
        let Some(tls) = &self.tls else { return Poll::Ready(Ok(0)) };
        if self.unread.borrow().is_empty() {
            let bytes = ready!(self.end.poll_recv(poller, 64 * 1024))?;
            if bytes.is_empty() && self.end.is_dead() {
                return Poll::Ready(Err(reset_error()));
            }
            *self.unread.borrow_mut() = bytes;
        }
        let (mut unread, mut tls) = (self.unread.borrow_mut(), tls.borrow_mut());
        let mut taken = 0;
        // It takes no more than it has room for: what is left comes once its plaintext was read.
        while let Ok(count) = tls.read_tls(&mut &unread[taken..]) {
            taken += count;
            if let Err(error) = tls.process_new_packets() {
                self.end.world().blame(format!("{}: TLS is broken: {error}", self.end.name()));
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            if taken == unread.len() {
                break;
            }
        }
        unread.drain(..taken);
        drop((unread, tls));
        // Answers of the state machine itself go out with what is sent next, or now.
        let _may_wait = self.poll_pump(poller)?;
        Poll::Ready(Ok(taken))
    }

    /// Sends all that is to go.
    fn poll_pump(&self, poller: &Context<'_>) -> Poll<io::Result<()>> {
        if let Some(tls) = &self.tls {
            let mut tls = tls.borrow_mut();
            while tls.wants_write() {
                tls.write_tls(&mut *self.outbox.borrow_mut())?;
            }
        }
        loop {
            if self.outbox.borrow().is_empty() {
                return Poll::Ready(Ok(()));
            }
            if self.pauses.get() {
                self.moved.listen(poller);
                return Poll::Pending;
            }
            let mut most = self.outbox.borrow().len();
            if let Some((at, resets)) = self.trouble.cut {
                most = most.min(at.saturating_sub(self.sent.get()));
                if most == 0 {
                    return Poll::Ready(Err(self.leave(resets)));
                }
            }
            if let Some((piece, _)) = self.trouble.drip {
                most = most.min(piece);
            }
            let mut outbox = self.outbox.borrow_mut();
            let Poll::Ready(count) = self.end.poll_send(poller, &outbox[..most])? else {
                self.moved.listen(poller);
                return Poll::Pending;
            };
            outbox.drain(..count);
            drop(outbox);
            self.sent.set(self.sent.get() + count);
            if let Some((_, ms)) = self.trouble.drip {
                self.pause(ms);
            }
            self.moved.ring();
        }
    }

    fn pause(&self, ms: u64) {
        self.pauses.set(true);
        let (world, pauses, moved) = (self.end.world(), Rc::clone(&self.pauses), Rc::clone(&self.moved));
        world.at(world.now_ns() + ms * MS, move || {
            pauses.set(false);
            moved.ring();
        });
    }

    fn leave(&self, resets: bool) -> io::Error {
        self.left.set(true);
        if resets {
            self.end.reset_on_close();
        }
        self.end.close();
        io::ErrorKind::ConnectionAborted.into()
    }
}

/// A link as `h2` wants it.
pub(crate) struct LinkIo(pub(crate) Rc<Link>);

impl AsyncRead for LinkIo {
    fn poll_read(self: Pin<&mut Self>, poller: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let bytes = ready!(self.0.poll_recv(poller, into.remaining()))?;
        into.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LinkIo {
    fn poll_write(self: Pin<&mut Self>, poller: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let link = &self.0;
        if link.outbox.borrow().len() >= OUTBOX_BYTES {
            ready!(link.poll_pump(poller))?;
        }
        link.push(bytes)?;
        let _may_wait = link.poll_pump(poller)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_pump(poller)
    }

    fn poll_shutdown(self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(tls) = &self.0.tls {
            tls.borrow_mut().send_close_notify();
        }
        ready!(self.0.poll_pump(poller))?;
        self.0.end.end_write();
        Poll::Ready(Ok(()))
    }
}
