//! A snapshot as one worker adopted it, with what that worker keeps beside it.

use std::cell::RefCell;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;

use crate::cluster::{Balancer, InFlightView, PassedOver, RetryBudget, Split};
use crate::rng::Rng;
use crate::snapshot::{Cluster, Snapshot};
use crate::telemetry::{Sampler, Share, TrialCells};

/// One worker's side of a cluster; it survives reloads that keep the cluster.
pub(super) struct Lane {
    pub(super) balancer: Balancer,
    pub(super) budget: RetryBudget,
    /// What other workers have in flight.
    pub(super) elsewhere: InFlightView,
    /// Who has too few of the connections under the cap.
    pub(super) passed_over: PassedOver,
}

/// A snapshot with the lanes of its clusters.
pub(super) struct Adopted {
    pub(super) snapshot: Arc<Snapshot>,
    /// By index of the cluster.
    pub(super) lanes: Vec<Rc<RefCell<Lane>>>,
    /// By number of the split.
    pub(super) splits: Vec<Rc<RefCell<Split>>>,
    pub(super) sampler: Sampler,
    /// Of the traces that begin here those that are recorded, where requests are traced.
    pub(super) traced: Option<Share>,
    /// What has a share of new connections, with lanes of its own.
    pub(super) candidate: Option<Rc<Self>>,
}

/// The trial in which a connection was given the candidate; the configuration in force serves it before and after.
pub(super) type Staged = Option<NonZeroU32>;

impl Adopted {
    /// Takes up `snapshot` as one of `workers`; lanes of clusters that `before` had with the same balancer go on, and so do
    /// splits of the same weights.
    pub(super) fn new(snapshot: Arc<Snapshot>, before: Option<&Self>, workers: usize, rng: &mut Rng) -> Self {
        let candidate_before = before.and_then(|before| before.candidate.as_deref());
        let candidate = snapshot.candidate.as_ref().map(|candidate| {
            let snapshot = Arc::clone(&candidate.snapshot);
            Rc::new(Self::new(snapshot, candidate_before, workers, rng))
        });
        // Once it is not on trial any more, what it had goes on with what is in force.
        let on_trial_before = candidate_before.filter(|_| candidate.is_none());
        let log = snapshot.log;
        // Workers start at different places, or the first endpoint of each cluster would get every first request.
        let start = |rng: &mut Rng| u32::try_from(rng.below(1 << 32)).unwrap_or(0);
        let lanes = (snapshot.clusters.iter())
            .map(|cluster| {
                // Where there is no cap, nobody waits for a connection that another one has.
                let places = if cluster.state.limit() > 0 { cluster.endpoints.len() } else { 0 };
                let passed_over = PassedOver::new(places, |below| rng.below(below));
                let known = [before, on_trial_before].into_iter().flatten().find_map(|before| before.lane_of(cluster));
                match known {
                    Some(known) => {
                        known.borrow_mut().passed_over = passed_over;
                        known
                    }
                    None => Rc::new(RefCell::new(Lane {
                        balancer: Balancer::new(cluster.strategy, start(rng)),
                        budget: RetryBudget::new(workers),
                        elsewhere: InFlightView::new(),
                        passed_over,
                    })),
                }
            })
            .collect();
        let splits = (snapshot.splits.iter().enumerate())
            .map(|(number, weights)| {
                // Other addresses of a cluster make an epoch as well, and shares are exact over all of them.
                let goes_on = before.filter(|before| before.snapshot.splits.get(number) == Some(weights));
                match goes_on {
                    Some(before) => Rc::clone(&before.splits[number]),
                    None => Rc::new(RefCell::new(Split::new(weights, start(rng)))),
                }
            })
            .collect();
        let sampler = Sampler::new(log.ok, log.slow_over, log.slow, log.errors);
        let traced = snapshot.tracing.map(|tracing| Share::new(tracing.share));
        Self { lanes, splits, sampler, traced, candidate, snapshot }
    }

    /// What serves a connection that was staged so.
    pub(super) fn of(self: &Rc<Self>, staged: Staged) -> Rc<Self> {
        let candidate = self.candidate.as_ref().filter(|candidate| staged.is_some() && candidate.number() == staged);
        Rc::clone(candidate.unwrap_or(self))
    }

    /// Every cluster, those of the candidate last; one that both have is there twice.
    pub(super) fn clusters(&self) -> impl Iterator<Item = &Cluster> {
        let candidate = self.candidate.iter().flat_map(|candidate| candidate.snapshot.clusters.iter());
        self.snapshot.clusters.iter().chain(candidate)
    }

    /// The trial that it is part of.
    fn number(&self) -> Staged {
        self.snapshot.trial.as_ref().map(|on_trial| on_trial.trial.number())
    }

    /// Where a worker counts what becomes of its requests, while one of two configurations is on trial.
    pub(super) fn on_trial(&self, worker: usize) -> Option<&TrialCells> {
        self.snapshot.trial.as_ref().map(|on_trial| on_trial.trial.cells(worker, on_trial.side))
    }

    fn lane_of(&self, cluster: &Cluster) -> Option<Rc<RefCell<Lane>>> {
        let at = self.snapshot.clusters.iter().position(|known| Arc::ptr_eq(&known.state, &cluster.state))?;
        let lane = &self.lanes[at];
        if lane.borrow().balancer.strategy() != cluster.strategy {
            return None;
        }
        // Its places belong to the endpoints of the snapshot before.
        lane.borrow_mut().elsewhere = InFlightView::new();
        Some(Rc::clone(lane))
    }
}
