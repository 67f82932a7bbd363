//! One request of a probe over HTTP/2: what is common to those of gRPC and of HTTP.

use std::borrow::Cow;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2;
use hyper::rt::Executor;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use super::attempt::Latency;
use super::deadline::Deadline;
use super::sniff::{Seen, Sniff};
use super::trouble::{Phase, Trouble};
use crate::clock;

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

/// Sends `request` over `stream`; what `judge` makes of the response.
///
/// # Errors
/// There is no response in time, or it is not good enough.
pub(super) async fn ask<S, J>(
    stream: S,
    request: Request<Full<Bytes>>,
    deadline: &mut Deadline,
    latency: &mut Latency,
    judge: impl FnOnce(Response<Incoming>, Seen) -> J,
) -> Result<Cow<'static, str>, Trouble>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    J: Future<Output = Result<Cow<'static, str>, Trouble>>,
{
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
        latency.on_waited(began);
        judge(response, seen.clone()).await
    };
    let answered = {
        let mut exchange = pin!(exchange);
        let driven = async {
            tokio::select! {
                biased;
                verdict = &mut exchange => verdict,
                _ = &mut connection => exchange.await,
            }
        };
        deadline.before(Phase::Answer, driven).await
    };
    answered.unwrap_or_else(|given_up| {
        latency.on_waited(began);
        Err(given_up)
    })
}
