//! The PROXY protocol: who a connection comes from, as a trusted proxy says.

use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection};

use super::client::Client;
use super::endpoint::Endpoint;
use super::gateway::Gateway;
use super::h2_wire::{Fate, H2Wire, PREFACE, get, settings};
use super::layer::Layer;
use super::plan::{Io, Plan};
use super::site::Site;
use super::wait::{now_ms, until_true};
use super::wire::Wire;

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.9 56324 443\r\n";
const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A header of version 2 for a client at 2001:db8::7, with a field of the proxy's own.
fn v2() -> Vec<u8> {
    let ip = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x28"[..], &ip, &ip, &[0, 80, 0, 81, 4, 0, 1, 9]].concat()
}

fn one(io: Io, mode: &str, trusted: &str) -> (Endpoint, Gateway) {
    let endpoint = Endpoint::listens();
    let entries = format!("proxy_protocol: {mode}, trusted_proxies: [{trusted}]");
    let gateway = Plan::to(io, &[endpoint.address()]).limits("header_timeout: 1s").listener(&entries).start();
    (endpoint, gateway)
}

/// The client that the endpoint is told of, for a connection that begins with `words` in these pieces.
fn told(gateway: &Gateway, endpoint: &Endpoint, pieces: &[&[u8]]) -> String {
    let mut client = gateway.client();
    for piece in pieces {
        client.sends(piece);
    }
    let mut accepted = endpoint.accepts();
    let seen = accepted.expects("GET /");
    accepted.replies("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.expects(200).text(), "ok");
    seen.field("x-forwarded-for").expect("a field").to_owned()
}

/// The header's source is the client from then on, for upstreams and in the log.
fn a_trusted_proxy_says_who_its_client_is(io: Io) {
    for mode in ["optional", "required"] {
        let (endpoint, gateway) = one(io, mode, "127.0.0.0/8");
        assert_eq!(told(&gateway, &endpoint, &[V1, GET]), "192.0.2.7");
        assert_eq!(gateway.log_of("/")["client_ip"], "192.0.2.7");
        assert_eq!(told(&gateway, &endpoint, &[&v2(), GET]), "2001:db8::7");
        assert_eq!(told(&gateway, &endpoint, &[&[V1, GET].concat()]), "192.0.2.7", "in one segment");
        assert_eq!(told(&gateway, &endpoint, &[&V1[..9], &V1[9..], GET]), "192.0.2.7", "in pieces");
        assert_eq!(told(&gateway, &endpoint, &[V2_LOCAL, GET]), "127.0.0.1", "the proxy speaks for itself");
        assert_eq!(told(&gateway, &endpoint, &[b"PROXY UNKNOWN\r\n", GET]), "127.0.0.1");
        assert_eq!(gateway.metric("proxy_headers_refused_total"), 0.0);
        gateway.stop();
    }
}

/// What a client of the proxy says about itself is not believed because the proxy is trusted.
fn a_client_behind_a_proxy_is_no_trusted_proxy(io: Io) {
    let (endpoint, gateway) = one(io, "required", "127.0.0.0/8");
    let lie = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n";
    assert_eq!(told(&gateway, &endpoint, &[V1, lie]), "192.0.2.7");
    gateway.stop();
}

/// `optional`: who is not trusted, or sends no header, is the client.
fn an_optional_header_may_be_missing_and_is_not_believed_from_others(io: Io) {
    let (endpoint, gateway) = one(io, "optional", "127.0.0.0/8");
    assert_eq!(told(&gateway, &endpoint, &[GET]), "127.0.0.1");
    gateway.stop();
    let (endpoint, gateway) = one(io, "optional", "10.0.0.0/8");
    let mut client = gateway.client();
    client.sends(V1);
    client.sends(GET);
    client.expects(400);
    client.closes();
    assert!(endpoint.is_alone());
    gateway.stop();
}

/// `off`: a header is no request.
fn without_the_setting_a_header_is_a_bad_request(io: Io) {
    let (endpoint, gateway) = one(io, "off", "127.0.0.0/8");
    let mut client = gateway.client();
    client.sends(V1);
    client.sends(GET);
    client.expects(400);
    client.closes();
    assert!(endpoint.is_alone());
    gateway.stop();
}

/// Headers that break the protocol, do not end, do not come, or come from others close the connection and are counted.
fn bad_headers_are_refused_and_counted(io: Io) {
    let (endpoint, gateway) = one(io, "required", "127.0.0.0/8");
    let endless = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
    let cases: [&[u8]; 7] = [
        GET,
        b"PROXY TCP4 192.0.2.7 192.0.2.9 99999 443\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.9 1 443\n",
        &endless,
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x01x",
        b"PROXY TCP4 192.0.2.7",
        b"",
    ];
    for words in cases {
        let mut client = gateway.client();
        client.sends(words);
        client.sees_break();
    }
    assert_eq!(gateway.metric("proxy_headers_refused_total"), 7.0);
    let mut other = gateway.client();
    other.sends(V1);
    other.sends(b"rubbish\r\n\r\n");
    other.expects(400);
    other.closes();
    assert!(endpoint.is_alone());
    gateway.waits_for("net_connections_active", 0.0);
    gateway.stop();
    let (endpoint, gateway) = one(io, "required", "10.0.0.0/8");
    let mut stranger = gateway.client();
    stranger.sends(V1);
    stranger.sees_break();
    assert_eq!(gateway.metric("proxy_headers_refused_total"), 1.0);
    assert!(endpoint.is_alone());
    gateway.stop();
}

/// A header that never ends holds up nobody, and is no work while it waits.
fn a_truncated_header_costs_nothing_and_ends_in_time(io: Io) {
    let (endpoint, gateway) = one(io, "optional", "127.0.0.0/8");
    let held: Vec<_> = (0..200)
        .map(|_| {
            let mut client = gateway.client();
            client.sends(&v2()[..20]);
            client
        })
        .collect();
    assert_eq!(told(&gateway, &endpoint, &[&v2(), GET]), "2001:db8::7");
    for mut client in held {
        client.sees_break();
    }
    gateway.waits_for("proxy_headers_refused_total", 200.0);
    gateway.stop();
}

/// A listener with TLS whose connections begin with a header.
fn secured(io: Io, limits: &str) -> (Endpoint, Gateway, Arc<ClientConfig>) {
    let (site, endpoint) = (Site::new(), Endpoint::listens());
    let config = Arc::new(site.believer());
    let plan = Plan::to(io, &[endpoint.address()]).limits(limits);
    let plan = plan.listener("proxy_protocol: required, trusted_proxies: [127.0.0.0/8]");
    (endpoint, site.start(plan).1, config)
}

/// The header comes first, then the handshake, in pieces or together; so the endpoint is told of the client.
fn tls_follows_the_header(io: Io) {
    let (endpoint, gateway, config) = secured(io, "");
    let header = v2();
    for pieces in [&[V1][..], &[&V1[..3], &V1[3..]], &[&header], &[&header[..14], &header[14..]]] {
        for together in [false, true] {
            let name = "a.example".try_into().expect("a name");
            let mut connection = ClientConnection::new(Arc::clone(&config), name).expect("a client");
            let (first, last) = pieces.split_at(pieces.len() - 1);
            let mut last = last[0].to_vec();
            if together {
                connection.write_tls(&mut last).expect("a hello");
            }
            let mut wire = Wire::to(gateway.address());
            for piece in first {
                wire.sends(piece);
            }
            wire.sends(&last);
            let wire = wire.secured(Layer::Client(Box::new(connection))).expect("a handshake");
            let mut client = Client::over(wire);
            client.asks("/");
            let mut accepted = endpoint.accepts();
            let seen = accepted.expects("GET /");
            let client_ip = if pieces.concat() == V1 { "192.0.2.7" } else { "2001:db8::7" };
            assert_eq!(seen.field("x-forwarded-for"), Some(client_ip), "{pieces:?} {together}");
            assert_eq!(seen.field("x-forwarded-proto"), Some("https"));
            accepted.replies("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
            assert_eq!(client.expects(200).text(), "ok");
        }
    }
    assert_eq!(gateway.metric("proxy_headers_refused_total"), 0.0);
    gateway.waits_for("net_connections_active", 0.0);
    gateway.stop();
}

/// HTTP without TLS behind a header is told apart as it is without one, however much of it comes with the header.
fn plain_http_behind_a_header_is_answered_in_kind(io: Io) {
    let (_endpoint, gateway, _) = secured(io, "");
    for words in [&[V1, GET][..], &[&[V1, GET].concat()], &[&[V1, b"G"].concat(), &GET[1..]]] {
        let mut client = gateway.client();
        for piece in words {
            client.sends(piece);
        }
        assert_eq!(client.expects(400).reason(), "plain_http");
        client.closes();
    }
    gateway.waits_for("tls_handshake_failures_total{reason=\"plain_http\"}", 3.0);
    gateway.stop();
}

/// HTTP/2 with prior knowledge follows the header, in the same segment too.
fn h2c_follows_the_header(io: Io) {
    let endpoint = Endpoint::listens();
    let plan = Plan::to(io, &[endpoint.address()]).speaks_h2();
    let gateway = plan.listener("proxy_protocol: optional, trusted_proxies: [127.0.0.0/8]").start();
    let settings = settings(&[(1, 0)]);
    for words in [&[V1, PREFACE, &settings][..], &[&[V1, PREFACE, &settings].concat()], &[PREFACE, &settings]] {
        let mut wire = Wire::to(gateway.address());
        for piece in words {
            wire.sends(piece);
        }
        let mut client = H2Wire::over_begun(wire);
        client.settles();
        client.sends(get(1, "/"));
        let mut accepted = endpoint.accepts();
        let seen = accepted.expects("GET /");
        let client_ip = if words[0].starts_with(V1) { "192.0.2.7" } else { "127.0.0.1" };
        assert_eq!(seen.field("x-forwarded-for"), Some(client_ip));
        accepted.replies("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(client.fate_of(1), Fate::Status(200));
    }
    gateway.stop();
}

/// A header may come a byte at a time; what is none is a request, wherever it stops to look like one.
fn a_header_or_what_looks_like_one_may_come_byte_by_byte(io: Io) {
    let (endpoint, gateway) = one(io, "optional", "127.0.0.0/8");
    for (words, client_ip) in [([V1, GET].concat(), "192.0.2.7"), ([&v2(), GET].concat(), "2001:db8::7")] {
        let bytes: Vec<&[u8]> = words.chunks(1).collect();
        assert_eq!(told(&gateway, &endpoint, &bytes), client_ip);
    }
    let with_lines = [b"\r\n\r\n", GET].concat();
    for pieces in [&[&GET[..1], &GET[1..]][..], &[&with_lines[..3], &with_lines[3..]]] {
        assert_eq!(told(&gateway, &endpoint, pieces), "127.0.0.1");
    }
    let mut client = gateway.client();
    client.sends("PR").sends("OPFIND / HTTP/1.1\r\nHost: a\r\n\r\n");
    endpoint.accepts().expects("PROPFIND /");
    client.closes();
    gateway.stop();
}

/// Connections that have not said who they are yet are open like others, and end at once when the gateway stops.
fn connections_without_a_header_end_with_the_gateway(io: Io) {
    for secure in [false, true] {
        let endpoint = Endpoint::listens();
        let plan = Plan::to(io, &[endpoint.address()]).limits("header_timeout: 60s");
        let plan = plan.listener("proxy_protocol: required, trusted_proxies: [127.0.0.0/8]");
        let mut gateway =
            if secure { Site::new().start(plan.limits("handshake_timeout: 60s")).1 } else { plan.start() };
        let mut silent: Vec<_> = (0..5).map(|_| gateway.client()).collect();
        silent[3].sends(&V1[..20]);
        silent[4].sends(V1);
        gateway.waits_for("net_connections_active", 5.0);
        let began_ms = now_ms();
        gateway.signal(libc::SIGTERM);
        for client in &mut silent {
            client.sees_break();
        }
        assert_eq!(gateway.process.exit_code(), Some(0));
        let took_ms = now_ms() - began_ms;
        assert!(took_ms < 5_000, "{took_ms} ms");
    }
}

/// A client that leaves before its header is whole is gone at once.
fn a_client_that_leaves_before_its_header_is_whole_is_noticed(io: Io) {
    let endpoint = Endpoint::listens();
    let plan = Plan::to(io, &[endpoint.address()]).limits("header_timeout: 60s");
    let gateway = plan.listener("proxy_protocol: required, trusted_proxies: [127.0.0.0/8]").start();
    for (number, words) in [&V1[..0], &V1[..20], &V2_LOCAL[..14]].into_iter().enumerate() {
        let mut client = gateway.client();
        client.sends(words);
        gateway.waits_for("net_connections_active", 1.0);
        if number == 1 {
            client.resets()
        } else {
            client.closes()
        }
        gateway.waits_for("net_connections_active", 0.0);
        gateway.waits_for("proxy_headers_refused_total", number as f64 + 1.0);
    }
    gateway.stop();
}

/// Waiting for the rest of headers is no work, however many there are.
fn truncated_headers_are_no_work(io: Io) {
    let endpoint = Endpoint::listens();
    let plan = Plan::to(io, &[endpoint.address()]).limits("header_timeout: 60s");
    let gateway = plan.listener("proxy_protocol: optional, trusted_proxies: [127.0.0.0/8]").start();
    let memory = gateway.process.resident_bytes();
    let held: Vec<_> = (0..2_000)
        .map(|number| {
            let mut client = gateway.client();
            client.sends(if number % 2 == 0 { &V1[..20] } else { &V2_LOCAL[..3] });
            client
        })
        .collect();
    gateway.waits_for("net_connections_active", 2_000.0);
    let (ticks, began_ms) = (gateway.process.cpu_ticks(), now_ms());
    until_true("some rest", || now_ms() - began_ms > 500);
    let used = gateway.process.cpu_ticks() - ticks;
    assert!(used <= 10, "{used} hundredths of a second in half a second of rest");
    let most = gateway.process.resident_bytes().saturating_sub(memory);
    assert!(most < 40 << 20, "{most} bytes for 2000 truncated headers");
    assert_eq!(told(&gateway, &endpoint, &[V1, GET]), "192.0.2.7");
    drop(held);
    gateway.waits_for("net_connections_active", 0.0);
    gateway.stop();
}

/// The time of a handshake begins with the connection, not behind the header.
fn the_time_of_a_handshake_includes_the_header(io: Io) {
    let (_endpoint, gateway, _) = secured(io, "header_timeout: 60s, handshake_timeout: 500ms");
    for words in [&V1[..0], &V1[..20], V1] {
        let mut client = gateway.client();
        let began_ms = now_ms();
        client.sends(words);
        client.sees_break();
        let took_ms = now_ms() - began_ms;
        assert!((400..5_000).contains(&took_ms), "{took_ms} ms");
    }
    gateway.waits_for("proxy_headers_refused_total", 2.0);
    gateway.waits_for("tls_handshake_failures_total{reason=\"timeout\"}", 1.0);
    gateway.stop();
}

on_both_drivers![
    tls_follows_the_header,
    plain_http_behind_a_header_is_answered_in_kind,
    h2c_follows_the_header,
    a_header_or_what_looks_like_one_may_come_byte_by_byte,
    connections_without_a_header_end_with_the_gateway,
    a_client_that_leaves_before_its_header_is_whole_is_noticed,
    truncated_headers_are_no_work,
    the_time_of_a_handshake_includes_the_header,
    a_trusted_proxy_says_who_its_client_is,
    a_client_behind_a_proxy_is_no_trusted_proxy,
    an_optional_header_may_be_missing_and_is_not_believed_from_others,
    without_the_setting_a_header_is_a_bad_request,
    bad_headers_are_refused_and_counted,
    a_truncated_header_costs_nothing_and_ends_in_time,
];
