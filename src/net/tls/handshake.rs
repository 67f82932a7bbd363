//! The handshake of either side, bounded in time and in bytes, and why one fails.

use std::io;
use std::pin::pin;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{AlertDescription, CertificateError, ClientConfig, Error, HandshakeKind, ServerConfig};

use super::session::{Session, Step};
use super::stream::Tls;
use crate::limits;
use crate::net::{Alarm, Buffer, BufferPool, Expired, Stream};

/// Most bytes of unfinished handshake messages from whoever may have a chain of certificates: the longest message there may
/// be, and a record.
const HANDSHAKE_BYTES: usize = 96 * 1024;
/// The same from a client that has nothing so long to say, or has yet to say hello: what fits a buffer as it is lent.
const HELLO_BYTES: usize = limits::BUFFER_BYTES - READ_BYTES;
/// Least room worth a read.
const READ_BYTES: usize = 1024;
/// The first byte of a record with a handshake message (RFC 8446 section 5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// Why there is no TLS connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFailure {
    /// It took too long.
    Timeout,
    /// The peer closed or reset the connection.
    Closed,
    /// The peer speaks something else.
    NotTls,
    /// A client speaks HTTP without TLS.
    PlainHttp,
    /// No version or cipher suite that both have.
    NoSharedVersion,
    /// No application protocol that both have (RFC 7301).
    NoSharedProtocol,
    /// No certificate for the name that the client asked for.
    UnknownName,
    /// The peer's certificate is signed by nobody we know.
    UnknownIssuer,
    /// The peer's certificate is for another name.
    WrongName,
    /// The peer's certificate is not valid now.
    Expired,
    /// The peer's certificate is bad in another way.
    BadCertificate,
    /// Whoever signed the peer's certificate took it back.
    Revoked,
    /// Nobody says whether the peer's certificate is revoked.
    RevocationUnknown,
    /// A client has no certificate, and must have one.
    NoCertificate,
    /// The peer refused ours, or something else about us, by an alert.
    Refused,
    /// The peer broke the protocol in another way.
    Broken,
}

impl TlsFailure {
    /// Every failure, in the order of their counters.
    pub const ALL: [Self; 16] = [
        Self::Timeout,
        Self::Closed,
        Self::NotTls,
        Self::PlainHttp,
        Self::NoSharedVersion,
        Self::NoSharedProtocol,
        Self::UnknownName,
        Self::UnknownIssuer,
        Self::WrongName,
        Self::Expired,
        Self::BadCertificate,
        Self::Revoked,
        Self::RevocationUnknown,
        Self::NoCertificate,
        Self::Refused,
        Self::Broken,
    ];

    /// The name in metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::NotTls => "not_tls",
            Self::PlainHttp => "plain_http",
            Self::NoSharedVersion => "no_shared_version",
            Self::NoSharedProtocol => "no_shared_protocol",
            Self::UnknownName => "unknown_name",
            Self::UnknownIssuer => "unknown_issuer",
            Self::WrongName => "wrong_name",
            Self::Expired => "expired",
            Self::BadCertificate => "bad_certificate",
            Self::Revoked => "revoked",
            Self::RevocationUnknown => "revocation_unknown",
            Self::NoCertificate => "no_certificate",
            Self::Refused => "refused",
            Self::Broken => "broken",
        }
    }

    /// Its place in [`TlsFailure::ALL`], the index of its counter.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// What an error of the library means.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the error of a library that may grow: what is not told apart is one kind"
    )]
    #[must_use]
    pub fn of(error: &Error) -> Self {
        match error {
            Error::InvalidMessage(_) => Self::NotTls,
            Error::PeerIncompatible(_) => Self::NoSharedVersion,
            Error::NoApplicationProtocol => Self::NoSharedProtocol,
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::InvalidCertificate(why) => Self::of_certificate(why),
            Error::AlertReceived(AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure) => {
                Self::NoSharedVersion
            }
            Error::AlertReceived(AlertDescription::NoApplicationProtocol) => Self::NoSharedProtocol,
            Error::AlertReceived(AlertDescription::UnrecognisedName) => Self::UnknownName,
            Error::AlertReceived(AlertDescription::CertificateRequired) => Self::NoCertificate,
            Error::AlertReceived(_) => Self::Refused,
            // So rustls calls a resolver that has no certificate for the name.
            Error::General(_) => Self::UnknownName,
            _ => Self::Broken,
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the error of a library that may grow: what is not told apart is one kind"
    )]
    fn of_certificate(why: &CertificateError) -> Self {
        match why {
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::WrongName,
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Self::Expired,
            CertificateError::Revoked => Self::Revoked,
            CertificateError::UnknownRevocationStatus => Self::RevocationUnknown,
            _ => Self::BadCertificate,
        }
    }
}

/// How a handshake ended for a client's connection.
pub enum Accepted<S: Stream> {
    /// It is secured.
    Secured(Box<Tls<S>>),
    /// It is not, and here it is back.
    Failed(S, TlsFailure),
}

/// The server's side of a handshake over `transport`, of which `received` has come already, until `due_ms` of the alarm's
/// clock; `asks`: does the client have to say more than hello, because its certificate is asked for?
pub async fn accept<S: Stream>(
    transport: S,
    received: Option<Buffer>,
    (config, asks): (Arc<ServerConfig>, bool),
    pool: &BufferPool,
    alarm: &Alarm,
    due_ms: u64,
) -> Accepted<S> {
    let session = match UnbufferedServerConnection::new(config) {
        Ok(connection) => Session::Server(connection),
        Err(error) => return Accepted::Failed(transport, TlsFailure::of(&error)),
    };
    let mut handshake = Handshake { transport, session, pool, alarm, due_ms, asks, records: received, ahead: None };
    match handshake.run().await {
        Ok(()) => Accepted::Secured(Box::new(handshake.finish())),
        Err(why) => Accepted::Failed(handshake.transport, why),
    }
}

/// The client's side of a handshake over `transport` with the server `name`, until `due_ms` of the alarm's clock.
///
/// # Errors
/// Why there is no TLS connection; the transport is closed then.
pub async fn connect<S: Stream>(
    transport: S,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    pool: &BufferPool,
    alarm: &Alarm,
    due_ms: u64,
) -> Result<Box<Tls<S>>, TlsFailure> {
    let session = UnbufferedClientConnection::new(config, name).map_err(|error| TlsFailure::of(&error))?;
    let session = Session::Client(session);
    let mut handshake = Handshake { transport, session, pool, alarm, due_ms, asks: true, records: None, ahead: None };
    handshake.run().await?;
    Ok(Box::new(handshake.finish()))
}

struct Handshake<'a, S> {
    transport: S,
    session: Session,
    pool: &'a BufferPool,
    alarm: &'a Alarm,
    due_ms: u64,
    /// May the peer have a chain of certificates to show?
    asks: bool,
    /// None while a read has it.
    records: Option<Buffer>,
    /// Plaintext that came right behind the handshake.
    ahead: Option<Buffer>,
}

impl<S: Stream> Handshake<'_, S> {
    async fn run(&mut self) -> Result<(), TlsFailure> {
        let mut is_first = true;
        loop {
            if !self.received().is_empty() && std::mem::take(&mut is_first) {
                self.look_at_first_bytes()?;
            }
            let mut out = self.pool.lend();
            let progress = self.advance(&mut out);
            // An alert goes out as well, and whoever does not take it hears no more.
            let sent = self.send(out).await;
            progress?;
            sent?;
            if !self.session.agreed().is_handshaking() {
                return Ok(());
            }
            self.receive().await?;
        }
    }

    fn advance(&mut self, out: &mut Buffer) -> Result<(), TlsFailure> {
        let Self { session, records, ahead, pool, .. } = self;
        let records = records.get_or_insert_with(|| pool.lend());
        let mut take = |plain: &[u8]| {
            let ahead = ahead.get_or_insert_with(|| pool.lend());
            ahead.reserve(plain.len());
            ahead.extend(plain);
        };
        loop {
            match session.step(records, &mut take, out) {
                Ok(Step::More) => {}
                Ok(Step::Blocked | Step::Open) => return Ok(()),
                Ok(Step::Closed) if session.agreed().is_handshaking() => return Err(TlsFailure::Closed),
                Ok(Step::Closed) => return Ok(()),
                Err(error) => {
                    session.last_words(records, out);
                    return Err(TlsFailure::of(&error));
                }
            }
        }
    }

    async fn send(&self, mut out: Buffer) -> Result<(), TlsFailure> {
        while !out.is_empty() {
            let (written, back) = self.in_time(self.transport.write(out)).await?;
            out = back;
            match written {
                Ok(count) if count > 0 => out.consume(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return Err(TlsFailure::Closed),
            }
        }
        Ok(())
    }

    async fn receive(&mut self) -> Result<(), TlsFailure> {
        let most = if self.asks && self.has_heard_hello() { HANDSHAKE_BYTES } else { HELLO_BYTES };
        if self.received().len() > most {
            return Err(TlsFailure::Broken);
        }
        let mut into = self.records.take().unwrap_or_else(|| self.pool.lend());
        into.reserve(READ_BYTES);
        let (read, back) = self.in_time(self.transport.read(into)).await?;
        self.records = Some(back);
        match read {
            Ok(count) if count > 0 => Ok(()),
            Ok(_) | Err(_) => Err(TlsFailure::Closed),
        }
    }

    fn received(&self) -> &[u8] {
        self.records.as_ref().map_or(&[], Buffer::filled)
    }

    /// Has the peer said all of its hello? One that has to say it again (RFC 8446 section 4.1.4) has not.
    fn has_heard_hello(&self) -> bool {
        let agreed = self.session.agreed();
        let has_version = agreed.protocol_version().is_some();
        let has_to_repeat = agreed.handshake_kind() == Some(HandshakeKind::FullWithHelloRetryRequest)
            && agreed.negotiated_key_exchange_group().is_none();
        matches!(self.session, Session::Client(_)) || has_version && !has_to_repeat
    }

    async fn in_time<F: Future>(&self, operation: F) -> Result<F::Output, TlsFailure> {
        let left_ms = self.due_ms.saturating_sub(self.alarm.now_ms());
        let operation = pin!(operation);
        self.alarm.within(left_ms, operation).await.map_err(|Expired| TlsFailure::Timeout)
    }

    /// A peer that speaks something else is told apart before its words are taken for a broken record.
    fn look_at_first_bytes(&self) -> Result<(), TlsFailure> {
        let is_server = matches!(self.session, Session::Server(_));
        match self.received() {
            [first, ..] if is_server && first.is_ascii_alphabetic() => Err(TlsFailure::PlainHttp),
            [first, ..] if is_server && *first != HANDSHAKE_RECORD => Err(TlsFailure::NotTls),
            _ => Ok(()),
        }
    }

    fn finish(self) -> Tls<S> {
        let Self { transport, session, pool, records, ahead, .. } = self;
        Tls::new(transport, pool.clone(), session, records.filter(|records| !records.is_empty()), ahead)
    }
}
