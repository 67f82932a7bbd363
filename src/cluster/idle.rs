//! Idle upstream connections of one worker: which to reuse, which to close.
//!
//! Every connection is in three lists through one slab: its endpoint's, newest first, from which it is
//! reused and the oldest evicted; the order of age, in which all are swept; and a wheel of expiry times.

use super::EndpointId;
use super::list::{Link, List, NONE};
use super::part::Cap;

/// Milliseconds of one bucket of the wheel.
const BUCKET_MS: u64 = 64;
/// Buckets of the wheel: one turn is 65 s; what expires later is passed over once a turn.
const BUCKETS: usize = 1024;

/// How many idle connections all workers together keep of one cluster, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleCaps {
    /// Per endpoint.
    pub per_endpoint: Cap,
    /// Over all endpoints of the cluster.
    pub total: Cap,
    /// Longest rest in milliseconds.
    pub idle_ms: u64,
}

/// How many idle connections to keep and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleLimits {
    /// Per endpoint; none are kept at zero.
    pub per_endpoint: usize,
    /// Over all endpoints of the cluster; none are kept at zero.
    pub total: usize,
    /// Longest rest in milliseconds.
    pub idle_ms: u64,
}

/// The cluster of a connection that returns: it alone makes room when it has as many as it may.
#[derive(Clone, Copy, Debug)]
pub struct Siblings<'a> {
    /// Its endpoints.
    pub endpoints: &'a [EndpointId],
    /// Its connections that rest already.
    pub resting: usize,
}

/// An idle connection taken for reuse.
#[derive(Debug, PartialEq, Eq)]
pub struct Rested<C> {
    /// The connection.
    pub connection: C,
    /// Milliseconds it has rested.
    pub idle_ms: u64,
}

#[derive(Debug)]
struct Resting<C> {
    /// Nothing in a free place.
    connection: Option<C>,
    endpoint: EndpointId,
    since_ms: u64,
    expires_ms: u64,
    /// False once found expired: out of its endpoint's list, waiting for the tick that closes it.
    reusable: bool,
}

/// Idle connections of all clusters, newest first per endpoint; no allocation once warm, and constant time, but for a
/// look at each endpoint of a cluster that has as many as it may.
///
/// Times are milliseconds of one clock that never goes back. Endpoint identities should be dense.
#[derive(Debug)]
pub struct Idle<C> {
    slab: Vec<Resting<C>>,
    free: Vec<u32>,
    /// Oldest first, and the next one a sweep looks at.
    age: List,
    age_links: Vec<Link>,
    swept: u32,
    /// By endpoint, oldest first.
    endpoints: Vec<List>,
    endpoint_links: Vec<Link>,
    wheel: Box<[List]>,
    wheel_links: Vec<Link>,
    /// The bucket of the last tick, counted from the beginning of time.
    turned: u64,
}

impl<C> Default for Idle<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C> Idle<C> {
    /// An empty pool.
    pub fn new() -> Self {
        Self {
            slab: Vec::new(),
            free: Vec::new(),
            age: List::EMPTY,
            age_links: Vec::new(),
            swept: NONE,
            endpoints: Vec::new(),
            endpoint_links: Vec::new(),
            wheel: vec![List::EMPTY; BUCKETS].into_boxed_slice(),
            wheel_links: Vec::new(),
            turned: 0,
        }
    }

    /// The newest connection of an endpoint that has not expired.
    pub fn try_take(&mut self, endpoint: EndpointId, now_ms: u64) -> Option<Rested<C>> {
        loop {
            let at = self.endpoints.get(endpoint.0 as usize)?.last;
            let newest = self.slab.get(at as usize)?;
            if newest.expires_ms > now_ms {
                let idle_ms = now_ms.saturating_sub(newest.since_ms);
                return Some(Rested { connection: self.remove(at), idle_ms });
            }
            // There is no one here to close it; taking it off the list now keeps the next call short.
            self.slab[at as usize].reusable = false;
            self.endpoints[endpoint.0 as usize].remove(&mut self.endpoint_links, at);
        }
    }

    /// Keeps a connection until the earlier of `expires_ms` (a point in time; `u64::MAX`: the peer named
    /// none) and `limits.idle_ms` from now; returns the one to close for it, which may be itself.
    ///
    /// Limits that have become smaller are reached as connections are taken and expire.
    pub fn on_return(
        &mut self,
        endpoint: EndpointId,
        connection: C,
        now_ms: u64,
        expires_ms: u64,
        limits: &IdleLimits,
        cluster: Siblings<'_>,
    ) -> Option<C> {
        let expires_ms = expires_ms.min(now_ms.saturating_add(limits.idle_ms));
        if expires_ms <= now_ms || limits.per_endpoint == 0 || limits.total == 0 {
            return Some(connection);
        }
        let number = endpoint.0 as usize;
        if number >= self.endpoints.len() {
            self.endpoints.resize(number + 1, List::EMPTY);
        }
        let own = &self.endpoints[number];
        let evicted = if own.len >= limits.per_endpoint {
            Some(own.first)
        } else if cluster.resting >= limits.total {
            self.oldest(cluster.endpoints)
        } else {
            None
        };
        let evicted = evicted.map(|at| self.remove(at));
        self.insert(Resting { connection: Some(connection), endpoint, since_ms: now_ms, expires_ms, reusable: true });
        evicted
    }

    /// Moves the expired connections to `closed`.
    pub fn on_tick(&mut self, now_ms: u64, closed: &mut Vec<C>) {
        let current = now_ms / BUCKET_MS;
        // One turn visits every bucket, however long ago the last tick was.
        let turn = BUCKETS as u64 - 1;
        for bucket in self.turned.max(current.saturating_sub(turn))..=current {
            let mut at = self.wheel[slot_of(bucket)].first;
            while at != NONE {
                let next = self.wheel_links[at as usize].after;
                if self.slab[at as usize].expires_ms <= now_ms {
                    closed.push(self.remove(at));
                }
                at = next;
            }
        }
        self.turned = current;
    }

    /// Looks at the next `n` connections, oldest first and around again, and moves the stale to `closed`.
    ///
    /// One call looks at no connection twice.
    pub fn sweep(&mut self, n: usize, mut is_stale: impl FnMut(&C) -> bool, closed: &mut Vec<C>) {
        for _ in 0..n.min(self.len()) {
            let at = if self.swept == NONE { self.age.first } else { self.swept };
            self.swept = self.age_links[at as usize].after;
            if self.slab[at as usize].connection.as_ref().is_some_and(&mut is_stale) {
                closed.push(self.remove(at));
            }
        }
    }

    /// Moves all connections of an endpoint to `closed`; those already expired follow with the next tick.
    pub fn on_endpoint_removed(&mut self, endpoint: EndpointId, closed: &mut Vec<C>) {
        while let Some(list) = self.endpoints.get(endpoint.0 as usize)
            && list.first != NONE
        {
            closed.push(self.remove(list.first));
        }
    }

    /// Number of idle connections of an endpoint, but for those that were found expired.
    pub fn count(&self, endpoint: EndpointId) -> usize {
        self.endpoints.get(endpoint.0 as usize).map_or(0, |list| list.len)
    }

    /// Number of idle connections, expired ones included until the tick that closes them.
    pub fn len(&self) -> usize {
        self.age.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Asserts that the lists agree with one another; costs a walk over all of them.
    pub fn check_invariants(&self) {
        let everywhere = self.age.checked(&self.age_links);
        assert_eq!(everywhere.len() + self.free.len(), self.slab.len(), "every place is used or free");
        assert!(self.free.iter().all(|at| self.slab[*at as usize].connection.is_none()), "a free place is empty");
        assert!(self.swept == NONE || everywhere.contains(&self.swept), "a sweep goes on at a connection");
        let mut reusable = 0;
        for (number, list) in self.endpoints.iter().enumerate() {
            for at in list.checked(&self.endpoint_links) {
                let resting = &self.slab[at as usize];
                assert!(resting.reusable && resting.connection.is_some(), "an endpoint lists what can be taken");
                assert_eq!(resting.endpoint.0 as usize, number, "a connection is listed at its endpoint");
                reusable += 1;
            }
        }
        let marked = everywhere.iter().filter(|at| self.slab[**at as usize].reusable).count();
        assert_eq!(reusable, marked, "what can be taken is listed");
        let mut timed = 0;
        for (slot, list) in self.wheel.iter().enumerate() {
            for at in list.checked(&self.wheel_links) {
                assert_eq!(slot_of(self.slab[at as usize].expires_ms / BUCKET_MS), slot, "a bucket holds its time");
                timed += 1;
            }
        }
        assert_eq!(timed, everywhere.len(), "every connection expires");
    }

    /// The connection to one of these that has rested longest, of those that are not expired.
    fn oldest(&self, endpoints: &[EndpointId]) -> Option<u32> {
        let lists = endpoints.iter().filter_map(|endpoint| self.endpoints.get(endpoint.0 as usize));
        let firsts = lists.map(|list| list.first).filter(|first| *first != NONE);
        firsts.min_by_key(|first| self.slab[*first as usize].since_ms)
    }

    fn insert(&mut self, resting: Resting<C>) {
        let (number, bucket) = (resting.endpoint.0 as usize, slot_of(resting.expires_ms / BUCKET_MS));
        let at = match self.free.pop() {
            Some(at) => {
                self.slab[at as usize] = resting;
                at
            }
            None => self.grow(resting),
        };
        self.age.push(&mut self.age_links, at);
        self.endpoints[number].push(&mut self.endpoint_links, at);
        self.wheel[bucket].push(&mut self.wheel_links, at);
    }

    /// Adds a place to the slab; the list of free ones can then hold all of them without allocating.
    fn grow(&mut self, resting: Resting<C>) -> u32 {
        let at = u32::try_from(self.slab.len()).expect("a process has fewer than 2^32 connections");
        self.slab.push(resting);
        for links in [&mut self.age_links, &mut self.endpoint_links, &mut self.wheel_links] {
            links.push(Link::ALONE);
        }
        self.free.reserve(self.slab.len());
        at
    }

    fn remove(&mut self, at: u32) -> C {
        if self.swept == at {
            self.swept = self.age_links[at as usize].after;
        }
        let resting = &mut self.slab[at as usize];
        let connection = resting.connection.take().expect("a listed place holds a connection");
        if resting.reusable {
            self.endpoints[resting.endpoint.0 as usize].remove(&mut self.endpoint_links, at);
        }
        self.wheel[slot_of(resting.expires_ms / BUCKET_MS)].remove(&mut self.wheel_links, at);
        self.age.remove(&mut self.age_links, at);
        self.free.push(at);
        connection
    }
}

/// The place of a bucket in the wheel.
fn slot_of(bucket: u64) -> usize {
    usize::try_from(bucket % BUCKETS as u64).expect("the remainder is below the number of buckets")
}

#[cfg(test)]
mod tests;
