//! A site that speaks TLS, and those who believe it.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme, SupportedProtocolVersion,
};

use super::folder::Folder;
use super::gateway::Gateway;
use super::pki::{Authority, Pair, first_in};
use super::plan::{Io, Plan};

/// Both versions that are spoken.
pub(crate) const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
/// The entries of a listener with the pair that every site has.
pub(crate) const TLS: &str = "tls: { certificates: [{ cert: site.crt, key: site.key }] }";

/// Certificates in the directory that a gateway is about to run in.
pub(crate) struct Site {
    pub(crate) authority: Authority,
    pub(crate) folder: Folder,
}

impl Site {
    /// With `site.crt` and `site.key` for `a.example`, and `ca.crt`, which signed them.
    pub(crate) fn new() -> Self {
        let site = Self { authority: Authority::new("site"), folder: Folder::new() };
        site.folder.write("ca.crt", site.authority.pem());
        let pair = site.authority.certifies(&["a.example"]);
        site.with("site", &pair)
    }

    /// With a further pair, `NAME.crt` and `NAME.key`.
    pub(crate) fn with(self, name: &str, pair: &Pair) -> Self {
        write_pair(&self.folder, name, pair);
        self
    }

    /// With a further file.
    pub(crate) fn with_file(self, name: &str, text: &str) -> Self {
        self.folder.write(name, text);
        self
    }

    /// A client that believes it.
    pub(crate) fn believer(&self) -> ClientConfig {
        believer(&self.authority)
    }

    /// Starts a gateway on `plan`, whose listener is given [`TLS`].
    pub(crate) fn start(self, plan: Plan) -> (Authority, Gateway) {
        self.start_on(&plan.listener(TLS))
    }

    /// Starts a gateway on `plan` as it is.
    pub(crate) fn start_on(self, plan: &Plan) -> (Authority, Gateway) {
        (self.authority, Gateway::start_in(self.folder, &plan.yaml()))
    }
}

/// A gateway that answers everything with `hello` over TLS, and a client's configuration that believes it.
pub(crate) fn greeter(io: Io, limits: &str) -> (Gateway, Arc<ClientConfig>) {
    let site = Site::new();
    let believer = Arc::new(site.believer());
    let plan = Plan::bare(io).route("name: all, respond: { status: 200, body: hello }").limits(limits);
    (site.start(plan).1, believer)
}

/// Writes a pair as `NAME.crt` and `NAME.key`.
pub(crate) fn write_pair(folder: &Folder, name: &str, pair: &Pair) {
    folder.write(&format!("{name}.crt"), &pair.cert);
    let key = folder.write(&format!("{name}.key"), &pair.key);
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).expect("our own file");
}

/// A client that believes whom `authority` has certified.
pub(crate) fn believer(authority: &Authority) -> ClientConfig {
    believer_of(authority, &VERSIONS, None)
}

/// A client that looks at no certificate.
pub(crate) fn credulous() -> ClientConfig {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().expect("versions that are known");
    config.dangerous().with_custom_certificate_verifier(Arc::new(Credulous)).with_no_client_auth()
}

/// Believes everybody.
#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// The same as [`believer`] with these versions only, and perhaps with a certificate of its own.
pub(crate) fn believer_of(
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
    own: Option<&Pair>,
) -> ClientConfig {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_protocol_versions(versions).expect("versions that are known");
    let config = config.with_root_certificates(roots(authority));
    match own {
        None => config.with_no_client_auth(),
        Some(own) => config.with_client_auth_cert(own.chain(), own.private_key()).expect("a pair"),
    }
}

/// A server with this pair and these versions; with `asks_for` it demands a client's certificate.
pub(crate) fn server_of(
    pair: &Pair,
    versions: &[&'static SupportedProtocolVersion],
    asks_for: Option<&Authority>,
) -> ServerConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let config = config.with_protocol_versions(versions).expect("versions that are known");
    let config = match asks_for {
        None => config.with_no_client_auth(),
        Some(authority) => {
            let roots = Arc::new(roots(authority));
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(roots, provider);
            config.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    let mut config = config.with_single_cert(pair.chain(), pair.private_key()).expect("a pair");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

fn roots(authority: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(first_in(authority.pem())).expect("an authority");
    roots
}
