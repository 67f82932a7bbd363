//! Who gives tokens and keys out.

use argon2::password_hash::{PasswordHasher as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};

/// Signs tokens with one key.
pub(crate) struct Issuer {
    kid: String,
    pair: Ed25519KeyPair,
}

impl Issuer {
    /// With a new key, which tokens and key sets call `kid`.
    pub(crate) fn new(kid: &str) -> Self {
        Self { kid: kid.to_owned(), pair: Ed25519KeyPair::generate().expect("a key") }
    }

    /// Its key as an element of a key set.
    pub(crate) fn jwk(&self) -> String {
        let x = BASE64URL_NOPAD.encode(self.pair.public_key().as_ref());
        format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"{}","x":"{x}"}}"#, self.kid)
    }

    /// A token with these claims, besides an expiry in five minutes.
    pub(crate) fn token(&self, claims: &str) -> String {
        let comma = if claims.is_empty() { "" } else { "," };
        self.token_of(&format!(r#"{{{claims}{comma}"exp":{}}}"#, in_seconds(300)))
    }

    /// A token of this payload.
    pub(crate) fn token_of(&self, payload: &str) -> String {
        let header = format!(r#"{{"alg":"EdDSA","kid":"{}"}}"#, self.kid);
        signed(&header, payload, |message| self.pair.sign(message).as_ref().to_vec())
    }
}

/// A key set.
pub(crate) fn key_set(issuers: &[&Issuer]) -> String {
    let keys: Vec<_> = issuers.iter().map(|issuer| issuer.jwk()).collect();
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

/// The second since 1970 that is so many from now.
pub(crate) fn in_seconds(seconds: i64) -> i64 {
    i64::try_from(ringgate::clock::unix_ms() / 1000).expect("a time of this era") + seconds
}

/// A token by HS256.
pub(crate) fn token_by_secret(secret: &[u8], payload: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    signed(r#"{"alg":"HS256"}"#, payload, |message| hmac::sign(&key, message).as_ref().to_vec())
}

/// What stands for an API key in a file.
pub(crate) fn hash(key: &str) -> String {
    HEXLOWER.encode(digest(&SHA256, key.as_bytes()).as_ref())
}

/// What stands for a password in a file, as cheap as it may be.
pub(crate) fn cheap_hash(password: &str) -> String {
    password_hash(password, 8, 1)
}

/// The same, for which it takes some ten milliseconds to try a password.
pub(crate) fn slow_hash(password: &str) -> String {
    password_hash(password, 512, 3)
}

fn password_hash(password: &str, kib: u32, passes: u32) -> String {
    let params = Params::new(kib, passes, 1, None).expect("costs that may be");
    let salt = SaltString::encode_b64(b"salt of a test").expect("a salt");
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    hasher.hash_password(password.as_bytes(), &salt).expect("a hash").to_string()
}

/// A token of this header and payload, and of what `sign` makes of both.
pub(crate) fn signed(header: &str, payload: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let encoded = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    let message = format!("{}.{}", encoded(header), encoded(payload));
    let signature = BASE64URL_NOPAD.encode(&sign(message.as_bytes()));
    format!("{message}.{signature}")
}
