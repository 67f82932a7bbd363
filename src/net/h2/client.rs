//! The client's side of a connection of HTTP/2.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Poller, Poll};
use std::time::Duration;

use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, PingPong};

use super::chunk::Chunk;
use super::client_stream::ClientStream;
use super::io::Io;
use super::room::{Room, Seat};
use super::wire::{Running, Wire};
use crate::http2::{Excess, KnownRequests, Tally};
use crate::limits;
use crate::net::{Alarm, BufferPool, Channel, Stream};

/// Why there is no connection of HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum H2Refusal {
    /// The peer closed or reset the connection before it said anything.
    Closed,
    /// The peer said goodbye with its first words, and nothing was wrong (RFC 9113 section 6.8).
    Leaving,
    /// The peer speaks something else.
    NotH2,
    /// The peer speaks TLS.
    SpeaksTls,
    /// The peer ended TLS with an alert, as one does that wants another certificate (RFC 8446 section 4.4.2.4).
    Alert,
}

/// A connection whose peer's settings are known.
pub struct H2Client {
    connection: Connection<Io, Chunk>,
    running: Running,
    pings: Option<PingPong>,
    /// When a sign of life was asked for that has not come.
    asked_ms: Option<u64>,
    /// How often it was asked for since the peer last said something of its own accord.
    asked: u32,
    room: Rc<Room>,
}

/// What the connections of one worker know of the requests that went to endpoints.
#[derive(Clone, Default)]
pub struct H2Known(pub(super) Rc<RefCell<KnownRequests>>);

/// Opens streams on a connection; without any it ends once it has no stream.
#[derive(Clone)]
pub struct H2Opener {
    send: SendRequest<Chunk>,
    wire: Rc<Wire>,
    known: H2Known,
}

/// What [`H2Client::next`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientTurn {
    /// The alarm fired, or there is something to time that was not there before, or no more.
    Look,
    /// The connection has ended.
    Closed,
}

/// Begins HTTP/2 with the endpoint that `carrier` leads to; completes once its settings are known, so that no stream goes
/// against them. `alarm` is one of its own.
///
/// May be dropped at any point, on the way to the close of the channel.
///
/// # Errors
/// The peer speaks something else, or the connection broke.
pub async fn connect_h2<S, C>(
    carrier: C,
    (pool, known): (BufferPool, H2Known),
    alarm: Alarm,
    room: Rc<Room>,
) -> Result<(H2Client, H2Opener), H2Refusal>
where
    S: Stream,
    C: Deref<Target = Channel<S>> + Clone + 'static,
{
    let running = Running(Wire::of_client(carrier, pool, alarm, HEADER_BYTES));
    let wire = Rc::clone(&running.0);
    let begun = builder().handshake(Io(Rc::clone(&wire))).await;
    let (send, mut connection) = begun.map_err(|error| refusal(&error, &wire))?;
    let pings = connection.ping_pong();
    let mut client = H2Client { connection, running, pings, asked_ms: None, asked: 0, room };
    poll_fn(|poller| match client.poll_connection(poller) {
        Poll::Ready(Ok(())) => {
            let is_leaving = wire.take_whole_tally().is_some_and(|tally| tally.goaways_received > 0);
            Poll::Ready(Err(if is_leaving { H2Refusal::Leaving } else { H2Refusal::Closed }))
        }
        Poll::Ready(Err(error)) => Poll::Ready(Err(refusal(&error, &wire))),
        // What it speaks instead may end in the middle of what would be a frame.
        Poll::Pending if wire.breach().is_some() => Poll::Ready(Err(what(&wire))),
        Poll::Pending if wire.is_acquainted() => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    wire.begin();
    Ok((client, H2Opener { send, wire, known }))
}

/// Bytes of one field section of a response, with 32 for each field (RFC 9113 section 6.5.2): more than a head may have, so
/// that it is our own parser that finds it too large, and says so.
const HEADER_BYTES: u32 = 256 * 1024;
const _: () = assert!(HEADER_BYTES as usize == 4 * limits::HEADER_BYTES_DEFAULT);

/// Every bound that `h2` has; what it does not bound, the meter does.
fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_max_send_streams(limits::H2_UPSTREAM_STREAMS_ASSUMED as usize)
        .max_concurrent_streams(0)
        .max_header_list_size(HEADER_BYTES)
        .initial_window_size(limits::H2_STREAM_WINDOW)
        .initial_connection_window_size(limits::H2_UPSTREAM_WINDOW)
        .max_send_buffer_size(limits::H2_SEND_BUFFER)
        .max_concurrent_reset_streams(limits::H2_RESETS_REMEMBERED)
        .max_pending_accept_reset_streams(limits::H2_RESETS_UNSEEN)
        .max_local_error_reset_streams(Some(limits::H2_STREAM_ERRORS))
        .reset_stream_duration(Duration::from_millis(limits::H2_BUDGET_MS))
        .data_frame_budget(limits::H2_CONTENT_OVERHEAD);
    builder
}

/// A frame's type in its header, and that of settings (RFC 9113 sections 4.1 and 6.5).
const TYPE_AT: usize = 3;
const SETTINGS: u8 = 4;

fn refusal(error: &h2::Error, wire: &Wire) -> H2Refusal {
    let is_alert = error.get_io().is_some_and(|error| error.kind() == io::ErrorKind::InvalidData);
    if is_alert { H2Refusal::Alert } else { what(wire) }
}

/// What the peer turned out to be, by its first words.
fn what(wire: &Wire) -> H2Refusal {
    match wire.greeting() {
        // RFC 8446 section 5.1: a record with an alert.
        [21, 3, ..] if !wire.is_secure => H2Refusal::SpeaksTls,
        [0, 0, 0, 0, 0, 0, 0, 0, 0] => H2Refusal::Closed,
        // RFC 9113 section 3.4: a server's first frame holds its settings.
        greeting if greeting[TYPE_AT] == SETTINGS => H2Refusal::Closed,
        _ => H2Refusal::NotH2,
    }
}

impl H2Opener {
    /// A stream, opened by the head of a request that is written to it.
    #[must_use]
    pub fn stream(&self, seat: Seat) -> Box<ClientStream> {
        Box::new(ClientStream::new(Rc::clone(&self.wire), self.send.clone(), self.known.clone(), seat))
    }
}

impl H2Client {
    /// Drives the connection until there is something to look at; tells `count` what passes meanwhile.
    pub fn next(&mut self, alarm: &Alarm, mut count: impl FnMut(&Tally)) -> impl Future<Output = ClientTurn> {
        let was = self.standing();
        poll_fn(move |poller| {
            let polled = self.poll_next(poller, alarm, was);
            if self.running.0.is_deaf() {
                self.room.close();
            }
            if let Some(tally) = self.running.0.take_whole_tally() {
                if tally.goaways_received > 0 {
                    self.room.close();
                }
                if tally.spoken > 0 {
                    self.asked = 0;
                }
                count(&tally);
            }
            polled
        })
    }

    fn poll_next(&mut self, poller: &mut Poller<'_>, alarm: &Alarm, was: [bool; 4]) -> Poll<ClientTurn> {
        self.room.note(poller);
        if self.poll_connection(poller).is_ready() || self.running.0.has_seen_enough() {
            return Poll::Ready(ClientTurn::Closed);
        }
        if let Some(pings) = &mut self.pings
            && self.asked_ms.is_some()
        {
            // The answer counts when it comes, like everything else; here it only makes room for the next question.
            drop(pings.poll_pong(poller));
        }
        self.room.set_most(self.connection.max_concurrent_send_streams());
        if was != self.standing() {
            return Poll::Ready(ClientTurn::Look);
        }
        alarm.poll_fired(poller).map(|()| ClientTurn::Look)
    }

    /// What a look depends on, beside the time.
    fn standing(&self) -> [bool; 4] {
        [self.room.streams() > 0, self.room.is_open(), self.room.takes_none(), self.asked_ms().is_some()]
    }

    /// Lets `h2` go on; ready when the connection has ended.
    fn poll_connection(&mut self, poller: &mut Poller<'_>) -> Poll<Result<(), h2::Error>> {
        let ended = Pin::new(&mut self.connection).poll(poller);
        // Its last words as well, as far as there is room for them at once.
        let sent = self.running.0.poll_send(poller);
        if ended.is_pending() && matches!(sent, Poll::Ready(Err(_))) { Poll::Ready(Ok(())) } else { ended }
    }

    /// Asks the peer for a sign of life.
    pub fn ask(&mut self, now_ms: u64) {
        if let Some(pings) = &mut self.pings {
            // It fails while an earlier one has not been answered: the answer to that is a sign as well.
            drop(pings.send_ping(Ping::opaque()));
            self.asked_ms = Some(now_ms);
            self.asked += 1;
        }
    }

    /// When a sign of life was asked for that has not come.
    #[must_use]
    pub fn asked_ms(&self) -> Option<u64> {
        self.asked_ms.filter(|asked_ms| *asked_ms > self.heard_ms())
    }

    /// When the peer is to be asked for a sign of life, if that is after so many milliseconds of silence the first time.
    #[must_use]
    pub fn ask_at_ms(&self, after_ms: u64) -> u64 {
        let after_ms = match self.asked {
            0..limits::H2_PINGS => after_ms.saturating_mul(1 << self.asked),
            _ => after_ms.max(limits::H2_PING_RARELY_MS),
        };
        self.heard_ms().saturating_add(after_ms)
    }

    /// When the peer said something last.
    fn heard_ms(&self) -> u64 {
        self.running.0.received_ms()
    }

    /// What the peer did too often, if the connection ended for that.
    #[must_use]
    pub fn excess(&self) -> Option<Excess> {
        self.running.0.excess()
    }

    /// Tells the streams that are left that the peer gave no sign of life.
    pub fn give_up(self) {
        self.running.0.set_silent();
    }
}
