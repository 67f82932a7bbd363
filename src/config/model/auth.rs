//! The checked form of policies of authentication.

use crate::policy::auth::{KeyBook, KeySet, Rules};

/// Which bearer tokens pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Jwt {
    /// What is wanted of them.
    pub rules: Rules,
    /// By which keys they are verified.
    pub keys: KeySet,
    /// Whether the endpoint gets the token too.
    pub forward_credentials: bool,
    /// What clients are told that they need one for.
    pub realm: String,
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
