//! TLS as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::addresses::ServerName;
use super::super::choices::{ClientAuthName, TlsVersionName};
use super::super::leaf::Leaf;
use super::super::units::{Switch, Text};

/// How the connections of a listener are secured.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `certificates`")]
pub(in crate::config) struct ListenerTlsFile {
    /// Certificates, chosen by the name that the client asks for; the first one where none is for it.
    #[schemars(required, length(min = 1))]
    pub(in crate::config) certificates: Option<Vec<CertificateFile>>,
    /// The oldest version that is spoken, `"1.2"` or `"1.3"`; 1.2 unless given.
    pub(in crate::config) min_version: Option<Leaf<TlsVersionName>>,
    /// A file of the certificates that must have signed a client's, in PEM; clients need none when left out.
    pub(in crate::config) client_ca: Option<Leaf<Text>>,
    /// With `client_ca`: a file of the lists, in PEM, by which those who signed take certificates back. Each of them must have
    /// one; whom it names is refused.
    pub(in crate::config) client_crl: Option<Leaf<Text>>,
    /// With `client_ca`: whether a client without a certificate is refused (`required`) or served (`optional`); required.
    pub(in crate::config) client_auth: Option<Leaf<ClientAuthName>>,
}

/// A certificate and its key.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping with `cert` and `key`")]
pub(in crate::config) struct CertificateFile {
    /// A file in PEM: the certificate, and behind it those that sign it.
    #[schemars(required)]
    pub(in crate::config) cert: Option<Leaf<Text>>,
    /// A file in PEM: its private key, without a passphrase.
    #[schemars(required)]
    pub(in crate::config) key: Option<Leaf<Text>>,
}

/// How connections to `https` endpoints are secured.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping")]
pub(in crate::config) struct ClusterTlsFile {
    /// A file of the certificates that may sign an endpoint's, in PEM; the system's when left out.
    pub(in crate::config) ca: Option<Leaf<Text>>,
    /// A file in PEM: the gateway's own certificate, for endpoints that ask for one.
    pub(in crate::config) cert: Option<Leaf<Text>>,
    /// A file in PEM: the private key of `cert`.
    pub(in crate::config) key: Option<Leaf<Text>>,
    /// The name that an endpoint's certificate must have, the host of its URL.
    pub(in crate::config) server_name: Option<Leaf<ServerName>>,
    /// Whether any certificate will do, false.
    pub(in crate::config) insecure_skip_verify: Option<Leaf<Switch>>,
}
