//! One GET of a set of keys.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

use crate::config::{ClusterTls, KeySource, KeysUrl, UpstreamProtocol};
use crate::control::roots;
use crate::limits;
use crate::policy::auth::{Jwks, Origin};
use crate::snapshot::client_config;

/// Time for everything: name, connection, handshake, answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The keys, or why there are none: nothing of an answer is in it.
pub(super) type Found = Result<Jwks, String>;

/// Asks `source` once; whatever it opens ends with its future.
pub(super) async fn fetch(source: &KeySource) -> Found {
    match tokio::time::timeout(PATIENCE, ask(source)).await {
        Ok(found) => found,
        Err(_) => Err(format!("no whole answer within {PATIENCE:?}")),
    }
}

async fn ask(source: &KeySource) -> Found {
    let url = &source.url;
    let stream = connect(url).await?;
    if !url.is_secure {
        return get(stream, url).await;
    }
    let name = ServerName::try_from(url.host.clone()).map_err(|_| "its host is no name of a certificate".to_owned())?;
    let stream = connector(source).await?.connect(name, stream).await;
    get(stream.map_err(|error| format!("TLS: {error}"))?, url).await
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

async fn connector(source: &KeySource) -> Result<TlsConnector, String> {
    let tls = ClusterTls { ca: source.ca.clone(), ..ClusterTls::default() };
    let system = if tls.trusts_system() { Some(roots::system().await?) } else { None };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = client_config(&provider, &tls, UpstreamProtocol::Http1, system.as_ref());
    Ok(TlsConnector::from(Arc::new(config.map_err(|error| error.to_string())?)))
}

async fn get<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(stream: S, url: &KeysUrl) -> Found {
    let told = |error: hyper::Error| error.to_string();
    let request = Request::get(&url.path)
        .header(HOST, url.authority())
        .header(USER_AGENT, "ringgate")
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let mut client = http1::Builder::new();
    client.max_buf_size(limits::HEADER_BYTES_DEFAULT).max_headers(limits::HEADER_COUNT_DEFAULT);
    let (mut sender, connection) = client.handshake(TokioIo::new(stream)).await.map_err(told)?;
    let asking = async {
        let answer = sender.send_request(request).await.map_err(told)?;
        match answer.status().as_u16() {
            200 => {}
            status @ 300..=399 => return Err(format!("status {status}: redirects are not followed")),
            status => return Err(format!("status {status}")),
        }
        let body = Limited::new(answer.into_body(), limits::JWKS_BYTES).collect().await;
        let body = body.map_err(|_| "the answer broke off, or is too large".to_owned())?.to_bytes();
        Jwks::parse(&body, Origin::Issuer).map_err(|error| error.to_string())
    };
    let (mut asking, mut connection) = (pin!(asking), pin!(connection));
    tokio::select! {
        biased;
        found = &mut asking => found,
        // It says why by the answer.
        _ = &mut connection => asking.await,
    }
}
