//! Limits that several gateways keep together, counted in Redis.
//!
//! Owns the connection and its state of health: what cannot be asked in time is told at once, and while the server does not
//! answer only one question now and then is put to it, so that nobody waits for a server that is known to be gone.

mod desk;
mod script;

pub(super) use desk::open;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock;
use crate::limits;
use crate::policy::limit::{Algorithm, Charge, Granted, StoreError};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, IntoConnectionInfo, RedisError, RedisResult, Script};

/// Between two questions to a server that does not answer.
const REST: Duration = Duration::from_millis(limits::STORE_REST_MS);
/// Longest time that it takes to connect.
const CONNECT: Duration = Duration::from_secs(1);
/// A connection without an answer for so long is given up: a server that vanished does not end it, and the kernel goes on
/// sending for a quarter of an hour.
const SILENCE: Duration = Duration::from_secs(1);

/// A server of Redis, connected to when it is first asked.
pub(super) struct Store {
    /// Where it is, without user and password.
    name: String,
    client: Client,
    link: Mutex<Link>,
    sliding_window: Script,
    token_bucket: Script,
    /// Milliseconds of the monotonic clock at which it may be asked again after it did not answer; 0 while it does.
    asleep_until: AtomicU64,
}

struct Link {
    connection: ConnectionManager,
    /// Connections before this one.
    number: u64,
    /// When the first of the questions was put to it that had no answer in time; `None` while there are answers.
    silent_since_ms: Option<u64>,
    /// Why there was no answer, as it was told in the log; `None` while there are answers.
    trouble: Option<String>,
}

impl Store {
    /// The server at `url`: `redis://[user:password@]host:port[/db]` or `unix:///path`.
    ///
    /// # Errors
    /// The URL is none. The message does not show it, because a password may be in it.
    pub(super) fn new(url: &str) -> Result<Self, String> {
        let refused = |_error| "not a URL of Redis: expected `redis://host:port` or `unix:///path`".to_owned();
        let client = url.into_connection_info().and_then(Client::open).map_err(refused)?;
        let connection = connection(&client).map_err(refused)?;
        let link = Link { connection, number: 0, silent_since_ms: None, trouble: None };
        Ok(Self {
            name: client.get_connection_info().addr().to_string(),
            client,
            link: Mutex::new(link),
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
        let Ok((connection, number)) = self.link.lock().map(|link| (link.connection.clone(), link.number)) else {
            return Err(StoreError::Unreachable);
        };
        let result = match tokio::time::timeout(patience, self.ask(connection, charge)).await {
            Ok(Ok(numbers)) => {
                granted(numbers, charge.want).map_err(|error| (error, "no answer of our script".to_owned()))
            }
            Ok(Err(error)) => {
                self.begin_anew(number);
                Err((sort(&error), explain(&error)))
            }
            Err(_elapsed) => {
                self.on_silence(number, patience);
                Err((StoreError::TimedOut, "no answer in time".to_owned()))
            }
        };
        match result {
            Ok(granted) => {
                if self.asleep_until.swap(0, Ordering::Relaxed) > 0 {
                    self.on_answers();
                }
                Ok(granted)
            }
            Err((error, why)) => {
                self.rest(REST);
                self.on_trouble(why);
                Err(error)
            }
        }
    }

    /// The next question begins another connection, unless one has followed that of this number already. Of itself a connection
    /// that failed by anything but its end, such as rubbish or a refused password, would repeat that failure for ever.
    fn begin_anew(&self, number: u64) {
        let Ok(mut link) = self.link.lock() else { return };
        if let (true, Ok(connection)) = (link.number == number, connection(&self.client)) {
            (link.connection, link.number, link.silent_since_ms) = (connection, number + 1, None);
        }
    }

    /// The connection of this number had no answer to a question within `patience`. That alone says little: the server may be
    /// slow, and a connection may take longer to come about than a question may.
    fn on_silence(&self, number: u64, patience: Duration) {
        let asked_ms = now_ms().saturating_sub(ms(patience));
        let since_ms = match self.link.lock() {
            Ok(mut link) if link.number == number => *link.silent_since_ms.get_or_insert(asked_ms),
            _ => return,
        };
        if now_ms() - since_ms >= ms(SILENCE) {
            self.begin_anew(number);
        }
    }

    fn on_trouble(&self, why: String) {
        let Ok(mut link) = self.link.lock() else { return };
        if link.trouble.as_ref() != Some(&why) {
            tracing::error!(store = self.name, why, "a store of rate limits does not answer");
        }
        link.trouble = Some(why);
    }

    fn on_answers(&self) {
        let Ok(mut link) = self.link.lock() else { return };
        link.silent_since_ms = None;
        if link.trouble.take().is_some() {
            tracing::info!(store = self.name, "a store of rate limits answers again");
        }
    }

    fn rest(&self, time: Duration) {
        self.asleep_until.store(now_ms().saturating_add(ms(time)).max(1), Ordering::Relaxed);
    }

    async fn ask(&self, mut connection: ConnectionManager, charge: &Charge) -> RedisResult<(i64, i64, i64, i64)> {
        let (script, burst) = match charge.algorithm {
            Algorithm::SlidingWindow => (&self.sliding_window, 0),
            Algorithm::TokenBucket { burst } => (&self.token_bucket, burst),
        };
        let period_us = u64::try_from(charge.period.as_micros()).unwrap_or(u64::MAX);
        let mut call = script.key(&charge.key[..]);
        call.arg(charge.limit).arg(period_us).arg(charge.want).arg(burst);
        call.invoke_async(&mut connection).await
    }
}

/// A connection that is opened by the first question, and again when it ended.
fn connection(client: &Client) -> RedisResult<ConnectionManager> {
    let config = ConnectionManagerConfig::new()
        // Who asks is told at once why there is none, and the next question is the next attempt.
        .set_number_of_retries(0)
        .set_connection_timeout(Some(CONNECT))
        // Each question has its own time, see `charge`.
        .set_response_timeout(None);
    ConnectionManager::new_lazy_with_config(client.clone(), config)
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
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

/// What an error says without words of the server, which may be anything.
fn explain(error: &RedisError) -> String {
    match error.code() {
        _ if error.is_io_error() => error.to_string(),
        Some(code) => format!("{} ({code})", error.category()),
        None => error.category().to_owned(),
    }
}

fn sort(error: &RedisError) -> StoreError {
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
