use std::collections::BTreeSet;

use super::super::credit::Credit;
use super::*;
use crate::rng::Rng;

/// One connection more, accepted by `own`, in a model of workers without threads; who got it.
fn arrive(held: &mut [usize], own: usize) -> usize {
    let total = held.iter().sum::<usize>() + 1;
    let (worker, seen) = place(own, total, held.len(), |worker| held[worker]);
    assert_eq!(seen, held[worker]);
    held[worker] += 1;
    worker
}

fn is_even(held: &[usize]) -> bool {
    let total = held.iter().sum();
    held.iter().all(|&one| !is_above_share(one, total, held.len()))
}

/// Workers are alike but for their numbers, so states that differ only by order count as one.
#[test]
fn whatever_the_order_of_arrival_no_worker_is_more_than_one_above_its_share() {
    for workers in 2..=8 {
        let mut states = BTreeSet::from([vec![0; workers]]);
        for total in 1..=24 {
            let mut next = BTreeSet::new();
            for state in &states {
                for own in 0..workers {
                    let mut held = state.clone();
                    arrive(&mut held, own);
                    assert!(held.iter().all(|one| one * workers <= total + workers), "{state:?}, {own} accepts");
                    held.sort_unstable();
                    next.insert(held);
                }
            }
            states = next;
        }
    }
}

#[test]
fn eight_connections_that_one_worker_accepted_are_spread() {
    for (workers, most) in [(2, 5), (3, 3), (4, 3), (8, 2)] {
        let loads = Arc::new(Loads::new(workers, true));
        let places: Vec<Place> = (1..=8).map(|total| loads.place(0, total)).collect();
        let held: Vec<usize> = (0..workers).map(|worker| loads.held(worker)).collect();
        assert_eq!(held.iter().max(), Some(&most), "{held:?}");
        drop(places);
        assert!((0..workers).all(|worker| loads.held(worker) == 0));
    }
}

#[test]
fn hand_overs_are_rare_among_thousands_of_connections() {
    for workers in [2, 4, 8] {
        let mut rng = Rng::from_seed(7);
        let mut held = vec![0; workers];
        let mut handed = 0;
        for _ in 0..20_000 {
            let own = usize::try_from(rng.below(workers as u64)).unwrap();
            handed += usize::from(arrive(&mut held, own) != own);
            assert!(is_even(&held), "{held:?}");
        }
        assert!(handed < 600, "{handed} of 20000 on {workers} workers");
    }
}

#[test]
fn while_connections_come_and_go_one_moves_only_down_and_only_from_above_the_share() {
    for seed in 0..50 {
        let mut rng = Rng::from_seed(seed);
        let workers = 2 + usize::try_from(rng.below(7)).unwrap();
        let mut held = vec![0_usize; workers];
        for _ in 0..2_000 {
            let own = usize::try_from(rng.below(workers as u64)).unwrap();
            if rng.below(100) < 45 {
                held[own] = held[own].saturating_sub(1);
                continue;
            }
            let before = held.clone();
            let worker = arrive(&mut held, own);
            let total = held.iter().sum();
            let is_over = is_above_share(before[own] + 1, total, workers);
            assert_eq!(worker != own, is_over, "{before:?}, {own} accepts");
            if worker != own {
                assert_eq!(Some(&before[worker]), before.iter().min(), "{before:?}");
            }
            assert!(!is_above_share(held[worker], total, workers), "{before:?}, {own} accepts");
        }
    }
}

#[test]
fn workers_that_accept_at_once_end_within_the_bound() {
    for round in 0..20 {
        let (loads, credit) = (Arc::new(Loads::new(4, true)), Arc::new(Credit::new(usize::MAX)));
        let threads: Vec<_> = [40, 3, 0, 400]
            .into_iter()
            .enumerate()
            .map(|(own, count)| {
                let (loads, credit) = (Arc::clone(&loads), Arc::clone(&credit));
                let accept = move |_| {
                    let taken = credit.try_take();
                    (loads.place(own, credit.taken()), taken)
                };
                std::thread::Builder::new()
                    .spawn(move || (0..count + round).map(accept).collect::<Vec<_>>())
                    .expect("a test may have threads")
            })
            .collect();
        let places: Vec<_> = threads.into_iter().flat_map(|one| one.join().expect("no panic")).collect();
        let held: Vec<usize> = (0..4).map(|worker| loads.held(worker)).collect();
        assert_eq!(held.iter().sum::<usize>(), places.len());
        assert!(is_even(&held), "{held:?}");
        drop(places);
        assert!((0..4).all(|worker| loads.held(worker) == 0));
    }
}

#[test]
fn a_closed_worker_keeps_what_it_accepts_and_gets_nothing() {
    let loads = Loads::new(2, true);
    loads.close(1);
    let own: Vec<Place> = (1..=3).map(|total| loads.place(1, total)).collect();
    let others: Vec<Place> = (4..=20).map(|total| loads.place(0, total)).collect();
    assert_eq!((loads.held(0), loads.held(1)), (17, 3));
    drop((own, others));
    assert_eq!((loads.held(0), loads.held(1)), (0, 0));
}

#[test]
fn without_balance_everybody_keeps_what_it_accepts() {
    let loads = Loads::new(2, false);
    let places: Vec<Place> = (1..=8).map(|total| loads.place(0, total)).collect();
    assert_eq!((loads.held(0), loads.held(1)), (8, 0));
    loads.set_balanced(true);
    assert_eq!(loads.place(0, 9).worker(), 1);
    assert_eq!(places.len(), 8);
}

#[test]
fn the_only_worker_keeps_everything() {
    let loads = Loads::new(1, true);
    let places: Vec<Place> = (1..=100).map(|total| loads.place(0, total)).collect();
    assert_eq!(loads.held(0), places.len());
}
