//! What befalls a gateway while it works: endpoints that die, stall and return, verdicts of checks, reloads.

use std::net::SocketAddr;

use ringgate::cluster::Probe;

use crate::chance::Chance;
use crate::plan::Mood;
use crate::settings::{Bones, ENDPOINTS, ROOMS, Settings, address};

/// How an endpoint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    Fair,
    /// The process is gone: what it had open is closed, what is dialled refused.
    Down,
    /// The process is stopped: its kernel accepts, and nobody reads.
    Frozen,
    /// The host is cut off: nothing is answered.
    Dark,
    /// Every answer is this failure.
    Sick {
        status: u16,
    },
    /// Every answer takes so much longer.
    Slow {
        ms: u64,
    },
    /// A connection that is used again is closed instead of answered.
    Curt,
}

/// Something that happens at a time.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Weather(SocketAddr, Weather),
    /// What the control thread says of an endpoint.
    Probed(SocketAddr, Probe),
    /// An operator takes an endpoint out, or brings it back.
    Drained(SocketAddr, bool),
    /// Which tiers of a cluster the control thread finds slow.
    SlowTiers(usize, u64),
    /// The flag says whether workers are told.
    Reload(Settings, bool),
}

/// What happens, by millisecond, in the order of time.
pub(crate) fn events(bones: &Bones, first: &Settings, chance: &Chance) -> Vec<(u64, Event)> {
    let mut events = Vec::new();
    if bones.mood != Mood::Calm {
        for room in 0..ROOMS.len() {
            for number in usize::from(bones.rocks[room])..ENDPOINTS {
                storm(&mut events, address(room, number), bones.mood, &chance.fork());
            }
            if bones.mood == Mood::Stormy && chance.one_in(3) {
                outage(&mut events, bones, room, &chance.fork());
            }
            if chance.one_in(4) {
                events.push((chance.below_u64(2_000), Event::SlowTiers(room, chance.below_u64(4))));
            }
        }
    }
    let mut settings = first.clone();
    let mut at_ms: Vec<_> = (0..chance.below(4)).map(|_| chance.below_u64(2_000)).collect();
    at_ms.sort_unstable();
    for (number, at_ms) in at_ms.into_iter().enumerate() {
        settings = settings.redraw(bones, chance);
        events.push((at_ms, Event::Reload(settings.clone(), number != 1)));
    }
    events.sort_by_key(|(at_ms, _)| *at_ms);
    events
}

fn bad_weather(chance: &Chance) -> Weather {
    match chance.below(12) {
        0..=3 => Weather::Down,
        4 => Weather::Frozen,
        5 => Weather::Dark,
        6 | 7 => Weather::Curt,
        8..=10 => Weather::Sick { status: chance.pick(&[500, 503, 503]) },
        _ => Weather::Slow { ms: chance.pick(&[50, 300]) },
    }
}

/// The same for all endpoints of a cluster but a rock.
fn outage(events: &mut Vec<(u64, Event)>, bones: &Bones, room: usize, chance: &Chance) {
    let (from_ms, weather) = (chance.below_u64(1_000), bad_weather(chance));
    let to_ms = from_ms + chance.pick(&[50, 300, 800]);
    for number in usize::from(bones.rocks[room])..ENDPOINTS {
        events.push((from_ms, Event::Weather(address(room, number), weather)));
        events.push((to_ms, Event::Weather(address(room, number), Weather::Fair)));
    }
}

/// All endpoints of the first cluster but a rock fail from the beginning.
pub(crate) fn sicken(events: &mut Vec<(u64, Event)>, bones: &Bones, chance: &Chance) {
    let sick = |at| Event::Weather(address(0, at), Weather::Sick { status: 503 });
    let fair = |at| Event::Weather(address(0, at), Weather::Fair);
    let to_ms = chance.pick(&[100, 800]);
    events.splice(0..0, (usize::from(bones.rocks[0])..ENDPOINTS).map(|number| (0, sick(number))));
    events.extend((usize::from(bones.rocks[0])..ENDPOINTS).map(|number| (to_ms, fair(number))));
}

/// The life of one endpoint that is no rock.
fn storm(events: &mut Vec<(u64, Event)>, address: SocketAddr, mood: Mood, chance: &Chance) {
    let count = if mood == Mood::Stormy { chance.below(4) } else { usize::from(chance.one_in(4)) };
    let mut at_ms = 0;
    for _ in 0..count {
        at_ms += chance.below_u64(900);
        let weather = bad_weather(chance);
        events.push((at_ms, Event::Weather(address, weather)));
        if chance.one_in(3) {
            events.push((at_ms + chance.below_u64(200), Event::Probed(address, Probe::Unhealthy)));
        }
        at_ms += chance.pick(&[3, 40, 200, 800]);
        events.push((at_ms, Event::Weather(address, Weather::Fair)));
        if chance.one_in(3) {
            events.push((at_ms + chance.below_u64(200), Event::Probed(address, Probe::Healthy)));
        }
    }
    // Checks may be wrong, and operators come and go.
    for _ in 0..chance.pick(&[0, 0, 1, 2]) {
        let verdict = chance.pick(&[Probe::Healthy, Probe::Unhealthy]);
        events.push((chance.below_u64(2_000), Event::Probed(address, verdict)));
    }
    if chance.one_in(4) {
        let from_ms = chance.below_u64(1_500);
        events.push((from_ms, Event::Drained(address, true)));
        events.push((from_ms + chance.below_u64(700), Event::Drained(address, false)));
    }
}
