//! The state machine of one connection's TLS, without any I/O: records in, plaintext and records out.

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::{CommonState, Error};

use crate::net::Buffer;

/// Most plaintext of one record (RFC 8446 section 5.1).
const RECORD_BYTES: usize = 16 * 1024;
/// What a record adds to its plaintext at most, of the suites that are on: header, nonce, content type and tag.
pub(super) const RECORD_OVERHEAD: usize = 32;
/// Room for an alert as a record of its own.
const ALERT_BYTES: usize = 64;

/// One side's session.
// Boxed whole with its connection, so the larger one costs nothing elsewhere.
pub(super) enum Session {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// What one step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Plaintext was handed over, or a message put among what is to be sent: there may be more.
    More,
    /// The handshake waits for the peer.
    Blocked,
    /// Application data may be sent; nothing more can be learnt from the records given.
    Open,
    /// The peer said that it sends nothing more.
    Closed,
}

/// What to do once application data may be sent.
enum Turn<'a> {
    Nothing,
    /// Encrypt so much of this.
    Encrypt(&'a [u8]),
    /// Say that nothing more comes.
    CloseNotify,
}

impl Session {
    /// Goes on with `records`, whose used part is consumed. Plaintext goes to `take`, messages of its own behind `out`.
    ///
    /// # Errors
    /// The peer broke the protocol or its certificate is refused; further steps give the alert that tells it.
    pub(super) fn step(
        &mut self,
        records: &mut Buffer,
        take: &mut dyn FnMut(&[u8]),
        out: &mut dyn Outgoing,
    ) -> Result<Step, Error> {
        self.turn(records, take, out, Turn::Nothing)
    }

    /// After an error: puts the alert that says why behind `out`, and what was to be sent before it.
    pub(super) fn last_words(&mut self, records: &mut Buffer, out: &mut dyn Outgoing) {
        // What waits is looked at before the records, the bad one among them, which must not be looked at again.
        while self.agreed().wants_write() && self.step(records, &mut |_| {}, out).is_ok() {}
    }

    /// Encrypts `plain` behind `out`, as one record for each [`RECORD_BYTES`] of it. What `records` still held is decrypted
    /// on the way and goes to `take`. Did the peer say on the way that it sends nothing more? It is told once.
    ///
    /// # Errors
    /// As [`Session::step`], or the handshake is not done.
    pub(super) fn encrypt(
        &mut self,
        plain: &[u8],
        records: &mut Buffer,
        take: &mut dyn FnMut(&[u8]),
        out: &mut dyn Outgoing,
    ) -> Result<bool, Error> {
        self.when_open(records, take, out, || Turn::Encrypt(plain))
    }

    /// Puts the alert behind `out` that says that nothing more comes; all else is as with [`Session::encrypt`].
    ///
    /// # Errors
    /// As [`Session::encrypt`].
    pub(super) fn close_notify(
        &mut self,
        records: &mut Buffer,
        take: &mut dyn FnMut(&[u8]),
        out: &mut dyn Outgoing,
    ) -> Result<bool, Error> {
        self.when_open(records, take, out, || Turn::CloseNotify)
    }

    /// What both sides have agreed on.
    pub(super) fn agreed(&self) -> &CommonState {
        match self {
            Self::Server(connection) => connection,
            Self::Client(connection) => connection,
        }
    }

    fn when_open<'a>(
        &mut self,
        records: &mut Buffer,
        take: &mut dyn FnMut(&[u8]),
        out: &mut dyn Outgoing,
        turn: impl Fn() -> Turn<'a>,
    ) -> Result<bool, Error> {
        let mut peer_closed = false;
        loop {
            match self.turn(records, take, out, turn())? {
                Step::More => {}
                Step::Open => return Ok(peer_closed),
                // After the peer's close the state machine says so once, and then that it is open.
                Step::Closed if !peer_closed => peer_closed = true,
                Step::Closed | Step::Blocked => return Err(Error::HandshakeNotComplete),
            }
        }
    }

    fn turn(
        &mut self,
        records: &mut Buffer,
        take: &mut dyn FnMut(&[u8]),
        out: &mut dyn Outgoing,
        turn: Turn<'_>,
    ) -> Result<Step, Error> {
        let (used, step) = match self {
            Self::Server(connection) => act(connection.process_tls_records(records.filled_mut()), take, out, turn),
            Self::Client(connection) => act(connection.process_tls_records(records.filled_mut()), take, out, turn),
        };
        records.consume(used);
        step
    }
}

/// Does what the state machine asks for; also says how many bytes of the records are done with.
fn act<Side>(
    status: UnbufferedStatus<'_, '_, Side>,
    take: &mut dyn FnMut(&[u8]),
    out: &mut dyn Outgoing,
    turn: Turn<'_>,
) -> (usize, Result<Step, Error>) {
    let UnbufferedStatus { mut discard, state } = status;
    let step = match state {
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                Some(Ok(record)) => {
                    discard += record.discard;
                    take(record.payload);
                }
                Some(Err(error)) => break Err(error),
                None => break Ok(Step::More),
            }
        },
        Ok(ConnectionState::EncodeTlsData(message)) => encode(message, out).map(|()| Step::More),
        Ok(ConnectionState::TransmitTlsData(sent)) => {
            // It is among what is to be sent, in order.
            sent.done();
            Ok(Step::More)
        }
        Ok(ConnectionState::BlockedHandshake) => Ok(Step::Blocked),
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Ok(Step::Closed),
        Ok(ConnectionState::WriteTraffic(traffic)) => write(traffic, turn, out).map(|()| Step::Open),
        // Early data is never accepted, and other states are for verifiers that this configuration does not have.
        Ok(_) => Err(Error::General("an unexpected state".to_owned())),
        Err(error) => Err(error),
    };
    (discard, step)
}

fn encode<Side>(mut message: EncodeTlsData<'_, Side>, out: &mut dyn Outgoing) -> Result<(), Error> {
    let needed = match message.encode(&mut []) {
        Ok(_) => 0,
        Err(EncodeError::InsufficientSize(size)) => size.required_size,
        Err(error @ EncodeError::AlreadyEncoded) => return Err(Error::General(error.to_string())),
    };
    out.append(needed, &mut |room| message.encode(room).map_err(|error| error.to_string())).map_err(Error::General)
}

fn write<Side>(mut traffic: WriteTraffic<'_, Side>, turn: Turn<'_>, out: &mut dyn Outgoing) -> Result<(), Error> {
    let told = |error: EncryptError| error.to_string();
    let appended = match turn {
        Turn::Nothing => Ok(()),
        Turn::Encrypt(plain) => {
            out.append(encrypted_bytes(plain.len()), &mut |room| traffic.encrypt(plain, room).map_err(told))
        }
        Turn::CloseNotify => out.append(ALERT_BYTES, &mut |room| traffic.queue_close_notify(room).map_err(told)),
    };
    appended.map_err(Error::General)
}

/// Room for an answer to the peer's change of keys, which goes in front of what is encrypted next.
const KEY_UPDATE_BYTES: usize = 64;

/// Most bytes that so much plaintext becomes, with an answer to a change of keys in front of it.
pub(super) const fn encrypted_bytes(plain: usize) -> usize {
    plain + plain.div_ceil(RECORD_BYTES) * RECORD_OVERHEAD + KEY_UPDATE_BYTES
}

/// Where bytes for the peer are collected.
pub(super) trait Outgoing {
    /// Lets `fill` write into `most` bytes behind those that are there, and keeps as many as it says.
    ///
    /// # Errors
    /// What `fill` says; then nothing is added.
    fn append(&mut self, most: usize, fill: Fill<'_>) -> Result<(), String>;
}

/// Writes from the front of what it is given, and says how much.
type Fill<'a> = &'a mut dyn FnMut(&mut [u8]) -> Result<usize, String>;

impl Outgoing for Vec<u8> {
    fn append(&mut self, most: usize, fill: Fill<'_>) -> Result<(), String> {
        let before = self.len();
        self.resize(before + most, 0);
        let filled = fill(&mut self[before..]);
        self.truncate(before + *filled.as_ref().unwrap_or(&0));
        filled.map(drop)
    }
}

impl Outgoing for Buffer {
    fn append(&mut self, most: usize, fill: Fill<'_>) -> Result<(), String> {
        self.try_fill(most, fill)
    }
}
