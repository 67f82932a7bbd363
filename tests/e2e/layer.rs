//! What stands between a test's bytes and its socket: nothing, or TLS of either side.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, CommonState, ServerConfig, ServerConnection, Stream};

/// A layer of a connection.
#[derive(Debug, Default)]
pub(crate) enum Layer {
    /// The socket itself.
    #[default]
    Plain,
    /// TLS, as a client.
    Client(Box<ClientConnection>),
    /// TLS, as a server.
    Server(Box<ServerConnection>),
}

impl Layer {
    /// A client that asks for `name`.
    pub(crate) fn client(config: &Arc<ClientConfig>, name: &str) -> Self {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        Self::Client(Box::new(ClientConnection::new(Arc::clone(config), name).expect("a client")))
    }

    /// A server.
    pub(crate) fn server(config: &Arc<ServerConfig>) -> Self {
        Self::Server(Box::new(ServerConnection::new(Arc::clone(config)).expect("a server")))
    }

    /// What was agreed on.
    pub(crate) fn agreed(&self) -> &CommonState {
        match self {
            Self::Plain => panic!("a plain connection agrees on nothing"),
            Self::Client(connection) => connection,
            Self::Server(connection) => connection,
        }
    }

    /// The name that a client asked for.
    pub(crate) fn server_name(&self) -> Option<&str> {
        match self {
            Self::Server(connection) => connection.server_name(),
            Self::Plain | Self::Client(_) => None,
        }
    }

    /// Goes on with new keys, which the peer is told (RFC 8446 section 4.6.3); a version that cannot does nothing.
    pub(crate) fn renews_keys(&mut self, stream: &mut TcpStream) {
        match self {
            Self::Plain => {}
            Self::Client(connection) => {
                drop(connection.refresh_traffic_keys());
                drop(connection.write_tls(stream));
            }
            Self::Server(connection) => {
                drop(connection.refresh_traffic_keys());
                drop(connection.write_tls(stream));
            }
        }
    }

    /// Does the handshake.
    pub(crate) fn shakes_hands(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        let done = match self {
            Self::Plain => return Ok(()),
            Self::Client(connection) => connection.complete_io(stream),
            Self::Server(connection) => connection.complete_io(stream),
        };
        done.map(drop)
    }

    /// Reads once; 0 is an end that the peer announced.
    pub(crate) fn read(&mut self, stream: &mut TcpStream, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain => stream.read(into),
            Self::Client(connection) => Stream::new(&mut **connection, stream).read(into),
            Self::Server(connection) => Stream::new(&mut **connection, stream).read(into),
        }
    }

    /// Sends all of it.
    pub(crate) fn write_all(&mut self, stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain => stream.write_all(bytes),
            Self::Client(connection) => {
                let mut stream = Stream::new(&mut **connection, stream);
                stream.write_all(bytes).and_then(|()| stream.flush())
            }
            Self::Server(connection) => {
                let mut stream = Stream::new(&mut **connection, stream);
                stream.write_all(bytes).and_then(|()| stream.flush())
            }
        }
    }

    /// Announces that nothing more comes; the peer may be gone.
    pub(crate) fn says_close(&mut self, stream: &mut TcpStream) {
        match self {
            Self::Plain => {}
            Self::Client(connection) => {
                connection.send_close_notify();
                drop(connection.write_tls(stream));
            }
            Self::Server(connection) => {
                connection.send_close_notify();
                drop(connection.write_tls(stream));
            }
        }
    }
}
