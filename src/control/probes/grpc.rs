//! The gRPC probe: `grpc.health.v1.Health/Check` over HTTP/2, with prior knowledge where there is no TLS.

use std::borrow::Cow;

use http_body_util::{BodyExt as _, Collected, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, TE, USER_AGENT};
use hyper::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use super::attempt::Latency;
use super::deadline::Deadline;
use super::health_message::{self, ServingStatus};
use super::http::{BODY_BYTES, NAME};
use super::http2;
use super::sniff::Seen;
use super::target::Target;
use super::trouble::Trouble;

/// The method that is called.
const METHOD: &str = "/grpc.health.v1.Health/Check";

/// Asks over `stream`; SERVING in words.
///
/// # Errors
/// Anything but status 0 and SERVING in time.
pub(super) async fn ask<S>(
    stream: S,
    target: &Target,
    deadline: &mut Deadline,
    latency: &mut Latency,
) -> Result<Cow<'static, str>, Trouble>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    http2::ask(stream, request(target)?, deadline, latency, verdict).await
}

fn request(target: &Target) -> Result<Request<Full<Bytes>>, Trouble> {
    Request::post(format!("{}://{}{METHOD}", target.scheme(), target.host_field()))
        .header(USER_AGENT, NAME)
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .body(Full::new(Bytes::from(health_message::encode_request(&target.health.service))))
        .map_err(|error| Trouble::Ours(error.to_string().into()))
}

/// What a response says, read to its trailers.
async fn verdict(response: Response<Incoming>, seen: Seen) -> Result<Cow<'static, str>, Trouble> {
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
    let body = Limited::new(body, BODY_BYTES).collect().await.map_err(|error| cut(&*error, &seen))?;
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
