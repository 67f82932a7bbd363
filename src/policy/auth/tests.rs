//! What all tests of credentials need: keys that sign.

mod books;
mod caches;
mod keys;
mod passwords;
mod refusals;
mod vectors;

use std::sync::LazyLock;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding,
};
use data_encoding::{BASE64, BASE64URL_NOPAD};

use super::*;

const NOW: u64 = 1_700_000_000;
const SECRET: [u8; 64] = [7; 64];

static RSA: LazyLock<RsaPair> = LazyLock::new(|| RsaPair::generate(KeySize::Rsa2048).expect("a key"));
static P256: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"));
static P384: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key"));
static ED25519: LazyLock<Ed25519KeyPair> = LazyLock::new(|| Ed25519KeyPair::generate().expect("a key"));

fn sign_rsa(how: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; RSA.public_modulus_len()];
    RSA.sign(how, &SystemRandom::new(), message, &mut signature).expect("signed");
    signature
}

/// What the issuer signs `message` with.
fn sign(algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
    let mac = |how| hmac::sign(&hmac::Key::new(how, &SECRET), message).as_ref().to_vec();
    let random = SystemRandom::new();
    match algorithm {
        Algorithm::Hs256 => mac(hmac::HMAC_SHA256),
        Algorithm::Hs384 => mac(hmac::HMAC_SHA384),
        Algorithm::Hs512 => mac(hmac::HMAC_SHA512),
        Algorithm::Rs256 => sign_rsa(&RSA_PKCS1_SHA256, message),
        Algorithm::Rs384 => sign_rsa(&RSA_PKCS1_SHA384, message),
        Algorithm::Rs512 => sign_rsa(&RSA_PKCS1_SHA512, message),
        Algorithm::Ps256 => sign_rsa(&RSA_PSS_SHA256, message),
        Algorithm::Ps384 => sign_rsa(&RSA_PSS_SHA384, message),
        Algorithm::Ps512 => sign_rsa(&RSA_PSS_SHA512, message),
        Algorithm::Es256 => P256.sign(&random, message).expect("signed").as_ref().to_vec(),
        Algorithm::Es384 => P384.sign(&random, message).expect("signed").as_ref().to_vec(),
        Algorithm::EdDsa => ED25519.sign(message).as_ref().to_vec(),
    }
}

/// A public key in PEM.
fn pem(family: Family) -> String {
    let der = match family {
        Family::Rsa => RSA.public_key().as_der().expect("DER").as_ref().to_vec(),
        Family::P256 => P256.public_key().as_der().expect("DER").as_ref().to_vec(),
        Family::P384 => P384.public_key().as_der().expect("DER").as_ref().to_vec(),
        Family::Ed25519 => ED25519.public_key().as_der().expect("DER").as_ref().to_vec(),
        Family::Hmac => panic!("a secret has no PEM"),
    };
    armour("PUBLIC KEY", &der)
}

fn armour(label: &str, der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("ASCII")).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// The issuer's key of a family.
fn key(family: Family) -> Key {
    match family {
        Family::Hmac => Key::secret(&SECRET).expect("long enough"),
        Family::Rsa | Family::P256 | Family::P384 | Family::Ed25519 => {
            keys_of_pem(pem(family).as_bytes()).expect("a good key").remove(0)
        }
    }
}

const FAMILIES: [Family; 5] = [Family::Hmac, Family::Rsa, Family::P256, Family::P384, Family::Ed25519];

/// A token of this header and payload, signed over whatever they are.
fn token_of(algorithm: Algorithm, header: &str, payload: &str) -> String {
    let signed =
        format!("{}.{}", BASE64URL_NOPAD.encode(header.as_bytes()), BASE64URL_NOPAD.encode(payload.as_bytes()));
    let signature = sign(algorithm, signed.as_bytes());
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
}

fn token(algorithm: Algorithm, payload: &str) -> String {
    token_of(algorithm, &format!(r#"{{"alg":"{}","typ":"JWT"}}"#, algorithm.name()), payload)
}

fn boxes(texts: &[&str]) -> Vec<Box<str>> {
    texts.iter().map(|text| Box::from(*text)).collect()
}

/// Rules that accept every algorithm, and anybody.
fn open() -> Rules {
    Rules { algorithms: Algorithm::ALL.to_vec(), ..Rules::default() }
}

fn verifier(rules: Rules, family: Family) -> Verifier {
    Verifier::new(rules, KeySet::new(vec![key(family)]))
}

/// A payload that holds for a minute.
fn good() -> String {
    format!(r#"{{"sub":"alice","exp":{}}}"#, NOW + 60)
}
