//! An issuer that has a key of each kind, and signs by every algorithm of RFC 7518 and RFC 8037 that is in use.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding,
};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::RSAPublicKey;

use super::issuer::{in_seconds, signed};

/// All algorithms, and the key that each is by.
pub(crate) const ALGORITHMS: [(&str, &str); 12] = [
    ("HS256", "secret"),
    ("HS384", "secret"),
    ("HS512", "secret"),
    ("RS256", "rsa"),
    ("RS384", "rsa"),
    ("RS512", "rsa"),
    ("PS256", "rsa"),
    ("PS384", "rsa"),
    ("PS512", "rsa"),
    ("ES256", "p256"),
    ("ES384", "p384"),
    ("EdDSA", "ed25519"),
];

/// The keys.
pub(crate) struct Signers {
    secret: [u8; 64],
    rsa: RsaPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
}

impl Signers {
    /// New ones.
    pub(crate) fn new() -> Self {
        Self {
            secret: [b's'; 64],
            rsa: RsaPair::generate(KeySize::Rsa2048).expect("a key"),
            p256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"),
            p384: EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key"),
            ed25519: Ed25519KeyPair::generate().expect("a key"),
        }
    }

    /// A key set (RFC 7517) of these keys, which it calls by their names.
    pub(crate) fn key_set(&self, names: &[&str]) -> String {
        let keys: Vec<_> = names.iter().map(|name| self.jwk(name)).collect();
        format!(r#"{{"keys":[{}]}}"#, keys.join(","))
    }

    fn jwk(&self, name: &str) -> String {
        let point = |curve: &str, pair: &EcdsaKeyPair| {
            // SEC 1 section 2.3.3: 4, and both coordinates.
            let (x, y) = pair.public_key().as_ref()[1..].split_at((pair.public_key().as_ref().len() - 1) / 2);
            format!(r#""kty":"EC","crv":"{curve}","x":"{}","y":"{}""#, encoded(x), encoded(y))
        };
        let members = match name {
            "secret" => format!(r#""kty":"oct","k":"{}""#, encoded(&self.secret)),
            "rsa" => {
                let key = RSAPublicKey::from_der(self.rsa.public_key().as_ref()).expect("PKCS #1").1;
                // RFC 7518 section 6.3.1.1: without the zero that tells DER that it is not negative.
                let n = key.modulus.strip_prefix(&[0]).unwrap_or(key.modulus);
                format!(r#""kty":"RSA","n":"{}","e":"{}""#, encoded(n), encoded(key.exponent))
            }
            "p256" => point("P-256", &self.p256),
            "p384" => point("P-384", &self.p384),
            _ => format!(r#""kty":"OKP","crv":"Ed25519","x":"{}""#, encoded(self.ed25519.public_key().as_ref())),
        };
        format!(r#"{{"kid":"{name}",{members}}}"#)
    }

    /// A public key in PEM.
    pub(crate) fn pem(&self, name: &str) -> String {
        let der = match name {
            "rsa" => self.rsa.public_key().as_der().expect("DER").as_ref().to_vec(),
            "p256" => self.p256.public_key().as_der().expect("DER").as_ref().to_vec(),
            "p384" => self.p384.public_key().as_der().expect("DER").as_ref().to_vec(),
            _ => self.ed25519.public_key().as_der().expect("DER").as_ref().to_vec(),
        };
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64.encode(&der))
    }

    /// A token for five minutes and the audience `api`, signed by an algorithm.
    pub(crate) fn token(&self, algorithm: &str) -> String {
        self.token_as(algorithm, algorithm)
    }

    /// The same, which says that it is signed by another algorithm.
    pub(crate) fn token_as(&self, algorithm: &str, says: &str) -> String {
        let payload = format!(r#"{{"aud":"api","sub":"{algorithm}","exp":{}}}"#, in_seconds(300));
        signed(&format!(r#"{{"alg":"{says}"}}"#), &payload, |message| self.signature(algorithm, message))
    }

    fn signature(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let mac = |how| hmac::sign(&hmac::Key::new(how, &self.secret), message).as_ref().to_vec();
        let random = SystemRandom::new();
        match algorithm {
            "HS256" => mac(hmac::HMAC_SHA256),
            "HS384" => mac(hmac::HMAC_SHA384),
            "HS512" => mac(hmac::HMAC_SHA512),
            "RS256" => self.by_rsa(&RSA_PKCS1_SHA256, message),
            "RS384" => self.by_rsa(&RSA_PKCS1_SHA384, message),
            "RS512" => self.by_rsa(&RSA_PKCS1_SHA512, message),
            "PS256" => self.by_rsa(&RSA_PSS_SHA256, message),
            "PS384" => self.by_rsa(&RSA_PSS_SHA384, message),
            "PS512" => self.by_rsa(&RSA_PSS_SHA512, message),
            "ES256" => self.p256.sign(&random, message).expect("signed").as_ref().to_vec(),
            "ES384" => self.p384.sign(&random, message).expect("signed").as_ref().to_vec(),
            _ => self.ed25519.sign(message).as_ref().to_vec(),
        }
    }

    fn by_rsa(&self, how: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.rsa.public_modulus_len()];
        self.rsa.sign(how, &SystemRandom::new(), message, &mut signature).expect("signed");
        signature
    }
}

fn encoded(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}
