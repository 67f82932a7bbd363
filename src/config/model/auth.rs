//! The checked form of policies of authentication.

use std::time::Duration;

use super::tls::Authorities;
use crate::policy::auth::{ExternalRules, KeyBook, KeySet, Rules, UserBook};

/// Which bearer tokens pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Jwt {
    /// What is wanted of them.
    pub rules: Rules,
    /// By which keys they are verified.
    pub keys: JwtKeys,
    /// Whether the endpoint gets the token too.
    pub forward_credentials: bool,
    /// What clients are told that they need one for.
    pub realm: String,
}

/// Keys of tokens.
#[derive(Debug, Clone, PartialEq)]
pub enum JwtKeys {
    /// Those of a file.
    Local(KeySet),
    /// Those that an issuer publishes.
    Remote(KeySource),
}

/// Where an issuer publishes its keys.
#[derive(Debug, Clone, PartialEq)]
pub struct KeySource {
    /// The URL.
    pub url: KeysUrl,
    /// Who may sign its certificate; the system's authorities when `None`.
    pub ca: Option<Authorities>,
    /// Time from one look to the next.
    pub refresh: Duration,
}

/// A URL of keys, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeysUrl {
    /// Whether it is spoken to by TLS.
    pub is_secure: bool,
    /// A name in lower case, or an IP address without brackets.
    pub host: String,
    /// Never 0.
    pub port: u16,
    /// Path and query, from the first slash on.
    pub path: String,
}

impl std::fmt::Display for KeysUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.is_secure { "https" } else { "http" };
        // A query may hold a secret.
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{}{path}", self.authority())
    }
}

impl KeysUrl {
    /// Host and port as a Host field has them: without the scheme's own port.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let default = if self.is_secure { 443 } else { 80 };
        if self.port == default { host } else { format!("{host}:{}", self.port) }
    }
}

/// Which API keys pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The field that has the key, in lower case.
    pub header: String,
    /// Who has which key.
    pub book: KeyBook,
    /// The field by which the endpoint is told the client's name, in lower case.
    pub forward_identity: Option<String>,
    /// Whether the endpoint gets the key too.
    pub forward_credentials: bool,
    /// What clients are told that they need one for.
    pub realm: String,
}

/// Which users with their passwords pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasicAuth {
    /// Who has which password.
    pub book: UserBook,
    /// The field by which the endpoint is told the user's name, in lower case.
    pub forward_user: Option<String>,
    /// Whether the endpoint gets name and password too.
    pub forward_credentials: bool,
    /// What clients are told that they need a password for.
    pub realm: String,
}

/// Which service is asked whether a request may pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalAuth {
    /// How it is asked.
    pub rules: ExternalRules,
    /// The index of its cluster.
    pub cluster: usize,
}
