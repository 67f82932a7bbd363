//! Public keys in PEM, as they are or in a certificate.

use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::public_key::{PublicKey, RSAPublicKey};
use x509_parser::x509::SubjectPublicKeyInfo;

use super::algorithm::Family;
use super::key::{Key, KeyError};

/// RFC 8410 section 3.
const ED25519: &str = "1.3.101.112";

/// The public keys of a file, in their order: `PUBLIC KEY`, `RSA PUBLIC KEY` and `CERTIFICATE`.
///
/// # Errors
/// There is none, or one that cannot be used.
pub fn keys_of_pem(pem: &[u8]) -> Result<Vec<Key>, KeyError> {
    let mut keys = Vec::new();
    for section in Pem::iter_from_buffer(pem) {
        let section = section.map_err(|_| KeyError::Damaged)?;
        keys.push(match section.label.as_str() {
            "PUBLIC KEY" => key_of_spki(&section.contents)?,
            "RSA PUBLIC KEY" => key_of_rsa(&section.contents)?,
            "CERTIFICATE" => {
                let (_, parsed) = X509Certificate::from_der(&section.contents).map_err(|_| KeyError::Damaged)?;
                key_of(parsed.public_key())?
            }
            label if label.ends_with("PRIVATE KEY") => return Err(KeyError::Private),
            _ => return Err(KeyError::KindUnknown),
        });
    }
    if keys.is_empty() { Err(KeyError::Absent) } else { Ok(keys) }
}

fn key_of_spki(der: &[u8]) -> Result<Key, KeyError> {
    let (rest, spki) = SubjectPublicKeyInfo::from_der(der).map_err(|_| KeyError::Damaged)?;
    if rest.is_empty() { key_of(&spki) } else { Err(KeyError::Damaged) }
}

fn key_of_rsa(der: &[u8]) -> Result<Key, KeyError> {
    let (rest, rsa) = RSAPublicKey::from_der(der).map_err(|_| KeyError::Damaged)?;
    if rest.is_empty() { Key::rsa(rsa.modulus, rsa.exponent) } else { Err(KeyError::Damaged) }
}

fn key_of(spki: &SubjectPublicKeyInfo<'_>) -> Result<Key, KeyError> {
    if spki.algorithm.algorithm.to_id_string() == ED25519 {
        return Key::on_curve(Family::Ed25519, &spki.subject_public_key.data);
    }
    match spki.parsed().map_err(|_| KeyError::Damaged)? {
        PublicKey::RSA(rsa) => Key::rsa(rsa.modulus, rsa.exponent),
        PublicKey::EC(point) => {
            let curve = spki.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
            // RFC 5480 section 2.1.1.1.
            let family = match curve.map(|curve| curve.to_id_string()).as_deref() {
                Some("1.2.840.10045.3.1.7") => Family::P256,
                Some("1.3.132.0.34") => Family::P384,
                Some(_) | None => return Err(KeyError::KindUnknown),
            };
            Key::on_curve(family, point.data())
        }
        PublicKey::DSA(_) | PublicKey::GostR3410(_) | PublicKey::GostR3410_2012(_) | PublicKey::Unknown(_) => {
            Err(KeyError::KindUnknown)
        }
    }
}
