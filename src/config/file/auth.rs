//! Policies of authentication as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::choices::AlgorithmName;
use super::super::keys_url::KeysUrl;
use super::super::leaf::Leaf;
use super::super::patterns::{FieldName, ProbePath, Realm};
use super::super::rates::OnAuthErrorName;
use super::super::units::{Span, Switch, Text, Wait};
use super::compound::{Named, ScalarOr};

/// A value, or several.
pub(in crate::config) type TextsFile = ScalarOr<Text, Vec<Leaf<Text>>>;

/// Which bearer tokens (JWT, RFC 7519) pass; 401 for all else. One of `jwks_url`, `keys_file`, `public_key_file` and
/// `secret_file` says by which keys.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `jwks_url` or a file of keys")]
pub(in crate::config) struct JwtFile {
    /// Who must have issued a token (`iss`); anybody who has the key when left out.
    pub(in crate::config) issuer: Option<Leaf<Text>>,
    /// For whom a token must be (`aud`), one of these; anybody when left out.
    pub(in crate::config) audience: Option<TextsFile>,
    /// How a token may be signed; as its keys allow when left out.
    #[schemars(length(min = 1))]
    pub(in crate::config) algorithms: Option<Vec<Leaf<AlgorithmName>>>,
    /// Scopes that a token must have, all of them (`scope` or `scp`); 403 for one without.
    pub(in crate::config) scopes: Option<Vec<Leaf<Text>>>,
    /// Where the issuer publishes its keys: a JWKS (RFC 7517), `https://` or `http://`.
    pub(in crate::config) jwks_url: Option<Leaf<KeysUrl>>,
    /// With `jwks_url`: a file of the certificates that may sign that of the URL, in PEM; the system's when left out.
    pub(in crate::config) jwks_ca: Option<Leaf<Text>>,
    /// With `jwks_url`: time from one look at the keys to the next, 10m.
    pub(in crate::config) refresh: Option<Leaf<Wait>>,
    /// A file with a JWKS.
    pub(in crate::config) keys_file: Option<Leaf<Text>>,
    /// A file of public keys or certificates in PEM.
    pub(in crate::config) public_key_file: Option<Leaf<Text>>,
    /// A file with the secret of HS256, HS384 or HS512, a line end behind it left out; at least 32 bytes.
    pub(in crate::config) secret_file: Option<Leaf<Text>>,
    /// What clocks may differ by, 30s.
    pub(in crate::config) leeway: Option<Leaf<Span>>,
    /// Claims, and the fields by which the endpoint is told of them. Clients cannot send these fields themselves.
    pub(in crate::config) forward_claims: Option<Named<Leaf<FieldName>>>,
    /// Whether the endpoint gets the token too, true.
    pub(in crate::config) forward_credentials: Option<Leaf<Switch>>,
    /// What clients are told that they need a token for; the name of the policy.
    pub(in crate::config) realm: Option<Leaf<Realm>>,
}

/// Which API keys pass; 401 for all else.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `header` and `keys_file`")]
pub(in crate::config) struct ApiKeyFile {
    /// The field that has the key, `x-api-key`.
    pub(in crate::config) header: Option<Leaf<FieldName>>,
    /// A file in YAML: the name of each client, and the SHA-256 of its key in hexadecimal, or a list of them.
    #[schemars(required)]
    pub(in crate::config) keys_file: Option<Leaf<Text>>,
    /// The field by which the endpoint is told the client's name. Clients cannot send it themselves.
    pub(in crate::config) forward_identity: Option<Leaf<FieldName>>,
    /// Whether the endpoint gets the key too, false.
    pub(in crate::config) forward_credentials: Option<Leaf<Switch>>,
    /// What clients are told that they need a key for; the name of the policy.
    pub(in crate::config) realm: Option<Leaf<Realm>>,
}

/// Which users with their passwords pass (Basic, RFC 7617); 401 for all else.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `users_file`")]
pub(in crate::config) struct BasicAuthFile {
    /// A file as `htpasswd -B` writes it: a name, a colon and a hash by bcrypt or Argon2 in each line.
    #[schemars(required)]
    pub(in crate::config) users_file: Option<Leaf<Text>>,
    /// The field by which the endpoint is told the user's name. Clients cannot send it themselves.
    pub(in crate::config) forward_user: Option<Leaf<FieldName>>,
    /// Whether the endpoint gets name and password too, false.
    pub(in crate::config) forward_credentials: Option<Leaf<Switch>>,
    /// What clients are told that they need a password for; the name of the policy.
    pub(in crate::config) realm: Option<Leaf<Realm>>,
}

/// Another service is asked whether a request may pass: 2xx lets it pass, 4xx and redirects go to the client.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `cluster`")]
pub(in crate::config) struct ExternalAuthFile {
    /// The cluster that is asked.
    #[schemars(required)]
    pub(in crate::config) cluster: Option<Leaf<Text>>,
    /// The path, and perhaps a query, that is asked for; `/`.
    pub(in crate::config) path: Option<Leaf<ProbePath>>,
    /// Longest wait for an answer, 500ms.
    pub(in crate::config) timeout: Option<Leaf<Wait>>,
    /// Fields of the request that the service is told, `[authorization]`.
    pub(in crate::config) forward_headers: Option<Vec<Leaf<FieldName>>>,
    /// Fields of its answer that the endpoint is told, none. Clients cannot send them themselves.
    pub(in crate::config) response_headers: Option<Vec<Leaf<FieldName>>>,
    /// How long it is remembered that a request may pass; left out, every request is asked about.
    pub(in crate::config) cache: Option<AuthCacheFile>,
    /// Without an answer: `deny` the request, the default, or `allow` it.
    pub(in crate::config) on_error: Option<Leaf<OnAuthErrorName>>,
}

/// What is remembered of a service's answers.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `for`")]
pub(in crate::config) struct AuthCacheFile {
    /// How long a request may pass, at most 1h.
    #[serde(rename = "for")]
    #[schemars(required)]
    pub(in crate::config) time: Option<Leaf<Wait>>,
    /// Fields that tell requests apart, those of `forward_headers`.
    #[schemars(length(min = 1))]
    pub(in crate::config) key: Option<Vec<Leaf<FieldName>>>,
}
