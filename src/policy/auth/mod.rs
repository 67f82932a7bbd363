//! Who a client is: bearer tokens (JWT), API keys and passwords.

mod algorithm;
mod cache;
mod claims;
mod gate;
mod identity;
mod jwks;
mod key;
mod key_book;
mod pem;
mod refusal;
mod token;
mod verify;

pub use algorithm::{Algorithm, Family};
pub use cache::{Cache, Stamp};
pub use gate::{Bearers, Challenge, Holders, Wanted};
pub use identity::Identity;
pub use jwks::{Jwks, JwksError, Origin};
pub use key::{Key, KeyError, KeySet};
pub use key_book::{KeyBook, KeyBookError};
pub use pem::keys_of_pem;
pub use refusal::Refusal;
pub use token::{Token, bearer};
pub use verify::{Rules, Verified, Verifier};

#[cfg(test)]
mod tests;
