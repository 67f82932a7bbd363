//! An endpoint whose every word a test writes itself.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use socket2::SockRef;

use super::layer::Layer;
use super::message::Message;
use super::wait::{PATIENCE, until};
use super::wire::Wire;

/// An address of loopback that no other test has: a port of it that is let go stays free.
pub(crate) fn own_loopback() -> Ipv4Addr {
    let [_, a, b, c] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | a, b, c)
}

/// A listening endpoint.
#[derive(Debug)]
pub(crate) struct Endpoint {
    listener: TcpListener,
}

/// A connection that the gateway opened.
#[derive(Debug)]
pub(crate) struct Accepted(Wire);

impl Endpoint {
    /// Listens on a port of the kernel's choice.
    pub(crate) fn listens() -> Self {
        Self::listens_at(SocketAddr::from(([127, 0, 0, 1], 0))).expect("loopback")
    }

    /// Listens at this address, unless it is taken.
    pub(crate) fn listens_at(address: SocketAddr) -> Option<Self> {
        let listener = TcpListener::bind(address).ok()?;
        // On Linux the time of a receive bounds an accept as well.
        SockRef::from(&listener).set_read_timeout(Some(PATIENCE)).expect("a positive time");
        Some(Self { listener })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("a bound socket")
    }

    /// Accepts the gateway's next connection.
    pub(crate) fn accepts(&self) -> Accepted {
        let (stream, _) = self.listener.accept().expect("the gateway connects");
        Accepted(Wire::new(stream))
    }

    /// Accepts the gateway's next connection and does the handshake.
    pub(crate) fn accepts_secured(&self, config: &Arc<ServerConfig>) -> Accepted {
        self.accepts().secured(config)
    }

    /// Is there no connection that waits to be accepted?
    pub(crate) fn is_alone(&self) -> bool {
        self.listener.set_nonblocking(true).expect("an open socket");
        let accepted = self.listener.accept();
        self.listener.set_nonblocking(false).expect("an open socket");
        accepted.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// A port of loopback where nobody listens, and nobody will while this process lives: another test could be given a port
    /// that was let go.
    pub(crate) fn closed() -> SocketAddr {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("loopback");
        let address = socket.local_addr().expect("a bound socket").as_socket().expect("an address of IPv4");
        std::mem::forget(socket);
        address
    }

    /// An address whose queue of unaccepted connections is full, so that one more gets no answer; hold on to what
    /// fills it.
    pub(crate) fn deaf() -> (Self, Vec<std::net::TcpStream>) {
        let endpoint = Self::listens();
        let held = endpoint.goes_deaf();
        (endpoint, held)
    }

    /// Fills its queue of unaccepted connections, so that one more gets no answer; hold on to what fills it.
    pub(crate) fn goes_deaf(&self) -> Vec<std::net::TcpStream> {
        SockRef::from(&self.listener).listen(0).expect("an open socket");
        let mut held = Vec::new();
        let one = Duration::from_millis(100);
        until("a full accept queue", || match std::net::TcpStream::connect_timeout(&self.address(), one) {
            Ok(stream) => {
                held.push(stream);
                None
            }
            Err(_) => Some(()),
        });
        held
    }
}

impl Accepted {
    /// The same connection, once its handshake is done.
    pub(crate) fn secured(self, config: &Arc<ServerConfig>) -> Self {
        Self(self.0.secured(Layer::server(config)).expect("a handshake"))
    }

    /// Reads a request whose first line starts with `start`, its body included.
    pub(crate) fn expects(&mut self, start: &str) -> Message {
        let mut message = self.expects_head(start);
        self.0.reads_body(&mut message);
        message
    }

    /// Reads the head of a request whose first line starts with `start`.
    pub(crate) fn expects_head(&mut self, start: &str) -> Message {
        let message = self.0.reads_head();
        assert!(
            message.start.starts_with(start) && message.start.ends_with(" HTTP/1.1"),
            "{start:?} expected: {message}"
        );
        message
    }

    /// Sends bytes.
    pub(crate) fn replies(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.0.sends(bytes);
        self
    }

    /// Sends a response of status 200 with this content.
    pub(crate) fn replies_with(&mut self, content: &str) -> &mut Self {
        self.replies(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{content}", content.len()))
    }

    /// The connection without its words of HTTP/1.1.
    pub(crate) fn into_wire(self) -> Wire {
        self.0
    }

    /// Closes the connection.
    pub(crate) fn closes(self) {
        self.0.closes();
    }

    /// Resets the connection.
    pub(crate) fn resets(self) {
        self.0.resets();
    }
}

impl Deref for Accepted {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        &self.0
    }
}

impl DerefMut for Accepted {
    fn deref_mut(&mut self) -> &mut Wire {
        &mut self.0
    }
}
