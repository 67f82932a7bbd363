//! One entry a key and every token counted, whoever comes to a set at once.

use std::sync::Mutex;
use std::time::Duration;

use ringgate_loom::limit::{Key, Ledger, Rule, Shard};
use ringgate_loom::limits::RATE_LEASE_SHARE;

use crate::meet;

const PERIOD: Duration = Duration::from_secs(10);
const OLD_NS: u64 = 1_000_000_000;
/// When what was used at `OLD_NS` counts no more.
const NOW_NS: u64 = 100 * OLD_NS;

fn key(print: u64) -> Key {
    Key::from_hash(0, print)
}

/// Does one more request of a key pass, of `limit`?
fn one(ledger: &Ledger, print: u64, limit: u32, now_ns: u64) -> bool {
    ledger.charge(key(print), &Rule::sliding_window(limit, PERIOD, 4), 1, now_ns).granted > 0
}

fn empty() -> Ledger {
    Ledger::new(1)
}

/// Both entries are of keys whose time is over.
fn expired() -> Ledger {
    let ledger = empty();
    assert!(one(&ledger, 1, 1, OLD_NS) && one(&ledger, 2, 1, OLD_NS));
    ledger
}

#[test]
fn of_two_first_requests_of_a_key_one_passes() {
    let party: fn(&Ledger) -> bool = |ledger| one(ledger, 1, 1, NOW_NS);
    meet(2, empty, [party, party], |ledger, passed| {
        assert!(passed[0] != passed[1], "{passed:?}");
        assert!(!one(ledger, 1, 1, NOW_NS));
    });
}

#[test]
fn two_keys_that_enter_a_set_at_once_are_both_counted() {
    let parties: [fn(&Ledger) -> bool; 2] = [|ledger| one(ledger, 1, 1, NOW_NS), |ledger| one(ledger, 2, 1, NOW_NS)];
    meet(2, empty, parties, |ledger, passed| {
        assert_eq!((passed, ledger.stolen()), ([true, true], 0));
        assert!(!one(ledger, 1, 1, NOW_NS) && !one(ledger, 2, 1, NOW_NS));
    });
}

#[test]
fn a_key_that_comes_back_while_its_place_is_taken_is_counted() {
    let parties: [fn(&Ledger) -> bool; 2] = [|ledger| one(ledger, 1, 1, NOW_NS), |ledger| one(ledger, 3, 1, NOW_NS)];
    meet(2, expired, parties, |ledger, passed| {
        assert_eq!((passed, ledger.stolen()), ([true, true], 0));
        assert!(!one(ledger, 1, 1, NOW_NS) && !one(ledger, 3, 1, NOW_NS));
    });
}

#[test]
fn of_two_who_come_back_and_one_who_is_new_each_passes_once() {
    let parties: [fn(&Ledger) -> bool; 3] =
        [|ledger| one(ledger, 1, 1, NOW_NS), |ledger| one(ledger, 1, 1, NOW_NS), |ledger| one(ledger, 3, 1, NOW_NS)];
    meet(1, expired, parties, |ledger, passed| {
        assert!(passed[0] != passed[1] && passed[2], "{passed:?}");
        assert_eq!(ledger.stolen(), 0);
        assert!(!one(ledger, 1, 1, NOW_NS) && !one(ledger, 3, 1, NOW_NS));
    });
}

#[test]
fn no_token_is_given_twice() {
    let party: fn(&Ledger) -> u32 = |ledger| (0..2).map(|_| u32::from(one(ledger, 1, 3, NOW_NS))).sum();
    meet(2, empty, [party, party], |_, passed| assert_eq!(passed[0] + passed[1], 3));
}

#[test]
fn a_steal_and_a_charge_of_the_same_entry_lose_no_other() {
    let setup = || {
        let ledger = empty();
        assert!(one(&ledger, 1, 2, NOW_NS) && one(&ledger, 2, 1, NOW_NS));
        ledger
    };
    let parties: [fn(&Ledger) -> bool; 2] = [|ledger| one(ledger, 1, 2, NOW_NS), |ledger| one(ledger, 3, 1, NOW_NS)];
    meet(2, setup, parties, |ledger, passed| {
        assert_eq!(passed, [true, true]);
        assert!((1..=2).contains(&ledger.stolen()), "{}", ledger.stolen());
    });
}

/// What two workers share, and what each has alone.
struct Workers {
    ledger: Ledger,
    shards: [Mutex<Shard>; 2],
}

/// So many tokens are left once both workers have earned that they may lease two at once.
const LEFT: u32 = 3;

impl Workers {
    fn who_lease_two() -> Self {
        let workers = Self { ledger: empty(), shards: Default::default() };
        for worker in 0..2 {
            assert_eq!(workers.passes(worker, RATE_LEASE_SHARE), RATE_LEASE_SHARE);
        }
        workers
    }

    /// Of so many requests of one key, how many pass at a worker?
    fn passes(&self, worker: usize, requests: u32) -> u32 {
        let rule = Rule::sliding_window(2 * RATE_LEASE_SHARE + LEFT, PERIOD, 2);
        assert_eq!(rule.spare(), 1);
        let mut shard = self.shards[worker].lock().unwrap();
        (0..requests).map(|_| u32::from(shard.decide(&self.ledger, key(1), &rule, NOW_NS).allowed)).sum()
    }
}

#[test]
fn what_two_workers_lease_at_once_is_what_was_left() {
    let parties: [fn(&Workers) -> u32; 2] = [|workers| workers.passes(0, 2), |workers| workers.passes(1, 2)];
    meet(2, Workers::who_lease_two, parties, |workers, passed| {
        assert_eq!(passed[0] + passed[1], LEFT, "{passed:?}");
        assert_eq!([0, 1].map(|worker| workers.passes(worker, 1)), [0, 0]);
    });
}
