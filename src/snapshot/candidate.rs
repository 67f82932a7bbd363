//! A configuration under trial beside the one in force.

use std::sync::Arc;

use super::{Cluster, Snapshot};
use crate::policy::LivePolicy;
use crate::telemetry::{Side, Trial};

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

/// A share of all draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(u64);

/// What a whole share takes of.
const DRAWS: u64 = 1 << 32;

impl Share {
    /// A share from 0.0 to 1.0; what is above 0 takes something.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the share is from 0 to 1")]
    pub fn new(share: f64) -> Self {
        Self(((share * DRAWS as f64) as u64).clamp(u64::from(share > 0.0), DRAWS))
    }

    /// Is this draw, of which all 64 bits are random, one of it?
    #[must_use]
    pub const fn takes(self, draw: u64) -> bool {
        draw >> 32 < self.0
    }
}

impl Candidate {
    /// Is a new connection of this listener one of its share? A listener that it does not have stays with the one in force.
    #[must_use]
    pub fn takes(&self, listener: &str, draw: u64) -> bool {
        self.share.takes(draw) && self.snapshot.listener(listener).is_some()
    }

    pub(super) fn under(&self, live: Option<Arc<LivePolicy>>, epoch: u64) -> Self {
        Self { snapshot: Arc::new(self.snapshot.under(live, epoch)), share: self.share }
    }
}

impl Snapshot {
    /// The same with `candidate`, compiled for the same epoch, on trial beside it.
    ///
    /// What the clusters of both share (caps, breakers, ejection, gates) follows the configuration in force alone, so that
    /// nothing that is on trial decides for those who have no part in it.
    #[must_use]
    pub fn beside(mut self, mut candidate: Self, share: Share, trial: Arc<Trial>) -> Self {
        assert_eq!(self.epoch, candidate.epoch, "both are of one epoch");
        let clusters = Arc::get_mut(&mut candidate.clusters).expect("nobody else has a new snapshot");
        for cluster in clusters {
            if let Some(current) = self.clusters.iter().find(|current| Arc::ptr_eq(&current.state, &cluster.state)) {
                follow(cluster, current);
            }
        }
        let mut endpoints: Vec<_> = self.endpoints.iter().chain(candidate.endpoints.iter()).copied().collect();
        endpoints.sort_unstable_by_key(|id| id.0);
        endpoints.dedup();
        self.endpoints = endpoints.into();
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_takes_its_part_of_all_draws() {
        const PART: u64 = u64::MAX / 100_000;
        for (share, expected) in [(0.0, 0_usize), (0.05, 5_000), (0.5, 50_000), (1.0, 100_000)] {
            let share = Share::new(share);
            let taken = (0..100_000_u64).filter(|part| share.takes(part * PART)).count();
            assert!(taken.abs_diff(expected) <= 1, "{share:?}: {taken}");
        }
        assert!(Share::new(1e-12).takes(0), "some is not none");
        assert!(Share::new(1.0).takes(u64::MAX));
    }
}
