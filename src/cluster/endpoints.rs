//! Stable identities of endpoints across reloads; lives on the control side.

use core::net::SocketAddr;

use rustc_hash::FxHashMap;

use crate::limits::ENDPOINTS_MAX;

/// An endpoint of a cluster by a number that stays the same for as long as the endpoint is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub u32);

/// What makes two endpoints the same: connections and health of one may serve the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointKey {
    /// Name of the cluster.
    pub cluster: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// All else a kept connection depends on, in any fixed notation (scheme, server name, keepalive).
    pub transport: String,
}

/// More endpoints than `limits::ENDPOINTS_MAX`, those that old snapshots still use included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointsFull;

/// Where an identity is in its life.
///
/// | stage | in the published snapshot | ends by |
/// |---|---|---|
/// | `New` | not yet | `on_published`: `Live`; `on_rejected`: gone |
/// | `Live` | yes | `on_published` of an epoch without it: `Resting` |
/// | `Resting` | no, older ones may use it | assigned and published again: `Live`; `retire`: gone |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    New,
    Live,
    /// Since this epoch no snapshot has it.
    Resting(u64),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    id: EndpointId,
    stage: Stage,
    /// The last epoch it was assigned for.
    epoch: u64,
}

/// Hands out endpoint identities and takes them back once no snapshot in use knows them.
///
/// One snapshot is under construction at a time: `assign` for each endpoint, then `on_published` or
/// `on_rejected`. Epochs grow and begin at one.
#[derive(Debug, Default)]
pub struct EndpointRegistry {
    entries: FxHashMap<EndpointKey, Entry>,
    /// Numbers below `bound` that no entry has, largest first: small numbers keep tables dense.
    free: Vec<EndpointId>,
    bound: u32,
}

impl EndpointRegistry {
    /// A registry without endpoints, of at most `limits::ENDPOINTS_MAX`.
    pub fn new() -> Self {
        Self::default()
    }

    /// The identity of `key` for the snapshot of `epoch` under construction.
    ///
    /// # Errors
    /// [`EndpointsFull`]; follow with [`Self::on_rejected`].
    pub fn assign(&mut self, epoch: u64, key: &EndpointKey) -> Result<EndpointId, EndpointsFull> {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.epoch = epoch;
            return Ok(entry.id);
        }
        let id = match self.free.pop() {
            Some(id) => id,
            None if (self.bound as usize) < ENDPOINTS_MAX => {
                self.bound += 1;
                EndpointId(self.bound - 1)
            }
            None => return Err(EndpointsFull),
        };
        self.entries.insert(key.clone(), Entry { id, stage: Stage::New, epoch });
        self.check_invariants();
        Ok(id)
    }

    /// The identities that the snapshot under construction has and the published one has not, in no order: what was
    /// known of their endpoints, if anything, nobody has watched since they were removed.
    pub fn fresh(&self) -> impl Iterator<Item = EndpointId> {
        let is_fresh = |entry: &&Entry| match entry.stage {
            Stage::New => true,
            Stage::Live => false,
            Stage::Resting(since) => entry.epoch > since,
        };
        self.entries.values().filter(is_fresh).map(|entry| entry.id)
    }

    /// Told that `epoch` was published: identities it did not assign are released; returns those newly so, in order.
    pub fn on_published(&mut self, epoch: u64) -> Vec<EndpointId> {
        debug_assert!(
            self.entries.values().all(|entry| entry.stage != Stage::New || entry.epoch == epoch),
            "one snapshot is under construction at a time"
        );
        let mut released = Vec::new();
        for entry in self.entries.values_mut() {
            if entry.epoch == epoch {
                entry.stage = Stage::Live;
            } else if entry.stage == Stage::Live {
                entry.stage = Stage::Resting(epoch);
                released.push(entry.id);
            }
        }
        released.sort_unstable();
        released
    }

    /// Told that `epoch` was given up: what only it assigned is free again at once.
    pub fn on_rejected(&mut self, epoch: u64) {
        self.remove(|entry| entry.stage == Stage::New && entry.epoch == epoch);
        // The next attempt may have the same epoch; nothing is assigned for it yet.
        for entry in self.entries.values_mut().filter(|entry| entry.epoch == epoch) {
            entry.epoch = 0;
        }
    }

    /// Told that every worker uses `oldest` or later: identities released at or before it may be reused.
    pub fn retire(&mut self, oldest: u64) {
        // One assigned since its release is about to come back; the snapshot under construction knows it.
        self.remove(|entry| match entry.stage {
            Stage::Resting(since) => since <= oldest && entry.epoch < since,
            Stage::New | Stage::Live => false,
        });
    }

    /// One more than the largest identity ever handed out: the size of a table by identity.
    pub fn bound(&self) -> usize {
        self.bound as usize
    }

    fn remove(&mut self, mut is_over: impl FnMut(&Entry) -> bool) {
        for (_, entry) in self.entries.extract_if(|_, entry| is_over(entry)) {
            self.free.push(entry.id);
        }
        self.free.sort_unstable_by(|a, b| b.cmp(a));
        self.check_invariants();
    }

    fn check_invariants(&self) {
        debug_assert!(self.bound as usize <= ENDPOINTS_MAX);
        debug_assert_eq!(self.entries.len() + self.free.len(), self.bound as usize, "every number is somewhere");
    }
}

#[cfg(test)]
mod tests;
