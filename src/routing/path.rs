//! Paths: a hash of the exact ones, and a trie of the prefixes by whole segments.
//!
//! The trie is one hash table: a node is found by the fingerprint of its whole prefix, so the nodes along
//! a path do not wait for one another, and only the deepest is compared by its bytes.

use rustc_hash::FxHashMap;

use super::hash;
use super::index::{Index, Key, Slot};
use super::rules::Choice;
use super::spec::PathPattern;

/// The paths of one host pattern.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scope {
    id: u32,
    has_exact: bool,
    has_stems: bool,
    /// The routes of every path.
    root: Choice,
}

impl Scope {
    /// A scope without paths yet.
    pub(super) fn new(id: u32) -> Self {
        Self { id, ..Self::default() }
    }
}

/// A node of the trie; its choice is empty when it only leads further.
#[derive(Clone, Copy, Debug, Default)]
struct Stem {
    choice: Choice,
    /// The nearest node above that has a choice.
    up: Option<Slot>,
}

/// The paths of all scopes.
#[derive(Debug)]
pub(super) struct Paths {
    exact: Index<Choice>,
    /// Longest exact path: longer ones need no hash.
    exact_bytes_max: usize,
    stems: Index<Stem>,
}

/// The pattern by which routes were found.
#[derive(Clone, Copy, Debug)]
pub(super) enum PathClass<'a> {
    Exact(&'a [u8]),
    Prefix(&'a [u8]),
}

impl Paths {
    /// The routes of a scope and exactly this path.
    #[inline]
    fn exact(&self, scope: &Scope, path: &[u8]) -> Option<Choice> {
        if !scope.has_exact || path.len() > self.exact_bytes_max {
            return None;
        }
        let print = print_whole(self.exact.seed(), scope.id, path);
        let slot = self.exact.probe(print, scope.id)?;
        (self.exact.text(slot) == path).then(|| *self.exact.value(slot))
    }

    /// Calls `visit` with the routes that fit a path, best first, until it returns something.
    #[inline]
    pub(super) fn try_each<'a, T>(
        &'a self,
        scope: &Scope,
        path: &'a [u8],
        mut visit: impl FnMut(PathClass<'a>, Choice) -> Option<T>,
    ) -> Option<T> {
        if let Some(choice) = self.exact(scope, path) {
            let found = visit(PathClass::Exact(path), choice);
            if found.is_some() {
                return found;
            }
        }
        let mut stem = if scope.has_stems { self.deepest(scope.id, path) } else { None };
        while let Some(slot) = stem {
            let Stem { choice, up } = *self.stems.value(slot);
            if choice != Choice::Nothing {
                let found = visit(PathClass::Prefix(self.stems.text(slot)), choice);
                if found.is_some() {
                    return found;
                }
            }
            stem = up;
        }
        if scope.root == Choice::Nothing {
            return None;
        }
        visit(PathClass::Prefix(b"/"), scope.root)
    }

    fn deepest(&self, scope: u32, path: &[u8]) -> Option<Slot> {
        let slot = self.walk(scope, path, false)?;
        // When the deepest prefix is right all above it are.
        if self.is_prefix(slot, path) { Some(slot) } else { self.walk(scope, path, true) }
    }

    /// Goes down the trie for as long as there is a node; unverified it may end too deep, never too high.
    #[inline]
    fn walk(&self, scope: u32, path: &[u8], verified: bool) -> Option<Slot> {
        let mut state = hash::begin(self.stems.seed(), scope);
        let mut deepest = None;
        // A request target that is no path (`*`, RFC 9112 section 3.2.4) is below no prefix.
        let mut rest = path.strip_prefix(b"/");
        while let Some(from) = rest {
            let end = memchr::memchr(b'/', from).unwrap_or(from.len());
            state = hash::mix(state, &from[..end]);
            let Some(slot) = self.stems.probe(state, scope) else { break };
            if verified && !self.is_prefix(slot, path) {
                break;
            }
            deepest = Some(slot);
            rest = from.get(end + 1..);
        }
        deepest
    }

    fn is_prefix(&self, slot: Slot, path: &[u8]) -> bool {
        path.starts_with(self.stems.text(slot))
    }

    /// Lets every node know the nearest above it that has routes.
    fn link(&mut self) {
        for slot in self.stems.slots() {
            let (scope, mut text) = (self.stems.scope(slot), self.stems.text(slot));
            let mut up = None;
            while let Some(cut @ 1..) = memchr::memrchr(b'/', text) {
                text = &text[..cut];
                let above = self.deepest(scope, text).expect("a node's parents are in the trie");
                if self.stems.value(above).choice != Choice::Nothing {
                    up = Some(above);
                    break;
                }
            }
            self.stems.set(slot, Stem { up, ..*self.stems.value(slot) });
        }
    }
}

/// Collects the paths of all scopes.
#[derive(Default)]
pub(super) struct PathsBuilder<'a> {
    exact: Vec<Key<'a, Choice>>,
    stems: Vec<Key<'a, Stem>>,
    known: FxHashMap<(u32, &'a [u8]), usize>,
}

impl<'a> PathsBuilder<'a> {
    /// Adds the routes of one canonical pattern to a scope.
    pub(super) fn add(&mut self, scope: &mut Scope, pattern: &'a PathPattern, choice: Choice) {
        match pattern {
            PathPattern::Exact(path) => {
                scope.has_exact = true;
                self.exact.push(Key { scope: scope.id, text: path.as_bytes(), value: choice });
            }
            PathPattern::Prefix(prefix) if prefix.is_empty() => scope.root = choice,
            PathPattern::Prefix(prefix) if prefix.starts_with('/') => {
                scope.has_stems = true;
                self.grow(scope.id, prefix.as_bytes(), choice);
            }
            // No path is below a prefix that is not one.
            PathPattern::Prefix(_) => {}
        }
    }

    /// Adds a node with the nodes that lead to it.
    fn grow(&mut self, scope: u32, prefix: &'a [u8], choice: Choice) {
        if let Some(at) = self.known.get(&(scope, prefix)) {
            self.stems[*at].value.choice = choice;
            return;
        }
        let mut text = prefix;
        let mut value = Stem { choice, up: None };
        while !self.known.contains_key(&(scope, text)) {
            self.known.insert((scope, text), self.stems.len());
            self.stems.push(Key { scope, text, value });
            value = Stem::default();
            let Some(cut @ 1..) = memchr::memrchr(b'/', text) else { break };
            text = &text[..cut];
        }
    }

    /// The finished paths.
    pub(super) fn build(self) -> Paths {
        let exact = Index::new(&self.exact, print_whole);
        let stems = Index::new(&self.stems, print_segments);
        let exact_bytes_max = self.exact.iter().map(|key| key.text.len()).max().unwrap_or(0);
        let mut paths = Paths { exact, exact_bytes_max, stems };
        paths.link();
        paths
    }
}

fn print_whole(seed: u64, scope: u32, path: &[u8]) -> u64 {
    hash::mix(hash::begin(seed, scope), path)
}

fn print_segments(seed: u64, scope: u32, prefix: &[u8]) -> u64 {
    let segments = prefix[1..].split(|byte| *byte == b'/');
    segments.fold(hash::begin(seed, scope), hash::mix)
}

/// A pattern as the tables hold it: a prefix without the slash at its end.
pub(super) fn canonical(pattern: &PathPattern) -> PathPattern {
    match pattern {
        PathPattern::Exact(path) => PathPattern::Exact(path.clone()),
        PathPattern::Prefix(prefix) => PathPattern::Prefix(prefix.strip_suffix('/').unwrap_or(prefix).to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verified_walk_ends_where_a_quick_one_does() {
        let prefixes = ["/a/b/c", "/a", "/a/b-and-more/of-it/than-fits-in-a-cell", "//", "/a//b"];
        let patterns: Vec<_> = prefixes.iter().map(|prefix| PathPattern::Prefix((*prefix).to_owned())).collect();
        let (mut builder, mut scope) = (PathsBuilder::default(), Scope::new(7));
        for pattern in &patterns {
            builder.add(&mut scope, pattern, Choice::Among(0));
        }
        let paths = builder.build();
        for (path, depth) in [
            ("/a/b/c/d", Some("/a/b/c")),
            ("/a/b/x", Some("/a/b")),
            ("/a//b", Some("/a//b")),
            ("/a/b-and-more/of-it/than-fits-in-a-cell/", Some("/a/b-and-more/of-it/than-fits-in-a-cell")),
            ("///", Some("//")),
            ("/x", None),
            ("*", None),
        ] {
            for verified in [false, true] {
                let slot = paths.walk(7, path.as_bytes(), verified);
                assert_eq!(slot.map(|slot| paths.stems.text(slot)), depth.map(str::as_bytes), "{path}");
            }
            assert_eq!(paths.walk(8, path.as_bytes(), true), None, "another scope");
        }
    }
}
