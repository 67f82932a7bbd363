//! Tests of [`super`]: the table of bounds, and a model of what must never happen.

use super::*;
use crate::limits;

const LIMIT: u64 = 1 << 30;
/// Enough at work that its end may help, whatever is in use here.
const MUCH: u64 = 2 * LIMIT;
/// Next to nothing at work.
const LITTLE: u64 = LIMIT / 64;

fn look(now_ms: u64, used: u64, at_work: u64) -> Look {
    Look { now_ms, used, limit: Some(LIMIT), at_work }
}

/// So many parts in a thousand of the limit.
fn share(parts: u64) -> u64 {
    (LIMIT * parts).div_ceil(1000)
}

#[test]
fn what_was_refused_is_taken_again_only_well_below_where_that_began() {
    let mut judge = Judge::default();
    let to = |shortage| Some(Change::To(shortage));
    for (used, changed, now) in [
        (919, None, Shortage::None),
        (920, to(Shortage::Requests), Shortage::Requests),
        (880, None, Shortage::Requests),
        (949, None, Shortage::Requests),
        (950, to(Shortage::Connections), Shortage::Connections),
        (920, None, Shortage::Connections),
        (919, to(Shortage::Requests), Shortage::Requests),
        (879, to(Shortage::None), Shortage::None),
        (919, None, Shortage::None),
        (2000, to(Shortage::Connections), Shortage::Connections),
        (1, to(Shortage::None), Shortage::None),
    ] {
        // For as long as something is at work whose end may help.
        for now_ms in [0, 100_000] {
            let expected = if now_ms == 0 { changed } else { None };
            assert_eq!((judge.on_look(look(now_ms, share(used), MUCH)), judge.shortage()), (expected, now), "{used}");
        }
    }
}

#[test]
fn without_a_limit_nothing_is_short_and_one_that_is_lifted_ends_what_was() {
    let mut judge = Judge::default();
    let mut sees = |limit, used| judge.on_look(Look { now_ms: 0, used, limit, at_work: u64::MAX });
    assert_eq!(sees(None, u64::MAX), None);
    assert_eq!(sees(Some(u64::MAX), u64::MAX), Some(Change::To(Shortage::Connections)));
    assert_eq!(sees(None, u64::MAX), Some(Change::To(Shortage::None)));
}

#[test]
fn clients_that_take_nothing_have_less_time_with_each_tick() {
    let mut patience_ms = u64::MAX;
    let mut after = |shortage: Shortage, ticks: usize| {
        (0..ticks).for_each(|_| patience_ms = shortage.patience_ms(patience_ms));
        patience_ms
    };
    assert_eq!(after(Shortage::None, 1), u64::MAX);
    assert_eq!([1, 1, 1, 9].map(|ticks| after(Shortage::Requests, ticks)), [2_000, 1_000, 500, 500]);
    assert_eq!([1, 1, 1, 9].map(|ticks| after(Shortage::Connections, ticks)), [250, 125, 100, 100]);
    assert_eq!(after(Shortage::Requests, 1), 500, "it was short before");
    assert_eq!(after(Shortage::None, 1), u64::MAX);
    assert_eq!(after(Shortage::Connections, 1), 2_000);
}

#[test]
fn workers_are_told() {
    let headroom = Headroom::default();
    assert_eq!((headroom.limit(), headroom.shortage()), (None, Shortage::None));
    for shortage in [Shortage::Connections, Shortage::Requests, Shortage::None] {
        headroom.set_shortage(shortage);
        assert_eq!(headroom.shortage(), shortage);
        assert_eq!(headroom.takes_requests(), shortage == Shortage::None);
        assert_eq!(headroom.takes_connections(), shortage != Shortage::Connections);
    }
    headroom.set_limit(Some(1));
    assert_eq!(headroom.limit(), Some(1));
}

#[test]
fn what_clients_have_there_is_bytes_that_its_end_may_free() {
    let load = Load { requests: 10, h2_streams: 3, tunnels: 8, connections: 30, idle: 20, h2_connections: 2 };
    assert_eq!(load.bytes(), (2 * 256 + 8 * 32 + 3 * 96 + 28 * 2 + 2 * 24) << 10);
    // What is counted a moment later may be more.
    let load = Load { requests: 3, h2_streams: 4, tunnels: 4, connections: 3, idle: 5, h2_connections: 4 };
    assert_eq!(load.bytes(), (4 * 32 + 4 * 24) << 10);
}

#[test]
fn what_a_peak_leaves_refuses_for_two_seconds_and_then_only_above_itself() {
    let mut judge = Judge::default();
    assert_eq!(judge.on_look(look(0, share(500), LITTLE)), None);
    assert_eq!(judge.on_look(look(50, share(960), MUCH)), Some(Change::To(Shortage::Connections)));
    // Between both bounds, where it would stay for ever.
    assert_eq!(judge.on_look(look(100, share(900), 0)), Some(Change::To(Shortage::Requests)));
    assert_eq!(judge.on_look(look(2_099, share(900), LITTLE)), None, "what is refused is at work as well");
    assert_eq!(judge.on_look(look(2_100, share(900), LITTLE)), Some(Change::InVain));
    assert_eq!(judge.on_look(look(3_000, share(949), LITTLE)), None);
    assert_eq!(judge.on_look(look(3_050, share(950), MUCH)), Some(Change::To(Shortage::Requests)), "half of the rest");
    assert_eq!(judge.on_look(look(3_100, share(975), MUCH)), Some(Change::To(Shortage::Connections)));
    assert_eq!(judge.on_look(look(3_150, share(924), 0)), Some(Change::To(Shortage::None)));
    // It is forgotten with what left it.
    assert_eq!(judge.on_look(look(3_200, share(879), 0)), None);
    assert_eq!(judge.on_look(look(3_250, share(920), 0)), Some(Change::To(Shortage::Requests)));
}

#[test]
fn refusing_goes_on_while_the_end_of_what_is_at_work_may_free_what_is_too_much() {
    let mut judge = Judge::default();
    judge.on_look(look(0, share(500), 0));
    let above = share(950) - share(880);
    for now_ms in [50, 100_000] {
        judge.on_look(look(now_ms, share(950), above + 1));
        assert_eq!(judge.shortage(), Shortage::Connections);
    }
    judge.on_look(look(200_000, share(950), above));
    assert_eq!(judge.on_look(look(202_000, share(950), above)), Some(Change::InVain));
}

#[test]
fn a_limit_below_what_was_in_use_before_refuses_nobody() {
    for used in [930, 960, 990, 2000] {
        let mut judge = Judge::default();
        assert_eq!(judge.on_look(look(0, share(used), LITTLE)), Some(Change::InVain), "{used}");
        for now_ms in 1..100 {
            assert_eq!(judge.on_look(look(now_ms * 50, share(used), MUCH)), None, "{used}");
        }
        assert_eq!(judge.shortage(), Shortage::None, "{used}");
    }
    let mut judge = Judge::default();
    assert_eq!(judge.on_look(look(0, share(960), MUCH)), Some(Change::To(Shortage::Connections)), "its end may help");
}

#[test]
fn with_next_to_nothing_left_above_the_floor_nothing_is_refused() {
    for (floor, then) in [(968, Shortage::Connections), (970, Shortage::None)] {
        let mut judge = Judge::default();
        judge.on_look(look(0, share(floor), 0));
        judge.on_look(look(50, share(1000), MUCH));
        assert_eq!(judge.shortage(), then, "{floor}");
    }
}

/// Connections that come without end, and of which none ends, do not fill the memory, whatever one of them costs.
#[test]
fn a_flood_of_connections_is_refused_before_the_limit() {
    let resting = |connections| Load { connections, idle: connections, ..Load::default() };
    let h2 = |connections| Load { h2_connections: connections, ..resting(connections) };
    let arriving = |connections| Load { connections, ..Load::default() };
    let kinds: [(_, u64, &dyn Fn(u64) -> Load); 6] = [
        ("plain", 2_300, &resting),
        ("TLS", 5_500, &resting),
        ("HTTP/2", 24_600, &h2),
        ("HTTP/2, TLS", 27_700, &h2),
        ("unfinished head", 72 << 10, &arriving),
        ("unfinished head, TLS", 80 << 10, &arriving),
    ];
    for (kind, bytes, load_of) in kinds {
        for base in [100, 500, 850] {
            let (mut judge, mut connections, mut refused) = (Judge::default(), 0, 0);
            for step in 0..10_000 {
                let used = share(base) + connections * bytes;
                assert!(used < LIMIT, "{kind} above {base}: {connections}");
                judge.on_look(look(step * 50, used, load_of(connections).bytes()));
                let is_refused = judge.shortage() == Shortage::Connections;
                connections += if is_refused { 0 } else { 200 };
                refused = if is_refused { refused + 1 } else { 0 };
            }
            assert!(refused > 1_000, "{kind} above {base}: refused for good");
        }
    }
}

/// Whatever comes: with nothing at work nothing is refused for longer than it takes to see that this is in vain; with much at
/// work nothing is taken on at the limit, unless next to nothing is left above the floor.
#[test]
fn nothing_is_refused_for_long_with_nothing_at_work() {
    let mut random = 0x9E37_79B9_7F4A_7C15u64;
    let mut draw = |most: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % most
    };
    let (mut judge, mut refusing_ms, mut refusals) = (Judge::default(), 0, 0);
    let (mut used, mut limit, mut at_work) = (LIMIT / 2, LIMIT, 0);
    for step in 0..400_000u64 {
        if draw(40) == 0 {
            used = share(800 + draw(250));
        }
        if draw(100) == 0 {
            at_work = draw(2) * MUCH;
        }
        if draw(1_000) == 0 {
            limit = share(700 + draw(300));
        }
        used = used.saturating_sub(draw(limits::BUFFER_BYTES as u64));
        judge.on_look(Look { now_ms: step * 50, used, limit: Some(limit), at_work });
        let refuses = judge.shortage() != Shortage::None;
        refusals += u64::from(refuses);
        refusing_ms = if refuses && at_work == 0 { refusing_ms + 50 } else { 0 };
        assert!(refusing_ms <= IN_VAIN_MS, "step {step}");
        let floor = judge.floor;
        assert!(floor <= used && (floor == 0 || used >= parts(limit, REQUESTS.1)), "step {step}");
        if at_work > 0 && used >= limit && floor < limit / 100 * 96 {
            assert_eq!(judge.shortage(), Shortage::Connections, "step {step}");
        }
        assert!(!refuses || used >= parts(limit, REQUESTS.1), "step {step}");
    }
    assert!(refusals > 1_000, "{refusals}");
}
