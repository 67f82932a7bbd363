//! TLS compiled: with what connections of clients and to endpoints are secured.

use std::fmt;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};

use crate::config::{
    Authorities, ClientAuth, ClusterTls, Identity, ListenerTls, Protocol, TlsVersion, UpstreamProtocol,
};

/// Why TLS cannot be spoken as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsError {
    /// The system's authorities are asked for and there are none.
    NoRoots,
    /// What the library refuses, in its words.
    Refused(String),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoots => f.write_str("this system has no root certificates, set `ca`"),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        Self::Refused(error.to_string())
    }
}

/// What of TLS outlives a snapshot: the keys of tickets, and the sessions with endpoints.
pub(super) struct TlsKeeper {
    provider: Arc<CryptoProvider>,
    system: Option<Arc<RootCertStore>>,
    in_force: Kept,
    /// Of the snapshot under construction.
    next: Kept,
    /// How many settings towards endpoints there have been.
    clients: u64,
}

/// Who must have signed a client's certificate, and whether it must have one.
type Demand = (Option<Authorities>, ClientAuth);

#[derive(Default)]
struct Kept {
    /// One for each set of authorities that clients are asked for, and how, and one for none: a ticket says that its owner
    /// was verified, and must not be taken where more is demanded.
    ticketers: Vec<(Demand, Arc<dyn ProducesTickets>)>,
    clients: Vec<(ClusterTls, UpstreamProtocol, Outbound)>,
}

/// TLS to the endpoints of clusters with the same settings.
#[derive(Clone)]
pub(super) struct Outbound {
    pub(super) config: Arc<ClientConfig>,
    /// Other settings have another number, for as long as the process lives.
    pub(super) number: u64,
}

impl TlsKeeper {
    pub(super) fn new() -> Self {
        Self {
            provider: Arc::new(aws_lc_rs::default_provider()),
            system: None,
            in_force: Kept::default(),
            next: Kept::default(),
            clients: 0,
        }
    }

    /// Are the system's authorities known?
    pub(super) const fn has_system(&self) -> bool {
        self.system.is_some()
    }

    /// Takes the system's authorities.
    pub(super) fn set_system(&mut self, roots: Arc<RootCertStore>) {
        self.system = Some(roots);
    }

    /// A snapshot is about to be compiled.
    pub(super) fn begin(&mut self) {
        self.next = Kept::default();
    }

    /// The snapshot compiled last is in force: what only earlier ones used is forgotten.
    pub(super) fn on_published(&mut self) {
        self.in_force = std::mem::take(&mut self.next);
    }

    /// With what the connections of a listener are secured.
    pub(super) fn inbound(&mut self, tls: &ListenerTls, protocols: &[Protocol]) -> Result<Arc<ServerConfig>, TlsError> {
        let versions = match tls.min_version {
            TlsVersion::Tls12 => &[&TLS13, &TLS12][..],
            TlsVersion::Tls13 => &[&TLS13][..],
        };
        let config =
            ServerConfig::builder_with_provider(Arc::clone(&self.provider)).with_protocol_versions(versions)?;
        let config = match &tls.client_ca {
            None => config.with_no_client_auth(),
            Some(ca) => {
                let (roots, provider) = (Arc::clone(ca.roots()), Arc::clone(&self.provider));
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = match tls.client_auth {
                    ClientAuth::Required => verifier,
                    ClientAuth::Optional => verifier.allow_unauthenticated(),
                };
                config
                    .with_client_cert_verifier(verifier.build().map_err(|error| TlsError::Refused(error.to_string()))?)
            }
        };
        let mut config = config.with_cert_resolver(Arc::new(Certificates::new(&tls.certificates)));
        // Sessions are with the clients, in tickets: a memory of them would be one lock for all workers.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = self.ticketer((tls.client_ca.clone(), tls.client_auth))?;
        config.alpn_protocols =
            protocols.iter().filter_map(|protocol| offered(*protocol)).map(<[u8]>::to_vec).collect();
        Ok(Arc::new(config))
    }

    /// The keys of tickets, which all workers share and which turn over by themselves.
    fn ticketer(&mut self, demand: Demand) -> Result<Arc<dyn ProducesTickets>, TlsError> {
        let mut known = self.next.ticketers.iter().chain(&self.in_force.ticketers);
        if let Some((_, ticketer)) = known.find(|(of, _)| *of == demand) {
            let ticketer = Arc::clone(ticketer);
            if !self.next.ticketers.iter().any(|(of, _)| *of == demand) {
                self.next.ticketers.push((demand, Arc::clone(&ticketer)));
            }
            return Ok(ticketer);
        }
        let ticketer = aws_lc_rs::Ticketer::new()?;
        self.next.ticketers.push((demand, Arc::clone(&ticketer)));
        Ok(ticketer)
    }

    /// With what connections to the `https` endpoints of a cluster are secured.
    pub(super) fn outbound(&mut self, tls: &ClusterTls, protocol: UpstreamProtocol) -> Result<Outbound, TlsError> {
        let same = |(known, spoken, _): &&(ClusterTls, UpstreamProtocol, Outbound)| known == tls && *spoken == protocol;
        if let Some((_, _, outbound)) = self.next.clients.iter().find(same) {
            return Ok(outbound.clone());
        }
        let known = self.in_force.clients.iter().find(same).map(|(_, _, outbound)| outbound.clone());
        let outbound = match known {
            Some(outbound) => outbound,
            None => {
                self.clients += 1;
                let config = Arc::new(client_config(&self.provider, tls, protocol, self.system.as_ref())?);
                Outbound { config, number: self.clients }
            }
        };
        self.next.clients.push((tls.clone(), protocol, outbound.clone()));
        Ok(outbound)
    }
}

/// The name of a protocol in a handshake, of those that are served.
const fn offered(protocol: Protocol) -> Option<&'static [u8]> {
    match protocol {
        Protocol::Http11 => Some(b"http/1.1"),
        Protocol::Http2 => Some(b"h2"),
    }
}

/// TLS towards endpoints as `tls` wants it, with `protocol` on offer; `system` are the system's authorities.
///
/// # Errors
/// No authorities, or what the library refuses.
pub fn client_config(
    provider: &Arc<CryptoProvider>,
    tls: &ClusterTls,
    protocol: UpstreamProtocol,
    system: Option<&Arc<RootCertStore>>,
) -> Result<ClientConfig, TlsError> {
    let config = ClientConfig::builder_with_provider(Arc::clone(provider)).with_safe_default_protocol_versions()?;
    let config = match (&tls.ca, tls.insecure_skip_verify) {
        (_, true) => {
            let verifier = Arc::new(Credulous(Arc::clone(provider)));
            config.dangerous().with_custom_certificate_verifier(verifier)
        }
        (Some(ca), false) => config.with_root_certificates(Arc::clone(ca.roots())),
        (None, false) => config.with_root_certificates(Arc::clone(system.ok_or(TlsError::NoRoots)?)),
    };
    let mut config = match &tls.identity {
        None => config.with_no_client_auth(),
        Some(identity) => {
            let certified = Arc::clone(identity.certified());
            config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
        }
    };
    let offered: &[&[u8]] = match protocol {
        UpstreamProtocol::Http1 => &[b"http/1.1"],
        UpstreamProtocol::H2 => &[b"h2"],
        UpstreamProtocol::Auto => &[b"h2", b"http/1.1"],
    };
    config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

/// The certificates of a listener by the names they are for.
struct Certificates {
    all: Vec<Arc<CertifiedKey>>,
    exact: FxHashMap<String, usize>,
    /// By what follows the star and its dot.
    wildcard: FxHashMap<String, usize>,
}

impl Certificates {
    fn new(identities: &[Identity]) -> Self {
        let (mut exact, mut wildcard) = (FxHashMap::default(), FxHashMap::default());
        for (index, identity) in identities.iter().enumerate() {
            for name in identity.names() {
                let (table, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut wildcard, parent),
                    None => (&mut exact, name.as_str()),
                };
                table.entry(name.to_owned()).or_insert(index);
            }
        }
        Self { all: identities.iter().map(|identity| Arc::clone(identity.certified())).collect(), exact, wildcard }
    }

    /// The one for `name`, in lower case: the one that has just this name, else the one that has a star for its first
    /// label (RFC 6125 section 6.4.3), else the first of all.
    fn find(&self, name: Option<&str>) -> usize {
        let exact = || self.exact.get(name?).copied();
        let wildcard = || self.wildcard.get(name?.split_once('.')?.1).copied();
        exact().or_else(wildcard).unwrap_or(0)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.all.get(self.find(hello.server_name())).map(Arc::clone)
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("exact", &self.exact).field("wildcard", &self.wildcard).finish()
    }
}

/// Believes everybody, as `insecure_skip_verify` asks.
#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
