//! A worker's thread: its start, its mailbox, its tick and its end.

use std::cell::Cell;
use std::io;
use std::net::TcpListener;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use super::WorkerSpec;
use super::accept::{Door, Guest, Listening};
use super::mailbox::{Message, Peers, Receiver};
use crate::exchange::{Belongings, Shard};
use crate::net::{Env, Reactor, Sandbox, run_reactor};
use crate::rng::Rng;
use crate::snapshot::Entrance;
use crate::{clock, limits};

/// Lateness of a tick from which on it counts as a stall.
const STALL_NS: u64 = 20_000_000;

/// Looks, a millisecond apart, at what is left of a worker that stops; control waits no longer for it.
const STOP_LOOKS: u32 = 1_000;

/// Runs a worker until it is drained or stopped.
pub(super) fn run(spec: WorkerSpec, receiver: Receiver, peers: Peers) -> io::Result<()> {
    if let Some(cpu) = spec.cpu {
        // A CPU that went away since control looked leaves the worker unpinned, which is slower and still correct.
        let _pinned = core_affinity::set_for_current(core_affinity::CoreId { id: cpu });
    }
    run_reactor(spec.driver, serve(spec, receiver, peers))?
}

async fn serve(spec: WorkerSpec, receiver: Receiver, peers: Peers) -> io::Result<()> {
    if let Some(trial) = &spec.sandbox {
        // The ring is there. What the kernel does not let it give up control has told of, and it serves without.
        Sandbox::enter_as(trial)?;
    }
    let reactor = Reactor::new(spec.driver);
    let (others, counters) = (peers.clone(), Arc::clone(&spec.counters));
    reactor.on_panic(move || counters.panics.add(1));
    let shard = Rc::new(Shard::new(Belongings {
        env: reactor,
        worker: spec.index,
        reader: spec.snapshots,
        fleet: spec.fleet,
        counters: spec.counters,
        log: spec.log,
        spans: spec.spans,
        rng: Rng::from_os()?,
        via: pseudonym()?.as_bytes().to_vec(),
        tell: Box::new(move |worker, call| {
            // A call that finds the mailbox full is not repeated: whoever waits looks around by itself now and then.
            let _told = others.tell(worker, Message::Call(call));
        }),
        ask: spec.ask,
    }));
    let door = Rc::new(Door {
        shard: Rc::clone(&shard),
        own: spec.index,
        credit: spec.max_connections,
        loads: spec.loads,
        peers,
        open: Rc::new(Cell::new(0)),
        admitting: Rc::default(),
    });
    let mut desk = Desk { door, listening: Vec::new() };
    shard.on_tick(clock::now_ns() / 1_000_000, clock::unix_ms());
    for (entrance, socket) in spec.listeners {
        desk.listen(entrance, socket)?;
    }
    reactor.spawn(tick(Rc::clone(&shard)));
    desk.read_mailbox(receiver).await
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

/// Where a worker's messages are acted on.
struct Desk {
    door: Rc<Door>,
    listening: Vec<Listening>,
}

impl Desk {
    /// Acts on what comes until this worker ends.
    async fn read_mailbox(&mut self, Receiver { inbox, bell }: Receiver) -> io::Result<()> {
        let reactor = *self.door.shard.env();
        let mut bell = reactor.bell(bell)?;
        loop {
            for message in inbox.messages() {
                if self.on_message(message)?.is_break() {
                    self.give_up(reactor).await;
                    return Ok(());
                }
            }
            if self.door.shard.is_draining() {
                if self.door.is_empty() {
                    return Ok(());
                }
                reactor.sleep_ms(limits::TICK_MS).await;
            } else if !reactor.hear(&mut bell).await {
                // Control is gone: nobody could ever stop this worker any more.
                return Ok(());
            }
        }
    }

    /// Gives up what is in flight, and waits a moment until all of it has been counted and logged.
    async fn give_up(&self, reactor: Reactor) {
        let shard = &self.door.shard;
        shard.stop();
        for _ in 0..STOP_LOOKS {
            if shard.counters().requests_active.value() == 0 {
                return;
            }
            reactor.sleep_ms(1).await;
        }
    }

    fn on_message(&mut self, message: Message) -> io::Result<ControlFlow<()>> {
        match message {
            Message::Nudge => self.door.shard.adopt_newest(),
            Message::Listen { entrance, socket } => self.listen(entrance, socket)?,
            Message::Unlisten { address } => self.stop_listening(|one| one.address == address),
            Message::Release { address } => {
                self.listening.extract_if(.., |one| one.address == address).for_each(Listening::release);
            }
            Message::Drain { rest_ms } => {
                // First, so that what is counted as on its way from here on is all that will ever come.
                self.door.close();
                self.stop_listening(|_| true);
                self.door.shard.drain(rest_ms);
            }
            Message::Stop => return Ok(ControlFlow::Break(())),
            Message::Call(call) => self.door.shard.on_call(&call),
            Message::Serve { socket, peer, accepted_ns, entrance, taken, place } => {
                self.door.take_over(socket, Guest { peer, entrance, accepted_ns }, taken, place);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn listen(&mut self, entrance: Entrance, socket: TcpListener) -> io::Result<()> {
        self.listening.push(Listening::start(&self.door, entrance, socket)?);
        Ok(())
    }

    fn stop_listening(&mut self, which: impl Fn(&Listening) -> bool) {
        let (stopped, kept) = self.listening.drain(..).partition(|one| which(one));
        self.listening = kept;
        let stopped: Vec<Listening> = stopped;
        for one in stopped {
            one.stop(&self.door);
        }
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
        shard.counters().tasks.set(shard.env().tasks());
        shard.counters().ticks.add(1);
    }
}
