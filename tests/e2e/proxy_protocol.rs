//! The PROXY protocol: who a connection comes from, as a trusted proxy says.

use super::endpoint::Endpoint;
use super::gateway::Gateway;
use super::plan::{Io, Plan};

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
    let gateway = Plan::to(io, &[endpoint.address()]).limits("header_timeout: 300ms").listener(&entries).start();
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

on_both_drivers![
    a_trusted_proxy_says_who_its_client_is,
    a_client_behind_a_proxy_is_no_trusted_proxy,
    an_optional_header_may_be_missing_and_is_not_believed_from_others,
    without_the_setting_a_header_is_a_bad_request,
    bad_headers_are_refused_and_counted,
    a_truncated_header_costs_nothing_and_ends_in_time,
];
