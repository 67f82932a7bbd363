//! The checked form of TLS: certificates with their keys, who is believed, and what is spoken.

use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::sign::CertifiedKey;

/// A certificate with those that sign it and with its private key, which belongs to it.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    names: Vec<String>,
}

impl Identity {
    /// `certified` whose certificate and key belong together; `names` are the DNS names of the certificate.
    pub fn new(certified: CertifiedKey, names: Vec<String>) -> Self {
        Self { certified: Arc::new(certified), names }
    }

    /// The chain and the key as TLS uses them.
    pub const fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// The DNS names that the certificate is for, in lower case; `*.` in front stands for one label.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

impl PartialEq for Identity {
    /// The key follows from the certificate that it belongs to.
    fn eq(&self, other: &Self) -> bool {
        self.certified.cert == other.certified.cert
    }
}

impl Eq for Identity {}

impl fmt::Debug for Identity {
    /// Never the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("names", &self.names).finish_non_exhaustive()
    }
}

/// Those who may sign a peer's certificate, at least one.
#[derive(Clone)]
pub struct Authorities(Arc<RootCertStore>);

impl Authorities {
    /// Those of `roots`.
    pub fn new(roots: RootCertStore) -> Self {
        Self(Arc::new(roots))
    }

    /// The same as TLS uses them.
    pub const fn roots(&self) -> &Arc<RootCertStore> {
        &self.0
    }
}

impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        self.0.roots == other.0.roots
    }
}

impl Eq for Authorities {}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Authorities").field(&self.0.roots.len()).finish()
    }
}

/// Lists of the certificates that those who signed them have taken back, at least one.
#[derive(Clone, PartialEq, Eq)]
pub struct Revocations(Arc<[CertificateRevocationListDer<'static>]>);

impl Revocations {
    /// These lists, which TLS can use.
    pub fn new(lists: Vec<CertificateRevocationListDer<'static>>) -> Self {
        Self(lists.into())
    }

    /// The same as TLS uses them.
    pub fn lists(&self) -> &[CertificateRevocationListDer<'static>] {
        &self.0
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Revocations").field(&self.0.len()).finish()
    }
}

/// How the connections of a listener are secured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// At least one; the first one is for clients that name no host, or one that none is for.
    pub certificates: Vec<Identity>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// Who must have signed a client's certificate; `None` asks for none.
    pub client_ca: Option<Authorities>,
    /// Which of these certificates were taken back; `None` believes them all.
    pub client_crl: Option<Revocations>,
    /// What becomes of a client without a certificate, where one is asked for.
    pub client_auth: ClientAuth,
}

/// What becomes of a client without a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// It is refused in the handshake.
    Required,
    /// It is served, where a route does not demand one.
    Optional,
}

/// How connections to a cluster's `https` endpoints are secured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterTls {
    /// Who may have signed an endpoint's certificate; `None` for the system's authorities.
    pub ca: Option<Authorities>,
    /// Our own certificate, for endpoints that ask for one.
    pub identity: Option<Identity>,
    /// The name that an endpoint's certificate must have, in lower case; `None` for [`Endpoint::host`].
    ///
    /// [`Endpoint::host`]: super::Endpoint::host
    pub server_name: Option<String>,
    /// Whether any certificate will do.
    pub insecure_skip_verify: bool,
}

impl ClusterTls {
    /// Whether the system's authorities are asked for.
    pub const fn trusts_system(&self) -> bool {
        self.ca.is_none() && !self.insecure_skip_verify
    }
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246, with authenticated encryption and ephemeral keys only.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// A protocol that a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `h2`.
    Http2,
    /// `http/1.1`.
    Http11,
}
