use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use futures_util::FutureExt;
use rcgen::{CertificateParams, CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConnection, HandshakeKind, NamedGroup, ServerConnection, SupportedProtocolVersion};

use super::*;
use crate::config::Identity;

fn identity(names: &[&str]) -> Identity {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(names.clone()).unwrap().self_signed(&key).unwrap().der().clone();
    let signing = any_supported_type(&PrivateKeyDer::Pkcs8(key.serialize_der().into())).unwrap();
    Identity::new(CertifiedKey::new(vec![cert], signing), names)
}

fn authorities() -> Authorities {
    let mut roots = RootCertStore::empty();
    roots.add(identity(&["ca.example"]).certified().cert[0].clone()).unwrap();
    Authorities::new(roots)
}

fn listener(client_ca: Option<Authorities>) -> ListenerTls {
    let certificates = vec![identity(&["a.example"])];
    ListenerTls {
        certificates,
        min_version: TlsVersion::Tls12,
        client_ca,
        client_crl: None,
        client_auth: ClientAuth::Required,
    }
}

#[test]
fn an_exact_name_wins_over_a_star_and_the_first_certificate_over_later_ones() {
    let names: [&[&str]; 5] = [
        &["first.example"],
        &["*.a.example", "b.example"],
        &["x.a.example"],
        &["*.a.example", "b.example"],
        &["*.x.a.example"],
    ];
    let certificates = Certificates::new(&names.map(identity), Arc::default());
    for (name, expected) in [
        (None, 0),
        (Some("first.example"), 0),
        (Some("unknown.example"), 0),
        (Some("y.a.example"), 1),
        (Some("b.example"), 1),
        (Some("x.a.example"), 2),
        // The star is one label: neither none nor two (RFC 6125 section 6.4.3).
        (Some("a.example"), 0),
        (Some("z.y.a.example"), 0),
        (Some("y.x.a.example"), 4),
        (Some("example"), 0),
        (Some(""), 0),
    ] {
        assert_eq!(certificates.find(name), expected, "{name:?}");
    }
}

/// RFC 9110 section 7.4 holds for connections, however old.
#[test]
fn a_connection_remembers_its_certificate_over_reloads_that_bring_or_take_others() {
    let mut keeper = TlsKeeper::new();
    let [a, b] = [identity(&["a.example"]), identity(&["b.example"])];
    let mut of = |certificates: &[&Identity]| {
        let certificates = certificates.iter().copied().cloned().collect();
        keeper.inbound(&ListenerTls { certificates, ..listener(None) }, &[Protocol::Http11]).unwrap()
    };
    let (single, both, renewed) = (of(&[&a]), of(&[&a, &b]), of(&[&identity(&["a.example"]), &b]));
    for before in [&single, &both] {
        let handshake = async { shakes_hands(&client(&TLS13), before.config()) };
        let (kind, greeting) = Greeting::of(handshake).now_or_never().unwrap();
        let greeting = greeting.unwrap();
        assert_eq!((kind, greeting.name()), (HandshakeKind::Full, "a.example"));
        for after in [&both, &renewed] {
            let allowed = ["a.example", "unknown.example", "b.example"].map(|host| after.speaks_for(host, &greeting));
            assert_eq!(allowed, [true, true, false]);
        }
        assert!(single.speaks_for("b.example", &greeting), "nobody has a better one");
    }
}

#[test]
fn handshakes_that_take_turns_are_told_what_each_asked_for() {
    let mut keeper = TlsKeeper::new();
    let inbound = keeper.inbound(&listener(None), &[Protocol::Http11]).unwrap();
    let config = inbound.config();
    // Says hello when it is polled first, and ends when it is polled again.
    let handshake = |client: Option<Arc<ClientConfig>>| {
        let mut ended = false;
        Box::pin(Greeting::of(poll_fn(move |_| {
            if std::mem::replace(&mut ended, true) {
                return Poll::Ready(());
            }
            client.as_ref().map(|client| shakes_hands(client, config));
            Poll::Pending
        })))
    };
    let named = client(&TLS13);
    let mut nameless = ClientConfig::clone(&named);
    nameless.enable_sni = false;
    let mut turns = [Some(named), Some(Arc::new(nameless)), None].map(handshake);
    let mut poll = || turns.each_mut().map(|turn| turn.as_mut().poll(&mut Context::from_waker(Waker::noop())));
    assert!(poll().iter().all(Poll::is_pending));
    let names = poll().map(|polled| match polled {
        Poll::Ready(((), greeting)) => greeting.map(|greeting| greeting.name().to_owned()),
        Poll::Pending => panic!("it ends in its second turn"),
    });
    assert_eq!(names, [Some("a.example".to_owned()), Some(String::new()), None], "the last one never said hello");
}

#[test]
fn keys_of_tickets_outlive_a_reload_and_are_not_shared_by_clients_that_are_verified_differently() {
    let mut keeper = TlsKeeper::new();
    let http11 = [Protocol::Http11];
    let (one, other) = (authorities(), authorities());
    // Kept, because what is gone may leave its address to another.
    let mut kept = Vec::new();
    let mut of = |keeper: &mut TlsKeeper, listener: &ListenerTls| {
        let config = Arc::clone(keeper.inbound(listener, &http11).unwrap().config());
        kept.push(Arc::clone(&config));
        Arc::as_ptr(&config.ticketer).cast::<()>()
    };
    let revoking = ListenerTls { client_crl: Some(Revocations::new(vec![list()])), ..listener(Some(one.clone())) };
    let lenient = ListenerTls { client_auth: ClientAuth::Optional, ..listener(Some(one.clone())) };
    keeper.begin();
    let [open, again, mine, theirs] =
        [None, None, Some(one.clone()), Some(other.clone())].map(|ca| of(&mut keeper, &listener(ca)));
    assert_eq!(open, again, "two listeners");
    assert!(open != mine && open != theirs && mine != theirs);
    assert!(of(&mut keeper, &lenient) != mine, "its owner may have shown nothing");
    assert!(of(&mut keeper, &revoking) != mine, "its owner may have been revoked since");
    keeper.on_published();
    for _ in 0..2 {
        // The first of the two is given up.
        keeper.begin();
        assert_eq!([None, Some(other.clone())].map(|ca| of(&mut keeper, &listener(ca))), [open, theirs]);
    }
    keeper.on_published();
    keeper.begin();
    assert!(of(&mut keeper, &listener(Some(one))) != mine, "nobody asked for these any more");
}

/// Any list; nobody looks into it.
fn list() -> CertificateRevocationListDer<'static> {
    let time = |year| rcgen::date_time_ymd(year, 1, 1);
    let list = CertificateRevocationListParams {
        this_update: time(2001),
        next_update: time(3000),
        crl_number: 1.into(),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let issuer = Issuer::new(CertificateParams::default(), KeyPair::generate().unwrap());
    list.signed_by(&issuer).unwrap().into()
}

/// A client that believes everybody and has no ticket yet.
fn client(version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&[version]).unwrap();
    let config = config.dangerous().with_custom_certificate_verifier(Arc::new(Credulous(provider)));
    Arc::new(config.with_no_client_auth())
}

/// One handshake and what comes behind it, such as a ticket; how it went.
fn shakes_hands(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> HandshakeKind {
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), "a.example".try_into().unwrap()).unwrap();
    while client.wants_write() || server.wants_write() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut bytes.as_slice()).unwrap();
        server.process_new_packets().unwrap();
        let mut bytes = Vec::new();
        server.write_tls(&mut bytes).unwrap();
        client.read_tls(&mut bytes.as_slice()).unwrap();
        client.process_new_packets().unwrap();
    }
    client.handshake_kind().unwrap()
}

/// What secures connections of one listener over five periods, each with a reload in it.
fn periods(keeper: &mut TlsKeeper) -> Vec<[Arc<ServerConfig>; 2]> {
    let tls = listener(None);
    let compile = |keeper: &mut TlsKeeper| {
        keeper.begin();
        let config = Arc::clone(keeper.inbound(&tls, &[Protocol::Http11]).unwrap().config());
        keeper.on_published();
        config
    };
    let mut one = |period| {
        if period > 0 {
            keeper.on_period_over();
        }
        [compile(keeper), compile(keeper)]
    };
    (0..5).map(&mut one).collect()
}

#[test]
fn a_ticket_is_good_in_its_period_and_the_next_and_never_after() {
    let periods = periods(&mut TlsKeeper::new());
    for version in [&TLS12, &TLS13] {
        for (issued, [issuer, _]) in periods.iter().enumerate() {
            for (later, configs) in periods.iter().enumerate().skip(issued) {
                for config in configs {
                    let client = client(version);
                    assert_eq!(shakes_hands(&client, issuer), HandshakeKind::Full);
                    let resumes = shakes_hands(&client, config) == HandshakeKind::Resumed;
                    assert_eq!(resumes, later - issued <= 1, "{version:?}: issued in {issued}, shown in {later}");
                    // Whoever comes often enough has a ticket of the newest key.
                    assert_eq!(shakes_hands(&client, config), HandshakeKind::Resumed);
                }
            }
        }
    }
}

#[test]
fn keys_of_tickets_turn_over_once_in_a_period_however_often_a_snapshot_is_given_up() {
    let mut keeper = TlsKeeper::new();
    let (tls, asking) = (listener(None), listener(Some(authorities())));
    let mut kept = Vec::new();
    let mut compile = |keeper: &mut TlsKeeper| {
        keeper.begin();
        [&tls, &asking, &tls].map(|tls| {
            let config = Arc::clone(keeper.inbound(tls, &[Protocol::Http11]).unwrap().config());
            kept.push(Arc::clone(&config));
            config
        })
    };
    let [first, ..] = compile(&mut keeper);
    keeper.on_published();
    let client = client(&TLS13);
    assert_eq!(shakes_hands(&client, &first), HandshakeKind::Full);
    keeper.on_period_over();
    let _given_up = compile(&mut keeper);
    let [open, guarded, again] = compile(&mut keeper);
    keeper.on_published();
    assert!(Arc::ptr_eq(&open.ticketer, &again.ticketer) && !Arc::ptr_eq(&open.ticketer, &first.ticketer));
    assert!(!Arc::ptr_eq(&open.ticketer, &guarded.ticketer));
    assert_eq!(shakes_hands(&client, &open), HandshakeKind::Resumed, "one period ago");
    let [later, ..] = compile(&mut keeper);
    assert!(Arc::ptr_eq(&open.ticketer, &later.ticketer), "the period is not over");
}

#[test]
fn the_same_settings_towards_endpoints_are_one_configuration_for_as_long_as_they_are_used() {
    let mut keeper = TlsKeeper::new();
    let (one, other) = (authorities(), authorities());
    let settings = |ca: &Authorities| ClusterTls { ca: Some(ca.clone()), ..ClusterTls::default() };
    keeper.begin();
    let first = keeper.outbound(&settings(&one), UpstreamProtocol::Http1).unwrap();
    let h2 = keeper.outbound(&settings(&one), UpstreamProtocol::H2).unwrap();
    assert!(h2.number != first.number && h2.config.alpn_protocols == [b"h2"]);
    assert!(
        Arc::ptr_eq(&first.config, &keeper.outbound(&settings(&one), UpstreamProtocol::Http1).unwrap().config),
        "two clusters"
    );
    let second = keeper.outbound(&settings(&other), UpstreamProtocol::Http1).unwrap();
    assert!(first.number != second.number);
    keeper.on_published();
    keeper.begin();
    assert!(
        Arc::ptr_eq(&first.config, &keeper.outbound(&settings(&one), UpstreamProtocol::Http1).unwrap().config),
        "a reload"
    );
    keeper.on_published();
    keeper.begin();
    let anew = keeper.outbound(&settings(&other), UpstreamProtocol::Http1).unwrap();
    assert!(anew.number != second.number && !Arc::ptr_eq(&anew.config, &second.config), "it was gone meanwhile");
}

#[test]
fn nobody_is_believed_when_the_system_has_no_authorities() {
    let mut keeper = TlsKeeper::new();
    assert_eq!(keeper.outbound(&ClusterTls::default(), UpstreamProtocol::Http1).err(), Some(TlsError::NoRoots));
    let blind = ClusterTls { insecure_skip_verify: true, ..ClusterTls::default() };
    assert!(keeper.outbound(&blind, UpstreamProtocol::Http1).is_ok());
    keeper.set_system(Arc::clone(authorities().roots()));
    assert!(keeper.outbound(&ClusterTls::default(), UpstreamProtocol::Http1).is_ok());
}

#[test]
fn only_ephemeral_keys_and_authenticated_encryption_are_spoken_and_the_hybrid_exchange_first() {
    let keeper = TlsKeeper::new();
    let suites = keeper.provider.cipher_suites.iter().map(|suite| format!("{:?}", suite.suite()));
    for suite in suites {
        let is_modern = suite.starts_with("TLS13_") || suite.starts_with("TLS_ECDHE_");
        assert!(is_modern && (suite.contains("_GCM_") || suite.contains("_CHACHA20_POLY1305_")), "{suite}");
    }
    assert_eq!(keeper.provider.kx_groups[0].name(), NamedGroup::X25519MLKEM768);
}

#[test]
fn a_listener_offers_what_is_served_keeps_no_session_and_takes_no_early_data() {
    let inbound = TlsKeeper::new().inbound(&listener(None), &[Protocol::Http2, Protocol::Http11]).unwrap();
    let config = inbound.config();
    assert_eq!(config.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    assert_eq!(config.max_early_data_size, 0);
    assert!(!config.session_storage.can_cache() && config.ticketer.enabled());
}
