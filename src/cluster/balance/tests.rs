use super::*;

/// Endpoints as a test sets them.
#[derive(Clone, Default)]
struct Fake {
    weights: Vec<u32>,
    ramps: Vec<u32>,
    in_flight: Vec<u32>,
    capacity: Vec<u32>,
    latency_ns: Vec<u64>,
    unfit: Vec<bool>,
}

impl Fake {
    fn new(weights: &[u32]) -> Self {
        let count = weights.len();
        Self {
            weights: weights.to_vec(),
            ramps: vec![1000; count],
            in_flight: vec![0; count],
            capacity: vec![0; count],
            latency_ns: vec![0; count],
            unfit: vec![false; count],
        }
    }
}

impl Candidates for Fake {
    fn count(&self) -> usize {
        self.weights.len()
    }
    fn share(&self, at: usize) -> u32 {
        if self.unfit[at] { 0 } else { self.weights[at] * self.ramps[at] }
    }
    fn in_flight(&self, at: usize) -> u32 {
        self.in_flight[at]
    }
    fn capacity(&self, at: usize) -> u32 {
        self.capacity[at]
    }
    fn latency_ns(&self, at: usize) -> u64 {
        self.latency_ns[at]
    }
    fn weight(&self, at: usize) -> u32 {
        self.weights[at]
    }
}

/// A small generator (xorshift64*), because the room draws no randomness itself.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: u64) -> usize {
        usize::try_from(self.next() % bound).unwrap()
    }
}

const ALL: [Strategy; 6] = [
    Strategy::RoundRobin,
    Strategy::WeightedRoundRobin,
    Strategy::LeastConnections,
    Strategy::ConsistentHash,
    Strategy::LeastSaturated,
    Strategy::P2c,
];

fn names(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("10.0.0.{at}:3000")).collect()
}

fn ring(names: &[String], weights: &[u32]) -> Ring {
    Ring::new(names.iter().map(String::as_bytes).zip(weights.iter().copied()))
}

fn picks(strategy: Strategy, start: u32, fake: &Fake, rounds: usize) -> Vec<usize> {
    let mut balancer = Balancer::new(strategy, start);
    let mut random = Random(7);
    (0..rounds).map(|_| balancer.try_pick(fake, None, None, || random.next()).unwrap()).collect()
}

fn counted(picks: &[usize], count: usize) -> Vec<usize> {
    (0..count).map(|at| picks.iter().filter(|pick| **pick == at).count()).collect()
}

#[test]
fn whatever_the_strategy_a_fit_endpoint_is_found_and_no_other_is_picked() {
    let mut random = Random(0x5eed);
    for round in 0..3_000 {
        let count = random.below(7);
        let mut fake = Fake::new(&vec![1; count]);
        for at in 0..count {
            fake.weights[at] = 1 + u32::try_from(random.below(9)).unwrap();
            fake.ramps[at] = [1000, 1000, 100, 1][random.below(4)];
            fake.in_flight[at] = u32::try_from(random.below(5)).unwrap();
            fake.capacity[at] = u32::try_from(random.below(5)).unwrap();
            fake.latency_ns[at] = random.next() % 3 * 1_000_000;
            fake.unfit[at] = random.below(3) == 0;
        }
        let ring = ring(&names(count), &fake.weights);
        for strategy in ALL {
            let mut balancer = Balancer::new(strategy, u32::try_from(random.below(9)).unwrap());
            for _ in 0..5 {
                let key = (random.below(4) > 0).then(|| Ring::hash(&random.next().to_le_bytes()));
                let picked = balancer.try_pick(&fake, Some(&ring), key, || random.next());
                match picked {
                    Some(at) => assert!(fake.share(at) > 0, "round {round} {strategy:?}"),
                    None => assert!((0..count).all(|at| fake.share(at) == 0), "round {round} {strategy:?}"),
                }
            }
        }
    }
}

#[test]
fn a_cluster_that_grows_or_shrinks_is_survived() {
    let mut random = Random(3);
    for strategy in ALL {
        let mut balancer = Balancer::new(strategy, 4);
        for count in [5, 2, 0, 9, 1] {
            let fake = Fake::new(&vec![2; count]);
            let picked = balancer.try_pick(&fake, None, None, || random.next());
            assert_eq!(picked.is_some(), count > 0, "{strategy:?} {count}");
            assert!(picked.is_none_or(|at| at < count));
        }
    }
}

#[test]
fn round_robin_takes_turns_from_the_start_given_and_disregards_weights() {
    assert_eq!(picks(Strategy::RoundRobin, 0, &Fake::new(&[1, 9, 1]), 7), [0, 1, 2, 0, 1, 2, 0]);
    assert_eq!(picks(Strategy::RoundRobin, 5, &Fake::new(&[1; 3]), 4), [2, 0, 1, 2]);
    assert_eq!(picks(Strategy::RoundRobin, u32::MAX, &Fake::new(&[1]), 3), [0, 0, 0]);
}

#[test]
fn the_fit_share_the_load_of_the_unfit_evenly() {
    for strategy in [Strategy::RoundRobin, Strategy::WeightedRoundRobin, Strategy::LeastConnections] {
        let mut fake = Fake::new(&[1; 5]);
        (fake.unfit[1], fake.unfit[2]) = (true, true);
        assert_eq!(counted(&picks(strategy, 1, &fake, 300), 5), [100, 0, 0, 100, 100], "{strategy:?}");
    }
}

#[test]
fn smooth_weights_give_the_sequence_that_nginx_publishes() {
    // https://github.com/nginx/nginx/commit/52327e0627f49dbda1e8db695e63a4b0af4448b1: { 5, 1, 1 } gives a a b a c a a.
    assert_eq!(picks(Strategy::WeightedRoundRobin, 0, &Fake::new(&[5, 1, 1]), 7), [0, 0, 1, 0, 2, 0, 0]);
    assert_eq!(picks(Strategy::WeightedRoundRobin, 0, &Fake::new(&[1, 1]), 4), [0, 1, 0, 1]);
}

#[test]
fn over_a_cycle_every_endpoint_is_picked_as_often_as_its_weight() {
    let weights = [7, 1, 3, 0, 9];
    for start in 0..25 {
        let mut fake = Fake::new(&weights);
        fake.unfit[3] = true;
        let picks = picks(Strategy::WeightedRoundRobin, start, &fake, 20 * 50);
        assert_eq!(counted(&picks, 5), [350, 50, 150, 0, 450], "from {start}");
    }
}

#[test]
fn workers_that_start_apart_do_not_pick_in_step() {
    for strategy in [Strategy::RoundRobin, Strategy::WeightedRoundRobin, Strategy::LeastConnections] {
        let first: Vec<usize> = (0..3).map(|start| picks(strategy, start, &Fake::new(&[1; 3]), 1)[0]).collect();
        assert_eq!(counted(&first, 3), [1, 1, 1], "{strategy:?}");
    }
}

#[test]
fn one_that_ramps_up_takes_about_that_part_of_its_share() {
    for strategy in [Strategy::RoundRobin, Strategy::WeightedRoundRobin] {
        let mut fake = Fake::new(&[1, 1, 1]);
        fake.ramps[1] = 250;
        let counts = counted(&picks(strategy, 0, &fake, 9_000), 3);
        // A quarter of a share beside two whole ones: 1/9 of all.
        assert!((850..1_150).contains(&counts[1]), "{strategy:?} {counts:?}");
    }
}

/// Exchanges begin by the balancer's choice and end at random; returns the most and the time-weighted in flight.
fn simulate(strategy: Strategy, fake: &mut Fake, rounds: usize) -> Vec<u64> {
    let mut balancer = Balancer::new(strategy, 0);
    let mut random = Random(11);
    let mut flights = Vec::new();
    let mut held = vec![0_u64; fake.weights.len()];
    for _ in 0..rounds {
        let at = balancer.try_pick(fake, None, None, || random.next()).unwrap();
        fake.in_flight[at] += 1;
        flights.push(at);
        while flights.len() > 60 {
            let ended = flights.swap_remove(random.below(flights.len() as u64));
            fake.in_flight[ended] -= 1;
        }
        for (sum, now) in held.iter_mut().zip(&fake.in_flight) {
            *sum += u64::from(*now);
        }
    }
    held
}

#[test]
fn least_connections_holds_them_in_proportion_to_weights() {
    let mut fake = Fake::new(&[1, 2, 3]);
    let held = simulate(Strategy::LeastConnections, &mut fake, 6_000);
    let whole: u64 = held.iter().sum();
    for (at, part) in [1_u64, 2, 3].into_iter().enumerate() {
        let share = held[at] * 6_000 / whole;
        assert!((part * 1_000).abs_diff(share) < 150, "endpoint {at} held {share} of 6000");
    }
}

#[test]
fn least_saturated_fills_all_to_the_same_part_of_their_capacity() {
    let mut fake = Fake::new(&[1, 1]);
    fake.capacity = vec![90, 30];
    let held = simulate(Strategy::LeastSaturated, &mut fake, 6_000);
    let ratio = held[0] * 100 / held[1];
    assert!((285..315).contains(&ratio), "{held:?}");
    fake.in_flight = vec![89, 30];
    assert_eq!(picks(Strategy::LeastSaturated, 0, &fake, 1), [0]);
}

#[test]
fn of_two_choices_the_slow_or_busy_endpoint_loses() {
    let mut fake = Fake::new(&[1; 2]);
    fake.latency_ns = vec![10_000_000, 1_000_000];
    assert_eq!(counted(&picks(Strategy::P2c, 0, &fake, 100), 2), [0, 100]);
    fake.in_flight = vec![0, 20];
    assert_eq!(counted(&picks(Strategy::P2c, 0, &fake, 100), 2), [100, 0]);
    fake.latency_ns = vec![1_000_000, 0];
    fake.in_flight = vec![0, 0];
    assert_eq!(counted(&picks(Strategy::P2c, 0, &fake, 100), 2), [0, 100], "one nobody has measured is tried");
}

#[test]
fn among_equals_two_choices_are_even_and_a_slow_one_is_nearly_spared() {
    let mut fake = Fake::new(&[1; 4]);
    fake.latency_ns = vec![1_000_000; 4];
    assert!(counted(&picks(Strategy::P2c, 0, &fake, 8_000), 4).iter().all(|count| (1_800..2_200).contains(count)));
    fake.latency_ns[2] = 50_000_000;
    assert_eq!(counted(&picks(Strategy::P2c, 0, &fake, 8_000), 4)[2], 0);
}

fn owner(ring: &Ring, key: u64) -> usize {
    ring.walk(Ring::hash(format!("user-{key}").as_bytes())).next().unwrap()
}

#[test]
fn keys_are_spread_over_the_ring_by_weight() {
    let ring = ring(&names(5), &[1, 1, 1, 1, 2]);
    let owners: Vec<usize> = (0..60_000).map(|key| owner(&ring, key)).collect();
    for (at, count) in counted(&owners, 5).into_iter().enumerate() {
        let fair = if at == 4 { 20_000 } else { 10_000 };
        assert!(count * 100 > fair * 75 && count * 100 < fair * 125, "endpoint {at} has {count} keys");
    }
}

#[test]
fn without_one_of_n_endpoints_only_its_keys_move() {
    let all = names(8);
    let whole = ring(&all, &[1; 8]);
    let without: Vec<String> = all.iter().filter(|name| **name != all[3]).cloned().collect();
    let rest = ring(&without, &[1; 7]);
    let mut moved = 0;
    for key in 0..20_000 {
        let (before, after) = (&all[owner(&whole, key)], &without[owner(&rest, key)]);
        if before == after {
            continue;
        }
        assert_eq!(before, &all[3], "key {key} moved though its endpoint stayed");
        moved += 1;
    }
    // About 1/8 of them.
    assert!((1_900..3_100).contains(&moved), "{moved} of 20000 keys moved");
}

#[test]
fn the_order_of_endpoints_does_not_change_who_owns_a_key() {
    let forth = names(6);
    let back: Vec<String> = forth.iter().rev().cloned().collect();
    let (one, other) = (ring(&forth, &[1; 6]), ring(&back, &[1; 6]));
    assert!((0..5_000).all(|key| forth[owner(&one, key)] == back[owner(&other, key)]));
}

#[test]
fn keys_of_an_unfit_endpoint_are_spread_and_come_back() {
    let ring = ring(&names(4), &[1; 4]);
    let mut fake = Fake::new(&[1; 4]);
    let mut balancer = Balancer::new(Strategy::ConsistentHash, 0);
    let keys: Vec<u32> = (0..8_000_u32).map(|key| Ring::hash(&key.to_le_bytes())).collect();
    let mut pick = |fake: &Fake, key| balancer.try_pick(fake, Some(&ring), Some(key), || 0).unwrap();
    let before: Vec<usize> = keys.iter().map(|key| pick(&fake, *key)).collect();
    fake.unfit[2] = true;
    let during: Vec<usize> = keys.iter().map(|key| pick(&fake, *key)).collect();
    let moved: Vec<usize> =
        before.iter().zip(&during).filter(|(before, _)| **before == 2).map(|(_, during)| *during).collect();
    assert!(before.iter().zip(&during).all(|(before, during)| before == during || *before == 2));
    assert!(
        counted(&moved, 4).iter().filter(|count| **count > moved.len() / 10).count() == 3,
        "its keys went to all others"
    );
    fake.unfit[2] = false;
    assert_eq!(keys.iter().map(|key| pick(&fake, *key)).collect::<Vec<_>>(), before);
}

#[test]
fn a_huge_ring_stays_within_its_bound() {
    let names = names(3_000);
    let ring = ring(&names, &vec![1_000; 3_000]);
    let owners: std::collections::HashSet<usize> = ring.walk(0).collect();
    assert_eq!(owners.len(), 3_000);
    assert!(ring.walk(0).count() <= 1 << 20);
}

#[test]
fn a_split_is_exact_over_its_cycle_from_any_start() {
    for start in [0, 3, 19, 77] {
        let mut split = Split::new(&[95, 5], start);
        let picks: Vec<usize> = (0..10_000).map(|_| split.pick(None)).collect();
        assert_eq!(counted(&picks, 2), [9_500, 500], "from {start}");
    }
    let mut split = Split::new(&[0, 3, 1], 0);
    assert_eq!((0..4).map(|_| split.pick(None)).collect::<Vec<_>>(), [1, 1, 2, 1]);
}

#[test]
fn a_key_stays_at_its_part_of_a_split() {
    let mut split = Split::new(&[90, 0, 10], 0);
    let picks: Vec<usize> = (0..20_000_u32).map(|key| split.pick(Some(Ring::hash(&key.to_le_bytes())))).collect();
    assert_eq!(picks[77], split.pick(Some(Ring::hash(&77_u32.to_le_bytes()))));
    let counts = counted(&picks, 3);
    assert!(counts[1] == 0 && (1_800..2_200).contains(&counts[2]), "{counts:?}");
    assert_eq!(split.pick(Some(u32::MAX)), 2);
}
