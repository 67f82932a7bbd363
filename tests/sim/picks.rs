//! Whether an endpoint might be picked when it was.

use std::net::SocketAddr;
use std::rc::Rc;

use ringgate::cluster::{BreakerState, Probe, Slot};

use crate::inspector::Inspector;
use crate::traffic::Trial;
use crate::watched::Watched;

impl Inspector {
    /// A request goes to an endpoint that was picked in this very step; the trial that it may be.
    pub(crate) fn judge_pick(&self, task: usize, is_copy: bool, at: usize, address: SocketAddr) -> Option<Rc<Trial>> {
        let clusters = self.clusters.borrow();
        let watched = &clusters[at];
        let (_, id) = self.place(address)?;
        let slot = self.fleet.slot(id);
        let now_ms = self.world.now_ms();
        for problem in self.problems_of(watched, slot, task, is_copy, address) {
            self.world.blame(format!("{}: {address} was picked by task {task}: {problem}", watched.name));
        }
        (slot.breaker(now_ms) == BreakerState::HalfOpen).then(|| {
            self.see("trials of breakers");
            let trial = Rc::new(Trial { address, is_over: false.into() });
            self.trials.borrow_mut().push(Rc::clone(&trial));
            trial
        })
    }

    fn problems_of(
        &self,
        watched: &Watched,
        slot: &Slot,
        task: usize,
        is_copy: bool,
        address: SocketAddr,
    ) -> Vec<String> {
        let mut problems = Vec::new();
        let now_ms = self.world.now_ms();
        let rules = || watched.rules_since(self.oldest());
        if rules().all(|rules| !rules.tiers.contains_key(&address)) {
            problems.push("it is not, or not any more, in any configuration in use".to_owned());
        }
        if slot.is_drained() {
            problems.push("it is drained".to_owned());
        }
        let probes = rules().filter_map(|rules| rules.probes).max().unwrap_or(0);
        match slot.breaker(now_ms) {
            BreakerState::Closed => {}
            BreakerState::Open => problems.push(format!("its breaker is open until {} ms", slot.open_until_ms())),
            BreakerState::HalfOpen => problems.extend(self.problem_of_trial(slot, address, probes)),
        }
        let is_sick = matches!(slot.probe(), Probe::Unhealthy | Probe::Pending) || slot.is_ejected(now_ms);
        let how = format!("probe {:?}, ejected until {} ms", slot.probe(), slot.ejected_until_ms());
        if is_sick && rules().all(|rules| !rules.fail_open) {
            problems.push(format!("it is unhealthy, and nothing fails open: {how}"));
        }
        if is_sick {
            self.see("picks of unhealthy endpoints");
        }
        if slot.is_resting(now_ms) {
            self.see("picks of resting endpoints");
        }
        let Some(rock) = watched.rock.filter(|rock| *rock != address) else { return problems };
        if is_copy || self.has_tried(task, rock) {
            return problems;
        }
        if is_sick {
            problems.push(format!("it is unhealthy, and {rock} is not: {how}"));
        }
        if slot.is_resting(now_ms) {
            problems.push(format!("it rests, and {rock} does not"));
        }
        let tier_of = |address| move |rules: &crate::watched::Rules| rules.tiers.get(&address).copied();
        let is_behind = rules().all(|rules| tier_of(address)(rules) > tier_of(rock)(rules));
        if is_behind && watched.state.slow_tiers() == 0 {
            problems.push(format!("it is of a tier behind that of {rock}"));
        }
        problems
    }

    /// A request passes a breaker that is not closed: with a token, and not too many at once?
    fn problem_of_trial(&self, slot: &Slot, address: SocketAddr, probes: u64) -> Option<String> {
        let out = slot.probes_out();
        let mut trials = self.trials.borrow_mut();
        trials.retain(|trial| !trial.is_over.get());
        let others = trials.iter().filter(|trial| trial.address == address).count() as u64;
        (out == 0 || out > probes || others >= probes)
            .then(|| format!("its breaker is tried: {out} tokens of {probes} are out, {others} other requests try it"))
    }
}
