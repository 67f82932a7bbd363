//! Message heads: how long they are, how long the body behind them is, who wants to close.

use std::io;

use monoio::buf::IoBufMut;
use monoio::io::AsyncReadRent;

/// Field lines of one head.
const FIELDS: usize = 64;

/// What a relay needs to know of a parsed head.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Bytes of the head, its empty line included.
    pub bytes: usize,
    /// Bytes of the body behind it.
    pub body: u64,
    /// Whether the sender asks for the connection to be closed after this message.
    pub close: bool,
    /// The status code of a response, 0 for a request.
    pub status: u16,
}

/// Parses a request head: `None` while it is incomplete.
///
/// # Errors
/// `InvalidData` when it is not HTTP/1.
pub fn request(bytes: &[u8]) -> io::Result<Option<Head>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    match parsed.parse(bytes).map_err(invalid)? {
        httparse::Status::Partial => Ok(None),
        httparse::Status::Complete(length) => sum_up(length, 0, parsed.headers).map(Some),
    }
}

/// Parses a response head: `None` while it is incomplete.
///
/// # Errors
/// `InvalidData` when it is not HTTP/1.
pub fn response(bytes: &[u8]) -> io::Result<Option<Head>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut parsed = httparse::Response::new(&mut fields);
    match parsed.parse(bytes).map_err(invalid)? {
        httparse::Status::Partial => Ok(None),
        httparse::Status::Complete(length) => sum_up(length, parsed.code.unwrap_or(0), parsed.headers).map(Some),
    }
}

/// The target of a request line.
#[must_use]
pub fn target(request: &[u8]) -> &[u8] {
    request.split(|byte| *byte == b' ').nth(1).unwrap_or_default()
}

/// Reads behind what `buffer` holds until `parse` finds a whole head; `None` when the peer closed between messages.
///
/// # Errors
/// What `parse` returns, a read error, or a head cut short or longer than the buffer.
pub async fn read(
    stream: &mut impl AsyncReadRent,
    mut buffer: Vec<u8>,
    parse: impl Fn(&[u8]) -> io::Result<Option<Head>>,
) -> io::Result<Option<(Head, Vec<u8>)>> {
    loop {
        if !buffer.is_empty()
            && let Some(head) = parse(&buffer)?
        {
            return Ok(Some((head, buffer)));
        }
        let (filled, room) = (buffer.len(), buffer.capacity());
        if filled == room {
            return Err(invalid("a head longer than the buffer"));
        }
        let (read, slice) = stream.read(buffer.slice_mut(filled..room)).await;
        buffer = slice.into_inner();
        match (read?, filled) {
            (0, 0) => return Ok(None),
            (0, _) => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
    }
}

fn sum_up(bytes: usize, status: u16, fields: &[httparse::Header<'_>]) -> io::Result<Head> {
    let mut head = Head { bytes, body: 0, close: false, status };
    for field in fields {
        if field.name.eq_ignore_ascii_case("content-length") {
            let digits = std::str::from_utf8(field.value).map_err(invalid)?;
            head.body = digits.parse().map_err(invalid)?;
        } else if field.name.eq_ignore_ascii_case("connection") {
            head.close |= field.value.eq_ignore_ascii_case(b"close");
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(invalid("the rig knows only bodies with a length"));
        }
    }
    Ok(head)
}

fn invalid(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
