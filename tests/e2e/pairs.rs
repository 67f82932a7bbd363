//! Every way in beside every way out: one table of what must be the same for all of them (requirement B7, issue "Mixed").

use std::sync::atomic::{AtomicU64, Ordering};

use h2::Reason;

use super::h2_endpoint::H2Asked;
use super::message::Message;
use super::pair::{BACKS, Front, Part, Table};
use super::plan::Io;
use super::wait::until_true;
use super::wire::Wire;

/// What passes between a test and its endpoints beside their protocols.
#[derive(Debug, Default)]
struct Hanging {
    /// Responses to be cut short of which the client has the head: what goes with a reset may be lost.
    cut: AtomicU64,
    /// Requests that are not answered, and those of them that were given up.
    begun: AtomicU64,
    gone: AtomicU64,
}

impl Hanging {
    /// Waits until a client has the head of what is cut short next.
    fn waits_for_head(&self) {
        until_true("a client has a head", || {
            let taken = self.cut.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |cut| cut.checked_sub(1));
            taken.is_ok()
        });
    }

    fn waits_for(&self, begun: u64, gone: u64) {
        until_true("a request hangs", || self.begun.load(Ordering::Relaxed) == begun);
        until_true("a request was given up", || self.gone.load(Ordering::Relaxed) == gone);
    }
}

/// What a client got.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    status: u16,
    body: Vec<u8>,
    /// The trailer `x-sum`.
    sum: Option<String>,
    interims: Vec<u16>,
}

/// Answers by the last part of the path; false when the connection is to be reset.
fn answers(wire: &mut Wire, mut request: Message, hanging: &Hanging) -> bool {
    wire.reads_body(&mut request);
    let path = request.start.split(' ').nth(1).expect("a target");
    match path.rsplit('/').next() {
        Some("echo") => {
            let up = request
                .trailers
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case("x-up"))
                .map_or("", |(_, value)| value);
            let size = request.body.len();
            wire.sends(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{size:x}\r\n"));
            wire.sends(&request.body);
            wire.sends(format!("\r\n0\r\nX-Sum: {size}{up}\r\n\r\n"));
            true
        }
        Some("early") => {
            wire.sends("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            true
        }
        Some("cut") => {
            wire.sends("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n0123456789");
            hanging.waits_for_head();
            false
        }
        _ => {
            hanging.begun.fetch_add(1, Ordering::Relaxed);
            drop(wire.try_reads_to_end());
            hanging.gone.fetch_add(1, Ordering::Relaxed);
            false
        }
    }
}

fn replies(mut asked: H2Asked, hanging: &Hanging) {
    let path = asked.request().uri().path().to_owned();
    match path.rsplit('/').next() {
        Some("echo") => {
            let body = asked.reads_all();
            let up =
                asked.reads_trailers().get("x-up").map_or(String::new(), |up| up.to_str().expect("text").to_owned());
            asked.begins(200, &[], false);
            asked.sends(&body, false);
            asked.sends_trailers(&[("x-sum", &format!("{}{up}", body.len()))]);
        }
        Some("early") => {
            asked.informs(103, &[("link", "</a>")]);
            asked.replies(200, &[("content-length", "2")], "ok");
        }
        Some("cut") => {
            asked.begins(200, &[("content-length", "1000")], false);
            asked.sends("0123456789", false);
            hanging.waits_for_head();
            asked.resets(Reason::INTERNAL_ERROR);
        }
        _ => {
            hanging.begun.fetch_add(1, Ordering::Relaxed);
            assert_eq!(asked.waits_for_reset(), Reason::CANCEL);
            hanging.gone.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What endpoints do here.
const PART: Part<Hanging> = Part { http1: answers, http2: replies };

impl Table<Hanging> {
    /// A request with this body, and a trailer `x-up` where the client's protocol has some.
    fn asks(&self, path: &str, body: &[u8]) -> Seen {
        self.begins(path, body)()
    }

    /// The same; what it gives back waits for the answer.
    fn begins(&self, path: &str, body: &[u8]) -> Box<dyn FnOnce() -> Seen> {
        if let Some(mut client) = self.http2() {
            let mut stream = client.begins("POST", path, &[("te", "trailers")]);
            stream.sends(body, false).sends_trailers(&[("x-up", "+")]);
            return Box::new(move || {
                let reply = stream.expects_any();
                drop(client);
                let sum = reply.trailers.get("x-sum").map(|sum| sum.to_str().expect("text").to_owned());
                Seen { status: reply.status, body: reply.body, sum, interims: reply.interims }
            });
        }
        let mut client = self.http1();
        if self.front == Front::Http10 {
            client.sends(format!("POST {path} HTTP/1.0\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n", body.len()));
            client.sends(body);
            return Box::new(move || {
                let status = client.reads_head().status();
                Seen { status, body: client.reads_to_end().0, ..Seen::default() }
            });
        }
        client.sends(format!(
            "POST {path} HTTP/1.1\r\nHost: a.example\r\nTE: trailers\r\nConnection: TE\r\nTransfer-Encoding: chunked\r\n\r\n\
             {:x}\r\n",
            body.len()
        ));
        client.sends(body);
        client.sends("\r\n0\r\nX-Up: +\r\n\r\n");
        Box::new(move || {
            let mut interims = Vec::new();
            let mut message = client.reads_head();
            while message.status() < 200 {
                interims.push(message.status());
                message = client.reads_head();
            }
            client.reads_body(&mut message);
            let sum = message
                .trailers
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case("x-sum"))
                .map(|(_, value)| value.clone());
            Seen { status: message.status(), body: message.body, sum, interims }
        })
    }

    /// A GET of what is cut short must not look whole.
    fn sees_cut(&self, path: &str) {
        if let Some(mut client) = self.http2() {
            let mut stream = client.gets(path);
            stream.expects_head(200);
            self.shared.cut.fetch_add(1, Ordering::Relaxed);
            let reason = stream.expects_reset();
            assert!(matches!(reason, Reason::INTERNAL_ERROR | Reason::CANCEL), "{reason:?}");
            return;
        }
        let mut client = self.http1();
        let version = if self.front == Front::Http10 { "1.0" } else { "1.1" };
        client.sends(format!("GET {path} HTTP/{version}\r\nHost: a.example\r\n\r\n"));
        let message = client.reads_head();
        assert_eq!(message.field("content-length"), Some("1000"), "{message}");
        self.shared.cut.fetch_add(1, Ordering::Relaxed);
        assert!(client.try_reads_to_end().len() <= 10, "{path}");
    }

    /// A GET that the client gives up once `is_there`.
    fn leaves(&self, path: &str, is_there: impl FnOnce()) {
        if let Some(mut client) = self.http2() {
            let stream = client.gets(path);
            is_there();
            return stream.resets(Reason::CANCEL);
        }
        let mut client = self.http1();
        client.asks(path);
        is_there();
        client.resets();
    }
}

/// What is the same for all pairs with this way in.
fn check(io: Io, front: Front) {
    let table = Table::new(io, front, &PART, &[("late", "request: 1s")]);
    let is_old = front == Front::Http10;
    let body: Vec<u8> = (0..100_000_u32).map(|at| u8::try_from(at % 251).expect("small")).collect();
    let hanging = &table.shared;
    for (turn, back) in (0..).zip(BACKS) {
        let seen = table.asks(&format!("/{back}/echo"), &body);
        assert!(seen.status == 200 && seen.body == body, "{front:?} to {back}: {} of {}", seen.status, seen.body.len());
        assert_eq!(seen.sum.as_deref(), (!is_old).then_some("100000+"), "{front:?} to {back}");
        let seen = table.asks(&format!("/{back}/early"), b"x");
        let interims = if is_old { vec![] } else { vec![103] };
        let expected = Seen { status: 200, body: b"ok".to_vec(), sum: None, interims };
        assert_eq!(seen, expected, "{front:?} to {back}");
        table.sees_cut(&format!("/{back}/cut"));
        table.leaves(&format!("/{back}/hang"), || hanging.waits_for(turn + 1, turn));
        hanging.waits_for(turn + 1, turn + 1);
    }
    // At once, since each takes all the time that it has.
    let late = BACKS.map(|back| (back, table.begins(&format!("/{back}/late"), b"x")));
    for (back, seen) in late {
        assert_eq!(seen().status, 504, "{front:?} to {back}");
    }
    hanging.waits_for(8, 8);
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
