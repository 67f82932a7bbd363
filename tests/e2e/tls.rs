//! TLS with clients: versions, names, protocols, sessions and certificates of theirs.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, HandshakeKind, NamedGroup, ProtocolVersion, RootCertStore,
};
use serde_json::{Value, json};

use super::client::Client;
use super::gateway::Gateway;
use super::h2_client::H2Client;
use super::pki::{Authority, first_in};
use super::plan::{Io, Plan};
use super::site::{Site, TLS, believer_of, greeter};
use super::wait::{until, until_true};

/// The sample of a counted failure.
fn failures(reason: &str) -> String {
    format!("tls_handshake_failures_total{{reason=\"{reason}\"}}")
}

/// The alert that a client got instead of an answer, in the handshake or, as TLS 1.3 has it, behind it.
fn alert(gateway: &Gateway, config: &Arc<ClientConfig>, name: &str) -> AlertDescription {
    let error = match Client::try_secured(gateway.address(), config, name) {
        Err(error) => error,
        Ok(mut client) => {
            drop(client.try_send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"));
            client.try_read().expect_err("an alert")
        }
    };
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::AlertReceived(alert)) => *alert,
        _ => panic!("{error:?} instead of an alert"),
    }
}

fn is_served(client: &mut Client) -> bool {
    client.asks("/x");
    client.expects(200).text() == "hello"
}

/// J3: 1.2 and 1.3, with the hybrid key exchange where the version has it.
fn both_versions_are_spoken(io: Io) {
    let site = Site::new();
    let configs = [&TLS12, &TLS13].map(|version| Arc::new(believer_of(&site.authority, &[version], None)));
    let plan = Plan::bare(io).route("name: all, respond: { status: 200, body: hello }");
    let (_, gateway) = site.start(plan);
    let versions = [ProtocolVersion::TLSv1_2, ProtocolVersion::TLSv1_3];
    let groups = [NamedGroup::X25519, NamedGroup::X25519MLKEM768];
    for ((config, version), group) in configs.iter().zip(versions).zip(groups) {
        let mut client = Client::secured(gateway.address(), config, "a.example");
        assert!(is_served(&mut client) && is_served(&mut client), "{version:?}: kept alive");
        let agreed = client.layer().agreed();
        assert_eq!(agreed.protocol_version(), Some(version));
        assert_eq!(agreed.negotiated_key_exchange_group().map(|group| group.name()), Some(group));
        client.closes();
    }
    gateway.waits_for("tls_handshakes_total{kind=\"full\"}", 2.0);
    gateway.waits_for("tls_handshakes_active", 0.0);
    gateway.waits_for("net_connections_active", 0.0);
    gateway.stop();
}

/// Each group alone is enough for a client that has no other, the hybrid one among them.
fn each_group_of_keys_is_enough_alone(io: Io) {
    let (gateway, config) = greeter(io, "");
    let all = config.crypto_provider();
    let names: Vec<NamedGroup> = all.kx_groups.iter().map(|group| group.name()).collect();
    assert!(names.contains(&NamedGroup::X25519MLKEM768), "{names:?}");
    for group in &all.kx_groups {
        let provider = CryptoProvider { kx_groups: vec![*group], ..CryptoProvider::clone(all) };
        let client = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[&TLS13]).unwrap();
        let client = client.with_root_certificates(roots(&gateway)).with_no_client_auth();
        let mut client = Client::secured(gateway.address(), &Arc::new(client), "a.example");
        assert!(is_served(&mut client), "{:?}", group.name());
        let agreed = client.layer().agreed().negotiated_key_exchange_group().map(|agreed| agreed.name());
        assert_eq!(agreed, Some(group.name()));
        assert_eq!(client.layer().agreed().handshake_kind(), Some(HandshakeKind::Full), "asked for no other first");
    }
    gateway.stop();
}

/// Those who signed the site of a gateway.
fn roots(gateway: &Gateway) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let pem = std::fs::read_to_string(gateway.folder.path("ca.crt")).expect("a file");
    roots.add(first_in(&pem)).expect("an authority");
    roots
}

fn a_listener_from_1_3_on_refuses_1_2(io: Io) {
    let site = Site::new();
    let [old, new] = [&TLS12, &TLS13].map(|version| Arc::new(believer_of(&site.authority, &[version], None)));
    let tls = TLS.replace(" }] }", " }], min_version: '1.3' }");
    let plan = Plan::bare(io).route("name: all, respond: { status: 200, body: hello }").listener(&tls);
    let (_, gateway) = site.start_on(&plan);
    assert_eq!(alert(&gateway, &old, "a.example"), AlertDescription::ProtocolVersion);
    assert!(is_served(&mut Client::secured(gateway.address(), &new, "a.example")));
    gateway.waits_for(&failures("no_shared_version"), 1.0);
    gateway.stop();
}

/// SNI: an exact name, a wildcard, a name that no certificate is for, and none.
fn the_certificate_is_chosen_by_the_name_that_is_asked_for(io: Io) {
    let site = Site::new();
    let pairs = [("wild", "*.b.example"), ("exact", "x.b.example"), ("second", "x.b.example")];
    let pairs = pairs.map(|(file, name)| (file, site.authority.certifies(&[name])));
    let expected: Vec<_> = pairs.iter().map(|(_, pair)| first_in(&pair.cert)).collect();
    let first = first_in(&std::fs::read_to_string(site.folder.path("site.crt")).expect("a certificate"));
    let site = pairs.iter().fold(site, |site, (file, pair)| site.with(file, pair));
    // Certificates for other names are of no use to a client that verifies, so this one looks at them itself.
    let config = Arc::new(super::site::credulous());
    let list: Vec<String> =
        ["site", "wild", "exact", "second"].map(|file| format!("{{ cert: {file}.crt, key: {file}.key }}")).to_vec();
    let plan = Plan::bare(io)
        .route("name: all, respond: { status: 200, body: hello }")
        .listener(&format!("tls: {{ certificates: [{}] }}", list.join(", ")));
    let (_, gateway) = site.start_on(&plan);
    for (number, (name, certificate, logged)) in [
        ("a.example", &first, json!("a.example")),
        ("y.b.example", &expected[0], json!("y.b.example")),
        ("Y.B.example", &expected[0], json!("y.b.example")),
        ("x.b.example", &expected[1], json!("x.b.example")),
        ("unknown.example", &first, json!("unknown.example")),
        ("z.y.b.example", &first, json!("z.y.b.example")),
        // An address is no name, so none is sent (RFC 6066 section 3).
        ("127.0.0.1", &first, Value::Null),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = Client::secured(gateway.address(), &config, name);
        client.sends(format!("GET /{number} HTTP/1.1\r\nHost: {name}\r\n\r\n"));
        assert_eq!(client.expects(200).text(), "hello", "{name}");
        let seen = client.layer().agreed().peer_certificates().expect("a certificate");
        assert_eq!(&seen[0], certificate, "{name}");
        assert_eq!(gateway.log_of(&format!("/{number}"))["sni"], logged, "{name}");
    }
    // Two of them: neither a name for which there is another certificate than the first, nor none at all.
    assert_eq!(gateway.metric("tls_unknown_names_total"), 2.0);
    gateway.stop();
}

/// The name that a client asked for is in the line of each of its requests, also of those that cannot be read; what is no
/// name gets no connection, and so no line that it could forge.
fn the_log_tells_the_name_that_was_asked_for(io: Io) {
    let site = Site::new();
    let plan = Plan::bare(io).route("name: all, respond: { status: 200, body: hello }").speaks_h2().listener(TLS);
    let config = site.believer();
    let (_folder, gateway) = site.start_on(&plan);
    let mut h2 = H2Client::secured(gateway.address(), Arc::new(config.clone()), "a.example");
    h2.gets("/h2").expects(200);
    assert_eq!(gateway.log_of("/h2")["sni"], "a.example");
    // RFC 9113 section 8.3.1: `host` must not contradict `:authority`.
    h2.asks("GET", "/h2", &[("host", "b.example")]).expects(400);
    let mut client = Client::secured(gateway.address(), &Arc::new(config.clone()), "a.example");
    client.sends("rubbish\r\n\r\n");
    client.expects(400);
    let refused = || gateway.log_lines().into_iter().filter(|line| line["status"] == 400).collect::<Vec<_>>();
    let lines = until("lines of what cannot be read", || Some(refused()).filter(|lines| lines.len() == 2));
    assert!(lines.iter().all(|line| line["sni"] == "a.example"), "{lines:?}");
    let mut hello =
        ClientConnection::new(Arc::new(config), "forged.example".try_into().expect("a name")).expect("a session");
    let mut bytes = Vec::new();
    hello.write_tls(&mut bytes).expect("memory takes all");
    let at = bytes.windows(6).position(|part| part == b"forged").expect("the name");
    bytes[at..at + 6].copy_from_slice(b"\x1b[1m\r\n");
    let mut client = gateway.client();
    client.sends(bytes);
    gateway.waits_for(&failures("broken"), 1.0);
    assert_eq!(gateway.log_lines().len(), 3);
    gateway.stop();
}

/// RFC 7301: a client that offers protocols and none of ours is refused; one that offers nothing speaks HTTP/1.1.
fn the_protocol_is_agreed_on_strictly(io: Io) {
    let site = Site::new();
    let config = Arc::new(site.believer());
    let plan = Plan::bare(io).route("name: all, respond: { status: 200, body: hello }");
    let (_folder, gateway) = site.start_on(&plan.listener(TLS).listener("protocols: [http/1.1]"));
    let offering = |protocols: &[&str]| {
        let mut config = ClientConfig::clone(&config);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    };
    for (offered, agreed) in
        [(&[][..], None), (&["http/1.1"], Some("http/1.1")), (&["h2", "http/1.1"], Some("http/1.1"))]
    {
        let mut client = Client::secured(gateway.address(), &offering(offered), "a.example");
        assert!(is_served(&mut client));
        assert_eq!(client.layer().agreed().alpn_protocol(), agreed.map(str::as_bytes), "{offered:?}");
    }
    for offered in [&["h2"][..], &["http/1.0", "acme-tls/1"]] {
        let refused = alert(&gateway, &offering(offered), "a.example");
        assert_eq!(refused, AlertDescription::NoApplicationProtocol, "{offered:?}");
    }
    gateway.waits_for(&failures("no_shared_protocol"), 2.0);
    gateway.stop();
}

/// Sessions are resumed by whichever worker gets the connection, and after a reload.
fn sessions_are_resumed_by_every_worker_and_after_a_reload(io: Io) {
    for version in [&TLS12, &TLS13] {
        let site = Site::new();
        let config = Arc::new(believer_of(&site.authority, &[version], None));
        let plan = Plan::bare(io).route("name: all, respond: { status: 200, body: hello }").workers("2").listener(TLS);
        let (_, gateway) = site.start_on(&plan);
        let resumes = || {
            let mut client = Client::secured(gateway.address(), &config, "a.example");
            assert!(is_served(&mut client));
            (client.layer().agreed().handshake_kind() == Some(HandshakeKind::Resumed), client)
        };
        assert!(!resumes().0, "nothing is known yet");
        // Held open, so that they are spread over both workers.
        let clients: Vec<_> = (0..8).map(|_| resumes()).collect();
        assert!(clients.iter().all(|(resumed, _)| *resumed), "{version:?}");
        let workers = gateway.status()["workers"].as_array().expect("a list").clone();
        assert!(workers.iter().all(|worker| worker["connections_active"].as_u64() > Some(0)), "{workers:?}");
        drop(clients);
        gateway.adopts(&plan.clone().route("name: more, match: { path: /more }, respond: { status: 200 }").yaml());
        assert!(resumes().0, "{version:?}: after a reload");
        gateway.waits_for("tls_handshakes_total{kind=\"full\"}", 1.0);
        gateway.waits_for("tls_handshakes_total{kind=\"resumed\"}", 9.0);
        gateway.stop();
    }
}

/// Mutual TLS: who has no certificate, or one of somebody else's, is refused by an alert that says why.
fn clients_must_have_a_certificate_where_it_is_demanded(io: Io) {
    let site = Site::new();
    let (clients, strangers) = (Authority::new("clients"), Authority::new("strangers"));
    let (mine, theirs) = (clients.certifies(&["client.example"]), strangers.certifies(&["client.example"]));
    let expired = clients.certifies_as(&["client.example"], |params| {
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2001, 1, 1), rcgen::date_time_ymd(2002, 1, 1));
    });
    let tls = TLS.replace(" }] }", " }], client_ca: clients.crt }");
    let plan = Plan::bare(io).route("name: all, respond: { status: 200, body: hello }").listener(&tls);
    let (authority, gateway) = site.with_file("clients.crt", clients.pem()).start_on(&plan);
    for version in [&TLS12, &TLS13] {
        let with = |own| Arc::new(believer_of(&authority, &[version], own));
        let mut client = Client::secured(gateway.address(), &with(Some(&mine)), "a.example");
        assert!(is_served(&mut client), "{version:?}");
        let none = alert(&gateway, &with(None), "a.example");
        // RFC 8446 section 4.4.2.4.
        assert_eq!(none, AlertDescription::CertificateRequired, "{version:?}");
        assert_eq!(alert(&gateway, &with(Some(&theirs)), "a.example"), AlertDescription::UnknownCA, "{version:?}");
        let late = alert(&gateway, &with(Some(&expired)), "a.example");
        assert_eq!(late, AlertDescription::CertificateExpired, "{version:?}");
    }
    for reason in ["no_certificate", "unknown_issuer", "expired"] {
        gateway.waits_for(&failures(reason), 2.0);
    }
    gateway.stop();
}

/// A session with a listener that asks for no certificate opens no door where one is demanded.
fn a_ticket_does_not_stand_in_for_a_certificate(io: Io) {
    for version in [&TLS12, &TLS13] {
        let site = Site::new();
        let clients = Authority::new("clients");
        let config = Arc::new(believer_of(&site.authority, &[version], None));
        let plan = Plan::bare(io).route("name: all, respond: { status: 200, body: hello }").listener(TLS);
        let guarded = TLS.replace(" }] }", " }], client_ca: clients.crt }");
        let yaml =
            plan.yaml().replace("defaults:", &format!("  guarded: {{ address: '127.0.0.1:0', {guarded} }}\ndefaults:"));
        let folder = site.with_file("clients.crt", clients.pem()).folder;
        let gateway = Gateway::start_in(folder, &yaml);
        let door = gateway.address_of("guarded");
        assert!(is_served(&mut Client::secured(gateway.address(), &config, "a.example")));
        let mut again = Client::secured(gateway.address(), &config, "a.example");
        assert!(is_served(&mut again));
        assert_eq!(
            again.layer().agreed().handshake_kind(),
            Some(HandshakeKind::Resumed),
            "{version:?}: there is a ticket"
        );
        let refused = match Client::try_secured(door, &config, "a.example") {
            Err(_) => true,
            Ok(mut client) => {
                drop(client.try_send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"));
                client.try_read().is_err()
            }
        };
        assert!(refused, "{version:?}");
        gateway.waits_for(&failures("no_certificate"), 1.0);
        gateway.stop();
    }
}

/// Without tickets a client does a full handshake each time: the gateway remembers nobody.
fn a_client_without_tickets_is_served_all_the_same(io: Io) {
    let (gateway, config) = greeter(io, "");
    let mut config = ClientConfig::clone(&config);
    config.resumption = Resumption::disabled();
    let config = Arc::new(config);
    for _ in 0..3 {
        assert!(is_served(&mut Client::secured(gateway.address(), &config, "a.example")));
    }
    gateway.waits_for("tls_handshakes_total{kind=\"full\"}", 3.0);
    until_true("they are gone", || gateway.metric("net_connections_active") < 0.5);
    gateway.stop();
}

on_both_drivers![
    both_versions_are_spoken,
    each_group_of_keys_is_enough_alone,
    a_listener_from_1_3_on_refuses_1_2,
    the_certificate_is_chosen_by_the_name_that_is_asked_for,
    the_log_tells_the_name_that_was_asked_for,
    the_protocol_is_agreed_on_strictly,
    sessions_are_resumed_by_every_worker_and_after_a_reload,
    clients_must_have_a_certificate_where_it_is_demanded,
    a_ticket_does_not_stand_in_for_a_certificate,
    a_client_without_tickets_is_served_all_the_same,
];
