//! A cluster under watch: what its configurations say, and what is out of it and waits for it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use ringgate::cluster::{ClusterState, EndpointId};
use ringgate::limits;

/// What one epoch says of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) epoch: u64,
    pub(crate) cap: usize,
    /// Most waiters, and milliseconds of the longest wait.
    pub(crate) queue: (usize, u64),
    pub(crate) fail_open: bool,
    /// Probes of a breaker, if there is one.
    pub(crate) probes: Option<u64>,
    /// Failures in a row that open a breaker, if there is one; `u32::MAX` for never.
    pub(crate) consecutive: Option<u32>,
    pub(crate) max_ejected: Option<f64>,
    /// Endpoints that have a weight, with their tiers.
    pub(crate) tiers: HashMap<SocketAddr, usize>,
    pub(crate) ids: Vec<EndpointId>,
    pub(crate) addresses: Vec<SocketAddr>,
}

/// A cluster under watch.
pub(crate) struct Watched {
    pub(crate) name: String,
    pub(crate) state: Arc<ClusterState>,
    pub(crate) rules: Vec<Rules>,
    /// The endpoint that never fails and is always there, if one is.
    pub(crate) rock: Option<SocketAddr>,
    pub(crate) open: usize,
    pub(crate) dialling: usize,
    /// When connects that were given up are over.
    pub(crate) lingering: Vec<u64>,
    /// The most credits that may be out: the cap, or what was out when it was lowered and has not come back.
    pub(crate) allowed: usize,
    /// Tasks that wait, in the order they came, and since when.
    pub(crate) waiting: Vec<(usize, u64)>,
    pub(crate) stuck: Option<Stuck>,
    /// Credits that were out, and waiters, when last looked at.
    pub(crate) seen: (usize, usize),
    pub(crate) ejections: u64,
    /// Spans of milliseconds in which no more connections were to be had; the last one may last.
    pub(crate) full: Vec<(u64, u64)>,
}

/// Since when nothing has changed although somebody waits and need not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stuck {
    pub(crate) since_ns: u64,
    pub(crate) waiting: usize,
    pub(crate) taken: usize,
    pub(crate) is_free: bool,
}

impl Rules {
    pub(crate) fn new(epoch: u64, cluster: &ringgate::snapshot::Cluster, cap: usize) -> Self {
        // One that began without a cap can meet one that came since.
        let no_queue = (limits::RECLAIM_QUEUE, limits::RECLAIM_MS);
        let queue = cluster.queue.as_ref().map_or(no_queue, |queue| (queue.max, queue.timeout_ms));
        let tier = |at: usize| cluster.tiers.iter().position(|tier| tier.contains(&at)).unwrap_or(usize::MAX);
        let weighty = cluster.endpoints.iter().enumerate().filter(|(_, endpoint)| endpoint.weight > 0);
        Self {
            epoch,
            cap,
            queue,
            fail_open: cluster.fail_open,
            probes: cluster.breaker.as_ref().map(|policy| u64::from(policy.probes)),
            consecutive: cluster.breaker.as_ref().map(|policy| match policy.consecutive {
                0 => u32::MAX,
                consecutive => consecutive,
            }),
            max_ejected: cluster.passive.as_ref().map(|policy| policy.max_ejected),
            tiers: weighty.map(|(at, endpoint)| (endpoint.address, tier(at))).collect(),
            ids: cluster.ids.clone(),
            addresses: cluster.endpoints.iter().map(|endpoint| endpoint.address).collect(),
        }
    }
}

impl Watched {
    pub(crate) fn new(name: &str, state: &Arc<ClusterState>) -> Self {
        Self {
            name: name.to_owned(),
            state: Arc::clone(state),
            rules: Vec::new(),
            rock: None,
            open: 0,
            dialling: 0,
            lingering: Vec::new(),
            allowed: usize::MAX,
            waiting: Vec::new(),
            stuck: None,
            seen: (0, 0),
            ejections: 0,
            full: Vec::new(),
        }
    }

    pub(crate) fn on_rules(&mut self, rules: Rules) {
        self.seen = (usize::MAX, 0);
        self.allowed = if rules.cap == 0 { usize::MAX } else { rules.cap.max(self.state.taken()) };
        self.rules.push(rules);
    }

    /// The cap in force.
    pub(crate) fn cap(&self) -> usize {
        self.rules.last().map_or(0, |rules| rules.cap)
    }

    /// The rules of all epochs that may be in use.
    pub(crate) fn rules_since(&self, oldest: u64) -> impl Iterator<Item = &Rules> {
        self.rules.iter().filter(move |rules| rules.epoch >= oldest)
    }

    /// Failures in a row that open a breaker by any of the rules that may be in use; nothing where some have none, so that
    /// perhaps nobody counts them.
    pub(crate) fn most_in_a_row(&self, oldest: u64) -> Option<u32> {
        let most = self.rules_since(oldest).try_fold(0, |most, rules| rules.consecutive.map(|own| own.max(most)));
        most.filter(|most| *most > 0)
    }

    pub(crate) fn on_full(&mut self, is_full: bool, now_ms: u64) {
        let lasts = self.full.last().is_some_and(|(_, until_ms)| *until_ms == u64::MAX);
        match (lasts, is_full) {
            (false, true) => self.full.push((now_ms, u64::MAX)),
            (true, false) => self.full.last_mut().expect("one lasts").1 = now_ms,
            (true, true) | (false, false) => {}
        }
    }

    /// Connections that the gateway has open or opens, and tasks that wait for one.
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.open + self.dialling, self.waiting.len())
    }
}
