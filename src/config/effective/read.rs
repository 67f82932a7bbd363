//! From texts to values with their origins.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};

use serde_yaml::Value;

use super::super::locate::{Index, Part};
use super::super::place::Step;
use super::super::source::Sources;
use super::super::substitute::substitute;
use super::super::text;
use super::{Entries, Kind, Node, Origin, TextFile, secret, table};

/// What has been read so far.
pub(super) struct Reading<'a> {
    pub(super) sources: &'a dyn Sources,
    pub(super) root: &'a Path,
    /// What relative paths of the main file are relative to.
    pub(super) base: PathBuf,
    pub(super) top: Entries,
}

/// One file while it is read.
struct Scene<'a> {
    sources: &'a dyn Sources,
    file: &'a TextFile,
    index: Index,
    base: PathBuf,
    /// Keys and indices that lead to the value.
    steps: Vec<Step>,
    /// The same as the table writes it.
    path: Vec<String>,
}

impl Reading<'_> {
    /// Takes up a file: the main one whole, of a further one the clusters and the like.
    pub(super) fn add(&mut self, file: &TextFile) {
        let folder = file.shown.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        let base = if self.root.as_os_str().is_empty() { folder.to_owned() } else { self.root.join(folder) };
        let is_main = self.top.is_empty();
        if is_main {
            self.base.clone_from(&base);
        }
        // It was loaded before, so it is a mapping.
        let Ok(Value::Mapping(mapping)) = text::parse(&file.text) else { return };
        let mut scene = Scene {
            sources: self.sources,
            file,
            index: Index::new(&file.text),
            base,
            steps: Vec::new(),
            path: Vec::new(),
        };
        for (key, value) in mapping {
            let key = key.as_str().unwrap_or_default().to_owned();
            // What is included is part of what is shown.
            if value.is_null() || key == "include" {
                continue;
            }
            let node = scene.below(Step::Key(key.clone()), key.clone(), value);
            match (self.top.iter_mut().find(|(known, _)| *known == key), node) {
                (Some((_, Node { kind: Kind::List(all), .. })), Node { kind: Kind::List(more), .. }) => {
                    all.extend(more);
                }
                (Some((_, Node { kind: Kind::Mapping(all), .. })), Node { kind: Kind::Mapping(more), .. }) => {
                    all.extend(more);
                }
                (Some(_), _) => {}
                (None, node) => self.top.push((key, node)),
            }
        }
    }

    /// What the table says for what was left out, at a place of the table's notation.
    pub(super) fn standard(&self, path: &str, yaml: &str) -> Node {
        // The table holds YAML; a test parses all of it.
        let value = serde_yaml::from_str(yaml).unwrap_or(Value::Null);
        standard(self.sources, &self.base, path, value)
    }
}

fn standard(sources: &dyn Sources, base: &Path, path: &str, value: Value) -> Node {
    match value {
        Value::Sequence(list) => {
            let nodes = list.into_iter().map(|value| standard(sources, base, path, value)).collect();
            Node { kind: Kind::List(nodes), origin: Origin::default() }
        }
        Value::String(text) => scalar(sources, base, path, Value::String(text), Origin::default()),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Mapping(_) | Value::Tagged(_)) => {
            Node { kind: Kind::Scalar(other), origin: Origin::default() }
        }
    }
}

impl Scene<'_> {
    fn below(&mut self, step: Step, name: String, value: Value) -> Node {
        self.steps.push(step);
        self.path.push(name);
        let node = self.node(value);
        self.steps.pop();
        self.path.pop();
        node
    }

    fn node(&mut self, value: Value) -> Node {
        let (spot, _) = self.index.spot(&self.steps, Part::Value);
        let origin = Origin { place: Some((self.file.shown.clone(), spot.line)), ..Origin::default() };
        match value {
            Value::Mapping(mapping) => {
                let is_named = table::is_named(&self.path);
                let mut entries = Vec::with_capacity(mapping.len());
                for (key, value) in mapping {
                    let key = key.as_str().unwrap_or_default().to_owned();
                    // A key without a value says nothing; a name without one may be an entry of its own.
                    if value.is_null() && !is_named {
                        continue;
                    }
                    let name = if is_named { "*".to_owned() } else { key.clone() };
                    let node = self.below(Step::Key(key.clone()), name, value);
                    entries.push((key, node));
                }
                Node { kind: Kind::Mapping(entries), origin }
            }
            Value::Sequence(list) => {
                let entries = list.into_iter().enumerate();
                let nodes = entries.map(|(index, value)| self.below(Step::Index(index), "*".to_owned(), value));
                Node { kind: Kind::List(nodes.collect()), origin }
            }
            scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Tagged(_)) => {
                let name = self.steps.iter().rev().find_map(|step| match step {
                    Step::Key(key) => Some(key.as_str()),
                    Step::Index(_) => None,
                });
                let path = self.path.join(".");
                if secret::is_written(&path, name.unwrap_or_default(), &scalar) {
                    return secret::redacted(&scalar, origin);
                }
                self::scalar(self.sources, &self.base, &path, scalar, origin)
            }
        }
    }
}

/// A scalar with its variables in place, or as a reference where its value is nobody's business.
fn scalar(sources: &dyn Sources, base: &Path, path: &str, value: Value, mut origin: Origin) -> Node {
    let Value::String(written) = value else { return Node { kind: Kind::Scalar(value), origin } };
    let (variables, has_file) = (RefCell::new(Vec::new()), Cell::new(false));
    let env = |name: &str| {
        let value = sources.env(name)?;
        variables.borrow_mut().push(name.to_owned());
        Some(value)
    };
    let mut file = |_: &str| {
        has_file.set(true);
        Ok(String::new())
    };
    let substituted = substitute(&written, &env, &mut file).ok().flatten();
    origin.variables = variables.into_inner();
    let shown = match substituted {
        None => anchored(base, path, written),
        Some(text) if has_file.get() || secret::is_free(path) || secret::has_password(&text) => {
            origin.is_reference = true;
            return Node { kind: Kind::Scalar(Value::String(with_paths(base, &written))), origin };
        }
        // A number or a switch that a variable held is one.
        Some(text) => match serde_yaml::from_str(&text) {
            Ok(value @ Value::Number(_)) if table::takes(path, "integer") => {
                return Node { kind: Kind::Scalar(value), origin };
            }
            Ok(value @ Value::Bool(_)) if table::takes(path, "boolean") => {
                return Node { kind: Kind::Scalar(value), origin };
            }
            _ => anchored(base, path, text.replace("${", "$${")),
        },
    };
    Node { kind: Kind::Scalar(Value::String(shown)), origin }
}

/// A path as seen from anywhere, all else as it is.
fn anchored(base: &Path, path: &str, text: String) -> String {
    if base.as_os_str().is_empty() || !table::is_path(path) || matches!(text.as_str(), "stdout" | "off" | "") {
        return text;
    }
    match text.strip_prefix("unix:") {
        Some(socket) => format!("unix:{}", base.join(socket).display()),
        None if path == "admin.listen" => text,
        None => base.join(&text).display().to_string(),
    }
}

/// A reference whose files are named as seen from anywhere.
fn with_paths(base: &Path, written: &str) -> String {
    const FILE: &str = "${file:";
    let mut out = String::with_capacity(written.len());
    let mut rest = written;
    while let Some(at) = rest.find(FILE) {
        let (before, name) = rest.split_at(at + FILE.len());
        out.push_str(before);
        let end = name.find('}').unwrap_or(name.len());
        out.push_str(&base.join(&name[..end]).display().to_string());
        rest = &name[end..];
    }
    out + rest
}
