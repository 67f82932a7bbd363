//! One connection of a test, plain or secured, and everything that is read from it or written to it.

use std::io::{self, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use super::layer::Layer;
use super::message::{Framing, Message, parse_trailers};
use super::wait::PATIENCE;

/// Most bytes of a head that a test reads.
const HEAD_BYTES: usize = 8 << 20;

/// A connection; every read and write has a deadline.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    layer: Layer,
    unread: Vec<u8>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// An end of stream.
    Closed,
    /// A reset.
    Reset,
    /// The transport ended, and TLS had not said that it would: anybody may have cut it.
    Cut,
}

impl Wire {
    /// Connects.
    pub(crate) fn to(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect_timeout(&address, PATIENCE).expect("a connection to loopback"))
    }

    /// Takes a connection.
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a positive time");
        stream.set_write_timeout(Some(PATIENCE)).expect("a positive time");
        stream.set_nodelay(true).expect("an open socket");
        Self { stream, layer: Layer::Plain, unread: Vec::new() }
    }

    /// The same connection, secured.
    pub(crate) fn secured(mut self, mut layer: Layer) -> io::Result<Self> {
        layer.shakes_hands(&mut self.stream)?;
        Ok(Self { layer, ..self })
    }

    /// What secures it.
    pub(crate) const fn layer(&self) -> &Layer {
        &self.layer
    }

    /// The socket itself.
    pub(crate) const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends all of `bytes`.
    pub(crate) fn sends(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.try_send(bytes).expect("the peer reads");
        self
    }

    /// Sends `bytes`; the peer may have closed already.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.layer.write_all(&mut self.stream, bytes.as_ref())
    }

    /// Ends this direction, that of the transport too.
    pub(crate) fn half_closes(&mut self) -> &mut Self {
        self.layer.says_close(&mut self.stream);
        self.stream.shutdown(Shutdown::Write).expect("an open socket");
        self
    }

    /// Ends this direction of TLS, not that of the transport.
    pub(crate) fn says_close(&mut self) -> &mut Self {
        self.layer.says_close(&mut self.stream);
        self
    }

    /// Ends this direction of the transport, and TLS does not say so.
    pub(crate) fn half_closes_raw(&mut self) -> &mut Self {
        self.stream.shutdown(Shutdown::Write).expect("an open socket");
        self
    }

    /// Goes on with new keys.
    pub(crate) fn renews_keys(&mut self) -> &mut Self {
        self.layer.renews_keys(&mut self.stream);
        self
    }

    /// Sends bytes past TLS.
    pub(crate) fn sends_raw(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).expect("the peer reads");
        self
    }

    /// Closes both directions in order.
    pub(crate) fn closes(mut self) {
        self.layer.says_close(&mut self.stream);
        drop(self);
    }

    /// Resets the connection.
    pub(crate) fn resets(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("an open socket");
    }

    /// Reads once; 0 is the end of the stream.
    pub(crate) fn try_read(&mut self) -> io::Result<usize> {
        let mut bytes = [0; 64 * 1024];
        let count = self.layer.read(&mut self.stream, &mut bytes)?;
        self.unread.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn reads_more(&mut self, wanted: &str) {
        match self.try_read() {
            Ok(0) => panic!("the end instead of {wanted}; unread: {:?}", self.shown()),
            Ok(_) => {}
            Err(error) => panic!("{error} instead of {wanted}; unread: {:?}", self.shown()),
        }
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.unread[..self.unread.len().min(1000)]).into_owned()
    }

    /// Reads `count` bytes.
    pub(crate) fn reads(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            self.reads_more(&format!("{count} bytes"));
        }
        self.unread.drain(..count).collect()
    }

    /// Reads through the first occurrence of `mark`.
    pub(crate) fn reads_through(&mut self, mark: &[u8]) -> Vec<u8> {
        let mut searched = 0;
        loop {
            let found = memchr::memmem::find(&self.unread[searched..], mark);
            if let Some(at) = found {
                return self.unread.drain(..searched + at + mark.len()).collect();
            }
            searched = self.unread.len().saturating_sub(mark.len() - 1);
            assert!(self.unread.len() < HEAD_BYTES, "no {:?} in sight", String::from_utf8_lossy(mark));
            self.reads_more(&format!("{:?}", String::from_utf8_lossy(mark)));
        }
    }

    /// Reads one head.
    pub(crate) fn reads_head(&mut self) -> Message {
        Message::parse(&self.reads_through(b"\r\n\r\n"))
    }

    /// Reads one head; nothing when the peer is gone before its end.
    pub(crate) fn try_reads_head(&mut self) -> Option<Message> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.unread, b"\r\n\r\n") {
                return Some(Message::parse(&self.reads(at + 4)));
            }
            if !self.try_read().is_ok_and(|count| count > 0) {
                return None;
            }
        }
    }

    /// Drops `count` bytes; false when the peer is gone before that.
    pub(crate) fn try_drops(&mut self, count: usize) -> bool {
        let mut left = count;
        loop {
            let dropped = left.min(self.unread.len());
            drop(self.unread.drain(..dropped));
            left -= dropped;
            if left == 0 || !self.try_read().is_ok_and(|count| count > 0) {
                return left == 0;
            }
        }
    }

    /// Reads a body of the framing that `message` announces.
    pub(crate) fn reads_body(&mut self, message: &mut Message) {
        match message.framing() {
            Framing::Exact(length) => message.body = self.reads(usize::try_from(length).expect("a small body")),
            Framing::Chunked => {
                message.chunked = true;
                while let Some(mut chunk) = self.reads_chunk() {
                    message.body.append(&mut chunk);
                }
                message.trailers = self.reads_trailers();
            }
            Framing::Unsaid => {}
        }
    }

    /// Reads a chunk; nothing for the last one, behind which the trailers stand.
    pub(crate) fn reads_chunk(&mut self) -> Option<Vec<u8>> {
        let line = self.reads_through(b"\r\n");
        let digits = std::str::from_utf8(&line[..line.len() - 2]).expect("a size is ASCII");
        assert!(!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit()), "no chunk size: {digits:?}");
        let size = usize::from_str_radix(digits, 16).expect("a size that fits");
        if size == 0 {
            return None;
        }
        let chunk = self.reads(size);
        assert_eq!(self.reads(2), b"\r\n", "the end of a chunk");
        Some(chunk)
    }

    fn reads_trailers(&mut self) -> Vec<(String, String)> {
        let mut section = String::new();
        loop {
            let line = self.reads_through(b"\r\n");
            if line.len() == 2 {
                return parse_trailers(&section);
            }
            section.push_str(std::str::from_utf8(&line).expect("ASCII trailers"));
        }
    }

    /// Reads what is left, and how it ended.
    pub(crate) fn reads_to_end(&mut self) -> (Vec<u8>, End) {
        let end = loop {
            match self.try_read() {
                Ok(0) => break End::Closed,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break End::Reset,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break End::Cut,
                Err(error) => panic!("{error} instead of the end; unread: {:?}", self.shown()),
            }
        };
        (std::mem::take(&mut self.unread), end)
    }

    /// Drops what was received and not read yet; how much that was.
    pub(crate) fn takes_unread(&mut self) -> usize {
        std::mem::take(&mut self.unread).len()
    }

    /// Reads what is left, however it ends.
    pub(crate) fn try_reads_to_end(&mut self) -> Vec<u8> {
        while self.try_read().is_ok_and(|count| count > 0) {}
        std::mem::take(&mut self.unread)
    }

    /// Expects an orderly end and not a byte before it.
    pub(crate) fn sees_end(&mut self) {
        let (rest, end) = self.reads_to_end();
        assert_eq!((String::from_utf8_lossy(&rest).into_owned(), end), (String::new(), End::Closed));
    }

    /// Expects the end of the connection, orderly or not, and not a byte before it.
    pub(crate) fn sees_break(&mut self) -> End {
        let (rest, end) = self.reads_to_end();
        assert_eq!(String::from_utf8_lossy(&rest), "");
        end
    }

    /// Is there neither a byte nor an end to be read right now?
    pub(crate) fn is_silent(&self) -> bool {
        self.stream.set_nonblocking(true).expect("an open socket");
        let mut byte = [0; 1];
        let peeked = self.stream.peek(&mut byte);
        self.stream.set_nonblocking(false).expect("an open socket");
        self.unread.is_empty() && peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Does neither a byte nor an end come for so long?
    pub(crate) fn is_silent_for(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).expect("a positive time");
        let read = self.try_read();
        self.stream.set_read_timeout(Some(PATIENCE)).expect("a positive time");
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Waits for the next byte; false when the stream ends instead, or nothing comes.
    pub(crate) fn has_bytes(&mut self) -> bool {
        !self.unread.is_empty() || self.try_read().is_ok_and(|count| count > 0)
    }

    /// Makes the kernel hold little of what is read or written late.
    pub(crate) fn holds_little(&self) {
        SockRef::from(&self.stream).set_recv_buffer_size(4096).expect("an open socket");
    }
}
