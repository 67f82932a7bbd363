//! Every way in beside every way out: one table of what must be the same for all of them (requirement B7, issue "Mixed").

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use h2::Reason;
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
use super::wait::{thread, until_true};
use super::wire::Wire;

/// How a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Front {
    Http10,
    Http11,
    H2c,
    Http11Tls,
    H2Tls,
}

/// Ways out, by the first part of the path.
const BACKS: [&str; 4] = ["h1", "h1s", "h2c", "h2s"];

/// What passes between a test and its endpoints beside their protocols.
#[derive(Debug, Default)]
struct Hanging {
    /// Responses to be cut short of which the client has the head: what goes with a reset may be lost.
    cut: AtomicU64,
    /// Requests that are not answered, and those of them that were given up.
    begun: AtomicU64,
    gone: AtomicU64,
}

impl Hanging {
    /// Waits until a client has the head of what is cut short next.
    fn waits_for_head(&self) {
        until_true("a client has a head", || {
            let taken = self.cut.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |cut| cut.checked_sub(1));
            taken.is_ok()
        });
    }

    fn waits_for(&self, begun: u64, gone: u64) {
        until_true("a request hangs", || self.begun.load(Ordering::Relaxed) == begun);
        until_true("a request was given up", || self.gone.load(Ordering::Relaxed) == gone);
    }
}

/// What a client got.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    status: u16,
    body: Vec<u8>,
    /// The trailer `x-sum`.
    sum: Option<String>,
    interims: Vec<u16>,
}

/// An endpoint of HTTP/1.1.
fn http1(hanging: &Arc<Hanging>, tls: Option<ServerConfig>) -> Origin {
    let (hanging, tls) = (Arc::clone(hanging), tls.map(Arc::new));
    Origin::serving(move |wire| {
        let secured = match &tls {
            None => Ok(wire),
            Some(config) => wire.secured(Layer::server(config)),
        };
        let Ok(mut wire) = secured else { return };
        while let Some(mut request) = wire.try_reads_head() {
            wire.reads_body(&mut request);
            if !answers(&mut wire, &request, &hanging) {
                return wire.resets();
            }
        }
    })
}

/// Answers by the last part of the path; false when the connection is to be reset.
fn answers(wire: &mut Wire, request: &Message, hanging: &Hanging) -> bool {
    let path = request.start.split(' ').nth(1).expect("a target");
    match path.rsplit('/').next() {
        Some("echo") => {
            let up = request
                .trailers
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case("x-up"))
                .map_or("", |(_, value)| value);
            let size = request.body.len();
            wire.sends(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{size:x}\r\n"));
            wire.sends(&request.body);
            wire.sends(format!("\r\n0\r\nX-Sum: {size}{up}\r\n\r\n"));
            true
        }
        Some("early") => {
            wire.sends("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            true
        }
        Some("cut") => {
            wire.sends("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n0123456789");
            hanging.waits_for_head();
            false
        }
        _ => {
            hanging.begun.fetch_add(1, Ordering::Relaxed);
            drop(wire.try_reads_to_end());
            hanging.gone.fetch_add(1, Ordering::Relaxed);
            false
        }
    }
}

/// An endpoint of HTTP/2.
fn http2(hanging: &Arc<Hanging>, tls: Option<ServerConfig>) -> std::net::SocketAddr {
    let endpoint = H2Endpoint::with(Builder::new(), tls);
    let (address, hanging) = (endpoint.address(), Arc::clone(hanging));
    drop(thread("h2-origin", move || {
        while let Some(accepted) = endpoint.try_accepts() {
            let hanging = Arc::clone(&hanging);
            drop(thread("h2-origin-connection", move || serve(&accepted, &hanging)));
        }
    }));
    address
}

fn serve(accepted: &H2Accepted, hanging: &Arc<Hanging>) {
    while let Some(asked) = accepted.try_expects_any() {
        let hanging = Arc::clone(hanging);
        drop(thread("h2-origin-request", move || replies(asked, &hanging)));
    }
}

fn replies(mut asked: H2Asked, hanging: &Hanging) {
    let path = asked.request().uri().path().to_owned();
    match path.rsplit('/').next() {
        Some("echo") => {
            let body = asked.reads_all();
            let up =
                asked.reads_trailers().get("x-up").map_or(String::new(), |up| up.to_str().expect("text").to_owned());
            asked.begins(200, &[], false);
            asked.sends(&body, false);
            asked.sends_trailers(&[("x-sum", &format!("{}{up}", body.len()))]);
        }
        Some("early") => {
            asked.informs(103, &[("link", "</a>")]);
            asked.replies(200, &[("content-length", "2")], "ok");
        }
        Some("cut") => {
            asked.begins(200, &[("content-length", "1000")], false);
            asked.sends("0123456789", false);
            hanging.waits_for_head();
            asked.resets(Reason::INTERNAL_ERROR);
        }
        _ => {
            hanging.begun.fetch_add(1, Ordering::Relaxed);
            assert_eq!(asked.waits_for_reset(), Reason::CANCEL);
            hanging.gone.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A gateway with one way in and all ways out.
struct Table {
    front: Front,
    gateway: Gateway,
    tls: ClientConfig,
    hanging: Arc<Hanging>,
    _origins: [Origin; 2],
}

impl Table {
    fn new(io: Io, front: Front) -> Self {
        let site = Site::new();
        let secured = |protocol: &str| {
            let mut config = server_of(&site.authority.certifies(&["a.example"]), &VERSIONS, None);
            config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
            config
        };
        let hanging = Arc::default();
        let origins = [http1(&hanging, None), http1(&hanging, Some(secured("http/1.1")))];
        let (plain, tls) = (http2(&hanging, None), http2(&hanging, Some(secured("h2"))));
        let believed = "tls: { ca: ca.crt, server_name: a.example }";
        let mut plan = Plan::bare(io)
            .cluster("h1", &[origins[0].address()])
            .cluster_as("h1s", &format!("{believed}, endpoints: [{{ url: 'https://{}' }}]", origins[1].address()))
            .cluster_of("h2c", &format!("{{ url: 'h2c://{plain}' }}"))
            .cluster_as("h2s", &format!("protocol: h2, {believed}, endpoints: [{{ url: 'https://{tls}' }}]"));
        for back in BACKS {
            let late = format!("match: {{ path: /{back}/late }}, timeouts: {{ request: 200ms }}");
            plan = plan
                .route(&format!("name: {back}, match: {{ path: /{back}/* }}, cluster: {back}"))
                .route(&format!("name: {back}_late, {late}, cluster: {back}"));
        }
        let plan = plan.speaks_h2();
        let plan = if matches!(front, Front::Http11Tls | Front::H2Tls) { plan.listener(TLS) } else { plan };
        let client = site.believer();
        let gateway = Gateway::start_in(site.folder, &plan.yaml());
        Self { front, gateway, tls: client, hanging, _origins: origins }
    }

    fn http1(&self) -> Client {
        match self.front {
            Front::Http11Tls => Client::secured(self.gateway.address(), &Arc::new(self.tls.clone()), "a.example"),
            Front::Http10 | Front::Http11 | Front::H2c | Front::H2Tls => self.gateway.client(),
        }
    }

    fn http2(&self) -> Option<H2Client> {
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

    /// A request with this body, and a trailer `x-up` where the client's protocol has some.
    fn asks(&self, path: &str, body: &[u8]) -> Seen {
        if let Some(mut client) = self.http2() {
            let mut stream = client.begins("POST", path, &[("te", "trailers")]);
            stream.sends(body, false).sends_trailers(&[("x-up", "+")]);
            let reply = stream.expects_any();
            let sum = reply.trailers.get("x-sum").map(|sum| sum.to_str().expect("text").to_owned());
            return Seen { status: reply.status, body: reply.body, sum, interims: reply.interims };
        }
        let mut client = self.http1();
        if self.front == Front::Http10 {
            client.sends(format!("POST {path} HTTP/1.0\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n", body.len()));
            client.sends(body);
            let mut message = client.reads_head();
            let status = message.status();
            message.body = client.reads_to_end().0;
            return Seen { status, body: message.body, ..Seen::default() };
        }
        client.sends(format!(
            "POST {path} HTTP/1.1\r\nHost: a.example\r\nTE: trailers\r\nConnection: TE\r\nTransfer-Encoding: chunked\r\n\r\n\
             {:x}\r\n",
            body.len()
        ));
        client.sends(body);
        client.sends("\r\n0\r\nX-Up: +\r\n\r\n");
        let mut interims = Vec::new();
        let mut message = client.reads_head();
        while message.status() < 200 {
            interims.push(message.status());
            message = client.reads_head();
        }
        client.reads_body(&mut message);
        let sum = message
            .trailers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("x-sum"))
            .map(|(_, value)| value.clone());
        Seen { status: message.status(), body: message.body, sum, interims }
    }

    /// A GET of what is cut short must not look whole.
    fn sees_cut(&self, path: &str) {
        if let Some(mut client) = self.http2() {
            let mut stream = client.gets(path);
            stream.expects_head(200);
            self.hanging.cut.fetch_add(1, Ordering::Relaxed);
            let reason = stream.expects_reset();
            assert!(matches!(reason, Reason::INTERNAL_ERROR | Reason::CANCEL), "{reason:?}");
            return;
        }
        let mut client = self.http1();
        let version = if self.front == Front::Http10 { "1.0" } else { "1.1" };
        client.sends(format!("GET {path} HTTP/{version}\r\nHost: a.example\r\n\r\n"));
        let message = client.reads_head();
        assert_eq!(message.field("content-length"), Some("1000"), "{message}");
        self.hanging.cut.fetch_add(1, Ordering::Relaxed);
        assert!(client.try_reads_to_end().len() <= 10, "{path}");
    }

    /// A GET that the client gives up once `is_there`.
    fn leaves(&self, path: &str, is_there: impl FnOnce()) {
        if let Some(mut client) = self.http2() {
            let stream = client.gets(path);
            is_there();
            return stream.resets(Reason::CANCEL);
        }
        let mut client = self.http1();
        client.asks(path);
        is_there();
        client.resets();
    }
}

/// What is the same for all pairs with this way in.
fn check(io: Io, front: Front) {
    let table = Table::new(io, front);
    let is_old = front == Front::Http10;
    let body: Vec<u8> = (0..100_000_u32).map(|at| u8::try_from(at % 251).expect("small")).collect();
    for (turn, back) in (0..).zip(BACKS) {
        let seen = table.asks(&format!("/{back}/echo"), &body);
        assert!(seen.status == 200 && seen.body == body, "{front:?} to {back}: {} of {}", seen.status, seen.body.len());
        assert_eq!(seen.sum.as_deref(), (!is_old).then_some("100000+"), "{front:?} to {back}");
        let seen = table.asks(&format!("/{back}/early"), b"x");
        let interims = if is_old { vec![] } else { vec![103] };
        let expected = Seen { status: 200, body: b"ok".to_vec(), sum: None, interims };
        assert_eq!(seen, expected, "{front:?} to {back}");
        table.sees_cut(&format!("/{back}/cut"));
        let hanging = &table.hanging;
        table.leaves(&format!("/{back}/hang"), || hanging.waits_for(2 * turn + 1, 2 * turn));
        hanging.waits_for(2 * turn + 1, 2 * turn + 1);
        assert_eq!(table.asks(&format!("/{back}/late"), b"x").status, 504, "{front:?} to {back}");
        hanging.waits_for(2 * turn + 2, 2 * turn + 2);
    }
    table.gateway.waits_for("http2_upstream_streams_active", 0.0);
    table.gateway.waits_for("upstream_connections_active", 0.0);
    table.gateway.stop();
}

fn from_http_1_0_to_all(io: Io) {
    check(io, Front::Http10);
}

fn from_http_1_1_to_all(io: Io) {
    check(io, Front::Http11);
}

fn from_http_1_1_over_tls_to_all(io: Io) {
    check(io, Front::Http11Tls);
}

fn from_http_2_to_all(io: Io) {
    check(io, Front::H2c);
}

fn from_http_2_over_tls_to_all(io: Io) {
    check(io, Front::H2Tls);
}

on_both_drivers!(
    from_http_1_0_to_all,
    from_http_1_1_to_all,
    from_http_1_1_over_tls_to_all,
    from_http_2_to_all,
    from_http_2_over_tls_to_all,
);
