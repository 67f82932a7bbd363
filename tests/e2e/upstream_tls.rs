//! TLS with endpoints: who is believed, what is told when somebody is not, and how connections and sessions are reused.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{CertificateParams, date_time_ymd};
use rustls::{HandshakeKind, ServerConfig};

use super::client::Client;
use super::endpoint::Endpoint;
use super::folder::Folder;
use super::gateway::Gateway;
use super::message::Message;
use super::origin::Origin;
use super::pki::{Authority, Pair};
use super::plan::{Io, Plan};
use super::process::binary;
use super::site::{VERSIONS, server_of, write_pair};
use super::wait::until_true;
use super::wire::Wire;

/// What an endpoint's certificate must be, unless a test says otherwise.
const BELIEVED: &str = "ca: ca.crt, server_name: a.example";

fn ok(text: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).into_bytes()
}

/// An origin that tells how the handshake went and which name it was asked for.
fn telling(config: ServerConfig) -> Origin {
    Origin::secured(config, |wire, request| {
        let agreed = wire.layer().agreed();
        let kind = if agreed.handshake_kind() == Some(HandshakeKind::Resumed) { "resumed" } else { "full" };
        let protocol = agreed.alpn_protocol().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
        let host = request.field("host").unwrap_or_default().to_owned();
        ok(&format!("{kind} {protocol} {} {host}", wire.layer().server_name().unwrap_or("-")))
    })
}

/// Endpoints that speak TLS, as they stand in the file.
fn urls(endpoints: &[SocketAddr]) -> String {
    let urls: Vec<String> = endpoints.iter().map(|at| format!("{{ url: 'https://{at}' }}")).collect();
    urls.join(", ")
}

/// All requests to a cluster with these endpoints and these entries of its `tls`.
fn plan(io: Io, endpoints: &str, tls: &str) -> Plan {
    Plan::bare(io)
        .cluster_as("app", &format!("endpoints: [{endpoints}], tls: {{ {tls} }}"))
        .route("name: everything, cluster: app, retry: { attempts: 1 }")
}

fn folder(authority: &Authority) -> Folder {
    let folder = Folder::new();
    folder.write("ca.crt", authority.pem());
    folder
}

fn start(authority: &Authority, plan: &Plan) -> Gateway {
    Gateway::start_in(folder(authority), &plan.yaml())
}

fn asks(gateway: &Gateway, path: &str) -> Message {
    let mut client = gateway.client();
    client.asks(path);
    client.expects_any()
}

fn expired(params: &mut CertificateParams) {
    (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
}

fn early(params: &mut CertificateParams) {
    (params.not_before, params.not_after) = (date_time_ymd(3000, 1, 1), date_time_ymd(3001, 1, 1));
}

/// J3: the right authority and name; the name is asked for, and a host by address is verified as that address.
fn a_believed_endpoint_is_asked_by_name_or_by_address(io: Io) {
    let authority = Authority::new("inside");
    let named = telling(server_of(&authority.certifies(&["a.example"]), &VERSIONS, None));
    let numbered = telling(server_of(&authority.certifies(&["127.0.0.1"]), &VERSIONS, None));
    let plan = plan(io, &urls(&[named.address()]), BELIEVED)
        .cluster_as("numbered", &format!("endpoints: [{}], tls: {{ ca: ca.crt }}", urls(&[numbered.address()])))
        .route("name: numbered, match: { path: /numbered }, cluster: numbered")
        .route("name: own, match: { path: /own }, cluster: app, host_header: upstream");
    let gateway = start(&authority, &plan);
    assert_eq!(asks(&gateway, "/").text(), "full http/1.1 a.example a.example");
    assert_eq!(asks(&gateway, "/numbered").text(), "full http/1.1 - a.example", "no address is sent as a name");
    let own = asks(&gateway, "/own").text().to_owned();
    assert_eq!(own, format!("full http/1.1 a.example {}", named.address()), "the connection is reused");
    let line = gateway.log_of("/own");
    assert_eq!((&line["reused"], &line["reason"]), (&true.into(), &serde_json::Value::Null), "{line}");
    gateway.stop();
}

/// Each way of not being believed has a reason of its own, and the connection is not used.
fn why_an_endpoint_is_not_believed_is_told(io: Io) {
    let (authority, stranger) = (Authority::new("inside"), Authority::new("stranger"));
    let pairs: [(&str, Pair); 4] = [
        ("tls_unknown_issuer", stranger.certifies(&["a.example"])),
        ("tls_wrong_name", authority.certifies(&["b.example", "127.0.0.1"])),
        ("tls_expired", authority.certifies_as(&["a.example"], expired)),
        ("tls_expired", authority.certifies_as(&["a.example"], early)),
    ];
    for (reason, pair) in pairs {
        let origin = telling(server_of(&pair, &VERSIONS, None));
        let gateway = start(&authority, &plan(io, &urls(&[origin.address()]), BELIEVED));
        let answer = asks(&gateway, "/refused");
        assert_eq!((answer.status(), answer.reason()), (502, reason), "{answer}");
        let line = gateway.log_of("/refused");
        assert_eq!((&line["reason"], &line["attempts"]), (&reason.into(), &1.into()), "{line}");
        gateway.waits_for(&format!("upstream_errors_total{{reason=\"{reason}\"}}"), 1.0);
        assert_eq!(origin.requests(), 0, "{reason}");
        gateway.stop();
    }
}

/// B6: an endpoint that does not speak TLS, no version of ours, or TLS where its URL says that it does not.
fn a_mismatch_of_protocols_is_told_as_such(io: Io) {
    let authority = Authority::new("inside");
    let plain = Origin::serving(|mut wire| {
        wire.reads(5);
        drop(wire.try_send("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"));
        wire.try_reads_to_end();
    });
    let refusing = |alert: &'static [u8]| {
        Origin::serving(move |mut wire| {
            wire.reads(5);
            drop(wire.try_send(alert));
            wire.try_reads_to_end();
        })
    };
    // Fatal alerts of a server that knows 1.1 at most (RFC 8446 section 6.2: protocol_version, handshake_failure).
    let (old, picky) = (refusing(b"\x15\x03\x01\x00\x02\x02\x46"), refusing(b"\x15\x03\x01\x00\x02\x02\x28"));
    let hung_up = Origin::serving(|mut wire| drop(wire.reads(5)));
    let mut other = server_of(&authority.certifies(&["a.example"]), &VERSIONS, None);
    other.alpn_protocols = vec![b"h2".to_vec()];
    let other = telling(other);
    for (origin, reason) in [
        (&plain, "tls_plain_peer"),
        (&old, "tls_no_shared_version"),
        (&picky, "tls_no_shared_version"),
        (&other, "tls_no_shared_version"),
        (&hung_up, "tls_failed"),
    ] {
        let gateway = start(&authority, &plan(io, &urls(&[origin.address()]), BELIEVED));
        let answer = asks(&gateway, "/x");
        assert_eq!((answer.status(), answer.reason()), (502, reason), "{answer}");
        gateway.stop();
    }
    let secure = telling(server_of(&authority.certifies(&["a.example"]), &VERSIONS, None));
    let gateway = Plan::to(io, &[secure.address()]).start();
    let answer = asks(&gateway, "/x");
    assert_eq!((answer.status(), answer.reason()), (502, "upstream_speaks_tls"), "{answer}");
    gateway.stop();
}

/// Mutual TLS towards an endpoint, in both versions: a refusal of 1.3 comes only behind the handshake.
fn an_endpoint_that_demands_a_certificate_gets_it_or_says_no(io: Io) {
    let (authority, clients) = (Authority::new("inside"), Authority::new("clients"));
    let (pair, own) = (authority.certifies(&["a.example"]), clients.certifies(&["gateway"]));
    for version in VERSIONS {
        let origin = telling(server_of(&pair, &[version], Some(&clients)));
        let list = urls(&[origin.address()]);
        let plan = plan(io, &list, &format!("{BELIEVED}, cert: own.crt, key: own.key"))
            .cluster_as("bare", &format!("endpoints: [{list}], tls: {{ {BELIEVED} }}"))
            .route("name: bare, match: { path: /bare }, cluster: bare, retry: { attempts: 1 }");
        let folder = folder(&authority);
        write_pair(&folder, "own", &own);
        let gateway = Gateway::start_in(folder, &plan.yaml());
        assert_eq!(asks(&gateway, "/x").text(), "full http/1.1 a.example a.example");
        let answer = asks(&gateway, "/bare");
        assert_eq!((answer.status(), answer.reason()), (502, "tls_failed"), "{version:?}: {answer}");
        gateway.stop();
    }
}

fn insecure_skip_verify_believes_everybody_and_says_so_at_every_load(io: Io) {
    let (authority, stranger) = (Authority::new("inside"), Authority::new("stranger"));
    let origin = telling(server_of(&stranger.certifies_as(&["b.example"], expired), &VERSIONS, None));
    let plan = plan(io, &urls(&[origin.address()]), "insecure_skip_verify: true").and("reload: { watch: false }");
    let gateway = start(&authority, &plan);
    let warnings = |gateway: &Gateway| {
        let lines = gateway.notices.all();
        lines.iter().filter(|line| line.contains("no certificate is verified with `insecure_skip_verify`")).count()
    };
    assert_eq!(asks(&gateway, "/x").status(), 200);
    until_true("a warning", || warnings(&gateway) == 1);
    assert_eq!(gateway.asks_admin("POST", "/reload").status(), 200);
    until_true("another warning", || warnings(&gateway) == 2);
    gateway.stop();
}

fn without_a_ca_the_systems_authorities_are_believed(io: Io) {
    let authority = Authority::new("of the system");
    let origin = telling(server_of(&authority.certifies(&["a.example"]), &VERSIONS, None));
    let plan = plan(io, &urls(&[origin.address()]), "server_name: a.example");
    let folder = Folder::new();
    let (roots, file) = (folder.write("roots.pem", authority.pem()), folder.write("gateway.yaml", plan.yaml()));
    let empty = folder.path("no-certificates");
    std::fs::create_dir(&empty).expect("a directory");
    let mut command = binary();
    command.env("SSL_CERT_FILE", roots).env("SSL_CERT_DIR", empty).arg("run").arg("-c").arg(file);
    let gateway = Gateway::start_with(folder, &mut command);
    assert_eq!(asks(&gateway, "/x").status(), 200);
    gateway.stop();
}

/// New connections resume sessions, and kept ones are reused whatever TLS says behind a response: tickets, new keys.
fn sessions_and_connections_are_reused(io: Io) {
    let authority = Authority::new("inside");
    let pair = authority.certifies(&["a.example"]);
    for version in VERSIONS {
        let origin = telling(server_of(&pair, &[version], None));
        let plan = plan(io, &urls(&[origin.address()]), BELIEVED);
        let gateway = start(&authority, &plan.clone().keepalive("idle_per_endpoint: 0"));
        assert!(asks(&gateway, "/").text().starts_with("full"));
        for _ in 0..5 {
            assert!(asks(&gateway, "/").text().starts_with("resumed"), "{version:?}");
        }
        gateway.adopts(&plan.yaml());
        assert!(asks(&gateway, "/").text().starts_with("resumed"), "{version:?}: after a reload");
        let before = origin.connections();
        let mut client = gateway.client();
        for _ in 0..100 {
            client.asks("/kept");
            client.expects(200);
        }
        assert!(origin.connections() <= before + 1, "{version:?}");
        gateway.stop();
    }
}

/// A message of TLS on a resting connection is no reason to close it; an end is, announced or not.
fn what_comes_on_a_resting_connection_is_told_apart(io: Io) {
    let authority = Authority::new("inside");
    let config = Arc::new(server_of(&authority.certifies(&["a.example"]), &VERSIONS, None));
    let endpoint = Endpoint::listens();
    let gateway = start(&authority, &plan(io, &urls(&[endpoint.address()]), BELIEVED));
    let mut client = gateway.client();
    client.asks("/1");
    let mut upstream = endpoint.accepts_secured(&config);
    upstream.expects("GET /1");
    upstream.replies(ok("1"));
    client.expects(200);
    upstream.renews_keys();
    client.asks("/2");
    upstream.expects("GET /2");
    upstream.replies(ok("2"));
    client.expects(200);
    upstream.closes();
    for (round, announces) in [(3, true), (4, false)] {
        client.asks(&format!("/{round}"));
        let mut upstream = endpoint.accepts_secured(&config);
        upstream.expects(&format!("GET /{round}"));
        upstream.replies(ok("x"));
        client.expects(200);
        if announces {
            upstream.closes();
        } else {
            drop(upstream);
        }
    }
    client.asks("/5");
    let mut upstream = endpoint.accepts_secured(&config);
    upstream.expects("GET /5");
    upstream.replies(ok("5"));
    client.expects(200);
    for path in ["/3", "/4", "/5"] {
        let line = gateway.log_of(path);
        assert_eq!((&line["reused"], &line["attempts"]), (&false.into(), &1.into()), "{line}");
    }
    gateway.stop();
}

/// RFC 9112 section 9.8: a body that ends with its connection is complete only if TLS says so.
fn a_body_that_ends_with_its_connection_is_whole_only_when_that_is_announced(io: Io) {
    let authority = Authority::new("inside");
    let config = Arc::new(server_of(&authority.certifies(&["a.example"]), &VERSIONS, None));
    let endpoint = Endpoint::listens();
    let gateway = start(&authority, &plan(io, &urls(&[endpoint.address()]), BELIEVED));
    for (path, announces) in [("/whole", true), ("/cut", false)] {
        let mut client = gateway.client();
        client.asks(path);
        let mut upstream = endpoint.accepts_secured(&config);
        upstream.expects(&format!("GET {path}"));
        upstream.replies("HTTP/1.1 200 OK\r\n\r\nall of it");
        if announces {
            upstream.closes();
            assert_eq!(client.expects(200).text(), "all of it");
            assert_eq!(gateway.log_of(path)["reason"], serde_json::Value::Null);
        } else {
            upstream.half_closes_raw();
            client.expects_head(200);
            let rest = String::from_utf8_lossy(&client.try_reads_to_end()).into_owned();
            assert!(!rest.ends_with("0\r\n\r\n"), "{rest:?}");
            assert_eq!(gateway.log_of(path)["reason"], "upstream_truncated");
        }
    }
    gateway.stop();
}

/// A failed handshake is a failed connect: nothing was sent, so another endpoint is asked, whatever the request.
fn a_failed_handshake_goes_on_to_another_endpoint(io: Io) {
    let (authority, stranger) = (Authority::new("inside"), Authority::new("stranger"));
    let bad = telling(server_of(&stranger.certifies(&["a.example"]), &VERSIONS, None));
    let good = telling(server_of(&authority.certifies(&["a.example"]), &VERSIONS, None));
    let list = urls(&[bad.address(), good.address()]);
    let gateway = start(&authority, &plan(io, &list, BELIEVED));
    for _ in 0..6 {
        let mut client = gateway.client();
        client.sends("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(client.expects_any().status(), 200);
    }
    assert_eq!((bad.requests(), good.requests()), (0, 6));
    assert!(gateway.metric("upstream_errors_total{reason=\"tls_unknown_issuer\"}") >= 1.0);
    gateway.stop();
}

fn plain_and_secure_endpoints_serve_one_cluster(io: Io) {
    let authority = Authority::new("inside");
    let secure = telling(server_of(&authority.certifies(&["a.example"]), &VERSIONS, None));
    let plain = Origin::echo();
    let list = format!("{}, {{ url: 'http://{}' }}", urls(&[secure.address()]), plain.address());
    let gateway = start(&authority, &plan(io, &list, BELIEVED));
    for _ in 0..4 {
        assert_eq!(asks(&gateway, "/x").status(), 200);
    }
    assert_eq!((secure.requests(), plain.requests()), (2, 2));
    gateway.stop();
}

/// The time for a connect is one for the handshake too.
fn a_handshake_that_stalls_is_a_connect_that_takes_too_long(io: Io) {
    let authority = Authority::new("inside");
    let endpoint = Endpoint::listens();
    let plan = plan(io, &urls(&[endpoint.address()]), BELIEVED).timeouts("connect: 200ms");
    let gateway = start(&authority, &plan);
    let mut client = gateway.client();
    client.asks("/x");
    let mut upstream = endpoint.accepts();
    let answer = client.expects_any();
    assert_eq!((answer.status(), answer.reason()), (504, "connect_timeout"), "{answer}");
    upstream.try_reads_to_end();
    gateway.waits_for("upstream_connections_active", 0.0);
    gateway.stop();
}

/// Connections made with settings that a reload has changed are closed once they rest; others stay.
fn a_reload_of_other_settings_closes_what_rests(io: Io) {
    let (authority, next) = (Authority::new("inside"), Authority::new("next"));
    let config = Arc::new(server_of(&authority.certifies(&["a.example"]), &VERSIONS, None));
    let renewed = Arc::new(server_of(&next.certifies(&["a.example"]), &VERSIONS, None));
    let endpoint = Endpoint::listens();
    let plan = plan(io, &urls(&[endpoint.address()]), BELIEVED);
    let gateway = start(&authority, &plan);
    let answers = |upstream: &mut Wire, client: &mut Client, path: &str| {
        let request = upstream.reads_head();
        assert!(request.start.contains(path), "{request}");
        upstream.sends(ok("x"));
        client.expects(200);
    };
    let mut client = gateway.client();
    client.asks("/1");
    let mut upstream = endpoint.accepts_secured(&config);
    answers(&mut upstream, &mut client, "/1");
    gateway.adopts(&plan.route("name: more, match: { path: /more }, respond: { status: 200 }").yaml());
    client.asks("/2");
    answers(&mut upstream, &mut client, "/2");
    gateway.folder.write("ca.crt", next.pem());
    upstream.sees_end();
    client.asks("/3");
    let mut upstream = endpoint.accepts_secured(&renewed);
    answers(&mut upstream, &mut client, "/3");
    gateway.stop();
}

on_both_drivers![
    a_believed_endpoint_is_asked_by_name_or_by_address,
    why_an_endpoint_is_not_believed_is_told,
    a_mismatch_of_protocols_is_told_as_such,
    an_endpoint_that_demands_a_certificate_gets_it_or_says_no,
    insecure_skip_verify_believes_everybody_and_says_so_at_every_load,
    without_a_ca_the_systems_authorities_are_believed,
    sessions_and_connections_are_reused,
    what_comes_on_a_resting_connection_is_told_apart,
    a_body_that_ends_with_its_connection_is_whole_only_when_that_is_announced,
    a_failed_handshake_goes_on_to_another_endpoint,
    plain_and_secure_endpoints_serve_one_cluster,
    a_handshake_that_stalls_is_a_connect_that_takes_too_long,
    a_reload_of_other_settings_closes_what_rests,
];
