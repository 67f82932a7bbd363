//! What the gateway does by itself, or because an operator asks, whatever else it waits for.
//!
//! None of it waits for a peer for long, so that all of it may come between two steps of a reload.

use std::pin::pin;

use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};

use super::HOUSEKEEPING;
use super::admin::{PolicyRequest, RolloutRequest, WeightRequest};
use super::gateway::Gateway;
use super::policy::News as PolicyNews;
use super::tables::News;

/// Orders of operators that wait for no reload.
pub(super) struct Chores {
    pub(super) policies: mpsc::Receiver<PolicyRequest>,
    pub(super) weights: mpsc::Receiver<WeightRequest>,
    pub(super) rollouts: mpsc::Receiver<RolloutRequest>,
}

/// One thing to do.
pub(super) enum Chore {
    Post(PolicyRequest),
    Weigh(WeightRequest),
    Conclude(RolloutRequest),
    /// The live policy may be another one.
    Policy(PolicyNews),
    /// Names have other addresses, or issuers other keys.
    News(News),
}

impl Gateway {
    /// The next thing to do; may be abandoned at any time.
    pub(super) async fn next_chore(&mut self) -> Chore {
        let Chores { policies, weights, rollouts } = &mut self.chores;
        tokio::select! {
            Some(request) = policies.recv() => Chore::Post(request),
            Some(request) = weights.recv() => Chore::Weigh(request),
            Some(request) = rollouts.recv() => Chore::Conclude(request),
            news = self.tables.news() => Chore::News(news),
            news = self.policy.news() => Chore::Policy(news),
        }
    }

    /// Does it. Whoever asked and is gone has not changed their mind.
    pub(super) async fn see_to(&mut self, chore: Chore) {
        match chore {
            Chore::Post((bytes, reply)) => drop(reply.send(self.post_policy(&bytes).await)),
            Chore::Weigh(((cluster, address, wanted), reply)) => {
                drop(reply.send(self.weigh(&cluster, address, wanted).await));
            }
            Chore::Conclude((order, reply)) => drop(reply.send(self.conclude_rollout(order).await)),
            Chore::Policy(news) => self.take_policy(news).await,
            Chore::News(news) => self.take_news(&news),
        }
    }

    /// Waits for a step of a reload and does meanwhile what is to be done: a name for which nobody answers, or ten thousand
    /// routes, must keep neither the live policy waiting, nor names that are known, nor the end of a trial that fails. One
    /// that does not is not promoted: something else is about to take its place.
    pub(super) async fn meanwhile<T>(&mut self, step: impl Future<Output = T>) -> T {
        let mut step = pin!(step);
        let mut housekeeping = rounds();
        loop {
            tokio::select! {
                done = step.as_mut() => return done,
                chore = self.next_chore() => self.see_to(chore).await,
                _ = housekeeping.tick() => {
                    self.keep_house().await;
                    self.give_up_what_failed().await;
                }
            }
        }
    }

    /// What is due now and then.
    pub(super) async fn keep_house(&mut self) {
        self.retire();
        self.show_names();
        self.look_at_policy().await;
    }
}

/// When housekeeping is due: an interval and not a sleep, which busy events would start anew each time.
pub(super) fn rounds() -> Interval {
    let mut rounds = tokio::time::interval(HOUSEKEEPING);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    rounds
}
