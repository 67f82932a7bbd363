//! Streaming from every way in to every way out: nobody waits for more than has been said (requirement B4, issue "Mixed").

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::client::Client;
use super::h2_client::{H2Client, H2Stream};
use super::h2_endpoint::H2Asked;
use super::message::{Framing, Message};
use super::pair::{BACKS, Front, Part, Table};
use super::plan::Io;
use super::wait::until_true;
use super::wire::Wire;

/// Bytes of one part of an upload.
const PART: usize = 1000;
/// Events or parts of one stream.
const STEPS: usize = 3;
/// More than all windows and buffers between a client and its endpoint hold.
const PLENTY: usize = 16 << 20;

/// What the two ends of an exchange tell each other beside it.
#[derive(Debug, Default)]
struct Signals {
    /// What the client has got, and the endpoint does not know of yet.
    client: AtomicU64,
    /// The other way round.
    endpoint: AtomicU64,
}

fn tells(signal: &AtomicU64) {
    signal.fetch_add(1, Ordering::Relaxed);
}

fn awaits(signal: &AtomicU64, what: &str) {
    until_true(what, || {
        let taken = signal.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
        taken.is_ok()
    });
}

fn event(step: usize) -> String {
    format!("event: step\ndata: {step}\n\n")
}

/// Serves by the last part of the path; false when the connection is to be reset.
fn serves(wire: &mut Wire, mut request: Message, signals: &Signals) -> bool {
    let path = request.start.split(' ').nth(1).expect("a target").to_owned();
    match path.rsplit('/').next() {
        Some("events") => {
            wire.sends("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
            for step in 0..STEPS {
                let event = event(step);
                wire.sends(format!("{:x}\r\n{event}\r\n", event.len()));
                awaits(&signals.client, "the client has an event");
            }
            wire.sends("0\r\n\r\n");
        }
        Some("parts") => {
            let mut unread = Vec::new();
            for _ in 0..STEPS {
                match request.framing() {
                    Framing::Exact(_) => drop(wire.reads(PART)),
                    Framing::Chunked => {
                        while unread.len() < PART {
                            unread.extend(wire.reads_chunk().expect("another part"));
                        }
                        drop(unread.drain(..PART));
                    }
                    Framing::Unsaid => panic!("no body in {request}"),
                }
                tells(&signals.endpoint);
            }
            if request.framing() == Framing::Chunked {
                assert_eq!((wire.reads_chunk(), wire.reads(2)), (None, b"\r\n".to_vec()));
            }
            wire.sends("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
        }
        Some("continue") => {
            if request.field("expect") == Some("100-continue") {
                wire.sends("HTTP/1.1 100 Continue\r\n\r\n");
            }
            wire.reads_body(&mut request);
            wire.sends(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len()));
            wire.sends(&request.body);
        }
        Some("poll") => {
            awaits(&signals.client, "the client waits");
            wire.sends("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnews");
        }
        _ => {
            drop(wire.try_reads_to_end());
            return false;
        }
    }
    true
}

/// The same by HTTP/2.
fn replies(mut asked: H2Asked, signals: &Signals) {
    let path = asked.request().uri().path().to_owned();
    match path.rsplit('/').next() {
        Some("events") => {
            asked.begins(200, &[("content-type", "text/event-stream")], false);
            for step in 0..STEPS {
                asked.sends(event(step), false);
                awaits(&signals.client, "the client has an event");
            }
            asked.sends("", true);
        }
        Some("parts") => {
            let mut unread = 0;
            for _ in 0..STEPS {
                while unread < PART {
                    unread += asked.reads().expect("another part").len();
                }
                unread -= PART;
                tells(&signals.endpoint);
            }
            assert_eq!((unread, asked.reads_all().len()), (0, 0));
            asked.replies_with("done");
        }
        Some("continue") => {
            if asked.field("expect") == "100-continue" {
                asked.informs(100, &[]);
            }
            let body = asked.reads_all();
            asked.replies_with(std::str::from_utf8(&body).expect("text"));
        }
        Some("poll") => {
            awaits(&signals.client, "the client waits");
            asked.replies_with("news");
        }
        Some("stuck") => {
            tells(&signals.endpoint);
            awaits(&signals.client, "the client is stuck");
            counts(asked);
        }
        Some("count") => counts(asked),
        _ => drop(asked.waits_for_reset()),
    }
}

/// Answers how long the body is.
fn counts(mut asked: H2Asked) {
    let mut count = 0;
    while let Some(more) = asked.reads() {
        count += more.len();
    }
    asked.replies_with(&count.to_string());
}

/// What endpoints do here.
const SERVED: Part<Signals> = Part { http1: serves, http2: replies };

/// One request of a client that looks at what comes as it comes.
enum Talk {
    Http10(Client),
    Http11(Client),
    Http2(H2Stream, H2Client),
}

impl Talk {
    /// Sends the head of a request whose body is `length` bytes long.
    fn begins(table: &Table<Signals>, start: &str, field: Option<(&str, &str)>, length: usize) -> Self {
        let (method, path) = start.split_once(' ').expect("a method and a path");
        if let Some(mut client) = table.http2() {
            let fields: Vec<_> = field.into_iter().collect();
            let stream =
                if length == 0 { client.asks(method, path, &fields) } else { client.begins(method, path, &fields) };
            return Self::Http2(stream, client);
        }
        let mut client = table.http1();
        let is_old = table.front == Front::Http10;
        let version = if is_old { "1.0" } else { "1.1" };
        client.sends(format!("{method} {path} HTTP/{version}\r\nHost: a.example\r\n"));
        if let Some((name, value)) = field {
            client.sends(format!("{name}: {value}\r\n"));
        }
        match (length, is_old) {
            (0, _) => {}
            (_, true) => drop(client.sends(format!("Content-Length: {length}\r\n"))),
            (_, false) => drop(client.sends("Transfer-Encoding: chunked\r\n")),
        }
        client.sends("\r\n");
        if is_old { Self::Http10(client) } else { Self::Http11(client) }
    }

    /// Sends some of the body, perhaps the last of it.
    fn sends(&mut self, content: &str, ends: bool) {
        match self {
            Self::Http10(client) => drop(client.sends(content)),
            Self::Http11(client) => {
                client.sends(format!("{:x}\r\n{content}\r\n{}", content.len(), if ends { "0\r\n\r\n" } else { "" }));
            }
            Self::Http2(stream, _) => drop(stream.sends(content, ends)),
        }
    }

    /// Waits until the body may come, where the protocol has a word for it.
    fn is_invited(&mut self) {
        match self {
            Self::Http10(_) => {}
            Self::Http11(client) => drop(client.expects_interim(100)),
            Self::Http2(stream, _) => stream.expects_interim(100),
        }
    }

    /// Waits for the head of the response; whether its content type is this one.
    fn expects_head(&mut self, status: u16, content_type: &str) -> bool {
        match self {
            Self::Http10(client) | Self::Http11(client) => {
                client.expects_head(status).field("content-type").unwrap_or_default() == content_type
            }
            Self::Http2(stream, _) => stream.expects_head(status).field("content-type") == content_type,
        }
    }

    /// Waits for so much content, and not a byte more.
    fn reads(&mut self, count: usize) -> String {
        let mut content = Vec::new();
        while content.len() < count {
            match self {
                Self::Http10(client) => content.extend(client.reads(count)),
                Self::Http11(client) => content.extend(client.reads_chunk().expect("more content")),
                Self::Http2(stream, _) => content.extend(stream.reads().expect("more content")),
            }
        }
        assert_eq!(content.len(), count);
        String::from_utf8(content).expect("text")
    }

    /// Expects the end of the content.
    fn ends(mut self) {
        match &mut self {
            Self::Http10(client) => client.sees_end(),
            Self::Http11(client) => assert_eq!((client.reads_chunk(), client.reads(2)), (None, b"\r\n".to_vec())),
            // A frame that only ends the stream may come by itself.
            Self::Http2(stream, _) => {
                while let Some(more) = stream.reads() {
                    assert_eq!(more, "");
                }
            }
        }
    }

    /// Waits for the whole of a response that is short.
    fn expects(self, status: u16) -> String {
        match self {
            Self::Http10(mut client) => {
                client.expects_head(status);
                String::from_utf8(client.reads_to_end().0).expect("text")
            }
            Self::Http11(mut client) => client.expects(status).text().to_owned(),
            Self::Http2(stream, _client) => stream.expects(status).text().to_owned(),
        }
    }
}

/// What is the same for all pairs with this way in.
fn check(io: Io, front: Front) {
    let timeouts = [("poll", "response_header: 20s, request: 20s"), ("late", "response_header: 200ms")];
    let table = Table::new(io, front, &SERVED, &timeouts);
    let signals = &table.shared;
    for back in BACKS {
        // An endpoint that sends the next event when the client has the one before.
        let mut talk = Talk::begins(&table, &format!("GET /{back}/events"), None, 0);
        assert!(talk.expects_head(200, "text/event-stream"), "{front:?} to {back}");
        for step in 0..STEPS {
            assert_eq!(talk.reads(event(step).len()), event(step), "{front:?} to {back}");
            tells(&signals.client);
        }
        talk.ends();
        // A client that sends the next part when the endpoint has the one before.
        let mut talk = Talk::begins(&table, &format!("POST /{back}/parts"), None, STEPS * PART);
        for step in 0..STEPS {
            talk.sends(&"x".repeat(PART), step + 1 == STEPS);
            awaits(&signals.endpoint, "the endpoint has a part");
        }
        assert_eq!(talk.expects(200), "done", "{front:?} to {back}");
        // A client that sends its body when it is told that it may (RFC 9110 section 10.1.1).
        let mut talk = Talk::begins(&table, &format!("PUT /{back}/continue"), Some(("expect", "100-continue")), 4);
        talk.is_invited();
        talk.sends("body", true);
        assert_eq!(talk.expects(200), "body", "{front:?} to {back}");
        // An answer that comes when there is news, later than other routes would wait for it.
        let poll = Talk::begins(&table, &format!("GET /{back}/poll"), None, 0);
        drop(Talk::begins(&table, &format!("GET /{back}/late"), None, 0).expects(504));
        tells(&signals.client);
        assert_eq!(poll.expects(200), "news", "{front:?} to {back}");
    }
    table.ends();
}

from_all_fronts!(check);

/// Time in which nothing moves any more.
const STANDSTILL: Duration = Duration::from_millis(150);

/// Sends until nothing moves any more: how much went.
fn sends_until_stuck(client: &Client, content: &[u8]) -> usize {
    client.stream().set_write_timeout(Some(STANDSTILL)).expect("a positive time");
    let mut sent = 0;
    while sent < content.len() {
        match client.stream().write(&content[sent..]) {
            Ok(count) => sent += count,
            Err(error) => {
                assert!(matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "{error}");
                break;
            }
        }
    }
    client.stream().set_write_timeout(Some(super::wait::PATIENCE)).expect("a positive time");
    sent
}

/// Flow control is end to end: an endpoint of HTTP/2 that reads nothing of a request stops its client, and nobody else.
fn an_endpoint_that_reads_nothing_stops_its_client_alone(io: Io) {
    let table = Table::new(io, Front::H2c, &SERVED, &[]);
    let content = vec![b'x'; PLENTY];
    for back in ["h2c", "h2s"] {
        let mut old = table.gateway.client();
        let head = format!("POST /{back}/stuck HTTP/1.1\r\nHost: a.example\r\nContent-Length: {PLENTY}\r\n\r\n");
        old.sends(head);
        awaits(&table.shared.endpoint, "the request has come");
        let mut client = H2Client::to(table.gateway.address());
        let mut stream = client.begins("POST", &format!("/{back}/stuck"), &[]);
        awaits(&table.shared.endpoint, "the request has come");
        let sent = sends_until_stuck(&old, &content);
        let sent_too = stream.sends_for(&content, STANDSTILL);
        assert!(sent < PLENTY * 3 / 4 && sent_too < PLENTY / 4, "{sent} and {sent_too}");
        // On the same connections.
        let mut other = client.begins("POST", &format!("/{back}/count"), &[]);
        other.sends(&content[..1 << 20], true);
        assert_eq!(other.expects(200).text(), (1 << 20).to_string());
        table.gateway.waits_for("http2_upstream_streams_active", 2.0);
        // Both go on where they stopped.
        tells(&table.shared.client);
        tells(&table.shared.client);
        old.sends(&content[sent..]);
        assert_eq!(old.expects(200).text(), PLENTY.to_string());
        stream.sends(&content[sent_too..], true);
        assert_eq!(stream.expects(200).text(), PLENTY.to_string());
    }
    table.ends();
}

on_both_drivers!(
    from_http_1_0_to_all,
    from_http_1_1_to_all,
    from_http_1_1_over_tls_to_all,
    from_http_2_to_all,
    from_http_2_over_tls_to_all,
    an_endpoint_that_reads_nothing_stops_its_client_alone,
);
