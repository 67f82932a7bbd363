//! One seed from its plan to its verdict.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;

use crate::endpoint::Host;
use crate::gateway::Gateway;
use crate::ledger::Ledger;
use crate::plan::{ClientPlan, Mood, Plan};
use crate::reach::Reach;
use crate::seals::Sessions;
use crate::storm::Event;
use crate::world::{MS, World};
use crate::{client, settings, streams, tunnels, verdict};

/// No run may take longer: every timeout has passed many times.
const END_MS: u64 = 90_000;
/// In which idle upstream connections have expired and been closed.
const SETTLE_MS: u64 = 2_000;

/// What became of a seed.
pub(crate) struct Outcome {
    pub(crate) problems: Vec<String>,
    /// Equal for equal runs.
    pub(crate) history: u64,
    pub(crate) reach: Reach,
}

/// A gateway at work, with all around it.
pub(crate) struct Run {
    pub(crate) plan: Plan,
    pub(crate) world: World,
    pub(crate) gateway: Rc<Gateway>,
    pub(crate) ledger: Rc<Ledger>,
    hosts: HashMap<SocketAddr, Rc<Host>>,
}

/// Runs a seed.
pub(crate) fn run(seed: u64) -> Outcome {
    play(seed, Plan::of(seed))
}

/// Runs a seed with TLS and HTTP/2.
pub(crate) fn run_sealed(seed: u64) -> Outcome {
    play(seed, Plan::sealed(seed))
}

/// Runs a seed with endpoints of HTTP/2, and clients of all kinds.
pub(crate) fn run_shared(seed: u64) -> Outcome {
    play(seed, Plan::shared(seed))
}

/// Runs a seed with what stands at the edge: words of proxies, calls of gRPC, tunnels.
pub(crate) fn run_edge(seed: u64) -> Outcome {
    play(seed, Plan::edge(seed))
}

fn play(seed: u64, plan: Plan) -> Outcome {
    let world = World::new(seed);
    world.tell(|| format!("{:?}, {:?}\n{}", plan.bones, plan.hearing, plan.settings.yaml()));
    let gateway = Gateway::new(&world, plan.bones.workers, plan.hearing, &plan.settings, plan.rocks());
    let ledger = Rc::new(Ledger::default());
    let hosts = plan.endpoints.iter().map(|(address, one)| {
        world.tell(|| format!("plan: {address} {one:?}"));
        (*address, Host::start(&world, &gateway.network, &ledger, one, *address))
    });
    let hosts = hosts.collect();
    let run = Rc::new(Run { plan, world, gateway, ledger, hosts });
    let sessions = Rc::new(Sessions::new());
    run.start_clients(&sessions);
    run.start_tunnels(&sessions);
    run.arrange_events();
    let reach = run.judge();
    run.world.end();
    Outcome { problems: run.world.problems(), history: run.world.history(), reach }
}

impl Run {
    fn start_clients(&self, sessions: &Rc<Sessions>) {
        for (number, one) in self.plan.clients.clone().into_iter().enumerate() {
            self.ledger.add(&one);
            self.world.tell(|| format!("plan: {one:?}"));
            let sessions = Rc::clone(sessions);
            let (world, ledger, gateway) = (self.world.clone(), Rc::clone(&self.ledger), Rc::clone(&self.gateway));
            self.world.spawn(async move {
                world.sleep_ms(one.start_ms).await;
                let end = gateway.accept_by(one.tongue.listener(), format!("c{number}"), one.profile);
                if !one.is_fair() {
                    gateway.on_slow(&format!("c{number}"));
                }
                let is_welcome = one.is_introduced(&world, &end).await;
                let link = Rc::new(one.tongue.link(end, &sessions));
                if !is_welcome {
                    gateway.inspector.see("bad introductions");
                    return client::fail(&world, &ledger, &one, &link);
                }
                let secured = world.within(client::PATIENCE_MS, link.handshake()).await;
                if secured.is_none() {
                    world.blame(format!("{}: a handshake without end", link.end.name()));
                }
                if !matches!(secured, Some(Ok(()))) {
                    return client::fail(&world, &ledger, &one, &link);
                }
                if link.is_resumed() {
                    gateway.inspector.see("sessions resumed");
                }
                if one.tongue.is_h2 {
                    streams::play(world, ledger, one, link).await;
                } else {
                    client::play(world, ledger, one, link).await;
                }
            });
        }
    }

    fn start_tunnels(&self, sessions: &Rc<Sessions>) {
        let must = self.plan.bones.mood == Mood::Calm && self.plan.drain_ms.is_none();
        for one in self.plan.tunnels.clone() {
            self.ledger.tunnels.borrow_mut().insert(one.token.clone());
            self.world.tell(|| format!("plan: {one:?}"));
            let sessions = Rc::clone(sessions);
            let (world, ledger, gateway) = (self.world.clone(), Rc::clone(&self.ledger), Rc::clone(&self.gateway));
            self.world.spawn(async move {
                world.sleep_ms(one.start_ms).await;
                let end = gateway.accept_by(one.tongue.listener(), one.token.clone(), one.profile);
                gateway.on_slow(&one.token);
                let is_welcome = match &one.introduction {
                    Some(words) => words.say(&world, &end).await,
                    None => true,
                };
                let link = Rc::new(one.tongue.link(end, &sessions));
                if is_welcome && matches!(world.within(client::PATIENCE_MS, link.handshake()).await, Some(Ok(()))) {
                    tunnels::play(world, one, link, must).await;
                }
                ledger.tunnels_over.set(ledger.tunnels_over.get() + 1);
            });
        }
    }

    fn arrange_events(self: &Rc<Self>) {
        for (at_ms, event) in self.plan.events.clone() {
            let run = Rc::clone(self);
            self.world.at(at_ms * MS, move || run.on_event(event));
        }
        if let Some(at_ms) = self.plan.drain_ms {
            let gateway = Rc::clone(&self.gateway);
            self.world.at(at_ms * MS, move || gateway.drain());
        }
    }

    fn on_event(&self, event: Event) {
        let fleet = &self.gateway.inspector.fleet;
        let slot = |address| self.gateway.inspector.place(address).map(|(_, id)| fleet.slot(id));
        let now_ms = self.world.now_ms();
        match event {
            Event::Weather(address, weather) => self.hosts[&address].set_weather(weather),
            Event::Probed(address, verdict) if self.gateway.has_endpoint(address, true) => {
                self.world.tell(|| format!("{address} is found {verdict:?}"));
                slot(address).into_iter().for_each(|slot| slot.set_probe(verdict, now_ms));
            }
            Event::Drained(address, is_drained) if self.gateway.has_endpoint(address, false) => {
                self.world.tell(|| format!("{address} is drained: {is_drained}"));
                slot(address).into_iter().for_each(|slot| slot.set_drained(is_drained, now_ms));
            }
            Event::Probed(..) | Event::Drained(..) => {}
            Event::SlowTiers(room, mask) => self.gateway.inspector.set_slow_tiers(settings::ROOMS[room], mask),
            Event::Reload(settings, nudge) => self.gateway.reload(&settings, nudge),
        }
    }

    fn judge(&self) -> Reach {
        let clients: usize = self.plan.clients.iter().map(ClientPlan::dialogues).sum();
        let is_over = || {
            let ended = (self.ledger.dialogues.borrow().len(), self.ledger.tunnels_over.get());
            ended == (clients, self.plan.tunnels.len()) && self.gateway.open() == 0
        };
        if !self.world.run(END_MS * MS, is_over) {
            let (alive, open) = (self.world.alive(), self.gateway.open());
            self.world.blame(format!("not over: {alive} tasks alive, {open} connections open"));
            return Reach::default();
        }
        self.world.run(self.world.now_ns() + SETTLE_MS * MS, || false);
        // A worker that has nothing to do adopts only when it is told to.
        self.gateway.nudge();
        self.world.run(self.world.now_ns() + 100 * MS, || false);
        verdict::judge(self)
    }
}
