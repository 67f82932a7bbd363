//! The server's side of a connection of HTTP/2.

use std::future::{Future, poll_fn};
use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Poller, Poll};
use std::time::Duration;

use h2::Reason;
use h2::ext::Protocol;
use h2::server::{Builder, Connection};
use http::request::Parts;
use http::{Method, header};

use super::chunk::Chunk;
use super::inbound::Inbound;
use super::io::Io;
use super::outbound::Kind;
use super::stream::ServerStream;
use super::wire::{Running, Wire};
use crate::http2::{Breach, Excess, Tally};
use crate::limits;
use crate::net::{Alarm, Buffer, BufferPool, Channel, Stream};

/// What a client is told that it may do.
#[derive(Clone, Copy, Debug)]
pub struct H2Limits {
    /// Streams open at once.
    pub streams: u32,
    /// Bytes of one field section, with 32 for each field (RFC 9113 section 6.5.2).
    pub header_bytes: u32,
}

/// A connection whose preface was right.
pub struct H2Server {
    connection: Connection<Io, Chunk>,
    running: Running,
    /// Was it told to end because of what the client did?
    is_told: bool,
}

/// A request as it begins.
pub struct Opened {
    /// Its fields.
    pub request: Parts,
    /// Does anything follow them?
    pub has_body: bool,
    /// What an extended CONNECT asks for (RFC 8441).
    pub protocol: Option<Box<str>>,
    /// The stream that it came on.
    pub stream: Box<ServerStream>,
}

/// What [`H2Server::next`] came to.
pub enum Turn {
    /// Requests came, and were given away.
    Opened,
    /// The client did something too often, and is told so.
    Excess(Excess),
    /// The client does not speak the protocol, and is told so.
    Breach(Breach),
    /// The alarm fired, or there is something to time that was not there before.
    Look,
    /// The connection has ended; whatever was to be said was.
    Closed,
}

/// Begins to serve HTTP/2 on what `carrier` leads to; `received` has come already. `alarm` is one of its own.
///
/// Completes with the client's preface. May be dropped at any point, on the way to the close of the channel.
///
/// # Errors
/// The client broke the protocol, or the connection broke.
pub async fn serve_h2<S, C>(
    carrier: C,
    received: Option<Buffer>,
    pool: BufferPool,
    alarm: Alarm,
    limits: H2Limits,
) -> io::Result<H2Server>
where
    S: Stream,
    C: Deref<Target = Channel<S>> + Clone + 'static,
{
    let running = Running(Wire::of_server(carrier, received, pool, alarm, limits));
    let mut handshake = builder(limits).handshake(Io(Rc::clone(&running.0)));
    let connection = poll_fn(|poller| {
        let polled = Pin::new(&mut handshake).poll(poller);
        // Our settings go at once; an error of theirs comes with the next read.
        drop(running.0.poll_send(poller));
        polled
    })
    .await
    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
    running.0.begin();
    Ok(H2Server { connection, running, is_told: false })
}

/// Every bound that `h2` has; what it does not bound, the meter does.
fn builder(limits: H2Limits) -> Builder {
    let mut builder = Builder::new();
    let streams = usize::try_from(limits.streams).unwrap_or(usize::MAX / 2);
    builder
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.header_bytes)
        .enable_connect_protocol()
        .initial_window_size(limits::H2_STREAM_WINDOW)
        .initial_connection_window_size(limits::H2_CONNECTION_WINDOW)
        .max_send_buffer_size(limits::H2_SEND_BUFFER)
        .max_concurrent_reset_streams(limits::H2_RESETS_REMEMBERED.max(streams))
        .max_pending_accept_reset_streams(limits::H2_RESETS_UNSEEN + streams)
        .max_local_error_reset_streams(Some(limits::H2_STREAM_ERRORS))
        .reset_stream_duration(Duration::from_millis(limits::H2_BUDGET_MS))
        .data_frame_budget(limits::H2_CONTENT_OVERHEAD);
    builder
}

impl H2Server {
    /// Drives the connection until something has to be decided; gives requests to `open`, all that came at once, and tells
    /// `count` what passes meanwhile, of which the field sections are those with which requests were refused here.
    pub fn next(
        &mut self,
        alarm: &Alarm,
        mut open: impl FnMut(Opened),
        mut count: impl FnMut(&Tally),
    ) -> impl Future<Output = Turn> {
        let was_timed = self.is_timed();
        poll_fn(move |poller| {
            let polled = self.poll_next(poller, alarm, was_timed, &mut open);
            if let Some(tally) = self.running.0.take_tally(&self.connection) {
                count(&tally);
            }
            polled
        })
    }

    fn poll_next(
        &mut self,
        poller: &mut Poller<'_>,
        alarm: &Alarm,
        was_timed: bool,
        open: &mut impl FnMut(Opened),
    ) -> Poll<Turn> {
        let (accepted, has_opened) = self.poll_accept_all(poller, open);
        if let Some(turn) = self.told() {
            return Poll::Ready(turn);
        }
        // What broke is told by the frames that go.
        if accepted.is_ready() {
            return Poll::Ready(Turn::Closed);
        }
        if let Poll::Ready(Err(_)) = self.running.0.poll_send(poller) {
            return Poll::Ready(Turn::Closed);
        }
        if has_opened {
            return Poll::Ready(Turn::Opened);
        }
        if !was_timed && self.is_timed() {
            return Poll::Ready(Turn::Look);
        }
        alarm.poll_fired(poller).map(|()| Turn::Look)
    }

    /// Takes all requests that have come; ready once the connection has ended. Were there any?
    fn poll_accept_all(&mut self, poller: &mut Poller<'_>, open: &mut impl FnMut(Opened)) -> (Poll<()>, bool) {
        let mut has_opened = false;
        let accepted = loop {
            let accepted = self.connection.poll_accept(poller);
            let Poll::Ready(Some(Ok((request, response)))) = accepted else { break accepted.map(drop) };
            open(self.opened(request, response));
            has_opened = true;
            // `h2` reads all there is before it gives the first request away, and looks again before each of the others.
            self.running.0.set_dry(true);
        };
        self.running.0.set_dry(false);
        (accepted, has_opened)
    }

    /// Tells the client once why its connection ends, if the meter knows.
    fn told(&mut self) -> Option<Turn> {
        if self.is_told {
            return None;
        }
        let wire = &self.running.0;
        let (turn, reason) = match (wire.breach(), wire.excess()) {
            (Some(Breach::Unannounced), _) => (Turn::Breach(Breach::Unannounced), Reason::PROTOCOL_ERROR),
            (Some(Breach::FrameSize), _) => (Turn::Breach(Breach::FrameSize), Reason::FRAME_SIZE_ERROR),
            (None, Some(excess)) => (Turn::Excess(excess), Reason::ENHANCE_YOUR_CALM),
            (None, None) => return None,
        };
        self.is_told = true;
        self.connection.abrupt_shutdown(reason);
        Some(turn)
    }

    fn opened(&self, request: http::Request<h2::RecvStream>, response: h2::server::SendResponse<Chunk>) -> Opened {
        let (request, body) = request.into_parts();
        let has_body = !body.is_end_stream();
        let length = request.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        // A length of nothing on a stream that goes on is translated as if there were none.
        let length = length.filter(|length| *length > 0);
        let protocol = request.extensions.get::<Protocol>().map(|protocol| protocol.as_str().into());
        let (inbound, kind) = match &protocol {
            Some(_) => (Inbound::tunnel(body), Kind::Connect),
            None if request.method == Method::HEAD => (Inbound::new(body, length), Kind::Head),
            None => (Inbound::new(body, length), Kind::Request),
        };
        let stream = Box::new(ServerStream::new(Rc::clone(&self.running.0), inbound, response, kind));
        Opened { request, has_body, protocol, stream }
    }

    /// Lets streams end and takes no more: RFC 9113 section 6.8, with a last GOAWAY once the client has answered the first.
    pub fn drain(&mut self) {
        self.connection.graceful_shutdown();
    }

    /// Ends the connection now, for this reason.
    pub fn end(&mut self, reason: H2End) {
        self.connection.abrupt_shutdown(match reason {
            H2End::Done => Reason::NO_ERROR,
            H2End::TooSlow => Reason::ENHANCE_YOUR_CALM,
            H2End::Unsettled => Reason::SETTINGS_TIMEOUT,
        });
    }

    /// Is there something that may take too long, besides the client's silence?
    pub fn is_timed(&self) -> bool {
        let wire = &self.running.0;
        wire.is_writing() || wire.fields_since_ms().is_some() || wire.settings_since_ms().is_some()
    }

    /// Since when the client takes nothing of what is written.
    pub fn writing_since_ms(&self) -> Option<u64> {
        self.running.0.writing_since_ms()
    }

    /// Since when the client owes the rest of some fields.
    pub fn fields_since_ms(&self) -> Option<u64> {
        self.running.0.fields_since_ms()
    }

    /// Since when the client owes an answer to our settings.
    pub fn settings_since_ms(&self) -> Option<u64> {
        self.running.0.settings_since_ms()
    }

    /// Has the client ended its direction, or is the connection gone?
    pub fn is_over(&self) -> bool {
        self.running.0.is_over()
    }
}

/// Why a connection ends before its client wants it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum H2End {
    /// Nothing is left to do.
    Done,
    /// The client owes something for too long.
    TooSlow,
    /// The client owes an answer to our settings for too long (RFC 9113 section 6.5.3).
    Unsettled,
}
