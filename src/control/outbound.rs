//! Connections of the control side to servers that the configuration names by a URL.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

use super::roots;
use crate::config::{Authorities, ClusterTls, KeysUrl, UpstreamProtocol};
use crate::snapshot::client_config;

/// A connection, secured or not.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Connection for S {}

/// Connects to the server of `url`, whose certificate `ca` must have signed, or one of the system's authorities.
///
/// # Errors
/// Why there is no connection.
pub(super) async fn open(url: &KeysUrl, ca: Option<&Authorities>) -> Result<Box<dyn Connection>, String> {
    let stream = connect(url).await?;
    if !url.is_secure {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(url.host.clone()).map_err(|_| "its host is no name of a certificate".to_owned())?;
    let stream = connector(ca).await?.connect(name, stream).await;
    Ok(Box::new(stream.map_err(|error| format!("TLS: {error}"))?))
}

/// The first of its addresses that answers.
async fn connect(url: &KeysUrl) -> Result<TcpStream, String> {
    let addresses = lookup_host((url.host.as_str(), url.port)).await;
    let mut why = "its host has no address".to_owned();
    for address in addresses.map_err(|error| format!("its host has no address: {error}"))? {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => why = format!("{address}: {error}"),
        }
    }
    Err(why)
}

async fn connector(ca: Option<&Authorities>) -> Result<TlsConnector, String> {
    let tls = ClusterTls { ca: ca.cloned(), ..ClusterTls::default() };
    let system = if tls.trusts_system() { Some(roots::system().await?) } else { None };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = client_config(&provider, &tls, UpstreamProtocol::Http1, system.as_ref());
    Ok(TlsConnector::from(Arc::new(config.map_err(|error| error.to_string())?)))
}
