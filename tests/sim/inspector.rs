//! Looks over the gateway's shoulder: every connection to an endpoint, every queue and every count, while it runs.
//!
//! It learns of connections from the simulated network and of configurations from the simulated control, looks at what
//! the workers share after every step of any task, and blames at once what must never be.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use ringgate::cluster::{BreakerState, EndpointId, Fleet};
use ringgate::config::Config;
use ringgate::limits;
use ringgate::snapshot::Snapshot;

use crate::pipe::Conn;
use crate::settings::{ROOMS, room_of};
use crate::traffic::{Attempt, Dial, Dialled, Line, Trial};
use crate::watched::{Rules, Stuck, Watched};
use crate::world::{MS, World};

/// An open connection to an endpoint.
struct Open {
    address: SocketAddr,
    conn: Rc<Conn>,
    /// The task that used it last.
    task: usize,
}

/// Failures to connect in a row that a breaker heard of, of connections begun after `since_ms`.
#[derive(Default)]
struct Run {
    count: u32,
    /// So many must have opened it, by any of the rules that were in use as the last of them came.
    most: u32,
    since_ms: u64,
}

pub(crate) struct Inspector {
    pub(crate) world: World,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) clusters: RefCell<Vec<Watched>>,
    pub(crate) places: RefCell<HashMap<SocketAddr, (usize, EndpointId)>>,
    /// Connections that are open, by their number.
    lines: RefCell<BTreeMap<usize, Open>>,
    /// Tasks of clients that may take their answers slowly.
    slow: RefCell<HashSet<usize>>,
    /// Failures to connect in a row, by where to.
    runs: RefCell<BTreeMap<SocketAddr, Run>>,
    pub(crate) attempts: RefCell<Vec<Rc<Attempt>>>,
    pub(crate) dials: RefCell<Vec<Rc<Dial>>>,
    pub(crate) trials: RefCell<Vec<Rc<Trial>>>,
    /// Tasks of clients that speak HTTP/2: what they start are streams.
    multiplexed: RefCell<HashSet<usize>>,
    /// The tasks of streams, and whose they are.
    streams: RefCell<HashMap<usize, usize>>,
    /// Tasks that send copies to mirrors.
    copies: RefCell<HashSet<usize>>,
    /// Endpoints that the request of a task has tried.
    tried: RefCell<HashMap<usize, Vec<SocketAddr>>>,
    /// How often what happened.
    pub(crate) seen: RefCell<BTreeMap<&'static str, u64>>,
    opened: Cell<usize>,
    /// Has anything moved since the last look?
    has_traffic: Cell<bool>,
    oldest: Cell<u64>,
    newest: Cell<u64>,
    /// When a call was refused or a configuration was published: things may take longer then.
    disturbed_ns: Cell<u64>,
    /// The longest that messages between workers are under way.
    slack_ms: u64,
    /// Do requests share connections? Then these say nothing about requests, and are neither picked nor counted as they are.
    is_shared: bool,
}

impl Inspector {
    pub(crate) fn new(world: &World, fleet: &Arc<Fleet>, slack_ms: u64, is_shared: bool) -> Rc<Self> {
        Rc::new(Self {
            world: world.clone(),
            fleet: Arc::clone(fleet),
            clusters: RefCell::default(),
            places: RefCell::default(),
            lines: RefCell::default(),
            slow: RefCell::default(),
            runs: RefCell::default(),
            attempts: RefCell::default(),
            dials: RefCell::default(),
            trials: RefCell::default(),
            multiplexed: RefCell::default(),
            streams: RefCell::default(),
            copies: RefCell::default(),
            tried: RefCell::default(),
            seen: RefCell::default(),
            opened: Cell::new(0),
            has_traffic: Cell::new(false),
            oldest: Cell::new(1),
            newest: Cell::new(1),
            disturbed_ns: Cell::new(0),
            slack_ms,
            is_shared,
        })
    }

    /// A configuration is in force from now on.
    pub(crate) fn on_published(&self, snapshot: &Snapshot, config: &Config, rocks: &[SocketAddr]) {
        self.disturbed_ns.set(self.world.now_ns());
        self.newest.set(snapshot.epoch);
        self.runs.borrow_mut().clear();
        let mut clusters = self.clusters.borrow_mut();
        for (cluster, written) in snapshot.clusters.iter().zip(&config.clusters) {
            let at = clusters.iter().position(|known| known.name == cluster.name).unwrap_or_else(|| {
                clusters.push(Watched::new(&cluster.name, &cluster.state));
                clusters.len() - 1
            });
            let watched = &mut clusters[at];
            if !Arc::ptr_eq(&watched.state, &cluster.state) {
                if watched.open + watched.dialling > 0 && !self.is_shared {
                    self.world.blame(format!("{}: {} connections are forgotten", watched.name, watched.open));
                }
                watched.state = Arc::clone(&cluster.state);
            }
            watched.on_rules(Rules::new(snapshot.epoch, cluster, written.max_connections));
            for endpoint in &cluster.endpoints {
                self.places.borrow_mut().insert(endpoint.address, (at, endpoint.id));
                if rocks.contains(&endpoint.address) {
                    watched.rock = Some(endpoint.address);
                }
            }
        }
    }

    /// A call between workers found no room.
    pub(crate) fn on_refused(&self) {
        self.see("calls refused");
        self.disturbed_ns.set(self.world.now_ns());
    }

    pub(crate) fn see(&self, what: &'static str) {
        *self.seen.borrow_mut().entry(what).or_default() += 1;
    }

    /// The client of a task speaks HTTP/2.
    pub(crate) fn on_streams_of(&self, task: usize) {
        self.multiplexed.borrow_mut().insert(task);
    }

    /// A task of the gateway starts another one: a stream of its connection, or a copy.
    pub(crate) fn on_task(&self, task: usize) {
        let starter = self.world.current().unwrap_or(usize::MAX);
        if !self.multiplexed.borrow().contains(&starter) {
            self.copies.borrow_mut().insert(task);
            return;
        }
        self.streams.borrow_mut().insert(task, starter);
        if self.slow.borrow().contains(&starter) {
            self.on_slow(task);
        }
    }

    /// Is this the task of a connection, or one of its streams?
    pub(crate) fn is_of(&self, task: usize, connection: usize) -> bool {
        task == connection || self.streams.borrow().get(&task) == Some(&connection)
    }

    /// The gateway opens a connection to an address.
    pub(crate) fn on_dial(self: &Rc<Self>, worker: usize, address: SocketAddr) -> Rc<Dial> {
        let task = self.world.current().unwrap_or(usize::MAX);
        let is_copy = self.copies.borrow().contains(&task);
        let dial = Dial::new(self, worker, task, address);
        let Some(at) = self.cluster_of(address) else {
            self.world.blame(format!("{address} was dialled and belongs to no cluster"));
            return dial;
        };
        self.clusters.borrow_mut()[at].dialling += 1;
        if !self.is_shared {
            self.on_served(task, is_copy, at, address);
            dial.trial.replace(self.judge_pick(task, is_copy, at, address));
        }
        self.dials.borrow_mut().push(Rc::clone(&dial));
        dial
    }

    pub(crate) fn on_dialled(&self, dial: &Dial) {
        self.on_traffic();
        let Some(at) = self.cluster_of(dial.address) else { return };
        let mut clusters = self.clusters.borrow_mut();
        clusters[at].dialling -= 1;
        clusters[at].open += usize::from(dial.outcome.get() == Dialled::Open);
        if dial.outcome.get() == Dialled::Silence && clusters[at].cap() > 0 {
            // One that is given up may still succeed until it is cancelled, and counts until then.
            let until_ns = self.world.now_ns() + limits::TICK_MS * MS;
            clusters[at].lingering.push(until_ns);
        }
        if dial.outcome.get() == Dialled::Refused {
            let mut runs = self.runs.borrow_mut();
            let run = runs.entry(dial.address).or_default();
            if dial.began_ms > run.since_ms
                && let Some(most) = clusters[at].most_in_a_row(self.oldest())
            {
                *run = Run { count: run.count + 1, most, ..*run };
            }
        }
    }

    /// A connection is open; returns its number.
    pub(crate) fn on_opened(&self, address: SocketAddr, conn: &Rc<Conn>) -> usize {
        let task = self.world.current().unwrap_or(usize::MAX);
        let number = self.opened.replace(self.opened.get() + 1);
        self.lines.borrow_mut().insert(number, Open { address, conn: Rc::clone(conn), task });
        number
    }

    /// An endpoint answered.
    pub(crate) fn on_status(&self, address: SocketAddr, status: u16) {
        if status < 500
            && let Some(run) = self.runs.borrow_mut().get_mut(&address)
        {
            run.count = 0;
        }
    }

    /// The client of a task may take its answers slowly.
    pub(crate) fn on_slow(&self, task: usize) {
        self.slow.borrow_mut().insert(task);
    }

    pub(crate) fn on_closed(&self, address: SocketAddr, number: usize) {
        self.on_traffic();
        let Some(at) = self.cluster_of(address) else { return };
        let open = &mut self.clusters.borrow_mut()[at].open;
        *open = open.saturating_sub(1);
        drop(self.lines.borrow_mut().remove(&number));
    }

    /// The task that runs uses a connection, which rests no longer.
    pub(crate) fn on_use(&self, number: usize, conn: &Conn) {
        conn.is_answered.set(false);
        if let Some(open) = self.lines.borrow_mut().get_mut(&number) {
            open.task = self.world.current().unwrap_or(usize::MAX);
        }
    }

    /// The gateway begins to send a request: what it is, and the trial of a breaker that it may be.
    pub(crate) fn on_request(&self, line: &Line, conn: &Rc<Conn>, head: &[u8], is_first: bool) -> Rc<Attempt> {
        let task = self.world.current().unwrap_or(usize::MAX);
        let is_copy = self.copies.borrow().contains(&task);
        conn.is_copy.set(is_copy);
        if !is_first && conn.has_ended(0) {
            self.world.blame(format!("a connection to {} is used again although it had ended", line.address));
        }
        self.on_use(line.number, conn);
        let mut trial = None;
        if let Some(at) = self.cluster_of(line.address).filter(|_| !is_first) {
            self.on_served(task, is_copy, at, line.address);
            trial = self.judge_pick(task, is_copy, at, line.address);
        }
        let attempt = Attempt::new(line, is_copy, head, !is_first, self.world.now_ms());
        self.world.tell(|| {
            let (address, token) = (line.address, &attempt.token);
            format!("w{} task {task}: {token} to {address}, copy {is_copy}, reused {}", line.worker, !is_first)
        });
        self.tried.borrow_mut().entry(task).or_default().push(line.address);
        if let Some(trial) = trial {
            attempt.trial.replace(Some(trial));
        }
        let attempt = Rc::new(attempt);
        self.attempts.borrow_mut().push(Rc::clone(&attempt));
        attempt
    }

    /// The gateway writes to a client: its request waits no longer.
    pub(crate) fn on_answer(&self) {
        let Some(task) = self.world.current() else { return };
        drop(self.tried.borrow_mut().remove(&task));
        for watched in &mut *self.clusters.borrow_mut() {
            watched.waiting.retain(|(waiter, _)| *waiter != task);
        }
    }

    pub(crate) fn on_dial_failed(&self, task: usize, address: SocketAddr) {
        self.tried.borrow_mut().entry(task).or_default().push(address);
    }

    /// Has the request of this task tried that endpoint?
    pub(crate) fn has_tried(&self, task: usize, address: SocketAddr) -> bool {
        self.tried.borrow().get(&task).is_some_and(|tried| tried.contains(&address))
    }

    pub(crate) fn oldest(&self) -> u64 {
        self.oldest.get()
    }

    /// The cluster of an endpoint and its identity, as of the last configuration that had it.
    pub(crate) fn place(&self, address: SocketAddr) -> Option<(usize, EndpointId)> {
        self.places.borrow().get(&address).copied()
    }

    fn cluster_of(&self, address: SocketAddr) -> Option<usize> {
        self.place(address).map(|(at, _)| at)
    }

    /// What the control thread finds of a cluster's tiers.
    pub(crate) fn set_slow_tiers(&self, name: &str, mask: u64) {
        if let Some(watched) = self.clusters.borrow().iter().find(|watched| watched.name == name) {
            self.world.tell(|| format!("slow tiers of {name}: {mask:b}"));
            watched.state.set_slow_tiers(mask);
        }
    }

    /// A task begins to use a connection of a cluster: was it its turn?
    fn on_served(&self, task: usize, is_copy: bool, at: usize, address: SocketAddr) {
        let watched = &mut self.clusters.borrow_mut()[at];
        let place = watched.waiting.iter().position(|(waiter, _)| *waiter == task);
        let is_capped = watched.rules_since(self.oldest()).all(|rules| rules.cap > 0);
        let ahead = place.unwrap_or(watched.waiting.len());
        if ahead > 0 && is_capped {
            let what = if is_copy { "a copy" } else { "a request" };
            self.world.blame(format!("{what} of task {task} to {address} overtakes {:?}", &watched.waiting[..ahead]));
        }
        if let Some(place) = place {
            self.see("waiters served");
            watched.waiting.remove(place);
        }
    }

    /// Looks at everything that the workers share; `oldest`: the oldest epoch that is in use.
    pub(crate) fn look(&self, oldest: impl Fn() -> u64) {
        let has_traffic = self.has_traffic.replace(false);
        for watched in &mut *self.clusters.borrow_mut() {
            let now = (watched.state.taken(), watched.state.waiting());
            if now != watched.seen || now.1 > 0 || now.0 != watched.open + watched.dialling {
                self.look_at_credits(watched);
                self.look_at_queue(watched);
                self.look_for_stuck(watched);
                watched.seen = now;
            }
            // Without traffic of this step as well while older rules may go out of use by it: it may have been by them.
            if has_traffic || self.oldest.get() < self.newest.get() {
                self.look_at_ejections(watched);
            }
        }
        if has_traffic && !self.is_shared {
            self.look_at_runs();
        }
        // Only now: what was in use before this step may have done what was found.
        if self.oldest.get() < self.newest.get() {
            self.oldest.set(oldest());
            if self.oldest.get() == self.newest.get() && !self.is_shared {
                self.look_for_removed();
            }
        }
    }

    /// Every worker and exchange goes by the newest configuration from here on.
    fn look_for_removed(&self) {
        let clusters = self.clusters.borrow();
        let newest = clusters.iter().filter_map(|watched| watched.rules_since(self.newest.get()).next());
        let there: HashSet<SocketAddr> = newest.flat_map(|rules| rules.addresses.iter().copied()).collect();
        for Open { address, .. } in self.lines.borrow().values().filter(|open| !there.contains(&open.address)) {
            self.world.blame(format!("a connection to {address} is open, which is no endpoint any more"));
        }
    }

    /// The gateway did something on the network in this step.
    pub(crate) fn on_traffic(&self) {
        self.has_traffic.set(true);
    }

    fn look_at_credits(&self, watched: &mut Watched) {
        let (taken, there) = (watched.state.taken(), watched.open + watched.dialling);
        watched.lingering.retain(|until_ns| *until_ns >= self.world.now_ns());
        if !self.is_shared && !(there..=there + watched.lingering.len()).contains(&taken) {
            self.world.blame(format!("{}: {taken} credits are out for {there} connections", watched.name));
            // Told once, and not after every step.
            watched.open = taken - watched.dialling.min(taken);
        }
        let cap = watched.cap();
        if cap == 0 {
            watched.allowed = usize::MAX;
            return;
        }
        if taken > watched.allowed {
            self.world.blame(format!("{}: {taken} connections of {}", watched.name, watched.allowed));
        }
        watched.allowed = watched.allowed.min(taken.max(cap));
    }

    /// Who joined the queue or left it in this step?
    fn look_at_queue(&self, watched: &mut Watched) {
        let now_ms = self.world.now_ms();
        let task = self.world.current().unwrap_or(usize::MAX);
        let (known, waiting) = (watched.waiting.len(), watched.state.waiting());
        let place = watched.waiting.iter().position(|(waiter, _)| *waiter == task);
        if waiting != known {
            self.world.tell(|| {
                let (name, listed) = (&watched.name, &watched.waiting);
                format!("{name}: {waiting} wait after a step of task {task}, before: {listed:?}")
            });
        }
        match (waiting, place) {
            _ if waiting == known => {}
            (_, None) if waiting == known + 1 => {
                self.see(if known > 0 { "waiters behind others" } else { "waiters" });
                watched.waiting.push((task, now_ms));
            }
            (_, Some(place)) if waiting + 1 == known => drop(watched.waiting.remove(place)),
            _ => {
                self.world.blame(format!(
                    "{}: {waiting} wait after a step of task {task}, {:?} are known",
                    watched.name, watched.waiting
                ));
                watched.waiting.truncate(waiting);
            }
        }
        let (most, longest_ms) = (watched.rules_since(self.oldest()))
            .map(|rules| rules.queue)
            .fold((0, 0), |(max, ms), queue| (queue.0.max(max), queue.1.max(ms)));
        if waiting > most {
            self.world.blame(format!("{}: {waiting} wait where {most} may", watched.name));
        }
        let late_ms = longest_ms + 3 * limits::TICK_MS;
        if let Some((waiter, since_ms)) = watched.waiting.first().filter(|(_, since_ms)| now_ms > since_ms + late_ms) {
            self.world.blame(format!("{}: task {waiter} waits since {since_ms} ms", watched.name));
            watched.waiting[0].1 = now_ms;
        }
        let cap = watched.cap();
        let is_full = cap > 0 && (watched.state.taken() >= cap || waiting > 0);
        watched.on_full(is_full, now_ms);
    }

    /// Somebody waits although a connection could be opened, or one rests: for how long?
    fn look_for_stuck(&self, watched: &mut Watched) {
        let state = &watched.state;
        let (waiting, taken, cap) = (state.waiting(), state.taken(), watched.cap());
        let is_free = cap == 0 || taken < cap;
        let rests = waiting > 0 && self.has_resting(&watched.name);
        if waiting == 0 || !is_free && !rests {
            watched.stuck = None;
            return;
        }
        let now_ns = self.world.now_ns();
        let stuck = Stuck { since_ns: now_ns, waiting, taken, is_free };
        let before = watched.stuck.filter(|before| Stuck { since_ns: now_ns, ..*before } == stuck);
        let since_ns = before.map_or(now_ns, |before| before.since_ns);
        watched.stuck = Some(Stuck { since_ns, ..stuck });
        let is_disturbed = self.disturbed_ns.get() + 100 * MS >= since_ns;
        // Who waits looks around now and then; a wake-up must not need that.
        let look_ms = limits::CLIENT_WATCH_MS + 3 * limits::TICK_MS;
        let patience_ms = self.slack_ms + 2 + if is_free && !is_disturbed { 0 } else { 2 * look_ms };
        if now_ns > since_ns + patience_ms * MS {
            let name = &watched.name;
            self.world.blame(format!(
                "{name}: {waiting} wait for {patience_ms} ms, {taken} of {cap} connections are open, one rests: {rests}"
            ));
            watched.stuck = None;
        }
    }

    /// Is a connection to that cluster open that nobody uses?
    fn has_resting(&self, name: &str) -> bool {
        let (lines, slow) = (self.lines.borrow(), self.slow.borrow());
        let mut own = lines.values().filter(|open| ROOMS[usize::from(room_of(open.address))] == name);
        own.any(|open| open.conn.is_at_rest() && !slow.contains(&open.task))
    }

    /// Did an endpoint refuse so often in a row that its breaker must be open, and it is not?
    fn look_at_runs(&self) {
        let now_ms = self.world.now_ms();
        for (address, run) in &mut *self.runs.borrow_mut() {
            let Some((_, id)) = self.place(*address) else { continue };
            if self.fleet.slot(id).breaker(now_ms) != BreakerState::Closed {
                *run = Run { since_ms: now_ms, ..Run::default() };
            } else if run.count > 0 && run.count >= run.most {
                self.world.blame(format!("{address} refused {} times in a row and its breaker is closed", run.count));
                run.count = 0;
            }
        }
    }

    fn look_at_ejections(&self, watched: &mut Watched) {
        // The identities of a cluster that is gone may be another's.
        let Some(newest) = watched.rules.last().filter(|rules| rules.epoch == self.newest.get()) else { return };
        let ejections = newest.ids.iter().map(|id| self.fleet.slot(*id).ejections()).sum();
        if ejections == watched.ejections {
            return;
        }
        let has_more = ejections > watched.ejections;
        watched.ejections = ejections;
        let now_ms = self.world.now_ms();
        let is_within = |rules: &Rules| {
            let ejected = rules.ids.iter().filter(|id| self.fleet.slot(**id).is_ejected(now_ms)).count();
            rules.max_ejected.is_some_and(|share| ejected as f64 <= share * rules.ids.len() as f64 + 1e-6)
        };
        if has_more && !watched.rules_since(self.oldest()).any(is_within) {
            self.world.blame(format!("{}: more endpoints are ejected than may be", watched.name));
        }
    }
}
