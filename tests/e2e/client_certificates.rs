//! J3: what a client's certificate says goes to endpoints and into the log, and nobody can say it without one.

use std::sync::Arc;

use rcgen::DnType;
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};

use super::client::Client;
use super::endpoint::Endpoint;
use super::gateway::Gateway;
use super::h2_client::H2Client;
use super::pki::{Authority, Pair};
use super::plan::{Io, Plan};
use super::site::{Site, TLS, VERSIONS, believer_of};
use super::wait::until_true;

/// Fields that tell of the certificate.
const TELLS: &str = "headers: { request: { set: { x-subject: '{client_cert.subject}', x-san: '{client_cert.san}', \
                     x-serial: '{client_cert.serial}', \
                     x-forwarded-client-cert: 'Hash={client_cert.fingerprint};Subject=\"{client_cert.subject}\"' } } }";
/// What a client may say of itself without being heard.
const LIES: &str =
    "X-Subject: CN=admin\r\nX_Subject: CN=admin\r\nx-san: DNS:admin\r\nX-Forwarded-Client-Cert: Hash=00\r\n";

/// A site that asks for certificates of `clients`, in the way that `auth` says.
fn site(clients: &Authority, plan: Plan, auth: &str) -> (Authority, Gateway) {
    let tls = TLS.replace(" }] }", &format!(" }}], client_ca: clients.crt{auth} }}"));
    Site::new().with_file("clients.crt", clients.pem()).start_on(&plan.listener(&tls))
}

/// Somebody whose name has to be escaped.
fn somebody(clients: &Authority) -> Pair {
    clients.certifies_as(&["b.example"], |params| {
        params.distinguished_name.push(DnType::OrganizationName, "Acme, Inc. \u{fc}\r\nX-Evil: 1");
        params.serial_number = Some(vec![0x0a, 0xff].into());
    })
}

const SUBJECT: &str = "O=Acme\\, Inc. \\C3\\BC\\0D\\0AX-Evil: 1,CN=ringgate test";

/// The subject and the rest are told, escaped, over both versions and for a resumed session; what the client sends under
/// these names is not.
fn what_a_certificate_says_is_told_and_what_a_client_says_of_itself_is_not(io: Io) {
    let clients = Authority::new("clients");
    let endpoint = Endpoint::listens();
    let plan = Plan::bare(io).cluster("app", &[endpoint.address()]).route(&format!("name: all, cluster: app, {TELLS}"));
    let (authority, gateway) = site(&clients, plan, "");
    let pair = somebody(&clients);
    let fingerprint = fingerprint(&pair);
    for version in VERSIONS {
        let config = Arc::new(believer_of(&authority, &[version], Some(&pair)));
        for resumes in [false, true] {
            let mut client = Client::secured(gateway.address(), &config, "a.example");
            client.sends(format!("GET /who HTTP/1.1\r\nHost: a.example\r\n{LIES}Connection: close\r\n\r\n"));
            let mut upstream = endpoint.accepts();
            let request = upstream.expects("GET /who");
            assert_eq!(request.all("x-subject"), [SUBJECT], "{version:?} {resumes}");
            assert_eq!(request.all("x_subject"), Vec::<&str>::new(), "another spelling of the same");
            assert_eq!((request.all("x-san"), request.all("x-serial")), (vec!["DNS:b.example"], vec!["0AFF"]));
            let told = format!("Hash={fingerprint};Subject=\"{SUBJECT}\"");
            assert_eq!(request.all("x-forwarded-client-cert"), [told]);
            assert_eq!(request.field("x-evil"), None);
            upstream.replies("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
            client.expects(200);
            let kind = client.layer().agreed().handshake_kind();
            assert_eq!(kind == Some(HandshakeKind::Resumed), resumes, "{version:?}");
        }
    }
    assert_eq!(gateway.log_of("/who")["client_cert"], SUBJECT);
    gateway.stop();
}

/// SHA-256 in hexadecimal, by a program that everybody has.
fn fingerprint(pair: &Pair) -> String {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut sum = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sha256sum");
    sum.stdin.take().expect("a pipe").write_all(&pair.chain()[0]).expect("it reads");
    let told = sum.wait_with_output().expect("it ends").stdout;
    String::from_utf8(told[..64].to_vec()).expect("digits")
}

/// Without a certificate, or without TLS at all, the fields are absent, whatever the client sends.
fn who_shows_none_is_told_of_by_nothing(io: Io) {
    let clients = Authority::new("clients");
    let endpoint = Endpoint::listens();
    let plan = Plan::bare(io).cluster("app", &[endpoint.address()]).route(&format!("name: all, cluster: app, {TELLS}"));
    let plain = plan.start();
    let (authority, optional) = site(&clients, plan, ", client_auth: optional");
    let config = Arc::new(believer_of(&authority, &[&TLS13], None));
    for (gateway, client) in
        [(&plain, plain.client()), (&optional, Client::secured(optional.address(), &config, "a.example"))]
    {
        let mut client = client;
        client.sends(format!("GET /who HTTP/1.1\r\nHost: a.example\r\n{LIES}\r\n"));
        let mut upstream = endpoint.accepts();
        let request = upstream.expects("GET /who");
        for name in ["x-subject", "x_subject", "x-san", "x-serial", "x-forwarded-client-cert"] {
            assert_eq!(request.field(name), None, "{name}");
        }
        upstream.replies_with("ok");
        client.expects(200);
        assert_eq!(gateway.log_of("/who")["client_cert"], serde_json::Value::Null);
    }
    plain.stop();
    optional.stop();
}

/// `client_auth: optional`: a route that demands a certificate answers 403 without one, others serve everybody; one of
/// somebody else's is refused all the same.
fn a_route_may_demand_what_the_listener_only_asks_for(io: Io) {
    let (clients, strangers) = (Authority::new("clients"), Authority::new("strangers"));
    let plan = Plan::bare(io)
        .route(
            "name: guarded, match: { path: /guarded/* }, respond: { status: 200, body: in }, require_client_cert: true",
        )
        .route("name: all, respond: { status: 200, body: hello }");
    let (authority, gateway) = site(&clients, plan, ", client_auth: optional");
    let theirs = strangers.certifies(&["b.example"]);
    let mine = clients.certifies(&["b.example"]);
    for version in [&TLS12, &TLS13] {
        let with = |own| Arc::new(believer_of(&authority, &[version], own));
        let nobody = with(None);
        // The second one has a ticket of the first.
        for _ in 0..2 {
            let mut client = Client::secured(gateway.address(), &nobody, "a.example");
            client.asks("/x");
            assert_eq!(client.expects(200).text(), "hello");
            client.asks("/guarded/x");
            let answer = client.expects(403);
            assert_eq!(answer.reason(), "client_certificate_missing", "{answer}");
        }
        let somebody = with(Some(&mine));
        for _ in 0..2 {
            let mut client = Client::secured(gateway.address(), &somebody, "a.example");
            client.asks("/guarded/x");
            assert_eq!(client.expects(200).text(), "in");
        }
        let refused = match Client::try_secured(gateway.address(), &with(Some(&theirs)), "a.example") {
            Err(_) => true,
            Ok(mut client) => {
                drop(client.try_send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"));
                client.try_read().is_err()
            }
        };
        assert!(refused, "{version:?}");
    }
    let mut plain = Plan::bare(io).route("name: guarded, respond: { status: 200 }, require_client_cert: true").start();
    let mut client = plain.client();
    client.asks("/");
    client.expects(403);
    plain.settles();
    gateway.stop();
}

/// Every stream of HTTP/2 has the certificate of its connection.
fn streams_of_http2_have_the_certificate_of_their_connection(io: Io) {
    let clients = Authority::new("clients");
    let endpoint = Endpoint::listens();
    let plan = Plan::bare(io)
        .cluster("app", &[endpoint.address()])
        .route(&format!("name: all, cluster: app, require_client_cert: true, {TELLS}"))
        .speaks_h2();
    let (authority, gateway) = site(&clients, plan, "");
    let mut config = believer_of(&authority, &[&TLS13], Some(&somebody(&clients)));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut client = H2Client::secured(gateway.address(), Arc::new(config), "a.example");
    let streams = [client.asks("GET", "/1", &[("x-subject", "CN=admin")]), client.gets("/2")];
    for _ in 0..2 {
        let mut upstream = endpoint.accepts();
        let request = upstream.expects("GET /");
        assert_eq!(request.all("x-subject"), [SUBJECT]);
        upstream.replies("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    }
    for stream in streams {
        assert_eq!(stream.expects(200).text(), "ok");
    }
    gateway.stop();
}

/// A renewed `client_ca` decides about the handshakes from then on, and leaves connections that are there alone.
fn a_renewed_authority_decides_from_then_on(io: Io) {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let plan = Plan::bare(io).route("name: all, respond: { status: 200, body: hello }");
    let (authority, gateway) = site(&old, plan, "");
    let (mine, theirs) = (old.certifies(&["b.example"]), new.certifies(&["b.example"]));
    let begins = |pair: &Pair| {
        let config = Arc::new(believer_of(&authority, &VERSIONS, Some(pair)));
        let mut client = Client::try_secured(gateway.address(), &config, "a.example").ok()?;
        client.try_send("GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n").ok()?;
        client.try_reads_head().map(|_| client)
    };
    let mut kept = begins(&mine).expect("signed by the authority in force");
    assert!(begins(&theirs).is_none());
    gateway.folder.write("clients.crt", new.pem());
    until_true("the new one is in force", || begins(&theirs).is_some());
    assert!(begins(&mine).is_none());
    assert_eq!(kept.reads(5), b"hello");
    kept.asks("/x");
    kept.expects(200);
    gateway.stop();
}

on_both_drivers![
    a_renewed_authority_decides_from_then_on,
    what_a_certificate_says_is_told_and_what_a_client_says_of_itself_is_not,
    who_shows_none_is_told_of_by_nothing,
    a_route_may_demand_what_the_listener_only_asks_for,
    streams_of_http2_have_the_certificate_of_their_connection,
];
