//! One probe from connect to answer.

use std::borrow::Cow;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::deadline::Deadline;
use super::target::Target;
use super::trouble::{Phase, Trouble};
use super::{Shared, grpc, http, tls};
use crate::clock;
use crate::config::{ProbeKind, UpstreamProtocol};
use crate::net::{encode_proxy_v1, encode_proxy_v2};
use crate::snapshot::ProxyVersion;

/// What a probe of one target found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    /// What the endpoint said, or why it is not well.
    pub(super) result: Result<Cow<'static, str>, Trouble>,
    /// Microseconds of its slowest wait, 0 without a connection.
    pub(super) latency_us: u64,
}

impl Outcome {
    /// Is it about this machine rather than the endpoint?
    pub(super) fn is_ours(&self) -> bool {
        self.result.as_ref().is_err_and(Trouble::is_ours)
    }
}

/// The longest that one probe waited for the endpoint: for the connection, or for the head of the answer. The two are
/// about as far apart as the endpoint is slow at its work; a TLS handshake, which takes several ways, is left out.
#[derive(Default)]
pub(super) struct Latency {
    us: u64,
}

impl Latency {
    /// What was asked for at `began_ns` is there, or was given up: then it would have taken no less.
    pub(super) fn on_waited(&mut self, began_ns: u64) {
        self.us = self.us.max((clock::now_ns() - began_ns) / 1_000).max(1);
    }
}

/// Asks one target once; whatever it opens ends with its future.
pub(super) trait Check: Send + 'static {
    /// One probe.
    fn check(&mut self) -> impl Future<Output = Outcome> + Send;
}

/// Asks over the network.
pub(super) struct Prober {
    target: Target,
    shared: Arc<Shared>,
    /// Made by the first probe over TLS.
    connector: Option<TlsConnector>,
}

impl Prober {
    /// For `target`.
    pub(super) const fn new(target: Target, shared: Arc<Shared>) -> Self {
        Self { target, shared, connector: None }
    }

    async fn connector(&mut self) -> Result<Option<TlsConnector>, Trouble> {
        if !self.target.is_secure() {
            return Ok(None);
        }
        if self.connector.is_none() {
            self.connector = Some(self.shared.trust.connector(&self.target.health, self.target.spoken()).await?);
        }
        Ok(self.connector.clone())
    }

    async fn ask(&mut self, latency: &mut Latency) -> Result<Cow<'static, str>, Trouble> {
        let connector = self.connector().await?;
        let mut deadline = Deadline::new(self.target.health.timeout);
        let began = clock::now_ns();
        let stream = deadline.before(Phase::Connect, TcpStream::connect(self.target.probed())).await?;
        let mut stream = stream.map_err(|error| Trouble::from_io(&error))?;
        latency.on_waited(began);
        if let Some(version) = self.target.proxy_protocol {
            let words = introduction(version);
            let written = deadline.before(Phase::Connect, stream.write_all(&words)).await?;
            written.map_err(|error| Trouble::from_io(&error))?;
        }
        let Some(connector) = connector else {
            let by_h2 = self.target.spoken() == UpstreamProtocol::H2;
            return Box::pin(self.ask_over(stream, by_h2, &mut deadline, latency)).await;
        };
        let stream = tls::secure(stream, &connector, &self.target, &mut deadline).await?;
        let by_h2 = tls::agreed_on_h2(&stream);
        if self.target.spoken() == UpstreamProtocol::H2 && !by_h2 {
            return Err(Trouble::NoHttp2);
        }
        Box::pin(self.ask_over(stream, by_h2, &mut deadline, latency)).await
    }

    async fn ask_over<S>(
        &self,
        stream: S,
        by_h2: bool,
        deadline: &mut Deadline,
        latency: &mut Latency,
    ) -> Result<Cow<'static, str>, Trouble>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        match (self.target.health.kind, by_h2) {
            (ProbeKind::Tcp, _) => Ok("connected".into()),
            (ProbeKind::Grpc, _) => grpc::ask(stream, &self.target, deadline, latency).await,
            (ProbeKind::Http | ProbeKind::Https, true) => {
                http::ask_by_http2(stream, &self.target, deadline, latency).await
            }
            (ProbeKind::Http | ProbeKind::Https, false) => http::ask(stream, &self.target, deadline, latency).await,
        }
    }
}

/// The header of a connection that is for no client: the gateway speaks for itself.
pub(in crate::control) fn introduction(version: ProxyVersion) -> Vec<u8> {
    let mut words = Vec::new();
    match version {
        ProxyVersion::V1 => encode_proxy_v1(&mut words, None),
        ProxyVersion::V2 => encode_proxy_v2(&mut words, None),
    }
    words
}

impl Check for Prober {
    async fn check(&mut self) -> Outcome {
        let mut latency = Latency::default();
        let result = self.ask(&mut latency).await;
        Outcome { result, latency_us: latency.us }
    }
}
