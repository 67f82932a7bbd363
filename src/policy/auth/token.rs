//! A token in its compact form (RFC 7515 section 7.1), and the field it comes in.

use std::borrow::Cow;

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::algorithm::Algorithm;
use super::refusal::Refusal;
use crate::limits;

/// What `Authorization: Bearer ...` holds behind the scheme (RFC 6750 section 2.1); `None` for another scheme.
#[must_use]
pub fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    credentials(authorization, b"bearer")
}

/// What stands behind `scheme`, which is in lower case (RFC 9110 section 11.4).
pub(super) fn credentials<'a>(authorization: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let (name, rest) = authorization.split_at_checked(scheme.len())?;
    match rest {
        _ if !name.eq_ignore_ascii_case(scheme) => None,
        [] => Some(rest),
        [b' ', ..] => Some(rest.trim_ascii_start()),
        _ => None,
    }
}

/// A token whose form is right and of which nothing is proven.
#[derive(Clone, Debug)]
pub struct Token {
    algorithm: Algorithm,
    kid: Option<Box<str>>,
    /// Bytes of the text that the signature is over.
    signed: usize,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

/// RFC 7515 section 4.1. What would let a token bring its own key (`jwk`, `jku`, `x5u`, `x5c`) is not looked at.
#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow, default)]
    kid: Option<Cow<'a, str>>,
    #[serde(default)]
    crit: Asked,
}

/// Whether a member is there, whatever its value.
#[derive(Default)]
struct Asked(bool);

impl<'de> Deserialize<'de> for Asked {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(from).map(|_| Self(true))
    }
}

impl Token {
    /// Takes a token apart.
    ///
    /// # Errors
    /// It is too long, its form is wrong, or its header asks for what there is not.
    pub fn parse(text: &[u8]) -> Result<Self, Refusal> {
        if text.len() > limits::TOKEN_BYTES {
            return Err(Refusal::TooLong);
        }
        let mut parts = text.split(|&byte| byte == b'.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::Malformed);
        };
        let header_json = decode(header)?;
        // An array would do for the library.
        if !is_object(&header_json) {
            return Err(Refusal::Malformed);
        }
        let read: Header<'_> = serde_json::from_slice(&header_json).map_err(|_| Refusal::Malformed)?;
        if read.crit.0 {
            return Err(Refusal::Critical);
        }
        let Some(algorithm) = Algorithm::parse(&read.alg) else {
            let is_none = read.alg.eq_ignore_ascii_case("none");
            return Err(if is_none { Refusal::Unsigned } else { Refusal::AlgorithmUnknown });
        };
        Ok(Self {
            algorithm,
            kid: read.kid.as_deref().map(Box::from),
            signed: header.len() + 1 + payload.len(),
            payload: decode(payload)?,
            signature: decode(signature)?,
        })
    }

    /// The algorithm that it says it is signed with.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key that it says it is signed with.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Bytes of its text that the signature is over.
    #[must_use]
    pub const fn signed(&self) -> usize {
        self.signed
    }

    /// What it claims, as JSON.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Its signature.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}

/// Whether JSON is an object, as far as its first character says.
fn is_object(json: &[u8]) -> bool {
    json.trim_ascii_start().first() == Some(&b'{')
}

/// Base64url without padding, white space or stray bits: of each part there is one spelling.
fn decode(part: &[u8]) -> Result<Vec<u8>, Refusal> {
    if part.is_empty() {
        return Err(Refusal::Malformed);
    }
    BASE64URL_NOPAD.decode(part).map_err(|_| Refusal::Malformed)
}
