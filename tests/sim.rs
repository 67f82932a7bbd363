//! The deterministic simulation: the real shard and connections in a world of virtual time and hostile pipes.
//!
//! `SIM_SEED=n` replays one seed, `SIM_SEEDS=n` runs more of them, `SIM_TRACE=1` tells what happens.

#![allow(
    clippy::panic,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "a test program that prints its story"
)]

#[path = "sim/accounts.rs"]
mod accounts;
#[path = "sim/behaviour.rs"]
mod behaviour;
#[path = "sim/call.rs"]
mod call;
#[path = "sim/chance.rs"]
mod chance;
#[path = "sim/client.rs"]
mod client;
#[path = "sim/clusters.rs"]
mod clusters;
#[path = "sim/connections.rs"]
mod connections;
#[path = "sim/endpoint.rs"]
mod endpoint;
#[path = "sim/entry.rs"]
mod entry;
#[path = "sim/env.rs"]
mod env;
#[path = "sim/failures.rs"]
mod failures;
#[path = "sim/gateway.rs"]
mod gateway;
#[path = "sim/inspector.rs"]
mod inspector;
#[path = "sim/introduction.rs"]
mod introduction;
#[path = "sim/leaving.rs"]
mod leaving;
#[path = "sim/ledger.rs"]
mod ledger;
#[path = "sim/link.rs"]
mod link;
#[path = "sim/mailbox.rs"]
mod mailbox;
#[path = "sim/panics.rs"]
mod panics;
#[path = "sim/picks.rs"]
mod picks;
#[path = "sim/pipe.rs"]
mod pipe;
#[path = "sim/plan.rs"]
mod plan;
#[path = "sim/queues.rs"]
mod queues;
#[path = "sim/reach.rs"]
mod reach;
#[path = "sim/reasons.rs"]
mod reasons;
#[path = "sim/request.rs"]
mod request;
#[path = "sim/scenario.rs"]
mod scenario;
#[path = "sim/sealed.rs"]
mod sealed;
#[path = "sim/seals.rs"]
mod seals;
#[path = "sim/settings.rs"]
mod settings;
#[path = "sim/shared.rs"]
mod shared;
#[path = "sim/shares.rs"]
mod shares;
#[path = "sim/stage.rs"]
mod stage;
#[path = "sim/storm.rs"]
mod storm;
#[path = "sim/streams.rs"]
mod streams;
#[path = "sim/talkers.rs"]
mod talkers;
#[path = "sim/talks.rs"]
mod talks;
#[path = "sim/traffic.rs"]
mod traffic;
#[path = "sim/tunnels.rs"]
mod tunnels;
#[path = "sim/verdict.rs"]
mod verdict;
#[path = "sim/watched.rs"]
mod watched;
#[path = "sim/wire.rs"]
mod wire;
#[path = "sim/world.rs"]
mod world;

use reach::Reach;

/// Seeds of a normal run.
const SEEDS: u64 = 256;
/// Those with TLS and HTTP/2.
const SEALED_SEEDS: u64 = 64;
/// Those with endpoints of HTTP/2: enough of them for one that falls silent with requests open, which about one in 25 has.
const SHARED_SEEDS: u64 = 96;
/// Those with words of proxies, calls of gRPC and tunnels.
const EDGE_SEEDS: u64 = 64;
/// Those of calls that go both ways.
const TALK_SEEDS: u64 = 64;
/// The first of them.
const BASE_SEED: u64 = 1;
/// Failing seeds told in full.
const TOLD: usize = 10;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Plays one seed.
type Play = fn(u64) -> scenario::Outcome;

/// A panic of the code under test is a problem of its seed like any other.
fn run(play: Play, seed: u64) -> (Vec<String>, Reach) {
    let outcome = std::panic::catch_unwind(|| play(seed));
    outcome.map(|outcome| (outcome.problems, outcome.reach)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default();
        (vec![format!("panic: {text}")], Reach::default())
    })
}

/// The first seed and how many, `seeds` unless the environment asks for others.
fn seeds_of(seeds: u64) -> (u64, u64) {
    match number("SIM_SEED") {
        Some(seed) => (seed, 1),
        None => (number("SIM_BASE").unwrap_or(BASE_SEED), number("SIM_SEEDS").unwrap_or(seeds)),
    }
}

/// Plays `seeds`, or those that the environment asks for, which must reach what is `wanted` unless they are fewer.
fn play_seeds(play: Play, seeds: u64, wanted: &[(&str, u64)]) {
    let (base, count) = seeds_of(seeds);
    eprintln!("base seed {base}, {count} seeds");
    let mut failed = Vec::new();
    let mut reached = Reach::default();
    for seed in base..base + count {
        let (problems, reach) = run(play, seed);
        reached.extend(reach);
        if !problems.is_empty() {
            if failed.len() < TOLD {
                eprintln!("seed {seed} (SIM_SEED={seed} SIM_TRACE=1 tells more):\n  {}", problems.join("\n  "));
            }
            failed.push(seed);
        }
    }
    eprintln!("{}", reached.told());
    assert!(failed.is_empty(), "{} of {count} seeds failed: {failed:?}", failed.len());
    if count >= seeds {
        assert_eq!(reached.missing(wanted), Vec::<String>::new(), "the seeds do not reach what they are for");
    }
}

#[test]
fn every_seed_keeps_the_invariants() {
    play_seeds(scenario::run, SEEDS, &reach::WANTED);
}

#[test]
fn every_seed_with_tls_and_http2_keeps_the_invariants() {
    play_seeds(scenario::run_sealed, SEALED_SEEDS, &reach::WANTED_SEALED);
}

#[test]
fn every_seed_with_endpoints_of_http2_keeps_the_invariants() {
    play_seeds(scenario::run_shared, SHARED_SEEDS, &reach::WANTED_SHARED);
}

#[test]
fn every_seed_with_proxies_calls_and_tunnels_keeps_the_invariants() {
    play_seeds(scenario::run_edge, EDGE_SEEDS, &reach::WANTED_EDGE);
}

#[test]
fn every_call_that_goes_both_ways_keeps_its_messages_their_order_and_its_end() {
    let (base, count) = seeds_of(TALK_SEEDS);
    let (mut failed, mut whole, mut broken) = (Vec::new(), 0, 0);
    for seed in base..base + count {
        let outcome = talks::run(seed);
        (whole, broken) = (whole + outcome.whole, broken + outcome.broken);
        if !outcome.problems.is_empty() {
            eprintln!("seed {seed}:\n  {}", outcome.problems.join("\n  "));
            failed.push(seed);
        }
    }
    eprintln!("{whole} calls whole, {broken} broken");
    assert!(failed.is_empty(), "{} of {count} seeds failed: {failed:?}", failed.len());
    assert!(count < TALK_SEEDS || whole > 200 && broken > 50, "{whole} whole, {broken} broken");
}

#[test]
fn a_seed_of_calls_that_go_both_ways_tells_the_same_story_twice() {
    let stories: Vec<u64> = [11, 11, 12].map(|seed| talks::run(seed).history).to_vec();
    assert_eq!(stories[0], stories[1]);
    assert_ne!(stories[0], stories[2]);
}

#[test]
fn a_seed_with_proxies_calls_and_tunnels_tells_the_same_story_twice() {
    let stories: Vec<u64> = [11, 11, 12].map(|seed| scenario::run_edge(seed).history).to_vec();
    assert_eq!(stories[0], stories[1]);
    assert_ne!(stories[0], stories[2]);
}

#[test]
fn a_seed_with_endpoints_of_http2_tells_the_same_story_twice() {
    let stories: Vec<u64> = [11, 11, 12].map(|seed| scenario::run_shared(seed).history).to_vec();
    assert_eq!(stories[0], stories[1]);
    assert_ne!(stories[0], stories[2]);
}

#[test]
fn a_seed_with_tls_and_http2_tells_the_same_story_twice() {
    let stories: Vec<u64> = [11, 11, 12].map(|seed| scenario::run_sealed(seed).history).to_vec();
    assert_eq!(stories[0], stories[1]);
    assert_ne!(stories[0], stories[2]);
}

#[test]
fn a_seed_tells_the_same_story_twice_and_another_one_does_not() {
    let stories: Vec<u64> = [11, 11, 12].map(|seed| scenario::run(seed).history).to_vec();
    assert_eq!(stories[0], stories[1]);
    assert_ne!(stories[0], stories[2]);
}
