//! One request of a client, right or wrong.

use std::net::IpAddr;

use crate::behaviour::{Behaviour, Shape, Trouble};
use crate::call::CallPlan;
use crate::chance::{Chance, pattern};
use crate::plan::Mood;
use crate::tunnels::is_of_client;
use crate::wire::chunked;

/// A request body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BodyPlan {
    None,
    Length(usize),
    Chunked { length: usize, sizes: Vec<usize>, trailers: bool },
}

impl BodyPlan {
    pub(crate) fn length(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Length(length) | Self::Chunked { length, .. } => *length,
        }
    }
}

/// What is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// These bytes stand for the head.
    Head(Vec<u8>),
    /// The head is good, the chunks are not.
    Chunks,
}

#[derive(Debug, Clone)]
pub(crate) struct RequestPlan {
    pub(crate) token: String,
    pub(crate) method: &'static str,
    pub(crate) is_old: bool,
    pub(crate) body: BodyPlan,
    pub(crate) expects: bool,
    pub(crate) closes: bool,
    pub(crate) flaw: Option<Flaw>,
    /// Is it a call of gRPC?
    pub(crate) call: Option<CallPlan>,
    /// Whom the words ahead of its connection name, if they name anybody.
    pub(crate) source: Option<IpAddr>,
    /// By attempt; the last one stands for all that follow.
    pub(crate) behaviours: Vec<Behaviour>,
}

impl RequestPlan {
    /// What is wrong with the client that an endpoint is told of, by this name.
    pub(crate) fn source_problem(&self, told: &str) -> Option<String> {
        let is_told = match self.source {
            Some(source) => told == source.to_string(),
            None => is_of_client(told),
        };
        (!is_told).then(|| format!("the client is {told:?} instead of {:?}", self.source))
    }

    pub(crate) fn is_idempotent(&self) -> bool {
        self.method != "POST"
    }

    /// Some answers end with their connections: with TLS, one that was cut can be told from one that is whole.
    pub(crate) fn end_with_connections(&mut self, chance: &Chance) {
        for behaviour in self.behaviours.iter_mut().filter(|one| one.trouble != Trouble::Extra && !chance.one_in(3)) {
            if let Trouble::Cut { at, reset, stall } = &mut behaviour.trouble {
                (*at, *reset, *stall) = (*at + 200, false, false);
                behaviour.length = behaviour.length.max(1_000);
            } else if chance.one_in(2) {
                continue;
            }
            behaviour.shape = Shape::UntilClose;
        }
    }

    pub(crate) fn path(&self) -> String {
        format!("/t/{}", self.token)
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        pattern(&self.token, self.body.length())
    }

    pub(crate) fn head(&self) -> Vec<u8> {
        if let Some(Flaw::Head(bytes)) = &self.flaw {
            return bytes.clone();
        }
        let version = if self.is_old { "1.0" } else { "1.1" };
        let token = &self.token;
        let mut head = format!("{} /t/{token}?q={token} HTTP/{version}\r\nHost: sim.test\r\n", self.method);
        head += &format!("X-Token: {token}\r\nX-Request-Id: {token}\r\nTE: trailers\r\nX-Hop: 1\r\n");
        head += match (self.is_old, self.closes) {
            (false, false) => "Connection: TE, X-Hop\r\n",
            (false, true) => "Connection: close, TE, X-Hop\r\n",
            (true, false) => "Connection: keep-alive, X-Hop\r\n",
            (true, true) => "Connection: X-Hop\r\n",
        };
        match &self.body {
            BodyPlan::None => {}
            BodyPlan::Length(length) => head += &format!("Content-Length: {length}\r\n"),
            BodyPlan::Chunked { .. } => head += "Transfer-Encoding: chunked\r\n",
        }
        if self.expects {
            head += "Expect: 100-continue\r\n";
        }
        for (name, value) in self.call.iter().flat_map(CallPlan::fields) {
            head += &format!("{name}: {value}\r\n");
        }
        (head + "\r\n").into_bytes()
    }

    /// The body as it goes over the wire.
    pub(crate) fn framed_body(&self) -> Vec<u8> {
        let body = self.body();
        match (&self.body, &self.flaw) {
            (_, Some(Flaw::Head(_))) => Vec::new(),
            (BodyPlan::Chunked { sizes, .. }, Some(Flaw::Chunks)) => {
                let mut framed = chunked(&body, sizes, "");
                framed.truncate(framed.len() - 5);
                framed.extend_from_slice(b"-1\r\nX\r\n0\r\n\r\n");
                framed
            }
            (BodyPlan::Chunked { sizes, trailers, .. }, _) => {
                let trailer = format!("X-Sum: {}\r\n", self.token);
                chunked(&body, sizes, if *trailers { &trailer } else { "" })
            }
            (BodyPlan::None | BodyPlan::Length(_), _) => body,
        }
    }
}

pub(crate) fn request(chance: &Chance, mood: Mood, token: &str) -> RequestPlan {
    let method = chance.pick(&["GET", "GET", "GET", "HEAD", "POST", "POST", "PUT"]);
    let is_stormy = mood == Mood::Stormy;
    let lengths: &[usize] =
        if is_stormy { &[0, 0, 1, 40, 700, 700, 17_000] } else { &[0, 1, 40, 700, 5_000, 17_000, 60_000] };
    let length = chance.pick(lengths);
    let is_old = chance.one_in(if is_stormy { 20 } else { 6 });
    let body = match (method, chance.below(5)) {
        ("GET" | "HEAD", 0..=3) | (_, 0) => BodyPlan::None,
        (_, 1 | 2) => BodyPlan::Length(length),
        _ if is_old => BodyPlan::Length(length),
        _ => BodyPlan::Chunked {
            length,
            sizes: (0..3).map(|_| chance.pick(&[1, 3, 100, 4_000, 16_384, 30_000])).collect(),
            trailers: chance.one_in(2),
        },
    };
    let sizes_tiny = matches!(&body, BodyPlan::Chunked { sizes, .. } if sizes.iter().all(|size| *size < 10));
    let body = if sizes_tiny { BodyPlan::Length(length.min(700)) } else { body };
    let flaw = match (&body, mood != Mood::Calm && chance.one_in(if is_stormy { 100 } else { 12 })) {
        (_, false) => None,
        (BodyPlan::Chunked { .. }, true) => Some(Flaw::Chunks),
        (BodyPlan::None | BodyPlan::Length(_), true) => Some(Flaw::Head(malformed(chance, token))),
    };
    let count = if mood == Mood::Wild { 3 } else { 1 };
    RequestPlan {
        token: token.to_owned(),
        method,
        is_old,
        expects: body.length() > 0 && chance.one_in(4),
        closes: chance.one_in(if is_old {
            2
        } else if is_stormy {
            60
        } else {
            10
        }),
        body,
        flaw,
        call: None,
        source: None,
        behaviours: (0..count)
            .map(|_| match mood {
                Mood::Calm => Behaviour::calm(chance),
                Mood::Wild => Behaviour::wild(chance),
                Mood::Stormy => Behaviour::good(chance),
            })
            .collect(),
    }
}

/// A head that no gateway may pass on; the token is in it, should it get through.
fn malformed(chance: &Chance, token: &str) -> Vec<u8> {
    let line = format!("GET /t/{token} HTTP/1.1\r\n");
    let good = format!("{line}Host: sim.test\r\nX-Token: {token}\r\n");
    let post = format!("POST /t/{token} HTTP/1.1\r\nHost: sim.test\r\nX-Token: {token}\r\n");
    match chance.below(14) {
        0 => format!("{line}X-Token: {token}\r\n\r\n"),
        1 => format!("{good}Host: other.test\r\n\r\n"),
        2 => format!("{post}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        3 => format!("{post}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
        4 => format!("GET /t/{token} HTTP/1.1\nHost: sim.test\n\n"),
        5 => format!("{good}X-Space : 1\r\n\r\n"),
        6 => format!("{good}X-Fold: 1\r\n 2\r\n\r\n"),
        7 => format!("{post}Transfer-Encoding: gzip\r\n\r\n"),
        8 => format!("{post}Content-Length: +5\r\n\r\nabcde"),
        9 => format!("{good}X-Nul: a\0b\r\n\r\n"),
        10 => format!("GET /t/{token} HTTP/2.0\r\nHost: sim.test\r\n\r\n"),
        11 => format!("{post}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        12 => format!("GET  /t/{token} HTTP/1.1\r\nHost: sim.test\r\n\r\n"),
        _ => return pattern(token, 300).into_iter().chain(*b"\r\n\r\n").collect(),
    }
    .into_bytes()
}
