//! An origin that costs as little as possible: fixed answers from memory, one thread.
//!
//! `origin [--port N] [--shared N]` prints its port; it also listens on the shared one, as others do. `/small` 13 B,
//! `/10k`, `/1m`, `/upload` reads a body and answers 200, `/stats` counts what the others saw.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::TcpStream;
use ringgate_rig::{arguments, head, ring};

/// Bytes read at once from an upload, which nobody keeps.
const SINK_BYTES: usize = 256 * 1024;

/// The answers, each a whole message.
struct Answers {
    small: &'static [u8],
    ten_kilobytes: &'static [u8],
    megabyte: &'static [u8],
    accepted: &'static [u8],
    unknown: &'static [u8],
}

/// What arrived since the start, `/stats` itself excluded.
#[derive(Default)]
struct Seen {
    connections: Cell<u64>,
    requests: Cell<u64>,
}

fn main() -> io::Result<()> {
    let port = arguments::value("--port", Some(0)).map_err(io::Error::other)?;
    let shared = arguments::value("--shared", Some(0)).map_err(io::Error::other)?;
    ring::run_pinned(move || async move {
        let (answers, seen) = (Rc::new(Answers::build()), Rc::new(Seen::default()));
        let serve_one = move |stream| serve(stream, Rc::clone(&answers), Rc::clone(&seen));
        if shared > 0 {
            monoio::spawn(ring::accept_each(ring::listen_beside_others(shared)?, serve_one.clone()));
        }
        ring::accept_each(ring::listen(port)?, serve_one).await
    })
}

impl Answers {
    fn build() -> Self {
        Self {
            small: message("200 OK", b"Hello, world!"),
            ten_kilobytes: message("200 OK", &vec![b'k'; 10 * 1024]),
            megabyte: message("200 OK", &vec![b'm'; 1024 * 1024]),
            accepted: message("200 OK", b"ok"),
            unknown: message("404 Not Found", b"unknown"),
        }
    }

    fn to(&self, target: &[u8]) -> &'static [u8] {
        match target {
            b"/small" => self.small,
            b"/10k" => self.ten_kilobytes,
            b"/1m" => self.megabyte,
            b"/upload" => self.accepted,
            _ => self.unknown,
        }
    }
}

/// A whole response that lives as long as the process.
fn message(status: &str, body: &[u8]) -> &'static [u8] {
    let length = body.len();
    let lines = format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n");
    let mut whole = lines.into_bytes();
    whole.extend_from_slice(body);
    whole.leak()
}

async fn serve(mut stream: TcpStream, answers: Rc<Answers>, seen: Rc<Seen>) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(ring::BUFFER_BYTES);
    let mut counted = false;
    while let Some((request, filled)) = head::read(&mut stream, buffer, head::request).await? {
        buffer = filled;
        let target = head::target(&buffer);
        let asks_stats = target == b"/stats";
        let answer = answers.to(target);
        let here = (buffer.len() - request.bytes).min(usize::try_from(request.body).unwrap_or(usize::MAX));
        // What lies behind this request is the next one's.
        buffer.drain(..request.bytes + here);
        sink(&mut stream, request.body - here as u64).await?;
        let written = if asks_stats {
            stream.write_all(seen.to_json()).await.0
        } else {
            seen.count(&mut counted);
            stream.write_all(answer).await.0
        };
        written?;
        if request.close {
            break;
        }
    }
    Ok(())
}

impl Seen {
    fn count(&self, counted: &mut bool) {
        self.requests.set(self.requests.get() + 1);
        if !std::mem::replace(counted, true) {
            self.connections.set(self.connections.get() + 1);
        }
    }

    fn to_json(&self) -> Vec<u8> {
        let (connections, requests) = (self.connections.get(), self.requests.get());
        let body = format!("{{\"connections\":{connections},\"requests\":{requests}}}");
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
    }
}

/// Reads and forgets `remaining` bytes of a body.
async fn sink(stream: &mut TcpStream, mut remaining: u64) -> io::Result<()> {
    if remaining == 0 {
        return Ok(());
    }
    let mut buffer = Vec::with_capacity(SINK_BYTES);
    while remaining > 0 {
        // A client of the rig sends nothing behind a body before it is answered.
        let (read, filled) = stream.read(buffer).await;
        buffer = filled;
        match read? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => remaining = remaining.saturating_sub(bytes as u64),
        }
    }
    Ok(())
}
