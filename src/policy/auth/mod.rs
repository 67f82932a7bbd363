//! Who a client is: bearer tokens (JWT), API keys and passwords.

mod algorithm;
mod basic;
mod cache;
mod claims;
mod external;
mod gate;
mod identity;
mod jwks;
mod key;
mod key_book;
mod password;
mod pem;
mod refusal;
mod refused;
mod token;
mod user_book;
mod verify;

pub use algorithm::{Algorithm, Family};
pub use basic::{Login, LoginError, basic};
pub use cache::{Cache, Stamp};
pub use external::{CacheRules, External, ExternalRules};
pub use gate::{Bearers, Challenge, Holders, Users, Wanted};
pub use identity::Identity;
pub use jwks::{Jwks, JwksError, Origin};
pub use key::{Key, KeyError, KeySet};
pub use key_book::{KeyBook, KeyBookError};
pub use password::{PasswordHash, PasswordHashError};
pub use pem::keys_of_pem;
pub use refusal::Refusal;
pub use refused::{Proof, Refused};
pub use token::{Token, bearer};
pub use user_book::{UserBook, UserBookError, UserBookFault};
pub use verify::{Rules, Verified, Verifier};

#[cfg(test)]
mod tests;
