//! RFC 9110 section 7.4: a connection that was secured for one name carries no requests for hosts that another
//! certificate of its listener is for.

use std::sync::Arc;

use rustls::{ClientConfig, HandshakeKind};

use super::client::Client;
use super::gateway::Gateway;
use super::h2_client::H2Client;
use super::plan::{Io, Plan};
use super::site::{Site, VERSIONS, believer_of, credulous};

/// The first certificate is for `a.example`; one for two names and a star; one for the first's name and a further one.
const LISTENER: &str = "tls: { certificates: [{ cert: site.crt, key: site.key }, { cert: b.crt, key: b.key }, \
                        { cert: wide.crt, key: wide.key }] }";

/// A gateway that answers every host, with three certificates, and these further entries of its listener.
fn start(plan: &Plan, entries: &str) -> (Arc<ClientConfig>, Gateway) {
    let site = Site::new();
    let b = site.authority.certifies(&["b.example", "*.b.example"]);
    let wide = site.authority.certifies(&["a.example", "c.example"]);
    let config = Arc::new(believer_of(&site.authority, &VERSIONS, None));
    let plan = plan.clone().route("name: all, respond: { status: 200, body: hello }").listener(LISTENER);
    let (_, gateway) = site.with("b", &b).with("wide", &wide).start_on(&plan.listener(entries));
    (config, gateway)
}

fn asks_for(client: &mut Client, host: &str) -> u16 {
    client.sends(format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    let answer = client.expects_any();
    assert_eq!(answer.status() == 421, answer.reason() == "misdirected", "{host}: {answer}");
    answer.status()
}

/// By the name in the handshake: which hosts are served over the connection, in this order.
const CASES: [(&str, &[(&str, u16)]); 5] = [
    (
        "a.example",
        &[
            ("a.example", 200),
            ("b.example", 421),
            ("B.Example.:443", 421),
            ("x.b.example", 421),
            ("c.example", 421),
            // The connection goes on, and nobody is told to look elsewhere for what is nowhere.
            ("a.example", 200),
            ("unknown.example", 200),
            ("y.x.b.example", 200),
            ("127.0.0.1", 200),
            ("[::1]:443", 200),
        ],
    ),
    ("x.b.example", &[("b.example", 200), ("y.b.example", 200), ("a.example", 421), ("c.example", 421)]),
    // Its certificate is for both, although another one comes first for the one of them.
    ("c.example", &[("c.example", 200), ("a.example", 200), ("b.example", 421)]),
    // Whoever asks for a name that none is for, or for none (an address is no name), gets the first one.
    ("unknown.example", &[("unknown.example", 200), ("a.example", 200), ("b.example", 421)]),
    ("127.0.0.1", &[("a.example", 200), ("127.0.0.1", 200), ("x.b.example", 421)]),
];

fn a_connection_for_another_certificate_is_told_so(io: Io) {
    let (_, gateway) = start(&Plan::bare(io), "");
    // What it verifies would end the handshakes for names that no certificate is for.
    let config = Arc::new(credulous());
    let mut misdirected = 0;
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        for (name, hosts) in CASES {
            let mut client = Client::secured(gateway.address(), &config, name);
            for (host, status) in hosts {
                assert_eq!(asks_for(&mut client, host), *status, "{host} over a connection for {name}");
                misdirected += u32::from(*status == 421);
            }
            if name != "127.0.0.1" {
                let agreed = client.layer().agreed().handshake_kind();
                assert_eq!(agreed == Some(HandshakeKind::Resumed), kind == HandshakeKind::Resumed, "{name}");
            }
        }
    }
    gateway.waits_for("gateway_rejected_requests_total{reason=\"misdirected\"}", misdirected.into());
    gateway.stop();
}

/// RFC 9113 section 9.1.1: what a client may put on one connection, and what it must not.
fn a_stream_for_another_certificate_is_told_so(io: Io) {
    let (config, gateway) = start(&Plan::bare(io).speaks_h2(), "");
    let mut config = ClientConfig::clone(&config);
    config.alpn_protocols = vec![b"h2".to_vec()];
    for (name, hosts) in CASES.into_iter().take(3) {
        let mut client = H2Client::secured(gateway.address(), Arc::new(config.clone()), name);
        for (host, status) in hosts.iter().filter(|(host, _)| !host.contains(".:")) {
            let answer = client.gets(&format!("https://{host}/x")).expects(*status);
            assert_eq!(answer.reason() == "misdirected", *status == 421, "{host} over a connection for {name}");
        }
        assert!(!client.is_going_away(), "{name}");
    }
    gateway.stop();
}

/// RFC 9110 section 7.4 makes an exception for trusted gateways, which may have one connection for all.
fn a_trusted_proxy_may_ask_for_every_host(io: Io) {
    let (config, gateway) = start(&Plan::bare(io), "trusted_proxies: ['127.0.0.0/8']");
    let mut client = Client::secured(gateway.address(), &config, "a.example");
    for host in ["a.example", "b.example", "c.example", "unknown.example"] {
        assert_eq!(asks_for(&mut client, host), 200, "{host}");
    }
    gateway.stop();
}

/// Where there is no other certificate nobody is sent away; a reload that adds one binds whoever came before it as well.
fn a_single_certificate_is_for_every_host(io: Io) {
    let site = Site::new();
    let b = site.authority.certifies(&["b.example"]);
    let config = Arc::new(site.believer());
    let plan = Plan::bare(io).route("name: all, respond: { status: 200, body: hello }").and("reload: { watch: true }");
    let (_, gateway) = site.with("b", &b).start(plan.clone());
    let mut kept = Client::secured(gateway.address(), &config, "a.example");
    assert_eq!(asks_for(&mut kept, "b.example"), 200);
    let two = "tls: { certificates: [{ cert: site.crt, key: site.key }, { cert: b.crt, key: b.key }] }";
    gateway.adopts(&plan.listener(two).yaml());
    let mut client = Client::secured(gateway.address(), &config, "a.example");
    assert_eq!((asks_for(&mut client, "a.example"), asks_for(&mut client, "b.example")), (200, 421));
    let mut client = Client::secured(gateway.address(), &config, "b.example");
    assert_eq!((asks_for(&mut client, "b.example"), asks_for(&mut client, "a.example")), (200, 421));
    let kept_answers = ["b.example", "a.example", "unknown.example"].map(|host| asks_for(&mut kept, host));
    assert_eq!(kept_answers, [421, 200, 200]);
    gateway.stop();
}

on_both_drivers![
    a_connection_for_another_certificate_is_told_so,
    a_stream_for_another_certificate_is_told_so,
    a_trusted_proxy_may_ask_for_every_host,
    a_single_certificate_is_for_every_host,
];
