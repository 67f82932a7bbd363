//! What happened to each request, by its token: written by clients and endpoints, judged at the end.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use crate::plan::{ClientPlan, RequestPlan};
use crate::wire::Head;

/// A request as an endpoint received it.
#[derive(Debug, Clone)]
pub(crate) struct Execution {
    /// Is it a copy for a mirror?
    pub(crate) is_copy: bool,
    /// Did its body arrive whole?
    pub(crate) is_whole: bool,
}

/// What a client received.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) head: Head,
    pub(crate) content: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    pub(crate) is_whole: bool,
}

/// How a connection ended for its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By the gateway.
    InOrder,
    Reset,
    /// By the client.
    Left,
    /// Not within a time in which every timeout of the gateway has passed.
    Never,
}

/// All that one client saw.
#[derive(Debug, Clone)]
pub(crate) struct Dialogue {
    pub(crate) plan: ClientPlan,
    pub(crate) replies: Vec<Reply>,
    pub(crate) ended: Ended,
    pub(crate) ended_ms: u64,
}

#[derive(Default)]
pub(crate) struct Ledger {
    plans: RefCell<BTreeMap<String, RequestPlan>>,
    pub(crate) executions: RefCell<BTreeMap<String, Vec<Execution>>>,
    pub(crate) dialogues: RefCell<Vec<Dialogue>>,
    /// Requests that ask for a tunnel.
    pub(crate) tunnels: RefCell<BTreeSet<String>>,
    /// Tunnels that are over for their clients.
    pub(crate) tunnels_over: Cell<usize>,
}

impl Ledger {
    pub(crate) fn add(&self, plan: &ClientPlan) {
        for request in &plan.requests {
            self.plans.borrow_mut().insert(request.token.clone(), request.clone());
        }
    }

    pub(crate) fn plan(&self, token: &str) -> Option<RequestPlan> {
        self.plans.borrow().get(token).cloned()
    }

    /// Notes that an endpoint has a head; returns which attempt it is.
    pub(crate) fn on_head(&self, token: &str, is_copy: bool) -> usize {
        let mut executions = self.executions.borrow_mut();
        let attempts = executions.entry(token.to_owned()).or_default();
        attempts.push(Execution { is_copy, is_whole: false });
        attempts.len() - 1
    }

    pub(crate) fn on_whole(&self, token: &str, attempt: usize) {
        if let Some(attempts) = self.executions.borrow_mut().get_mut(token) {
            attempts[attempt].is_whole = true;
        }
    }

    /// Those of the request itself, copies left out.
    pub(crate) fn executions(&self, token: &str) -> Vec<Execution> {
        let all = self.executions.borrow().get(token).cloned().unwrap_or_default();
        all.into_iter().filter(|execution| !execution.is_copy).collect()
    }
}
