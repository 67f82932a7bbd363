//! The first question to a source, put before anybody depends on its keys.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, join_all, ready};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::fetch::{Found, fetch};
use crate::config::KeySource;
use crate::policy::auth::{KeySet, Wanted};

/// Longest wait for the first keys of all new sources together.
pub(in crate::control) const PATIENCE: Duration = Duration::from_secs(3);

/// A source that is asked for the first time; dropping it gives that up.
pub(super) struct First {
    pub(super) source: KeySource,
    pub(super) wanted: Arc<Wanted>,
    asking: BoxFuture<'static, Found>,
    found: Option<Found>,
}

impl First {
    pub(super) fn new(source: &KeySource, wanted: Arc<Wanted>) -> Self {
        let asked = source.clone();
        // A task of its own, as nobody looks at the question between the wait for it and its hand-over. It ends with its set.
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { fetch(&asked).await });
        let asking = async move {
            match tasks.join_next().await {
                Some(Ok(found)) => found,
                _ => Err("it was not asked to the end".to_owned()),
            }
        };
        Self { source: source.clone(), wanted, asking: asking.boxed(), found: None }
    }

    async fn hear(&mut self) {
        self.found = Some(self.asking.as_mut().await);
    }

    /// Has it still said nothing, good or bad?
    pub(super) const fn is_silent(&self) -> bool {
        self.found.is_none()
    }

    /// The keys that came.
    pub(super) fn keys(&self) -> Option<&KeySet> {
        self.found.as_ref()?.as_ref().ok().map(|jwks| &jwks.keys)
    }

    /// The answer, which may be there already: the question is not put again.
    pub(super) fn answer(self) -> BoxFuture<'static, Found> {
        match self.found {
            Some(found) => ready(found).boxed(),
            None => self.asking,
        }
    }
}

/// Waits until each of `firsts` has answered, or for long enough.
pub(super) async fn heard(mut firsts: Vec<First>) -> Vec<First> {
    // Who was late shows in them.
    drop(timeout(PATIENCE, join_all(firsts.iter_mut().map(First::hear))).await);
    firsts
}
