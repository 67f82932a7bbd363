//! A rule as it is computed with: an algorithm and its numbers.

use std::time::Duration;

use super::bucket::Bucket;
use super::window::Window;
use crate::limits::RATE_LEASE_SHARE;

/// What a request is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// May it pass?
    pub allowed: bool,
    /// Requests that the rule allows in its period.
    pub limit: u32,
    /// Requests that may follow at once.
    pub remaining: u32,
    /// Nanoseconds until the window ends, or the bucket is full.
    pub reset_ns: u64,
    /// Nanoseconds until a request may pass again; 0 for one that may.
    pub retry_after_ns: u64,
}

/// What a rule gave of what was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Tokens given, 0 to what was wanted.
    pub granted: u32,
    /// Tokens that are left.
    pub remaining: u32,
    /// As in [`Decision`].
    pub reset_ns: u64,
    /// As in [`Decision`].
    pub retry_after_ns: u64,
    /// For how many nanoseconds the tokens may be used.
    pub good_for_ns: u64,
}

/// How many requests of a key may pass in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    limit: u32,
    /// Tokens that one worker may lose at once of those it leased; 0: it leases one at a time, which is exact.
    spare: u32,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Bucket(Bucket),
    Window(Window),
}

impl Rule {
    /// `limit` in a window of `period` that slides, for `workers` who ask.
    #[must_use]
    pub fn sliding_window(limit: u32, period: Duration, workers: usize) -> Self {
        let spare = spare(limit, workers);
        Self { limit, spare, form: Form::Window(Window::new(limit, nanos(period))) }
    }

    /// A bucket of `burst` tokens that is filled at `limit` in `period`, for `workers` who ask.
    #[must_use]
    pub fn token_bucket(limit: u32, period: Duration, burst: u32, workers: usize) -> Self {
        let spare = spare(burst, workers);
        Self { limit, spare, form: Form::Bucket(Bucket::new(limit, nanos(period), burst, spare > 0)) }
    }

    /// Requests in a period.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// Tokens that one worker may lose at once of those it leased.
    #[must_use]
    pub const fn spare(&self) -> u32 {
        self.spare
    }

    /// Which form of amount it counts in: 0 for a bucket, otherwise the precision of a window's time.
    pub(super) const fn form(&self) -> u8 {
        match &self.form {
            Form::Bucket(_) => 0,
            Form::Window(window) => window.form(),
        }
    }

    /// Is its amount the time at which a bucket is full?
    pub(super) const fn is_bucket(&self) -> bool {
        matches!(self.form, Form::Bucket(_))
    }

    /// Up to `want` tokens of an entry with `amount`; what the entry holds then.
    pub(super) fn charge(&self, amount: u64, want: u32, now_ns: u64) -> (Grant, u64) {
        match &self.form {
            Form::Bucket(bucket) => bucket.charge(amount, want, now_ns),
            Form::Window(window) => window.charge(amount, want, now_ns),
        }
    }

    /// The decision for one request that `grant` was asked for.
    pub(super) const fn decide(&self, grant: &Grant) -> Decision {
        Decision {
            allowed: grant.granted > 0,
            limit: self.limit,
            remaining: grant.remaining,
            reset_ns: grant.reset_ns,
            retry_after_ns: grant.retry_after_ns,
        }
    }
}

/// Nanoseconds for which an amount of `form` still counts, at most; 0: it is as good as none.
pub(super) fn counts_for_ns(form: u8, amount: u64, now_ns: u64) -> u64 {
    if form == 0 { Bucket::counts_for_ns(amount, now_ns) } else { Window::counts_for_ns(form, amount, now_ns) }
}

/// All workers together may lose one in [`RATE_LEASE_SHARE`] of `tokens`.
fn spare(tokens: u32, workers: usize) -> u32 {
    let workers = u32::try_from(workers.max(1)).unwrap_or(u32::MAX);
    tokens / RATE_LEASE_SHARE / workers
}

fn nanos(period: Duration) -> u64 {
    u64::try_from(period.as_nanos()).unwrap_or(u64::MAX)
}
