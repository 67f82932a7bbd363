//! Both ends of gRPC as tonic has them, with messages that are just bytes.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;

use bytes::{Buf as _, BufMut as _, Bytes};
use futures_util::{Stream, StreamExt as _, stream};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};
use tower::service_fn;

use super::wait::{PATIENCE, thread};

/// Messages as they are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// What a server has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    calls: Arc<AtomicU64>,
    waiting: Arc<AtomicU64>,
    cancelled: Arc<AtomicU64>,
    timeout_ms: Arc<AtomicU64>,
}

impl Seen {
    /// Calls so far.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Calls of `Never` that are at their handler.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Those that were given up there.
    pub(crate) fn cancelled(&self) -> u64 {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// What the last `grpc-timeout` said.
    pub(crate) fn timeout_ms(&self) -> u64 {
        self.timeout_ms.load(Ordering::Relaxed)
    }

    fn on_call(&self, fields: &http::HeaderMap) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if let Some(told) = fields.get("grpc-timeout") {
            let told = told.to_str().expect("text");
            let ms = told.strip_suffix('m').and_then(|digits| digits.parse().ok()).expect("milliseconds");
            self.timeout_ms.store(ms, Ordering::Relaxed);
        }
    }
}

/// A call that waits for an answer for as long as it lasts.
struct Waits(Seen);

impl Waits {
    fn new(seen: &Seen) -> Self {
        seen.waiting.fetch_add(1, Ordering::Relaxed);
        Self(seen.clone())
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        self.0.cancelled.fetch_add(1, Ordering::Relaxed);
    }
}

/// A server of `test.Echo`, until the test ends.
#[derive(Debug)]
pub(crate) struct RpcServer {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Seen,
}

impl RpcServer {
    /// Starts one with prior knowledge of HTTP/2, or over TLS.
    pub(crate) fn start(tls: Option<ServerConfig>) -> Self {
        let (told, beginning) = channel();
        let seen = Seen::default();
        let serving = seen.clone();
        let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        drop(thread("rpc-server", move || {
            runtime().block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
                told.send(listener.local_addr().expect("a bound socket")).expect("the test waits");
                while let Ok((stream, _)) = listener.accept().await {
                    stream.set_nodelay(true).expect("an open socket");
                    tokio::spawn(accepted(stream, acceptor.clone(), serving.clone()));
                }
            });
        }));
        Self { address: beginning.recv_timeout(PATIENCE).expect("a server"), seen }
    }
}

async fn accepted(stream: TcpStream, acceptor: Option<TlsAcceptor>, seen: Seen) {
    match acceptor {
        None => serve(stream, seen).await,
        Some(acceptor) => {
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream, seen).await;
            }
        }
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, seen: Seen) {
    let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let seen = seen.clone();
        async move { Ok::<_, Infallible>(answer(request, seen).await) }
    });
    let connection =
        hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
    // However the gateway ends it.
    drop(connection.await);
}

async fn answer(request: http::Request<hyper::body::Incoming>, seen: Seen) -> http::Response<Body> {
    seen.on_call(request.headers());
    let mut grpc = tonic::server::Grpc::new(Plain);
    match request.uri().path() {
        "/test.Echo/Unary" => grpc.unary(service_fn(unary), request).await,
        "/test.Echo/Up" => grpc.client_streaming(service_fn(up), request).await,
        "/test.Echo/Down" => grpc.server_streaming(service_fn(down), request).await,
        "/test.Echo/Both" => grpc.streaming(service_fn(both), request).await,
        "/test.Echo/Fail" => grpc.unary(service_fn(fail), request).await,
        "/test.Echo/Never" => {
            let never = |_: Request<Bytes>| {
                let waits = Waits::new(&seen);
                async move {
                    let _waits = waits;
                    std::future::pending::<Result<Response<Bytes>, Status>>().await
                }
            };
            grpc.unary(service_fn(never), request).await
        }
        _ => Status::unimplemented("no such method at the server").into_http(),
    }
}

/// The message, and the metadata with it.
async fn unary(request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
    let mut metadata = MetadataMap::new();
    if let Some(value) = request.metadata().get("x-tag") {
        metadata.insert("x-tag", value.clone());
    }
    Ok(Response::from_parts(metadata, request.into_inner(), http::Extensions::new()))
}

/// How many messages came, and how many bytes.
async fn up(request: Request<Streaming<Bytes>>) -> Result<Response<Bytes>, Status> {
    let mut messages = request.into_inner();
    let (mut count, mut bytes) = (0, 0);
    while let Some(message) = messages.message().await? {
        count += 1;
        bytes += message.len();
    }
    Ok(Response::new(format!("{count} {bytes}").into()))
}

/// As many messages as the request says.
async fn down(request: Request<Bytes>) -> Result<Response<Messages>, Status> {
    let text = String::from_utf8_lossy(request.get_ref()).into_owned();
    let count: u32 = text.parse().map_err(|_| Status::invalid_argument("a number"))?;
    Ok(Response::new(Box::pin(stream::iter(0..count).map(|number| Ok(number.to_string().into())))))
}

/// Every message as it comes; one that says `fail` ends it with a status behind those before it.
async fn both(request: Request<Streaming<Bytes>>) -> Result<Response<Messages>, Status> {
    let messages = request.into_inner().map(|message| match message {
        Ok(message) if message == "fail" => Err(told()),
        other => other,
    });
    Ok(Response::new(Box::pin(messages)))
}

async fn fail(_: Request<Bytes>) -> Result<Response<Bytes>, Status> {
    Err(told())
}

/// A status with everything that one can have.
fn told() -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert("x-why", MetadataValue::from_static("because"));
    metadata.insert_bin("x-raw-bin", MetadataValue::from_bytes(&[0, 255, 10]));
    Status::with_details_and_metadata(Code::DataLoss, "all l\u{f6}st: 100%", Bytes::from_static(&[1, 2, 3]), metadata)
}

/// Is it that status, whole?
pub(crate) fn is_told(status: &Status) {
    assert_eq!((status.code(), status.message()), (Code::DataLoss, "all l\u{f6}st: 100%"), "{status:?}");
    assert_eq!(status.details(), [1, 2, 3]);
    assert_eq!(status.metadata().get("x-why").map(|value| value.as_bytes()), Some(&b"because"[..]), "{status:?}");
    let raw = status.metadata().get_bin("x-raw-bin").and_then(|value| value.to_bytes().ok());
    assert_eq!(raw.as_deref(), Some(&[0, 255, 10][..]));
}

/// A client of `test.Echo`.
#[derive(Clone)]
pub(crate) struct RpcClient(tonic::client::Grpc<Channel>);

impl RpcClient {
    /// Connects, over TLS as `a.example` where there is a configuration.
    pub(crate) async fn to(address: SocketAddr, tls: Option<Arc<ClientConfig>>) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("a URI");
        let channel = match tls {
            None => endpoint.connect().await,
            Some(config) => {
                let connector = TlsConnector::from(config);
                let connect = service_fn(move |_: http::Uri| {
                    let connector = connector.clone();
                    async move {
                        let name = ServerName::try_from("a.example").expect("a name");
                        connector.connect(name, TcpStream::connect(address).await?).await.map(TokioIo::new)
                    }
                });
                endpoint.connect_with_connector(connect).await
            }
        };
        Self(tonic::client::Grpc::new(channel.expect("a connection")))
    }

    async fn ready(&mut self, method: &str) -> http::uri::PathAndQuery {
        self.0.ready().await.expect("an open connection");
        format!("/test.Echo/{method}").parse().expect("a path")
    }

    /// One message up, one down.
    pub(crate) async fn unary(&mut self, method: &str, request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
        let path = self.ready(method).await;
        self.0.unary(request, path, Plain).await
    }

    /// Many up, one down.
    pub(crate) async fn up(
        &mut self,
        messages: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Response<Bytes>, Status> {
        let path = self.ready("Up").await;
        self.0.client_streaming(Request::new(messages), path, Plain).await
    }

    /// One up, many down.
    pub(crate) async fn down(&mut self, count: u32) -> Result<Response<Streaming<Bytes>>, Status> {
        let path = self.ready("Down").await;
        self.0.server_streaming(Request::new(Bytes::from(count.to_string())), path, Plain).await
    }

    /// Many up and many down.
    pub(crate) async fn both(
        &mut self,
        messages: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Response<Streaming<Bytes>>, Status> {
        let path = self.ready("Both").await;
        self.0.streaming(Request::new(messages), path, Plain).await
    }
}

/// Runs a dialogue of gRPC to its end.
pub(crate) fn run<T>(dialogue: impl Future<Output = T>) -> T {
    runtime().block_on(async { tokio::time::timeout(PATIENCE, dialogue).await.expect("it ends in time") })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
