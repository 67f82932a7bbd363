//! Where the live policy document is.

use std::fmt;
use std::path::PathBuf;

/// Where the live policy document is: a file, a key of Redis, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LivePolicy {
    /// A file in JSON.
    pub file: Option<PathBuf>,
    /// A key that several gateways share.
    pub redis: Option<PolicyKey>,
}

/// A key of Redis.
#[derive(Clone, PartialEq, Eq)]
pub struct PolicyKey {
    /// The server; there may be a password in it.
    pub url: String,
    /// The key, and the channel on which its changes are told.
    pub key: String,
}

impl fmt::Debug for PolicyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyKey").field("key", &self.key).finish_non_exhaustive()
    }
}
