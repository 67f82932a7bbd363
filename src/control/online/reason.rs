//! What can be wrong with an endpoint: the reasons that requests to it would fail with.

use std::io;

use crate::net::TlsFailure;

/// Why an endpoint is not as configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// Its name has no address; no request gets that far.
    Unresolved,
    /// This machine has nothing to verify its certificate by.
    Unverifiable,
    ConnectRefused,
    ConnectTimeout,
    ConnectFailed,
    CertificateUnknown,
    CertificateName,
    CertificateExpired,
    NotTls,
    NoSharedTls,
    TlsFailed,
    SpeaksTls,
    NotH2,
    SpeaksH2,
    Reset,
    Eof,
    Timeout,
    BadResponse,
}

impl Reason {
    /// Each of them.
    #[cfg(test)]
    const ALL: [Self; 18] = [
        Self::Unresolved,
        Self::Unverifiable,
        Self::ConnectRefused,
        Self::ConnectTimeout,
        Self::ConnectFailed,
        Self::CertificateUnknown,
        Self::CertificateName,
        Self::CertificateExpired,
        Self::NotTls,
        Self::NoSharedTls,
        Self::TlsFailed,
        Self::SpeaksTls,
        Self::NotH2,
        Self::SpeaksH2,
        Self::Reset,
        Self::Eof,
        Self::Timeout,
        Self::BadResponse,
    ];

    /// The reason code, as the table of failures has it.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Unresolved => "unresolved",
            Self::Unverifiable => "unverifiable",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::ConnectFailed => "connect_failed",
            Self::CertificateUnknown => "tls_unknown_issuer",
            Self::CertificateName => "tls_wrong_name",
            Self::CertificateExpired => "tls_expired",
            Self::NotTls => "tls_plain_peer",
            Self::NoSharedTls => "tls_no_shared_version",
            Self::TlsFailed => "tls_failed",
            Self::SpeaksTls => "upstream_speaks_tls",
            Self::NotH2 => "upstream_not_h2",
            Self::SpeaksH2 => "upstream_speaks_h2",
            Self::Reset => "upstream_reset",
            Self::Eof => "upstream_eof",
            Self::Timeout => "upstream_timeout",
            Self::BadResponse => "bad_response",
        }
    }

    /// The same in words, with what to do about it where that is plain.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Unresolved => "its name has no address",
            Self::Unverifiable => "there is nothing to verify its certificate by",
            Self::ConnectRefused => "nobody listens there",
            Self::ConnectTimeout => "no connection came about in time",
            Self::ConnectFailed => "no connection came about",
            Self::CertificateUnknown => "its certificate is signed by an unknown issuer: set `tls.ca`",
            Self::CertificateName => "its certificate is for another name: set `tls.server_name`",
            Self::CertificateExpired => "its certificate is not valid now",
            Self::NotTls => "it does not speak TLS: use http or h2c in its url",
            Self::NoSharedTls => "it has no TLS version, suite or protocol in common with the gateway",
            Self::TlsFailed => "the TLS handshake failed",
            Self::SpeaksTls => "it speaks TLS: use https in its url",
            Self::NotH2 => "it does not speak HTTP/2: use http1 for `protocol`, or http in its url",
            Self::SpeaksH2 => "it speaks HTTP/2: use h2 for `protocol`",
            Self::Reset => "it reset the connection instead of an answer",
            Self::Eof => "it closed the connection instead of an answer",
            Self::Timeout => "it did not answer in time",
            Self::BadResponse => "its answer is not HTTP",
        }
    }

    /// What an error of connecting means.
    pub(super) fn of_connect(error: &io::Error) -> Self {
        let kind = error.kind();
        if kind == io::ErrorKind::ConnectionRefused {
            Self::ConnectRefused
        } else if kind == io::ErrorKind::TimedOut {
            Self::ConnectTimeout
        } else {
            Self::ConnectFailed
        }
    }

    /// What an error of a TLS handshake means, where HTTP/2 must be agreed on or not.
    pub(super) fn of_handshake(error: &io::Error, must_h2: bool) -> Self {
        match of_tls(error) {
            Some(TlsFailure::NoSharedProtocol) if must_h2 => Self::NotH2,
            why => why.map_or(Self::TlsFailed, Self::of),
        }
    }

    /// What an error instead of an answer means; it may be one of TLS, whose server has its last word after the client's.
    pub(super) fn of_answer(error: &io::Error, is_h2: bool) -> Self {
        match of_tls(error) {
            Some(why) => Self::of(why),
            None if is_h2 => Self::ConnectFailed,
            None if error.kind() == io::ErrorKind::ConnectionReset => Self::Reset,
            None => Self::Eof,
        }
    }

    const fn of(why: TlsFailure) -> Self {
        match why {
            TlsFailure::Timeout => Self::ConnectTimeout,
            TlsFailure::UnknownIssuer => Self::CertificateUnknown,
            TlsFailure::WrongName => Self::CertificateName,
            TlsFailure::Expired => Self::CertificateExpired,
            TlsFailure::NotTls | TlsFailure::PlainHttp => Self::NotTls,
            TlsFailure::NoSharedVersion | TlsFailure::NoSharedProtocol => Self::NoSharedTls,
            TlsFailure::Closed
            | TlsFailure::UnknownName
            | TlsFailure::BadCertificate
            | TlsFailure::Revoked
            | TlsFailure::RevocationUnknown
            | TlsFailure::NoCertificate
            | TlsFailure::Refused
            | TlsFailure::Broken => Self::TlsFailed,
        }
    }
}

fn of_tls(error: &io::Error) -> Option<TlsFailure> {
    error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).map(TlsFailure::of)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::worker;

    #[test]
    fn every_reason_is_one_that_requests_fail_with() {
        let known: HashSet<_> = worker::reasons().into_iter().collect();
        for reason in Reason::ALL {
            let comes_first = matches!(reason, Reason::Unresolved | Reason::Unverifiable);
            assert!(comes_first || known.contains(reason.label()), "{reason:?}");
        }
        let labels: HashSet<_> = Reason::ALL.iter().map(|reason| reason.label()).collect();
        assert_eq!(labels.len(), Reason::ALL.len());
    }
}
