//! TLS of HTTPS probes: whose certificates are believed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::deadline::Deadline;
use super::target::Target;
use super::trouble::{Phase, Trouble};
use crate::config::ActiveHealth;

/// The cryptography, and the system's root certificates, which are read once.
pub(super) struct Trust {
    provider: Arc<CryptoProvider>,
    system: OnceCell<Arc<RootCertStore>>,
}

impl Trust {
    /// Nothing is read yet.
    pub(super) fn new() -> Self {
        Self { provider: Arc::new(aws_lc_rs::default_provider()), system: OnceCell::new() }
    }

    /// What the probes of `health` believe.
    ///
    /// # Errors
    /// [`Trouble::Ours`] when the certificates to believe cannot be read.
    pub(super) async fn connector(&self, health: &ActiveHealth) -> Result<TlsConnector, Trouble> {
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Trouble::Ours(error.to_string().into()))?;
        let config = if health.insecure_skip_verify {
            config.dangerous().with_custom_certificate_verifier(Arc::new(Credulous(Arc::clone(&self.provider))))
        } else {
            config.with_root_certificates(self.roots(health.ca.as_deref()).await?)
        };
        let mut config = config.with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A resumed session would not show whether the certificate is still good.
        config.resumption = Resumption::disabled();
        Ok(TlsConnector::from(Arc::new(config)))
    }

    async fn roots(&self, ca: Option<&Path>) -> Result<Arc<RootCertStore>, Trouble> {
        if let Some(path) = ca {
            let path = path.to_owned();
            return off_thread(move || roots_of_file(&path)).await;
        }
        self.system.get_or_try_init(|| off_thread(roots_of_system)).await.cloned()
    }
}

/// Reading files may take its time, and the control thread has more to do.
async fn off_thread(
    read: impl FnOnce() -> Result<RootCertStore, Trouble> + Send + 'static,
) -> Result<Arc<RootCertStore>, Trouble> {
    let roots = tokio::task::spawn_blocking(read).await;
    roots.unwrap_or_else(|error| Err(Trouble::Ours(error.to_string().into()))).map(Arc::new)
}

fn roots_of_file(path: &PathBuf) -> Result<RootCertStore, Trouble> {
    let refused = |why: String| Trouble::Ours(format!("ca `{}`: {why}", path.display()).into());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| refused(error.to_string()))? {
        let certificate = certificate.map_err(|error| refused(error.to_string()))?;
        roots.add(certificate).map_err(|error| refused(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(refused("it holds no certificate".to_owned()));
    }
    Ok(roots)
}

/// One bad certificate among the system's is no reason to do without the others.
fn roots_of_system() -> Result<RootCertStore, Trouble> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(Trouble::Ours("this system has no root certificates, set `ca`".into()));
    }
    Ok(roots)
}

/// The handshake over `stream`.
///
/// # Errors
/// A certificate that is not believed, a port that does not speak TLS, or too little time.
pub(super) async fn secure(
    stream: TcpStream,
    connector: &TlsConnector,
    target: &Target,
    deadline: &mut Deadline,
) -> Result<TlsStream<TcpStream>, Trouble> {
    let name = target.server_name().to_owned();
    let name = ServerName::try_from(name.clone())
        .map_err(|_| Trouble::Ours(format!("`{name}` is no name that a certificate can be for").into()))?;
    let secured = deadline.before(Phase::Handshake, connector.connect(name, stream)).await?;
    secured.map_err(|error| Trouble::from_io(&error))
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
