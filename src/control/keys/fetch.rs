//! One GET of a set of keys.

use std::pin::pin;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::config::{KeySource, KeysUrl};
use crate::control::outbound;
use crate::limits;
use crate::policy::auth::{Jwks, Origin};

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
    get(outbound::open(&source.url, source.ca.as_ref()).await?, &source.url).await
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
