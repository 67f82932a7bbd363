//! A worker's thread: its start, its mailbox, its tick and its end.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::OnceLock;

use super::WorkerSpec;
use super::accept::{Door, Listening};
use super::mailbox::{Message, Receiver};
use crate::exchange::Shard;
use crate::net::{BufferPool, Env, Reactor, run_reactor};
use crate::rng::Rng;
use crate::{clock, limits};

/// Lateness of a tick from which on it counts as a stall.
const STALL_NS: u64 = 20_000_000;

/// Runs a worker until it is drained or stopped.
pub(super) fn run(spec: WorkerSpec, receiver: Receiver) {
    if let Some(cpu) = spec.cpu {
        // A CPU that went away since control looked leaves the worker unpinned, which is slower and still correct.
        let _pinned = core_affinity::set_for_current(core_affinity::CoreId { id: cpu });
    }
    // Control sees a worker that ended and says so; here is nobody to tell.
    drop(run_reactor(spec.driver, serve(spec, receiver)));
}

async fn serve(spec: WorkerSpec, receiver: Receiver) -> io::Result<()> {
    let reactor = Reactor::new(spec.driver);
    let shard = Rc::new(Shard::new(
        reactor,
        spec.snapshots,
        spec.counters,
        spec.log,
        Rng::from_os()?,
        pseudonym()?.as_bytes().to_vec(),
    ));
    let door = Rc::new(Door {
        shard: Rc::clone(&shard),
        credit: spec.max_connections,
        refusals: BufferPool::new(),
        open: Rc::new(Cell::new(0)),
    });
    let mut listening = Vec::new();
    shard.on_tick(clock::now_ns() / 1_000_000, clock::unix_ms());
    for (name, socket) in spec.listeners {
        listening.push(Listening::start(&door, name, reactor.listen(socket)?));
    }
    reactor.spawn(tick(Rc::clone(&shard)));
    read_mailbox(reactor, &door, listening, receiver).await
}

/// The name of this process in `Via`: its own, so that gateways in a row do not take one another for a loop.
fn pseudonym() -> io::Result<&'static str> {
    static NAME: OnceLock<String> = OnceLock::new();
    if let Some(name) = NAME.get() {
        return Ok(name);
    }
    let random = Rng::from_os()?.u64();
    Ok(NAME.get_or_init(|| format!("ringgate-{:08x}", random >> 32)))
}

async fn read_mailbox(
    reactor: Reactor,
    door: &Rc<Door>,
    mut listening: Vec<Listening>,
    receiver: Receiver,
) -> io::Result<()> {
    let mut bell = reactor.bell(receiver.bell)?;
    loop {
        for message in receiver.queue.try_iter() {
            match message {
                Message::Nudge => door.shard.adopt_newest(),
                Message::Listen { name, socket } => {
                    listening.push(Listening::start(door, name, reactor.listen(socket)?));
                }
                Message::Unlisten { name } => stop_listening(door, &mut listening, |one| *one.name == *name),
                Message::Drain => {
                    stop_listening(door, &mut listening, |_| true);
                    door.shard.drain();
                }
                Message::Stop => return Ok(()),
            }
        }
        if door.shard.is_draining() {
            if door.open.get() == 0 {
                return Ok(());
            }
            reactor.sleep_ms(limits::TICK_MS).await;
        } else if !reactor.hear(&mut bell).await {
            // Control is gone: nobody could ever stop this worker any more.
            return Ok(());
        }
    }
}

fn stop_listening(door: &Rc<Door>, listening: &mut Vec<Listening>, which: impl Fn(&Listening) -> bool) {
    let (stopped, kept) = listening.drain(..).partition(|one| which(one));
    *listening = kept;
    let stopped: Vec<Listening> = stopped;
    for one in stopped {
        one.stop(door);
    }
}

/// Housekeeping, for ever.
async fn tick(shard: Rc<Shard<Reactor>>) {
    let mut expected_ns = clock::now_ns();
    loop {
        expected_ns += limits::TICK_MS * 1_000_000;
        shard.env().sleep_ms(limits::TICK_MS).await;
        let now_ns = clock::now_ns();
        let late_ns = now_ns.saturating_sub(expected_ns);
        if late_ns > STALL_NS {
            shard.counters().stalls.add(1);
        }
        shard.counters().stall_max_ns.raise(late_ns);
        expected_ns = now_ns;
        shard.on_tick(now_ns / 1_000_000, clock::unix_ms());
    }
}
