//! A file with many routes, read a few at a time: of the whole text the parser would keep every event until its end, which
//! takes more memory than the configuration itself, all of it to be had from the system anew for each reload.
//!
//! It must come out as from the text as a whole. What is not plainly a list of routes is left to that, as is what has any
//! error, which is explained there.

use memchr::memmem;
use serde::de::{Deserialize as _, DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::file::{Document, RouteFile};
use super::text;

/// Bytes of a text for which this pays.
const LEAST_BYTES: usize = 32 * 1024;
/// Bytes of a portion, or a single route's when that is longer. The events of so many fit the processor's cache.
const PORTION_BYTES: usize = 12 * 1024;
/// The line before the routes.
const ROUTES: &str = "routes:";

/// The document of a text that [`text::guard`] let pass; `None` where only the whole of it tells.
pub(super) fn read(source: &str) -> Option<Document> {
    if source.len() < LEAST_BYTES {
        return None;
    }
    let parts = Parts::of(source)?;
    // Whatever began before the routes ends before them: their lines are no part of a text in quotes or of a flow mapping.
    let is_over = text::is_empty(parts.before)
        || IgnoredAny::deserialize(serde_yaml::Deserializer::from_str(parts.before)).is_ok();
    let rest = format!("{}{ROUTES}\n{}", parts.before, parts.after);
    let rest = is_over.then(|| Document::deserialize(serde_yaml::Deserializer::from_str(&rest)).ok()).flatten()?;
    let mut routes = Vec::new();
    for portion in parts.portions() {
        Append(&mut routes).deserialize(serde_yaml::Deserializer::from_str(portion)).ok()?;
    }
    rest.routes.is_none().then_some(Document { routes: Some(routes), ..rest })
}

/// A text around the entries of its routes.
struct Parts<'a> {
    before: &'a str,
    /// Whole lines.
    entries: &'a str,
    after: &'a str,
    /// How a line begins that begins an entry.
    dash: &'a str,
}

impl<'a> Parts<'a> {
    /// `None` unless the routes are a block sequence (YAML 1.1 section 9.2.1) at the top, and nothing else could be meant.
    fn of(source: &'a str) -> Option<Self> {
        // An anchor may be used beyond its portion; a directive holds for the whole text.
        let find = |text: &str, wanted: &str| memmem::find(text.as_bytes(), wanted.as_bytes());
        if source.contains('&') || source.starts_with('%') || find(source, "\n%").is_some() {
            return None;
        }
        let at = if source.starts_with(ROUTES) { 0 } else { find(source, "\nroutes:")? + 1 };
        let (before, routes) = source.split_at(at);
        let (line, entries) = routes.split_once('\n')?;
        if line.trim_end() != ROUTES || find(entries, "\nroutes:").is_some() {
            return None;
        }
        let first = entries.lines().find(|line| !is_blank(line))?;
        let dash = &first[..first.len() - first.trim_start_matches(' ').len() + 2];
        let dash = Some(dash).filter(|dash| dash.ends_with("- "))?;
        let mut end = 0;
        for line in entries.split_inclusive('\n') {
            let is_inside = is_blank(line) || line.starts_with(dash) || indent(line) > dash.len() - 2;
            if !is_inside {
                break;
            }
            end += line.len();
        }
        let (entries, after) = entries.split_at(end);
        // What comes then is a key of the top, and no entry that is indented in another way.
        (indent(after) == 0 && !after.starts_with('-')).then_some(Self { before, entries, after, dash })
    }

    /// The entries, some at a time.
    fn portions(&self) -> impl Iterator<Item = &'a str> {
        let (mut rest, dash) = (self.entries, self.dash);
        std::iter::from_fn(move || {
            let is_start = |at: &usize| rest[*at..].starts_with(dash);
            let mut starts = memchr::memchr_iter(b'\n', rest.as_bytes()).map(|at| at + 1).filter(is_start);
            let end = starts.find(|at| *at >= PORTION_BYTES).unwrap_or(rest.len());
            let (portion, later) = rest.split_at(end);
            rest = later;
            (!portion.is_empty()).then_some(portion)
        })
    }
}

/// Nothing, or a comment.
fn is_blank(line: &str) -> bool {
    let line = line.trim_start_matches(' ').trim_end();
    line.is_empty() || line.starts_with('#')
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// Reads a list into the end of another.
struct Append<'a>(&'a mut Vec<RouteFile>);

impl<'de> DeserializeSeed<'de> for Append<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Append<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of routes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(route) = entries.next_element()? {
            self.0.push(route);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
