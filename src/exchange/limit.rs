//! The rate limits of a route: may this request pass, and what the client is told of it.

use std::net::IpAddr;

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use super::failure::Failure;
use super::held::Exchange;
use super::local::Local;
use super::store::AnswerBell;
use crate::net::Env;
use crate::policy::LivePolicy;
use crate::policy::limit::{Decision, Key, Keys, Limiter, OnStoreError, Shared, StoreError, Taken};

impl<'a, E: Env> Exchange<'a, E> {
    /// Counts this request in every limit of the route and in that of the live policy, and tells of the one of the route
    /// that has least left. What is left for everybody is told to nobody, unless it is nothing.
    ///
    /// One that is refused was counted by those before it, as it was asked.
    pub(super) async fn limit(&self, limits: &[Arc<Limiter>], live: Option<&LivePolicy>) -> Result<(), Local<'a>> {
        if limits.is_empty() && live.is_none() {
            return Ok(());
        }
        self.on_limits();
        let mut tightest: Option<Decision> = None;
        let of_all = live.map(|live| &live.limiter);
        let of_route = limits.iter().map(|limiter| (&**limiter, true));
        for (limiter, is_told) in of_route.chain(of_all.map(|limiter| (limiter, false))) {
            let decision = match limiter.shared() {
                None => self.decide_here(limiter),
                Some(shared) => match self.leased(limiter, shared) {
                    Ok(Some(decision)) => decision,
                    result => match self.decide_together(limiter, shared, result.err()).await? {
                        Some(decision) => decision,
                        None => continue,
                    },
                },
            };
            let is_tighter = tightest.is_none_or(|other| decision.remaining < other.remaining);
            if is_told && is_tighter || !decision.allowed {
                tightest = Some(decision);
            }
            if !decision.allowed {
                break;
            }
        }
        let Some(decision) = tightest else { return Ok(()) };
        self.added.limit.set(Some(decision));
        if decision.allowed {
            return Ok(());
        }
        self.tally.retry_after_s.set(decision.retry_after_s());
        self.shard.counters.top_clients.on_refused(self.client_ip());
        Err(Local::Failed(Failure::RateLimited))
    }
}

impl<'a, E: Env> Exchange<'a, E> {
    fn decide_here(&self, limiter: &Limiter) -> Decision {
        let mut leases = self.shard.leases.borrow_mut();
        limiter.decide(self, &self.adopted.snapshot.limits, &mut leases, self.tally.ready_ns.get())
    }

    /// A decision that needs nobody: a token that was leased, or a refusal that holds.
    fn leased(&self, limiter: &Limiter, shared: &Shared) -> Result<Option<Decision>, StoreError> {
        if !shared.is_leased {
            return Ok(None);
        }
        let key = limiter.lease_key(self, &self.adopted.snapshot.limits);
        let taken = self.shard.asked.leases.borrow_mut().take(key, shared.limit, self.shard.env.now_ns());
        match taken {
            Taken::Decided(decision, 0) => Ok(Some(decision)),
            Taken::Decided(decision, want) => {
                // What cannot be asked now is asked by the next one.
                drop(self.ask(limiter, shared, want, Some(key)));
                Ok(Some(decision))
            }
            Taken::Wait(0) => Ok(None),
            Taken::Wait(want) => self.ask(limiter, shared, want, Some(key)).map(|_asked| None),
        }
    }

    /// The decision of the store, or what becomes of a request without; `None`: it passes uncounted.
    async fn decide_together(
        &self,
        limiter: &Limiter,
        shared: &Shared,
        failed: Option<StoreError>,
    ) -> Result<Option<Decision>, Local<'a>> {
        let decided = match failed {
            Some(error) => Err(error),
            // In boxes, because it is rare that anybody waits.
            None if shared.is_leased => Box::pin(self.await_lease(limiter, shared)).await,
            None => Box::pin(self.exact(limiter, shared)).await,
        };
        let error = match decided {
            Ok(decision) => return Ok(Some(decision)),
            Err(error) => error,
        };
        self.shard.counters.store_errors[error as usize].add(1);
        match shared.on_error {
            OnStoreError::Allow => Ok(None),
            OnStoreError::Deny => Err(Local::Failed(Failure::LimiterUnavailable)),
            OnStoreError::Local => Ok(Some(self.decide_here(limiter))),
        }
    }

    /// Asks the store for this request alone.
    async fn exact(&self, limiter: &Limiter, shared: &Shared) -> Result<Decision, StoreError> {
        let (ticket, bell) = self.ask(limiter, shared, 1, None)?;
        self.shard.counters.store_waits.add(1);
        let answer = self.alarm.within(shared.timeout_ms, pin!(bell.heard())).await;
        let granted = answer.map_err(|_expired| {
            self.shard.asked.forget(ticket);
            StoreError::TimedOut
        })??;
        Ok(Decision {
            allowed: granted.granted > 0,
            limit: shared.limit,
            remaining: granted.left,
            reset_ns: u64::try_from(granted.reset.as_nanos()).unwrap_or(u64::MAX),
            retry_after_ns: u64::try_from(granted.retry.as_nanos()).unwrap_or(u64::MAX),
        })
    }

    /// Waits for the lease that was asked for. It may not be enough for all who wait: the next one is.
    async fn await_lease(&self, limiter: &Limiter, shared: &Shared) -> Result<Decision, StoreError> {
        let key = limiter.lease_key(self, &self.adopted.snapshot.limits);
        let due_ms = self.shard.alarms.now_ms() + shared.timeout_ms;
        self.shard.counters.store_waits.add(1);
        loop {
            let (waiter, bell) = self.shard.asked.waits_for(key).ok_or(StoreError::Crowded)?;
            let left_ms = due_ms.saturating_sub(self.shard.alarms.now_ms());
            let answer = self.alarm.within(left_ms, pin!(bell.heard())).await;
            answer.map_err(|_expired| {
                self.shard.asked.give_up(key);
                StoreError::TimedOut
            })??;
            drop(waiter);
            if let Some(decision) = self.leased(limiter, shared)? {
                return Ok(decision);
            }
        }
    }

    /// Asks for tokens.
    fn ask(
        &self,
        limiter: &Limiter,
        shared: &Shared,
        want: u32,
        key: Option<Key>,
    ) -> Result<(u64, Rc<AnswerBell>), StoreError> {
        let period_ns = u64::try_from(shared.period.as_nanos()).unwrap_or(u64::MAX);
        let asked = self.shard.asked.ask(
            &shared.store,
            limiter.charge(shared, self, want),
            key.map(|key| (key, period_ns)),
            shared.timeout_ms,
            self.shard.alarms.now_ms(),
        )?;
        self.shard.counters.store_requests.add(1);
        Ok(asked)
    }
}

impl<E: Env> Keys for Exchange<'_, E> {
    fn client_ip(&self) -> IpAddr {
        Exchange::client_ip(self)
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        self.head.field(self.bytes, name)
    }

    fn claim(&self, name: &str) -> Option<&str> {
        self.identities.claim(name)
    }

    fn api_key(&self) -> Option<&str> {
        self.identities.api_key()
    }

    fn user(&self) -> Option<&str> {
        self.identities.user()
    }
}
