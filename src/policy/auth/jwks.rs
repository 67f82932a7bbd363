//! A set of keys as issuers publish it (RFC 7517 section 5).

use core::fmt;

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde_json::Value;

use super::algorithm::{Algorithm, Family};
use super::key::{Key, KeyError, KeySet};
use crate::limits;

/// Where a document comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file of the operator's, which may hold secrets (`oct`).
    Local,
    /// An issuer's URL: what it publishes is no secret, so one that it holds is not used.
    Issuer,
}

/// Why a document is no set of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwksError {
    /// It is longer than any that is looked at.
    TooLong,
    /// It is a page, where JSON was expected.
    Html,
    /// It is no JSON, or has no list of keys.
    NotJwks,
    /// It has more keys than any policy may.
    TooMany,
    /// None of its keys can be used, of which there are so many; the last reason of one.
    NoneUsable(usize, Option<KeyError>),
}

impl fmt::Display for JwksError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the key set is larger than {} KiB", limits::JWKS_BYTES >> 10),
            Self::Html => f.write_str("this is a page (HTML) and no key set (JSON)"),
            Self::NotJwks => f.write_str("this is no key set: JSON with a list `keys` (RFC 7517)"),
            Self::TooMany => write!(f, "the key set has more than {} keys", limits::JWKS_KEYS),
            Self::NoneUsable(0, _) => f.write_str("the key set is empty"),
            Self::NoneUsable(keys, None) => {
                write!(f, "none of the {keys} keys of the set is one that signs tokens by an algorithm known here")
            }
            Self::NoneUsable(keys, Some(why)) => write!(f, "none of the {keys} keys of the set can be used: {why}"),
        }
    }
}

impl core::error::Error for JwksError {}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

/// RFC 7517 section 4, RFC 7518 section 6, RFC 8037 section 2.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
}

/// The keys of a document that can be used, and how many cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwks {
    /// The keys, in their order.
    pub keys: KeySet,
    /// Keys that were passed over: for encryption, of unknown kinds, damaged.
    pub skipped: usize,
}

impl Jwks {
    /// Reads a document; what is not understood of it is passed over (RFC 7517 section 5).
    ///
    /// # Errors
    /// It is none, or no key of it can be used.
    pub fn parse(json: &[u8], origin: Origin) -> Result<Self, JwksError> {
        if json.len() > limits::JWKS_BYTES {
            return Err(JwksError::TooLong);
        }
        let document: Document = serde_json::from_slice(json).map_err(|_| {
            if json.trim_ascii_start().first() == Some(&b'<') { JwksError::Html } else { JwksError::NotJwks }
        })?;
        if document.keys.len() > limits::JWKS_KEYS {
            return Err(JwksError::TooMany);
        }
        let (mut keys, mut why, mut skipped) = (Vec::new(), None, 0);
        for value in document.keys {
            let read = serde_json::from_value::<Jwk>(value).ok().map(|jwk| jwk.key(origin));
            match read {
                Some(Ok(Some(key))) => keys.push(key),
                Some(Err(error)) => (why, skipped) = (Some(error), skipped + 1),
                Some(Ok(None)) | None => skipped += 1,
            }
        }
        if keys.is_empty() {
            return Err(JwksError::NoneUsable(skipped, why));
        }
        Ok(Self { keys: KeySet::new(keys), skipped })
    }
}

impl Jwk {
    /// The key, `None` for one that does not sign tokens or is of a kind unknown.
    fn key(&self, origin: Origin) -> Result<Option<Key>, KeyError> {
        let signs = self.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
            && self.key_ops.as_ref().is_none_or(|uses| uses.iter().any(|one| one == "verify"));
        if !signs {
            return Ok(None);
        }
        let Some(key) = self.material(origin)? else { return Ok(None) };
        let key = match &self.kid {
            Some(kid) => key.with_kid(kid),
            None => key,
        };
        match self.alg.as_deref() {
            None => Ok(Some(key)),
            Some(name) => Ok(Algorithm::parse(name).and_then(|algorithm| key.only_for(algorithm))),
        }
    }

    fn material(&self, origin: Origin) -> Result<Option<Key>, KeyError> {
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => Key::rsa(&member(self.n.as_ref())?, &member(self.e.as_ref())?).map(Some),
            ("EC", Some("P-256")) => self.point(Family::P256, 32).map(Some),
            ("EC", Some("P-384")) => self.point(Family::P384, 48).map(Some),
            ("OKP", Some("Ed25519")) => Key::on_curve(Family::Ed25519, &member(self.x.as_ref())?).map(Some),
            ("oct", _) if origin == Origin::Local => Key::secret(&member(self.k.as_ref())?).map(Some),
            _ => Ok(None),
        }
    }

    /// RFC 7518 section 6.2.1.2: both coordinates have the full length of the curve.
    fn point(&self, family: Family, length: usize) -> Result<Key, KeyError> {
        let (x, y) = (member(self.x.as_ref())?, member(self.y.as_ref())?);
        if x.len() != length || y.len() != length {
            return Err(KeyError::Damaged);
        }
        Key::on_curve(family, &[&[4], &x[..], &y[..]].concat())
    }
}

fn member(text: Option<&String>) -> Result<Vec<u8>, KeyError> {
    let text = text.ok_or(KeyError::Damaged)?;
    BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| KeyError::Damaged)
}
