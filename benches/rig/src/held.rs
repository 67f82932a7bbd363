//! Connections that do nothing, to see what one costs.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::head;

/// The request that each connection sends.
const REQUEST: &[u8] = b"GET /small HTTP/1.1\r\nHost: bench.test\r\n\r\n";
/// How long one answer is awaited.
const PATIENCE: Duration = Duration::from_secs(5);

/// Opens `connections` to a loopback port, one request each, holds them until a line arrives, asks each again.
///
/// # Errors
/// Why a connection could not be opened or was not answered the first time.
pub fn hold(port: u16, connections: usize) -> io::Result<()> {
    let mut held = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        ask(&mut stream)?;
        held.push(stream);
    }
    println!("{{\"held\":{}}}", held.len());
    io::stdin().read_line(&mut String::new())?;
    let answered = held.iter_mut().filter_map(|stream| ask(stream).ok()).count();
    println!("{{\"answered\":{answered}}}");
    Ok(())
}

fn ask(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(REQUEST)?;
    let mut answer = Vec::new();
    let mut bytes = [0; 4096];
    loop {
        let count = stream.read(&mut bytes)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&bytes[..count]);
        let Some(head) = head::response(&answer)? else {
            continue;
        };
        if head.status != 200 {
            return Err(io::Error::other("the answer was not 200"));
        }
        if (answer.len() - head.bytes) as u64 >= head.body {
            return Ok(());
        }
    }
}
