//! Which tiers of endpoints are left for their latency: looked at once per probe interval.

use std::collections::{HashMap, HashSet};

use super::overview::{Overview, Shown, is_fit, latency_us};
use crate::cluster::{EndpointId, Fleet, Slot, TierGate};

/// Priorities there are.
const PRIORITIES: usize = 64;

/// The gates of clusters that have a `max_latency`, by name; they outlive reloads.
#[derive(Default)]
pub(super) struct Tiers {
    gates: HashMap<String, Watched>,
    /// Those whose last probe failed.
    failing: HashSet<EndpointId>,
}

struct Watched {
    max_us: u64,
    gate: TierGate,
    due_ms: u64,
}

impl Tiers {
    /// The clusters of `overview` are in force: those that stay with their bound go on as they are.
    pub(super) fn follow(&mut self, overview: &Overview) {
        let bounds = overview.clusters.iter().filter_map(|cluster| Some((&cluster.name, cluster.max_latency_us?)));
        let bounds: HashMap<&String, u64> = bounds.collect();
        self.gates.retain(|name, watched| bounds.get(name) == Some(&watched.max_us));
        // Who is not probed any more would stay in it for ever.
        let probed: HashSet<EndpointId> = overview.probed().collect();
        self.failing.retain(|id| probed.contains(id));
    }

    /// Told how a probe of the endpoint of `slot` ended, and its latency, 0 for none.
    pub(super) fn on_probed(&mut self, id: EndpointId, slot: &Slot, ok: bool, latency_us: u64) {
        let is_back = ok && self.failing.remove(&id);
        if !ok {
            self.failing.insert(id);
        }
        if latency_us > 0 {
            // Probes that were given up say nothing of what answers again.
            let before_us = if is_back { 0 } else { slot.latency_us() };
            slot.set_latency_us(averaged(before_us, latency_us));
        }
    }

    /// Looks at every cluster whose time has come.
    pub(super) fn look(&mut self, overview: &Overview, fleet: &Fleet, now_ms: u64) {
        for cluster in &overview.clusters {
            let Some(max_us) = cluster.max_latency_us else { continue };
            let gate = self.gates.entry(cluster.name.clone());
            let new = || Watched { max_us, gate: TierGate::new(PRIORITIES, max_us), due_ms: 0 };
            let watched = gate.or_insert_with(new);
            if now_ms < watched.due_ms {
                continue;
            }
            watched.due_ms = now_ms + cluster.look_ms;
            let latencies_us = latencies_us(cluster, fleet, &self.failing, now_ms);
            let slow = watched.gate.on_latencies(&latencies_us) & tiers_of(cluster);
            if slow != cluster.state.slow_tiers() {
                tell(cluster, slow, &latencies_us);
                cluster.state.set_slow_tiers(slow);
            }
        }
    }
}

/// The mean latency of each tier by priority, of those of its endpoints that may be picked and where it is known. One that
/// hangs makes nobody else slow, and soon may not be picked: those that fail count where nobody else is there.
fn latencies_us(
    cluster: &Shown,
    fleet: &Fleet,
    failing: &HashSet<EndpointId>,
    now_ms: u64,
) -> [Option<u64>; PRIORITIES] {
    // Of those that answer, and of those that fail.
    let mut sums = [[(0, 0); 2]; PRIORITIES];
    for endpoint in cluster.endpoints.iter().filter(|endpoint| is_fit(fleet.slot(endpoint.id), now_ms)) {
        let us = latency_us(fleet, endpoint.id);
        if us > 0 {
            let (sum, count) = &mut sums[usize::from(endpoint.priority)][usize::from(failing.contains(&endpoint.id))];
            *sum += us;
            *count += 1;
        }
    }
    sums.map(|both| both.into_iter().find(|(_, count)| *count > 0).map(|(sum, count)| sum / count))
}

/// A moving average of three tenths of the new sample; the first sample as it is.
const fn averaged(before_us: u64, sample_us: u64) -> u64 {
    match before_us {
        0 => sample_us,
        before_us => (before_us * 7 + sample_us * 3) / 10,
    }
}

/// The priorities that a cluster has, as bits.
fn tiers_of(cluster: &Shown) -> u64 {
    cluster.endpoints.iter().fold(0, |mask, endpoint| mask | 1 << endpoint.priority)
}

fn tell(cluster: &Shown, slow: u64, latencies_us: &[Option<u64>]) {
    let before = cluster.state.slow_tiers();
    for priority in (0..PRIORITIES).filter(|priority| (slow ^ before) >> priority & 1 == 1) {
        let (cluster, latency_us) = (&cluster.name, latencies_us[priority].unwrap_or(0));
        if slow >> priority & 1 == 1 {
            tracing::warn!(cluster, priority, latency_us, "tier left, it is slow");
        } else {
            tracing::info!(cluster, priority, latency_us, "tier taken up again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::overview::tests::Scene;
    use super::*;
    use crate::cluster::Probe;

    const BOUND: &str = "max_latency: 50ms, health: { active: { kind: tcp, interval: 100ms, require_probe: true } }, ";

    /// Endpoints with the priorities 0, 0 and 9, all healthy, of a cluster with a bound of 50 ms.
    fn scene() -> (Scene, Tiers) {
        let mut scene = Scene::new();
        publish(&mut scene, BOUND);
        for at in 0..3 {
            scene.slot(at).set_probe(Probe::Healthy, 0);
        }
        (scene, Tiers::default())
    }

    fn publish(scene: &mut Scene, entries: &str) {
        let endpoints = "endpoints: [{ url: 'http://10.0.0.1' }, { url: 'http://10.0.0.2' }, \
            { url: 'http://10.0.0.3', priority: 9 }]";
        scene.publish(&format!("{entries}{endpoints}"));
    }

    /// Looks at the latencies in milliseconds, 0 for unknown; the priorities left.
    fn look(scene: &Scene, tiers: &mut Tiers, now_ms: u64, latencies_ms: [u64; 3]) -> Vec<u8> {
        for (at, ms) in latencies_ms.into_iter().enumerate() {
            scene.slot(at).set_latency_us(ms * 1_000);
        }
        tiers.look(&scene.overview, scene.fleet(), now_ms);
        scene.views(now_ms)[0].slow_tiers.clone()
    }

    #[test]
    fn a_tier_is_left_by_the_mean_of_its_endpoints_and_named_by_its_priority() {
        let (scene, mut tiers) = scene();
        assert!(look(&scene, &mut tiers, 1_000, [60, 40, 90]).contains(&9));
        assert_eq!(look(&scene, &mut tiers, 1_100, [61, 40, 90]), [0, 9], "all may be slow");
        assert_eq!(look(&scene, &mut tiers, 1_199, [1, 1, 1]), [0, 9], "an interval has not passed");
    }

    #[test]
    fn endpoints_that_may_not_be_picked_say_nothing_about_their_tier() {
        let (scene, mut tiers) = scene();
        scene.slot(0).set_probe(Probe::Unhealthy, 0);
        assert!(look(&scene, &mut tiers, 1_000, [500, 40, 1]).is_empty());
        scene.slot(1).set_probe(Probe::Unhealthy, 0);
        assert!(look(&scene, &mut tiers, 1_100, [500, 500, 1]).is_empty(), "nothing is known of it");
    }

    #[test]
    fn one_endpoint_that_hangs_does_not_take_its_tier_along_but_all_of_them_do() {
        let mut scene = Scene::new();
        let host = |at: u8| format!("{{ url: 'http://10.0.0.{at}' }}");
        let ids = scene.publish(&format!(
            "{BOUND}endpoints: [{}, {}, {}, {{ url: 'http://10.0.0.4', priority: 9 }}]",
            host(1),
            host(2),
            host(3)
        ));
        let mut tiers = Tiers::default();
        let mut now_ms = 1_000;
        let mut round = |answer: [bool; 3]| {
            for (at, id) in ids.iter().enumerate() {
                let ok = answer.get(at).copied().unwrap_or(true);
                tiers.on_probed(*id, scene.slot(at), ok, if ok { 1_000 } else { 2_000_000 });
                scene.slot(at).set_probe(Probe::Healthy, now_ms);
            }
            now_ms += 100;
            tiers.follow(&scene.overview);
            tiers.look(&scene.overview, scene.fleet(), now_ms);
            scene.views(now_ms)[0].slow_tiers.clone()
        };
        assert!(round([true; 3]).is_empty());
        for _ in 0..5 {
            assert!(round([false, true, true]).is_empty(), "two of three are quick");
        }
        for _ in 0..5 {
            assert!(round([true; 3]).is_empty(), "it is back, and as quick as it was");
        }
        assert_eq!(round([false; 3]), [0]);
        for _ in 0..20 {
            round([true; 3]);
        }
        assert!(round([true; 3]).is_empty());
    }

    #[test]
    fn an_endpoint_that_is_not_probed_any_more_counts_again() {
        let mut scene = Scene::new();
        let endpoints = "endpoints: [{ url: 'http://10.0.0.1' }, { url: 'http://10.0.0.2' }]";
        let ids = scene.publish(&format!("{BOUND}{endpoints}"));
        let mut tiers = Tiers::default();
        tiers.on_probed(ids[0], scene.slot(0), false, 2_000_000);
        tiers.follow(&scene.overview);
        assert!(tiers.failing.contains(&ids[0]));
        scene.publish(&format!("max_latency: 50ms, {endpoints}"));
        tiers.follow(&scene.overview);
        assert!(tiers.failing.is_empty());
    }

    #[test]
    fn the_average_follows_three_tenths_of_each_sample() {
        assert_eq!(averaged(0, 1_000), 1_000);
        assert_eq!(averaged(1_000, 2_000), 1_300);
        assert_eq!(averaged(averaged(1_000, 0), 0), 490);
    }

    #[test]
    fn without_probes_the_connections_of_requests_show_how_slow_a_tier_is() {
        let mut scene = Scene::new();
        let ids = scene.publish(
            "max_latency: 50ms, endpoints: [{ url: 'http://10.0.0.1' }, { url: 'http://10.0.0.2', priority: 9 }]",
        );
        let mut tiers = Tiers::default();
        scene.fleet().cell(0, ids[0]).on_connect(60_000);
        tiers.look(&scene.overview, scene.fleet(), 1_000);
        assert_eq!(scene.views(1_000)[0].slow_tiers, [0]);
        scene.slot(0).set_latency_us(1_000);
        for now_ms in [2_000, 3_000, 4_000] {
            tiers.look(&scene.overview, scene.fleet(), now_ms);
        }
        assert!(scene.views(4_000)[0].slow_tiers.is_empty(), "probes know better");
    }

    #[test]
    fn a_reload_that_keeps_the_bound_keeps_the_hysteresis() {
        let (mut scene, mut tiers) = scene();
        assert_eq!(look(&scene, &mut tiers, 1_000, [51, 51, 1]), [0]);
        for round in 0..10 {
            publish(&mut scene, BOUND);
            tiers.follow(&scene.overview);
            let now_ms = 1_100 + round * 100;
            assert_eq!(look(&scene, &mut tiers, now_ms, [45, 45, 1]), [0], "45 ms are not well within 50 ms");
        }
    }

    #[test]
    fn another_bound_begins_anew_and_without_one_nothing_is_left() {
        let (mut scene, mut tiers) = scene();
        assert_eq!(look(&scene, &mut tiers, 1_000, [51, 51, 1]), [0]);
        publish(&mut scene, &BOUND.replace("50ms", "60ms"));
        tiers.follow(&scene.overview);
        assert!(look(&scene, &mut tiers, 1_001, [51, 51, 1]).is_empty());
        assert_eq!(look(&scene, &mut tiers, 2_000, [61, 61, 1]), [0]);
        publish(&mut scene, &BOUND.replace("max_latency: 50ms, ", ""));
        tiers.follow(&scene.overview);
        assert!(look(&scene, &mut tiers, 3_000, [61, 61, 1]).is_empty());
        assert!(tiers.gates.is_empty());
    }
}
