//! The compiled tables of one epoch.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::{Callers, Candidate, Cluster, Entrance, Inbound, Mirror, OnTrial, Retry, SplitRoute};
use crate::cluster::EndpointId;
use crate::http1::{FieldEdits, HeadLimits};
use crate::policy::limit::Limits;
use crate::policy::{Access, Headroom, LivePolicy, Policies, Priority};
use crate::routing::{RouteId, Table};

/// Everything an exchange asks of the configuration.
///
/// What is large is shared by epochs that differ in nothing but the live policy.
pub struct Snapshot {
    /// Its epoch, at least 1; a later configuration has a larger one.
    pub epoch: u64,
    /// Listeners; a handful, see [`Snapshot::listener`].
    pub listeners: Arc<[Listener]>,
    /// (host, path, method, headers) to route.
    pub table: Arc<Table>,
    /// Routes by [`RouteId`].
    pub routes: Arc<[Route]>,
    /// Clusters as [`Action::Forward`] names them.
    pub clusters: Arc<[Cluster]>,
    /// Weights of each split, by [`SplitRoute::number`], and the parts of each mirror, by [`Mirror::split`].
    pub splits: Arc<[Vec<u32>]>,
    /// Every endpoint of every cluster, sorted.
    pub endpoints: Arc<[EndpointId]>,
    /// Shares of the access log.
    pub log: LogSample,
    /// Does a local reply carry its reason in `X-Gateway-Reason`?
    pub reason_header: bool,
    /// Does a response tell trusted peers in `Server-Timing` what took how long?
    pub server_timing: bool,
    /// How requests are traced; without it what they say of their trace goes on as it came.
    pub tracing: Option<TraceSample>,
    /// What has been used of all rate limits.
    pub limits: Arc<Limits>,
    /// Whether there is memory for more.
    pub headroom: Arc<Headroom>,
    /// What holds over all routes, if anything does.
    pub live: Option<Arc<LivePolicy>>,
    /// Another configuration of the same epoch, which has a share of new connections.
    pub candidate: Option<Candidate>,
    /// Where its requests are counted while one of two configurations is under trial.
    pub trial: Option<OnTrial>,
}

impl Snapshot {
    /// The same under another live policy, as a later epoch; so is what is under trial beside it.
    #[must_use]
    pub fn under(&self, live: Option<Arc<LivePolicy>>, epoch: u64) -> Self {
        Self {
            epoch,
            listeners: Arc::clone(&self.listeners),
            table: Arc::clone(&self.table),
            routes: Arc::clone(&self.routes),
            clusters: Arc::clone(&self.clusters),
            splits: Arc::clone(&self.splits),
            endpoints: Arc::clone(&self.endpoints),
            log: self.log,
            reason_header: self.reason_header,
            server_timing: self.server_timing,
            tracing: self.tracing,
            limits: Arc::clone(&self.limits),
            headroom: Arc::clone(&self.headroom),
            candidate: self.candidate.as_ref().map(|candidate| candidate.under(live.clone(), epoch)),
            trial: self.trial.clone(),
            live,
        }
    }

    /// The route of an identity that [`Snapshot::table`] gave.
    #[must_use]
    pub fn route(&self, id: RouteId) -> &Route {
        &self.routes[id.0 as usize]
    }

    /// The listener of connections that came in there, if this epoch has one.
    #[must_use]
    pub fn listener(&self, entrance: Entrance) -> Option<&Listener> {
        self.listeners.iter().find(|one| one.entrance == entrance || one.former.contains(&entrance))
    }

    /// Where the sockets of the listener `name` take connections in.
    #[must_use]
    pub fn entrance(&self, name: &str) -> Option<Entrance> {
        self.listeners.iter().find(|listener| listener.name == name).map(|listener| listener.entrance)
    }
}

/// What holds for a connection of one listener.
pub struct Listener {
    /// Its name.
    pub name: String,
    /// The address as configured; its port may be 0.
    pub address: SocketAddr,
    /// Where its sockets take connections in.
    pub entrance: Entrance,
    /// Where connections came in that it took over from other listeners.
    pub former: Vec<Entrance>,
    /// The path the gateway answers itself.
    pub health_path: Option<Vec<u8>>,
    /// Bounds of a request head.
    pub head: HeadLimits,
    /// Milliseconds from the first byte of a head to its last.
    pub header_timeout_ms: u64,
    /// Milliseconds from an accepted connection to the end of its TLS handshake.
    pub handshake_ms: u64,
    /// Milliseconds a connection may rest between requests.
    pub idle_ms: u64,
    /// Bytes per second a request body must keep up on average; 0 demands nothing.
    pub body_rate: u64,
    /// Milliseconds of waiting for a body before the rate is demanded.
    pub body_grace_ms: u64,
    /// Milliseconds a client may take nothing of a response.
    pub write_timeout_ms: u64,
    /// Lets those peers pass whose forwarding fields are believed, if there are any.
    pub trusted: Option<Access>,
    /// Is a host that no route names answered with 421?
    pub strict_host: bool,
    /// Is a header of the PROXY protocol looked for?
    pub proxy_protocol: ProxyProtocol,
    /// Most connections at once.
    pub connections: Option<usize>,
    /// Most connections at once of one client.
    pub per_client: Option<usize>,
    /// Those who are connected, of this epoch and of others.
    pub callers: Arc<Callers>,
    /// Streams that a client may have open on one connection of HTTP/2; 0 when that is not spoken.
    pub h2_streams: u32,
    /// With what its connections are secured; they are plain without it.
    pub tls: Option<Inbound>,
}

/// Whether trusted proxies say who their client is before anything else (PROXY protocol).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// They do not.
    Off,
    /// They may.
    Optional,
    /// They must, and nobody else is served.
    Required,
}

impl Listener {
    /// Do connections begin with a request, and with nothing of a proxy or of TLS?
    #[must_use]
    pub fn begins_with_requests(&self) -> bool {
        self.tls.is_none() && self.proxy_protocol == ProxyProtocol::Off
    }

    /// Does this peer say who its client is, or may it (PROXY protocol)?
    #[must_use]
    pub fn is_announced(&self, peer: IpAddr) -> bool {
        self.proxy_protocol != ProxyProtocol::Off && self.trusts(peer)
    }

    /// Are the forwarding fields of this peer believed? One of IPv4 comes to a socket of IPv6 as an address mapped into that.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.as_ref().is_some_and(|trusted| trusted.passes(peer))
    }
}

/// What becomes of a request that matched.
pub struct Route {
    /// Its name.
    pub name: String,
    /// Forward, redirect or respond.
    pub action: Action,
    /// What its requests must pass.
    pub policies: Option<Box<Policies>>,
    /// Who is shed last.
    pub priority: Priority,
    /// Is it only for clients that have shown a certificate?
    pub needs_certificate: bool,
    /// The field that tells the endpoint how many milliseconds its answer may take; empty when none does.
    pub deadline_field: Vec<u8>,
    /// Bounds of the steps of a forwarded exchange.
    pub timeouts: Timeouts,
    /// When a failed attempt is followed by another.
    pub retry: Retry,
    /// Protocols that a client may have its connection switched to.
    pub upgrades: Vec<Vec<u8>>,
    /// Who gets copies of its requests.
    pub mirror: Option<Mirror>,
    /// Most bytes of a request body; `u64::MAX` is no limit.
    pub body_limit: u64,
    /// New prefix of the path.
    pub rewrite: Option<Rewrite>,
    /// Is the endpoint's own authority sent as `Host`?
    pub host_of_endpoint: bool,
    /// Edits of the request's fields.
    pub request_edits: FieldEdits,
    /// Edits of the response's fields.
    pub response_edits: FieldEdits,
    /// Its series on `/metrics`; the control side keeps it by name across reloads.
    pub series: usize,
}

impl Route {
    /// May scripts of other origins ask for it?
    #[must_use]
    pub fn shares(&self) -> bool {
        self.policies.as_ref().is_some_and(|policies| policies.cors.is_some())
    }
}

/// What a route does.
pub enum Action {
    /// Forward to a cluster, by its index in [`Snapshot::clusters`].
    Forward(usize),
    /// Forward to one of several clusters.
    Split(SplitRoute),
    /// Redirect with a status to a `Location` made of these pieces.
    Redirect(u16, Vec<Piece>),
    /// Answer with a fixed response.
    Respond {
        /// Status.
        status: u16,
        /// Content.
        body: Vec<u8>,
        /// Its media type.
        content_type: String,
    },
}

/// A piece of a redirect's `Location`.
pub enum Piece {
    /// These bytes.
    Text(Vec<u8>),
    /// The path of the request.
    Path,
    /// `?` and the query of the request, or nothing.
    Query,
}

/// Milliseconds that the steps of a forwarded exchange may take.
#[derive(Clone, Copy)]
pub struct Timeouts {
    /// Opening a connection.
    pub connect_ms: u64,
    /// From the last byte of the request to the end of the response's head.
    pub response_header_ms: u64,
    /// From the request's head to the end of the response's head, all attempts together.
    pub request_ms: u64,
    /// Between two reads of the response's body.
    pub body_idle_ms: u64,
    /// Without a byte in either direction, once the protocol was switched.
    pub tunnel_idle_ms: u64,
}

/// Replaces the front of a path.
pub struct Rewrite {
    /// Bytes of the matched prefix without its final slash.
    pub strip: usize,
    /// What takes their place.
    pub prefix: Vec<u8>,
}

/// Which exchanges are recorded for their traces.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TraceSample {
    /// Share of the traces that begin here, 0 to 1.
    pub share: f64,
    /// Does anybody take the records?
    pub exports: bool,
}

/// Shares of exchanges that are logged.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LogSample {
    /// Share of the ordinary ones, 0 to 1; everything is 0 when the log is off.
    pub ok: f64,
    /// From this duration on an exchange is slow.
    pub slow_over: Duration,
    /// Share of the slow ones.
    pub slow: f64,
    /// Share of the failed ones.
    pub errors: f64,
}
