//! An origin of gRPC: HTTP/2 with prior knowledge, one thread, and one message for each call once its request is whole.
//!
//! `calls --port N [--bytes N]`: the message has so many bytes.

use std::error::Error;
use std::net::Ipv4Addr;

use bytes::{BufMut, Bytes, BytesMut};
use h2::RecvStream;
use h2::server::{Builder, SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response};
use ringgate_rig::arguments;
use tokio::net::{TcpListener, TcpStream};

/// Streams of one connection, and bytes on their way on it and on each of them: no proxy is to wait for this side.
const STREAMS: u32 = 1024;
const WINDOW: u32 = 16 * 1024 * 1024;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = arguments::value("--port", None)?;
    let message = message(arguments::value("--bytes", Some(100))?);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let message = message.clone();
        // A connection that breaks is its proxy's affair, and shows there.
        drop(tokio::spawn(async move { drop(serve(stream, message).await) }));
    }
}

/// One message with its prefix: not compressed, and its length.
fn message(bytes: u32) -> Bytes {
    let mut message = BytesMut::new();
    message.put_u8(0);
    message.put_u32(bytes);
    message.put_bytes(b'm', bytes as usize);
    message.freeze()
}

async fn serve(stream: TcpStream, message: Bytes) -> Result<(), h2::Error> {
    let mut builder = Builder::new();
    builder.max_concurrent_streams(STREAMS).initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
    let mut connection = builder.handshake(stream).await?;
    while let Some(call) = connection.accept().await {
        let (request, respond) = call?;
        let message = message.clone();
        drop(tokio::spawn(async move { drop(answer(request, respond, message).await) }));
    }
    Ok(())
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    message: Bytes,
) -> Result<(), h2::Error> {
    let mut body = request.into_body();
    while let Some(more) = body.data().await {
        body.flow_control().release_capacity(more?.len())?;
    }
    let mut head = Response::new(());
    head.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut send = respond.send_response(head, false)?;
    send.send_data(message, false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    send.send_trailers(trailers)
}
