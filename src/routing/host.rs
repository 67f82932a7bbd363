//! Hosts: a hash of the exact names, and of the wildcard suffixes label by label from the right.

use super::hash;
use super::index::{Index, Key, Slot};
use super::path::Scope;
use super::spec::HostPattern;

/// Longest host that is looked up, in bytes; a longer one is no name of DNS (RFC 1035 section 2.3.4) and only
/// routes of any host answer for it.
const HOST_BYTES_MAX: usize = 255;

/// A wildcard and the next shorter one that covers it.
#[derive(Clone, Copy, Debug, Default)]
struct Wild {
    scope: Scope,
    up: Option<Slot>,
}

/// The hosts of all routes, each with the scope of its paths.
#[derive(Debug)]
pub(super) struct Hosts {
    exact: Index<Scope>,
    exact_bytes_max: usize,
    wild: Index<Wild>,
    wild_labels_max: usize,
    any: Option<Scope>,
}

/// The pattern by which a scope was found.
#[derive(Clone, Copy, Debug)]
pub(super) enum HostClass<'a> {
    Exact(&'a [u8]),
    Wildcard(&'a [u8]),
    Any,
}

impl Hosts {
    /// A table of distinct canonical patterns.
    pub(super) fn new<'a>(patterns: impl Iterator<Item = (&'a HostPattern, Scope)>) -> Self {
        let (mut exact, mut exact_bytes_max) = (Vec::new(), 0);
        let (mut wild, mut wild_labels_max) = (Vec::new(), 0);
        let mut any = None;
        for (pattern, scope) in patterns {
            match pattern {
                HostPattern::Any => any = Some(scope),
                HostPattern::Exact(name) => {
                    exact_bytes_max = exact_bytes_max.max(name.len());
                    exact.push(Key { scope: 0, text: name.as_bytes(), value: scope });
                }
                HostPattern::Wildcard(suffix) => {
                    wild_labels_max = wild_labels_max.max(suffix.matches('.').count());
                    wild.push(Key { scope: 0, text: suffix.as_bytes(), value: Wild { scope, up: None } });
                }
            }
        }
        let exact = Index::new(&exact, print_name);
        let wild = Index::new(&wild, print_suffix);
        let mut hosts = Self { exact, exact_bytes_max, wild, wild_labels_max, any };
        hosts.link();
        hosts
    }

    /// Lets every wildcard know the next shorter one.
    fn link(&mut self) {
        for slot in self.wild.slots() {
            let up = self.longest_wildcard(self.wild.text(slot));
            self.wild.set(slot, Wild { up, ..*self.wild.value(slot) });
        }
    }

    /// Calls `visit` with the scopes that answer for a host, best first, until it returns something.
    #[inline]
    pub(super) fn try_each<'a, T>(
        &'a self,
        host: &[u8],
        mut visit: impl FnMut(HostClass<'a>, &Scope) -> Option<T>,
    ) -> Option<T> {
        let mut buffer = [0; HOST_BYTES_MAX];
        let host = lower(host, &mut buffer);
        if let Some(slot) = self.exact(host) {
            let found = visit(HostClass::Exact(self.exact.text(slot)), self.exact.value(slot));
            if found.is_some() {
                return found;
            }
        }
        let mut wildcard = self.longest_wildcard(host);
        while let Some(slot) = wildcard {
            let Wild { scope, up } = self.wild.value(slot);
            let found = visit(HostClass::Wildcard(self.wild.text(slot)), scope);
            if found.is_some() {
                return found;
            }
            wildcard = *up;
        }
        visit(HostClass::Any, self.any.as_ref()?)
    }

    fn exact(&self, host: &[u8]) -> Option<Slot> {
        if host.len() > self.exact_bytes_max {
            return None;
        }
        let slot = self.exact.probe(print_name(self.exact.seed(), 0, host), 0)?;
        (self.exact.text(slot) == host).then_some(slot)
    }

    /// The longest suffix in the table that is shorter than `host`; `host` may itself be a suffix.
    fn longest_wildcard(&self, host: &[u8]) -> Option<Slot> {
        let mut state = hash::begin(self.wild.seed(), 0);
        let (mut end, mut longest) = (host.len(), None);
        for _ in 0..self.wild_labels_max {
            let Some(dot @ 1..) = memchr::memrchr(b'.', &host[..end]) else { break };
            state = hash::mix(state, &host[dot + 1..end]);
            if let Some(slot) = self.wild.probe(state, 0)
                && self.wild.text(slot) == &host[dot..]
            {
                longest = Some(slot);
            }
            end = dot;
        }
        longest
    }
}

fn print_name(seed: u64, scope: u32, name: &[u8]) -> u64 {
    hash::mix(hash::begin(seed, scope), name)
}

fn print_suffix(seed: u64, scope: u32, suffix: &[u8]) -> u64 {
    let labels = suffix[1..].rsplit(|byte| *byte == b'.');
    labels.fold(hash::begin(seed, scope), hash::mix)
}

/// The host as the tables hold it: lower case (RFC 9110 section 4.2.3), without the dot of a full name.
#[inline]
fn lower<'a>(host: &'a [u8], buffer: &'a mut [u8; HOST_BYTES_MAX]) -> &'a [u8] {
    let host = host.strip_suffix(b".").unwrap_or(host);
    if host.len() > HOST_BYTES_MAX {
        return b"";
    }
    if !host.iter().any(u8::is_ascii_uppercase) {
        return host;
    }
    let lowered = &mut buffer[..host.len()];
    lowered.copy_from_slice(host);
    lowered.make_ascii_lowercase();
    lowered
}

/// A pattern as the tables hold it.
pub(super) fn canonical(pattern: &HostPattern) -> HostPattern {
    let lower = |name: &str| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    match pattern {
        HostPattern::Any => HostPattern::Any,
        HostPattern::Exact(name) => HostPattern::Exact(lower(name)),
        HostPattern::Wildcard(suffix) => {
            let suffix = lower(suffix);
            HostPattern::Wildcard(format!(".{}", suffix.strip_prefix('.').unwrap_or(&suffix)))
        }
    }
}
