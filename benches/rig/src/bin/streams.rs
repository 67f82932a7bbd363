//! The floor of HTTP/2: frames by `h2`, requests handed on, nothing else.
//!
//! `streams --origin PORT [--port N] [--calls 1] [--fields 1] [--cert FILE --key FILE]` prints its port. Each stream becomes a
//! request of HTTP/1.1 on a connection that is used again, its response is parsed by httparse; or, with `--calls`, a stream of
//! the one connection of HTTP/2 to the origin, to which everything is moved as it came. Same runtime and ring flags as the
//! gateway. With `--fields`, messages of HTTP/1.1 also get the fields that a gateway adds, and a connection is looked at
//! before it is used again: the floor of whoever puts the same bytes on the wires.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream, client, server};
use http::header::{self, HeaderName, HeaderValue};
use http::{Request, Response};
use monoio::buf::IoBufMut;
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::TcpStream;
use monoio_compat::{AsyncRead, AsyncWrite, TcpStreamCompat};
use ringgate_rig::{arguments, ring};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use socket2::SockRef;
use tokio_rustls::TlsAcceptor;

/// Streams of one connection, and bytes on their way on it and on each of them: nobody is to wait for these.
const STREAMS: u32 = 1024;
const WINDOW: u32 = 1024 * 1024;
/// Field lines of one head.
const FIELDS: usize = 64;

static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

type Failed = Box<dyn Error>;

/// Where requests go.
enum Origin {
    Plain(Pool),
    Calls(client::SendRequest<Bytes>),
}

/// Connections to the origin that wait for their next request, each with its buffer.
struct Pool {
    origin: SocketAddr,
    idle: RefCell<Vec<(TcpStream, Vec<u8>)>>,
    /// The last request's id, if they get any.
    ids: Option<Cell<u128>>,
}

impl Pool {
    /// A connection that rests, on which nothing has come that nobody asked for.
    fn try_take(&self) -> Option<(TcpStream, Vec<u8>)> {
        loop {
            let idle = self.idle.borrow_mut().pop()?;
            if self.ids.is_none() || is_quiet(&idle.0) {
                return Some(idle);
            }
        }
    }

    /// 128 bits in hexadecimal, other ones each time (SplitMix64's increment; it need not look random here).
    fn next_id(&self) -> Option<String> {
        let ids = self.ids.as_ref()?;
        ids.set(ids.get().wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).wrapping_add(0x1357_9bdf));
        Some(format!("{:032x}", ids.get()))
    }
}

/// Has nothing come on it, not even its end?
fn is_quiet(stream: &TcpStream) -> bool {
    // SAFETY: the descriptor stays open while its owner is borrowed.
    let descriptor = unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) };
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    SockRef::from(&descriptor).recv_with_flags(&mut [MaybeUninit::uninit()], flags).is_err()
}

fn main() -> io::Result<()> {
    let port = arguments::value("--port", Some(0)).map_err(io::Error::other)?;
    let origin: u16 = arguments::value("--origin", None).map_err(io::Error::other)?;
    let calls: u8 = arguments::value("--calls", Some(0)).map_err(io::Error::other)?;
    let fields: u8 = arguments::value("--fields", Some(0)).map_err(io::Error::other)?;
    let ids = (fields > 0).then(|| Cell::new(1));
    let tls = tls().map_err(|why| io::Error::other(why.to_string()))?;
    ring::run_pinned(move || async move {
        let origin = SocketAddr::from(([127, 0, 0, 1], origin));
        let origin = match calls {
            0 => Origin::Plain(Pool { origin, idle: RefCell::default(), ids }),
            _ => Origin::Calls(connect(origin).await.map_err(|why| io::Error::other(why.to_string()))?),
        };
        let origin = Rc::new(origin);
        let listener = ring::listen(port)?;
        ring::accept_each(listener, |stream| begin(stream, tls.clone(), Rc::clone(&origin))).await
    })
}

/// What TLS needs, where it is asked for.
fn tls() -> Result<Option<TlsAcceptor>, Failed> {
    let cert: String = arguments::value("--cert", Some(String::new()))?;
    if cert.is_empty() {
        return Ok(None);
    }
    let key: String = arguments::value("--key", None)?;
    let chain = CertificateDer::pem_file_iter(cert)?.collect::<Result<Vec<_>, _>>()?;
    let mut tls =
        ServerConfig::builder().with_no_client_auth().with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    tls.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Some(Arc::new(tls).into()))
}

/// The one connection of HTTP/2 to the origin.
async fn connect(origin: SocketAddr) -> Result<client::SendRequest<Bytes>, Failed> {
    let stream = TcpStream::connect_addr(origin).await?;
    stream.set_nodelay(true)?;
    let mut builder = client::Builder::new();
    builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW).initial_max_send_streams(STREAMS as usize);
    let (send, connection) = builder.handshake(polled(stream)).await?;
    monoio::spawn(async move { drop(connection.await) });
    Ok(send)
}

fn polled(stream: TcpStream) -> TcpStreamCompat {
    TcpStreamCompat::new_with_buffer_size(stream, ring::BUFFER_BYTES, ring::BUFFER_BYTES)
}

async fn begin(stream: TcpStream, tls: Option<TlsAcceptor>, origin: Rc<Origin>) -> io::Result<()> {
    let served = match tls {
        None => serve(polled(stream), origin).await,
        Some(tls) => serve(tls.accept(polled(stream)).await?, origin).await,
    };
    served.map_err(io::Error::other)
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, origin: Rc<Origin>) -> Result<(), h2::Error> {
    let mut builder = server::Builder::new();
    builder.max_concurrent_streams(STREAMS).initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
    let mut connection = builder.handshake(stream).await?;
    while let Some(opened) = connection.accept().await {
        let (request, mut respond) = opened?;
        let origin = Rc::clone(&origin);
        monoio::spawn(async move {
            let forwarded = match &*origin {
                Origin::Plain(pool) => ask(request, &mut respond, pool).await,
                Origin::Calls(send) => call(request, &mut respond, send.clone()).await,
            };
            if forwarded.is_err() {
                respond.send_reset(Reason::INTERNAL_ERROR);
            }
        });
    }
    Ok(())
}

/// Moves a request to a stream of the origin's connection, and its response back.
async fn call(
    request: Request<RecvStream>,
    respond: &mut SendResponse<Bytes>,
    mut send: client::SendRequest<Bytes>,
) -> Result<(), Failed> {
    let (head, content) = request.into_parts();
    let (response, up) = send.send_request(Request::from_parts(head, ()), content.is_end_stream())?;
    relay(content, up).await?;
    let (head, content) = response.await?.into_parts();
    let down = respond.send_response(Response::from_parts(head, ()), content.is_end_stream())?;
    relay(content, down).await
}

/// Moves what is left of a message.
async fn relay(mut from: RecvStream, mut to: SendStream<Bytes>) -> Result<(), Failed> {
    if from.is_end_stream() {
        return Ok(());
    }
    while let Some(content) = from.data().await {
        let content = content?;
        from.flow_control().release_capacity(content.len())?;
        let is_last = from.is_end_stream();
        to.send_data(content, is_last)?;
        if is_last {
            return Ok(());
        }
    }
    match from.trailers().await? {
        Some(trailers) => to.send_trailers(trailers)?,
        None => to.send_data(Bytes::new(), true)?,
    }
    Ok(())
}

/// Sends a request without content by HTTP/1.1, and its response back.
async fn ask(request: Request<RecvStream>, respond: &mut SendResponse<Bytes>, pool: &Pool) -> Result<(), Failed> {
    if !request.body().is_end_stream() {
        return Err(invalid("the rig knows only requests without content").into());
    }
    let id = pool.next_id();
    let (mut stream, mut buffer) = match pool.try_take() {
        Some(idle) => idle,
        None => {
            let stream = TcpStream::connect_addr(pool.origin).await?;
            stream.set_nodelay(true)?;
            (stream, Vec::with_capacity(ring::BUFFER_BYTES))
        }
    };
    put_head(&mut buffer, &request, id.as_deref())?;
    let (written, back) = stream.write_all(buffer).await;
    written?;
    buffer = back;
    buffer.clear();
    let (mut response, bytes, length) = loop {
        buffer = read_some(&mut stream, buffer).await?;
        if let Some(parsed) = take_head(&buffer)? {
            break parsed;
        }
    };
    if let Some(id) = id {
        add_fields(&mut response, id)?;
    }
    let mut down = respond.send_response(response, length == 0)?;
    while buffer.len() < bytes + length {
        buffer = read_some(&mut stream, buffer).await?;
    }
    if length > 0 {
        down.send_data(Bytes::copy_from_slice(&buffer[bytes..bytes + length]), true)?;
    }
    buffer.clear();
    pool.idle.borrow_mut().push((stream, buffer));
    Ok(())
}

fn put_head(out: &mut Vec<u8>, request: &Request<RecvStream>, id: Option<&str>) -> io::Result<()> {
    let uri = request.uri();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let host = uri.authority().map_or("", |authority| authority.as_str());
    write!(out, "{} {path} HTTP/1.1\r\nhost: {host}\r\n", request.method())?;
    for (name, value) in request.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    if let Some(id) = id {
        out.extend_from_slice(b"x-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: http\r\nx-forwarded-host: ");
        out.extend_from_slice(host.as_bytes());
        out.extend_from_slice(b"\r\nx-real-ip: 127.0.0.1\r\nvia: 2.0 ringgate-56338677\r\nx-request-id: ");
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// What a response gets; what differs each time stays out of the peer's table, as the gateway's does.
fn add_fields(response: &mut Response<()>, id: String) -> io::Result<()> {
    let mut date = HeaderValue::from_static("Thu, 26 Nov 2026 10:43:43 GMT");
    let mut id = HeaderValue::from_maybe_shared(Bytes::from(id)).map_err(invalid)?;
    date.set_sensitive(true);
    id.set_sensitive(true);
    response.headers_mut().append(header::DATE, date);
    response.headers_mut().append(X_REQUEST_ID.clone(), id);
    Ok(())
}

/// The head of a response, its bytes and those of the content behind it; `None` while it is incomplete.
fn take_head(bytes: &[u8]) -> io::Result<Option<(Response<()>, usize, usize)>> {
    let mut lines = [httparse::EMPTY_HEADER; FIELDS];
    let mut parsed = httparse::Response::new(&mut lines);
    let httparse::Status::Complete(used) = parsed.parse(bytes).map_err(invalid)? else { return Ok(None) };
    let mut response = Response::new(());
    *response.status_mut() = parsed.code.unwrap_or(0).try_into().map_err(invalid)?;
    let mut length = 0;
    let fields = response.headers_mut();
    fields.reserve(parsed.headers.len());
    for line in &*parsed.headers {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(invalid)?;
        if name == header::CONTENT_LENGTH {
            length = std::str::from_utf8(line.value).map_err(invalid)?.parse().map_err(invalid)?;
        }
        if name != header::CONNECTION {
            fields.append(name, HeaderValue::from_bytes(line.value).map_err(invalid)?);
        }
    }
    Ok(Some((response, used, length)))
}

/// Reads behind what `buffer` holds.
async fn read_some(stream: &mut TcpStream, buffer: Vec<u8>) -> io::Result<Vec<u8>> {
    let (filled, room) = (buffer.len(), buffer.capacity());
    if filled == room {
        return Err(invalid("more than fits into the buffer"));
    }
    let (read, slice) = stream.read(buffer.slice_mut(filled..room)).await;
    if read? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(slice.into_inner())
}

fn invalid(why: impl Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_string())
}
