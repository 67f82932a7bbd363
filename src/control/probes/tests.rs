use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::attempt::{Check as _, Outcome};
use super::trouble::{Phase, Trouble};
use super::*;
use crate::config::{ActiveHealth, ClusterTls, ProbeKind, UpstreamProtocol};

mod grpc;
mod lifetime;
mod plain;
mod schedule;
mod secure;

/// Longest wait for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// The timeout of a probe that is to time out.
const IMPATIENCE: Duration = Duration::from_millis(200);

/// Waits for what must happen.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it happens in time")
}

/// A target at `address` with patience.
pub(super) fn target(kind: ProbeKind, address: SocketAddr) -> Target {
    Target {
        id: EndpointId(7),
        cluster: "orders".into(),
        address,
        authority: format!("localhost:{}", address.port()),
        health: ActiveHealth {
            kind,
            path: "/healthz?deep=1".to_owned(),
            host: None,
            service: String::new(),
            port: None,
            interval: Duration::from_millis(5),
            timeout: PATIENCE,
            expect: vec![(200, 200), (204, 204)],
            healthy_after: 2,
            unhealthy_after: 3,
            require_probe: true,
            tls: ClusterTls::default(),
        },
        proxy_protocol: None,
        protocol: UpstreamProtocol::Http1,
        speaks_tls: false,
    }
}

/// What tasks share, and where their reports come out.
fn shared() -> (Arc<Shared>, mpsc::UnboundedReceiver<Report>) {
    let (reports, inbox) = mpsc::unbounded_channel();
    (Arc::clone(&Probes::new(reports).shared), inbox)
}

/// One probe.
async fn probe(target: &Target) -> Outcome {
    soon(Prober::new(target.clone(), shared().0).check()).await
}

/// What one probe says, in words.
async fn said(target: &Target) -> Result<String, String> {
    let outcome = probe(target).await;
    outcome.result.map(Cow::into_owned).map_err(|trouble| trouble.detail().into_owned())
}

/// A port where nobody listens, for as long as the socket is kept.
fn closed_port() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Serves every connection by `serve`, until the test ends.
async fn server<F: Future<Output = ()> + Send + 'static>(
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Reads a request's head; `None` when the client left before its end.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// Answers one request with these bytes and closes, or leaves it to the client to close.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8], closes: bool) {
    if read_head(&mut stream).await.is_some() && stream.write_all(bytes).await.is_ok() && closes {
        drop(stream.shutdown().await);
    }
    // Dropped with bytes unread it would be reset, and a slow reader lose the answer.
    drop(stream.read_to_end(&mut Vec::new()).await);
}

/// A server that answers every request with these bytes.
async fn answering(bytes: impl Into<Arc<[u8]>>, closes: bool) -> SocketAddr {
    let bytes = bytes.into();
    server(move |stream| {
        let bytes = Arc::clone(&bytes);
        async move { answer(stream, &bytes, closes).await }
    })
    .await
}

/// A server that accepts, reads and never answers.
async fn silent() -> SocketAddr {
    server(|mut stream| async move { drop(stream.read_to_end(&mut Vec::new()).await) }).await
}

/// A server that accepts, and closes once something came.
async fn closing() -> SocketAddr {
    server(|mut stream| async move {
        let mut bytes = vec![0; 4096];
        drop(stream.read(&mut bytes).await);
    })
    .await
}
