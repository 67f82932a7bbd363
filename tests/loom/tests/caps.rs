//! Never more credits are out than the limit, and never more wait than may.

use loom::sync::atomic::{AtomicUsize, Ordering};
use ringgate_loom::ClusterState;

use crate::meet;

/// A cluster, and the credits that are out as those who hold them count.
struct Held {
    state: ClusterState,
    held: AtomicUsize,
}

fn held(limit: usize) -> Held {
    Held { state: ClusterState::new(3, limit), held: AtomicUsize::new(0) }
}

/// Takes a credit if there is one and gives it back.
fn take_and_release(shared: &Held) {
    if shared.state.try_take() {
        let before = shared.held.fetch_add(1, Ordering::Relaxed);
        assert!(before < shared.state.limit(), "more are out than the limit");
        shared.held.fetch_sub(1, Ordering::Relaxed);
        assert_eq!(shared.state.on_released(), None, "nobody waits");
    }
}

fn all_are_free<T>(shared: &Held, _: T) {
    assert_eq!(shared.state.taken(), 0);
    assert!(shared.state.try_take(), "what is free can be taken");
}

#[test]
fn two_workers_share_one_credit() {
    fn twice(shared: &Held) {
        take_and_release(shared);
        take_and_release(shared);
    }
    meet(6, || held(1), [twice, twice], all_are_free);
}

#[test]
fn three_workers_share_one_credit() {
    meet(3, || held(1), [take_and_release; 3], all_are_free);
}

#[test]
fn three_workers_share_two_credits() {
    meet(3, || held(2), [take_and_release; 3], all_are_free);
}

#[test]
fn a_waiter_and_a_comer_never_exceed_the_limit() {
    let setup = || {
        let state = ClusterState::new(2, 1);
        let ticket = state.try_join(1).unwrap();
        state.set_head(0, Some(ticket));
        state
    };
    let waiter = |state: &ClusterState| {
        let is_served = state.try_take_turn(0);
        state.set_head(0, None);
        assert_eq!(state.on_served(), None, "nobody else waits");
        is_served
    };
    // The comer may have the credit once the waiter has left, never while it waits.
    meet(6, setup, [waiter, ClusterState::try_take], |state, taken| {
        assert_eq!((taken, state.taken(), state.waiting()), ([true, false], 1, 0));
    });
}

#[test]
fn a_queue_of_one_place_admits_one_of_two() {
    fn join(state: &ClusterState) -> bool {
        state.try_join(1).is_some()
    }
    meet(
        6,
        || ClusterState::new(2, 1),
        [join, join],
        |state, joined| {
            assert!(joined[0] != joined[1], "{joined:?}");
            assert_eq!(state.waiting(), 1);
        },
    );
}

#[test]
fn whoever_is_told_that_there_is_no_room_can_rely_on_it() {
    /// One connection, of one worker and then of the other, in use by a single request at any time.
    fn moves(state: &ClusterState) {
        state.set_idle(1, 1);
        let ticket = state.try_join(1).unwrap();
        state.set_head(0, Some(ticket));
        assert_eq!(state.on_released(), Some(0));
        state.set_idle(1, 0);
        assert!(state.try_take_turn(0));
        state.set_head(0, None);
        assert_eq!(state.on_served(), None);
        assert_eq!(state.on_released(), None);
    }
    let setup = || {
        let state = ClusterState::new(3, 2);
        assert!(state.try_take());
        state
    };
    // Of two one is free throughout.
    meet(3, setup, [moves, |state: &ClusterState| assert!(state.has_room())], |state, _| assert_eq!(state.taken(), 0));
}
