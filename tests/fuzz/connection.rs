//! A whole connection of HTTP/2 from its bytes: what any client may send to the server's side of the adapter.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use ringgate::http1::{BodyLength, ChunkedDecoder, Progress, RequestHead};
use ringgate::http2::{PREFACE, encode_request_head, encode_switch_head};
use ringgate::net::{
    Alarm, Alarms, Buffer, BufferPool, Channel, H2Limits, H2Server, Opened, Pending, ServerStream, Stream, Turn,
    serve_h2,
};

use super::{WIDE, check_translated, poll};

/// Streams that the peer may have open.
const STREAMS: u32 = 8;
/// Longest input, and turns of one connection: what more of either shows, less shows as well.
pub(super) const BYTES: usize = 64 * 1024;
pub(super) const TURNS: usize = 2_000;
/// SETTINGS without a value: what a client's preface ends with, and what a server says first.
pub(super) const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

/// A transport that gives its bytes in pieces, and takes everything.
pub(super) struct Wire {
    bytes: Vec<u8>,
    at: Cell<usize>,
    /// What stands behind this is not there yet.
    until: Cell<usize>,
    piece: usize,
    /// Does the peer end its direction, or say nothing more?
    ends: bool,
    pub(super) sent: RefCell<Vec<u8>>,
}

impl Wire {
    pub(super) const fn new(bytes: Vec<u8>, piece: usize, ends: bool) -> Self {
        let (at, until) = (Cell::new(0), Cell::new(usize::MAX));
        Self { bytes, at, until, piece, ends, sent: RefCell::new(Vec::new()) }
    }

    /// Gives nothing that stands behind the first `until` bytes.
    pub(super) fn holds_back(&self, until: usize) {
        self.until.set(until);
    }

    fn take(&self, into: &mut Buffer) -> Option<usize> {
        let until = self.until.get().min(self.bytes.len());
        let rest = &self.bytes[self.at.get()..until];
        if rest.is_empty() {
            return (self.ends && until == self.bytes.len()).then_some(0);
        }
        let count = rest.len().min(self.piece).min(into.spare());
        into.extend(&rest[..count]);
        self.at.set(self.at.get() + count);
        Some(count)
    }
}

impl Stream for Wire {
    async fn read(&self, into: Buffer) -> (io::Result<usize>, Buffer) {
        let mut into = into;
        let taken = poll_fn(|_| self.take(&mut into).map_or(Poll::Pending, Poll::Ready)).await;
        (Ok(taken), into)
    }

    async fn read_until(&self, into: Buffer, _alarm: &Alarm) -> (io::Result<usize>, Buffer) {
        self.read(into).await
    }

    async fn write(&self, from: Buffer) -> (io::Result<usize>, Buffer) {
        self.sent.borrow_mut().extend_from_slice(from.filled());
        (Ok(from.len()), from)
    }

    async fn readable(&self) -> io::Result<()> {
        Ok(())
    }

    fn try_read(&self, into: &mut Buffer) -> io::Result<usize> {
        self.take(into).ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.sent.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn pending(&self) -> Pending {
        Pending::Nothing
    }

    fn shutdown_write(&self) {}

    fn reset_on_close(&self) {}

    fn hang_up_on_drop(&self) {}

    fn keep_alive(&self, _seconds: u32) {}
}

/// A stream that is served: its body is read and judged, and an answer written.
struct Served {
    stream: Box<ServerStream>,
    /// What the request's head promises; none once the body has ended.
    body: Option<BodyLength>,
    decoder: ChunkedDecoder,
    taken: u64,
    answer: &'static [u8],
    /// Answers before it has read the body.
    is_early: bool,
}

const ANSWERS: [&[u8]; 4] = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    // Cut short: it must be reset.
    b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
];

/// Behind it a stream is a tunnel.
const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nbytes as they are";

impl Served {
    /// The stream as the gateway would serve it, if it would.
    fn new(opened: Opened, number: usize) -> Option<Self> {
        let Opened { request, has_body, protocol, stream } = opened;
        let mut out = Vec::new();
        if let Some(protocol) = protocol {
            encode_switch_head(&mut out, &request, &protocol, b"key", false).ok()?;
            let mut head = RequestHead::new();
            let Ok(Progress::Complete) = head.parse(&out, &WIDE) else { return None };
            assert_eq!((head.len(), head.body()), (out.len(), BodyLength::None), "an offer with content");
            let answer = if number.is_multiple_of(2) { SWITCH } else { ANSWERS[number % ANSWERS.len()] };
            return Some(Self { stream, body: None, decoder: ChunkedDecoder::new(), taken: 0, answer, is_early: true });
        }
        encode_request_head(&mut out, &request, has_body, false).ok()?;
        let mut head = RequestHead::new();
        let Ok(Progress::Complete) = head.parse(&out, &WIDE) else { return None };
        check_translated(&request, has_body, &out, &head);
        Some(Self {
            stream,
            body: Some(head.body()),
            decoder: ChunkedDecoder::new(),
            taken: 0,
            answer: ANSWERS[number % ANSWERS.len()],
            is_early: number % 3 == 2,
        })
    }

    /// Does what can be done; true when the stream is done with.
    fn step(&mut self, pool: &BufferPool) -> bool {
        if self.body.is_some() && !self.is_early {
            let polled = poll(pin!(self.stream.read(pool.lend())));
            match polled {
                Poll::Pending => return false,
                Poll::Ready((Err(_), _)) => return true,
                Poll::Ready((Ok(count), buffer)) => self.on_read(count, buffer.filled()),
            }
            return false;
        }
        let mut from = pool.lend();
        from.extend(self.answer);
        let polled = poll(pin!(self.stream.write(from)));
        match polled {
            Poll::Pending => false,
            Poll::Ready((Err(_), _)) => true,
            Poll::Ready((Ok(count), _)) => {
                self.answer = &self.answer[count..];
                self.answer.is_empty()
            }
        }
    }

    /// A body is what its head promised, and ends where it does.
    fn on_read(&mut self, count: usize, bytes: &[u8]) {
        let Some(body) = self.body else { return };
        assert_eq!(count, bytes.len());
        self.taken += count as u64;
        match body {
            BodyLength::Exact(length) => {
                assert!(self.taken <= length, "{} of {length} bytes", self.taken);
                assert!(count > 0 || self.taken == length, "a body of {} of {length} bytes", self.taken);
            }
            BodyLength::Chunked => {
                let mut piece = bytes.to_vec();
                let decoded = self.decoder.decode(&mut piece).expect("chunks that we wrote");
                assert_eq!(decoded.consumed, piece.len(), "something stands behind a body");
                assert!(count > 0 || decoded.done || self.is_done(), "a body without an end");
                if decoded.done {
                    self.body = None;
                }
            }
            BodyLength::None | BodyLength::UntilClose => assert_eq!(count, 0, "a body that nobody promised"),
        }
        if count == 0 {
            self.body = None;
        }
    }

    const fn is_done(&self) -> bool {
        self.body.is_none()
    }
}

/// Whatever a client sends, its requests are good ones, its bodies what they promise, our frames in order, and nothing is
/// held when it is over.
pub fn connection(input: &[u8]) {
    let [shape, bytes @ ..] = input else { return };
    if bytes.len() > BYTES {
        return;
    }
    let mut whole = Vec::new();
    // Most inputs would fail in the preface otherwise.
    if shape & 1 == 0 {
        whole.extend_from_slice(PREFACE);
        whole.extend_from_slice(&SETTINGS);
    }
    whole.extend_from_slice(bytes);
    let piece = [1, 7, 100, usize::MAX][usize::from(shape >> 1 & 3)];
    let wire = Wire::new(whole, piece, shape & 8 == 0);
    let (pool, carrier) = (BufferPool::new(), Rc::new(Channel::Plain(wire)));
    serve(&carrier, &pool);
    assert_eq!(pool.lent(), 0, "buffers are kept");
    let Channel::Plain(wire) = &*carrier else { return };
    check_frames(&wire.sent.borrow());
}

fn serve(carrier: &Rc<Channel<Wire>>, pool: &BufferPool) {
    let alarms = Alarms::new(1);
    let (limits, own) = (H2Limits { streams: STREAMS, header_bytes: 16 * 1024 }, alarms.register());
    let beginning = pin!(serve_h2(Rc::clone(carrier), None, pool.clone(), alarms.register(), limits));
    let Some(Ok(mut server)) = until_ready(beginning) else { return };
    let mut served: Vec<Served> = Vec::new();
    let mut streams = 0;
    for _ in 0..TURNS {
        let open = |opened| {
            // Some are refused without a word.
            served.extend(Served::new(opened, streams).filter(|_| streams % 7 != 6));
            streams += 1;
        };
        match turn(&mut server, &own, open) {
            Poll::Ready(Turn::Closed) => break,
            Poll::Ready(Turn::Opened | Turn::Excess(_) | Turn::Breach(_) | Turn::Look) => {}
            Poll::Pending if served.is_empty() => break,
            Poll::Pending => {}
        }
        served.retain_mut(|one| !one.step(pool));
    }
    // In either order.
    if streams % 2 == 0 {
        drop(server);
    }
}

fn turn(server: &mut H2Server, alarm: &Alarm, open: impl FnMut(Opened)) -> Poll<Turn> {
    let mut next = pin!(server.next(alarm, open, |_| {}));
    poll(next.as_mut())
}

pub(super) fn until_ready<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    (0..TURNS).find_map(|_| match poll(future.as_mut()) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    })
}

/// What a stream of ours has said.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    Nothing,
    Fields,
    All,
}

/// Our frames are whole, and a stream has fields, then content, then an end, and nothing behind it (RFC 9113 section 5.1).
pub(super) fn check_frames(mut sent: &[u8]) {
    let mut streams: HashMap<u32, Said> = HashMap::new();
    while let Some((header, rest)) = sent.split_at_checked(9) {
        let length = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        let (kind, flags) = (header[3], header[4]);
        let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
        // The last write may have been given up.
        let Some((_, rest)) = rest.split_at_checked(length) else { return };
        sent = rest;
        assert!(length <= 16 * 1024 && kind < 10, "frame {kind} of {length} bytes");
        let said = streams.entry(stream).or_insert(Said::Nothing);
        match kind {
            0 | 1 => {
                assert!(stream % 2 == 1, "frame {kind} on stream {stream}");
                assert!(*said != Said::All, "frame {kind} behind the end of stream {stream}");
                assert!(kind == 1 || *said == Said::Fields, "content before fields on stream {stream}");
                *said = if flags & 1 == 1 { Said::All } else { Said::Fields };
            }
            3 => *said = Said::All,
            _ => {}
        }
    }
}
