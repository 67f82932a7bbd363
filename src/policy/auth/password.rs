//! Hashes of passwords, made to be slow to try.

use core::fmt;

use argon2::password_hash::PasswordHash as Phc;
use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use data_encoding::{Encoding, Specification};

use crate::limits;

/// Bytes of a password that bcrypt looks at, the NUL behind it included.
const BCRYPT_BYTES: usize = 72;

/// Why a hash cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordHashError {
    /// It is of a kind that is not known, or none at all.
    Kind,
    /// It is of a known kind and is cut or broken.
    Broken,
    /// To try a password takes more time or memory than anybody should.
    Costly,
}

/// What a password is compared with.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Argon2 {
        algorithm: Algorithm,
        version: Version,
        params: Params,
        salt: Box<[u8]>,
        hash: Box<[u8]>,
    },
    Bcrypt {
        cost: u32,
        salt: [u8; 16],
        /// The last byte of the cipher is left out by all who write such hashes.
        hash: [u8; 23],
    },
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Kind::Argon2 { .. } => "argon2",
            Kind::Bcrypt { .. } => "bcrypt",
        };
        f.debug_tuple("PasswordHash").field(&kind).finish()
    }
}

impl PasswordHash {
    /// Reads `$argon2id$...` or `$argon2i$...` (RFC 9106), or `$2a$...`, `$2b$...` or `$2y$...` (bcrypt).
    ///
    /// # Errors
    /// It is none of them, or not to be afforded.
    pub fn parse(text: &str) -> Result<Self, PasswordHashError> {
        if ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| text.starts_with(prefix)) {
            return bcrypt(&text[4..]);
        }
        if !text.starts_with("$argon2id$") && !text.starts_with("$argon2i$") {
            return Err(PasswordHashError::Kind);
        }
        let read = || {
            let phc = Phc::new(text).ok()?;
            let params = Params::try_from(&phc).ok()?;
            // Hashes of the first version do not tell it.
            let version = phc.version.map_or(Ok(Version::V0x10), Version::try_from).ok()?;
            let mut room = [0; 64];
            let salt = phc.salt?.decode_b64(&mut room).ok()?;
            Some(Kind::Argon2 {
                algorithm: Algorithm::try_from(phc.algorithm).ok()?,
                version,
                params,
                salt: salt.into(),
                hash: phc.hash?.as_bytes().into(),
            })
        };
        let kind = read().ok_or(PasswordHashError::Broken)?;
        if let Kind::Argon2 { params, .. } = &kind
            && (params.m_cost() > limits::ARGON2_KIB
                || u64::from(params.m_cost()) * u64::from(params.t_cost()) > limits::ARGON2_WORK_KIB)
        {
            return Err(PasswordHashError::Costly);
        }
        Ok(Self(kind))
    }

    /// Whether it is of this password. Takes milliseconds, and memory; how long does not depend on the password.
    #[must_use]
    pub fn is_of(&self, password: &[u8]) -> bool {
        match &self.0 {
            Kind::Argon2 { algorithm, version, params, salt, hash } => {
                let mut tried = vec![0; hash.len()];
                let hasher = Argon2::new(*algorithm, *version, params.clone());
                let is_tried = hasher.hash_password_into(password, salt, &mut tried).is_ok();
                is_tried && verify_slices_are_equal(hash, &tried).is_ok()
            }
            Kind::Bcrypt { cost, salt, hash } => {
                let mut padded = [0; BCRYPT_BYTES];
                let length = password.len().min(BCRYPT_BYTES);
                padded[..length].copy_from_slice(&password[..length]);
                let tried = bcrypt::bcrypt(*cost, *salt, &padded[..(length + 1).min(BCRYPT_BYTES)]);
                verify_slices_are_equal(hash, &tried[..hash.len()]).is_ok()
            }
        }
    }

    /// What tells one hash from another.
    pub(super) fn describe(&self, text: &mut Vec<u8>) {
        match &self.0 {
            Kind::Argon2 { algorithm, version, params, salt, hash } => {
                text.extend_from_slice(format!("{algorithm} {version:?} {params:?} {salt:?} {hash:?}").as_bytes());
            }
            Kind::Bcrypt { cost, salt, hash } => {
                text.extend_from_slice(&cost.to_be_bytes());
                text.extend_from_slice(salt);
                text.extend_from_slice(hash);
            }
        }
    }
}

/// Cost, salt and hash, behind the version.
fn bcrypt(text: &str) -> Result<PasswordHash, PasswordHashError> {
    let read = || {
        let (cost, rest) = text.split_once('$')?;
        let cost = cost.parse().ok().filter(|_| cost.len() == 2 && cost.bytes().all(|byte| byte.is_ascii_digit()))?;
        let (salt, hash) = rest.split_at_checked(22)?;
        let encoding = bcrypt_base64()?;
        let salt = encoding.decode(salt.as_bytes()).ok()?.try_into().ok()?;
        let hash = encoding.decode(hash.as_bytes()).ok()?.try_into().ok()?;
        Some((cost, salt, hash))
    };
    let (cost, salt, hash) = read().ok_or(PasswordHashError::Broken)?;
    match cost {
        0..=3 => Err(PasswordHashError::Broken),
        4..=limits::BCRYPT_COST => Ok(PasswordHash(Kind::Bcrypt { cost, salt, hash })),
        _ => Err(PasswordHashError::Costly),
    }
}

/// Base64 with an alphabet of its own, whose last bits some have left as they were.
fn bcrypt_base64() -> Option<Encoding> {
    let mut specification = Specification::new();
    specification.symbols.push_str("./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789");
    specification.check_trailing_bits = false;
    specification.encoding().ok()
}
