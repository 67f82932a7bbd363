//! A stream to an endpoint as a stream that speaks HTTP/1.1.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Poller, Poll, ready};

use bytes::Bytes;
use h2::Reason;
use h2::client::{ResponseFuture, SendRequest};
use h2::ext::Protocol;
use http::Method;

use super::chunk::Chunk;
use super::client::H2Known;
use super::content::{Aside, Content, or_none, put_aside};
use super::inbound::Inbound;
use super::polled::{self, Polled, Task};
use super::room::Seat;
use super::wire::Wire;
use crate::http1::HeadError;
use crate::http2::{encode_interim_head, encode_response_head, encode_switched_head};
use crate::net::{Alarm, Buffer, Pending, Stream};

/// Why a stream has no response, where there is more to say than that it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamFault {
    /// The endpoint did nothing with the request, which may be sent again whatever it is (RFC 9113 section 8.7).
    Unprocessed,
    /// The endpoint reset the stream.
    Reset,
    /// The endpoint wants the request by HTTP/1.1 (RFC 9113 section 7).
    WantsHttp1,
    /// The request has no form in HTTP/2.
    Untranslatable(HeadError),
    /// The response is malformed.
    Malformed(HeadError),
    /// The endpoint gave no sign of life.
    Silent,
}

/// The client's side of one stream: a write takes a request of HTTP/1.1, a read gives the response as HTTP/1.1 frames it.
///
/// Dropped before both are whole, it cancels the stream. All operations belong to one task.
pub struct ClientStream {
    wire: Rc<Wire>,
    known: H2Known,
    outbound: RefCell<Outbound>,
    aside: Aside,
    inbound: RefCell<Answer>,
    task: Task,
    is_head: Cell<bool>,
    /// What an extended CONNECT asks to switch to (RFC 8441).
    switches_to: RefCell<Option<Bytes>>,
    fault: Cell<Option<StreamFault>>,
    /// The last to go, when the stream is over for `h2` as well.
    seat: Seat,
}

/// How far the request is.
enum Outbound {
    /// Its head is awaited.
    Head(SendRequest<Chunk>),
    Body(Content),
    /// All of it was given to `h2`, which may still wait with the last of it.
    Sent(Content),
    /// What goes through a tunnel, once the endpoint has agreed to one.
    Tunnel(Content),
    Over,
}

/// How far the response is.
enum Answer {
    /// There is no request yet.
    Unasked,
    Awaited(ResponseFuture),
    Body(Inbound),
    /// There will be none, or no more of it.
    Failed,
}

impl ClientStream {
    pub(super) fn new(wire: Rc<Wire>, send: SendRequest<Chunk>, known: H2Known, seat: Seat) -> Self {
        Self {
            wire,
            known,
            outbound: RefCell::new(Outbound::Head(send)),
            aside: Aside::default(),
            inbound: RefCell::new(Answer::Unasked),
            task: Task::default(),
            is_head: Cell::new(false),
            switches_to: RefCell::default(),
            fault: Cell::new(None),
            seat,
        }
    }

    /// Is the connection below secured?
    pub(in crate::net) fn is_secure(&self) -> bool {
        self.wire.is_secure
    }

    /// Why there is no response, where there is more to say than that there is none.
    pub fn fault(&self) -> Option<StreamFault> {
        let silent = || self.wire.is_silent().then_some(StreamFault::Silent);
        // The meter found what is wrong.
        let wrong = || self.wire.has_seen_enough().then_some(StreamFault::Malformed(HeadError::MalformedStream));
        self.fault.get().or_else(silent).or_else(wrong)
    }

    /// Appends the lines of trailers that came behind a body with a length, once the last byte of it was read.
    pub(in crate::net) fn append_trailers(&self, into: &mut Vec<u8>) {
        if let Answer::Body(body) = &*self.inbound.borrow() {
            into.extend_from_slice(body.trailers());
        }
    }

    /// Trailers that are to follow a body with a length, line by line; before the last byte of it is written.
    pub(in crate::net) fn put_trailers(&self, lines: &[u8]) {
        put_aside(&self.aside, lines);
    }

    /// Ready when the endpoint has given the request up, or a tunnel has something to read; what may still come of a response
    /// is awaited by whoever reads.
    pub(in crate::net) fn poll_readable(&self, poller: &mut Poller<'_>) -> Poll<()> {
        self.task.note(poller);
        if self.switches_to.borrow().is_some()
            && let Answer::Body(body) = &mut *self.inbound.borrow_mut()
        {
            return body.poll_ready(poller);
        }
        match &mut *self.outbound.borrow_mut() {
            Outbound::Body(content) | Outbound::Tunnel(content) => content.poll_gone(poller),
            Outbound::Head(_) | Outbound::Sent(_) | Outbound::Over => Poll::Pending,
        }
    }

    /// Opens the stream with the head at the front of `bytes`.
    fn send_head(&self, send: &mut SendRequest<Chunk>, bytes: &[u8]) -> io::Result<(usize, Outbound)> {
        let decoded = self.known.0.borrow_mut().decode(bytes, self.wire.is_secure);
        let mut start = match decoded {
            Ok(start) => start,
            Err(why) => return Err(self.fails(StreamFault::Untranslatable(why))),
        };
        self.wire.introduce(start.request.headers_mut());
        self.is_head.set(start.request.method() == Method::HEAD);
        // RFC 8441 section 3: only where the endpoint said that it may be asked; elsewhere the offer is left out, which whoever
        // makes one has to expect (RFC 9110 section 7.8).
        let protocol = start.upgrade.take().filter(|_| send.is_extended_connect_protocol_enabled());
        if let Some(name) = protocol.as_deref().and_then(|name| std::str::from_utf8(name).ok()) {
            start.connect();
            start.request.extensions_mut().insert(Protocol::from(name));
        }
        let is_tunnel = protocol.is_some();
        *self.switches_to.borrow_mut() = protocol;
        let is_over = start.body.is_over() && !is_tunnel;
        // An error here is one of the connection, before anything of the request went.
        let sent = send.send_request(start.request, is_over);
        let (response, stream) = sent.map_err(|_| self.fails(StreamFault::Unprocessed))?;
        *self.inbound.borrow_mut() = Answer::Awaited(response);
        let next = match (is_tunnel, is_over) {
            (true, _) => Outbound::Tunnel(Content::new(stream, start.body)),
            (false, true) => Outbound::Over,
            (false, false) => Outbound::Body(Content::of_opening(stream, start.body)),
        };
        Ok((start.used, next))
    }

    fn poll_body(&self, poller: &mut Poller<'_>, outbound: &mut Outbound, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Outbound::Body(content) = outbound else { return Poll::Ready(Ok(0)) };
        let progress = ready!(content.poll_write(poller, &self.wire, bytes, &self.aside))?;
        if progress.ends
            && let Outbound::Body(content) = std::mem::replace(outbound, Outbound::Over)
        {
            *outbound = Outbound::Sent(content);
        }
        Poll::Ready(Ok(progress.used))
    }

    fn fails(&self, fault: StreamFault) -> io::Error {
        self.fault.set(Some(fault));
        *self.inbound.borrow_mut() = Answer::Failed;
        io::ErrorKind::BrokenPipe.into()
    }
}

/// Waits for the head of a response and appends it to `into`: the body behind it, none for an interim one.
fn poll_head(
    response: &mut ResponseFuture,
    poller: &mut Poller<'_>,
    into: &mut Buffer,
    is_head: bool,
    switches_to: Option<&[u8]>,
) -> Poll<Result<Option<Inbound>, Option<StreamFault>>> {
    match ready!(response.poll_informational(poller)) {
        Some(Ok(interim)) => {
            let encoded = encode_interim_head(into.sink(), interim.status(), interim.headers());
            return Poll::Ready(encoded.map(|()| None).map_err(|why| Some(StreamFault::Malformed(why))));
        }
        Some(Err(error)) => return Poll::Ready(Err(fault(&error))),
        None => {}
    }
    let response = match ready!(Pin::new(response).poll(poller)) {
        Ok(response) => response,
        Err(error) => return Poll::Ready(Err(fault(&error))),
    };
    let (head, body) = response.into_parts();
    if let Some(protocol) = switches_to.filter(|_| head.status.is_success()) {
        let encoded = encode_switched_head(into.sink(), protocol, &head.headers);
        return Poll::Ready(match encoded {
            Ok(()) => Ok(Some(Inbound::tunnel(body))),
            Err(why) => Err(Some(StreamFault::Malformed(why))),
        });
    }
    let encoded = encode_response_head(into.sink(), head.status, &head.headers, is_head, body.is_end_stream());
    Poll::Ready(match encoded {
        Ok(framed) => Ok(Some(Inbound::of_response(body, framed))),
        Err(why) => Err(Some(StreamFault::Malformed(why))),
    })
}

/// What an error of a stream says, if anything besides that it is over.
fn fault(error: &h2::Error) -> Option<StreamFault> {
    if error.is_go_away() && error.is_remote() {
        // RFC 9113 section 6.8: above the last identity, nothing was done.
        return Some(StreamFault::Unprocessed);
    }
    if error.is_go_away() && error.is_library() {
        // `h2` ended the connection: what came on it is no HTTP/2, or far too large a head (RFC 9113 sections 5.4.1, 10.5.1).
        let is_large = error.reason() == Some(Reason::ENHANCE_YOUR_CALM);
        let why = if is_large { HeadError::HeadTooLarge } else { HeadError::MalformedStream };
        return Some(StreamFault::Malformed(why));
    }
    if !error.is_reset() {
        return None;
    }
    Some(match error.reason() {
        Some(Reason::REFUSED_STREAM) if error.is_remote() => StreamFault::Unprocessed,
        Some(Reason::HTTP_1_1_REQUIRED) if error.is_remote() => StreamFault::WantsHttp1,
        _ if error.is_remote() => StreamFault::Reset,
        // `h2` found what is wrong.
        _ => StreamFault::Malformed(HeadError::MalformedStream),
    })
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        if let Outbound::Sent(content) = self.outbound.get_mut() {
            content.drop_rest();
        }
        self.seat.on_leaving(self.wire.now_ms());
    }
}

impl Polled for ClientStream {
    fn task(&self) -> &Task {
        &self.task
    }

    fn poll_read(&self, poller: &mut Poller<'_>, into: &mut Buffer) -> Poll<io::Result<usize>> {
        let mut answer = self.inbound.borrow_mut();
        let before = into.len();
        if let Answer::Awaited(response) = &mut *answer {
            let polled =
                ready!(poll_head(response, poller, into, self.is_head.get(), self.switches_to.borrow().as_deref()));
            match polled {
                // An interim response, and there may be more.
                Ok(None) => return Poll::Ready(Ok(into.len() - before)),
                Ok(Some(body)) => *answer = Answer::Body(body),
                Err(fault) => {
                    self.fault.set(fault);
                    *answer = Answer::Failed;
                }
            }
        }
        match &mut *answer {
            Answer::Body(body) => match body.poll_read(poller, into) {
                Poll::Ready(Ok(_)) => Poll::Ready(Ok(into.len() - before)),
                // What is wrong behind a head is told once that is taken.
                _ if into.len() > before => Poll::Ready(Ok(into.len() - before)),
                pending_or_broken @ (Poll::Ready(Err(_)) | Poll::Pending) => pending_or_broken,
            },
            // The request goes first.
            Answer::Unasked => Poll::Pending,
            Answer::Awaited(_) | Answer::Failed => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }

    fn poll_write(&self, poller: &mut Poller<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut outbound = self.outbound.borrow_mut();
        match &mut *outbound {
            Outbound::Head(send) => {
                let used = match self.send_head(send, bytes) {
                    Ok((used, next)) => {
                        *outbound = next;
                        used
                    }
                    // What stands behind the head is none.
                    Err(error) => {
                        *outbound = Outbound::Over;
                        return Poll::Ready(Err(error));
                    }
                };
                if used == bytes.len() || !matches!(*outbound, Outbound::Body(_)) {
                    return Poll::Ready(Ok(used));
                }
                let behind = self.poll_body(poller, &mut outbound, &bytes[used..])?;
                Poll::Ready(Ok(used + or_none(behind)))
            }
            Outbound::Body(_) => self.poll_body(poller, &mut outbound, bytes),
            Outbound::Tunnel(content) => content.poll_pass(poller, &self.wire, bytes),
            // Nothing may follow a request that is whole.
            Outbound::Sent(_) | Outbound::Over => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

impl Stream for ClientStream {
    fn read(&self, into: Buffer) -> impl Future<Output = (io::Result<usize>, Buffer)> {
        polled::read(self, into)
    }

    fn read_until(&self, into: Buffer, alarm: &Alarm) -> impl Future<Output = (io::Result<usize>, Buffer)> {
        polled::read_until(self, into, alarm)
    }

    fn write(&self, from: Buffer) -> impl Future<Output = (io::Result<usize>, Buffer)> {
        polled::write(self, from)
    }

    fn readable(&self) -> impl Future<Output = io::Result<()>> {
        poll_fn(|poller| self.poll_readable(poller).map(Ok))
    }

    fn try_read(&self, into: &mut Buffer) -> io::Result<usize> {
        polled::try_read(self, into)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        polled::try_write(self, bytes)
    }

    /// A stream that may not be used again has nothing to say in between.
    fn pending(&self) -> Pending {
        Pending::Nothing
    }

    fn taken(&self) -> Option<u64> {
        match &*self.outbound.borrow() {
            Outbound::Body(content) | Outbound::Tunnel(content) => content.taken(&self.wire),
            Outbound::Head(_) | Outbound::Sent(_) | Outbound::Over => None,
        }
    }

    /// The end of a request goes with the last of it; that of a tunnel is told here.
    fn shutdown_write(&self) {
        let mut outbound = self.outbound.borrow_mut();
        if let Outbound::Tunnel(content) = &mut *outbound {
            content.end(&self.wire);
            *outbound = Outbound::Over;
        }
    }

    /// So it is anyway, unless both directions are whole.
    fn reset_on_close(&self) {}

    /// Dropped, it leaves nothing that waits.
    fn hang_up_on_drop(&self) {}

    fn keep_alive(&self, _seconds: u32) {}
}
