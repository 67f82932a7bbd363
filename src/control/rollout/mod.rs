//! A staged rollout: a changed configuration takes a share of new connections, and is promoted or rolled back.
//!
//! Both are of one epoch, so that whatever else changes (the live policy, addresses, keys, weights) reaches both at once,
//! and a request looks at one number still. What is no part of a snapshot (listeners, the log, limits of the process)
//! changes with the promotion.

mod course;
mod decision;
mod shown;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

pub(super) use self::course::Course;
use self::decision::{Decision, Rollout};
use self::shown::{Last, ShownRunning};
pub(super) use self::shown::{Outcome, Shown, Status};
use super::changes::listener_changes;
use super::gateway::{Gateway, Trigger};
use super::put::{Keeping, Refused};
use super::sides::{Sides, Staged};
use super::sockets;
use super::source::Loaded;
use super::systemd;
use crate::clock;
use crate::config::{self, Config};
use crate::snapshot::Candidate;
use crate::telemetry::{Share, Side, SideCounts, Trial};

/// What an operator wants to become of what is on trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// It is for everybody.
    Promote,
    /// It is for nobody.
    Abort,
}

/// An order was obeyed: the epoch in force afterwards, and whether every worker serves by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Concluded {
    pub(super) epoch: u64,
    pub(super) is_adopted: bool,
}

/// Longest wait for the first keys of an issuer and the first probes of an endpoint, before a trial is given its share.
const FIRST_WORDS: Duration = Duration::from_secs(15);

/// The configuration on trial.
struct Running {
    loaded: Loaded,
    trial: Arc<Trial>,
    rollout: Rollout,
    began_unix_ms: u64,
    /// Until when it has no share at most, because there is somebody who has yet to be heard of.
    waits_until_ms: Option<u64>,
}

impl Running {
    fn counts(&self, side: Side) -> SideCounts {
        self.trial.counts(side)
    }

    /// Of new connections.
    fn share(&self) -> Share {
        if self.waits_until_ms.is_some() { Share::new(0.0) } else { Share::new(self.rollout.rules().share) }
    }

    fn decide(&self) -> Decision {
        let (current, candidate) = (self.counts(Side::Current), self.counts(Side::Candidate));
        self.rollout.decide(&current, &candidate, now_ms())
    }
}

/// What is on trial, and what came of those before.
#[derive(Default)]
pub(super) struct Rollouts {
    running: Option<Running>,
    /// What was rolled back last, as long as the files say so.
    rejected: Option<Loaded>,
    /// It was rolled back while files were being read.
    is_rejected_meanwhile: bool,
    last: Option<Last>,
    /// Trials that have begun.
    begun: u32,
    /// Those that have ended, by outcome.
    ended: [u64; Outcome::ALL.len()],
}

impl Rollouts {
    /// What is compiled into an epoch beside `current`, which is in force.
    pub(super) fn sides<'a>(&'a self, current: &'a Config) -> Sides<'a> {
        let candidate = self.running.as_ref().map(|running| Staged {
            config: &running.loaded.config,
            share: running.share(),
            trial: &running.trial,
        });
        Sides { current, candidate }
    }

    /// The number of the trial under way.
    pub(super) fn number(&self) -> Option<NonZeroU32> {
        self.running.as_ref().map(|running| running.trial.number())
    }

    /// What the files say, if that is not what is in force.
    pub(super) fn on_disk(&self) -> Option<&Loaded> {
        self.running.as_ref().map(|running| &running.loaded).or(self.rejected.as_ref())
    }

    /// What is to be done with a configuration that was read, while `current` is in force.
    pub(super) fn course(&self, trigger: Trigger, read: &Config, current: &Config) -> Course {
        let is = |known: Option<&Loaded>| known.is_some_and(|known| *known.config == *read);
        let files = if read == current {
            course::Files::Current
        } else if is(self.running.as_ref().map(|running| &running.loaded)) {
            course::Files::Candidate
        } else if is(self.rejected.as_ref()) {
            course::Files::Rejected
        } else {
            course::Files::Other
        };
        // Who asked for what was rolled back while it was read did not know that, and who turns the log asks for no trial.
        let is_unaware = files == course::Files::Rejected && (self.is_rejected_meanwhile || trigger == Trigger::Reopen);
        let by_watch = trigger == Trigger::Files || is_unaware;
        course::course(files, by_watch, self.running.is_some(), read.rollout.is_some())
    }

    /// Files are about to be read.
    pub(super) const fn on_reading(&mut self) {
        self.is_rejected_meanwhile = false;
    }

    /// The files were read again, and say what is on trial or was rolled back already.
    pub(super) fn on_read(&mut self, loaded: Loaded) {
        match &mut self.running {
            Some(running) => running.loaded = loaded,
            None => self.rejected = Some(loaded),
        }
    }

    /// The files say what is in force.
    pub(super) fn on_files_in_force(&mut self) {
        self.rejected = None;
    }

    /// For the pages.
    pub(super) fn shown(&self) -> Shown {
        Shown {
            running: self.running.as_ref().map(|running| ShownRunning {
                trial: Arc::clone(&running.trial),
                rules: running.rollout.rules().clone(),
                began_unix_ms: running.began_unix_ms,
                waits: running.waits_until_ms.is_some(),
            }),
            is_rejected: self.rejected.is_some(),
            last: self.last.clone(),
            ended: self.ended,
        }
    }

    fn begin(&mut self, loaded: Loaded, trial: Arc<Trial>, rules: config::Rollout, waits: bool) {
        self.begun = trial.number().get();
        self.rejected = None;
        let now_ms = now_ms();
        let waits_until_ms = waits.then(|| now_ms + u64::try_from(FIRST_WORDS.as_millis()).unwrap_or(u64::MAX));
        let rollout = Rollout::new(rules, now_ms);
        self.running = Some(Running { loaded, trial, rollout, began_unix_ms: clock::unix_ms(), waits_until_ms });
    }

    /// What was waited for is there: its time begins now.
    fn give_share(&mut self) {
        if let Some(running) = &mut self.running {
            running.waits_until_ms = None;
            running.rollout = Rollout::new(running.rollout.rules().clone(), now_ms());
            running.began_unix_ms = clock::unix_ms();
        }
    }

    /// The trial under way ends so; what was on trial.
    fn end(&mut self, outcome: Outcome, reason: &str) -> Option<Loaded> {
        let running = self.running.take()?;
        let (current, candidate) = (running.counts(Side::Current), running.counts(Side::Candidate));
        let number = running.trial.number();
        log(outcome, number, reason, &current, &candidate);
        self.ended[outcome as usize] += 1;
        self.last = Some(Last::new(number, outcome, reason, &current, &candidate));
        Some(running.loaded)
    }
}

fn log(outcome: Outcome, number: NonZeroU32, reason: &str, current: &SideCounts, candidate: &SideCounts) {
    macro_rules! tell {
        ($($tell:tt)+) => {
            $($tell)+!(
                rollout = number.get(),
                outcome = outcome.name(),
                reason,
                candidate_requests = candidate.requests,
                candidate_failed = candidate.failed(),
                candidate_refused = candidate.refused,
                candidate_p99_us = candidate.p99_us(),
                current_requests = current.requests,
                current_failed = current.failed(),
                current_refused = current.refused,
                current_p99_us = current.p99_us(),
                "rollout ended"
            )
        };
    }
    match outcome {
        Outcome::RolledBack => tell!(tracing::error),
        Outcome::Promoted | Outcome::Superseded => tell!(tracing::info),
    }
}

/// Has `candidate` a cluster, new or changed, whose endpoints have to be probed before they may serve?
fn demands_probes(current: &Config, candidate: &Config) -> bool {
    let demands = |cluster: &config::Cluster| cluster.active.as_ref().is_some_and(|active| active.require_probe);
    candidate.clusters.iter().any(|cluster| demands(cluster) && !current.clusters.contains(cluster))
}

fn now_ms() -> u64 {
    clock::now_ns() / 1_000_000
}

impl Gateway {
    /// Puts a configuration on trial; the epoch that has it. Everything that can fail comes first.
    ///
    /// # Errors
    /// Why not; then nothing has changed.
    pub(super) async fn stage(
        &mut self,
        loaded: Loaded,
        rules: config::Rollout,
        keeping: Option<Keeping>,
    ) -> Result<u64, Refused> {
        self.tables.look_for_roots(&loaded.config).await;
        let number = NonZeroU32::MIN.saturating_add(self.rollouts.begun);
        let trial = Arc::new(Trial::new(number, self.crew.len()));
        let waits = self.tables.awaits_keys(&loaded.config) || demands_probes(&self.loaded.config, &loaded.config);
        let share = Share::new(if waits { 0.0 } else { rules.share });
        let staged = Staged { config: &loaded.config, share, trial: &trial };
        let asking = self.tables.ask_for_new(Sides { current: &self.loaded.config, candidate: Some(staged) });
        let new = self.meanwhile(asking).await;
        let log = self.meanwhile(self.open_log(&loaded.config)).await.map_err(Refused::Invalid)?;
        let epoch = self.publisher.epoch() + 1;
        let sides = Sides { current: &self.loaded.config, candidate: Some(staged) };
        let snapshot = self.tables.compile(sides, epoch, new).map_err(Refused::Invalid)?;
        let changes = listener_changes(&self.originals.held(), &loaded.config.listeners);
        let kept = match (sockets::may_open(&changes.open, &self.originals.bound()), keeping) {
            (Err(error), _) => Err(Refused::Invalid(error)),
            (Ok(()), None) => Ok(()),
            (Ok(()), Some(keeping)) => keeping.commit().await,
        };
        if let Err(refused) = kept {
            self.tables.on_rejected(epoch);
            return Err(refused);
        }
        // Where it is that of what is in force as well, that was without it.
        if let Some(log) = log.filter(|_| loaded.config.access_log.output == self.config().access_log.output) {
            self.writer.write_to(log);
        }
        self.rollouts.end(Outcome::Superseded, "another configuration is on trial in its place");
        loaded.warn();
        tracing::info!(
            rollout = number.get(),
            epoch,
            share = rules.share,
            hold_seconds = rules.hold.as_secs_f64(),
            min_requests = rules.min_requests,
            waits,
            "rollout begins"
        );
        self.rollouts.begin(loaded, trial, rules, waits);
        self.put_out(snapshot);
        self.follow_files();
        self.show();
        Ok(epoch)
    }

    /// Decides about what is on trial, if it is time.
    pub(super) async fn look_at_rollout(&mut self) {
        let Some(running) = &self.rollouts.running else { return };
        if let Some(until_ms) = running.waits_until_ms {
            let is_over = now_ms() >= until_ms;
            if is_over || !self.awaits_words(&running.loaded.config) {
                self.give_share(is_over).await;
            }
            return;
        }
        match running.decide() {
            Decision::Continue => {}
            Decision::Promote(requests) => {
                let _rolled_back = self.promote(&format!("nothing spoke against it in {requests} requests")).await;
            }
            Decision::RollBack(fault) => {
                self.roll_back(&fault.to_string()).await;
            }
        }
    }

    /// Is there an issuer or an endpoint of what is on trial that has yet to be heard of?
    fn awaits_words(&self, candidate: &Config) -> bool {
        let snapshot = self.publisher.current();
        let candidate_awaits = |side: &Candidate| self.tables.awaits_probes(&side.snapshot);
        self.tables.awaits_keys(candidate) || snapshot.candidate.as_ref().is_some_and(candidate_awaits)
    }

    /// Gives what is on trial its share of new connections.
    async fn give_share(&mut self, is_over: bool) {
        self.rollouts.give_share();
        let epoch = self.publisher.epoch() + 1;
        match self.tables.recompile(self.rollouts.sides(&self.loaded.config), epoch) {
            Ok(snapshot) => {
                tracing::info!(epoch, waited_in_vain = is_over, "rollout is given its share");
                self.put_out(snapshot);
                self.show();
            }
            Err(why) => {
                self.roll_back(&format!("it cannot be compiled any more: {why}")).await;
            }
        }
    }

    /// Gives up what is on trial, if it has failed.
    pub(super) async fn give_up_what_failed(&mut self) {
        let judged = self.rollouts.running.as_ref().filter(|running| running.waits_until_ms.is_none());
        if let Some(Decision::RollBack(fault)) = judged.map(Running::decide) {
            self.roll_back(&fault.to_string()).await;
        }
    }

    /// Obeys an operator.
    ///
    /// # Errors
    /// Nothing is on trial, or it cannot be put in force.
    pub(super) async fn conclude_rollout(&mut self, order: Order) -> Result<Concluded, String> {
        if self.rollouts.running.is_none() {
            return Err("no configuration is on trial".to_owned());
        }
        const ASKED: &str = "an operator asked for it";
        match order {
            Order::Promote => self.promote(ASKED).await,
            Order::Abort => Ok(self.roll_back(ASKED).await),
        }
    }

    /// What is on trial becomes what is in force; if it cannot be, it is rolled back.
    async fn promote(&mut self, reason: &str) -> Result<Concluded, String> {
        let epoch = self.publisher.epoch() + 1;
        let running = self.rollouts.running.as_ref().ok_or("no configuration is on trial")?;
        let compiled = self.tables.recompile(Sides::alone(&running.loaded.config), epoch);
        let prepared = compiled.and_then(|snapshot| {
            let changes = listener_changes(&self.originals.held(), &running.loaded.config.listeners);
            let opened = self.originals.open_more(&changes.open, self.crew.len());
            let opened = opened.inspect_err(|_why| self.tables.on_rejected(epoch))?;
            Ok((snapshot, changes, opened))
        });
        match prepared {
            Ok((snapshot, changes, opened)) => {
                let loaded = self.rollouts.end(Outcome::Promoted, reason).expect("it is on trial");
                self.put_in_force(loaded, snapshot, &changes, opened, None);
                self.board.on_reload("rollout", None);
                // Files that are refused still, or again, are to be told of again.
                if self.last_refusal.take().is_some() {
                    systemd::on_ready(None);
                }
                Ok(self.concluded(epoch).await)
            }
            Err(why) => {
                let why = format!("it cannot be put in force: {why}");
                self.roll_back(&why).await;
                Err(why)
            }
        }
    }

    /// What is on trial is given up; the one in force serves everybody again.
    async fn roll_back(&mut self, reason: &str) -> Concluded {
        let epoch = self.publisher.epoch() + 1;
        let compiled = self.tables.recompile(Sides::alone(&self.loaded.config), epoch);
        self.rollouts.rejected = self.rollouts.end(Outcome::RolledBack, reason);
        self.rollouts.is_rejected_meanwhile = true;
        match compiled {
            Ok(snapshot) => self.put_out(snapshot),
            // Its tables are there; what only the other used is looked after until the next epoch.
            Err(why) => {
                tracing::error!(why, "tables not compiled afresh, those of before stay");
                let alone = self.publisher.current().alone(epoch);
                self.publish_as_it_is(alone);
            }
        }
        self.follow_files();
        self.show();
        self.concluded(epoch).await
    }

    /// Waits until every worker serves by `epoch`, or a later one, or that takes too long.
    async fn concluded(&self, epoch: u64) -> Concluded {
        Concluded { epoch, is_adopted: self.adopted().await }
    }

    /// Another configuration is in force, and what is on trial is given up for it.
    pub(super) fn supersede(&mut self) {
        self.rollouts.end(Outcome::Superseded, "another configuration is in force");
        self.rollouts.rejected = None;
    }
}
