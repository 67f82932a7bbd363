//! The HTTP probe: one GET, one status, by HTTP/1.1 or HTTP/2.

use std::borrow::Cow;
use std::pin::pin;

use futures_util::FutureExt as _;
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::attempt::Latency;
use super::deadline::Deadline;
use super::http2;
use super::sniff::{Seen, Sniff};
use super::target::Target;
use super::trouble::{Phase, Trouble};
use crate::clock;
use crate::limits::{HEADER_BYTES_DEFAULT, HEADER_COUNT_DEFAULT};

/// How probes name themselves.
pub(super) const NAME: &str = "ringgate-probe";
/// Bytes of a body that are read before the connection is closed.
pub(super) const BODY_BYTES: usize = 64 * 1024;

/// Asks over `stream`; the status in words when it is expected.
///
/// # Errors
/// Anything but an expected status in time.
pub(super) async fn ask<S>(
    stream: S,
    target: &Target,
    deadline: &mut Deadline,
    latency: &mut Latency,
) -> Result<Cow<'static, str>, Trouble>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let request = request(target)?;
    let (stream, seen) = Sniff::new(stream);
    let told = |error: hyper::Error| Trouble::from_http1(&error, &seen);
    let mut client = http1::Builder::new();
    client.max_buf_size(HEADER_BYTES_DEFAULT).max_headers(HEADER_COUNT_DEFAULT);
    let (mut sender, connection) = client.handshake(TokioIo::new(stream)).await.map_err(told)?;
    let mut connection = pin!(connection.fuse());
    let mut answer = pin!(sender.send_request(request));
    let head = async {
        tokio::select! {
            biased;
            head = &mut answer => head,
            // It says why by the answer.
            _ = &mut connection => answer.await,
        }
    };
    let began = clock::now_ns();
    let head = deadline.before(Phase::Answer, head).await;
    latency.on_waited(began);
    let head = head?.map_err(told)?;
    let status = head.status().as_u16();
    // Closing before a short body was read would reset the connection, which the endpoint may log as an error.
    let rest = async {
        tokio::select! {
            _ = &mut connection => {}
            _ = Limited::new(head.into_body(), BODY_BYTES).collect() => {}
        }
    };
    drop(deadline.before(Phase::Answer, rest).await);
    verdict(status, target)
}

/// The same over HTTP/2.
///
/// # Errors
/// Anything but an expected status in time.
pub(super) async fn ask_by_http2<S>(
    stream: S,
    target: &Target,
    deadline: &mut Deadline,
    latency: &mut Latency,
) -> Result<Cow<'static, str>, Trouble>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    // The head says everything; what follows it ends with the connection.
    let judge = |response: Response<Incoming>, _: Seen| async move { verdict(response.status().as_u16(), target) };
    let request = Request::get(format!("{}://{}{}", target.scheme(), target.host_field(), target.health.path))
        .header(USER_AGENT, NAME)
        .body(Full::default())
        .map_err(|error| Trouble::Ours(error.to_string().into()))?;
    http2::ask(stream, request, deadline, latency, judge).await
}

fn verdict(status: u16, target: &Target) -> Result<Cow<'static, str>, Trouble> {
    if target.health.expect.iter().any(|(low, high)| (*low..=*high).contains(&status)) {
        Ok(format!("status {status}").into())
    } else {
        Err(Trouble::Status(status))
    }
}

fn request(target: &Target) -> Result<Request<Empty<Bytes>>, Trouble> {
    Request::get(&target.health.path)
        .header(HOST, target.host_field())
        .header(USER_AGENT, NAME)
        .header(CONNECTION, "close")
        .body(Empty::new())
        .map_err(|error| Trouble::Ours(error.to_string().into()))
}
