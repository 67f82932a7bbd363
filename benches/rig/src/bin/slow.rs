//! An origin that has time for so much and no more: few places, each request takes one for some milliseconds.
//!
//! `slow --port N` answers every GET with 13 B. It works on 16 requests at once, ten milliseconds each on average, which is
//! 1600 a second; who comes when all places are taken waits, first come, first served.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ringgate_rig::arguments::value;

const PLACES: usize = 16;
/// What requests take in turn.
const TAKES_MS: [u64; 5] = [6, 14, 8, 12, 10];
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world!";

/// When each place is free, and how many requests there were.
static PLAN: Mutex<([Option<Instant>; PLACES], usize)> = Mutex::new(([None; PLACES], 0));

fn main() -> io::Result<()> {
    let port = value("--port", Some(0)).map_err(io::Error::other)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    println!("{}", listener.local_addr()?.port());
    loop {
        let (stream, _) = listener.accept()?;
        // What a client does to its connection ends that one.
        thread::spawn(move || drop(serve(stream)));
    }
}

/// One request after the other: a client of the gateway's sends none before the last was answered.
fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut buffer, mut filled) = ([0; 16 * 1024], 0);
    loop {
        match stream.read(&mut buffer[filled..])? {
            0 => return Ok(()),
            count => filled += count,
        }
        if buffer[..filled].ends_with(b"\r\n\r\n") {
            filled = 0;
            let done = take_place();
            thread::sleep(done.saturating_duration_since(Instant::now()));
            stream.write_all(ANSWER)?;
        }
    }
}

/// Takes the place that is free first; when what is done there will be.
fn take_place() -> Instant {
    let (places, requests) = &mut *PLAN.lock().unwrap_or_else(PoisonError::into_inner);
    let takes = Duration::from_millis(TAKES_MS[*requests % TAKES_MS.len()]);
    *requests += 1;
    let now = Instant::now();
    // One that was never taken comes first.
    let first = (0..PLACES).min_by_key(|place| places[*place]).unwrap_or_default();
    let done = places[first].map_or(now, |free| free.max(now)) + takes;
    places[first] = Some(done);
    done
}
