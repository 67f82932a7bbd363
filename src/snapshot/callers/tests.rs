//! The caps against a model, and against many threads at once.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Barrier;

use super::table::COUNT;
use super::*;

fn v4(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(number).into()
}

fn callers(sets: usize) -> Arc<Callers> {
    let callers = Arc::new(Callers::default());
    callers.clients.set(Clients::new(sets)).expect("there are none yet");
    callers
}

#[test]
fn each_client_has_what_the_model_says() {
    let callers = callers(64);
    let mut model: HashMap<IpAddr, Vec<Caller>> = HashMap::new();
    let (mut state, most) = (1_u64, 3);
    for _ in 0..20_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (client, leaves) = (v4(u32::try_from(state >> 40).expect("24 bits") % 200), state >> 33 & 1 == 0);
        let held = model.entry(client).or_default();
        if leaves {
            drop(held.pop());
        } else {
            let mut caller = callers.try_enter(usize::MAX).expect("no cap");
            let counted = caller.try_count(client, most);
            assert_eq!(counted, if held.len() < most { Ok(true) } else { Err(Crowded::Client) });
            if counted.is_ok() {
                held.push(caller);
            }
        }
        assert_eq!(callers.open.load(Ordering::Relaxed), model.values().map(Vec::len).sum::<usize>());
    }
    drop(model);
    let words = &callers.clients.get().expect("a table").words;
    assert!(words.iter().all(|word| word.load(Ordering::Relaxed) & COUNT == 0), "all is given back");
}

#[test]
fn the_addresses_of_one_network_of_ipv6_are_one_client() {
    let callers = callers(64);
    let ip = |upper: u128, lower: u128| IpAddr::from(Ipv6Addr::from_bits(upper << 64 | lower));
    let enter = |client| {
        let mut caller = callers.try_enter(9).expect("room");
        caller.try_count(client, 1).map(|_| caller)
    };
    let _first = enter(ip(1, 1)).expect("the first of it");
    assert_eq!(enter(ip(1, 2)).map(drop), Err(Crowded::Client));
    let _second = enter(ip(2, 1)).expect("another network");
    let mapped: IpAddr = "::ffff:192.0.2.1".parse().expect("an address");
    let _third = enter(mapped).expect("IPv4 mapped into it is itself");
    assert_eq!(enter("192.0.2.1".parse().expect("an address")).map(drop), Err(Crowded::Client));
    let _fourth = enter("192.0.2.2".parse().expect("an address")).expect("another one");
}

#[test]
fn a_client_that_finds_no_entry_is_let_in_uncounted() {
    let callers = callers(1);
    let enter = |client| {
        let mut caller = callers.try_enter(99).expect("room");
        let counted = caller.try_count(client, 1);
        (caller, counted)
    };
    let mut held: Vec<_> = (0..16).map(|number| enter(v4(number))).collect();
    assert!(held.iter().all(|(_, counted)| *counted == Ok(true)));
    assert_eq!(enter(v4(99)).1, Ok(false));
    assert_eq!(enter(v4(7)).1, Err(Crowded::Client), "those who are counted still are");
    drop(held.remove(0));
    let (_caller, counted) = enter(v4(99));
    assert_eq!(counted, Ok(true), "an entry of nobody's connections is free");
}

/// Whatever the threads do at the same time, no client has more than it may, and none has two entries.
#[test]
fn four_threads_never_let_a_client_have_more_than_it_may() {
    const CLIENTS: usize = 6;
    let callers = callers(1);
    let held: Arc<[AtomicUsize; CLIENTS]> = Arc::default();
    let barrier = Arc::new(Barrier::new(4));
    let threads: Vec<_> = (0..4_usize)
        .map(|thread| {
            let (callers, held, barrier) = (Arc::clone(&callers), Arc::clone(&held), Arc::clone(&barrier));
            std::thread::Builder::new()
                .spawn(move || {
                    barrier.wait();
                    for turn in 0..50_000 {
                        let client = (turn / 7 + thread / 2) % CLIENTS;
                        let mut caller = callers.try_enter(100).expect("room");
                        if caller.try_count(v4(u32::try_from(client).expect("few")), 2) == Ok(true) {
                            let before = held[client].fetch_add(1, Ordering::SeqCst);
                            assert!(before < 2, "{before} before");
                            held[client].fetch_sub(1, Ordering::SeqCst);
                        }
                    }
                })
                .expect("a test may have threads")
        })
        .collect();
    for thread in threads {
        thread.join().expect("no assertion failed");
    }
    assert_eq!(callers.open.load(Ordering::Relaxed), 0);
    let words = &callers.clients.get().expect("a table").words;
    assert!(words.iter().all(|word| word.load(Ordering::Relaxed) & COUNT == 0));
}

#[test]
fn four_threads_never_enter_more_than_the_listener_may_have() {
    let callers = Arc::new(Callers::default());
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let callers = Arc::clone(&callers);
            std::thread::Builder::new()
                .spawn(move || {
                    for _ in 0..10_000 {
                        let caller = callers.try_enter(3);
                        assert!(callers.open.load(Ordering::Relaxed) <= 3);
                        drop(caller);
                    }
                })
                .expect("a test may have threads")
        })
        .collect();
    for thread in threads {
        thread.join().expect("no assertion failed");
    }
    assert_eq!(callers.open.load(Ordering::Relaxed), 0);
}
