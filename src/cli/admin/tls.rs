//! TLS to the admin server: whom a command believes, and what it shows of itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::Error;
use crate::config::AdminTls;

/// Files for TLS to the admin server.
#[derive(Debug, Clone, Default, clap::Args)]
pub(in crate::cli) struct TlsFiles {
    /// Authorities in PEM, of which one has signed the certificate of the admin server. Default: with `--config` exactly the
    /// certificate that the file names is believed.
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// A certificate in PEM, with its chain, for an admin server that asks for one (`client_ca`).
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The key of that certificate, in PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

/// How a connection is secured.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Secured {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
}

impl TlsFiles {
    /// Is there any, so that TLS is wanted?
    pub(super) const fn are_given(&self) -> bool {
        self.cacert.is_some() || self.cert.is_some() || self.key.is_some()
    }

    /// What secures connections to `authority`, the admin server that `known` configures, if a file was given.
    ///
    /// # Errors
    /// A file that cannot be read, or none where there must be one.
    pub(super) fn secure(&self, authority: &str, known: Option<&AdminTls>) -> Result<Secured, Error> {
        if self.cert.is_none() && known.is_some_and(|tls| tls.client_ca.is_some()) {
            let text = "the admin server asks for a client's certificate: give one by `--cert` and `--key`";
            return Err(Error::Runtime(text.to_owned()));
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = builder.map_err(failed)?;
        let only = known.and_then(|tls| tls.identity.certified().cert.first());
        let builder = match (&self.cacert, only) {
            (Some(file), _) => builder.with_root_certificates(roots(file)?),
            (None, Some(certificate)) => {
                let only = Only { certificate: certificate.clone(), provider };
                builder.dangerous().with_custom_certificate_verifier(Arc::new(only))
            }
            (None, None) => {
                let text = "TLS needs the authority of the admin server's certificate: `--cacert FILE`";
                return Err(Error::Usage(text.to_owned()));
            }
        };
        let config = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, error))?;
                builder.with_client_auth_cert(certificates(cert)?, key).map_err(failed)?
            }
            _ => builder.with_no_client_auth(),
        };
        let own = known.and_then(|tls| tls.identity.names().iter().find(|name| !name.starts_with('*')));
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host).trim_matches(['[', ']']);
        let name = own.map_or(host, String::as_str).to_owned();
        let name = ServerName::try_from(name.clone()).map_err(|error| failed(format!("`{name}`: {error}")))?;
        Ok(Secured { config: Arc::new(config), name })
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Runtime(format!("TLS: {error}"))
}

fn unreadable(file: &Path, error: impl std::fmt::Display) -> Error {
    Error::Runtime(format!("{}: {error}", file.display()))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match all.map_err(|error| unreadable(file, error))? {
        none if none.is_empty() => Err(unreadable(file, "no certificate in it")),
        all => Ok(all),
    }
}

fn roots(file: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| unreadable(file, error))?;
    }
    Ok(roots)
}

/// Believes one certificate, whoever signed it and whatever it is for: that of the file that the server was started with.
#[derive(Debug)]
struct Only {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Only {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
