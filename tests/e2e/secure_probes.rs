//! HTTPS and gRPC health checks: G1.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio_rustls::TlsAcceptor;

use super::folder::Folder;
use super::gateway::Gateway;
use super::h2_origin::H2Origin;
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::secure_origin::{Authority, secure_origin};
use super::site::{Site, VERSIONS, server_of};
use super::wait::thread;

const OFTEN: &str = "interval: 100ms, healthy_after: 1, unhealthy_after: 2";

/// A cluster for each of these: its name, its endpoint, how it is probed.
fn gateway(clusters: &[(&str, SocketAddr, String)]) -> Gateway {
    let plan = clusters.iter().fold(Plan::bare(Io::Uring), |plan, (name, address, active)| {
        plan.cluster_with(name, &[*address], &format!("health: {{ active: {{ {active}, {OFTEN} }} }}"))
    });
    plan.start()
}

fn shows(gateway: &Gateway, cluster: &str, address: SocketAddr, probe: &str, detail: &str) {
    gateway.waits_to_show(cluster, address, &[("probe", probe), ("probe_detail", detail)]);
}

/// G1: the certificate of an HTTPS probe is verified by `ca` and `server_name`; what is wrong is said.
#[test]
fn https_probes_verify_and_say_what_is_wrong() {
    let folder = Folder::new();
    let (known, unknown) = (Authority::new(&folder, "known"), Authority::new(&folder, "unknown"));
    let expire = |params: &mut rcgen::CertificateParams| {
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2001, 1, 1), rcgen::date_time_ymd(2002, 1, 1));
    };
    let right = secure_origin(known.certifies("orders.internal", |_| {}));
    let by_address = secure_origin(known.certifies("127.0.0.1", |_| {}));
    let foreign = secure_origin(unknown.certifies("orders.internal", |_| {}));
    let expired = secure_origin(known.certifies("orders.internal", expire));
    // As a server of HTTP/1 does with what it cannot read.
    let plain = Origin::serving(|mut wire| {
        if wire.has_bytes() && wire.try_send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").is_ok() {
            drop(wire.half_closes().try_reads_to_end());
        }
    });
    let ca = format!("kind: https, ca: '{}'", known.file.display());
    let named = format!("{ca}, server_name: orders.internal");
    let cases = [
        ("right", &right, named.clone(), "healthy", "status 200"),
        ("by_address", &by_address, ca.clone(), "healthy", "status 200"),
        ("other_name", &right, ca, "unhealthy", "certificate: not for `127.0.0.1`"),
        ("foreign", &foreign, named.clone(), "unhealthy", "certificate: unknown issuer"),
        ("expired", &expired, named.clone(), "unhealthy", "certificate: expired"),
        ("credulous", &expired, "kind: https, insecure_skip_verify: true".to_owned(), "healthy", "status 200"),
        ("plain", &plain, named, "unhealthy", "the port does not speak TLS"),
        ("plain_to_tls", &right, "kind: http".to_owned(), "unhealthy", "the port speaks TLS"),
        ("grpc_to_tls", &right, "kind: grpc".to_owned(), "unhealthy", "the port speaks TLS"),
        ("grpc_to_plain", &plain, "kind: grpc".to_owned(), "unhealthy", "the port speaks HTTP/1, not HTTP/2"),
    ];
    let clusters: Vec<_> =
        cases.iter().map(|(name, origin, active, ..)| (*name, origin.address(), active.clone())).collect();
    let gateway = gateway(&clusters);
    for (name, origin, _, probe, detail) in cases {
        shows(&gateway, name, origin.address(), probe, detail);
    }
    assert!(gateway.notices.all().iter().any(|line| line.contains("insecure_skip_verify")), "it is said loudly");
    gateway.stop();
}

/// G1: a `ca` that was renewed is believed: its file is watched like the configuration.
#[test]
fn a_renewed_ca_is_believed() {
    let folder = Folder::new();
    let (old, new) = (Authority::new(&folder, "old"), Authority::new(&folder, "new"));
    let origin = secure_origin(new.certifies("127.0.0.1", |_| {}));
    let active = format!("kind: https, ca: '{}'", old.file.display());
    let gateway = gateway(&[("app", origin.address(), active)]);
    shows(&gateway, "app", origin.address(), "unhealthy", "certificate: unknown issuer");
    std::fs::rename(&new.file, &old.file).expect("a rename in one directory");
    shows(&gateway, "app", origin.address(), "healthy", "status 200");
    gateway.stop();
}

/// A gRPC server on a thread of its own, which ends with the test: every check of the service `orders` gets this serving
/// status, every other one NOT_FOUND.
fn grpc_server(serving: &Arc<AtomicU8>) -> SocketAddr {
    grpc_server_over(serving, None)
}

/// The same, perhaps over TLS. Whatever is no check is answered with 404.
fn grpc_server_over(serving: &Arc<AtomicU8>, tls: Option<TlsAcceptor>) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    listener.set_nonblocking(true).expect("an open socket");
    let (address, serving) = (listener.local_addr().expect("a bound socket"), Arc::clone(serving));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    drop(thread("grpc-server", move || {
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a runtime");
            while let Ok((stream, _)) = listener.accept().await {
                let serving = Arc::clone(&serving);
                let service = service_fn(move |request| check(request, serving.load(Ordering::Relaxed)));
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let tls = tls.clone();
                drop(tokio::spawn(async move {
                    // Who probes leaves when it likes.
                    match tls {
                        None => drop(server.serve_connection(TokioIo::new(stream), service).await),
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            drop(server.serve_connection(TokioIo::new(stream), service).await);
                        }
                    }
                }));
            }
        });
    }));
    address
}

/// `grpc.health.v1.Health/Check`, in its frame: field 1 of the request is the service, field 1 of the answer the status.
async fn check(
    request: Request<Incoming>,
    serving: u8,
) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>>, hyper::Error> {
    let is_check = request.method() == "POST" && request.uri().path() == "/grpc.health.v1.Health/Check";
    let http_status = if is_check { 200 } else { 404 };
    let asked = request.into_body().collect().await?.to_bytes();
    let is_known = is_check && asked == b"\0\0\0\0\x08\x0a\x06orders"[..];
    let (body, status) = if is_known { (vec![0, 0, 0, 0, 2, 8, serving], "0") } else { (Vec::new(), "5") };
    let trailers = HeaderMap::from_iter([("grpc-status".parse().expect("a name"), HeaderValue::from_static(status))]);
    let body = Full::new(Bytes::from(body)).with_trailers(async move { Some(Ok(trailers)) });
    Ok(Response::builder()
        .status(http_status)
        .header("content-type", "application/grpc")
        .body(body)
        .expect("a response"))
}

/// G1: gRPC health by its protocol: the service asked for, every serving status, and a service nobody knows.
#[test]
fn grpc_probes_follow_the_health_protocol() {
    let serving = Arc::new(AtomicU8::new(1));
    let address = grpc_server(&serving);
    let gateway = gateway(&[
        ("orders", address, "kind: grpc, service: orders".to_owned()),
        ("whole", address, "kind: grpc".to_owned()),
        ("http1", address, "kind: http".to_owned()),
    ]);
    shows(&gateway, "orders", address, "healthy", "grpc SERVING");
    shows(&gateway, "whole", address, "unhealthy", "grpc status 5 NOT_FOUND (the service is unknown)");
    shows(&gateway, "http1", address, "unhealthy", "the port speaks HTTP/2, not HTTP/1");
    serving.store(2, Ordering::Relaxed);
    shows(&gateway, "orders", address, "unhealthy", "grpc NOT_SERVING");
    serving.store(1, Ordering::Relaxed);
    shows(&gateway, "orders", address, "healthy", "grpc SERVING");
    gateway.stop();
}

/// G1: probes speak what requests speak: HTTP/2 with prior knowledge, or as TLS agrees on it; gRPC has TLS where requests do.
#[test]
fn probes_speak_what_requests_speak() {
    let (plain, site) = (H2Origin::start("plain"), Site::new());
    let mut config = server_of(&site.authority.certifies(&["a.example"]), &VERSIONS, None);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let serving = Arc::new(AtomicU8::new(1));
    let secured = grpc_server_over(&serving, Some(TlsAcceptor::from(Arc::new(config))));
    let tls = "tls: { ca: ca.crt, server_name: a.example }";
    let cluster = |protocol: &str, active: &str| {
        let url = format!("endpoints: [{{ url: 'https://{secured}' }}]");
        format!("protocol: {protocol}, {tls}, health: {{ active: {{ {active}, {OFTEN} }} }}, {url}")
    };
    let known = format!("health: {{ active: {{ kind: http, {OFTEN} }} }}, endpoints: [{}]", plain.entry());
    let plan = Plan::bare(Io::Uring)
        .cluster_as("known", &known)
        .cluster_as("agreed", &cluster("h2", "kind: https, expect: 404"))
        .cluster_as("auto", &cluster("auto", "kind: https, expect: 404"))
        .cluster_as("grpc", &cluster("h2", "kind: grpc, service: orders"));
    let gateway = Gateway::start_in(site.folder, &plan.yaml());
    shows(&gateway, "known", plain.address(), "healthy", "status 200");
    shows(&gateway, "agreed", secured, "healthy", "status 404");
    shows(&gateway, "auto", secured, "healthy", "status 404");
    shows(&gateway, "grpc", secured, "healthy", "grpc SERVING");
    plain.tells(503);
    serving.store(2, Ordering::Relaxed);
    shows(&gateway, "known", plain.address(), "unhealthy", "status 503");
    shows(&gateway, "grpc", secured, "unhealthy", "grpc NOT_SERVING");
    gateway.stop();
}
