//! What one seed makes everybody do.

use std::net::SocketAddr;

use crate::chance::{Chance, pattern};
use crate::mailbox::Hearing;
use crate::pipe::Profile;
use crate::settings::{Bones, ENDPOINTS, ROOMS, Settings, address};
use crate::storm::{self, Event};
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
    /// By attempt; the last one stands for all that follow.
    pub(crate) behaviours: Vec<Behaviour>,
}

impl RequestPlan {
    pub(crate) fn is_idempotent(&self) -> bool {
        self.method != "POST"
    }

    /// Some answers end with their connections: with TLS, one that was cut can be told from one that is whole.
    fn end_with_connections(&mut self, chance: &Chance) {
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

/// How an endpoint frames its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Length,
    Chunked,
    UntilClose,
}

/// What an endpoint does with one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Behaviour {
    pub(crate) status: u16,
    pub(crate) shape: Shape,
    pub(crate) length: usize,
    pub(crate) interims: usize,
    pub(crate) delay_ms: u64,
    /// Milliseconds between the pieces of the answer.
    pub(crate) pace_ms: u64,
    pub(crate) closes: bool,
    pub(crate) trouble: Trouble,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    /// Answers before it has read the body, and closes.
    Early,
    /// Reads the request and never answers.
    Stall,
    /// Reads the request and closes, in order or with a reset.
    Gone {
        reset: bool,
    },
    /// Does not even read the whole head of the next request.
    GoneAtOnce,
    /// Sends so many bytes of the answer and closes, or with a reset, or stalls.
    Cut {
        at: usize,
        reset: bool,
        stall: bool,
    },
    /// Sends a whole response more than was asked for.
    Extra,
    /// Answers with rubbish.
    Rubbish(usize),
    /// Sends interim responses without end.
    Flood,
}

impl Behaviour {
    pub(crate) fn calm(chance: &Chance) -> Self {
        Self {
            status: chance.pick(&[200, 200, 200, 201, 204, 304, 404, 500]),
            shape: chance.pick(&[Shape::Length, Shape::Length, Shape::Chunked, Shape::Chunked, Shape::UntilClose]),
            length: chance.pick(&[0, 1, 5, 100, 1000, 9000, 16_384, 40_000]),
            interims: chance.pick(&[0, 0, 0, 0, 1, 2]),
            delay_ms: chance.pick(&[0, 0, 0, 1, 7, 80, 300]),
            pace_ms: chance.pick(&[0, 0, 0, 0, 1, 15]),
            closes: chance.one_in(6),
            trouble: Trouble::None,
        }
    }

    /// Nothing that a breaker or a retry could mind.
    fn good(chance: &Chance) -> Self {
        let calm = Self::calm(chance);
        Self {
            status: chance.pick(&[200, 200, 201, 204, 304, 404]),
            length: calm.length.min(1_000),
            // A host that dies ends such an answer, and nobody can tell.
            shape: if calm.shape == Shape::UntilClose { Shape::Length } else { calm.shape },
            delay_ms: chance.pick(&[0, 1, 7, 30, 120, 200]),
            ..calm
        }
    }

    fn wild(chance: &Chance) -> Self {
        let mut wild = Self::calm(chance);
        let at = chance.pick(&[1, 10, 60, 150, 300, 400, 1000, 8000]);
        let reset = chance.one_in(2);
        wild.trouble = match chance.below(16) {
            0 => Trouble::Early,
            1 => Trouble::Stall,
            2 | 3 => Trouble::Gone { reset },
            4 => Trouble::GoneAtOnce,
            5..=7 => Trouble::Cut { at, reset, stall: chance.one_in(4) },
            8 | 9 => Trouble::Extra,
            10 => Trouble::Rubbish(chance.below(RUBBISH.len())),
            11 if chance.one_in(3) => Trouble::Flood,
            _ => Trouble::None,
        };
        if wild.trouble == Trouble::Extra && wild.shape == Shape::UntilClose {
            // Whatever follows such an answer is part of it.
            wild.shape = Shape::Length;
        }
        if wild.trouble == Trouble::Early {
            wild.status = chance.pick(&[401, 413, 200]);
        }
        wild
    }
}

/// Responses that must not be relayed.
pub(crate) const RUBBISH: [&[u8]; 6] = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbad\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nbad!",
    b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nbad",
    b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX-Nul: a\0b\r\nContent-Length: 3\r\n\r\nbad",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
];

/// How a client ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Closes once it has all answers.
    Close,
    /// Ends its direction behind the last request.
    HalfClose,
    /// Waits for the gateway to close.
    Wait,
}

/// What a client does to its transport, whatever it carries.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WireTrouble {
    /// Leaves after so many bytes, with a reset or in order, and without a word of TLS.
    pub(crate) cut: Option<(usize, bool)>,
    /// Sends this many bytes at once, and waits so long.
    pub(crate) drip: Option<(usize, u64)>,
}

/// What a client speaks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tongue {
    pub(crate) is_tls: bool,
    /// Version 1.2 of TLS.
    pub(crate) is_12: bool,
    pub(crate) is_h2: bool,
    pub(crate) wire: WireTrouble,
    /// Of each stream that it reads, in bytes.
    pub(crate) window: u32,
    /// Cancels some streams after so long.
    pub(crate) cancels_ms: Option<u64>,
    /// Waits so long for each piece of an answer before it makes room for more.
    pub(crate) lags_ms: u64,
}

impl Tongue {
    fn draw(chance: &Chance, is_wild: bool) -> Self {
        let (is_tls, is_h2) = chance.pick(&[(true, false), (true, true), (true, true), (false, true)]);
        let wire = WireTrouble {
            cut: (is_wild && chance.one_in(3)).then(|| (chance.below(4_000), chance.one_in(2))),
            drip: (is_wild && chance.one_in(4)).then(|| chance.pick(&[(30, 1), (100, 20), (7, 1), (1, 400)])),
        };
        Self {
            is_tls,
            is_12: chance.one_in(4),
            is_h2,
            wire,
            window: chance.pick(&[2_000, 16_000, 65_535, 1 << 20]),
            cancels_ms: (is_wild && chance.one_in(3)).then(|| chance.pick(&[0, 1, 9, 100])),
            lags_ms: if is_wild { chance.pick(&[0, 0, 5, 100]) } else { 0 },
        }
    }

    fn is_fair(&self) -> bool {
        self.wire.cut.is_none() && self.wire.drip.is_none() && self.cancels_ms.is_none() && self.lags_ms == 0
    }
}

#[derive(Debug, Clone)]
pub(crate) struct ClientPlan {
    pub(crate) tongue: Tongue,
    pub(crate) requests: Vec<RequestPlan>,
    pub(crate) pipelines: bool,
    pub(crate) ending: Ending,
    /// Leaves after so many bytes sent, with a reset or in order.
    pub(crate) aborts: Option<(usize, bool)>,
    /// Sends this many bytes at once, and waits so long.
    pub(crate) drip: Option<(usize, u64)>,
    pub(crate) reads: bool,
    pub(crate) gap_ms: u64,
    pub(crate) start_ms: u64,
    pub(crate) profile: Profile,
}

impl ClientPlan {
    fn seal(&mut self, chance: &Chance, mood: Mood) {
        let is_wild = !self.is_fair() || mood == Mood::Wild && chance.one_in(3);
        self.tongue = Tongue::draw(chance, is_wild);
        if !self.tongue.is_h2 {
            return;
        }
        // What only HTTP/1 has. A client of HTTP/2 leaves by its wire and is slow by its wire.
        (self.aborts, self.drip, self.reads) = (None, None, true);
        for request in &mut self.requests {
            (request.is_old, request.closes, request.flaw) = (false, false, None);
        }
    }

    /// Dialogues that come of it.
    pub(crate) fn dialogues(&self) -> usize {
        if self.tongue.is_h2 { self.requests.len() } else { 1 }
    }

    /// Does everything a server may expect of a client, and quickly?
    pub(crate) fn is_fair(&self) -> bool {
        let is_prompt = self.aborts.is_none() && self.drip.is_none() && self.profile.stall_in == 0;
        is_prompt && self.reads && self.tongue.is_fair()
    }
}

#[derive(Debug, Clone)]
pub(crate) struct EndpointPlan {
    pub(crate) profile: Profile,
    /// One connection attempt in so many is refused; none at 0.
    pub(crate) refuses_in: usize,
    pub(crate) silent_in: usize,
    /// Closes a connection that rested for so long.
    pub(crate) idle_ms: u64,
    /// Does everything it has open end with a reset when it dies?
    pub(crate) dies_hard: bool,
    /// Does it speak TLS?
    pub(crate) is_sealed: bool,
    /// Does it speak HTTP/2?
    pub(crate) is_shared: bool,
    /// Streams that it takes on a connection, and what it takes of each ahead of what it has read.
    pub(crate) streams: u32,
    pub(crate) stream_window: u32,
}

/// Who misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Nobody.
    Calm,
    /// Clients and answers, and now and then an endpoint.
    Wild,
    /// Endpoints, as hosts that die, stall and return, and a few clients.
    Stormy,
}

pub(crate) struct Plan {
    pub(crate) bones: Bones,
    pub(crate) hearing: Hearing,
    pub(crate) settings: Settings,
    pub(crate) clients: Vec<ClientPlan>,
    /// By address.
    pub(crate) endpoints: Vec<(SocketAddr, EndpointPlan)>,
    pub(crate) events: Vec<(u64, Event)>,
    pub(crate) drain_ms: Option<u64>,
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let chance = Chance::new(seed);
        let mood = chance.pick(&[Mood::Calm, Mood::Wild, Mood::Stormy, Mood::Stormy, Mood::Stormy]);
        let may_be_rock = |_| mood == Mood::Stormy && chance.one_in(2);
        let bones = Bones { mood, workers: 1 + chance.below(4), rocks: std::array::from_fn(may_be_rock) };
        let crowd = Crowd::of(mood, &chance);
        let mut settings = Settings::draw(&bones, &chance.fork());
        let mut events = storm::events(&bones, &settings, &chance.fork());
        if crowd.is_run && chance.one_in(3) {
            // Everybody fails at once, and everybody would try again.
            settings.invite_retries();
            storm::sicken(&mut events, &bones, &chance.fork());
        }
        let everywhere = (0..ROOMS.len()).flat_map(|room| (0..ENDPOINTS).map(move |number| (room, number)));
        Self {
            hearing: Hearing { room: chance.pick(&[1, 1, 2, 256]), delay_ms: chance.pick(&[0, 1, 8, 8]) },
            clients: clients(mood, &crowd, &chance),
            endpoints: everywhere
                .map(|(room, number)| {
                    let is_rock = number == 0 && bones.rocks[room];
                    (address(room, number), endpoint(&chance.fork(), mood, is_rock))
                })
                .collect(),
            events,
            drain_ms: chance.one_in(3).then(|| chance.below_u64(3_000)),
            bones,
            settings,
        }
    }

    /// The same with clients, and maybe endpoints, that speak TLS, and clients that speak HTTP/2.
    pub(crate) fn sealed(seed: u64) -> Self {
        let mut plan = Self::of(seed);
        let chance = Chance::new(seed ^ 0x5ea1);
        let seals_endpoints = if plan.bones.mood == Mood::Wild { !chance.one_in(4) } else { chance.one_in(3) };
        plan.settings.seal(seals_endpoints);
        for (_, event) in &mut plan.events {
            if let Event::Reload(settings, _) = event {
                settings.seal(plan.settings.endpoints_sealed);
            }
        }
        for (_, endpoint) in &mut plan.endpoints {
            endpoint.is_sealed = plan.settings.endpoints_sealed;
        }
        for client in &mut plan.clients {
            client.seal(&chance, plan.bones.mood);
            for request in client.requests.iter_mut().filter(|_| plan.settings.endpoints_sealed) {
                request.end_with_connections(&chance);
            }
        }
        plan
    }

    /// The same with endpoints that speak HTTP/2.
    pub(crate) fn shared(seed: u64) -> Self {
        let mut plan = Self::sealed(seed);
        let chance = Chance::new(seed ^ 0x54a2);
        plan.settings.is_shared = true;
        for (_, event) in &mut plan.events {
            if let Event::Reload(settings, _) = event {
                settings.is_shared = true;
            }
        }
        for (_, endpoint) in &mut plan.endpoints {
            endpoint.is_shared = true;
            endpoint.streams = chance.pick(&[1, 2, 3, 10, 100, 1_000]);
            endpoint.stream_window = chance.pick(&[1_000, 16_000, 65_535, 1 << 20]);
        }
        plan
    }

    /// The endpoints that never fail.
    pub(crate) fn rocks(&self) -> Vec<SocketAddr> {
        (0..ROOMS.len()).filter(|room| self.bones.rocks[*room]).map(|room| address(room, 0)).collect()
    }
}

/// How many come, how much each wants, and within how many milliseconds they come.
struct Crowd {
    clients: usize,
    requests: usize,
    span_ms: u64,
    /// Do they come all at once?
    is_run: bool,
}

impl Crowd {
    fn of(mood: Mood, chance: &Chance) -> Self {
        let is_run = mood == Mood::Stormy && chance.one_in(3);
        let (clients, requests, span_ms) = match (mood, is_run) {
            (Mood::Calm | Mood::Wild, _) => (1 + chance.below(6), 6, 1_000),
            (Mood::Stormy, true) => (20 + chance.below(30), 3, chance.pick(&[1, 100, 700])),
            (Mood::Stormy, false) => (4 + chance.below(12), 12, 1_000),
        };
        Self { clients, requests, span_ms, is_run }
    }
}

fn clients(mood: Mood, crowd: &Crowd, chance: &Chance) -> Vec<ClientPlan> {
    (0..crowd.clients).map(|number| client(&chance.fork(), mood, number, crowd)).collect()
}

/// `stalls`: may it be late?
fn profile(chance: &Chance, mood: Mood, stalls: bool) -> Profile {
    // What a storm shows does not hang on single bytes, and it shows more of it with fewer.
    let segments: &[usize] =
        if mood == Mood::Stormy { &[1460, 64 * 1024] } else { &[7, 100, 1460, 1460, 64 * 1024, 64 * 1024] };
    Profile {
        latency_us: chance.pick(&[(10, 10), (50, 400), (500, 3_000)]),
        segment: chance.pick(segments),
        window: chance.pick(&[2_000, 16_000, 64_000, 64_000]),
        stall_in: if stalls { chance.pick(&[0, 0, 0, 40]) } else { 0 },
        stall_ms: chance.pick(&[20, 300, 2_500]),
        reset_discards: chance.one_in(2),
    }
}

fn endpoint(chance: &Chance, mood: Mood, is_rock: bool) -> EndpointPlan {
    let is_wild = mood == Mood::Wild;
    // A connection that dies after a short rest is held against its endpoint.
    let rests_ms = if is_rock { &[60_000][..] } else { &[60_000, 60_000, 0, 5, 50, 400] };
    EndpointPlan {
        profile: profile(chance, mood, is_wild),
        refuses_in: if is_wild { chance.pick(&[0, 0, 3, 1]) } else { 0 },
        silent_in: if is_wild { chance.pick(&[0, 0, 0, 4]) } else { 0 },
        // An answer that ends with its connection would look whole.
        dies_hard: is_wild || chance.one_in(3),
        is_sealed: false,
        is_shared: false,
        streams: 100,
        stream_window: 65_535,
        idle_ms: if mood == Mood::Calm { 60_000 } else { chance.pick(rests_ms) },
    }
}

fn client(chance: &Chance, mood: Mood, number: usize, crowd: &Crowd) -> ClientPlan {
    let is_calm = mood == Mood::Calm;
    let count = 1 + chance.below(crowd.requests);
    let mut requests: Vec<RequestPlan> =
        (0..count).map(|at| request(&chance.fork(), mood, &format!("c{number}r{at}"))).collect();
    // Behind a request that ends the connection nothing is owed.
    if let Some(last) = requests.iter().position(|request| request.closes || request.flaw.is_some()) {
        requests.truncate(last + 1);
    }
    let is_wild = !is_calm && chance.one_in(if mood == Mood::Wild { 3 } else { 6 });
    ClientPlan {
        tongue: Tongue::default(),
        pipelines: chance.one_in(3),
        ending: chance.pick(&[Ending::Close, Ending::Close, Ending::HalfClose, Ending::Wait]),
        aborts: (is_wild && chance.one_in(2)).then(|| (chance.below(3_000), chance.one_in(2))),
        drip: (is_wild && chance.one_in(2)).then(|| chance.pick(&[(20, 1), (100, 5), (3, 40), (1, 400)])),
        reads: !(is_wild && chance.one_in(5)),
        gap_ms: chance.pick(&[0, 0, 0, 5, 120, 400]),
        start_ms: chance.below_u64(crowd.span_ms),
        profile: profile(chance, mood, is_wild),
        requests,
    }
}

fn request(chance: &Chance, mood: Mood, token: &str) -> RequestPlan {
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
