//! Limits that several gateways keep together, counted in Redis.
//!
//! Owns the connection and its state of health: what cannot be asked in time is told at once, and while the server does not
//! answer only one question now and then is put to it, so that nobody waits for a server that is known to be gone.

mod desk;
mod script;

pub(super) use desk::open;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock;
use crate::limits;
use crate::policy::limit::{Algorithm, Charge, Granted, StoreError};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, IntoConnectionInfo, RedisResult, Script};

/// Between two questions to a server that does not answer.
const REST: Duration = Duration::from_millis(limits::STORE_REST_MS);
/// Longest pause between two attempts to connect.
const RECONNECT: Duration = Duration::from_secs(1);

/// A server of Redis, connected to when it is first asked.
pub(super) struct Store {
    connection: ConnectionManager,
    sliding_window: Script,
    token_bucket: Script,
    /// Milliseconds of the monotonic clock at which it may be asked again after it did not answer; 0 while it does.
    asleep_until: AtomicU64,
}

impl Store {
    /// The server at `url`: `redis://[user:password@]host:port[/db]` or `unix:///path`.
    ///
    /// # Errors
    /// The URL is none. The message does not show it, because a password may be in it.
    pub(super) fn new(url: &str) -> Result<Self, String> {
        let refused = |_error| "not a URL of Redis: expected `redis://host:port` or `unix:///path`".to_owned();
        let client = url.into_connection_info().and_then(Client::open).map_err(refused)?;
        let config = ConnectionManagerConfig::new()
            .set_min_delay(Duration::from_millis(50))
            .set_max_delay(RECONNECT)
            .set_connection_timeout(Some(RECONNECT))
            // Each question has its own time, see `charge`.
            .set_response_timeout(None);
        let connection = ConnectionManager::new_lazy_with_config(client, config).map_err(refused)?;
        Ok(Self {
            connection,
            sliding_window: script::sliding_window(),
            token_bucket: script::token_bucket(),
            asleep_until: AtomicU64::new(0),
        })
    }

    /// Asks, and waits no longer than `patience`. Questions that are asked at once go out together.
    ///
    /// # Errors
    /// There is no answer; what was asked may be counted all the same.
    pub(super) async fn charge(&self, charge: &Charge, patience: Duration) -> Result<Granted, StoreError> {
        let asleep_until = self.asleep_until.load(Ordering::Relaxed);
        if now_ms() < asleep_until {
            return Err(StoreError::Resting);
        }
        if asleep_until > 0 {
            // This one finds out for all.
            self.rest(REST.max(patience));
        }
        let result = match tokio::time::timeout(patience, self.ask(charge)).await {
            Ok(Ok(numbers)) => granted(numbers, charge.want),
            Ok(Err(error)) => Err(sort(&error)),
            Err(_elapsed) => Err(StoreError::TimedOut),
        };
        match result {
            Ok(_) => self.asleep_until.store(0, Ordering::Relaxed),
            Err(_) => self.rest(REST),
        }
        result
    }

    fn rest(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.asleep_until.store(now_ms().saturating_add(ms).max(1), Ordering::Relaxed);
    }

    async fn ask(&self, charge: &Charge) -> RedisResult<(i64, i64, i64, i64)> {
        let (script, burst) = match charge.algorithm {
            Algorithm::SlidingWindow => (&self.sliding_window, 0),
            Algorithm::TokenBucket { burst } => (&self.token_bucket, burst),
        };
        let period_us = u64::try_from(charge.period.as_micros()).unwrap_or(u64::MAX);
        let mut call = script.key(&charge.key[..]);
        call.arg(charge.limit).arg(period_us).arg(charge.want).arg(burst);
        call.invoke_async(&mut self.connection.clone()).await
    }
}

fn now_ms() -> u64 {
    clock::now_ns() / 1_000_000
}

/// What the script said, if that can be.
fn granted((granted, left, reset, retry): (i64, i64, i64, i64), want: u32) -> Result<Granted, StoreError> {
    let count = |number: i64| u32::try_from(number).map_err(|_| StoreError::Refused);
    let time = |us: i64| u64::try_from(us).map(Duration::from_micros).map_err(|_| StoreError::Refused);
    let granted = Granted { granted: count(granted)?, left: count(left)?, reset: time(reset)?, retry: time(retry)? };
    if granted.granted > want { Err(StoreError::Refused) } else { Ok(granted) }
}

fn sort(error: &redis::RedisError) -> StoreError {
    if error.is_timeout() {
        StoreError::TimedOut
    } else if error.is_io_error() || error.is_connection_dropped() || error.is_connection_refusal() {
        StoreError::Unreachable
    } else {
        StoreError::Refused
    }
}

#[cfg(test)]
mod tests;
