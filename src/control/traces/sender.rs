//! The HTTP client of the exporter: one POST on one connection, all of it bounded.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;

use super::counts::Dropped;
use crate::config::Collector;
use crate::control::outbound;
use crate::limits;

/// Time for everything: name, connection, handshake, answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Bytes of an answer.
const ANSWER_BYTES: usize = 64 * 1024;

/// Sends requests to one collector, and keeps in mind what came of the last one.
pub(super) struct Sender {
    to: Collector,
    last: Arc<Last>,
}

/// What came of the last request.
#[derive(Debug, Default)]
pub(super) struct Last {
    /// Index of a [`Dropped`].
    why: AtomicU8,
    /// The error itself, of which the exporter only tells the kind.
    error: Mutex<String>,
    /// Spans that the collector did not want.
    rejected: AtomicU64,
}

impl Last {
    /// Why the last request failed.
    pub(super) fn why(&self) -> Dropped {
        Dropped::of(self.why.load(Ordering::Relaxed)).unwrap_or(Dropped::Unreachable)
    }

    /// What it failed with; empty when it was none of ours.
    pub(super) fn take_error(&self) -> String {
        std::mem::take(&mut self.error.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Spans of the last request that the collector did not want; 0 when asked again.
    pub(super) fn take_rejected(&self) -> u64 {
        self.rejected.swap(0, Ordering::Relaxed)
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sender({})", self.to.url)
    }
}

impl Sender {
    pub(super) fn new(to: Collector, last: Arc<Last>) -> Self {
        Self { to, last }
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sent = tokio::time::timeout(PATIENCE, self.converse(request)).await;
        let (why, error) = match sent {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(trouble)) => trouble,
            Err(_) => (Dropped::Timeout, format!("no whole answer within {PATIENCE:?}").into()),
        };
        self.last.why.store(why as u8, Ordering::Relaxed);
        *self.last.error.lock().unwrap_or_else(PoisonError::into_inner) = error.to_string();
        Err(error)
    }

    async fn converse(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, (Dropped, HttpError)> {
        let away = |error: String| (Dropped::Unreachable, HttpError::from(error));
        let garbled = |error: hyper::Error| {
            let why = if error.is_parse() { Dropped::BadAnswer } else { Dropped::Unreachable };
            (why, HttpError::from(error))
        };
        let host = HeaderValue::try_from(self.to.url.authority()).map_err(|error| away(error.to_string()))?;
        let path = request.uri().path().parse();
        *request.uri_mut() = path.map_err(|_| away("its path is none".to_owned()))?;
        request.headers_mut().insert(HOST, host);
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("ringgate"));
        let stream = outbound::open(&self.to.url, self.to.ca.as_ref()).await.map_err(away)?;
        let mut client = http1::Builder::new();
        client.max_buf_size(limits::HEADER_BYTES_DEFAULT).max_headers(limits::HEADER_COUNT_DEFAULT);
        let (mut sender, connection) = client.handshake(TokioIo::new(stream)).await.map_err(garbled)?;
        let asking = async {
            let answer = sender.send_request(request.map(Full::new)).await.map_err(garbled)?;
            let (head, body) = answer.into_parts();
            if !head.status.is_success() {
                // Whatever it says besides.
                return Err((Dropped::Status, format!("status {}", head.status.as_u16()).into()));
            }
            let body = Limited::new(body, ANSWER_BYTES).collect().await;
            let body = body.map_err(|error| (Dropped::BadAnswer, error))?.to_bytes();
            self.look_at(&body)?;
            Ok(Response::from_parts(head, body))
        };
        let (mut asking, mut connection) = (pin!(asking), pin!(connection));
        tokio::select! {
            biased;
            found = &mut asking => found,
            // It says why by the answer.
            _ = &mut connection => asking.await,
        }
    }

    /// An answer of OTLP, perhaps one by which the collector took only some of the spans.
    fn look_at(&self, body: &Bytes) -> Result<(), (Dropped, HttpError)> {
        let answer = ExportTraceServiceResponse::decode(&body[..]);
        let answer = answer.map_err(|error| (Dropped::BadAnswer, HttpError::from(error)))?;
        let rejected = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
        self.last.rejected.store(u64::try_from(rejected).unwrap_or(0), Ordering::Relaxed);
        Ok(())
    }
}

impl HttpClient for Sender {
    fn send_bytes<'life0, 'async_trait>(
        &'life0 self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(self.send(request))
    }
}
