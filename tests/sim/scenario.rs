//! One seed from its plan to its verdict.

use std::rc::Rc;

use crate::gateway::Gateway;
use crate::ledger::Ledger;
use crate::plan::Plan;
use crate::world::{MS, World};
use crate::{client, endpoint, verdict};

/// No run may take longer: every timeout has passed many times.
const END_MS: u64 = 60_000;
/// In which idle upstream connections have expired and been closed.
const SETTLE_MS: u64 = 2_000;

/// What became of a seed.
pub(crate) struct Outcome {
    pub(crate) problems: Vec<String>,
    /// Equal for equal runs.
    pub(crate) history: u64,
}

/// Runs a seed.
pub(crate) fn run(seed: u64) -> Outcome {
    let plan = Plan::of(seed);
    let world = World::new(seed);
    let all: Vec<usize> = (0..plan.endpoints.len()).collect();
    let gateway = Gateway::new(&world, &all);
    let ledger = Rc::new(Ledger::default());
    for (number, one) in plan.endpoints.iter().enumerate() {
        endpoint::start(&world, &gateway.env, &ledger, one, number);
    }
    for (number, one) in plan.clients.clone().into_iter().enumerate() {
        ledger.add(&one);
        world.tell(|| format!("plan: {one:?}"));
        let (world, ledger, gateway) = (world.clone(), Rc::clone(&ledger), Rc::clone(&gateway));
        world.clone().spawn(async move {
            world.sleep_ms(one.start_ms).await;
            let end = gateway.accept(format!("c{number}"), one.profile);
            client::play(world, ledger, one, end).await;
        });
    }
    for (number, at_ms) in plan.reloads_ms.iter().enumerate() {
        let (gateway, all) = (Rc::clone(&gateway), all.clone());
        world.at(at_ms * MS, move || {
            let kept = if number % 2 == 0 { all.len().div_ceil(2) } else { all.len() };
            gateway.reload(&all[..kept], number != 1);
        });
    }
    if let Some(at_ms) = plan.drain_ms {
        let gateway = Rc::clone(&gateway);
        world.at(at_ms * MS, move || gateway.drain());
    }
    let clients = plan.clients.len();
    let is_over = world.run(END_MS * MS, || ledger.dialogues.borrow().len() == clients && gateway.open.get() == 0);
    if is_over {
        world.run(world.now_ns() + SETTLE_MS * MS, || false);
        // A worker that has nothing to do adopts only when it is told to.
        gateway.shard.adopt_newest();
        verdict::judge(&world, &ledger, &gateway, plan.is_calm);
        if plan.is_calm {
            verdict::judge_calm(&world, &ledger, &gateway);
        }
    } else {
        world.blame(format!("not over: {} tasks alive, {} connections open", world.alive(), gateway.open.get()));
    }
    world.end();
    Outcome { problems: world.problems(), history: world.history() }
}
