//! Against what pretends to be Redis, and writes when a test lets it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::*;

/// Longest wait for anything that must happen.
const LIMIT: Duration = Duration::from_secs(20);
/// Time for what must not happen.
const SHORT: Duration = Duration::from_millis(200);
const HELD: &str = "held";

/// One value, and who waits for it.
#[derive(Default)]
struct Server {
    value: Mutex<Option<String>>,
    seen: Mutex<HashSet<String>>,
    changed: Notify,
    /// A document of [`HELD`] is not written before this.
    released: Notify,
}

impl Server {
    async fn start() -> (Arc<Self>, PolicyKey) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let server = Arc::<Self>::default();
        let serving = Arc::clone(&server);
        tokio::spawn(async move {
            while let Ok((stream, _peer)) = listener.accept().await {
                tokio::spawn(Arc::clone(&serving).serve(stream));
            }
        });
        (server, PolicyKey { url, key: "policy".to_owned() })
    }

    async fn serve(self: Arc<Self>, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        let mut setting = None;
        while let Some(words) = command(&mut stream).await {
            let reply = match words[0].to_uppercase().as_str() {
                "SUBSCRIBE" => "*3\r\n$9\r\nsubscribe\r\n$6\r\npolicy\r\n:1\r\n".to_owned(),
                "SET" => {
                    setting = Some(words[2].clone());
                    "+QUEUED\r\n".to_owned()
                }
                "PUBLISH" => "+QUEUED\r\n".to_owned(),
                "EXEC" => {
                    self.sets(setting.take().unwrap()).await;
                    "*2\r\n+OK\r\n:1\r\n".to_owned()
                }
                "GET" => match self.value.lock().unwrap().as_ref() {
                    Some(value) => format!("${}\r\n{value}\r\n", value.len()),
                    None => "$-1\r\n".to_owned(),
                },
                _ => "+OK\r\n".to_owned(),
            };
            if stream.get_mut().write_all(reply.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    async fn sets(&self, value: String) {
        self.saw(&format!("{value} comes"));
        if value == HELD {
            self.released.notified().await;
        }
        *self.value.lock().unwrap() = Some(value.clone());
        self.saw(&value);
    }

    fn saw(&self, what: &str) {
        self.seen.lock().unwrap().insert(what.to_owned());
        self.changed.notify_waiters();
    }

    /// Waits until a document was written, or comes.
    async fn sees(&self, what: &str) {
        loop {
            let changed = self.changed.notified();
            if self.seen.lock().unwrap().contains(what) {
                return;
            }
            changed.await;
        }
    }
}

/// The next command; `None` at the end.
async fn command(stream: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let mut words = Vec::new();
    for _ in 0..length(stream, '*').await? {
        let mut word = vec![0; length(stream, '$').await? + 2];
        stream.read_exact(&mut word).await.ok()?;
        word.truncate(word.len() - 2);
        words.push(String::from_utf8(word).unwrap());
    }
    Some(words)
}

async fn length(stream: &mut BufReader<TcpStream>, kind: char) -> Option<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    line.trim_end().strip_prefix(kind)?.parse().ok()
}

#[tokio::test]
async fn what_is_posted_comes_after_what_was_told_before() {
    let (server, place) = Server::start().await;
    let mut link = Link::new(&place).unwrap();
    assert_eq!(timeout(LIMIT, link.hear()).await.unwrap(), Told::Value(None));
    link.tell(HELD.to_owned());
    timeout(LIMIT, server.sees("held comes")).await.unwrap();
    let releasing = async {
        // On a connection of its own it would be written by now.
        drop(timeout(SHORT, server.sees("posted")).await);
        server.released.notify_one();
    };
    let (written, ()) = tokio::join!(link.write("posted".to_owned()), releasing);
    assert_eq!(written, Ok(()));
    assert_eq!(timeout(LIMIT, link.hear()).await.unwrap(), Told::Value(Some(b"posted".to_vec())));
    assert_eq!(server.value.lock().unwrap().as_deref(), Some("posted"));
}

#[tokio::test]
async fn what_is_posted_does_not_wait_for_what_nobody_has_heard_yet() {
    let (server, place) = Server::start().await;
    let mut link = Link::new(&place).unwrap();
    for number in 0..TOLD {
        link.tell(number.to_string());
        timeout(LIMIT, server.sees(&number.to_string())).await.unwrap();
    }
    assert_eq!(link.write("posted".to_owned()).await, Ok(()));
    assert_eq!(timeout(LIMIT, link.hear()).await.unwrap(), Told::Value(Some(b"posted".to_vec())));
}

#[tokio::test]
async fn what_is_posted_is_refused_where_nobody_listens_and_is_not_written_later() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", free.local_addr().unwrap());
    drop(free);
    let mut link = Link::new(&PolicyKey { url, key: "policy".to_owned() }).unwrap();
    for _ in 0..3 {
        assert!(link.write("posted".to_owned()).await.is_err());
    }
    assert!(matches!(timeout(LIMIT, link.hear()).await.unwrap(), Told::Lost(_)));
}
