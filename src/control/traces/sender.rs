//! The HTTP client of the exporter: one POST at a time, on a connection that is kept for a while, all of it bounded.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use tokio::task::JoinHandle;

use super::counts::Dropped;
use crate::clock;
use crate::config::Collector;
use crate::control::outbound;
use crate::limits;

/// Time for everything: name, connection, handshake, answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Age of a connection that no further request goes out on, so that a collector's new address or certificate is seen, a
/// collector behind a balancer is one of many, and none that was forgotten on the way costs a batch.
const LONGEST_KEPT_NS: u64 = 30_000_000_000;
/// Bytes of an answer.
const ANSWER_BYTES: usize = 64 * 1024;

/// Sends requests to one collector, and keeps in mind what came of the last one.
pub(super) struct Sender {
    to: Collector,
    last: Arc<Last>,
    kept: Mutex<Option<Link>>,
}

/// A connection to the collector.
struct Link {
    requests: SendRequest<Full<Bytes>>,
    /// When it is no longer young.
    old_ns: u64,
    /// Moves its bytes, and sees its end also while nothing is asked.
    driver: JoinHandle<()>,
}

impl Link {
    async fn ask(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        self.requests.ready().await?;
        self.requests.send_request(request).await
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Why no batch was taken.
type Trouble = (Dropped, HttpError);

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
        Self { to, last, kept: Mutex::default() }
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

    async fn converse(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Trouble> {
        let request = self.addressed(request)?;
        if let Some(mut link) = self.take_kept() {
            match link.ask(request.clone()).await {
                // It ended while the request was on its way (RFC 9112, section 9.3.1); what the collector may have read of it has
                // the same identities.
                Err(error) if !error.is_parse() => {}
                answer => return self.read(link, answer).await,
            }
        }
        let mut link = self.open().await?;
        let answer = link.ask(request).await;
        self.read(link, answer).await
    }

    fn addressed(&self, mut request: Request<Bytes>) -> Result<Request<Full<Bytes>>, Trouble> {
        let host = HeaderValue::try_from(self.to.url.authority()).map_err(|error| away(error.to_string()))?;
        let path = request.uri().path().parse();
        *request.uri_mut() = path.map_err(|_| away("its path is none".to_owned()))?;
        request.headers_mut().insert(HOST, host);
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("ringgate"));
        Ok(request.map(Full::new))
    }

    /// The connection of the request before, if it is as good as a new one.
    fn take_kept(&self) -> Option<Link> {
        let link = self.kept.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        (!link.requests.is_closed() && clock::now_ns() < link.old_ns).then_some(link)
    }

    async fn open(&self) -> Result<Link, Trouble> {
        let stream = outbound::open(&self.to.url, self.to.ca.as_ref()).await.map_err(away)?;
        let mut client = http1::Builder::new();
        client.max_buf_size(limits::HEADER_BYTES_DEFAULT).max_headers(limits::HEADER_COUNT_DEFAULT);
        let (requests, connection) = client.handshake(TokioIo::new(stream)).await.map_err(garbled)?;
        // It says why by the answer.
        let driver = tokio::spawn(async { drop(connection.await) });
        let old_ns = clock::now_ns() + LONGEST_KEPT_NS;
        Ok(Link { requests, old_ns, driver })
    }

    /// Reads the whole answer, after which `link` may be asked again.
    async fn read(&self, link: Link, answer: hyper::Result<Response<Incoming>>) -> Result<Response<Bytes>, Trouble> {
        let (head, body) = answer.map_err(garbled)?.into_parts();
        if !head.status.is_success() {
            // Whatever it says besides.
            return Err((Dropped::Status, format!("status {}", head.status.as_u16()).into()));
        }
        let body = Limited::new(body, ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| (Dropped::BadAnswer, error))?.to_bytes();
        self.look_at(&body)?;
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(link);
        Ok(Response::from_parts(head, body))
    }

    /// An answer of OTLP, perhaps one by which the collector took only some of the spans.
    fn look_at(&self, body: &Bytes) -> Result<(), Trouble> {
        let answer = ExportTraceServiceResponse::decode(&body[..]);
        let answer = answer.map_err(|error| (Dropped::BadAnswer, HttpError::from(error)))?;
        let rejected = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
        self.last.rejected.store(u64::try_from(rejected).unwrap_or(0), Ordering::Relaxed);
        Ok(())
    }
}

fn away(error: String) -> Trouble {
    (Dropped::Unreachable, HttpError::from(error))
}

fn garbled(error: hyper::Error) -> Trouble {
    let why = if error.is_parse() { Dropped::BadAnswer } else { Dropped::Unreachable };
    (why, HttpError::from(error))
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

#[cfg(test)]
mod tests;
