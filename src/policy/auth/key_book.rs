//! API keys, known by their SHA-256 alone.

use core::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER_PERMISSIVE;
use serde::Deserialize;
use serde_yaml::Mapping;

use super::verify::push_line;
use crate::limits;

/// Why a file of keys cannot be used; no text of it is told, because somebody may have written a key itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyBookError {
    /// It is no mapping of names to hashes; at this line, if the reader knows.
    Shape(Option<usize>),
    /// A hash of the entry of this number is not 64 hexadecimal digits.
    Hash(usize),
    /// The name of this entry cannot stand in a field.
    Name(usize),
    /// Two entries have the same key.
    Twice(usize, usize),
    /// There is no key.
    Empty,
    /// There are more keys than any policy may have.
    TooMany,
}

impl fmt::Display for KeyBookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape(line) => {
                f.write_str("the file is no mapping of different names to SHA-256 hashes")?;
                line.map_or(Ok(()), |line| write!(f, " (line {line})"))
            }
            Self::Hash(at) => {
                write!(f, "what entry {at} has is no SHA-256 of a key: 64 hexadecimal digits, never the key itself")
            }
            Self::Name(at) => {
                write!(f, "the name of entry {at} is empty, too long or has a character that no header may have")
            }
            Self::Twice(one, other) => write!(f, "entries {one} and {other} have the same key"),
            Self::Empty => f.write_str("the file holds no key"),
            Self::TooMany => write!(f, "the file has more than {} keys", limits::API_KEYS),
        }
    }
}

impl core::error::Error for KeyBookError {}

/// One hash, or several while a key is being replaced.
#[derive(Deserialize)]
#[serde(untagged)]
enum Hashes {
    One(String),
    Several(Vec<String>),
}

/// Who has which key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyBook {
    /// By hash, in their order.
    hashes: Vec<([u8; 32], usize)>,
    names: Vec<Box<str>>,
}

impl KeyBook {
    /// Reads a file: YAML that maps the name of each client to the SHA-256 of its key in hexadecimal, or to a list of them.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(yaml: &str) -> Result<Self, KeyBookError> {
        let shape = |error: serde_yaml::Error| KeyBookError::Shape(error.location().map(|location| location.line()));
        // An empty file is no mapping to the library.
        let read: Option<Mapping> = serde_yaml::from_str(yaml).map_err(shape)?;
        let mut book = Self::default();
        for (at, (name, hashes)) in (1..).zip(read.unwrap_or_default()) {
            let name: String = serde_yaml::from_value(name).map_err(shape)?;
            let hashes = match serde_yaml::from_value(hashes).map_err(shape)? {
                Hashes::One(one) => vec![one],
                Hashes::Several(several) => several,
            };
            push_line(&mut Vec::new(), "x", &name).ok_or(KeyBookError::Name(at))?;
            for hash in hashes {
                let bytes = HEXLOWER_PERMISSIVE.decode(hash.as_bytes()).ok();
                let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()).ok_or(KeyBookError::Hash(at))?;
                book.hashes.push((bytes, book.names.len()));
            }
            book.names.push(name.into());
        }
        book.hashes.sort_unstable();
        book.check()
    }

    fn check(self) -> Result<Self, KeyBookError> {
        if let Some(pair) = self.hashes.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(KeyBookError::Twice(pair[0].1 + 1, pair[1].1 + 1));
        }
        match self.hashes.len() {
            0 => Err(KeyBookError::Empty),
            keys if keys > limits::API_KEYS => Err(KeyBookError::TooMany),
            _ => Ok(self),
        }
    }

    /// The number of the client whose key this is. How long it takes depends on the key's SHA-256 alone, which nobody can
    /// choose without the key, and the last comparison takes the same time wherever the two differ.
    #[must_use]
    pub fn find(&self, key: &[u8]) -> Option<usize> {
        if key.is_empty() || key.len() > limits::API_KEY_BYTES {
            return None;
        }
        let hash = digest(&SHA256, key);
        let at = self.hashes.partition_point(|(known, _)| known[..] < *hash.as_ref());
        let (known, name) = self.hashes.get(at)?;
        verify_slices_are_equal(known, hash.as_ref()).is_ok().then_some(*name)
    }

    /// The clients, by their numbers.
    #[must_use]
    pub fn names(&self) -> &[Box<str>] {
        &self.names
    }
}
