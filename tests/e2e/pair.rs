//! Every way in beside every way out: a gateway that has one way in and all ways out.

use std::net::SocketAddr;
use std::sync::Arc;

use h2::server::Builder;
use rustls::{ClientConfig, ServerConfig};

use super::client::Client;
use super::gateway::Gateway;
use super::h2_client::H2Client;
use super::h2_endpoint::{H2Accepted, H2Asked, H2Endpoint};
use super::layer::Layer;
use super::message::Message;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::site::{Site, TLS, VERSIONS, server_of};
use super::wait::thread;
use super::wire::Wire;

/// How a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    Http10,
    Http11,
    H2c,
    Http11Tls,
    H2Tls,
}

/// Ways out, by the first part of the path.
pub(crate) const BACKS: [&str; 4] = ["h1", "h1s", "h2c", "h2s"];

/// Bytes that an endpoint of HTTP/2 takes ahead of all its streams: one that it does not read stops no other.
const WINDOW: u32 = 1 << 20;

/// What endpoints do with requests, by protocol; they share an `S` with the test.
pub(crate) struct Part<S> {
    /// Reads the body that follows a head and answers; false when the connection is to be reset.
    pub(crate) http1: fn(&mut Wire, Message, &S) -> bool,
    pub(crate) http2: fn(H2Asked, &S),
}

/// A gateway with one way in and all ways out.
pub(crate) struct Table<S> {
    pub(crate) front: Front,
    pub(crate) gateway: Gateway,
    pub(crate) shared: Arc<S>,
    tls: ClientConfig,
    _origins: [Origin; 2],
}

impl<S: Default + Send + Sync + 'static> Table<S> {
    /// Routes are by the first part of the path; where the last one is in `timeouts`, these hold.
    pub(crate) fn new(io: Io, front: Front, part: &Part<S>, timeouts: &[(&str, &str)]) -> Self {
        let site = Site::new();
        let secured = |protocol: &str| {
            let mut config = server_of(&site.authority.certifies(&["a.example"]), &VERSIONS, None);
            config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
            config
        };
        let shared = Arc::default();
        let origins = [http1(&shared, part.http1, None), http1(&shared, part.http1, Some(secured("http/1.1")))];
        let plain = http2(&shared, part.http2, None);
        let tls = http2(&shared, part.http2, Some(secured("h2")));
        let believed = "tls: { ca: ca.crt, server_name: a.example }";
        let mut plan = Plan::bare(io)
            .defaults("body_limit: 0")
            .cluster("h1", &[origins[0].address()])
            .cluster_as("h1s", &format!("{believed}, endpoints: [{{ url: 'https://{}' }}]", origins[1].address()))
            .cluster_of("h2c", &format!("{{ url: 'h2c://{plain}' }}"))
            .cluster_as("h2s", &format!("protocol: h2, {believed}, endpoints: [{{ url: 'https://{tls}' }}]"));
        for back in BACKS {
            plan = plan.route(&format!("name: {back}, match: {{ path: /{back}/* }}, cluster: {back}"));
            for (last, timeouts) in timeouts {
                let its = format!("match: {{ path: /{back}/{last} }}, timeouts: {{ {timeouts} }}");
                plan = plan.route(&format!("name: {back}_{last}, {its}, cluster: {back}"));
            }
        }
        let plan = plan.speaks_h2();
        let plan = if matches!(front, Front::Http11Tls | Front::H2Tls) { plan.listener(TLS) } else { plan };
        let client = site.believer();
        let gateway = Gateway::start_in(site.folder, &plan.yaml());
        Self { front, gateway, shared, tls: client, _origins: origins }
    }

    /// A client of HTTP/1.
    pub(crate) fn http1(&self) -> Client {
        match self.front {
            Front::Http11Tls => Client::secured(self.gateway.address(), &Arc::new(self.tls.clone()), "a.example"),
            Front::Http10 | Front::Http11 | Front::H2c | Front::H2Tls => self.gateway.client(),
        }
    }

    /// A client of HTTP/2, where that is the way in.
    pub(crate) fn http2(&self) -> Option<H2Client> {
        match self.front {
            Front::H2c => Some(H2Client::to(self.gateway.address())),
            Front::H2Tls => {
                let mut config = self.tls.clone();
                config.alpn_protocols = vec![b"h2".to_vec()];
                Some(H2Client::secured(self.gateway.address(), Arc::new(config), "a.example"))
            }
            Front::Http10 | Front::Http11 | Front::Http11Tls => None,
        }
    }

    /// Waits until nothing is under way, and ends.
    pub(crate) fn ends(self) {
        self.gateway.waits_for("http2_upstream_streams_active", 0.0);
        self.gateway.waits_for("upstream_connections_active", 0.0);
        self.gateway.stop();
    }
}

/// An endpoint of HTTP/1.1.
fn http1<S: Send + Sync + 'static>(
    shared: &Arc<S>,
    serve: fn(&mut Wire, Message, &S) -> bool,
    tls: Option<ServerConfig>,
) -> Origin {
    let (shared, tls) = (Arc::clone(shared), tls.map(Arc::new));
    Origin::serving(move |wire| {
        let secured = match &tls {
            None => Ok(wire),
            Some(config) => wire.secured(Layer::server(config)),
        };
        let Ok(mut wire) = secured else { return };
        while let Some(request) = wire.try_reads_head() {
            if !serve(&mut wire, request, &shared) {
                return wire.resets();
            }
        }
    })
}

/// An endpoint of HTTP/2.
fn http2<S: Send + Sync + 'static>(shared: &Arc<S>, serve: fn(H2Asked, &S), tls: Option<ServerConfig>) -> SocketAddr {
    let mut builder = Builder::new();
    builder.initial_connection_window_size(WINDOW);
    let endpoint = H2Endpoint::with(builder, tls);
    let (address, shared) = (endpoint.address(), Arc::clone(shared));
    drop(thread("h2-origin", move || {
        while let Some(accepted) = endpoint.try_accepts() {
            let shared = Arc::clone(&shared);
            drop(thread("h2-origin-connection", move || serve_all(&accepted, &shared, serve)));
        }
    }));
    address
}

fn serve_all<S: Send + Sync + 'static>(accepted: &H2Accepted, shared: &Arc<S>, serve: fn(H2Asked, &S)) {
    while let Some(asked) = accepted.try_expects_any() {
        let shared = Arc::clone(shared);
        drop(thread("h2-origin-request", move || serve(asked, &shared)));
    }
}
