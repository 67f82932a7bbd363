//! A whole connection to an endpoint of HTTP/2 from its bytes: what any endpoint may send to the client's side of the
//! adapter.

use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use ringgate::http1::{BodyLength, ChunkedDecoder, Method, Progress, ResponseHead};
use ringgate::http2::PREFACE;
use ringgate::net::{
    Alarm, Alarms, BufferPool, Channel, ClientStream, ClientTurn, H2Client, H2Known, Room, Stream, connect_h2,
};

use super::connection::{BYTES, SETTINGS, TURNS, Wire, check_frames, until_ready};
use super::reverse::LEFT_TO_PARSER;
use super::{WIDE, poll};

/// Requests of one connection, in order: each opens a stream.
const REQUESTS: [(Method, &[u8]); 5] = [
    (Method::Get, b"GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    (Method::Post, b"POST /b HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n\r\nbody"),
    (Method::Head, b"HEAD /c HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    (
        Method::Post,
        b"POST /d HTTP/1.1\r\nHost: a.example\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nx-sum: 1\r\n\r\n",
    ),
    // Cut short: it must not look whole.
    (Method::Put, b"PUT /e HTTP/1.1\r\nHost: a.example\r\nContent-Length: 9\r\n\r\nbody"),
];

/// A request that is sent, and its answer that is read and judged.
struct Asked {
    stream: Box<ClientStream>,
    method: Method,
    request: &'static [u8],
    /// What has come and is not judged yet.
    unread: Vec<u8>,
    /// What the answer's head promises, once it is there.
    body: Option<BodyLength>,
    decoder: ChunkedDecoder,
    taken: u64,
    is_whole: bool,
}

impl Asked {
    fn new(stream: Box<ClientStream>, number: usize) -> Self {
        let (method, request) = REQUESTS[number % REQUESTS.len()];
        let (unread, decoder) = (Vec::new(), ChunkedDecoder::new());
        Self { stream, method, request, unread, body: None, decoder, taken: 0, is_whole: false }
    }

    /// Does what can be done; true when the stream is done with.
    fn step(&mut self, pool: &BufferPool) -> bool {
        if !self.request.is_empty() {
            let mut from = pool.lend();
            from.extend(self.request);
            let polled = poll(pin!(self.stream.write(from)));
            match polled {
                Poll::Pending => {}
                // The answer may be there all the same.
                Poll::Ready((Err(_), _)) => self.request = &[],
                Poll::Ready((Ok(count), _)) => self.request = &self.request[count..],
            }
        }
        let polled = poll(pin!(self.stream.read(pool.lend())));
        match polled {
            Poll::Pending => false,
            Poll::Ready((Err(_), _)) => true,
            Poll::Ready((Ok(0), _)) => {
                self.on_end();
                true
            }
            Poll::Ready((Ok(count), buffer)) => {
                assert_eq!(count, buffer.len());
                assert!(!self.is_whole, "something stands behind an answer");
                self.unread.extend_from_slice(buffer.filled());
                !self.on_bytes()
            }
        }
    }

    /// An orderly end stands behind a whole answer alone.
    fn on_end(&self) {
        match self.body {
            None => panic!("an end instead of an answer: {:?}", self.unread),
            Some(BodyLength::Exact(length)) => assert_eq!(self.taken, length),
            Some(BodyLength::Chunked) => assert!(self.is_whole, "chunks without an end"),
            Some(BodyLength::None) => assert_eq!(self.taken, 0),
            Some(BodyLength::UntilClose) => panic!("an answer that says nothing of its end"),
        }
    }

    /// Judges what has come; false when the gateway would go no further.
    fn on_bytes(&mut self) -> bool {
        while self.body.is_none() {
            let mut head = ResponseHead::new();
            match head.parse(&self.unread, &WIDE, self.method) {
                Ok(Progress::Complete) => {}
                Ok(Progress::Partial) => return true,
                Err(why) => {
                    assert!(LEFT_TO_PARSER.contains(&why), "{why:?}");
                    return false;
                }
            }
            drop(self.unread.drain(..head.len()));
            assert_ne!(head.status(), 101, "HTTP/2 switches nothing");
            if head.status() >= 200 {
                self.body = Some(head.body());
            } else if self.unread.is_empty() {
                return true;
            }
        }
        let mut bytes = std::mem::take(&mut self.unread);
        self.taken += bytes.len() as u64;
        match self.body {
            Some(BodyLength::Exact(length)) => assert!(self.taken <= length, "{} of {length} bytes", self.taken),
            Some(BodyLength::Chunked) if bytes.is_empty() => {}
            Some(BodyLength::Chunked) => {
                let decoded = self.decoder.decode(&mut bytes).expect("chunks that we wrote");
                assert_eq!(decoded.consumed, bytes.len(), "something stands behind a body");
                self.is_whole = decoded.done;
            }
            Some(BodyLength::None | BodyLength::UntilClose) | None => assert!(bytes.is_empty(), "{bytes:?}"),
        }
        true
    }
}

/// Whatever an endpoint sends, its answers are good ones or none, their bodies what they promise, our frames in order, no
/// stream is opened against a limit, and nothing is held when it is over.
pub fn endpoint(input: &[u8]) {
    let [shape, bytes @ ..] = input else { return };
    if bytes.len() > BYTES {
        return;
    }
    let mut whole = Vec::new();
    // Most inputs would not get as far as a request otherwise.
    let greets = shape & 1 == 0;
    if greets {
        whole.extend_from_slice(&SETTINGS);
    }
    // What answers a request must not come before it.
    let (early, piece) = (whole.len(), [1, 7, 100, usize::MAX][usize::from(shape >> 1 & 3)]);
    whole.extend_from_slice(bytes);
    let wire = Wire::new(whole, piece, shape & 8 == 0);
    if greets {
        wire.holds_back(early);
    }
    let (pool, carrier) = (BufferPool::new(), Rc::new(Channel::Plain(wire)));
    converse(&carrier, &pool);
    assert_eq!(pool.lent(), 0, "buffers are kept");
    let Channel::Plain(wire) = &*carrier else { return };
    let sent = wire.sent.borrow();
    if let Some(frames) = sent.strip_prefix(PREFACE) {
        check_frames(frames);
    }
}

fn converse(carrier: &Rc<Channel<Wire>>, pool: &BufferPool) {
    let alarms = Alarms::new(1);
    let (room, own) = (Room::new(1, None), alarms.register());
    let beginning =
        pin!(connect_h2(Rc::clone(carrier), (pool.clone(), H2Known::default()), alarms.register(), Rc::clone(&room)));
    let Some(Ok((mut client, opener))) = until_ready(beginning) else { return };
    // The limit that came with the settings is known from the first turn on.
    let mut is_over = has_closed(&mut client, &own);
    let mut asked: Vec<Asked> = Vec::new();
    for number in 0..REQUESTS.len() {
        if room.has_place() {
            let mut one = Asked::new(opener.stream(room.take()), number);
            if !one.step(pool) {
                asked.push(one);
            }
        }
    }
    is_over = is_over || has_closed(&mut client, &own);
    if let Channel::Plain(wire) = &**carrier {
        wire.holds_back(usize::MAX);
    }
    for _ in 0..TURNS {
        is_over = is_over || has_closed(&mut client, &own);
        asked.retain_mut(|one| !one.step(pool));
        if is_over || asked.is_empty() {
            break;
        }
    }
    // In either order.
    if asked.len().is_multiple_of(2) {
        drop(client);
    }
}

fn has_closed(client: &mut H2Client, alarm: &Alarm) -> bool {
    let mut next = pin!(client.next(alarm, |_| {}));
    poll(next.as_mut()) == Poll::Ready(ClientTurn::Closed)
}

#[cfg(test)]
mod tests {
    use ringgate::net::StreamFault;

    use super::*;

    /// RFC 9113 section 6.8: behind a GOAWAY no stream is opened, and what is written behind a head that did not go is none, so
    /// that it stays known that nothing was done with the request.
    #[test]
    fn what_follows_a_head_that_did_not_go_is_no_head() {
        const GOAWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let wire = Wire::new([&SETTINGS[..], &GOAWAY].concat(), usize::MAX, false);
        wire.holds_back(SETTINGS.len());
        let (pool, carrier, alarms) = (BufferPool::new(), Rc::new(Channel::Plain(wire)), Alarms::new(1));
        let (room, own) = (Room::new(1, None), alarms.register());
        let beginning = pin!(connect_h2(
            Rc::clone(&carrier),
            (pool.clone(), H2Known::default()),
            alarms.register(),
            Rc::clone(&room)
        ));
        let Some(Ok((mut client, opener))) = until_ready(beginning) else { panic!("settings are all it takes") };
        // A place that was taken before the word came.
        let seat = room.take();
        if let Channel::Plain(wire) = &*carrier {
            wire.holds_back(usize::MAX);
        }
        has_closed(&mut client, &own);
        assert!(!room.is_open());
        let stream = opener.stream(seat);
        let head = b"POST /d HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n";
        for bytes in [&head[..], b"4\r\nbody\r\n", b"0\r\n\r\n"] {
            let mut from = pool.lend();
            from.extend(bytes);
            assert!(matches!(poll(pin!(stream.write(from))), Poll::Ready((Err(_), _))));
            assert_eq!(stream.fault(), Some(StreamFault::Unprocessed), "{}", bytes.escape_ascii());
        }
    }
}
