use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::config::KeysUrl;

const TAKEN: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

async fn scene() -> (TcpListener, Sender) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = KeysUrl { is_secure: false, host: "127.0.0.1".to_owned(), port, path: "/".to_owned() };
    (listener, Sender::new(Collector { url, ca: None }, Arc::default()))
}

async fn accept(listener: &TcpListener) -> TcpStream {
    listener.accept().await.unwrap().0
}

/// Reads a request whose body is `body`.
async fn expect(stream: &mut TcpStream, body: &str) {
    let mut got = Vec::new();
    while !got.ends_with(format!("\r\n\r\n{body}").as_bytes()) {
        assert!(stream.read_buf(&mut got).await.unwrap() > 0, "{}", String::from_utf8_lossy(&got));
    }
}

async fn answer(stream: &mut TcpStream, body: &str) {
    expect(stream, body).await;
    stream.write_all(TAKEN).await.unwrap();
}

async fn send(sender: &Sender, body: &'static str) -> Result<(), Dropped> {
    let request = Request::post("http://collector/v1/traces").body(Bytes::from_static(body.as_bytes())).unwrap();
    sender.send(request).await.map(drop).map_err(|_| sender.last.why())
}

#[tokio::test]
async fn batches_go_out_on_one_connection_while_it_is_young() {
    let (listener, sender) = scene().await;
    let serving = async {
        let mut stream = accept(&listener).await;
        for body in ["one", "two", "three"] {
            answer(&mut stream, body).await;
        }
        stream
    };
    let sending = async {
        for body in ["one", "two", "three"] {
            send(&sender, body).await.unwrap();
        }
    };
    let (mut old, ()) = tokio::join!(serving, sending);
    sender.kept.lock().unwrap().as_mut().unwrap().old_ns = 0;
    let serving = async {
        answer(&mut accept(&listener).await, "four").await;
        assert_eq!(old.read(&mut [0; 1]).await.unwrap(), 0, "the old one is closed");
    };
    let ((), sent) = tokio::join!(serving, send(&sender, "four"));
    sent.unwrap();
}

/// RFC 9112, section 9.3.1: the end of a kept connection says nothing of the request on it.
#[tokio::test]
async fn a_batch_goes_out_again_when_the_kept_connection_ends() {
    let (listener, sender) = scene().await;
    let serving = async {
        let mut first = accept(&listener).await;
        answer(&mut first, "one").await;
        // It dies with the request in its hands.
        expect(&mut first, "two").await;
        drop(first);
        let mut second = accept(&listener).await;
        answer(&mut second, "two").await;
        // It ends after its answer without a word of it.
        drop(second);
        answer(&mut accept(&listener).await, "three").await;
    };
    let sending = async {
        for body in ["one", "two", "three"] {
            send(&sender, body).await.unwrap();
        }
    };
    tokio::join!(serving, sending);
}

#[tokio::test]
async fn a_batch_goes_out_on_one_fresh_connection_and_not_on_a_second() {
    let (listener, sender) = scene().await;
    let serving = async { expect(&mut accept(&listener).await, "one").await };
    let ((), sent) = tokio::join!(serving, send(&sender, "one"));
    assert_eq!(sent, Err(Dropped::Unreachable));
    let another = listener.into_std().unwrap().accept();
    assert_eq!(another.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn an_answer_that_is_none_is_not_asked_for_again_and_ends_its_connection() {
    let (listener, sender) = scene().await;
    let serving = async {
        let mut stream = accept(&listener).await;
        answer(&mut stream, "one").await;
        expect(&mut stream, "two").await;
        stream.write_all(b"\x15\x03\x01 this is not HTTP\r\n\r\n").await.unwrap();
        let mut stream = accept(&listener).await;
        expect(&mut stream, "three").await;
        stream.write_all(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        answer(&mut accept(&listener).await, "four").await;
    };
    let sending = async {
        let mut ended = Vec::new();
        for body in ["one", "two", "three", "four"] {
            ended.push(send(&sender, body).await);
        }
        ended
    };
    let ((), ended) = tokio::join!(serving, sending);
    assert_eq!(ended, [Ok(()), Err(Dropped::BadAnswer), Err(Dropped::Status), Ok(())]);
}

/// Who forgot a kept connection, or is stuck, costs one batch, and the next one has a connection of its own.
#[tokio::test]
async fn a_kept_connection_that_says_nothing_more_is_given_up() {
    let (listener, sender) = scene().await;
    let serving = async {
        let mut first = accept(&listener).await;
        answer(&mut first, "one").await;
        expect(&mut first, "two").await;
        tokio::time::pause();
        tokio::time::advance(PATIENCE).await;
        tokio::time::resume();
        answer(&mut accept(&listener).await, "three").await;
        first
    };
    let sending = async {
        send(&sender, "one").await.unwrap();
        assert_eq!(send(&sender, "two").await, Err(Dropped::Timeout));
        send(&sender, "three").await.unwrap();
    };
    tokio::join!(serving, sending);
}
