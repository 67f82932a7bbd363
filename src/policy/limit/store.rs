//! What is asked of a store that several gateways share, and what it answers.

use std::time::Duration;

/// What is counted, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// What passed in this window and in the part of the last one that still counts.
    SlidingWindow,
    /// A bucket of so many tokens.
    TokenBucket {
        /// Tokens of a full one.
        burst: u32,
    },
}

/// One question: may so many pass?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// The key in the store.
    pub key: Vec<u8>,
    /// How it is counted.
    pub algorithm: Algorithm,
    /// Requests in a period.
    pub limit: u32,
    /// The period.
    pub period: Duration,
    /// Requests that are to pass.
    pub want: u32,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// Requests that may pass, 0 to what was wanted.
    pub granted: u32,
    /// Requests that could have passed beside them.
    pub left: u32,
    /// Until the window ends, or the bucket is full.
    pub reset: Duration,
    /// Until one more may pass; zero unless nothing was granted.
    pub retry: Duration,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreError {
    /// It has not answered of late, and this question was not put to it.
    Resting,
    /// It did not answer in time.
    TimedOut,
    /// No connection to it, or it was lost.
    Unreachable,
    /// It answers with something else than was asked for.
    Refused,
    /// Too many questions are on their way.
    Crowded,
}

impl StoreError {
    /// One of each, in the order of their counters.
    pub const ALL: [Self; 5] = [Self::Resting, Self::TimedOut, Self::Unreachable, Self::Refused, Self::Crowded];

    /// The name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resting => "resting",
            Self::TimedOut => "timeout",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::Crowded => "crowded",
        }
    }
}

/// What becomes of a request when the store does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStoreError {
    /// It passes and is not counted.
    Allow,
    /// It does not pass.
    Deny,
    /// It is counted by this process alone.
    Local,
}
