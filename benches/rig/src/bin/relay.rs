//! The floor of every comparison: heads parsed, bytes copied, connections reused, nothing else.
//!
//! `relay --origin PORT,... [--port N]` prints its port; several origins take turns. Same runtime and ring flags as the
//! gateway, 16 KiB buffers.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::TcpStream;
use ringgate_rig::head::{self, Head};
use ringgate_rig::{arguments, ring};

/// Connections to the origin that wait for their next request.
struct Pool {
    origin: SocketAddr,
    idle: RefCell<Vec<TcpStream>>,
}

/// The origins in turn.
struct Pools {
    each: Vec<Pool>,
    next: Cell<usize>,
}

fn main() -> io::Result<()> {
    let port = arguments::value("--port", Some(0)).map_err(io::Error::other)?;
    let origins: String = arguments::value("--origin", None).map_err(io::Error::other)?;
    let origins: Result<Vec<u16>, _> = origins.split(',').map(str::parse).collect();
    let origins = origins.map_err(io::Error::other)?;
    ring::run_pinned(move || async move {
        let pool = |origin| Pool { origin: SocketAddr::from(([127, 0, 0, 1], origin)), idle: RefCell::default() };
        let pools = Rc::new(Pools { each: origins.into_iter().map(pool).collect(), next: Cell::new(0) });
        let listener = ring::listen(port)?;
        ring::accept_each(listener, |client| serve(client, Rc::clone(&pools))).await
    })
}

impl Pools {
    fn next(&self) -> &Pool {
        let at = self.next.get();
        self.next.set((at + 1) % self.each.len());
        &self.each[at]
    }
}

impl Pool {
    async fn lend(&self) -> io::Result<TcpStream> {
        let idle = self.idle.borrow_mut().pop();
        if let Some(stream) = idle {
            return Ok(stream);
        }
        let stream = TcpStream::connect_addr(self.origin).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn take_back(&self, stream: TcpStream) {
        self.idle.borrow_mut().push(stream);
    }
}

async fn serve(mut client: TcpStream, pools: Rc<Pools>) -> io::Result<()> {
    let mut asked = Vec::with_capacity(ring::BUFFER_BYTES);
    let mut answered = Vec::with_capacity(ring::BUFFER_BYTES);
    while let Some((request, filled)) = head::read(&mut client, asked, head::request).await? {
        let pool = pools.next();
        let mut origin = pool.lend().await?;
        asked = forward(&mut client, &mut origin, request, filled, Connection::Kept).await?;
        let Some((response, filled)) = head::read(&mut origin, answered, head::response).await? else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let connection = if request.close { Connection::Closing } else { Connection::Kept };
        answered = forward(&mut origin, &mut client, response, filled, connection).await?;
        if !response.close {
            pool.take_back(origin);
        }
        if request.close {
            break;
        }
    }
    Ok(())
}

/// What a forwarded head says about the connection it goes to.
#[derive(Clone, Copy, PartialEq)]
enum Connection {
    Kept,
    Closing,
}

/// Sends the message whose head is in `buffer` from one side to the other; returns the buffer with what follows the message.
async fn forward(
    from: &mut TcpStream,
    to: &mut TcpStream,
    message: Head,
    buffer: Vec<u8>,
    connection: Connection,
) -> io::Result<Vec<u8>> {
    let (message, buffer) = if message.close || connection == Connection::Closing {
        restate(message, &buffer, connection)
    } else {
        (message, buffer)
    };
    let behind = buffer.len() - message.bytes;
    let here = behind.min(usize::try_from(message.body).unwrap_or(usize::MAX));
    let (written, slice) = to.write_all(buffer.slice(..message.bytes + here)).await;
    written?;
    let mut buffer = slice.into_inner();
    buffer.drain(..message.bytes + here);
    copy(from, to, message.body - here as u64, buffer).await
}

/// Copies `remaining` bytes through `buffer`, which is empty when there are any.
async fn copy(
    from: &mut TcpStream,
    to: &mut TcpStream,
    mut remaining: u64,
    mut buffer: Vec<u8>,
) -> io::Result<Vec<u8>> {
    while remaining > 0 {
        let room = buffer.capacity().min(usize::try_from(remaining).unwrap_or(usize::MAX));
        let (read, slice) = from.read(buffer.slice_mut(..room)).await;
        buffer = slice.into_inner();
        match read? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => remaining -= bytes as u64,
        }
        let (written, sent) = to.write_all(buffer).await;
        written?;
        buffer = sent;
        buffer.clear();
    }
    Ok(buffer)
}

/// The same message with the connection field that holds for its next hop.
fn restate(message: Head, buffer: &[u8], connection: Connection) -> (Head, Vec<u8>) {
    let mut lines = Vec::with_capacity(ring::BUFFER_BYTES);
    for line in buffer[..message.bytes - 2].split_inclusive(|byte| *byte == b'\n') {
        let is_connection = line.get(..11).is_some_and(|name| name.eq_ignore_ascii_case(b"connection:"));
        if !is_connection {
            lines.extend_from_slice(line);
        }
    }
    if connection == Connection::Closing {
        lines.extend_from_slice(b"Connection: close\r\n");
    }
    lines.extend_from_slice(b"\r\n");
    let bytes = lines.len();
    lines.extend_from_slice(&buffer[message.bytes..]);
    (Head { bytes, ..message }, lines)
}
