//! The house rules, checked against the tree: who imports whom, sizes, words, and what may be named where.
//!
//! The import table and the walk are read out of ARCHITECTURE.md, so page and code cannot drift apart.
//! Every rule is a function from a parsed file to its problems, with tests of its own showing that it can fail.

#![allow(clippy::panic, reason = "a test program: what it cannot read is its failure")]

#[path = "tidy/architecture.rs"]
mod architecture;
#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/manifest.rs"]
mod manifest;
#[path = "tidy/places.rs"]
mod places;
#[path = "tidy/sizes.rs"]
mod sizes;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/text.rs"]
mod text;
#[path = "tidy/words.rs"]
mod words;

use source::Source;
use std::fs;
use std::path::{Path, PathBuf};

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of one file below the root.
fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Every file below `folder` whose name ends in one of `endings`, sorted, build output left out.
fn files(folder: &str, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(folder) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && name != "corpus" && name != "artifacts" && !name.starts_with(".git") {
                    open.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A path as messages print it: relative to the root.
fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned()
}

/// The parsed Rust files below `folder`.
fn sources(folder: &str) -> Vec<Source> {
    files(folder, &[".rs"])
        .iter()
        .map(|path| {
            let name = shown(path);
            let text = page(&name);
            Source::parse(&name, &text).unwrap_or_else(|error| panic!("{error}"))
        })
        .collect()
}

/// Fails with every problem at once.
fn assert_none(problems: &[String]) {
    assert!(problems.is_empty(), "{} untidy:\n{}\n", problems.len(), problems.join("\n"));
}

#[test]
fn imports_follow_the_table_of_architecture() {
    let table = architecture::import_table(&page("ARCHITECTURE.md")).expect("ARCHITECTURE.md holds the import table");
    let sources = sources("src");
    let mut problems = imports::table_problems(&table, &sources);
    problems.extend(sources.iter().flat_map(|source| imports::problems(source, &table)));
    assert_none(&problems);
}

#[test]
fn files_and_functions_stay_small() {
    assert_none(&sources("src").iter().flat_map(sizes::problems).collect::<Vec<_>>());
}

#[test]
fn identifiers_avoid_the_banned_words() {
    assert_none(&sources("src").iter().flat_map(words::problems).collect::<Vec<_>>());
}

#[test]
fn runtimes_locks_clocks_and_unsafe_stay_in_their_rooms() {
    assert_none(&sources("src").iter().flat_map(places::problems).collect::<Vec<_>>());
}

#[test]
fn every_room_says_what_it_owns_in_a_short_header() {
    assert_none(&sources("src").iter().flat_map(text::header_problems).collect::<Vec<_>>());
}

#[test]
fn nothing_is_stubbed_silenced_or_skipped() {
    let mut problems: Vec<_> = sources("src").iter().flat_map(text::stub_problems).collect();
    for folder in ["src", "tests", "benches"] {
        problems.extend(sources(folder).iter().flat_map(text::skip_problems));
    }
    assert_none(&problems);
}

#[test]
fn tests_wait_for_conditions_and_never_sleep() {
    assert_none(&sources("tests").iter().flat_map(text::sleep_problems).collect::<Vec<_>>());
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    let endings = [".rs", ".md", ".toml", ".yaml", ".yml"];
    let mut paths: Vec<_> =
        ["src", "tests", "benches", "config", "fuzz"].iter().flat_map(|folder| files(folder, &endings)).collect();
    paths.extend(files("scripts", &[""]));
    paths.extend(files(".ci", &[""]));
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "Cargo.toml"] {
        paths.push(root().join(name));
    }
    let problems: Vec<_> = paths
        .iter()
        .flat_map(|path| {
            let name = shown(path);
            let text = String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
            text::machine_path_problems(&name, &text)
        })
        .collect();
    assert_none(&problems);
}

#[test]
fn every_dependency_gives_its_reason() {
    assert_none(&manifest::problems(&page("Cargo.toml")));
}

#[test]
fn the_walk_of_architecture_names_functions_that_exist() {
    let walk = architecture::walk(&page("ARCHITECTURE.md")).expect("ARCHITECTURE.md holds the walk");
    assert!(walk.len() >= 5, "the walk names {} functions, too few to be one: {walk:?}", walk.len());
    assert_none(&architecture::walk_problems(&walk, &sources("src")));
}
