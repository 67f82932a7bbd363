//! RFC 8441: tunnels on streams of HTTP/2 while the configuration changes and while the gateway ends; I2, I3, F40 and F41.

use std::net::TcpStream;

use h2::server::Builder;

use super::client::Client;
use super::endpoint::{Accepted, Endpoint};
use super::gateway::Gateway;
use super::h2_client::{H2Client, H2Stream};
use super::h2_endpoint::{H2Accepted, H2Asked, H2Endpoint};
use super::h2_wire::{ACK, DATA, END_HEADERS, END_STREAM, Fate, GOAWAY, H2Wire, HEADERS, PING, block, frame_of, get};
use super::plan::{Io, Plan};
use super::wait::until_true;
use super::websocket::accept_of;
use super::wire::End;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// The highest identity of a stream.
const HIGHEST: u32 = 0x7fff_ffff;

/// A gateway before an endpoint of each protocol.
struct Scene {
    gateway: Gateway,
    plan: Plan,
    old: Endpoint,
    new: H2Endpoint,
    /// The client of HTTP/2, all of whose tunnels share one connection.
    front: H2Client,
}

/// The client's side of a tunnel.
enum Near {
    Http1(Client),
    Http2(H2Stream),
}

/// The endpoint's side of a tunnel.
enum Far {
    Http1(Accepted),
    Http2(Box<H2Asked>),
}

/// Bytes both ways.
struct Tunnel {
    near: Near,
    far: Far,
}

/// A gateway of which nothing is left but that it listens.
fn empty(io: Io) -> Plan {
    Plan::bare(io).speaks_h2()
}

/// The switch that answers a challenge.
fn switch(key: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        accept_of(key)
    )
}

impl Scene {
    fn set(io: Io, change: impl FnOnce(Plan) -> Plan) -> Self {
        let mut builder = Builder::new();
        builder.enable_connect_protocol();
        let (old, new) = (Endpoint::listens(), H2Endpoint::with(builder, None));
        let plan = change(empty(io))
            .cluster("old", &[old.address()])
            .cluster_of("new", &new.entry())
            .route("name: old, match: { path: /old }, cluster: old")
            .route("name: new, match: { path: /new }, cluster: new");
        let gateway = plan.start();
        let front = H2Client::to(gateway.address());
        Self { gateway, plan, old, new, front }
    }

    /// A tunnel to the endpoint of HTTP/1.1, from the client of HTTP/2.
    fn opens_old(&mut self) -> Tunnel {
        let mut near = self.front.connects("/old");
        let mut far = self.old.accepts();
        let seen = far.expects("GET /old ");
        far.replies(switch(seen.field("sec-websocket-key").expect("a challenge")));
        near.expects_head(200);
        Tunnel { near: Near::Http2(near), far: Far::Http1(far) }
    }

    /// A tunnel to the endpoint of HTTP/2, from the client of HTTP/2.
    fn opens_new(&mut self, accepted: &H2Accepted) -> Tunnel {
        let mut near = self.front.connects("/new");
        let mut far = accepted.expects("CONNECT /new");
        far.begins(200, &[], false);
        near.expects_head(200);
        Tunnel { near: Near::Http2(near), far: Far::Http2(Box::new(far)) }
    }

    /// All three kinds, and the connection of those to the endpoint of HTTP/2.
    fn opens(&mut self) -> (Vec<Tunnel>, H2Accepted) {
        let mut client = self.gateway.client();
        client.sends(format!(
            "GET /new HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        ));
        let accepted = self.new.accepts();
        let mut far = accepted.expects("CONNECT /new");
        far.begins(200, &[], false);
        client.expects_interim(101);
        let from_old = Tunnel { near: Near::Http1(client), far: Far::Http2(Box::new(far)) };
        let mut tunnels = vec![from_old, self.opens_old(), self.opens_new(&accepted)];
        tunnels.iter_mut().for_each(|tunnel| tunnel.carries("first"));
        assert_eq!(self.gateway.metric("tunnels_active"), 3.0);
        (tunnels, accepted)
    }
}

impl Near {
    fn sends(&mut self, word: &str, ends: bool) {
        match self {
            Self::Http1(client) => {
                client.sends(word);
                if ends {
                    client.half_closes();
                }
            }
            Self::Http2(stream) => drop(stream.sends(word, ends)),
        }
    }

    fn expects(&mut self, word: &str) {
        let came = match self {
            Self::Http1(client) => client.reads(word.len()),
            Self::Http2(stream) => stream.reads().expect("no end").to_vec(),
        };
        assert_eq!(String::from_utf8_lossy(&came), word);
    }

    fn sees_end(&mut self) {
        match self {
            Self::Http1(client) => client.sees_end(),
            Self::Http2(stream) => {
                while let Some(more) = stream.reads() {
                    assert!(more.is_empty(), "{more:?}")
                }
            }
        }
    }

    /// It ends, with its connection: that of HTTP/2 is its scene's.
    fn breaks(self) {
        if let Self::Http1(mut client) = self {
            assert!(matches!(client.sees_break(), End::Closed | End::Reset));
        }
    }
}

impl Far {
    fn sends(&mut self, word: &str, ends: bool) {
        match self {
            Self::Http1(accepted) => {
                accepted.sends(word);
                if ends {
                    accepted.half_closes();
                }
            }
            Self::Http2(asked) => asked.sends(word, ends),
        }
    }

    fn expects(&mut self, word: &str) {
        let came = match self {
            Self::Http1(accepted) => accepted.reads(word.len()),
            Self::Http2(asked) => asked.reads().expect("no end").to_vec(),
        };
        assert_eq!(String::from_utf8_lossy(&came), word);
    }

    fn sees_end(&mut self) {
        match self {
            Self::Http1(accepted) => accepted.sees_end(),
            Self::Http2(asked) => assert_eq!(asked.reads_all(), b""),
        }
    }

    fn breaks(self) {
        if let Self::Http1(mut accepted) = self {
            assert!(matches!(accepted.sees_break(), End::Closed | End::Reset));
        }
    }
}

impl Tunnel {
    /// Bytes pass both ways.
    fn carries(&mut self, word: &str) {
        self.near.sends(word, false);
        self.far.expects(word);
        self.far.sends(word, false);
        self.near.expects(word);
    }

    /// Each side ends for itself, the client first.
    fn ends(mut self) {
        self.near.sends("bye", true);
        self.far.expects("bye");
        self.far.sees_end();
        self.far.sends("good night", true);
        self.near.expects("good night");
        self.near.sees_end();
    }
}

/// I2, F40: a reload leaves tunnels alone, even one that takes their routes and endpoints away; what is asked for beside
/// them on the same connections goes by the new configuration.
fn tunnels_survive_reloads(io: Io) {
    let mut scene = Scene::set(io, |plan| plan);
    let (mut tunnels, accepted) = scene.opens();
    scene.gateway.adopts(&empty(io).yaml());
    tunnels.iter_mut().for_each(|tunnel| tunnel.carries("nothing leads there"));
    scene.front.gets("/old").expects(404);
    scene.gateway.adopts(&scene.plan.yaml());
    tunnels.iter_mut().for_each(|tunnel| tunnel.carries("something does again"));
    assert!(scene.new.is_alone(), "no connection was opened for what is under way");
    let mut late = scene.front.connects("/new");
    let again = scene.new.accepts();
    let mut asked = again.expects("CONNECT /new");
    asked.begins(200, &[], false);
    late.expects_head(200);
    let late = Tunnel { near: Near::Http2(late), far: Far::Http2(Box::new(asked)) };
    let other = scene.opens_old();
    tunnels.iter_mut().for_each(|tunnel| tunnel.carries("still"));
    tunnels.into_iter().for_each(Tunnel::ends);
    assert_eq!(accepted.waits_for_end(), None, "an endpoint that was taken away is left in order");
    late.ends();
    other.ends();
    scene.gateway.waits_for("tunnels_active", 0.0);
    scene.gateway.waits_for("http2_upstream_streams_active", 0.0);
    assert_eq!(scene.gateway.metric("http2_resets_total{by=\"gateway\"}"), 0.0);
    drop(scene.front);
    scene.gateway.stop();
}

/// I3, F41: a drain lets tunnels go on, and the gateway ends with the last of them, long before its time is over.
fn a_drain_ends_with_the_last_tunnel(io: Io) {
    let mut scene = Scene::set(io, |plan| plan.runtime("shutdown_grace: 1h"));
    let (mut tunnels, accepted) = scene.opens();
    scene.gateway.signal(libc::SIGTERM);
    scene.gateway.notice("shutting down gracefully");
    until_true("no more streams", || scene.front.is_going_away());
    until_true("nobody listens", || TcpStream::connect(scene.gateway.address()).is_err());
    while let Some(mut tunnel) = tunnels.pop() {
        tunnel.carries("still");
        tunnels.iter_mut().for_each(|tunnel| tunnel.carries("beside it"));
        assert!(scene.gateway.process.ended().is_none(), "{} are open", tunnels.len() + 1);
        tunnel.ends();
    }
    assert_eq!(accepted.waits_for_end(), None, "an orderly end");
    assert_eq!(scene.front.ends(), None, "an orderly end");
    assert_eq!(scene.gateway.process.exit_code(), Some(0), "{}", scene.gateway.notices.all().join("\n"));
    let lines = scene.gateway.whole_log();
    assert!(lines.len() == 3 && lines.iter().all(|line| line["reason"].is_null()), "{lines:?}");
}

/// I3: what is left of the tunnels when the time is over is closed, on either side.
fn tunnels_are_cut_when_the_time_is_over(io: Io) {
    let mut scene = Scene::set(io, |plan| plan.runtime("shutdown_grace: 2s"));
    let (mut tunnels, accepted) = scene.opens();
    scene.gateway.signal(libc::SIGTERM);
    scene.gateway.notice("shutting down gracefully");
    tunnels.iter_mut().for_each(|tunnel| tunnel.carries("still"));
    scene.front.ends();
    accepted.waits_for_end();
    for Tunnel { near, far } in tunnels {
        near.breaks();
        far.breaks();
    }
    assert_eq!(scene.gateway.process.exit_code(), Some(0), "{}", scene.gateway.notices.all().join("\n"));
}

/// RFC 9113 section 6.8: a drain says goodbye in two steps; a stream above the last one is not taken, and the tunnel beside
/// it goes on.
fn a_drain_takes_no_stream_beside_a_tunnel(io: Io) {
    let endpoint = Endpoint::listens();
    let mut gateway = Plan::to(io, &[endpoint.address()]).speaks_h2().runtime("shutdown_grace: 1h").start();
    let mut client = H2Wire::to(gateway.address());
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/chat"),
        (":authority", "a.example"),
        ("sec-websocket-version", "13"),
    ];
    client.sends(frame_of(HEADERS, END_HEADERS, 1, &block(&fields)));
    let mut far = endpoint.accepts();
    let seen = far.expects("GET /chat ");
    far.replies(switch(seen.field("sec-websocket-key").expect("a challenge")));
    assert_eq!(client.fate_of(1), Fate::Status(200));
    gateway.signal(libc::SIGTERM);
    let first = client.expects(GOAWAY);
    assert_eq!((first.number(0), first.number(4)), (HIGHEST, 0), "so far nothing is refused");
    let ping = client.expects(PING);
    client.sends(frame_of(PING, ACK, 0, &ping.payload));
    let last = client.expects(GOAWAY);
    assert_eq!((last.number(0), last.number(4)), (1, 0), "the tunnel is the last one that is served");
    client.sends(get(3, "/late")).pings();
    assert!(client.is_silent() && endpoint.is_alone(), "it goes nowhere");
    client.sends(frame_of(DATA, 0, 1, b"still"));
    assert_eq!(far.reads(5), b"still");
    far.sends("here");
    assert_eq!(client.expects(DATA).payload, b"here");
    assert!(gateway.process.ended().is_none());
    client.sends(frame_of(DATA, END_STREAM, 1, b""));
    far.sees_end();
    far.closes();
    assert!(client.expects(DATA).ends());
    assert_eq!(client.ends(), End::Closed);
    assert_eq!(gateway.process.exit_code(), Some(0), "{}", gateway.notices.all().join("\n"));
}

on_both_drivers![
    tunnels_survive_reloads,
    a_drain_ends_with_the_last_tunnel,
    tunnels_are_cut_when_the_time_is_over,
    a_drain_takes_no_stream_beside_a_tunnel,
];
