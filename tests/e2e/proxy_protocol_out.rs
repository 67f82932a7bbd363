//! The PROXY protocol towards endpoints: each connection names its client ahead of everything, and belongs to it.

use std::net::SocketAddr;
use std::sync::Arc;

use super::announced::Announced;
use super::client::Client;
use super::endpoint::{Accepted, Endpoint};
use super::folder::Folder;
use super::gateway::Gateway;
use super::h2_client::H2Client;
use super::origin::Origin;
use super::pki::Authority;
use super::plan::{Io, Plan};
use super::site::{VERSIONS, server_of};
use super::wait::thread;

/// All requests to a cluster that is told its clients.
fn plan(io: Io, at: SocketAddr, entries: &str) -> Plan {
    Plan::bare(io)
        .cluster_with("app", &[at], &format!("proxy_protocol: {entries}"))
        .route("name: everything, cluster: app")
}

fn local(client: &Client) -> SocketAddr {
    client.stream().local_addr().expect("an open socket")
}

/// The next connection, its header, and its request for `path`.
fn announced(endpoint: &Endpoint, path: &str) -> (Accepted, Announced) {
    let mut upstream = endpoint.accepts();
    let header = Announced::reads_v2(&upstream);
    let request = upstream.expects(&format!("GET {path}"));
    assert_eq!(request.field("connection"), Some("close"), "RFC 9112 section 9.6: it is not used again");
    (upstream, header)
}

fn reused(gateway: &Gateway) -> f64 {
    gateway.metric("upstream_reuses_total")
}

/// Both versions: source and destination are those of the client's own connection, and no connection serves a second
/// request, whatever the endpoint says.
fn each_connection_begins_with_its_client(io: Io) {
    for version in ["v1", "v2"] {
        let endpoint = Endpoint::listens();
        let gateway = plan(io, endpoint.address(), version).start();
        let mut client = gateway.client();
        for path in ["/1", "/2", "/3"] {
            client.asks(path);
            let mut upstream = endpoint.accepts();
            let header = match version {
                "v1" => Announced::reads_v1(&upstream),
                _ => Announced::reads_v2(&upstream),
            };
            assert_eq!(header, Announced(Some((local(&client), gateway.address()))), "{version}");
            let request = upstream.expects(&format!("GET {path}"));
            assert_eq!(request.field("connection"), Some("close"));
            upstream.replies("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok");
            assert_eq!(client.expects(200).text(), "ok");
            upstream.sees_end();
        }
        assert_eq!(reused(&gateway), 0.0);
        gateway.stop();
    }
}

/// The header is ahead of TLS, which is what follows it.
fn the_header_is_ahead_of_tls(io: Io) {
    let authority = Authority::new("inside");
    let config = Arc::new(server_of(&authority.certifies(&["a.example"]), &VERSIONS, None));
    let endpoint = Endpoint::listens();
    let folder = Folder::new();
    folder.write("ca.crt", authority.pem());
    let entries = format!(
        "proxy_protocol: v2, tls: {{ ca: ca.crt, server_name: a.example }}, endpoints: [{{ url: 'https://{}' }}]",
        endpoint.address()
    );
    let plan = Plan::bare(io).cluster_as("app", &entries).route("name: everything, cluster: app");
    let gateway = Gateway::start_in(folder, &plan.yaml());
    for path in ["/1", "/2"] {
        let mut client = gateway.client();
        client.asks(path);
        let upstream = endpoint.accepts();
        assert_eq!(Announced::reads_v2(&upstream), Announced(Some((local(&client), gateway.address()))));
        let mut upstream = upstream.secured(&config);
        upstream.expects(&format!("GET {path}"));
        upstream.replies_with("ok");
        assert_eq!(client.expects(200).text(), "ok");
    }
    gateway.stop();
}

/// Who the client is follows the rules of forwarding fields: a trusted proxy's header, its field, and nobody else's.
fn the_client_is_the_one_that_a_trusted_proxy_names(io: Io) {
    let endpoint = Endpoint::listens();
    let listener = "proxy_protocol: optional, trusted_proxies: [127.0.0.0/8]";
    let gateway = plan(io, endpoint.address(), "v2").listener(listener).start();
    let from = |pieces: &str| {
        let mut client = gateway.client();
        client.sends(pieces);
        let (mut upstream, header) = announced(&endpoint, "/");
        upstream.replies_with("ok");
        client.expects(200);
        (header, local(&client))
    };
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let (header, _) = from(&format!("PROXY TCP4 192.0.2.7 192.0.2.9 56324 443\r\n{get}"));
    assert_eq!(header.0, Some(("192.0.2.7:56324".parse().expect("an address"), gateway.address())));
    // IPv4 on our side is mapped into the family of the client.
    let (header, _) = from(&format!("PROXY TCP6 2001:db8::7 2001:db8::9 56324 443\r\n{get}"));
    let (client, at) = header.0.expect("a client");
    assert_eq!(client, "[2001:db8::7]:56324".parse().expect("an address"));
    assert_eq!((at.ip().to_canonical(), at.port()), (gateway.address().ip(), gateway.address().port()));
    // A field tells no port.
    let (header, _) = from("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6, 198.51.100.9\r\n\r\n");
    assert_eq!(header.client(), "198.51.100.9:0".parse().expect("an address"));
    let lie = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n";
    let (header, _) = from(&format!("PROXY TCP4 192.0.2.7 192.0.2.9 56324 443\r\n{lie}"));
    assert_eq!(header.client(), "192.0.2.7:56324".parse().expect("an address"), "nobody trusts the client of a proxy");
    gateway.stop();
    let gateway = plan(io, endpoint.address(), "v2").start();
    let mut client = gateway.client();
    client.sends(lie);
    let (mut upstream, header) = announced(&endpoint, "/");
    upstream.replies_with("ok");
    client.expects(200);
    assert_eq!(header.client(), local(&client), "nor a stranger");
    gateway.stop();
}

/// All streams of a connection have its client; each has a connection upstream of its own.
fn streams_of_http2_have_the_client_of_their_connection(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = plan(io, endpoint.address(), "v2").speaks_h2().start();
    let mut client = H2Client::to(gateway.address());
    let streams = [client.gets("/1"), client.gets("/2")];
    let mut upstreams: Vec<_> = (0..2)
        .map(|_| {
            let mut upstream = endpoint.accepts();
            let header = Announced::reads_v2(&upstream);
            upstream.expects("GET /");
            (upstream, header)
        })
        .collect();
    assert_eq!(upstreams[0].1, upstreams[1].1);
    let (client_at, gateway_at) = upstreams[0].1.0.expect("a client");
    assert_eq!((client_at.ip(), gateway_at), (gateway.address().ip(), gateway.address()));
    assert_ne!(client_at.port(), 0);
    for (upstream, _) in &mut upstreams {
        upstream.replies_with("ok");
    }
    for stream in streams {
        assert_eq!(stream.expects(200).text(), "ok");
    }
    gateway.stop();
}

/// A copy is for the client of what it copies.
fn a_mirror_is_told_the_client_as_well(io: Io) {
    let (app, shadow) = (Origin::echo(), Endpoint::listens());
    let gateway = Plan::bare(io)
        .cluster("app", &[app.address()])
        .cluster_with("shadow", &[shadow.address()], "proxy_protocol: v2")
        .route("name: everything, cluster: app, mirror: { cluster: shadow, share: 100% }")
        .start();
    for path in ["/1", "/2"] {
        let mut client = gateway.client();
        client.asks(path);
        client.expects(200);
        let (mut upstream, header) = announced(&shadow, path);
        assert_eq!(header.client(), local(&client));
        upstream.replies_with("ok");
        upstream.sees_end();
    }
    gateway.waits_for("mirror_requests_total{result=\"sent\"}", 2.0);
    assert_eq!(gateway.metric("mirror_requests_total{result=\"failed\"}"), 0.0);
    gateway.stop();
}

/// At a cap connections are waited for, and none of them is handed from one client to another.
fn at_a_cap_everybody_still_gets_a_connection_of_its_own(io: Io) {
    const CLIENTS: usize = 8;
    const ROUNDS: usize = 12;
    let origin = Origin::serving(|mut wire| {
        let header = Announced::reads_v2(&wire);
        // However many requests come: that they come at all would be seen by their clients.
        while wire.has_bytes() {
            wire.reads_head();
            let text = header.client().to_string();
            wire.sends(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()));
        }
    });
    let queue = "v2, max_connections: 2, queue: { max: 100, timeout: 10s }";
    let gateway = plan(io, origin.address(), queue).workers("2").start();
    let address = gateway.address();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            thread("client", move || {
                let mut client = Client::to(address);
                let own = local(&client).to_string();
                for _ in 0..ROUNDS {
                    client.asks("/");
                    assert_eq!(client.expects(200).text(), own);
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("a client that was content");
    }
    assert_eq!(origin.connections(), (CLIENTS * ROUNDS) as u64);
    assert_eq!(reused(&gateway), 0.0);
    gateway.stop();
}

/// What rests from before a reload names nobody, and is not used any more.
fn a_reload_that_turns_it_on_leaves_what_rests(io: Io) {
    let endpoint = Endpoint::listens();
    let gateway = plan(io, endpoint.address(), "off").start();
    let mut client = gateway.client();
    client.asks("/1");
    let mut before = endpoint.accepts();
    before.expects("GET /1");
    before.replies_with("1");
    client.expects(200);
    gateway.adopts(&plan(io, endpoint.address(), "v2").yaml());
    before.sees_end();
    client.asks("/2");
    let (mut upstream, header) = announced(&endpoint, "/2");
    assert_eq!(header.client(), local(&client));
    upstream.replies_with("2");
    client.expects(200);
    gateway.stop();
}

on_both_drivers![
    each_connection_begins_with_its_client,
    the_header_is_ahead_of_tls,
    the_client_is_the_one_that_a_trusted_proxy_names,
    streams_of_http2_have_the_client_of_their_connection,
    a_mirror_is_told_the_client_as_well,
    at_a_cap_everybody_still_gets_a_connection_of_its_own,
    a_reload_that_turns_it_on_leaves_what_rests,
];

/// A probe of any kind is for no client: LOCAL, or UNKNOWN in version 1. A port of its own is not spoken to so.
#[test]
fn probes_speak_for_the_gateway_itself() {
    for kind in ["tcp", "http", "https, insecure_skip_verify: true", "grpc"] {
        for version in ["v1", "v2"] {
            let (endpoint, aside) = (Endpoint::listens(), Endpoint::listens());
            let port = aside.address().port();
            let active = |more: &str| format!("health: {{ active: {{ kind: {kind}, interval: 100ms{more} }} }}");
            let gateway = Plan::bare(Io::Uring)
                .cluster_with("app", &[endpoint.address()], &format!("proxy_protocol: {version}, {}", active("")))
                .cluster_with(
                    "aside",
                    &[endpoint.address()],
                    &format!("proxy_protocol: {version}, {}", active(&format!(", port: {port}"))),
                )
                .route("name: everything, cluster: app")
                .start();
            let upstream = endpoint.accepts();
            let header = match version {
                "v1" => Announced::reads_v1(&upstream),
                _ => Announced::reads_v2(&upstream),
            };
            assert_eq!(header, Announced(None), "{kind} {version}");
            let mut other = aside.accepts();
            match kind {
                "tcp" => other.sees_end(),
                "http" => drop(other.expects("GET / ")),
                _ => assert!([b'P', 0x16].contains(&other.reads(3)[0]), "a preface or a handshake: {kind}"),
            }
            drop((upstream, other));
            gateway.stop();
        }
    }
}
