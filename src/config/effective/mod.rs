//! The configuration in force, value by value: what was written, what stands for what was left out, and where each of
//! it comes from.
//!
//! Owns the texts that were read, the table of what holds when nothing is said (`table`), and how all of it is shown
//! (`yaml`, `json`). Never shows what a file or a variable puts in the place of a secret: a reference stays one.
//! Invariants: what is shown can be loaded again and is the same configuration, unless something was redacted; every key
//! of the schema is in the table.

mod json;
mod read;
pub(super) mod secret;
mod table;
#[cfg(test)]
mod tests;
mod yaml;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_yaml::Value;

use self::read::Reading;
use super::source::Sources;

/// The texts of a configuration, from which is shown what is in force.
#[derive(Clone, PartialEq, Eq)]
pub struct Texts {
    files: Arc<[TextFile]>,
}

#[derive(Clone, PartialEq, Eq)]
struct TextFile {
    /// As it was named; `None` for the built-in text of a start without a file.
    shown: Option<PathBuf>,
    text: String,
}

impl Texts {
    /// The main file comes first.
    pub(super) fn new(files: impl IntoIterator<Item = (Option<PathBuf>, String)>) -> Self {
        Self { files: files.into_iter().map(|(shown, text)| TextFile { shown, text }).collect() }
    }

    /// The text of the main file, without a byte order mark; `None` after a start without a file.
    #[must_use]
    pub fn main(&self) -> Option<&str> {
        self.files.first().filter(|file| file.shown.is_some()).map(|file| file.text.as_str())
    }

    /// Every value that is in force. Relative paths become ones below `root`, unless that is empty.
    #[must_use]
    pub fn effective(&self, sources: &dyn Sources, root: &Path) -> Effective {
        let mut reading = Reading { sources, root, base: PathBuf::new(), top: Vec::new() };
        for file in self.files.iter() {
            reading.add(file);
        }
        table::fill(&mut reading);
        let files = self.files.iter().filter_map(|file| file.shown.clone()).collect();
        Effective { files, top: reading.top }
    }
}

impl fmt::Debug for Texts {
    /// The names: a text may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.files.iter().map(|file| &file.shown)).finish()
    }
}

/// Every value in force, with where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Effective {
    files: Vec<PathBuf>,
    top: Entries,
}

impl Effective {
    /// As YAML; `with_origins` puts behind each value where it comes from.
    #[must_use]
    pub fn to_yaml(&self, with_origins: bool) -> String {
        yaml::write(self, with_origins)
    }

    /// As JSON: `config`, and in `origins` where each value comes from, by JSON pointers (RFC 6901).
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        json::write(self)
    }

    /// How many values are not shown, because they are secrets that stand in the files themselves.
    #[must_use]
    pub fn redacted(&self) -> usize {
        fn count(entries: &Entries) -> usize {
            entries.iter().map(|(_, node)| of(node)).sum()
        }
        fn of(node: &Node) -> usize {
            match &node.kind {
                Kind::Scalar(_) => usize::from(node.origin.is_redacted),
                Kind::List(nodes) => nodes.iter().map(of).sum(),
                Kind::Mapping(entries) => count(entries),
            }
        }
        count(&self.top)
    }
}

/// A mapping in its order.
type Entries = Vec<(String, Node)>;

#[derive(Debug, Clone, PartialEq)]
struct Node {
    kind: Kind,
    origin: Origin,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Scalar(Value),
    List(Vec<Node>),
    Mapping(Entries),
}

/// Where a value comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Origin {
    /// File and line; `None` when nothing was written.
    place: Option<(Option<PathBuf>, usize)>,
    /// Variables whose values are part of it.
    variables: Vec<String>,
    /// It is a reference whose value is not shown.
    is_reference: bool,
    /// It stands in the file and is not shown.
    is_redacted: bool,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some((Some(file), line)) => write!(f, "{}:{line}", file.display())?,
            Some((None, _)) => f.write_str("built in")?,
            None if self.variables.is_empty() => f.write_str("default")?,
            None => {}
        }
        for (index, variable) in self.variables.iter().enumerate() {
            let comma = if index > 0 || self.place.is_some() { ", " } else { "" };
            write!(f, "{comma}env {variable}")?;
        }
        f.write_str(if self.is_reference { ", its value is not shown" } else { "" })?;
        f.write_str(if self.is_redacted { ", redacted" } else { "" })
    }
}

/// What of a mapping stands at a key.
fn find<'a>(entries: &'a Entries, key: &str) -> Option<&'a Node> {
    entries.iter().find(|(known, _)| known == key).map(|(_, node)| node)
}

/// The order of keys: as the table has them, and names as they were written.
#[derive(Debug, Default)]
struct Order {
    ranks: BTreeMap<&'static str, (usize, Self)>,
}

impl Order {
    /// The order of what is below a key.
    fn below(&self, key: &str) -> Option<&Self> {
        self.ranks.get(key).or_else(|| self.ranks.get("*")).map(|(_, below)| below)
    }

    /// A mapping's entries in order.
    fn sorted<'a>(&self, entries: &'a Entries) -> Vec<&'a (String, Node)> {
        let mut sorted: Vec<_> = entries.iter().collect();
        sorted.sort_by_key(|(key, _)| self.ranks.get(key.as_str()).map_or(usize::MAX, |(rank, _)| *rank));
        sorted
    }
}
