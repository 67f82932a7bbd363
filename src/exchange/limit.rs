//! The rate limits of a route: may this request pass, and what the client is told of it.

use std::net::IpAddr;

use super::failure::Failure;
use super::held::Exchange;
use super::local::Local;
use crate::net::Env;
use crate::policy::Policies;
use crate::policy::limit::{Decision, Keys};

impl<'a, E: Env> Exchange<'a, E> {
    /// Counts this request in every limit of the route, and tells of the one that has least left.
    ///
    /// One that is refused was counted by those before it, as it was asked.
    pub(super) fn limit(&self, policies: &Policies) -> Result<(), Local<'a>> {
        let mut tightest: Option<Decision> = None;
        let now_ns = self.tally.ready_ns.get();
        for limiter in &policies.limits {
            let mut leases = self.shard.leases.borrow_mut();
            let decision = limiter.decide(self, &self.adopted.snapshot.limits, &mut leases, now_ns);
            if tightest.is_none_or(|other| decision.remaining < other.remaining || !decision.allowed) {
                tightest = Some(decision);
            }
            if !decision.allowed {
                break;
            }
        }
        let Some(decision) = tightest else { return Ok(()) };
        let mut added = self.added.response.borrow_mut();
        decision.push_lines(added.get_or_insert_with(|| self.shard.buffers.lend()).sink());
        if decision.allowed {
            return Ok(());
        }
        self.tally.retry_after_s.set(decision.retry_after_s());
        self.shard.counters.top_clients.on_refused(self.client_ip());
        Err(Local::Failed(Failure::RateLimited))
    }
}

impl<E: Env> Keys for Exchange<'_, E> {
    fn client_ip(&self) -> IpAddr {
        Exchange::client_ip(self)
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        self.head.field(self.bytes, name)
    }
}
