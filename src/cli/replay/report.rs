//! What was found, counted and told. Whatever a log says, this stays small.

use rustc_hash::FxHashMap;
use serde_json::{Value, json};

use super::decide::Likeness;

/// Rows of a table; what comes behind them is one row.
const ROWS_MAX: usize = 1_000;
/// Rows of a table that are told as text, most first.
const ROWS_TOLD: usize = 40;
/// Lines that could not be read and are told of.
const RUBBISH_TOLD: usize = 5;
/// Characters of what a log says that are told.
const TEXT_MAX: usize = 200;
const OTHERS: &str = "(others)";

/// What was found on one logged route.
#[derive(Clone, Copy, Default)]
struct Row {
    same: u64,
    different: u64,
    undecided: u64,
}

/// Counts by a text.
struct Table<T>(FxHashMap<String, T>);

impl<T: Default> Table<T> {
    fn row(&mut self, name: &str) -> &mut T {
        if !self.0.contains_key(name) {
            let name = if self.0.len() < ROWS_MAX { name } else { OTHERS };
            return self.0.entry(name.to_owned()).or_default();
        }
        self.0.get_mut(name).expect("it was just there")
    }

    fn rows(&self, weight: impl Fn(&T) -> u64) -> Vec<(&str, &T)> {
        let mut rows: Vec<_> = self.0.iter().map(|(name, row)| (name.as_str(), row)).collect();
        rows.sort_by_key(|(name, row)| (std::cmp::Reverse(weight(row)), *name));
        rows
    }
}

/// Everything that was found.
pub(super) struct Report {
    examples_max: usize,
    pub(super) lines: u64,
    all: Row,
    /// Lines whose request came to no decision.
    undecidable: u64,
    /// Lines of which too much is cut.
    cut: u64,
    unreadable: u64,
    rubbish: Vec<(u64, String)>,
    routes: Table<Row>,
    changes: Table<u64>,
    examples: Vec<Example>,
    doubts: Vec<Example>,
}

/// A line that is told.
struct Example {
    line: u64,
    request: String,
    was: String,
    is: String,
}

impl Report {
    pub(super) fn new(examples_max: usize) -> Self {
        Self {
            examples_max,
            lines: 0,
            all: Row::default(),
            undecidable: 0,
            cut: 0,
            unreadable: 0,
            rubbish: Vec::new(),
            routes: Table(FxHashMap::default()),
            changes: Table(FxHashMap::default()),
            examples: Vec::new(),
            doubts: Vec::new(),
        }
    }

    pub(super) fn on_rubbish(&mut self, why: String) {
        self.unreadable += 1;
        if self.rubbish.len() < RUBBISH_TOLD {
            self.rubbish.push((self.lines, why));
        }
    }

    pub(super) fn on_undecidable(&mut self) {
        self.undecidable += 1;
    }

    pub(super) fn on_cut(&mut self) {
        self.cut += 1;
    }

    /// A line was compared; `tell` gives its request, what became of it and what would.
    pub(super) fn on_compared(&mut self, route: &str, likeness: Likeness, tell: impl FnOnce() -> [String; 3]) {
        // A log may name anything; a name is kept as it is told.
        let name = if route.is_empty() { "(none)".to_owned() } else { shown(route) };
        let row = self.routes.row(&name);
        let count = |row: &mut Row| match likeness {
            Likeness::Same => row.same += 1,
            Likeness::Different => row.different += 1,
            Likeness::Unsure => row.undecided += 1,
        };
        count(row);
        count(&mut self.all);
        let kept = match likeness {
            Likeness::Same => return,
            Likeness::Different => &mut self.examples,
            Likeness::Unsure if self.doubts.len() >= self.examples_max => return,
            Likeness::Unsure => &mut self.doubts,
        };
        let [request, was, is] = tell().map(|text| shown(&text));
        if likeness == Likeness::Different {
            *self.changes.row(&format!("{was} -> {is}")) += 1;
        }
        if kept.len() < self.examples_max {
            kept.push(Example { line: self.lines, request, was, is });
        }
    }

    /// Is there a line that is decided otherwise?
    pub(super) fn differs(&self) -> bool {
        self.all.different > 0
    }

    /// Was there nothing to compare, although there were lines?
    pub(super) fn is_vain(&self) -> bool {
        self.lines > 0 && self.unreadable == self.lines
    }

    pub(super) fn text(&self) -> Vec<String> {
        let Row { same, different, undecided } = self.all;
        let mut all = vec![format!(
            "{}: {} compared: {same} the same, {different} different, {undecided} undecided",
            count(self.lines, "line"),
            same + different + undecided
        )];
        let mut add = |count: u64, what: &str| {
            if count > 0 {
                all.push(format!("{count} {what}"));
            }
        };
        add(self.undecidable, "came to no decision (refused before it, or a loop), and were not compared");
        add(self.cut, "have a path or host that the log has cut, and were not compared");
        add(self.unreadable, "are no lines of an access log:");
        all.extend(self.rubbish.iter().map(|(line, why)| format!("  line {line}: {why}")));
        if different + undecided > 0 {
            all.push("by route as it was:  different  undecided  the same".to_owned());
            let rows = self.routes.rows(|row| row.different.saturating_mul(2).saturating_add(row.undecided));
            let rows: Vec<_> = rows.into_iter().filter(|(_, row)| row.different + row.undecided > 0).collect();
            let told = |(name, row): &(&str, &Row)| {
                format!("  {name:<18}  {:>9}  {:>9}  {:>8}", row.different, row.undecided, row.same)
            };
            all.extend(rows.iter().take(ROWS_TOLD).map(told));
            more(&mut all, rows.len());
        }
        if different > 0 {
            all.push("changes:".to_owned());
            let rows = self.changes.rows(|count| *count);
            all.extend(rows.iter().take(ROWS_TOLD).map(|(name, count)| format!("  {count:>9}  {name}")));
            more(&mut all, rows.len());
        }
        for (title, examples) in [("examples:", &self.examples), ("undecided, such as:", &self.doubts)] {
            if !examples.is_empty() {
                all.push(title.to_owned());
            }
            all.extend(
                examples
                    .iter()
                    .map(|Example { line, request, was, is }| format!("  line {line}: {request}: was {was}; is {is}")),
            );
        }
        all
    }

    pub(super) fn json(&self) -> Value {
        let row = |row: &Row| json!({ "same": row.same, "different": row.different, "undecided": row.undecided });
        let examples = |all: &[Example]| -> Vec<Value> {
            let one = |Example { line, request, was, is }: &Example| json!({ "line": line, "request": request, "was": was, "is": is });
            all.iter().map(one).collect()
        };
        let routes: serde_json::Map<_, _> =
            self.routes.0.iter().map(|(name, counts)| (name.clone(), row(counts))).collect();
        let changes = self.changes.rows(|count| *count);
        let rubbish = self.rubbish.iter().map(|(line, why)| json!({ "line": line, "why": why }));
        json!({
            "lines": self.lines,
            "all": row(&self.all),
            "no_decision": self.undecidable,
            "cut": self.cut,
            "unreadable": self.unreadable,
            "rubbish": rubbish.collect::<Vec<_>>(),
            "routes": routes,
            "changes": changes.iter().map(|(what, count)| json!({ "what": what, "count": count })).collect::<Vec<_>>(),
            "examples": examples(&self.examples),
            "undecided_examples": examples(&self.doubts),
        })
    }
}

fn more(all: &mut Vec<String>, rows: usize) {
    if rows > ROWS_TOLD {
        all.push(format!("  and {} more", rows - ROWS_TOLD));
    }
}

fn count(number: u64, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

/// What a log says neither steers a terminal nor fills it.
fn shown(text: &str) -> String {
    let mut shown = String::new();
    for char in text.chars().take(TEXT_MAX) {
        if matches!(char, '\'' | '"') {
            shown.push(char);
        } else {
            shown.extend(char.escape_debug());
        }
    }
    if text.chars().nth(TEXT_MAX).is_some() {
        shown.push_str("...");
    }
    shown
}
