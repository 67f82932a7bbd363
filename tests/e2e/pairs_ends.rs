//! How messages end from every way in to every way out: with trailers, cut short, refused, given up (issue "Mixed").

use std::sync::atomic::{AtomicU64, Ordering};

use h2::Reason;

use super::h2_endpoint::H2Asked;
use super::message::Message;
use super::pair::{BACKS, Front, Part, Table};
use super::plan::Io;
use super::wait::until_true;
use super::wire::{End, Wire};

/// What passes between a test and its endpoints beside their protocols.
#[derive(Debug, Default)]
struct Signals {
    /// Responses to be cut short of which the client has the head: what goes with a reset may be lost.
    cut: AtomicU64,
    /// Requests that are under way at an endpoint and will not be whole, and those of them that were given up.
    begun: AtomicU64,
    gone: AtomicU64,
    /// Requests for what is refused every other time.
    refused: AtomicU64,
}

impl Signals {
    /// Waits until a client has the head of what is cut short next.
    fn waits_for_head(&self) {
        until_true("a client has a head", || {
            let taken = self.cut.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |cut| cut.checked_sub(1));
            taken.is_ok()
        });
    }

    fn cuts(&self) {
        self.cut.fetch_add(1, Ordering::Relaxed);
    }

    fn begins(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    fn is_given_up(&self) {
        self.gone.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until every request that was under way was given up, and there were so many.
    fn waits_for_all(&self, count: u64) {
        until_true("requests were given up", || self.gone.load(Ordering::Relaxed) == count);
    }
}

/// Answers by the last part of the path; false when the connection is to be reset.
fn answers(wire: &mut Wire, mut request: Message, signals: &Signals) -> bool {
    let path = request.start.split(' ').nth(1).expect("a target").to_owned();
    match path.rsplit('/').next() {
        Some("sized") => {
            wire.reads_body(&mut request);
            wire.sends("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            true
        }
        Some("bare") => {
            wire.reads_body(&mut request);
            wire.sends("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            true
        }
        Some("refused") => {
            wire.sends("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            true
        }
        Some("part") => {
            wire.sends("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n");
            signals.waits_for_head();
            false
        }
        Some("stalls") => {
            wire.sends("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n");
            signals.begins();
            assert_eq!(wire.try_reads_to_end(), b"", "a request without a body");
            signals.is_given_up();
            false
        }
        Some("upload") => {
            let is_chunked = request.field("content-length").is_none();
            let part = if is_chunked { wire.reads_chunk().expect("a part") } else { wire.reads(4) };
            assert_eq!(part, b"part");
            signals.begins();
            assert_eq!(wire.try_reads_to_end(), b"", "not whole");
            signals.is_given_up();
            false
        }
        _ => false,
    }
}

/// The same by HTTP/2.
fn replies(mut asked: H2Asked, signals: &Signals) {
    let path = asked.request().uri().path().to_owned();
    match path.rsplit('/').next() {
        Some("sized") => {
            let sum = sum_of(&mut asked);
            asked.begins(200, &[("content-length", "2")], false);
            asked.sends("ok", false);
            asked.sends_trailers(&[("x-sum", &sum)]);
        }
        Some("bare") => {
            let sum = sum_of(&mut asked);
            asked.begins(200, &[("content-length", "0")], false);
            asked.sends_trailers(&[("x-sum", &sum)]);
        }
        // RFC 9113 section 8.7: nothing was done, and it may be sent again.
        Some("refused") if signals.refused.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) => {
            asked.resets(Reason::REFUSED_STREAM);
        }
        Some("refused") => asked.replies_with("ok"),
        Some("part") => {
            asked.begins(200, &[], false);
            asked.sends("part", false);
            signals.waits_for_head();
            // RFC 9113 section 8.1: without an error, and without an end.
            asked.resets(Reason::NO_ERROR);
        }
        Some("stalls") => {
            asked.begins(200, &[], false);
            asked.sends("part", false);
            signals.begins();
            assert_eq!(asked.waits_for_reset(), Reason::CANCEL);
            signals.is_given_up();
        }
        Some("upload") => {
            assert_eq!(asked.reads().as_deref(), Some(&b"part"[..]));
            signals.begins();
            assert_eq!(asked.try_reads(), Err(Some(Reason::CANCEL)), "not whole");
            signals.is_given_up();
        }
        _ => asked.resets(Reason::CANCEL),
    }
}

/// The size of the body, and the trailer `x-up` behind it.
fn sum_of(asked: &mut H2Asked) -> String {
    let size = asked.reads_all().len();
    let trailers = asked.reads_trailers();
    let up = trailers.get("x-up").map_or("", |up| up.to_str().expect("text"));
    format!("{size}{up}")
}

/// What endpoints do here.
const PART: Part<Signals> = Part { http1: answers, http2: replies };

/// What a client got: the content, its announced length, and the trailer `x-sum`.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    body: String,
    length: Option<String>,
    sum: Option<String>,
}

impl Table<Signals> {
    /// A request with the body `hello` and its length, and a trailer `x-up` where the client's protocol has some then.
    fn posts_sized(&self, path: &str) -> Seen {
        if let Some(mut client) = self.http2() {
            let mut stream = client.begins("POST", path, &[("te", "trailers"), ("content-length", "5")]);
            stream.sends("hello", false).sends_trailers(&[("x-up", "+")]);
            let reply = stream.expects(200);
            let text = |value: &http::HeaderValue| value.to_str().expect("text").to_owned();
            let length = reply.fields.get("content-length").map(text);
            return Seen { body: reply.text().to_owned(), length, sum: reply.trailers.get("x-sum").map(text) };
        }
        let mut client = self.http1();
        let version = if self.front == Front::Http10 { "1.0" } else { "1.1" };
        client.sends(format!(
            "POST {path} HTTP/{version}\r\nHost: a.example\r\nTE: trailers\r\nConnection: TE\r\nContent-Length: 5\r\n\r\nhello"
        ));
        let message = client.expects(200);
        let trailer = message.trailers.iter().find(|(name, _)| name.eq_ignore_ascii_case("x-sum"));
        let length = message.field("content-length").map(str::to_owned);
        Seen { body: message.text().to_owned(), length, sum: trailer.map(|(_, value)| value.clone()) }
    }

    /// Trailers behind a body with a length, where both protocols have them, and the length all the same.
    fn passes_trailers(&self, back: &str) {
        let (is_h2, goes_h2) = (matches!(self.front, Front::H2c | Front::H2Tls), back.starts_with("h2"));
        let seen = self.posts_sized(&format!("/{back}/sized"));
        let sum = (is_h2 && goes_h2).then(|| "5+".to_owned());
        assert_eq!(
            seen,
            Seen { body: "ok".to_owned(), length: Some("2".to_owned()), sum },
            "{:?} to {back}",
            self.front
        );
        // Where nothing is between the fields and the trailers, HTTP/1.1 has them too.
        let seen = self.posts_sized(&format!("/{back}/bare"));
        let sum = match self.front {
            _ if !goes_h2 => None,
            Front::Http10 => None,
            Front::Http11 | Front::Http11Tls => Some("5"),
            Front::H2c | Front::H2Tls => Some("5+"),
        };
        assert_eq!((&seen.body[..], seen.sum.as_deref()), ("", sum), "{:?} to {back}", self.front);
    }

    /// A GET of what begins, without a length, and does not end in order: what it gives back, once the head is there, waits
    /// for the end, which must not look like that of a whole body.
    fn begins_what_is_cut(&self, path: String) -> Box<dyn FnOnce()> {
        if let Some(mut client) = self.http2() {
            let mut stream = client.gets(&path);
            stream.expects_head(200);
            return Box::new(move || {
                let reason = stream.expects_reset();
                drop(client);
                assert!(matches!(reason, Reason::INTERNAL_ERROR | Reason::CANCEL), "{reason:?}");
            });
        }
        let mut client = self.http1();
        if self.front == Front::Http10 {
            client.sends(format!("GET {path} HTTP/1.0\r\nHost: a.example\r\n\r\n"));
            client.reads_head();
            return Box::new(move || {
                assert_eq!(client.reads_to_end().1, End::Reset, "{path}: its end would be that of the body");
            });
        }
        client.asks(&path);
        client.expects_head(200);
        Box::new(move || {
            let rest = client.try_reads_to_end();
            assert!(!rest.ends_with(b"0\r\n\r\n"), "{path}: {}", rest.escape_ascii());
        })
    }

    /// The status and the reason of the answer to a GET.
    fn gets(&self, path: &str) -> (u16, String) {
        if let Some(mut client) = self.http2() {
            let reply = client.gets(path).expects_any();
            return (reply.status, reply.reason().to_owned());
        }
        let mut client = self.http1();
        client.asks(path);
        let message = client.expects_any();
        (message.status(), message.reason().to_owned())
    }

    /// An upload that the client gives up, one way or the other, once the endpoint has some of it.
    fn leaves_upload(&self, path: &str, second: bool, is_there: impl FnOnce()) {
        if let Some(mut client) = self.http2() {
            let mut stream = client.begins("POST", path, &[]);
            stream.sends("part", false);
            is_there();
            // RFC 9113 section 8.1: whatever the reason, a request without END_STREAM is not whole.
            return stream.resets(if second { Reason::NO_ERROR } else { Reason::CANCEL });
        }
        let mut client = self.http1();
        client.sends(match self.front {
            Front::Http10 => format!("POST {path} HTTP/1.0\r\nHost: a.example\r\nContent-Length: 100\r\n\r\npart"),
            Front::Http11 | Front::Http11Tls | Front::H2c | Front::H2Tls => {
                format!("POST {path} HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n")
            }
        });
        is_there();
        if second {
            client.closes();
        } else {
            client.resets();
        }
    }
}

/// What is the same for all pairs with this way in.
fn check(io: Io, front: Front) {
    let table = Table::new(io, front, &PART, &[("stalls", "body_idle: 1s")]);
    let signals = &table.shared;
    let mut begun = 0;
    let under_way = |begun: &mut u64| {
        *begun += 1;
        until_true("a request is under way", || signals.begun.load(Ordering::Relaxed) == *begun);
    };
    for back in BACKS {
        table.passes_trailers(back);
        let is_cut = table.begins_what_is_cut(format!("/{back}/part"));
        signals.cuts();
        is_cut();
        assert_eq!(table.gets(&format!("/{back}/refused")), (200, String::new()), "{front:?} to {back}");
        let (status, reason) = table.gets(&format!("/{back}/cancelled"));
        let is_stream = back.starts_with("h2");
        assert_eq!((status, reason == "upstream_stream_reset"), (502, is_stream), "{front:?} to {back}: {reason}");
        for second in [false, true] {
            table.leaves_upload(&format!("/{back}/upload"), second, || under_way(&mut begun));
            signals.waits_for_all(begun);
        }
    }
    // At once, since each takes all the time that it has.
    let stalled = BACKS.map(|back| {
        let is_cut = table.begins_what_is_cut(format!("/{back}/stalls"));
        under_way(&mut begun);
        is_cut
    });
    stalled.into_iter().for_each(|is_cut| is_cut());
    signals.waits_for_all(begun);
    table.gateway.waits_for("upstream_retries_total{reason=\"refused\"}", 2.0);
    table.ends();
}

from_all_fronts!(check);

on_both_drivers!(
    from_http_1_0_to_all,
    from_http_1_1_to_all,
    from_http_1_1_over_tls_to_all,
    from_http_2_to_all,
    from_http_2_over_tls_to_all,
);
