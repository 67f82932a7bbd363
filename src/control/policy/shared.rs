//! A live policy document in Redis, which several gateways share.

use std::time::Duration;

use futures_util::StreamExt as _;
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands as _, AsyncConnectionConfig, Client, RedisResult};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::config::PolicyKey;

/// Longest wait for a server.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks at the key, should a message have been lost.
const LOOK: Duration = Duration::from_secs(1);
/// First and longest pause before another attempt to connect.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Messages that wait for the control loop.
const TOLD: usize = 4;

/// What is heard of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::control) enum Told {
    /// Its value, which may be the same as before; `None` when there is none.
    Value(Option<Vec<u8>>),
    /// The server does not answer.
    Lost(String),
}

/// Follows one key of one server, for as long as it is kept.
pub(super) struct Link {
    place: PolicyKey,
    client: Client,
    told: mpsc::Receiver<Told>,
    task: JoinHandle<()>,
}

impl Link {
    /// Begins to follow a key.
    ///
    /// # Errors
    /// The URL is none. The message does not show it, because a password may be in it.
    pub(super) fn new(place: &PolicyKey) -> Result<Self, String> {
        let client = Client::open(place.url.as_str()).map_err(|_error| "not a URL of Redis".to_owned())?;
        let (tell, told) = mpsc::channel(TOLD);
        let task = tokio::spawn(follow(client.clone(), place.key.clone(), tell));
        Ok(Self { place: place.clone(), client, told, task })
    }

    /// The next that is heard.
    pub(super) async fn hear(&mut self) -> Told {
        match self.told.recv().await {
            Some(told) => told,
            None => std::future::pending().await,
        }
    }

    /// Writes the document for all gateways and tells them.
    ///
    /// # Errors
    /// The server did not take it; whether it has it all the same is then not known.
    pub(super) async fn write(&self, json: &str) -> Result<(), String> {
        let key = &self.place.key;
        let writing = async {
            let mut connection = connect(&self.client).await?;
            let mut both = redis::pipe();
            both.atomic().set(key, json).ignore().publish(key, "changed").ignore();
            both.query_async::<()>(&mut connection).await
        };
        match tokio::time::timeout(PATIENCE, writing).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(explain(&error)),
            Err(_elapsed) => Err("no answer within a second".to_owned()),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connect(client: &Client) -> RedisResult<MultiplexedConnection> {
    let config =
        AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE)).set_response_timeout(Some(PATIENCE));
    client.get_multiplexed_async_connection_with_config(&config).await
}

async fn follow(client: Client, key: String, tell: mpsc::Sender<Told>) {
    let mut pause = PAUSES.0;
    loop {
        let mut heard = false;
        let Err(error) = listen(&client, &key, &tell, &mut heard).await else { return };
        if heard {
            pause = PAUSES.0;
        }
        if tell.send(Told::Lost(explain(&error))).await.is_err() {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Subscribes first and reads then, so that no change falls in between; returns when nobody listens any more.
async fn listen(client: &Client, key: &str, tell: &mpsc::Sender<Told>, heard: &mut bool) -> RedisResult<()> {
    let subscribing = async {
        let mut messages = client.get_async_pubsub().await?;
        messages.subscribe(key).await?;
        Ok(messages)
    };
    let messages = tokio::time::timeout(PATIENCE, subscribing).await;
    let mut messages = messages.unwrap_or_else(|_elapsed| Err(timed_out()))?;
    let mut connection = connect(client).await?;
    let mut messages = messages.on_message();
    loop {
        let value: Option<Vec<u8>> = connection.get(key).await?;
        *heard = true;
        if tell.send(Told::Value(value)).await.is_err() {
            return Ok(());
        }
        // A message says only that something changed; what there is now is read above.
        if let Ok(None) = tokio::time::timeout(LOOK, messages.next()).await {
            return Err(redis::RedisError::from((redis::ErrorKind::Io, "the subscription ended")));
        }
    }
}

fn timed_out() -> redis::RedisError {
    redis::RedisError::from((redis::ErrorKind::Io, "no answer within a second"))
}

/// What an error says without what was asked.
fn explain(error: &redis::RedisError) -> String {
    if error.is_timeout() { "no answer within a second".to_owned() } else { error.to_string() }
}
