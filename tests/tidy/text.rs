//! Rules about what stands in a file besides structure: headers, stubs, skipped tests, sleeps, machine paths.

use crate::source::Source;

/// Lines of a module's `//!` header.
const HEADER_LINES: usize = 15;

/// A room without a header, and headers that are too long.
pub(crate) fn header_problems(source: &Source) -> Vec<String> {
    let lines = source.text.lines().take_while(|line| line.starts_with("//!")).count();
    let below = source.path.strip_prefix("src/").unwrap_or(&source.path);
    let begins_room = !below.contains('/') || below.ends_with("/mod.rs") && below.matches('/').count() == 1;
    if lines > HEADER_LINES {
        vec![source.at(1, format!("header of {lines} lines, at most {HEADER_LINES}"))]
    } else if begins_room && lines == 0 {
        vec![source.at(1, "no `//!` header: what it owns, what it never does, its invariants")]
    } else {
        Vec::new()
    }
}

/// Unfinished work and silenced warnings.
pub(crate) fn stub_problems(source: &Source) -> Vec<String> {
    let mut problems = Vec::new();
    for (index, token) in source.words() {
        if matches!(token.text.as_str(), "todo" | "unimplemented") && source.text_of(index + 1) == "!" {
            problems.push(source.at(token.line, "unfinished"));
        }
        let silenced = token.text == "dead_code" || token.text.starts_with("unused");
        if token.in_attribute && silenced {
            problems.push(source.at(token.line, "dead code silenced: wire it in or delete it"));
        }
    }
    for (index, line) in source.text.lines().enumerate() {
        let Some((_, comment)) = line.split_once("//") else { continue };
        let promises = ["FIXME", "TODO", "not implemented", "not yet implemented", "for now"];
        if let Some(promise) = promises.iter().find(|promise| comment.contains(**promise)) {
            problems.push(source.at(index + 1, format!("a promise (`{promise}`): do it or leave it out")));
        }
    }
    problems
}

/// Tests that are switched off.
pub(crate) fn skip_problems(source: &Source) -> Vec<String> {
    let ignored = source.words().filter(|(index, token)| {
        let before = if *index == 0 { "" } else { source.text_of(index - 1) };
        token.in_attribute
            && token.text == "ignore"
            && matches!(before, "[" | "," | "(")
            && !source.follows_path(*index)
    });
    ignored.map(|(_, token)| source.at(token.line, "a test that never runs")).collect()
}

/// Sleeps: a test waits for a condition, with a deadline.
pub(crate) fn sleep_problems(source: &Source) -> Vec<String> {
    let mut problems = Vec::new();
    for (index, token) in source.words() {
        let before = if index == 0 { "" } else { source.text_of(index - 1) };
        let named = matches!(token.text.as_str(), "sleep" | "sleep_ms" | "usleep");
        if named && !matches!(before, "." | "fn") {
            problems.push(source.at(token.line, "a sleep: wait for the condition, with a deadline"));
        }
    }
    problems
}

/// Places that exist on one machine only.
pub(crate) fn machine_path_problems(path: &str, text: &str) -> Vec<String> {
    let places = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/tm", "p/")];
    let mut problems = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for place in places.iter().filter(|place| names_place(line, place)) {
            problems.push(format!("{path}:{}: names `{place}`, a place of one machine", index + 1));
        }
    }
    problems
}

/// Whether `place` begins a path in `line`, rather than continuing one (`/a/tmp/`, `${DIR}/tmp/`).
fn names_place(line: &str, place: &str) -> bool {
    line.match_indices(place)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '}' | '/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str, text: &str) -> Source {
        Source::parse(path, text).expect("sample parses")
    }

    #[test]
    fn rooms_need_a_header_of_at_most_fifteen_lines() {
        assert_eq!(header_problems(&parse("src/clock.rs", "struct S;")).len(), 1);
        assert_eq!(header_problems(&parse("src/net/mod.rs", "struct S;")).len(), 1);
        assert_eq!(header_problems(&parse("src/net/uring.rs", "struct S;")).len(), 0);
        assert_eq!(header_problems(&parse("src/clock.rs", &"//! Line.\n".repeat(15))).len(), 0);
        assert_eq!(header_problems(&parse("src/net/uring.rs", &"//! Line.\n".repeat(16))).len(), 1);
    }

    #[test]
    fn stubs_promises_and_silenced_code_fail() {
        for text in [
            "fn f() { todo!() }",
            "#[allow(dead_code)] fn f() {}",
            "#![expect(unused_variables)]",
            "// FIXME later",
            "// fine for now",
        ] {
            assert_eq!(stub_problems(&parse("src/a.rs", text)).len(), 1, "{text}");
        }
        assert_eq!(stub_problems(&parse("src/a.rs", "fn unused_bytes() { for now in 0..1 {} }")), Vec::<String>::new());
    }

    #[test]
    fn skipped_tests_fail() {
        for text in [
            concat!("#[ign", "ore] fn f() {}"),
            concat!("#[ign", "ore = \"slow\"] fn f() {}"),
            concat!("#[cfg_attr(a, ign", "ore)] fn f() {}"),
        ] {
            assert_eq!(skip_problems(&parse("tests/a.rs", text)).len(), 1, "{text}");
        }
        assert_eq!(skip_problems(&parse("tests/a.rs", "fn ignore() {}")), Vec::<String>::new());
    }

    #[test]
    fn sleeping_tests_fail() {
        for text in [
            concat!("fn f() { thread", "::sleep(d); }"),
            "use std::thread::{self, sleep};",
            concat!("async fn f() { tokio::time", "::sleep(d).await; }"),
        ] {
            assert_eq!(sleep_problems(&parse("tests/a.rs", text)).len(), 1, "{text}");
        }
        assert_eq!(sleep_problems(&parse("tests/a.rs", "fn f() { env.sleep_until(t); }")), Vec::<String>::new());
    }

    #[test]
    fn paths_of_one_machine_fail() {
        assert_eq!(machine_path_problems("a", concat!("see /wo", "rk/x")).len(), 1);
        assert_eq!(machine_path_problems("a", concat!("let p = \"/tm", "p/x\";")).len(), 1);
        assert_eq!(
            machine_path_problems("a", concat!("\"$DIR/tm", "p/x\" and ${D}/tm", "p/y and http://a/tm", "p/z")).len(),
            0
        );
    }
}
