//! TLS of probes.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::deadline::Deadline;
use super::target::Target;
use super::trouble::{Phase, Trouble};
use crate::config::{ActiveHealth, UpstreamProtocol};
use crate::control::roots;
use crate::snapshot::client_config;

/// The cryptography.
pub(super) struct Trust {
    provider: Arc<CryptoProvider>,
}

impl Trust {
    /// That of aws-lc.
    pub(super) fn new() -> Self {
        Self { provider: Arc::new(aws_lc_rs::default_provider()) }
    }

    /// What the probes of `health` believe, and offer to speak.
    ///
    /// # Errors
    /// [`Trouble::Ours`] when there is nobody to believe.
    pub(super) async fn connector(
        &self,
        health: &ActiveHealth,
        spoken: UpstreamProtocol,
    ) -> Result<TlsConnector, Trouble> {
        let ours = |why: String| Trouble::Ours(why.into());
        let system = if health.tls.trusts_system() { Some(roots::system().await.map_err(ours)?) } else { None };
        let config = client_config(&self.provider, &health.tls, spoken, system.as_ref());
        let mut config = config.map_err(|error| ours(error.to_string()))?;
        // A resumed session would not show whether the certificate is still good.
        config.resumption = Resumption::disabled();
        Ok(TlsConnector::from(Arc::new(config)))
    }
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

/// Did both sides agree on HTTP/2?
pub(super) fn agreed_on_h2(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}
