//! What one seed makes everybody do.

use std::net::SocketAddr;

use crate::call::CallPlan;
use crate::chance::Chance;
use crate::introduction::Introduction;
use crate::mailbox::Hearing;
use crate::pipe::{End, Profile};
use crate::request::request;
use crate::settings::{Bones, ENDPOINTS, ROOMS, Settings, address};
use crate::storm::{self, Event};
use crate::tunnels::TunnelPlan;
use crate::world::World;

pub(crate) use crate::behaviour::{Behaviour, RUBBISH, Shape, Trouble};
pub(crate) use crate::request::{BodyPlan, Flaw, RequestPlan};

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
    /// What is said ahead of everything.
    pub(crate) introduction: Option<Introduction>,
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

    /// Says what goes ahead of everything; false when nothing may follow.
    pub(crate) async fn is_introduced(&self, world: &World, end: &End) -> bool {
        match &self.introduction {
            Some(words) => words.say(world, end).await,
            None => true,
        }
    }

    /// Dialogues that come of it.
    pub(crate) fn dialogues(&self) -> usize {
        if self.tongue.is_h2 { self.requests.len() } else { 1 }
    }

    /// Does everything a server may expect of a client, and quickly?
    pub(crate) fn is_fair(&self) -> bool {
        let is_prompt = self.aborts.is_none() && self.drip.is_none() && self.profile.stall_in == 0;
        let is_welcome = self.introduction.as_ref().is_none_or(|words| !words.is_bad);
        is_prompt && is_welcome && self.reads && self.tongue.is_fair()
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
    /// The version of the words that its connections begin with, if they do (PROXY protocol).
    pub(crate) announced: Option<u8>,
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
    pub(crate) tunnels: Vec<TunnelPlan>,
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
            tunnels: Vec::new(),
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

    /// The same with clients that come through a proxy, endpoints that are told whom a connection is for, calls of gRPC
    /// and tunnels.
    pub(crate) fn edge(seed: u64) -> Self {
        let chance = Chance::new(seed ^ 0xed6e);
        let mut plan = if chance.one_in(2) { Self::shared(seed) } else { Self::sealed(seed) };
        let is_calm = plan.bones.mood == Mood::Calm;
        let introduces = chance.pick(&[None, Some(false), Some(true), Some(true)]);
        let announces = if plan.settings.is_shared { None } else { chance.pick(&[None, Some(1), Some(2)]) };
        let events = plan.events.iter_mut().filter_map(|(_, event)| match event {
            Event::Reload(settings, _) => Some(settings),
            Event::Weather(..) | Event::Probed(..) | Event::Drained(..) | Event::SlowTiers(..) => None,
        });
        for settings in events.chain([&mut plan.settings]) {
            (settings.is_edge, settings.introduces, settings.announces) = (true, introduces, announces);
        }
        plan.endpoints.iter_mut().for_each(|(_, endpoint)| endpoint.announced = announces);
        let words =
            |number, may_be_bad| introduces.map(|required| Introduction::draw(&chance, number, required, may_be_bad));
        for (number, client) in plan.clients.iter_mut().enumerate() {
            client.introduction = words(number, !is_calm);
            for request in &mut client.requests {
                request.source = client.introduction.as_ref().and_then(|words| words.source);
                if request.flaw.is_none() && !request.is_old && chance.one_in(3) {
                    CallPlan::make(request, &chance, is_calm);
                }
            }
        }
        plan.tunnels = (0..1 + chance.below(5))
            .map(|number| {
                let tongue = Tongue::draw(&chance, plan.bones.mood == Mood::Wild && chance.one_in(2));
                let tongue = if chance.one_in(4) { Tongue { is_tls: false, is_h2: false, ..tongue } } else { tongue };
                let profile = profile(&chance, plan.bones.mood, plan.bones.mood == Mood::Wild);
                TunnelPlan::draw(&chance, number, tongue, words(200 + number, false), profile, is_calm)
            })
            .collect();
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
        announced: None,
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
        introduction: None,
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
