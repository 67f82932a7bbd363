//! Calls of gRPC that go both ways, message by message, and what must come of each.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::chance::{Chance, pattern};
use crate::env::Dialled;
use crate::gateway::Gateway;
use crate::mailbox::Hearing;
use crate::pipe::{Profile, connection};
use crate::plan::{Tongue, WireTrouble};
use crate::seals::{self, Sessions};
use crate::settings::{Settings, address};
use crate::talkers::{Caller, Service};
use crate::world::{Bell, MS, World};

/// No run takes longer: every time-out has passed many times.
const END_MS: u64 = 60_000;
/// In which an endpoint must be told that its client is gone.
const CANCEL_MS: u64 = 1_000;
/// In which endpoints are told of ends, and connections to them that rest are closed with what they hold.
const SETTLE_MS: u64 = 3_000;

/// Who says what when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One message each way.
    Unary,
    /// Many messages, then one in answer.
    Up,
    /// One message, and many in answer.
    Down,
    /// Each message once the answer to the one before is there, so that none may wait for a later one.
    LockStep,
    /// Many each way, and neither waits for the other.
    Free,
    /// One message, many in answer, and a last word only when they are all there.
    Subscription,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    /// The client cancels once it has sent so many messages.
    Cancels(usize),
    /// The endpoint resets the stream once it has sent so many.
    Resets(usize),
    /// The endpoint loses its connection then, and all its streams with it.
    Dies(usize),
}

#[derive(Clone, Debug)]
pub(crate) struct Talk {
    pub(crate) token: String,
    pub(crate) kind: Kind,
    pub(crate) trouble: Trouble,
    /// Lengths of the messages to the endpoint, and back.
    pub(crate) up: Vec<usize>,
    pub(crate) down: Vec<usize>,
    /// Most bytes of a frame of content.
    pub(crate) piece: usize,
    /// Between two messages, either way.
    pub(crate) pause_ms: u64,
    /// How long either side leaves what it got before it makes room for more.
    pub(crate) client_lags_ms: u64,
    pub(crate) endpoint_lags_ms: u64,
    /// How long the client takes nothing at first.
    pub(crate) client_rests_ms: u64,
}

impl Talk {
    fn draw(chance: &Chance, token: String, is_calm: bool) -> Self {
        let kinds = [Kind::Unary, Kind::Up, Kind::Down, Kind::LockStep, Kind::LockStep, Kind::Free, Kind::Subscription];
        let kind = chance.pick(&kinds);
        let most = 2 + chance.below(20);
        let (up, down) = match kind {
            Kind::Unary => (1, 1),
            Kind::Up => (most, 1),
            Kind::Down => (1, most),
            Kind::Subscription => (2, most),
            Kind::LockStep => (most, most),
            Kind::Free => (most, 1 + chance.below(20)),
        };
        let lengths = |count| (0..count).map(|_| chance.pick(&[0, 1, 40, 700, 5_000, 17_000])).collect();
        let trouble = match chance.below(6) {
            _ if is_calm => Trouble::None,
            0 => Trouble::Cancels(chance.below(up)),
            1 => Trouble::Resets(chance.below(down)),
            2 if chance.one_in(3) => Trouble::Dies(chance.below(down)),
            _ => Trouble::None,
        };
        Self {
            token,
            kind,
            trouble,
            up: lengths(up),
            down: lengths(down),
            // Smaller ones, and the gateway ends the connection: they cost it more than they carry.
            piece: chance.pick(&[500, 1_000, 16_384, 1 << 20]),
            pause_ms: chance.pick(&[0, 0, 1, 30]),
            client_lags_ms: chance.pick(&[0, 0, 0, 3, 20]),
            endpoint_lags_ms: chance.pick(&[0, 0, 0, 3, 20]),
            client_rests_ms: chance.pick(&[0, 0, 0, 0, 600]),
        }
    }

    /// A message with the prefix of gRPC: not compressed, and its length.
    pub(crate) fn message(&self, is_up: bool, number: usize) -> Vec<u8> {
        let length = if is_up { self.up[number] } else { self.down[number] };
        let content = pattern(&format!("{} {is_up} {number}", self.token), length);
        [&[0][..], &u32::try_from(length).expect("short").to_be_bytes(), &content].concat()
    }
}

/// The messages that came one way.
#[derive(Default)]
pub(crate) struct Messages {
    unread: RefCell<Vec<u8>>,
    pub(crate) count: Cell<usize>,
    pub(crate) bell: Bell,
}

impl Messages {
    /// More content: whole messages must be those that were sent, in order.
    pub(crate) fn on_bytes(&self, talk: &Talk, is_up: bool, bytes: &[u8]) -> Result<(), String> {
        let mut unread = self.unread.borrow_mut();
        unread.extend_from_slice(bytes);
        let all = if is_up { &talk.up } else { &talk.down };
        while let Some(&[_, a, b, c, d]) = unread.get(..5).and_then(|prefix| <&[u8; 5]>::try_from(prefix).ok()) {
            let end = 5 + usize::try_from(u32::from_be_bytes([a, b, c, d])).expect("64 bits");
            let number = self.count.get();
            if all.get(number).is_none_or(|length| end != length + 5) {
                return Err(format!("message {number} has {end} bytes"));
            }
            if unread.len() < end {
                break;
            }
            if unread[..end] != talk.message(is_up, number) {
                return Err(format!("message {number} is not the one that was sent"));
            }
            unread.drain(..end);
            self.count.set(number + 1);
        }
        drop(unread);
        self.bell.ring();
        Ok(())
    }

    /// Is there nothing of a message that did not come whole?
    pub(crate) fn is_even(&self) -> bool {
        self.unread.borrow().is_empty()
    }
}

/// How one direction of a call ended for who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Whole,
    Broken,
    /// Answered by the gateway.
    Local,
}

/// What either side saw of a call.
#[derive(Default)]
pub(crate) struct Course {
    pub(crate) at_client: Messages,
    pub(crate) at_endpoint: Messages,
    pub(crate) client: Cell<Option<End>>,
    pub(crate) endpoint: Cell<Option<End>>,
    /// Times that it came to an endpoint.
    pub(crate) arrivals: Cell<u32>,
    pub(crate) sent_by_endpoint: Cell<usize>,
    pub(crate) cancelled_ms: Cell<Option<u64>>,
    pub(crate) ended_ms: Cell<Option<u64>>,
}

/// Everything that the two sides share.
pub(crate) struct Talks {
    pub(crate) world: World,
    pub(crate) all: BTreeMap<String, (Talk, Course)>,
    pub(crate) over: Cell<usize>,
    pub(crate) bell: Bell,
}

/// What a run is made of.
struct Setting {
    workers: usize,
    is_sealed: bool,
    profile: Profile,
    stream_window: u32,
    /// Must either side of a call send something within 900 ms? What the gateway has of it and an endpoint takes slowly does
    /// not count.
    is_impatient: bool,
    /// Of each connection: its window, whether it has TLS, and the calls on it.
    callers: Vec<(Tongue, Vec<Talk>)>,
}

impl Setting {
    fn draw(seed: u64) -> Self {
        let chance = Chance::new(seed ^ 0x7a1c);
        let is_calm = chance.one_in(2);
        let profile = Profile {
            latency_us: chance.pick(&[(10, 10), (50, 400), (500, 3_000)]),
            segment: chance.pick(&[100, 1_460, 64 * 1024]),
            window: chance.pick(&[4_000, 64_000]),
            stall_in: chance.pick(&[0, 40]),
            stall_ms: 60,
            reset_discards: chance.one_in(2),
        };
        let callers = (0..1 + chance.below(3)).map(|caller| {
            let tongue = Tongue {
                is_tls: chance.one_in(2),
                is_h2: true,
                window: chance.pick(&[2_000, 16_000, 65_535]),
                wire: WireTrouble::default(),
                ..Tongue::default()
            };
            let talk = |number| Talk::draw(&chance, format!("t{caller}n{number}"), is_calm);
            (tongue, (0..1 + chance.below(5)).map(talk).collect())
        });
        Self {
            callers: callers.collect(),
            workers: 1 + chance.below(3),
            is_sealed: chance.one_in(2),
            profile,
            stream_window: chance.pick(&[1_000, 16_000, 65_535]),
            is_impatient: false,
        }
    }

    fn settings(&self) -> Settings {
        let mut settings = Settings::plain([0, 1]);
        settings.seal(self.is_sealed);
        (settings.is_shared, settings.is_edge, settings.request_ms) = (true, self.is_impatient, END_MS);
        settings
    }
}

/// What became of a run.
pub(crate) struct Outcome {
    pub(crate) problems: Vec<String>,
    pub(crate) history: u64,
    /// Calls that were whole, and that were not.
    pub(crate) whole: u64,
    pub(crate) broken: u64,
}

/// Plays one seed.
pub(crate) fn run(seed: u64) -> Outcome {
    play(seed, &Setting::draw(seed), |_, _| {})
}

/// `meanwhile` begins with the calls.
fn play(seed: u64, setting: &Setting, meanwhile: impl FnOnce(&Rc<Talks>, &Rc<Gateway>)) -> Outcome {
    let world = World::new(seed);
    world.tell(|| format!("{:?}", setting.callers));
    let gateway = Gateway::new(&world, setting.workers, Hearing::KEEN, &setting.settings(), Vec::new());
    let calls = setting.callers.iter().flat_map(|(_, talks)| talks);
    let all: BTreeMap<_, _> = calls.map(|talk| (talk.token.clone(), (talk.clone(), Course::default()))).collect();
    let talks = Rc::new(Talks { world: world.clone(), all, over: Cell::new(0), bell: Bell::default() });
    for number in 0..2 {
        let (talks, is_sealed) = (Rc::clone(&talks), setting.is_sealed);
        let (profile, window, opened) = (setting.profile, setting.stream_window, Cell::new(0));
        gateway.network.listen(address(0, number), move || {
            opened.set(opened.get() + 1);
            let (ours, theirs) = connection(&talks.world, format!("up{number}.{}", opened.get()), profile);
            let link = if is_sealed {
                seals::served(theirs, true)
            } else {
                crate::link::Link::plain(theirs, WireTrouble::default())
            };
            talks.world.spawn(Service::serve(Rc::clone(&talks), link, window));
            Dialled::Open(ours)
        });
    }
    let sessions = Sessions::new();
    for (number, (tongue, calls)) in setting.callers.iter().enumerate() {
        let end = gateway.accept_by(tongue.listener(), format!("c{number}"), setting.profile);
        let caller = Caller { talks: Rc::clone(&talks), link: Rc::new(tongue.link(end, &sessions)), tongue: *tongue };
        world.spawn(Rc::new(caller).play(calls.clone()));
    }
    meanwhile(&talks, &gateway);
    let is_over = || talks.over.get() == talks.all.len() && gateway.open() == 0;
    if !world.run(END_MS * MS, is_over) {
        world.blame(format!("{} of {} calls are over, {} open", talks.over.get(), talks.all.len(), gateway.open()));
    }
    world.run(world.now_ns() + SETTLE_MS * MS, || false);
    judge(&talks, &gateway);
    world.end();
    let count = |end| talks.all.values().filter(|(_, course)| course.client.get() == Some(end)).count() as u64;
    let (problems, history) = (world.problems(), world.history());
    Outcome { problems, history, whole: count(End::Whole), broken: count(End::Broken) + count(End::Local) }
}

fn judge(talks: &Talks, gateway: &Gateway) {
    let dies = talks.all.values().any(|(talk, _)| matches!(talk.trouble, Trouble::Dies(_)));
    for (talk, course) in talks.all.values() {
        for problem in problems(talk, course, dies) {
            talks.world.blame(format!("{}: {problem}: {talk:?}", talk.token));
        }
    }
    let lent: usize =
        gateway.workers.iter().filter_map(|worker| worker.shard()).map(|shard| shard.buffers_lent()).sum();
    if lent > 0 {
        talks.world.blame(format!("{lent} buffers are lent when all is over"));
    }
    // A call that was cancelled before it went out was none.
    let is_unsent =
        |(talk, course): &&(Talk, Course)| matches!(talk.trouble, Trouble::Cancels(_)) && course.arrivals.get() == 0;
    let (counted, all) = (gateway.requests(), talks.all.len() as u64);
    let unsent = talks.all.values().filter(is_unsent).count() as u64;
    if !(all - unsent..=all).contains(&counted) {
        talks.world.blame(format!("{counted} calls are counted of {all}"));
    }
}

/// `dies`: does some endpoint lose its connection, whoever's call that was for?
fn problems(talk: &Talk, course: &Course, dies: bool) -> Vec<String> {
    let mut problems = Vec::new();
    let (client, endpoint) = (course.client.get(), course.endpoint.get());
    let counts = (course.at_endpoint.count.get(), course.at_client.count.get());
    let is_all = counts == (talk.up.len(), talk.down.len());
    if client == Some(End::Whole) && (!is_all || endpoint != Some(End::Whole)) {
        problems.push(format!("passes for whole with {counts:?} messages, {endpoint:?} at the endpoint"));
    }
    if course.arrivals.get() > 1 {
        problems.push(format!("a call came {} times", course.arrivals.get()));
    }
    match talk.trouble {
        Trouble::None if dies || client == Some(End::Whole) => {}
        Trouble::None => problems.push(format!("{client:?} and {endpoint:?} with {counts:?} messages for no reason")),
        Trouble::Cancels(_) => {
            let late_ms = match (course.cancelled_ms.get(), course.ended_ms.get()) {
                (Some(began_ms), Some(ended_ms)) => ended_ms.saturating_sub(began_ms),
                (Some(_), None) if course.arrivals.get() > 0 => u64::MAX,
                _ => 0,
            };
            if endpoint == Some(End::Whole) && talk.kind != Kind::Unary || late_ms > CANCEL_MS {
                problems.push(format!("cancelled, and the endpoint saw {endpoint:?} after {late_ms} ms"));
            }
        }
        Trouble::Resets(_) | Trouble::Dies(_) if client == Some(End::Whole) => {
            problems.push("broken off, and whole for its client".to_owned());
        }
        Trouble::Resets(_) | Trouble::Dies(_) => {}
    }
    problems
}

/// Calls of the directed tests.
fn plain(token: &str, kind: Kind, up: usize, down: usize, length: usize) -> Talk {
    Talk {
        token: token.to_owned(),
        kind,
        trouble: Trouble::None,
        up: vec![length; up],
        down: vec![length; down],
        piece: 1 << 20,
        pause_ms: 0,
        client_lags_ms: 0,
        endpoint_lags_ms: 0,
        client_rests_ms: 0,
    }
}

/// Requirement F24 for streams: what a client does not take its endpoint must not have to send, and nobody else waits.
#[test]
fn a_client_that_takes_no_messages_pauses_their_origin_and_no_other_call() {
    for is_sealed in [false, true] {
        let mut slow = plain("slow", Kind::Down, 1, 200, 10_000);
        // Less than any time-out.
        slow.client_rests_ms = 700;
        let quick = plain("quick", Kind::LockStep, 200, 200, 500);
        let tongue = Tongue { is_tls: is_sealed, is_h2: true, window: 65_535, ..Tongue::default() };
        let (profile, stream_window) = (Profile::FAST, 65_535);
        let callers = vec![(tongue, vec![slow, quick])];
        let setting = Setting { workers: 1, is_sealed, profile, stream_window, is_impatient: true, callers };
        let seen: Rc<RefCell<Vec<(usize, usize)>>> = Rc::default();
        let notes = Rc::clone(&seen);
        let outcome = play(7, &setting, move |talks, _| {
            for at_ms in [100, 500] {
                let (talks, notes) = (Rc::clone(talks), Rc::clone(&notes));
                let count = |talks: &Talks, token: &str| {
                    let (_, course) = &talks.all[token];
                    (course.sent_by_endpoint.get(), course.at_client.count.get())
                };
                let there = talks.world.clone();
                there.at(at_ms * MS, move || {
                    notes.borrow_mut().push((count(&talks, "slow").0, count(&talks, "quick").1));
                });
            }
        });
        let seen = seen.take();
        // Two windows, and the buffers between them, which are less than another two.
        let most = 4 * 65_535 / 10_000;
        assert!(seen[0].0 > 5 && seen[0].0 < most, "{seen:?}");
        assert_eq!(seen[0].0, seen[1].0, "the endpoint sends on: {seen:?}");
        assert_eq!(seen[1].1, 200, "the other call waits: {seen:?}");
        assert_eq!(outcome.problems, Vec::<String>::new());
        assert_eq!(outcome.whole, 2);
    }
}

/// `timeouts.tunnel_idle`, 900 ms here: in which either side of a call must send something, and not each of them.
#[test]
fn a_call_lives_as_long_as_either_side_sends_something() {
    for kind in [Kind::Up, Kind::Subscription] {
        let (up, down) = if kind == Kind::Up { (30, 1) } else { (2, 30) };
        let talk = Talk { pause_ms: 100, ..plain("long", kind, up, down, 100) };
        let tongue = Tongue { is_h2: true, window: 65_535, ..Tongue::default() };
        let (profile, stream_window, callers) = (Profile::FAST, 65_535, vec![(tongue, vec![talk])]);
        let setting = Setting { workers: 1, is_sealed: false, profile, stream_window, is_impatient: true, callers };
        let outcome = play(7, &setting, |_, _| {});
        assert_eq!((outcome.problems, outcome.whole), (Vec::new(), 1), "{kind:?}");
    }
}
