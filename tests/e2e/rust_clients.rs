//! Clients of the Rust world that others wrote: hyper, and monoio-http of the reactor's own family.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use monoio::io::sink::SinkExt;
use monoio::io::stream::Stream;
use monoio_http::common::body::Body;
use monoio_http::h1::codec::ClientCodec;
use monoio_http::h1::payload::{FixedPayload, Payload, PayloadError};

use super::origin::Origin;
use super::plan::{Io, Plan};

/// Answers with what came: the request line and the length of the body; in chunks below `/chunked`.
fn origin() -> Origin {
    Origin::answering(|request| {
        let text = format!("{} {}", request.start, request.body.len());
        if request.start.contains("/chunked") {
            let (one, two) = text.split_at(5);
            format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n",
                two.len()
            )
            .into_bytes()
        } else {
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).into_bytes()
        }
    })
}

fn hyper_is_served(io: Io) {
    let origin = origin();
    let gateway = Plan::to(io, &[origin.address()]).start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(gateway.address()).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap();
        let driven = tokio::spawn(connection);
        for (method, path, body) in
            [("GET", "/a", ""), ("POST", "/b", "hello"), ("GET", "/chunked", ""), ("PUT", "/chunked/d", "body")]
        {
            let request = Request::builder().method(method).uri(path).header("host", "a");
            let request = request.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap();
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.status(), 200);
            let answer = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(answer, format!("{method} {path} HTTP/1.1 {}", body.len()));
        }
        drop(sender);
        driven.await.unwrap().unwrap();
    });
    assert_eq!(origin.connections(), 1, "one upstream connection served them all");
    gateway.stop();
}

fn monoio_http_is_served(io: Io) {
    let origin = origin();
    let gateway = Plan::to(io, &[origin.address()]).start();
    let address = gateway.address();
    // The client's own reactor is of no interest here: epoll runs everywhere.
    let mut runtime = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().build().unwrap();
    runtime.block_on(async move { ask_by_monoio(address).await });
    gateway.stop();
}

async fn ask_by_monoio(address: SocketAddr) {
    for (method, path, body) in [("GET", "/a", ""), ("POST", "/b", "hello"), ("GET", "/chunked", "")] {
        // Its body takes the connection along, so that each request has one of its own.
        let mut codec = ClientCodec::new(monoio::net::TcpStream::connect_addr(address).await.unwrap());
        let payload = match body {
            "" => Payload::<Bytes, PayloadError>::None,
            body => Payload::Fixed(FixedPayload::new(Bytes::from_static(body.as_bytes()))),
        };
        let request = Request::builder().method(method).uri(path).header("host", "a").body(payload).unwrap();
        codec.send_and_flush(request).await.unwrap();
        let response = codec.next().await.unwrap().unwrap();
        assert_eq!(response.status(), 200);
        let mut answered = response.into_body().with_io(codec);
        let mut text = Vec::new();
        while let Some(piece) = answered.next_data().await {
            text.extend_from_slice(&piece.unwrap());
        }
        assert_eq!(String::from_utf8(text).unwrap(), format!("{method} {path} HTTP/1.1 {}", body.len()));
    }
}

on_both_drivers![hyper_is_served, monoio_http_is_served];
