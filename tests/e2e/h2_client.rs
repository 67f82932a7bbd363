//! A client of HTTP/2 for dialogues: the frames are `h2`'s, every step is the test's.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use h2::ext::Protocol;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio_rustls::TlsConnector;

use super::wait::{PATIENCE, thread, until_true};

/// A connection of HTTP/2, driven by a thread of its own.
#[derive(Debug)]
pub(crate) struct H2Client {
    handle: Handle,
    send: SendRequest<Bytes>,
    ended: Receiver<Option<Reason>>,
}

/// One stream.
#[derive(Debug)]
pub(crate) struct H2Stream {
    handle: Handle,
    response: Option<ResponseFuture>,
    send: SendStream<Bytes>,
    body: Option<RecvStream>,
    interims: Vec<u16>,
}

/// A response, or as much of it as there is.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) fields: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: HeaderMap,
    /// Statuses of interim responses before it.
    pub(crate) interims: Vec<u16>,
}

impl Reply {
    /// The content as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    /// The value of a field, which occurs once or not at all.
    pub(crate) fn field(&self, name: &str) -> &str {
        assert!(self.fields.get_all(name).iter().count() <= 1, "{name} twice in {self:?}");
        self.fields.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// The reason that the gateway gives for an answer of its own.
    pub(crate) fn reason(&self) -> &str {
        self.field("x-gateway-reason")
    }
}

impl H2Client {
    /// Connects to a listener with prior knowledge.
    pub(crate) fn to(address: SocketAddr) -> Self {
        Self::with(address, &Builder::new())
    }

    /// The same with settings of the test.
    pub(crate) fn with(address: SocketAddr, builder: &Builder) -> Self {
        Self::over(address, builder, None)
    }

    /// Connects to a listener that speaks TLS, as the host `name`.
    pub(crate) fn secured(address: SocketAddr, config: Arc<ClientConfig>, name: &str) -> Self {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        Self::over(address, &Builder::new(), Some((TlsConnector::from(config), name)))
    }

    fn over(address: SocketAddr, builder: &Builder, tls: Option<(TlsConnector, ServerName<'static>)>) -> Self {
        let (told, beginning) = channel();
        let (ends, ended) = channel();
        let builder = builder.clone();
        drop(thread("h2-client", move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let stream = TcpStream::connect(address).await.expect("a connection to loopback");
                stream.set_nodelay(true).expect("an open socket");
                let reason = match tls {
                    None => drive(stream, &builder, &told).await,
                    Some((connector, name)) => {
                        let stream = connector.connect(name, stream).await.expect("a handshake");
                        drive(stream, &builder, &told).await
                    }
                };
                // The test may be over.
                let _told = ends.send(reason);
            });
        }));
        let (handle, send) = beginning.recv_timeout(PATIENCE).expect("a connection");
        Self { handle, send, ended }
    }

    /// Opens a stream with a request that has no body, for a path of `a.example` or for a whole URI of https.
    pub(crate) fn asks(&mut self, method: &str, path: &str, fields: &[(&str, &str)]) -> H2Stream {
        self.opens(method, path, fields, true)
    }

    /// Opens a stream with a GET.
    pub(crate) fn gets(&mut self, path: &str) -> H2Stream {
        self.asks("GET", path, &[])
    }

    /// The same; none where the gateway has said goodbye before, in order.
    pub(crate) fn try_gets(&mut self, path: &str) -> Option<H2Stream> {
        let refused = match self.try_opens("GET", path, &[], true) {
            Ok(stream) => return Some(stream),
            Err(refused) => refused,
        };
        assert!(refused.is_go_away() && refused.reason() == Some(Reason::NO_ERROR), "{refused:?}");
        None
    }

    /// Opens a stream with a request whose body follows.
    pub(crate) fn begins(&mut self, method: &str, path: &str, fields: &[(&str, &str)]) -> H2Stream {
        self.opens(method, path, fields, false)
    }

    /// Opens a stream with an extended CONNECT to a WebSocket (RFC 8441), once the gateway has said that it may.
    pub(crate) fn connects(&mut self, path: &str) -> H2Stream {
        until_true("the setting", || self.send.is_extended_connect_protocol_enabled());
        self.opens("CONNECT", path, &[("sec-websocket-version", "13")], false)
    }

    fn opens(&mut self, method: &str, path: &str, fields: &[(&str, &str)], ends: bool) -> H2Stream {
        self.try_opens(method, path, fields, ends).expect("the connection is open")
    }

    fn try_opens(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        ends: bool,
    ) -> Result<H2Stream, h2::Error> {
        let is_whole = path == "*" || path.starts_with("https://");
        let uri: Uri = if is_whole { path.parse() } else { format!("http://a.example{path}").parse() }.expect("a URI");
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        if method == "CONNECT" {
            request = request.extension(Protocol::from_static("websocket"));
        }
        let request = request.body(()).expect("a request");
        let ready = self.send.clone().ready();
        self.send = within(&self.handle, "room for a stream", ready)?;
        let (response, send) = self.send.send_request(request, ends)?;
        Ok(H2Stream { handle: self.handle.clone(), response: Some(response), send, body: None, interims: Vec::new() })
    }

    /// Does the connection take no more streams?
    pub(crate) fn is_going_away(&self) -> bool {
        let ready = self.send.clone().ready();
        within(&self.handle, "a word on whether there is room", ready).is_err()
    }

    /// Waits for the end of the connection: the reason that was given, none for an orderly one.
    pub(crate) fn ends(self) -> Option<Reason> {
        // Without anybody who could open a stream the client would end it by itself.
        let Self { send, ended, .. } = self;
        let reason = ended.recv_timeout(PATIENCE).expect("the connection ends");
        drop(send);
        reason
    }
}

/// Drives a connection to its end.
async fn drive<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    builder: &Builder,
    told: &Sender<(Handle, SendRequest<Bytes>)>,
) -> Option<Reason> {
    let begun: (SendRequest<Bytes>, Connection<S, Bytes>) = builder.handshake(stream).await.expect("a preface goes");
    let (send, connection) = begun;
    drop(told.send((Handle::current(), send)));
    connection.await.err().and_then(|error| error.reason())
}

impl H2Stream {
    /// Waits for a final response of this status, its body and trailers included.
    pub(crate) fn expects(self, status: u16) -> Reply {
        let reply = self.expects_any();
        assert_eq!(reply.status, status, "{reply:?}");
        reply
    }

    /// Waits for a final response of any status, its body and trailers included.
    pub(crate) fn expects_any(mut self) -> Reply {
        let mut reply = self.expects_any_head();
        while let Some(more) = self.reads() {
            reply.body.extend_from_slice(&more);
        }
        reply.trailers = self.reads_trailers();
        reply
    }

    /// Waits for an interim response of this status.
    pub(crate) fn expects_interim(&mut self, status: u16) {
        let response = self.response.as_mut().expect("no final one was taken");
        let interim = poll_fn(|poller| response.poll_informational(poller));
        let interim = within(&self.handle, "an interim response", interim).expect("no final one comes first");
        assert_eq!(interim.expect("an open stream").status().as_u16(), status);
    }

    /// Waits for the head of a final response of this status.
    pub(crate) fn expects_head(&mut self, status: u16) -> Reply {
        let reply = self.expects_any_head();
        assert_eq!(reply.status, status, "{reply:?}");
        reply
    }

    fn expects_any_head(&mut self) -> Reply {
        let mut response = self.response.take().expect("asked for once");
        let interims = &mut self.interims;
        let answered = within(&self.handle, "a response", async move {
            // The library looks for interim ones only where it is asked to.
            while let Some(interim) = poll_fn(|poller| response.poll_informational(poller)).await {
                interims.push(interim?.status().as_u16());
            }
            response.await
        });
        let response = answered.unwrap_or_else(|error| panic!("{error} instead of a response"));
        let (parts, body) = response.into_parts();
        self.body = Some(body);
        let status = parts.status.as_u16();
        Reply { status, fields: parts.headers, interims: std::mem::take(&mut self.interims), ..Reply::default() }
    }

    /// Reads some of the body and makes room for as much; nothing at its end.
    pub(crate) fn reads(&mut self) -> Option<Bytes> {
        let more = self.try_reads().unwrap_or_else(|reason| panic!("{reason:?} instead of content"))?;
        self.makes_room(more.len());
        Some(more)
    }

    /// Reads some of the body and makes no room; the reason of a reset instead.
    pub(crate) fn try_reads(&mut self) -> Result<Option<Bytes>, Option<Reason>> {
        let body = self.body.as_mut().expect("a response came");
        within(&self.handle, "content", body.data()).transpose().map_err(|error| error.reason())
    }

    /// Did the head of the response end the stream?
    pub(crate) fn ends_here(&self) -> bool {
        self.body.as_ref().expect("a response came").is_end_stream()
    }

    /// Lets so many more bytes come.
    pub(crate) fn makes_room(&mut self, count: usize) {
        let body = self.body.as_mut().expect("a response came");
        body.flow_control().release_capacity(count).expect("as much as came");
    }

    /// The trailers behind the body.
    pub(crate) fn reads_trailers(&mut self) -> HeaderMap {
        let body = self.body.as_mut().expect("a response came");
        within(&self.handle, "trailers", body.trailers()).expect("an orderly end").unwrap_or_default()
    }

    /// Sends content as the window allows, and perhaps the end.
    pub(crate) fn sends(&mut self, content: impl AsRef<[u8]>, ends: bool) -> &mut Self {
        self.try_sends(content.as_ref(), ends)
            .unwrap_or_else(|reason| panic!("{reason:?} instead of room for content"));
        self
    }

    /// Sends as much content as there is room for, until none has come for this time: how much.
    pub(crate) fn sends_for(&mut self, content: &[u8], patience: Duration) -> usize {
        let mut rest = Bytes::copy_from_slice(content);
        while !rest.is_empty() {
            let send = &mut self.send;
            send.reserve_capacity(rest.len());
            let room = async { tokio::time::timeout(patience, poll_fn(|poller| send.poll_capacity(poller))).await };
            let Ok(Some(Ok(room))) = self.handle.block_on(room) else { break };
            let piece = rest.split_to(room.min(rest.len()));
            self.send.send_data(piece, false).expect("an open stream");
        }
        content.len() - rest.len()
    }

    /// Sends all of it; the reason of a reset when the gateway does not want it.
    pub(crate) fn try_sends(&mut self, content: &[u8], ends: bool) -> Result<(), Option<Reason>> {
        let mut rest = Bytes::copy_from_slice(content);
        while !rest.is_empty() {
            let send = &mut self.send;
            send.reserve_capacity(rest.len());
            let room = within(&self.handle, "room for content", poll_fn(|poller| send.poll_capacity(poller)));
            let room = room.ok_or(None)?.map_err(|error| error.reason())?;
            let piece = rest.split_to(room.min(rest.len()));
            let is_last = ends && rest.is_empty();
            self.send.send_data(piece, is_last).map_err(|error| error.reason())?;
            if is_last {
                return Ok(());
            }
        }
        if ends {
            self.send.send_data(Bytes::new(), true).map_err(|error| error.reason())?;
        }
        Ok(())
    }

    /// Ends the body with trailers.
    pub(crate) fn sends_trailers(&mut self, fields: &[(&str, &str)]) -> &mut Self {
        let mut trailers = HeaderMap::new();
        for (name, value) in fields {
            let name: HeaderName = name.parse().expect("a name");
            trailers.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        self.send.send_trailers(trailers).expect("an open stream");
        self
    }

    /// Resets the stream.
    pub(crate) fn resets(mut self, reason: Reason) {
        self.send.send_reset(reason);
    }

    /// Waits until the gateway resets the stream, whatever it has answered.
    pub(crate) fn expects_reset(mut self) -> Reason {
        if let Some(response) = self.response.take() {
            match within(&self.handle, "a reset", response) {
                Ok(response) => self.body = Some(response.into_body()),
                Err(error) => return error.reason().unwrap_or_else(|| panic!("{error} instead of a reset")),
            }
        }
        loop {
            match self.try_reads() {
                Ok(Some(more)) => self.makes_room(more.len()),
                Ok(None) => panic!("an orderly end instead of a reset"),
                Err(reason) => return reason.expect("a reset"),
            }
        }
    }
}

/// Waits for `future`, which another thread's runtime drives.
fn within<F: Future>(handle: &Handle, what: &str, future: F) -> F::Output {
    let bounded = async { tokio::time::timeout(PATIENCE, future).await };
    handle.block_on(bounded).unwrap_or_else(|_| panic!("waited {PATIENCE:?} in vain for {what}"))
}

/// A builder whose windows for responses are of this size, for the connection and for each stream.
pub(crate) fn windows(connection: u32, stream: u32) -> Builder {
    let mut builder = Builder::new();
    builder.initial_connection_window_size(connection).initial_window_size(stream);
    builder
}
