//! A configuration under trial beside the one in force.

use std::num::NonZeroU32;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{Cluster, Entrance, Route, Snapshot, TraceSample};
use crate::policy::LivePolicy;
use crate::policy::limit::Limiter;
use crate::telemetry::{Share, Side, Trial};

/// The configuration under trial, and who is served by it.
#[derive(Clone)]
pub struct Candidate {
    /// Its tables, of the same epoch as those beside which it stands.
    pub snapshot: Arc<Snapshot>,
    share: Share,
}

/// Where the requests of a snapshot are counted.
#[derive(Clone)]
pub struct OnTrial {
    /// The trial.
    pub trial: Arc<Trial>,
    /// On which side of it.
    pub side: Side,
}

impl Candidate {
    /// Is a new connection that came in there one of its share, by 64 random bits? A listener that it does not have stays with the one in force.
    #[must_use]
    pub fn takes(&self, entrance: Entrance, random: impl FnOnce() -> u64) -> bool {
        self.share.takes(random) && self.snapshot.listener(entrance).is_some()
    }

    pub(super) fn under(&self, live: Option<Arc<LivePolicy>>, epoch: u64) -> Self {
        Self { snapshot: Arc::new(self.snapshot.under(live, epoch)), share: self.share }
    }
}

impl Snapshot {
    /// The same with `candidate`, compiled for the same epoch, on trial beside it.
    ///
    /// What both share follows the configuration in force alone, so that nothing that is on trial decides for those who have
    /// no part in it: caps, breakers, ejection, gates and kept connections of clusters, and what counts in rate limits.
    #[must_use]
    pub fn beside(mut self, mut candidate: Self, share: Share, trial: Arc<Trial>) -> Self {
        assert_eq!(self.epoch, candidate.epoch, "both are of one epoch");
        let clusters = Arc::get_mut(&mut candidate.clusters).expect("nobody else has a new snapshot");
        for cluster in clusters {
            if let Some(current) = self.clusters.iter().find(|current| Arc::ptr_eq(&current.state, &cluster.state)) {
                follow(cluster, current);
            }
        }
        let routes = Arc::get_mut(&mut candidate.routes).expect("nobody else has a new snapshot");
        follow_limits(routes, &self.routes, trial.number());
        let mut endpoints: Vec<_> = self.endpoints.iter().chain(candidate.endpoints.iter()).copied().collect();
        endpoints.sort_unstable_by_key(|id| id.0);
        endpoints.dedup();
        self.endpoints = endpoints.into();
        // Spans go to the collector of what is in force, if it has one: another one comes with the promotion.
        let is_recorded = self.tracing.is_some_and(|tracing| tracing.exports);
        candidate.tracing = candidate.tracing.map(|own| TraceSample { exports: own.exports && is_recorded, ..own });
        candidate.trial = Some(OnTrial { trial: Arc::clone(&trial), side: Side::Candidate });
        self.trial = Some(OnTrial { trial, side: Side::Current });
        self.candidate = Some(Candidate { snapshot: Arc::new(candidate), share });
        self
    }

    /// Gives both sides of a new snapshot another live policy.
    pub fn set_live(&mut self, live: Option<Arc<LivePolicy>>) {
        if let Some(candidate) = &mut self.candidate {
            let snapshot = Arc::get_mut(&mut candidate.snapshot);
            snapshot.expect("nobody else has a new snapshot").live.clone_from(&live);
        }
        self.live = live;
    }

    /// The same alone, as a later epoch.
    #[must_use]
    pub fn alone(&self, epoch: u64) -> Self {
        let mut alone = self.under(self.live.clone(), epoch);
        (alone.candidate, alone.trial) = (None, None);
        alone
    }
}

fn follow(cluster: &mut Cluster, current: &Cluster) {
    cluster.breaker = current.breaker;
    cluster.own_consecutive = current.own_consecutive;
    cluster.passive = current.passive;
    if current.admission.is_some() {
        cluster.admission.clone_from(&current.admission);
    }
    cluster.is_capped = current.is_capped;
    cluster.idle = current.idle;
    cluster.keep_alive_s = current.keep_alive_s;
    cluster.pings = current.pings;
}

/// What is in force of a rate limit counts all requests. A candidate that has another one of its name is held to both: its
/// own counts its requests alone, so that it shows what it would refuse and uses up nothing of anybody else's.
fn follow_limits(routes: &mut [Route], current: &[Route], trial: NonZeroU32) {
    let limits = current.iter().filter_map(|route| route.policies.as_ref()).flat_map(|policies| &policies.limits);
    let in_force: FxHashMap<u64, &Arc<Limiter>> = limits.map(|limiter| (limiter.policy(), limiter)).collect();
    let mut both: FxHashMap<u64, Vec<Arc<Limiter>>> = FxHashMap::default();
    for policies in routes.iter_mut().filter_map(|route| route.policies.as_mut()) {
        let beside = |own: &Arc<Limiter>| match in_force.get(&own.policy()) {
            None => vec![Arc::clone(own)],
            Some(current) if own.counts_as(current) => vec![Arc::clone(current)],
            Some(current) => vec![Arc::new(own.on_trial(trial)), Arc::clone(current)],
        };
        let limits = std::mem::take(&mut policies.limits).into_iter();
        policies.limits =
            limits.flat_map(|own| both.entry(own.policy()).or_insert_with(|| beside(&own)).clone()).collect();
    }
}

#[cfg(test)]
mod tests;
