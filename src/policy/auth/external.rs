//! A service that is asked whether a request may pass.

use aws_lc_rs::digest::{Context, SHA256, digest};

use super::cache::Stamp;
use super::identity::Identity;
use super::refused::Proof;
use super::verify::push_line;

/// How a service is asked, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExternalRules {
    /// Path and query that are asked for.
    pub path: Box<str>,
    /// Longest wait for an answer in milliseconds.
    pub timeout_ms: u64,
    /// Fields of the request that the service is told, in lower case.
    pub forward: Vec<Box<str>>,
    /// Fields of its answer that the endpoint is told, in lower case.
    pub response: Vec<Box<str>>,
    /// How long it is remembered that a request may pass; `None` for not at all.
    pub cache: Option<CacheRules>,
    /// Whether a request passes when there is no answer.
    pub allows_without: bool,
}

/// What is remembered of answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheRules {
    /// Seconds for which a request may pass.
    pub for_s: u64,
    /// Fields that tell requests apart, at least one of which a request must have; in lower case.
    pub key: Vec<Box<str>>,
}

/// A policy of a service that is asked.
#[derive(Debug)]
pub struct External {
    /// How it is asked.
    pub rules: ExternalRules,
    /// The number of its cluster.
    pub cluster: usize,
    stamp: Stamp,
}

impl External {
    /// Asks the cluster of this number and name by `rules`.
    #[must_use]
    pub fn new(rules: ExternalRules, cluster: usize, name: &str) -> Self {
        let stamp = Stamp::of(digest(&SHA256, format!("{name}\n{rules:?}").as_bytes()).as_ref());
        Self { rules, cluster, stamp }
    }

    /// Stands for the rules: another one as soon as any of them is another.
    #[must_use]
    pub const fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Stands for a request by the values of its key; `None` when it has none of them, or nothing is remembered.
    ///
    /// `each` calls back with every value of a field, in their order.
    pub fn proof(&self, each: impl Fn(&str, &mut dyn FnMut(&[u8]))) -> Option<Proof> {
        let cache = self.rules.cache.as_ref()?;
        let mut hasher = Context::new(&SHA256);
        let mut has_any = false;
        for name in &cache.key {
            each(name, &mut |value| {
                has_any = true;
                // So that no two requests are told apart by where one value ends and another begins.
                hasher.update(&[1]);
                hasher.update(&value.len().to_be_bytes());
                hasher.update(value);
            });
            hasher.update(&[0]);
        }
        has_any.then(|| hasher.finish().as_ref().try_into().ok()).flatten()
    }

    /// What the endpoint is told by the values of an answer's fields; what cannot stand in a field is left out.
    pub fn identity(&self, each: impl Fn(&str, &mut dyn FnMut(&[u8]))) -> Identity {
        let mut lines = Vec::new();
        for name in &self.rules.response {
            each(name, &mut |value| {
                let _told = core::str::from_utf8(value).ok().and_then(|value| push_line(&mut lines, name, value));
            });
        }
        Identity::bearer(Vec::new(), lines)
    }

    /// Fields of the request that a client cannot send to the endpoint.
    pub(in crate::policy) fn fields(&self) -> impl Iterator<Item = &str> {
        self.rules.response.iter().map(|name| &**name)
    }
}
