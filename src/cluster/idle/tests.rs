use super::*;

const LIMITS: IdleLimits = IdleLimits { per_endpoint: 3, total: 5, idle_ms: 90_000 };
const A: EndpointId = EndpointId(0);
const B: EndpointId = EndpointId(7);
/// Of another cluster.
const OTHER: EndpointId = EndpointId(2);

/// The cluster of `A` and `B` with so many connections at rest.
const fn pair(resting: usize) -> Siblings<'static> {
    Siblings { endpoints: &[A, B], resting }
}

/// A pool where connections are numbers, returned at the time of their number.
fn pool_of(returns: &[(EndpointId, u64)]) -> Idle<u64> {
    let mut pool = Idle::new();
    for (endpoint, number) in returns {
        let resting = pool.len();
        assert_eq!(pool.on_return(*endpoint, *number, *number, u64::MAX, &LIMITS, pair(resting)), None);
    }
    pool
}

fn take(pool: &mut Idle<u64>, endpoint: EndpointId, now_ms: u64) -> Option<u64> {
    pool.try_take(endpoint, now_ms).map(|rested| rested.connection)
}

#[test]
fn the_newest_connection_of_the_endpoint_is_reused_first() {
    let mut pool = pool_of(&[(A, 1), (B, 2), (A, 3)]);
    assert_eq!(pool.try_take(A, 10), Some(Rested { connection: 3, idle_ms: 7 }));
    assert_eq!(take(&mut pool, A, 10), Some(1));
    assert_eq!(take(&mut pool, A, 10), None);
    assert_eq!(take(&mut pool, EndpointId(3), 10), None);
    assert_eq!(take(&mut pool, B, 10), Some(2));
    assert!(pool.is_empty());
}

#[test]
fn a_full_endpoint_gives_up_its_oldest() {
    let mut pool = pool_of(&[(B, 1), (A, 2), (A, 3), (A, 4)]);
    assert_eq!(pool.on_return(A, 5, 5, u64::MAX, &LIMITS, pair(4)), Some(2));
    assert_eq!(pool.len(), 4);
}

#[test]
fn a_full_cluster_gives_up_its_own_oldest() {
    let mut pool = pool_of(&[(B, 1), (A, 2), (A, 3), (A, 4), (B, 5)]);
    assert_eq!(pool.on_return(B, 6, 6, u64::MAX, &LIMITS, pair(5)), Some(1));
    assert_eq!(pool.on_return(B, 7, 7, u64::MAX, &LIMITS, pair(5)), Some(2));
    assert_eq!(pool.len(), 5);
}

#[test]
fn a_cluster_takes_no_room_from_another() {
    let mut pool = pool_of(&[(B, 1), (A, 2), (A, 3), (A, 4), (B, 5)]);
    let other = |resting| Siblings { endpoints: &[OTHER], resting };
    let one = IdleLimits { total: 1, ..LIMITS };
    assert_eq!(pool.on_return(OTHER, 6, 6, u64::MAX, &one, other(0)), None);
    assert_eq!(pool.on_return(OTHER, 7, 7, u64::MAX, &one, other(1)), Some(6));
    assert_eq!(pool.on_return(B, 8, 8, u64::MAX, &LIMITS, pair(5)), Some(1));
    assert_eq!(pool.len(), 6);
}

#[test]
fn a_connection_that_may_not_rest_comes_straight_back() {
    let mut pool = Idle::new();
    assert_eq!(pool.on_return(A, 1, 10, 10, &LIMITS, pair(0)), Some(1));
    assert_eq!(pool.on_return(A, 2, 10, u64::MAX, &IdleLimits { per_endpoint: 0, ..LIMITS }, pair(0)), Some(2));
    assert_eq!(pool.on_return(A, 3, 10, u64::MAX, &IdleLimits { total: 0, ..LIMITS }, pair(0)), Some(3));
    assert_eq!(pool.on_return(A, 4, 10, u64::MAX, &IdleLimits { idle_ms: 0, ..LIMITS }, pair(0)), Some(4));
    assert!(pool.is_empty());
}

#[test]
fn an_expired_connection_is_passed_over_and_closed_by_the_tick() {
    let mut pool = Idle::new();
    pool.on_return(A, 1, 0, 5_000, &LIMITS, pair(0));
    pool.on_return(A, 2, 0, 3_000, &LIMITS, pair(1));
    assert_eq!(take(&mut pool, A, 3_000), Some(1), "2 is newer but expired");
    assert_eq!(pool.len(), 1);
    let mut closed = Vec::new();
    pool.on_tick(3_000, &mut closed);
    assert_eq!((closed, pool.len()), (vec![2], 0));
}

#[test]
fn the_tick_closes_at_the_expiry_and_not_before_over_many_turns_of_the_wheel() {
    let limits = IdleLimits { idle_ms: 1_000_000, ..LIMITS };
    let mut pool = Idle::new();
    pool.on_return(A, 1, 123, u64::MAX, &limits, pair(0));
    let mut closed = Vec::new();
    for at_ms in (130..1_000_120).step_by(10) {
        pool.on_tick(at_ms, &mut closed);
        assert!(closed.is_empty(), "closed at {at_ms}");
    }
    pool.on_tick(1_000_122, &mut closed);
    assert!(closed.is_empty());
    pool.on_tick(1_000_123, &mut closed);
    assert_eq!(closed, [1]);
}

#[test]
fn a_late_tick_misses_nothing() {
    let mut pool = pool_of(&[(A, 1), (B, 2)]);
    let mut closed = Vec::new();
    pool.on_tick(u64::MAX, &mut closed);
    closed.sort_unstable();
    assert_eq!(closed, [1, 2]);
}

#[test]
fn a_sweep_goes_round_from_the_oldest_and_looks_at_each_once() {
    let mut pool = pool_of(&[(A, 1), (B, 2), (A, 3)]);
    let mut looked = Vec::new();
    let mut closed = Vec::new();
    for n in [2, 2, 9] {
        pool.sweep(
            n,
            |connection| {
                looked.push(*connection);
                *connection == 2
            },
            &mut closed,
        );
        looked.push(0);
    }
    assert_eq!(looked, [1, 2, 0, 3, 1, 0, 3, 1, 0]);
    assert_eq!(closed, [2]);
}

#[test]
fn a_removed_endpoint_hands_back_its_connections_and_no_others() {
    let mut pool = pool_of(&[(A, 1), (B, 2), (A, 3)]);
    let mut closed = Vec::new();
    pool.on_endpoint_removed(A, &mut closed);
    pool.on_endpoint_removed(EndpointId(99), &mut closed);
    assert_eq!((closed, pool.len()), (vec![1, 3], 1));
    pool.check_invariants();
}

mod model {
    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Op {
        Take { endpoint: u32 },
        Return { endpoint: u32, keep_alive_ms: u64, limits: IdleLimits },
        Tick,
        Sweep { n: usize, stale: u64 },
        Remove { endpoint: u32 },
        Wait { ms: u64 },
    }

    /// SplitMix64, so that a failure is replayed by its seed.
    struct Seeded(u64);

    impl Seeded {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed ^ (mixed >> 31)) % bound
        }

        fn size(&mut self, bound: u64) -> usize {
            usize::try_from(self.below(bound)).unwrap()
        }

        fn endpoint(&mut self) -> u32 {
            u32::try_from(self.below(4)).unwrap()
        }

        fn limits(&mut self) -> IdleLimits {
            let idle_ms = [0, 50, 1_000, 90_000][self.size(4)];
            IdleLimits { per_endpoint: self.size(12), total: self.size(30), idle_ms }
        }

        fn op(&mut self) -> Op {
            match self.below(16) {
                0..=3 => Op::Take { endpoint: self.endpoint() },
                4..=9 => {
                    let keep_alive_ms = [u64::MAX, 0, 5_000, 200_000][self.size(4)];
                    Op::Return { endpoint: self.endpoint(), keep_alive_ms, limits: self.limits() }
                }
                10 => Op::Tick,
                11 | 12 => Op::Sweep { n: self.size(6), stale: 2 + self.below(9) },
                13 if self.below(4) == 0 => Op::Remove { endpoint: self.endpoint() },
                _ => Op::Wait { ms: [1, 40, 700, 30_000, 100_000][self.size(5)] },
            }
        }
    }

    /// The clusters of all endpoints.
    const CLUSTERS: [&[EndpointId]; 2] = [&[EndpointId(0), EndpointId(1), EndpointId(2)], &[EndpointId(3)]];

    fn cluster_of(endpoint: u32) -> &'static [EndpointId] {
        CLUSTERS[usize::from(endpoint == 3)]
    }

    #[derive(Clone, Copy, Debug)]
    struct Kept {
        connection: u64,
        endpoint: u32,
        since_ms: u64,
        expires_ms: u64,
        reusable: bool,
    }

    /// All connections, oldest first; every operation is a search.
    #[derive(Default)]
    struct Naive {
        kept: Vec<Kept>,
        /// Place in `kept` of the next one to sweep.
        swept: usize,
    }

    impl Naive {
        fn remove(&mut self, at: usize) -> u64 {
            if at < self.swept {
                self.swept -= 1;
            }
            let connection = self.kept.remove(at).connection;
            self.swept %= self.kept.len().max(1);
            connection
        }

        fn try_take(&mut self, endpoint: u32, now_ms: u64) -> Option<(u64, u64)> {
            loop {
                let at = self.kept.iter().rposition(|kept| kept.endpoint == endpoint && kept.reusable)?;
                let Kept { since_ms, expires_ms, .. } = self.kept[at];
                if expires_ms > now_ms {
                    return Some((self.remove(at), now_ms - since_ms));
                }
                self.kept[at].reusable = false;
            }
        }

        /// How many connections of the cluster rest, expired ones included.
        fn resting(&self, cluster: &[EndpointId]) -> usize {
            self.kept.iter().filter(|kept| cluster.contains(&EndpointId(kept.endpoint))).count()
        }

        /// The cluster's connection that has rested longest; of equals that of the first endpoint.
        fn oldest(&self, cluster: &[EndpointId]) -> Option<usize> {
            let is_its = |kept: &Kept| kept.reusable && cluster.contains(&EndpointId(kept.endpoint));
            let its = self.kept.iter().enumerate().filter(|(_, kept)| is_its(kept));
            its.min_by_key(|(at, kept)| (kept.since_ms, kept.endpoint, *at)).map(|(at, _)| at)
        }

        fn on_return(&mut self, new: Kept, limits: &IdleLimits) -> Option<u64> {
            let expires_ms = new.expires_ms.min(new.since_ms + limits.idle_ms);
            if expires_ms <= new.since_ms || limits.per_endpoint == 0 || limits.total == 0 {
                return Some(new.connection);
            }
            let is_own = |kept: &Kept| kept.endpoint == new.endpoint && kept.reusable;
            let cluster = cluster_of(new.endpoint);
            let evicted = if self.kept.iter().filter(|kept| is_own(kept)).count() >= limits.per_endpoint {
                self.kept.iter().position(is_own)
            } else if self.resting(cluster) >= limits.total {
                self.oldest(cluster)
            } else {
                None
            };
            let evicted = evicted.map(|at| self.remove(at));
            self.kept.push(Kept { expires_ms, ..new });
            evicted
        }

        fn take_all(&mut self, is_over: impl Fn(&Kept) -> bool) -> Vec<u64> {
            let mut closed = Vec::new();
            while let Some(at) = self.kept.iter().position(&is_over) {
                closed.push(self.remove(at));
            }
            closed
        }

        fn sweep(&mut self, n: usize, stale: u64) -> Vec<u64> {
            let mut closed = Vec::new();
            for _ in 0..n.min(self.kept.len()) {
                let at = self.swept;
                self.swept = (at + 1) % self.kept.len();
                if self.kept[at].connection.is_multiple_of(stale) {
                    closed.push(self.remove(at));
                }
            }
            closed
        }
    }

    #[test]
    fn the_pool_does_what_a_naive_one_does() {
        for seed in 0..100 {
            let mut random = Seeded(seed);
            let (mut pool, mut naive) = (Idle::new(), Naive::default());
            let (mut now_ms, mut connections) = (random.below(1_000_000), 0);
            for step in 0..400 {
                let op = random.op();
                let mut closed = Vec::new();
                let mut expected = Vec::new();
                match op {
                    Op::Take { endpoint } => {
                        let taken = pool.try_take(EndpointId(endpoint), now_ms);
                        let taken = taken.map(|rested| (rested.connection, rested.idle_ms));
                        assert_eq!(taken, naive.try_take(endpoint, now_ms), "seed {seed} step {step} {op:?}");
                    }
                    Op::Return { endpoint, keep_alive_ms, limits } => {
                        connections += 1;
                        let expires_ms = now_ms.saturating_add(keep_alive_ms);
                        let endpoints = cluster_of(endpoint);
                        let cluster = Siblings { endpoints, resting: naive.resting(endpoints) };
                        let id = EndpointId(endpoint);
                        closed.extend(pool.on_return(id, connections, now_ms, expires_ms, &limits, cluster));
                        let (connection, since_ms) = (connections, now_ms);
                        let new = Kept { connection, endpoint, since_ms, expires_ms, reusable: true };
                        expected.extend(naive.on_return(new, &limits));
                    }
                    Op::Tick => {
                        pool.on_tick(now_ms, &mut closed);
                        expected = naive.take_all(|kept| kept.expires_ms <= now_ms);
                        closed.sort_unstable();
                        expected.sort_unstable();
                    }
                    Op::Sweep { n, stale } => {
                        pool.sweep(n, |connection| connection.is_multiple_of(stale), &mut closed);
                        expected = naive.sweep(n, stale);
                    }
                    Op::Remove { endpoint } => {
                        pool.on_endpoint_removed(EndpointId(endpoint), &mut closed);
                        expected = naive.take_all(|kept| kept.endpoint == endpoint && kept.reusable);
                    }
                    Op::Wait { ms } => now_ms += ms,
                }
                assert_eq!(closed, expected, "seed {seed} step {step} {op:?}");
                assert_eq!(pool.len(), naive.kept.len(), "seed {seed} step {step} {op:?}");
                pool.check_invariants();
            }
        }
    }
}
