//! HTTPS probes against certificates good and bad.

use std::convert::Infallible;

use http_body_util::Empty;
use hyper::Response;
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::Authorities;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// An authority, and what believes it.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    believed: Authorities,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(params.self_signed(&key).unwrap().der().clone()).unwrap();
        Self { issuer: Issuer::new(params, key), believed: Authorities::new(roots) }
    }

    fn certify(&self, params: &CertificateParams) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der()).into())
    }
}

fn named(name: &str) -> CertificateParams {
    CertificateParams::new(vec![name.to_owned()]).unwrap()
}

/// A TLS server with this certificate that answers 200; it tells the protocols that were agreed on.
async fn secure_server(
    (certificate, key): (CertificateDer<'static>, PrivateKeyDer<'static>),
) -> (SocketAddr, mpsc::UnboundedReceiver<Option<Vec<u8>>>) {
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut config = config.with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (protocols, inbox) = mpsc::unbounded_channel();
    let address = server(move |stream| {
        let (acceptor, protocols) = (acceptor.clone(), protocols.clone());
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                drop(protocols.send(stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec)));
                answer(stream, OK, true).await;
            }
        }
    })
    .await;
    (address, inbox)
}

fn secured(address: SocketAddr, authority: &Authority) -> Target {
    let mut target = target(ProbeKind::Https, address);
    target.health.tls.ca = Some(authority.believed.clone());
    target
}

#[tokio::test]
async fn a_certificate_of_the_given_authority_for_the_right_name_is_up() {
    let authority = Authority::new("good");
    let (address, mut protocols) = secure_server(authority.certify(&named("localhost"))).await;
    let outcome = probe(&secured(address, &authority)).await;
    assert_eq!(outcome.result, Ok("status 200".into()));
    assert_eq!(soon(protocols.recv()).await, Some(Some(b"http/1.1".to_vec())));
}

#[tokio::test]
async fn what_requests_speak_is_agreed_on() {
    let authority = Authority::new("agreed");
    for (offers, protocol, expected) in [
        (&["h2", "http/1.1"][..], UpstreamProtocol::H2, Ok("status 200")),
        (&["h2", "http/1.1"], UpstreamProtocol::Auto, Ok("status 200")),
        (&["http/1.1"], UpstreamProtocol::Auto, Ok("status 200")),
        (&["h2"], UpstreamProtocol::Http1, Err("TLS: received fatal alert: no_application_protocol")),
        (&["http/1.1"], UpstreamProtocol::H2, Err("TLS: received fatal alert: no_application_protocol")),
        (&[], UpstreamProtocol::H2, Err("TLS did not agree on HTTP/2")),
    ] {
        let address = agreeable(&authority, offers).await;
        let mut target = secured(address, &authority);
        target.protocol = protocol;
        let said = said(&target).await;
        let told = said.as_ref().map(String::as_str).map_err(|detail| detail.to_lowercase());
        let expected = expected.map_err(str::to_lowercase);
        let is_alert = |told: &Result<&str, String>| told.as_ref().is_err_and(|detail| detail.contains("alert"));
        assert!(told == expected || is_alert(&told) && is_alert(&expected), "{offers:?} {protocol:?}: {said:?}");
    }
}

#[tokio::test]
async fn a_grpc_probe_is_secured_as_requests_are() {
    let authority = Authority::new("grpc");
    let mut target = secured(agreeable(&authority, &["h2"]).await, &authority);
    (target.health.kind, target.speaks_tls) = (ProbeKind::Grpc, true);
    // It answers, and knows nothing of gRPC.
    assert_eq!(said(&target).await, Err("the answer is not gRPC".to_owned()));
    target.speaks_tls = false;
    assert_eq!(said(&target).await, Err("the port speaks TLS".to_owned()));
}

/// A server that agrees on one of these protocols and answers 200 by it.
async fn agreeable(authority: &Authority, offers: &[&str]) -> SocketAddr {
    let (certificate, key) = authority.certify(&named("localhost"));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut config = config.with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = offers.iter().map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    server(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                return answer(stream, OK, true).await;
            }
            let service = service_fn(|_| async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            drop(server.serve_connection(TokioIo::new(stream), service).await);
        }
    })
    .await
}

#[tokio::test]
async fn a_certificate_for_an_address_is_good_for_that_address() {
    let authority = Authority::new("address");
    let (address, _protocols) = secure_server(authority.certify(&named("127.0.0.1"))).await;
    let mut target = secured(address, &authority);
    target.authority = address.to_string();
    assert_eq!(said(&target).await, Ok("status 200".to_owned()));
}

#[tokio::test]
async fn an_unknown_authority_is_named_as_such() {
    let (known, unknown) = (Authority::new("known"), Authority::new("unknown"));
    let (address, _protocols) = secure_server(unknown.certify(&named("localhost"))).await;
    let outcome = probe(&secured(address, &known)).await;
    assert_eq!(outcome.result, Err(Trouble::Certificate("unknown issuer".into())));
}

#[tokio::test]
async fn a_certificate_for_another_name_names_the_one_expected() {
    let authority = Authority::new("name");
    let (address, _protocols) = secure_server(authority.certify(&named("orders.example"))).await;
    let mut target = secured(address, &authority);
    assert_eq!(said(&target).await, Err("certificate: not for `localhost`".to_owned()));
    target.health.tls.server_name = Some("orders.example".to_owned());
    assert_eq!(said(&target).await, Ok("status 200".to_owned()));
}

#[tokio::test]
async fn certificates_out_of_their_time_are_told_apart() {
    let authority = Authority::new("time");
    let mut expired = named("localhost");
    (expired.not_before, expired.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
    let mut early = named("localhost");
    (early.not_before, early.not_after) = (date_time_ymd(4000, 1, 1), date_time_ymd(4001, 1, 1));
    for (params, expected) in [(expired, "certificate: expired"), (early, "certificate: not valid yet")] {
        let (address, _protocols) = secure_server(authority.certify(&params)).await;
        assert_eq!(said(&secured(address, &authority)).await, Err(expected.to_owned()));
    }
}

#[tokio::test]
async fn any_certificate_will_do_when_verification_is_off() {
    let authority = Authority::new("off");
    let mut expired = named("orders.example");
    (expired.not_before, expired.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
    let (address, _protocols) = secure_server(authority.certify(&expired)).await;
    let mut target = target(ProbeKind::Https, address);
    target.health.tls.insecure_skip_verify = true;
    assert_eq!(said(&target).await, Ok("status 200".to_owned()));
}

#[tokio::test]
async fn a_name_that_is_none_is_not_the_endpoints_fault() {
    let mut target = target(ProbeKind::Https, silent().await);
    target.health.tls.insecure_skip_verify = true;
    target.health.tls.server_name = Some("a b".to_owned());
    let outcome = probe(&target).await;
    assert!(outcome.is_ours(), "{outcome:?}");
}

#[tokio::test]
async fn a_tls_probe_that_meets_plaintext_says_so() {
    for plaintext in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"220 mail.example ESMTP\r\n", b"SSH-2.0-x\r\n"] {
        let address = server(move |mut stream| async move {
            stream.readable().await.unwrap();
            drop(stream.write_all(plaintext).await);
            drop(stream.read_to_end(&mut Vec::new()).await);
        })
        .await;
        let mut target = target(ProbeKind::Https, address);
        target.health.tls.insecure_skip_verify = true;
        assert_eq!(said(&target).await, Err("the port does not speak TLS".to_owned()), "{plaintext:?}");
    }
}

#[tokio::test]
async fn a_server_that_closes_in_the_handshake_closed_without_an_answer() {
    let mut target = target(ProbeKind::Https, closing().await);
    target.health.tls.insecure_skip_verify = true;
    assert_eq!(said(&target).await, Err("closed without an answer".to_owned()));
}

#[tokio::test]
async fn plaintext_probes_that_meet_tls_say_so() {
    let authority = Authority::new("plain");
    let (address, _protocols) = secure_server(authority.certify(&named("localhost"))).await;
    for kind in [ProbeKind::Http, ProbeKind::Grpc] {
        assert_eq!(said(&target(kind, address)).await, Err("the port speaks TLS".to_owned()), "{kind:?}");
    }
}

#[tokio::test]
async fn the_systems_authorities_are_believed_without_a_ca() {
    let authority = Authority::new("system");
    let (address, _protocols) = secure_server(authority.certify(&named("localhost"))).await;
    let outcome = probe(&target(ProbeKind::Https, address)).await;
    // A machine without any certificates says so; either way ours is not among them.
    let unknown = Err(Trouble::Certificate("unknown issuer".into()));
    assert!(outcome.result == unknown || outcome.is_ours(), "{outcome:?}");
}
