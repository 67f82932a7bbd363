//! A live policy document in Redis, which several gateways share.

use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands as _, AsyncConnectionConfig, Client, RedisResult};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::config::PolicyKey;

/// Longest wait for a server.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks at the key, should a message have been lost.
const LOOK: Duration = Duration::from_secs(1);
/// First and longest pause before another attempt to connect.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Answers of a server that will take a document later.
const NOT_YET: [&str; 5] = ["LOADING", "BUSY", "TRYAGAIN", "MASTERDOWN", "CLUSTERDOWN"];
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

/// What was written last, or is to be.
#[derive(Debug, Clone, Default)]
struct Order {
    /// It rises with each.
    number: u64,
    /// What is still to be written.
    json: Option<String>,
}

/// A document that somebody waits to be written.
struct Post {
    json: String,
    reply: oneshot::Sender<Result<(), String>>,
}

/// Follows one key of one server, for as long as it is kept.
pub(super) struct Link {
    /// What is heard, with the number of the last order that it is later than.
    told: mpsc::Receiver<(u64, Told)>,
    orders: watch::Sender<Order>,
    posts: mpsc::Sender<Post>,
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
        let (orders, inbox) = watch::channel(Order::default());
        let (posts, posted) = mpsc::channel(1);
        let line = Line { client, key: place.key.clone(), tell, orders: inbox, posted, post: None, written: 0 };
        let task = tokio::spawn(line.follow());
        Ok(Self { told, orders, posts, task })
    }

    /// The next that is heard. Values from before the last write say nothing any more.
    pub(super) async fn hear(&mut self) -> Told {
        loop {
            match self.told.recv().await {
                Some((after, Told::Value(_))) if after < self.orders.borrow().number => {}
                Some((_, told)) => return told,
                None => std::future::pending().await,
            }
        }
    }

    /// Has the document written for all gateways, now or when the server is there again. Until then what it has says nothing,
    /// unless it refuses.
    pub(super) fn tell(&self, json: String) {
        self.orders.send_modify(|order| *order = Order { number: order.number + 1, json: Some(json) });
    }

    /// Writes the document for all gateways and tells them. It goes the way of what was told before, so that none of that
    /// comes after it.
    ///
    /// # Errors
    /// The server did not take it; whether it has it all the same is then not known.
    pub(super) async fn write(&mut self, json: String) -> Result<(), String> {
        let (reply, written) = oneshot::channel();
        let writing = async {
            let ended = || "the link has ended".to_owned();
            self.posts.send(Post { json, reply }).await.map_err(|_post| ended())?;
            written.await.unwrap_or_else(|_dropped| Err(ended()))
        };
        let mut writing = pin!(tokio::time::timeout(PATIENCE, writing));
        let written = loop {
            tokio::select! {
                written = writing.as_mut() => break written,
                // Nobody else listens meanwhile. What is heard is either from before or comes again with the next look.
                Some(_told) = self.told.recv() => {}
            }
        };
        written.unwrap_or_else(|_elapsed| Err("no answer within a second".to_owned()))?;
        self.orders.send_modify(|order| *order = Order { number: order.number + 1, json: None });
        Ok(())
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

async fn publish(connection: &mut MultiplexedConnection, key: &str, json: &str) -> RedisResult<()> {
    let mut both = redis::pipe();
    both.atomic().set(key, json).ignore().publish(key, "changed").ignore();
    both.query_async::<()>(connection).await
}

/// The task's side of a link.
struct Line {
    client: Client,
    key: String,
    tell: mpsc::Sender<(u64, Told)>,
    orders: watch::Receiver<Order>,
    posted: mpsc::Receiver<Post>,
    /// What was posted and is not written yet.
    post: Option<Post>,
    /// The number of the last order that was carried out, or refused.
    written: u64,
}

impl Line {
    async fn follow(mut self) {
        let mut pause = PAUSES.0;
        loop {
            let mut heard = false;
            let Err(error) = self.listen(&mut heard).await else { return };
            if heard {
                pause = PAUSES.0;
            }
            let why = explain(&error);
            if let Some(Post { reply, .. }) = self.post.take() {
                // Whoever waited too long for it is gone.
                drop(reply.send(Err(why.clone())));
            }
            if self.tell.send((0, Told::Lost(why))).await.is_err() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSES.1),
                Some(post) = self.posted.recv() => self.post = Some(post),
            }
        }
    }

    /// Subscribes first and reads then, so that no change falls in between; returns when nobody listens any more.
    async fn listen(&mut self, heard: &mut bool) -> RedisResult<()> {
        let subscribing = async {
            let mut messages = self.client.get_async_pubsub().await?;
            messages.subscribe(&self.key).await?;
            Ok(messages)
        };
        let messages = tokio::time::timeout(PATIENCE, subscribing).await;
        let mut messages = messages.unwrap_or_else(|_elapsed| Err(timed_out()))?;
        let mut connection = connect(&self.client).await?;
        let mut messages = messages.on_message();
        loop {
            self.obey(&mut connection).await?;
            let value: Option<Vec<u8>> = connection.get(&self.key).await?;
            *heard = true;
            if self.tell.send((self.written, Told::Value(value))).await.is_err() {
                return Ok(());
            }
            // A message says only that something changed; what there is now is read above.
            tokio::select! {
                message = tokio::time::timeout(LOOK, messages.next()) => {
                    if let Ok(None) = message {
                        return Err(redis::RedisError::from((redis::ErrorKind::Io, "the subscription ended")));
                    }
                }
                ordered = self.orders.changed() => if ordered.is_err() {
                    return Ok(());
                },
                Some(post) = self.posted.recv() => self.post = Some(post),
            }
        }
    }

    /// Writes what is to be written, before the value is read again.
    async fn obey(&mut self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        let Order { number, json } = self.orders.borrow_and_update().clone();
        if let Some(json) = json.filter(|_| number > self.written) {
            match publish(connection, &self.key, &json).await {
                Err(error) if !is_refusal(&error) => return Err(error),
                // It is not going to take it, so what it has holds.
                Err(error) => drop(self.tell.send((0, Told::Lost(explain(&error)))).await),
                Ok(()) => {}
            }
        }
        self.written = number;
        if let Some(Post { json, reply }) = self.post.take_if(|post| !post.reply.is_closed()) {
            let outcome = publish(connection, &self.key, &json).await;
            drop(reply.send(outcome.as_ref().copied().map_err(explain)));
            outcome.or_else(|error| if is_refusal(&error) { Ok(()) } else { Err(error) })?;
        }
        Ok(())
    }
}

/// Did the server answer that it will not, and not only not yet?
fn is_refusal(error: &redis::RedisError) -> bool {
    error.code().is_some_and(|code| !NOT_YET.contains(&code))
}

fn timed_out() -> redis::RedisError {
    redis::RedisError::from((redis::ErrorKind::Io, "no answer within a second"))
}

/// What an error says without what was asked.
fn explain(error: &redis::RedisError) -> String {
    if error.is_timeout() { "no answer within a second".to_owned() } else { error.to_string() }
}

#[cfg(test)]
mod tests;
