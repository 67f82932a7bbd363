//! TLS compiled: with what connections of clients and to endpoints are secured.

mod certificates;
mod tickets;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};

use certificates::Certificates;
pub use certificates::{Greeting, Inbound};
use tickets::Tickets;

use crate::config::{
    Authorities, ClientAuth, ClusterTls, ListenerTls, Protocol, Revocations, TlsVersion, UpstreamProtocol,
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
    /// The keys of tickets are as old as they may be: the next snapshot has others.
    must_turn: bool,
    /// How many settings towards endpoints there have been.
    clients: u64,
    /// Hellos of clients that asked for a name that no certificate is for.
    unknown_names: Arc<AtomicU64>,
}

/// Who must have signed a client's certificate, what they took back, and whether a client must have one.
type Demand = (Option<Authorities>, Option<Revocations>, ClientAuth);

#[derive(Default)]
struct Kept {
    /// One for each set of authorities that clients are asked for, and how, and one for none: a ticket says that its owner
    /// was verified, and must not be taken where more is demanded.
    tickets: Vec<(Demand, Arc<Tickets>)>,
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
            must_turn: false,
            clients: 0,
            unknown_names: Arc::default(),
        }
    }

    /// Where hellos of clients are counted that asked for a name that no certificate of their listener is for.
    pub(super) const fn unknown_names(&self) -> &Arc<AtomicU64> {
        &self.unknown_names
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
        self.must_turn = false;
    }

    /// A period of the keys of tickets is over: snapshots compiled from now on have new ones.
    pub(super) const fn on_period_over(&mut self) {
        self.must_turn = true;
    }

    /// With what the connections of a listener are secured.
    pub(super) fn inbound(&mut self, tls: &ListenerTls, protocols: &[Protocol]) -> Result<Inbound, TlsError> {
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
                // Of each certificate of a chain it must be known that it is not revoked, once anything is known.
                let lists = tls.client_crl.iter().flat_map(|revocations| revocations.lists().to_vec());
                let verifier = verifier.with_crls(lists);
                let verifier = match tls.client_auth {
                    ClientAuth::Required => verifier,
                    ClientAuth::Optional => verifier.allow_unauthenticated(),
                };
                config
                    .with_client_cert_verifier(verifier.build().map_err(|error| TlsError::Refused(error.to_string()))?)
            }
        };
        let certificates = Arc::new(Certificates::new(&tls.certificates, Arc::clone(&self.unknown_names)));
        let mut config = config.with_cert_resolver(Arc::<Certificates>::clone(&certificates));
        // Sessions are with the clients, in tickets: a memory of them would be one lock for all workers.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = self.tickets((tls.client_ca.clone(), tls.client_crl.clone(), tls.client_auth))?;
        config.alpn_protocols =
            protocols.iter().filter_map(|protocol| offered(*protocol)).map(<[u8]>::to_vec).collect();
        Ok(Inbound::new(Arc::new(config), certificates, tls.client_ca.is_some()))
    }

    /// The keys of tickets, which all workers share.
    fn tickets(&mut self, demand: Demand) -> Result<Arc<Tickets>, TlsError> {
        let of = |(known, _): &&(Demand, Arc<Tickets>)| *known == demand;
        if let Some((_, tickets)) = self.next.tickets.iter().find(of) {
            return Ok(Arc::clone(tickets));
        }
        let tickets = match self.in_force.tickets.iter().find(of) {
            Some((_, tickets)) if self.must_turn => Arc::new(tickets.turned()?),
            Some((_, tickets)) => Arc::clone(tickets),
            None => Arc::new(Tickets::new()?),
        };
        self.next.tickets.push((demand, Arc::clone(&tickets)));
        Ok(tickets)
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
