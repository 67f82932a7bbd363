use super::*;

fn key(port: u16) -> EndpointKey {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    EndpointKey { cluster: "app".to_owned(), address, transport: "http".to_owned() }
}

fn publish(registry: &mut EndpointRegistry, epoch: u64, ports: &[u16]) -> (Vec<u32>, Vec<u32>) {
    let assigned = ports.iter().map(|port| registry.assign(epoch, &key(*port)).unwrap().0).collect();
    (assigned, registry.on_published(epoch).iter().map(|id| id.0).collect())
}

#[test]
fn an_endpoint_that_stays_keeps_its_identity() {
    let mut registry = EndpointRegistry::new();
    assert_eq!(publish(&mut registry, 1, &[80, 81, 82]), (vec![0, 1, 2], vec![]));
    assert_eq!(publish(&mut registry, 2, &[82, 81, 83]), (vec![2, 1, 3], vec![0]));
    assert_eq!(publish(&mut registry, 3, &[81, 81]), (vec![1, 1], vec![2, 3]));
}

#[test]
fn cluster_address_and_transport_tell_endpoints_apart() {
    let mut registry = EndpointRegistry::new();
    let other_cluster = EndpointKey { cluster: "api".to_owned(), ..key(80) };
    let other_transport = EndpointKey { transport: "https".to_owned(), ..key(80) };
    let ids: Vec<_> = [key(80), other_cluster, other_transport, key(81)]
        .iter()
        .map(|key| registry.assign(1, key).unwrap().0)
        .collect();
    assert_eq!(ids, [0, 1, 2, 3]);
}

#[test]
fn an_identity_is_reused_only_after_every_worker_left_the_snapshots_that_know_it() {
    let mut registry = EndpointRegistry::new();
    publish(&mut registry, 1, &[80]);
    publish(&mut registry, 2, &[81]);
    registry.retire(1);
    assert_eq!(publish(&mut registry, 3, &[81, 82]).0, [1, 2], "a worker may still be on epoch 1");
    registry.retire(2);
    assert_eq!(publish(&mut registry, 4, &[81, 82, 83]).0, [1, 2, 0]);
    assert_eq!(registry.bound(), 3);
}

#[test]
fn an_endpoint_that_comes_back_in_time_gets_its_identity_back() {
    let mut registry = EndpointRegistry::new();
    publish(&mut registry, 1, &[80, 81]);
    publish(&mut registry, 2, &[81]);
    assert_eq!(registry.assign(3, &key(80)), Ok(EndpointId(0)));
    registry.retire(2);
    assert_eq!(registry.assign(3, &key(82)), Ok(EndpointId(2)), "0 is about to be published again");
    let mut fresh: Vec<_> = registry.fresh().collect();
    fresh.sort_unstable();
    assert_eq!(fresh, [EndpointId(0), EndpointId(2)], "what was known of 0 is as old as its removal");
    assert_eq!(registry.on_published(3), [EndpointId(1)]);
    assert_eq!(registry.fresh().count(), 0);
}

#[test]
fn a_rejected_snapshot_leaves_no_trace() {
    let mut registry = EndpointRegistry::new();
    publish(&mut registry, 1, &[80, 81]);
    for port in [81, 82, 83] {
        registry.assign(2, &key(port)).unwrap();
    }
    registry.on_rejected(2);
    assert_eq!(publish(&mut registry, 2, &[80, 84]), (vec![0, 2], vec![1]));
}

#[test]
fn more_endpoints_than_the_limit_are_refused_until_some_retire() {
    let mut registry = EndpointRegistry::new();
    let ports: Vec<u16> = (0..u16::try_from(ENDPOINTS_MAX).unwrap()).collect();
    publish(&mut registry, 1, &ports);
    let extra = EndpointKey { cluster: "one more".to_owned(), ..key(1) };
    assert_eq!(registry.assign(2, &extra), Err(EndpointsFull));
    assert_eq!(registry.assign(2, &key(5)), Ok(EndpointId(5)), "known ones still have theirs");
    registry.on_rejected(2);
    publish(&mut registry, 2, &ports[1..]);
    registry.retire(2);
    assert_eq!(registry.assign(3, &extra), Ok(EndpointId(0)));
}

mod model {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Clone, Debug)]
    enum Op {
        Publish(Vec<u16>),
        Reject(Vec<u16>),
        Retire { epochs: u64 },
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

        fn op(&mut self) -> Op {
            let ports = (0..self.below(8)).map(|_| u16::try_from(self.below(12)).unwrap()).collect();
            match self.below(4) {
                0 => Op::Retire { epochs: self.below(3) },
                1 => Op::Reject(ports),
                _ => Op::Publish(ports),
            }
        }
    }

    type Snapshot = BTreeMap<u16, EndpointId>;

    fn assign(registry: &mut EndpointRegistry, epoch: u64, ports: &[u16]) -> Snapshot {
        ports.iter().map(|port| (*port, registry.assign(epoch, &key(*port)).unwrap())).collect()
    }

    /// Two endpoints that a worker can meet never share an identity.
    fn check(in_use: &BTreeMap<u64, Snapshot>, building: &Snapshot, at: &str) {
        let mut owners: BTreeMap<EndpointId, u16> = BTreeMap::new();
        for (port, id) in in_use.values().chain([building]).flatten() {
            assert_eq!(owners.entry(*id).or_insert(*port), port, "{at}: {id:?} is shared");
        }
    }

    #[test]
    fn identities_are_stable_and_never_shared_among_snapshots_in_use() {
        for seed in 0..300 {
            let mut random = Seeded(seed);
            let mut registry = EndpointRegistry::new();
            let (mut epoch, mut oldest) = (0, 1);
            let mut in_use: BTreeMap<u64, Snapshot> = BTreeMap::new();
            for step in 0..100 {
                let op = random.op();
                let at = format!("seed {seed} step {step} {op:?}");
                match op {
                    Op::Publish(ports) => {
                        let snapshot = assign(&mut registry, epoch + 1, &ports);
                        check(&in_use, &snapshot, &at);
                        let released = registry.on_published(epoch + 1);
                        let last = in_use.get(&epoch).cloned().unwrap_or_default();
                        let gone = last.iter().filter(|(port, _)| !snapshot.contains_key(port));
                        let mut gone: Vec<_> = gone.map(|(_, id)| *id).collect();
                        gone.sort_unstable();
                        assert_eq!(released, gone, "{at}");
                        for (port, id) in &snapshot {
                            assert!(last.get(port).is_none_or(|before| before == id), "{at}: {port} changed");
                        }
                        epoch += 1;
                        in_use.insert(epoch, snapshot);
                    }
                    Op::Reject(ports) => {
                        let snapshot = assign(&mut registry, epoch + 1, &ports);
                        check(&in_use, &snapshot, &at);
                        registry.on_rejected(epoch + 1);
                    }
                    Op::Retire { epochs } => {
                        oldest = (oldest + epochs).min(epoch.max(1));
                        in_use.retain(|known, _| *known >= oldest);
                        registry.retire(oldest);
                    }
                }
            }
            assert!(registry.bound() <= 12, "seed {seed}: more identities than endpoints");
            registry.retire(epoch);
            let live = in_use.get(&epoch).map_or(0, BTreeMap::len);
            assert_eq!(registry.entries.len(), live, "seed {seed}: what no snapshot has is forgotten");
        }
    }
}
