//! The gRPC probe: `grpc.health.v1.Health/Check` over plaintext HTTP/2 with prior knowledge.

use std::borrow::Cow;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use http_body_util::{BodyExt as _, Collected, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2;
use hyper::header::{CONTENT_TYPE, HeaderMap, TE, USER_AGENT};
use hyper::rt::Executor;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::attempt::Latency;
use super::deadline::Deadline;
use super::health_message::{self, ServingStatus};
use super::http::{BODY_BYTES, NAME};
use super::sniff::{Seen, Sniff};
use super::target::Target;
use super::trouble::{Phase, Trouble};
use crate::clock;

/// The method that is called.
const METHOD: &str = "/grpc.health.v1.Health/Check";
/// Bytes of the fields of a response's head, names and values.
const HEAD_BYTES: u32 = 64 * 1024;

/// What hyper's connection starts on its own account; ended by drop, so that nothing outlives the probe.
#[derive(Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

/// Hyper's way to start them.
#[derive(Clone)]
struct Starter(Arc<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Starter {
    fn execute(&self, future: F) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).spawn(future);
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

/// Asks over `stream`; SERVING in words.
///
/// # Errors
/// Anything but status 0 and SERVING in time.
pub(super) async fn ask(
    stream: TcpStream,
    target: &Target,
    deadline: &mut Deadline,
    latency: &mut Latency,
) -> Result<Cow<'static, str>, Trouble> {
    let request = request(target)?;
    let (stream, seen) = Sniff::new(stream);
    let told = |error: hyper::Error| Trouble::from_http2(&error, &seen);
    let tasks = Tasks::default();
    let mut client = http2::Builder::new(Starter(Arc::clone(&tasks.0)));
    client.max_header_list_size(HEAD_BYTES);
    let began = clock::now_ns();
    let opened = deadline.before(Phase::Answer, client.handshake(TokioIo::new(stream))).await?;
    let (mut sender, connection) = opened.map_err(told)?;
    let mut connection = pin!(connection.fuse());
    let exchange = async {
        let response = sender.send_request(request).await.map_err(told)?;
        latency.on_answer(began);
        verdict(response, &seen).await
    };
    let mut exchange = pin!(exchange);
    let driven = async {
        tokio::select! {
            biased;
            verdict = &mut exchange => verdict,
            _ = &mut connection => exchange.await,
        }
    };
    deadline.before(Phase::Answer, driven).await?
}

fn request(target: &Target) -> Result<Request<Full<Bytes>>, Trouble> {
    Request::post(format!("http://{}{METHOD}", target.host_field()))
        .header(USER_AGENT, NAME)
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .body(Full::new(Bytes::from(health_message::encode_request(&target.health.service))))
        .map_err(|error| Trouble::Ours(error.to_string().into()))
}

/// What a response says, read to its trailers.
async fn verdict(response: Response<Incoming>, seen: &Seen) -> Result<Cow<'static, str>, Trouble> {
    // https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md: anything but 200 comes from something in between.
    if response.status() != 200 {
        return Err(Trouble::Status(response.status().as_u16()));
    }
    let (head, body) = response.into_parts();
    let is_grpc = |value: &[u8]| value.starts_with(b"application/grpc");
    if !head.headers.get(CONTENT_TYPE).is_some_and(|value| is_grpc(value.as_bytes())) {
        return Err(Trouble::NotGrpc);
    }
    // A call that failed at once has its status in the head and no body.
    if let Some(code) = status_of(&head.headers).filter(|code| *code != 0) {
        return Err(Trouble::GrpcStatus(code));
    }
    let body = Limited::new(body, BODY_BYTES).collect().await.map_err(|error| cut(&*error, seen))?;
    let status = body.trailers().and_then(status_of).or_else(|| status_of(&head.headers));
    match status {
        Some(0) => serving(body),
        Some(code) => Err(Trouble::GrpcStatus(code)),
        None => Err(Trouble::NotGrpc),
    }
}

fn serving(body: Collected<Bytes>) -> Result<Cow<'static, str>, Trouble> {
    match health_message::decode_response(&body.to_bytes()) {
        Some(ServingStatus::Serving) => Ok("grpc SERVING".into()),
        Some(other) => Err(Trouble::Serving(other)),
        None => Err(Trouble::NotGrpc),
    }
}

fn status_of(fields: &HeaderMap) -> Option<u32> {
    fields.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// Why a body ended early.
fn cut(error: &(dyn std::error::Error + Send + Sync + 'static), seen: &Seen) -> Trouble {
    if error.is::<LengthLimitError>() {
        Trouble::BodyTooLarge
    } else if let Some(error) = error.downcast_ref() {
        Trouble::from_http2(error, seen)
    } else {
        Trouble::NotHttp2
    }
}
