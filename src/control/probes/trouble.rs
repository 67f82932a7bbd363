//! Why a probe failed, in words for an operator.

use std::borrow::Cow;
use std::error::Error as _;
use std::fmt;
use std::io;
use std::time::Duration;

use super::health_message::ServingStatus;
use super::sniff::Seen;

/// What a probe was at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Opening the connection.
    Connect,
    /// The TLS handshake.
    Handshake,
    /// From the request to the end of what is needed of the answer.
    Answer,
}

/// Why a probe failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It took longer than the timeout.
    TimedOut {
        /// The timeout.
        after: Duration,
        /// What did not end.
        phase: Phase,
    },
    /// Nobody listens.
    Refused,
    /// The endpoint cut the connection.
    Reset,
    /// The endpoint closed the connection before it answered.
    Closed,
    /// The network failed in another way.
    Network(String),
    /// This machine could not even try: what it lacks. Says nothing about the endpoint.
    Ours(Cow<'static, str>),
    /// A plaintext probe met TLS.
    SpeaksTls,
    /// A TLS probe met something else.
    NotTls,
    /// The answer is not HTTP/1.
    NotHttp,
    /// An HTTP/1 probe met HTTP/2.
    SpeaksHttp2,
    /// A gRPC probe met HTTP/1.
    SpeaksHttp1,
    /// The answer is not HTTP/2.
    NotHttp2,
    /// TLS did not agree on HTTP/2.
    NoHttp2,
    /// It is, and breaks a rule or a bound of it.
    Http2(String),
    /// The head of the answer has no end in sight.
    HeadTooLarge,
    /// The body of the answer, which had to be read, has none.
    BodyTooLarge,
    /// A status that is not expected.
    Status(u16),
    /// HTTP/2, but not gRPC.
    NotGrpc,
    /// The call failed with this gRPC status.
    GrpcStatus(u32),
    /// The service does not serve.
    Serving(ServingStatus),
    /// The certificate is not good enough: why.
    Certificate(Cow<'static, str>),
    /// TLS failed in another way.
    Tls(String),
}

impl Trouble {
    /// Is it about this machine rather than the endpoint?
    pub(super) const fn is_ours(&self) -> bool {
        matches!(self, Self::Ours(_))
    }

    /// One clause for logs.
    pub(super) fn detail(&self) -> Cow<'static, str> {
        let text = match self {
            Self::TimedOut { after, phase } => return format!("timed out after {after:?} {phase}").into(),
            Self::Network(text) => return text.clone().into(),
            Self::Ours(text) => return format!("not probed: {text}").into(),
            Self::Status(status) => return format!("status {status}").into(),
            Self::GrpcStatus(code) => return format!("grpc status {code}{}", status_name(*code)).into(),
            Self::Certificate(why) => return format!("certificate: {why}").into(),
            Self::Tls(text) => return format!("TLS: {text}").into(),
            Self::Http2(text) => return format!("HTTP/2: {text}").into(),
            Self::Serving(ServingStatus::Other(code)) => return format!("grpc serving status {code}").into(),
            Self::Refused => "connection refused",
            Self::Reset => "connection reset",
            Self::Closed => "closed without an answer",
            Self::SpeaksTls => "the port speaks TLS",
            Self::NotTls => "the port does not speak TLS",
            Self::NotHttp => "the answer is not HTTP",
            Self::SpeaksHttp2 => "the port speaks HTTP/2, not HTTP/1",
            Self::SpeaksHttp1 => "the port speaks HTTP/1, not HTTP/2",
            Self::NotHttp2 => "the answer is not HTTP/2",
            Self::NoHttp2 => "TLS did not agree on HTTP/2",
            Self::HeadTooLarge => "the head of the answer is too large",
            Self::BodyTooLarge => "the answer is too large",
            Self::NotGrpc => "the answer is not gRPC",
            Self::Serving(ServingStatus::Unknown) => "grpc UNKNOWN",
            Self::Serving(ServingStatus::Serving) => "grpc SERVING",
            Self::Serving(ServingStatus::NotServing) => "grpc NOT_SERVING",
            Self::Serving(ServingStatus::ServiceUnknown) => "grpc SERVICE_UNKNOWN",
        };
        Cow::Borrowed(text)
    }

    /// What an error of the socket or of TLS over it means.
    pub(super) fn from_io(error: &io::Error) -> Self {
        if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Self::from_tls(tls);
        }
        if let Some(libc::EMFILE | libc::ENFILE | libc::EADDRNOTAVAIL | libc::ENOBUFS | libc::ENOMEM) =
            error.raw_os_error()
        {
            return Self::Ours(error.to_string().into());
        }
        let kind = error.kind();
        // So the HTTP/2 library calls the end of a connection; the kernel's own has a number.
        let is_end = kind == io::ErrorKind::BrokenPipe && error.raw_os_error().is_none();
        if kind == io::ErrorKind::ConnectionRefused {
            Self::Refused
        } else if kind == io::ErrorKind::UnexpectedEof || is_end {
            Self::Closed
        } else if matches!(kind, io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) {
            Self::Reset
        } else {
            Self::Network(error.to_string())
        }
    }

    /// What an error of TLS means.
    #[expect(clippy::wildcard_enum_match_arm, reason = "what is not told apart is told in the words of the library")]
    pub(super) fn from_tls(error: &rustls::Error) -> Self {
        use rustls::CertificateError as Wrong;
        use rustls::Error;
        match error {
            Error::InvalidMessage(_) => Self::NotTls,
            Error::InvalidCertificate(wrong) => Self::Certificate(match wrong {
                Wrong::Expired | Wrong::ExpiredContext { .. } => "expired".into(),
                Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => "not valid yet".into(),
                Wrong::UnknownIssuer => "unknown issuer".into(),
                Wrong::NotValidForName => "for another name".into(),
                Wrong::NotValidForNameContext { expected, .. } => format!("not for `{}`", expected.to_str()).into(),
                other => other.to_string().into(),
            }),
            other => Self::Tls(other.to_string()),
        }
    }

    /// What an error of an HTTP/1 exchange means, beside the first bytes that came.
    pub(super) fn from_http1(error: &hyper::Error, seen: &Seen) -> Self {
        if seen.is_tls() {
            Self::SpeaksTls
        } else if seen.is_http2() {
            Self::SpeaksHttp2
        } else if error.is_parse_too_large() {
            Self::HeadTooLarge
        } else if error.is_parse() {
            Self::NotHttp
        } else if let Some(io) = io_source(error) {
            Self::from_io(io)
        } else if seen.is_none() || error.is_incomplete_message() {
            Self::Closed
        } else {
            Self::NotHttp
        }
    }

    /// What an error of an HTTP/2 exchange means, beside the first bytes that came.
    pub(super) fn from_http2(error: &hyper::Error, seen: &Seen) -> Self {
        if seen.is_tls() {
            Self::SpeaksTls
        } else if seen.is_http1() {
            Self::SpeaksHttp1
        } else if seen.is_reset() {
            // The library gives it the same error as a plain end.
            Self::Reset
        } else if let Some(io) = io_source(error) {
            Self::from_io(io)
        } else if seen.is_none() {
            Self::Closed
        } else if seen.is_http2() {
            Self::Http2(error.source().map_or_else(|| error.to_string(), ToString::to_string))
        } else {
            Self::NotHttp2
        }
    }
}

/// The error of the socket that caused it, if one did.
fn io_source(error: &hyper::Error) -> Option<&io::Error> {
    error.source().and_then(|source| source.downcast_ref())
}

/// The name of a gRPC status that a health check may well give, after a space.
const fn status_name(code: u32) -> &'static str {
    match code {
        1 => " CANCELLED",
        2 => " UNKNOWN",
        4 => " DEADLINE_EXCEEDED",
        // What `Check` says of a service it does not know (grpc/health/v1/health.proto).
        5 => " NOT_FOUND (the service is unknown)",
        7 => " PERMISSION_DENIED",
        8 => " RESOURCE_EXHAUSTED",
        12 => " UNIMPLEMENTED (there is no health service)",
        13 => " INTERNAL",
        14 => " UNAVAILABLE",
        16 => " UNAUTHENTICATED",
        _ => "",
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "while connecting",
            Self::Handshake => "in the TLS handshake",
            Self::Answer => "while waiting for the answer",
        })
    }
}
