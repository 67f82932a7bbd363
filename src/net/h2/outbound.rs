//! A response in HTTP/1.1 on its way to a stream.

use std::io;
use std::task::{Context as Poller, Poll, ready};

use h2::Reason;
use h2::server::SendResponse;

use super::chunk::Chunk;
use super::content::{Aside, Content, gone, or_none, put_aside};
use super::wire::Wire;
use crate::http2::{decode_response_head, decode_switch_head};

/// Our direction of a stream.
pub(super) struct Outbound {
    state: State,
    kind: Kind,
    /// Was there a switch?
    is_tunnel: bool,
    aside: Aside,
}

/// What the response answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    /// A HEAD, whose response has no content.
    Head,
    /// An extended CONNECT, whose response may be a switch.
    Connect,
}

/// How far the response is.
enum State {
    /// Its head is awaited, perhaps behind interim ones.
    Head(SendResponse<Chunk>),
    Body(Content),
    /// Behind a switch: bytes as they are.
    Tunnel(Content),
    Over,
}

impl Outbound {
    pub(super) fn new(response: SendResponse<Chunk>, kind: Kind) -> Self {
        Self { state: State::Head(response), kind, is_tunnel: false, aside: Aside::default() }
    }

    /// Was there a switch?
    pub(super) const fn is_tunnel(&self) -> bool {
        self.is_tunnel
    }

    /// Trailers that are to follow a body with a length, line by line.
    pub(super) fn put_trailers(&self, lines: &[u8]) {
        put_aside(&self.aside, lines);
    }

    /// Ends our direction of a tunnel; a response ends with its body.
    pub(super) fn end_tunnel(&mut self, wire: &Wire) {
        if let State::Tunnel(content) = &mut self.state {
            content.end(wire);
            self.state = State::Over;
        }
    }

    /// Sends what stands at the front of `bytes`: a head, or some of a body; how much of it.
    pub(super) fn poll_write(&mut self, poller: &mut Poller<'_>, wire: &Wire, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.state {
            State::Head(_) => {
                let used = self.send_head(wire, bytes)?;
                if used == bytes.len() || !matches!(self.state, State::Body(_)) {
                    return Poll::Ready(Ok(used));
                }
                let behind = self.poll_write(poller, wire, &bytes[used..])?;
                Poll::Ready(Ok(used + or_none(behind)))
            }
            State::Body(content) => {
                let progress = ready!(content.poll_write(poller, wire, bytes, &self.aside))?;
                if progress.ends {
                    self.state = State::Over;
                }
                Poll::Ready(Ok(progress.used))
            }
            State::Tunnel(content) => content.poll_pass(poller, wire, bytes),
            // Nothing may follow a response that is whole.
            State::Over => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn send_head(&mut self, wire: &Wire, bytes: &[u8]) -> io::Result<usize> {
        let State::Head(respond) = &mut self.state else { return Ok(0) };
        let decoded = match self.kind {
            Kind::Connect => decode_switch_head(bytes),
            Kind::Request | Kind::Head => {
                decode_response_head(bytes, self.kind == Kind::Head).map(|start| (start, false))
            }
        };
        let (mut start, is_switch) = decoded.ok_or(io::ErrorKind::InvalidData)?;
        wire.introduce(start.response.headers_mut());
        if start.response.status().is_informational() {
            respond.send_informational(start.response).map_err(gone)?;
        } else {
            let is_over = start.body.is_over() && !is_switch;
            let stream = respond.send_response(start.response, is_over).map_err(gone)?;
            self.is_tunnel = is_switch;
            self.state = match is_over {
                true => State::Over,
                false if is_switch => State::Tunnel(Content::new(stream, start.body)),
                false => State::Body(Content::new(stream, start.body)),
            };
        }
        wire.on_fields();
        Ok(start.used)
    }

    /// What the client has taken, while something waits for its turn on the connection.
    pub(super) fn taken(&self, wire: &Wire) -> Option<u64> {
        match &self.state {
            State::Body(content) | State::Tunnel(content) => content.taken(wire),
            State::Head(_) | State::Over => None,
        }
    }

    /// Ready when the client gave the stream up, or the connection is gone, while a response is due.
    pub(super) fn poll_gone(&mut self, poller: &mut Poller<'_>) -> Poll<()> {
        match &mut self.state {
            State::Head(respond) => respond.poll_reset(poller).map(drop),
            State::Body(content) | State::Tunnel(content) => content.poll_gone(poller),
            State::Over => Poll::Pending,
        }
    }

    /// Resets the stream, unless its response is whole.
    pub(super) fn give_up(&mut self, reason: Reason) {
        match &mut self.state {
            State::Head(respond) => respond.send_reset(reason),
            State::Body(content) => content.give_up(reason),
            // RFC 8441 section 5: so ends a connection that was cut.
            State::Tunnel(content) => content.give_up(Reason::CANCEL),
            State::Over => {}
        }
        self.state = State::Over;
    }
}
