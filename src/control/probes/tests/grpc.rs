//! gRPC probes against hyper's HTTP/2 server.

use std::convert::Infallible;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::*;

type Body = BoxBody<Bytes, Infallible>;

/// SERVING, in its frame.
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];

/// A server that answers every call by `respond`, which is told method, path, fields and body.
async fn grpc_server(respond: impl Fn(&Request<Bytes>) -> Response<Body> + Send + Sync + 'static) -> SocketAddr {
    let respond = Arc::new(respond);
    server(move |stream| {
        let respond = Arc::clone(&respond);
        async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let respond = Arc::clone(&respond);
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await?.to_bytes();
                    Ok::<_, hyper::Error>(respond(&Request::from_parts(head, body)))
                }
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            drop(server.serve_connection(TokioIo::new(stream), service).await);
        }
    })
    .await
}

#[tokio::test]
async fn a_probe_by_http_of_a_port_of_http2_speaks_it() {
    let address = grpc_server(|request| {
        let is_right = request.uri().path_and_query().is_some_and(|target| target == "/healthz?deep=1")
            && (request.method(), request.uri().scheme_str()) == (&hyper::Method::GET, Some("http"))
            && request.headers()["user-agent"] == "ringgate-probe";
        Response::builder().status(if is_right { 204 } else { 400 }).body(Empty::new().boxed()).unwrap()
    })
    .await;
    let mut target = target(ProbeKind::Http, address);
    assert_eq!(said(&target).await, down("the port speaks HTTP/2, not HTTP/1"));
    target.protocol = UpstreamProtocol::H2;
    assert_eq!(said(&target).await, Ok("status 204".to_owned()));
    target.health.expect = vec![(200, 200)];
    assert_eq!(said(&target).await, down("status 204"));
    target.address = answering(*b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", true).await;
    assert_eq!(said(&target).await, down("the port speaks HTTP/1, not HTTP/2"));
}

/// A response with a body and a status behind it.
fn answer_of(body: &[u8], status: &'static str) -> Response<Body> {
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static(status))]);
    let body = Full::new(Bytes::copy_from_slice(body)).with_trailers(async move { Some(Ok(trailers)) });
    Response::builder().header("content-type", "application/grpc").body(body.boxed()).unwrap()
}

/// A response that is all head.
fn status_only(status: &str) -> Response<Body> {
    let response = Response::builder().header("content-type", "application/grpc").header("grpc-status", status);
    response.body(Empty::new().boxed()).unwrap()
}

async fn said_of(
    respond: impl Fn(&Request<Bytes>) -> Response<Body> + Send + Sync + 'static,
) -> Result<String, String> {
    said(&target(ProbeKind::Grpc, grpc_server(respond).await)).await
}

fn down(detail: &str) -> Result<String, String> {
    Err(detail.to_owned())
}

#[tokio::test]
async fn a_server_that_says_serving_is_up() {
    assert_eq!(said_of(|_| answer_of(SERVING, "0")).await, Ok("grpc SERVING".to_owned()));
}

#[tokio::test]
async fn every_other_serving_status_is_down() {
    for (status, expected) in
        [(0, "grpc UNKNOWN"), (2, "grpc NOT_SERVING"), (3, "grpc SERVICE_UNKNOWN"), (9, "grpc serving status 9")]
    {
        assert_eq!(said_of(move |_| answer_of(&[0, 0, 0, 0, 2, 8, status], "0")).await, down(expected));
    }
}

#[tokio::test]
async fn a_failed_call_is_down_whether_its_status_is_in_the_head_or_the_trailers() {
    for (status, expected) in [
        ("12", "grpc status 12 UNIMPLEMENTED (there is no health service)"),
        ("5", "grpc status 5 NOT_FOUND (the service is unknown)"),
        ("14", "grpc status 14 UNAVAILABLE"),
        ("77", "grpc status 77"),
    ] {
        assert_eq!(said_of(move |_| status_only(status)).await, down(expected));
        assert_eq!(said_of(move |_| answer_of(SERVING, status)).await, down(expected), "SERVING does not save it");
    }
}

#[tokio::test]
async fn the_call_is_the_one_of_the_health_protocol_and_names_its_service() {
    let (calls, mut inbox) = mpsc::unbounded_channel();
    let address = grpc_server(move |request| {
        let field = |name| request.headers().get(name).map(|value: &HeaderValue| value.to_str().unwrap().to_owned());
        let fields = ["content-type", "te", "user-agent"].map(field);
        let (method, uri) = (request.method().to_string(), request.uri().to_string());
        calls.send((method, uri, fields.map(Option::unwrap), request.body().to_vec())).unwrap();
        answer_of(SERVING, "0")
    })
    .await;
    let mut target = target(ProbeKind::Grpc, address);
    target.health.service = "a.B".to_owned();
    said(&target).await.unwrap();
    let (method, uri, fields, body) = soon(inbox.recv()).await.unwrap();
    assert_eq!(method, "POST");
    assert_eq!(uri, format!("http://localhost:{}/grpc.health.v1.Health/Check", address.port()));
    assert_eq!(fields, ["application/grpc", "trailers", "ringgate-probe"]);
    assert_eq!(body, [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
}

#[tokio::test]
async fn answers_that_are_no_grpc_are_down() {
    let plain = |status: u16| Response::builder().status(status).body(Empty::new().boxed()).unwrap();
    assert_eq!(said_of(move |_| plain(404)).await, down("status 404"));
    assert_eq!(said_of(move |_| plain(200)).await, down("the answer is not gRPC"));
    assert_eq!(said_of(|_| status_only("0")).await, down("the answer is not gRPC"), "no message");
    assert_eq!(said_of(|_| status_only("x")).await, down("the answer is not gRPC"), "no number");
    assert_eq!(said_of(|_| answer_of(b"\0\0\0\0\x02\x08", "0")).await, down("the answer is not gRPC"), "cut");
    let without = || Response::builder().header("content-type", "application/grpc").body(Full::from(SERVING).boxed());
    assert_eq!(said_of(move |_| without().unwrap()).await, down("the answer is not gRPC"), "no status");
}

#[tokio::test]
async fn an_answer_that_grows_too_large_is_down() {
    assert_eq!(said_of(|_| answer_of(&[0; 1 << 20], "0")).await, down("the answer is too large"));
}

#[tokio::test]
async fn a_port_of_http1_is_named_as_such() {
    let address = answering(*b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", true).await;
    assert_eq!(said(&target(ProbeKind::Grpc, address)).await, down("the port speaks HTTP/1, not HTTP/2"));
}

#[tokio::test]
async fn a_port_that_speaks_something_else_or_nothing_is_told_apart() {
    let address = answering(*b"220 mail.example ESMTP\r\n", true).await;
    assert_eq!(said(&target(ProbeKind::Grpc, address)).await, down("the answer is not HTTP/2"));
    let said = said(&target(ProbeKind::Grpc, closing().await)).await;
    // Which of the two depends on whether the server had read everything that was sent before it closed.
    assert!(said == down("closed without an answer") || said == down("connection reset"), "{said:?}");
}

#[tokio::test]
async fn a_head_beyond_the_bound_is_down() {
    for fields in [700, 1 << 13] {
        let respond = move |_: &Request<Bytes>| {
            let padded =
                (0..fields).fold(Response::builder(), |built, at| built.header("x-padding", format!("{at:0128}")));
            padded.header("content-type", "application/grpc").body(Empty::new().boxed()).unwrap()
        };
        let said = said_of(respond).await;
        assert!(said.as_ref().is_err_and(|detail| detail.starts_with("HTTP/2: ")), "{said:?}");
    }
}
