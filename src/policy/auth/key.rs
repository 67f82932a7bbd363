//! Keys that verify, each for the algorithms of its own family and no other.

use core::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::ParsedPublicKey;

use super::algorithm::{Algorithm, Family, RsaNumbers};

/// Bits of a modulus that is accepted (RFC 7518 section 3.3).
const RSA_BITS: usize = 2048;
/// Bits of the largest one that the library verifies with.
const RSA_BITS_MAX: usize = 8192;

/// Why a key cannot be used; nothing of the key is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// A secret shorter than the hash of any algorithm (RFC 7518 section 3.2).
    SecretShort,
    /// An RSA key of less than 2048 bits, or of more than 8192.
    RsaSize,
    /// The numbers or the point are none.
    Damaged,
    /// A key of a kind that no algorithm here is for.
    KindUnknown,
    /// A private key where the public one is asked for.
    Private,
    /// There is no key.
    Absent,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SecretShort => "the secret is shorter than 32 bytes, which HS256 needs",
            Self::RsaSize => "an RSA key has less than 2048 bits, or more than 8192",
            Self::Damaged => "a key is damaged",
            Self::KindUnknown => "a key is not of RSA, P-256, P-384 or Ed25519",
            Self::Private => "the file holds a private key, which does not belong here: give the public one",
            Self::Absent => "the file holds no key",
        })
    }
}

impl core::error::Error for KeyError {}

/// One key.
#[derive(Clone)]
pub struct Key {
    kid: Option<Box<str>>,
    family: Family,
    /// What verifies, for each algorithm that the key is for.
    uses: Vec<(Algorithm, Material)>,
    /// Stands for the key where keys are compared.
    mark: [u8; 32],
}

#[derive(Clone)]
enum Material {
    Secret(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("kid", &self.kid).field("family", &self.family).finish_non_exhaustive()
    }
}

impl Key {
    /// A secret, for those of HS256, HS384 and HS512 for which it is long enough.
    ///
    /// # Errors
    /// It is too short for all of them.
    pub fn secret(secret: &[u8]) -> Result<Self, KeyError> {
        let macs = Algorithm::ALL.into_iter().filter_map(|algorithm| Some((algorithm, algorithm.mac()?)));
        let uses: Vec<_> = macs
            .filter(|(_, (_, least))| secret.len() >= *least)
            .map(|(algorithm, (mac, _))| (algorithm, Material::Secret(Box::new(hmac::Key::new(mac, secret)))))
            .collect();
        if uses.is_empty() {
            return Err(KeyError::SecretShort);
        }
        Ok(Self { kid: None, family: Family::Hmac, uses, mark: mark(b"secret", secret) })
    }

    /// A public key of RSA by modulus and exponent, big-endian.
    ///
    /// # Errors
    /// Its size is out of bounds, or the numbers are no key.
    pub fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyError> {
        let modulus = without_zeros(modulus);
        let bits = modulus.len() * 8 - modulus.first().map_or(0, |first| first.leading_zeros() as usize);
        if !(RSA_BITS..=RSA_BITS_MAX).contains(&bits) {
            return Err(KeyError::RsaSize);
        }
        let numbers = RsaNumbers { n: modulus, e: without_zeros(exponent) };
        let mut uses = Vec::new();
        for algorithm in Algorithm::ALL {
            if let Some(parameters) = algorithm.rsa() {
                let parsed = numbers.to_parsed_public_key(parameters).map_err(|_| KeyError::Damaged)?;
                uses.push((algorithm, Material::Public(parsed)));
            }
        }
        let mark = mark(b"rsa", &[modulus, b"/", exponent].concat());
        Ok(Self { kid: None, family: Family::Rsa, uses, mark })
    }

    /// A public key on a curve: the uncompressed point of P-256 and P-384, the 32 bytes of Ed25519.
    ///
    /// # Errors
    /// The bytes are no point of the curve.
    pub fn on_curve(family: Family, point: &[u8]) -> Result<Self, KeyError> {
        let length = match family {
            Family::P256 => 65,
            Family::P384 => 97,
            Family::Ed25519 => 32,
            Family::Hmac | Family::Rsa => return Err(KeyError::KindUnknown),
        };
        if point.len() != length {
            return Err(KeyError::Damaged);
        }
        let algorithm = Algorithm::ALL.into_iter().find(|algorithm| algorithm.family() == family);
        let Some((algorithm, curve)) = algorithm.and_then(|algorithm| Some((algorithm, algorithm.curve()?))) else {
            return Err(KeyError::KindUnknown);
        };
        let parsed = ParsedPublicKey::new(curve, point).map_err(|_| KeyError::Damaged)?;
        Ok(Self { kid: None, family, uses: vec![(algorithm, Material::Public(parsed))], mark: mark(b"point", point) })
    }

    /// The key with the identity by which tokens name it.
    #[must_use]
    pub fn with_kid(mut self, kid: &str) -> Self {
        self.kid = Some(kid.into());
        self
    }

    /// The key for this algorithm alone; `None` when it is not for it.
    #[must_use]
    pub fn only_for(mut self, algorithm: Algorithm) -> Option<Self> {
        self.uses.retain(|(known, _)| *known == algorithm);
        (!self.uses.is_empty()).then_some(self)
    }

    /// The identity by which tokens name it.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Whether it is for this algorithm.
    #[must_use]
    pub fn is_for(&self, algorithm: Algorithm) -> bool {
        self.uses.iter().any(|(known, _)| *known == algorithm)
    }

    /// Whether `signature` is this key's, over `message`; never, when the key is not for `algorithm`.
    #[must_use]
    pub fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        match self.uses.iter().find(|(known, _)| *known == algorithm) {
            // The comparison takes the same time wherever the two differ.
            Some((_, Material::Secret(secret))) => hmac::verify(secret, message, signature).is_ok(),
            Some((_, Material::Public(public))) => public.verify_sig(message, signature).is_ok(),
            None => false,
        }
    }
}

/// Stands for key material without being it.
fn mark(kind: &[u8], material: &[u8]) -> [u8; 32] {
    let mut mark = [0; 32];
    mark.copy_from_slice(digest(&SHA256, &[kind, b":", material].concat()).as_ref());
    mark
}

fn without_zeros(number: &[u8]) -> &[u8] {
    &number[number.iter().take_while(|&&byte| byte == 0).count()..]
}

/// The keys of a policy.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

impl PartialEq for KeySet {
    fn eq(&self, other: &Self) -> bool {
        let same = |(a, b): (&Key, &Key)| {
            let uses = |key: &Key| key.uses.iter().map(|(algorithm, _)| *algorithm).collect::<Vec<_>>();
            a.mark == b.mark && a.kid == b.kid && uses(a) == uses(b)
        };
        self.keys.len() == other.keys.len() && self.keys.iter().zip(&other.keys).all(same)
    }
}

impl Eq for KeySet {}

impl KeySet {
    /// The set of these keys.
    #[must_use]
    pub const fn new(keys: Vec<Key>) -> Self {
        Self { keys }
    }

    /// The keys, in their order.
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether any key is for this algorithm.
    #[must_use]
    pub fn is_for(&self, algorithm: Algorithm) -> bool {
        self.keys.iter().any(|key| key.is_for(algorithm))
    }

    /// Text that differs where sets differ, and tells nothing of secrets.
    pub(super) fn describe(&self, text: &mut Vec<u8>) {
        for key in &self.keys {
            text.extend_from_slice(&key.mark);
            text.extend_from_slice(format!("{:?}", key.kid).as_bytes());
            for (algorithm, _) in &key.uses {
                text.extend_from_slice(algorithm.name().as_bytes());
            }
            text.push(b'\n');
        }
    }
}
