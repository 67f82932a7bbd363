//! What ARCHITECTURE.md promises in a form that can be checked: the import table and the walk.

use crate::source::Source;
use std::collections::{BTreeMap, BTreeSet};

/// Room -> the rooms it may import.
pub(crate) type Table = BTreeMap<String, BTreeSet<String>>;

/// The text between `<!-- name -->` and `<!-- /name -->`.
fn section<'a>(page: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = page.split_once(&format!("<!-- {name} -->"))?;
    Some(rest.split_once(&format!("<!-- /{name} -->"))?.0)
}

/// The import table: rows of `| rooms | rooms they may import |`, words in parentheses being remarks.
pub(crate) fn import_table(page: &str) -> Option<Table> {
    let mut table = Table::new();
    for line in section(page, "import-table")?.lines() {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').collect();
        let &[rooms, imports] = cells.as_slice() else { continue };
        if rooms.trim() == "room" || rooms.trim().starts_with('-') {
            continue;
        }
        let imports: BTreeSet<String> = names(imports).filter(|name| name != "-").collect();
        for room in names(rooms) {
            table.insert(room, imports.clone());
        }
    }
    (!table.is_empty()).then_some(table)
}

/// The names of one cell.
fn names(cell: &str) -> impl Iterator<Item = String> {
    let mut depth = 0_u32;
    let plain: String = cell
        .chars()
        .filter(|c| {
            depth += u32::from(*c == '(');
            let keep = depth == 0 && *c != '`';
            depth -= u32::from(*c == ')' && depth > 0);
            keep
        })
        .collect();
    plain.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect::<Vec<_>>().into_iter()
}

/// The functions that the walk names in backticks: lower-case paths such as `exchange::serve_exchange`.
pub(crate) fn walk(page: &str) -> Option<Vec<String>> {
    let is_path = |name: &str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | ':'))
    };
    let spans = section(page, "walk")?.split('`').skip(1).step_by(2);
    Some(spans.filter(|name| is_path(name)).map(ToOwned::to_owned).collect())
}

/// The names of the walk that no function of the tree bears; `room::...::name` must be in that room.
pub(crate) fn walk_problems(walk: &[String], sources: &[Source]) -> Vec<String> {
    let mut known: BTreeSet<(&str, &str)> = BTreeSet::new();
    for source in sources {
        known.extend(source.functions().iter().filter(|f| !f.in_test).map(|f| (source.room(), f.name)));
    }
    let exists = |path: &str| {
        let name = path.rsplit("::").next().unwrap_or(path);
        let room = path.contains("::").then(|| path.split("::").next().unwrap_or(path));
        known.iter().any(|(at, known)| *known == name && room.is_none_or(|room| room == *at))
    };
    walk.iter()
        .filter(|path| !exists(path))
        .map(|path| format!("ARCHITECTURE.md: the walk names `{path}`, no function of src"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "x\n<!-- import-table -->\n| room | may import |\n|---|---|\n| limits, clock | - |\n\
                        | `policy` | limits, clock (types, only) |\n<!-- /import-table -->\n\
                        <!-- walk -->\n1. `exchange::serve` then `route`, a `Permit`, `GET /`.\n<!-- /walk -->";

    #[test]
    fn the_table_is_read_with_remarks_left_out() {
        let table = import_table(PAGE).expect("the table is there");
        assert_eq!(table["limits"], BTreeSet::new());
        assert_eq!(table["policy"], ["clock", "limits"].map(String::from).into());
        assert_eq!(table.len(), 3);
    }

    #[test]
    fn a_page_without_the_table_or_the_walk_is_refused() {
        assert!(import_table("no markers").is_none());
        assert!(import_table("<!-- import-table -->\nno rows\n<!-- /import-table -->").is_none());
        assert!(walk("no markers").is_none());
    }

    #[test]
    fn a_walk_that_names_a_missing_function_fails() {
        let walk = walk(PAGE).expect("the walk is there");
        assert_eq!(walk, ["exchange::serve", "route"]);
        let parse = |path: &str, text: &str| Source::parse(path, text).expect("sample parses");
        let good = [parse("src/exchange/mod.rs", "fn serve() { }"), parse("src/routing/mod.rs", "fn route() { }")];
        assert_eq!(walk_problems(&walk, &good), Vec::<String>::new());
        let elsewhere = [parse("src/worker/mod.rs", "fn serve() { } fn route() { }")];
        assert_eq!(walk_problems(&walk, &elsewhere).len(), 1);
        assert_eq!(walk_problems(&walk, &[]).len(), 2);
    }
}
