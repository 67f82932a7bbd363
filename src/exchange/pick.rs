//! Which endpoint takes an attempt, and what the attempt holds there.

use std::cell::Cell;
use std::ops::Range;

use super::held::Exchange;
use super::lease::Wanted;
use super::shard::Shard;
use crate::cluster::{BreakerState, Candidates, Fitness, InFlightView, Now, Pass, Strategy, Unfit};
use crate::limits;
use crate::net::Env;
use crate::snapshot::{Cluster, Endpoint};

/// Most endpoints one request tries.
const TRIED_MAX: usize = 16;

/// Endpoints that a request has tried, by their places in the cluster, and which of them it may not try again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tried {
    places: [u16; TRIED_MAX],
    count: usize,
    /// Bit n is for the endpoint at `places[n]`.
    barred: u16,
}

impl Tried {
    pub(super) fn push(&mut self, place: usize) {
        if !self.has(place) && self.count < TRIED_MAX {
            self.places[self.count] = u16::try_from(place).unwrap_or(u16::MAX);
            self.count += 1;
        }
    }

    /// Tried, and not to be tried again.
    pub(super) fn bar(&mut self, place: usize) {
        self.push(place);
        if let Some(at) = self.find(place) {
            self.barred |= 1 << at;
        }
    }

    pub(super) fn has(&self, place: usize) -> bool {
        self.find(place).is_some()
    }

    fn is_barred(&self, place: usize) -> bool {
        self.find(place).is_some_and(|at| self.barred >> at & 1 == 1)
    }

    fn find(&self, place: usize) -> Option<usize> {
        self.places[..self.count].iter().position(|tried| usize::from(*tried) == place)
    }

    /// May no more endpoints be tried?
    pub(super) const fn is_full(&self) -> bool {
        self.count == TRIED_MAX
    }
}

/// Who may be picked besides those that nothing speaks against.
#[derive(Clone, Copy, Default)]
struct Lenience {
    /// Those that asked for a rest, or just refused a connection.
    resting: bool,
    /// Those that this request tried already.
    tried: bool,
    /// Those that it was not to try again.
    barred: bool,
    /// Those that probes or their errors took out.
    unhealthy: bool,
}

impl Lenience {
    /// Whom the request tried, as far as that matters.
    fn tried(self, wanted: &Wanted<'_>) -> Tried {
        if self.barred { Tried::default() } else { *wanted.tried }
    }
}

/// The endpoints of a cluster as a balancer looks at them.
struct Choice<'a, E: Env> {
    shard: &'a Shard<E>,
    cluster: &'a Cluster,
    tier: Range<usize>,
    tried: &'a Tried,
    lenience: Lenience,
    elsewhere: &'a InFlightView,
    now_ms: u64,
    now_ns: u64,
}

impl<E: Env> Choice<'_, E> {
    fn is_fit(&self, at: usize) -> bool {
        let slot = self.shard.fleet.slot(self.cluster.ids[at]);
        let fitness =
            if self.lenience.unhealthy { slot.fitness_at_last(self.now_ms) } else { slot.fitness(self.now_ms) };
        matches!(fitness, Fitness::Fit | Fitness::Trial)
            && (self.lenience.resting || !slot.is_resting(self.now_ms))
            && (!self.tried.has(at) || self.lenience.tried && !self.tried.is_barred(at))
    }
}

impl<E: Env> Candidates for Choice<'_, E> {
    fn count(&self) -> usize {
        self.cluster.endpoints.len()
    }

    fn share(&self, at: usize) -> u32 {
        let endpoint = &self.cluster.endpoints[at];
        if !self.tier.contains(&at) || endpoint.weight == 0 || !self.is_fit(at) {
            return 0;
        }
        let ramp = match self.cluster.slow_start_ms {
            0 => 1000,
            slow_start_ms => self.shard.fleet.slot(endpoint.id).ramp(self.now_ms, slow_start_ms),
        };
        // Where weights do not count, or count as capacity, the share is the ramp alone.
        let weight = match self.cluster.strategy {
            Strategy::RoundRobin => 1,
            Strategy::LeastSaturated if endpoint.capacity > 0 => 1,
            Strategy::WeightedRoundRobin
            | Strategy::LeastConnections
            | Strategy::ConsistentHash
            | Strategy::LeastSaturated
            | Strategy::P2c => endpoint.weight,
        };
        weight.saturating_mul(ramp).max(1)
    }

    fn in_flight(&self, at: usize) -> u32 {
        let own = self.shard.fleet.cell(self.shard.worker, self.cluster.ids[at]).in_flight();
        own.saturating_add(self.elsewhere.elsewhere(at))
    }

    fn capacity(&self, at: usize) -> u32 {
        self.cluster.endpoints[at].capacity
    }

    fn latency_ns(&self, at: usize) -> u64 {
        self.shard.fleet.cell(self.shard.worker, self.cluster.ids[at]).latency_at(self.now_ns)
    }
}

#[cold]
fn find_leniently<T>(wanted: &Wanted<'_>, mut look: impl FnMut(Range<usize>, Lenience) -> Option<T>) -> Option<T> {
    let (again, open) = (wanted.again, wanted.cluster.fail_open);
    let resting = Lenience { resting: true, ..Lenience::default() };
    let steps = [
        (true, resting),
        (again, Lenience { tried: true, ..resting }),
        (wanted.anew, Lenience { barred: true, ..resting }),
        (open, Lenience { unhealthy: true, ..resting }),
        (open && again, Lenience { unhealthy: true, tried: true, ..resting }),
    ];
    let lenient = steps.into_iter().filter(|(may, _)| *may).map(|(_, lenience)| lenience);
    lenient.into_iter().find_map(|lenience| wanted.cluster.tiers.iter().find_map(|tier| look(tier.clone(), lenience)))
}

impl<E: Env> Exchange<'_, E> {
    /// An endpoint for the next attempt; `None` when none may be tried.
    pub(super) fn pick<'w>(&'w self, wanted: &Wanted<'w>) -> Option<Attempt<'w, E>> {
        self.shard.pick(wanted)
    }

    /// This endpoint, if it may be tried.
    pub(super) fn pick_this<'w>(&'w self, wanted: &Wanted<'w>, at: usize) -> Option<Attempt<'w, E>> {
        self.shard.pick_this(wanted, at)
    }
}

impl<E: Env> Shard<E> {
    /// An endpoint: of the best tier that has one, and only if there is none, one that something speaks against.
    pub(super) fn pick<'w>(&'w self, wanted: &Wanted<'w>) -> Option<Attempt<'w, E>> {
        let cluster = wanted.cluster;
        if matches!(cluster.strategy, Strategy::LeastConnections | Strategy::LeastSaturated | Strategy::P2c) {
            let others = |at: usize| self.fleet.in_flight_elsewhere(self.worker, cluster.ids[at]);
            wanted.lane.borrow_mut().elsewhere.refresh(wanted.now_ns.get(), cluster.ids.len(), others);
        }
        self.find_tier(wanted, |tier, lenience| self.pick_in(wanted, tier, lenience))
    }

    /// The tier that an endpoint would be picked of; `None` when none may be tried. The balancer hears nothing of it.
    pub(super) fn best_tier<'w>(&'w self, wanted: &Wanted<'w>) -> Option<Range<usize>> {
        self.find_tier(wanted, |tier, lenience| {
            let (lane, tried) = (wanted.lane.borrow(), lenience.tried(wanted));
            let choice = self.choice(wanted, tier.clone(), &tried, lenience, &lane.elsewhere);
            tier.clone().any(|at| choice.share(at) > 0).then_some(tier)
        })
    }

    /// What `look` finds first: in the tiers from the best on, then in those that are slow, then with more and more lenience.
    fn find_tier<T>(
        &self,
        wanted: &Wanted<'_>,
        mut look: impl FnMut(Range<usize>, Lenience) -> Option<T>,
    ) -> Option<T> {
        let cluster = wanted.cluster;
        let slow = if cluster.tiers.len() > 1 { cluster.state.slow_tiers() } else { 0 };
        let is_slow = |tier: &Range<usize>| slow != 0 && slow >> (cluster.endpoints[tier.start].priority & 63) & 1 == 1;
        let strict = Lenience::default();
        for tier in cluster.tiers.iter().filter(|tier| !is_slow(tier)) {
            if let Some(found) = look(tier.clone(), strict) {
                return Some(found);
            }
        }
        for tier in cluster.tiers.iter().filter(|tier| is_slow(tier)) {
            if let Some(found) = look(tier.clone(), strict) {
                return Some(found);
            }
        }
        find_leniently(wanted, look)
    }

    fn choice<'c>(
        &'c self,
        wanted: &Wanted<'c>,
        tier: Range<usize>,
        tried: &'c Tried,
        lenience: Lenience,
        elsewhere: &'c InFlightView,
    ) -> Choice<'c, E> {
        let (now_ms, now_ns) = (self.alarms.now_ms(), wanted.now_ns.get());
        Choice { shard: self, cluster: wanted.cluster, tier, tried, lenience, elsewhere, now_ms, now_ns }
    }

    fn pick_in<'w>(&'w self, wanted: &Wanted<'w>, tier: Range<usize>, lenience: Lenience) -> Option<Attempt<'w, E>> {
        let cluster = wanted.cluster;
        // With those whose one trial somebody else has just taken.
        let mut tried = lenience.tried(wanted);
        loop {
            let index = {
                let lane = &mut *wanted.lane.borrow_mut();
                let choice = self.choice(wanted, tier.clone(), &tried, lenience, &lane.elsewhere);
                let draw = || self.rng.borrow_mut().u64();
                lane.balancer.try_pick(&choice, cluster.ring.as_ref(), wanted.key, draw)?
            };
            if let Some(attempt) = self.enter(cluster, index) {
                return Some(attempt);
            }
            if tried.is_full() {
                return None;
            }
            tried.bar(index);
        }
    }

    fn pick_this<'w>(&'w self, wanted: &Wanted<'w>, at: usize) -> Option<Attempt<'w, E>> {
        let is_fit = {
            let lane = wanted.lane.borrow();
            let lenience = Lenience { tried: wanted.again, ..Lenience::default() };
            let everywhere = 0..wanted.cluster.endpoints.len();
            self.choice(wanted, everywhere, wanted.tried, lenience, &lane.elsewhere).share(at) > 0
        };
        if is_fit { self.enter(wanted.cluster, at) } else { None }
    }

    pub(super) fn enter<'w>(&'w self, cluster: &'w Cluster, index: usize) -> Option<Attempt<'w, E>> {
        let slot = self.fleet.slot(cluster.ids[index]);
        let pass = slot.try_enter(self.alarms.now_ms(), self.breaker_of(cluster).as_ref())?;
        self.on_transition(pass.begins_trial().then_some(BreakerState::HalfOpen));
        self.fleet.cell(self.worker, cluster.ids[index]).begin();
        Some(Attempt { shard: self, cluster, index, pass: Cell::new(Some(pass)) })
    }

    fn on_transition(&self, entered: Option<BreakerState>) {
        if let Some(state) = entered {
            self.counters.breaker_transitions[state as usize].add(1);
        }
    }

    /// With no endpoint to try: does nothing but its breaker keep one away? Then when may the first be tried again?
    pub(super) fn breaker_wait_ms(&self, cluster: &Cluster) -> Option<u64> {
        let now_ms = self.alarms.now_ms();
        // Whoever has no weight here is not waited for, also where a later configuration gives it one and drains it no more.
        let weighty = cluster.endpoints.iter().filter(|endpoint| endpoint.weight > 0);
        let slots = weighty.map(|endpoint| self.fleet.slot(endpoint.id));
        let open = slots.filter(|slot| {
            let fitness = if cluster.fail_open { slot.fitness_at_last(now_ms) } else { slot.fitness(now_ms) };
            // Another worker's trial may have ended since.
            matches!(fitness, Fitness::Unfit(Unfit::Breaker) | Fitness::Trial | Fitness::Fit)
        });
        open.map(|slot| slot.open_until_ms().saturating_sub(now_ms)).min()
    }
}

/// One attempt at one endpoint: counted as in flight there, and heard by its breaker.
pub(super) struct Attempt<'a, E: Env> {
    shard: &'a Shard<E>,
    pub(super) cluster: &'a Cluster,
    /// Place of the endpoint in the cluster.
    pub(super) index: usize,
    /// Taken once the endpoint has shown how it does.
    pass: Cell<Option<Pass>>,
}

impl<'a, E: Env> Attempt<'a, E> {
    pub(super) fn endpoint(&self) -> &'a Endpoint {
        &self.cluster.endpoints[self.index]
    }

    /// Does it try an endpoint whose breaker is not closed?
    pub(super) fn is_trial(&self) -> bool {
        let pass = self.pass.take();
        let is_trial = pass.as_ref().is_some_and(|pass| pass.is_probe());
        self.pass.set(pass);
        is_trial
    }

    /// A connection was opened in so many nanoseconds.
    pub(super) fn on_connected(&self, took_ns: u64) {
        self.shard
            .fleet
            .cell(self.shard.worker, self.endpoint().id)
            .on_connect(u32::try_from(took_ns / 1_000).unwrap_or(u32::MAX));
    }

    /// A response began: its status, and how many nanoseconds after the request, unless some of that was yet to come.
    pub(super) fn on_answered(&self, status: u16, latency_ns: Option<u64>, now_ns: u64) {
        let (shard, cluster, id) = (self.shard, self.cluster, self.endpoint().id);
        if cluster.strategy == Strategy::P2c
            && let Some(latency_ns) = latency_ns
        {
            shard.fleet.cell(shard.worker, id).on_latency(latency_ns, now_ns);
        }
        if status >= 500 {
            return self.on_failed();
        }
        let Some(pass) = self.pass.take() else { return };
        if !pass.is_probe() {
            // Should the rest of the response be missing, that will be heard as well.
            self.pass.set(Some(pass));
        }
        let now = Now { ms: shard.alarms.now_ms(), ns: now_ns };
        let breaker = shard.breaker_of(cluster);
        let closed = shard.fleet.on_success(shard.worker, id, pass, now, breaker.as_ref(), cluster.passive.as_ref());
        shard.on_transition(closed.map(|transition| transition.to));
    }

    /// The endpoint failed, before or in its response.
    pub(super) fn on_failed(&self) {
        let (shard, cluster, id) = (self.shard, self.cluster, self.endpoint().id);
        let Some(pass) = self.pass.take() else { return };
        let now = Now { ms: shard.alarms.now_ms(), ns: shard.env.now_ns() };
        let (breaker, passive) = (shard.breaker_of(cluster), cluster.passive.as_ref());
        let gate = cluster.state.ejecting();
        let outcome =
            shard.fleet.on_failure(shard.worker, id, pass, now, breaker.as_ref(), passive, &cluster.ids, gate);
        shard.on_transition(outcome.opened.map(|transition| transition.to));
        if outcome.ejected {
            shard.counters.ejections.add(1);
        }
    }

    /// No connection to the endpoint came about: it is spared for a while as well.
    pub(super) fn on_unreached(&self) {
        self.on_failed();
        self.rest_for(limits::CONNECT_REST_MS);
    }

    /// The endpoint is spared until then while others are fit.
    pub(super) fn rest_for(&self, ms: u64) {
        let until_ms = self.shard.alarms.now_ms().saturating_add(ms);
        self.shard.fleet.slot(self.endpoint().id).rest_until(until_ms);
    }
}

impl<E: Env> Drop for Attempt<'_, E> {
    fn drop(&mut self) {
        let id = self.endpoint().id;
        self.shard.fleet.cell(self.shard.worker, id).end();
        if let Some(pass) = self.pass.take() {
            self.shard.fleet.slot(id).on_abandoned(pass);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_barred_was_tried_and_others_who_were_tried_are_not_barred() {
        let mut tried = Tried::default();
        tried.push(7);
        tried.bar(3);
        tried.push(3);
        assert!(tried.has(7) && tried.has(3) && !tried.has(0));
        assert!(!tried.is_barred(7) && tried.is_barred(3) && !tried.is_barred(0));
        tried.bar(7);
        assert!(tried.is_barred(7));
    }

    #[test]
    fn no_more_than_the_most_are_tried() {
        let mut tried = Tried::default();
        (0..TRIED_MAX).for_each(|place| tried.bar(place));
        assert!(tried.is_full());
        tried.bar(TRIED_MAX);
        assert!(!tried.has(TRIED_MAX) && (0..TRIED_MAX).all(|place| tried.is_barred(place)));
    }
}
