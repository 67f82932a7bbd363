//! Keeps what is known of endpoints up to date, whatever else the control thread waits for.
//!
//! Owns: the verdicts of probes on their way to the table of endpoints, the tiers left for their latency, and what the log
//! is told of breakers, ejections and caps on connections. It has a task of its own, so that a reload that waits for a name server keeps
//! nobody's health waiting.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::board::Board;
use super::overview::{Overview, Shown, ShownEndpoint};
use super::probes::{Followed, Report};
use super::tiers::Tiers;
use crate::clock;
use crate::cluster::{BreakerState, EndpointId, Fleet, Probe, Slot};
use crate::telemetry::CAPS;

/// Pause between two looks at the endpoints.
const LOOK: Duration = Duration::from_millis(100);

/// The task's belongings.
pub(super) struct Sentinel {
    followed: Followed,
    board: Arc<Board>,
    overview: Arc<Overview>,
    tiers: Tiers,
    /// By place in the overview, cluster after cluster.
    told: Vec<Told>,
    rejections: [Rejections; CAPS.len()],
}

impl Sentinel {
    /// Nothing is known yet; `followed` are those who are probed.
    pub(super) fn new(followed: Followed, board: Arc<Board>) -> Self {
        Self {
            followed,
            board,
            overview: Arc::default(),
            tiers: Tiers::default(),
            told: Vec::new(),
            rejections: [Rejections::NONE; CAPS.len()],
        }
    }

    /// Works until nobody can send `reports` any more.
    pub(super) async fn run(mut self, mut reports: mpsc::UnboundedReceiver<Report>) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                report = reports.recv() => match report {
                    Some(report) => self.on_probed(&report, now_ms()),
                    None => return,
                },
                _ = looks.tick() => self.look(now_ms()),
            }
        }
    }

    /// Told what a probe found.
    fn on_probed(&mut self, report: &Report, now_ms: u64) {
        let Some(target) = self.followed.target_of(report) else { return };
        let slot = self.board.fleet().slot(report.id);
        let (cluster, endpoint, detail) = (&*target.cluster, target.probed(), &*report.detail);
        match report.verdict {
            Some(true) => {
                slot.set_probe(Probe::Healthy, now_ms);
                tracing::info!(cluster, %endpoint, detail, latency_us = report.latency_us, "endpoint healthy");
            }
            Some(false) => {
                slot.set_probe(Probe::Unhealthy, now_ms);
                tracing::warn!(cluster, %endpoint, detail, "endpoint unhealthy");
            }
            None => tracing::debug!(cluster, %endpoint, detail, ok = report.ok, "endpoint probed"),
        }
        self.tiers.on_probed(report.id, slot, report.ok, report.latency_us);
        self.board.on_probed(report.id, report.ok, detail);
    }

    /// Leaves or takes up tiers by their latency, and tells what traffic did to endpoints.
    fn look(&mut self, now_ms: u64) {
        let overview = self.board.overview();
        if !Arc::ptr_eq(&overview, &self.overview) {
            self.tiers.follow(&overview);
            self.told = carried(&self.told, &self.overview, &overview);
            self.overview = overview;
        }
        let fleet = self.board.fleet();
        self.tiers.look(&self.overview, fleet, now_ms);
        tell(&self.overview, fleet, &mut self.told, now_ms);
        for ((cap, rejections), total) in CAPS.into_iter().zip(&mut self.rejections).zip(self.board.rejected()) {
            if let Some(connections) = rejections.on_total(total, now_ms) {
                tracing::warn!(cap, connections, "connections rejected");
            }
        }
    }
}

/// Connections that a cap refused, as the log is told of them: the first at once, those that follow together.
#[derive(Debug, Clone, Copy)]
struct Rejections {
    told: u64,
    next_ms: u64,
}

/// Between two notices of the same cap.
const REJECTIONS_MS: u64 = 10_000;

impl Rejections {
    const NONE: Self = Self { told: 0, next_ms: 0 };

    /// Told how many there have been; how many of them to tell now.
    fn on_total(&mut self, total: u64, now_ms: u64) -> Option<u64> {
        if total == self.told || now_ms < self.next_ms {
            return None;
        }
        let new = total - self.told;
        *self = Self { told: total, next_ms: now_ms + REJECTIONS_MS };
        Some(new)
    }
}

fn now_ms() -> u64 {
    clock::now_ns() / 1_000_000
}

/// What the log was told last of an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Told {
    is_open: bool,
    /// 0: that it is not ejected.
    ejected_until_ms: u64,
}

/// What is new of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// Its breaker is no longer closed; milliseconds until it is tried.
    Opened(u64),
    /// Its breaker closed.
    Closed,
    /// It was ejected, for so many milliseconds more.
    Ejected(u64),
    /// Its ejection is over.
    Returned,
}

impl Told {
    /// A breaker that is tried and opens again is still the same trouble, and told once.
    fn on_breaker(&mut self, slot: &Slot, now_ms: u64) -> Option<News> {
        match (self.is_open, slot.breaker(now_ms)) {
            (false, BreakerState::Open | BreakerState::HalfOpen) => {
                self.is_open = true;
                Some(News::Opened(slot.open_until_ms().saturating_sub(now_ms)))
            }
            (true, BreakerState::Closed) => {
                self.is_open = false;
                Some(News::Closed)
            }
            (true, BreakerState::Open | BreakerState::HalfOpen) | (false, BreakerState::Closed) => None,
        }
    }

    fn on_ejection(&mut self, slot: &Slot, now_ms: u64) -> Option<News> {
        let until_ms = if slot.is_ejected(now_ms) { slot.ejected_until_ms() } else { 0 };
        let before_ms = std::mem::replace(&mut self.ejected_until_ms, until_ms);
        match until_ms {
            0 if before_ms > 0 => Some(News::Returned),
            until_ms if until_ms > before_ms => Some(News::Ejected(until_ms - now_ms)),
            _ => None,
        }
    }
}

/// What was told of the endpoints of `now` that were in `before`.
fn carried(told: &[Told], before: &Overview, now: &Overview) -> Vec<Told> {
    fn key<'a>((cluster, endpoint): (&'a Shown, &ShownEndpoint)) -> (&'a str, EndpointId, SocketAddr) {
        (&cluster.name, endpoint.id, endpoint.address)
    }
    let known: HashMap<_, Told> = before.endpoints().map(key).zip(told.iter().copied()).collect();
    now.endpoints().map(|one| known.get(&key(one)).copied().unwrap_or_default()).collect()
}

fn tell(overview: &Overview, fleet: &Fleet, told: &mut [Told], now_ms: u64) {
    for ((cluster, endpoint), told) in overview.endpoints().zip(told) {
        let slot = fleet.slot(endpoint.id);
        for news in [told.on_breaker(slot, now_ms), told.on_ejection(slot, now_ms)].into_iter().flatten() {
            let (cluster, endpoint) = (&*cluster.name, endpoint.address);
            match news {
                News::Opened(open_ms) => tracing::warn!(cluster, %endpoint, open_ms, "breaker opened"),
                News::Closed => tracing::info!(cluster, %endpoint, "breaker closed"),
                News::Ejected(ejected_ms) => tracing::warn!(cluster, %endpoint, ejected_ms, "endpoint ejected"),
                News::Returned => tracing::info!(cluster, %endpoint, "endpoint no longer ejected"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::super::overview::tests::Scene;
    use super::*;
    use crate::cluster::{BreakerPolicy, Now, PassivePolicy};

    const BREAKER: BreakerPolicy = BreakerPolicy {
        window_ms: 10_000,
        error_rate: 1.0,
        min_requests: 1,
        consecutive: 0,
        open_ms: 1_000,
        probes: 1,
        close_after: 1,
    };
    const PASSIVE: PassivePolicy =
        PassivePolicy { window_ms: 10_000, error_rate: 1.0, min_requests: 1, eject_ms: 500, max_ejected: 1.0 };

    fn scene(address: &str) -> Scene {
        let mut scene = Scene::new();
        scene.publish(&format!(
            "breaker: {{}}, health: {{ passive: {{}} }}, endpoints: [{{ url: 'http://{address}' }}]"
        ));
        scene
    }

    /// One attempt, with what it means for the breaker and for the ejection.
    fn attempt(scene: &Scene, now_ms: u64, is_ok: bool, passive: Option<&PassivePolicy>) {
        let (fleet, id) = (scene.fleet(), EndpointId(0));
        let pass = fleet.slot(id).try_enter(now_ms, Some(&BREAKER)).expect("it may");
        let now = Now { ms: now_ms, ns: now_ms * 1_000_000 };
        if is_ok {
            let _closed = fleet.on_success(0, id, pass, now, Some(&BREAKER), passive);
        } else {
            fleet.on_failure(0, id, pass, now, Some(&BREAKER), passive, &[id], &AtomicBool::new(false));
        }
    }

    #[test]
    fn a_breaker_is_told_when_it_opens_and_when_it_closes_and_not_in_between() {
        let scene = scene("10.0.0.1");
        let mut told = Told::default();
        let mut look = |now_ms: u64| told.on_breaker(scene.slot(0), now_ms);
        assert_eq!(look(100), None);
        attempt(&scene, 100, false, None);
        assert_eq!((look(200), look(300)), (Some(News::Opened(900)), None));
        assert_eq!(look(1_100), None, "half-open");
        attempt(&scene, 1_100, false, None);
        assert_eq!(look(1_200), None, "it opened again");
        attempt(&scene, 2_100, true, None);
        assert_eq!((look(2_200), look(2_300)), (Some(News::Closed), None));
    }

    #[test]
    fn each_ejection_and_its_end_are_told_once() {
        let scene = scene("10.0.0.1");
        let mut told = Told::default();
        attempt(&scene, 100, false, Some(&PASSIVE));
        let mut look = |now_ms: u64| told.on_ejection(scene.slot(0), now_ms);
        assert_eq!((look(200), look(300)), (Some(News::Ejected(400)), None));
        assert_eq!((look(600), look(700)), (Some(News::Returned), None));
        attempt(&scene, 1_100, false, Some(&PASSIVE));
        assert_eq!(look(1_100), Some(News::Ejected(1_000)), "longer than before");
        attempt(&scene, 2_100, false, Some(&PASSIVE));
        assert_eq!(look(2_200), Some(News::Ejected(1_400)), "its end was not looked at");
    }

    #[test]
    fn a_reload_tells_nothing_twice_and_another_endpoint_is_another_story() {
        let mut scene = scene("10.0.0.1");
        let told = [Told { is_open: true, ejected_until_ms: 7 }];
        let before = std::mem::take(&mut scene.overview);
        scene.publish("endpoints: [{ url: 'http://10.0.0.2' }, { url: 'http://10.0.0.1' }]");
        assert_eq!(carried(&told, &before, &scene.overview), [Told::default(), told[0]]);
        scene.publish("endpoints: [{ url: 'http://10.0.0.3' }]");
        assert_eq!(carried(&told, &before, &scene.overview), [Told::default()]);
    }

    #[test]
    fn the_first_rejection_is_told_at_once_and_those_that_follow_together() {
        let mut rejections = Rejections::NONE;
        assert_eq!(rejections.on_total(0, 5), None);
        assert_eq!(rejections.on_total(3, 100), Some(3));
        assert_eq!(rejections.on_total(4, 200), None);
        assert_eq!(rejections.on_total(9_000, 10_099), None);
        assert_eq!(rejections.on_total(9_000, 10_100), Some(8_997));
        assert_eq!(rejections.on_total(9_000, 90_000), None, "nothing is new");
        assert_eq!(rejections.on_total(9_001, 90_000), Some(1));
    }
}
