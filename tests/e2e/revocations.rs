//! Certificates of clients that whoever signed them has taken back (`client_crl`).

use std::sync::Arc;

use rustls::{AlertDescription, ClientConfig, HandshakeKind};

use super::client::Client;
use super::gateway::Gateway;
use super::pki::{Authority, Pair};
use super::plan::{Io, Plan};
use super::site::{Site, TLS, VERSIONS, believer_of};
use super::wait::until_true;

fn failures(reason: &str) -> String {
    format!("tls_handshake_failures_total{{reason=\"{reason}\"}}")
}

/// A gateway that asks for certificates of `clients.crt` that `clients.crl` does not name.
fn start(io: Io, authorities: &str, lists: &str) -> (Authority, Gateway) {
    let tls = TLS.replace(" }] }", " }], client_ca: clients.crt, client_crl: clients.crl }");
    let plan = Plan::bare(io).route("name: all, respond: { status: 200, body: hello }").listener(&tls);
    Site::new().with_file("clients.crt", authorities).with_file("clients.crl", lists).start_on(&plan)
}

/// A client that was served, or the alert that it got instead.
fn begins(gateway: &Gateway, config: &Arc<ClientConfig>) -> Result<Client, AlertDescription> {
    let begun = Client::try_secured(gateway.address(), config, "a.example").and_then(|mut client| {
        // The alert may be there before the request.
        drop(client.try_send("GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        client.try_read()?;
        Ok(client)
    });
    match begun {
        Ok(mut client) => {
            assert_eq!(client.expects(200).text(), "hello");
            Ok(client)
        }
        Err(error) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(rustls::Error::AlertReceived(alert)) => Err(*alert),
            _ => panic!("{error:?} instead of an alert"),
        },
    }
}

/// Who is on the list is refused by the alert for that, in both versions, and counted; others are served.
fn a_revoked_certificate_is_refused_and_no_other(io: Io) {
    let clients = Authority::new("clients");
    let [mine, gone] = [0, 1].map(|_| clients.certifies(&["client.example"]));
    let (authority, gateway) = start(io, clients.pem(), &clients.revokes(&[&gone]));
    for version in VERSIONS {
        let with = |own: &Pair| Arc::new(believer_of(&authority, &[version], Some(own)));
        assert!(begins(&gateway, &with(&mine)).is_ok(), "{version:?}");
        assert_eq!(begins(&gateway, &with(&gone)).err(), Some(AlertDescription::CertificateRevoked), "{version:?}");
    }
    gateway.waits_for(&failures("revoked"), 2.0);
    gateway.waits_for("tls_handshakes_total{kind=\"full\"}", 2.0);
    gateway.stop();
}

/// Who may have been taken back without anybody saying so is not believed; the configuration says so as well.
fn an_authority_without_a_list_vouches_for_nobody(io: Io) {
    let (clients, others) = (Authority::new("clients"), Authority::new("others"));
    let both = [clients.pem(), others.pem()].concat();
    let (authority, gateway) = start(io, &both, &clients.revokes(&[]));
    let with = |own: &Pair| Arc::new(believer_of(&authority, &VERSIONS, Some(own)));
    assert!(begins(&gateway, &with(&clients.certifies(&["client.example"]))).is_ok());
    let refused = begins(&gateway, &with(&others.certifies(&["client.example"]))).err();
    assert_eq!(refused, Some(AlertDescription::UnknownCA));
    gateway.waits_for(&failures("revocation_unknown"), 1.0);
    let warned = || gateway.notices.all().iter().any(|line| line.contains("no list is by `CN=others"));
    until_true("a warning", warned);
    gateway.stop();
}

/// A renewed list decides about the handshakes from then on, tickets of before notwithstanding; a list that cannot be used
/// is refused whole, and the last one stays.
fn a_renewed_list_decides_from_then_on(io: Io) {
    let clients = Authority::new("clients");
    let [mine, leaving] = [0, 1].map(|_| clients.certifies(&["client.example"]));
    for version in VERSIONS {
        let (authority, gateway) = start(io, clients.pem(), &clients.revokes(&[]));
        let [my_own, theirs] = [&mine, &leaving].map(|own| Arc::new(believer_of(&authority, &[version], Some(own))));
        assert!(begins(&gateway, &my_own).is_ok());
        let mut kept = begins(&gateway, &theirs).expect("not revoked yet");
        let again = begins(&gateway, &theirs).expect("not revoked yet");
        assert_eq!(again.layer().agreed().handshake_kind(), Some(HandshakeKind::Resumed), "{version:?}: a ticket");
        drop(again);
        gateway.folder.write("clients.crl", "-----BEGIN X509 CRL-----\nMA==\n-----END X509 CRL-----\n");
        let refusal = gateway.notice("configuration refused, the last one stays");
        assert!(refusal["report"].as_str().is_some_and(|report| report.contains("client_crl")), "{refusal}");
        assert!(begins(&gateway, &theirs).is_ok(), "{version:?}");
        gateway.folder.write("clients.crl", clients.revokes(&[&leaving]));
        until_true("the new one is in force", || begins(&gateway, &theirs).is_err());
        assert_eq!(begins(&gateway, &theirs).err(), Some(AlertDescription::CertificateRevoked), "{version:?}");
        let mut others = begins(&gateway, &my_own).expect("never revoked");
        others.asks("/x");
        others.expects(200);
        kept.asks("/x");
        kept.expects(200);
        gateway.stop();
    }
}

on_both_drivers![
    a_revoked_certificate_is_refused_and_no_other,
    an_authority_without_a_list_vouches_for_nobody,
    a_renewed_list_decides_from_then_on,
];
