//! An endpoint of HTTP/2 for dialogues: the frames are `h2`'s, every step is the test's.

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_rustls::TlsAcceptor;

use super::wait::{PATIENCE, thread};

/// A listening endpoint; each of its connections is driven by a thread of its own.
#[derive(Debug)]
pub(crate) struct H2Endpoint {
    address: SocketAddr,
    accepted: Receiver<H2Accepted>,
}

/// A connection of the gateway.
#[derive(Debug)]
pub(crate) struct H2Accepted {
    handle: Handle,
    asked: Receiver<(Request<RecvStream>, SendResponse<Bytes>)>,
    orders: UnboundedSender<Order>,
    ended: Receiver<Option<Reason>>,
}

/// A request of the gateway.
#[derive(Debug)]
pub(crate) struct H2Asked {
    handle: Handle,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    send: Option<SendStream<Bytes>>,
}

#[derive(Debug)]
enum Order {
    /// GOAWAY, and the end with the last stream; told once it is about to go ahead of everything else.
    Leave(Sender<()>),
    /// The end of the connection.
    Drop,
}

impl H2Endpoint {
    /// Listens at a port of the kernel's choice, without TLS.
    pub(crate) fn listens() -> Self {
        Self::with(Builder::new(), None)
    }

    /// The same with settings of the test, and perhaps TLS.
    pub(crate) fn with(builder: Builder, tls: Option<ServerConfig>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        let address = listener.local_addr().expect("a bound socket");
        let (sender, accepted) = channel();
        let tls = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        drop(thread("h2-endpoint", move || {
            for stream in listener.incoming() {
                let (builder, tls, sender) = (builder.clone(), tls.clone(), sender.clone());
                let stream = stream.expect("a connection");
                drop(thread("h2-accepted", move || serve(stream, &builder, tls, &sender)));
            }
        }));
        Self { address, accepted }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its entry in a list of endpoints.
    pub(crate) fn entry(&self) -> String {
        format!("{{ url: 'h2c://{}' }}", self.address)
    }

    /// Waits for a connection; nothing when there is none for long, as at the end of a test.
    pub(crate) fn try_accepts(&self) -> Option<H2Accepted> {
        self.accepted.recv_timeout(PATIENCE).ok()
    }

    /// Waits for a connection.
    pub(crate) fn accepts(&self) -> H2Accepted {
        self.accepted.recv_timeout(PATIENCE).expect("a connection")
    }

    /// Was there no connection that was not accepted yet?
    pub(crate) fn is_alone(&self) -> bool {
        self.accepted.try_recv().is_err()
    }
}

fn serve(stream: std::net::TcpStream, builder: &Builder, tls: Option<TlsAcceptor>, sender: &Sender<H2Accepted>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        stream.set_nonblocking(true).expect("an open socket");
        stream.set_nodelay(true).expect("an open socket");
        let stream = tokio::net::TcpStream::from_std(stream).expect("an open socket");
        match tls {
            None => drive(stream, builder, sender).await,
            Some(tls) => {
                if let Ok(stream) = tls.accept(stream).await {
                    drive(stream, builder, sender).await;
                }
            }
        }
    });
}

async fn drive<T: AsyncRead + AsyncWrite + Unpin>(stream: T, builder: &Builder, sender: &Sender<H2Accepted>) {
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    let (asks, asked) = channel();
    let (orders, mut ordered) = unbounded_channel();
    let (ends, ended) = channel();
    // The test may be over, here and below.
    drop(sender.send(H2Accepted { handle: Handle::current(), asked, orders, ended }));
    let reason = loop {
        match step(&mut connection, &mut ordered).await {
            Step::Asked(request) => drop(asks.send(*request)),
            Step::Ended(reason) => break reason,
            Step::Ordered(Order::Leave(told)) => {
                connection.graceful_shutdown();
                drop(told);
            }
            Step::Ordered(Order::Drop) => break None,
        }
    };
    drop(connection);
    let _told = ends.send(reason);
}

enum Step {
    Asked(Box<(Request<RecvStream>, SendResponse<Bytes>)>),
    Ordered(Order),
    Ended(Option<Reason>),
}

async fn step<T: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<T, Bytes>,
    ordered: &mut UnboundedReceiver<Order>,
) -> Step {
    poll_fn(|poller| {
        if let Poll::Ready(Some(order)) = ordered.poll_recv(poller) {
            return Poll::Ready(Step::Ordered(order));
        }
        connection.poll_accept(poller).map(|accepted| match accepted {
            Some(Ok(request)) => Step::Asked(Box::new(request)),
            Some(Err(error)) => Step::Ended(error.reason()),
            None => Step::Ended(None),
        })
    })
    .await
}

impl H2Accepted {
    /// Waits for a request whose method and target are these.
    pub(crate) fn expects(&self, start: &str) -> H2Asked {
        let asked = self.expects_any();
        let path = asked.request.uri().path_and_query().map_or("", |path| path.as_str());
        assert_eq!(format!("{} {path}", asked.request.method()), start);
        asked
    }

    /// Waits for a request.
    pub(crate) fn expects_any(&self) -> H2Asked {
        self.try_expects_any().expect("a request")
    }

    /// A request that has come and was not expected yet.
    pub(crate) fn takes(&self) -> Option<H2Asked> {
        let (request, respond) = self.asked.try_recv().ok()?;
        Some(H2Asked { handle: self.handle.clone(), request, respond, send: None })
    }

    /// Waits for a request; nothing when the connection ends, or is silent for long.
    pub(crate) fn try_expects_any(&self) -> Option<H2Asked> {
        let (request, respond) = self.asked.recv_timeout(PATIENCE).ok()?;
        Some(H2Asked { handle: self.handle.clone(), request, respond, send: None })
    }

    /// Has no request come that was not expected yet?
    pub(crate) fn is_quiet(&self) -> bool {
        self.asked.try_recv().is_err()
    }

    /// Takes no more requests and ends with the last of those that it has. What is sent from now on goes behind that word.
    pub(crate) fn leaves(&self) {
        let (tells, told) = channel();
        self.orders.send(Order::Leave(tells)).expect("the connection is open");
        // It is dropped unsent, which says as much.
        assert!(told.recv_timeout(PATIENCE).is_err());
    }

    /// Ends without a word.
    pub(crate) fn drops(&self) {
        self.orders.send(Order::Drop).expect("the connection is open");
    }

    /// Waits for the end of the connection: the reason that was given, none for an orderly one.
    pub(crate) fn waits_for_end(&self) -> Option<Reason> {
        self.ended.recv_timeout(PATIENCE).expect("the connection ends")
    }

    /// The same; nothing if that takes longer.
    pub(crate) fn ends_within(&self, patience: Duration) -> bool {
        self.ended.recv_timeout(patience).is_ok()
    }
}

impl H2Asked {
    /// The value of a field, nothing without it.
    pub(crate) fn field(&self, name: &str) -> &str {
        assert!(self.request.headers().get_all(name).iter().count() <= 1, "{name} twice in {:?}", self.request);
        self.request.headers().get(name).map_or("", |value| value.to_str().expect("text"))
    }

    pub(crate) fn request(&self) -> &Request<RecvStream> {
        &self.request
    }

    /// Reads the body to its end.
    pub(crate) fn reads_all(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(more) = self.reads() {
            all.extend_from_slice(&more);
        }
        all
    }

    /// Reads some of the body and makes room for as much; nothing at its end.
    pub(crate) fn reads(&mut self) -> Option<Bytes> {
        self.try_reads().unwrap_or_else(|reason| panic!("{reason:?} instead of content"))
    }

    /// The same; the reason of a reset instead.
    pub(crate) fn try_reads(&mut self) -> Result<Option<Bytes>, Option<Reason>> {
        let body = self.request.body_mut();
        let more = within(&self.handle, "content", body.data()).transpose().map_err(|error| error.reason())?;
        if let Some(more) = &more {
            body.flow_control().release_capacity(more.len()).expect("as much as came");
        }
        Ok(more)
    }

    /// The trailers behind the body.
    pub(crate) fn reads_trailers(&mut self) -> HeaderMap {
        let body = self.request.body_mut();
        within(&self.handle, "trailers", body.trailers()).expect("an orderly end").unwrap_or_default()
    }

    /// Answers with an interim response.
    pub(crate) fn informs(&mut self, status: u16, fields: &[(&str, &str)]) {
        self.respond.send_informational(response(status, fields)).expect("an open stream");
    }

    /// Answers with a whole response.
    pub(crate) fn replies(mut self, status: u16, fields: &[(&str, &str)], content: &str) {
        self.begins(status, fields, content.is_empty());
        if !content.is_empty() {
            self.sends(content, true);
        }
    }

    /// Answers 200 with these words.
    pub(crate) fn replies_with(self, content: &str) {
        self.replies(200, &[], content);
    }

    /// Begins a response.
    pub(crate) fn begins(&mut self, status: u16, fields: &[(&str, &str)], ends: bool) {
        let sent = self.respond.send_response(response(status, fields), ends);
        self.send = Some(sent.expect("an open stream"));
    }

    /// Sends content as the window allows, and perhaps the end.
    pub(crate) fn sends(&mut self, content: impl AsRef<[u8]>, ends: bool) {
        self.try_sends(content.as_ref(), ends, PATIENCE).expect("room for content");
    }

    /// Sends as much content as there is room for within this time: how much.
    pub(crate) fn sends_for(&mut self, content: &[u8], patience: Duration) -> usize {
        self.try_sends(content, false, patience).err().unwrap_or(content.len())
    }

    fn try_sends(&mut self, content: &[u8], ends: bool, patience: Duration) -> Result<(), usize> {
        let send = self.send.as_mut().expect("a response began");
        let mut rest = Bytes::copy_from_slice(content);
        while !rest.is_empty() {
            send.reserve_capacity(rest.len());
            let room = async { tokio::time::timeout(patience, poll_fn(|poller| send.poll_capacity(poller))).await };
            let Ok(Some(Ok(room))) = self.handle.block_on(room) else { return Err(content.len() - rest.len()) };
            let piece = rest.split_to(room.min(rest.len()));
            let is_last = ends && rest.is_empty();
            send.send_data(piece, is_last).expect("an open stream");
        }
        if ends && content.is_empty() {
            send.send_data(Bytes::new(), true).expect("an open stream");
        }
        Ok(())
    }

    /// Ends the response with trailers.
    pub(crate) fn sends_trailers(&mut self, fields: &[(&str, &str)]) {
        let send = self.send.as_mut().expect("a response began");
        send.send_trailers(map(fields)).expect("an open stream");
    }

    /// Resets the stream.
    pub(crate) fn resets(mut self, reason: Reason) {
        match &mut self.send {
            Some(send) => send.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
    }

    /// Waits until the gateway resets the stream.
    pub(crate) fn waits_for_reset(mut self) -> Reason {
        let Self { respond, send, handle, .. } = &mut self;
        let reset = poll_fn(|poller| match send {
            Some(send) => send.poll_reset(poller),
            None => respond.poll_reset(poller),
        });
        within(handle, "a reset", reset).expect("a reset")
    }
}

fn response(status: u16, fields: &[(&str, &str)]) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status.try_into().expect("a status");
    *response.headers_mut() = map(fields);
    response
}

fn map(fields: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        let name: HeaderName = name.parse().expect("a name");
        map.append(name, HeaderValue::from_str(value).expect("a value"));
    }
    map
}

/// Waits for `future`, which another thread's runtime drives.
fn within<F: Future>(handle: &Handle, what: &str, future: F) -> F::Output {
    let bounded = async { tokio::time::timeout(PATIENCE, future).await };
    handle.block_on(bounded).unwrap_or_else(|_| panic!("waited {PATIENCE:?} in vain for {what}"))
}
