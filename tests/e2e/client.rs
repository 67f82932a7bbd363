//! A client of the gateway.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use rustls::ClientConfig;

use super::layer::Layer;
use super::message::{Framing, Message};
use super::wire::Wire;

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Client(Wire);

impl Client {
    /// Connects to a listener.
    pub(crate) fn to(address: SocketAddr) -> Self {
        Self(Wire::to(address))
    }

    /// Connects to a listener that speaks TLS, as the host `name`.
    pub(crate) fn secured(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> Self {
        Self::try_secured(address, config, name).expect("a handshake")
    }

    /// The same; the handshake may fail.
    pub(crate) fn try_secured(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> io::Result<Self> {
        Wire::to(address).secured(Layer::client(config, name)).map(Self)
    }

    /// Takes a connection to a listener.
    pub(crate) fn of(stream: TcpStream) -> Self {
        Self(Wire::new(stream))
    }

    /// Takes a connection on which something was said already.
    pub(crate) const fn over(wire: Wire) -> Self {
        Self(wire)
    }

    /// Sends a GET of `target` for the host `a.example`.
    pub(crate) fn asks(&mut self, target: &str) -> &mut Self {
        self.0.sends(format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        self
    }

    /// Reads a final response of this status, its body included; interim ones before it are kept beside it.
    pub(crate) fn expects(&mut self, status: u16) -> Message {
        let mut message = self.expects_head(status);
        if !matches!(status, 204 | 304) {
            if message.framing() == Framing::Unsaid {
                message.body = self.0.reads_to_end().0;
            } else {
                self.0.reads_body(&mut message);
            }
        }
        message
    }

    /// Reads a final response of any status, its body included.
    pub(crate) fn expects_any(&mut self) -> Message {
        let mut message = self.0.reads_head();
        self.0.reads_body(&mut message);
        message
    }

    /// Reads the head of a final response of this status, and no body.
    pub(crate) fn expects_head(&mut self, status: u16) -> Message {
        let mut interims = Vec::new();
        loop {
            let mut message = self.0.reads_head();
            if (100..200).contains(&message.status()) && !(100..200).contains(&status) {
                interims.push(message);
                continue;
            }
            assert_eq!(message.status(), status, "{message}");
            message.interims = interims;
            return message;
        }
    }

    /// Reads an interim response of this status.
    pub(crate) fn expects_interim(&mut self, status: u16) -> Message {
        let message = self.0.reads_head();
        assert_eq!(message.status(), status, "{message}");
        message
    }

    /// Resets the connection.
    pub(crate) fn resets(self) {
        self.0.resets();
    }

    /// Closes the connection.
    pub(crate) fn closes(self) {
        self.0.closes();
    }
}

impl Deref for Client {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        &self.0
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut Wire {
        &mut self.0
    }
}
