//! No waiter is forgotten: each test ends as a deadlock when a wake-up is lost.

use crate::meet;
use crate::workers::Workers;

fn wait_0(all: &Workers) {
    all.wait(0);
}

fn wait_1(all: &Workers) {
    all.wait(1);
}

fn leave_0(all: &Workers) {
    all.leave(0);
}

#[test]
fn a_release_names_the_waiter_or_the_waiter_sees_the_credit() {
    meet(6, || Workers::saturated(2, 1), [wait_1, Workers::release], |all, _| assert_eq!(all.counts(), (1, 0)));
}

#[test]
fn one_credit_goes_round_all_who_wait_for_it() {
    fn pass_on(all: &Workers, worker: usize) {
        all.wait(worker);
        assert!(all.state.taken() <= 1);
        all.release();
    }
    fn pass_on_0(all: &Workers) {
        pass_on(all, 0);
    }
    fn pass_on_1(all: &Workers) {
        pass_on(all, 1);
    }
    meet(
        2,
        || Workers::saturated(2, 1),
        [pass_on_0, pass_on_1, Workers::release],
        |all, _| assert_eq!(all.counts(), (0, 0)),
    );
}

#[test]
fn two_credits_released_at_once_serve_two_waiters() {
    fn release_both(all: &Workers) {
        all.release();
        all.release();
    }
    meet(2, || Workers::saturated(2, 2), [wait_0, wait_1, release_both], |all, _| assert_eq!(all.counts(), (2, 0)));
}

#[test]
fn a_waiter_that_leaves_passes_its_wake_on() {
    let setup = || {
        let all = Workers::saturated(2, 1);
        assert!(!all.join(0));
        all
    };
    meet(3, setup, [leave_0, wait_1, Workers::release], |all, _| assert_eq!(all.counts(), (1, 0)));
}

#[test]
fn a_waiter_that_comes_as_another_leaves_is_not_forgotten() {
    let setup = || {
        let all = Workers::saturated(2, 1);
        all.release();
        all
    };
    let come_and_go = |all: &Workers| if all.join(0) { all.release() } else { all.leave(0) };
    meet(6, setup, [come_and_go, wait_1], |all, _| assert_eq!(all.counts(), (1, 0)));
}

#[test]
fn a_raised_limit_reaches_all_whom_it_serves() {
    fn raise(all: &Workers) {
        all.wake(all.state.set_limit(3));
    }
    fn lift(all: &Workers) {
        all.wake(all.state.set_limit(0));
    }
    for raise in [raise, lift] {
        meet(2, || Workers::saturated(2, 1), [wait_0, wait_1, raise], |all, _| assert_eq!(all.counts(), (3, 0)));
    }
}

#[test]
fn a_connection_that_goes_to_rest_is_seen_by_the_waiter_or_sees_it() {
    fn rest(all: &Workers) {
        all.state.set_idle(0, 1);
        if all.state.waiting() == 0 {
            // It rests until the order to close it comes.
            all.receive(0);
        }
        all.release();
        all.state.set_idle(0, 0);
    }
    fn wait_and_reclaim(all: &Workers) {
        if !all.join(1) {
            all.wake(all.state.idle_elsewhere(1));
            while !all.serve(1) {
                all.receive(1);
            }
        }
    }
    meet(6, || Workers::saturated(2, 1), [rest, wait_and_reclaim], |all, _| assert_eq!(all.counts(), (1, 0)));
}

#[test]
fn a_waiter_behind_another_of_its_worker_looks_for_idle_connections_as_well() {
    let setup = || {
        let all = Workers::saturated(2, 1);
        assert!(!all.join(1));
        all
    };
    let second = |all: &Workers| {
        assert!(all.state.try_join(2).is_some());
        all.state.idle_elsewhere(1) == Some(0)
    };
    let rest = |all: &Workers| {
        all.state.set_idle(0, 1);
        all.state.waiting() == 2
    };
    meet(6, setup, [second, rest], |_, saw| assert!(saw[0] || saw[1], "neither saw the other"));
}
