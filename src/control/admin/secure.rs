//! Connections of the admin server that speak TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::SingleCertAndKey;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::AdminTls;

/// Longest handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Handshakes at once; more wait to be accepted.
const HANDSHAKES: usize = 64;

/// Those whose handshake is over.
pub(super) struct Secured {
    address: SocketAddr,
    done: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
}

impl Secured {
    /// Shakes hands with whoever comes to `listener`, with several at once.
    ///
    /// # Errors
    /// What the library refuses.
    pub(super) fn new(listener: TcpListener, tls: &AdminTls) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let acceptor = TlsAcceptor::from(Arc::new(config(tls).map_err(io::Error::other)?));
        let (tell, done) = mpsc::channel(1);
        tokio::spawn(accept(listener, acceptor, tell));
        Ok(Self { address, done })
    }
}

impl Listener for Secured {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.done.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

async fn accept(
    mut listener: TcpListener,
    acceptor: TlsAcceptor,
    tell: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    let places = Arc::new(Semaphore::new(HANDSHAKES));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let next = tokio::select! {
            next = Listener::accept(&mut listener) => next,
            // Nobody serves any more.
            () = tell.closed() => return,
        };
        let (stream, peer) = next;
        let (acceptor, tell) = (acceptor.clone(), tell.clone());
        tokio::spawn(async move {
            let _place = place;
            match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => drop(tell.send((stream, peer)).await),
                Ok(Err(error)) => tracing::debug!(%peer, %error, "admin endpoint: no TLS"),
                Err(_elapsed) => tracing::debug!(%peer, "admin endpoint: no TLS in time"),
            }
        });
    }
}

fn config(tls: &AdminTls) -> Result<ServerConfig, Box<dyn std::error::Error + Send + Sync>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(ca.roots()), provider).build()?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let certified = SingleCertAndKey::from((**tls.identity.certified()).clone());
    let mut config = builder.with_cert_resolver(Arc::new(certified));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
