//! The place of a request behind the gate of its cluster: taken before its first attempt, lent while its client
//! is waited for, given back when its answer begins.

use super::held::{Exchange, Sending};
use crate::net::Env;
use crate::policy::Priority;
use crate::snapshot::Gate;

impl<'a, E: Env> Exchange<'a, E> {
    /// The gate of the cluster that it is forwarded to, if that has one.
    fn gate(&self) -> Option<&'a Gate> {
        self.adopted.snapshot.clusters[self.tally.cluster.get()?].admission.as_ref()
    }

    /// Takes a place, where one is needed; false when none is free.
    pub(super) fn try_enter_gate(&self, priority: Priority) -> bool {
        let Some(gate) = self.gate() else { return true };
        let permit = gate.shared.try_enter(priority);
        let is_in = permit.is_some();
        self.permit.set(permit);
        is_in
    }

    /// The answer did not come in time: it takes as long as that at least, unless the endpoint had reason to wait for more of the
    /// request.
    pub(super) fn leave_gate_late(&self, sending: &Sending) {
        let took_ns = self.endpoint_ns(sending, self.shard.env.now_ns());
        self.leave_gate(took_ns.filter(|_| !sending.is_kept_back()));
    }

    /// The answer begins, or did not come in time: tells the gate what that took, and makes room. What a client then takes
    /// slowly is no load of the endpoint, and what else goes wrong says nothing of latency.
    pub(super) fn leave_gate(&self, took_ns: Option<u64>) {
        let (Some(gate), Some(permit)) = (self.gate(), self.permit.take()) else { return };
        if let Some(took_ns) = took_ns {
            gate.shared.on_answered(self.shard.worker, took_ns / 1000, self.shard.alarms.now_ms(), &gate.policy);
        }
        drop(permit);
    }

    /// The client is waited for, be it for an hour, which is no load of the endpoint either: the place is free meanwhile.
    pub(super) fn lend_place(&self) {
        self.permit.set(self.permit.take().map(|mut permit| {
            permit.lend();
            permit
        }));
    }

    /// All of the request is there: it has its place again, unless its answer came first; false where that would be too many for
    /// the endpoint, which must not get the end of it then.
    pub(super) fn try_take_place_back(&self) -> bool {
        let Some(mut permit) = self.permit.take() else { return true };
        let is_in = permit.try_take_back();
        self.permit.set(Some(permit));
        is_in
    }
}
