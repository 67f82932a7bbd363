//! The configuration in force, and the one that is on trial beside it.

use std::sync::Arc;

use crate::config::Config;
use crate::snapshot::Snapshot;
use crate::telemetry::{Share, Trial};

/// What is compiled into one epoch.
#[derive(Clone, Copy)]
pub(super) struct Sides<'a> {
    /// The configuration in force.
    pub(super) current: &'a Config,
    /// What is on trial beside it.
    pub(super) candidate: Option<Staged<'a>>,
}

/// A configuration on trial.
#[derive(Clone, Copy)]
pub(super) struct Staged<'a> {
    pub(super) config: &'a Config,
    /// Of new connections.
    pub(super) share: Share,
    pub(super) trial: &'a Arc<Trial>,
}

impl<'a> Sides<'a> {
    /// A configuration alone.
    pub(super) const fn alone(current: &'a Config) -> Self {
        Self { current, candidate: None }
    }

    /// Each configuration, the one in force first.
    pub(super) fn configs(self) -> impl Iterator<Item = &'a Config> + Clone {
        [self.current].into_iter().chain(self.candidate.map(|staged| staged.config))
    }

    /// Each with what it was compiled to.
    pub(super) fn compiled<'s>(self, snapshot: &'s Snapshot) -> impl Iterator<Item = (&'s Snapshot, &'a Config)> {
        let candidate = snapshot.candidate.as_ref().map(|candidate| &*candidate.snapshot);
        [snapshot].into_iter().chain(candidate).zip(self.configs())
    }
}
