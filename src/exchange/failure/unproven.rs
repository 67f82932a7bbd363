//! Every way in which a client fails to prove who it is.

use super::{GrpcStatus, Verdict, client, gateway};
use crate::policy::auth::{LoginError, Refusal};

/// What is wrong with what a client brought to prove who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unproven {
    /// It brought no token and no key.
    Missing,
    /// It brought several.
    Ambiguous,
    /// Its token does not pass.
    Token(Refusal),
    /// Its token does not have the scopes.
    Scope,
    /// Its API key is nobody's.
    ApiKey,
    /// Its name and password are none.
    Login(LoginError),
    /// Its password is not that of the user that it names.
    Password,
    /// Too many passwords wait to be tried, or this one has for too long.
    Untried,
    /// Another service says that it may not.
    Service,
    /// Another service that is to say so does not.
    ServiceSilent,
    /// The keys that its token is verified by are not there yet.
    KeysMissing,
}

impl Unproven {
    /// One of each; what is wrong with a token does not make a new kind.
    pub const KINDS: [Self; 11] = [
        Self::Missing,
        Self::Ambiguous,
        Self::Token(Refusal::Malformed),
        Self::Scope,
        Self::ApiKey,
        Self::KeysMissing,
        Self::Login(LoginError::NotBase64),
        Self::Password,
        Self::Untried,
        Self::Service,
        Self::ServiceSilent,
    ];

    /// What a token that does not pass is.
    #[must_use]
    pub fn of_token(refusal: Refusal) -> Self {
        if refusal == Refusal::ScopeMissing { Self::Scope } else { Self::Token(refusal) }
    }

    /// Its place in [`Unproven::KINDS`].
    pub(super) const fn place(self) -> usize {
        match self {
            Self::Missing => 0,
            Self::Ambiguous => 1,
            Self::Token(_) => 2,
            Self::Scope => 3,
            Self::ApiKey => 4,
            Self::KeysMissing => 5,
            Self::Login(_) => 6,
            Self::Password => 7,
            Self::Untried => 8,
            Self::Service => 9,
            Self::ServiceSilent => 10,
        }
    }

    /// What follows from it.
    pub(super) const fn verdict(self) -> Verdict {
        match self {
            Self::Missing => client(401, "credentials_missing", "credentials are required"),
            Self::Ambiguous => client(400, "credentials_ambiguous", "credentials are there twice"),
            Self::Token(_) => client(401, "token_refused", "the token does not pass"),
            Self::Scope => client(403, "scope_missing", "the token does not have the scope for this"),
            Self::ApiKey => client(401, "api_key_refused", "the API key does not pass"),
            Self::KeysMissing => gateway(503, "keys_missing", "tokens cannot be verified now"),
            Self::Login(_) => client(401, "login_malformed", "this is no name and password"),
            Self::Password => client(401, "password_refused", "the password does not pass"),
            Self::Service => client(403, "auth_refused", "refused by the service of authentication"),
            Self::ServiceSilent => gateway(503, "auth_unavailable", "the service of authentication is unavailable"),
            Self::Untried => gateway(503, "passwords_busy", "too many passwords wait to be verified"),
        }
    }

    /// The status of a call that fails so.
    pub(super) const fn grpc_status(self) -> GrpcStatus {
        match self {
            Self::Missing | Self::Token(_) | Self::ApiKey | Self::Login(_) | Self::Password => {
                GrpcStatus::Unauthenticated
            }
            Self::Ambiguous => GrpcStatus::Internal,
            Self::Scope | Self::Service => GrpcStatus::PermissionDenied,
            Self::KeysMissing | Self::Untried | Self::ServiceSilent => GrpcStatus::Unavailable,
        }
    }

    /// The error code of a challenge (RFC 6750 section 3.1), empty for none; `None` when the client is not to try again.
    pub(in crate::exchange) const fn challenge(self) -> Option<&'static str> {
        match self {
            Self::Missing | Self::ApiKey | Self::Login(_) | Self::Password => Some(""),
            Self::Ambiguous => Some("invalid_request"),
            Self::Token(_) => Some("invalid_token"),
            Self::Scope => Some("insufficient_scope"),
            Self::KeysMissing | Self::Untried | Self::Service | Self::ServiceSilent => None,
        }
    }

    /// What is wrong with a token, for the log.
    pub(super) const fn detail(self) -> &'static str {
        match self {
            Self::Token(refusal) => refusal.label(),
            Self::Login(why) => why.label(),
            Self::Missing
            | Self::Ambiguous
            | Self::Scope
            | Self::ApiKey
            | Self::KeysMissing
            | Self::Password
            | Self::Untried
            | Self::Service
            | Self::ServiceSilent => "",
        }
    }
}
