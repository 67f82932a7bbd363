//! Certificates, and TLS of clients and endpoints.
//!
//! Keys, random values and tickets are the operating system's and differ from run to run; what a seed does hangs on the
//! lengths of messages only, and those are equal: Ed25519 has signatures of one length.

use std::sync::{Arc, LazyLock};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ED25519};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection, version};

use crate::link::Link;
use crate::pipe::End;
use crate::plan::{Tongue, WireTrouble};
use crate::settings::LISTENERS;

/// What every certificate is for.
const NAME: &str = "sim.test";

/// Files in PEM, by the names that configurations give them.
struct Files {
    authority: String,
    certificate: String,
    key: String,
}

static FILES: LazyLock<Files> = LazyLock::new(|| {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "sim");
    let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let authority = params.self_signed(&key).expect("a certificate");
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let params = CertificateParams::new([NAME.to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    Files { authority: authority.pem(), certificate: certificate.pem(), key: key.serialize_pem() }
});

/// The content of a file that a configuration names.
pub(crate) fn file(name: &str) -> Option<&'static str> {
    match name {
        "ca.crt" => Some(&FILES.authority),
        "sim.crt" => Some(&FILES.certificate),
        "sim.key" => Some(&FILES.key),
        _ => None,
    }
}

/// What the clients of a run connect with; they know each other's sessions, by version and protocol.
pub(crate) struct Sessions(Vec<Arc<ClientConfig>>);

impl Sessions {
    pub(crate) fn new() -> Self {
        let kinds = [false, true].into_iter().flat_map(|is_h2| [false, true].map(|is_12| (is_h2, is_12)));
        Self(kinds.map(|(is_h2, is_12)| client_config(is_h2, is_12)).collect())
    }
}

impl Tongue {
    /// Where it is understood.
    pub(crate) const fn listener(&self) -> &'static str {
        match (self.is_tls, self.is_h2) {
            (false, false) => LISTENERS[0],
            (true, false) => LISTENERS[1],
            (false, true) => LISTENERS[2],
            (true, true) => LISTENERS[3],
        }
    }

    pub(crate) fn link(&self, end: End, sessions: &Sessions) -> Link {
        if !self.is_tls {
            return Link::plain(end, self.wire);
        }
        let config = &sessions.0[2 * usize::from(self.is_h2) + usize::from(self.is_12)];
        let name = ServerName::try_from(NAME).expect("a name");
        let session = ClientConnection::new(Arc::clone(config), name).expect("a session");
        Link::secured(end, Connection::Client(session), self.wire)
    }
}

fn client_config(is_h2: bool, is_12: bool) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(FILES.authority.as_bytes()).expect("PEM")).expect("an authority");
    let versions = if is_12 { &[&version::TLS12] } else { &[&version::TLS13] };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).expect("versions");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![if is_h2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    Arc::new(config)
}

/// What endpoints answer with; those of HTTP/2 speak nothing else.
fn server_config(is_h2: bool) -> Arc<ServerConfig> {
    static CONFIGS: LazyLock<[Arc<ServerConfig>; 2]> = LazyLock::new(|| {
        [false, true].map(|is_h2| {
            let chain = vec![CertificateDer::from_pem_slice(FILES.certificate.as_bytes()).expect("PEM")];
            let key = PrivateKeyDer::from_pem_slice(FILES.key.as_bytes()).expect("PEM");
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
            let builder = builder.expect("versions").with_no_client_auth();
            let mut config = builder.with_single_cert(chain, key).expect("a pair");
            if is_h2 {
                config.alpn_protocols = vec![b"h2".to_vec()];
            }
            Arc::new(config)
        })
    });
    Arc::clone(&CONFIGS[usize::from(is_h2)])
}

/// An endpoint's end of a connection.
pub(crate) fn served(end: End, is_h2: bool) -> Link {
    let session = ServerConnection::new(server_config(is_h2)).expect("a session");
    Link::secured(end, Connection::Server(session), WireTrouble::default())
}
