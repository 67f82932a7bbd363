//! The admin endpoint.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::tls::{Authorities, Identity};

/// Where the admin endpoint listens, and who may ask it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens; beyond loopback it has a token, or a `client_ca`.
    pub listen: AdminListen,
    /// How its connections are secured, if they are.
    pub tls: Option<AdminTls>,
    /// Whoever has it may do everything.
    pub token: Option<Token>,
    /// Whoever has it may look.
    pub read_token: Option<Token>,
}

/// Where the admin endpoint listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminListen {
    /// Nowhere.
    Off,
    /// On this address.
    Tcp(SocketAddr),
    /// On a unix socket at this path.
    Unix(PathBuf),
}

/// How connections of the admin endpoint are secured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminTls {
    /// Its certificate and key.
    pub identity: Identity,
    /// Who must have signed a client's certificate, if it needs one.
    pub client_ca: Option<Authorities>,
}

/// A secret that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// This one.
    pub(in crate::config) const fn new(token: String) -> Self {
        Self(token)
    }

    /// The secret itself.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}
