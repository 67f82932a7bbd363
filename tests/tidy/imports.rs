//! Who imports whom: every way to name another room, against the table.

use crate::architecture::Table;
use crate::source::{Kind, Source};
use std::collections::BTreeSet;

/// Problems of the table itself: rooms without a row, rows without a room, circles.
pub(crate) fn table_problems(table: &Table, sources: &[Source]) -> Vec<String> {
    let rooms: BTreeSet<&str> = sources.iter().map(Source::room).filter(|room| *room != "lib").collect();
    let mut problems = Vec::new();
    for room in &rooms {
        if !table.contains_key(*room) {
            problems.push(format!("ARCHITECTURE.md: room `{room}` has no row in the import table"));
        }
    }
    for (row, imports) in table {
        if !rooms.contains(row.as_str()) {
            problems.push(format!("ARCHITECTURE.md: the import table has a row for `{row}`, which is no room"));
        }
        for import in imports.iter().filter(|import| !table.contains_key(*import)) {
            problems.push(format!("ARCHITECTURE.md: `{row}` may import `{import}`, which is no room"));
        }
        if reaches(table, row, row) {
            problems.push(format!("ARCHITECTURE.md: `{row}` may import itself through others"));
        }
    }
    problems
}

/// Whether `from` leads to `to` over at least one import.
fn reaches(table: &Table, from: &str, to: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(room) = open.pop() {
        for import in table.get(room).into_iter().flatten() {
            if import == to {
                return true;
            }
            if seen.insert(import.as_str()) {
                open.push(import);
            }
        }
    }
    false
}

/// Imports of `source` that the table does not allow.
pub(crate) fn problems(source: &Source, table: &Table) -> Vec<String> {
    let nothing = BTreeSet::new();
    let allowed = table.get(source.room()).unwrap_or(&nothing);
    let mut problems = Vec::new();
    for (line, name) in named_rooms(source) {
        if name == "*" {
            problems.push(source.at(line, "imports the whole crate root: name the rooms"));
        } else if !table.contains_key(&name) {
            problems.push(source.at(line, format!("names `{name}` at the crate root, where only rooms are")));
        } else if name != source.room() && !allowed.contains(&name) {
            problems.push(source.at(line, format!("`{}` must not import `{name}`", source.room())));
        }
    }
    for (index, token) in source.words() {
        if token.text == "path" && token.in_attribute && index >= 2 && source.reads(index - 2, &["#", "["]) {
            problems.push(source.at(token.line, "moves a module away from its file"));
        }
    }
    problems
}

/// Every room named from the crate root, with its line.
fn named_rooms(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let depths = depths(source);
    for (index, token) in source.words() {
        let after = match token.text.as_str() {
            "crate" => index + 1,
            "ringgate" if source.room() == "main" && !source.follows_path(index) => index + 1,
            "super" if !follows_super(source, index) => match root_reached(source, index, depths[index]) {
                Some(after) => after,
                None => continue,
            },
            _ => continue,
        };
        if source.reads(after, &[":", ":"]) {
            firsts(source, after + 2, &mut found);
        }
    }
    found
}

/// Whether token `index` continues a chain of `super::`.
fn follows_super(source: &Source, index: usize) -> bool {
    index >= 3 && source.reads(index - 3, &["super", ":", ":"])
}

/// The index behind a chain of `super` that climbs `depth` modules, `None` when it stays below the root.
fn root_reached(source: &Source, mut index: usize, depth: usize) -> Option<usize> {
    let mut climbed = 1;
    while source.reads(index + 1, &[":", ":", "super"]) {
        index += 3;
        climbed += 1;
    }
    (climbed >= depth).then_some(index + 1)
}

/// For every token: how many modules deep it stands.
fn depths(source: &Source) -> Vec<usize> {
    let mut depths = vec![source.module().len(); source.tokens.len()];
    for (index, token) in source.words() {
        let inline = token.text == "mod" && source.tokens.get(index + 1).is_some_and(|name| name.kind == Kind::Word);
        if inline && source.text_of(index + 2) == "{" {
            for depth in &mut depths[index + 2..source.tokens[index + 2].close] {
                *depth += 1;
            }
        }
    }
    depths
}

/// The first name of a path, or of every branch when a group begins at `index`.
fn firsts(source: &Source, index: usize, found: &mut Vec<(usize, String)>) {
    let Some(token) = source.tokens.get(index) else { return };
    if token.kind != Kind::Open {
        found.push((token.line, token.text.clone()));
        return;
    }
    let mut at = index + 1;
    let mut begins = true;
    while at < token.close {
        let inner = &source.tokens[at];
        if inner.text == "," {
            begins = true;
        } else if begins {
            found.push((inner.line, inner.text.clone()));
            begins = false;
        }
        at = if inner.kind == Kind::Open { inner.close + 1 } else { at + 1 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::import_table;

    fn table() -> Table {
        let page = "<!-- import-table -->\n| clock, limits | - |\n| http1 | limits |\n| net | limits, clock |\n\
                    | main | net |\n<!-- /import-table -->";
        import_table(page).expect("sample table parses")
    }

    fn lines(path: &str, text: &str) -> Vec<String> {
        problems(&Source::parse(path, text).expect("sample parses"), &table())
    }

    #[test]
    fn allowed_imports_pass() {
        let text = "use crate::limits::{A, B};\nuse super::fields;\nuse crate::http1::head;\npub(crate) fn f() { crate::limits::c() }";
        assert_eq!(lines("src/http1/head.rs", text), Vec::<String>::new());
        assert_eq!(lines("src/main.rs", "fn main() { ringgate::net::run() }"), Vec::<String>::new());
    }

    #[test]
    fn every_spelling_of_a_forbidden_import_is_seen() {
        for text in [
            "use crate::net::Env;",
            "use crate::{limits, net::{self, uring}};",
            "pub use crate::{limits::A, net};",
            "fn f() { let _ = crate::net::now(); }",
            "use super::super::net;",
            "use super::super::{limits, net::Env};",
            "mod inner { use super::super::super::net; }",
            "macro_rules! m { () => { $crate::net::now() } }",
            "pub(in crate::net) struct S;",
        ] {
            assert_eq!(lines("src/http1/head.rs", text).len(), 1, "{text}");
        }
        assert_eq!(lines("src/http1/mod.rs", "use super::net;").len(), 1);
        assert_eq!(lines("src/http1/mod.rs", "#[cfg(test)] mod tests { use super::super::net; }").len(), 1);
        assert_eq!(lines("src/main.rs", "use ringgate::clock;").len(), 1);
    }

    #[test]
    fn super_below_the_root_is_no_import() {
        assert_eq!(lines("src/http1/head/tests.rs", "use super::super::fields::net;"), Vec::<String>::new());
        assert_eq!(lines("src/http1/mod.rs", "mod tests { use super::*; }"), Vec::<String>::new());
    }

    #[test]
    fn the_crate_root_holds_nothing_but_rooms() {
        assert_eq!(lines("src/http1/mod.rs", "use crate::*;").len(), 1);
        assert_eq!(lines("src/http1/mod.rs", "use super::*;").len(), 1);
        assert_eq!(lines("src/http1/mod.rs", "use crate::Unplaced;").len(), 1);
    }

    #[test]
    fn a_module_kept_elsewhere_is_seen() {
        assert_eq!(lines("src/http1/mod.rs", "#[path = \"../net/x.rs\"] mod x;").len(), 1);
    }

    #[test]
    fn a_table_that_lies_or_goes_in_circles_fails() {
        let sources: Vec<_> =
            ["src/clock.rs", "src/limits.rs", "src/http1/mod.rs", "src/net/mod.rs", "src/main.rs", "src/lib.rs"]
                .map(|path| Source::parse(path, "").expect("empty parses"))
                .into();
        assert_eq!(table_problems(&table(), &sources), Vec::<String>::new());
        assert_eq!(table_problems(&table(), &sources[1..]).len(), 1, "a row without a room");
        let mut short = table();
        short.remove("http1");
        assert_eq!(table_problems(&short, &sources).len(), 1, "a room without a row");
        let mut circle = table();
        circle.get_mut("limits").expect("the row is there").insert("net".to_owned());
        assert_eq!(table_problems(&circle, &sources).len(), 2, "both ends of the circle");
    }
}
